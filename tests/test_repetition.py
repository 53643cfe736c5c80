"""Repetition: a library saturates at what it has stored, a law that is drawn afresh does not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toy
from samples import Noisy, conditions, showers
from sosie.cli import main
from sosie.detectors import DETECTORS
from sosie.detectors.ecal import DETECTOR
from sosie.errors import IntermediateError
from sosie.events import open_events
from sosie.expected import Expected
from sosie.files import read_json, write_json
from sosie.fine_bins import Reference, Sums, Tree
from sosie.fingerprints import fingerprints, multiplicity
from sosie.leaderboard import add_repetition, columns
from sosie.repetition import errors, numbers, pieces_of, prepare, repeat
from sosie.surrogates import save
from sosie.surrogates.library import Library

STORED, TESTED = 500, 4000


class Law(Noisy):
    """The law of the toy detector, drawn afresh."""

    def sample(self, conditions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return toy.responses(conditions, int(rng.integers(1 << 30)))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Library and law, each drawn twenty times the training sample."""
    folder: Path = tmp_path_factory.mktemp("repetition")
    known, asked = toy.conditions(STORED, 1), toy.conditions(TESTED, 2)
    response = toy.responses(known, 1)
    ids = np.arange(1, TESTED + 1) + 10**6
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DETECTORS, "toy", toy.TOY)
        paths = [
            toy.table(folder / "train.h5", known, response),
            toy.table(folder / "test.h5", asked, toy.responses(asked, 2), ids=ids),
        ]
        origin = toy.origin(toy.fitted(folder, paths[0]))
        near = Library(origin, {"kind": "library", "neighbours": 1}, response, known)
        library = Library(origin, {"kind": "library", "neighbours": 3}, response, known)
        save(folder / "0.h5", near)
        law = Law(origin, {})
        with open_events(paths[0]) as train, open_events(paths[1]) as test:
            reference, where = prepare(train, test, toy.TOY, 1)
        found = {
            name: repeat(one, reference, where, 20.0, 1)
            for name, one in {"library": library, "law": law}.items()
        }
        yield {
            "folder": folder,
            "paths": paths,
            "reference": reference,
            "where": where,
            "again": law,
            **found,
        }


def test_a_library_saturates_at_what_it_has_stored(drawn: dict[str, Any]) -> None:
    first, *_, last = drawn["library"].rows
    assert last["number"] == 20 * STORED
    assert 0.9 * STORED < last["distinct"] <= STORED
    assert last["effective"] < 1.1 * STORED
    assert first["distinct"] > 0.85 * first["number"]


def test_a_law_drawn_afresh_repeats_nothing(drawn: dict[str, Any]) -> None:
    for row in drawn["law"].rows:
        assert row["distinct"] == row["number"]
        assert row["effective"] == pytest.approx(row["number"])


def test_the_error_falls_for_a_law_and_not_for_a_library(drawn: dict[str, Any]) -> None:
    by_number = {
        name: {row["number"]: row for row in drawn[name].rows} for name in ("library", "law")
    }
    once, most = STORED, 20 * STORED
    library, law = by_number["library"], by_number["law"]
    assert law[most]["both"] < 0.65 * law[once]["both"]
    assert library[most]["both"] > 0.75 * library[once]["both"]
    assert library[most]["both"] > 1.5 * law[most]["both"]
    expected = law[once]["both_independent"] / law[most]["both_independent"]
    assert expected == pytest.approx(np.sqrt(20), rel=0.15)
    assert law[once]["both"] == pytest.approx(law[once]["both_independent"], rel=0.4)


def test_the_same_again(drawn: dict[str, Any]) -> None:
    again = repeat(drawn["again"], drawn["reference"], drawn["where"], 0.5, 1)
    assert again.rows
    for row, known in zip(again.rows, drawn["law"].rows, strict=False):
        np.testing.assert_equal(row, known)


def test_each_response_k_times_is_worth_as_many_as_there_are() -> None:
    marks = np.arange(60, dtype=np.uint64)
    index = np.arange(60) % 4
    for k in (1, 5):
        assert multiplicity(np.tile(marks, k), np.tile(index, k), 4) == (60, 60.0)
    # One that is there three times beside one: 4^2 / (9 + 1).
    assert multiplicity(np.array([7, 7, 7, 8]), np.zeros(4, int), 1) == (2, 1.6)
    assert multiplicity(np.array([7, 7]), np.array([0, 1]), 2) == (1, 2.0)
    assert multiplicity(np.array([]), np.array([]), 2) == (0, 0.0)


def test_a_scaled_response_is_recognised_and_another_is_not() -> None:
    where = conditions(300)
    response = showers(where)
    other = where.copy()
    factor = np.random.default_rng(1).uniform(0.9, 1.1, 300).astype(np.float32)
    other[:, :3] *= factor[:, None]
    scaled = response * factor[:, None, None]
    scaled[scaled < 0.2] = 0
    marks = fingerprints(DETECTOR, response, where)
    assert len(np.unique(marks)) == 300
    assert (fingerprints(DETECTOR, scaled, other) == marks).sum() >= 299
    fresh = fingerprints(DETECTOR, showers(where, seed=2), where)
    assert not np.isin(fresh, marks).any()
    empty = fingerprints(DETECTOR, np.zeros((2, 30, 30), np.float32), where[:2])
    assert empty[0] == empty[1]


def test_a_signed_response_is_its_numbers() -> None:
    where = toy.conditions(50)
    response = toy.responses(where)
    marks = fingerprints(toy.TOY, response, where)
    assert len(np.unique(marks)) == len(np.unique(response, axis=0))
    near = response.copy()
    near[:, 0] = np.nextafter(near[:, 0], np.float32(np.inf))
    assert not (fingerprints(toy.TOY, near, where) == marks).any()
    assert (fingerprints(toy.TOY, response * np.float32(1), where[::-1]) == marks).all()


def test_bins_are_filled_alike_and_hold_classes_apart() -> None:
    rng = np.random.default_rng(1)
    features = np.column_stack([rng.normal(size=800), np.repeat([-3.0, 3.0], 400), np.zeros(800)])
    tree = Tree.fit(features, 3)
    index = tree.index(features)
    assert (np.bincount(index, minlength=8) == 100).all()
    for number in range(8):
        assert len(np.unique(features[index == number, 1])) == 1
    np.testing.assert_array_equal(
        Tree.fit(np.ones((5, 2)), 2).index(np.ones((5, 2))), np.full(5, 3)
    )


@pytest.mark.parametrize(("shift", "width"), [(0.0, 1.0), (0.2, 1.0), (0.0, 1.3), (-0.3, 0.8)])
def test_an_offset_of_a_known_size_is_the_error(shift: float, width: float) -> None:
    rng = np.random.default_rng(2)
    count = 40_000
    features = rng.normal(size=(count, 2))
    reference = Reference.fit(features, rng.normal(size=(count, 1)), np.ones(count))
    sums, index = Sums(reference.mean.shape), reference.tree.index(features)
    sums.add(reference.scaled(shift + width * rng.normal(size=(count, 1)), index), index)
    found = errors(reference, sums)
    # The squares have what the drawn sample fluctuates by itself.
    for name, offset in (("mean", shift), ("width", np.log(width))):
        # Other draws fluctuate by ``width`` times as much.
        expected = offset**2 + found[f"{name}_independent"] ** 2 * (
            width**2 if name == "mean" else 1
        )
        error = (
            5 * (2 * abs(offset) + found[f"{name}_independent"]) * 0.08 / np.sqrt(reference.bins)
        )
        assert found[name] ** 2 == pytest.approx(expected, abs=error + 1e-3)


def test_an_expectation_is_of_events_that_no_fit_has_seen() -> None:
    rng = np.random.default_rng(3)
    inputs = rng.uniform(-1, 1, (2000, 2))
    values = np.column_stack([np.sin(3 * inputs[:, 0]) + rng.normal(0, 0.1, 2000), np.ones(2000)])
    values[::7, 1] = np.nan
    part = rng.integers(0, 2, 2000)
    expected = Expected(inputs, values, part)
    own, fresh = (
        values[:, 0] - expected.of(inputs, part)[:, 0],
        np.sin(3 * inputs[:, 0]) + rng.normal(0, 0.1, 2000) - expected.of(inputs, part)[:, 0],
    )
    assert own.std() == pytest.approx(fresh.std(), rel=0.08)
    assert own.std() < 0.13
    assert (expected.of(inputs, part)[:, 1] == 1).all()


def test_where_it_is_looked() -> None:
    assert numbers(100, 2) == [10, 20, 50, 100, 200]
    assert numbers(100, 1.5)[-1] == 150
    assert numbers(100, 0) == numbers(0, 2) == []
    pieces = pieces_of([100, 5000])
    assert pieces[0] == (0, 100)
    assert [a for a, _ in pieces[1:]] == [b for _, b in pieces[:-1]]
    assert pieces[-1][1] == 5000
    assert pieces_of([]) == []


@pytest.mark.parametrize(("anywhere", "number"), [(True, 3.0), (False, None)])
def test_the_command_says_what_many_draws_are_worth(
    drawn: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    anywhere: bool, number: float | None,
) -> None:  # fmt: skip
    monkeypatch.setattr(Library, "anywhere", anywhere)
    member, out = str(drawn["folder"] / "0.h5"), str(tmp_path / "repetition.json")
    words = ["compare", "--surrogate", "near", "--member", member, "--in", *drawn["paths"]]
    assert main([*words, "--out", out, "--set", "repetition=3"]) == 0
    found = read_json(out, "compare")
    if number is None:
        assert found["drawn"] == {}
        assert found["figures"]["distinct"]["value"] is None
    else:
        assert found["drawn"]["number"][-1] == number * STORED
        assert found["figures"]["distinct"]["value"] == pytest.approx(1 / number)
        # Drawn once for the conditions of its own events it is the training sample.
        at = found["drawn"]["number"].index(STORED)
        assert found["drawn"]["both"][at] == pytest.approx(found["floor"]["both"][-1])
    assert found["floor"]["number"][-1] == STORED
    assert found["floor_figures"]["distinct"]["value"] == 1


def test_figures_join_those_of_compare(tmp_path: Path) -> None:
    figure = {"value": 0.5, "statistical": None, "systematic": "not estimated", "events": [9, 9]}
    own = {"distinct": figure, "repetition_error": figure}
    path = str(tmp_path / "r.json")
    write_json(path, {"surrogate": "near", "figures": own, "floor_figures": own})
    plain = {
        **{
            name: {"auc": figure, "jsd": figure}
            for name in ("classifier", "classifier_mlp", "classifier_low")
        },
        "fpd": figure, "kpd": figure, "manifold": {}, "wasserstein_mean": figure,
        "memorisation": {"copies": figure, "auc": figure},
        "separation_mean": figure, "wasserstein": {}, "separation": {}, "resolution": {},
    }  # fmt: skip
    entry = {"surrogate": "near", "figures": dict(plain), "floor": dict(plain)}
    add_repetition([entry], [path])
    assert columns(entry["figures"])["distinct"] == figure
    assert "repetition_error" in columns(entry["floor"])
    with pytest.raises(IntermediateError, match="none is of 'far'"):
        add_repetition([{**entry, "surrogate": "far"}], [path])
    untouched = {"surrogate": "near", "figures": dict(plain), "floor": dict(plain)}
    add_repetition([untouched], [])
    assert "distinct" not in columns(untouched["figures"])
