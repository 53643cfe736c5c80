"""The receiver operating characteristic: closed forms, ties, negative weights, replicas."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from sosie.bootstrap import counts
from sosie.rocs import curve, roc_statistics

NONE = np.zeros((0, 0), np.float32)


def no_counts(score: np.ndarray) -> np.ndarray:
    return np.zeros((0, len(score)), np.float32)


def gaussians(n: int, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of n background and n signal events at the quantiles of two unit Gaussians."""
    place = norm.ppf((np.arange(n) + 0.5) / n)
    return np.concatenate([place, place + distance]), np.repeat([False, True], n)


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.0, 2.0])
def test_area_of_two_gaussians_is_phi_of_distance_over_root_two(distance: float) -> None:
    score, signal = gaussians(20_000, distance)
    found = roc_statistics(score, signal, np.ones(len(score)), no_counts(score))
    assert found.shape == (1, 2)
    assert found[0, 0] == pytest.approx(norm.cdf(distance / math.sqrt(2)), abs=1e-4)
    threshold = distance + norm.ppf(0.1)
    assert found[0, 1] == pytest.approx(1 / norm.sf(threshold), rel=2e-3)


def test_curve_of_two_gaussians() -> None:
    score, signal = gaussians(20_000, 1.0)
    efficiency, mis_id = curve(score, signal, np.ones(len(score)))
    np.testing.assert_allclose(efficiency, np.linspace(0, 1, 101))
    expected = norm.sf(1.0 - norm.ppf(efficiency[1:-1]))
    np.testing.assert_allclose(mis_id[1:-1], expected, atol=2e-4)
    assert mis_id[0] == 0


def test_equal_scores_count_half() -> None:
    # Pairs: 3 > 0 and 3 > 1 win, 1 > 0 wins, 1 = 1 counts half.
    found = roc_statistics([0, 1, 1, 3], [False, False, True, True], np.ones(4), no_counts([0] * 4))
    assert found[0, 0] == 3.5 / 4
    same = roc_statistics(np.zeros(9), np.arange(9) < 4, np.ones(9), no_counts([0] * 9))
    assert same[0, 0] == 0.5
    assert same[0, 1] == pytest.approx(1 / 0.9)
    np.testing.assert_allclose(*curve(np.zeros(9), np.arange(9) < 4, np.ones(9)))


def test_order_of_equal_scores_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    score, signal = rng.integers(0, 6, 400), rng.random(400) < 0.4
    weight = rng.uniform(0.5, 1.5, 400)
    order = rng.permutation(400)
    replicas = counts(1, np.arange(400, dtype=np.uint64), 5)
    first = roc_statistics(score, signal, weight, replicas)
    other = roc_statistics(score[order], signal[order], weight[order], replicas[:, order])
    np.testing.assert_allclose(other, first, rtol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_agrees_with_sklearn(ties: bool) -> None:
    rng = np.random.default_rng(1)
    signal = rng.random(3000) < 0.3
    score = rng.normal(size=3000) + signal
    score = np.round(score * 3) if ties else score
    weight = rng.uniform(0, 2, 3000)
    for w in (np.ones(3000), weight):
        replicas = counts(7, np.arange(3000, dtype=np.uint64), 4)
        found = roc_statistics(score, signal, w, replicas)
        rows = np.vstack([w, w * replicas])
        expected = [roc_auc_score(signal, score, sample_weight=row) for row in rows]
        np.testing.assert_allclose(found[:, 0], expected, rtol=1e-12)
        mis_id, efficiency, _ = roc_curve(signal, score, sample_weight=w)
        assert 1 / found[0, 1] == pytest.approx(np.interp(0.9, efficiency, mis_id), rel=1e-9)


def test_negative_weights_cancel_a_planted_background() -> None:
    rng = np.random.default_rng(2)
    signal = rng.random(1000) < 0.5
    score = rng.normal(size=1000) + 1.5 * signal
    planted = rng.normal(size=300) - 4
    of_signal = rng.random(300) < 0.8
    all_scores = np.concatenate([score, planted, planted])
    classes = np.concatenate([signal, of_signal, of_signal])
    weight = np.concatenate([np.ones(1000), np.ones(300), -np.ones(300)])
    clean = roc_statistics(score, signal, np.ones(1000), no_counts(score))
    mixed = roc_statistics(all_scores, classes, weight, no_counts(all_scores))
    np.testing.assert_allclose(mixed, clean, rtol=1e-12)
    without = roc_statistics(all_scores, classes, np.abs(weight), no_counts(all_scores))
    assert abs(without[0, 0] - clean[0, 0]) > 0.05
    np.testing.assert_allclose(
        curve(all_scores, classes, weight), curve(score, signal, np.ones(1000)), atol=1e-12
    )


@pytest.mark.parametrize(
    "weight",
    [
        [0, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 1],
        [1, 1, 1, -1],
        [1, -2, 1, 1],
        [1, 1, 1, -1 + 1e-9],
    ],
)
def test_a_sum_that_is_not_positive_is_nan(weight: list[float]) -> None:
    score, signal = np.arange(4.0), np.array([True, True, False, False])
    assert np.isnan(roc_statistics(score, signal, weight, np.ones((3, 4), np.float32))).all()
    assert np.isnan(curve(score, signal, weight)[1]).all()


def test_a_replica_without_a_class_is_nan_alone() -> None:
    score, signal = np.array([0.0, 1.0, 2.0]), np.array([False, False, True])
    replicas = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 2]], np.float32)
    area = roc_statistics(score, signal, np.ones(3), replicas)[:, 0]
    np.testing.assert_array_equal(area, [1, np.nan, 1, np.nan])


def test_a_class_of_few_effective_events_is_nan() -> None:
    rng = np.random.default_rng(8)
    score, signal = rng.normal(size=60), np.repeat([False, True], 30)
    weight = np.ones(60)
    weight[30:] = [1.0] * 18 + [-1.0] * 12  # a sum of 6, worth 1.2 events
    assert np.isnan(roc_statistics(score, signal, weight, no_counts(score))).all()
    assert np.isnan(roc_statistics(score, ~signal, weight, no_counts(score))).all()
    weight[30:] = [1.0] * 22 + [-1.0] * 8  # a sum of 14, worth 6.5
    assert np.isfinite(roc_statistics(score, signal, weight, no_counts(score))[0, 0])


def test_no_rejection_where_no_background_passes() -> None:
    found = roc_statistics([0, 1, 2, 3], [False, False, True, True], np.ones(4), no_counts([0] * 4))
    assert found[0, 0] == 1
    assert math.isnan(found[0, 1])


def test_scores_that_are_not_finite_are_left_out() -> None:
    score = np.array([0.0, np.nan, 1.0, np.inf])
    signal = np.array([False, False, True, True])
    found = roc_statistics(score, signal, np.ones(4), np.full((1, 4), 2, np.float32))
    np.testing.assert_array_equal(found[:, 0], [1, 1])
    nothing = roc_statistics(score[[1, 3]], signal[[1, 3]], np.ones(2), np.ones((1, 2), np.float32))
    assert np.isnan(nothing).all()
    assert nothing.shape == (2, 2)


def test_error_of_the_area_is_that_of_hanley_and_mcneil() -> None:
    rng = np.random.default_rng(5)
    n = 500
    signal = np.repeat([False, True], n)
    score = rng.normal(size=2 * n) + signal
    replicas = counts(11, np.arange(2 * n, dtype=np.uint64), 400)
    area = roc_statistics(score, signal, np.ones(2 * n), replicas)[:, 0]
    # The variance of the Mann-Whitney statistic from its two projections.
    above = (score[signal][:, None] > score[~signal]).astype(float)
    expected = math.sqrt(above.mean(1).var() / n + above.mean(0).var() / n)
    assert area[1:].std() == pytest.approx(expected, rel=0.15)


def test_shapes_and_weights_are_checked() -> None:
    with pytest.raises(ValueError, match="do not describe the same events"):
        roc_statistics(np.zeros(3), np.zeros(3, bool), np.ones(2), NONE)
    with pytest.raises(ValueError, match="not finite"):
        curve(np.zeros(2), np.array([True, False]), [1, np.nan])
    with pytest.raises(ValueError, match="do not describe 3 events"):
        roc_statistics(np.zeros(3), np.zeros(3, bool), np.ones(3), np.ones((2, 4), np.float32))
