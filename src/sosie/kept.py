"""Some of the events of a table, as a table: what enters figures that need events in memory."""

from typing import Any

import numpy as np

from sosie.distances import sampled
from sosie.events import SLAB, Events

Array = np.ndarray[Any, Any]


class KeptEvents(Events):
    """The events of an open table in these rows (n,), which rise."""

    def __init__(self, events: Events, rows: Array) -> None:
        self._all, self._chosen = events, rows
        self.path, self.detector, self.attributes = events.path, events.detector, events.attributes
        self.threshold, self.signature = events.threshold, events.signature
        self._events = len(rows)
        self._held = {}

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return self._all.names

    def kind_of(self, name: str) -> tuple[tuple[int, ...], Any]:
        """Shape of a row of a column, and type."""
        return self._all.kind_of(name)

    def _slabs(self, name: str, start: int, stop: int) -> Array:
        """Some of the kept events of a column; a slab of the table is in memory at a time."""
        shape, kind = self.kind_of(name)
        rows = self._chosen[start:stop]
        out = np.empty((len(rows), *shape), kind)
        for slab in np.unique(rows // SLAB):
            here = np.flatnonzero(rows // SLAB == slab)
            first = int(slab) * SLAB
            whole = self._all.rows(name, slice(first, min(first + SLAB, len(self._all))))
            out[here] = whole[rows[here] - first]
        return out


def rows_kept(events: Events, seed: int, most: int) -> Array | None:
    """Rows of ``most`` events at most, whole groups drawn by a digest; None where there are no more."""
    if len(events) <= most:
        return None
    return np.flatnonzero(sampled(events.column("group_id"), seed, most))


def kept(events: Events, seed: int, most: int) -> Events:
    """An open table with ``most`` events at most: itself where it has no more."""
    rows = rows_kept(events, seed, most)
    return events if rows is None else KeptEvents(events, rows)
