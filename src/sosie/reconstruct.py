"""reconstruct: what the detector's reconstruction makes of reference and generated samples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sosie.arrays import write_arrays
from sosie.bootstrap import binned_resolution
from sosie.detectors import find
from sosie.detectors.base import Detector
from sosie.ensembles import spread
from sosie.events import Events, open_events
from sosie.files import read_json, write_json
from sosie.profiles import Binning, Twins, named, open_twins, spread_arrays, tables
from sosie.progress import say

Array = np.ndarray[Any, Any]
KIND = "reconstruct"
STATISTICS = ("bias", "resolution")


def calibrate(train: str, out: str) -> None:
    """Fit the constants of the reconstruction on the reference training sample and write them.

    Raises InputError for a sample that cannot be reconstructed.
    """
    with open_events(train) as events:
        fitted = find(events.detector).calibrate(
            events.column("response"), events.column("conditions")
        )
        write_json(out, {"detector": events.detector, "calibration": fitted})
    say("reconstruct", f"{out}: calibrated on {train}")


def read_calibration(path: str) -> dict[str, Any]:
    """The constants that ``calibrate`` wrote; raises IntermediateError."""
    return dict(read_json(path, "reconstruct")["calibration"])


def results(
    events: Events, detector: Detector, conditions: Array, calibration: dict[str, Any]
) -> Array:
    """The reconstructed quantities (N, Q) of a sample, read in pieces."""
    values = np.empty((len(events), len(detector.results)))
    for where, response in events.responses():
        found = detector.reconstruct(response, conditions[where], calibration)
        values[where] = np.column_stack([found[name] for name in detector.results])
    return values


def resolutions(twins: Twins, binning: Binning, values: Array) -> Array:
    """Median and half the central 68 % interval (R+1, 2, Q, B) of quantities (N, Q) in bins."""
    bins = len(binning.events)
    found = [
        binned_resolution(column, twins.weight, twins.counts, binning.index, bins)
        for column in values.T
    ]
    return np.stack(
        [np.stack([f.median for f in found], axis=1), np.stack([f.half68 for f in found], axis=1)],
        axis=1,
    )


def ratios(reference: Array, members: Array) -> tuple[Array, Array]:
    """Resolution over that of the reference, mean over bins: (R+1, Q) of ones, and (K, R+1, Q)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = members[:, :, 1] / reference[None, :, 1]
    finite = np.isfinite(ratio)
    number = finite.sum(axis=-1)
    mean = np.where(finite, ratio, 0.0).sum(axis=-1) / np.maximum(number, 1)
    mean[number == 0] = np.nan
    return np.ones(mean.shape[1:]), mean


def run(
    reference: str,
    generated: Sequence[str],
    calibration: str,
    out: str,
    *,
    seed: int,
    bins: Mapping[str, int | Sequence[float]],
    replicas: int,
) -> None:
    """Write bias and resolution in bins, fits and results per event of reference and members.

    Raises IntermediateError for tables that do not belong together.
    """
    constants = read_calibration(calibration)
    with open_twins(reference, generated, seed, replicas) as twins:
        detector = twins.detector
        names = list(detector.results)
        first = results(twins.reference, detector, twins.conditions, constants)
        others = [
            results(member, detector, twins.conditions, constants) for member in twins.members
        ]
        arrays: dict[str, Array] = {"events/reference": first, "events/members": np.stack(others)}
        for position, binning in enumerate(twins.binnings(bins)):
            central = resolutions(twins, binning, first)
            each = np.stack([resolutions(twins, binning, values) for values in others])
            arrays |= named(f"profiles/{binning.variable}", tables(binning, central, each))
            if position == 0:
                one, ratio = ratios(central, each)
                arrays |= named("ratios", spread_arrays(spread(one, ratio), one, ratio))
            for name, fit in detector.fits.items():
                if fit.variable == binning.variable:
                    column = names.index(fit.result)
                    fitted = fit.solve(binning.centre, central[:, 1, column])
                    several = fit.solve(binning.centre, each[:, :, 1, column])
                    arrays |= named(
                        f"fits/{name}", spread_arrays(spread(fitted, several), fitted, several)
                    )
        found = [float(np.isfinite(values).all(axis=1).mean()) for values in (first, *others)]
        about = {
            "detector": detector.name,
            "statistics": STATISTICS,
            "quantities": names,
            "variables": list(bins),
            "members": len(others),
            "events": len(first),
            "found": {"reference": found[0], "members": found[1:]},
            "calibration": constants,
        }
        write_arrays(out, KIND, arrays, about)
    say("reconstruct", f"{out}: {len(first)} events, {len(others)} members")
