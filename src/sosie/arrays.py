"""Arrays by name in one HDF5 file, each with its digest; nothing in such a file can execute."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sosie.errors import IntermediateError
from sosie.files import Digest, digest, to_json, write_atomic
from sosie.hdf5 import (
    array_digest,
    fixed,
    new_file,
    one_line,
    own_datasets,
    own_group,
    own_text,
    plain,
)

SCHEMA = 1
Index = tuple[int | slice, ...]
PART = 4_000_000
"""Bytes of a large array in memory at a time."""


def _whole(text: str, kind: str, digests: Mapping[str, str]) -> str:
    """The digest of all that a file holds, so that arrays cannot change their names or be lost."""
    return digest(text, kind, *(part for pair in sorted(digests.items()) for part in pair))


@dataclass(frozen=True)
class Stream:
    """An array that is too large to be held: ``read`` gives the part at an index, as `parts` makes it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[Index], np.ndarray[Any, Any]]


def parts(shape: tuple[int, ...], itemsize: int) -> Iterator[Index]:
    """Indices that cut an array of this shape into parts of about PART bytes, in their order."""
    row = itemsize * math.prod(shape[1:])
    if len(shape) > 1 and row > PART:
        for first in range(shape[0]):
            yield from ((first, *rest) for rest in parts(shape[1:], itemsize))
        return
    step = max(1, PART // max(1, row))
    for start in range(0, shape[0] if shape else 0, step):
        yield (slice(start, min(start + step, shape[0])),)


def _write_stream(data: h5py.Dataset, source: Stream) -> str:
    """Write a stream into its dataset; the digest is that of the whole array."""
    state = Digest(data.dtype.str, str(data.shape), size=data.nbytes)
    for where in parts(source.shape, source.dtype.itemsize):
        part = np.ascontiguousarray(source.read(where), source.dtype)
        data[where] = part
        state.add(part.reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def _stored_digest(data: h5py.Dataset) -> str:
    """The digest of a dataset, read in parts."""
    if not data.shape:
        return array_digest(np.asarray(data[()]))
    state = Digest(data.dtype.str, str(data.shape), size=data.nbytes)
    for where in parts(data.shape, data.dtype.itemsize):
        state.add(np.ascontiguousarray(data[where]).reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def write_arrays(
    path: str | Path,
    kind: str,
    arrays: Mapping[str, np.ndarray[Any, Any] | Stream],
    attributes: Mapping[str, Any],
) -> None:
    """Write arrays, named by '/'-separated paths, and JSON attributes as a file of this kind.

    Raises SosieError where the place cannot be written.
    """
    with (
        write_atomic(path, lambda part: _verify(part, kind)) as part,
        new_file(part) as (file, _),
    ):
        file.attrs["schema"] = SCHEMA
        file.attrs["kind"] = fixed(kind)
        # An attribute of HDF5 holds 64 kB at most, so the text is a dataset.
        text = to_json(attributes)
        file["attributes"] = fixed(text)
        digests = {}
        for name, array in arrays.items():
            if isinstance(array, Stream):
                data = file.create_dataset(f"arrays/{name}", array.shape, array.dtype)
                digests[name] = _write_stream(data, array)
            else:
                data = file.create_dataset(f"arrays/{name}", data=np.asarray(array))
                digests[name] = array_digest(np.asarray(array))
            data.attrs["digest"] = fixed(digests[name])
        file.attrs["attributes_digest"] = fixed(_whole(text, kind, digests))


def _checked(
    file: h5py.File, kind: str, take: Callable[[h5py.Dataset], tuple[Any, str]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``take`` makes of each array, beside its digest, and the attributes; raises ValueError."""
    if plain(file.attrs.get("kind")) != kind or file.attrs.get("schema") != SCHEMA:
        raise ValueError(f"it is not a file of kind '{kind}', schema {SCHEMA}")
    found, digests = {}, {}
    # Everything is looked at before anything is read.
    for name, data in list(own_datasets(own_group(file, "arrays"))):
        if data.chunks is not None:
            raise ValueError(f"'{name}' is not stored in one piece")
        found[name], digests[name] = take(data)
        if plain(data.attrs.get("digest")) != digests[name]:
            raise ValueError(f"'{name}' does not match its digest")
    text = own_text(file)
    # Files of version 0.1 have a digest of the text alone.
    if plain(file.attrs.get("attributes_digest")) not in (
        _whole(text, kind, digests),
        digest(text),
    ):
        raise ValueError("its attributes do not match their digest")
    return found, json.loads(text)


def _in_memory(data: h5py.Dataset) -> tuple[np.ndarray[Any, Any], str]:
    array = data[()]
    return array, array_digest(np.asarray(array))


def _refused(path: str | Path, step: str, error: Exception) -> IntermediateError:
    return IntermediateError(f"{path}: refused: {one_line(error)}; run {step} again to make it")


def read_arrays(
    path: str | Path, kind: str, step: str, but: str = "/"
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Arrays and attributes of a file of this kind that ``step`` wrote, those whose names begin with
    ``but`` verified and left out.

    Raises IntermediateError for a file that is missing, foreign, damaged or reaches outside itself.
    """
    try:
        with h5py.File(path, "r") as file:
            if but == "/":
                return _checked(file, kind, _in_memory)
            found, about = _checked(file, kind, lambda data: (data, _stored_digest(data)))
            return {
                name: data[()] for name, data in found.items() if not name.startswith(but)
            }, about
    # Damaged metadata make h5py raise whatever its bytes happen to mean.
    except Exception as error:
        raise _refused(path, step, error) from None


@contextmanager
def open_arrays(
    path: str | Path, kind: str, step: str
) -> Iterator[tuple[Mapping[str, h5py.Dataset], dict[str, Any]]]:
    """The same, verified but left in the file: slices of the datasets are what is read of them."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(h5py.File(path, "r"))
            found = _checked(file, kind, lambda data: (data, _stored_digest(data)))
        except Exception as error:
            raise _refused(path, step, error) from None
        yield found


def _verify(path: Path, kind: str) -> None:
    with open_arrays(path, kind, kind):
        pass
