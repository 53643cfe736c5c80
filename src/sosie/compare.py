"""compare: distances between independent samples, and the leaderboard."""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from sosie.arrays import read_arrays
from sosie.detectors.base import Detector
from sosie.distances import classifier_auc, halves, members_value, wasserstein
from sosie.ensembles import expected_coverage, pull_width
from sosie.files import read_json, write_json, write_text
from sosie.moments import observe
from sosie.profiles import below, open_twins
from sosie.progress import say
from sosie.streams import key

Array = np.ndarray[Any, Any]
NOT_ESTIMATED = "not estimated"


def figure(value: float, statistical: float, systematic: float = math.nan) -> dict[str, Any]:
    """A number with its errors; a systematic error that is not finite is 'not estimated'."""
    known = math.isfinite(systematic)
    return {
        "value": value,
        "statistical": statistical,
        "systematic": systematic if known else NOT_ESTIMATED,
    }


def over_members(
    distance: Callable[[Array, int], float], members: Sequence[Array], splits: int
) -> Any:
    """``distance(sample, split)`` of each member on each split, as a figure with errors."""
    found = members_value([[distance(m, split) for split in range(splits)] for m in members])
    return figure(found.value, found.statistical, found.systematic)


def wasserstein_figures(
    detector: Detector, reference: Array, samples: Sequence[Array], split: Array, weight: Array
) -> dict[str, Any]:
    """W1 of each observable between reference A and samples B, in reference standard deviations.

    reference and samples (N, O), split (J, N) true in half A, weight (N,).
    """
    found = {}
    for index, name in enumerate(detector.observables):
        column = reference[:, index]
        finite = np.isfinite(column)
        sigma = float(np.std(column[finite])) if finite.any() else math.nan

        def distance(
            sample: Array, j: int, column: Array = column, index: int = index, sigma: float = sigma
        ) -> float:
            a, b = split[j], ~split[j]
            if not sigma > 0:
                return math.nan
            return wasserstein(column[a], sample[b, index], weight[a], weight[b]) / sigma

        found[name] = over_members(distance, samples, len(split))
    return found


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
        "auc": figure(auc.value, auc.statistical, auc.systematic),
        "jsd": figure(jsd.value, jsd.statistical, jsd.systematic),
        "events_per_class": list(results[0][0].events),
    }


def floor_resolution(values: Array, split: Array) -> dict[str, Any]:
    """Resolution of half A over that of half B for per-event values (N,)."""

    def width(chosen: Array) -> float:
        finite = chosen[np.isfinite(chosen)]
        low, high = np.quantile(finite, [0.158655, 0.841345]) if len(finite) else (0.0, 0.0)
        return float(high - low) / 2

    each = [(width(values[a]), width(values[~a])) for a in split]
    ratio = members_value([[a / b if b > 0 else math.nan for a, b in each]])
    return figure(ratio.value, ratio.statistical)


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
        off = np.concatenate([np.abs(part["difference"]).ravel() for part in parts])
        band = np.concatenate([part["systematic"].ravel() for part in parts])
        finite = np.isfinite(off) & np.isfinite(band)
        found["coverage"] = float(np.mean(off[finite] < band[finite])) if finite.any() else math.nan
        found["expected_coverage"] = expected_coverage(members)
    return found


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
    low, low_about = read_arrays(moments, "moments", "moments")
    high, high_about = read_arrays(reconstruct, "reconstruct", "reconstruct")
    with open_twins(reference, generated, seed, 1) as twins:
        detector = twins.detector
        groups = twins.reference.column("group_id")
        first = observe(twins.reference, detector, twins.conditions)
        others = [observe(member, detector, twins.conditions) for member in twins.members]
        split = halves(groups, key(seed, "compare", "halves"), max(splits, classifier_splits))
        features = detector.features(twins.conditions)
        few, many = split[:classifier_splits], split[:splits]
        ratio = below("ratios", high)

        def distances(samples: Sequence[Array]) -> dict[str, Any]:
            return {
                "classifier": classifier_figures(first, samples, features, few, groups, seed),
                "wasserstein": wasserstein_figures(detector, first, samples, many, twins.weight),
            }

        figures = {
            "surrogate": name,
            "members": len(others),
            "events": len(first),
            "splits": splits,
            "classifier_splits": classifier_splits,
            "figures": {
                **distances(others),
                "resolution": {
                    result: figure(
                        float(ratio["mean"][index]),
                        float(ratio["statistical"][index]),
                        float(ratio["systematic"][index]),
                    )
                    for index, result in enumerate(detector.results)
                },
            },
            "floor": {
                **distances([first]),
                "resolution": {
                    result: floor_resolution(high["events/reference"][:, index], many)
                    for index, result in enumerate(detector.results)
                },
            },
            "calibration": {
                "moments": calibration_of(low, low_about["variables"], len(others)),
                "reconstruct": calibration_of(high, high_about["variables"], len(others)),
            },
        }
        write_json(out, figures)
    auc = figures["figures"]["classifier"]["auc"]["value"]  # type: ignore[index]
    say(
        "compare",
        f"{name}: AUC {auc:.3f}, floor {figures['floor']['classifier']['auc']['value']:.3f}",
    )  # type: ignore[index]


def leaderboard(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the leaderboard: the floor, then each surrogate, every figure with its errors."""
    rows = [{"name": "floor", **_columns(entries[0]["floor"])}]
    return rows + [{"name": e["surrogate"], **_columns(e["figures"])} for e in entries]


def _columns(figures: Mapping[str, Any]) -> dict[str, Any]:
    distances = [f["value"] for f in figures["wasserstein"].values() if f["value"] is not None]
    named = {
        "auc": figures["classifier"]["auc"],
        "jsd": figures["classifier"]["jsd"],
        **{f"resolution_{name}": value for name, value in figures["resolution"].items()},
        **{f"w1_{name}": value for name, value in figures["wasserstein"].items()},
    }
    columns: dict[str, Any] = {
        "events_per_class": min(figures["classifier"]["events_per_class"]),
        "w1_mean": float(np.mean(distances)) if distances else None,
    }
    for name, value in named.items():
        columns[name] = value["value"]
        columns[f"{name}_statistical"] = value["statistical"]
        columns[f"{name}_systematic"] = value["systematic"]
    return columns


def collect(paths: Sequence[str], out: str | Path) -> None:
    """Write metrics.json and leaderboard.csv of all surrogates into ``out``."""
    entries = [read_json(path, "compare") for path in paths]
    out = Path(out)
    write_json(
        out / "metrics.json",
        {"floor": entries[0]["floor"], "surrogates": {e["surrogate"]: e for e in entries}},
    )
    rows = leaderboard(entries)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {
            k: f"{v:.6g}" if isinstance(v, float) else NOT_ESTIMATED if v is None else v
            for k, v in row.items()
        }
        for row in rows
    )
    write_text(out / "leaderboard.csv", text.getvalue())
    say("compare", f"{out / 'leaderboard.csv'}: {len(rows)} rows")
