"""The study file that ``sosie init`` writes: what was seen of an ntuple in words, values quoted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jinja2
import numpy as np

from sosie.detectors.base import Detector
from sosie.ntuples import Ragged
from sosie.proposal.branches import Branch, Unit, constant, finite
from sosie.proposal.conditions import Condition
from sosie.proposal.names import is_weight
from sosie.proposal.response import Response, response_unit, threshold
from sosie.proposal.wording import number, one_line, quoted, share, span
from sosie.units import factor

Array = np.ndarray[Any, Any]
# Batches of the network in the default study; 64 events are one.
BATCHES, BATCH, LEAST_EPOCHS = 5920, 64, 20
TRAIN, TEST, PER_BIN = 0.60, 0.25, 50
# Variables of moments and of reconstruct, where not all are wanted in both.
VARIABLES = {
    "ecal": (
        ("momentum", "angle", "impact_x", "impact_y"),
        ("momentum", "angle", "cell_x", "cell_y"),
    )
}
REJECTED = 0.01
LISTED = 40
WIDTH = 70


def _broken(values: Array) -> Array:
    """Which entries (n, ...) hold a number that is not finite, as float32 takes them."""
    with np.errstate(over="ignore"):
        flat = values.reshape(len(values), -1).astype(np.float32)
    return np.asarray(~np.isfinite(flat).all(axis=1))


@dataclass(frozen=True)
class Look:
    """All that ``sosie init`` knows of an ntuple when it writes the study.

    ``others`` are the trees not taken with their entries, ``identity`` branches that tell all
    ``entries`` apart and ``identity_remark`` why these or none.
    """

    files: Sequence[str]
    tree: str
    others: Sequence[tuple[str, int]]
    title: str
    entries: int
    sampled: int
    branches: Sequence[Branch]
    detector: Detector
    responses: Sequence[Response]
    conditions: dict[str, Condition]
    identity: Sequence[str] = ()
    identity_remark: str = ""
    unreadable: Sequence[str] = field(default=())

    @property
    def response(self) -> Response | None:
        """The likeliest response, None where there is none."""
        return self.responses[0] if self.responses else None

    @cached_property
    def house(self) -> Array | None:
        """Conditions (n, C) in house units, None unless all were found."""
        needed = self.detector.conditions
        if set(needed) != set(self.conditions):
            return None
        columns = []
        for name, unit in needed.items():
            condition = self.conditions[name]
            scale = factor(condition.unit.symbol, unit, name)
            columns.append(condition.values.astype(np.float64) * scale)
        return np.column_stack(columns)

    @cached_property
    def unit(self) -> Unit:
        """The unit of the response."""
        incident = 0.0
        if self.house is not None and self.detector.incident_energy:
            energies = finite(self.detector.incident_energy(self.house))
            incident = float(np.median(energies)) if len(energies) else 0.0
        assert self.response
        return response_unit(self.response, self.detector, self.title, incident)

    @property
    def missing(self) -> list[str]:
        """Keys of the study for which nothing was found."""
        lost = [
            f"ingest.conditions.{n}" for n in self.detector.conditions if n not in self.conditions
        ]
        return lost if self.response else ["ingest.response", *lost]

    @property
    def rejected(self) -> float:
        """The share of entries that hold a number that is not finite where ingest looks."""
        arrays = [condition.values for condition in self.conditions.values()]
        arrays += [self.response.cells] if self.response else []
        bad = np.zeros(self.sampled, bool)
        for values in arrays:
            bad |= _broken(values)
        return float(bad.mean()) if self.sampled else 0.0

    @property
    def guesses(self) -> list[str]:
        """The keys whose values are guesses."""
        units = {f"ingest.conditions.{n}.unit": c.unit for n, c in self.conditions.items()}
        if self.response:
            units["ingest.response.unit"] = self.unit
        keys = [key for key, unit in units.items() if unit.guessed]
        keys += [
            f"ingest.conditions.{n}.expression" for n, c in self.conditions.items() if c.remark
        ]
        return keys + (["ingest.response.layers"] if self.response and self.response.doubt else [])


def _shape(branch: Branch) -> str:
    if isinstance(branch.column, Ragged):
        return "lists of hits"
    return " x ".join(map(str, branch.column.shape[1:])) + " numbers"


def _seen(response: Response, unit: str = "") -> str:
    """What was seen of a response: its form, range, empty cells and sum."""
    cells = response.cells
    sums = finite(cells.reshape(len(cells), -1).sum(axis=1))
    mean = number(sums.mean()) if len(sums) else "?"
    return (
        f"{response.branch.name}: {_shape(response.branch)} an entry, "
        f"{span(response.branch.numbers)} {unit}".rstrip()
        + f"; {share(float((cells == 0).mean()))} of the cells are empty, their sum is {mean} {unit}".rstrip()
        + " on average"
    )


def _response_lines(look: Look) -> tuple[str, list[str]]:
    """The value of ingest.response with what is guessed, and the remarks above it."""
    response = look.response
    if response is None:
        shape = " x ".join(map(str, look.detector.shape))
        names = ", ".join(branch.name for branch in look.branches[:LISTED])
        return "", [
            f"No branch has {shape} cells, or hits with the energy and the cell of each. Branches of numbers:",
            names or "none",
        ]
    value: dict[str, Any] = {"branch": response.branch.name, "unit": look.unit.symbol}
    value |= {"cell": response.cell} if response.cell else {}
    value |= {"layers": response.layers} if response.layers > 1 else {}
    doubts = [look.unit.source, f"guessed: check; {response.doubt}" if response.doubt else ""]
    lines = [_seen(response, look.unit.symbol)]
    if response.negative:
        lines.append(
            f"Negative in {share(response.negative)} of the entries, where ingest stops: mend the ntuple, or leave "
            "these entries out with 'selection: EXPRESSION'."
        )
    if broken := _broken(response.cells).mean():
        lines.append(
            f"Not finite in {share(broken)} of the entries, which are left out (see max_rejected)."
        )
    lines += [f"It could also be {_seen(other)}" for other in look.responses[1:4]]
    return f"{quoted(value)}    # {'; '.join(filter(None, doubts))}", lines


def _condition_lines(look: Look) -> list[tuple[str, str]]:
    """Every condition of the detector as (YAML, remark)."""
    lines: list[tuple[str, str]] = []
    told: set[str] = set()
    for name, house in look.detector.conditions.items():
        condition = look.conditions.get(name)
        if condition is None:
            unit = f", unit: {house}" if house else ""
            remark = "not found: a branch, or the number, in quotes, if it is the same for all"
            lines.append((f"# {name}: {{expression: NAME{unit}}}", remark))
            continue
        unit = condition.unit.symbol
        value = {"expression": condition.expression} | ({"unit": unit} if unit else {})
        seen = finite(condition.values)
        if constant(condition.values):
            text = f"constant: {seen[0]:.6g} {unit}".rstrip() + ", left out of the features"
        else:
            text = f"{span(condition.values)} {unit}".rstrip()
            if unit != house:
                text += f" = {span(seen * factor(unit, house, name))} {house}"
        if broken := _broken(condition.values).mean():
            text += f", not finite in {share(broken)}"
        also = f"or {', '.join(condition.others)}?" if condition.others else ""
        doubt = f"guessed: check; {condition.remark}" if condition.remark else ""
        # A reason that several conditions share is given once.
        reasons = [r.partition(";")[0] if r in told else r for r in (condition.unit.source, doubt)]
        told |= {condition.unit.source, doubt}
        remark = "; ".join(filter(None, [text, *reasons, also]))
        lines.append((f"{name}: {quoted(value)}", remark))
    return lines


def _remarks(look: Look) -> list[str]:
    """What else a user should know of the branches."""
    fixed = [
        f"{branch.name} ({finite(branch.numbers)[0]:.6g})"
        for branch in look.branches
        if branch.scalar and constant(branch.numbers) and branch.numbers.dtype.kind in "fiu"
    ]
    lines = [f"Constant branches: {', '.join(fixed)}."] if fixed and look.sampled > 1 else []
    if look.unreadable:
        lines.append(f"Not numbers: {', '.join(look.unreadable[:LISTED])}.")
    return lines


def _key_lines(look: Look) -> list[tuple[str, str]]:
    """The other keys of ingest as (YAML, remark)."""
    lines = [(f"identity: {quoted(list(look.identity))}", look.identity_remark)]
    lines += [
        (
            f"# weight: {quoted(b.name)}",
            f"looks like a weight: {span(b.numbers)}; without '#' it is used",
        )
        for b in look.branches
        if b.scalar and is_weight(b.name) and not constant(b.numbers)
    ][:1]
    if look.response:
        unit = look.detector.unit
        scale = factor(look.unit.symbol, unit, "init")
        value, cells, signal = threshold(look.response.cells * scale)
        text = f"{unit}; cells below it become 0: {share(cells)} of the filled cells, {share(signal)} of their sum"
        lines.append((f"threshold: {np.format_float_positional(value, trim='-')}", text))
    elif not look.detector.signed:
        lines.append(("threshold: 0", f"{look.detector.unit}; cells below it become 0"))
    if (rejected := look.rejected) > REJECTED:
        most = min(1.0, math.ceil(120 * rejected) / 100)
        text = f"guessed: check; {share(rejected)} of the entries hold numbers that are not finite and are left out"
        lines.append((f"max_rejected: {most:g}", text))
    lines.append(
        (
            f"split: {{train: {TRAIN:.2f}, validation: 0.15, test: {TEST:.2f}}}",
            "shares of the events",
        )
    )
    return lines


def epochs(entries: int) -> int:
    """Epochs in which a network sees as many batches as in the default study."""
    return max(LEAST_EPOCHS, round(BATCHES / max(1, int(TRAIN * entries) // BATCH)))


def bins(look: Look) -> list[dict[str, int]]:
    """The bins of moments and of reconstruct: variables that vary, at least PER_BIN test events in each."""
    test = int(TEST * look.entries)
    everything = tuple(look.detector.variables)
    varies = set(everything)
    if look.house is not None:
        values = look.detector.variable(look.house[~_broken(look.house)])
        varies = {n for n, v in values.items() if len(finite(v)) and not constant(v)} or varies
    made = []
    for names in VARIABLES.get(look.detector.name, (everything, everything)):
        kept = [name for name in names if name in varies] or list(names[:1])
        most = {name: (8 if test > 10000 else 6) if name == names[0] else 5 for name in kept}
        made.append({name: int(np.clip(test // PER_BIN, 1, most[name])) for name in kept})
    return made


def _padded(lines: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Lines whose remarks stand below one another, where they are not too long."""
    width = max((len(code) for code, _ in lines if len(code) <= WIDTH), default=0)
    return [(code.ljust(width), remark) for code, remark in lines]


def study_text(look: Look, name: str) -> str:
    """The study as commented YAML; what was not found is commented out."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sosie"),
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Nothing from the ntuple can end a line, and so neither a comment nor a value.
        finalize=one_line,
    )
    environment.filters["yaml"] = quoted
    response, response_remarks = _response_lines(look)
    moments, reconstruct = bins(look)
    others = ", ".join(f"{other} ({count} entries)" for other, count in look.others)
    text: str = environment.get_template("study.yaml").render(
        study=name,
        files=look.files,
        entries=look.entries,
        sampled=look.sampled,
        detector=look.detector.name,
        unit=look.detector.unit,
        signed=look.detector.signed,
        tree=look.tree,
        tree_remark=f"Other trees: {others}." if others else "",
        response=response,
        response_remarks=response_remarks,
        conditions=_padded(_condition_lines(look)),
        remarks=_remarks(look),
        keys=_padded(_key_lines(look)),
        epochs=epochs(look.entries),
        moments=quoted(moments),
        reconstruct=quoted(reconstruct),
    )
    return text
