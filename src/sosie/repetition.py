"""repetition: what many draws of a surrogate are worth: how many differ, and how far moments go on improving."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from sosie.detectors.base import Detector
from sosie.events import Events, open_events
from sosie.expected import Expected, inputs_of, parts_of
from sosie.files import write_json
from sosie.fine_bins import Reference, Sums
from sosie.fingerprints import fingerprints, multiplicity
from sosie.generate import draw
from sosie.kept import kept
from sosie.progress import say, track
from sosie.streams import key, stream
from sosie.surrogates import Surrogate, load

Array = np.ndarray[Any, Any]
STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
BLOCK = 2048
"""Events in memory at a time."""
BLUNT = 0.05
"""Square of the relative error of a reference width beyond which it says nothing, as of rare ties."""
MEMORY = 2_000_000_000
SHARE = 0.6
"""Of the memory of the job."""
FEWEST = 10
"""Draws of a bin, at least, for its moments to count."""


def numbers(events: int, factor: float) -> list[int]:
    """The numbers drawn at which it is looked: STEPS times the training events, up to ``factor``."""
    steps = [step for step in STEPS if step < factor] + ([factor] if factor > 0 else [])
    return sorted({round(step * events) for step in steps} - {0})


def major(detector: Detector) -> list[str]:
    """The observables that count."""
    return [name for name in detector.observables if name not in detector.minor]


def observed(detector: Detector, response: Array, conditions: Array) -> Array:
    """The observables that count (N, Q) of some events."""
    found = detector.observe(response, conditions)
    return np.column_stack([found[name] for name in major(detector)])


@dataclass(frozen=True)
class Asked:
    """Conditions (N, C), their fine bins (N,) and what is expected for them (N, Q)."""

    conditions: Array
    index: Array
    expected: Array


class Tally:
    """What is known of the responses drawn so far: sums in fine bins, and a number for each.

    Memory is 12 bytes an event beside the sums.
    """

    def __init__(self, detector: Detector, reference: Reference, asked: Asked) -> None:
        self.detector, self.reference, self.asked = detector, reference, asked
        self.sums = Sums(reference.mean.shape)
        self._marks: list[Array] = []
        self._bins: list[Array] = []
        self.rows: list[dict[str, float]] = []

    @property
    def drawn(self) -> int:
        """Responses so far."""
        return sum(map(len, self._marks))

    def add(self, response: Array, rows: Array) -> None:
        """Add responses (n, *shape) for the conditions of these rows (n,)."""
        conditions, index = self.asked.conditions[rows], self.asked.index[rows]
        residuals = observed(self.detector, response, conditions) - self.asked.expected[rows]
        self.sums.add(self.reference.scaled(residuals, index), index)
        self._marks.append(fingerprints(self.detector, response, conditions))
        self._bins.append(index.astype(np.int32))

    def note(self) -> None:
        """Keep a row of what is known now."""
        marks, bins = np.concatenate(self._marks), np.concatenate(self._bins)
        distinct, effective = multiplicity(marks, bins, self.reference.bins)
        self.rows.append(
            {
                "number": float(len(marks)),
                "distinct": float(distinct),
                "effective": effective,
                **errors(self.reference, self.sums),
            }
        )

    def columns(self) -> dict[str, list[float]]:
        """The rows by column."""
        return {name: [row[name] for row in self.rows] for name in (self.rows or [{}])[0]}


def errors(reference: Reference, sums: Sums) -> dict[str, float]:
    """Error of means and widths in fine bins, less that of the reference itself.

    ``mean`` is the root mean square over bins and quantities of (mean - reference mean) / width,
    ``width`` that of the logarithm of the ratio of widths, ``both`` the root of the mean of the two
    squares. The expected square of the reference's own error is subtracted from each square before,
    1/n for a mean and (kurtosis - 1) / 4n for a width, so that a square can come out negative: then
    the error is 0. ``<name>_error`` is the statistical error from the spread over bins, and
    ``<name>_independent`` what independent draws of the right law would have.
    """
    mean, std = sums.moments()
    usable = reference.usable & (sums.events >= FEWEST)[:, None]
    n_reference = np.maximum(reference.effective, 1.0)[:, None]
    factor = {"mean": np.ones_like(mean), "width": (reference.kurtosis - 1) / 4}
    shown = {"mean": usable, "width": usable & (std > 0) & (factor["width"] < BLUNT * n_reference)}
    with np.errstate(invalid="ignore", divide="ignore"):
        off = {
            "mean": (mean - reference.mean) / reference.std,
            "width": np.log(std / reference.std),
        }
        alone = {n: _mean(factor[n] / np.maximum(sums.weight, 1.0), shown[n]) for n in off}
    # One number a bin, since the quantities of an event depend on one another.
    each = {n: _over(off[n] ** 2 - factor[n] / n_reference, shown[n]) for n in off}
    each["both"] = _over(np.column_stack([each["mean"], each["width"]]))
    alone["both"] = (alone["mean"] + alone["width"]) / 2
    found: dict[str, float] = {}
    for name, squares in each.items():
        here = squares[np.isfinite(squares)]
        value = float(here.mean()) if len(here) else math.nan
        # With one bin there is no spread over bins.
        error = float(here.std(ddof=1) / math.sqrt(len(here))) if len(here) > 1 else math.nan
        root = math.sqrt(max(value, 0.0)) if len(here) else math.nan
        found[name] = root
        found[f"{name}_error"] = math.sqrt(root**2 + error) - root
        found[f"{name}_independent"] = math.sqrt(alone[name])
    return found


def _over(values: Array, shown: Array | None = None) -> Array:
    """Mean (B,) over what is shown of values (B, Q) and finite, NaN where nothing is."""
    known = np.isfinite(values) if shown is None else shown & np.isfinite(values)
    total, number = np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _mean(values: Array, shown: Array) -> float:
    """Mean of what is shown of values (B, Q), NaN where nothing is."""
    return float(values[shown].mean()) if shown.any() else math.nan


def read(events: Events, detector: Detector) -> tuple[Array, Array]:
    """Conditions (N, C) and observables (N, Q) of a sample, read in pieces."""
    conditions = events.column("conditions").astype(np.float64)
    pieces = [observed(detector, r, conditions[where]) for where, r in events.responses()]
    return conditions, np.concatenate(pieces)


def prepare(train: Events, test: Events, detector: Detector, seed: int) -> tuple[Reference, Asked]:
    """The reference in fine bins, and the conditions of the training sample to be asked for."""
    conditions, values = read(train, detector)
    inputs, part = inputs_of(detector, conditions), parts_of(train.column("group_id"), seed)
    expected = Expected(inputs, values, part)
    tested, seen = read(test, detector)
    other = parts_of(test.column("group_id"), seed)
    features = detector.features(tested)
    middle, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    residuals = seen - expected.of(inputs_of(detector, tested), other)
    reference = Reference.fit((features - middle) / spread, residuals, test.weight)
    index = reference.tree.index((detector.features(conditions) - middle) / spread)
    return reference, Asked(conditions, index, expected.of(inputs, part))


def pieces_of(marks: Sequence[int]) -> list[tuple[int, int]]:
    """Pieces (first, last + 1) of the numbers drawn, none across a mark."""
    edges = sorted({*marks, *range(0, max(marks, default=0), BLOCK)} | {0})
    return list(pairwise(edges))


def repeat(
    surrogate: Surrogate, reference: Reference, asked: Asked, factor: float, seed: int
) -> Tally:
    """Draw ``factor`` times for all conditions, in an order of its own and again and again."""
    tally = Tally(surrogate.detector, reference, asked)
    count = len(asked.conditions)
    order = stream(seed, "repetition", "order").permutation(count)
    rng = stream(seed, "repetition", surrogate.kind, surrogate.origin.member)
    marks = numbers(count, factor)
    pieces = pieces_of(marks)
    for start, stop in track(pieces, "compare", len(pieces)):
        rows = order[np.arange(start, stop) % count]
        conditions = asked.conditions[rows].astype(np.float32)
        tally.add(draw(surrogate, conditions, rng), rows)
        if stop in marks:
            tally.note()
    return tally


def itself(
    events: Events, detector: Detector, reference: Reference, asked: Asked, factor: float
) -> Tally:
    """The same of the responses of full simulation in a table, which are there once."""
    tally = Tally(detector, reference, asked)
    marks = numbers(len(events), min(factor, 1.0)) or [len(events)]
    for where, response in events.responses():
        ends = [mark for mark in marks if where.start < mark <= where.stop]
        start = where.start
        for stop in dict.fromkeys([*ends, where.stop]):
            here = slice(start - where.start, stop - where.start)
            tally.add(response[here], np.arange(start, stop))
            start = stop
            if stop in ends:
                tally.note()
    return tally


def figures(tally: Tally, test: int) -> dict[str, dict[str, Any]]:
    """Columns of the leaderboard: share of distinct responses, and the error, at the largest number."""
    last: Mapping[str, float] = tally.rows[-1] if tally.rows else {}
    number = int(last.get("number", 0))
    share = last["distinct"] / number if number else math.nan
    beside = {"systematic": "not estimated"}
    return {
        "distinct": {"value": share, "statistical": math.nan, **beside, "events": [number, number]},
        "repetition_error": {
            "value": last.get("both", math.nan),
            "statistical": last.get("both_error", math.nan),
            **beside,
            "events": [test, number],
        },
    }


def most_events(detector: Detector, factor: float, memory: int) -> int:
    """Events of a sample that are held at most: conditions, features and expected observables of
    each, thrice while they are made, and 28 bytes of each response drawn for it."""
    numbers = len(detector.conditions) + 2 * len(detector.feature_names) + 2 * len(major(detector))
    return int(SHARE * memory) // int(24 * numbers + 28 * factor + 256)


def run(
    member: str,
    train: str,
    test: str,
    out: str,
    *,
    name: str,
    seed: int,
    factor: float,
    memory: int = MEMORY,
) -> None:
    """Draw from a member ``factor`` times the training sample, for its conditions, and write what
    that is worth against the test sample, beside the same of the training sample itself.

    Of more events of either sample than fit into ``memory`` bytes some are drawn, by a digest of their
    group. One that knows no other conditions than those of its file is not drawn. Raises IntermediateError
    for files that are no such.
    """
    surrogate = load(member)
    detector = surrogate.detector
    with open_events(train) as whole, open_events(test) as whole_test:
        most = most_events(detector, factor, memory)
        events, others = (
            kept(part, key(seed, "repetition", "kept"), most) for part in (whole, whole_test)
        )
        total = {"training": len(whole), "test": len(whole_test)}
        reference, asked = prepare(events, others, detector, seed)
        floor, tested = itself(events, detector, reference, asked, factor), len(others)
    found = repeat(surrogate, reference, asked, factor if surrogate.anywhere else 0.0, seed)
    held = {"training": len(asked.conditions), "test": tested}
    write_json(
        out,
        {
            **({} if held == total else {"drawn_of": total}),
            "surrogate": name,
            "training": len(asked.conditions),
            "test": tested,
            "bins": reference.bins,
            "observables": major(detector),
            "drawn": found.columns(),
            "floor": floor.columns(),
            "figures": figures(found, tested),
            "floor_figures": figures(floor, tested),
        },
    )
    share = found.rows[-1]["distinct"] / found.drawn if found.rows else math.nan
    say("compare", f"{name}: {found.drawn} drawn again, {share:.1%} distinct")
