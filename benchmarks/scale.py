"""Time and peak memory of steps against the number of events: ``python benchmarks/scale.py --out docs/scale.md``.

Ntuples repeat the showers that ship with the project, with new identities. What is measured is kept
in ``--work`` after each step, so that the same command goes on where it was ended.
"""

import argparse
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import inputs
import scale_page
from run import Found, fresh

from sosie import reconstruct
from sosie.files import write_text
from sosie.studies import machine

SIZES = (10_000, 100_000, 1_000_000)
EACH = 50_000
"""Entries of a file, at most."""
SPLIT = {"train": 0.01, "validation": 0.01, "test": 0.98}
"""Nearly all events are test events, so that every step has as many."""

Task = tuple[str, Mapping[str, Any], int]


def tasks(folder: Path, files: list[str], made: inputs.Made) -> Iterator[tuple[str, Task]]:
    """Each step by its name: task, arguments, threads as in the rules."""
    own, ingested = inputs.study(), str(folder / "ingest")
    test, drawn = f"{ingested}/test.h5", str(folder / "drawn.h5")
    found, moments = str(folder / "reconstruct.h5"), str(folder / "moments.h5")
    settings = inputs.ingest_settings() | {"split": SPLIT, "files": files, "out": ingested}
    yield "ingest", ("ingest", settings | {"threads": 2}, 2)
    surrogate = {"surrogate": made.surrogates["wgan_gp"], "batch": own.generate.batch}
    yield "generate", ("generate", surrogate | {"conditions": test, "out": drawn}, 1)
    both = {"reference": test, "generated": [drawn]}
    bins = {"bins": own.reconstruct.bins, "replicas": own.reconstruct.replicas}
    constants = {"calibration": str(Path(made.tables["train"]).with_name("calibration.json"))}
    yield "reconstruct", ("reconstruct", both | bins | constants | {"out": found}, 1)
    low = own.moments.model_dump() | {"reconstruct": found, "out": moments}
    yield "moments", ("moments", both | low, 1)


def measure(work: Path, events: int, made: inputs.Made) -> dict[str, Found]:
    """Every step for so many events; what was measured before is not measured again."""
    kept = work / f"{events}.json"
    found: dict[str, Found] = json.loads(kept.read_text()) if kept.exists() else {}
    folder = work / str(events)
    if len(found) == len(scale_page.STEPS):
        return found
    each = min(events, EACH)
    folder.mkdir(exist_ok=True)
    files = [str(folder / f"{n}_{each}.root") for n in range(events // each)]
    if not all(Path(path).exists() for path in files):
        files = inputs.write_ntuples(folder, events // each, each)
    for name, (task, arguments, threads) in tasks(folder, files, made):
        if name not in found:
            found[name] = fresh(task, arguments, 2, threads)
            kept.write_text(json.dumps(found))
    found["ingest"]["bytes"] = float((folder / "ingest/test.h5").stat().st_size)
    found["generate"]["bytes"] = float((folder / "drawn.h5").stat().st_size)
    kept.write_text(json.dumps(found))
    shutil.rmtree(folder)
    return found


def prepare(work: Path) -> inputs.Made:
    """Surrogates and constants, made of the showers that ship with the project."""
    made = inputs.make(work / "study")
    reconstruct.calibrate(made.tables["train"], str(work / "study/calibration.json"))
    return made


def main() -> None:
    """Measure, write the page and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="numbers of events")
    parser.add_argument(
        "--work", type=Path, default=Path("results/scale"), help="folder for what is measured"
    )
    parser.add_argument("--out", help="the page; without it the page is only printed")
    arguments = parser.parse_args()
    if wrong := [n for n in arguments.sizes if n % min(n, EACH)]:
        parser.error(f"--sizes {wrong[0]}: should be at most {EACH} or a multiple of it")
    made = prepare(arguments.work)
    found = {n: measure(arguments.work, n, made) for n in sorted(arguments.sizes)}
    text = scale_page.build(machine(), found)
    if arguments.out:
        write_text(arguments.out, text)
    print(text)


if __name__ == "__main__":
    main()
