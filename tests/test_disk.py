"""A disk that is full or cannot be written: one line, exit code 2, the last good file stays."""

import os
import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest

import conftest
from samples import conditions, origin, showers, write_table
from sosie import external
from sosie.arrays import Stream, read_arrays, write_arrays
from sosie.cli import main
from sosie.detectors import find
from sosie.errors import SosieError
from sosie.events import open_events
from sosie.files import check_writable, read_json, staged, write_json, write_text
from sosie.ingest import run as run_ingest
from sosie.locks import claim, register
from sosie.merged import write_merged
from sosie.ntuples import write_ntuple
from sosie.report import write_all
from sosie.scratch import Scratch
from sosie.surrogates import save
from sosie.surrogates.library import Library
from test_ingest import LAYOUT, SPLIT

RNG = np.random.default_rng(1)


@contextmanager
def mounted(place: Path):
    """A disk of one megabyte at a place."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("a file system can only be mounted by root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def disk(tmp_path):
    with mounted(tmp_path / "disk") as place:
        yield place


@pytest.fixture
def other(tmp_path):
    """Another one, for temporary files."""
    with mounted(tmp_path / "other") as place:
        yield place


def noise(size, columns=1):
    """Numbers of so many bytes that cannot be compressed."""
    return RNG.random((size // 4 // columns, columns)).astype(np.float32)


def write_root(path, size):
    with write_ntuple(path, "ecal", rntuple=False) as append:
        for _ in range(4):
            append({"energy": noise(size // 4, 2)})


def write_rntuple(path, size):
    with write_ntuple(path, "ecal", rntuple=True) as append:
        append({"energy": noise(size)[:, 0]})


def write_events_of(path, size):
    where = conditions(max(2, size // 3600))
    write_table(path, RNG.random((len(where), 30, 30)).astype(np.float32), where)


def write_list_of_parts(path, size):
    part = path.parent / "parts/0/a.h5"
    if not part.exists():
        # What is listed lies there already; only the list does not fit.
        write_events_of(part, 3600)
    write_merged(path, find("ecal"), {"threshold": 0.2, "text": "x" * size}, ["parts/0/a.h5"])


def write_surrogate(path, size):
    where = conditions(max(2, size // 3600))
    save(path, Library(origin(where), {"kind": "library", "neighbours": 1}, showers(where), where))


def write_stream(path, size):
    rows = noise(size, 10)
    write_arrays(path, "reconstruct", {"a": Stream(rows.shape, rows.dtype, lambda i: rows[i])}, {})


NTUPLES: dict[int, str] = {}


@pytest.fixture(scope="module", autouse=True)
def ntuples(tmp_path_factory):
    """Small and large files of full simulation, by the bytes that are asked for."""
    for size, count in ((10000, 30), (3_000_000, 600)):
        path = tmp_path_factory.mktemp("ntuples") / f"{size}.root"
        energy = noise(3600 * count).reshape(count, 30, 30)
        NTUPLES[size] = str(
            conftest.write_root(path, {**conftest.electrons(count), "energy": energy})
        )


def ingest(out, size, **more):
    files = [NTUPLES[size]]
    run_ingest(
        files, out, detector="ecal", seed=1, layout=LAYOUT, threshold=0.0, split=SPLIT,
        memory=10**6, part=files if more else [],
    )  # fmt: skip


def write_report(folder, figures, page):
    """Five figures and the page, of so many bytes."""
    svg = {f"{n}.svg": "x" * (figures // 5) for n in range(5)}
    write_all(folder, svg, folder.with_name("report.html"), "x" * page)


WRITERS = {
    "table.h5": write_events_of,
    "parts.h5": write_list_of_parts,
    "surrogate.h5": write_surrogate,
    "checkpoint.h5": lambda path, size: write_arrays(
        path, "checkpoint", {f"a/{i}": RNG.random(size // 800) for i in range(100)}, {"done": 1}
    ),
    "stream.h5": write_stream,
    "a.json": lambda path, size: write_json(path, {"text": "x" * size}),
    "a.csv": lambda path, size: write_text(path, "x" * size, beside=True),
    "a.root": write_root,
    "b.root": write_rntuple,
    "ingest": ingest,
    "ingest/parts/0": lambda path, size: ingest(path, size, part=True),
    "report": lambda path, size: write_report(path, size, 1000),
    "report/page": lambda path, size: write_report(path, 1000, size),
}
FREE = (0, 4096, 65536, 1000000)


def files(folder):
    """What lies below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.fault(7)
@pytest.mark.parametrize("old", [False, True], ids=["fresh", "overwriting"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(disk, other, name, old, tally, monkeypatch):
    """``free`` bytes are left beside the old file: it fails at the start, in the middle, at the end."""
    for free, temporary in zip(FREE, (disk, other) * 2, strict=True):
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        for path in disk.iterdir():
            rmtree(path) if path.is_dir() else path.unlink()
        if old or name == "parts.h5":
            WRITERS[name](disk / name, 10000)
        if not old:
            (disk / name).unlink(missing_ok=True)
        before = files(disk)
        left = os.statvfs(disk).f_bavail * 4096
        (disk / "filler").write_bytes(bytes(max(0, left - free)))
        with pytest.raises(SosieError) as caught:
            WRITERS[name](disk / name, 3_000_000)
        (disk / "filler").unlink()
        said = str(caught.value)
        held = re.fullmatch(
            rf"{re.escape(str(disk))}/.*cannot be written \(No space left on device\); .*", said
        )
        tally.add(
            bool(held) and files(disk) == before and not list(other.iterdir()),
            f"{free} bytes free, temporary files in {temporary.name}: {said}",
        )


@pytest.mark.fault(7)
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_of_temporary_files_changes_nothing(disk, tmp_path, name, monkeypatch):
    (disk / "filler").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
    found = []
    for number, temporary in enumerate((tmp_path, disk)):
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        monkeypatch.setattr(sys.modules[__name__], "RNG", np.random.default_rng(1))
        folder = tmp_path / f"{number}"
        WRITERS[name](folder / name, 10000)
        # Only ROOT files bear the time, and the digest beside them follows it.
        found.append(
            {
                path.relative_to(folder): None if ".root" in path.name else data
                for path, data in files(folder).items()
            }
        )
    assert found[0] == found[1]


@pytest.mark.fault(7)
def test_the_users_program_is_told_that_its_disk_is_full(disk, tmp_path, monkeypatch):
    """Its input goes to the temporary folder, which here fills up after it was chosen."""
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    where = conditions(300)
    sample = write_table(tmp_path / "a.h5", RNG.random((300, 30, 30)).astype(np.float32), where)
    program = external.Program(["true", "{input}", "{output}"], "results", {})
    for free in FREE[:3]:
        left = os.statvfs(disk).f_bavail * 4096
        (disk / "filler").write_bytes(bytes(max(0, left - free)))
        with open_events(sample) as events:
            columns = external.sample_columns(events, find("ecal"))
            with pytest.raises(SosieError, match=r"written \(No space left") as caught:
                external.reconstruct(program, events, find("ecal"), columns)
        assert str(caught.value).startswith(f"{disk}/")
        assert [path.name for path in disk.iterdir()] == ["filler"]
        (disk / "filler").unlink()


@pytest.mark.fault(7)
def test_numbers_kept_meanwhile_are_a_line_on_a_full_disk(disk):
    with Scratch(disk, 10) as scratch:
        for _ in range(12):
            scratch.append(np.ones((1000, 10)))
        with pytest.raises(SosieError, match=r"disk: cannot be written \(No space left"):
            scratch.append(np.ones((2000, 10)))
    assert list(disk.iterdir()) == []


@pytest.mark.fault(7)
def test_a_run_on_a_full_disk_ends_in_a_line(disk, monkeypatch):
    """The record of its owner is the first that a run writes."""
    monkeypatch.chdir(disk)
    (disk / "filler").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
    for start in (register, lambda: claim("results/a")):
        with pytest.raises(SosieError, match=r"cannot be written \(No space left"):
            start()


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
