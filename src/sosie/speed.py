"""What a surrogate costs, in words and in a figure: size, training, time of an event, fidelity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from sosie.labels import Label, draw_labels
from sosie.panels import margins
from sosie.style import COLOURS, REFERENCE
from sosie.verdict import error_of

TITLE = "Fidelity against speed"
TEXT = (
    "Down is faithful, left is fast. The AUC is that of a classifier that tells a surrogate from full "
    "simulation, with statistical and systematic error in quadrature; the band is the floor, what two samples "
    "of full simulation give. The time is that of one member on one core; a hollow marker has no network."
)
BATCH = 100
"""The batch size at which surrogates are compared with full simulation and with one another."""
HEADS = (
    "",
    "parameters",
    "training",
    "peak memory",
    "batch of 1",
    "batch of 100",
    "batch of 10 000",
    "peak memory",
    f"times faster (batch of {BATCH})",
)
MARKERS = "osD^v<>phdX*"
SIZE = (7.2, 4.0)


@dataclass(frozen=True)
class Point:
    """A sample in the figure: milliseconds an event with the ends of their error bar, AUC with its
    error, and whether it is a network."""

    name: str
    place: int
    time: float
    time_ends: tuple[float, float]
    auc: float
    auc_error: float
    network: bool = True

    @property
    def style(self) -> dict[str, Any]:
        """Colour and marker, hollow without a network."""
        if self.name == REFERENCE:
            return {"color": "k", "marker": "o"}
        style = {
            "color": COLOURS[self.place % len(COLOURS)],
            "marker": MARKERS[self.place % len(MARKERS)],
        }
        return style if self.network else {**style, "mfc": "white"}


def at_batch(measured: Sequence[Mapping[str, float]], batch: int = BATCH) -> Mapping[str, float]:
    """The measurement of a batch size."""
    return next(one for one in measured if one["batch"] == batch)


def full_simulation(costs: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Seconds an event of full simulation, None where the study does not say."""
    known = {cost["drawing"]["full_simulation"] for cost in costs.values()}
    return known.pop() if len(known) == 1 else None


def points(
    costs: Mapping[str, Mapping[str, Any]],
    aucs: Mapping[str, Mapping[str, Any]],
    floor: Mapping[str, Any],
) -> list[Point]:
    """The surrogates whose costs are known and whose AUC is defined, in the order of ``aucs``, and
    before them full simulation at the floor."""
    found, full = [], full_simulation(costs)
    if full is not None and isinstance(floor["value"], float):
        found = [
            Point(REFERENCE, 0, full * 1e3, (full * 1e3,) * 2, floor["value"], error_of(floor))
        ]
    for place, (name, auc) in enumerate(aucs.items()):
        drawing = costs[name]["drawing"] if name in costs else {"cpu": []}
        if drawing["cpu"] and isinstance(auc["value"], float):
            one, network = at_batch(drawing["cpu"]), bool(drawing["parameters"])
            time = one["milliseconds"], (one["low"], one["high"])
            found.append(Point(name, place, *time, auc["value"], error_of(auc), network))
    return found


def speed_figure(drawn: Sequence[Point], floor: Mapping[str, Any]) -> Figure:
    """AUC against time an event, each point with its name; the floor is a line with a band."""
    figure = Figure(figsize=SIZE)
    axes = figure.subplots()
    margins(figure, SIZE, top=0.15)
    low, high = [], []
    floor_known = isinstance(floor["value"], float)
    if floor_known:
        low, high = ([floor["value"] + sign * error_of(floor)] for sign in (-1, 1))
        axes.axhspan(low[0], high[0], color="0.9", lw=0)
        axes.axhline(floor["value"], color="0.5", lw=0.8, ls="--")
        axes.text(0.005, floor["value"], "floor", transform=axes.get_yaxis_transform(),
                  color="0.4", fontsize=8, va="bottom")  # fmt: skip
    for one in drawn:
        left, right = one.time - one.time_ends[0], one.time_ends[1] - one.time
        axes.errorbar(
            one.time, one.auc, one.auc_error, [[left], [right]], lw=0.9, ms=5.5, **one.style
        )  # fmt: skip
    axes.set_xscale("log")
    times = [end for one in drawn for end in one.time_ends]
    if times:
        axes.set_xlim(min(times) / 3, max(times) * 6)
    low += [one.auc - one.auc_error for one in drawn]
    high += [one.auc + one.auc_error for one in drawn]
    if low:
        room = 0.12 * max(max(high) - min(low), 0.02)
        axes.set_ylim(min(low) - room, max(high) + room)
    axes.set_xlabel(f"time an event [ms], batch of {BATCH}, one core")
    axes.set_ylabel("classifier AUC (0.5: not told apart)")
    named = [
        Label(
            one.name,
            one.time,
            one.auc,
            one.time_ends,
            (one.auc - one.auc_error, one.auc + one.auc_error),
            one.style["color"],
        )
        for one in drawn
    ]
    draw_labels(figure, axes, named, [floor["value"]] if floor_known else [])
    return figure


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best, with three digits."""
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= 2 * size or unit == "ms":
            return f"{seconds / size:.3g} {unit}"
    raise AssertionError("the last unit takes all")


def counted(number: float) -> str:
    """A whole number with spaces between thousands."""
    return f"{number:,.0f}".replace(",", " ")


def _size(drawing: Mapping[str, Any]) -> str:
    if drawing["parameters"]:
        return counted(drawing["parameters"])
    kept = f"{counted(drawing['stored_events'])} events kept, " if drawing["stored_events"] else ""
    return f"none; {kept}{drawing['megabytes']:.3g} MB"


def _each(one: Mapping[str, float]) -> str:
    fewer = "" if one["events"] == one["batch"] else f" ({counted(one['events'])} events)"
    return f"{one['milliseconds']:.3g} ({one['low']:.3g}-{one['high']:.3g}) ms{fewer}"


def _ratio(ratio: float) -> str:
    text = f"{ratio:.3g}"
    return counted(float(text)) if "e+" in text else text


def _row(
    name: str, first: Sequence[str], measured: Sequence[Mapping[str, float]], full: float | None
) -> list[str]:
    if not measured:
        return [name, *first, *[""] * (len(HEADS) - 1 - len(first))]
    ratio = full * 1e3 / at_batch(measured)["milliseconds"] if full else None
    return [
        name,
        *first,
        *map(_each, measured),
        f"{measured[-1]['peak_memory_mb']:.0f} MB",
        _ratio(ratio) if ratio else "",
    ]


def lines(costs: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The cells below HEADS: full simulation, where its time is known, and each surrogate, on a GPU
    in a row of its own."""
    found, full = [], full_simulation(costs)
    if full is not None:
        found.append([REFERENCE, "", "", "", duration(full), "", "", "", "1"])
    for name, cost in costs.items():
        training, drawing = cost["training"], cost["drawing"]
        how, threads = training["device"], training.get("threads")
        if threads:
            how += f", {threads} thread{'s' * (threads > 1)}"
        first = [
            _size(drawing),
            f"{duration(training['seconds'])} ({how})",
            f"{training['peak_memory_mb']:.0f} MB",
        ]
        found.append(_row(name, first, drawing["cpu"], full))
        if "gpu" in drawing:
            gpu = drawing["gpu"]
            found.append(_row(f"{name} ({gpu['device']})", ["", "", ""], gpu["batches"], full))
    return found
