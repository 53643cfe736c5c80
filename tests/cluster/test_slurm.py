"""The tiny study on a real SLURM, through profiles/slurm: interrupted, killed for memory, complete."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import slurm
import yaml

from tiny import ODD, PLACE, change, checkout, environment, tiny

PLAIN = "quick.root"
PATIENCE = (
    600  # seconds until a job that does not start, or a run that does not end, fails the test
)
MEMORY = 400  # MB, less than a training takes and more than half of it


def study() -> dict:
    """The tiny study with two trainings of one surrogate, for which a GPU is asked."""
    small = tiny()["train"]["surrogates"]["wgan_gp"]
    surrogates = {"apart": {**small, "method": "independent", "device": "gpu"}}
    return change(
        tiny(),
        train__surrogates=surrogates,
        compare__splits=2,
        ingest__samples={},
        ingest__files=[PLAIN],
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A SLURM of one node with two cores and, by its own account, one GPU."""
    if reason := slurm.missing():
        pytest.skip(reason)
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="make .venv/cluster")
    # Sockets have short names, and SLURM takes no spaces.
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, slurm.running(Path(name)):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A checkout with plain names, its profile as a user may change it."""
    place = checkout(tmp_path_factory.mktemp("slurm"), study(), "study")
    (place / ODD).rename(place / PLAIN)
    path = place / "profiles/slurm/config.yaml"
    profile = yaml.safe_load(path.read_text())
    profile["set-resources"]["train_one"] |= {
        "mem_mb": f"{MEMORY} * attempt",
        "slurm_partition": "gpu",
    }
    profile |= {"slurm-init-seconds-before-status-checks": 3, "seconds-between-status-checks": 2}
    path.write_text(yaml.safe_dump(profile))
    return place


@contextmanager
def started(folder: Path) -> Iterator[subprocess.Popen]:
    """The study, running until the end of the block; what it says goes to run.log."""
    with open(folder / "run.log", "w") as log:
        run = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm", "all"],
            cwd=folder, env=environment(), start_new_session=True,
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield run
    finally:
        run.kill()
        run.wait()


def jobs(*states: str) -> list[dict[str, str]]:
    """What SLURM knows of its jobs in these states, or of all."""
    found = [
        dict(re.findall(r"(\S+?)=(\S*)", one))
        for one in slurm.ask("scontrol", "--oneliner", "--details", "show", "jobs").splitlines()
        if "JobId=" in one
    ]
    return [one for one in found if not states or one["JobState"] in states]


@pytest.mark.parametrize("place", ["study", PLACE], ids=["ntuple", "folder"])
def test_odd_names_are_refused_before_any_job(cluster, tmp_path, place):
    files = [ODD if place == "study" else PLAIN]
    folder = checkout(tmp_path, change(study(), ingest__files=files), place)
    (folder / PLAIN).hardlink_to(folder / ODD)
    with started(folder) as run:
        assert run.wait(timeout=PATIENCE) == 1
    said = (folder / "run.log").read_text()
    assert "rename it, or run the study without a cluster" in said
    assert not jobs()
    assert not list(tmp_path.rglob("hacked")) + list(Path.cwd().glob("hacked"))


def test_a_run_that_is_interrupted_leaves_no_job_behind(cluster, folder):
    with started(folder) as run:
        end = time.monotonic() + PATIENCE
        while not any("rule_train_one" in one["Comment"] for one in jobs("RUNNING")):
            assert run.poll() is None, (folder / "run.log").read_text()[-5000:]
            assert time.monotonic() < end, slurm.ask("scontrol", "show", "jobs")
            time.sleep(0.5)
        # As Ctrl-C does, to all in the foreground.
        os.killpg(run.pid, signal.SIGINT)
        assert run.wait(timeout=120) != 0
    end = time.monotonic() + 60
    while left := jobs("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"):
        assert time.monotonic() < end, left
        time.sleep(0.5)
    assert jobs("CANCELLED")


def test_the_study_is_completed_over_a_job_that_is_killed_for_memory(cluster, folder):
    known = {one["JobId"] for one in jobs()}
    with started(folder) as run:
        assert run.wait(timeout=PATIENCE) == 0, (folder / "run.log").read_text()[-5000:]
    assert (folder / "results/tiny/report.html").stat().st_size > 0
    assert not jobs("PENDING", "RUNNING")

    found = [one for one in jobs() if one["JobId"] not in known]
    trainings = [one for one in found if one["Comment"].startswith("rule_train_one")]
    # Members are trained in jobs of their own.
    for member in ("apart_0", "apart_1"):
        own = [one for one in trainings if member in one["Comment"]]
        assert [one["JobState"] == "COMPLETED" for one in own] == [False] * (len(own) - 1) + [True]
        memory = [re.search(r"mem=(\w+)", one["TRES"])[1] for one in own]
        assert memory == [f"{MEMORY * attempt}M" for attempt in range(1, len(own) + 1)]
        killed = next((folder / ".snakemake/slurm_logs").rglob(f"{own[0]['JobId']}.log"))
        assert "exceeded memory limit" in killed.read_text()
        assert len(own) > 1
    assert {one["Partition"] for one in trainings} == {"gpu"}
    assert {one["TresPerJob"] for one in trainings} == {"gres:gpu:1"}
    assert all(one["Requeue"] == "0" for one in found)
    others = [one for one in found if one not in trainings]
    assert {one["Partition"] for one in others} == {"short"}
    assert not any("TresPerJob" in one for one in others)
    assert {one["JobState"] for one in others} == {"COMPLETED"}
    assert {"rule_ensemble_apart", "rule_report"} <= {one["Comment"] for one in others}
