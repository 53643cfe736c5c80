"""Event tables come back as they were written, whatever the pieces; damage is noticed."""

from contextlib import contextmanager

import h5py
import numpy as np
import pytest

from sosie import events as module
from sosie.detectors import find
from sosie.errors import IntermediateError, SosieError
from sosie.events import SLAB, Block, open_events, write_events
from sosie.hdf5 import new_file

ECAL = find("ecal")
ABOUT = {"threshold": 0.2, "layout": {}, "long": "x" * 100000}


def block(count, seed=1):
    rng = np.random.default_rng(seed)
    return Block(
        rng.gamma(0.5, 100, (count, 30, 30)).astype(np.float32),
        rng.normal(size=(count, 7)).astype(np.float32),
        rng.integers(0, 2**64, count, np.uint64),
        np.arange(count) // 3,
        rng.uniform(size=count),
        {"seed": np.arange(count), "row": np.full(count, 7, np.int16)},
    )


def write(path, *blocks):
    with write_events(path, ECAL, ABOUT) as writer:
        for piece in blocks:
            writer.append(piece)
    return path


def test_round_trip(tmp_path):
    events = block(300)
    with open_events(write(tmp_path / "a.h5", events)) as table:
        assert len(table) == 300
        assert table.shape == (30, 30)
        assert table.detector == "ecal"
        assert table.threshold == 0.2
        assert table.attributes == ABOUT
        assert sorted(table.aux) == ["row", "seed"]
        np.testing.assert_array_equal(table.weight, events.weight)
        for name, column in events.columns().items():
            np.testing.assert_array_equal(table.column(name), column)
            assert table.column(name).dtype == column.dtype
        [(where, response)] = table.responses()
        assert (where.start, where.stop) == (0, 300)
        np.testing.assert_array_equal(response, events.response)


@pytest.mark.parametrize("slabs", [1, 2])
def test_pieces_are_whole_slabs(tmp_path, slabs):
    events = block(2 * SLAB + 300)
    with open_events(write(tmp_path / "a.h5", events)) as table:
        pieces = list(table.responses(slabs))
    stops = [SLAB, 2 * SLAB, 2 * SLAB + 300]
    assert [where.stop for where, _ in pieces] == stops[slabs - 1 :]
    np.testing.assert_array_equal(np.concatenate([r for _, r in pieces]), events.response)


def test_a_calorimeter_bears_the_names_of_the_calo_challenge(tmp_path):
    events = block(SLAB + 30)
    with h5py.File(write(tmp_path / "a.h5", events)) as file:
        assert file["showers"].is_virtual
        np.testing.assert_array_equal(file["showers"], events.response.reshape(-1, 900))
        momentum = np.linalg.norm(events.conditions[:, :3], axis=1)
        np.testing.assert_allclose(file["incident_energies"][:, 0], 1000 * momentum, rtol=1e-6)
        assert file["incident_energies"].shape == (SLAB + 30, 1)


def test_the_view_moves_with_the_file(tmp_path):
    events = block(20)
    moved = write(tmp_path / "a.h5", events).rename(tmp_path / "b.h5")
    with h5py.File(moved) as file:
        np.testing.assert_array_equal(file["showers"], events.response.reshape(-1, 900))


def test_without_weight_all_weigh_the_same(tmp_path):
    plain = Block(*(getattr(block(5), n) for n in ("response", "conditions", "event_id")), block(5).group_id)  # fmt: skip
    with open_events(write(tmp_path / "a.h5", plain)) as table:
        assert table.weight.tolist() == [1] * 5
        assert table.aux == []


def test_bytes_do_not_depend_on_the_pieces(tmp_path):
    events = block(SLAB + 300)
    whole = write(tmp_path / "a.h5", events).read_bytes()
    rows = np.arange(SLAB + 300)
    for cuts in ([1, 2, 700], [SLAB], [0, 0, SLAB - 1, SLAB + 299, SLAB + 300]):
        parts = [events.select(chosen) for chosen in np.split(rows, cuts)]
        assert write(tmp_path / "b.h5", *parts).read_bytes() == whole


def test_no_events_are_a_table_too(tmp_path):
    with open_events(write(tmp_path / "a.h5", block(0))) as table:
        assert len(table) == 0
        assert table.column("conditions").shape == (0, 7)
        assert list(table.responses()) == []


def test_select():
    events = block(9)
    mask = np.arange(9) % 2 == 0
    for chosen in (mask, np.flatnonzero(mask), slice(0, None, 2)):
        for name, column in events.select(chosen).columns().items():
            np.testing.assert_array_equal(column, events.columns()[name][mask])


def test_nothing_is_left_when_writing_fails(tmp_path):
    def fail():
        with write_events(tmp_path / "a.h5", ECAL, ABOUT) as writer:
            writer.append(block(2000))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def offset(path, name, chunk=0):
    with h5py.File(path) as file:
        info = file[name].id.get_chunk_info(chunk)
        return info.byte_offset, info.size


@pytest.mark.parametrize("name", ["response", "conditions", "aux/seed"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_one_damaged_byte_is_noticed(tmp_path, name, share):
    path = write(tmp_path / "a.h5", block(300))
    start, size = offset(path, name)
    data = bytearray(path.read_bytes())
    data[start + int(share * size)] ^= 4
    path.write_bytes(data)
    with open_events(path) as table:
        with pytest.raises(
            IntermediateError, match=rf"{path}: column '{name}' is damaged between events 0 and 300"
        ):
            table.column(name)
        if name == "response":
            with pytest.raises(IntermediateError, match="column 'response' is damaged"):
                list(table.responses())


def test_damaged_attributes_are_noticed(tmp_path):
    path = write(tmp_path / "a.h5", block(3))
    data = path.read_bytes()
    assert data.count(b'"threshold": 0.2') == 1
    path.write_bytes(data.replace(b'"threshold": 0.2', b'"threshold": 0.3'))
    with (
        pytest.raises(IntermediateError, match="its attributes or digests are damaged"),
        open_events(path),
    ):
        pass


def refused(path, reason):
    with pytest.raises(IntermediateError, match=reason) as caught, open_events(path):
        pass
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith("run the step that wrote it again, ingest or generate")
    assert "\n" not in message


@pytest.mark.parametrize("share", [0, 0.2, 0.7, 0.999])
def test_cut_file(tmp_path, share):
    path = write(tmp_path / "a.h5", block(300))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    refused(path, "refused: Unable to .*open file")


def test_what_is_no_event_table(tmp_path):
    refused(tmp_path / "a.h5", "no such file")
    (tmp_path / "b.h5").write_text("text")
    refused(tmp_path / "b.h5", "file signature not found")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["response"] = np.zeros((3, 30, 30))
    refused(tmp_path / "c.h5", "not an event table")
    for name in ("response", "event_id", "aux/seed", "digests/weight"):
        path = write(tmp_path / "d.h5", block(3))
        with h5py.File(path, "a") as file:
            del file[name]
        refused(path, "does not hold 3 events|digests are damaged")
    with h5py.File(path, "a") as file:
        del file["attributes"]
    refused(path, "'attributes' is missing")
    path = write(tmp_path / "e.h5", block(3))
    with h5py.File(path, "a") as file:
        file["group_id"].resize(2, axis=0)
    refused(path, "column 'group_id' does not hold 3 events")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_what_lies_otherwise_than_it_was_written_is_never_put_in_place(
    tmp_path, monkeypatch, share
):
    @contextmanager
    def damaged(part):
        with new_file(part) as opened:
            yield opened
        start, size = offset(part, "response")
        data = bytearray(part.read_bytes())
        data[start + int(share * size)] ^= 4
        part.write_bytes(data)

    monkeypatch.setattr(module, "new_file", damaged)
    with pytest.raises(SosieError, match="'response' is not what was written"):
        write(tmp_path / "a.h5", block(300))
    assert list(tmp_path.iterdir()) == []


def test_threads_change_no_byte(tmp_path):
    blocks = [block(700), block(900), block(1300)]
    for threads in (1, 3):
        with write_events(tmp_path / f"{threads}.h5", ECAL, ABOUT, threads) as writer:
            for one in blocks:
                writer.append(one)
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "3.h5").read_bytes()


def test_chosen_rows_are_appended(tmp_path):
    whole, rows = block(2500), np.array([3, 1, 2400, *range(5, 1500)])
    with write_events(tmp_path / "a.h5", ECAL, ABOUT) as writer:
        writer.append(whole, rows)
    with open_events(tmp_path / "a.h5") as table:
        assert np.array_equal(table.column("response"), whole.response[rows])
        assert np.array_equal(table.column("event_id"), whole.event_id[rows])
