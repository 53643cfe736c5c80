"""The fit of parametric: regressions of the mean, of the scores on one another, of their variances."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from sosie.detectors import find
from sosie.errors import InputError
from sosie.progress import say
from sosie.surrogates.base import Array, Origin
from sosie.surrogates.parametric import Parametric, free_numbers, inputs, to_image
from sosie.surrogates.regression import RIDGE, Basis, Solver, blocks, solved

SMALL = 1e-9  # share of the largest variance below which a component is none
ROWS = 512  # events at a time where each has a matrix
PER_LINK = 4  # events for each coefficient of the last score


@threadpool_limits.wrap(limits=1, user_api="blas")
def fit(
    origin: Origin,
    settings: Mapping[str, Any],
    response: Array,
    conditions: Array,
    weight: Array,
) -> Parametric:
    """The surrogate of responses (N, *shape) at conditions (N, C) with weights (N,) of either sign.

    Raises InputError for too few events, or weights that leave no minimum.
    """
    if not weight.sum() > 0:
        raise InputError(f"parametric: the weights sum to {weight.sum():g}; look at ingest.weight")
    events = float(weight.sum() ** 2 / (weight**2).sum())
    weight = weight * (events / weight.sum())
    ties = find(origin.detector).ties
    pattern = ties.find(response) if ties else None
    features, *others = inputs(origin, conditions, pattern)
    basis = Basis.fit(features, others[0], events)
    terms = basis(features, *others)
    counts = free_numbers(origin, pattern)
    size = to_image(origin, response[:1]).shape[1]
    residual = np.empty((len(response), size), np.float32)
    for here in blocks(len(response)):
        residual[here] = to_image(origin, response[here])
    mean = _mean(terms, weight, residual, counts, events)
    components, scores = _scores(residual, weight, counts, settings["components"], events, features)
    few = PER_LINK * components.shape[1] * terms.shape[1] <= events
    of_links = terms if few else terms[:, : 1 + features.shape[1]]
    linked, errors = _links(scores, of_links, weight, counts)
    say("train", f"parametric: {terms.shape[1]} terms, {components.shape[1]} components")
    of_scores, of_rest = _variances(terms, weight, errors, counts), _no_rest(terms)
    if components.shape[1] < residual.shape[1]:
        for here in blocks(len(residual)):
            residual[here] -= scores[here] @ components.T
        of_rest = _variances(terms, weight, residual, None)
    return Parametric(
        origin, settings, basis.edge, basis.begin, basis.width, mean, components, linked,
        *of_scores, *of_rest,
    )  # fmt: skip


def _mean(terms: Array, weight: Array, image: Array, counts: Array | None, events: float) -> Array:
    """Coefficients (T, n) of the mean of ``image`` (N, n), which becomes what it leaves, 0 where a
    number is not free; as wide as it is for events that are not in the fit."""
    found = np.empty((terms.shape[1], image.shape[1]))
    for here, own in _columns(weight, counts, image.shape[1]):
        solver = Solver(terms, own, "the mean of the response")
        there = events if counts is None else float(own.sum())
        found[:, here] = solver.mean(image[:, here])
        widened = np.sqrt(there / max(there - solver.freedom, there / 2))
        for rows in blocks(len(image)):
            away = image[rows, here] - terms[rows] @ found[:, here]
            image[rows, here] = widened * away
    if counts is not None:
        image *= counts
    return found


def _columns(weight: Array, counts: Array | None, size: int) -> list[tuple[slice, Array]]:
    """Numbers that are fitted alike, and the weights (N,) with which they are."""
    if counts is None:
        return [(slice(0, size), weight)]
    return [(slice(j, j + 1), weight * counts[:, j]) for j in range(size)]


def _scores(
    residual: Array, weight: Array, counts: Array | None, most: int, events: float, features: Array
) -> tuple[Array, Array]:
    """Components (n, k), each as long as its standard deviation, and scores (N, k) on them."""
    size = residual.shape[1]
    if counts is not None:
        width = np.sqrt(np.maximum((residual.astype(np.float64) ** 2).sum(axis=0), 1e-12))
        width /= np.sqrt(np.maximum(counts.sum(axis=0), 1))
        return np.diag(width), residual / width
    covariance = np.zeros((size, size))
    for here in blocks(len(residual)):
        part = residual[here].astype(np.float64)
        covariance += part.T @ (part * weight[here, None])
    values, vectors = np.linalg.eigh(covariance / weight.sum())
    allowed = int(events / (PER_LINK * (1 + features.shape[1])))
    count = min(most, size, max(1, allowed), max(1, int((values > SMALL * values[-1]).sum())))
    width, vectors = np.sqrt(values[::-1][:count]), vectors[:, ::-1][:, :count]
    # The sign of an eigenvector is not defined, and the file should be.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(count)])
    return vectors * width, residual @ (vectors / width)


def _links(scores: Array, terms: Array, weight: Array, counts: Array | None) -> tuple[Array, Array]:
    """phi (L, k, k) of scores (N, k) on those before them, and what it leaves of these (N, k)."""
    size, count = terms.shape[1], scores.shape[1]
    found, errors = np.zeros((size, count, count)), scores.copy()
    gram = right = np.empty((0, 0))
    for j in range(1, count):
        if j == 1 or counts is not None:
            own = weight if counts is None else weight * counts[:, j]
            gram, right = _products(scores, terms, own)
        here = slice(0, j * size)
        least = np.full(j * size, RIDGE)
        phi = solved(gram[here, here], right[here, j], least, "the covariance of the response")
        found[:, j, :j] = phi.reshape(j, size).T
    for here in blocks(len(scores), ROWS):
        links = np.tensordot(terms[here], found, axes=(1, 0))
        errors[here] -= np.einsum("bji,bi->bj", links, scores[here])
    return found, errors if counts is None else errors * counts


def _products(scores: Array, terms: Array, weight: Array) -> tuple[Array, Array]:
    """Sums over events of products of scores times terms, with themselves and with scores."""
    length = scores.shape[1] * terms.shape[1]
    gram, right = np.zeros((length, length)), np.zeros((length, scores.shape[1]))
    for here in blocks(len(scores), ROWS):
        each = (scores[here, :, None] * terms[here, None, :]).reshape(-1, length)
        weighted = each.T * weight[here]
        gram += weighted @ each
        right += weighted @ scores[here]
    return gram, right


def _variances(
    terms: Array, weight: Array, errors: Array, counts: Array | None
) -> tuple[Array, Array]:
    """Coefficients (T, n) and limits (2, n) of the logarithms of variances."""
    found = np.empty((terms.shape[1], errors.shape[1]))
    limits = np.empty((2, errors.shape[1]))
    for here, own in _columns(weight, counts, errors.shape[1]):
        solver = Solver(terms, own, "the width of the response")
        found[:, here], limits[:, here] = solver.log_variance(errors[:, here])
    return found, limits


def _no_rest(terms: Array) -> tuple[Array, Array]:
    return np.empty((terms.shape[1], 0)), np.empty((2, 0))
