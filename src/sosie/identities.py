"""Identities of events: the same one twice is an error, however many tables hold the events."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sosie.errors import InputError
from sosie.events import open_events

Array = np.ndarray[Any, Any]
BYTES = 24
"""Of an identity: as it is read, put together and sorted."""


@dataclass(frozen=True)
class Table:
    """An event table, and the input files of its events in their order with the number from each."""

    path: Path
    rows: Sequence[tuple[str, int]]


def _some(tables: Sequence[Table], low: int, last: int) -> Iterator[tuple[Table, Array, Array]]:
    """Rows and identities from ``low`` to ``last`` of each table, piece by piece."""
    for table in tables:
        with open_events(table.path) as events:
            for where in events.pieces():
                ids = events.rows("event_id", where)
                rows = np.flatnonzero((ids >= np.uint64(low)) & (ids <= np.uint64(last)))
                yield table, where.start + rows, ids[rows]


def _holders(tables: Sequence[Table], identity: int) -> list[str]:
    """The input files of the events with an identity."""
    found = []
    for table, rows, _ in _some(tables, identity, identity):
        ends = np.cumsum([events for _, events in table.rows])
        found += [table.rows[place][0] for place in np.searchsorted(ends, rows, side="right")]
    return list(dict.fromkeys(found))


def refuse_twins(tables: Sequence[Table], memory: int) -> None:
    """Raise InputError where an identity is there twice.

    Identities are compared some at a time, in about ``memory`` bytes: all those of a range of
    numbers, over which they are spread evenly.
    """
    total = sum(events for table in tables for _, events in table.rows)
    passes = max(1, -(-BYTES * total // memory))
    count, first = 0, None
    for number in range(passes):
        low, last = (1 << 64) * number // passes, (1 << 64) * (number + 1) // passes - 1
        ids = np.sort(
            np.concatenate(
                [np.empty(0, np.uint64), *(ids for _, _, ids in _some(tables, low, last))]
            )
        )
        twins = ids[1:][ids[1:] == ids[:-1]]
        count += len(twins)
        if first is None and len(twins):
            first = int(twins[0])
    if first is not None:
        raise InputError(
            f"{', '.join(_holders(tables, first))}: {count} events have an identity that was there "
            "before; remove the file that is given twice, or name what tells events apart in "
            "ingest.identity"
        )
