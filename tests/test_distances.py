"""Distances have their known values for known laws, and splits keep groups together."""

import math

import numpy as np
import pytest
from scipy import stats

from sosie.classifiers import classifier_auc
from sosie.distances import (
    contents,
    halves,
    members_value,
    separation,
    wasserstein,
)


def gaussians(n, columns, shift, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n, columns))
    b[:, 0] += shift
    return a, b


def test_halves_keep_groups_and_sizes():
    rng = np.random.default_rng(0)
    groups = rng.choice(rng.integers(0, 2**63, 301).astype(np.uint64), 4000)
    split = halves(groups, 5, 20)
    assert split.shape == (20, 4000)
    assert split.dtype == np.bool_
    for a in split:
        inside, outside = np.unique(groups[a]), np.unique(groups[~a])
        assert np.intersect1d(inside, outside).size == 0
        assert 0 <= inside.size - outside.size <= 1
    assert len(np.unique(split, axis=0)) == 20
    agreement = np.corrcoef(split[:, np.unique(groups, return_index=True)[1]]) - np.eye(20)
    assert np.abs(agreement).max() < 5 / math.sqrt(301)


def test_halves_are_a_function_of_seed_and_groups():
    groups = np.arange(1000, dtype=np.uint64)
    split = halves(groups, 5, 4)
    order = np.random.default_rng(1).permutation(1000)
    np.testing.assert_array_equal(halves(groups[order], 5, 4), split[:, order])
    np.testing.assert_array_equal(halves(np.repeat(groups, 3), 5, 4), np.repeat(split, 3, axis=1))
    np.testing.assert_array_equal(halves(groups, 5, 9)[:4], split)
    assert (halves(groups, 6, 4) != split).mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(halves(groups[:3], 5, 8).sum(axis=1), 2)


def test_wasserstein_of_a_shift_is_the_shift():
    rng = np.random.default_rng(2)
    a = rng.normal(size=50_000)
    assert wasserstein(a, a + 0.7) == pytest.approx(0.7)
    assert wasserstein(a, rng.normal(0.7, 1, 50_000)) == pytest.approx(0.7, abs=0.03)
    assert wasserstein(a, 2 * a) == pytest.approx(math.sqrt(2 / math.pi), abs=0.02)
    assert wasserstein(np.r_[a, np.nan], np.r_[np.nan, np.inf, a]) == 0
    assert math.isnan(wasserstein([], a))
    assert math.isnan(wasserstein([1.0, 2.0], a, [1.0, -1.0]))


def test_wasserstein_takes_weights_of_either_sign():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=3000), rng.gamma(2, 1, 2000)
    w, u = rng.integers(0, 4, 3000).astype(float), rng.uniform(0, 1, 2000)
    assert wasserstein(a, b, w) == pytest.approx(wasserstein(np.repeat(a, w.astype(int)), b))
    cancelled = wasserstein(np.r_[a, 9, 9], b, np.r_[w, 2, -2], u)
    assert cancelled == pytest.approx(wasserstein(a, b, w, u))


def test_separation():
    assert separation([1, 2, 0], [2, 4, 0]) == 0
    assert separation([1, 2, 0, 0], [0, 0, 5, 1]) == pytest.approx(1)
    assert separation([1, 1], [1, 3]) == pytest.approx(0.5 * (0.0625 / 0.75 + 0.0625 / 1.25))
    assert 0 <= separation([1, -1e-9, 3], [1, 1e-9, -0.5]) <= 1
    assert math.isnan(separation([1, 1], [1, -2]))
    assert math.isnan(separation([0, 0], [1, 1]))


def test_contents_hold_what_lies_beyond_the_edges():
    values = [-5, 0, 0.5, 1, 1.5, 2, 9, np.nan, np.inf]
    np.testing.assert_array_equal(contents(values, [0, 1, 2]), [1, 2, 2, 2])
    weights = [1, 2, 3, 4, -1, 1, 1, 7, 7]
    np.testing.assert_array_equal(contents(values, [0, 1, 2], weights), [1, 5, 3, 2])
    np.testing.assert_array_equal(contents([], [0, 1, 2]), np.zeros(4))


@pytest.mark.parametrize("shift", [0.1, 0.5, 2.0])
def test_separation_of_two_gaussians_is_the_known_integral(shift):
    rng = np.random.default_rng(6)
    edges = np.linspace(-4, 4 + shift, 60)
    x = np.linspace(-9, 9 + shift, 20_001)
    p, q = stats.norm.pdf(x), stats.norm.pdf(x, shift)
    known = 0.5 * np.trapezoid((p - q) ** 2 / (p + q), x)
    a, b = rng.normal(size=(2, 400_000))
    found = separation(contents(a, edges), contents(b + shift, edges))
    assert found == pytest.approx(known, abs=0.002)


def test_separation_of_equal_laws_is_what_the_sizes_say():
    """S of n and m events in B bins of one law is about (B - 1) (1/n + 1/m) / 4."""
    rng = np.random.default_rng(7)
    edges = np.linspace(0, 1, 21)[1:-1]
    n, m = 4000, 2000
    found = [
        separation(contents(rng.random(n), edges), contents(rng.random(m), edges))
        for _ in range(200)
    ]
    assert np.mean(found) == pytest.approx(19 * (1 / n + 1 / m) / 4, rel=0.05)


@pytest.mark.parametrize("n", [500, 2000])
def test_classifier_finds_nothing_in_equal_laws(n):
    found = [classifier_auc(*gaussians(n, 10, 0.0, seed), seed) for seed in range(4)]
    error = math.sqrt((2 * n + 1) / (12 * n * n) / len(found))
    assert np.mean([r.auc for r in found]) == pytest.approx(0.5, abs=3.5 * error)
    assert np.mean([r.jsd for r in found]) == pytest.approx(0, abs=20 / n)
    assert found[0].events == (n, n)


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_classifier_comes_near_the_known_area(shift):
    """AUC = Phi(shift / sqrt 2) for two unit Gaussians, approached from below."""
    n = 4000
    known = stats.norm.cdf(shift / math.sqrt(2))
    x = np.linspace(-9, 9 + shift, 20_001)
    p, q = stats.norm.pdf(x), stats.norm.pdf(x, shift)
    nats = np.trapezoid((p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))) / 2, x)
    found = classifier_auc(*gaussians(n, 4, shift, 1), seed=1)
    assert known - 0.03 < found.auc < known + 0.015
    assert nats / math.log(2) - 0.04 < found.jsd < nats / math.log(2) + 0.015


def test_classifier_is_reproducible_and_takes_missing_values():
    a, b = gaussians(400, 5, 0.5, 2)
    a[::3, 1] = b[::3, 1] = np.nan
    first = classifier_auc(a, b, seed=2**62)
    assert first == classifier_auc(a, b, seed=2**62)
    assert first != classifier_auc(a, b, seed=3)
    assert 0.55 < first.auc < 0.75
    a[:, 4] = np.nan
    assert classifier_auc(a, b, seed=3).auc > 0.95


def test_classifier_weighs_classes_alike():
    a, b = gaussians(3000, 3, 1.0, 3)
    even, odd = classifier_auc(a, b, 1), classifier_auc(a, b[:1000], 1)
    assert odd.events == (3000, 1000)
    assert odd.auc == pytest.approx(even.auc, abs=0.03)
    assert odd.jsd == pytest.approx(even.jsd, abs=0.04)


def test_classifier_does_not_learn_groups_by_heart():
    """Rows of one track are nearly equal: only folds by group keep equal laws at 0.5."""
    rng = np.random.default_rng(4)
    a, b = (np.repeat(rng.normal(size=(150, 4)), 10, axis=0) for _ in range(2))
    groups = np.repeat(np.arange(150, dtype=np.uint64), 10)
    by_group = classifier_auc(a, b, 1, groups, groups + np.uint64(150))
    assert by_group.auc == pytest.approx(0.5, abs=0.12)
    assert classifier_auc(a, b, 1).auc > 0.9


def test_classifier_of_too_few_events_is_nan():
    found = classifier_auc(np.ones((4, 2)), np.ones((50, 2)), 0)
    assert math.isnan(found.auc)
    assert math.isnan(found.jsd)
    assert found.events == (4, 50)
    assert classifier_auc(np.ones((6, 2)), np.ones((50, 2)), 0).auc == 0.5


def test_classifier_takes_weights_of_either_sign():
    """Background of weight 1 and as much of weight -1 in one class: the signal is told as if alone."""
    signal, other = gaussians(2000, 3, 0.0, 5)
    shifted = other + np.array([0.8, 0, 0])
    foul = np.random.default_rng(6).normal(4, 1, (600, 3))
    mixed, weight = (
        np.concatenate([shifted, foul, foul + 0.01]),
        np.repeat([1, 1, -1], [2000, 600, 600]),
    )
    equal = np.concatenate([other, foul, foul + 0.01])
    ones = np.ones(2000)
    found = classifier_auc(signal, mixed, 1, a_weights=ones, b_weights=weight)
    clean = classifier_auc(signal, shifted, 1)
    assert found.auc == pytest.approx(clean.auc, abs=0.02)
    assert found.auc == pytest.approx(stats.norm.cdf(0.8 / math.sqrt(2)), abs=0.03)
    same = classifier_auc(signal, equal, 1, a_weights=ones, b_weights=weight)
    assert same.auc == pytest.approx(0.5, abs=0.025)
    assert found.events == (2000, 3200)
    # Weights of one are no weights.
    plain = classifier_auc(signal, shifted, 1, a_weights=ones, b_weights=ones)
    assert plain.auc == pytest.approx(clean.auc, abs=0.005)
    assert plain.jsd == pytest.approx(clean.jsd, abs=0.01)


def test_classifier_weights_count_as_repeated_events():
    a, b = gaussians(2000, 2, 0.5, 7)
    # Twice the weight where the first number is positive: the law of that mixture.
    weight = np.where(b[:, 0] > 0, 2.0, 1.0)
    repeated = np.concatenate([b, b[b[:, 0] > 0]])
    found = classifier_auc(a, b, 1, b_weights=weight)
    groups = np.concatenate([np.arange(2000), np.flatnonzero(b[:, 0] > 0)]).astype(np.uint64)
    known = classifier_auc(a, repeated, 1, None, groups)
    assert found.auc == pytest.approx(known.auc, abs=0.02)
    nothing = classifier_auc(a, b, 1, b_weights=np.tile([1.0, -1.0], 1000))
    assert math.isnan(nothing.auc)
    assert math.isnan(nothing.jsd)


def test_members_value_separates_splits_from_members():
    rng = np.random.default_rng(5)
    members, splits, trials = 6, 20, 400
    common = rng.normal(0, 3, (trials, 1, splits))
    own = rng.normal(0, 1, (trials, members, splits))
    shift = rng.normal(0, 0.5, (trials, members, 1))
    found = [members_value(x) for x in 7 + common + own + shift]
    assert np.mean([f.value for f in found]) == pytest.approx(7, abs=0.2)
    statistical = np.mean([f.statistical**2 for f in found])
    assert statistical == pytest.approx(9 + 1 / members, rel=0.1)
    assert np.mean([f.systematic**2 for f in found]) == pytest.approx(0.25, rel=0.15)
    same = [members_value(x) for x in 7 + common + own]
    assert np.mean([f.systematic**2 for f in same]) < 0.03


def test_members_value_without_estimate():
    one = members_value([[1.0, 2.0, 3.0]])
    assert (one.value, one.statistical) == (2.0, 1.0)
    assert math.isnan(one.systematic)
    single = members_value([[1.0], [2.0]])
    assert single.value == 1.5
    assert math.isnan(single.statistical)
    assert math.isnan(single.systematic)
