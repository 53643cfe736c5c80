"""What the report shows of the trust in an ensemble: figures with their words, and tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sosie import trust_plots
from sosie.calibration import FITTED, SHORT, tables
from sosie.detectors.base import Detector, Quantity
from sosie.shown import Shown, Validation
from sosie.style import Drawn
from sosie.trust import CALIBRATION, STEPS, TEST

Entry = Mapping[str, Any]
SAMPLE_HEADS = (
    "sample",
    "events",
    "inside",
    "edge",
    "outside",
    "coverage, moments",
    "coverage, reconstruct",
    "bins off by 3 sigma",
    "of these flagged",
)
METHODS = {
    "dropout_masks": "masks",
    "independent": "independent",
    "repulsive": "repulsive",
}


def ensembles(entries: Sequence[Entry]) -> list[Entry]:
    """What compare wrote of the trust of each surrogate that has an ensemble."""
    return [entry["trust"] for entry in entries if entry["trust"]]


def measured(found: Sequence[Entry]) -> list[str]:
    """The steps in which there is anything to calibrate."""
    return [step for step in STEPS if all(one["scale"][step]["bins"] for one in found)]


def scales(entries: Sequence[Entry], step: str) -> dict[str, float | None]:
    """The scale of the spread of each surrogate that is applied to a step, None without an ensemble."""
    return {
        entry["surrogate"]: entry["calibration"][step]["scale"] if entry["trust"] else None
        for entry in entries
    }


def _pulls(step: str, found: Validation) -> tuple[str, list[Drawn]]:
    parts = []
    for one in found.drawn:
        arrays = {}
        for name in ("pull", "pull_raw"):
            values = [
                np.ravel(one.arrays[f"{prefix}/{name}"])
                for prefix in tables(one.arrays)
                if f"{prefix}/{name}" in one.arrays
            ]
            if values:
                flat = np.concatenate(values)
                arrays[name] = flat[np.isfinite(flat)]
        if arrays:
            parts.append(replace(one, arrays=arrays))
    return step, parts


def _profile(
    found: Validation, quantity: Quantity, names: Sequence[str], name: str, axis: Quantity
) -> tuple[str, Quantity, Quantity, list[Drawn]]:
    variable = found.about["variables"][0]
    wanted = ("edges", "centre", "difference", "difference_error", "systematic", "systematic_raw")
    parts = []
    for one in found.part(f"profiles/{variable}"):
        if "systematic_raw" in one.arrays:
            arrays = {part: one.arrays[part] for part in wanted}
            place = (0, names.index(name))
            arrays |= {part: arrays[part][place] for part in wanted[2:]}
            parts.append(replace(one, arrays=arrays))
    return found.about["statistics"][0], quantity, axis, parts


def trust_figures(
    detector: Detector,
    entries: Sequence[Entry],
    surrogates: Mapping[str, Mapping[str, Any]],
    low: Validation,
    high: Validation,
) -> Iterator[Shown]:
    """The figures; ``surrogates`` are their settings."""
    pulls = [row for row in (_pulls("moments", low), _pulls("reconstruct", high)) if row[1]]
    yield Shown(
        "pulls",
        "Pulls of all bins",
        "If the errors are right the pulls follow the black line. Filled: with the calibrated spread; "
        "coloured line: as the members spread. A surrogate without an ensemble has statistical errors alone.",
        trust_plots.pull_figure(pulls),
    )
    found = ensembles(entries)
    if not found:
        return
    steps = measured(found)
    judged = [(e["surrogate"], e["calibration"]) for e in entries if e["trust"]]
    yield Shown(
        "coverage",
        "Coverage before and after the calibration",
        "Share of all bins of the test sample whose pull lies within the central 68 % of Student's t; open: as the members "
        "spread, full: with the scale that was fitted on the other sample. The line is what is expected; errors are from a "
        "bootstrap over events and members.",
        trust_plots.methods_figure([(n, {s: c[s] for s in steps}) for n, c in judged]),
    )
    yield Shown(
        "bands",
        "The systematic band before and after the calibration",
        "Dark: as the members spread; light: calibrated, so that it covers 68 % of the truths. Bars are the statistical errors of "
        "the paired difference. The band and the bar together should reach the line in two of three bins.",
        trust_plots.bands_figure(_bands(detector, low, high)),
    )
    if any(one["samples"][TEST][steps[0]]["distance"] for one in found):
        yield Shown(
            "distance",
            "Coverage, bias and band against the distance to the training sample",
            "D is the distance to the nearest training event in standardised features, in units of what 99 % of the training "
            "events keep from each other; beyond the range of a condition it is above 1. Grey: inside the domain. Below, the median "
            "over the quantities in units of their width: where the bias rises above the band, the spread of the members does "
            "not warn, and only the distance does.",
            trust_plots.distance_figure(found, steps),
        )
    yield Shown(
        "members",
        "How many members",
        "Bias, spread and coverage of the first K members, with the scale that was fitted for all of them. The spread settles where more "
        "members no longer change it; the bias does not fall with their number.",
        trust_plots.members_figure(found, steps),
    )
    if len(points := _fractions(found, surrogates)) > 1:
        yield Shown(
            "size",
            "How much data",
            "A surrogate whose bias lies below the dotted line errs by less than the statistical error of the sample it was "
            "trained on: in these bins it stands for more events than it has seen, as far as its systematic error is kept with it.",
            trust_plots.size_figure(points, steps),
        )
    if points := _repulsive(found, surrogates):
        yield Shown(
            "repulsion",
            "Spread against the final strength of the repulsion",
            "With a final alpha above 0 members are pushed apart to the end: their spread is a choice, not a measurement. Only "
            "that at 0 says what the training sample leaves open.",
            trust_plots.repulsion_figure(points, steps),
        )


def _bands(
    detector: Detector, low: Validation, high: Validation
) -> list[tuple[str, Quantity, Quantity, list[Drawn]]]:
    rows = []
    plain = [name for name in detector.observables if name not in detector.minor]
    names = low.about["quantities"]
    variable = low.about["variables"][0]
    rows.append(
        _profile(low, detector.observables[plain[0]], names, plain[0], detector.variables[variable])
    )
    if results := [name for name in high.about["quantities"] if name in detector.results]:
        variable = high.about["variables"][0]
        rows.append(
            _profile(
                high,
                detector.results[results[0]],
                high.about["quantities"],
                results[0],
                detector.variables[variable],
            )
        )
    return rows


def _fractions(
    found: Sequence[Entry], surrogates: Mapping[str, Mapping[str, Any]]
) -> list[tuple[float, Entry]]:
    """Events learnt from and trust of the surrogates that differ in their share of the training sample."""
    shares = {one["surrogate"]: surrogates[one["surrogate"]].get("fraction", 1.0) for one in found}
    scanned = {name for name, share in shares.items() if share < 1}

    def alike(name: str) -> dict[str, Any]:
        return {key: value for key, value in surrogates[name].items() if key != "fraction"}

    chosen = [
        one
        for one in found
        if one["surrogate"] in scanned
        or any(alike(one["surrogate"]) == alike(name) for name in scanned)
    ]
    points = [(shares[one["surrogate"]] * one["training_events"], one) for one in chosen]
    return sorted(points, key=lambda point: point[0])


def _repulsive(
    found: Sequence[Entry], surrogates: Mapping[str, Mapping[str, Any]]
) -> list[tuple[float, Entry]]:
    """Final alpha and trust of the repulsive ensembles."""
    points = [
        (float(how.get("repulsion_end", 0.0)), one)
        for one in found
        if (how := surrogates[one["surrogate"]]).get("method") == "repulsive"
    ]
    return sorted(points, key=lambda point: point[0])


def _number(value: Any, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if isinstance(value, float) else "not defined"


def scale_in_words(scale: Mapping[str, Any]) -> str:
    """The scale of the spread with its error, or why there is none."""
    if scale["status"] == SHORT:
        return "none covers"
    text = f"{scale['value']:.2f} ± {scale['error']:.2f}"
    return text if scale["status"] == FITTED else "1, hidden by statistics"


def method_table(
    entries: Sequence[Entry], surrogates: Mapping[str, Mapping[str, Any]], runs: Mapping[str, int]
) -> dict[str, Any]:
    """The ensembles side by side: heads and rows; no rows without an ensemble."""
    rows = []
    for entry in entries:
        if not entry["trust"]:
            continue
        name, how = entry["surrogate"], surrogates[entry["surrogate"]]
        method = METHODS[how.get("method", "dropout_masks")]
        if alpha := how.get("repulsion_end"):
            method += f", final alpha {alpha:g}: the spread is a choice"
        for step in measured([entry["trust"]]):
            found, scale = entry["calibration"][step], entry["trust"]["scale"][step]
            raw, after = found["raw"], found["calibrated"]
            rows.append(
                [
                    name,
                    method,
                    f"{entry['members']} of {runs[name]} training" + "s" * (runs[name] > 1),
                    step,
                    str(raw["bins"]),
                    scale_in_words(scale),
                    *(
                        f"{_number(one['coverage'], 3)} ± {_number(one['coverage_error'], 3)}"
                        for one in (raw, after)
                    ),
                    *(_number(one["pull_width"]) for one in (raw, after)),
                    _number(raw["expected_width"]),
                    _number(after["beyond_3"], 3),
                ]
            )
    return {
        "heads": [
            "",
            "method",
            "members",
            "step",
            "bins",
            "scale of s",
            "coverage, raw",
            "calibrated (expected 0.683)",
            "width of pulls, raw",
            "calibrated",
            "expected",
            "pulls beyond 3, calibrated",
        ],
        "rows": rows,
    }


def sample_table(entries: Sequence[Entry]) -> dict[str, Any]:
    """Every sample against the domain: heads and rows."""
    rows = []
    for one in ensembles(entries):
        for name, found in one["samples"].items():
            if name == CALIBRATION:
                continue
            zones = found["zones"] or [None] * 3
            rows.append(
                [
                    one["surrogate"],
                    name,
                    str(found["events"]),
                    *("not known" if zone is None else f"{zone:.1%}" for zone in zones),
                    *(_number(found[step]["calibrated"]["coverage"], 3) for step in STEPS),
                    *(
                        str(sum(found[step][what] for step in STEPS))
                        for what in ("biased", "flagged")
                    ),
                ]
            )
    return {"heads": ["", *SAMPLE_HEADS], "rows": rows}
