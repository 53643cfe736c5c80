"""Values at ranks, read in pieces, are those of a sorted array, whatever the pieces."""

import numpy as np
import pytest

from sosie.order import equal_parts

RNG = np.random.default_rng(1)
SAMPLES = {
    "normal": RNG.normal(size=5000),
    "few values": RNG.integers(-3, 4, 5000).astype(np.float64),
    "near one another": 1 + RNG.integers(0, 50, 5000) * np.finfo(np.float64).eps,
    "huge and tiny": RNG.choice([-1, 1], 5000) * 10.0 ** RNG.uniform(-300, 300, 5000),
    "subnormal": RNG.integers(-9, 9, 5000) * 5e-324,
    "with gaps": np.where(np.arange(5000) % 3, RNG.uniform(size=5000), np.nan),
    "one": np.array([-2.5]),
    "infinite too": np.r_[np.inf, -np.inf, np.arange(7.0)],
}


def sought(values, bins):
    ordered = np.sort(values[np.isfinite(values)])
    return np.r_[ordered[np.arange(bins) * len(ordered) // bins], ordered[-1]]


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("bins", [1, 7, 1000])
def test_the_values_are_those_of_the_sorted_sample(name, bins):
    values = SAMPLES[name]
    pieces = np.array_split(values, 4)
    found = equal_parts(lambda: ({"v": piece} for piece in pieces), {"v": bins})
    np.testing.assert_array_equal(found["v"], sought(values, bins))


def test_several_variables_at_once():
    names = ["normal", "few values", "huge and tiny"]
    pieces = [{n: SAMPLES[n][s : s + 700] for n in names} for s in range(0, 5000, 700)]
    found = equal_parts(lambda: pieces, {"normal": 3, "huge and tiny": 5})
    assert set(found) == {"normal", "huge and tiny"}
    np.testing.assert_array_equal(found["normal"], sought(SAMPLES["normal"], 3))
    np.testing.assert_array_equal(found["huge and tiny"], sought(SAMPLES["huge and tiny"], 5))


def test_nothing_finite_gives_nothing():
    found = equal_parts(lambda: [{"v": np.full(9, np.nan)}], {"v": 4})
    assert len(found["v"]) == 0
