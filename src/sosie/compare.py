"""compare: distances between independent samples, and the leaderboard."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from sosie.arrays import read_arrays
from sosie.bootstrap import binned_resolution
from sosie.detectors.base import Detector
from sosie.distances import MembersValue, classifier_auc, halves, members_value, wasserstein
from sosie.ensembles import ROUNDING, coverage, expected_coverage, pull_width
from sosie.errors import IntermediateError
from sosie.files import read_json, write_json, write_text
from sosie.moments import observe
from sosie.profiles import Binning, Twins, below, bin_events, open_twins
from sosie.progress import say
from sosie.streams import key

Array = np.ndarray[Any, Any]
Figure = dict[str, float | str]
NOT_ESTIMATED = "not estimated"


def figure(value: float, statistical: float, systematic: float = math.nan) -> Figure:
    """A number with its errors; a systematic error that is not finite is 'not estimated'."""
    known = math.isfinite(systematic)
    return {
        "value": value,
        "statistical": statistical,
        "systematic": systematic if known else NOT_ESTIMATED,
    }


def of_members(found: MembersValue) -> Figure:
    """The value of the members of an ensemble as a figure."""
    return figure(found.value, found.statistical, found.systematic)


def deviation(values: Array, weight: Array) -> float:
    """Weighted standard deviation of the finite values (N,); NaN where they do not vary."""
    finite = np.isfinite(values)
    if not weight[finite].sum() > 0:
        return math.nan
    mean = np.average(values[finite], weights=weight[finite])
    variance = np.average((values[finite] - mean) ** 2, weights=weight[finite])
    return math.sqrt(variance) if variance > (ROUNDING * mean) ** 2 else math.nan


def wasserstein_figures(
    detector: Detector, reference: Array, samples: Sequence[Array], split: Array, weight: Array
) -> dict[str, Any]:
    """W1 of each observable between reference A and samples B, in reference standard deviations.

    reference and samples (N, O), split (J, N) true in half A, weight (N,). ``mean`` is the mean
    over the observables that are defined and not minor.
    """
    found = np.full((len(detector.observables), len(samples), len(split)), np.nan)
    for o, k, j in np.ndindex(found.shape):
        a, b = split[j], ~split[j]
        found[o, k, j] = wasserstein(reference[a, o], samples[k][b, o], weight[a], weight[b])
    found /= np.array([deviation(column, weight) for column in reference.T])[:, None, None]
    major = [name not in detector.minor for name in detector.observables]
    defined = np.isfinite(found).all(axis=(1, 2)) & np.array(major)
    mean = found[defined].mean(axis=0) if defined.any() else np.full(found.shape[1:], np.nan)
    each = zip(detector.observables, found, strict=True)
    return {
        "wasserstein_mean": of_members(members_value(mean)),
        "wasserstein": {name: of_members(members_value(values)) for name, values in each},
    }


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
    auc = members_value([[r.auc for r in row] for row in results])
    jsd = members_value([[r.jsd for r in row] for row in results])
    return {
        "auc": of_members(auc),
        "jsd": of_members(jsd),
        "events_per_class": list(results[0][0].events),
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

    return of_members(members_value([[ratio(half) for half in split]]))


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
        "expected_within_1": float(
            1 - 2 * (stats.t(members - 1) if members > 1 else stats.norm()).sf(1)
        ),
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


def _resolution(detector: Detector, high: Mapping[str, Array]) -> dict[str, Figure]:
    ratio = below("ratios", high)
    return {
        result: figure(*(float(ratio[n][i]) for n in ("mean", "statistical", "systematic")))
        for i, result in enumerate(detector.results)
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
    features = detector.features(conditions)
    split = halves(groups, key(seed, "compare", "halves"), max(splits, classifier_splits))
    few, many = split[:classifier_splits], split[:splits]

    def distances(samples: Sequence[Array]) -> dict[str, Any]:
        return {
            "classifier": classifier_figures(first, samples, features, few, groups, seed),
            **wasserstein_figures(detector, first, samples, many, weight),
        }

    figures, floor = distances(others), distances([first])
    variable = high_about["variables"][0]
    edges = high[f"profiles/{variable}/edges"].tolist()
    binning = bin_events(variable, detector.variable(conditions)[variable], edges)
    each = zip(detector.results, high["events/reference"].T, strict=True)
    entry = {
        "surrogate": name,
        "members": len(others),
        "events": len(first),
        "splits": splits,
        "classifier_splits": classifier_splits,
        "figures": {**figures, "resolution": _resolution(detector, high)},
        "floor": {
            **floor,
            "resolution": {
                result: floor_resolution(values, weight, binning, many) for result, values in each
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


def leaderboard(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the leaderboard: the floor, then each surrogate, every figure with its errors."""
    rows = [{"name": "floor", **_columns(entries[0]["floor"])}]
    return rows + [{"name": e["surrogate"], **_columns(e["figures"])} for e in entries]


def _columns(figures: Mapping[str, Any]) -> dict[str, Any]:
    named = {
        "auc": figures["classifier"]["auc"],
        "jsd": figures["classifier"]["jsd"],
        "w1_mean": figures["wasserstein_mean"],
        **{f"resolution_{name}": value for name, value in figures["resolution"].items()},
        **{f"w1_{name}": value for name, value in figures["wasserstein"].items()},
    }
    columns: dict[str, Any] = {
        "events_per_class": min(figures["classifier"]["events_per_class"]),
    }
    for name, value in named.items():
        columns[name] = value["value"]
        columns[f"{name}_statistical"] = value["statistical"]
        columns[f"{name}_systematic"] = value["systematic"]
    return columns


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    return NOT_ESTIMATED if value is None else value


def read_entries(paths: Sequence[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What ``run`` wrote into each of the files, and the rows of their leaderboard.

    Raises IntermediateError for a file of something else, or for two that cannot stand together.
    """
    entries: list[dict[str, Any]] = []
    for path in paths:
        entry = read_json(path, "compare")
        try:
            columns = list(leaderboard([entry])[1])
        except (KeyError, TypeError, AttributeError, ValueError, IndexError):
            raise IntermediateError(
                f"{path}: not the figures of a surrogate; give files of 'sosie compare --in'"
            ) from None
        if entries and columns != list(leaderboard(entries[:1])[1]):
            raise IntermediateError(
                f"{path}: has other figures than {paths[0]}; give surrogates of one detector"
            )
        if entry["surrogate"] in [known["surrogate"] for known in entries]:
            raise IntermediateError(
                f"{path}: surrogate '{entry['surrogate']}' is there already; "
                "give each its own --surrogate"
            )
        entries.append(entry)
    return entries, leaderboard(entries)


def collect(paths: Sequence[str], out: str | Path) -> None:
    """Write metrics.json and leaderboard.csv of all surrogates into ``out``.

    Raises IntermediateError for files that ``run`` did not write.
    """
    entries, rows = read_entries(paths)
    out = Path(out)
    write_json(
        out / "metrics.json",
        {"floor": entries[0]["floor"], "surrogates": {e["surrogate"]: e for e in entries}},
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    write_text(out / "leaderboard.csv", text.getvalue())
    say("compare", f"{out / 'leaderboard.csv'}: {len(rows)} rows")
