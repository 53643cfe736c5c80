"""Committed studies: ``rows`` writes what a study measured, ``page`` makes a page of such rows.

python -m sosie.studies rows results/ecal docs/studies/ecal
python -m sosie.studies page docs/studies/ecal docs/studies/ecal.md
"""

import argparse
import csv
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from sosie import __version__
from sosie.arrays import read_arrays
from sosie.errors import InputError, SosieError
from sosie.figures import read_curves
from sosie.files import read_json, write_json
from sosie.gates import FLOOR
from sosie.leaderboard import columns
from sosie.machine import accelerator, processor
from sosie.study_about import ABOUT
from sosie.study_page import NOT_RECORDED, write_page
from sosie.times import read_costs, runs_of

COMMON = {
    "ingest": "ingest.tsv",
    "preprocess": "preprocess.tsv",
    "calibration": "reconstruct/calibration.tsv",
}
OWN = {
    "train": "train/{}/{}.tsv",
    "ensemble": "ensemble/{}.tsv",
    "generate": "generate/{}/test.tsv",
    "moments": "moments/{}/test.tsv",
    "reconstruct": "reconstruct/{}/test.tsv",
    "compare": "compare/{}.tsv",
}


def benchmark(path: Path) -> dict[str, float] | str:
    """Wall time and peak memory of a job as Snakemake measured them; 'not recorded' without."""
    if not path.is_file():
        return NOT_RECORDED
    with open(path, encoding="utf-8") as file:
        row = next(csv.DictReader(file, delimiter="\t"), {})
    try:
        found = {"seconds": float(row["s"]), "peak_memory_mb": float(row["max_rss"])}
    except (KeyError, ValueError):
        # Snakemake writes NA or - where a job ended before it was looked at.
        return NOT_RECORDED
    return found


def whole(parts: Sequence[dict[str, float] | str]) -> dict[str, float] | str:
    """The jobs of a step together: the sum of their wall times, the largest memory."""
    each = [one for one in parts if isinstance(one, dict)]
    if len(each) < len(parts):
        return NOT_RECORDED
    return {
        "seconds": sum(one["seconds"] for one in each),
        "peak_memory_mb": max(one["peak_memory_mb"] for one in each),
    }


def machine() -> dict[str, Any]:
    """The machine on which this runs, and the versions of what computes."""
    import torch  # noqa: F401 - so that its devices are known

    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "device": accelerator() or "cpu",
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "scikit-learn", "torch")},
    }


def training(folder: Path, name: str) -> dict[str, Any]:
    """Kind, settings, weights, epochs and provenance of a trained surrogate.

    Raises IntermediateError for a file that is not one.
    """
    arrays, about = read_arrays(folder / f"train/{name}/0.h5", "surrogate", "train")
    curves = read_curves(folder / f"train/{name}/0.csv")
    found = {
        "kind": about["surrogate"],
        "settings": about["settings"],
        "weights": sum(a.size for key, a in arrays.items() if key.startswith("weights/")),
        "epochs": len(curves["epoch"]),
        "provenance": about["origin"]["provenance"],
    }
    distance = curves.get("distance", np.array([]))
    if np.isfinite(distance).any():
        best = int(np.nanargmin(distance))
        found["kept"] = {
            "epoch": int(curves["epoch"][best]),
            "distance": float(distance[best]),
        }
    return found


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """What a study measured, by name: the floor with what all share, then each surrogate.

    Raises IntermediateError for results that are missing or damaged.
    """
    metrics = read_json(folder / "compare/metrics.json", "compare")
    summary = read_json(folder / "ingest/summary.json", "ingest")
    measured = folder / "benchmarks"
    shared = {"study": folder.name, "detector": summary["detector"], "machine": machine()}
    found: dict[str, dict[str, Any]] = {
        FLOOR: {
            "name": FLOOR,
            "place": 0,
            **shared,
            "figures": columns(metrics["floor"]),
            "events": summary["events"]["kept"],
            "inputs": {path: known["sha256"] for path, known in summary["files"].items()},
            "sosie": __version__,
            "steps": {step: benchmark(measured / path) for step, path in COMMON.items()},
        }
    }
    for place, (name, entry) in enumerate(metrics["surrogates"].items(), 1):
        learnt = training(folder, name)
        runs = runs_of(learnt["settings"], entry["members"])
        steps = {
            step: whole([benchmark(measured / path.format(name, run)) for run in range(number)])
            for step, path in OWN.items()
            for number in [runs if step == "train" else 1]
        }
        found[name] = {
            "name": name,
            "place": place,
            **shared,
            "members": entry["members"],
            "figures": columns(entry["figures"]),
            "calibration": entry["calibration"],
            "trust": entry["trust"],
            "gates": [g for g in metrics["gates"] if g["surrogate"] == name],
            "training": learnt,
            "steps": steps,
            "costs": read_costs(folder, name, runs),
        }
    return found


def write_rows(folder: Path, out: Path) -> list[Path]:
    """Write a JSON file for each row; raises InputError for a name that is taken."""
    found = rows(folder)
    if ABOUT in found:
        raise InputError(f"{folder}: a surrogate '{ABOUT}' has the name of {ABOUT}.json; rename it")
    for name, row in found.items():
        write_json(out / f"{name}.json", row)
    return [out / f"{name}.json" for name in found]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write rows or a page; 0 when done, 2 with a line for what the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m sosie.studies", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parts = parser.add_subparsers(dest="part", required=True)
    for part, first, second in (
        ("rows", "results of a study", "folder of the rows"),
        ("page", "folder of the rows", "the page, a Markdown file"),
    ):
        one = parts.add_parser(part)
        one.add_argument("source", type=Path, help=first)
        one.add_argument("out", type=Path, help=second)
    parsed = parser.parse_args(arguments)
    actions: Mapping[str, Any] = {"rows": write_rows, "page": write_page}
    try:
        written = actions[parsed.part](parsed.source, parsed.out)
    except SosieError as error:
        for line in str(error).splitlines():
            print(f"studies {parsed.part}: {line}", file=sys.stderr)
        return 2
    print("\n".join(map(str, written)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
