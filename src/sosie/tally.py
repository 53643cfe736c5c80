"""What ingest counts while it reads: events kept and rejected, cells suppressed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from sosie.blocks import Piece
from sosie.detectors.base import Detector
from sosie.errors import InputError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Prepared:
    """A piece of a file ready to be written: the rows of each sample, and what was suppressed in it."""

    piece: Piece
    samples: Mapping[str, Array]
    cells: int
    cells_removed: int
    signal: float
    signal_removed: float


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
    kept: dict[str, int] = field(default_factory=dict)
    weight: dict[str, float] = field(default_factory=dict)
    rows: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    """Of each sample the files in the order of its events, and how many there are of each."""
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

    def open(self, path: str, known: dict[str, Any]) -> None:
        """Begin a file; raises InputError for one that is another one by its bytes."""
        # A sample of its own may be a selection of the same file.
        if self.files.get(path) != known:
            for other, before in self.files.items():
                if before["sha256"] == known["sha256"]:
                    raise InputError(
                        f"{other}, {path}: the same file twice; remove one of them from ingest.files"
                    )
        self.files[path] = known

    def keep(self, sample: str, path: str, events: int, weight: float) -> None:
        """Count events of a file that a sample keeps."""
        self.kept[sample] = self.kept.get(sample, 0) + events
        self.weight[sample] = self.weight.get(sample, 0.0) + weight
        rows = self.rows.setdefault(sample, [])
        if rows and rows[-1][0] == path:
            events += rows.pop()[1]
        rows.append((path, events))

    def as_dict(self) -> dict[str, Any]:
        """The summary of a part as JSON."""
        return asdict(self)

    def join(self, part: Mapping[str, Any]) -> None:
        """Add the summary of a part, from JSON."""
        for path, known in part["files"].items():
            self.open(path, known)
        for path, there in part["rejected"].items():
            mine = self.rejected.setdefault(path, Rejected())
            mine.selected += there["selected"]
            mine.not_finite += there["not_finite"]
            mine.problem = mine.problem or there["problem"]
        for name in ("read", "cells", "cells_removed", "signal", "signal_removed"):
            setattr(self, name, getattr(self, name) + part[name])
        for sample, rows in part["rows"].items():
            for path, events in rows:
                self.keep(sample, path, events, 0.0)
            self.weight[sample] += part["weight"][sample]
        if part["low"] is not None:
            self._range(*(np.array(part[end], np.float32) for end in ("low", "high")))

    def _range(self, low: Array, high: Array) -> None:
        self.low = low if self.low is None else np.minimum(self.low, low)
        self.high = high if self.high is None else np.maximum(self.high, high)

    def add(self, path: str, part: Prepared) -> None:
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
            self._range(conditions.min(axis=0), conditions.max(axis=0))


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
