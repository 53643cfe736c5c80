"""Pseudo chi2: its known value for equal laws, and what a planted shift adds."""

import math

import numpy as np
import pytest

from sosie import chi2
from sosie.chi2 import between, drawn_rows, figures, profile, profiles, pseudo_chi2


def test_the_errors_of_mean_and_standard_deviation_are_those_of_toys() -> None:
    rng = np.random.default_rng(1)
    toys, each = 1000, 1000
    values = rng.exponential(size=toys * each)
    found = profile(values, np.ones(values.size), np.repeat(np.arange(toys), each), toys)
    spread = found.mean.var() + found.std.var()
    assert found.error2.mean() == pytest.approx(spread, rel=0.1)
    one = values[:each]
    assert found.mean[0] == pytest.approx(one.mean())
    assert found.std[0] == pytest.approx(one.std())


@pytest.mark.parametrize("signed", [False, True])
def test_a_term_is_one_on_average_for_equal_laws(signed: bool) -> None:
    rng = np.random.default_rng(2)
    bins, each, found = 400, 300, []
    for _ in range(2):
        index = np.repeat(np.arange(bins), each)
        values, weight = rng.normal(5, 2, bins * each), np.ones(bins * each)
        if signed:
            weight = np.where(rng.random(weight.size) < 0.1, -1.0, 1.0)
        found.append(profile(values, weight, index, bins))
    value, terms = pseudo_chi2(*found)
    assert terms == 2 * bins
    assert value / terms == pytest.approx(1, abs=0.15)


def test_a_shift_of_the_mean_adds_what_it_should() -> None:
    rng = np.random.default_rng(3)
    n, bins, shift = 8000, 4, 0.2
    samples = rng.normal(size=(2, n))
    samples[1] += shift
    index = np.arange(n) % bins
    a, b = (profile(x, np.ones(n), index, bins) for x in samples)
    value, terms = pseudo_chi2(a, b)
    # eps^2 = (1 + 1/2) / n a bin and sample; up and down are both off by the shift.
    known = bins * 2 * shift**2 / (2 * 1.5 / (n / bins))
    assert value == pytest.approx(known + terms, rel=0.25)


def test_bins_that_say_nothing_are_left_out() -> None:
    values = np.r_[np.arange(10.0), 3.0, 3.0, 3.0, 3.0, 3.0, 1.0, 2.0, np.arange(8.0)]
    index = np.r_[np.zeros(10, int), np.full(5, 1), np.full(2, 2), np.full(8, 3)]
    weight = np.r_[np.ones(17), np.tile([1.0, -1.0], 4)]
    found = profile(values, weight, index, 5)
    np.testing.assert_array_equal(np.isfinite(found.mean), [True, False, False, False, False])
    assert pseudo_chi2(found, found) == (0.0, 2)


def test_variables_are_summed_and_what_is_never_defined_is_nan() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 600, 2))
    a[:, 1] = np.nan
    binned = [(np.arange(600) % 3, 3), (np.arange(600) // 300, 2)]
    one, two = (profiles(x, np.ones(600), binned) for x in (a, b))
    found, terms = between(one, two)
    assert terms == 10
    assert math.isnan(found[1])
    each = [pseudo_chi2(x, y)[0] for x, y in zip(one[0], two[0], strict=True)]
    assert found[0] == pytest.approx(sum(each))


def test_at_most_so_many_rows_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chi2, "ROWS", 100)
    ids = np.random.default_rng(5).permutation(1000).astype(np.uint64)
    chosen = ids < 500
    rows = drawn_rows(chosen, ids, 1, 0)
    assert len(np.unique(rows)) == 100
    assert chosen[rows].all()
    assert set(ids[rows]) == set(ids[::-1][drawn_rows(chosen[::-1], ids[::-1], 1, 0)])
    assert set(rows) != set(drawn_rows(chosen, ids, 1, 1))
    np.testing.assert_array_equal(drawn_rows(ids < 99, ids, 1, 0), np.flatnonzero(ids < 99))


def test_a_surrogate_that_is_off_has_the_larger_figure() -> None:
    rng = np.random.default_rng(6)
    n = 2000
    reference, sample = rng.normal(size=(2, n, 2))
    sample[:, 1] *= 1.2
    split = np.random.default_rng(7).random((4, n)) < 0.5
    ids, binned = np.arange(n, dtype=np.uint64), [(np.arange(n) % 4, 4)]
    found = figures(["fair", "wide"], reference, [sample], np.ones(n), binned, split, ids, 1)
    assert list(found) == ["all", "fair", "wide"]
    assert found["all"]["terms"] == 16
    assert found["all"]["value"] == pytest.approx(found["fair"]["value"] + found["wide"]["value"])
    # D = 0.2 up and -0.2 down; eps^2 = 1.5 / 250 and 1.5 * 1.44 / 250 a bin.
    assert found["wide"]["value"] == pytest.approx(8 + 4 * 2 * 0.04 * 250 / 3.66, rel=0.4)
    assert found["fair"]["value"] < 20
