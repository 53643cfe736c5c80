"""Layouts of ntuples: hits, depth layers and vectors give the same table as the native branches."""

from dataclasses import replace
from typing import Any

import awkward as ak
import numpy as np
import pytest

from conftest import electrons, write_root
from sosie.detectors import find
from sosie.errors import InputError, SosieError
from sosie.events import Block
from sosie.layouts import Layout, columns_of
from test_ingest import LAYOUT, ingest, same, summary, table

LAYERS = 3
PUBLISHED = replace(
    LAYOUT,
    tree="ecalNT",
    response={"branch": "EnergyDeposit", "unit": "MeV", "layers": LAYERS},
    conditions={
        **{
            f"p{a}": {"expression": f"ParticleMomentum[{i}]", "unit": "GeV"}
            for i, a in enumerate("xyz")
        },
        **{a: {"expression": f"ParticlePoint[{i}]", "unit": "cm"} for i, a in enumerate("xyz")},
        "pdg": {"expression": "ParticlePDG", "unit": ""},
    },
)
HITS = replace(
    LAYOUT, response={"branch": "hit_energy", "unit": "MeV", "cell": "hit_ix * 30 + hit_iy"}
)
COUNT = 60


def identity(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: columns[name] for name in ("seed", "event_id")}


def published(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The layout of the LHCb studies; energies are split among layers so that they add up exactly."""
    energy = columns["energy"]
    shares = np.array([0.5, 0.25, 0.25], np.float32)
    deep = energy[..., None] * shares
    deep[::2] = 0
    deep[::2, :, :, 1] = energy[::2]
    return {
        "EnergyDeposit": deep.reshape(len(energy), 900 * LAYERS),
        "ParticlePoint": np.column_stack([columns[name] for name in "xyz"]),
        "ParticleMomentum": np.column_stack([columns[f"p{name}"] for name in "xyz"]),
        "ParticlePDG": columns["pdg"],
        **identity(columns),
    }


def hits(columns: dict[str, np.ndarray]) -> dict[str, Any]:
    """The filled cells as lists, from the last to the first, each in two halves."""
    energy = columns["energy"]
    lists: dict[str, list[np.ndarray]] = {"hit_energy": [], "hit_ix": [], "hit_iy": []}
    for shower in energy:
        ix, iy = (index[::-1] for index in np.nonzero(shower))
        lists["hit_energy"].append(np.tile(shower[ix, iy] / np.float32(2), 2))
        lists["hit_ix"].append(np.tile(ix, 2))
        lists["hit_iy"].append(np.tile(iy, 2))
    jagged = {
        name: ak.values_astype(ak.Array(values), np.float32 if name == "hit_energy" else np.int32)
        for name, values in lists.items()
    }
    rest = {name: column for name, column in columns.items() if name != "energy"}
    return {**rest, **jagged}


def write(path, columns, tree="ecal", rntuple=False):
    return write_root(path, columns, tree, rntuple)


@pytest.fixture(scope="module")
def columns():
    return electrons(COUNT)


@pytest.fixture(scope="module")
def native(tmp_path_factory, columns):
    """The table of the native layout."""
    folder = tmp_path_factory.mktemp("native")
    return table(ingest(folder / "out", write(folder / "a.root", columns)))


BOTH = pytest.mark.parametrize("rntuple", [False, True], ids=["ttree", "rntuple"])


@BOTH
def test_the_published_layout_gives_the_native_table(tmp_path, columns, native, rntuple):
    path = write(tmp_path / "a.root", published(columns), "ecalNT", rntuple)
    same(native, table(ingest(tmp_path / "out", path, layout=PUBLISHED)))


def test_a_vector_of_one_length_is_read_like_an_array(tmp_path, columns, native):
    lists = {"EnergyDeposit": ak.from_regular(published(columns)["EnergyDeposit"])}
    path = write(tmp_path / "a.root", {**published(columns), **lists}, "ecalNT", True)
    same(native, table(ingest(tmp_path / "out", path, layout=PUBLISHED)))


def test_layers_as_an_index_of_their_own(tmp_path, columns, native):
    deep = published(columns)["EnergyDeposit"].reshape(COUNT, 30, 30, LAYERS)
    response = {"branch": "deep", "unit": "MeV", "layers": LAYERS}
    path = write(tmp_path / "a.root", {**columns, "deep": deep})
    same(native, table(ingest(tmp_path / "out", path, layout=replace(LAYOUT, response=response))))


@BOTH
def test_hits_give_the_native_table(tmp_path, columns, native, rntuple):
    path = write(tmp_path / "a.root", hits(columns), rntuple=rntuple)
    out = ingest(tmp_path / "out", path, layout=HITS, threads=2, memory=1)
    same(native, table(out))
    assert summary(out)["events"]["read"] == COUNT


@BOTH
def test_layers_of_hits_are_summed(tmp_path, columns, native, rntuple):
    cell = "(hit_ix * 30 + hit_iy) * 5 + hit_iz"
    given = hits(columns)
    given["hit_iz"] = ak.values_astype(given["hit_ix"] % 5, np.int32)
    response = {"branch": "hit_energy", "unit": "MeV", "cell": cell, "layers": 5}
    path = write(tmp_path / "a.root", given, rntuple=rntuple)
    found = ingest(tmp_path / "out", path, layout=replace(HITS, response=response))
    same(native, table(found))


def test_selected_hits_belong_to_selected_events(tmp_path, columns, native):
    given = hits(columns)
    far = 99 * (columns["event_id"] % 3 == 0)
    given["hit_ix"] = ak.values_astype(given["hit_ix"] + far, np.int32)
    layout = replace(HITS, selection="event_id % 3 != 0")
    found = table(ingest(tmp_path / "out", write(tmp_path / "a.root", given), layout=layout))
    keep = native["aux/event_id"] % 3 != 0
    same(found, {name: column[keep] for name, column in native.items()})


def test_events_without_hits_are_empty(tmp_path, columns):
    given = hits(columns)
    for name in ("hit_energy", "hit_ix", "hit_iy"):
        given[name] = given[name][:, :0]
    found = table(ingest(tmp_path / "out", write(tmp_path / "a.root", given), layout=HITS))
    assert found["response"].shape == (COUNT, 30, 30)
    assert not found["response"].any()


def changed(columns, name, value, entry=7, where=2):
    """Hits with one number replaced."""
    given = hits(columns)
    lists = given[name].to_list()
    lists[entry][where] = value
    kind = np.float32 if isinstance(value, float) else np.int32
    return {**given, name: ak.values_astype(ak.Array(lists), kind)}


def longer(columns):
    given = hits(columns)
    given["hit_iy"] = ak.values_astype(
        ak.Array([[0, *x] for x in given["hit_iy"].to_list()]), "int32"
    )
    return given


BAD = {
    "outside": (
        lambda c: changed(c, "hit_ix", 30),
        ["ingest.response.cell = 'hit_ix * 30 + hit_iy' is 9", "in entry 7 (1 such entries",
         "ecal has 900 cells, counted from 0; change ingest.response.cell"],
    ),
    "below": (lambda c: changed(c, "hit_ix", -1), ["is -", "in entry 7", "counted from 0"]),
    "no whole number": (
        lambda c: changed(c, "hit_ix", 7.51),
        ["ingest.response.cell = 'hit_ix * 30 + hit_iy' is 2", "should be a whole number; change"],
    ),
    "not a number": (
        lambda c: changed(c, "hit_ix", float("nan")),
        ["is nan in entry 7", "should be a whole number"],
    ),
    "lengths": (
        longer,
        ["branch 'hit_iy' holds ", "in entry 0, 'hit_energy' ", "name branches of the same hits"],
    ),
    "negative": (
        lambda c: changed(c, "hit_energy", -2.0),
        ["branch 'hit_energy' is -2.0 in entry 7 (1 such entries", "mend the ntuple"],
    ),
    "no list": (
        lambda c: {**hits(c), "hit_energy": c["px"]},
        ["branch 'hit_energy' has shape () for each event, not a list of hits; name another"],
    ),
    "missing": (
        lambda c: {k: v for k, v in hits(c).items() if k != "hit_iy"},
        ["no branch 'hit_iy'; branches there: event_id, hit_energy"],
    ),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("name", BAD)
def test_bad_hits(tmp_path, columns, name, rntuple):
    make, messages = BAD[name]
    path = write(tmp_path / "a.root", make(columns), rntuple=rntuple)
    with pytest.raises(SosieError) as caught:
        ingest(tmp_path / "out", path, layout=HITS)
    for message in [str(path), *messages]:
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("configured", "shape", "message"),
    [
        (1, (2700,), "has shape (2700,), ecal needs (30, 30); ingest.response.layers: 3 would fit"),
        (2, (2700,), "ecal needs (30, 30, 2); ingest.response.layers: 3 would fit"),
        (
            2,
            (30, 30, 4),
            "has shape (30, 30, 4), ecal needs (30, 30, 2); ingest.response.layers: 4",
        ),
        (3, (30, 30), "ecal needs (30, 30, 3); ingest.response.layers: 1 would fit"),
        (3, (900,), "ingest.response.layers: 1 would fit"),
        (1, (2701,), "ecal needs (30, 30); set ingest.response.branch or another detector"),
        (1, (90, 30), "ecal needs (30, 30); set ingest.response.branch or another detector"),
    ],
)
def test_layers_that_do_not_fit(tmp_path, columns, configured, shape, message):
    energy = np.ones((4, *shape), np.float32)
    path = write(tmp_path / "a.root", {**{k: c[:4] for k, c in columns.items()}, "energy": energy})
    layout = replace(LAYOUT, response={"branch": "energy", "unit": "MeV", "layers": configured})
    with pytest.raises(InputError) as caught:
        ingest(tmp_path / "out", path, layout=layout)
    assert message in str(caught.value)


def test_an_element_that_is_not_there_is_named_with_the_file(tmp_path, columns):
    path = write(tmp_path / "a.root", published(columns), "ecalNT")
    conditions = {**PUBLISHED.conditions, "z": {"expression": "ParticlePoint[3]", "unit": "cm"}}
    with pytest.raises(InputError) as caught:
        ingest(tmp_path / "out", path, layout=replace(PUBLISHED, conditions=conditions))
    message = "ingest.conditions.z: 'ParticlePoint[3]' is not there, the branch has shape (3,)"
    assert f"{path}: {message}" in str(caught.value)


def test_layers_with_numbers_that_are_not_finite_are_rejected(tmp_path, columns, native):
    given = published(columns)
    given["EnergyDeposit"][5, 77] = np.nan
    path = write(tmp_path / "a.root", given, "ecalNT")
    out = ingest(tmp_path / "out", path, layout=PUBLISHED, max_rejected=0.02)
    assert summary(out)["events"]["rejected"] == {"selection": 0, "not_finite": 1}
    keep = native["aux/event_id"] != 5
    same({name: column[keep] for name, column in native.items()}, table(out))


def test_a_layout_comes_back_from_json():
    layout = replace(PUBLISHED, group="run", weight="w", selection="a > 1", rntuple=True)
    again = Layout.from_dict(layout.as_dict())
    assert again.as_dict() == layout.as_dict()
    old = {name: LAYOUT.as_dict()[name] for name in ("tree", "response", "conditions", "identity")}
    assert Layout.from_dict(old).as_dict() == LAYOUT.as_dict()
    assert layout.branches()[-1] == "EnergyDeposit"
    assert layout.further() == ["run", "w", "a"]
    assert HITS.branches()[-3:] == ["hit_ix", "hit_iy", "hit_energy"]


def block(**other: Any) -> Block:
    conditions = np.arange(70, dtype=np.float32).reshape(10, 7)
    ids = np.arange(10, dtype=np.uint64)
    return Block(np.empty((10, 0), np.float32), conditions, ids, ids // 2, **other)


def test_vectors_are_put_together_again():
    found = columns_of(find("ecal"), PUBLISHED, block())
    conditions = block().conditions
    np.testing.assert_array_equal(found["ParticleMomentum"], conditions[:, :3])
    np.testing.assert_allclose(found["ParticlePoint"], conditions[:, 3:6] / 10)
    assert set(found) == {"ParticleMomentum", "ParticlePoint", "ParticlePDG"}


def test_group_and_weight_are_given_back():
    layout = replace(PUBLISHED, group="run", weight="w")
    found = columns_of(find("ecal"), layout, block(weight=np.full(10, 0.5)))
    np.testing.assert_array_equal(found["run"], np.arange(10) // 2)
    np.testing.assert_array_equal(found["w"], np.full(10, 0.5))
    np.testing.assert_array_equal(columns_of(find("ecal"), layout, block())["w"], np.ones(10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pz": "ParticleMomentum[2] * 2"}, "condition 'pz' is the expression 'ParticleMomentum"),
        ({"px": "other"}, "branch 'ParticleMomentum' has elements that are no condition"),
        (
            {"px": "ParticleMomentum"},
            "branch 'ParticleMomentum' has elements that are no condition",
        ),
        ({"pz": "ParticleMomentum[2, 0]"}, "branch 'ParticleMomentum' has elements"),
    ],
)
def test_what_a_table_cannot_give_back(changes, message):
    conditions = {
        name: {**source, "expression": changes.get(name, source["expression"])}
        for name, source in PUBLISHED.conditions.items()
    }
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        columns_of(find("ecal"), replace(PUBLISHED, conditions=conditions), block())
    with pytest.raises(InputError, match="the weight is the expression '2 \\* w'"):
        columns_of(find("ecal"), replace(PUBLISHED, weight="2 * w"), block())
