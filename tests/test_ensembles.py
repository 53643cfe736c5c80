"""The spread of members is recovered, pulls follow Student's t, coverages are as expected."""

import math

import numpy as np
import pytest
from scipy import stats

from sosie.bootstrap import CENTRAL, binned_moments, counts
from sosie.ensembles import coverage, expected_coverage, pull_width, spread, statistical_error


def toy(members, bins, model, noise, common=10.0, replicas=60, seed=0):
    """Tables of bins whose truth and members have one spread, with a common fluctuation.

    noise: of each sample's own; common: of the conditions that all of them share.
    """
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, common, (replicas + 1, bins))
    own = rng.normal(0, noise, (members + 1, replicas + 1, bins))
    centre = rng.normal(0, model, (members + 1, 1, bins))
    # Replicas scatter about the nominal value, so its own fluctuation is in every row.
    own[:, 1:] += own[:, :1]
    shared[1:] += shared[0]
    table = centre + shared + own
    return table[0], table[1:]


@pytest.mark.parametrize("members", [4, 20])
@pytest.mark.parametrize("noise", [0.1, 0.7])
def test_planted_spread_is_recovered(members, noise):
    found = spread(*toy(members, 2000, 1.5, noise))
    error = math.sqrt(2 / (members - 1) / 2000)
    assert np.mean(found.systematic**2) == pytest.approx(1.5**2, rel=5 * error + 0.01)
    assert np.median(found.statistical) == pytest.approx(10, rel=0.1)
    expected = noise * math.sqrt(1 + 1 / members)
    assert np.median(found.difference_error) == pytest.approx(expected, rel=0.05)
    assert found.members == members


def test_no_spread_is_compatible_with_zero():
    found = spread(*toy(8, 2000, 0.0, 1.0))
    assert 0.4 < np.mean(found.systematic == 0) < 0.7
    assert np.mean(found.systematic**2) < 0.35
    assert pull_width(found.pull) < 1.05


def test_formulas():
    rng = np.random.default_rng(3)
    reference, members = rng.normal(size=(31, 4, 2)), rng.normal(size=(5, 31, 4, 2))
    members += 3 * rng.normal(size=(5, 1, 1, 1))
    found = spread(reference, members)
    mean = members.mean(axis=0)
    v = np.mean([(m - mean)[1:].var(axis=0, ddof=1) for m in members], axis=0) * 5 / 4
    s2 = np.maximum(0, members[:, 0].var(axis=0, ddof=1) - v)
    error2 = (reference - mean)[1:].var(axis=0, ddof=1)
    np.testing.assert_allclose(found.mean, mean[0])
    np.testing.assert_allclose(found.systematic**2, s2)
    np.testing.assert_allclose(found.difference, reference[0] - mean[0])
    np.testing.assert_allclose(found.difference_error**2, error2)
    np.testing.assert_allclose(found.statistical, mean[1:].std(axis=0, ddof=1))
    np.testing.assert_allclose(found.pull, found.difference / np.sqrt(s2 * 1.2 + error2))
    np.testing.assert_allclose(statistical_error(reference), reference[1:].std(axis=0, ddof=1))


@pytest.mark.parametrize("members", [3, 5, 10])
def test_pulls_follow_student(members):
    found = spread(*toy(members, 3000, 1.0, 0.02, seed=members))
    assert stats.kstest(found.pull, stats.t(members - 1).cdf).pvalue > 0.01
    if members <= 5:  # beyond, 3000 pulls hardly tell the two laws apart
        assert stats.kstest(found.pull, stats.norm.cdf).pvalue < 1e-3


@pytest.mark.parametrize("members", [3, 5, 8, 20])
def test_expected_coverage_by_simulation(members):
    rng = np.random.default_rng(members)
    truth, drawn = rng.normal(size=200_000), rng.normal(size=(members, 200_000))
    off, s = np.abs(truth - drawn.mean(axis=0)), drawn.std(axis=0, ddof=1)
    for width in (1.0, 2.0):
        assert np.mean(off < width * s) == pytest.approx(
            expected_coverage(members, width), abs=0.005
        )
    found = spread(*toy(members, 4000, 1.0, 0.02, replicas=30, seed=members))
    assert coverage(found.difference, found.systematic) == pytest.approx(
        expected_coverage(members), abs=0.03
    )


@pytest.mark.parametrize(("members", "quoted"), [(5, 0.59), (8, 0.62), (10, 0.64), (20, 0.66)])
def test_expected_coverage_of_the_manual(members, quoted):
    assert expected_coverage(members) == pytest.approx(quoted, abs=0.006)


def test_expected_coverage_limits():
    assert expected_coverage(100_000) == pytest.approx(CENTRAL, abs=1e-4)
    assert math.isnan(expected_coverage(1))


def test_one_member_has_no_systematic():
    found = spread(*toy(1, 2000, 0.0, 1.0, replicas=200))
    assert np.isnan(found.systematic).all()
    np.testing.assert_allclose(found.pull, found.difference / found.difference_error)
    assert pull_width(found.pull) == pytest.approx(1, abs=0.06)
    assert math.isnan(coverage(found.difference, found.systematic))


def test_nan_stays_where_it_is():
    reference, members = toy(3, 6, 1.0, 0.5)
    reference[0, 0] = np.nan
    members[1, 0, 1] = np.nan
    members[:, 1:, 2] = np.nan
    reference[1:3, 3] = np.nan
    found = spread(reference, members)
    np.testing.assert_array_equal(np.isfinite(found.pull), [False, False, False, True, True, True])
    np.testing.assert_array_equal(np.isfinite(found.systematic), [True, False, False, *[True] * 3])
    assert np.isfinite(statistical_error(reference)[1:]).all()
    same = spread(np.ones((5, 2)), np.ones((3, 5, 2)))
    assert np.isnan(same.pull).all()
    assert (same.systematic == 0).all()
    assert math.isnan(pull_width(same.pull))


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="must be"):
        spread(np.ones((5, 2)), np.ones((5, 2)))


def test_paired_conditions_cancel_from_events_to_pull():
    """Members that shift every event share the events' large fluctuation and keep their shifts."""
    rng = np.random.default_rng(11)
    n, bins, members, planted = 12_000, 60, 8, 0.2
    condition, index = rng.normal(0, 5, n), rng.integers(0, bins, n)
    times = counts(1, np.arange(n, dtype=np.uint64), 100)

    def profile():
        own = rng.normal(0, planted, bins)[index] + rng.normal(0, 0.3, n)
        return binned_moments((condition + own)[:, None], np.ones(n), times, index, bins).mean[:, 0]

    found = spread(profile(), np.array([profile() for _ in range(members)]))
    assert np.median(found.statistical) > 10 * np.median(found.difference_error)
    error = math.sqrt(2 / (members - 1) / bins)
    assert np.mean(found.systematic**2) == pytest.approx(planted**2, rel=4 * error)
    assert stats.kstest(found.pull, stats.t(members - 1).cdf).pvalue > 0.01
