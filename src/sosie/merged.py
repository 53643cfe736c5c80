"""Event tables that were written in parts, as one: a list of the parts, which stay where they are."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sosie.detectors.base import Detector
from sosie.errors import IntermediateError
from sosie.events import AGAIN, INCIDENT, MERGED, NEEDED, VIEW, Events, open_events
from sosie.files import digest, to_json, write_atomic
from sosie.hdf5 import fixed, new_file, own_text, plain

Array = np.ndarray[Any, Any]
SCHEMA = 1
PART = re.compile(r"parts/\d+/[A-Za-z0-9_-]+\.h5")
"""Where a part lies, seen from the folder of the merged table: nowhere else."""
OPEN = 2
"""Parts that are open at a time, since a piece may end in one and begin in the next."""
SHOWN = (*NEEDED, "weight", INCIDENT)


def write_merged(
    path: Path, detector: Detector, attributes: Mapping[str, Any], parts: Sequence[str]
) -> int:
    """Write the list of ``parts`` (paths below the folder of ``path``) as one event table; returns
    the number of its events.

    Other programs see the main columns as virtual datasets over the parts; ours never open these.
    Raises IntermediateError for parts that do not belong together.
    """
    listed: list[tuple[str, int, str]] = []
    columns: dict[str, tuple[tuple[int, ...], Any]] = {}
    for name in parts:
        with open_events(path.parent / name) as events:
            listed.append((name, len(events), events.signature))
            here = {column: events.kind_of(column) for column in events.names}
        if columns and here != columns:
            raise IntermediateError(
                f"{path.parent / name}: holds columns {', '.join(here)}, {path.parent / parts[0]} "
                f"{', '.join(columns)}; run ingest of all parts again"
            )
        columns = here
    total = sum(events for _, events, _ in listed)

    def verify(part: Path) -> None:
        with open_events(part) as events:
            if len(events) != total:
                raise IntermediateError(f"{part}: {len(events)} of {total} events")

    with write_atomic(path, verify) as part, new_file(part) as (file, _):
        for column in SHOWN:
            if column in columns:
                _show(file, column, column, *columns[column], listed)
        if INCIDENT in columns:
            shape, kind = columns["response"]
            _show(file, VIEW, "response", shape, kind, listed, flat=True)
        text = to_json({"detector": detector.name, "attributes": attributes, "parts": listed})
        file.attrs["kind"] = fixed(MERGED)
        file.attrs["schema"] = SCHEMA
        file["attributes"] = fixed(text)
        file.attrs["attributes_digest"] = fixed(digest(MERGED, text))
    return total


def _show(
    file: h5py.File,
    name: str,
    source: str,
    shape: tuple[int, ...],
    kind: Any,
    parts: Sequence[tuple[str, int, str]],
    flat: bool = False,
) -> None:
    """A virtual dataset over a column of the parts, whose rows have a shape."""
    row = (int(np.prod(shape)),) if flat else shape
    space = h5py.h5s.create_simple((sum(events for _, events, _ in parts), *row))
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    # h5py's create_virtual_dataset stamps the time into the file.
    how.set_obj_track_times(False)
    start = 0
    for path, events, _ in parts:
        if events:
            there = h5py.h5s.create_simple((events, *shape))
            space.select_hyperslab((start, *[0] * len(row)), (events, *row))
            how.set_virtual(space, path.encode(), source.encode(), there)
            start += events
    space.select_all()
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(kind, logical=True), space, how)


class MergedEvents(Events):
    """The parts as one table; each part is verified when it is opened, and each slab when it is read."""

    def __init__(self, path: str | Path, file: h5py.File) -> None:
        self.path = str(path)
        if plain(file.attrs.get("kind")) != MERGED or file.attrs.get("schema") != SCHEMA:
            raise ValueError(f"it is not a merged event table of schema {SCHEMA}")
        text = own_text(file)
        if plain(file.attrs.get("attributes_digest")) != digest(MERGED, text):
            raise ValueError("its list of parts is damaged")
        found = json.loads(text)
        self.attributes = found["attributes"]
        self.detector = found["detector"]
        self.threshold = self.attributes["threshold"]
        self._parts: list[tuple[str, int, str]] = [tuple(part) for part in found["parts"]]
        for name, _, _ in self._parts:
            if not PART.fullmatch(name):
                raise ValueError(f"its part '{name}' lies elsewhere")
        self._starts = np.cumsum([0, *(events for _, events, _ in self._parts)])
        self._events = int(self._starts[-1])
        self._open: dict[int, tuple[Events, ExitStack]] = {}
        self._held = {}
        first = self._part(0)
        self.signature = digest(MERGED, text)
        self._kinds = {name: first.kind_of(name) for name in first.names}

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self._kinds)

    def kind_of(self, name: str) -> tuple[tuple[int, ...], Any]:
        """Shape of a row of a column, and type."""
        return self._kinds[name]

    def close(self) -> None:
        """Close the parts."""
        for _, stack in self._open.values():
            stack.close()
        self._open.clear()

    def _part(self, number: int) -> Events:
        if number in self._open:
            return self._open[number][0]
        while len(self._open) >= OPEN:
            self._open.pop(next(iter(self._open)))[1].close()
        name, _, signature = self._parts[number]
        path, folder = Path(self.path).parent / name, Path(self.path).parent
        if path.resolve() != folder.resolve() / name:
            raise IntermediateError(f"{path}: is a link; {AGAIN}")
        with ExitStack() as stack:
            found = stack.enter_context(open_events(path))
            if isinstance(found, MergedEvents) or found.signature != signature:
                raise IntermediateError(f"{path}: is not the part of {self.path}; {AGAIN}")
            self._open[number] = found, stack.pop_all()
        return found

    def _slabs(self, name: str, start: int, stop: int) -> Array:
        """Some events of a column, out of as many parts as they lie in."""
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = int(np.searchsorted(self._starts, stop, side="left"))
        found = []
        for number in range(first, max(last, first + 1)):
            begin, end = self._starts[number], self._starts[number + 1]
            where = slice(int(max(start, begin) - begin), int(min(stop, end) - begin))
            if where.stop > where.start:
                found.append(self._part(number).rows(name, where))
        if not found:
            shape, kind = self._kinds[name]
            return np.empty((0, *shape), kind)
        return found[0] if len(found) == 1 else np.concatenate(found)
