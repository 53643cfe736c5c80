"""A study that runs through the whole DAG within a minute, in a checkout at an odd place."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from sosie.files import digest, file_digest

ROOT = Path(__file__).parents[1]
# Names that would run a command in a shell and break a page, were they not quoted.
ODD = "nt $(touch hacked) & it's; touch hacked; ë.root"
PLACE = 'a "study" $(touch hacked) `touch hacked`; & it\'s ünï'
COVERED = {".h5", ".json", ".csv", ".html", ".svg"}
TIMES = re.compile(r"<!-- times:.*?<!-- end of times -->", re.DOTALL)


def tiny() -> dict:
    """The default study on 500 showers with a network that trains for seconds."""
    study = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    study["study"] = "tiny"
    study["ingest"]["files"] = [ODD]
    study["ingest"]["selection"] = "event_id < 500"
    study["ingest"]["samples"] = {"late": {"selection": "event_id >= 3960"}}
    small = {"epochs": 2, "width": 16, "critic_width": 16, "depth": 2, "latent": 4}
    study["train"] = {
        "masks": 3,
        "surrogates": {
            "library": {"kind": "library"},
            "wgan_gp": {"kind": "wgan_gp", "validate_every": 1, **small},
        },
    }
    study["ensemble"] = {"members": 2}
    study["moments"]["bins"] = {"momentum": 2, "angle": 2}
    study["reconstruct"]["bins"] = {"momentum": 3}
    study["compare"] = {"splits": 3, "classifier_splits": 2, "repetition": 2}
    return study


def change(study: dict, **changed) -> dict:
    """The study with values set: ``a__b=1`` sets ``study["a"]["b"]``."""
    for name, value in changed.items():
        *sections, key = name.split("__")
        place = study
        for section in sections:
            place = place[section]
        place[key] = value
    return study


def environment(code: Path | None = None) -> dict[str, str]:
    """The environment with the commands of this Python first, and the package from ``code``.

    Waiting threads sleep: where other work has the cores, spinning makes training ten times slower.
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    more = {"PYTHONPATH": str(code)} if code else {}
    return {**os.environ, "PATH": path, "OMP_WAIT_POLICY": "PASSIVE", **more}


def snakemake(folder: Path, *arguments: str, code: Path | None = None, **changed) -> str:
    """Run snakemake on the tiny study with some settings changed, and return what it says."""
    if not (folder / ODD).exists():
        shutil.copy(ROOT / "resources/ecal/quick.root", folder / ODD)
    configuration = folder / "tiny.yaml"
    configuration.write_text(yaml.safe_dump(change(tiny(), **changed)))
    done = subprocess.run(
        [
            sys.executable, "-m", "snakemake", *arguments, "--cores", "2",
            "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder),
            "--configfile", str(configuration),
        ],
        env=environment(code), capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return done.stdout + done.stderr


def checkout(parent: Path, study: dict, place: str = PLACE) -> Path:
    """A folder, with an odd name where none is given, in which 'make all' runs ``study``."""
    folder = parent / place
    (folder / "config").mkdir(parents=True)
    for name in ("Makefile", "Snakefile"):
        shutil.copy(ROOT / name, folder)
    for name in ("workflow", "profiles", "envs"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "resources/ecal/quick.root", folder / ODD)
    (folder / "config/config.yaml").write_text(yaml.safe_dump(study))
    return folder


def make(folder: Path) -> subprocess.Popen:
    """Start 'make all' in a checkout, in a process group of its own; what it says goes to make.log.

    No .venv is made: the commands are those of this Python.
    """
    with open(folder / "make.log", "w") as log:
        return subprocess.Popen(
            # Where the tests run in the background, SIGINT is ignored, and what they start would inherit it.
            ["env", "--default-signal=INT", "make", "--old-file=.venv/ready", "CORES=2", "all"],
            cwd=folder, env=environment(), start_new_session=True,
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


def jobs(output: str) -> set[str]:
    """Names of the rules that a dry run would run."""
    table = re.search(r"Job stats:\n.*?\n-+ +-+\n(.*?)\n\n", output, re.DOTALL)
    return {line.split()[0] for line in table[1].splitlines()} - {"total"} if table else set()


def digests(folder: Path) -> dict[str, str]:
    """Digests of the results by name, without those that hold times and what may differ."""
    results = folder / "results/tiny"
    found = {
        str(path.relative_to(results)): file_digest(path)
        for path in sorted(results.rglob("*"))
        if path.suffix in COVERED and not {"logs", "benchmarks", "work", "times"} & set(path.parts)
    }
    del found["report/speed.svg"]
    page = (results / "report.html").read_text(encoding="utf-8")
    assert len(TIMES.findall(page)) == 2
    return {**found, "report.html": digest(TIMES.sub("", page))}
