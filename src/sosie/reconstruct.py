"""reconstruct: what the detector's reconstruction makes of reference and generated samples."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from sosie import external
from sosie.arrays import write_arrays
from sosie.bootstrap import binned_resolution
from sosie.detectors import find
from sosie.detectors.base import DISTANCE, Detector
from sosie.ensembles import spread
from sosie.errors import IntermediateError
from sosie.events import Events, open_events
from sosie.files import read_json, write_json
from sosie.groups import group_arrays
from sosie.overlays import pair_arrays
from sosie.profiles import Binning, Twins, named, open_twins, spread_arrays, tables
from sosie.progress import say
from sosie.rates import binned_rates, rate_arrays
from sosie.roc_cells import roc_arrays

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


@dataclass(frozen=True)
class Found:
    """What there is of each event: results (N, Q), rates (N, P), and scores of the ROCs (N, C)."""

    results: Array
    rates: Array
    scores: Array


def own_results(
    events: Events, detector: Detector, conditions: Array, calibration: dict[str, Any]
) -> Found:
    """What the detector's reconstruction makes of a sample, read in pieces."""
    count = len(events)
    found = Found(
        *(np.empty((count, len(x))) for x in (detector.results, detector.rates, detector.rocs))
    )
    for where, response in events.responses():
        values = detector.reconstruct(response, conditions[where], calibration)
        for names, table in ((detector.results, found.results), (detector.rates, found.rates)):
            for column, name in enumerate(names):
                table[where, column] = values[name]
        for column, roc in enumerate(detector.rocs.values()):
            found.scores[where, column] = roc.score(response)
    return found


def reconstructed(
    twins: Twins, calibration: dict[str, Any], program: external.Program
) -> list[Found]:
    """Of reference and members: results, the detector's and then those of the user's program."""
    detector, samples = twins.detector, (twins.reference, *twins.members)
    more = [np.empty((len(twins.conditions), 0))] * len(samples)
    if program.command:
        columns = external.sample_columns(twins.reference, detector)
        more = [external.reconstruct(program, sample, detector, columns) for sample in samples]
    own = [own_results(sample, detector, twins.conditions, calibration) for sample in samples]
    return [
        replace(found, results=np.hstack([found.results, others]))
        for found, others in zip(own, more, strict=True)
    ]


def resolutions(twins: Twins, binning: Binning, values: Array) -> Array:
    """Median and half the central 68 % interval (R+1, 2, Q, B) of quantities (N, Q) in bins."""
    bins = len(binning.events)
    out = np.empty((len(twins.counts) + 1, len(STATISTICS), values.shape[1], bins))
    for q, column in enumerate(values.T):
        found = binned_resolution(column, twins.weight, twins.counts, binning.index, bins)
        out[:, 0, q], out[:, 1, q] = found.median, found.half68
    return out


def rates(twins: Twins, binning: Binning, values: Array) -> Array:
    """Weighted means (R+1, 1, P, B) of rates (N, P) in bins."""
    weight, counts, bins = twins.weight, twins.counts, len(binning.events)
    return binned_rates(values, weight, counts, binning.index, bins)


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
    transform: str | None = None,
    command: Sequence[str] = (),
    tree: str = "results",
    results: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Write what the reconstruction makes of reference and members: bias and resolution in bins,
    fits, pairs, rates, ROC curves, groups, and results per event.

    ``transform``: that of the study, for bins of the distance to the domain of training.
    ``command``, ``tree`` and ``results`` {name: {unit, label}} are the user's own reconstruction.
    Raises IntermediateError for tables that do not belong together, SosieError where the command
    fails.
    """
    program = external.Program(command, tree, external.quantities(results or {}))
    with open_twins(reference, generated, seed, replicas, transform) as twins:
        detector = twins.detector
        constants = read_calibration(calibration, detector.name)
        first, *others = reconstructed(twins, constants, program)
        arrays: dict[str, Array] = {
            "events/reference": first.results,
            "events/members": np.stack([one.results for one in others]),
        }
        first_variable = next((name for name in bins if name != DISTANCE), DISTANCE)
        for binning in twins.binnings(bins, "reconstruct"):
            central = resolutions(twins, binning, first.results)
            each = np.stack([resolutions(twins, binning, one.results) for one in others])
            arrays |= named(f"profiles/{binning.variable}", tables(binning, central, each))
            if binning.variable == first_variable:
                one, ratio = ratios(central, each)
                arrays |= named("ratios", spread_arrays(spread(one, ratio), one, ratio))
            arrays |= fits(detector, binning, central, each)
            if detector.rates:
                asked = [rates(twins, binning, found.rates) for found in (first, *others)]
                arrays |= rate_arrays(binning, asked[0], asked[1:])
        if detector.rates:
            arrays["events/rates"] = first.rates
        if detector.rocs:
            arrays |= roc_arrays(twins, [found.scores for found in (first, *others)])
            arrays["events/scores"] = first.scores
        grouped, groups = group_arrays(twins, constants)
        arrays |= grouped
        pairs = None
        if detector.pairs:
            arrays |= named("pairs", pair_arrays(twins, detector.pairs, constants))
            pairs = {
                "pairs": len(twins.weight) // 2,
                "statistics": STATISTICS,
                "quantities": list(detector.pairs.results),
                "variables": [detector.pairs.variable],
            }
        own = len(detector.results)
        found = [
            float(np.isfinite(one.results[:, :own]).all(axis=1).mean()) for one in (first, *others)
        ]
        about = {
            "detector": detector.name,
            "statistics": STATISTICS,
            "quantities": [*detector.results, *program.results],
            # Those of the detector are not kept, so that a changed label reruns the report alone.
            "labels": {name: asdict(quantity) for name, quantity in program.results.items()},
            "variables": list(bins),
            "members": len(others),
            "events": len(twins.weight),
            "found": {"reference": found[0], "members": found[1:]},
            "pairs": pairs,
            "calibration": constants,
            "rates": list(detector.rates),
            "rocs": list(detector.rocs),
            "groups": groups,
        }
        write_arrays(out, KIND, arrays, about)
    say("reconstruct", f"{out}: {about['events']} events, {len(others)} members")
