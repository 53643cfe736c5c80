"""ROC curves in cells of two variables: areas, rejections and curves of reference and members."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sosie.binnings import bin_events
from sosie.detectors.base import Roc
from sosie.ensembles import spread
from sosie.profiles import Twins, named, spread_arrays
from sosie.rocs import STATISTICS, curve, roc_statistics

Array = np.ndarray[Any, Any]
TERCILES = 3
POINTS = 101


@dataclass(frozen=True)
class Grid:
    """Events in the cells of a grid: edges (B+1,) by variable, and the cell of each event (N,) or
    -1, the last variable running fastest."""

    edges: Mapping[str, Array]
    index: Array

    @property
    def cells(self) -> int:
        """Number of cells."""
        return int(np.prod([len(edges) - 1 for edges in self.edges.values()]))


def grid_of(variables: Mapping[str, Array], names: Sequence[str]) -> Grid:
    """The grid of terciles of ``names``, from the values (N,) of each variable in the reference."""
    edges: dict[str, Array] = {}
    index = np.zeros(len(variables[names[0]]), np.int64)
    for name in names:
        binning = bin_events(name, variables[name], TERCILES)
        edges[name] = binning.edges
        inside = (index >= 0) & (binning.index >= 0)
        index = np.where(inside, index * len(binning.events) + binning.index, -1)
    return Grid(edges, index)


@dataclass(frozen=True)
class Classes:
    """The events of one ROC: which belong to it, and which of them are signal; (N,) each."""

    used: Array
    signal: Array


def classes_of(roc: Roc, conditions: Array) -> Classes:
    """Signal and background of a ROC; an event of both is neither."""
    signal, background = roc.signal(conditions), roc.background(conditions)
    return Classes(signal ^ background, signal)


def events_of(classes: Classes, grid: Grid) -> Array:
    """Number of events (2, B) of signal and of background in each cell."""
    chosen = classes.used & (grid.index >= 0)
    return np.stack(
        [
            np.bincount(grid.index[chosen & (classes.signal == kind)], minlength=grid.cells)
            for kind in (True, False)
        ]
    )


def _tables(score: Array, classes: Classes, grid: Grid, twins: Twins) -> tuple[Array, Array]:
    """AUC and rejection (R+1, 2, B) and curves (B, 2, points) of one score (N,)."""
    statistics, curves = [], []
    for cell in range(grid.cells):
        here = np.flatnonzero(classes.used & (grid.index == cell))
        events = score[here], classes.signal[here], twins.weight[here]
        statistics.append(roc_statistics(*events, twins.counts[:, here]))
        curves.append(curve(*events, POINTS))
    return np.stack(statistics, axis=-1), np.stack(curves)


def roc_arrays(twins: Twins, scores: Sequence[Array]) -> dict[str, Array]:
    """Arrays of all ROCs of the detector from the scores (N, C) of the reference and each member.

    Tables below ``rocs/cells`` are (2, C, B): AUC and rejection at 90 % efficiency, C ROCs, B cells;
    ``rocs/events`` (C, 2, B) counts signal and background; ``rocs/curves/reference`` (C, B, 2,
    points) and ``rocs/curves/members`` (K, C, B, 2, points); ``rocs/edges/<variable>``.
    """
    detector = twins.detector
    grid = grid_of(detector.variable(twins.conditions), detector.roc_grid)
    classes = [classes_of(roc, twins.conditions) for roc in detector.rocs.values()]
    whole: list[Array] = []
    curves: list[Array] = []
    for values in scores:
        each = [_tables(values[:, c], one, grid, twins) for c, one in enumerate(classes)]
        whole.append(np.stack([table for table, _ in each], axis=2))
        curves.append(np.stack([shape for _, shape in each]))
    members = np.stack(whole[1:])
    return {
        **named("rocs/edges", grid.edges),
        "rocs/events": np.stack([events_of(one, grid) for one in classes]),
        **named("rocs/cells", spread_arrays(spread(whole[0], members), whole[0], members)),
        "rocs/curves/reference": curves[0],
        "rocs/curves/members": np.stack(curves[1:]),
    }


def cell_words(edges: Mapping[str, Array], cell: int, words: Mapping[str, str]) -> str:
    """A cell in words, as 'momentum 2.1 to 9.8 GeV, eta 1.8 to 2.9'; ``words`` are units by variable."""
    said: list[str] = []
    for name in reversed(list(edges)):
        cell, place = divmod(cell, len(edges[name]) - 1)
        said.insert(0, range_words(name, edges[name], place, words[name]))
    return ", ".join(said)


def range_words(variable: str, edges: Array, place: int, unit: str) -> str:
    """A bin in words, as 'momentum 2.1 to 9.8 GeV'."""
    text = f"{variable.replace('_', ' ')} {edges[place]:.3g} to {edges[place + 1]:.3g}"
    return f"{text} {unit}" if unit else text


def auc_of(score: Array, classes: Classes, weight: Array, chosen: Array, grid: Grid) -> Array:
    """AUC in each cell (B,) of the ``chosen`` events (N,), without replicas."""
    found = []
    for cell in range(grid.cells):
        here = np.flatnonzero(chosen & classes.used & (grid.index == cell))
        none = np.empty((0, len(here)), np.float32)
        area = roc_statistics(score[here], classes.signal[here], weight[here], none)[0]
        found.append(area[STATISTICS.index("auc")])
    return np.array(found)
