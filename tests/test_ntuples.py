"""TTree and RNTuple are read alike, in any pieces; files that are cut or foreign are refused."""

import awkward as ak
import numpy as np
import pytest

from conftest import electrons, write_root
from sosie.errors import InputError
from sosie.ntuples import (
    branch_types,
    is_rntuple,
    open_ntuple,
    read_columns,
    read_ntuple,
    write_ntuple,
)

BOTH = pytest.mark.parametrize("rntuple", [False, True], ids=["ttree", "rntuple"])
NAMES = ["energy", "pz", "pdg", "event_id"]


def read(path, memory=10**9, names=NAMES, tree="ecal"):
    with open_ntuple(str(path), tree) as table:
        return list(read_ntuple(str(path), table, names, memory))


def refused(path, reason, **options):
    with pytest.raises(InputError, match=reason) as caught:
        read(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert ";" in message


@BOTH
@pytest.mark.parametrize(("memory", "count"), [(1, 10), (4 * 32 * 3700, 4), (10**9, 1)])
def test_pieces_begin_where_baskets_begin_and_join_to_the_whole(tmp_path, rntuple, memory, count):
    columns = electrons(100)
    with write_ntuple(tmp_path / "a.root", "ecal", rntuple) as append:
        for start in range(0, 100, 10):
            append({name: column[start : start + 10] for name, column in columns.items()})
    found = read(tmp_path / "a.root", memory)
    edges = np.cumsum([0, *(len(piece["pz"]) for _, piece in found)])
    assert [start for start, _ in found] == edges[:-1].tolist()
    assert (edges % 10 == 0).all()
    assert len(found) == count
    for name in NAMES:
        joined = np.concatenate([piece[name] for _, piece in found])
        np.testing.assert_array_equal(joined, columns[name])


@BOTH
def test_kind_and_odd_file_names(ntuple, rntuple):
    path = ntuple("run:1 [a].root", rntuple=rntuple, count=5)
    with open_ntuple(str(path), "ecal") as table:
        assert is_rntuple(table) == rntuple
        assert table.file.array_cache is None
    assert len(read(path)[0][1]["pz"]) == 5


@BOTH
def test_round_trip(tmp_path, rntuple):
    columns = electrons(50)
    with write_ntuple(tmp_path / "a.root", "ecal", rntuple) as append:
        for start in range(0, 50, 20):
            append({name: column[start : start + 20] for name, column in columns.items()})
    ((_, found),) = read(tmp_path / "a.root", names=list(columns))
    for name, column in columns.items():
        np.testing.assert_array_equal(found[name], column)
        assert found[name].dtype == column.dtype


def test_nothing_is_left_when_writing_fails(tmp_path):
    def fail():
        with write_ntuple(tmp_path / "a.root", "ecal", False) as append:
            append(electrons(5))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


@BOTH
@pytest.mark.parametrize("cut", [0, 3, 100, 350, 0.2, 0.5, 0.9, 0.999])
def test_cut_anywhere(ntuple, rntuple, cut):
    path = ntuple(rntuple=rntuple)
    data = path.read_bytes()
    path.write_bytes(data[: cut if isinstance(cut, int) else int(cut * len(data))])
    refused(path, "not a ROOT file, or cut short .* copy it again")
    path.write_bytes(data[:-1])
    refused(path, f"{len(data) - 1} of {len(data)} bytes")


def test_damaged_baskets_are_noticed(ntuple):
    path = ntuple()
    data = bytearray(path.read_bytes())
    for start in range(0, 1000, 100):
        data[len(data) // 2 + start] ^= 255
    path.write_bytes(data)
    refused(path, "cannot be read")


def test_foreign_files(tmp_path):
    refused(tmp_path / "a.root", "no such file")
    (tmp_path / "b.root").write_text("px,py,pz\n" * 1000)
    refused(tmp_path / "b.root", "not a ROOT file")


@BOTH
def test_what_is_there_is_listed(ntuple, rntuple):
    path = ntuple(rntuple=rntuple, tree="showers", count=5)
    refused(path, "no tree 'ecal'; trees there: showers; set ingest.tree")
    reason = "no branch 'pq', 'e'; branches there: energy, event_id, pdg, px, py, pz, seed, x, y, z"
    refused(path, reason, tree="showers", names=["px", "pq", "e"])


@BOTH
def test_jagged_branch(ntuple, rntuple):
    jagged = ak.Array([[1.0] * (1 + i % 3) for i in range(20)])
    path = ntuple(rntuple=rntuple, count=20, energy=jagged)
    refused(path, r"branch 'energy' is of type 'var \* float\d\d', not a number or a fixed-size")


@BOTH
def test_lists_and_dotted_names(ntuple, rntuple, tmp_path):
    lists = ak.values_astype(ak.Array([[1, 2], [], [3], [4, 5, 6]] * 5), "float32")
    inner = np.arange(20, dtype=np.float32)
    columns = {**electrons(20), "hits": lists}
    path = write_root(tmp_path / "a.root", columns, rntuple=rntuple)
    with open_ntuple(str(path), "ecal") as table:
        found = read_columns(str(path), table, ["hits", "pz"], 2, 17, ["hits"])["hits"]
        types = branch_types(str(path), table, ["hits", "energy", "event_id"])
    assert types == {
        "hits": "var * float32",
        "energy": "30 * 30 * float32",
        "event_id": "int64",
    }
    np.testing.assert_array_equal(found.counts, ak.num(lists[2:17]))
    np.testing.assert_array_equal(found.content, ak.flatten(lists[2:17]))
    odd = found[np.arange(15) % 2 == 1]
    np.testing.assert_array_equal(odd.content, ak.flatten(lists[3:17:2]))
    with write_ntuple(tmp_path / "b.root", "t", rntuple) as append:
        for start in (0, 10):
            append({"Particle.fX": inner[start : start + 10], "Particle.p.fY": -inner[:10]})
    ((_, back),) = read(tmp_path / "b.root", names=["Particle.p.fY", "Particle.fX"], tree="t")
    np.testing.assert_array_equal(back["Particle.fX"], inner)
    refused(tmp_path / "b.root", "no branch 'Particle.fZ'", names=["Particle.fZ"], tree="t")


def test_text_branch(ntuple):
    path = ntuple(rntuple=True, count=20, pz=ak.Array(["text"] * 20))
    refused(path, "branch 'pz' is of type 'string', not numeric")
