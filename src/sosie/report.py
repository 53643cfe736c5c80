"""report: one self-contained HTML page: verdict, leaderboard, figures by step, provenance."""

import base64
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import yaml

from sosie import __version__, figures
from sosie.detectors import find
from sosie.detectors.base import Detector, Quantity
from sosie.errors import IntermediateError
from sosie.figures import Validation, read_validation
from sosie.files import file_digest, read_json, sums, write_text
from sosie.gates import allowed, read_gates, shown
from sosie.progress import say
from sosie.style import REFERENCE, Drawn, house_style, to_svg
from sosie.verdict import INDICATIVE, NOT_ESTIMATED, headline, sentences, show, words_of

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


def board(
    quantities: Mapping[str, Quantity], entries: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The leaderboard of the page: heads, and rows of (text, note); the floor comes first."""
    floor = entries[0]["floor"]
    results = list(floor["resolution"])
    named = [("floor", floor, "")]
    named += [(e["surrogate"], e["figures"], str(e["members"])) for e in entries]
    rows = []
    for name, figures_of, members in named:
        shown = [figures_of["classifier"]["auc"], figures_of["wasserstein_mean"]]
        shown.append(figures_of["separation_mean"])
        shown += [figures_of["resolution"][r] for r in results]
        if name == "floor":
            shown = [{**figure, "systematic": None} for figure in shown]
        digits = (3, 3, 4, *[2] * len(results))
        cells = zip(map(show, shown, digits), map(_events, shown), strict=True)
        rows.append([(name, ""), *cells, (members, "")])
    what = [words_of(r, quantities[r]) for r in results]
    heads = [
        "",
        "classifier AUC",
        "mean W1 / std",
        "mean separation",
        *(f"{w} resolution / sim." for w in what),
        "members",
    ]
    return {"heads": heads, "rows": rows}


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
    with house_style():
        moments = read_validation(folder, "moments", names)
        high = read_validation(folder, "reconstruct", names)
        quantities = figures.all_quantities(detector, high)
        sections = {
            "preprocess": figures.preprocess_figures(folder, detector),
            "train": figures.train_figures(folder, names),
            "generate": figures.generate_figures(folder, detector, names),
            "moments": figures.moments_figures(detector, moments),
            "reconstruct": figures.reconstruct_figures(detector, high),
            "compare": figures.compare_figures(quantities, entries),
        }
        drawn = {
            step: [(one, to_svg(one.figure)) for one in shown] for step, shown in sections.items()
        }
    shown = Path(folder_of_figures)
    for items in drawn.values():
        for one, text in items:
            write_text(shown / f"{one.name}.svg", text)
    written = sorted(f"{one.name}.svg" for items in drawn.values() for one, _ in items)
    write_text(shown / "SHA256SUMS", sums({name: file_digest(shown / name) for name in written}))
    page = jinja2.Environment(
        loader=jinja2.PackageLoader("sosie"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).get_template("report.html")
    write_text(
        out,
        page.render(
            study=configuration["study"],
            detector=detector.name,
            headline=headline(entries, gates),
            verdicts=[(e["surrogate"], sentences(e, quantities)) for e in entries],
            board=board(quantities, entries),
            gates=gate_rows(gates),
            events=entries[0]["events"],
            summary=read_json(folder / "ingest/summary.json", "ingest"),
            fits=fit_rows(detector, high),
            undefined=[(name, n) for name, n in moments.about["undefined"].items() if n],
            found=[(REFERENCE, high.found["reference"])]
            + [(name, float(np.mean(high.found[name]))) for name in names],
            sections={
                step: [
                    {
                        "name": one.name,
                        "title": one.title,
                        "text": one.text,
                        "folded": one.folded,
                        "image": base64.b64encode(text.encode()).decode(),
                    }
                    for one, text in items
                ]
                for step, items in drawn.items()
            },
            configuration=yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True),
            provenance=provenance(folder),
        ),
        beside=True,
    )
    say("report", f"{out}: {sum(map(len, drawn.values()))} figures")
