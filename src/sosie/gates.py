"""Quality gates: limits on figures of the leaderboard, relative to the floor or to a surrogate."""

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from sosie.errors import IntermediateError, SettingsError
from sosie.files import read_json
from sosie.verdict import decimals, show

FLOOR = "floor"
Limit = float | list[float]


def limit_of(gate: Mapping[str, Any], base: float) -> tuple[Limit, str]:
    """The largest value that passes, or the smallest and the largest, and how it follows from ``base``."""
    if gate.get("factor") is not None:
        return gate["factor"] * base, f"x {gate['factor']:g}"
    if gate.get("margin") is not None:
        return base + gate["margin"], f"+ {gate['margin']:g}"
    ends = sorted((base * (1 - gate["within"]), base * (1 + gate["within"])))
    return ends, f"± {100 * gate['within']:g} %"


def passes(value: float, limit: Limit) -> bool:
    """Whether a value keeps its limit."""
    return limit[0] <= value <= limit[1] if isinstance(limit, list) else value <= limit


def judge(
    gates: Sequence[Mapping[str, Any]], rows: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """Each gate on every surrogate but the one it compares with: value, limit, passed or not.

    ``rows`` are the columns of the leaderboard by name, those of the floor among them. A figure that
    is not defined fails, with the reason in words. Raises SettingsError for a gate on an unknown
    figure or surrogate.
    """
    results = []
    for number, gate in enumerate(gates):
        key, figure, other = f"compare.gates.{number}", gate["figure"], gate["relative_to"]
        known = list(rows[FLOOR])
        if figure not in known:
            raise SettingsError(
                f"{key}.figure: the leaderboard has no column '{figure}'; {_near(figure, known)}"
            )
        if other not in rows:
            raise SettingsError(
                f"{key}.relative_to: there is no surrogate '{other}'; {_near(other, list(rows))}"
            )
        base = _number(rows[other][figure])
        limit, rule = limit_of(gate, base)
        for name in rows:
            if name in (FLOOR, other):
                continue
            value = _number(rows[name][figure])
            missing = [who for who, x in ((name, value), (other, base)) if not math.isfinite(x)]
            results.append(
                {
                    "surrogate": name,
                    "figure": figure,
                    "value": dict(rows[name][figure]),
                    "relative_to": other,
                    "reference": base if math.isfinite(base) else None,
                    "limit": limit if math.isfinite(base) else None,
                    "rule": rule,
                    "passed": not missing and passes(value, limit),
                    "reason": f"not defined for {' and '.join(missing)}" if missing else "",
                }
            )
    return results


def line(result: Mapping[str, Any]) -> str:
    """One line on a gate: passed or failed, figure, value with its errors, limit."""
    passed = "passed" if result["passed"] else "FAILED"
    return (
        f"{passed}  {result['surrogate']}  {result['figure']} = {shown(result)}; {allowed(result)}"
    )


def shown(result: Mapping[str, Any]) -> str:
    """The value of a gate with its errors, or why there is none."""
    return result["reason"] or show(result["value"], decimals(result["reference"]))


def allowed(result: Mapping[str, Any]) -> str:
    """The limit of a gate in words, with where it comes from."""
    if result["reference"] is None:
        return f"{result['relative_to']} {result['rule']}"
    digits = decimals(result["reference"])
    ends = result["limit"]
    what = (
        f"between {ends[0]:.{digits}f} and {ends[1]:.{digits}f}"
        if isinstance(ends, list)
        else f"at most {ends:.{digits}f}"
    )
    return f"{what} ({result['relative_to']} {result['reference']:.{digits}f} {result['rule']})"


def read_gates(path: str) -> list[dict[str, Any]]:
    """The gates judged in metrics.json of a study; raises IntermediateError for another file."""
    found = read_json(path, "compare")
    gates = found.get("gates") if isinstance(found, dict) else None
    if not isinstance(gates, list) or not all(
        isinstance(g, dict) and isinstance(g.get("passed"), bool) for g in gates
    ):
        raise IntermediateError(
            f"{path}: holds no gates; give the metrics.json of 'sosie compare --collect'"
        )
    return gates


def _number(figure: Mapping[str, Any]) -> float:
    value = figure["value"]
    return float(value) if isinstance(value, int | float) else math.nan


def _near(word: str, valid: Sequence[str]) -> str:
    found = get_close_matches(word, valid, n=3, cutoff=0.5) or valid[:8]
    return f"near it: {', '.join(found)}"
