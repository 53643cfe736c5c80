"""report: one self-contained HTML page: verdict, leaderboard, figures by step, provenance."""

import base64
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import yaml

from sosie import __version__, figures, speed, trust_figures
from sosie.detectors import find
from sosie.detectors.base import Detector, Quantity
from sosie.distance_board import Column, distance_columns, of
from sosie.errors import IntermediateError
from sosie.figures import read_validation
from sosie.files import file_digest, read_json, staged, sums, write_text
from sosie.gates import allowed, read_gates, shown
from sosie.high_figures import spoken
from sosie.progress import say
from sosie.repetition_plots import repetition_figures
from sosie.shown import Shown, Validation
from sosie.style import REFERENCE, Drawn, house_style, to_svg
from sosie.times import read_costs, runs_of
from sosie.verdict import (
    INDICATIVE,
    NOT_ESTIMATED,
    farthest,
    headline,
    sentences,
    show,
    words_of,
)

PACKAGES = (
    "numpy",
    "scipy",
    "torch",
    "pytorch-lightning",
    "uproot",
    "h5py",
    "scikit-learn",
    "snakemake",
)


def fit_rows(detector: Detector, found: Validation) -> list[tuple[str, str, str]]:
    """The fitted parameters of full simulation and surrogates: parameter, sample, value."""
    rows = []
    for name, fit in detector.fits.items():
        parts = [part for part in found.part(f"fits/{name}") if part.arrays]
        for place, parameter in enumerate(fit.parameters):
            what = f"{name.replace('_', ' ')}: {parameter}"

            def read(one: Drawn, entry: str, place: int = place) -> float:
                return float(one.arrays[entry][place])

            for one in parts[:1]:
                first = {
                    "value": read(one, "reference"),
                    "statistical": read(one, "reference_error"),
                }
                rows.append((what, REFERENCE, show({**first, "systematic": None}, 4)))
            for one in parts:
                several = one.members > 1
                figure = {
                    "value": read(one, "mean"),
                    "statistical": read(one, "statistical"),
                    "systematic": read(one, "systematic") if several else NOT_ESTIMATED,
                }
                rows.append((what, one.name, show(figure, 4)))
    return rows


def _events(figure: Mapping[str, Any]) -> str:
    count = min(figure["events"])
    return f"{count} a class" + (", indicative" if count < INDICATIVE else "")


def _farthest_rate(figures_of: Mapping[str, Any]) -> Mapping[str, Any]:
    rates = figures_of["rates"]
    name = farthest(rates) or next(iter(rates))
    return {**rates[name], "of": name}


def _resolutions(
    quantities: Mapping[str, Quantity], floor: Mapping[str, Any], part: str
) -> list[Column]:
    return [
        Column(f"{words_of(name, quantities[name])} resolution / sim.", of(part, name), 2)
        for name in floor.get(part, {})
    ]


def group_columns(quantities: Mapping[str, Quantity], floor: Mapping[str, Any]) -> Sequence[Column]:
    """The columns of the groups, none where there are no groups."""
    return [
        *_resolutions(quantities, floor, "group_resolution"),
        *(
            Column(f"{words_of(name, quantities[name])} / sim.", of("group_rates", name), 3)
            for name in floor.get("group_rates", {})
        ),
    ]


def columns(quantities: Mapping[str, Quantity], floor: Mapping[str, Any]) -> Sequence[Column]:
    """The columns of the page's leaderboard for the figures that there are."""

    found = [
        Column("classifier AUC", of("classifier", "auc"), 3),
        Column("mean W1 / std", of("wasserstein_mean"), 3),
        Column("mean separation", of("separation_mean"), 4),
    ]
    if "repetition" in floor:
        found += [
            Column("distinct responses", of("repetition", "distinct"), 3),
            Column("error of many draws", of("repetition", "repetition_error"), 3),
        ]
    if "pseudo_chi2" in floor:
        found.append(Column("pseudo chi2", of("pseudo_chi2", "all"), 0))
    found += _resolutions(quantities, floor, "resolution")
    found += [
        Column(f"largest change of AUC, {words_of(name, quantities[name])}", of("rocs", name), 4)
        for name in floor.get("rocs", {})
    ]
    if farthest(floor.get("rates", {})):
        found.append(Column("largest |rate / sim. - 1|", _farthest_rate, 3))
    return found


def _note(figure: Mapping[str, Any]) -> str:
    place = [str(figure[key]) for key in ("of", "where") if figure.get(key)]
    terms = [f"{figure['terms']} terms"] if figure.get("terms") else []
    return ", ".join([*place, *terms, _events(figure)])


def board(
    quantities: Mapping[str, Quantity],
    entries: Sequence[Mapping[str, Any]],
    choose: Callable[[Mapping[str, Quantity], Mapping[str, Any]], Sequence[Column]] = columns,
) -> dict[str, Any]:
    """The leaderboard of the page: heads, and rows of (text, note); the floor comes first."""
    floor = entries[0]["floor"]
    shown = choose(quantities, floor)
    named = [("floor", floor, "")]
    named += [(e["surrogate"], e["figures"], str(e["members"])) for e in entries]
    rows = []
    for name, figures_of, members in named:
        cells = []
        for column in shown:
            figure = column.pick(figures_of)
            if name == "floor":
                figure = {**figure, "systematic": None}
            cells.append((show(figure, column.digits), _note(figure)))
        rows.append([(name, ""), *cells, (members, "")])
    return {
        "heads": ["", *(column.head for column in shown), "members"],
        "tips": ["", *(column.tip for column in shown), ""],
        "rows": rows,
    }


def gate_rows(gates: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The quality gates of the page: passed or not, surrogate, figure, value and limit in words."""
    return [
        {
            "passed": result["passed"],
            "cells": [result["surrogate"], result["figure"], shown(result), allowed(result)],
            "events": _events(result["value"]),
        }
        for result in gates
    ]


def provenance(folder: Path) -> list[tuple[str, str]]:
    """What the numbers rest on: inputs, versions, digests of the tables and networks."""
    summary = read_json(folder / "ingest/summary.json", "ingest", ["files"])
    rows = [("sosie", __version__), ("Python", platform.python_version())]
    rows += [(name, version(name)) for name in PACKAGES]
    rows += [
        (f"input {path}", f"sha256 {known['sha256']}") for path, known in summary["files"].items()
    ]
    files = sorted(
        [
            *folder.glob("ingest/*.h5"),
            *folder.glob("preprocess/*.json"),
            *folder.glob("train/*/*.h5"),
        ]
    )
    return rows + [(str(path.relative_to(folder)), f"sha256 {file_digest(path)}") for path in files]


def unjudged(folder: Path, digests: Mapping[str, str]) -> tuple[int, int]:
    """How many of the input files have no digest that was given, and how many there are."""
    files = read_json(folder / "ingest/summary.json", "ingest", ["files"])["files"]
    return sum(path not in digests for path in files), len(files)


def found_shares(
    detector: Detector, high: Validation, names: Sequence[str]
) -> list[tuple[str, float]]:
    """Share of events in which everything is reconstructed; none where there is nothing to be."""
    if not detector.results:
        return []
    shares = [(name, float(np.mean(high.found[name]))) for name in names]
    return [(REFERENCE, high.found["reference"]), *shares]


def speed_shown(
    costs: Mapping[str, Mapping[str, Any]], entries: Sequence[Mapping[str, Any]]
) -> Shown:
    """The figure that opens the page."""
    aucs = {e["surrogate"]: e["figures"]["classifier"]["auc"] for e in entries}
    floor = entries[0]["floor"]["classifier"]["auc"]
    drawn = speed.points(costs, aucs, floor)
    return Shown("speed", speed.TITLE, speed.TEXT, speed.speed_figure(drawn, floor))


def _item(one: Shown, text: str) -> dict[str, Any]:
    """A figure as the page takes it."""
    image = base64.b64encode(text.encode()).decode()
    return {name: getattr(one, name) for name in ("name", "title", "text", "folded")} | {
        "image": image
    }


def write_all(folder: str | Path, svg: Mapping[str, str], out: str | Path, page: str) -> None:
    """Write figures by their file names into a folder, with their digests, and the page.

    Raises SosieError, and leaves what was there, where one of them cannot be written.
    """
    with staged(folder) as stage:
        for name, text in svg.items():
            write_text(stage / name, text)
        digests = {name: file_digest(stage / name) for name in sorted(svg)}
        write_text(stage / "SHA256SUMS", sums(digests))
        write_text(out, page, beside=True)


def run(inputs: str, out: str, *, folder_of_figures: str, study: str) -> None:
    """Draw every figure into ``folder_of_figures`` and write the page.

    Raises IntermediateError where a result of an earlier step is missing or damaged.
    """
    folder, configuration = Path(inputs), json.loads(study)
    detector = find(configuration["detector"])
    names = list(configuration["train"]["surrogates"])
    metrics = read_json(folder / "compare/metrics.json", "compare", ["surrogates", "gates"])
    if missing := [name for name in names if name not in metrics["surrogates"]]:
        raise IntermediateError(
            f"{folder}/compare/metrics.json: lacks {', '.join(missing)}; run compare again"
        )
    entries = [metrics["surrogates"][name] for name in names]
    gates = read_gates(f"{folder}/compare/metrics.json")
    runs = {
        name: runs_of(configuration["train"]["surrogates"][name], entry["members"])
        for name, entry in zip(names, entries, strict=True)
    }
    costs = {name: read_costs(folder, name, runs[name]) for name in names}
    with house_style():
        moments, high = (
            read_validation(folder, step, trust_figures.scales(entries, step))
            for step in ("moments", "reconstruct")
        )
        quantities = figures.all_quantities(detector, high)
        words = {**spoken(detector), **quantities}
        settings = configuration["train"]["surrogates"]
        sections = {
            "speed": [speed_shown(costs, entries)],
            "trust": trust_figures.trust_figures(detector, entries, settings, moments, high),
            "preprocess": figures.preprocess_figures(folder, detector),
            "train": figures.train_figures(folder, runs),
            "generate": figures.generate_figures(folder, detector, names),
            "moments": figures.moments_figures(detector, moments),
            "reconstruct": figures.reconstruct_figures(detector, high),
            "compare": [
                *figures.compare_figures(quantities, entries),
                *repetition_figures(
                    folder, names if configuration["compare"]["repetition"] else []
                ),
            ],
        }
        drawn = {
            step: [(one, to_svg(one.figure)) for one in shown] for step, shown in sections.items()
        }
    opening = _item(*drawn["speed"][0])
    page = jinja2.Environment(
        loader=jinja2.PackageLoader("sosie"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).get_template("report.html")
    svg = {f"{one.name}.svg": text for items in drawn.values() for one, text in items}
    write_all(
        folder_of_figures,
        svg,
        out,
        page.render(
            study=configuration["study"],
            detector=detector.name,
            headline=headline(entries, gates),
            verdicts=[(e["surrogate"], sentences(e, words)) for e in entries],
            boards=[
                board(words, entries, choose)
                for choose in (columns, group_columns, distance_columns)
                if choose(words, entries[0]["floor"])
            ],
            gates=gate_rows(gates),
            opening=opening,
            processor=costs[names[0]]["drawing"]["processor"],
            costs={"heads": speed.HEADS, "rows": speed.lines(costs)},
            trust=[
                trust_figures.method_table(entries, settings, runs),
                trust_figures.sample_table(entries),
            ],
            events=entries[0].get("drawn_of", entries[0]["events"]),
            drawn=entries[0]["events"] if "drawn_of" in entries[0] else None,
            repeated=entries[0].get("repetition_drawn_of"),
            summary=read_json(folder / "ingest/summary.json", "ingest"),
            fits=fit_rows(detector, high),
            undefined=[(name, n) for name, n in moments.about["undefined"].items() if n],
            left_empty=[(name, n) for name, n in moments.about.get("left_empty", {}).items() if n],
            found=found_shares(detector, high, names),
            groups=high.about.get("groups"),
            high=[name for name in ("rocs", "rates", "groups") if high.about.get(name)],
            signed=detector.signed,
            sections={
                step: [_item(one, text) for one, text in items]
                for step, items in drawn.items()
                if step != "speed"
            },
            configuration=yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True),
            unjudged=unjudged(folder, configuration["ingest"]["digests"]),
            provenance=provenance(folder),
        ),
    )
    say("report", f"{out}: {sum(map(len, drawn.values()))} figures")
