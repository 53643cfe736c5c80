"""What an ntuple holds and where, and what its expressions give for each event."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sosie.detectors.base import Detector
from sosie.errors import InputError, SettingsError
from sosie.events import Block
from sosie.expressions import branches, element, evaluate
from sosie.units import factor

Array = np.ndarray[Any, Any]
TRUTH = "truth_"
"""How the names of columns begin that hold the truth of an event's group."""


@dataclass(frozen=True)
class Layout:
    """What an ntuple holds, and where.

    ``conditions`` maps each condition to {'expression', 'unit'}; ``response`` is {'branch', 'unit'}
    and perhaps 'cell', the expression of the flat index of the cell of each hit, and 'layers'; a
    list of branches stands for a vector, one number each. ``truth`` is None or {'tree', 'values'}
    with values like conditions, one entry for each group.
    """

    tree: str
    response: Mapping[str, Any]
    conditions: Mapping[str, Mapping[str, str]]
    identity: Sequence[str] = ()
    group: str | None = None
    selection: str | None = None
    weight: str | None = None
    rntuple: bool = False
    truth: Mapping[str, Any] | None = None

    @property
    def numbers(self) -> list[str]:
        """The branches of the response."""
        branch = self.response["branch"]
        return [branch] if isinstance(branch, str) else list(branch)

    @property
    def cell(self) -> str | None:
        """Expression of the cell of each hit; None for a response of fixed size."""
        return self.response.get("cell")

    @property
    def layers(self) -> int:
        """Depth layers that are summed over."""
        return self.response.get("layers") or 1

    def ragged(self) -> list[str]:
        """The branches that may hold lists of varying length, the response last."""
        if not isinstance(self.response["branch"], str):
            return []
        cells = branches(self.cell, "ingest.response.cell") if self.cell else []
        return [*cells, self.response["branch"]]

    def required(self) -> list[str]:
        """The branches of the conditions and of the identity."""
        named = [
            branch
            for name, source in self.conditions.items()
            for branch in branches(source["expression"], f"ingest.conditions.{name}")
        ]
        return list(dict.fromkeys([*named, *self.identity]))

    def further(self) -> list[str]:
        """The branches of group, weight and selection."""
        named = [self.group] if self.group else []
        for text, key in ((self.weight, "ingest.weight"), (self.selection, "ingest.selection")):
            named += branches(text, key) if text else []
        return list(dict.fromkeys(named))

    def branches(self) -> list[str]:
        """Every branch to read, the response last."""
        named = [*self.required(), *self.further(), *self.ragged()]
        last = self.numbers
        return [*(name for name in dict.fromkeys(named) if name not in last), *last]

    def as_dict(self) -> dict[str, Any]:
        """The layout as JSON, stored in event tables and surrogates."""
        return {
            **self.__dict__,
            "response": dict(self.response),
            "conditions": {name: dict(branch) for name, branch in self.conditions.items()},
            "identity": list(self.identity),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Layout":
        """The layout from JSON; what is not in it has its default."""
        known = cls.__dataclass_fields__
        return cls(**{name: value for name, value in values.items() if name in known})


def response_columns(detector: Detector, layout: Layout, response: Array) -> dict[str, Array]:
    """The branches of the response, from responses (N, *shape) in house units."""
    house = np.float32(factor(layout.response["unit"], detector.unit, "response"))
    own = response / house
    if isinstance(layout.response["branch"], str):
        return {layout.response["branch"]: own}
    return dict(zip(layout.numbers, own.T, strict=True))


def per_event(
    path: str, expression: str, columns: Mapping[str, Any], count: int, key: str
) -> Array:
    """An expression as one number for each of ``count`` events; raises InputError otherwise."""
    try:
        values = np.asarray(evaluate(expression, columns, key))
    except SettingsError as error:
        raise InputError(f"{path}: {error}") from None
    if values.shape not in ((), (count,)):
        raise InputError(
            f"{path}: {key} = '{expression}' has shape {values.shape[1:]} for each event, not one "
            "number; name branches of one number, or an element as in p[0]"
        )
    return np.broadcast_to(values, (count,))


def conditions_of(
    path: str, detector: Detector, layout: Layout, columns: Mapping[str, Any], count: int
) -> Array:
    """Conditions (count, C) float32 in house units; what is too large is infinite."""
    conditions = np.empty((count, len(detector.conditions)), np.float32)
    for index, (name, house) in enumerate(detector.conditions.items()):
        source, where = layout.conditions[name], f"ingest.conditions.{name}"
        values = per_event(path, source["expression"], columns, count, where)
        with np.errstate(over="ignore"):
            conditions[:, index] = values * factor(source["unit"], house, f"{where}.unit")
    return conditions


def _whole(parts: Mapping[tuple[int, ...], Array]) -> Array | None:
    """A branch (n, ...) from its elements (n,) by index; None where some are not there."""
    if () in parts:
        return parts[()] if len(parts) == 1 else None
    if len({len(index) for index in parts}) > 1:
        return None
    shape = tuple(max(along) + 1 for along in np.array(list(parts)).T.tolist())
    if len(parts) < math.prod(shape):
        return None
    first = next(iter(parts.values()))
    column = np.empty((len(first), *shape), first.dtype)
    for index, part in parts.items():
        where: tuple[Any, ...] = (slice(None), *index)
        column[where] = part
    return column


def columns_of(detector: Detector, layout: Layout, block: Block) -> dict[str, Array]:
    """The branches of an ntuple, response apart, from the events of a table.

    An array whose elements are conditions is written up to the last of them. The group is the
    number that the table has for it; what only the selection uses is left out. Raises InputError
    where a condition or the weight is an expression, or an array lacks an element: a table does not
    hold what they came from.
    """
    wanted: dict[str, tuple[str, Array]] = {}
    for index, (name, house) in enumerate(detector.conditions.items()):
        source = layout.conditions[name]
        unit = np.float32(factor(source["unit"], house, name))
        wanted[f"condition '{name}'"] = (source["expression"], block.conditions[:, index] / unit)
    if layout.weight:
        weight = np.ones(len(block.event_id)) if block.weight is None else block.weight
        wanted["the weight"] = (layout.weight, weight)
    remedy = "give the ROOT file as conditions, or an output that ends in .h5"
    parts: dict[str, dict[tuple[int, ...], Array]] = {}
    for what, (expression, column) in wanted.items():
        if (place := element(expression)) is None:
            raise InputError(
                f"{what} is the expression '{expression}', whose branches an event table does not "
                f"hold; {remedy}"
            )
        parts.setdefault(place[0], {})[place[1]] = column
    columns = {name: column for name, column in block.aux.items() if not name.startswith(TRUTH)}
    if layout.group:
        columns.setdefault(layout.group, block.group_id.view(np.int64))
    for branch, elements in parts.items():
        if (whole := _whole(elements)) is None:
            raise InputError(
                f"branch '{branch}' has elements that are no condition, and an event table does not "
                f"hold them; {remedy}"
            )
        columns.setdefault(branch, whole)
    return columns
