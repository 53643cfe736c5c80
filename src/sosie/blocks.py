"""Columns of an ntuple become a block of events in house units."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sosie.detectors.base import Detector
from sosie.errors import InputError
from sosie.events import Block
from sosie.layouts import Layout, conditions_of, per_event
from sosie.responses import response_of
from sosie.streams import combine
from sosie.truth import Truth, columns_of_events
from sosie.units import factor

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Piece:
    """The events of some entries that can be used, and how many there were.

    ``read`` entries, ``selected`` of them by the selection; ``problem`` describes the first number
    that is not finite, '' where all are.
    """

    block: Block
    read: int
    selected: int
    problem: str = ""


def _integers(path: str, name: str, columns: Mapping[str, Any], key: str) -> Array:
    column: Array = columns[name]
    if column.dtype.kind not in "iu" or column.ndim != 1:
        raise InputError(
            f"{path}: branch '{name}' holds {column.dtype} {column.shape[1:] or ''}".rstrip()
            + f", not one integer for each event; name another in ingest.{key}"
        )
    return column


def _refuse_limits(
    path: str, detector: Detector, layout: Layout, conditions: Array, entries: Array
) -> None:
    """Raise InputError for finite conditions (N, C) beyond the limits of the detector."""
    for index, (name, house) in enumerate(detector.conditions.items()):
        low, high = detector.limits.get(name, (-np.inf, np.inf))
        values = conditions[:, index]
        odd = np.isfinite(values) & ((values < low) | (values > high))
        if odd.any():
            first, source = int(np.argmax(odd)), layout.conditions[name]
            unit = f" {house}" if house else ""
            given = f", given in '{source['unit']}'" if source["unit"] else ""
            raise InputError(
                f"{path}: condition '{name}' = '{source['expression']}' is {values[first]:g}{unit} in "
                f"entry {entries[first]} ({int(odd.sum())} such entries in this piece), outside "
                f"{low:g} to {high:g}{unit}; is ingest.conditions.{name}.unit right{given}?"
            )


def _first_problem(
    layout: Layout,
    names: Sequence[str],
    response: Array,
    conditions: Array,
    weight: Array | None,
    entries: Array,
) -> tuple[Array, str]:
    """Which events (N,) hold numbers that are not finite, and the first one in words."""
    flat = response.reshape(len(response), math.prod(response.shape[1:]))
    own = layout.numbers
    parts = {f"branch '{own[0]}'": flat}
    if len(own) > 1:
        parts = {f"branch '{branch}'": flat[:, [i]] for i, branch in enumerate(own)}
    for index, name in enumerate(names):
        text = layout.conditions[name]["expression"]
        parts[f"condition '{name}' = '{text}'"] = conditions[:, index : index + 1]
    if weight is not None:
        parts[f"ingest.weight = '{layout.weight}'"] = weight[:, None]
    bad = np.zeros(len(entries), bool)
    problems = []
    for what, values in parts.items():
        if np.isfinite(values.max(initial=0)) and np.isfinite(values.min(initial=0)):
            continue
        odd = ~np.isfinite(values)
        row, column = np.unravel_index(int(np.argmax(odd)), odd.shape)
        problems.append((int(row), f"{what} is {values[row, column]} in entry {entries[row]}"))
        bad |= odd.any(axis=1)
    return bad, min(problems)[1] if problems else ""


def to_piece(
    path: str,
    detector: Detector,
    layout: Layout,
    columns: Mapping[str, Any],
    entries: Array,
    digest: str = "",
    truth: Truth | None = None,
    keep: bool = False,
) -> Piece:
    """Columns of an ntuple as a block of events in house units.

    Events with numbers that are not finite, in single precision and house units, are left out and
    described; with ``keep`` they stay. ``digest`` is that of the file, for events without an identity; ``truth`` that of its
    groups. Raises InputError for a response of another shape, cells that are not there, negative
    energies, conditions beyond what the detector says makes sense, and groups without truth; the
    selection comes first.
    """
    read = len(entries)
    if layout.selection:
        chosen = per_event(path, layout.selection, columns, read, "ingest.selection").astype(bool)
        columns = {name: column[chosen] for name, column in columns.items()}
        entries = entries[chosen]
    count = len(entries)
    response = response_of(path, detector, layout, columns, entries)
    unit = factor(layout.response["unit"], detector.unit, "ingest.response.unit")
    with np.errstate(over="ignore"):
        response = response.astype(np.float32, copy=False)
        response = response if unit == 1 else response * np.float32(unit)
    conditions = conditions_of(path, detector, layout, columns, count)
    _refuse_limits(path, detector, layout, conditions, entries)
    aux = {name: _integers(path, name, columns, "identity") for name in layout.identity}
    aux = aux or {"file": np.full(count, int(digest[:15], 16)), "entry": entries}
    aux = {name: column.astype(column.dtype.newbyteorder("=")) for name, column in aux.items()}
    event_id = group_id = combine(*aux.values())
    if layout.group:
        number = _integers(path, layout.group, columns, "group")
        group_id = combine(number)
        if truth is not None:
            aux |= columns_of_events(path, layout, truth, number)
    weight = None
    if layout.weight:
        weight = per_event(path, layout.weight, columns, count, "ingest.weight")
    block = Block(response, conditions, event_id, group_id, weight, aux)
    bad, problem = _first_problem(
        layout, list(detector.conditions), response, conditions, weight, entries
    )
    return Piece(block.select(~bad) if problem and not keep else block, read, count, problem)
