"""What digests, checks and atomic writes cost of a study's run time, as a table in Markdown.

``python benchmarks/guards.py config/ecal.yaml --folder /tmp/guards`` runs the study there, on one
core, with every command of ours under the profiler of Python, which counts the calls of few, long
functions hardly and those of many, short ones too much. Its data are those of the folder in which
it is started. A training that is shortened with ``--epochs`` makes the share of the rest larger.
"""

import argparse
import os
import pstats
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from sosie.seen import RECORD, remember

ROOT = Path(__file__).parents[1]
# Loaded by every Python that is started with its folder in PYTHONPATH.
SITE = """
import atexit, cProfile, os, sys
if sys.argv[0:1] and "sosie" in os.path.basename(getattr(sys, "orig_argv", [""] * 2)[1]):
    profile = cProfile.Profile()
    place = os.path.join(os.environ["GUARDS"], f"{sys.orig_argv[2]}.{os.getpid()}.prof")
    atexit.register(lambda: (profile.disable(), profile.dump_stats(place)))
    profile.enable()
"""
# Functions whose time, with all that they call, is that of a guard.
GUARDS = {
    "digests of inputs and files": {("files.py", "file_digest"), ("files.py", "digest")},
    "flushed to disk and read back": {("files.py", "_check_whole"), ("files.py", "_sync")},
    "digests of tables": {("events.py", "slab_digest"), ("~", "xxh3_128_digest")},
    "verified as read": {("files.py", "check_beside"), ("arrays.py", "_checked")},
}
# Who calls a guard from within another one, which has its time already.
WITHIN = {
    "check_beside", "_checked", "_check_whole", "_verify", "_stored_digest", "verify_chunks",
}  # fmt: skip


def shares(path: Path) -> Iterator[tuple[str, float]]:
    """The whole time of a profiled command in s, and that of each kind of guard."""
    stats: Any = pstats.Stats(str(path))
    yield "all", stats.total_tt
    for kind, wanted in GUARDS.items():
        for (file, _, name), (*_, callers) in stats.stats.items():
            if any(Path(file).name == one and word in name for one, word in wanted):
                for (_, _, caller), (*_, time) in callers.items():
                    yield kind, 0.0 if caller in WITHIN else time


def main() -> None:
    """Run the study and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="its configuration")
    parser.add_argument("--folder", required=True, help="where it runs")
    parser.add_argument("--surrogates", nargs="+", required=True, help="those of it that are run")
    parser.add_argument("--epochs", type=int, help="epochs of every training instead of its own")
    arguments = parser.parse_args()
    folder = Path(arguments.folder).absolute()
    (folder / "site").mkdir(parents=True)
    (folder / "profiles").mkdir()
    (folder / "site/sitecustomize.py").write_text(SITE)
    study = yaml.safe_load(Path(arguments.study).read_text())
    kept = {name: study["train"]["surrogates"][name] for name in arguments.surrogates}
    for settings in kept.values():
        if arguments.epochs and "epochs" in settings:
            settings["epochs"] = arguments.epochs
    study["train"]["surrogates"] = kept
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    for name in ("data", "resources"):
        if Path(name).exists():
            (folder / name).symlink_to(Path(name).absolute())
    subprocess.run(
        [
            sys.executable, "-m", "snakemake", "--cores", "1", "--snakefile", str(ROOT / "Snakefile"),
            "--directory", str(folder), "--configfile", str(folder / "study.yaml"), "all",
        ],
        env={**os.environ, "PYTHONPATH": f"{folder / 'site'}:{os.environ.get('PYTHONPATH', '')}",
             "GUARDS": str(folder / "profiles")},
        check=True,
    )  # fmt: skip
    start = time.perf_counter()
    results = folder / "results" / study["study"]
    (results / RECORD).unlink()
    remember(results, {})
    print(f"The record of the run, all outputs hashed: {time.perf_counter() - start:.1f} s\n")
    found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for path in sorted((folder / "profiles").glob("*.prof")):
        for kind, spent in shares(path):
            found[path.name.split(".")[0]][kind] += spent
            found["all"][kind] += spent
    print("| step | s | " + " | ".join(GUARDS) + " | together |")
    print("|---|---|" + "---|" * (len(GUARDS) + 1))
    for step, times in found.items():
        own = [times[kind] for kind in GUARDS]
        cells = [*(f"{one:.1f}" for one in own), f"{100 * sum(own) / times['all']:.1f} %"]
        print(f"| {step} | {times['all']:.0f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
