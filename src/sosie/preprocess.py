"""preprocess: the transform of the response and the scaling of the features, fitted on train."""

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import optimize, stats

from sosie.detectors import find
from sosie.detectors.base import Detector
from sosie.domain import Domain, write_domain
from sosie.errors import InputError, SettingsError
from sosie.events import Events, open_events
from sosie.files import write_json
from sosie.progress import say, warn
from sosie.signed import Quantile, YeoJohnson, weighted_moments
from sosie.streams import stream
from sosie.ties import TieLaw, free
from sosie.transforms import (
    POWERS,
    AnyResponse,
    FeatureScaling,
    ResponseTransform,
    Transform,
    box_cox,
    shape_of,
)

Array = np.ndarray[Any, Any]
MAX_CELLS = 10**6
MIN_CELLS = 50
HEADROOM = 10.0
MAX_POWER = 2.0
UNSIGNED, SIGNED = ("box_cox", "log", "none"), ("quantile", "yeo_johnson", "none")


def draw_cells(events: Events, seed: int, count: int = MAX_CELLS) -> tuple[Array, Array, Array]:
    """At most ``count`` filled cells, drawn by seed: values, indices of cell and event (n,).

    The draw does not depend on the size of the pieces in which the sample is read.
    """
    rng = stream(seed, "preprocess", "cells")
    keys, values, cells = np.empty(0), np.empty(0, np.float32), np.empty(0, np.int64)
    rows = np.empty(0, np.int64)
    for where, response in events.responses():
        flat = response.reshape(len(response), -1)
        event, cell = np.nonzero(flat)
        keys = np.concatenate([keys, rng.random(len(cell))])
        values = np.concatenate([values, flat[event, cell]])
        cells, rows = np.concatenate([cells, cell]), np.concatenate([rows, event + where.start])
        if len(keys) > count:
            kept = np.sort(np.argpartition(keys, count)[:count])
            keys, values, cells, rows = keys[kept], values[kept], cells[kept], rows[kept]
    return values.astype(np.float64), cells, rows


def fit_power(values: Array, weight: Array | None = None) -> float:
    """Lambda of Box-Cox by maximum likelihood on positive values (n,), within MAX_POWER.

    ``weight`` (n,) multiplies the logarithm of the likelihood of each.
    """
    # A scale factor changes nothing in lambda and keeps the powers near one.
    scaled = values / stats.gmean(values)
    if weight is None:
        found = stats.boxcox_normmax(scaled, brack=(-0.5, 0.5), method="mle")
        return float(np.clip(found, -MAX_POWER, MAX_POWER))
    total, slope = weight.sum(), float((weight * np.log(scaled)).sum())

    def loss(power: float) -> float:
        variance = weighted_moments(box_cox(scaled, power), weight)[1]
        if not variance > 0:
            return np.inf
        return float(total / 2 * np.log(variance) - (power - 1) * slope)

    limits = (-MAX_POWER, MAX_POWER)
    return float(optimize.minimize_scalar(loss, bounds=limits, method="bounded").x)


def fit_powers(
    values: Array,
    cells: Array,
    shape: tuple[int, ...],
    common: float,
    weight: Array | None = None,
) -> Array:
    """One lambda a cell (*shape); a cell with too few values takes the common one."""
    order = np.argsort(cells, kind="stable")
    values, cells = values[order], cells[order]
    own = None if weight is None else weight[order]
    size = int(np.prod(shape))
    start = np.searchsorted(cells, np.arange(size + 1))
    powers = np.full(size, common)
    for cell in range(size):
        here = slice(start[cell], start[cell + 1])
        inside, of_cell = values[here], None if own is None else own[here]
        enough = len(inside) >= MIN_CELLS and (of_cell is None or of_cell.sum() >= MIN_CELLS)
        if enough and inside.min() < inside.max():
            powers[cell] = fit_power(inside, of_cell)
    return powers.reshape(shape)


def limits(events: Events) -> tuple[float, float]:
    """The smallest and the largest filled cell of a whole sample; (inf, 0) where none is filled."""
    low, high = np.inf, 0.0
    for _, response in events.responses():
        low = min(low, float(response.min(where=response > 0, initial=np.inf)))
        high = max(high, float(response.max(initial=0.0)))
    return low, high


def scale_of(
    events: Events, transform: ResponseTransform, weight: Array | None = None
) -> tuple[float, float]:
    """Mean and standard deviation of the transformed cells, empty ones included."""
    count, total, squares = 0.0, 0.0, 0.0
    for where, response in events.responses():
        image = transform.forward(response)
        if weight is not None:
            own = weight[where]
            flat = image.reshape(len(image), -1)
            count += float(own.sum()) * flat.shape[1]
            total += float(own @ flat.sum(axis=1))
            squares += float(own @ (flat**2).sum(axis=1))
            continue
        count += image.size
        total += float(image.sum())
        squares += float((image**2).sum())
    mean = total / count
    return mean, max(squares / count - mean**2, 1e-12) ** 0.5


def fit_cells(
    events: Events,
    values: Array,
    cells: Array,
    transform: str,
    per_cell: bool,
    gap: float,
    weight: tuple[Array, Array] | None = None,
) -> ResponseTransform:
    """The transform of a sample with these cells (``values`` and indices (n,)) drawn from it.

    ``weight``: of the events (N,) and of the drawn cells (n,).
    """
    of_events, of_cells = weight or (None, None)
    common = fit_power(values, of_cells) if transform == "box_cox" else POWERS[transform]
    power = np.asarray(common)
    if per_cell and transform == "box_cox":
        power = fit_powers(values, cells, events.shape, common, of_cells)
    low, high = limits(events)
    fitted = ResponseTransform(power, events.threshold or low, HEADROOM * high, gap)
    shift, scale = scale_of(events, fitted, of_events)
    return replace(fitted, shift=shift, scale=scale)


def fit_unsigned(
    train: str,
    events: Events,
    weight: Array | None,
    *,
    seed: int,
    transform: str,
    per_cell: bool,
    gap: float,
) -> tuple[ResponseTransform, dict[str, Any]]:
    """The transform of responses that are not negative, and its diagnostics."""
    values, cells, rows = draw_cells(events, seed)
    if len(np.unique(values)) < 2:
        raise InputError(f"{train}: no two filled cells differ; lower ingest.threshold")
    own = None if weight is None else weight[rows]
    both = None if weight is None or own is None else (weight, own)
    fitted = fit_cells(events, values, cells, transform, per_cell, gap, both)
    # The diagnostics need the power of each value's own cell.
    power = np.broadcast_to(fitted.power, events.shape).ravel()[cells]
    about = {
        "cells": len(values),
        "before": shape_of(values, own),
        "after": shape_of(box_cox(values, power), own),
    }
    mean = float(np.mean(fitted.power))
    say("preprocess", f"{transform}, lambda {mean:.4f} from {len(values)} cells")
    return fitted, about


def fit_signed(
    train: str, detector: Detector, response: Array, weight: Array, transform: str
) -> tuple[Quantile | YeoJohnson, dict[str, Any]]:
    """The transform of responses (N, *shape) of either sign with weights (N,), and its diagnostics.

    A number is fitted on the events in whose pattern of ties it is free.
    """
    flat = response.reshape(len(response), -1)
    matters = np.ones(flat.shape, bool)
    if detector.ties:
        pattern = detector.ties.find(response)
        matters = free(detector.ties, detector.shape)[pattern]
    columns = [column[used] for column, used in zip(flat.T, matters.T, strict=True)]
    weights = [weight[used] for used in matters.T]
    for number, (column, own) in enumerate(zip(columns, weights, strict=True)):
        if len(np.unique(column[:1000])) < 2 and len(np.unique(column)) < 2:
            raise InputError(
                f"{train}: number {number} of the response does not vary; take it out of "
                "ingest.response"
            )
        if not own.sum() > 0:
            raise InputError(
                f"{train}: the weights of number {number} of the response sum to {own.sum():g}; "
                "look at ingest.weight"
            )
    fitted: Quantile | YeoJohnson
    try:
        if transform == "quantile":
            fitted = Quantile.fit(columns, weights)
        else:
            fitted = YeoJohnson.fit(columns, weights, 1.0 if transform == "none" else None)
    except ValueError as error:
        raise InputError(f"{train}: {error}; look at ingest.response and ingest.weight") from None
    image = fitted.forward(response).reshape(flat.shape)
    moved = [column[used] for column, used in zip(image.T, matters.T, strict=True)]
    own_weight = None if (weight == 1).all() else np.concatenate(weights)
    parts = [
        {"before": shape_of(a, w), "after": shape_of(b, w), "events": len(a)}
        for a, b, w in zip(
            [column.astype(np.float64) for column in columns],
            moved,
            [None] * len(weights) if own_weight is None else weights,
            strict=True,
        )
    ]
    about = {
        "cells": int(matters.sum()),
        "before": shape_of(np.concatenate(columns).astype(np.float64), own_weight),
        "after": shape_of(np.concatenate(moved), own_weight),
        "components": parts,
    }
    say("preprocess", f"{transform} of {flat.shape[1]} numbers from {len(flat)} events")
    return fitted, about


def fit_ties(
    detector: Detector, response: Array, conditions: Array, weight: Array
) -> TieLaw | None:
    """The law of the ties of a sample; None for a detector without any."""
    if detector.ties is None:
        return None
    value = detector.variable(conditions)[detector.ties.variable]
    return TieLaw.fit(detector.ties, value, detector.ties.find(response), weight)


def fit_features(
    train: str, detector: Detector, conditions: Array, weight: Array | None = None
) -> FeatureScaling:
    """The scaling of the features of conditions (N, C); raises InputError for what has none."""
    features = detector.features(conditions)
    if (bad := ~np.isfinite(features)).any():
        event, feature = np.unravel_index(int(np.argmax(bad)), bad.shape)
        raise InputError(
            f"{train}: feature '{detector.feature_names[feature]}' is {features[event, feature]} in "
            f"event {event} ({int(bad.any(axis=1).sum())} such events); exclude them with "
            "ingest.selection"
        )
    scaling = FeatureScaling.fit(detector.feature_names, features, weight)
    if not scaling.used.any():
        raise InputError(f"{train}: no condition varies; a surrogate needs one that does")
    for name in [n for n, used in zip(scaling.names, scaling.used, strict=True) if not used]:
        warn("preprocess", f"{name} does not vary and is left out of the features")
    return scaling


def domain_of(detector: Detector, conditions: Array) -> dict[str, dict[str, float]]:
    """Smallest and largest value of each condition of a sample (N, C)."""
    edges = zip(detector.conditions, conditions.min(axis=0), conditions.max(axis=0), strict=True)
    return {name: {"min": float(low), "max": float(high)} for name, low, high in edges}


def check_transform(detector: Detector, transform: str) -> None:
    """Raise SettingsError for a transform that does not serve the responses of a detector."""
    fitting = SIGNED if detector.signed else UNSIGNED
    if transform not in fitting:
        numbers = "may be negative" if detector.signed else "are not negative"
        raise SettingsError(
            f"preprocess.transform: '{transform}' does not serve the detector '{detector.name}', whose "
            f"numbers {numbers}; take one of {', '.join(fitting)}"
        )


def run(
    train: str,
    out: str,
    *,
    seed: int,
    transform: str,
    per_cell: bool,
    gap: float,
    domain: str | None = None,
) -> None:
    """Fit on the event table ``train`` and write transform.json, and to ``domain`` that of training.

    Raises InputError for a sample with nothing to fit, SettingsError for another detector's
    transform.
    """
    with open_events(train) as events:
        detector = find(events.detector)
        check_transform(detector, transform)
        conditions = events.column("conditions").astype(np.float64)
        weight = events.weight
        if not weight.sum() > 0:
            raise InputError(f"{train}: the weights sum to {weight.sum():g}; look at ingest.weight")
        own = None if (weight == 1).all() else weight
        features = fit_features(train, detector, conditions, own)
        response: AnyResponse
        if detector.signed:
            values = events.column("response")
            response, about = fit_signed(train, detector, values, weight, transform)
        else:
            response, about = fit_unsigned(
                train, events, own, seed=seed, transform=transform, per_cell=per_cell, gap=gap
            )
        ties = None
        if detector.ties:
            ties = fit_ties(detector, events.column("response"), conditions, weight)
        known = weight > 0
        where = Domain.fit(
            detector, features, conditions[known], events.column("event_id")[known], seed
        )
    if domain:
        write_domain(domain, where)
    fitted = Transform(response, features, domain_of(detector, conditions), ties)
    write_json(
        out,
        {"transform": fitted.as_dict(), "diagnostics": {"kind": transform, **about}},
    )
