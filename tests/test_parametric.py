"""parametric: mean and covariance of a known conditional Gaussian law come back, with weights and ties."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import samples
import toy
from sosie.detectors import DETECTORS
from sosie.errors import InputError
from sosie.surrogates.parametric import Parametric
from sosie.surrogates.parametric_fit import fit
from sosie.surrogates.regression import RIDGE, Basis, Solver, solved

SETTINGS = {"kind": "parametric", "components": 60, "separate": None}
EDGES = np.linspace(0, 10, 6)


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DETECTORS, "toy", toy.TOY)


def covariance(where: np.ndarray) -> np.ndarray:
    """The covariance (N, 3, 3) of the numbers, that of r0 and r1 from -0.4 to 0.8 with p."""
    p = where[:, 0].astype(np.float64)
    width = np.stack([np.exp(0.1 * p), np.full(len(p), 2.0), 1 + 0.1 * p], axis=1)
    correlation = np.tile(np.eye(3), (len(p), 1, 1))
    correlation[:, 0, 1] = correlation[:, 1, 0] = 0.12 * p - 0.4
    correlation[:, 1, 2] = correlation[:, 2, 1] = 0.3
    return correlation * width[:, :, None] * width[:, None, :]


def drawn(where: np.ndarray, seed: int) -> np.ndarray:
    """Gaussian responses of the toy's means and this covariance."""
    noise = np.random.default_rng(seed).standard_normal((len(where), 3))
    away = np.einsum("nij,nj->ni", np.linalg.cholesky(covariance(where)), noise)
    return (toy.means(where) + away).astype(np.float32)


def made(
    folder: Path,
    where: np.ndarray,
    response: np.ndarray,
    weight: np.ndarray | None = None,
    **settings,
) -> Parametric:
    table = toy.table(folder / "train.h5", where, response, weight=weight)
    path = toy.fitted(folder, table, "none")
    own = np.ones(len(where)) if weight is None else weight
    return fit(toy.origin(path), {**SETTINGS, **settings}, response, where, own)


def test_mean_and_covariance_are_those_of_the_law(tmp_path, monkeypatch):
    monkeypatch.setitem(DETECTORS, "toy", replace(toy.TOY, ties=None))
    where, asked = toy.conditions(20000), toy.conditions(40000, seed=5)
    own = made(tmp_path, where, drawn(where, 1))
    assert own.components.shape == (3, 3)
    away = own.sample(asked, np.random.default_rng(1)) - toy.means(asked)
    for low, high in pairwise(EDGES):
        here = (asked[:, 0] >= low) & (asked[:, 0] < high)
        true = covariance(asked[here]).mean(axis=0)
        width = np.sqrt(np.diagonal(true))
        # The fit knows a fifth of its 20000 events here, with some freedom of its own.
        assert (np.abs(away[here].mean(axis=0)) < 5 * width / 4000**0.5).all()
        found = np.cov(away[here].T)
        np.testing.assert_allclose(np.sqrt(np.diagonal(found)) / width, 1, atol=0.1)
        np.testing.assert_allclose(found / np.outer(width, width), true / np.outer(width, width), atol=0.1)  # fmt: skip


def test_what_few_components_leave_keeps_its_variance(tmp_path, monkeypatch):
    monkeypatch.setitem(DETECTORS, "toy", replace(toy.TOY, ties=None))
    where, asked = toy.conditions(20000), toy.conditions(20000, seed=5)
    response = drawn(where, 1)
    own = made(tmp_path, where, response, components=1)
    assert (own.components.shape, own.rest.shape) == ((3, 1), (len(own.mean), 3))
    found = own.sample(asked, np.random.default_rng(1)) - toy.means(asked)
    known = (response - toy.means(where)).std(axis=0)
    np.testing.assert_allclose(found.std(axis=0) / known, 1, atol=0.06)


def test_ties_are_exact_and_what_is_free_keeps_its_law(tmp_path):
    where, asked = toy.conditions(8000), toy.conditions(8000, seed=5)
    own = made(tmp_path, where, toy.responses(where))
    response = own.sample(asked, np.random.default_rng(1))
    clear = np.min([np.abs(asked[:, 0] - toy.SOFT), np.abs(asked[:, 0] - toy.HARD)], axis=0) > 0.1
    np.testing.assert_array_equal(toy.find(response)[clear], toy.pattern(asked)[clear])
    away = response - toy.means(asked)
    for pattern, numbers in ((0, [0, 1, 2]), (1, [0, 1]), (2, [0])):
        here = clear & (toy.pattern(asked) == pattern)
        np.testing.assert_allclose(away[here][:, numbers].mean(axis=0), 0, atol=0.12)
        np.testing.assert_allclose(away[here][:, numbers].std(axis=0), 1, atol=0.1)
        if pattern < 2:
            assert np.corrcoef(away[here, 0], away[here, 1])[0, 1] == pytest.approx(0.8, abs=0.05)


def test_negative_weights_take_a_planted_background_away(tmp_path):
    """Background of weight 1 twice, and once more with weight -1: sums leave the signal alone."""
    where = toy.conditions(4000)
    signal = toy.responses(where)
    shifted = [
        toy.impose(toy.responses(where, seed) + np.float32(4), toy.pattern(where))
        for seed in (8, 9)
    ]
    weight = np.concatenate([np.ones(8000), -np.ones(4000)])
    own = made(tmp_path, np.tile(where, (3, 1)), np.concatenate([signal, *shifted]), weight)
    asked = toy.conditions(8000, seed=7)
    away = (own.sample(asked, np.random.default_rng(1)) - toy.means(asked))[:, 0]
    # Without weights the mean is 4 x 2/3 and the width 2.1.
    assert away.mean() == pytest.approx(0, abs=0.2)
    assert away.std() == pytest.approx(1, abs=0.25)


def test_sum_and_its_width_are_those_of_the_sample():
    """The errors of many cells do not add up to a wrong energy."""
    where, asked = samples.conditions(1500), samples.conditions(1500, seed=3)
    origin = samples.origin(where)
    own = fit(origin, SETTINGS, samples.showers(where), where, np.ones(1500))
    response = own.sample(asked, np.random.default_rng(1))
    assert np.isfinite(response).all()
    assert (response >= 0).all()
    ratio = response.sum(axis=(1, 2)) / (180 * np.linalg.norm(asked[:, :3], axis=1))
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    assert ratio.std() == pytest.approx(0.05, rel=0.2)


def test_beyond_the_training_it_stays_as_at_its_edge(tmp_path):
    where = toy.conditions(2000)
    own = made(tmp_path, where, toy.responses(where))
    edge = np.tile(where[where[:, 0].argmax()], (500, 1))
    far = edge.copy()
    far[:, 0] = 1e4
    at, beyond = (own.sample(asked, np.random.default_rng(1)) for asked in (edge, far))
    np.testing.assert_allclose(beyond, at, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_fitted_is_refused(tmp_path):
    where = toy.conditions(2000)
    response = toy.responses(where)
    own = made(tmp_path, where, response)
    with pytest.raises(InputError, match="the weights sum to -2000"):
        fit(own.origin, SETTINGS, response, where, -np.ones(2000))
    with pytest.raises(InputError, match="the event weights leave the mean undefined"):
        solved(np.diag([1.0, -2.0]), np.ones(2), np.zeros(2), "the mean")


def test_arrays_that_do_not_fit_are_refused(tmp_path):
    where = toy.conditions(2000)
    own = made(tmp_path, where, toy.responses(where))
    arrays = own.arrays()
    for name in ("mean", "components", "links", "scores", "rest_limits"):
        with pytest.raises(ValueError, match="do not fit"):
            Parametric.from_arrays(
                own.origin, SETTINGS, {**arrays, name: np.zeros((1, *arrays[name].shape[1:]))}
            )


def test_the_terms_are_products_and_shares_of_pieces():
    features = np.linspace(0, 1, 1601)[:, None]
    basis = Basis.fit(features, features, 1601)
    asked = np.array([[0.0], [0.5], [1.0], [0.53125], [-3.0]])
    terms = basis(asked, asked, np.ones((5, 1)))
    np.testing.assert_allclose(terms[:, :3], [[1, x, x * x] for x in (0, 0.5, 1, 0.53125, 0)])
    np.testing.assert_allclose(terms[:, 3:-1].sum(axis=1), [0, 4, 8, 4.25, 0], atol=0.01)
    assert (terms[:, -1] == 1).all()


def test_variances_are_fitted_by_maximum_likelihood():
    """The mean of squares over variances is one for each of the terms, as at the maximum."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, 20000)
    residual = np.exp(0.5 + x)[:, None] * rng.standard_normal((20000, 1))
    terms = np.column_stack([np.ones(20000), x])
    solver = Solver(terms, np.ones(20000), "")
    found, limits = solver.log_variance(residual)
    # The error of a coefficient is sqrt(2 / N) over the width of its term.
    np.testing.assert_allclose(found[:, 0], [1, 2], atol=5 * (2 / 20000) ** 0.5 * 3**0.5)
    ratio = residual[:, 0] ** 2 / np.exp(terms @ found[:, 0])
    assert abs(np.sum(x * (ratio - 1))) < 2 * RIDGE * 2
    np.testing.assert_allclose(limits[:, 0], [-1, 3], atol=0.1)
