"""Which branches of an ntuple are the conditions of a detector, and in which units."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sosie.detectors.base import Detector
from sosie.expressions import evaluate
from sosie.ntuples import Ragged
from sosie.proposal.branches import Branch, Unit, finite, known_units
from sosie.proposal.names import AXES, likeness, named_unit, usable
from sosie.units import UNITS, factor

Array = np.ndarray[Any, Any]
MEDIAN_MEV = 500.0
PLACED = 200
Option = tuple[str, Branch, Array]
ENERGIES = "an energy is taken for the momentum, the mass neglected"

SLOPES = "sqrt(1 + {tx}**2 + {ty}**2)"
COSH, SINH = ("(exp({eta}) + exp(-{eta})) / 2", "(exp({eta}) - exp(-{eta})) / 2")
# Momentum from its size and a direction: the branches, then px, py and pz.
DIRECTIONS = (
    (("pt", "eta", "phi"), ("{pt} * cos({phi})", "{pt} * sin({phi})", f"{{pt}} * {SINH}")),
    (("pt", "theta", "phi"), ("{pt} * cos({phi})", "{pt} * sin({phi})", "{pt} / tan({theta})")),
    (
        ("p", "theta", "phi"),
        (
            "{p} * sin({theta}) * cos({phi})",
            "{p} * sin({theta}) * sin({phi})",
            "{p} * cos({theta})",
        ),
    ),
    (
        ("p", "eta", "phi"),
        (
            f"{{p}} * cos({{phi}}) / ({COSH})",
            f"{{p}} * sin({{phi}}) / ({COSH})",
            f"{{p}} * {SINH} / ({COSH})",
        ),
    ),
    (
        ("p", "tx", "ty"),
        (f"{{p}} * {{tx}} / {SLOPES}", f"{{p}} * {{ty}} / {SLOPES}", f"{{p}} / {SLOPES}"),
    ),
)


@dataclass(frozen=True)
class Condition:
    """A condition: its expression, the values it takes (n,), its unit, a remark on what is assumed."""

    expression: str
    values: Array
    unit: Unit
    branch: Branch
    remark: str = ""
    others: tuple[str, ...] = ()


def _elements(found: Sequence[Branch]) -> Iterator[tuple[str, str, Branch, Array]]:
    """Numbers of an entry: expression, axis of an element of a vector or '', branch, values (n,)."""
    for branch in found:
        column = branch.column
        if isinstance(column, Ragged) or column.dtype.kind not in "fiu":
            continue
        if column.ndim == 1:
            yield branch.name, "", branch, column
        elif column.shape[1:] in ((1,), (3,)):
            for index, axis in enumerate(AXES if column.shape[1] == 3 else ("",)):
                yield f"{branch.name}[{index}]", axis, branch, column[:, index]


def _matches(found: Sequence[Branch], condition: str) -> dict[tuple[int, int], Option]:
    """Expressions whose name is that of a condition, by how well it fits, the likeliest first."""
    options: dict[tuple[int, int], Option] = {}
    for text, axis, branch, values in _elements(found):
        rank, seen = likeness(branch.name, axis, condition), finite(values)
        whole = condition != "pdg" or bool((seen == np.floor(seen)).all())
        if rank is not None and len(seen) and whole and usable(text, [branch.name]):
            options.setdefault(rank, (text, branch, values))
    return dict(sorted(options.items()))


def _chosen(found: Sequence[Branch], detector: Detector) -> dict[str, Condition]:
    """The likeliest branch of each condition; x, y and z come from one family where there is one."""
    options = {name: _matches(found, name) for name in detector.conditions}
    chosen = {}
    for name, ranked in options.items():
        axes = [options[n] for n in options if n[:-1] == name[:-1] and n[-1:] in AXES]
        common = [rank for rank in ranked if all(rank in axis for axis in axes)]
        if name[-1:] not in AXES or not common:
            common = list(ranked)
        if common:
            text, branch, values = ranked[common[0]]
            others = tuple(option[0] for rank, option in ranked.items() if rank != common[0])
            chosen[name] = Condition(text, values, Unit("", "", False), branch, "", others[:3])
    return chosen


def _in_radians(text: str, branch: Branch, values: Array, title: str) -> tuple[str, str]:
    """An angle as an expression in rad, and what is guessed of its unit."""
    unit, _ = named_unit(branch.name, branch.title, title, UNITS["angle"])
    doubt = ""
    if not unit:
        unit = "deg" if np.abs(finite(values)).max() > 2 * math.pi else "rad"
        doubt = f"{text} taken for {unit}"
    scale = {"deg": " * pi / 180", "mrad": " / 1000", "rad": ""}[unit]
    return (f"({text}{scale})" if scale else text), doubt


def _derived(found: Sequence[Branch], title: str) -> dict[str, Condition]:
    """px, py and pz from the size of the momentum, or an energy, and a direction; {} without these."""
    best = {
        name: next(iter(options.values()))
        for name in ("p", "pt", "e", "theta", "phi", "eta", "tx", "ty")
        if (options := _matches(found, name))
    }
    by_energy = "p" not in best and "e" in best
    if by_energy:
        best["p"] = best["e"]
    for needs, formulas in DIRECTIONS:
        if not all(name in best for name in needs):
            continue
        texts, doubts = {}, [ENERGIES] if by_energy else []
        for name in needs:
            text, branch, values = best[name]
            texts[name] = text
            if name in ("theta", "phi"):
                texts[name], doubt = _in_radians(text, branch, values, title)
                doubts += [doubt] if doubt else []
        size = best[needs[0]][1]
        columns = {branch.name: branch.column for _, branch, _ in best.values()}
        made = {}
        for axis, formula in zip(AXES, formulas, strict=True):
            text = formula.format(**texts)
            values = np.asarray(evaluate(text, columns, "init"))
            unknown = Unit("", "", True)
            made[f"p{axis}"] = Condition(text, values, unknown, size, "; ".join(doubts))
        return made
    return {}


def _guess(house: str, members: Mapping[str, Condition], detector: Detector) -> Unit:
    """A unit for x, y and z alike from their values, and the reason."""
    known = known_units(house)
    if house in UNITS["energy"]:
        size = np.sqrt(sum(np.square(c.values.astype(np.float64)) for c in members.values()))
        seen = finite(np.asarray(size))
        median = float(np.median(seen)) if len(seen) else 0.0
        unit, reason = "MeV" if median > MEDIAN_MEV else "GeV", f"its median is {median:.4g}"
    else:
        # The depth may lie anywhere: the size of the matrix of cells says nothing of it.
        across = [c for name, c in members.items() if name[-1:] != "z"] or list(members.values())
        largest = max(float(np.abs(finite(c.values)).max(initial=0)) for c in across)
        unit, reason = house, "the unit of the detector"
        if house in UNITS["length"] and largest:
            ends = [
                float(np.abs(centres).max()) * factor(axis.unit, house, "axis")
                for centres, axis in zip(detector.centres, detector.axes, strict=True)
                if axis.unit in UNITS["length"]
            ]
            reach = max(ends, default=0.0)
            inside = [u for u in ("m", "cm", "mm") if largest * known[u] / known[house] <= reach]
            if inside:
                unit, reason = inside[0], "the largest unit in which all are on the detector"
        elif house in UNITS["angle"]:
            unit = "deg" if largest > 2 * math.pi else "rad"
            reason = f"up to {largest:.3g}"
    return Unit(unit, f"guessed: check; {reason}", True)


def _with_units(
    chosen: Mapping[str, Condition], detector: Detector, title: str
) -> dict[str, Condition]:
    """The conditions with their units: a named one, that of another axis, or a guess."""
    families: dict[str, dict[str, Condition]] = {}
    for name, condition in chosen.items():
        if house := detector.conditions[name]:
            stem = name[:-1] if name[-1:] in AXES else name
            families.setdefault(f"{house} {stem}", {})[name] = condition
    made = dict(chosen)
    for members in families.values():
        house = detector.conditions[next(iter(members))]
        units = {}
        for name, condition in members.items():
            branch = condition.branch
            unit, source = named_unit(branch.name, branch.title, title, known_units(house), name)
            if unit:
                units[name] = Unit(unit, f"unit: {source}", False)
        if units:
            symbol = next(iter(units.values())).symbol
            other = Unit(symbol, "guessed: check; as the other axes", True)
        else:
            other = _guess(house, members, detector)
        for name, condition in members.items():
            made[name] = replace(condition, unit=units.get(name, other))
    return made


def conditions(found: Sequence[Branch], detector: Detector, title: str) -> dict[str, Condition]:
    """The conditions of a detector that a name points to, in its order, with units."""
    chosen = _chosen(found, detector)
    momentum = [f"p{axis}" for axis in AXES]
    if set(momentum) <= set(detector.conditions) and not set(momentum) <= set(chosen):
        chosen |= _derived(found, title)
    ordered = {name: chosen[name] for name in detector.conditions if name in chosen}
    return _with_units(ordered, detector, title)


def place_unit(
    found: dict[str, Condition], cells: Array, detector: Detector
) -> dict[str, Condition]:
    """The conditions with a guessed unit of length put right by where the responses lie.

    Of all units it is that in which the observables that are lengths, as the distance of the
    response from the impact point, spread least. ``cells`` (n, *shape) and values are of one
    entry each; conditions that are not all there stay as they are.
    """
    lengths = [
        name
        for name, house in detector.conditions.items()
        if house in UNITS["length"] and name in found and found[name].unit.guessed
    ]
    varies = any(finite(found[name].values).any() for name in lengths)
    if not varies or set(found) != set(detector.conditions):
        return found
    spreads = {}
    for unit in UNITS["length"]:
        columns = []
        for name, house in detector.conditions.items():
            symbol = unit if name in lengths else found[name].unit.symbol
            columns.append(found[name].values.astype(np.float64) * factor(symbol, house, name))
        house_values = np.column_stack(columns)
        flat = np.column_stack([house_values, cells.reshape(len(cells), -1)])
        whole = np.flatnonzero(np.isfinite(flat).all(axis=1))[:PLACED]
        seen = detector.observe(cells[whole], house_values[whole])
        widths = [
            float(np.diff(np.quantile(finite(values), (0.16, 0.84)))[0])
            for name, values in seen.items()
            if detector.observables[name].unit in UNITS["length"] and len(finite(values))
        ]
        spreads[unit] = sum(widths)
    best = min(spreads, key=lambda unit: spreads[unit])
    if spreads[best] == max(spreads.values()):
        return found
    source = "guessed: check; the unit in which the responses lie closest to it"
    return {
        name: replace(condition, unit=Unit(best, source, True)) if name in lengths else condition
        for name, condition in found.items()
    }
