"""Arrays by name in one HDF5 file, each with its digest; nothing in such a file can execute."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sosie.errors import IntermediateError
from sosie.files import digest, to_json, write_atomic

SCHEMA = 1


def _digest(array: np.ndarray[Any, Any]) -> str:
    return digest(array.dtype.str, str(array.shape), np.ascontiguousarray(array).tobytes())


def write_arrays(
    path: str | Path,
    kind: str,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    attributes: Mapping[str, Any],
) -> None:
    """Write arrays, named by '/'-separated paths, and JSON attributes as a file of this kind."""
    with write_atomic(path) as part, h5py.File(part, "w") as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["kind"] = kind
        # An attribute of HDF5 holds 64 kB at most, so the text is a dataset.
        text = to_json(attributes)
        file["attributes"] = text
        file.attrs["attributes_digest"] = digest(text)
        for name, array in arrays.items():
            data = file.create_dataset(f"arrays/{name}", data=np.asarray(array))
            data.attrs["digest"] = _digest(np.asarray(array))


def _collect(group: h5py.Group, prefix: str, found: dict[str, np.ndarray[Any, Any]]) -> None:
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"'{prefix}{name}' is a link")
        item = group[name]
        if isinstance(item, h5py.Group):
            _collect(item, f"{prefix}{name}/", found)
            continue
        if item.is_virtual or item.external:
            raise ValueError(f"'{prefix}{name}' is stored elsewhere")
        array = item[()]
        if item.attrs.get("digest") != _digest(array):
            raise ValueError(f"'{prefix}{name}' does not match its digest")
        found[f"{prefix}{name}"] = array


def read_arrays(
    path: str | Path, kind: str, step: str
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Arrays and attributes of a file of this kind that ``step`` wrote.

    Raises IntermediateError for a file that is missing, foreign, damaged or reaches outside itself.
    """
    found: dict[str, np.ndarray[Any, Any]] = {}
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("kind") != kind or file.attrs.get("schema") != SCHEMA:
                raise ValueError(f"it is not a file of kind '{kind}', schema {SCHEMA}")
            text = file["attributes"][()].decode()
            if file.attrs.get("attributes_digest") != digest(text):
                raise ValueError("its attributes do not match their digest")
            attributes = json.loads(text)
            if "arrays" in file:
                _collect(file["arrays"], "", found)
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise IntermediateError(f"{path}: refused: {reason}; run {step} again to make it") from None
    return found, attributes
