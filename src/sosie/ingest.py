"""ingest: ROOT ntuples of full simulation become event tables for train, validation and test."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sosie import __version__
from sosie.blocks import Piece
from sosie.detectors import find
from sosie.detectors.base import Detector
from sosie.errors import InputError
from sosie.events import write_events
from sosie.files import find_files, staged, write_json
from sosie.layouts import Layout
from sosie.progress import say, warn
from sosie.reading import read_pieces, survey
from sosie.streams import key, mix, uniform

Array = np.ndarray[Any, Any]
SAMPLES = ("train", "validation", "test")


@dataclass
class Rejected:
    """How many events of a file were selected, how many of these hold numbers that are not finite,
    and the first such number in words."""

    selected: int = 0
    not_finite: int = 0
    problem: str = ""


@dataclass
class Summary:
    """What was read, rejected, suppressed and kept."""

    files: dict[str, Any] = field(default_factory=dict)
    read: int = 0
    rejected: dict[str, Rejected] = field(default_factory=dict)
    cells: int = 0
    cells_removed: int = 0
    signal: float = 0.0
    signal_removed: float = 0.0
    kept: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SAMPLES, 0))
    weight: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SAMPLES, 0.0))
    low: Array | None = None
    high: Array | None = None

    @property
    def selected(self) -> int:
        """Events that the selection let pass."""
        return sum(there.selected for there in self.rejected.values())

    @property
    def not_finite(self) -> int:
        """Events that were rejected for numbers that are not finite."""
        return sum(there.not_finite for there in self.rejected.values())

    def add(self, path: str, part: "Prepared") -> None:
        """Count a piece of a file."""
        there = self.rejected.setdefault(path, Rejected())
        self.read += part.piece.read
        there.selected += part.piece.selected
        there.not_finite += part.piece.selected - len(part.piece.block.event_id)
        there.problem = there.problem or part.piece.problem
        self.cells += part.cells
        self.cells_removed += part.cells_removed
        self.signal += part.signal
        self.signal_removed += part.signal_removed
        if len(conditions := part.piece.block.conditions):
            low, high = conditions.min(axis=0), conditions.max(axis=0)
            self.low = low if self.low is None else np.minimum(self.low, low)
            self.high = high if self.high is None else np.maximum(self.high, high)


@dataclass(frozen=True)
class Prepared:
    """A piece of a file ready to be written: the rows of each sample, and what was suppressed in it."""

    piece: Piece
    samples: tuple[Array, ...]
    cells: int
    cells_removed: int
    signal: float
    signal_removed: float


def assign(groups: Array, seed: int, shares: Mapping[str, float]) -> Array:
    """The sample of each group (N,), an index into SAMPLES, a function of the group and the seed."""
    number = uniform(mix(groups ^ np.uint64(key(seed, "ingest", "split"))))
    edges = np.cumsum([shares[name] for name in SAMPLES])[:-1]
    return np.searchsorted(edges, number, side="right")


def prepare(piece: Piece, *, threshold: float, seed: int, split: Mapping[str, float]) -> Prepared:
    """A piece with the cells below the threshold set to 0, divided into samples."""
    response = piece.block.response
    filled = response > 0
    small = filled & (response < np.float32(threshold))
    signal = float(response.sum(dtype=np.float64))
    kept = response * ~small
    sample = assign(piece.block.group_id, seed, split)
    return Prepared(
        replace(piece, block=replace(piece.block, response=kept)),
        tuple(np.flatnonzero(sample == index) for index in range(len(SAMPLES))),
        int(np.count_nonzero(filled)),
        int(np.count_nonzero(small)),
        signal,
        signal - float(kept.sum(dtype=np.float64)),
    )


def _refuse_copies(files: Mapping[str, Any], path: str, sha256: str) -> None:
    for other, known in files.items():
        if known["sha256"] == sha256:
            raise InputError(
                f"{other}, {path}: the same file twice; remove one of them from ingest.files"
            )


def _refuse_repeats(paths: Sequence[str]) -> None:
    for index, path in enumerate(paths):
        if path in paths[:index]:
            raise InputError(
                f"{path}, {path}: the same file twice; remove one of them from ingest.files"
            )


def _refuse_twins(seen: Sequence[tuple[str, Array]]) -> None:
    ids = np.sort(np.concatenate([np.empty(0, np.uint64), *(ids for _, ids in seen)]))
    twins = ids[1:][ids[1:] == ids[:-1]]
    if len(twins):
        where = dict.fromkeys(path for path, ids in seen if twins[0] in ids)
        raise InputError(
            f"{', '.join(where)}: {len(twins)} events have an identity that was there before; remove "
            "the file that is given twice, or name what tells events apart in ingest.identity"
        )


def _refuse_share(summary: Summary, max_rejected: float) -> None:
    """Warn of each file with numbers that are not finite; raise InputError if there are too many."""
    bad = {path: there for path, there in summary.rejected.items() if there.not_finite}
    for path, there in bad.items():
        warn(
            "ingest",
            f"{path}: {there.not_finite} of {there.selected} events rejected, with numbers that are "
            f"not finite; first: {there.problem}",
        )
    if bad and summary.not_finite > max_rejected * summary.selected:
        worst = max(bad, key=lambda path: bad[path].not_finite)
        raise InputError(
            f"{worst}: {bad[worst].problem}; {summary.not_finite} of {summary.selected} events "
            f"({100 * summary.not_finite / summary.selected:.3g} %) of all files hold numbers that are "
            f"not finite, {bad[worst].not_finite} of them here, more than ingest.max_rejected = "
            f"{max_rejected:g} allows; mend the ntuple, exclude them with ingest.selection or raise "
            "ingest.max_rejected"
        )


def _refuse_weights(summary: Summary, path: str) -> None:
    for name, total in summary.weight.items():
        if not total > 0:
            raise InputError(
                f"{path}: the weights of the {name} sample ({summary.kept[name]} events) sum to "
                f"{total:g}; give events whose weights sum to more than 0, or leave out ingest.weight"
            )


def test_layout(layout: Layout, test: Mapping[str, Any]) -> Layout:
    """The layout of a test sample of its own: that of the others but for what is given."""
    own = {name: test[name] for name in ("tree", "selection") if test[name] is not None}
    if test["weight"] is not None:
        own["weight"] = test["weight"] or None
    return replace(layout, conditions={**layout.conditions, **test["conditions"]}, **own)


def report_of(summary: Summary, detector: Detector, threshold: float) -> dict[str, Any]:
    """The summary as JSON."""
    rejected = {
        "selection": summary.read - summary.selected,
        "not_finite": summary.not_finite,
    }
    names = list(detector.conditions)
    low, high = summary.low, summary.high
    ranges = (
        {}
        if low is None or high is None
        else {
            name: {"min": float(low[i]), "max": float(high[i]), "unit": detector.conditions[name]}
            for i, name in enumerate(names)
        }
    )
    return {
        "detector": detector.name,
        "files": summary.files,
        "events": {"read": summary.read, "rejected": rejected, "kept": summary.kept},
        "zero_suppression": {
            "threshold": threshold,
            "unit": detector.unit,
            # Rounded, since the last digits depend on how the files were cut into pieces.
            "share_of_cells": float(f"{summary.cells_removed / max(1, summary.cells):.6g}"),
            "share_of_signal": float(f"{summary.signal_removed / max(1e-30, summary.signal):.6g}"),
        },
        "conditions": ranges,
    }


def run(
    paths: Sequence[str],
    out: str | Path,
    *,
    detector: str,
    seed: int,
    layout: Layout,
    threshold: float,
    split: Mapping[str, float],
    memory: int,
    max_rejected: float = 0.01,
    test: Mapping[str, Any] | None = None,
    threads: int = 1,
    code: str = "",
) -> None:
    """Write train.h5, validation.h5, test.h5 and summary.json into ``out``.

    Files are read in pieces of about ``memory`` bytes; neither that nor the number of threads
    changes a byte of the output. ``test``: what differs for a test sample of its own, which has then
    no share of the others. Raises InputError for files, branches and numbers that cannot be used.
    """
    kind, out, summary = find(detector), Path(out), Summary()
    _refuse_repeats(paths)
    files = find_files(paths)
    layout = survey(files, kind, layout)
    reads = [(files, layout, dict(split))]
    if test is not None:
        learnt = split["train"] + split["validation"]
        shares = {name: split[name] / learnt for name in SAMPLES[:-1]}
        own = find_files(test["files"] or paths, "ingest.test.files")
        reads = [
            (files, layout, {**shares, "test": 0.0}),
            (
                own,
                survey(own, kind, test_layout(layout, test)),
                {**dict.fromkeys(shares, 0.0), "test": 1.0},
            ),
        ]
    provenance = {"sosie": __version__, "code": code, "seed": seed, "inputs": summary.files}
    layouts = dict.fromkeys(SAMPLES, layout) | {"test": reads[-1][1]}
    seen: list[tuple[str, Array]] = []
    with staged(out) as stage, ExitStack() as stack:
        writers = [
            stack.enter_context(
                write_events(
                    stage / f"{name}.h5",
                    kind,
                    {
                        "threshold": threshold,
                        "layout": layouts[name].as_dict(),
                        "provenance": provenance,
                    },
                    threads,
                )
            )
            for name in SAMPLES
        ]
        for paths_read, how, shares in reads:
            finish = partial(prepare, threshold=threshold, seed=seed, split=shares)
            for source, part in read_pieces(paths_read, kind, how, memory, threads, finish):
                if part is None:
                    known = source.known()
                    # A test sample may be a selection of the same file.
                    if summary.files.get(source.path) != known:
                        _refuse_copies(summary.files, source.path, known["sha256"])
                    summary.files[source.path] = known
                    say("ingest", f"{source.path}: {known['entries']} entries")
                    continue
                block = part.piece.block
                summary.add(source.path, part)
                seen.append((source.path, block.event_id))
                for name, writer, rows in zip(SAMPLES, writers, part.samples, strict=True):
                    if not len(rows):
                        continue
                    writer.append(block, rows)
                    summary.kept[name] += len(rows)
                    here = len(rows) if block.weight is None else block.weight[rows].sum()
                    summary.weight[name] += float(here)
        _refuse_share(summary, max_rejected)
        _refuse_twins(seen)
        for name, kept in summary.kept.items():
            if kept == 0:
                others = f" and {len(files) - 1} more" if len(files) > 1 else ""
                raise InputError(
                    f"{files[0]}{others}: no event for the {name} sample ({summary.read} read, "
                    f"{summary.read - summary.selected} rejected by ingest.selection); "
                    "give more events or a wider selection"
                )
        _refuse_weights(summary, files[0])
        write_json(stage / "summary.json", report_of(summary, kind, threshold))
    say("ingest", ", ".join(f"{name} {kept}" for name, kept in summary.kept.items()))
