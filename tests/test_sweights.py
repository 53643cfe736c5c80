"""sWeights of a mass fit, in a case with a closed form, through all that takes weights.

Signal and background differ in mass, and in a second variable that the fit does not see. The sWeights
(Pivk and Le Diberder, Nucl. Instrum. Meth. A 555, 356, 2005) must recover the signal's law of it.
"""

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, wasserstein_distance

from sosie.bootstrap import (
    Moments,
    binned_moments,
    binned_resolution,
    counts,
    n_effective,
)
from sosie.distances import contents, separation, wasserstein
from sosie.rocs import curve, roc_statistics

Array = np.ndarray[Any, Any]
LOW, HIGH = -5.0, 5.0
SHARE = 0.6
# The second variable: a Gaussian of mean 2 and width 1 for signal, an exponential of mean 2 turned
# about 1 for background.
MEAN, WIDTH = 2.0, 1.0


def densities(mass: Array) -> Array:
    """Densities (N, 2) of signal, a Gaussian of width 1, and background, flat, between -5 and 5."""
    inside = norm.cdf(HIGH) - norm.cdf(LOW)
    return np.column_stack([norm.pdf(mass) / inside, np.full(len(mass), 1 / (HIGH - LOW))])


def yields(density: Array) -> Array:
    """Events of signal and background (2,) of the extended maximum-likelihood fit to densities (N, 2)."""
    found = np.full(2, len(density) / 2)
    for _ in range(200):
        found = (found * density / (density @ found)[:, None]).sum(axis=0)
    return found


def sweights(density: Array, found: Array) -> Array:
    """sWeights (N,) of the signal: the covariance of the yields times the densities, over their sum."""
    total = density @ found
    inverse = (density[:, :, None] * density[:, None, :] / total[:, None, None] ** 2).sum(axis=0)
    return density @ np.linalg.inv(inverse)[:, 0] / total


def mixed(count: int, seed: int) -> tuple[Array, Array, Array]:
    """sWeights, second variable and true class (N,) of a mixture."""
    rng = np.random.default_rng(seed)
    signal = rng.random(count) < SHARE
    mass = np.where(signal, rng.normal(size=count), rng.uniform(LOW, HIGH, count))
    inside = np.abs(mass) < HIGH
    second = np.where(signal, rng.normal(MEAN, WIDTH, count), 1 - rng.exponential(2, count))
    density = densities(mass[inside])
    return sweights(density, yields(density)), second[inside], signal[inside]


@pytest.fixture(scope="module")
def sample() -> tuple[Array, Array, Array]:
    return mixed(40_000, 1)


def one_bin(
    values: Array, weight: Array, replicas: int = 200
) -> tuple[Moments, np.ndarray[Any, np.dtype[np.float32]], Array]:
    draws = counts(3, np.arange(len(values), dtype=np.uint64), replicas)
    index = np.zeros(len(values), np.int64)
    return binned_moments(values[:, None], weight, draws, index, 1), draws, index


def test_sweights_add_up_to_the_yield(sample: tuple[Array, Array, Array]) -> None:
    weight, _, signal = sample
    assert weight.min() < -0.2
    # The sum is the fitted yield; its error is larger than that of counting.
    assert abs(weight.sum() - signal.sum()) < 4 * math.sqrt((weight**2).sum())
    assert n_effective(weight) < 0.8 * signal.sum()


def test_mean_and_width_are_those_of_the_signal(sample: tuple[Array, Array, Array]) -> None:
    weight, second, _ = sample
    found, _, _ = one_bin(second, weight)
    for statistic, expected in ((found.mean, MEAN), (found.std, WIDTH)):
        replicas = statistic[1:, 0, 0]
        assert np.isfinite(replicas).all()
        assert abs(statistic[0, 0, 0] - expected) < 4 * replicas.std()
        assert replicas.std() < 0.08
    plain, _, _ = one_bin(second, np.ones(len(second)))
    assert abs(plain.mean[0, 0, 0] - MEAN) > 0.5, "without the weights the background shows"


def test_error_of_the_mean_is_that_of_many_samples() -> None:
    means = []
    for seed in range(100, 160):
        weight, second, _ = mixed(2000, seed)
        means.append(np.average(second, weights=weight))
    weight, second, _ = mixed(2000, 1)
    found, _, _ = one_bin(second, weight)
    # The error of a spread from 60 samples is 9 %. The bootstrap holds the weights, which makes its
    # error somewhat too large: they know of the fluctuation of the yields.
    assert 0.8 < found.mean[1:, 0, 0].std() / np.std(means, ddof=1) < 1.4


def test_quantiles_are_those_of_the_signal(sample: tuple[Array, Array, Array]) -> None:
    weight, second, _ = sample
    _, draws, index = one_bin(second, weight, 60)
    found = binned_resolution(second, weight, draws, index, 1)
    for statistic, expected in ((found.median, MEAN), (found.half68, WIDTH)):
        error = statistic[1:, 0].std()
        assert error < 0.05
        assert abs(statistic[0, 0] - expected) < 4 * error


def test_histogram_is_that_of_the_signal(sample: tuple[Array, Array, Array]) -> None:
    weight, second, _ = sample
    edges = np.linspace(-4, 5, 19)
    found = contents(second, edges, weight)
    squares = contents(second, edges, weight**2)
    cdf = np.concatenate([[0], norm.cdf(edges, MEAN, WIDTH), [1]])
    expected = weight.sum() * np.diff(cdf)
    pulls = (found - expected) / np.sqrt(squares)
    # 20 contents, three standard deviations of chi2.
    assert (pulls**2).sum() < 20 + 3 * math.sqrt(40)
    plain = contents(second, edges)
    assert ((plain - len(second) * np.diff(cdf)) ** 2 / plain).sum() > 1000


def test_distances_to_the_signal_are_small(sample: tuple[Array, Array, Array]) -> None:
    weight, second, signal = sample
    clean = np.random.default_rng(8).normal(MEAN, WIDTH, 20_000)
    near = wasserstein(second, clean, weight, np.ones(len(clean)))
    far = wasserstein(second, clean)
    assert near < 0.05
    assert far > 10 * near
    edges = np.linspace(-4, 6, 21)
    assert separation(contents(second, edges, weight), contents(clean, edges)) < 0.005
    assert separation(contents(second, edges), contents(clean, edges)) > 0.1
    assert wasserstein(second[signal], clean) < 0.05


def test_curve_is_that_of_the_signals(sample: tuple[Array, Array, Array]) -> None:
    """Two samples with the same background: their sWeighted curve is that of two Gaussians."""
    weight, second, _ = sample
    other_weight, other, _ = mixed(40_000, 2)
    score = np.concatenate([second, other + 1])
    classes = np.repeat([False, True], [len(second), len(other)])
    both = np.concatenate([weight, other_weight])
    draws = counts(4, np.arange(len(score), dtype=np.uint64), 40)
    found = roc_statistics(score, classes, both, draws)
    expected = [norm.cdf(1 / math.sqrt(2)), 1 / norm.sf(1 + norm.ppf(0.1))]
    error = found[1:].std(axis=0)
    assert error[0] < 0.01
    assert (np.abs(found[0] - expected) < 4 * error).all()
    plain = roc_statistics(score, classes, np.ones(len(score)), draws[:0])
    assert abs(plain[0, 0] - expected[0]) > 10 * error[0]
    efficiency, mis_id = curve(score, classes, both, 11)
    threshold = norm.isf(efficiency[1:-1], MEAN + 1, WIDTH)
    np.testing.assert_allclose(mis_id[1:-1], norm.sf(threshold, MEAN, WIDTH), atol=0.03)


def planted(seed: int = 6) -> tuple[Array, Array, Array]:
    """Values and weights in which 300 wild events are taken away again, and the values without them."""
    rng = np.random.default_rng(seed)
    clean, wild = rng.normal(size=500), rng.normal(40, 5, 300)
    return (
        np.concatenate([clean, wild, wild]),
        np.concatenate([np.ones(500), np.ones(300), -np.ones(300)]),
        clean,
    )


def test_negative_weights_cancel_exactly_in_moments() -> None:
    values, weight, clean = planted()
    found, _, _ = one_bin(values, weight, 0)
    assert found.mean[0, 0, 0] == pytest.approx(clean.mean(), abs=1e-11)
    assert found.std[0, 0, 0] == pytest.approx(clean.std(), rel=1e-9)


def test_negative_weights_cancel_in_replicas_of_the_same_group() -> None:
    values, weight, clean = planted()
    groups = np.concatenate([np.arange(800), np.arange(500, 800)]).astype(np.uint64)
    draws = counts(5, groups, 50)
    index = np.zeros(len(values), np.int64)
    found = binned_moments(values[:, None], weight, draws, index, 1)
    expected = binned_moments(clean[:, None], np.ones(500), draws[:, :500], index[:500], 1)
    # Where few draws remain, their sum is smaller than the error from the weights: NaN, not wild.
    kept = np.isfinite(found.mean)
    np.testing.assert_allclose(found.mean[kept], expected.mean[kept], atol=1e-10)
    np.testing.assert_allclose(found.std[kept], expected.std[kept], rtol=1e-8)
    assert kept.all()


def test_negative_weights_cancel_exactly_in_wasserstein() -> None:
    values, weight, clean = planted()
    other = np.random.default_rng(7).normal(0.3, 1.2, 400)
    found = wasserstein(values, other, weight, np.ones(400))
    assert found == pytest.approx(wasserstein_distance(clean, other), rel=1e-10)
    assert wasserstein(other, values, np.ones(400), weight) == pytest.approx(found, rel=1e-12)
    assert wasserstein(values, clean, weight, np.ones(500)) == pytest.approx(0, abs=1e-10)


def test_negative_weights_cancel_exactly_in_quantiles() -> None:
    values, weight, clean = planted()
    none = np.zeros((0, len(values)), np.float32)
    index = np.zeros(len(values), np.int64)
    found = binned_resolution(values, weight, none, index, 1)
    expected = binned_resolution(clean, np.ones(500), none[:, :500], index[:500], 1)
    assert found.median[0, 0] == pytest.approx(expected.median[0, 0], abs=1e-9)
    assert found.half68[0, 0] == pytest.approx(expected.half68[0, 0], abs=1e-9)


@pytest.mark.parametrize(
    "weight",
    [[0, 0, 0, 0, 0], [1, 1, -1, -1, 0], [1, 1, 1, -2, -2], [1, 1, 1, -1, -2 + 1e-9]],
)
def test_a_bin_whose_weights_have_no_positive_sum_is_empty(weight: list[float]) -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 8.0, 9.0, 10.0])
    weights = np.array([*weight, 1, 1, 1, 1], float)
    index = np.repeat([0, 1], [5, 4])
    draws = np.ones((3, 9), np.float32)
    found = binned_moments(values[:, None], weights, draws, index, 2)
    assert np.isnan(found.mean[..., 0]).all()
    assert np.isnan(found.std[..., 0]).all()
    np.testing.assert_allclose(found.mean[:, 0, 1], 8.5)
    assert found.events.tolist() == [5, 4]
    quantiles = binned_resolution(values, weights, draws, index, 2)
    assert np.isnan(quantiles.median[:, 0]).all()
    assert np.isfinite(quantiles.median[:, 1]).all()


@pytest.mark.parametrize("weight", [[0, 0, 0], [1, 1, -2], [1, -3, 1]])
def test_no_distance_from_weights_without_a_positive_sum(weight: list[float]) -> None:
    values, ones = np.array([1.0, 2.0, 3.0]), np.ones(3)
    assert math.isnan(wasserstein(values, values, weight, ones))
    assert math.isnan(wasserstein(values, values, ones, weight))
    assert math.isnan(wasserstein(values, values, weight, weight))


def test_no_wild_distance_from_a_sum_below_its_error() -> None:
    """A sum of weights that is positive by its last digits alone would be a huge distance."""
    values, weight = np.array([0.0, 1.0, 100.0]), np.array([1.0, 1.0, -2 + 1e-9])
    assert math.isnan(wasserstein(values, values, weight, np.ones(3)))


def test_no_separation_from_weights_without_a_positive_sum() -> None:
    """The contents above zero alone would be a histogram of what is not there."""
    edges = [0.0, 1.0, 2.0]
    empty = contents([0.5, 1.5], edges, [1.0, -1.0])
    assert math.isnan(separation(empty, contents([0.5, 1.5], edges)))
