"""compare: how far the errors of an ensemble can be trusted: scale, coverage, domain, members."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sosie.arrays import read_arrays
from sosie.calibration import (
    Arrays,
    Bins,
    bins_of,
    calibrated,
    fit_scale,
    judge,
    pulls,
    student,
    tables,
)
from sosie.detectors.base import DISTANCE
from sosie.errors import InputError, IntermediateError
from sosie.events import open_events
from sosie.files import read_json, write_json
from sosie.profiles import below
from sosie.progress import say

Array = np.ndarray[Any, Any]
STEPS = ("moments", "reconstruct")
CALIBRATION, TEST = "calibration", "test"
MANY = 50
"""Events of a bin whose bias is looked at outside the domain."""
BIASED = 3.0
NORMAL_MEDIAN = 0.4549364
"""Median of the square of a standard normal variable."""


def scale_of(arrays: Arrays, members: int) -> dict[str, Any]:
    """The scale of s with its error, fitted on all bins of a step."""
    return asdict(fit_scale(bins_of(arrays, tables(arrays), members)))


def coverage_of(arrays: Arrays, members: int, scale: float) -> dict[str, Any]:
    """How pulls and coverage lie before and after the calibration."""
    bins = bins_of(arrays, tables(arrays), members)
    return {"raw": judge(bins, 1.0), "calibrated": judge(bins, scale)}


def biased(arrays: Arrays, members: int, scale: float) -> dict[str, int]:
    """Bins of MANY events or more in which the first statistic (mean, bias or rate) is off by more than
    BIASED calibrated sigma, and those of them of whose events most are flagged.

    A calibrated sigma is the error of the difference, widened as in ``calibrated``.
    """
    found, warned = 0, 0
    for name in arrays:
        kind, _, rest = name.partition("/")
        if kind not in ("profiles", "rates") or not rest.endswith("/pull"):
            continue
        prefix = name.removesuffix("/pull")
        one = below(prefix, calibrated(below_as(prefix, arrays), scale, members))
        many = (one["events"] >= MANY) & (np.abs(one["pull"][0]) > BIASED * student(members))
        found += int(many.sum())
        warned += int((many & (one["flagged"] > 0.5)).sum())
    return {"biased": found, "flagged": warned}


def below_as(prefix: str, arrays: Arrays) -> dict[str, Array]:
    """The arrays below a prefix under their full names."""
    return {name: array for name, array in arrays.items() if name.startswith(f"{prefix}/")}


def against_distance(arrays: Arrays, members: int, scale: float) -> dict[str, Any]:
    """Coverage, bias and band in bins of the distance to the training sample.

    bias and band are medians over quantities of the difference of the first statistic and of its
    calibrated band, in units of the second statistic (the width) of the reference; for rates, of the
    rates. Empty where nothing is binned in the distance.
    """
    names = [f"{table}/{DISTANCE}" for table in ("profiles", "rates")]
    names = [name for name in names if f"{name}/pull" in arrays and arrays[f"{name}/pull"].size]
    if not names:
        return {}
    first = below(names[0], arrays)
    rows: dict[str, list[float]] = {
        part: [] for part in ("coverage", "coverage_error", "raw_coverage", "bias", "band")
    }
    shown = calibrated(arrays, scale, members)
    for b in range(len(first["events"])):
        one = {
            name: array[..., b : b + 1]
            for prefix in names
            for name, array in below_as(prefix, arrays).items()
            if name.rpartition("/")[2] not in ("edges", "centre", "events", "flagged")
        }
        found = bins_of(one, names, members)
        after, before = judge(found, scale), judge(found, 1.0)
        rows["coverage"].append(after["coverage"])
        rows["coverage_error"].append(after["coverage_error"])
        rows["raw_coverage"].append(before["coverage"])
        off, wide = _relative(below(names[0], shown), b)
        rows["bias"].append(off)
        rows["band"].append(wide)
    return {
        "edges": first["edges"].tolist(),
        "events": first["events"].tolist(),
        "flagged": first["flagged"].tolist(),
        **rows,
    }


def _relative(table: Arrays, b: int) -> tuple[float, float]:
    """Median |difference| and band of the first statistic of a bin over the width of the reference."""
    reference = table["reference"]
    width = reference[1, :, b] if len(reference) > 1 else np.abs(reference[0, :, b])
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.abs(table["difference"][0, :, b]) / width
        band = table["systematic"][0, :, b] / width
    known = np.isfinite(off) & np.isfinite(band)
    return (
        (float(np.median(off[known])), float(np.median(band[known])))
        if known.any()
        else (math.nan, math.nan)
    )


def with_members(arrays: Arrays, members: int, scale: float) -> list[dict[str, Any]]:
    """Bias, spread and coverage of the first k = 2..K members, in units of the statistical error of
    the reference sample.

    bias: the width of the differences that is left when their own errors are taken out, from the
    median of their squares; spread: the median of s.
    """
    prefixes, rows = tables(arrays), []
    for number in range(2, members + 1):
        parts = [_first(below(prefix, arrays), number, members) for prefix in prefixes]
        d, s, e, unit = (np.concatenate([part[i] for part in parts]) for i in range(4))
        known = np.isfinite(d) & np.isfinite(s) & np.isfinite(e) & (unit > 0)
        if not known.any():
            return []
        d, s, e, unit = (x[known] for x in (d, s, e, unit))
        none = np.empty((0, len(d)))
        found = pulls(Bins(d, s, e, none, none, number), scale)
        squared = np.median((d / unit) ** 2) / NORMAL_MEDIAN - np.median((e / unit) ** 2)
        rows.append(
            {
                "members": number,
                "bias": math.sqrt(max(0.0, float(squared))),
                "spread": float(np.median(s / unit)),
                "coverage": float(np.mean(np.abs(found) < student(number))),
            }
        )
    return rows


def _first(table: Arrays, number: int, members: int) -> tuple[Array, Array, Array, Array]:
    """Difference, s, error of the difference and of the reference (B,) for the first members."""
    some, noise = table["members"][:number], table["noise"]
    difference = table["reference"] - some.mean(axis=0)
    s = np.sqrt(np.maximum(0.0, some.var(axis=0, ddof=1) - noise))
    # Fewer members have more fluctuation of their own left in their mean.
    error = np.sqrt(table["difference_error"] ** 2 + noise * (1 / number - 1 / members))
    return difference.ravel(), s.ravel(), error.ravel(), table["reference_error"].ravel()


def _read(paths: Sequence[str], step: str) -> dict[str, tuple[dict[str, Array], dict[str, Any]]]:
    found = {Path(path).stem: read_arrays(path, step, step, "events/") for path in paths}
    for name in (CALIBRATION, TEST):
        if name not in found:
            raise InputError(
                f"{', '.join(paths)}: none is of the sample '{name}'; give {step} of {name}.h5"
            )
    return found


def run(
    moments: Sequence[str], reconstruct: Sequence[str], training: str, out: str, *, name: str
) -> None:
    """Fit the scales of an ensemble on the calibration sample, judge them on all others, and write
    both as JSON.

    ``moments``, ``reconstruct``: what these steps wrote of each sample, whose name is that of the
    file; ``training``: the event table that was learnt from. Raises InputError where a sample is
    missing, IntermediateError for files of different ensembles.
    """
    steps = dict(zip(STEPS, (_read(moments, STEPS[0]), _read(reconstruct, STEPS[1])), strict=True))
    numbers = {about["members"] for found in steps.values() for _, about in found.values()}
    if len(numbers) != 1:
        raise IntermediateError(
            f"{moments[0]}: the files have {', '.join(map(str, sorted(numbers)))} members; "
            "run moments and reconstruct again"
        )
    members = numbers.pop()
    if members < 2:
        raise InputError(f"{moments[0]}: one member has no spread to calibrate; give an ensemble")
    scales = {step: scale_of(found[CALIBRATION][0], members) for step, found in steps.items()}
    used = {step: _used(scale) for step, scale in scales.items()}
    samples: dict[str, dict[str, Any]] = {}
    for step, found in steps.items():
        for sample, (arrays, about) in found.items():
            entry = samples.setdefault(sample, {"events": about["events"], "zones": about["zones"]})
            entry[step] = {
                **coverage_of(arrays, members, used[step]),
                "distance": against_distance(arrays, members, used[step]),
                **biased(arrays, members, used[step]),
            }
    with open_events(training) as events:
        learnt = len(events)
    write_json(
        out,
        {
            "surrogate": name,
            "members": members,
            "training_events": learnt,
            "scale": scales,
            "samples": samples,
            "first_members": {
                step: with_members(found[TEST][0], members, used[step])
                for step, found in steps.items()
            },
        },
    )
    words = ", ".join(
        f"{step} {s['value']:.2f} ± {s['error']:.2f} ({s['status']})"
        for step, s in scales.items()
        if s["bins"]
    )
    say("compare", f"{name}: scale of the spread: {words}")


def _used(scale: Mapping[str, Any]) -> float:
    """The scale that is applied; 1 where there was nothing to fit it on."""
    return float(scale["value"]) if scale["bins"] else 1.0


def read_trust(path: str) -> dict[str, Any]:
    """What ``run`` wrote; raises IntermediateError."""
    return read_json(path, "compare", ["scale", "members", "samples", "first_members"])


def scales_of(found: Mapping[str, Any]) -> dict[str, float]:
    """The scale of s that is applied to what each step measured."""
    return {step: _used(found["scale"][step]) for step in STEPS}
