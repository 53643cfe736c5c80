"""What a run of the workflow costs outside the computation, as a table in Markdown.

``python benchmarks/overhead.py`` runs the tiny study of tests/tiny.py on one core in a new folder.
All parts are measured in this one run. Other work on the machine distorts them.
"""

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from tiny import checkout, environment, tiny  # noqa: E402

REPEATS = 3
# What a job imports beside its step, by the start of its name.
BESIDE = {
    "train/wgan_gp": ["sosie.surrogates.wgan_training"],
    "ensemble/wgan_gp": ["sosie.surrogates.wgan_gp"],
    "generate/wgan_gp": ["sosie.surrogates.wgan_gp"],
    "reconstruct/calibration": ["scipy.optimize"],
    "compare/library": ["scipy.stats", "sklearn.ensemble", "sklearn.isotonic", "sklearn.metrics"],
    "compare/wgan_gp": ["scipy.stats", "sklearn.ensemble", "sklearn.isotonic", "sklearn.metrics"],
}
DIGESTS = """
import sys, time
from sosie.code import code_digest
start = time.perf_counter()
for step in sys.argv[1:]:
    code_digest(step)
print(time.perf_counter() - start)
"""


def seconds(folder: Path, *command: str) -> float:
    """Wall time of a command, which must succeed."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True)
    return time.perf_counter() - start


def start_of(folder: Path, job: str) -> float:
    """Time of starting Python and importing what a job imports, the least of some tries.

    In seconds of the processor, which it is all the time, so that other work does not count.
    """
    names = ["sosie.cli", "sosie.settings", f"sosie.{job.split('/')[0]}"]
    code = (
        f"import {', '.join(names + BESIDE.get(job.removesuffix('/0').removesuffix('/test'), []))}"
    )
    tries = []
    for _ in range(REPEATS):
        before = os.times()
        seconds(folder, sys.executable, "-c", code)
        after = os.times()
        tries.append(sum(after[2:4]) - sum(before[2:4]))
    return min(tries)


def jobs(folder: Path) -> dict[str, float]:
    """Wall times of the jobs as Snakemake notes them, by name."""
    place, found = folder / "results/tiny/benchmarks", {}
    for path in sorted(place.rglob("*.tsv")):
        with open(path, encoding="utf-8") as file:
            found[str(path.relative_to(place).with_suffix(""))] = sum(
                float(row["s"]) for row in csv.DictReader(file, delimiter="\t")
            )
    return found


def main() -> None:
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "1", "all"]
    with tempfile.TemporaryDirectory() as parent:
        folder = checkout(Path(parent), tiny())
        before = seconds(folder, *snakemake, "-n")
        total = seconds(folder, *snakemake)
        again = seconds(folder, *snakemake)
        walls = jobs(folder)
        starts = {job: start_of(folder, job) for job in walls}
        steps = [job.split("/")[0] for job in walls]
        command = [sys.executable, "-c", DIGESTS, *steps]
        said = subprocess.run(command, env=environment(), capture_output=True, check=True)
    computed = sum(walls.values()) - sum(starts.values())
    rows = [
        (f"the whole, {len(walls)} jobs one after the other", total),
        ("computation, reading and writing in the steps", computed),
        ("starting Python and importing, all jobs", sum(starts.values())),
        ("Snakemake: start, reading the workflow, graph of jobs", before),
        ("of it: digests of the code", float(said.stdout)),
        ("Snakemake: between the jobs", total - sum(walls.values()) - before),
        ("the same command again, nothing to do", again),
    ]
    print("| part | s | share |\n|---|---|---|")
    for part, value in rows:
        print(f"| {part} | {value:.1f} | {value / total:.1%} |")
    print("\n| job | s | of it start and imports |\n|---|---|---|")
    for job, wall in walls.items():
        print(f"| {job} | {wall:.1f} | {starts[job]:.1f} |")


if __name__ == "__main__":
    main()
