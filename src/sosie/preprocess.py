"""preprocess: the transform of the response and the scaling of the features, fitted on train."""

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from sosie.detectors import find
from sosie.detectors.base import Detector
from sosie.errors import InputError
from sosie.events import Events, open_events
from sosie.files import write_json
from sosie.progress import say, warn
from sosie.streams import stream
from sosie.transforms import POWERS, FeatureScaling, ResponseTransform, Transform, box_cox

Array = np.ndarray[Any, Any]
MAX_CELLS = 10**6
MIN_CELLS = 50
HEADROOM = 10.0
MAX_POWER = 2.0


def draw_cells(events: Events, seed: int, count: int = MAX_CELLS) -> tuple[Array, Array]:
    """At most ``count`` filled cells of a sample, drawn by seed: values and cell indices (n,).

    The draw does not depend on the size of the pieces in which the sample is read.
    """
    rng = stream(seed, "preprocess", "cells")
    keys, values, cells = np.empty(0), np.empty(0, np.float32), np.empty(0, np.int64)
    for _, response in events.responses():
        flat = response.reshape(len(response), -1)
        event, cell = np.nonzero(flat)
        keys = np.concatenate([keys, rng.random(len(cell))])
        values = np.concatenate([values, flat[event, cell]])
        cells = np.concatenate([cells, cell])
        if len(keys) > count:
            kept = np.sort(np.argpartition(keys, count)[:count])
            keys, values, cells = keys[kept], values[kept], cells[kept]
    return values.astype(np.float64), cells


def fit_power(values: Array) -> float:
    """Lambda of Box-Cox by maximum likelihood on positive values (n,), within MAX_POWER."""
    # A scale factor changes nothing in lambda and keeps the powers near one.
    found = stats.boxcox_normmax(values / stats.gmean(values), brack=(-0.5, 0.5), method="mle")
    return float(np.clip(found, -MAX_POWER, MAX_POWER))


def fit_powers(values: Array, cells: Array, shape: tuple[int, ...], common: float) -> Array:
    """One lambda a cell (*shape); a cell with too few values takes the common one."""
    order = np.argsort(cells, kind="stable")
    values, cells = values[order], cells[order]
    size = int(np.prod(shape))
    start = np.searchsorted(cells, np.arange(size + 1))
    powers = np.full(size, common)
    for cell in range(size):
        inside = values[start[cell] : start[cell + 1]]
        if len(inside) >= MIN_CELLS and inside.min() < inside.max():
            powers[cell] = fit_power(inside)
    return powers.reshape(shape)


def limits(events: Events) -> tuple[float, float]:
    """The smallest and the largest filled cell of a whole sample; (inf, 0) where none is filled."""
    low, high = np.inf, 0.0
    for _, response in events.responses():
        low = min(low, float(response.min(where=response > 0, initial=np.inf)))
        high = max(high, float(response.max(initial=0.0)))
    return low, high


def scale_of(events: Events, transform: ResponseTransform) -> tuple[float, float]:
    """Mean and standard deviation of the transformed cells, empty ones included."""
    count, total, squares = 0, 0.0, 0.0
    for _, response in events.responses():
        image = transform.forward(response)
        count += image.size
        total += float(image.sum())
        squares += float((image**2).sum())
    mean = total / count
    return mean, max(squares / count - mean**2, 1e-12) ** 0.5


def shape_of(values: Array, bins: int = 60) -> dict[str, Any]:
    """Histogram, skewness and excess kurtosis of values (n,)."""
    counts, edges = np.histogram(values, bins=bins)
    return {
        "counts": counts,
        "edges": edges,
        "skewness": float(stats.skew(values)),
        "kurtosis": float(stats.kurtosis(values)),
    }


def fit_response(
    events: Events, values: Array, cells: Array, transform: str, per_cell: bool, gap: float
) -> ResponseTransform:
    """The transform of a sample with these cells (``values`` and indices (n,)) drawn from it."""
    common = fit_power(values) if transform == "box_cox" else POWERS[transform]
    power = np.asarray(common)
    if per_cell and transform == "box_cox":
        power = fit_powers(values, cells, events.shape, common)
    low, high = limits(events)
    fitted = ResponseTransform(power, events.threshold or low, HEADROOM * high, gap)
    shift, scale = scale_of(events, fitted)
    return replace(fitted, shift=shift, scale=scale)


def fit_features(train: str, detector: Detector, conditions: Array) -> FeatureScaling:
    """The scaling of the features of conditions (N, C); raises InputError for what has none."""
    features = detector.features(conditions)
    if (bad := ~np.isfinite(features)).any():
        event, feature = np.unravel_index(int(np.argmax(bad)), bad.shape)
        raise InputError(
            f"{train}: feature '{detector.feature_names[feature]}' is {features[event, feature]} in "
            f"event {event} ({int(bad.any(axis=1).sum())} such events); exclude them with "
            "ingest.selection"
        )
    scaling = FeatureScaling.fit(detector.feature_names, features)
    if not scaling.used.any():
        raise InputError(f"{train}: no condition varies; a surrogate needs one that does")
    for name in [n for n, used in zip(scaling.names, scaling.used, strict=True) if not used]:
        warn("preprocess", f"{name} does not vary and is left out of the features")
    return scaling


def domain_of(detector: Detector, conditions: Array) -> dict[str, dict[str, float]]:
    """Smallest and largest value of each condition of a sample (N, C)."""
    edges = zip(detector.conditions, conditions.min(axis=0), conditions.max(axis=0), strict=True)
    return {name: {"min": float(low), "max": float(high)} for name, low, high in edges}


def run(train: str, out: str, *, seed: int, transform: str, per_cell: bool, gap: float) -> None:
    """Fit on the event table ``train`` and write transform.json.

    Raises InputError for a sample with nothing to fit.
    """
    with open_events(train) as events:
        detector = find(events.detector)
        conditions = events.column("conditions").astype(np.float64)
        features = fit_features(train, detector, conditions)
        values, cells = draw_cells(events, seed)
        if len(np.unique(values)) < 2:
            raise InputError(f"{train}: no two filled cells differ; lower ingest.threshold")
        response = fit_response(events, values, cells, transform, per_cell, gap)
    # The diagnostics need the power of each value's own cell.
    own = np.broadcast_to(response.power, detector.shape).ravel()[cells]
    write_json(
        out,
        {
            "transform": Transform(response, features, domain_of(detector, conditions)).as_dict(),
            "diagnostics": {
                "kind": transform,
                "cells": len(values),
                "before": shape_of(values),
                "after": shape_of(box_cox(values, own)),
            },
        },
    )
    power = float(np.mean(response.power))
    say("preprocess", f"{transform}, lambda {power:.4f} from {len(values)} cells")
