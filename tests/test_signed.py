"""Transforms of signed vectors: against scipy and normal scores, exact inverses, signed weights."""

import json

import numpy as np
import pytest
from scipy import stats

from sosie.files import to_json
from sosie.signed import (
    Quantile,
    YeoJohnson,
    fit_yeo_johnson,
    inverse_yeo_johnson,
    knots,
    monotone,
    yeo_johnson,
)

RNG = np.random.default_rng(1)
CAUCHY = stats.cauchy(3, 2).rvs(5000, random_state=RNG)
ATOMS = np.where(RNG.random(5000) < 0.3, 0.0, np.where(RNG.random(5000) < 0.2, 5.0, CAUCHY))
COLUMNS = [CAUCHY, ATOMS, RNG.exponential(1.0, 5000), np.repeat([1.0, 2.0], 2500)]
ONES = [np.ones(5000)] * 4
KINDS = {
    "quantile": Quantile.fit(COLUMNS, ONES),
    "yeo_johnson": YeoJohnson.fit(COLUMNS, ONES),
    "none": YeoJohnson.fit(COLUMNS, ONES, 1.0),
}


@pytest.mark.parametrize("power", [-1.0, 0.0, 0.5, 1.0, 2.0, 3.0])
def test_yeo_johnson_is_that_of_scipy_and_its_inverse_exact(power: float) -> None:
    x = np.linspace(-20, 20, 301)
    y = yeo_johnson(x, power)
    np.testing.assert_allclose(y, stats.yeojohnson(x, lmbda=power), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(inverse_yeo_johnson(y, power), x, rtol=1e-9, atol=1e-9)


def test_lambda_is_that_of_scipy() -> None:
    x = RNG.gamma(2.0, 1.0, 4000) - 1
    assert fit_yeo_johnson(x, np.ones(4000)) == pytest.approx(stats.yeojohnson_normmax(x), abs=1e-3)


def test_lambda_is_recovered_under_a_background_taken_away() -> None:
    signal = inverse_yeo_johnson(RNG.normal(0.5, 0.8, 20000), 0.4)
    first, second = (RNG.normal(-3, 0.5, 5000) for _ in range(2))
    weight = np.repeat([1.0, 1.0, -1.0], [20000, 5000, 5000])
    x = np.concatenate([signal, first, second])
    alone = fit_yeo_johnson(signal, np.ones(len(signal)))
    assert alone == pytest.approx(0.4, abs=0.03)
    assert fit_yeo_johnson(x, weight) == pytest.approx(alone, abs=0.1)
    assert abs(fit_yeo_johnson(x, np.ones(len(x))) - alone) > 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind: str) -> None:
    x = np.column_stack(COLUMNS)
    own = KINDS[kind]
    np.testing.assert_allclose(own.inverse(own.forward(x)), x, rtol=1e-8, atol=1e-8)


def test_the_inverse_is_exact_at_the_knots() -> None:
    own = KINDS["quantile"]
    for number, (x, z) in enumerate(zip(own.value, own.score, strict=True)):
        rows = np.zeros((len(x), 4))
        rows[:, number] = x
        image = own.forward(rows)
        np.testing.assert_array_equal(image[:, number], z)
        np.testing.assert_array_equal(own.inverse(image)[:, number], x)


@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_rise_strictly(kind: str) -> None:
    own = KINDS[kind]
    x = np.sort(np.column_stack([*COLUMNS[:3], np.linspace(0.5, 2.5, 5000)]), axis=0)
    for number in range(4):
        values = np.unique(x[:, number])
        rows = np.zeros((len(values), 4))
        rows[:, number] = values
        assert (np.diff(own.forward(rows)[:, number]) > 0).all()


def test_quantiles_become_normal_scores_and_an_atom_their_middle() -> None:
    image = KINDS["quantile"].forward(np.column_stack(COLUMNS))
    assert stats.kstest(image[:, 0], "norm").pvalue > 0.5
    below, share = (ATOMS < 0).mean(), (ATOMS == 0).mean()
    at = np.unique(image[ATOMS == 0, 1])
    assert len(at) == 1
    assert at[0] == pytest.approx(stats.norm.ppf(below + share / 2), abs=1e-9)
    # The neighbours lie outside the gap of the atom.
    assert image[ATOMS > 0, 1].min() > stats.norm.ppf(below + share) - 0.05


def test_tails_go_on_in_straight_lines() -> None:
    own = Quantile.fit([RNG.normal(0, 2, 20000)], [np.ones(20000)])
    z = np.array([5.0, 5.5, 6.0])
    x = own.inverse(z[:, None])[:, 0]
    assert np.diff(x)[0] == pytest.approx(np.diff(x)[1], rel=1e-6)
    assert np.diff(x)[0] / 0.5 == pytest.approx(2, rel=0.6)
    assert own.forward(np.full((1, 1), 30.0))[0, 0] > own.score[0][-1] + 1


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_network_emits_is_a_finite_response(kind: str) -> None:
    wild = np.array([1e30, -1e30, np.inf, -np.inf, np.nan, 1e4], np.float32)
    x = KINDS[kind].inverse(np.tile(wild[:, None], (1, 4))).astype(np.float32)
    assert np.isfinite(x).all()
    for number, column in enumerate(COLUMNS):
        span = column.max() - column.min()
        assert x[:, number].max() <= (column.max() + span) * (1 + 1e-6)
        assert x[:, number].min() >= column.min() - span - 1e-6 * span


def test_sums_of_signed_weights_are_made_to_rise() -> None:
    np.testing.assert_array_equal(monotone(np.array([1.0, 2.0, 4.0])), [1, 2, 4])
    found = monotone(np.array([1.0, 3.0, 2.0, 4.0, -1.0, 5.0]))
    assert (np.diff(found) >= 0).all()
    assert found[-1] == 5


def test_signed_weights_give_the_quantiles_of_the_signal() -> None:
    signal, first, second = (RNG.normal(m, 1, 20000) for m in (0, 4, 4))
    x = np.concatenate([signal, first, second])
    own = Quantile.fit([x], [np.repeat([1.0, 1.0, -1.0], 20000)])
    asked = np.linspace(-2, 2, 9)
    np.testing.assert_allclose(own.forward(asked[:, None])[:, 0], asked, atol=0.08)


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_weights_without_a_positive_sum_are_refused(weight: float) -> None:
    x = RNG.normal(size=100)
    for fit in (Quantile.fit, YeoJohnson.fit):
        with pytest.raises(ValueError, match="not positive"):
            fit([x], [np.full(100, weight)])


@pytest.mark.parametrize("fit", [Quantile.fit, YeoJohnson.fit])
def test_what_does_not_vary_is_refused(fit) -> None:
    with pytest.raises(ValueError, match="different values"):
        fit([np.full(100, 3.0)], [np.ones(100)])


def test_two_values_are_enough() -> None:
    x, z = knots(np.repeat([1.0, 2.0], [9999, 1]), np.ones(10000))
    assert (np.diff(x) > 0).all()
    assert (np.diff(z) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_json_keeps_every_bit(kind: str) -> None:
    own = KINDS[kind]
    again = type(own).from_dict(json.loads(to_json(own.as_dict())))
    x = np.column_stack(COLUMNS)
    assert again.forward(x).tobytes() == own.forward(x).tobytes()
    z = RNG.normal(size=(100, 4))
    assert again.inverse(z).tobytes() == own.inverse(z).tobytes()


def test_knots_that_do_not_rise_are_refused() -> None:
    plain = KINDS["quantile"].as_dict()
    with pytest.raises(ValueError, match="do not rise"):
        Quantile.from_dict({**plain, "value": [v[::-1] for v in plain["value"]]})
