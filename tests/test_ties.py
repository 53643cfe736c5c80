"""The law of the ties: sharp thresholds found, rates kept where there are none."""

import numpy as np
import pytest

import toy
from sosie.ties import TieLaw, complete, free, sources

TIES = toy.TOY.ties


def law(value: np.ndarray, pattern: np.ndarray, **other) -> TieLaw:
    return TieLaw.fit(TIES, value, pattern, np.ones(len(value)), **other)


def test_sharp_thresholds_are_two_numbers() -> None:
    where = toy.conditions(5000)
    found = law(where[:, 0], toy.pattern(where))
    np.testing.assert_allclose(found.change, [toy.SOFT, toy.HARD], atol=0.01)
    np.testing.assert_array_equal(found.pattern, [2, 1, 0])
    again = TieLaw.from_dict(found.as_dict())
    np.testing.assert_array_equal(again.draw(where[:, 0]), toy.pattern(where))


def test_it_is_the_pattern_of_the_nearest_event() -> None:
    rng = np.random.default_rng(1)
    value, pattern = rng.random(300), rng.integers(0, 3, 300)
    asked = rng.uniform(-0.1, 1.1, 1000)
    nearest = np.abs(asked[:, None] - value).argmin(axis=1)
    np.testing.assert_array_equal(law(value, pattern).draw(asked), pattern[nearest])


def test_what_is_no_function_of_the_variable_is_bounded_at_its_rate() -> None:
    rng = np.random.default_rng(2)
    value = rng.random(20000)
    pattern = (rng.random(20000) < 0.3).astype(np.int64)
    found = law(value, pattern, most=1000)
    assert 200 < len(found.change) <= 1000
    assert found.draw(rng.random(50000)).mean() == pytest.approx(0.3, abs=0.05)


def test_events_of_negative_weight_are_left_out() -> None:
    value = np.linspace(0, 1, 100)
    wrong = np.arange(100) % 2 == 0
    pattern = np.where(wrong, 2, 1)
    found = TieLaw.fit(TIES, value, pattern, np.where(wrong, -1.0, 1.0))
    assert found.draw(value).tolist() == [1] * 100


def test_what_is_free_and_what_follows_from_it() -> None:
    np.testing.assert_array_equal(sources(TIES, (3,)), [[0, 1, 2], [0, 1, 1], [0, -1, -1]])
    np.testing.assert_array_equal(free(TIES, (3,)).sum(axis=1), [3, 2, 1])


def test_completed_responses_depend_on_free_numbers_alone() -> None:
    rng = np.random.default_rng(3)
    response, pattern = rng.normal(size=(90, 3)), np.arange(90) % 3
    other = np.where(free(TIES, (3,))[pattern], response, 77.0)
    done = complete(TIES, other, pattern)
    np.testing.assert_array_equal(done, complete(TIES, response, pattern))
    np.testing.assert_array_equal(toy.find(done), pattern)
    np.testing.assert_array_equal(done[pattern == 1, 2], response[pattern == 1, 1])


def test_a_law_that_does_not_fit_its_patterns_is_refused() -> None:
    plain = law(np.array([0.0, 1.0]), np.array([0, 1])).as_dict()
    for wrong in ({"pattern": [0]}, {"pattern": [0, 7]}, {"change": []}):
        with pytest.raises(ValueError, match="ties"):
            TieLaw.from_dict({**plain, **wrong})
