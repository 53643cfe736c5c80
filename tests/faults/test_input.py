"""Damaged ntuples in every compression: refused, or the numbers are those of the whole file.

What has no checksum, in no compression, in ZSTD and in an RNTuple, cannot be judged before the
first reading; with a digest from before or from the user it is refused.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import uproot

from conftest import electrons
from sosie.errors import SosieError
from sosie.events import open_events
from sosie.files import file_digest
from test_ingest import ingest, table

COMPRESSIONS = {
    "none": None,
    "ZLIB": uproot.ZLIB(1),
    "LZMA": uproot.LZMA(1),
    "LZ4": uproot.LZ4(1),
    "ZSTD": uproot.ZSTD(1),
}
CHECKED = {"ZLIB", "LZMA", "LZ4"}
CUTS = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99)
BLOCK = 512


def write(path, how: str, rntuple: bool, count: int = 60):
    columns = electrons(count)
    with uproot.recreate(path, compression=COMPRESSIONS[how]) as file:
        if rntuple:
            file.mkrntuple("ecal", columns)
            return path
        tree = file.mktree("ecal", {name: (c.dtype, c.shape[1:]) for name, c in columns.items()})
        for start in range(0, count, 20):
            tree.extend({name: c[start : start + 20] for name, c in columns.items()})
    return path


def damages(data: bytes, number: int, rng) -> Iterator[tuple[str, bytes, slice]]:
    """Copies with one thing wrong each, and where."""
    size = len(data)
    for end in [int(share * size) for share in CUTS] + [size - 3]:
        yield f"cut at {end}", data[:end], slice(end, size)
    for place in rng.integers(0, size, number):
        bit = 1 << int(rng.integers(8))
        yield (
            f"flip at {place}",
            _with(data, place, bytes([data[place] ^ bit])),
            slice(place, place + 1),
        )
    for place in rng.integers(0, size, number // 2):
        there = data[place : place + BLOCK]
        if there.strip(b"\0"):
            yield (
                f"zeros at {place}",
                _with(data, place, bytes(len(there))),
                slice(place, place + BLOCK),
            )


def _with(data: bytes, place: int, piece: bytes) -> bytes:
    return data[:place] + piece + data[place + len(piece) :]


def stored_as_they_are(path) -> list[slice]:
    """Where a tree has baskets that are not compressed, as of numbers that take no less room so."""
    found = []
    with uproot.open(path) as file:
        for branch in file["ecal"].branches:
            for number in range(branch.num_baskets):
                key = branch.basket_key(number)
                if key.data_compressed_bytes == key.data_uncompressed_bytes:
                    start = key.data_cursor.index
                    found.append(slice(start, start + key.data_compressed_bytes))
    return found


def touches(where: slice, stored: list[slice]) -> bool:
    return any(where.start < one.stop and one.start < where.stop for one in stored)


def read(out, path, **known: Any) -> dict[str, np.ndarray] | None:
    """What ingest makes of a file, without what hangs on its digest; None where it is refused."""
    try:
        return table(ingest(out, path, **known))
    except SosieError as error:
        message = str(error)
    assert "\n" not in message
    assert str(path) in message
    assert not out.exists() or not list(out.iterdir())
    return None


def same(found, whole) -> bool:
    return all(
        np.array_equal(found[name], whole[name]) for name in whole if whole[name] is not None
    )


@pytest.mark.fault(3)
@pytest.mark.parametrize(
    ("how", "rntuple"),
    [*((how, False) for how in COMPRESSIONS), ("none", True), ("LZ4", True), ("ZSTD", True)],
)
def test_damage_is_refused_or_changes_no_number(tmp_path, tally, long, how, rntuple):
    path, rng = write(tmp_path / "a.root", how, rntuple), np.random.default_rng(1)
    data, digest = path.read_bytes(), file_digest(path)
    whole = read(tmp_path / "whole", path)
    stored = [] if rntuple or how not in CHECKED else stored_as_they_are(path)
    for number, (what, damaged, where) in enumerate(damages(data, 120 if long else 8, rng)):
        path.write_bytes(damaged)
        found = read(tmp_path / str(number), path)
        blind = rntuple or how not in CHECKED or touches(where, stored)
        if found is None or same(found, whole):
            tally.add(True, what)
        elif blind and not what.startswith("cut"):
            tally.leave()
        else:
            tally.add(False, what)
        for name in ("digests", "seen"):
            found = read(tmp_path / f"{number}, {name}", path, **{name: {str(path): digest}})
            tally.add(found is None, f"{what}, {name}")


@pytest.mark.fault(3)
def test_the_digest_that_is_given_is_that_of_sha256sum(tmp_path, ntuple):
    path = ntuple("a.root")
    out = ingest(tmp_path / "out", path, digests={str(path): file_digest(path)})
    with open_events(out / "train.h5") as events:
        assert len(events)


@pytest.mark.fault(3)
def test_a_digest_of_no_file_is_refused_with_the_nearest(tmp_path, ntuple):
    path = ntuple("showers.root")
    wrong = str(path).replace("showers", "shower")
    with pytest.raises(
        SosieError, match=r"shower\.root: none of the files .* like '.*showers\.root'"
    ):
        ingest(tmp_path / "out", path, digests={wrong: "0" * 64})
