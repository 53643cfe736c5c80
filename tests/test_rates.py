"""Rates: worst bins, ratios, floors, and the words for where they lie."""

import math

import numpy as np
import pytest

from sosie.performance import means
from sosie.rates import ratios, worst
from sosie.roc_cells import cell_words, grid_of


def test_the_worst_bin_is_the_one_that_breaks_the_limit_most() -> None:
    off = {"p": np.array([0.5, 0.03, np.nan]), "eta": np.array([-0.1, 0.0])}
    error = {"p": np.array([1.0, 0.001, 0.1]), "eta": np.array([0.01, 0.0])}
    none = {name: np.full(len(x), np.nan) for name, x in off.items()}
    found = worst(off, error, none, 0.02)
    assert found is not None
    assert (found.part, found.bin, found.difference) == ("eta", 0, -0.1)
    assert math.isnan(found.systematic)
    # A systematic error makes it harmless; a deviation without any error is one of itself.
    known = {"p": np.zeros(3), "eta": np.array([0.2, 0.0])}
    found = worst(off, error, known, 0.02)
    assert found is not None
    assert (found.part, found.bin) == ("p", 1)
    assert worst({"p": np.array([np.nan])}, {"p": np.zeros(1)}, {"p": np.zeros(1)}, 0.02) is None


@pytest.mark.parametrize("seed", range(5))
def test_the_limit_holds_everywhere_where_it_holds_in_the_worst_bin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    off = {"v": rng.normal(0, 0.02, 50)}
    error, s = {"v": rng.exponential(0.01, 50)}, {"v": rng.exponential(0.01, 50)}
    found = worst(off, error, s, 0.02)
    assert found is not None
    everywhere = (np.abs(off["v"]) <= 0.02 + 2 * np.hypot(error["v"], s["v"])).all()
    allowed = 0.02 + 2 * math.hypot(found.statistical, found.systematic)
    assert (abs(found.difference) <= allowed) == everywhere


def test_ratios_to_nothing_are_not_defined() -> None:
    reference = np.array([0.5, 0.0, np.nan])[None, None, None]
    one, ratio = ratios(reference, [reference * 2])
    np.testing.assert_array_equal(one[0, 0, 0], [1, np.nan, np.nan])
    np.testing.assert_array_equal(ratio[0, 0, 0, 0], [2, np.nan, np.nan])


def test_a_rate_of_rounding_is_none() -> None:
    """Weighted sums of no event leave 1e-17, and a ratio to it would be a wild number."""
    one, ratio = ratios(np.array([2e-17, 1e-5]), [np.array([0.01, 2e-5])])
    np.testing.assert_allclose(ratio[0], [np.nan, 2])
    np.testing.assert_allclose(one, [np.nan, 1])


def test_means_leave_out_what_is_not_asked_and_what_weighs_nothing() -> None:
    values = np.array([1.0, 0.0, np.nan, 1.0, 0.0, 1.0, 1.0])
    weight = np.array([2.0, 2.0, 9.0, 1.0, -1.0, 1.0, 1.0])
    index = np.array([0, 0, 0, 1, 1, 2, -1])
    np.testing.assert_array_equal(means(values, weight, index, 4), [0.5, np.nan, 1, np.nan])


def test_cells_are_terciles_and_are_told_in_words() -> None:
    rng = np.random.default_rng(1)
    values = {"p": rng.exponential(size=900), "eta": rng.normal(size=900)}
    grid = grid_of(values, ("p", "eta"))
    assert grid.cells == 9
    p, eta = np.divmod(grid.index, 3)
    for name, place in (("p", p), ("eta", eta)):
        np.testing.assert_array_equal(np.bincount(place), 300)
        assert (np.diff([values[name][place == k].mean() for k in range(3)]) > 0).all()
    edges = {"p": np.array([0.0, 1.0, 2.0]), "eta": np.array([2.0, 3.0, 4.5])}
    assert cell_words(edges, 2, {"p": "GeV", "eta": ""}) == "p 1 to 2 GeV, eta 2 to 3"
