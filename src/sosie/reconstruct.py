"""reconstruct: what the detector's reconstruction makes of reference and generated samples."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from sosie import external
from sosie.arrays import write_arrays
from sosie.bootstrap import binned_resolution
from sosie.detectors import find
from sosie.detectors.base import Detector
from sosie.ensembles import spread
from sosie.errors import IntermediateError
from sosie.events import Events, open_events
from sosie.files import read_json, write_json
from sosie.overlays import pair_arrays
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
        conditions = events.column("conditions")
        fitted = find(events.detector).calibrate(
            (response, conditions[where]) for where, response in events.responses()
        )
        write_json(out, {"detector": events.detector, "calibration": fitted})
    say("reconstruct", f"{out}: calibrated on {train}")


def read_calibration(path: str, detector: str) -> dict[str, Any]:
    """The constants that ``calibrate`` wrote for this detector; raises IntermediateError."""
    found = read_json(path, "reconstruct")
    if not isinstance(found, dict) or not isinstance(found.get("calibration"), dict):
        raise IntermediateError(f"{path}: not a calibration; run 'sosie reconstruct --calibrate'")
    if found.get("detector") != detector:
        raise IntermediateError(
            f"{path}: calibrates '{found.get('detector')}', the samples are of '{detector}'; "
            "run 'sosie reconstruct --calibrate' on a training sample of that detector"
        )
    return dict(found["calibration"])


def own_results(
    events: Events, detector: Detector, conditions: Array, calibration: dict[str, Any]
) -> Array:
    """What the detector's reconstruction makes of a sample (N, Q), read in pieces."""
    values = np.empty((len(events), len(detector.results)))
    for where, response in events.responses():
        found = detector.reconstruct(response, conditions[where], calibration)
        values[where] = np.column_stack([found[name] for name in detector.results])
    return values


def reconstructed(
    twins: Twins, calibration: dict[str, Any], program: external.Program
) -> list[Array]:
    """Results (N, Q) of reference and members: the detector's, then those of the user's program."""
    detector, samples = twins.detector, (twins.reference, *twins.members)
    more = [np.empty((len(twins.conditions), 0))] * len(samples)
    if program.command:
        columns = external.sample_columns(twins.reference, detector)
        more = [external.reconstruct(program, sample, detector, columns) for sample in samples]
    own = [own_results(sample, detector, twins.conditions, calibration) for sample in samples]
    return [np.hstack(both) for both in zip(own, more, strict=True)]


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


def fits(
    detector: Detector, binning: Binning, reference: Array, members: Array
) -> dict[str, Array]:
    """The fits through resolutions (R+1, 2, Q, B) and (K, R+1, 2, Q, B) in bins of their variable."""
    arrays: dict[str, Array] = {}
    for name, fit in detector.fits.items():
        if fit.variable == binning.variable:
            column = list(detector.results).index(fit.result)
            one, several = (
                fit.solve(binning.centre, table[..., 1, column, :])
                for table in (reference, members)
            )
            arrays |= named(f"fits/{name}", spread_arrays(spread(one, several), one, several))
    return arrays


def run(
    reference: str,
    generated: Sequence[str],
    calibration: str,
    out: str,
    *,
    seed: int,
    bins: Mapping[str, int | Sequence[float]],
    replicas: int,
    command: Sequence[str] = (),
    tree: str = "results",
    results: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Write bias and resolution in bins, fits, pairs and results per event of reference and members.

    ``command``, ``tree`` and ``results`` {name: {unit, label}} are the user's own reconstruction.
    Raises IntermediateError for tables that do not belong together, SosieError where the command
    fails.
    """
    program = external.Program(command, tree, external.quantities(results or {}))
    with open_twins(reference, generated, seed, replicas) as twins:
        detector = twins.detector
        constants = read_calibration(calibration, detector.name)
        first, *others = reconstructed(twins, constants, program)
        arrays: dict[str, Array] = {"events/reference": first, "events/members": np.stack(others)}
        for position, binning in enumerate(twins.binnings(bins, "reconstruct")):
            central = resolutions(twins, binning, first)
            each = np.stack([resolutions(twins, binning, values) for values in others])
            arrays |= named(f"profiles/{binning.variable}", tables(binning, central, each))
            if position == 0:
                one, ratio = ratios(central, each)
                arrays |= named("ratios", spread_arrays(spread(one, ratio), one, ratio))
            arrays |= fits(detector, binning, central, each)
        pairs = None
        if detector.pairs:
            arrays |= named("pairs", pair_arrays(twins, detector.pairs, constants))
            pairs = {
                "pairs": len(first) // 2,
                "statistics": STATISTICS,
                "quantities": list(detector.pairs.results),
                "variables": [detector.pairs.variable],
            }
        own = len(detector.results)
        found = [
            float(np.isfinite(values[:, :own]).all(axis=1).mean()) for values in (first, *others)
        ]
        about = {
            "detector": detector.name,
            "statistics": STATISTICS,
            "quantities": [*detector.results, *program.results],
            # Those of the detector are not kept, so that a changed label reruns the report alone.
            "labels": {name: asdict(quantity) for name, quantity in program.results.items()},
            "variables": list(bins),
            "members": len(others),
            "events": len(first),
            "found": {"reference": found[0], "members": found[1:]},
            "pairs": pairs,
            "calibration": constants,
        }
        write_arrays(out, KIND, arrays, about)
    say("reconstruct", f"{out}: {len(first)} events, {len(others)} members")
