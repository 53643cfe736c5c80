"""The verdict says what the figures say."""

import copy

import pytest

from sosie.detectors import find
from sosie.detectors.base import Quantity
from sosie.verdict import decimals, gates_in_words, headline, sentences, show

ECAL = find("ecal")
QUANTITIES = {**ECAL.observables, **ECAL.results, "depth": Quantity("d", "mm", "shower depth")}


def figure(value, statistical=0.01, systematic="not estimated", count=3000):
    return {
        "value": value,
        "statistical": statistical,
        "systematic": systematic,
        "events": [count, count + 1],
    }


def entry(auc=0.9, members=8, within=0.3, count=3000) -> dict:
    """Figures of a surrogate as compare writes them."""
    names = [*ECAL.observables, *ECAL.results, "depth"]
    part = {
        "classifier": {"auc": figure(auc, 0.01, 0.02, count)},
        "classifier_mlp": {"auc": figure(0.5, 0.01, 0.02, count)},
        "classifier_low": {"auc": figure(0.5, 0.01, 0.02, count)},
        "wasserstein": {name: figure(0.05) for name in names},
        "resolution": {name: figure(1.01, 0.02, 0.01) for name in ECAL.results},
    }
    floor = copy.deepcopy(part)
    floor["classifier"]["auc"] = figure(0.5, 0.02)
    raw = {
        "bins": 100, "coverage": within, "coverage_error": 0.03, "expected_coverage": 0.683, "beyond_3": 0.1,
    }  # fmt: skip
    pulls = {"scale": None, "raw": raw, "calibrated": None}
    return {
        "surrogate": "gan",
        "members": members,
        "figures": part,
        "floor": floor,
        "calibration": {"moments": pulls, "reconstruct": pulls},
        "trust": None,
    }


@pytest.mark.parametrize(
    ("auc", "words"),
    [
        (0.50, "can hardly be told"),
        (0.60, "with difficulty"),
        (0.70, "in many events"),
        (0.90, "in most events"),
        (0.99, "in nearly every event"),
    ],
)
def test_grade_follows_the_auc(auc, words):
    assert words in sentences(entry(auc), QUANTITIES)[0]


def test_the_grade_is_that_of_the_sharpest_classifier():
    told = entry(0.6)
    told["figures"]["classifier_low"]["auc"] = figure(0.97, 0.01, 0.02)
    first = sentences(told, QUANTITIES)[0]
    assert "in nearly every event" in first
    assert "one on the response itself reaches 0.970" in first


def test_resolution_is_judged_by_its_errors():
    wide = entry()
    wide["figures"]["resolution"]["energy_ratio"] = figure(1.2, 0.02, 0.03)
    said = " ".join(sentences(wide, QUANTITIES))
    assert "The energy resolution is 20% wider than in full simulation" in said
    wide["figures"]["resolution"]["energy_ratio"] = figure(1234.5, 0.02, 0.03)
    assert "1,234.5 times as wide as in full" in " ".join(sentences(wide, QUANTITIES))
    assert "The x position resolution agrees with full simulation" in said


def test_the_worst_observable_is_named():
    bad = entry()
    bad["figures"]["wasserstein"]["bary_x"] = figure(0.5)
    assert any("bary x (10.0 times)" in line for line in sentences(bad, QUANTITIES))
    bad["figures"]["wasserstein"]["depth"] = figure(1.0)
    assert any("shower depth (20.0 times), bary x" in s for s in sentences(bad, QUANTITIES))
    assert any("Nothing is farther" in line for line in sentences(entry(), QUANTITIES))


def test_errors_that_are_too_small_are_said_to_be():
    assert any(
        "off by more than its errors say" in s for s in sentences(entry(within=0.3), QUANTITIES)
    )
    assert any("the errors are fair" in s for s in sentences(entry(within=0.64), QUANTITIES))


def test_few_events_are_indicative_and_one_member_has_no_systematic():
    said = " ".join(sentences(entry(count=500, members=1), QUANTITIES))
    assert "indicative" in said
    assert "not estimated" in said
    assert "indicative" not in " ".join(sentences(entry(), QUANTITIES))


def test_headline_names_the_nearest():
    far, near = entry(0.9), {**entry(0.51), "surrogate": "library"}
    text = headline([far, near])
    assert "library is nearest" in text
    assert "cannot be told apart" in text
    assert "it differs" in headline([far])


def test_headline_counts_the_gates_that_failed():
    passed, failed = ({"surrogate": "gan", "passed": value} for value in (True, False))
    assert gates_in_words([]) == ""
    assert headline([entry()]).endswith("by how much.")
    assert headline([entry()], [passed]).endswith("All 1 quality gates passed.")
    other = {**failed, "surrogate": "library"}
    said = gates_in_words([passed, failed, other, failed])
    assert said == "3 of 4 quality gates failed (2 of gan, 1 of library)."


@pytest.mark.parametrize(("value", "digits"), [(0.5, 3), (12.0, 3), (0.0123, 4), (-0.00012, 6)])
def test_small_values_get_the_decimals_they_need(value, digits):
    assert decimals(value) == digits
    assert decimals(0.0) == decimals(None) == 3


def test_undefined_figures_do_not_break_the_words():
    bad = entry()
    bad["figures"]["classifier"]["auc"] = figure(None, None, "n")
    bad["figures"]["resolution"]["energy_ratio"] = figure(None)
    said = " ".join(sentences(bad, QUANTITIES))
    assert "not defined" in said
    assert "too few test events" in headline([bad])


def test_show_prints_both_errors():
    assert show(figure(0.7123, 0.01, 0.02)) == "0.712 ± 0.010 (stat.) ± 0.020 (syst.)"
    assert show(figure(0.7123)) == "0.712 ± 0.010 (stat.), syst. not estimated"
    assert show(figure(0.7123, 0.01, 0.0)) == "0.712 ± 0.010 (stat.), syst. unresolved"
