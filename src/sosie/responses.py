"""The response of an ntuple, hits or cells with or without depth layers, in the detector's shape."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sosie.detectors.base import Detector
from sosie.errors import InputError
from sosie.expressions import branches
from sosie.layouts import Layout, per_event
from sosie.ntuples import Ragged

Array = np.ndarray[Any, Any]
REMEDY = "mend the ntuple or exclude the events with ingest.selection"


def _refuse(path: str, what: str, bad: Array, values: Array, entry: Array, remedy: str) -> None:
    """Raise InputError for the first of some values (M,), with the entries (M,) they are in."""
    if bad.any():
        first = int(np.argmax(bad))
        count = len(np.unique(entry[bad]))
        raise InputError(
            f"{path}: {what} is {values[first]} in entry {entry[first]} "
            f"({count} such entries in this piece); {remedy}"
        )


def _refuse_negative(path: str, name: str, values: Array, entry: Array) -> None:
    """Raise InputError if one of the values (M, ...) is below zero."""
    low = values.min(initial=0)
    if not low >= 0:
        # A NaN that signals, as damage makes it, is no matter for a warning.
        with np.errstate(invalid="ignore"):
            flat = values.reshape(len(values), math.prod(values.shape[1:])).astype(np.float64)
        # What is not a finite number is rejected and counted instead.
        lowest = np.where(np.isfinite(flat), flat, 0).min(axis=1)
        _refuse(path, f"branch '{name}'", lowest < 0, lowest, entry, REMEDY)


def _lists(path: str, name: str, column: Any) -> Ragged:
    """A branch as lists: as it is, or a fixed-size one as lists of one length."""
    if isinstance(column, Ragged):
        return column
    if column.ndim != 2:
        raise InputError(
            f"{path}: branch '{name}' has shape {column.shape[1:]} for each event, not a list of "
            "hits; name another, or leave out ingest.response.cell"
        )
    return Ragged(np.full(len(column), column.shape[1]), column.ravel())


def _from_hits(
    path: str, detector: Detector, layout: Layout, columns: Mapping[str, Any], entries: Array
) -> Array:
    """Energies of hits summed in their cells: (N, *shape) float64 in the unit of the branch."""
    key, cell, size = "ingest.response.cell", layout.cell or "", math.prod(detector.shape)
    branch = layout.response["branch"]
    hits = _lists(path, branch, columns[branch])
    entry = np.repeat(entries, hits.counts)
    indices = {}
    for name in branches(cell, key):
        other = _lists(path, name, columns[name])
        if (differ := other.counts != hits.counts).any():
            first = int(np.argmax(differ))
            raise InputError(
                f"{path}: branch '{name}' holds {other.counts[first]} numbers in entry "
                f"{entries[first]}, '{branch}' {hits.counts[first]}; name branches of the same "
                f"hits in {key} and ingest.response.branch"
            )
        indices[name] = other.content
    found = per_event(path, cell, indices, len(hits.content), key)
    what = f"{key} = '{cell}'"
    if found.dtype.kind not in "iu":
        with np.errstate(invalid="ignore"):
            odd = ~(found == np.floor(found))
        _refuse(path, what, odd, found, entry, f"{key} should be a whole number; change it")
    there = f"{size} cells" + (f" x {layout.layers} layers" if layout.layers > 1 else "")
    outside = (found < 0) | (found >= size * layout.layers)
    remedy = f"{detector.name} has {there}, counted from 0; change {key} or ingest.response.layers"
    _refuse(path, what, outside, found, entry, remedy)
    if not detector.signed:
        _refuse_negative(path, branch, hits.content, entry)
    place = found.astype(np.int64) // layout.layers
    place += np.repeat(np.arange(len(entries)) * size, hits.counts)
    total = np.bincount(place, hits.content.astype(np.float64), len(entries) * size)
    return total.reshape(len(entries), *detector.shape)


def _from_numbers(
    path: str, detector: Detector, layout: Layout, columns: Mapping[str, Any], entries: Array
) -> Array:
    """Branches of one number each as a vector (N, n), in the unit of the branches."""
    names = layout.numbers
    if detector.shape != (len(names),):
        raise InputError(
            f"{path}: ingest.response.branch names {len(names)} branches, {detector.name} needs "
            f"{detector.shape}; name one for each number"
        )
    for name in names:
        if columns[name].ndim != 1:
            raise InputError(
                f"{path}: branch '{name}' has shape {columns[name].shape[1:]} for each event, not "
                "one number; name others in ingest.response.branch"
            )
        if not detector.signed:
            _refuse_negative(path, name, columns[name], entries)
    return np.stack([columns[name] for name in names], axis=1)


def _from_cells(
    path: str, detector: Detector, layout: Layout, columns: Mapping[str, Any], entries: Array
) -> Array:
    """A branch of fixed size as (N, *shape), summed over layers, in the unit of the branch."""
    name, column, layers = (
        layout.response["branch"],
        columns[layout.response["branch"]],
        layout.layers,
    )
    size = math.prod(detector.shape)
    if isinstance(column, Ragged):
        if (odd := column.counts != size * layers).any():
            first = int(np.argmax(odd))
            raise InputError(
                f"{path}: branch '{name}' holds {column.counts[first]} numbers in entry "
                f"{entries[first]}, {detector.name} needs {size * layers}; for hits, give "
                "ingest.response.cell, for depth layers ingest.response.layers, or name another"
            )
        column = column.content.reshape(len(entries), size * layers)
    whole = (*detector.shape, layers) if layers > 1 else detector.shape
    if column.shape[1:] not in (whole, (size * layers,)):
        length = math.prod(column.shape[1:])
        deep = length // size
        form = {(size * deep,), (*detector.shape, deep), detector.shape if deep == 1 else ()}
        fits = length and length % size == 0 and column.shape[1:] in form
        remedy = (
            f"ingest.response.layers: {deep} would fit"
            if fits
            else "set ingest.response.branch or another detector"
        )
        raise InputError(
            f"{path}: branch '{name}' has shape {column.shape[1:]}, {detector.name} needs "
            f"{whole}; {remedy}"
        )
    if not detector.signed:
        _refuse_negative(path, name, column, entries)
    if layers == 1:
        return np.asarray(column.reshape(len(entries), *detector.shape))
    deep_cells = column.reshape(len(entries), *detector.shape, layers)
    return np.asarray(deep_cells.sum(axis=-1, dtype=np.float64))


def response_of(
    path: str, detector: Detector, layout: Layout, columns: Mapping[str, Any], entries: Array
) -> Array:
    """The response of some entries (N, *shape), in the unit of its branch.

    Energies of hits in one cell and of the layers of one cell are added in double precision. Raises
    InputError for another shape, cells that are not there, and negative numbers where the detector
    has none.
    """
    make = _from_hits if layout.cell else _from_cells
    if not isinstance(layout.response["branch"], str):
        make = _from_numbers
    return make(path, detector, layout, columns, entries)
