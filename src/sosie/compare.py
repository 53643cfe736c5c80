"""compare: distances between independent samples, classifier, resolutions and calibration."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr, stdtr

from sosie.arrays import read_arrays
from sosie.bootstrap import binned_resolution
from sosie.distances import (
    MembersValue,
    classifier_auc,
    contents,
    halves,
    members_value,
    separation,
    wasserstein,
)
from sosie.ensembles import ROUNDING, coverage, expected_coverage, pull_width
from sosie.errors import IntermediateError
from sosie.files import write_json
from sosie.moments import histogram_edges, observe
from sosie.profiles import Binning, Twins, below, bin_events, open_twins
from sosie.progress import say
from sosie.streams import key

Array = np.ndarray[Any, Any]
Figure = dict[str, float | str | list[int]]
Distance = Callable[[Array, Array, Array, Array], float]
NOT_ESTIMATED = "not estimated"


def figure(
    value: float, statistical: float, systematic: float, events: Sequence[int] | Array
) -> Figure:
    """A number with its errors and its events of reference and generated sample.

    A systematic error that is not finite is 'not estimated'.
    """
    known = math.isfinite(systematic)
    return {
        "value": value,
        "statistical": statistical,
        "systematic": systematic if known else NOT_ESTIMATED,
        "events": [int(number) for number in events],
    }


def of_members(found: MembersValue, events: Sequence[int] | Array) -> Figure:
    """The value of the members of an ensemble as a figure."""
    return figure(found.value, found.statistical, found.systematic, events)


def deviation(values: Array, weight: Array) -> float:
    """Weighted standard deviation of the finite values (N,); NaN where they do not vary."""
    finite = np.isfinite(values)
    if not weight[finite].sum() > 0:
        return math.nan
    mean = np.average(values[finite], weights=weight[finite])
    variance = np.average((values[finite] - mean) ** 2, weights=weight[finite])
    return math.sqrt(variance) if variance > (ROUNDING * mean) ** 2 else math.nan


def distances_from(reference: Array, weight: Array) -> dict[str, Distance]:
    """Distances of two samples of one quantity, in the scale of its reference sample (N,).

    Each takes values and weights, a (n,), b (m,), weights of a, weights of b. wasserstein: in standard
    deviations of the reference; separation: in bins of the reference and the two beyond them.
    """
    width, edges = deviation(reference, weight), histogram_edges(reference)

    def w1(a: Array, b: Array, a_weight: Array, b_weight: Array) -> float:
        return wasserstein(a, b, a_weight, b_weight) / width

    def power(a: Array, b: Array, a_weight: Array, b_weight: Array) -> float:
        return separation(contents(a, edges, a_weight), contents(b, edges, b_weight))

    return {"wasserstein": w1, "separation": power}


def distance_figures(
    names: Sequence[str],
    major: Sequence[str],
    reference: Array,
    samples: Sequence[Array],
    split: Array,
    weight: Array,
) -> dict[str, Any]:
    """Distances of each quantity between reference A and samples B, and their means.

    reference and samples (N, Q), split (J, N) true in half A, weight (N,). A mean is over the
    quantities of ``major`` that are defined. Events are those with a value, the fewest of all splits.
    """
    shape = (len(names), len(samples), len(split))
    values: dict[str, Array] = {}
    counted = np.array([name in major for name in names])
    events = np.empty((2, *shape), np.int64)
    for q, column in enumerate(reference.T):
        distances = distances_from(column, weight)
        for k, j in np.ndindex(shape[1:]):
            a, b = split[j], ~split[j]
            pair = column[a], samples[k][b, q]
            events[:, q, k, j] = [np.isfinite(part).sum() for part in pair]
            for distance, measure in distances.items():
                found = values.setdefault(distance, np.full(shape, np.nan))
                found[q, k, j] = measure(*pair, weight[a], weight[b])
    fewest = events.min(axis=(2, 3))
    figures: dict[str, Any] = {}
    for distance, found in values.items():
        figures[distance] = {
            name: of_members(members_value(found[q]), fewest[:, q]) for q, name in enumerate(names)
        }
        defined = np.isfinite(found).all(axis=(1, 2)) & counted
        known = defined.any()
        mean = found[defined].mean(axis=0) if known else np.full(shape[1:], np.nan)
        least = fewest[:, defined].min(axis=1) if known else (0, 0)
        figures[f"{distance}_mean"] = of_members(members_value(mean), least)
    return figures


def classifier_figures(
    reference: Array,
    samples: Sequence[Array],
    features: Array,
    split: Array,
    groups: Array,
    seed: int,
) -> dict[str, Any]:
    """AUC and JSD of trees that tell reference A from samples B by observables and features."""
    inputs = np.column_stack([reference, features])
    results = [
        [
            classifier_auc(
                inputs[a],
                np.column_stack([sample, features])[~a],
                key(seed, "compare", j) % 2**32,
                groups[a],
                groups[~a],
            )
            for j, a in enumerate(split)
        ]
        for sample in samples
    ]
    events = np.min([r.events for row in results for r in row], axis=0)
    return {
        name: of_members(
            members_value([[getattr(r, name) for r in row] for row in results]), events
        )
        for name in ("auc", "jsd")
    }


def floor_resolution(values: Array, weight: Array, binning: Binning, split: Array) -> Figure:
    """Resolution of half A over that of half B, mean over bins, as reconstruct has it for members.

    values and weight (N,), split (J, N) true in half A.
    """

    def widths(half: Array) -> Array:
        none = np.empty((0, int(half.sum())), np.float32)
        found = binned_resolution(
            values[half], weight[half], none, binning.index[half], len(binning.events)
        )
        return found.half68[0]

    def ratio(half: Array) -> float:
        above, under = widths(half), widths(~half)
        usable = np.isfinite(above) & (under > 0)
        return float(np.mean(above[usable] / under[usable])) if usable.any() else math.nan

    defined = np.isfinite(values)
    events = [min(int(defined[side].sum()) for side in sides) for sides in (split, ~split)]
    return of_members(members_value([[ratio(half) for half in split]]), events)


def calibration_of(
    profiles: Mapping[str, Array], variables: Sequence[str], members: int
) -> dict[str, Any]:
    """How the pulls of all bins lie, and the share of bins inside the systematic band."""
    pulls = np.concatenate([profiles[f"profiles/{name}/pull"].ravel() for name in variables])
    pulls = pulls[np.isfinite(pulls)]
    found = {
        "bins": len(pulls),
        "pull_width": pull_width(pulls),
        "share_within_1": float(np.mean(np.abs(pulls) < 1)) if len(pulls) else math.nan,
        "expected_within_1": float(1 - 2 * (stdtr(members - 1, -1) if members > 1 else ndtr(-1))),
        "share_beyond_3": float(np.mean(np.abs(pulls) > 3)) if len(pulls) else math.nan,
        "coverage": NOT_ESTIMATED,
        "expected_coverage": NOT_ESTIMATED,
    }
    if members > 1:
        parts = [below(f"profiles/{name}", profiles) for name in variables]
        off, band = (
            np.concatenate([part[name].ravel() for part in parts])
            for name in ("difference", "systematic")
        )
        found["coverage"] = coverage(off, band)
        found["expected_coverage"] = expected_coverage(members)
    return found


def resolution_figures(names: Sequence[str], high: Mapping[str, Array]) -> dict[str, Figure]:
    """Resolution of each reconstructed quantity over that of the reference, as reconstruct found it."""
    ratio = below("ratios", high)
    reference = np.isfinite(high["events/reference"]).sum(axis=0)
    generated = np.isfinite(high["events/members"]).sum(axis=1).min(axis=0)
    numbers = zip(ratio["mean"], ratio["statistical"], ratio["systematic"], strict=True)
    events = zip(reference, generated, strict=True)
    return {
        name: figure(float(value), float(statistical), float(systematic), both)
        for name, (value, statistical, systematic), both in zip(names, numbers, events, strict=True)
    }


def read_profiles(path: str, step: str, twins: Twins) -> tuple[dict[str, Array], dict[str, Any]]:
    """What moments or reconstruct wrote for these samples; raises IntermediateError for others."""
    arrays, about = read_arrays(path, step, step)
    here = {
        "detector": twins.detector.name,
        "events": len(twins.reference),
        "members": len(twins.members),
    }
    if wrong := [name for name, value in here.items() if about.get(name) != value]:
        raise IntermediateError(
            f"{path}: was made for {', '.join(f'{name} {about.get(name)}' for name in wrong)}, "
            f"the samples have {', '.join(f'{name} {here[name]}' for name in wrong)}; "
            f"run {step} again"
        )
    return arrays, about


def run(
    reference: str,
    generated: Sequence[str],
    moments: str,
    reconstruct: str,
    out: str,
    *,
    name: str,
    seed: int,
    splits: int,
    classifier_splits: int,
) -> None:
    """Write the figures of one surrogate and of the floor as JSON.

    Raises IntermediateError for files that do not belong together.
    """
    with open_twins(reference, generated, seed, 1) as twins:
        detector, conditions = twins.detector, twins.conditions
        low, low_about = read_profiles(moments, "moments", twins)
        high, high_about = read_profiles(reconstruct, "reconstruct", twins)
        first, *others = (
            observe(sample, detector, conditions) for sample in (twins.reference, *twins.members)
        )
        groups, weight = twins.reference.column("group_id"), twins.weight
    features, results = detector.features(conditions), list(high_about["quantities"])
    names = [*detector.observables, *results]
    if twice := [name for name in results if name in detector.observables]:
        raise IntermediateError(
            f"{reconstruct}: result '{twice[0]}' has the name of an observable; "
            "give it another one in reconstruct.results"
        )
    major = [name for name in detector.observables if name not in detector.minor]
    split = halves(groups, key(seed, "compare", "halves"), max(splits, classifier_splits))
    few, many = split[:classifier_splits], split[:splits]
    beside = high["events/reference"]

    def distances(samples: Sequence[Array], reconstructed: Sequence[Array]) -> dict[str, Any]:
        whole = [np.hstack(pair) for pair in zip(samples, reconstructed, strict=True)]
        return {
            "classifier": classifier_figures(first, samples, features, few, groups, seed),
            **distance_figures(names, major, np.hstack([first, beside]), whole, many, weight),
        }

    figures, floor = distances(others, list(high["events/members"])), distances([first], [beside])
    variable = high_about["variables"][0]
    edges = high[f"profiles/{variable}/edges"].tolist()
    binning = bin_events(variable, detector.variable(conditions)[variable], edges)
    entry = {
        "surrogate": name,
        "members": len(others),
        "events": len(first),
        "splits": splits,
        "classifier_splits": classifier_splits,
        "figures": {**figures, "resolution": resolution_figures(results, high)},
        "floor": {
            **floor,
            "resolution": {
                result: floor_resolution(values, weight, binning, many)
                for result, values in zip(results, beside.T, strict=True)
            },
        },
        "calibration": {
            "moments": calibration_of(low, low_about["variables"], len(others)),
            "reconstruct": calibration_of(high, high_about["variables"], len(others)),
        },
    }
    write_json(out, entry)
    auc, least = (part["classifier"]["auc"]["value"] for part in (figures, floor))
    say("compare", f"{name}: AUC {auc:.3f}, floor {least:.3f}")
