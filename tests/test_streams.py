"""Streams of random numbers: flat, apart, and the same for ever."""

import numpy as np
import pytest
from scipy import stats

from sosie.streams import combine, key, mix, stream, uniform


def test_values_that_must_never_change():
    assert key(20261123, "ingest", "split") == 2536103052055360339
    assert stream(1, "train", 0).integers(0, 2**63, 2).tolist() == [
        1930870310774446901,
        3038686610457693824,
    ]
    # The first output of splitmix64 started at 0, as in the reference implementation.
    assert int(mix(np.zeros(1, np.uint64))[0]) == 0xE220A8397B1DCDAF
    assert combine(np.array([3]), np.array([-1])).tolist() == [1132008942819489277]


@pytest.mark.parametrize("labels", [("train",), ("train", 1), ("train", 0, "x"), ("trai", "n", 0)])
def test_labels_and_seeds_make_other_streams(labels):
    draws = stream(1, "train", 0).random(1000)
    np.testing.assert_array_equal(draws, stream(1, "train", 0).random(1000))
    for other in (stream(1, *labels), stream(2, "train", 0)):
        assert abs(np.corrcoef(draws, other.random(1000))[0, 1]) < 0.15
    assert 0 <= key(1, *labels) < 2**63


@pytest.mark.parametrize("start", [0, 2**40, 2**64 - 200000])
def test_mix_is_a_bijection_and_flat(start):
    values = np.uint64(start) + np.arange(200000, dtype=np.uint64)
    mixed = mix(values)
    assert len(np.unique(mixed)) == len(values)
    numbers = uniform(mixed)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.chisquare(np.histogram(numbers, 100, (0, 1))[0]).pvalue > 1e-4
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.015


def test_uniform_ends():
    ends = uniform(np.array([0, 2**64 - 1], np.uint64))
    assert ends.tolist() == [0, 1 - 2.0**-53]


def test_combine_tells_columns_and_their_order_apart():
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(-200, 200), np.arange(400)))
    assert len(np.unique(combine(a, b))) == len(a)
    assert combine(np.array([1]), np.array([2])) != combine(np.array([2]), np.array([1]))
    assert combine(np.array([1], np.int32)) == combine(np.array([1], np.uint64))
