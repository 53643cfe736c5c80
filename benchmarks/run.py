"""Measure everything and write the page: ``python benchmarks/run.py --out docs/benchmarks.md``."""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import inputs
import page
import uproot

from sosie.detectors import find
from sosie.files import write_text
from sosie.ntuples import open_ntuple, pieces
from sosie.studies import machine

HERE = Path(__file__).parent
FEW, MANY = 4_000, 40_000
FILES, EACH = 4, 5_000
DRAWN = 20_000
MEMBERS = 8
REPEATS = 3
# As Snakemake sets them for the threads of a rule.
THREADS = ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")

Found = dict[str, float]


def fresh(task: str, arguments: Mapping[str, Any], cores: int = 1, threads: int = 1) -> Found:
    """Wall and processor time [s] and peak memory [MB] of a task in a new process on some cores."""
    cpus = sorted(os.sched_getaffinity(0))[:cores]
    limits = {f"{name}_NUM_THREADS": str(threads) for name in THREADS}
    done = subprocess.run(
        [sys.executable, str(HERE / "tasks.py"), task, json.dumps(arguments), *map(str, cpus)],
        env={**os.environ, **limits}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"benchmark {task} {arguments}:\n{done.stderr}")
    found: Found = json.loads(done.stdout.splitlines()[-1])
    print(f"{task}: {found}", file=sys.stderr, flush=True)
    return found


def on_each_core(task: str, arguments: Mapping[str, Any]) -> Found:
    """The task on each of two cores at once: the time is that of the slower one over two."""
    cpus = sorted(os.sched_getaffinity(0))[:2]
    command = [sys.executable, str(HERE / "tasks.py"), task, json.dumps(arguments)]
    running = [
        subprocess.Popen([*command, str(cpu)], stdout=subprocess.PIPE, text=True) for cpu in cpus
    ]
    each = [json.loads(one.communicate()[0].splitlines()[-1]) for one in running]
    found = {
        "seconds": max(one["seconds"] for one in each) / len(each),
        "cpu_seconds": sum(one["cpu_seconds"] for one in each) / len(each),
    }
    print(f"{task}, twice at once: {found}", file=sys.stderr, flush=True)
    return found


def megabytes(files: Sequence[str]) -> float:
    """What the branches that ingest reads take in memory, in MB."""
    total, own = 0, inputs.layout()
    for path in files:
        with uproot.open({path: None}) as file:
            tree = file[own.tree]
            total += sum(int(tree[name].uncompressed_bytes) for name in own.branches())
    return total / 1e6


def entries(path: str) -> int:
    """Number of entries of an ntuple."""
    with uproot.open({path: None}) as file:
        return int(file[inputs.layout().tree].num_entries)


def piece(path: str) -> int:
    """Entries of the first piece in which ingest reads a file."""
    own, names = inputs.ingest_settings(), inputs.layout().branches()
    cells = 4 * math.prod(find(own["detector"]).shape)
    with open_ntuple(path, inputs.layout().tree) as table:
        return next(pieces(path, table, names, own["memory"], cells))[1]


def ingest(folder: Path, files: Sequence[str], repeats: int) -> dict[str, list[Found]]:
    """Each row of the table of ingest, one repetition after the other."""
    own = inputs.layout()
    plain = [
        inputs.write_ntuple(folder / f"plain_{n}.root", entries(f), 0, Path(f), compressed=False)
        for n, f in enumerate(files)
    ]
    settings = inputs.ingest_settings()
    loop = {"tree": own.tree, "branches": own.branches(), "step": piece(files[0])}
    common = settings | {"files": files, "out": str(folder / "ingested"), "threads": 1}
    rows: dict[str, tuple[str, Mapping[str, Any], int]] = {
        page.BARE: ("bare", loop | {"files": files}, 1),
        page.PLAIN: ("bare", loop | {"files": plain}, 1),
        page.AS_IS: ("ingest", common, 1),
        **{page.without(part): ("ingest", common | {"without": [part]}, 1) for part in page.PARTS},
        page.without("all three"): ("ingest", common | {"without": page.PARTS}, 1),
        page.TWO: ("ingest", common | {"threads": 2}, 2),
    }
    found: dict[str, list[Found]] = {name: [] for name in rows}
    fresh("bare", loop | {"files": files})  # so that the files are in the page cache
    for _ in range(repeats):
        for name, (task, arguments, cores) in rows.items():
            found[name].append(fresh(task, arguments, cores, threads=cores))
        found.setdefault(page.TWICE, []).append(on_each_core("bare", loop | {"files": files}))
    return found


def memory(folder: Path, made: inputs.Made, few: int, many: int) -> dict[str, list[Found]]:
    """Peak memory of the steps for few and for many events."""
    own = inputs.study()
    found: dict[str, list[Found]] = {}
    for count in (few, many):
        one = inputs.write_ntuple(folder / f"one_{count}.root", count)
        each = min(count, inputs.BASKET)
        several = inputs.write_ntuples(folder, count // each, each)
        reference = inputs.write_table(folder / f"reference_{count}.h5", made.tables, count)
        rows: dict[str, tuple[str, Mapping[str, Any], int]] = {}
        for name, files in (("one file", [one]), (f"files of {inputs.BASKET}", several)):
            arguments = inputs.ingest_settings() | {"files": files, "threads": 2}
            rows[f"ingest, {name}"] = ("ingest", arguments | {"out": str(folder / "again")}, 2)
        for name, surrogate in made.surrogates.items():
            out = str(folder / f"{name}_{count}.h5")
            arguments = {"surrogate": surrogate, "conditions": reference, "out": out}
            rows[f"generate, {name}"] = ("generate", arguments | {"batch": own.generate.batch}, 1)
        for members in (1, MEMBERS):
            arguments = {
                "reference": reference,
                "generated": [str(folder / f"wgan_gp_{count}.h5")] * members,
                "reconstruct": inputs.write_reconstruct(
                    folder / f"results_{members}.h5", count, members
                ),
                "out": str(folder / "moments.h5"),
                **own.moments.model_dump(),
            }
            rows[f"moments, {members} member{'s' * (members > 1)}"] = ("moments", arguments, 1)
        for name, (task, values, threads) in rows.items():
            found.setdefault(name, []).append(fresh(task, values, 2, threads))
    return found


def generate(folder: Path, made: inputs.Made, count: int, repeats: int) -> list[Found]:
    """One member of the GAN draws for ``count`` conditions, on two cores."""
    conditions = inputs.write_table(folder / "conditions.h5", made.tables, count)
    arguments = {
        "surrogate": made.surrogates["wgan_gp"],
        "conditions": conditions,
        "out": str(folder / "drawn.h5"),
        "batch": inputs.study().generate.batch,
    }
    return [fresh("generate", arguments, cores=2) for _ in range(repeats)]


def overhead() -> str:
    """The tables of overhead.py."""
    command = [sys.executable, str(HERE / "overhead.py")]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def main() -> None:
    """Measure, write the page and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--files",
        nargs="+",
        help="ROOT files of the layout of the default study for the speed of ingest",
    )
    parser.add_argument(
        "--out", help="the page, a Markdown file; without it the page is only printed"
    )
    arguments = parser.parse_args()
    with TemporaryDirectory() as parent:
        folder = Path(parent)
        files = arguments.files or inputs.write_ntuples(folder, FILES, EACH)
        read = ingest(folder, files, REPEATS)
        made = inputs.make(folder / "study")
        drawn = generate(folder, made, DRAWN, REPEATS)
        peaks = memory(folder, made, FEW, MANY)
        text = page.build(
            machine() | {name: version(name) for name in ("uproot", "h5py", "hdf5plugin")},
            read,
            peaks,
            drawn,
            overhead(),
            page.Sizes(len(files), sum(map(entries, files)), megabytes(files), FEW, MANY, DRAWN),
        )
    if arguments.out:
        write_text(arguments.out, text)
    print(text)


if __name__ == "__main__":
    main()
