"""ingest: ROOT ntuples of full simulation become event tables for train, validation and test."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sosie import __version__
from sosie.detectors import find
from sosie.detectors.base import Detector
from sosie.errors import InputError
from sosie.events import Block, write_events
from sosie.expressions import branches, evaluate
from sosie.files import file_digest, find_files, staged, write_json
from sosie.ntuples import is_rntuple, open_ntuple, read_ntuple
from sosie.progress import say
from sosie.streams import combine, key, mix, uniform
from sosie.units import factor

Array = np.ndarray[Any, Any]
SAMPLES = ("train", "validation", "test")


@dataclass(frozen=True)
class Layout:
    """What an ntuple holds, and where.

    ``conditions`` maps each condition to {'expression', 'unit'}, ``response`` is {'branch', 'unit'}.
    """

    tree: str
    response: Mapping[str, str]
    conditions: Mapping[str, Mapping[str, str]]
    identity: Sequence[str] = ()
    group: str | None = None
    selection: str | None = None
    weight: str | None = None
    rntuple: bool = False

    def branches(self) -> list[str]:
        """Every branch to read, the response last."""
        texts = [(c["expression"], f"ingest.conditions.{n}") for n, c in self.conditions.items()]
        texts += [(self.selection, "ingest.selection")] if self.selection else []
        texts += [(self.weight, "ingest.weight")] if self.weight else []
        named = [branch for text, key in texts for branch in branches(text, key)]
        named += [*self.identity, *([self.group] if self.group else [])]
        return [*dict.fromkeys(named), self.response["branch"]]

    def as_dict(self) -> dict[str, Any]:
        """The layout as JSON, stored in event tables and surrogates."""
        return {
            "tree": self.tree,
            "rntuple": self.rntuple,
            "response": dict(self.response),
            "conditions": {name: dict(branch) for name, branch in self.conditions.items()},
            "identity": list(self.identity),
        }


@dataclass
class Summary:
    """What was read, rejected, suppressed and kept."""

    files: dict[str, Any] = field(default_factory=dict)
    read: int = 0
    rejected: dict[str, int] = field(default_factory=lambda: {"selection": 0})
    cells: int = 0
    cells_removed: int = 0
    signal: float = 0.0
    signal_removed: float = 0.0
    kept: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SAMPLES, 0))
    low: Array | None = None
    high: Array | None = None


def assign(groups: Array, seed: int, shares: Mapping[str, float]) -> Array:
    """The sample of each group (N,), an index into SAMPLES, a function of the group and the seed."""
    number = uniform(mix(groups ^ np.uint64(key(seed, "ingest", "split"))))
    edges = np.cumsum([shares[name] for name in SAMPLES])[:-1]
    return np.searchsorted(edges, number, side="right")


def _first_bad(
    path: str, what: str, bad: Array, values: Array, entries: Array, remedy: str
) -> None:
    if bad.any():
        where = np.unravel_index(int(np.argmax(bad)), bad.shape)
        raise InputError(
            f"{path}: {what} is {values[where]} in entry {entries[where[0]]} "
            f"({int(bad.any(axis=tuple(range(1, bad.ndim))).sum())} such entries in this piece); {remedy}"
        )


def _per_event(
    path: str, expression: str, columns: Mapping[str, Array], count: int, key: str
) -> Array:
    values = np.asarray(evaluate(expression, columns, key))
    if values.shape not in ((), (count,)):
        raise InputError(
            f"{path}: {key} = '{expression}' has shape {values.shape[1:]} for each event, not one "
            "number; name branches of one number"
        )
    return np.broadcast_to(values, (count,))


def _integers(path: str, name: str, columns: Mapping[str, Array], key: str) -> Array:
    column = columns[name]
    if column.dtype.kind not in "iu" or column.ndim != 1:
        raise InputError(
            f"{path}: branch '{name}' holds {column.dtype} {column.shape[1:] or ''}".rstrip()
            + f", not one integer for each event; name another in ingest.{key}"
        )
    return column


REMEDY = "mend the ntuple or exclude the events with ingest.selection"


def to_block(
    path: str,
    detector: Detector,
    layout: Layout,
    columns: Mapping[str, Array],
    entries: Array,
    digest: str,
) -> tuple[Block, int]:
    """Columns of an ntuple as a block of events in house units, and how many the selection rejected.

    Raises InputError for a response of another shape, numbers that are not finite, or negative ones.
    """
    total = len(entries)
    if layout.selection:
        chosen = _per_event(path, layout.selection, columns, total, "ingest.selection").astype(bool)
        columns = {name: column[chosen] for name, column in columns.items()}
        entries = entries[chosen]
    branch = layout.response["branch"]
    response = columns[branch]
    if response.shape[1:] not in (detector.shape, (math.prod(detector.shape),)):
        raise InputError(
            f"{path}: branch '{branch}' has shape {response.shape[1:]}, {detector.name} needs "
            f"{detector.shape}; set ingest.response.branch or another detector"
        )
    unit = factor(layout.response["unit"], detector.unit, "ingest.response.unit")
    with np.errstate(over="ignore"):
        response = response.reshape(len(entries), *detector.shape).astype(np.float32)
        response = response * np.float32(unit)
    _first_bad(path, f"branch '{branch}'", ~np.isfinite(response), response, entries, REMEDY)
    _first_bad(path, f"branch '{branch}'", response < 0, response, entries, REMEDY)
    conditions = np.empty((len(entries), len(detector.conditions)), np.float32)
    for index, (name, house) in enumerate(detector.conditions.items()):
        source = layout.conditions[name]
        where = f"ingest.conditions.{name}"
        values = _per_event(path, source["expression"], columns, len(entries), where)
        with np.errstate(over="ignore"):
            conditions[:, index] = values * factor(source["unit"], house, f"{where}.unit")
        what = f"condition '{name}' = '{source['expression']}'"
        column = conditions[:, index]
        _first_bad(path, what, ~np.isfinite(column), column, entries, REMEDY)
    identity = [_integers(path, name, columns, "identity") for name in layout.identity]
    file_number = np.full(len(entries), int(digest[:15], 16))
    event_id = combine(*identity) if identity else combine(file_number, entries)
    group_id = event_id
    if layout.group:
        group_id = combine(_integers(path, layout.group, columns, "group"))
    weight = None
    if layout.weight:
        weight = _per_event(path, layout.weight, columns, len(entries), "ingest.weight")
        _first_bad(path, "ingest.weight", ~np.isfinite(weight), weight, entries, REMEDY)
    aux = dict(zip(layout.identity, identity, strict=True)) or {
        "file": file_number,
        "entry": entries,
    }
    aux = {name: column.astype(column.dtype.newbyteorder("=")) for name, column in aux.items()}
    return Block(response, conditions, event_id, group_id, weight, aux), total - len(entries)


def read_events(
    paths: Sequence[str], detector: Detector, layout: Layout, memory: int
) -> Iterator[tuple[str, dict[str, Any], Block, int]]:
    """Blocks of all files: (path, what is known of the file, block, rejected by the selection)."""
    for path in paths:
        with open_ntuple(path, layout.tree) as table:
            sha256 = file_digest(path)
            known = {
                "sha256": sha256,
                "entries": int(table.num_entries),
                "rntuple": is_rntuple(table),
            }
            if table.num_entries == 0:
                raise InputError(f"{path}: tree '{layout.tree}' has no entries; leave the file out")
            for start, columns in read_ntuple(path, table, layout.branches(), memory):
                entries = np.arange(start, start + len(columns[layout.response["branch"]]))
                yield (
                    path,
                    known,
                    *to_block(path, detector, layout, columns, entries, sha256),
                )


def _suppress(response: Array, threshold: float, summary: Summary) -> None:
    small = (response < threshold) & (response > 0)
    summary.cells += int(np.count_nonzero(response))
    summary.cells_removed += int(np.count_nonzero(small))
    summary.signal += float(response.sum(dtype=np.float64))
    summary.signal_removed += float(response[small].sum(dtype=np.float64))
    response[small] = 0


def _refuse_twins(seen: Sequence[tuple[str, Array]]) -> None:
    ids = np.sort(np.concatenate([np.empty(0, np.uint64), *(ids for _, ids in seen)]))
    twins = ids[1:][ids[1:] == ids[:-1]]
    if len(twins):
        where = dict.fromkeys(path for path, ids in seen if twins[0] in ids)
        raise InputError(
            f"{', '.join(where)}: {len(twins)} events have an identity that was there before; remove "
            "the file that is given twice, or name what tells events apart in ingest.identity"
        )


def report_of(summary: Summary, detector: Detector, threshold: float) -> dict[str, Any]:
    """The summary as JSON."""
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
        "events": {"read": summary.read, "rejected": summary.rejected, "kept": summary.kept},
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
    code: str = "",
) -> None:
    """Write train.h5, validation.h5, test.h5 and summary.json into ``out``.

    Raises InputError for files, branches and numbers that cannot be used.
    """
    kind, out, summary = find(detector), Path(out), Summary()
    files = find_files(paths)
    with open_ntuple(files[0], layout.tree) as table:
        layout = replace(layout, rntuple=is_rntuple(table))
    provenance = {"sosie": __version__, "code": code, "seed": seed, "inputs": summary.files}
    attributes = {"threshold": threshold, "layout": layout.as_dict(), "provenance": provenance}
    seen: list[tuple[str, Array]] = []
    with staged(out) as stage, ExitStack() as stack:
        writers = [
            stack.enter_context(write_events(stage / f"{name}.h5", kind, attributes))
            for name in SAMPLES
        ]
        for path, known, block, rejected in read_events(files, kind, layout, memory):
            if path not in summary.files:
                summary.files[path] = known
                say("ingest", f"{path}: {known['entries']} entries")
            summary.read += len(block.event_id) + rejected
            summary.rejected["selection"] += rejected
            if not len(block.event_id):
                continue
            _suppress(block.response, threshold, summary)
            low, high = block.conditions.min(axis=0), block.conditions.max(axis=0)
            summary.low = low if summary.low is None else np.minimum(summary.low, low)
            summary.high = high if summary.high is None else np.maximum(summary.high, high)
            seen.append((path, block.event_id))
            sample = assign(block.group_id, seed, split)
            for index, (name, writer) in enumerate(zip(SAMPLES, writers, strict=True)):
                writer.append(block.select(sample == index))
                summary.kept[name] += int(np.count_nonzero(sample == index))
        _refuse_twins(seen)
        for name, kept in summary.kept.items():
            if kept == 0:
                others = f" and {len(files) - 1} more" if len(files) > 1 else ""
                raise InputError(
                    f"{files[0]}{others}: no event for the {name} sample ({summary.read} read, "
                    f"{summary.rejected['selection']} rejected by ingest.selection); "
                    "give more events or a wider selection"
                )
        write_json(stage / "summary.json", report_of(summary, kind, threshold))
    say("ingest", ", ".join(f"{name} {kept}" for name, kept in summary.kept.items()))
