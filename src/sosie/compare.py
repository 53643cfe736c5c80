"""compare: distances between independent samples, classifier, resolutions and calibration."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sosie import chi2
from sosie.arrays import open_arrays
from sosie.binnings import bin_events
from sosie.calibration import bins_of, calibrated, judge, tables
from sosie.detectors.base import DISTANCE, Detector
from sosie.distances import (
    Halved,
    contents,
    halves,
    members_value,
    separation,
    wasserstein,
)
from sosie.ensembles import ROUNDING
from sosie.errors import InputError, IntermediateError
from sosie.events import pieces
from sosie.files import write_json
from sosie.kept import rows_kept
from sosie.moments import histogram_edges, observe
from sosie.performance import (
    floor_groups,
    floor_rates,
    floor_resolution,
    floor_rocs,
    group_figures,
    of_members,
    rate_figures,
    resolution_figures,
    roc_figures,
)
from sosie.profiles import Twins, open_twins
from sosie.progress import say
from sosie.streams import key
from sosie.trust import read_trust, scales_of
from sosie.whole_figures import with_floor

Array = np.ndarray[Any, Any]
MEMORY = 2_000_000_000
SHARE = 0.6
"""Of the memory of the job; libraries and training samples in pieces need the rest."""
MEMBERS = 16
Distance = Callable[[Array, Array, Array, Array], float]


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


def calibration_of(
    arrays: Mapping[str, Array], members: int, scale: float | None
) -> dict[str, Any]:
    """Coverage of all bins as the members spread, and with the scale where there is one."""
    bins = bins_of(arrays, tables(arrays), members)
    return {
        "scale": scale,
        "raw": judge(bins, 1.0),
        "calibrated": None if scale is None else judge(bins, scale),
    }


def most_events(detector: Detector, splits: int, memory: int) -> int:
    """Test events that the figures of compare take at most: as many as fit into ``memory`` bytes.

    Held of each event are observables and results of every sample, twice, and the inputs of the
    classifiers. MEMBERS are reckoned with, so that all surrogates of a study have the same events.
    """
    numbers = len(detector.observables) + len(detector.results) + len(detector.rates)
    inputs = len(detector.observables) + len(detector.feature_names)
    bytes_each = 16 * (MEMBERS + 1) * (numbers + 1) + 96 * inputs + 4 * splits + 512
    return int(SHARE * memory) // bytes_each


def read_profiles(
    path: str, step: str, twins: Twins, rows: Array | None = None
) -> tuple[dict[str, Array], dict[str, Any]]:
    """What moments or reconstruct wrote for these samples, with the results of the events in these
    rows (n,), or of all; raises IntermediateError for other samples."""
    with open_arrays(path, step, step) as (stored, about):
        _refuse_others(path, step, about, twins)
        if rows is None:
            return {name: data[()] for name, data in stored.items()}, about
        arrays = {n: _of_events(n, data, rows) for n, data in stored.items()}
    if "groups/first" in arrays:
        arrays |= _groups_kept(arrays, rows)
    return arrays, about


def _of_events(name: str, data: Any, rows: Array) -> Array:
    """An array, of results per event only the rows (n,) that are kept."""
    if not name.startswith("events/"):
        whole: Array = data[()]
        return whole
    axis = 1 if name == "events/members" else 0
    pieces_of = pieces(data.shape[axis])
    parts = []
    for where in pieces_of:
        chosen = rows[(rows >= where.start) & (rows < where.stop)] - where.start
        parts.append(data[:, where][:, chosen] if axis else data[where][chosen])
    return np.concatenate(parts, axis=axis)


def _groups_kept(arrays: Mapping[str, Array], rows: Array) -> dict[str, Array]:
    """The arrays of the groups that are kept: whole ones, since whole groups are."""
    chosen = np.isin(arrays["groups/first"], rows)
    names = ("groups/first", "groups/events", "groups/weight", "groups/index")
    found = {name: arrays[name][chosen] for name in names}
    return {**found, "groups/first": np.searchsorted(rows, found["groups/first"])}


def _refuse_others(path: str, step: str, about: Mapping[str, Any], twins: Twins) -> None:
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


def _own(variables: Sequence[str]) -> list[str]:
    """Without the distance to training: a surrogate is judged by what the detector is binned in.

    Raises InputError where nothing is left.
    """
    if own := [name for name in variables if name != DISTANCE]:
        return own
    raise InputError(f"bins: {DISTANCE} stands alone; add a variable of the detector")


def run(
    reference: str,
    generated: Sequence[str],
    moments: str,
    reconstruct: str,
    out: str,
    *,
    training: str,
    name: str,
    seed: int,
    splits: int,
    classifier_splits: int,
    trust: str | None = None,
    memory: int = MEMORY,
) -> None:
    """Write the figures of one surrogate and of the floor as JSON.

    Of more test events than fit into ``memory`` bytes some are drawn, by a digest of their group.

    ``training``: the event table that the surrogates learnt from, for memorisation; ``trust``: the
    scales of its spread, with which the errors of what is reconstructed are calibrated. Raises
    IntermediateError for files that do not belong together.
    """
    trusted = read_trust(trust) if trust else None
    scales = scales_of(trusted) if trusted else {}
    with open_twins(reference, generated, seed, 1) as whole_twins:
        detector, number = whole_twins.detector, len(whole_twins.members)
        most = most_events(detector, max(splits, classifier_splits), memory)
        rows = rows_kept(whole_twins.reference, key(seed, "compare", "kept"), most)
        low, low_about = read_profiles(moments, "moments", whole_twins, rows)
        high, high_about = read_profiles(reconstruct, "reconstruct", whole_twins, rows)
        twins = whole_twins if rows is None else whole_twins.kept(rows)
        conditions = twins.conditions
        results = list(high_about["quantities"])
        names = [*detector.observables, *results]
        if twice := [name for name in results if name in detector.observables]:
            raise IntermediateError(
                f"{reconstruct}: result '{twice[0]}' has the name of an observable; "
                "give it another one in reconstruct.results"
            )
        calibration = {
            step: calibration_of(arrays, number, scales.get(step))
            for step, arrays in (("moments", low), ("reconstruct", high))
        }
        if scales:
            high = calibrated(high, scales["reconstruct"], number)
        first, *others = (
            observe(sample, detector, conditions) for sample in (twins.reference, *twins.members)
        )
        ids = twins.reference.column("event_id")
        groups, weight = twins.reference.column("group_id"), twins.weight
        split = halves(groups, key(seed, "compare", "halves"), max(splits, classifier_splits))
        own = None if (weight == 1).all() else weight
        halved = Halved(split[:classifier_splits], groups, own, seed)
        whole = with_floor(twins, training, first, others, halved)
    major = [name for name in detector.observables if name not in detector.minor]
    many = split[:splits]
    beside, values = high["events/reference"], detector.variable(conditions)
    chosen = [list(detector.observables).index(name) for name in detector.pseudo_chi2]
    binnings = [
        bin_events(variable, values[variable], low[f"profiles/{variable}/edges"].tolist())
        for variable in _own(low_about["variables"])
    ]
    binned = [(binning.index, len(binning.events)) for binning in binnings]

    def distances(samples: Sequence[Array], reconstructed: Sequence[Array]) -> dict[str, Any]:
        both = [np.hstack(pair) for pair in zip(samples, reconstructed, strict=True)]
        found = distance_figures(names, major, np.hstack([first, beside]), both, many, weight)
        if chosen:
            some = [sample[:, chosen] for sample in samples]
            found["pseudo_chi2"] = chi2.figures(
                detector.pseudo_chi2,
                first[:, chosen],
                some,
                weight,
                binned,
                many,
                ids,
                key(seed, "compare", "pseudo_chi2"),
            )
        return found

    each = distances(others, list(high["events/members"])), distances([first], [beside])
    figures, floor = ({**one, **more} for one, more in zip(whole, each, strict=True))
    own_variables = _own(high_about["variables"])
    variable = own_variables[0]
    edges = high[f"profiles/{variable}/edges"].tolist()
    binning = bin_events(variable, values[variable], edges)
    figures["resolution"] = resolution_figures(results, high)
    floor["resolution"] = {
        result: floor_resolution(column, weight, binning, many)
        for result, column in zip(results, beside.T, strict=True)
    }
    if detector.rates:
        asked = {name: values[name] for name in own_variables}
        figures["rates"] = rate_figures(detector, high, list(asked))
        floor["rates"] = floor_rates(detector, high, asked, weight, many)
    if detector.rocs:
        figures["rocs"] = roc_figures(detector, high)
        floor["rocs"] = floor_rocs(detector, high, conditions, values, weight, many)
    if "groups/ratios/mean" in high:
        figures |= group_figures(high_about["groups"], high)
        floor |= floor_groups(high_about["groups"], high, many)
    entry = {
        "surrogate": name,
        "members": len(others),
        "events": len(first),
        "splits": splits,
        "classifier_splits": classifier_splits,
        "figures": figures,
        "floor": floor,
        "calibration": calibration,
        "trust": trusted,
    }
    if rows is not None:
        entry["drawn_of"] = high_about["events"]
    write_json(out, entry)
    auc, least = (part["classifier"]["auc"]["value"] for part in (figures, floor))
    say("compare", f"{name}: AUC {auc:.3f}, floor {least:.3f}")
