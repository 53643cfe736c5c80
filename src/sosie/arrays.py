"""Arrays by name in one HDF5 file, each with its digest; nothing in such a file can execute."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sosie.errors import IntermediateError
from sosie.files import digest, to_json, write_atomic
from sosie.hdf5 import array_digest, fixed, new_file, one_line, own_datasets, own_text, plain

SCHEMA = 1


def _whole(text: str, kind: str, digests: Mapping[str, str]) -> str:
    """The digest of all that a file holds, so that arrays cannot change their names or be lost."""
    return digest(text, kind, *(part for pair in sorted(digests.items()) for part in pair))


def write_arrays(
    path: str | Path,
    kind: str,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    attributes: Mapping[str, Any],
) -> None:
    """Write arrays, named by '/'-separated paths, and JSON attributes as a file of this kind.

    Raises SosieError where the place cannot be written.
    """
    with (
        write_atomic(path, lambda part: read_arrays(part, kind, kind)) as part,
        new_file(part) as (file, _),
    ):
        file.attrs["schema"] = SCHEMA
        file.attrs["kind"] = fixed(kind)
        # An attribute of HDF5 holds 64 kB at most, so the text is a dataset.
        text = to_json(attributes)
        file["attributes"] = fixed(text)
        digests = {}
        for name, array in arrays.items():
            data = file.create_dataset(f"arrays/{name}", data=np.asarray(array))
            digests[name] = array_digest(np.asarray(array))
            data.attrs["digest"] = fixed(digests[name])
        file.attrs["attributes_digest"] = fixed(_whole(text, kind, digests))


def _read(file: h5py.File, kind: str) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    if plain(file.attrs.get("kind")) != kind or file.attrs.get("schema") != SCHEMA:
        raise ValueError(f"it is not a file of kind '{kind}', schema {SCHEMA}")
    found, digests = {}, {}
    # Everything is looked at before anything is read.
    for name, data in list(own_datasets(file["arrays"])) if "arrays" in file else []:
        if data.chunks is not None:
            raise ValueError(f"'{name}' is not stored in one piece")
        array = data[()]
        digests[name] = array_digest(np.asarray(array))
        if plain(data.attrs.get("digest")) != digests[name]:
            raise ValueError(f"'{name}' does not match its digest")
        found[name] = array
    text = own_text(file)
    # Files of version 0.1 have a digest of the text alone.
    if plain(file.attrs.get("attributes_digest")) not in (
        _whole(text, kind, digests),
        digest(text),
    ):
        raise ValueError("its attributes do not match their digest")
    return found, json.loads(text)


def read_arrays(
    path: str | Path, kind: str, step: str
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Arrays and attributes of a file of this kind that ``step`` wrote.

    Raises IntermediateError for a file that is missing, foreign, damaged or reaches outside itself.
    """
    try:
        with h5py.File(path, "r") as file:
            return _read(file, kind)
    # Damaged metadata make h5py raise whatever its bytes happen to mean.
    except Exception as error:
        raise IntermediateError(
            f"{path}: refused: {one_line(error)}; run {step} again to make it"
        ) from None
