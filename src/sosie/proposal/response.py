"""Which branch of an ntuple may be the response, its unit, and a zero suppression for it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sosie.detectors.base import Detector
from sosie.layouts import Layout
from sosie.ntuples import Column, Ragged
from sosie.proposal.branches import Branch, Unit, finite, known_units
from sosie.proposal.names import CELL, RESPONSE, hints, named_unit, usable
from sosie.responses import response_of
from sosie.units import factor

Array = np.ndarray[Any, Any]
SUPPRESSED = 1e-3
# Share of its energy that a calorimeter measures, from a sampling one to a homogeneous one.
MEASURED = (1.5e-3, 1.5)
STEPS = (5.0, 2.0, 1.0)
# The keys cell and layers of ingest.response.
Source = dict[str, Any]


@dataclass(frozen=True)
class Response:
    """A branch that may be the response; ``cells`` (n, *shape) in its unit, negative ones empty.

    ``negative`` is the share of entries with a negative number; ``doubt`` says what of cell and
    layers is guessed, '' if nothing.
    """

    branch: Branch
    cells: Array
    negative: float
    cell: str | None = None
    layers: int = 1
    doubt: str = ""

    @property
    def rank(self) -> tuple[bool, bool, bool, bool, bool]:
        """The larger, the likelier."""
        name, empty = self.branch.name, float((self.cells == 0).mean())
        filled = bool((self.cells > 0).any())
        return filled, not self.negative, hints(name, RESPONSE), not self.branch.integer, empty > 0


def _cells(
    branch: Branch, detector: Detector, source: Source, named: Mapping[str, Branch]
) -> Response:
    """The response that ``source`` describes, as ingest makes it; InputError where it cannot."""
    layout = Layout("", {"branch": branch.name, **source}, {})
    columns: dict[str, Any] = {name: named[name].column for name in layout.ragged()}
    column, count = branch.column, len(branch.column)
    negative = 0.0
    if (numbers := branch.numbers).dtype.kind != "u" and (numbers < 0).any():
        if isinstance(column, Ragged):
            entry = np.repeat(np.arange(count), column.counts)
            negative = len(np.unique(entry[numbers < 0])) / count
            columns[branch.name] = Ragged(column.counts, np.maximum(numbers, 0))
        else:
            negative = float((column.reshape(count, -1) < 0).any(axis=1).mean())
            columns[branch.name] = np.maximum(column, 0)
    cells = response_of("", detector, layout, columns, np.arange(count)).astype(np.float64)
    return Response(branch, cells, negative, source.get("cell"), source.get("layers", 1))


def _largest(branch: Branch) -> int:
    return int(branch.numbers.max(initial=0))


def _may_count(other: Branch, energy: Branch) -> bool:
    """Whether a branch of lists may be an index of the hits whose energies another one holds."""
    lists, hits = other.column, energy.column
    return (
        isinstance(lists, Ragged)
        and isinstance(hits, Ragged)
        and other.integer
        and np.array_equal(lists.counts, hits.counts)
        and int(other.numbers.min(initial=0)) >= 0
        and usable(other.name, [other.name])
    )


def _fixed_layers(column: Column, shape: tuple[int, ...]) -> int:
    """Depth layers of a branch of fixed size in which the detector fits, 0 if it does not."""
    size = math.prod(shape)
    if isinstance(column, Ragged):
        length = int(column.counts[0]) if len(column) else 0
        fits = length > 0 and bool((column.counts == length).all())
        return length // size if fits and length % size == 0 else 0
    form = column.shape[1:]
    length = math.prod(form)
    if length == 0 or length % size:
        return 0
    layers = length // size
    whole = shape if layers == 1 else (*shape, layers)
    return layers if form in ((length,), whole) else 0


def _cell_source(
    energy: Branch, lists: Sequence[Branch], shape: tuple[int, ...]
) -> tuple[Source, str] | None:
    """The likeliest way to give the cell of each hit, and what is guessed in it; None without any.

    A branch named like an index, else row and column, else any list of whole numbers.
    """
    same = [other for other in lists if _may_count(other, energy)]
    indices = [other for other in same if hints(other.name, CELL)]
    if not indices and len(shape) == 2:
        for x in same:
            for y in same:
                named = x.name.lower().endswith("x") and y.name.lower() == x.name[:-1].lower() + "y"
                if named and _largest(x) < shape[0] and _largest(y) < shape[1]:
                    return {"cell": f"{x.name} * {shape[1]} + {y.name}"}, ""
    for index in indices or same:
        largest, size = _largest(index), math.prod(shape)
        if largest < size:
            return {"cell": index.name}, ""
        for depth in same:
            layers = _largest(depth) + 1
            fits = layers > 1 and largest < size * layers and depth is not index
            if fits and np.array_equal(index.numbers % layers, depth.numbers):
                return {"cell": index.name, "layers": layers}, ""
        source = {"cell": index.name, "layers": largest // size + 1}
        return source, f"layers from the largest index, {largest}, as cell * layers + layer"
    return None


def responses(found: Sequence[Branch], detector: Detector) -> list[Response]:
    """All branches that may be the response, the likeliest first."""
    named = {branch.name: branch for branch in found}
    options = []
    lists = [b for b in found if isinstance(b.column, Ragged)]
    for branch in found:
        if branch.numbers.dtype.kind == "b":
            continue
        layers = _fixed_layers(branch.column, detector.shape)
        if layers:
            source = {"layers": layers} if layers > 1 else {}
            options.append(_cells(branch, detector, source, named))
        elif not branch.integer and (hits := _cell_source(branch, lists, detector.shape)):
            source, doubt = hits
            options.append(replace(_cells(branch, detector, source, named), doubt=doubt))
    return sorted(options, key=lambda option: option.rank, reverse=True)


def response_unit(response: Response, detector: Detector, title: str, incident: float) -> Unit:
    """The unit of the response: named, else from the median incident energy in MeV, 0 if unknown."""
    branch, known = response.branch, known_units(detector.unit)
    unit, source = named_unit(branch.name, branch.title, title, known)
    if unit:
        return Unit(unit, f"unit: {source}", False)
    sums = finite(response.cells.reshape(len(response.cells), -1).sum(axis=1))
    if incident > 0 and len(sums):
        for unit in known:
            share = float(np.median(sums)) * factor(unit, detector.unit, "init") / incident
            if MEASURED[0] < share < MEASURED[1]:
                reason = f"the sum of cells is then {share:.3g} of the particle's energy"
                return Unit(unit, f"guessed: check; {reason}", True)
    return Unit(detector.unit, "guessed: check; the unit of the detector", True)


def threshold(cells: Array) -> tuple[float, float, float]:
    """A zero suppression for cells (n, ...), and the shares of filled cells and of signal it removes.

    The largest of 1, 2, 5 times a power of ten that removes less than a thousandth of the signal.
    """
    filled = np.sort(finite(cells[cells > 0]))
    if not len(filled):
        return 0.0, 0.0, 0.0
    below = np.concatenate([[0.0], np.cumsum(filled)])
    power = math.floor(math.log10(filled[-1]))
    while True:
        for step in STEPS:
            value = float(f"{step * 10.0**power:.6g}")
            removed = int(np.searchsorted(filled, value))
            if below[removed] < SUPPRESSED * below[-1]:
                return value, removed / len(filled), float(below[removed] / below[-1])
        power -= 1
