"""The page of a committed study: Markdown and figures, from its rows and a text by hand alone."""

import fnmatch
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sosie import speed
from sosie.complaints import near
from sosie.detectors import find
from sosie.errors import InputError
from sosie.files import read_json, write_text
from sosie.gates import FLOOR, allowed, shown
from sosie.markdown import literal, no_html, table
from sosie.plots import distance_figure
from sosie.speed import duration
from sosie.study_about import ABOUT, About, Target, read_about
from sosie.style import house_style, to_svg
from sosie.trust_figures import SAMPLE_HEADS, sample_table, scale_in_words
from sosie.verdict import INDICATIVE, decimals, error_of, show

NOT_RECORDED = "not recorded"
Row = Mapping[str, Any]


def read_rows(folder: Path) -> dict[str, Row]:
    """The rows of a folder, the floor first; raises IntermediateError, InputError without a floor."""
    paths = [path for path in sorted(folder.glob("*.json")) if path.stem != ABOUT]
    rows = [literal(read_json(path, "python -m sosie.studies rows")) for path in paths]
    found: dict[str, Row] = {
        row["name"]: row for row in sorted(rows, key=lambda row: int(row["place"]))
    }
    if FLOOR not in found:
        raise InputError(f"{folder}/{FLOOR}.json: missing; run 'python -m sosie.studies rows'")
    return found


def cell(row: Row, name: str) -> str:
    """A figure with errors and events a class."""
    figure = row["figures"][name]
    count = min(figure["events"])
    if row["name"] == FLOOR:
        figure = {**figure, "systematic": None}
    few = ", indicative" if count < INDICATIVE else ""
    return f"{show(figure, decimals(figure['value']))}<br>{count} a class{few}"


def target_lines(about: About, rows: Mapping[str, Row]) -> list[list[str]]:
    """Each target against what was reached; raises InputError for one on what no row has."""
    lines = []
    for number, target in enumerate(about.targets):
        place = f"{ABOUT}.json: targets.{number}"
        if target.surrogate not in rows:
            raise InputError(f"{place}.surrogate: {near(target.surrogate, rows)}")
        figures = rows[target.surrogate]["figures"]
        names = fnmatch.filter(figures, target.figure)
        if not names:
            raise InputError(f"{place}.figure: {near(target.figure, figures)}")
        missed, name = max((_missed(target, rows, name), name) for name in names)
        verdict = "reached" if missed <= 0 else "**missed**"
        by = f" by {missed:.{decimals(figures[name]['value'])}f}" if 0 < missed < math.inf else ""
        worst = f", worst of {len(names)}" if len(names) > 1 else ""
        reached = cell(rows[target.surrogate], name)
        lines.append([target.surrogate, name, target.words + worst, reached, verdict + by])
    return lines


def _missed(target: Target, rows: Mapping[str, Row], name: str) -> float:
    """By how much the figure of this name lies beyond the target; infinite where it has no value."""
    figure, floor = (rows[row]["figures"].get(name, {}) for row in (target.surrogate, FLOOR))
    value, least = figure["value"], floor.get("value")
    if not isinstance(value, float) or (target.above_floor is not None and least is None):
        return math.inf
    return target.missed_by(value, error_of(figure), least or 0.0)


def _time(step: Any) -> str:
    return duration(step["seconds"]) if isinstance(step, dict) else NOT_RECORDED


def _memory(step: Any) -> str:
    return f"{step['peak_memory_mb']:.0f} MB" if isinstance(step, dict) else NOT_RECORDED


def speed_lines(rows: Mapping[str, Row]) -> list[list[str]]:
    """Members, epochs, and what each surrogate costs."""
    lines = []
    for name, *cells in speed.lines(costs_of(rows)):
        row = rows.get(name)
        about = ["", ""]
        if row:
            learnt = row["training"]
            kept = f", kept {learnt['kept']['epoch']}" if "kept" in learnt else ""
            epochs = f"{learnt['epochs']}{kept}" if learnt["epochs"] else "none"
            about = [str(row["members"]), epochs]
        lines.append([name, *about, *cells])
    return lines


def calibration_lines(rows: Mapping[str, Row]) -> list[list[str]]:
    """How far the errors of each surrogate are right, as its members spread and calibrated."""

    def judged(found: Any, name: str, digits: int) -> str:
        if not isinstance(found, dict):
            return NOT_RECORDED if found is None else str(found)
        value, error = found[name], found[f"{name}_error"]
        if not isinstance(value, float):
            return "not defined"
        return f"{value:.{digits}f} ± {error or 0:.{digits}f}"

    lines = []
    for name, row in rows.items():
        for step, found in row.get("calibration", {}).items():
            raw, after = found.get("raw"), found.get("calibrated")
            if row["members"] < 2:
                after = "not estimated"
            scale = (row.get("trust") or {}).get("scale", {}).get(step)
            lines.append(
                [
                    name,
                    step,
                    str((raw or found)["bins"]),
                    scale_in_words(scale) if scale else "",
                    judged(raw, "coverage", 3) if raw else _within_one(found),
                    judged(after, "coverage", 3),
                    judged(raw, "pull_width", 2) if raw else f"{found['pull_width']:.2f}",
                    judged(after, "pull_width", 2),
                    f"{raw['expected_width']:.2f}" if raw else NOT_RECORDED,
                ]
            )
    return lines


def _within_one(found: Mapping[str, Any]) -> str:
    """What older rows have in the place of a coverage."""
    share, expected = found["share_within_1"], found["expected_within_1"]
    return f"{share:.1%} within one error ({expected:.1%})"


def domain_lines(rows: Mapping[str, Row]) -> list[list[str]]:
    """Samples against the domain of training, of each surrogate with an ensemble."""
    entries = [{"trust": row.get("trust")} for row in rows.values()]
    return list(sample_table(entries)["rows"])


def gate_lines(rows: Mapping[str, Row]) -> list[list[str]]:
    """The quality gates of the study as they were judged."""
    return [
        [
            name,
            gate["figure"],
            allowed(gate),
            shown(gate),
            "passed" if gate["passed"] else "**failed**",
        ]
        for name, row in rows.items()
        for gate in row.get("gates", [])
    ]


def costs_of(rows: Mapping[str, Row]) -> dict[str, Any]:
    """What each surrogate costs, by name."""
    return {name: row["costs"] for name, row in rows.items() if name != FLOOR}


def speed_points(rows: Mapping[str, Row]) -> list[speed.Point]:
    """The points of the figure of fidelity against speed."""
    aucs = {name: row["figures"]["auc"] for name, row in rows.items() if name != FLOOR}
    return speed.points(costs_of(rows), aucs, rows[FLOOR]["figures"]["auc"])


def drawings(rows: Mapping[str, Row]) -> dict[str, str]:
    """The figures of the page as SVG, by file name."""
    detector = find(rows[FLOOR]["detector"])
    known = {**detector.observables, **detector.results}
    start = "w1_"

    def distances(row: Row) -> dict[str, Any]:
        found = {n.removeprefix(start): f for n, f in row["figures"].items() if n.startswith(start)}
        return {name: figure for name, figure in found.items() if name != "mean"}

    labels = {n: known[n].label if n in known else n for n in distances(rows[FLOOR])}
    surrogates = {name: distances(row) for name, row in rows.items() if name != FLOOR}
    axis = "Wasserstein-1 distance / standard deviation of full simulation"
    with house_style():
        return {
            "distances.svg": to_svg(
                distance_figure(labels, axis, distances(rows[FLOOR]), surrogates)
            ),
            "speed.svg": to_svg(
                speed.speed_figure(speed_points(rows), rows[FLOOR]["figures"]["auc"])
            ),
        }


def section(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A section with what was asked of each surrogate; none where nothing was."""
    return [f"## {title}\n", table(["surrogate", "figure", *heads, ""], lines)] if lines else []


def text_of(about: About, rows: Mapping[str, Row], folder: str) -> str:
    """The page; ``folder`` is where it finds rows and figures."""
    there = quote(folder)
    floor, surrogates = rows[FLOOR], [name for name in rows if name != FLOOR]
    each = [name for name in floor["figures"] if name.startswith(("w1_", "separation_"))]
    each = [name for name in each if not name.endswith("_mean")]
    main = [name for name in floor["figures"] if name not in each]
    steps = [
        (row["name"], step, found) for row in rows.values() for step, found in row["steps"].items()
    ]
    kept = ", ".join(f"{count} {name}" for name, count in floor["events"].items())

    def figures(names: Sequence[str]) -> str:
        lines = [[name, *(cell(row, name) for row in rows.values())] for name in names]
        return table(["figure", *rows], lines)

    parts = [
        f"# {no_html(about.title)}\n",
        *(f"{no_html(paragraph)}\n" for paragraph in about.description),
        f"Events: {kept}. Surrogates: {', '.join(surrogates)}. `python -m sosie.studies page` builds this page from the "
        f"files in [{literal(folder)}]({there}); do not edit it.\n",
        *section("Targets", ["target", "reached"], target_lines(about, rows)),
        *section("Quality gates", ["limit", "value"], gate_lines(rows)),
        "## Figures\n",
        "Value ± statistical ± systematic error, and the number of events a class. The floor is what two independent "
        "samples of full simulation give.\n",
        figures(main),
        f"![Wasserstein-1 distance of every quantity]({there}/distances.svg)\n",
        "<details><summary>every observable and reconstructed quantity</summary>\n",
        figures(each),
        "</details>\n",
        "## Errors\n",
        "Coverage: share of the bins whose pull lies within the central 68.3 % of Student's t, as the members spread and with the scale fitted on the "
        "calibration sample; width: half the central 68 % of the pulls. Errors: bootstrap over events and members.\n",
        table(
            [
                "surrogate",
                "step",
                "bins",
                "scale of s",
                "coverage, raw",
                "calibrated",
                "width, raw",
                "calibrated",
                "expected",
            ],
            calibration_lines(rows),
        ),
        *(
            [
                "Samples against the domain of training; bins off by 3 calibrated sigma with 50 events or more.\n",
                table(["surrogate", *SAMPLE_HEADS], lines),
            ]
            if (lines := domain_lines(rows))
            else []
        ),
        "## Speed\n",
        "Time an event: processor time of one member drawing for conditions of the test sample on one core, zero suppression included "
        "and files not; the median of repeated draws and the ends of their central 68 %.\n",
        table(
            ["", "members", "epochs", *speed.HEADS[1:]],
            speed_lines(rows),
        ),
        f"![{speed.TITLE}]({there}/speed.svg)\n",
        f"{speed.TEXT}\n",
        "<details><summary>time and peak memory of each step</summary>\n",
        table(
            ["row", "step", "time", "peak memory"],
            [["all" if n == FLOOR else n, step, _time(x), _memory(x)] for n, step, x in steps],
        ),
        "</details>\n",
        *(f"{no_html(note)}\n" for note in about.notes),
        "## Machine and origin\n",
        table(
            ["rows", "machine on which they were written"],
            [
                [name, ", ".join(f"{key} {value}" for key, value in row["machine"].items())]
                for name, row in rows.items()
            ],
        ),
        table(
            ["", "digest"],
            [
                *([path, f"sha256 `{value}`"] for path, value in floor["inputs"].items()),
                *([f"code of train ({n})", f"`{_code(rows[n])}`"] for n in surrogates),
            ],
        ),
    ]
    return "\n".join(parts)


def _code(row: Row) -> str:
    found = row["training"]["provenance"]
    return f"{found['code'] or NOT_RECORDED}, sosie {found['sosie']}, seed {found['seed']}"


def write_page(folder: Path, out: Path) -> list[Path]:
    """Write the page and, into the folder of the rows, its figures.

    Raises InputError for a text by hand, IntermediateError for rows, that cannot be read.
    """
    about, rows = read_about(folder / f"{ABOUT}.json"), read_rows(folder)
    text = text_of(about, rows, Path(os.path.relpath(folder, out.parent)).as_posix())
    for name, drawn in drawings(rows).items():
        write_text(folder / name, drawn)
    write_text(out, text)
    return [out]
