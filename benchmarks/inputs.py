"""What the benchmarks read, made from the showers that ship with the project."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uproot
import yaml

from sosie import ingest, preprocess
from sosie.arrays import write_arrays
from sosie.detectors import find
from sosie.domain import read_domain
from sosie.events import Block, open_events, write_events
from sosie.layouts import Layout
from sosie.settings import Study, load
from sosie.surrogates import save
from sosie.surrogates.base import Origin
from sosie.surrogates.library import Library
from sosie.surrogates.wgan_gp import WganGp
from sosie.surrogates.wgan_summaries import summaries
from sosie.train import Sample, read_sample
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
    """What ingest.run takes as JSON, files, folder and threads apart."""
    own = study()
    return {
        "detector": own.detector,
        "seed": own.seed,
        "layout": layout().as_dict(),
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


def write_table(path: Path, tables: dict[str, str], count: int) -> str:
    """An event table of the events of some tables, repeated as needed, with new numbers."""
    samples = [read_sample(path) for path in tables.values()]
    responses = np.concatenate([sample.response for sample in samples])
    conditions = np.concatenate([sample.conditions for sample in samples])
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


def network(origin: Origin, settings: dict[str, Any], sample: Sample, seed: int) -> WganGp:
    """A member of a network that is not trained, but begins where a training begins.

    Sum and centre of its showers are fitted to the sample, so that it fills at least as many cells.
    """
    torch.manual_seed(seed)
    generator = WganGp.build(origin, settings)
    scaled = origin.transform.features(
        find(origin.detector).features(sample.conditions.astype(np.float64))
    )
    features = torch.from_numpy(scaled.astype(np.float32))
    generator.standard.fit(features, summaries(torch.from_numpy(sample.response)))
    masks = np.ones((1, settings["depth"], settings["width"]), np.float32)
    return WganGp(origin, settings, generator, masks).members(1)[0]


def make(folder: Path, ntuple: Path = SHIPPED) -> Made:
    """Ingest and preprocess a file; a library of it, and a network of the size of the default study."""
    own, settings = study(), ingest_settings()
    named = Layout.from_dict(settings.pop("layout"))
    ingest.run([str(ntuple)], folder, layout=named, **settings)
    tables = {name: str(folder / f"{name}.h5") for name in ingest.SAMPLES}
    fitted, domain = str(folder / "transform.json"), str(folder / "domain.h5")
    settings = own.preprocess.model_dump()
    preprocess.run(tables["train"], fitted, seed=own.seed, domain=domain, **settings)
    sample, transform = read_sample(tables["train"]), read_transform(fitted)
    origin = Origin(own.detector, own.ingest.threshold, named.as_dict(), transform, {})
    plans = {name: plan.model_dump() for name, plan in own.train.surrogates.items()}
    surrogates = {
        "library": Library(origin, plans["library"], sample.response, sample.conditions),
        "wgan_gp": network(origin, plans["wgan_gp"], sample, own.seed),
    }
    for name, surrogate in surrogates.items():
        surrogate.domain = read_domain(domain)
        save(folder / f"{name}.h5", surrogate)
    return Made(tables, {name: str(folder / f"{name}.h5") for name in surrogates})
