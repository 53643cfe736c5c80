"""What is too large to be held: scratch files, arrays written and read in parts, tables by part."""

import os
from pathlib import Path

import numpy as np
import pytest

from samples import conditions, showers, write_table
from sosie import arrays, bootstrap, events, moments, reconstruct
from sosie.arrays import Stream, open_arrays, read_arrays, write_arrays
from sosie.bootstrap import binned_resolution, counts, resolutions_of_bin
from sosie.errors import InputError, IntermediateError, SosieError
from sosie.events import SLAB, open_events
from sosie.kept import KeptEvents, rows_kept
from sosie.scratch import Scratch

BINS = {"momentum": 3, "angle": [0.0, 10.0, 60.0]}
COUNT = 2 * SLAB + 300


def test_scratch_gives_back_what_was_put_in_and_leaves_nothing(tmp_path):
    rows = np.random.default_rng(1).normal(size=(1000, 3))
    rows[5] = np.nan
    with Scratch(tmp_path / "new", 3) as scratch:
        for start in range(0, 1000, 300):
            scratch.append(rows[start : start + 300])
            np.testing.assert_array_equal(scratch.rows(slice(3, 9)), rows[3:9])
        assert len(scratch) == 1000
        np.testing.assert_array_equal(scratch.rows(slice(250, 650)), rows[250:650])
        assert scratch.rows(slice(7, 7)).shape == (0, 3)
        # Nothing that a kill could leave.
        assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
def test_scratch_on_a_full_disk_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: open("/dev/full", "r+b", 0))  # noqa: SIM115
    with Scratch(tmp_path, 2) as scratch, pytest.raises(SosieError, match="cannot be written"):
        scratch.append(np.ones((9, 2)))


@pytest.mark.parametrize("shape", [(), (0, 4), (7,), (3, 50, 4), (2, 1, 3)])
def test_an_array_in_parts_is_the_same_file(tmp_path, monkeypatch, shape):
    monkeypatch.setattr(arrays, "PART", 256)
    whole = np.random.default_rng(2).normal(size=shape)
    write_arrays(tmp_path / "whole.h5", "test", {"a/b": whole}, {"c": 1})
    if shape:
        stream = Stream(shape, whole.dtype, lambda index: whole[index])
        write_arrays(tmp_path / "parts.h5", "test", {"a/b": stream}, {"c": 1})
        found, about = read_arrays(tmp_path / "parts.h5", "test", "test")
        np.testing.assert_array_equal(found["a/b"], whole)
        assert about == {"c": 1}
    with open_arrays(tmp_path / "whole.h5", "test", "test") as (stored, about):
        np.testing.assert_array_equal(stored["a/b"][()], whole)
        assert about == {"c": 1}
    left, about = read_arrays(tmp_path / "whole.h5", "test", "test", "a/")
    assert (left, about) == ({}, {"c": 1})


def test_damage_is_noticed_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "PART", 256)
    write_arrays(tmp_path / "a.h5", "test", {"a": np.arange(999.0)}, {})
    data = bytearray((tmp_path / "a.h5").read_bytes())
    place = bytes(data).index(np.arange(500.0, 510.0).tobytes())
    data[place] ^= 1
    (tmp_path / "a.h5").write_bytes(data)
    for opened in (
        lambda: open_arrays(tmp_path / "a.h5", "test", "test").__enter__(),
        lambda: read_arrays(tmp_path / "a.h5", "test", "test", "b/"),
    ):
        with pytest.raises(IntermediateError, match="does not match its digest"):
            opened()


def test_any_rows_of_a_column(tmp_path):
    where = conditions(COUNT)
    path = write_table(tmp_path / "t.h5", showers(where), where)
    cuts = [(0, 1), (1, SLAB), (SLAB - 1, SLAB + 1), (5, COUNT), (COUNT - 1, COUNT), (9, 9)]
    with open_events(path) as table:
        for start, stop in [*cuts, *((s, min(s + 700, COUNT)) for s in range(0, COUNT, 700))]:
            rows = table.rows("conditions", slice(start, stop))
            np.testing.assert_array_equal(rows, where[start:stop].astype(np.float32))


def test_kept_events_are_a_table(tmp_path):
    where = conditions(COUNT)
    path = write_table(tmp_path / "t.h5", showers(where), where, groups=np.arange(COUNT) // 2)
    with open_events(path) as table:
        rows = rows_kept(table, 3, 1500)
        assert 1490 < len(rows) <= 1500
        assert rows_kept(table, 3, COUNT) is None
        # Whole groups.
        assert (np.unique(rows // 2, return_counts=True)[1] == 2).all()
        some = KeptEvents(table, rows)
        np.testing.assert_array_equal(some.column("conditions"), where[rows].astype(np.float32))
        response = np.concatenate([part for _, part in some.responses()])
        np.testing.assert_array_equal(response, showers(where)[rows])
        assert (len(some), some.shape, some.weight.sum()) == (len(rows), table.shape, len(rows))


def test_resolutions_do_not_depend_on_the_replicas_at_a_time(monkeypatch):
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=(400, 2)), rng.normal(1, 0.5, 400)
    values[::7, 1] = np.nan
    groups = np.arange(400, dtype=np.uint64)
    drawn, index = counts(5, groups, 30), np.zeros(400, np.int64)
    for block in (400_000, 1000):
        monkeypatch.setattr(bootstrap, "BLOCK", block)
        found = resolutions_of_bin(values, weights, 5, groups, 30)
        for q, column in enumerate(values.T):
            expected = binned_resolution(column, weights, drawn, index, 1)
            np.testing.assert_array_equal(found.median[:, q], expected.median[:, 0])
            np.testing.assert_array_equal(found.half68[:, q], expected.half68[:, 0])


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Reference, two members and the constants of the reconstruction."""
    folder = tmp_path_factory.mktemp("samples")
    where = conditions(COUNT)
    tables = [write_table(folder / f"{k}.h5", showers(where, k), where) for k in (1, 2, 3)]
    reconstruct.calibrate(tables[0], str(folder / "c.json"))
    return folder, tables


def test_memory_and_pieces_change_nothing(samples, tmp_path, monkeypatch):
    folder, (reference, *members) = samples
    found = []
    # With little memory the samples are gathered one by one.
    for name, memory, piece in (("much", 10**9, 16 * SLAB), ("little", 800_000, SLAB)):
        monkeypatch.setattr(events, "PIECE", piece)
        out = str(tmp_path / f"{name}.h5")
        settings = {"seed": 1, "bins": BINS, "replicas": 20}
        calibration = str(folder / "c.json")
        reconstruct.run(reference, members, calibration, out, memory=memory, **settings)
        low = str(tmp_path / f"{name}.moments.h5")
        moments.run(reference, members, low, reconstruct=out, **settings)
        found.append([Path(path).read_bytes() for path in (out, low)])
    assert found[0] == found[1]


def test_a_bin_that_does_not_fit_is_refused(samples, tmp_path):
    folder, (reference, *members) = samples
    with pytest.raises(InputError, match=r"bin of momentum take .* of 'memory'; give more"):
        reconstruct.run(
            reference,
            members,
            str(folder / "c.json"),
            str(tmp_path / "out.h5"),
            seed=1,
            bins=BINS,
            replicas=20,
            memory=10**5,
        )
    assert list(tmp_path.iterdir()) == []
