"""The verdict says what the figures say."""

import copy

import pytest

from sosie.detectors import find
from sosie.verdict import headline, sentences, show

ECAL = find("ecal")


def figure(value, statistical=0.01, systematic="not estimated"):
    return {"value": value, "statistical": statistical, "systematic": systematic}


def entry(auc=0.9, members=8, within=0.3, count=3000) -> dict:
    """Figures of a surrogate as compare writes them."""
    names = list(ECAL.observables)
    part = {
        "classifier": {"auc": figure(auc, 0.01, 0.02), "events_per_class": [count, count]},
        "wasserstein": {name: figure(0.05) for name in names},
        "resolution": {name: figure(1.01, 0.02, 0.01) for name in ECAL.results},
    }
    floor = copy.deepcopy(part)
    floor["classifier"]["auc"] = figure(0.5, 0.02)
    pulls = {
        "bins": 100, "share_within_1": within, "expected_within_1": 0.65, "share_beyond_3": 0.1,
    }  # fmt: skip
    return {
        "surrogate": "gan",
        "members": members,
        "figures": part,
        "floor": floor,
        "calibration": {"moments": pulls, "reconstruct": pulls},
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
    assert words in sentences(entry(auc), ECAL)[0]


def test_resolution_is_judged_by_its_errors():
    wide = entry()
    wide["figures"]["resolution"]["energy_ratio"] = figure(1.2, 0.02, 0.03)
    said = " ".join(sentences(wide, ECAL))
    assert "The energy resolution is 20% wider than in full simulation" in said
    assert "The x position resolution agrees with full simulation" in said


def test_the_worst_observable_is_named():
    bad = entry()
    bad["figures"]["wasserstein"]["bary_x"] = figure(0.5)
    assert any("bary x (10.0 times)" in line for line in sentences(bad, ECAL))
    assert any("No observable is farther" in line for line in sentences(entry(), ECAL))


def test_errors_that_are_too_small_are_said_to_be():
    assert any("off by more than its errors say" in s for s in sentences(entry(within=0.3), ECAL))
    assert any("the errors are fair" in s for s in sentences(entry(within=0.64), ECAL))


def test_few_events_are_indicative_and_one_member_has_no_systematic():
    said = " ".join(sentences(entry(count=500, members=1), ECAL))
    assert "indicative" in said
    assert "not estimated" in said
    assert "indicative" not in " ".join(sentences(entry(), ECAL))


def test_headline_names_the_nearest():
    far, near = entry(0.9), {**entry(0.51), "surrogate": "library"}
    text = headline([far, near])
    assert "library is nearest" in text
    assert "cannot be told apart" in text
    assert "it differs" in headline([far])


def test_undefined_figures_do_not_break_the_words():
    bad = entry()
    bad["figures"]["classifier"]["auc"] = {"value": None, "statistical": None, "systematic": "n"}
    bad["figures"]["resolution"]["energy_ratio"] = figure(None)
    said = " ".join(sentences(bad, ECAL))
    assert "not defined" in said
    assert "too few test events" in headline([bad])


def test_show_prints_both_errors():
    assert show(figure(0.7123, 0.01, 0.02)) == "0.712 ± 0.010 (stat.) ± 0.020 (syst.)"
    assert show(figure(0.7123)) == "0.712 ± 0.010 (stat.), syst. not estimated"
    assert show(figure(0.7123, 0.01, 0.0)) == "0.712 ± 0.010 (stat.), syst. unresolved"
