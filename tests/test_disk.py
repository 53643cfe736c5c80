"""A disk that is full or cannot be written: one line, exit code 2, the last good file stays."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from samples import conditions, origin, showers, write_table
from sosie.arrays import read_arrays, write_arrays
from sosie.cli import main
from sosie.errors import SosieError
from sosie.files import check_writable, read_json, staged, write_json, write_text
from sosie.ntuples import write_ntuple
from sosie.surrogates import save
from sosie.surrogates.library import Library

RNG = np.random.default_rng(1)


@pytest.fixture
def disk(tmp_path):
    """A disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("a file system can only be mounted by root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def write_root(path, size):
    with write_ntuple(path, "ecal", rntuple=False) as append:
        for _ in range(4):
            append({"energy": RNG.random((size // 16, 2)).astype(np.float32)})


def write_events_of(path, size):
    where = conditions(max(2, size // 3600))
    write_table(path, RNG.random((len(where), 30, 30)).astype(np.float32), where)


def write_surrogate(path, size):
    where = conditions(max(2, size // 3600))
    save(path, Library(origin(where), {"kind": "library", "neighbours": 1}, showers(where), where))


WRITERS = {
    "table.h5": write_events_of,
    "surrogate.h5": write_surrogate,
    "checkpoint.h5": lambda path, size: write_arrays(
        path, "checkpoint", {f"a/{i}": RNG.random(size // 800) for i in range(100)}, {"done": 1}
    ),
    "a.json": lambda path, size: write_json(path, {"text": "x" * size}),
    "a.csv": lambda path, size: write_text(path, "x" * size, beside=True),
    "a.root": write_root,
}


@pytest.mark.fault(7)
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("free", [0, 4096, 65536, 1000000])
def test_a_full_disk(disk, name, free):
    """``free`` bytes are left beside the old file: it fails at the start, in the middle, at the end."""
    WRITERS[name](disk / name, 10000)
    old = {path.name: path.read_bytes() for path in disk.iterdir()}
    left = os.statvfs(disk).f_bavail * 4096
    (disk / "filler").write_bytes(bytes(max(0, left - free)))
    with pytest.raises(
        SosieError, match=r"cannot be written \(No space left on device\)"
    ) as caught:
        WRITERS[name](disk / name, 3_000_000)
    assert str(caught.value).startswith(f"{disk / name}: ")
    assert "\n" not in str(caught.value)
    (disk / "filler").unlink()
    assert {path.name: path.read_bytes() for path in disk.iterdir()} == old


@pytest.mark.fault(7)
def test_hdf5_does_not_end_the_process(disk):
    """What HDF5 holds back when it cannot write crashes it at the end of the process."""
    code = (
        "import sys, numpy as np; from sosie.arrays import write_arrays\n"
        "from sosie.errors import SosieError\n"
        "try: write_arrays(sys.argv[1], 'a', {str(i): np.ones(900) for i in range(500)}, {})\n"
        "except SosieError as error: print(error); sys.exit(2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(disk / "a.h5")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert "No space left" in done.stdout
    assert list(disk.iterdir()) == []


@pytest.mark.fault(7)
def test_a_disk_that_cannot_be_written_is_refused_before_anything_is_computed(disk, capsys):
    write_json(disk / "out" / "a.json", {"a": 1})
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for place in (disk, disk / "out", disk / "new" / "below"):
        with pytest.raises(SosieError, match=r"cannot be written \(Read-only file system\)"):
            check_writable(place)
    with pytest.raises(SosieError, match="Read-only"), staged(disk / "out"):
        pass
    assert read_json(disk / "out" / "a.json", "ingest") == {"a": 1}
    # The input does not exist: it was not even looked at.
    assert main(["preprocess", "--in", "nothing.h5", "--out", str(disk / "out" / "b.json")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Read-only file system" in said


@pytest.mark.fault(7)
def test_a_limit_on_the_size_of_files_is_said_alike(tmp_path):
    code = (
        "import resource, sys, numpy as np; from sosie.arrays import write_arrays\n"
        "from sosie.errors import SosieError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "try: write_arrays(sys.argv[1], 'a', {'b': np.ones(90000)}, {})\n"
        "except SosieError as error: print(error); sys.exit(2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.h5")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert "cannot be written (File too large)" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault(7)
def test_what_was_written_is_read_from_the_disk(tmp_path, monkeypatch):
    """A disk that gives back other bytes than it was given."""
    honest = os.fsync

    def spoil(handle):
        honest(handle)
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if path.suffix == ".part":
            data = bytearray(path.read_bytes())
            place = data.find(np.full(50, 7.25).tobytes())
            data[place + 100] ^= 1
            path.write_bytes(data)

    monkeypatch.setattr(os, "fsync", spoil)
    with pytest.raises(SosieError, match=r"a\.h5: what was written does not read back .*digest"):
        write_arrays(tmp_path / "a.h5", "a", {"b": np.full(50, 7.25)}, {})
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    write_arrays(tmp_path / "a.h5", "a", {"b": np.full(50, 7.25)}, {})
    assert read_arrays(tmp_path / "a.h5", "a", "a")[0]["b"].sum() == 362.5
