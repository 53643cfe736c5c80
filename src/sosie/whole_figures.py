"""Figures of compare that take an event as a whole: classifiers, FPD and KPD, manifolds.

Each is a distance between half A of the reference and half B of a sample, with its errors.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from sosie.classifiers import classifier_auc
from sosie.detectors.base import Detector
from sosie.distances import Halved, members_value, sampled
from sosie.events import Events, open_events
from sosie.fpd_kpd import physics_distances
from sosie.manifold import manifold
from sosie.memorisation import chosen_responses, memorisation_figures
from sosie.performance import Figure, of_members
from sosie.profiles import Twins
from sosie.streams import key

Array = np.ndarray[Any, Any]

MOST = 20_000
"""Test events that enter the figures whose cost grows with their number; the trees take all."""


Measure = Callable[..., Any]
"""Takes a, b, seed, and by name groups and weights of each; returns numbers and ``events``."""


def half_figures(
    measure: Measure, reference: Array, samples: Iterable[Array], events: Halved
) -> dict[str, Figure]:
    """What ``measure`` finds between reference A and samples B (N, D), by the names of its result.

    Samples are taken one at a time. Events are the fewest of all splits and members.
    """
    rows = [
        [_between(measure, reference, sample, events, j) for j in range(len(events.split))]
        for sample in samples
    ]
    fewest = np.min([r.events for row in rows for r in row], axis=0)
    names = [field.name for field in fields(rows[0][0]) if field.name != "events"]
    return {
        name: of_members(members_value([[getattr(r, name) for r in row] for row in rows]), fewest)
        for name in names
    }


def _between(measure: Measure, reference: Array, sample: Array, events: Halved, j: int) -> Any:
    a = events.split[j]
    weights = {}
    if events.weight is not None:
        weights = {"a_weights": events.weight[a], "b_weights": events.weight[~a]}
    return measure(
        reference[a],
        sample[~a],
        key(events.seed, "compare", j) % 2**32,
        a_groups=events.groups[a],
        b_groups=events.groups[~a],
        **weights,
    )


def _ungrouped(measure: Measure, seeded: bool) -> Measure:
    """A measure that asks for no groups, and perhaps for no seed."""

    def measured(a: Array, b: Array, seed: int, a_groups: Array, b_groups: Array, **w: Any) -> Any:
        return measure(a, b, *([seed] if seeded else []), **w)

    return measured


@dataclass(frozen=True)
class Observed:
    """A sample: its observables (N, O) and its event table."""

    values: Array
    table: Events


def whole_figures(
    detector: Detector,
    reference: Observed,
    samples: Sequence[Observed],
    features: Array,
    events: Halved,
) -> dict[str, Any]:
    """All of these figures of samples against the reference.

    features (N, F): further inputs of the classifiers. FPD, KPD and manifolds take the observables
    but the minor ones, in units of the largest absolute value and of the standard deviation of the
    reference.
    """
    from sosie.neural_classifier import cell_inputs, mlp_auc  # torch is slow to import

    chosen = sampled(events.groups, events.seed, MOST)
    fewer, beside = events.some(chosen), features[chosen].astype(np.float32)
    major = [place for place, name in enumerate(detector.observables) if name not in detector.minor]
    main = np.ma.masked_invalid(reference.values[:, major])

    def high(sample: Observed) -> Array:
        return np.hstack([sample.values[chosen].astype(np.float32), beside])

    def low(sample: Observed) -> Array:
        cells = cell_inputs(chosen_responses(sample.table, chosen), detector.signed)
        return np.hstack([cells, beside])

    def over(size: Any) -> Callable[[Observed], Array]:
        unit = np.where(size.filled(0) > 0, size.filled(0), 1.0)
        return lambda sample: sample.values[chosen][:, major] / unit

    def every(sample: Observed) -> Array:
        return np.column_stack([sample.values, features])

    def found(
        measure: Measure, inputs: Callable[[Observed], Array], among: Halved = fewer
    ) -> dict[str, Figure]:
        return half_figures(measure, inputs(reference), map(inputs, samples), among)

    return {
        "classifier": found(classifier_auc, every, events),
        "classifier_mlp": found(mlp_auc, high),
        "classifier_low": found(mlp_auc, low),
        **found(_ungrouped(physics_distances, True), over(np.abs(main).max(axis=0))),
        "manifold": found(_ungrouped(manifold, False), over(main.std(axis=0))),
    }


def with_floor(
    twins: Twins, training: str, first: Array, others: Sequence[Array], halved: Halved
) -> tuple[dict[str, Any], dict[str, Any]]:
    """These figures and those of memorisation, of the members and of the floor.

    ``first`` and ``others`` are the observables (N, O) of the reference and of the members,
    ``training`` the event table of the training sample. One thread: sums do not depend on their
    number.
    """
    from threadpoolctl import threadpool_limits

    detector, features = twins.detector, twins.detector.features(twins.conditions)
    reference = Observed(first, twins.reference)
    members = [Observed(*pair) for pair in zip(others, twins.members, strict=True)]
    with threadpool_limits(limits=1), open_events(training) as sample:
        memorised = memorisation_figures(
            sample, twins.reference, twins.members, detector.signed, halved
        )
        found = [
            whole_figures(detector, reference, samples, features, halved)
            for samples in (members, [reference])
        ]
    figures, floor = (
        {**one, "memorisation": part} for one, part in zip(found, memorised, strict=True)
    )
    return figures, floor
