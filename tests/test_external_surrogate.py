"""external: the responses of another program stand in for a surrogate, event by event."""

import numpy as np
import pytest

import samples
from sosie.errors import InputError
from sosie.foreign import read_foreign
from sosie.layouts import Layout
from sosie.ntuples import write_ntuple
from sosie.surrogates import load, save
from sosie.surrogates.external import External

FILES = {"files": ["other.root"]}


def external(count=50):
    where = samples.conditions(count)
    response = np.arange(count * 900, dtype=np.float32).reshape(count, 30, 30)
    return External(samples.origin(where), FILES, response, where)


def test_each_event_gets_the_response_of_its_own_conditions_in_any_order():
    surrogate = external()
    order = np.random.default_rng(1).permutation(50)
    drawn = surrogate.sample(surrogate.conditions[order], np.random.default_rng(2))
    np.testing.assert_array_equal(drawn, surrogate.response[order])


def test_conditions_that_are_not_there_are_refused_by_value():
    surrogate = external()
    other = surrogate.conditions[:3].copy()
    other[1, 2] += 1e-3
    with pytest.raises(
        InputError, match=r"other.root: no event with the conditions of event 1 .*pz"
    ):
        surrogate.sample(other, np.random.default_rng(2))


def test_it_has_no_ensemble_and_comes_back_from_its_file(tmp_path):
    surrogate = external()
    (member,) = surrogate.members(8)
    save(tmp_path / "e.h5", member)
    again = load(tmp_path / "e.h5")
    drawn = again.sample(surrogate.conditions, np.random.default_rng(2))
    np.testing.assert_array_equal(drawn, surrogate.response)


def ntuple(path, response, where):
    names = ("px", "py", "pz", "x", "y", "z", "pdg")
    columns = dict(zip(names, where.astype(np.float64).T, strict=True))
    columns |= {name: columns[name] / 10 for name in ("x", "y", "z")}
    columns |= {"seed": np.ones(len(where), np.int64), "event_id": np.arange(len(where))}
    with write_ntuple(path, "ecal", rntuple=False) as append:
        append({**columns, "energy": response})


def test_a_file_of_the_layout_of_the_study_is_read_and_suppressed(tmp_path):
    where = samples.conditions(20)
    response = samples.showers(where)
    ntuple(tmp_path / "o.root", response, where)
    layout = Layout.from_dict({**samples.LAYOUT, "selection": "event_id < 3", "weight": "w"})
    found, conditions = read_foreign([str(tmp_path / "o.root")], "ecal", layout, 0.5)
    assert len(found) == 20
    np.testing.assert_array_equal(found, np.where(response < 0.5, 0, response))
    np.testing.assert_allclose(conditions[:, :3], where[:, :3], rtol=1e-6)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    where = samples.conditions(20)
    response = samples.showers(where)
    response[4, 3, 3] = np.nan
    ntuple(tmp_path / "o.root", response, where)
    layout = Layout.from_dict(samples.LAYOUT)
    with pytest.raises(InputError, match="is nan in entry 4"):
        read_foreign([str(tmp_path / "o.root")], "ecal", layout, 0.5)
