"""Input from a real XRootD server on the loopback: read, missing, changed, gone."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import xrootd

from sosie.errors import InputError
from sosie.events import open_events
from sosie.files import file_digest, find_files
from sosie.ntuples import open_ntuple, read_columns
from sosie.remote import find, remote_digest, seen, sightings
from tiny import ROOT, environment, jobs, snakemake, tiny

SAMPLE = ROOT / "resources/ecal/quick.root"
BOUND = 90  # seconds within which a server that is away must be reported


@pytest.fixture(scope="module")
def server():
    if reason := xrootd.missing():
        pytest.skip(reason)
    pytest.importorskip("XRootD", reason="make .venv/cluster")
    with tempfile.TemporaryDirectory(prefix="xrootd-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with xrootd.serving(folder) as found:
            shutil.copy(SAMPLE, found.files / "quick.root")
            yield found


def ingest(out: Path, *files: str) -> subprocess.CompletedProcess:
    """The command, in a process of its own, on some files in the layout of the sample."""
    settings = {**tiny()["ingest"], "files": list(files), "samples": {}}
    return subprocess.run(
        [
            sys.executable, "-m", "sosie.cli", "ingest", "--detector", "ecal", "--seed", "1",
            "--out", str(out), "--set", *(f"{key}={json.dumps(value)}" for key, value in settings.items()),
        ],
        capture_output=True, text=True, check=False, env=environment(), timeout=2 * BOUND,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess, *words: str) -> None:
    """Check that a command said why not, in one line, and left nothing."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert all(word in line for word in words), line


def test_a_file_on_a_server_gives_the_events_of_the_local_one(server, tmp_path):
    address = server.address("quick.root")
    for name, path in (("local", str(SAMPLE)), ("remote", address)):
        done = ingest(tmp_path / name, path)
        assert done.returncode == 0, done.stderr
    for sample in ("train", "validation", "test"):
        with (
            open_events(tmp_path / "local" / f"{sample}.h5") as local,
            open_events(tmp_path / "remote" / f"{sample}.h5") as remote,
        ):
            for column in ("response", "conditions", "event_id"):
                assert (local.column(column) == remote.column(column)).all()
    known = json.loads((tmp_path / "remote/summary.json").read_text())["files"]
    assert known[address]["sha256"] == file_digest(SAMPLE)


def test_wildcards_name_files_on_a_server(server):
    for name in ("many_2.root", "many_1.root", "many_3.txt"):
        (server.files / name).write_bytes(b"x")
    found = find_files([server.address("many_*.root"), server.address("many_1.root")])
    assert found == [server.address("many_1.root"), server.address("many_2.root")]
    with pytest.raises(InputError, match=r"none_\*\.root: no such file on the server"):
        find(server.address("none_*.root"))
    with pytest.raises(InputError, match="one pattern for each folder"):
        find(server.address("*/quick.root"))


def test_the_same_file_here_and_on_the_server_is_refused(server, tmp_path):
    done = ingest(tmp_path, str(SAMPLE), server.address("quick.root"))
    assert done.returncode == 2
    assert "the same file twice" in done.stderr.splitlines()[-1]


def test_a_file_that_is_not_there_is_named_in_one_line(server, tmp_path):
    refused(ingest(tmp_path, server.address("none.root")), "none.root: no such file on the server")
    assert not list(tmp_path.iterdir())


def test_a_folder_and_a_cut_file_are_refused(server, tmp_path):
    (server.files / "folder").mkdir()
    refused(ingest(tmp_path, server.address("folder")), "is a folder")
    (server.files / "cut.root").write_bytes(SAMPLE.read_bytes()[:100000])
    refused(ingest(tmp_path, server.address("cut.root")), "cut.root: not a ROOT file, or cut short")
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_away_is_reported_within_bounds(server, tmp_path):
    away = server.address("quick.root").replace(str(server.port), "10941")
    since = time.monotonic()
    refused(ingest(tmp_path, away), away, "the server does not answer")
    assert time.monotonic() - since < BOUND


def test_a_server_that_says_nothing_is_reported_within_bounds(server, tmp_path):
    with socket.create_server(("127.0.0.1", 10942)):
        since = time.monotonic()
        silent = server.address("quick.root").replace(str(server.port), "10942")
        refused(ingest(tmp_path, silent), silent, "the server does not answer")
        assert time.monotonic() - since < BOUND


def read_while(address: str, happens: Callable[[], object]) -> None:
    """Read a file in which something happens after it is opened."""
    with open_ntuple(address, "ecal") as table:
        happens()
        read_columns(address, table, ["energy"], 0, 4000)


def test_a_file_that_changes_while_it_is_read_is_refused(server):
    path = server.files / "growing.root"
    shutil.copy(SAMPLE, path)
    with pytest.raises(InputError, match="changed while it was read"):
        read_while(server.address(path.name), lambda: os.truncate(path, path.stat().st_size + 4))


def test_a_file_that_shrinks_under_the_digest_is_refused(server):
    path = server.files / "shrinking.root"
    path.write_bytes(b"x" * 1000)
    assert seen(server.address(path.name)).size == 1000
    os.truncate(path, 500)
    with pytest.raises(InputError, match="500 of 1000 bytes"):
        remote_digest(server.address(path.name))


def test_a_changed_file_is_ingested_again_and_others_are_not(server, tmp_path):
    path = server.files / "study.root"
    shutil.copy(SAMPLE, path)
    changed = {"ingest__files": [server.address("study.root")]}
    snakemake(tmp_path, "ingest", **changed)
    assert "Nothing to be done" in snakemake(tmp_path, "-n", "ingest", **changed)
    os.utime(path, (1, 1))
    assert jobs(snakemake(tmp_path, "-n", "ingest", **changed)) == {"ingest"}
    path.unlink()
    with pytest.raises(AssertionError, match=r"study\.root: no such file on the server"):
        snakemake(tmp_path, "-n", "ingest", **changed)


def test_a_server_that_goes_away_in_the_middle_is_reported(server):
    address = server.address("quick.root")
    since = time.monotonic()
    try:
        with pytest.raises(InputError, match=r"quick\.root"):
            read_while(address, server.stop)
        with pytest.raises(InputError, match="the server does not answer"):
            sightings([server.address("*.root")])
    finally:
        server.start()
    assert time.monotonic() - since < 2 * BOUND
