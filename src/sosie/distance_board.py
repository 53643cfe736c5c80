"""The second table of the page: distances between samples of whole events."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sosie.detectors.base import Quantity


@dataclass(frozen=True)
class Column:
    """A column of the page's leaderboard: its head, the figure of a row, its decimals, plain words."""

    head: str
    pick: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    digits: int
    tip: str = ""


def of(*path: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Picks the figure at this path of names."""

    def pick(figures_of: Mapping[str, Any]) -> Mapping[str, Any]:
        found: Any = figures_of
        for name in path:
            found = found[name]
        return dict(found)

    return pick


DISTANCES = (
    Column(
        "AUC, network on observables",
        of("classifier_mlp", "auc"),
        3,
        "how well a network tells the two samples by the observables; 0.5 not at all, 1 always",
    ),
    Column(
        "AUC, network on the response",
        of("classifier_low", "auc"),
        3,
        "how well a network tells the two samples by the response itself, as every cell; 0.5 not at all, 1 always",
    ),
    Column(
        "FPD",
        of("fpd"),
        5,
        "Frechet distance of means and covariances of the observables; 0 where they are equal",
    ),
    Column(
        "KPD",
        of("kpd"),
        5,
        "kernel distance of the observables, moments to fourth order; 0 where they are equal, and it may be negative by chance",
    ),
    Column(
        "precision",
        of("manifold", "precision"),
        3,
        "share of generated events that lie where full simulation has events",
    ),
    Column(
        "recall",
        of("manifold", "recall"),
        3,
        "share of full simulation that lies where the surrogate has events",
    ),
    Column(
        "density",
        of("manifold", "density"),
        3,
        "how densely full simulation lies around generated events; near 1 for equal laws",
    ),
    Column(
        "coverage",
        of("manifold", "coverage"),
        3,
        "share of full simulation with a generated event as near as its fifth neighbour",
    ),
    Column(
        "copies",
        of("memorisation", "copies"),
        4,
        "share of generated events that repeat a training event, but for its scale",
    ),
    Column(
        "memorisation AUC",
        of("memorisation", "auc"),
        3,
        "probability that a generated event is nearer to the training sample than a test event; 0.5 for equal laws",
    ),
)


def distance_columns(
    quantities: Mapping[str, Quantity], floor: Mapping[str, Any]
) -> Sequence[Column]:
    """The columns of this table, the same for all detectors."""
    return DISTANCES
