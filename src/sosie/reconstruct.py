"""reconstruct: what the detector's reconstruction makes of reference and generated samples."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sosie import external
from sosie.arrays import Index, Stream, write_arrays
from sosie.binnings import Binning
from sosie.bootstrap import resolutions_of_bin
from sosie.detectors import find
from sosie.detectors.base import DISTANCE, Detector
from sosie.ensembles import spread
from sosie.errors import InputError, IntermediateError
from sosie.events import Events, open_events
from sosie.files import read_json, write_json
from sosie.groups import group_arrays
from sosie.overlays import pair_arrays
from sosie.profiles import Twins, named, open_twins, spread_arrays, tables
from sosie.progress import say
from sosie.rates import binned_rates, rate_arrays
from sosie.roc_cells import roc_arrays
from sosie.scratch import Scratch

Array = np.ndarray[Any, Any]
KIND = "reconstruct"
STATISTICS = ("bias", "resolution")
MEMORY = 2_000_000_000
SHARE = 64
"""So much less than all memory may the events of some bins take that are gathered at a time."""


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


@dataclass
class Found:
    """What there is of each event of a sample: results (N, Q) in a file, and in memory rates (N, P)
    and scores of the ROCs (N, C), of the detectors that have them. whole: events of which every
    result of the detector is finite."""

    results: Scratch
    rates: Array
    scores: Array
    whole: int = 0


def find_results(
    twins: Twins, sample: Events, found: Found, more: Array | None, calibration: dict[str, Any]
) -> None:
    """Put what the detector's reconstruction makes of a sample, read in pieces, into ``found``, its
    results before ``more`` (N, Q'), those of the user's program."""
    detector = twins.detector
    for where, response in sample.responses():
        values = detector.reconstruct(response, twins.some(where).conditions, calibration)
        own = np.empty((len(response), len(detector.results)))
        for column, name in enumerate(detector.results):
            own[:, column] = values[name]
        found.whole += int(np.isfinite(own).all(axis=1).sum())
        found.results.append(own if more is None else np.hstack([own, more[where]]))
        for column, name in enumerate(detector.rates):
            found.rates[where, column] = values[name]
        for column, roc in enumerate(detector.rocs.values()):
            found.scores[where, column] = roc.score(response)


@contextmanager
def reconstructed(
    twins: Twins, calibration: dict[str, Any], program: external.Program, folder: Path
) -> Iterator[list[Found]]:
    """Of reference and members: results, the detector's and then those of the user's program."""
    detector, samples = twins.detector, (twins.reference, *twins.members)
    columns = external.sample_columns(twins.reference, detector) if program.command else {}
    with ExitStack() as stack:
        each = []
        for sample in samples:
            more = (
                external.reconstruct(program, sample, detector, columns)
                if program.command
                else None
            )
            width = len(detector.results) + (0 if more is None else more.shape[1])
            found = Found(
                stack.enter_context(Scratch(folder, width)),
                np.empty((len(sample), len(detector.rates))),
                np.empty((len(sample), len(detector.rocs))),
            )
            find_results(twins, sample, found, more, calibration)
            each.append(found)
        yield each


def refuse_size(twins: Twins, size: int, memory: int, what: str) -> None:
    """Raise InputError where what must be held does not fit into half of the memory."""
    if 2 * size > memory:
        raise InputError(
            f"{twins.reference.path}: the events of a {what} take {size / 1e6:.0f} MB, more than half of "
            f"the {memory / 1e6:.0f} MB of 'memory'; give more memory, more bins or fewer test events"
        )


def resolutions(twins: Twins, binning: Binning, stores: Sequence[Scratch], memory: int) -> Array:
    """Median and half the central 68 % interval (K, R+1, 2, Q, B) in bins of what K stores hold of
    each event (N, Q).

    As many bins at a time are gathered as fit into a share of ``memory`` bytes, one at least, and of
    all samples if they fit into half of all; raises InputError where that of one sample does not.
    """
    bins = len(binning.events)
    width = stores[0].columns
    # Gathered, of one bin, in order, and the order itself.
    each = 8 * 4 * (width * len(stores) + 1)
    size = each * int(binning.events.max())
    if 2 * size > memory and len(stores) > 1:
        halves = stores[: len(stores) // 2], stores[len(stores) // 2 :]
        return np.concatenate([resolutions(twins, binning, half, memory) for half in halves])
    refuse_size(twins, size, memory, f"bin of {binning.variable}")
    shape = (len(stores), twins.replicas + 1, len(STATISTICS), width, bins)
    out = np.full(shape, np.nan)
    most = memory // SHARE // each
    for first, last in _together(binning.events.tolist(), most):
        parts = []
        for where in twins.reference.pieces():
            some = twins.some(where)
            index = binning.index_of(twins.variables(some)[binning.variable])
            here = (index >= first) & (index < last)
            values = [store.rows(where)[here] for store in stores]
            parts.append((index[here], some.weight[here], some.groups[here], np.hstack(values)))
        index, weight, groups, table = (np.concatenate(part) for part in zip(*parts, strict=True))
        del parts
        for b in range(first, last):
            rows = np.flatnonzero(index == b)
            found = resolutions_of_bin(
                table[rows], weight[rows], twins.stream, groups[rows], twins.replicas
            )
            both = np.stack([found.median, found.half68], axis=1)
            out[..., b] = np.stack(np.split(both, len(stores), axis=-1))
    return out


def _streams(stores: Sequence[Scratch]) -> dict[str, Stream]:
    """Results of each event of the reference (N, Q) and of the members (K, N, Q)."""
    first, *others = stores
    events, width, kind = len(first), first.columns, np.dtype(np.float64)

    def of_reference(index: Index) -> Array:
        (where,) = index
        assert isinstance(where, slice)
        return first.rows(where)

    def of_members(index: Index) -> Array:
        member, where = index if len(index) == 2 else (index[0], slice(0, events))
        assert isinstance(where, slice)
        if isinstance(member, slice):
            return np.stack([store.rows(where) for store in others[member]])
        return others[member].rows(where)

    return {
        "events/reference": Stream((events, width), kind, of_reference),
        "events/members": Stream((len(others), events, width), kind, of_members),
    }


def _together(events: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """First bin and last + 1 of bins that hold ``most`` events together, or of one that holds more."""
    first, held = 0, 0
    for b, number in enumerate(events):
        if b > first and held + number > most:
            yield first, b
            first, held = b, 0
        held += number
    yield first, len(events)


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
    memory: int = MEMORY,
    command: Sequence[str] = (),
    tree: str = "results",
    results: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Write what the reconstruction makes of reference and members: bias and resolution in bins,
    fits, pairs, rates, ROC curves, groups, and results per event.

    ``command``, ``tree`` and ``results`` {name: {unit, label}} are the user's own reconstruction.
    Raises IntermediateError for tables that do not belong together, InputError for more events in a
    bin than fit into ``memory`` bytes, SosieError where the command fails.
    """
    program = external.Program(command, tree, external.quantities(results or {}))
    folder = Path(out).parent
    with open_twins(reference, generated, seed, replicas) as twins:
        detector = twins.detector
        constants = read_calibration(calibration, detector.name)
        with reconstructed(twins, constants, program, folder) as samples:
            first, *others = samples
            stores = [one.results for one in samples]
            arrays: dict[str, Array | Stream] = {**_streams(stores)}
            first_variable = next((name for name in bins if name != DISTANCE), DISTANCE)
            for binning in twins.binnings(bins, "reconstruct", index=bool(detector.rates)):
                central, *each = resolutions(twins, binning, stores, memory)
                arrays |= named(f"profiles/{binning.variable}", tables(binning, central, each))
                if binning.variable == first_variable:
                    one, ratio = ratios(central, np.stack(each))
                    arrays |= named("ratios", spread_arrays(spread(one, ratio), one, ratio))
                arrays |= fits(detector, binning, central, np.stack(each))
                if detector.rates:
                    refuse_size(twins, 12 * replicas * len(first.results), memory, "sample")
                    asked = [rates(twins, binning, found.rates) for found in samples]
                    arrays |= rate_arrays(binning, asked[0], asked[1:])
            if detector.rates:
                arrays["events/rates"] = first.rates
            if detector.rocs:
                arrays |= roc_arrays(twins, [found.scores for found in samples])
                arrays["events/scores"] = first.scores
            grouped, groups = group_arrays(twins, constants)
            arrays |= grouped
            pairs = None
            if detector.pairs:
                size = 32 * (1 + len(detector.pairs.results)) * len(first.results) // 2
                refuse_size(twins, size, memory, "bin of the pairs")
                paired, number = pair_arrays(twins, detector.pairs, constants, folder)
                arrays |= named("pairs", paired)
                pairs = {
                    "pairs": number,
                    "statistics": STATISTICS,
                    "quantities": list(detector.pairs.results),
                    "variables": [detector.pairs.variable],
                }
            events = len(twins.reference)
            about = {
                "detector": detector.name,
                "statistics": STATISTICS,
                "quantities": [*detector.results, *program.results],
                # Those of the detector are not kept, so that a changed label reruns the report alone.
                "labels": {name: asdict(quantity) for name, quantity in program.results.items()},
                "variables": list(bins),
                "members": len(others),
                "events": events,
                "zones": twins.zones,
                "found": {
                    "reference": first.whole / events,
                    "members": [one.whole / events for one in others],
                },
                "pairs": pairs,
                "calibration": constants,
                "rates": list(detector.rates),
                "rocs": list(detector.rocs),
                "groups": groups,
            }
            write_arrays(out, KIND, arrays, about)
    say("reconstruct", f"{out}: {about['events']} events, {len(others)} members")
