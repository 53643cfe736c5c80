"""Chunks of an HDF5 dataset as they lie in the file: a Zstandard frame and its Fletcher-32 checksum.

HDF5 would make the same of them, but in one thread alone and for one dataset after the other.
"""

from typing import Any

import cramjam
import hdf5plugin
import numpy as np

Array = np.ndarray[Any, Any]
LEVEL = -1
# How a dataset of such chunks is created, for whoever reads it with HDF5.
FILTERS = {"fletcher32": True, **hdf5plugin.Zstd(clevel=LEVEL)}
BASE = 65535


def fletcher32(data: bytes) -> int:
    """The checksum that HDF5's filter fletcher32 appends to ``data``.

    Sums of big-endian 16-bit words modulo 65535, where 0 stands for no word but zeros. Source:
    H5_checksum_fletcher32 of the HDF5 library.
    """
    words = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2").astype(np.uint64)
    first = int(words.sum())
    second = int(np.cumsum(words, dtype=np.uint64).sum())
    return _fold(second) << 16 | _fold(first)


def _fold(value: int) -> int:
    return (value - 1) % BASE + 1 if value else 0


def pack(rows: Array, length: int) -> bytes:
    """A chunk of ``length`` rows, of which the first are given, as it lies in the file."""
    if len(rows) < length:
        padding = np.zeros((length - len(rows), *rows.shape[1:]), rows.dtype)
        rows = np.concatenate([rows, padding])
    raw = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
    frame = bytes(cramjam.zstd.compress(raw, level=LEVEL))
    return frame + fletcher32(frame).to_bytes(4, "little")
