"""A lock is removed where its owner is proved dead, and nowhere else."""

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sosie.errors import SosieError
from sosie.files import write_json
from sosie.locks import OWNER, claim, end_with_owner, lend, register, settle
from sosie.owners import TOKEN, token

CHILD = """
import sys
from sosie.locks import register
register(sys.argv[1])
print("ready", flush=True)
input()
"""
# Puts a lock where there is none, as Snakemake does, and says whether it could.
RUN = """
import sys
from pathlib import Path
from sosie.locks import register
register(sys.argv[1])
try:
    (Path(sys.argv[1]) / "locks/0.output.lock").open("x")
    print("locked", flush=True)
except FileExistsError:
    print("refused", flush=True)
input()
"""


def start(code: str, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *arguments]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, text=True, **pipes)


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.communicate()


def other(**parts: str) -> str:
    """The token of this process with parts of it changed."""
    names = ("host", "boot", "namespace", "pid", "start")
    values = dict(zip(names, TOKEN.fullmatch(token()).groups(), strict=True))
    return "-".join((values | parts).values())


DEAD = other(start="1")
ELSEWHERE = other(host="0" * 12)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A .snakemake with the two locks that a run leaves."""
    for name in ("locks", "owners"):
        (tmp_path / name).mkdir()
    for name in ("input", "output"):
        (tmp_path / f"locks/0.{name}.lock").write_text("results/tiny/report.html\n")
    return tmp_path


def record(folder: Path, owner: str, host: str = "there", process: int = 77) -> None:
    write_json(folder / "owners" / owner, {"host": host, "process": process, "folder": "/there"})


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize(
    "owner",
    [DEAD, other(boot="0" * 12), other(pid=str(2**22 + 1))],
    ids=["number used again", "before the last boot", "no such process"],
)
def test_the_lock_of_a_dead_owner_is_removed_and_said(folder, owner):
    record(folder, owner)
    text = settle(folder, token())
    assert re.search(r"lock of .* removed", text)
    assert "\n" not in text
    assert not names(folder / "locks")
    assert not names(folder / "owners")


@pytest.mark.parametrize(
    "owner",
    [ELSEWHERE, other(namespace="1"), other(pid=str(os.getppid()), start=""), "no-token"],
    ids=["other host", "other namespace", "start unknown", "foreign file"],
)
def test_a_lock_whose_owner_is_not_proved_dead_stays(folder, owner):
    record(folder, owner)
    text = settle(folder, token())
    assert "left alone" in text
    assert "\n" not in text
    assert names(folder / "locks") == {"0.input.lock", "0.output.lock"}
    assert names(folder / "owners") == {owner}


def test_the_owner_is_named_by_host_and_process(folder):
    record(folder, ELSEWHERE, "farm12", 4711)
    assert "process 4711 on farm12" in settle(folder, token())


@pytest.mark.parametrize("content", ["", "[]", "{}", "\0"])
def test_a_damaged_record_is_judged_by_its_name(folder, content):
    (folder / "owners" / DEAD).write_text(content)
    assert "removed" in settle(folder, token())


def test_one_owner_of_two_alive_keeps_the_locks(folder):
    record(folder, DEAD)
    record(folder, ELSEWHERE)
    assert "left alone" in settle(folder, token())
    assert names(folder / "owners") == {DEAD, ELSEWHERE}
    assert len(names(folder / "locks")) == 2


def test_a_lock_without_a_record_stays_and_the_remedy_is_said(folder):
    text = settle(folder, token())
    assert "snakemake --unlock" in text
    assert len(names(folder / "locks")) == 2


def test_without_a_lock_records_of_the_dead_go_and_nothing_is_said(folder):
    """Else they would later speak for the lock of a run that leaves no record."""
    for lock in (folder / "locks").iterdir():
        lock.unlink()
    record(folder, DEAD)
    record(folder, ELSEWHERE)
    assert settle(folder, token()) == ""
    assert names(folder / "owners") == {ELSEWHERE}


def test_a_record_lives_as_long_as_its_process(tmp_path):
    process = start(CHILD, str(tmp_path))
    assert process.stdout.readline() == "ready\n"
    (owner,) = names(tmp_path / "owners")
    about = json.loads((tmp_path / "owners" / owner).read_text())
    assert about["process"] == process.pid
    process.communicate("\n")
    assert process.returncode == 0
    assert not names(tmp_path / "owners")


def test_a_live_owner_is_respected_until_it_is_killed(folder):
    first = start(CHILD, str(folder))
    assert first.stdout.readline() == "ready\n"
    second = start(CHILD, str(folder))
    assert second.stdout.readline() == "ready\n"
    end(first)
    said = second.communicate("\n")[1]
    assert f"process {first.pid} on" in said
    assert len(names(folder / "locks")) == 2
    third = start(CHILD, str(folder))
    assert "removed" in third.communicate("\n")[1]
    assert not names(folder / "locks")
    assert not names(folder / "owners")


def test_a_killed_owner_that_nobody_collected_is_dead(folder):
    zombie = start(CHILD, str(folder))
    assert zombie.stdout.readline() == "ready\n"
    zombie.kill()
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    assert "removed" in settle(folder, token())
    zombie.communicate()


def test_of_runs_that_start_together_one_gets_the_lock(folder):
    record(folder, DEAD)
    (folder / "locks/0.input.lock").unlink()
    runs = [start(RUN, str(folder)) for _ in range(6)]
    said = [run.stdout.readline() for run in runs]
    assert sorted(said) == ["locked\n", *["refused\n"] * 5]
    assert (folder / "locks/0.output.lock").exists(), "a new lock was removed with the old one"
    for run in runs:
        end(run)


def test_a_folder_that_allows_no_locks_of_files_loses_none(folder, monkeypatch, capsys):
    import fcntl

    def refused(*_):
        raise OSError(37, "No locks available")

    record(folder, DEAD)
    monkeypatch.setattr(fcntl, "flock", refused)
    register(folder)
    assert len(names(folder / "locks")) == 2
    assert "snakemake --unlock" in capsys.readouterr().err
    (folder / "owners" / token()).unlink()


def test_a_job_ends_when_the_run_that_started_it_is_killed():
    job = "import time; from sosie.locks import end_with_owner as e; e(); print(flush=True); time.sleep(60)"
    run = (
        "import subprocess, sys; from sosie.locks import lend; lend();"
        f"j = subprocess.Popen([sys.executable, '-c', {job!r}]); print(j.pid, flush=True); j.wait()"
    )
    process = start(run)
    process.stdout.readline()
    process.stdout.readline()
    process.kill()
    # The pipes close when the job, which inherited them, is gone.
    assert "the job ends" in process.communicate(timeout=30)[1]


def test_a_job_by_hand_belongs_to_no_run(monkeypatch):
    monkeypatch.delenv(OWNER, raising=False)
    before = threading.active_count()
    end_with_owner()
    assert threading.active_count() == before
    monkeypatch.setenv(OWNER, "")
    lend()
    assert os.environ[OWNER] == token()


CLAIM = CHILD.replace("register", "claim")


@pytest.mark.fault(2)
def test_a_results_folder_in_use_is_refused_and_its_owner_named(tmp_path):
    """From another folder too, through a link."""
    (tmp_path / "results").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "results")
    first = start(CLAIM, str(tmp_path / "results/tiny"))
    assert first.stdout.readline() == "ready\n"
    try:
        with pytest.raises(SosieError, match=rf"process {first.pid} on .* works here") as caught:
            claim(tmp_path / "link/tiny")
        assert "\n" not in str(caught.value)
        claim(tmp_path / "results/other")
    finally:
        end(first)
    claim(tmp_path / "link/tiny")
    assert names(tmp_path / "results/tiny/owners") == {token()}


@pytest.mark.fault(2)
def test_a_results_folder_of_another_host_is_refused_until_its_record_goes(tmp_path):
    record(tmp_path, ELSEWHERE, "farm12", 4711)
    with pytest.raises(
        SosieError, match=r"4711 on farm12 in /there works here.* remove /"
    ) as found:
        claim(tmp_path)
    Path(str(found.value).rsplit("remove ", 1)[1]).unlink()
    claim(tmp_path)


@pytest.mark.fault(2)
def test_of_runs_that_claim_together_one_gets_the_folder(tmp_path):
    runs = [start(CLAIM, str(tmp_path)) for _ in range(6)]
    try:
        assert sum(run.stdout.readline() == "ready\n" for run in runs) == 1
    finally:
        for run in runs:
            end(run)
