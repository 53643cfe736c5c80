"""Which figures the report shows of rates, ROC curves and groups, and how each is to be read."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sosie import panels, rate_plots
from sosie.detectors.base import Detector, Groups, Quantity
from sosie.roc_cells import cell_words
from sosie.shown import Shown, Validation
from sosie.verdict import title_of, words_of


def spoken(detector: Detector) -> dict[str, Quantity]:
    """Labels and words of all that is neither an observable nor a result of single events."""
    groups = {**detector.groups.results, **detector.groups.rates} if detector.groups else {}
    rocs = {name: roc.axis for name, roc in detector.rocs.items()}
    return {**groups, **rocs, **detector.rates}


def rate_figures(
    detector: Detector, variables: Mapping[str, Quantity], found: Validation
) -> Iterator[Shown]:
    """The rates that full simulation has anywhere: those of an absent type of particle are left out."""
    drawn = found.part("rates")
    there = [
        any(np.isfinite(drawn[0].arrays[f"{one}/reference"][0, index]).any() for one in variables)
        for index in range(len(detector.rates))
    ]
    for index, (name, quantity) in enumerate(detector.rates.items()):
        if not there[index]:
            continue
        yield Shown(
            f"rate_{name}",
            title_of(name, quantity),
            "Below, the ratio to full simulation with the error of the paired difference. Bins in which "
            "full simulation has less than 5 % or more than 95 % are grey: their ratio is not judged.",
            rate_plots.rate_figure(quantity, index, variables, drawn, found.part("rate_ratios")),
            folded=sum(there[:index]) >= 4,
        )


def roc_figures(detector: Detector, found: Validation) -> Iterator[Shown]:
    if not detector.rocs:
        return
    drawn = found.part("rocs")
    edges = {name: drawn[0].arrays[f"edges/{name}"] for name in detector.roc_grid}
    units = {name: detector.variables[name].unit for name in edges}
    cells = drawn[0].arrays["events"].shape[-1]
    text = "; ".join(f"{cell + 1}: {cell_words(edges, cell, units)}" for cell in range(cells))
    yield Shown(
        "delta_auc",
        "Area under the ROC curves and rejection, cell by cell",
        "Thin bars are the errors of the paired difference, broad ones hold the systematic error "
        f"too. Rejection is 1 / mis-identification at 90 % efficiency. Cells: {text}.",
        rate_plots.delta_auc_figure(detector, drawn),
    )
    for index, (name, roc) in enumerate(detector.rocs.items()):
        events = drawn[0].arrays["events"][index]
        if not events.min(axis=0).any():
            continue
        least = f"{int(events[0].min())} and {int(events[1].min())}"
        yield Shown(
            f"roc_{name}",
            f"ROC curves: {words_of(name, roc.axis)}",
            "The lower the curve, the better the two are told apart; the surrogate should be as good "
            f"as full simulation, no better. No cell has fewer than {least} events of the two classes.",
            rate_plots.roc_figure(detector, index, edges, drawn),
            folded=index > 0,
        )


def group_figures(groups: Groups | None, found: Validation) -> Iterator[Shown]:
    about: Mapping[str, Any] | None = found.about.get("groups")
    if groups is None or not about or "left_out" in about:
        return
    for index, (name, quantity) in enumerate(groups.results.items()):
        yield Shown(
            f"group_{name}",
            f"Bias and resolution of the {words_of(name, quantity)}",
            f"From {about['groups']} groups of events that belong together. Bias is the median, resolution "
            "half the central 68 % interval.",
            panels.profile_figure(
                quantity, index, about["statistics"], groups.variables, found.part("groups/results")
            ),
        )
    for index, (name, quantity) in enumerate(groups.rates.items()):
        yield Shown(
            f"group_rate_{name}",
            title_of(name, quantity),
            "Mean over the groups of a bin.",
            panels.profile_figure(
                quantity, index, ["mean"], groups.variables, found.part("groups/rates")
            ),
        )
