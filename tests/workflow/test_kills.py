"""Killed at any time and started again with the same command: the same bytes, and no --unlock."""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny import change, checkout, digests, environment, make, snakemake, tiny

from sosie.files import write_json
from sosie.locks import OWNER
from sosie.owners import TOKEN, token

POINTS = {"early": ["ingest", "preprocess"], "training": ["train"], "late": ["generate", "report"]}
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


def kill(kind: str, run: subprocess.Popen, folder: Path, job: int) -> None:
    """kill -9 of the job, of snakemake alone, or of the whole tree."""
    if kind == "tree":
        os.killpg(run.pid, signal.SIGKILL)
    else:
        for number in [job] if kind == "job" else running(folder, "snakemake"):
            os.kill(number, signal.SIGKILL)


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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["job", "snakemake", "tree"])
def test_killed_and_started_again_gives_the_same_bytes(kind, undisturbed, tmp_path):
    folder, moments, orphan = checkout(tmp_path, study()), random.Random(kind), None
    for steps in POINTS.values():
        run = make(folder)
        job = wait_for(run, folder, steps)
        time.sleep(moments.uniform(0, 3 if steps == ["train"] else 0.5))
        if kind == "snakemake" and steps == ["train"]:
            orphan = by_hand(folder, job)
        kill(kind, run, folder, job)
        assert run.wait() != 0
    said = make_all(folder)
    assert ("lock of process" in said) == (kind != "job")
    if orphan:
        assert orphan.wait() == 0
    assert digests(folder) == undisturbed
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
    write_json(record, {"host": "farm12", "process": 4711})
    try:
        yield lock, record
    finally:
        for path in (lock, record):
            path.unlink(missing_ok=True)


def test_a_lock_whose_owner_is_dead_stops_no_run(done):
    with left(done, changed(start="1")) as paths:
        assert "process 4711 on farm12 removed" in snakemake(done, "all")
        assert not any(path.exists() for path in paths)
    assert not list((done / ".snakemake/owners").glob("[!.]*"))


def test_a_lock_of_another_host_stops_the_run_and_its_owner_is_named(done):
    with left(done, changed(host="0" * 12)) as paths:
        with pytest.raises(AssertionError, match=r"4711 on farm12 is not(.|\n)*LockException"):
            snakemake(done, "all")
        assert all(path.exists() for path in paths)


def test_a_dry_run_touches_no_lock(done):
    with left(done, changed(start="1")) as paths:
        snakemake(done, "-n", "all")
        assert all(path.exists() for path in paths)


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
        assert re.search(rf"left alone, since process {owner} on .* is not proved dead", said)
        assert "LockException" in said
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
