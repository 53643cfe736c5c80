"""Responses that another program made: ntuples of the layout of the study, or HDF5."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sosie.detectors import find
from sosie.detectors.base import Detector
from sosie.errors import InputError
from sosie.files import find_files
from sosie.foreign_hdf5 import is_hdf5, read_hdf5
from sosie.layouts import Layout
from sosie.progress import warn
from sosie.reading import read_pieces, survey

Array = np.ndarray[Any, Any]
MEMORY = 16_000_000
MAX_BAD = 0.001
"""Largest share of events whose response may hold numbers that are not finite."""


@dataclass(frozen=True)
class Foreign:
    """Responses (N, *shape), NaN all over where one holds a number that is not finite; conditions
    (N, C) and incident energies (N,) in MeV, NaN where the file does not hold them; float32."""

    response: Array
    conditions: Array
    incident: Array


def read_foreign(
    patterns: Sequence[str], detector: str, layout: Layout, threshold: float
) -> Foreign:
    """All events of some files, one file after the other, zero-suppressed.

    Selection, weight, identity, group and truth of the layout are left out: the file has what it
    has. Raises InputError for files that cannot be used, or with too many responses that hold
    numbers that are not finite.
    """
    kind, files = find(detector), find_files(patterns, "train.surrogates")
    parts = [
        read_hdf5(path, kind) if is_hdf5(path) else _read_root(path, kind, layout) for path in files
    ]
    for path, (_, conditions, incident) in zip(files, parts, strict=True):
        _refuse_other(path, files[0], kind, (conditions, incident), parts[0][1:])
    bad = [
        _suppress(path, kind, part[0], threshold) for path, part in zip(files, parts, strict=True)
    ]
    _count_bad(files, bad)
    return Foreign(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _read_root(path: str, detector: Detector, layout: Layout) -> tuple[Array, Array, Array]:
    plain = replace(layout, selection=None, weight=None, identity=(), group=None, truth=None)
    plain = survey([path], detector, plain)
    pieces = [
        piece.block
        for _, piece in read_pieces([path], detector, plain, MEMORY, 1, lambda p: p, keep=True)
        if piece is not None
    ]
    response = np.concatenate([block.response for block in pieces])
    conditions = np.concatenate([block.conditions for block in pieces])
    for name, values in zip(detector.conditions, conditions.T, strict=True):
        if (odd := ~np.isfinite(values)).any():
            first = int(np.argmax(odd))
            raise InputError(
                f"{path}: condition '{name}' = '{plain.conditions[name]['expression']}' is "
                f"{values[first]} in entry {first} ({int(odd.sum())} such entries), not a finite "
                "number; copy it from the sample"
            )
    return response, conditions, np.full(len(response), np.nan, np.float32)


def _given(detector: Detector, conditions: Array, incident: Array) -> list[str]:
    """What a file says of its events."""
    there = ~np.asarray(np.isnan(conditions).all(axis=0))
    energy = [] if np.isnan(incident).all() else ["incident energies"]
    return [n for n, held in zip(detector.conditions, there, strict=True) if held] + energy


def _refuse_other(
    path: str,
    first: str,
    detector: Detector,
    own: tuple[Array, Array],
    other: tuple[Array, Array],
) -> None:
    if not len(own[0]):
        raise InputError(f"{path}: holds no events; leave the file out")
    there, known = (_given(detector, *columns) for columns in (own, other))
    if there != known:
        raise InputError(
            f"{path}: holds {', '.join(there)}, but {first} {', '.join(known)}; give files that "
            "hold the same"
        )


def _suppress(path: str, detector: Detector, response: Array, threshold: float) -> Array:
    """Suppress in place; which responses (N,) hold numbers that are not finite, and become NaN."""
    flat = response.reshape(len(response), -1)
    bad = ~np.asarray(np.isfinite(flat).all(axis=1))
    if not detector.signed:
        lowest = np.where(bad, 0, flat.min(axis=1))
        if (low := lowest < 0).any():
            first = int(np.argmax(low))
            raise InputError(
                f"{path}: the response of event {first} holds {lowest[first]:g} {detector.unit} "
                f"({int(low.sum())} such events), expected 0 or more; set what is below 0 to 0"
            )
        flat[flat < threshold] = 0
    flat[bad] = np.nan
    return bad


def _count_bad(files: Sequence[str], bad: Sequence[Array]) -> None:
    """Warn of responses that are not finite; raise InputError where they are too many."""
    count, total = sum(int(b.sum()) for b in bad), sum(map(len, bad))
    if not count:
        return
    path, own = next((p, b) for p, b in zip(files, bad, strict=True) if b.any())
    text = (
        f"{path}: the response of event {int(np.argmax(own))} holds numbers that are not finite, "
        f"as those of {count} of {total} events ({100 * count / total:.3g} %)"
    )
    if count > MAX_BAD * total:
        raise InputError(f"{text}; at most {100 * MAX_BAD:g} % may; mend the program that wrote it")
    warn("train", f"{text}; each of them gets the response of the event with nearest conditions")
