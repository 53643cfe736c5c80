"""The network finds the known area for known laws, and shows leading and faint cells alike."""

import math

import numpy as np
import pytest
from scipy import stats

from sosie.neural_classifier import FAINT, cell_inputs, mlp_auc


def gaussians(n, columns, shift, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n, columns))
    b[:, 0] += shift
    return a, b


def error(auc, n):
    """Error of an area found with n events a class: Hanley and McNeil, Radiology 143 (1982) 29."""
    first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    return math.sqrt((auc * (1 - auc) + (n - 1) * (first + second - 2 * auc**2)) / n**2)


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 2.0])
def test_area_of_two_gaussians(shift):
    """AUC = Phi(shift / sqrt 2), of a fifth of the events, approached from below."""
    n = 4000
    known = stats.norm.cdf(shift / math.sqrt(2))
    x = np.linspace(-9, 9 + shift, 20_001)
    p, q = stats.norm.pdf(x), stats.norm.pdf(x, shift)
    nats = np.trapezoid((p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))) / 2, x)
    found = mlp_auc(*gaussians(n, 4, shift, 1), seed=1)
    assert abs(found.auc - known) < 3 * error(known, n / 5) + 0.01
    assert found.jsd == pytest.approx(nats / math.log(2), abs=0.06)
    assert found.events == (n, n)


def test_many_cells_of_equal_laws_and_of_a_shift_seen_in_the_response():
    """900 cells drawn about a mean; every cell of b is 2 % of its width off: 0.6 widths in all."""
    rng = np.random.default_rng(2)
    n, cells = 3000, 900
    a, b, c = (rng.normal(1, 0.2, (n, cells)).clip(0) for _ in range(3))
    b[:, : cells // 2] += 0.02
    known = stats.norm.cdf(0.02 / 0.2 * math.sqrt(cells / 2) / math.sqrt(2))
    found = mlp_auc(cell_inputs(a, False), cell_inputs(b, False), seed=1)
    assert found.auc > known - 0.12
    same = mlp_auc(cell_inputs(a, False), cell_inputs(c, False), seed=1)
    assert same.auc == pytest.approx(0.5, abs=4 * error(0.5, n / 5))


def test_inputs_of_cells():
    response = np.zeros((3, 2, 2), np.float32)
    response[0] = [[8, 2], [0, 0]]
    response[1] = response[0] * 100
    found = cell_inputs(response, False)
    assert found.shape == (3, 5)
    np.testing.assert_allclose(found[0, :4], np.log(np.array([0.8, 0.2, 0, 0]) + FAINT), rtol=1e-5)
    np.testing.assert_array_equal(found[1, :4], found[0, :4])
    np.testing.assert_allclose(found[:2, 4], np.log([10, 1000]), rtol=1e-6)
    assert np.isnan(found[2, 4])
    np.testing.assert_array_equal(cell_inputs(response - 1, True), (response - 1).reshape(3, 4))


def test_missing_values_are_seen_and_the_same_numbers_come_every_time():
    a, b = gaussians(1500, 4, 0.0, 3)
    b[::2, 2] = np.nan
    found = mlp_auc(a, b, seed=2**62)
    assert found == mlp_auc(a, b, seed=2**62)
    assert found != mlp_auc(a, b, seed=3)
    # A missing value tells b in half of its events, nothing in the others.
    assert found.auc == pytest.approx(0.75, abs=0.04)
    a[:, 1], b[:, 1] = np.nan, 7.0
    assert mlp_auc(a, b, seed=1).auc == 1


def test_groups_stay_together():
    """Copies of one event in training and test would be known by heart."""
    rng = np.random.default_rng(5)
    a, b = np.repeat(rng.normal(size=(2, 60, 3)), 20, axis=1)
    groups = np.repeat(np.arange(60, dtype=np.uint64), 20)
    assert abs(mlp_auc(a, b, 1, groups, groups + np.uint64(60)).auc - 0.5) < 0.2
    assert mlp_auc(a, b, 1).auc > 0.75


def test_too_few_events_have_no_value():
    few = mlp_auc(np.ones((4, 2)), np.ones((50, 2)), 0)
    assert math.isnan(few.auc)
    assert math.isnan(few.jsd)
    assert mlp_auc(np.ones((6, 2)), np.ones((50, 2)), 0).auc == 0.5


def test_weights_of_either_sign():
    """A background under b, subtracted by weights -1, leaves the law of a."""
    rng = np.random.default_rng(6)
    n, m = 4000, 2000
    signal, background = rng.normal(size=(n, 3)), rng.normal(0.8, 1, (m, 3))
    mixed = np.concatenate([rng.normal(size=(n, 3)), rng.normal(0.8, 1, (m, 3)), background])
    weight = np.repeat([1.0, 1.0, -1.0], [n, m, m])
    found = mlp_auc(signal, mixed, 1, a_weights=np.ones(n), b_weights=weight)
    assert found.auc == pytest.approx(0.5, abs=0.06)
    assert mlp_auc(signal, mixed, 1).auc > 0.58
    nothing = mlp_auc(signal, mixed[:m], 1, b_weights=np.tile([1.0, -1.0], m // 2))
    assert math.isnan(nothing.auc)
