"""Killed at any time and started again with the same command: the same bytes, and no --unlock."""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sosie.files import write_json
from sosie.locks import OWNER
from sosie.owners import TOKEN, token
from tiny import change, checkout, digests, environment, make, snakemake, tiny

PATIENCE = 900  # seconds until a step that does not come fails the test


def study() -> dict:
    """The tiny study with one surrogate, whose training takes some seconds."""
    small = tiny()["train"]["surrogates"]["wgan_gp"] | {"epochs": 10}
    return change(tiny(), train__surrogates={"wgan_gp": small}, compare__splits=2)


def make_all(folder: Path) -> str:
    """Run 'make all' to its end, which must be a good one, and return what it says."""
    code, said = make(folder).wait(), (folder / "make.log").read_text()
    assert code == 0, said[-5000:]
    return said


def processes(folder: Path) -> dict[int, list[str]]:
    """Command lines of the processes that run in a folder, by number."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "cwd").readlink() == folder:
                found[int(place.name)] = (place / "cmdline").read_text().split("\0")[:-1]
        except OSError:
            continue
    return found


def running(folder: Path, command: str, first: str = "") -> list[int]:
    """Numbers of the Python processes of ``command`` in a folder, with this first argument."""
    return [
        number
        for number, words in processes(folder).items()
        if len(words) > 2 and words[1].endswith(f"/{command}") and first in ("", words[2])
    ]


def wait_for(run: subprocess.Popen, folder: Path, steps: list[str]) -> int:
    """The number of a job of one of the steps, as soon as it runs."""
    for _ in range(PATIENCE * 20):
        for step in steps:
            if found := running(folder, "sosie", step):
                return found[0]
        assert run.poll() is None, (folder / "make.log").read_text()
        time.sleep(0.05)
    pytest.fail(f"no job of {steps} in {PATIENCE} s")


def kill(with_: int, target: str, run: subprocess.Popen, folder: Path, job: int) -> None:
    """A signal to the job, to snakemake alone, or to the whole tree."""
    with suppress(ProcessLookupError):
        if target == "tree":
            os.killpg(run.pid, with_)
        else:
            for number in [job] if target == "job" else running(folder, "snakemake"):
                os.kill(number, with_)


def by_hand(folder: Path, job: int) -> subprocess.Popen:
    """The same job a second time, which no run ends: it works on while others do the same."""
    mine = {name: value for name, value in environment().items() if name != OWNER}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(processes(folder)[job], cwd=folder, env=mine, **quiet)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The digests of a run of the study that nothing disturbed, in another folder."""
    folder = checkout(tmp_path_factory.mktemp("undisturbed"), study())
    make_all(folder)
    return digests(folder)


SHORT = [("KILL", "job"), ("KILL", "snakemake"), ("TERM", "tree")]
STEPS = {"short": [["ingest", "preprocess"], ["train"], ["generate", "report"]]}
STEPS["long"] = [
    [step]
    for step in (
        "ingest", "preprocess", "train", "ensemble", "generate", "reconstruct", "moments",
        "compare", "report",
    )
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.fault(1, recovery=True)
@pytest.mark.parametrize("target", ["job", "snakemake", "tree"])
@pytest.mark.parametrize("name", ["KILL", "TERM", "INT"])
def test_killed_and_started_again_gives_the_same_bytes(
    name, target, long, tally, undisturbed, tmp_path
):
    if not long and (name, target) not in SHORT:
        pytest.skip("in the long form")
    folder, moments, orphan = checkout(tmp_path, study()), random.Random(name + target), None
    hard = name == "KILL"
    killed = 0
    for steps in STEPS["long" if long else "short"]:
        run = make(folder)
        job = wait_for(run, folder, steps)
        time.sleep(moments.uniform(0, 3 if steps == ["train"] else 0.5))
        if hard and target == "snakemake" and steps == ["train"]:
            orphan = by_hand(folder, job)
        kill(getattr(signal, f"SIG{name}"), target, run, folder, job)
        # A run that is asked to end lets its jobs end first, and what it does last may succeed.
        killed += run.wait() != 0
        assert killed or not hard
    said = make_all(folder)
    assert ("lock of process" in said) == (hard and target != "job")
    if orphan:
        assert orphan.wait() == 0
    found = digests(folder)
    for _ in range(killed):
        tally.add(found == undisturbed, f"{name} of {target}")
    assert not list(folder.rglob("hacked")) + list(Path.cwd().glob("hacked"))
    assert not list(folder.rglob(".*.part"))
    assert not list(folder.rglob(".stage.*"))
    if not orphan:  # what it wrote last may be younger than what was made of it
        assert "Nothing to be done" in make_all(folder)
    assert not running(folder, "sosie")


def changed(**parts: str) -> str:
    """The token of this process with parts of it changed."""
    names = ("host", "boot", "namespace", "pid", "start")
    values = dict(zip(names, TOKEN.fullmatch(token()).groups(), strict=True))
    return "-".join((values | parts).values())


@contextmanager
def left(folder: Path, owner: str) -> Iterator[tuple[Path, Path]]:
    """The lock and the record of a run that was killed before its first job."""
    lock = folder / ".snakemake/locks/0.output.lock"
    record = folder / ".snakemake/owners" / owner
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("results/tiny/report.html\n")
    write_json(record, {"host": "farm12", "process": 4711, "folder": "/there"})
    try:
        yield lock, record
    finally:
        for path in (lock, record):
            path.unlink(missing_ok=True)


def test_a_lock_whose_owner_is_dead_stops_no_run(done):
    with left(done, changed(start="1")) as paths:
        assert "process 4711 on farm12 in /there removed" in snakemake(done, "all")
        assert not any(path.exists() for path in paths)
    assert not list((done / ".snakemake/owners").glob("[!.]*"))


@pytest.mark.fault(2)
def test_a_lock_of_another_host_stops_the_run_and_its_owner_is_named(done):
    with left(done, changed(host="0" * 12)) as paths:
        with pytest.raises(
            AssertionError, match=r"4711 on farm12 in /there is not(.|\n)*LockException"
        ):
            snakemake(done, "all")
        assert all(path.exists() for path in paths)


def test_a_dry_run_touches_no_lock(done):
    with left(done, changed(start="1")) as paths:
        snakemake(done, "-n", "all")
        assert all(path.exists() for path in paths)


@pytest.mark.fault(2)
def test_a_run_that_lives_keeps_its_lock(tmp_path):
    folder = checkout(tmp_path, study())
    first = make(folder)
    try:
        wait_for(first, folder, ["ingest"])
        os.killpg(first.pid, signal.SIGSTOP)
        (owner,) = running(folder, "snakemake")
        second = make(folder)
        assert second.wait() != 0
        said = (folder / "make.log").read_text()
        assert re.search(rf"results/tiny: process {owner} on .* works here; wait for its end", said)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
