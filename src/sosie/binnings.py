"""Events in bins of one variable: equally filled, or between edges that are given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sosie.bootstrap import MIN_EFFECTIVE, carried
from sosie.detectors.base import DISTANCE
from sosie.errors import InputError, IntermediateError
from sosie.order import Pieces, equal_parts
from sosie.progress import warn

Array = np.ndarray[Any, Any]
MIN_EVENTS = 10
"""Events a bin for which an error of its statistics means something."""


@dataclass(frozen=True)
class Binning:
    """Events in bins of one variable: edges (B+1,), bin of each event (N,) or -1, mean of the
    variable (B,), number of events (B,), and share of them that are not inside the domain of
    training (B,), none where it is not known. index is empty where the events are read as a stream.
    left_empty: number of bins whose events have weights that say nothing, see bootstrap.carried."""

    variable: str
    edges: Array
    index: Array
    centre: Array
    events: Array
    flagged: Array | None = None
    left_empty: int = 0

    def index_of(self, values: Array) -> Array:
        """The bin (n,) of some events, -1 outside; a bin holds its lower edge, not its upper one."""
        return index_of(self.edges, values)


def index_of(edges: Array, values: Array) -> Array:
    """The bin (n,) of values (n,) between edges (B+1,), or -1."""
    index = np.searchsorted(edges, values, side="right") - 1
    index[(index < 0) | (index >= len(edges) - 1) | ~np.isfinite(values)] = -1
    return index


def edges_of(parts: Array) -> Array:
    """Edges of equally filled bins from what ``order.equal_parts`` gives of their variable."""
    if parts[0] == parts[-1]:
        return parts[0] + np.array([-0.5, 0.5])
    # The last edge is raised a little, so that the largest value is inside.
    return np.unique([*parts[:-1], np.nextafter(parts[-1], np.inf)])


def bin_events(
    variable: str, values: Array, bins: int | Sequence[float], zone: Array | None = None
) -> Binning:
    """``values`` (N,) in that many equally filled bins, or between the edges given.

    A bin holds its lower edge, not its upper one. ``zone`` (N,): not 0 for events that are not inside
    the domain of training. Raises IntermediateError where no edges can be found.
    """
    if isinstance(bins, int):
        (edges,) = filled_edges(
            lambda: [{variable: values}], {variable: bins}, len(values)
        ).values()
    else:
        edges = np.asarray(bins, np.float64)
    filling = Filling(edges)
    index = filling.add(values, np.ones(len(values)), zone)
    return filling.binning(variable, index)


def filled_edges(pieces: Pieces, bins: Mapping[str, int], events: int) -> dict[str, Array]:
    """Edges (B+1,) of equally filled bins of each variable; raises IntermediateError for one that
    is never finite."""
    found = equal_parts(pieces, bins) if bins else {}
    for name, parts in found.items():
        if not len(parts):
            raise IntermediateError(
                f"variable '{name}' is not finite for any of {events} events; "
                "leave it out of the bins"
            )
    return {name: edges_of(parts) for name, parts in found.items()}


class Filling:
    """What is known of the bins between edges (B+1,), event by event, so that pieces change nothing."""

    def __init__(self, edges: Array) -> None:
        self.edges = edges
        bins = len(edges) - 1
        self._events, self._off = np.zeros((2, bins), np.int64)
        self._values, self._weight, self._squares = np.zeros((3, bins))
        self._zoned = False

    def add(self, values: Array, weight: Array, zone: Array | None) -> Array:
        """Add values (n,) with weights (n,) and zones (n,), and return their bins (n,)."""
        index = index_of(self.edges, values)
        inside = index >= 0
        where, w = index[inside], weight[inside]
        np.add.at(self._events, where, 1)
        for total, numbers in (
            (self._values, values[inside]),
            (self._weight, w),
            (self._squares, w * w),
        ):
            np.add.at(total, where, numbers)
        if zone is not None:
            self._zoned = True
            np.add.at(self._off, where, zone[inside] > 0)
        return index

    def binning(self, variable: str, index: Array | None = None) -> Binning:
        """The bins so far."""
        events, number = self._events, np.maximum(self._events, 1)
        middle = (self.edges[1:] + self.edges[:-1]) / 2
        said = carried(self._weight, self._squares, events)
        return Binning(
            variable,
            self.edges,
            np.empty(0, np.int64) if index is None else index,
            np.where(events, self._values / number, middle),
            events,
            np.where(events, self._off / number, np.nan) if self._zoned else None,
            int((~said & (events > 0)).sum()),
        )


def check_filled(binning: Binning, bins: int | Sequence[float], step: str, path: str) -> None:
    """Refuse more equally filled bins than the events of ``path`` can carry; warn of poor bins, save
    those of the distance, which few events reach.

    Raises InputError that names the key of the step.
    """
    name, key_ = binning.variable, f"{step}.bins.{binning.variable}"
    inside, number = int(binning.events.sum()), len(binning.events)
    if isinstance(bins, int):
        if inside < MIN_EVENTS * bins:
            raise InputError(
                f"{path}: {inside} events for {bins} bins of {name}, at least {MIN_EVENTS} a bin "
                f"are needed; lower {key_} or give more events"
            )
        if number < bins:
            warn(
                step,
                f"{path}: so many events share a value of {name} that there are {number} of "
                f"{bins} bins; give edges in {key_} or leave it out",
            )
    if name != DISTANCE and (poor := int((binning.events < MIN_EVENTS).sum())):
        warn(
            step,
            f"{path}: {poor} of {number} bins of {name} hold fewer than {MIN_EVENTS} events; "
            f"give wider bins in {key_} or more events",
        )


def check_weights(binning: Binning, step: str, path: str) -> None:
    """Warn of bins that are left empty for their weights."""
    if number := binning.left_empty:
        warn(
            step,
            f"{path}: the weights of {number} of {len(binning.events)} bins of {binning.variable} sum "
            "to nothing positive or are worth fewer than "
            f"{MIN_EFFECTIVE:g} events; they are left empty; give wider bins in "
            f"{step}.bins.{binning.variable}",
        )
