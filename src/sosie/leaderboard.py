"""The leaderboard: the figures of all surrogates in one table, and whether they pass the gates."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sosie.errors import IntermediateError
from sosie.files import read_json, write_json, write_text
from sosie.gates import FLOOR, judge
from sosie.progress import say

Figure = Mapping[str, Any]
NOT_ESTIMATED = "not estimated"
CLASSIFIERS = {"classifier": "", "classifier_mlp": "_mlp", "classifier_low": "_low"}
SHORT = {"wasserstein": "w1", "separation": "separation"}
FURTHER = {
    "rates": "rate",
    "rocs": "delta_auc",
    "group_resolution": "group_resolution",
    "group_rates": "group_rate",
}


def columns(figures: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures of a surrogate, or of the floor, under their names in the leaderboard."""
    return {
        **{
            f"{what}{ending}": figures[name][what]
            for name, ending in CLASSIFIERS.items()
            for what in ("auc", "jsd")
        },
        "fpd": figures["fpd"],
        "kpd": figures["kpd"],
        **figures["manifold"],
        "copies": figures["memorisation"]["copies"],
        "memorisation_auc": figures["memorisation"]["auc"],
        **{f"{short}_mean": figures[f"{name}_mean"] for name, short in SHORT.items()},
        **{f"resolution_{name}": value for name, value in figures["resolution"].items()},
        **{
            "pseudo_chi2" if quantity == "all" else f"pseudo_chi2_{quantity}": value
            for quantity, value in figures.get("pseudo_chi2", {}).items()
        },
        **figures.get("repetition", {}),
        **{
            f"{short}_{quantity}": value
            for name, short in FURTHER.items()
            for quantity, value in figures.get(name, {}).items()
        },
        **{
            f"{short}_{quantity}": value
            for name, short in SHORT.items()
            for quantity, value in figures[name].items()
        },
    }


def named(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Figure]]:
    """The columns of the floor, then of each surrogate."""
    return {
        FLOOR: columns(entries[0]["floor"]),
        **{e["surrogate"]: columns(e["figures"]) for e in entries},
    }


def leaderboard(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the leaderboard: every figure with its errors and its events a class.

    The number of events is the smaller of that of full simulation and that of the surrogate.
    """
    return [{"name": name, **_cells(found)} for name, found in named(entries).items()]


def _cells(found: Mapping[str, Figure]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for name, figure in found.items():
        cells[name] = figure["value"]
        cells[f"{name}_statistical"] = figure["statistical"]
        cells[f"{name}_systematic"] = figure["systematic"]
        cells[f"{name}_events"] = min(figure["events"])
    return cells


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    return NOT_ESTIMATED if value is None else value


def read_entries(paths: Sequence[str]) -> list[dict[str, Any]]:
    """What compare wrote into each of the files.

    Raises IntermediateError for a file of something else, or for two that cannot stand together.
    """
    entries: list[dict[str, Any]] = []
    for path in paths:
        entry = read_json(path, "compare")
        try:
            found = list(leaderboard([entry])[1])
        except (KeyError, TypeError, AttributeError, ValueError, IndexError):
            raise IntermediateError(
                f"{path}: not the figures of a surrogate; give files of 'sosie compare --in'"
            ) from None
        if entries and found != list(leaderboard(entries[:1])[1]):
            raise IntermediateError(
                f"{path}: has other figures than {paths[0]}; give surrogates of one detector"
            )
        if entry["surrogate"] in [known["surrogate"] for known in entries]:
            raise IntermediateError(
                f"{path}: surrogate '{entry['surrogate']}' is there already; "
                "give each its own --surrogate"
            )
        entries.append(entry)
    return entries


def add_repetition(entries: Sequence[dict[str, Any]], paths: Sequence[str]) -> None:
    """Put what many draws are worth among the figures; raises IntermediateError where one lacks."""
    found = {
        one["surrogate"]: one for one in (read_json(p, "compare", ["surrogate"]) for p in paths)
    }
    for entry in entries if paths else ():
        if entry["surrogate"] not in found:
            raise IntermediateError(
                f"{', '.join(paths)}: none is of '{entry['surrogate']}'; run compare again"
            )
        one = found[entry["surrogate"]]
        entry["figures"]["repetition"] = one["figures"]
        entry["floor"]["repetition"] = one["floor_figures"]
        if "drawn_of" in one:
            entry["repetition_drawn_of"] = one["drawn_of"]


def collect(
    paths: Sequence[str],
    out: str | Path,
    gates: Sequence[Mapping[str, Any]] = (),
    repetition: Sequence[str] = (),
) -> None:
    """Write metrics.json, with the gates judged, and leaderboard.csv of all surrogates into ``out``.

    ``repetition``: what repetition wrote of each surrogate.

    Raises IntermediateError for files that compare did not write, SettingsError for a gate on what
    the leaderboard does not have.
    """
    entries = read_entries(paths)
    add_repetition(entries, repetition)
    rows, judged = leaderboard(entries), judge(gates, named(entries))
    out = Path(out)
    write_json(
        out / "metrics.json",
        {
            "floor": entries[0]["floor"],
            "surrogates": {e["surrogate"]: e for e in entries},
            "gates": judged,
        },
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    write_text(out / "leaderboard.csv", text.getvalue(), beside=True)
    failed = sum(not result["passed"] for result in judged)
    gated = f", {failed} of {len(judged)} gates failed" if judged else ""
    say("compare", f"{out / 'leaderboard.csv'}: {len(rows)} rows{gated}")
