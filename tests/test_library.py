"""The library: nearest training event, scaled by the ratio of momenta, in a file that cannot execute."""

from pathlib import Path

import h5py
import numpy as np
import pytest

import toy
from samples import conditions, origin, showers
from sosie import train
from sosie.arrays import write_arrays
from sosie.detectors import DETECTORS
from sosie.detectors.ecal import momentum
from sosie.errors import IntermediateError
from sosie.surrogates import load, save
from sosie.surrogates.base import Origin
from sosie.surrogates.library import Library, Mix


def library(count: int = 60) -> Library:
    where = conditions(count)
    response = showers(where)
    return Library(origin(where), {"kind": "library", "neighbours": 1}, response, where)


def draws(own: Library, where: np.ndarray) -> np.ndarray:
    return own.sample(where, np.random.default_rng(0))


def test_a_training_condition_gives_the_training_shower() -> None:
    own = library()
    np.testing.assert_array_equal(draws(own, own.conditions), own.response)


def test_the_nearest_event_is_taken_and_scaled() -> None:
    pz = np.array([5.0, 10.0, 20.0, 40.0])
    where = np.zeros((4, 7), np.float32)
    where[:, 2], where[:, 3], where[:, 6] = pz, [-5, 5, -5, 5], 11
    response = np.zeros((4, 30, 30), np.float32)
    response[:, 14, 15] = [1, 2, 3, 4]
    own = Library(origin(where), {"kind": "library", "neighbours": 1}, response, where)
    asked = where[[1, 3]].copy()
    asked[:, 2] = [11.0, 36.0]
    found = draws(own, asked)
    np.testing.assert_allclose(found[:, 14, 15], [2 * 11 / 10, 4 * 36 / 40], rtol=1e-6)
    assert np.count_nonzero(found) == 2


def test_nearest_is_in_scaled_features() -> None:
    own = library()
    asked = conditions(40, seed=9)
    distance = ((own.features(asked)[:, None] - own.features(own.conditions)) ** 2).sum(axis=2)
    nearest = distance.argmin(axis=1)
    ratio = momentum(asked) / momentum(own.conditions)[nearest]
    expected = own.response[nearest] * ratio[:, None, None]
    np.testing.assert_allclose(draws(own, asked), expected, rtol=1e-6)


def toy_sample(
    monkeypatch: pytest.MonkeyPatch, folder: Path, count: int
) -> tuple[Origin, np.ndarray, np.ndarray]:
    """Origin, responses and conditions of a detector with types and ties."""
    monkeypatch.setitem(DETECTORS, "toy", toy.TOY)
    where = toy.conditions(count)
    response = toy.responses(where)
    path = toy.fitted(folder, toy.table(folder / "train.h5", where, response))
    return toy.origin(path), response, where


def test_types_do_not_mix_and_ties_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    where_from, response, where = toy_sample(monkeypatch, tmp_path, 40)
    own = Library(where_from, {"kind": "library", "neighbours": 1}, response, where)
    asked = toy.conditions(500, seed=5)
    found = own.sample(asked, np.random.default_rng(0))
    rows = (found[:, None] == response[None]).all(axis=2).argmax(axis=1)
    np.testing.assert_array_equal(np.abs(where[rows, 1]), np.abs(asked[:, 1]))
    np.testing.assert_array_equal(toy.find(found), toy.pattern(where)[rows])


def test_events_of_negative_weight_are_left_out() -> None:
    where = conditions(6)
    sample = train.Sample(showers(where), where, np.array([1.0, -1, 2, 0, 1, 1]))
    assert sample.positive().weight.tolist() == [1, 2, 1, 1]
    task = train.Task(
        origin(where), {"kind": "library", "neighbours": 1}, 1, 1, 1, sample, sample, Path()
    )
    own, _ = train.fit(task)
    np.testing.assert_array_equal(own.conditions, where[[0, 2, 4, 5]])


def alike(count: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Conditions that are nearly the same, and responses of one cell that vary by ``spread``."""
    where = np.tile(conditions(1), (count, 1))
    where[:, 3] += np.linspace(-1e-3, 1e-3, count, dtype=np.float32)
    response = np.zeros((count, 30, 30), np.float32)
    response[:, 14, 15] = 100 + spread * np.random.default_rng(3).standard_normal(count)
    return where, response


def test_each_of_the_nearest_is_drawn_as_often() -> None:
    where, response = alike(40, 1.0)
    settings = {"kind": "library", "neighbours": 4}
    own = Library(origin(where), settings, response, where)
    found = draws(own, np.repeat(where[:1], 8000, axis=0))[:, 14, 15]
    values, times = np.unique(found, return_counts=True)
    np.testing.assert_allclose(values, np.sort(response[:4, 14, 15]), rtol=1e-4)
    assert ((times - 2000) ** 2 / 2000).sum() < 20  # chi2 of 3 degrees of freedom


def test_a_mix_keeps_the_mean_and_loses_a_third_of_the_variance(tmp_path: Path) -> None:
    where, response = alike(400, 5.0)
    own = Mix(origin(where), {"kind": "mix", "neighbours": 400}, response, where)
    save(tmp_path / "mix.h5", own)
    found = draws(load(tmp_path / "mix.h5"), np.repeat(where[:1], 20000, axis=0))[:, 14, 15]
    known = response[:, 14, 15]
    assert found.mean() == pytest.approx(known.mean(), abs=5 * 5 / 20000**0.5)
    assert found.var() / known.var(ddof=1) == pytest.approx(2 / 3, abs=0.03)


def test_a_mix_of_one_event_is_that_event() -> None:
    where, response = alike(1, 1.0)
    own = Mix(origin(conditions(50)), {"kind": "mix", "neighbours": 2}, response, where)
    np.testing.assert_allclose(draws(own, where), response, rtol=1e-6)


def test_a_mix_keeps_types_and_ties(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    where_from, response, where = toy_sample(monkeypatch, tmp_path, 400)
    own = Mix(where_from, {"kind": "mix", "neighbours": 5}, response, where)
    asked = toy.conditions(500, seed=5)
    near, count = own._near(asked)
    for k in range(5):
        here = count > k
        np.testing.assert_array_equal(np.abs(where[near[here, k], 1]), np.abs(asked[here, 1]))
    found = own.sample(asked, np.random.default_rng(0))
    # The first of the two is drawn first.
    first = (np.random.default_rng(0).random((500, 3))[:, 0] * count).astype(int)
    pattern = toy.pattern(where)[near[np.arange(500), first]]
    np.testing.assert_array_equal(toy.find(found), pattern)
    assert len(np.unique(pattern)) > 1


@pytest.mark.parametrize(
    ("about", "text"),
    [
        ({"surrogate": "os.system"}, "kind 'os.system' is not one of"),
        ({"surrogate": ["library"]}, "is not one of"),
        ({"surrogate": "library", "origin": {}, "settings": {}}, "not a whole surrogate"),
        ({"surrogate": "library", "settings": {}}, "not a whole surrogate"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, about, text: str) -> None:
    write_arrays(tmp_path / "0.h5", "surrogate", {"response": np.zeros((1, 30, 30))}, about)
    with pytest.raises(IntermediateError, match=text):
        load(tmp_path / "0.h5")


def test_arrays_of_another_shape_are_refused(tmp_path: Path) -> None:
    own = library()
    own.conditions = own.conditions[:, :2]
    save(tmp_path / "0.h5", own)
    with pytest.raises(IntermediateError, match="not a whole surrogate"):
        load(tmp_path / "0.h5")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "0.h5", library())
    with h5py.File(tmp_path / "0.h5", "r+") as file:
        file["arrays/response"][3, 15, 15] += 1
    with pytest.raises(IntermediateError, match="does not match its digest"):
        load(tmp_path / "0.h5")
