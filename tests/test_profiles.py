"""Bins of equal content, twins that belong together, and spreads that are what was planted."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samples import conditions, showers, write_table
from sosie.binnings import bin_events, check_filled
from sosie.detectors.ecal import DETECTOR, momentum
from sosie.ensembles import spread
from sosie.errors import InputError, IntermediateError
from sosie.profiles import Array, below, named, open_twins, tables


@pytest.mark.parametrize("count", [40, 97, 1000, 10001])
@pytest.mark.parametrize("bins", [1, 3, 7, 8, 10])
def test_bins_are_equally_filled(count: int, bins: int) -> None:
    values = np.random.default_rng(count).normal(3, 2, count)
    found = bin_events("v", values, bins)
    assert len(found.edges) == bins + 1
    assert found.events.sum() == count
    assert found.events.max() - found.events.min() <= 1
    assert (found.index >= 0).all()


def test_bins_hold_what_lies_between_their_edges() -> None:
    values = np.random.default_rng(2).uniform(-1, 1, 500)
    for how in (6, [-0.5, 0.0, 0.1, 0.7]):
        found = bin_events("v", values, how)
        for b, (low, high) in enumerate(zip(found.edges[:-1], found.edges[1:], strict=True)):
            inside = (values >= low) & (values < high)
            np.testing.assert_array_equal(found.index == b, inside)
            assert found.events[b] == inside.sum()
            assert found.centre[b] == pytest.approx(values[inside].mean(), rel=1e-12)


def test_events_outside_the_edges_are_left_out() -> None:
    values = np.array([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, np.nan, np.inf, -np.inf])
    found = bin_events("v", values, [0.0, 1.0, 2.0, 2.5])
    assert found.index.tolist() == [-1, 0, 0, 1, 2, -1, -1, -1, -1]
    assert found.events.tolist() == [2, 1, 1]
    # An empty bin is drawn at its middle.
    assert bin_events("v", values, [5.0, 6.0]).centre.tolist() == [5.5]


def test_a_variable_that_does_not_vary_has_one_bin() -> None:
    found = bin_events("v", np.full(20, 3.0), 5)
    assert found.events.tolist() == [20]
    assert found.centre.tolist() == [3.0]
    assert found.edges[0] < 3 < found.edges[1]


def test_nothing_finite_is_refused() -> None:
    with pytest.raises(IntermediateError, match="'v' is not finite for any of 4 events"):
        bin_events("v", np.full(4, np.nan), 5)


@pytest.mark.parametrize(
    ("values", "bins", "text"),
    [
        (np.arange(99.0), 10, None),
        (np.arange(100.0), 10, ""),
        (np.full(50, 3.0), 5, "1 of 5 bins; give edges in reconstruct.bins.v"),
        (np.r_[np.zeros(40), np.arange(60.0)], 5, "3 of 5 bins"),
        (np.r_[np.arange(30.0), np.nan], [0.0, 25.0, 30.0], "1 of 2 bins of v hold fewer than 10"),
        (np.arange(30.0), [0.0, 15.0, 30.0], ""),
    ],
)
def test_bins_that_events_cannot_carry(
    values: Array, bins: Any, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = f"/{len(values)}_{bins}.h5"
    binning = bin_events("v", values, bins)
    if text is None:
        expected = f"{path}: 99 events for 10 bins of v, at least 10 a bin are needed; lower "
        with pytest.raises(InputError, match=re.escape(f"{expected}reconstruct.bins.v")):
            check_filled(binning, bins, "reconstruct", path)
        return
    check_filled(binning, bins, "reconstruct", path)
    said = capsys.readouterr().err
    assert text in said
    assert said.count("\n") == bool(text)


@pytest.mark.parametrize("members", [1, 2, 3, 7])
def test_identical_samples_do_not_differ(members: int) -> None:
    rng = np.random.default_rng(3)
    reference = rng.normal(100, 1, (51, 2, 3, 4)) / 3
    binning = bin_events("v", rng.normal(size=400), 4)
    found = tables(binning, reference, [reference] * members)
    np.testing.assert_allclose(found["difference"], 0, atol=1e-12)
    assert (np.isnan(found["pull"]) | (found["pull"] == 0)).all()
    if members == 1:
        assert np.isnan(found["systematic"]).all()
    else:
        np.testing.assert_allclose(found["systematic"], 0, atol=1e-12)
    assert found["members"].shape == (members, 2, 3, 4)
    np.testing.assert_allclose(
        found["reference_error"], reference[1:].std(axis=0, ddof=1), rtol=1e-12
    )


def test_a_planted_offset_is_the_pull() -> None:
    rng = np.random.default_rng(4)
    reference = np.concatenate([np.zeros((1, 5)), rng.normal(0, 1, (4000, 5))])
    found = spread(reference, (reference * 0 + 3)[None])
    np.testing.assert_allclose(found.difference, -3)
    np.testing.assert_allclose(found.pull, -3, rtol=0.06)


def test_names_above_and_below() -> None:
    arrays = {"a": np.zeros(1), "b/c": np.ones(1)}
    assert below("x", {**named("x", arrays), "xy/a": np.zeros(2)}).keys() == arrays.keys()


def test_twins_share_what_the_reference_has(tmp_path: Path) -> None:
    where, weight = conditions(12), np.linspace(0.5, 2, 12)
    groups = np.arange(12) // 3
    response = showers(where)
    reference = write_table(tmp_path / "r.h5", response, where, weight=weight, groups=groups)
    member = write_table(tmp_path / "m.h5", response, where)
    with open_twins(reference, [member, member], 3, 20) as twins:
        np.testing.assert_array_equal(twins.weight, weight)
        assert twins.counts.shape == (20, 12)
        # Events of one group are drawn together.
        np.testing.assert_array_equal(twins.counts[:, 0::3], twins.counts[:, 2::3])
        np.testing.assert_array_equal(twins.counts_of(twins.groups[4:9]), twins.counts[:, 4:9])
        assert len(twins.members) == 2
        (binning,) = twins.binnings({"momentum": [0.0, 1000.0]}, "moments")
        assert binning.centre[0] == pytest.approx(momentum(where).mean(), rel=1e-6)


def test_tables_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    where = conditions(12)
    response = showers(where)
    first = write_table(tmp_path / "r.h5", response, where)
    turned = write_table(tmp_path / "t.h5", response, where, ids=np.arange(12, 0, -1))
    fewer = write_table(tmp_path / "f.h5", response[:5], where[:5])
    other = replace(DETECTOR, name="tpc")
    foreign = write_table(tmp_path / "d.h5", response, where, detector=other)
    for path, text in (
        (turned, "does not hold the events of"),
        (fewer, "does not hold the events of"),
        (foreign, "of detector 'tpc'"),
    ):
        with (
            pytest.raises(IntermediateError, match=text) as error,
            open_twins(first, [first, path], 1, 2),
        ):
            pass
        assert path in str(error.value)
    with pytest.raises(InputError, match="no generated sample"), open_twins(first, [], 1, 2):
        pass
