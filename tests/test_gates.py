"""Gates: each kind of limit on both of its sides, and nothing undefined passes."""

import math

import pytest

from sosie.errors import IntermediateError, SettingsError
from sosie.files import write_json
from sosie.gates import judge, line, read_gates


def figure(value):
    return {"value": value, "statistical": 0.01, "systematic": "not estimated", "events": [9, 9]}


def rows(**values):
    """Columns of a leaderboard with one figure, s."""
    return {name: {"s": figure(value)} for name, value in values.items()}


@pytest.mark.parametrize(
    ("limit", "base", "passing", "failing"),
    [
        ({"factor": 2.0}, 0.5, [-1.0, 0.9, 1.0], [1.0001, 7.0]),
        ({"margin": 0.25}, 0.5, [0.1, 0.75], [0.7501]),
        ({"margin": 0.0}, 0.5, [0.5], [0.51]),
        ({"within": 0.5}, 2.0, [1.0, 2.0, 3.0], [0.99, 3.01]),
        ({"within": 0.5}, -2.0, [-1.0, -3.0], [-0.99, -3.01, 2.0]),
    ],
)
@pytest.mark.parametrize("other", ["floor", "library"])
def test_limits_hold_on_both_sides(limit, base, passing, failing, other):
    gate = {"figure": "s", "relative_to": other, **limit}
    for value in passing + failing:
        table = rows(**{"floor": 99.0, "library": base, other: base, "gan": value})
        (result,) = [r for r in judge([gate], table) if r["surrogate"] == "gan"]
        assert result["passed"] == (value in passing), value
        assert result["reference"] == base
        assert result["value"] == figure(value)
        assert line(result).startswith("passed" if value in passing else "FAILED")


def test_every_surrogate_is_judged_but_the_one_compared_with():
    gates = [
        {"figure": "s", "relative_to": "floor", "factor": 3.0},
        {"figure": "s", "relative_to": "library", "within": 0.1, "factor": None, "margin": None},
    ]
    found = judge(gates, rows(floor=1.0, library=2.0, gan=4.0, flow=2.1))
    assert [(r["surrogate"], r["relative_to"], r["passed"]) for r in found] == [
        ("library", "floor", True),
        ("gan", "floor", False),
        ("flow", "floor", True),
        ("gan", "library", False),
        ("flow", "library", True),
    ]
    assert found[0]["limit"] == 3.0
    assert found[3]["limit"] == pytest.approx([1.8, 2.2])
    assert "between 1.800 and 2.200 (library 2.000 ± 10 %)" in line(found[3])
    assert "at most 3.000 (floor 1.000 x 3)" in line(found[0])


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf])
@pytest.mark.parametrize("limit", [{"factor": 2.0}, {"margin": 9.0}, {"within": 0.1}])
def test_what_is_not_defined_fails_and_says_so(nothing, limit, tmp_path):
    gate = {"figure": "s", "relative_to": "floor", **limit}
    for table, who in (
        (rows(floor=1.0, gan=nothing), "gan"),
        (rows(floor=nothing, gan=1.0), "floor"),
    ):
        (result,) = judge([gate], table)
        assert not result["passed"]
        assert result["reason"] == f"not defined for {who}"
        assert f"not defined for {who}" in line(result)
        write_json(tmp_path / "metrics.json", {"gates": [result]})
        (again,) = read_gates(str(tmp_path / "metrics.json"))
        assert line(again) == line(result)


def test_an_unknown_figure_or_surrogate_is_named_with_what_is_near():
    table = rows(floor=1.0, gan=1.0)
    table["floor"] |= {"w1_bary_x": figure(1), "w1_bary_y": figure(1)}
    for gate, words in (
        (
            {"figure": "w1_bari_x"},
            r"gates\.0\.figure: .* 'w1_bari_x'; near it: w1_bary_x, w1_bary_y",
        ),
        ({"figure": "zzzz"}, r"near it: s, w1_bary_x"),
        ({"figure": "s", "relative_to": "gam"}, r"relative_to: .* 'gam'; near it: gan"),
    ):
        with pytest.raises(SettingsError, match=words):
            judge([{"relative_to": "floor", "factor": 1.0, **gate}], table)


def test_a_file_without_gates_is_refused(tmp_path):
    for content in ({}, {"gates": 3}, {"gates": [{"passed": "yes"}]}):
        write_json(tmp_path / "metrics.json", content)
        with pytest.raises(IntermediateError, match=r"holds no gates; give the metrics\.json"):
            read_gates(str(tmp_path / "metrics.json"))
