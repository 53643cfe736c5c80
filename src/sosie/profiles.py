"""Profiles: a statistic of quantities per event in bins of a condition, for reference and members.

Moments and reconstruct write the same tables: for each variable, arrays (S, Q, B) over S
statistics (as mean and std), Q quantities and B bins.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sosie.binnings import Binning, Filling, check_filled, check_weights, filled_edges
from sosie.bootstrap import counts
from sosie.detectors import find
from sosie.detectors.base import DISTANCE, Detector
from sosie.domain import AWAY, EDGE, INSIDE, OUTSIDE, ZONE
from sosie.ensembles import Spread, spread, statistical_error
from sosie.errors import InputError, IntermediateError
from sosie.events import Events, open_events
from sosie.kept import KeptEvents
from sosie.streams import key

Array = np.ndarray[Any, Any]
SPREAD = (
    "mean",
    "statistical",
    "systematic",
    "difference",
    "difference_error",
    "pull",
    "noise",
    "resampled_difference",
    "resampled_systematic",
)


@dataclass(frozen=True)
class Some:
    """Some events of the reference: conditions (n, C), weight (n,), groups (n,), and distance and
    zone (n,) of the domain of training, where the members know them."""

    conditions: Array
    weight: Array
    groups: Array
    distance: Array | None
    zone: Array | None


@dataclass(frozen=True)
class Twins:
    """A reference sample and its generated twins, with all that the paired bootstrap needs; one
    open table for each member."""

    detector: Detector
    reference: Events
    members: Sequence[Events]
    seed: int
    replicas: int

    def _told(self, name: str, where: slice) -> Array | None:
        first = self.members[0]
        return first.rows(f"aux/{name}", where) if name in first.aux else None

    def kept(self, rows: Array) -> "Twins":
        """The same of the events in these rows (n,) alone."""
        members = [KeptEvents(member, rows) for member in self.members]
        return replace(self, reference=KeptEvents(self.reference, rows), members=members)

    def some(self, where: slice) -> Some:
        """Some of the events."""
        return Some(
            self.reference.rows("conditions", where).astype(np.float64),
            self.reference.weights(where),
            self.reference.rows("group_id", where),
            self._told(AWAY, where),
            self._told(ZONE, where),
        )

    @cached_property
    def conditions(self) -> Array:
        """Conditions (N, C) of all events."""
        return self.reference.column("conditions").astype(np.float64)

    @cached_property
    def weight(self) -> Array:
        """Weights (N,) of all events."""
        return self.reference.weight

    @cached_property
    def groups(self) -> Array:
        """Groups (N,) of all events."""
        return self.reference.column("group_id")

    @cached_property
    def zones(self) -> list[float] | None:
        """Shares of the events inside the domain of training, at its edge and outside, where known."""
        number = np.zeros(3)
        for where in self.reference.pieces():
            if (zone := self._told(ZONE, where)) is None:
                return None
            number += [np.count_nonzero(zone == one) for one in (INSIDE, EDGE, OUTSIDE)]
        shares: list[float] = (number / len(self.reference)).tolist()
        return shares

    @cached_property
    def counts(self) -> Array:
        """Bootstrap counts (R, N) of all events."""
        return self.counts_of(self.groups)

    def counts_of(self, groups: Array) -> Array:
        """Bootstrap counts (R, n) of events of these groups (n,)."""
        return counts(self.stream, groups, self.replicas)

    @property
    def stream(self) -> int:
        """The seed of the counts."""
        return key(self.seed, "bootstrap")

    def variables(self, some: Some) -> dict[str, Array]:
        """What events can be binned in (n,), by name."""
        values = dict(self.detector.variable(some.conditions))
        if some.distance is not None:
            values[DISTANCE] = some.distance.astype(np.float64)
        return values

    def binnings(
        self, bins: Mapping[str, int | Sequence[float]], step: str, index: bool = False
    ) -> list[Binning]:
        """The events in bins of each of the variables, as ``step`` asks, read as a stream; with
        ``index`` the bin of each. Raises InputError."""
        known = self.variables(self.some(slice(0, min(1, len(self.reference)))))
        if unknown := [name for name in bins if name not in known]:
            raise InputError(
                f"{step}.bins.{unknown[0]}: {self.members[0].path} does not tell the distance to the "
                "training sample; run ensemble and generate again"
            )

        def pieces() -> Iterator[dict[str, Array]]:
            return (self.variables(self.some(where)) for where in self.reference.pieces())

        equal = {name: how for name, how in bins.items() if isinstance(how, int)}
        given = {n: np.asarray(how, np.float64) for n, how in bins.items() if n not in equal}
        edges = filled_edges(pieces, equal, len(self.reference)) | given
        fillings = {name: Filling(edges[name]) for name in bins}
        places: dict[str, list[Array]] = {name: [] for name in bins}
        for where in self.reference.pieces():
            some = self.some(where)
            values = self.variables(some)
            for name, filling in fillings.items():
                place = filling.add(values[name], some.weight, some.zone)
                if index:
                    places[name].append(place)
        found = []
        for name, how in bins.items():
            whole = np.concatenate(places[name]) if places[name] else None
            found.append(binning := fillings[name].binning(name, whole))
            check_filled(binning, how, step, self.reference.path)
            check_weights(binning, step, self.reference.path)
        return found


@contextmanager
def open_twins(
    reference: str,
    generated: Sequence[str],
    seed: int,
    replicas: int,
) -> Iterator[Twins]:
    """Reference and generated tables, checked to hold the same events in the same order.

    Raises IntermediateError when they do not, InputError where no generated one is given.
    """
    if not generated:
        raise InputError(f"{reference}: no generated sample beside it; give one for each member")
    with ExitStack() as stack:
        first = stack.enter_context(open_events(reference))
        members = [stack.enter_context(open_events(path)) for path in generated]
        for member in members:
            if (member.detector, member.shape) != (first.detector, first.shape):
                raise IntermediateError(
                    f"{member.path}: holds responses {member.shape} of detector "
                    f"'{member.detector}', {reference} {first.shape} of '{first.detector}'; "
                    "give samples of one detector"
                )
            if len(member) != len(first) or not all(
                np.array_equal(member.rows("event_id", where), first.rows("event_id", where))
                for where in first.pieces()
            ):
                raise IntermediateError(
                    f"{member.path}: does not hold the events of {reference}; run generate again"
                )
        yield Twins(find(first.detector), first, members, seed, replicas)


def tables(binning: Binning, reference: Array, members: Iterable[Array]) -> dict[str, Array]:
    """All arrays of one variable from tables with replicas: reference (R+1, S, Q, B) and members.

    ``flagged`` (B,): share of the events that are not inside the domain of training, NaN for a bin
    without events and where it is not known.
    """
    each = np.stack(list(members))
    unknown = np.full(len(binning.events), np.nan)
    return {
        "edges": binning.edges,
        "centre": binning.centre,
        "events": binning.events,
        "flagged": unknown if binning.flagged is None else binning.flagged,
        **spread_arrays(spread(reference, each), reference, each),
    }


def spread_arrays(result: Spread, reference: Array, members: Array) -> dict[str, Array]:
    """A spread with its reference and nominal members as arrays by name."""
    return {
        "reference": reference[0],
        "reference_error": statistical_error(reference),
        "members": members[:, 0],
        **{name: getattr(result, name) for name in SPREAD},
    }


def named(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays with their names below ``prefix``."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def below(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays whose names begin with ``prefix``, without it."""
    start = f"{prefix}/"
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}
