"""kde: a density that keeps variances, classes and ties, and does as event weights say."""

from pathlib import Path

import numpy as np
import pytest

import toy
from sosie.detectors import DETECTORS
from sosie.errors import InputError
from sosie.surrogates.kde import Kde

SETTINGS = {"kind": "kde", "neighbours": 20, "bandwidth": 0.5, "separate": None}


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DETECTORS, "toy", toy.TOY)


def density(
    folder: Path,
    count: int = 4000,
    weight: np.ndarray | None = None,
    transform: str = "quantile",
    **settings,
) -> Kde:
    where = toy.conditions(count)
    response = toy.responses(where)
    path = toy.fitted(folder, toy.table(folder / "train.h5", where, response), transform)
    own = np.ones(count) if weight is None else weight
    return Kde(toy.origin(path), {**SETTINGS, **settings}, response, where, own)


def test_means_widths_and_correlation_are_those_of_the_law(tmp_path: Path) -> None:
    own = density(tmp_path, 8000, transform="none", bandwidth=1.0)
    asked = toy.conditions(8000, seed=5)
    away = own.sample(asked, np.random.default_rng(1)) - toy.means(asked)
    open_ = asked[:, 0] > toy.HARD
    np.testing.assert_allclose(away[open_].mean(axis=0), 0, atol=0.06)
    np.testing.assert_allclose(away[open_].std(axis=0), 1, atol=0.05)
    assert np.corrcoef(away[open_, 0], away[open_, 1])[0, 1] == pytest.approx(0.8, abs=0.05)


def test_types_do_not_mix(tmp_path: Path) -> None:
    own = density(tmp_path, 300, neighbours=50)
    asked = toy.conditions(2000, seed=6)
    asked[:, 0] = 9.5
    first = own.sample(asked, np.random.default_rng(1))[:, 0]
    np.testing.assert_array_equal(first > 0, np.abs(asked[:, 1]) == 2)


def test_without_noise_it_draws_training_events(tmp_path: Path) -> None:
    own = density(tmp_path, bandwidth=0.0)
    found = own.sample(toy.conditions(200, seed=7), np.random.default_rng(1))
    distance = np.abs(found[:, None] - own.response[None]).sum(axis=2).min(axis=1)
    assert distance.max() < 1e-3
    assert len(np.unique(found[:, 0])) > 150


def test_events_are_drawn_by_their_weight(tmp_path: Path) -> None:
    heavy = toy.responses(toy.conditions(4000))[:, 0] > toy.means(toy.conditions(4000))[:, 0]
    own = density(tmp_path, 4000, np.where(heavy, 3.0, 1.0), bandwidth=0.0)
    asked = toy.conditions(4000, seed=8)
    away = own.sample(asked, np.random.default_rng(1)) - toy.means(asked)
    assert (away[:, 0] > 0).mean() == pytest.approx(0.75, abs=0.03)


def test_weights_that_are_not_positive_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not positive"):
        density(tmp_path, 50, np.where(np.arange(50) == 3, -1.0, 1.0))
