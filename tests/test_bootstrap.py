"""Counts are Poisson(1), functions of their key; binned statistics and their errors are right."""

import math

import numpy as np
import pytest

from sosie.bootstrap import (
    CENTRAL,
    BinnedMoments,
    binned_moments,
    binned_resolution,
    counts,
    in_bins,
    keyed,
    n_effective,
)
from sosie.ensembles import statistical_error

GROUPS = np.arange(20_000, dtype=np.uint64)


def one_bin(values):
    return np.zeros(len(values), dtype=np.int64)


def coverage_tolerance(toys):
    """Three binomial standard deviations of a share near 0.68, and 1.5 % for finite replicas."""
    return 3 * math.sqrt(CENTRAL * (1 - CENTRAL) / toys) + 0.015


@pytest.mark.parametrize("groups", [GROUPS, GROUPS << np.uint64(40), keyed(5, GROUPS, 0)])
def test_counts_follow_poisson(groups):
    found = counts(7, groups, 100)
    n = found.size
    assert found.dtype == np.float32
    assert found.mean() == pytest.approx(1, abs=5 / math.sqrt(n))
    assert found.var() == pytest.approx(1, abs=5 * math.sqrt(3 / n))
    for k in range(6):
        p = math.exp(-1) / math.factorial(k)
        assert np.mean(found == k) == pytest.approx(p, abs=5 * math.sqrt(p / n))


def test_counts_depend_on_their_key_alone():
    whole = counts(7, GROUPS, 12)
    order = np.random.default_rng(0).permutation(GROUPS.size)
    np.testing.assert_array_equal(counts(7, GROUPS[order], 12), whole[:, order])
    chunks = [counts(7, part, 12) for part in np.array_split(GROUPS, 7)]
    np.testing.assert_array_equal(np.hstack(chunks), whole)
    np.testing.assert_array_equal(counts(7, GROUPS, 5, first=7), whole[7:])
    np.testing.assert_array_equal(counts(7, np.repeat(GROUPS, 2), 12), np.repeat(whole, 2, axis=1))


def test_counts_of_seeds_and_replicas_are_uncorrelated():
    stacked = np.vstack([counts(seed, GROUPS, 10) for seed in (0, 1, 2**62, -1)])
    correlation = np.corrcoef(stacked) - np.eye(len(stacked))
    assert np.abs(correlation).max() < 5 / math.sqrt(GROUPS.size)
    neighbours = np.corrcoef(stacked[:, :-1].ravel(), stacked[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 5 / math.sqrt(stacked.size)


def test_unit_weights_agree_with_numpy():
    rng = np.random.default_rng(1)
    values = rng.normal(3, 2, (5000, 3)) * [1, 10, 0.1] + [0, 1e6, 0]
    values[rng.random(values.shape) < 0.1] = np.nan
    index = rng.integers(-1, 4, len(values))
    replicas = counts(1, np.arange(len(values), dtype=np.uint64), 8)
    found = binned_moments(values, np.ones(len(values)), replicas, index, 4)
    assert found.mean.shape == found.std.shape == (9, 3, 4)
    for b in range(4):
        inside = values[index == b]
        np.testing.assert_allclose(found.mean[0, :, b], np.nanmean(inside, axis=0), rtol=1e-12)
        np.testing.assert_allclose(found.std[0, :, b], np.nanstd(inside, axis=0), rtol=1e-9)
        np.testing.assert_array_equal(found.defined[:, b], np.isfinite(inside).sum(axis=0))
        assert found.events[b] == len(inside)


def test_replica_is_the_resampled_sample():
    rng = np.random.default_rng(2)
    values = rng.gamma(2, 1, 400)
    replicas = counts(3, np.arange(400, dtype=np.uint64), 20)
    moments = binned_moments(values[:, None], np.ones(400), replicas, one_bin(values), 1)
    for r, times in enumerate(replicas.astype(int), start=1):
        drawn = np.repeat(values, times)
        assert moments.mean[r, 0, 0] == pytest.approx(drawn.mean())
        assert moments.std[r, 0, 0] == pytest.approx(drawn.std())


def test_events_of_count_zero_leave_no_trace_in_quantiles():
    rng = np.random.default_rng(3)
    values, weights = rng.normal(size=300), rng.uniform(0.5, 2, 300)
    kept = (rng.random(300) < 0.6).astype(np.float32)
    found = binned_resolution(values, weights, kept[None], one_bin(values), 1)
    some = kept > 0
    alone = binned_resolution(
        values[some], weights[some], np.ones((0, some.sum()), np.float32), one_bin(values[some]), 1
    )
    assert found.median[1, 0] == pytest.approx(alone.median[0, 0], rel=1e-12)
    assert found.half68[1, 0] == pytest.approx(alone.half68[0, 0], rel=1e-12)


def test_quantiles_agree_with_numpy():
    rng = np.random.default_rng(4)
    values, index = rng.exponential(size=2001), rng.integers(-1, 3, 2001)
    values[::17] = np.nan
    none = np.ones((0, 2001), np.float32)
    found = binned_resolution(values, np.full(2001, 0.3), none, index, 3)
    for b in range(3):
        inside = values[(index == b) & np.isfinite(values)]
        low, median, high = np.quantile(
            inside, [(1 - CENTRAL) / 2, 0.5, (1 + CENTRAL) / 2], method="hazen"
        )
        assert found.median[0, b] == pytest.approx(median, rel=1e-12)
        assert found.half68[0, b] == pytest.approx((high - low) / 2, rel=1e-12)


def test_pieces_equal_one_go():
    rng = np.random.default_rng(5)
    values = rng.normal(1e4, 1, (3000, 4))
    values[rng.random(values.shape) < 0.05] = np.nan
    weights, index = rng.normal(1, 0.5, 3000), rng.integers(-1, 5, 3000)
    groups = rng.integers(0, 900, 3000).astype(np.uint64)
    whole = binned_moments(values, weights, counts(1, groups, 30), index, 5)
    stream = BinnedMoments(5)
    for part in np.array_split(np.arange(3000), 11):
        drawn = in_bins(weights[part], counts(1, groups[part], 30), index[part], 5)
        stream.add(values[part], drawn)
    found = stream.result()
    np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(found.std, whole.std, rtol=1e-8)
    np.testing.assert_array_equal(found.defined, whole.defined)
    np.testing.assert_array_equal(found.events, whole.events)


def test_offset_keeps_small_spreads_of_large_values():
    values = 1e9 + np.random.default_rng(6).normal(size=(1000, 1))
    none = np.ones((0, 1000), np.float32)
    found = binned_moments(values, np.ones(1000), none, one_bin(values), 1)
    assert found.std[0, 0, 0] == pytest.approx(values.std(), rel=1e-6)
    constant = binned_moments(np.full((9, 1), 0.1), np.ones(9), none[:, :9], np.zeros(9, int), 1)
    assert constant.std[0, 0, 0] == pytest.approx(0, abs=1e-9)


def test_poor_bins_are_nan():
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, np.nan, 8.0])
    index = np.array([0, 1, 1, 2, 2, 2, 4, 4, 4])
    weights = np.array([1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    replicas = counts(1, np.arange(9, dtype=np.uint64), 50)
    found = binned_moments(values[:, None], weights, replicas, index, 5)
    defined = np.isfinite(found.mean[0, 0])
    np.testing.assert_array_equal(defined, [False, False, True, False, True])
    np.testing.assert_array_equal(found.events, [1, 2, 3, 0, 3])
    np.testing.assert_array_equal(found.defined[0], [1, 2, 3, 0, 2])
    assert np.nanmax(found.mean) <= 8
    assert np.isnan(found.mean[1:, 0, [0, 1, 3]]).sum() >= 100
    resolution = binned_resolution(values, weights, replicas, index, 5)
    assert np.isnan(resolution.median).all()


def test_signed_weights_that_cancel_give_no_wild_number():
    rng = np.random.default_rng(7)
    weights = np.r_[np.ones(500), -np.ones(499)]
    values = rng.normal(size=(999, 1))
    replicas = counts(1, np.arange(999, dtype=np.uint64), 200)
    found = binned_moments(values, weights, replicas, np.zeros(999, int), 1)
    assert np.isnan(found.mean[0]).all()
    assert np.nanmax(np.abs(found.mean)) < 10


def test_negative_weights_recover_the_signal():
    rng = np.random.default_rng(8)
    signal, above, aside = (
        rng.normal(2, 0.5, 40_000),
        rng.uniform(-5, 5, 20_000),
        rng.uniform(-5, 5, 20_000),
    )
    values = np.concatenate([signal, above, aside])
    weights = np.repeat([1.0, 1.0, -1.0], [40_000, 20_000, 20_000])
    replicas = counts(2, np.arange(values.size, dtype=np.uint64), 60)
    moments = binned_moments(values[:, None], weights, replicas, one_bin(values), 1)
    error = statistical_error(moments.mean)[0, 0]
    assert error < 0.05
    assert abs(moments.mean[0, 0, 0] - 2) < 4 * error
    assert abs(moments.std[0, 0, 0] - 0.5) < 4 * statistical_error(moments.std)[0, 0]
    resolution = binned_resolution(values, weights, replicas, one_bin(values), 1)
    assert abs(resolution.median[0, 0] - 2) < 4 * statistical_error(resolution.median)[0]
    assert abs(resolution.half68[0, 0] - 0.5) < 4 * statistical_error(resolution.half68)[0]


@pytest.mark.parametrize("law", ["gaussian", "weighted"])
def test_one_sigma_covers(law):
    """Each bin is one toy of 300 events."""
    toys, each = 500, 300
    rng = np.random.default_rng(9)
    values = rng.normal(1, 2, toys * each)
    weights = np.ones(values.size) if law == "gaussian" else rng.uniform(0.2, 1.8, values.size)
    index = np.repeat(np.arange(toys), each)
    replicas = counts(4, np.arange(values.size, dtype=np.uint64), 120)
    moments = binned_moments(values[:, None], weights, replicas, index, toys)
    resolution = binned_resolution(values, weights, replicas, index, toys)
    for table, truth in (
        (moments.mean[:, 0], 1),
        (moments.std[:, 0], 2),
        (resolution.median, 1),
        (resolution.half68, 2),
    ):
        covered = np.mean(np.abs(table[0] - truth) < statistical_error(table))
        assert covered == pytest.approx(CENTRAL, abs=coverage_tolerance(toys))


def test_groups_are_the_unit():
    """Ten equal events of a group carry the information of one."""
    rng = np.random.default_rng(10)
    values = np.repeat(rng.normal(size=2000), 10)
    groups = np.repeat(np.arange(2000, dtype=np.uint64), 10)
    moments = binned_moments(
        values[:, None], np.ones(values.size), counts(1, groups, 300), one_bin(values), 1
    )
    assert statistical_error(moments.mean)[0, 0] == pytest.approx(1 / math.sqrt(2000), rel=0.15)


def test_n_effective():
    assert n_effective(np.ones(17)) == pytest.approx(17)
    assert n_effective([1, 1, -1]) == pytest.approx(1 / 3)
    assert n_effective([]) == n_effective([0, 0]) == 0


@pytest.mark.parametrize(
    ("n", "index", "weight"), [(3, [0, 0], 1.0), (2, [0, 2], 1.0), (2, [0, 1], math.nan)]
)
def test_what_does_not_fit_is_refused(n, index, weight):
    with pytest.raises(ValueError, match=r"same events|bin 2 of 2|not finite"):
        binned_moments(np.ones((n, 1)), np.full(2, weight), np.ones((1, 2)), np.array(index), 2)
    with pytest.raises(ValueError, match="no events"):
        BinnedMoments(2).result()
