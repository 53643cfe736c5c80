"""Which figures the report shows of each step, and how each is to be read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sosie import domain, high_figures, images, panels, plots, vectors
from sosie.arrays import read_arrays
from sosie.calibration import calibrated, widening
from sosie.detectors.base import Detector, Pairs, Quantity
from sosie.events import open_events
from sosie.files import check_beside, read_json
from sosie.profiles import below
from sosie.shown import Shown, Validation
from sosie.style import Array, Drawn
from sosie.verdict import title_of, words_of

GALLERY = 4
HISTOGRAMS = 12


def read_validation(
    folder: Path, step: str, surrogates: Mapping[str, float | None], sample: str = "test"
) -> Validation:
    """The arrays of a step for all surrogates, of one sample, calibrated with the scale of each that
    has one; raises IntermediateError."""
    drawn: list[Drawn] = []
    about: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for place, (name, scale) in enumerate(surrogates.items()):
        arrays, about = read_arrays(folder / step / name / f"{sample}.h5", step, step, "events/")
        members, widen = about["members"], 1.0
        if scale is not None:
            arrays, widen = calibrated(arrays, scale, members), scale * widening(members)
        drawn.append(Drawn(name, place, members, arrays, widen))
        if "found" in about:
            found |= {"reference": about["found"]["reference"], name: about["found"]["members"]}
    return Validation(about, drawn, found)


def read_curves(path: Path) -> dict[str, Array]:
    """Columns of a table of learning curves; raises IntermediateError."""
    check_beside(path, "train")
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    table = [[float(cell) if cell else np.nan for cell in row] for row in rows[1:]]
    return {name: np.array([row[i] for row in table]) for i, name in enumerate(rows[0])}


def preprocess_figures(folder: Path, detector: Detector) -> Iterator[Shown]:
    seen = read_json(folder / "preprocess/transform.json", "preprocess")["diagnostics"]
    if "components" in seen:
        yield Shown(
            "transform",
            "The numbers of the response before and after the transform",
            "A network learns best what looks like a Gaussian: skewness and excess kurtosis near zero in "
            "the lower row are what the transform bought. Numbers that a tie decides are left out.",
            vectors.components_transform_figure(detector, seen["components"], seen["kind"]),
        )
        return
    yield Shown(
        "transform",
        "Filled cells before and after the transform",
        "A network learns best what looks like a Gaussian: skewness and excess kurtosis near zero on "
        "the right are what the transform bought.",
        plots.transform_figure(seen["before"], seen["after"], detector.unit, seen["kind"]),
    )


def train_figures(folder: Path, surrogates: Mapping[str, int]) -> Iterator[Shown]:
    for name, runs in surrogates.items():
        others = f" Shown is the first of {runs} trainings." if runs > 1 else ""
        curves = read_curves(folder / f"train/{name}/0.csv")
        if len(curves["epoch"]):
            yield Shown(
                f"train_{name}",
                f"Learning curves of {name}",
                "The distance on the right is that to the validation sample; the weights of its "
                "lowest point are kept. A curve that still falls at the end asks for more epochs."
                + others,
                plots.curves_figure(name, curves),
            )


def generate_figures(
    folder: Path, detector: Detector, surrogates: Sequence[str]
) -> Iterator[Shown]:
    if len(detector.shape) > 2:
        return
    samples, titles = {}, []
    paths = {"full simulation": folder / "ingest/test.h5"}
    paths |= {name: folder / f"generate/{name}/0/test.h5" for name in surrogates}
    chosen: Array | None = None
    for name, path in paths.items():
        with open_events(path) as events:
            if chosen is None:
                conditions = events.column("conditions").astype(np.float64)
                size = detector.scale(conditions)
                ranked = np.argsort(size, kind="stable")
                chosen = ranked[np.linspace(0, len(ranked) - 1, GALLERY + 2).astype(int)[1:-1]]
                variable, axis = next(iter(detector.variables.items()))
                values = detector.variable(conditions)[variable][chosen]
                titles = [f"{axis.label} = {value:.3g} {axis.unit}" for value in values]
            wanted = {int(row): place for place, row in enumerate(chosen)}
            found = np.zeros((len(chosen), *detector.shape))
            for where, response in events.responses():
                for row, place in wanted.items():
                    if where.start <= row < where.stop:
                        found[place] = response[row - where.start]
            samples[name] = found
    yield Shown(
        "events",
        "Single events and their twins",
        "Each column has the same conditions in all rows. A surrogate draws another event of the same "
        "kind: texture and spread should look alike, the details should not.",
        images.event_figure(detector, titles, samples)
        if len(detector.shape) == 2
        else vectors.vector_events_figure(detector, titles, samples),
    )


def moments_figures(detector: Detector, found: Validation) -> Iterator[Shown]:
    names, statistics = found.about["quantities"], found.about["statistics"]
    plain = [name for name in detector.observables if name not in detector.minor]
    labels = {name: Quantity(**how) for name, how in found.about["labels"].items()}
    quantities = {**labels, **detector.results, **detector.observables}
    results = [name for name in names if name not in detector.observables]
    yield Shown(
        "distributions",
        "Distributions of the observables",
        "Points are full simulation with statistical errors; lines are the surrogates, bands the "
        "spread of their members. Below each, the ratio to full simulation.",
        panels.histogram_figure(detector, plain[:HISTOGRAMS], found.part("histograms")),
    )
    if len(detector.shape) == 2:
        yield Shown(
            "images",
            "Mean and standard deviation of each cell",
            "White is agreement; where a cell is filled in full simulation alone the ratio is zero. "
            "Far from the centre few events fill a cell, and the ratio fluctuates.",
            images.image_figure(detector, found.part("images")),
        )
    if len(detector.shape) == 1:
        yield Shown(
            "components",
            "Mean and standard deviation of each number of the response",
            "Points are full simulation; bars on the surrogates are the spread of their members.",
            vectors.component_figure(detector, found.part("images")),
        )
    variables = {name: domain.variables(detector)[name] for name in found.about["variables"]}
    for number, name in enumerate([*plain, *results]):
        yield Shown(
            f"moments_{name}",
            f"First and second moment of {words_of(name, quantities[name])}",
            "Points are full simulation, lines the surrogates, bands the systematic error. In the lower "
            "panels the error bars are those of the paired difference, in which the fluctuations of "
            "the common conditions cancel.",
            panels.profile_figure(
                quantities[name],
                names.index(name),
                statistics,
                variables,
                found.part("profiles"),
            ),
            folded=number >= 3,
        )
    yield from _pulls("moments", found)


def _pulls(step: str, found: Validation, table: str = "profiles") -> Iterator[Shown]:
    names, statistics = found.about["quantities"], found.about["statistics"]
    if table == "rates":
        names, statistics = found.about["rates"], ["rate"]
    if not names:
        return
    parts, step = found.part(table), step if table == "profiles" else table
    for one in parts:
        yield Shown(
            f"pulls_{step}_{one.name}",
            f"Where {one.name} is off ({step})",
            "One row a quantity, one column a bin of the variable named below. White is agreement within "
            "the errors; orange: the surrogate is too high, violet: too low. Grey bins have too few events.",
            plots.pull_map(one, names, found.about["variables"], statistics),
            folded=True,
        )


def reconstruct_figures(detector: Detector, found: Validation) -> Iterator[Shown]:
    variables = {name: domain.variables(detector)[name] for name in found.about["variables"]}
    names = found.about["quantities"]
    for name, fit in detector.fits.items():
        if fit.variable in variables:
            parts = [
                replace(d, arrays={
                    **{f"profile/{n}": a for n, a in below(f"profiles/{fit.variable}", d.arrays).items()},
                    **{f"fit/{n}": a for n, a in below(f"fits/{name}", d.arrays).items()},
                })
                for d in found.drawn
            ]  # fmt: skip
            yield Shown(
                f"fit_{name}",
                f"Fit of the {name.replace('_', ' ')}",
                "Resolution after calibration in bins, with the fitted curves; the parameters stand in "
                "the table below.",
                plots.fit_figure(
                    name, fit, variables[fit.variable], names.index(fit.result), parts
                ),
            )
    quantities = all_quantities(detector, found)
    for name in names:
        source = (
            "The constants of the reconstruction were fitted on the training sample of full simulation "
            "and are the same for all."
            if name in detector.results
            else "It comes from the study's own reconstruction (reconstruct.command)."
        )
        yield Shown(
            f"reconstruct_{name}",
            f"Bias and resolution of the {words_of(name, quantities[name])}",
            f"Bias is the median, resolution half the central 68 % interval. {source}",
            panels.profile_figure(
                quantities[name],
                names.index(name),
                found.about["statistics"],
                variables,
                found.part("profiles"),
            ),
        )
    if detector.pairs:
        yield from _pair_figures(detector.pairs, found)
    yield from high_figures.roc_figures(detector, found)
    yield from high_figures.rate_figures(detector, variables, found)
    yield from high_figures.group_figures(detector.groups, found)
    yield from _pulls("reconstruct", found)
    if detector.rates:
        yield from _pulls("reconstruct", found, "rates")


def _pair_figures(pairs: Pairs, found: Validation) -> Iterator[Shown]:
    about = found.about["pairs"]
    variables = {pairs.variable: pairs.axis}
    yield Shown(
        "pairs_found",
        f"{title_of('pairs', pairs.found)} against their distance",
        f"Two events of the sample are overlaid, {about['pairs']} pairs in all, the same pairs at the "
        "same distances for full simulation and the surrogates.",
        panels.profile_figure(pairs.found, 0, ["share"], variables, found.part("pairs/found")),
    )
    for index, (name, quantity) in enumerate(pairs.results.items()):
        yield Shown(
            f"pairs_{name}",
            f"Pairs: bias and resolution of the {words_of(name, quantity)}",
            "Of the pairs found as two. Near each other they share cells, and what one loses the "
            "other gains.",
            panels.profile_figure(
                quantity, index, about["statistics"], variables, found.part("pairs/results")
            ),
        )


def all_quantities(detector: Detector, high: Validation) -> dict[str, Quantity]:
    """Everything that compare measures: observables, and results of the reconstruction by name."""
    external = {name: Quantity(**how) for name, how in high.about.get("labels", {}).items()}
    results = {**detector.results, **external}
    return {**detector.observables, **{name: results[name] for name in high.about["quantities"]}}


def compare_figures(
    quantities: Mapping[str, Quantity], entries: Sequence[Mapping[str, Any]]
) -> Iterator[Shown]:
    labels = {name: quantity.label for name, quantity in quantities.items()}
    for distance, title, axis in (
        (
            "wasserstein",
            "Wasserstein-1 distance",
            "Wasserstein-1 distance / standard deviation of full simulation",
        ),
        ("separation", "Separation power", "separation power (0: same histogram, 1: no overlap)"),
    ):
        yield Shown(
            distance,
            f"{title} of every observable and reconstructed quantity",
            "The grey bars end where two independent samples of full simulation may lie apart by chance. "
            "A point inside its bar cannot be told from full simulation with this many events.",
            plots.distance_figure(
                labels,
                axis,
                entries[0]["floor"][distance],
                {e["surrogate"]: e["figures"][distance] for e in entries},
            ),
            folded=distance != "wasserstein",
        )
    if "pseudo_chi2" in entries[0]["floor"]:
        floor = entries[0]["floor"]["pseudo_chi2"]
        rows = min(floor["all"]["events"])
        yield Shown(
            "pseudo_chi2",
            "Pseudo chi2 of first and second moments in bins of the conditions",
            f"At {rows} rows a side, {floor['all']['terms']} terms of about one each where laws are equal. "
            "The terms are not independent, so that only the distance to the floor has a meaning.",
            plots.distance_figure(
                {name: labels.get(name, name) for name in floor},
                "pseudo chi2",
                floor,
                {e["surrogate"]: e["figures"]["pseudo_chi2"] for e in entries},
            ),
        )
