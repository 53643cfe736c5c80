"""The figure of fidelity against speed: names that do not cover one another, and what is shown of whom."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from sosie import speed
from sosie.labels import Label, draw_labels
from sosie.style import REFERENCE, house_style, to_svg

FLOOR = {"value": 0.5, "statistical": 0.01, "systematic": None}


def figure(value, systematic="not estimated"):
    return {"value": value, "statistical": 0.03, "systematic": systematic}


def cost(milliseconds, parameters=0, full=0.25):
    each = [
        {
            "batch": b,
            "events": b,
            "milliseconds": milliseconds,
            "low": 0.9 * milliseconds,
            "high": 1.2 * milliseconds,
            "peak_memory_mb": 9,
        }
        for b in (1, 100, 10_000)
    ]
    drawing = {"parameters": parameters, "stored_events": 7, "megabytes": 1.0, "cpu": each}
    training = {"seconds": 60.0, "device": "cpu", "threads": 1, "peak_memory_mb": 100.0}
    return {"training": training, "drawing": {**drawing, "full_simulation": full}}


@pytest.mark.parametrize("count", [2, 6, 12])
@pytest.mark.parametrize("spread", [1.5, 0.2])
def test_no_name_covers_another(count, spread):
    rng = np.random.default_rng(count)
    drawn = Figure(figsize=(7, 4))
    axes = drawn.subplots()
    axes.set_xscale("log")
    axes.set_xlim(0.1, 1000)
    axes.set_ylim(0.4, 1)
    points = [
        (10 ** rng.uniform(0, spread), rng.uniform(0.6, 0.6 + 0.2 * spread)) for _ in range(count)
    ]
    labels = [
        Label(f"surrogate_{k}" * (1 + k % 2), x, y, (0.9 * x, 1.2 * x), (y - 0.02, y + 0.02), "k")
        for k, (x, y) in enumerate(points)
    ]
    boxes = draw_labels(drawn, axes, labels, [0.5])
    assert len(boxes) == count
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    frame = axes.get_window_extent()
    assert all(frame.contains(*corner) for box in boxes for corner in (box.min, box.max))


def test_points_are_those_that_are_known():
    costs = {"library": cost(2.0), "gan": cost(1.0, 1234), "odd": cost(3.0)}
    aucs = {
        "library": figure(0.6),
        "gan": figure(0.7, 0.04),
        "odd": figure(None),
        "new": figure(0.8),
    }
    full, library, gan = speed.points(costs, aucs, FLOOR)
    assert (full.name, full.time, full.auc) == (REFERENCE, 250, 0.5)
    assert (library.time, library.time_ends, library.auc_error) == (2.0, (1.8, 2.4), 0.03)
    assert gan.auc_error == pytest.approx(0.05)
    assert (library.style["mfc"], "mfc" in gan.style) == ("white", False)
    assert library.style["color"] != gan.style["color"]


def test_without_a_time_of_full_simulation_there_is_no_ratio():
    costs = {"gan": cost(1.0, 1234, full=None)}
    assert [one.name for one in speed.points(costs, {"gan": figure(0.7)}, FLOOR)] == ["gan"]
    (row,) = speed.lines(costs)
    assert len(row) == len(speed.HEADS)
    assert row[-1] == ""
    known = speed.lines({"gan": cost(1.0, 1234)})
    assert [line[-1] for line in known] == ["1", "250"]


def test_a_gpu_has_a_row_of_its_own():
    one = cost(1.0, 1234)
    one["drawing"]["gpu"] = {"device": "a GPU", "batches": cost(0.1)["drawing"]["cpu"]}
    lines = speed.lines({"gan": one})
    assert [line[0] for line in lines] == [REFERENCE, "gan", "gan (a GPU)"]
    assert lines[2][-1] == "2 500"


def test_what_is_not_drawn_has_no_time():
    one = cost(1.0)
    one["drawing"]["cpu"] = []
    assert speed.lines({"file": one})[1][4:] == [""] * 5
    assert len(speed.points({"file": one}, {"file": figure(0.6)}, FLOOR)) == 1


def test_events_are_named_where_some_are_kept():
    library, fit = cost(1.0), cost(1.0)
    fit["drawing"]["stored_events"] = 0
    lines = speed.lines({"library": library, "fit": fit})
    sizes = [line[speed.HEADS.index("parameters")] for line in lines[1:]]
    assert sizes == ["none; 7 events kept, 1 MB", "none; 1 MB"]


@pytest.mark.parametrize("floor", [FLOOR, figure(None)])
def test_the_figure_is_drawn_whatever_is_defined(floor):
    costs = {"library": cost(0.01), "gan": cost(1.0, 1234)}
    for aucs in ({}, {"library": figure(0.6), "gan": figure(0.7)}):
        with house_style():
            drawn = speed.speed_figure(speed.points(costs, aucs, floor), floor)
            assert "[ms]" in drawn.axes[0].get_xlabel()
            assert to_svg(drawn).startswith("<?xml")
