"""Memorisation: whether generated events are nearer to the training sample than test events are.

Definitions: "Distances, for any detector" in the manual of the metrics.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sosie.classifiers import auc_of, classes_of
from sosie.distances import Floats, Halved, Mask, members_value, sampled
from sosie.errors import IntermediateError
from sosie.events import Events
from sosie.neighbours import nearest_two
from sosie.performance import Figure, of_members

Array = np.ndarray[Any, Any]

QUERIES = 5000
"""Test events, and as many generated ones, whose neighbours are looked for."""

RARE, NEARER = 1e-3, 0.5
"""A copy is nearer, by this factor, than all but this share of the test events."""


def chosen_responses(events: Events, chosen: Mask) -> Array:
    """The responses (n, *shape) of the chosen events (N,), read in pieces."""
    return np.concatenate([part[chosen[where]] for where, part in events.responses()])


def fingerprints(response: Array, signed: bool, width: Floats) -> Floats:
    """Responses (N, *shape) as points (N, D) between which distances do not depend on the scale.

    The square roots of the cells' shares of the sum, so that the distance is that of Hellinger times
    the square root of 2; an empty response is the origin. Numbers of either sign over ``width`` (D,)
    instead, the standard deviations of the test sample; what does not vary is left out.
    """
    flat = np.asarray(response, np.float64).reshape(len(response), -1)
    if signed:
        varies = width > 0
        return np.asarray(flat[:, varies] / width[varies])
    total = flat.sum(axis=1, keepdims=True)
    return np.sqrt(np.maximum(flat, 0) / np.where(total > 0, total, 1.0))


def is_copy(ratio: Floats, of_test: Floats) -> Mask:
    """Which events (n,) are much nearer to one training event than test events (m,) ever are.

    Both are the distance to the nearest training event over that to the second nearest, NaN where
    both are 0: a ratio, since distances alone depend on the conditions.
    """
    known = of_test[np.isfinite(of_test)]
    if not known.size:
        return np.zeros(len(ratio), np.bool_)
    return np.asarray(ratio < NEARER * np.quantile(known, RARE))


def memorisation_figures(
    training: Events,
    reference: Events,
    members: Sequence[Events],
    signed: bool,
    events: Halved,
) -> tuple[dict[str, Figure], dict[str, Figure]]:
    """Share of copies, and AUC by the distance to the training sample: of the members, of the floor.

    The AUC is the probability that a generated event of B is nearer to its nearest training event
    than a test event of A to its own. Each event is that of one member, in turn. Raises
    IntermediateError for a training sample of other responses.
    """
    if (training.detector, training.shape) != (reference.detector, reference.shape):
        raise IntermediateError(
            f"{training.path}: holds responses {training.shape} of detector '{training.detector}', "
            f"{reference.path} {reference.shape} of '{reference.detector}'; give the training sample "
            "of the same study"
        )
    number = len(reference)
    chosen = np.flatnonzero(sampled(events.groups, events.seed, QUERIES))
    tested = chosen_responses(reference, _mask(chosen, number))
    width = np.std(tested.reshape(len(tested), -1), axis=0, dtype=np.float64)
    drawn = np.empty_like(tested)
    for k, member in enumerate(members):
        mine = chosen[k :: len(members)]
        drawn[k :: len(members)] = chosen_responses(member, _mask(mine, number))

    def known() -> Iterator[Floats]:
        for _, response in training.responses(slabs=1):
            yield fingerprints(response, signed, width)

    points = [fingerprints(response, signed, width) for response in (tested, drawn)]
    distance = nearest_two(np.concatenate(points), known())
    own, generated = distance[: len(chosen)], distance[len(chosen) :]
    some = events.some(_mask(chosen, number))
    return _figures(own, generated, some), _figures(own, own, some)


def _figures(own: Floats, other: Floats, halved: Halved) -> dict[str, Figure]:
    """Copies and AUC from distances (n, 2) of test events and of others."""
    ratios = [_ratio(distance) for distance in (own, other)]
    copies, aucs, events = [], [], []
    for a in halved.split:
        b = ~a
        events.append((int(a.sum()), int(b.sum())))
        copies.append(is_copy(ratios[1][b], ratios[0][a]).mean() if b.any() else np.nan)
        w = halved.weight
        weights = (None, None) if w is None else (w[a], w[b])
        classes = classes_of(*events[-1], 0, halved.groups[a], halved.groups[b], *weights)
        score = -np.concatenate([own[a, 0], other[b, 0]])
        everything = np.ones(len(score), np.bool_)
        aucs.append(auc_of(score, classes, everything) if classes else np.nan)
    fewest = np.min(events, axis=0)
    return {
        name: of_members(members_value([values]), fewest)
        for name, values in (("copies", copies), ("auc", aucs))
    }


def _ratio(distance: Floats) -> Floats:
    """The nearest over the second nearest (n,) of distances (n, 2); NaN where it is not defined."""
    one, two = distance.T
    usable = (two > 0) & np.isfinite(two)
    return np.where(usable, one, np.nan) / np.where(usable, two, 1.0)


def _mask(chosen: Array, number: int) -> Mask:
    mask = np.zeros(number, np.bool_)
    mask[chosen] = True
    return mask
