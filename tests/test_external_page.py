"""docs/external.md does what it says: its code and its commands run, to the responses and to the report."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import uproot
import yaml

from sosie import generate, ingest, preprocess, train
from sosie.events import open_events
from sosie.layouts import Layout
from sosie.settings import load

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/external.md").read_text(encoding="utf-8")
SURROGATES = {"mine": "my_showers.h5", "mine_root": "my_showers.root"}


def blocks(language: str) -> list[str]:
    """The blocks of code of a language in the page."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def prepare(folder: Path) -> None:
    """What the page expects to be there, with fewer events, and the programs that it shows."""
    (folder / "resources/ecal").mkdir(parents=True)
    (folder / "config").mkdir()
    with uproot.open(f"{ROOT}/resources/ecal/quick.root:ecal") as tree:
        columns = tree.arrays(entry_stop=600, library="np")
    with uproot.recreate(folder / "resources/ecal/quick.root") as file:
        file.mktree("ecal", {n: (c.dtype, c.shape[1:]) for n, c in columns.items()})
        file["ecal"].extend(columns)
    for program in blocks("python"):
        (folder / program.split()[1]).write_text(program)


def study(*parts: str) -> dict[str, Any]:
    """The study of the page, with less to compute."""
    values: dict[str, Any] = {}
    for part in parts:
        values |= yaml.safe_load(part)
    return values | {"compare": {"splits": 2, "classifier_splits": 2}}


def run(folder: Path, *words: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        words,
        cwd=folder,
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def test_the_programs_write_what_the_study_takes(tmp_path, monkeypatch):
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    whole = load(study(*blocks("yaml")), "docs/external.md")
    known = whole.ingest.model_dump()
    layout = Layout(**{n: known[n] for n in Layout.__dataclass_fields__ if n in known})
    folder = tmp_path / "results/mine/ingest"
    ingest.run(
        known["files"], folder, detector="ecal", seed=1, layout=layout, threshold=0.2,
        split=known["split"], memory=10**8,
    )  # fmt: skip
    samples = [str(folder / f"{name}.h5") for name in ("train", "validation", "test")]
    transform = str(tmp_path / "transform.json")
    preprocess.run(samples[0], transform, seed=1, **whole.preprocess.model_dump())
    with open_events(samples[2]) as events:
        conditions = events.column("conditions")
    for program, (name, path) in zip(("draw_hdf5", "draw_root"), SURROGATES.items(), strict=True):
        run(tmp_path, sys.executable, f"{program}.py")
        how = whole.train.surrogates[name].model_dump()
        assert how["files"] == [path]
        train.run(
            *samples[:2], transform, f"{name}.h5", curves=f"{name}.csv", work="work", settings=how,
            masks=1, seed=1, run_number=0, threads=1,
        )  # fmt: skip
        generate.run([f"{name}.h5"], samples[2], [f"out_{name}.h5"], seed=1, batch=64)
        with open_events(f"out_{name}.h5") as events:
            found = events.column("response")
            np.testing.assert_array_equal(events.column("conditions"), conditions)
        # The energy of each shower is that of its own particle.
        momentum = np.linalg.norm(conditions[:, :3], axis=1)
        ratio = found.sum(axis=(1, 2)) / (180 * momentum)
        assert ratio.mean() == pytest.approx(1, abs=0.02)
        assert ratio.std() < 0.1
    with h5py.File("my_showers.h5") as file:
        showers = file["showers"][:].reshape(-1, 30, 30)
    with open_events("out_mine.h5") as events:
        np.testing.assert_array_equal(
            events.column("response"), np.where(showers < np.float32(0.2), 0, showers)
        )


@pytest.mark.slow
def test_the_commands_make_the_report(tmp_path):
    prepare(tmp_path)
    for name in ("workflow", "profiles", "envs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "Snakefile", tmp_path)
    first, second = blocks("yaml")
    (before,), last = (block.splitlines() for block in blocks("sh"))
    for parts, commands in (([first], [before]), ([first, second], last)):
        (tmp_path / "config/mine.yaml").write_text(yaml.safe_dump(study(*parts)))
        for command in commands:
            run(tmp_path, *command.split())
    page = (tmp_path / "results/mine/report.html").read_text(encoding="utf-8")
    for name in SURROGATES:
        assert name in page
        assert (tmp_path / f"results/mine/compare/{name}/metrics.json").is_file()
