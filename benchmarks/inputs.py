"""What the benchmarks read, made from the showers that ship with the project."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uproot
import yaml

from sosie import ingest, preprocess
from sosie.arrays import write_arrays
from sosie.detectors import find
from sosie.events import Block, open_events, write_events
from sosie.layouts import Layout
from sosie.settings import Study, load
from sosie.surrogates import save
from sosie.surrogates.base import Origin
from sosie.surrogates.library import Library
from sosie.surrogates.wgan_gp import WganGp, build_generator
from sosie.surrogates.wgan_networks import draw_masks
from sosie.train import read_sample
from sosie.transforms import read_transform

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "resources/ecal/quick.root"
BASKET = 1000


@dataclass(frozen=True)
class Made:
    """Event tables by sample, and surrogate files by kind."""

    tables: dict[str, str]
    surrogates: dict[str, str]


def study() -> Study:
    """The default study."""
    path = ROOT / "config/config.yaml"
    return load(yaml.safe_load(path.read_text(encoding="utf-8")), str(path))


def layout() -> Layout:
    """The layout of its ntuples."""
    fields = Layout.__dataclass_fields__
    return Layout(**{k: v for k, v in study().ingest.model_dump().items() if k in fields})


def ingest_settings() -> dict[str, Any]:
    """What ingest.run takes, files, folder and threads apart."""
    own = study()
    return {
        "detector": own.detector,
        "seed": own.seed,
        "layout": layout(),
        "threshold": own.ingest.threshold,
        "split": own.ingest.split.model_dump(),
        "memory": own.ingest.memory_mb * 10**6,
        "max_rejected": own.ingest.max_rejected,
    }


def write_ntuple(
    path: Path, count: int, first: int = 0, source: Path = SHIPPED, compressed: bool = True
) -> str:
    """``count`` entries of a TTree, repeated as needed, numbered from ``first`` on.

    All branches, in baskets of 1 000 entries and compressed like the source, or not at all.
    """
    with uproot.open({source: None}) as file:
        columns = file[layout().tree].arrays(library="np")
        compression = file.file.compression if compressed else None
    there = len(columns["event_id"])
    types = {n: (c.dtype.newbyteorder("="), c.shape[1:]) for n, c in columns.items()}
    with uproot.recreate(path, compression=compression) as file:
        tree = file.mktree(layout().tree, types)
        for start in range(0, count, BASKET):
            number = np.arange(start, min(start + BASKET, count))
            rows = {name: column[number % there] for name, column in columns.items()}
            tree.extend(rows | {"event_id": first + number})
    return str(path)


def write_ntuples(folder: Path, files: int, each: int) -> list[str]:
    """Several files with ``each`` entries, all with numbers of their own."""
    return [write_ntuple(folder / f"{n}_{each}.root", each, n * each) for n in range(files)]


def _blocks(tables: dict[str, str]) -> Iterator[Block]:
    for path in tables.values():
        with open_events(path) as events:
            yield Block(
                events.column("response"), events.column("conditions"), *[events.column("event_id")] * 2
            )  # fmt: skip


def write_table(path: Path, tables: dict[str, str], count: int) -> str:
    """An event table of the events of some tables, repeated as needed, with new numbers."""
    responses, conditions = (
        np.concatenate(parts)
        for parts in zip(*((b.response, b.conditions) for b in _blocks(tables)), strict=True)
    )
    with open_events(tables["train"]) as events:
        detector, about = find(events.detector), events.attributes
    with write_events(path, detector, about) as writer:
        for start in range(0, count, BASKET):
            number = np.arange(start, min(start + BASKET, count))
            rows, ids = number % len(responses), number.astype(np.uint64)
            writer.append(Block(responses[rows], conditions[rows], ids, ids))
    return str(path)


def write_reconstruct(path: Path, count: int, members: int) -> str:
    """Results per event as reconstruct writes them, all 1: their size alone matters."""
    detector = find(study().detector)
    names = list(detector.results)
    arrays = {
        "events/reference": np.ones((count, len(names))),
        "events/members": np.ones((members, count, len(names))),
    }
    write_arrays(path, "reconstruct", arrays, {"detector": detector.name, "quantities": names})
    return str(path)


def make(folder: Path, ntuple: Path = SHIPPED) -> Made:
    """Ingest and preprocess a file; a library, and a member of a network that was not trained.

    The network has the size of the default study. What it draws takes as long as what a trained
    one draws.
    """
    own = study()
    ingest.run([str(ntuple)], folder, **ingest_settings())
    tables = {name: str(folder / f"{name}.h5") for name in ingest.SAMPLES}
    transform = str(folder / "transform.json")
    preprocess.run(tables["train"], transform, seed=own.seed, **own.preprocess.model_dump())
    train = read_sample(tables["train"])
    origin = Origin(
        own.detector, own.ingest.threshold, layout().as_dict(), read_transform(transform), {}
    )
    settings = {name: s.model_dump() for name, s in own.train.surrogates.items()}
    torch.manual_seed(own.seed)
    network = settings["wgan_gp"]
    sizes = (network["depth"], network["width"], network["dropout"])
    masks = draw_masks(1, *sizes, torch.Generator().manual_seed(own.seed)).numpy()
    trained = WganGp(origin, network, build_generator(origin, network), masks)
    surrogates = {
        "library": Library(origin, settings["library"], train.response, train.conditions),
        "wgan_gp": trained.members(1)[0],
    }
    for name, surrogate in surrogates.items():
        save(folder / f"{name}.h5", surrogate)
    return Made(tables, {name: str(folder / f"{name}.h5") for name in surrogates})
