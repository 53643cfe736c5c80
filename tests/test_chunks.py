"""Chunks packed by us: HDF5 reads them, and makes the same checksum of the same bytes."""

import h5py
import numpy as np
import pytest

from sosie.chunks import FILTERS, fletcher32, pack


def filtered(path, array, chunk):
    """A dataset whose chunks HDF5 filters itself, without compression: data and checksum."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", data=array, chunks=(chunk,), fletcher32=True)
        return data.id.read_direct_chunk((0,))[1]


@pytest.mark.parametrize("length", [1, 2, 3, 719, 720, 721, 4001])
@pytest.mark.parametrize("value", [0, 1, 255, None])
def test_checksum_is_that_of_hdf5(tmp_path, length, value):
    rng = np.random.default_rng(length)
    data = np.full(length, value, np.uint8) if value is not None else rng.bytes(length)
    array = np.frombuffer(bytes(data), np.uint8)
    stored = filtered(tmp_path / "f.h5", array, length)
    assert stored[:-4] == array.tobytes()
    assert fletcher32(array.tobytes()) == int.from_bytes(stored[-4:], "little")


@pytest.mark.parametrize("count", [1, 7, 8, 9, 30])
@pytest.mark.parametrize("dtype", ["f4", "u8", "S5"])
def test_hdf5_reads_packed_chunks(tmp_path, count, dtype):
    numbers = np.random.default_rng(count).integers(0, 5, (count, 3))
    array = numbers.astype(dtype)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        data = file.create_dataset(
            "x", (count, 3), dtype, chunks=(8, 3), maxshape=(None, 3), **FILTERS
        )
        for start in range(0, count, 8):
            data.id.write_direct_chunk((start, 0), pack(array[start : start + 8], 8))
    with h5py.File(tmp_path / "f.h5") as file:
        assert np.array_equal(file["x"][()], array)


def test_hdf5_refuses_a_damaged_chunk(tmp_path):
    array = np.arange(8.0)
    chunk = bytearray(pack(array, 8))
    chunk[len(chunk) // 2] ^= 1
    with h5py.File(tmp_path / "f.h5", "w") as file:
        data = file.create_dataset("x", (8,), "f8", chunks=(8,), **FILTERS)
        data.id.write_direct_chunk((0,), bytes(chunk))
    with h5py.File(tmp_path / "f.h5") as file, pytest.raises(OSError, match=r"filter|read"):
        file["x"][()]
