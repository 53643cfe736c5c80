"""Profiles: a statistic of quantities per event in bins of a condition, for reference and members.

Moments and reconstruct write the same tables: for each variable, arrays (S, Q, B) over S
statistics (as mean and std), Q quantities and B bins.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sosie import domain
from sosie.bootstrap import MIN_EFFECTIVE, carried, counts
from sosie.detectors import find
from sosie.detectors.base import Detector
from sosie.ensembles import Spread, spread, statistical_error
from sosie.errors import InputError, IntermediateError
from sosie.events import Events, open_events
from sosie.progress import warn
from sosie.streams import key
from sosie.transforms import Transform, read_transform

Array = np.ndarray[Any, Any]
MIN_EVENTS = 10
"""Events a bin for which an error of its statistics means something."""
SPREAD = ("mean", "statistical", "systematic", "difference", "difference_error", "pull")


@dataclass(frozen=True)
class Binning:
    """Events in bins of one variable: edges (B+1,), bin of each event (N,) or -1, mean of the
    variable (B,) and number of events (B,)."""

    variable: str
    edges: Array
    index: Array
    centre: Array
    events: Array


def bin_events(variable: str, values: Array, bins: int | Sequence[float]) -> Binning:
    """``values`` (N,) in that many equally filled bins, or between the edges given.

    A bin holds its lower edge, not its upper one. Raises IntermediateError where nothing can be binned.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise IntermediateError(
            f"variable '{variable}' is not finite for any of {len(values)} events; "
            "leave it out of the bins"
        )
    if isinstance(bins, int):
        ordered = np.sort(finite)
        lower = ordered[np.arange(bins) * len(ordered) // bins]
        # The last edge is raised a little, so that the largest value is inside.
        edges = np.unique([*lower, np.nextafter(ordered[-1], np.inf)])
    else:
        edges = np.asarray(bins, np.float64)
    if finite.min() == finite.max() and isinstance(bins, int):
        edges = finite[0] + np.array([-0.5, 0.5])
    index = np.searchsorted(edges, values, side="right") - 1
    index[(index < 0) | (index >= len(edges) - 1) | ~np.isfinite(values)] = -1
    inside = index >= 0
    events = np.bincount(index[inside], minlength=len(edges) - 1)
    total = np.bincount(index[inside], weights=values[inside], minlength=len(edges) - 1)
    middle = (edges[1:] + edges[:-1]) / 2
    return Binning(
        variable, edges, index, np.where(events, total / np.maximum(events, 1), middle), events
    )


def check_filled(binning: Binning, bins: int | Sequence[float], step: str, path: str) -> None:
    """Refuse more equally filled bins than the events of ``path`` can carry; warn of poor bins.

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
    if poor := int((binning.events < MIN_EVENTS).sum()):
        warn(
            step,
            f"{path}: {poor} of {number} bins of {name} hold fewer than {MIN_EVENTS} events; "
            f"give wider bins in {key_} or more events",
        )


def left_empty(binning: Binning, weight: Array) -> int:
    """Number of bins whose events have weights (N,) that say nothing: see bootstrap.carried."""
    inside, bins = binning.index >= 0, len(binning.events)
    w, index = weight[inside], binning.index[inside]
    total, squares = (np.bincount(index, x, minlength=bins) for x in (w, w * w))
    return int((~carried(total, squares, binning.events) & (binning.events > 0)).sum())


def check_weights(binning: Binning, weight: Array, step: str, path: str) -> int:
    """Warn of bins that are left empty for their weights (N,), and return their number."""
    if number := left_empty(binning, weight):
        warn(
            step,
            f"{path}: the weights of {number} of {len(binning.events)} bins of {binning.variable} sum "
            "to nothing positive or are worth fewer than "
            f"{MIN_EFFECTIVE:g} events; they are left empty; give wider bins in "
            f"{step}.bins.{binning.variable}",
        )
    return number


@dataclass(frozen=True)
class Twins:
    """A reference sample and its generated twins, with all that the paired bootstrap needs.

    conditions (N, C), weight (N,), groups (N,); one open table for each member.
    """

    detector: Detector
    reference: Events
    members: Sequence[Events]
    conditions: Array
    weight: Array
    groups: Array
    seed: int
    replicas: int
    transform: Transform | None = None

    @cached_property
    def counts(self) -> Array:
        """Bootstrap counts (R, N) of all events."""
        return self.counts_of(slice(None))

    def counts_of(self, where: slice) -> Array:
        """Bootstrap counts (R, n) of some of the events."""
        return counts(key(self.seed, "bootstrap"), self.groups[where], self.replicas)

    def binnings(self, bins: Mapping[str, int | Sequence[float]], step: str) -> Iterator[Binning]:
        """The events in bins of each of the variables, as ``step`` asks; raises InputError."""
        values = domain.values(self.detector, self.conditions, self.transform)
        for name, how in bins.items():
            if name not in values:
                raise InputError(
                    f"{step}.bins.{name}: the distance to training needs the transform of the study; "
                    "give --transform"
                )
            binning = bin_events(name, values[name], how)
            check_filled(binning, how, step, self.reference.path)
            check_weights(binning, self.weight, step, self.reference.path)
            yield binning


@contextmanager
def open_twins(
    reference: str,
    generated: Sequence[str],
    seed: int,
    replicas: int,
    transform: str | None = None,
) -> Iterator[Twins]:
    """Reference and generated tables, checked to hold the same events in the same order.

    ``transform``: the file of preprocess, for the distance to the domain of training.

    Raises IntermediateError when they do not, InputError where no generated one is given.
    """
    if not generated:
        raise InputError(f"{reference}: no generated sample beside it; give one for each member")
    with ExitStack() as stack:
        first = stack.enter_context(open_events(reference))
        members = [stack.enter_context(open_events(path)) for path in generated]
        ids = first.column("event_id")
        for member in members:
            if (member.detector, member.shape) != (first.detector, first.shape):
                raise IntermediateError(
                    f"{member.path}: holds responses {member.shape} of detector "
                    f"'{member.detector}', {reference} {first.shape} of '{first.detector}'; "
                    "give samples of one detector"
                )
            if not np.array_equal(member.column("event_id"), ids):
                raise IntermediateError(
                    f"{member.path}: does not hold the events of {reference}; run generate again"
                )
        yield Twins(
            find(first.detector),
            first,
            members,
            first.column("conditions").astype(np.float64),
            first.weight,
            first.column("group_id"),
            seed,
            replicas,
            read_transform(transform) if transform else None,
        )


def tables(binning: Binning, reference: Array, members: Iterable[Array]) -> dict[str, Array]:
    """All arrays of one variable from tables with replicas: reference (R+1, S, Q, B) and members."""
    each = np.stack(list(members))
    return {
        "edges": binning.edges,
        "centre": binning.centre,
        "events": binning.events,
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
