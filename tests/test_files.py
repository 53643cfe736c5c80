"""Files appear whole or not at all; digests are those of the bytes."""

import errno
import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sosie.errors import InputError, IntermediateError, SosieError
from sosie.files import (
    check_beside,
    check_writable,
    digest,
    file_digest,
    find_files,
    read_json,
    staged,
    sums,
    to_json,
    write_atomic,
    write_json,
    write_text,
)
from sosie.owners import token


def test_the_old_file_stays_when_writing_fails(tmp_path):
    target = tmp_path / "out" / "a.txt"
    write_text(target, "old")

    def fail():
        with write_atomic(target) as part:
            part.write_text("half of the n")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]
    write_text(target, "new")
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_place_that_cannot_be_written_is_no_bug(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SosieError, match=r"cannot be written \(.*\); check the folder"):
            write_text(folder / "a.txt", "text")
        with pytest.raises(SosieError, match="cannot be written"), staged(folder):
            pass


def test_other_errors_are_not_hidden(tmp_path):
    with pytest.raises(FileNotFoundError), write_atomic(tmp_path / "a"):
        (tmp_path / "nothing").read_bytes()


def test_staged_files_come_all_or_none(tmp_path):
    write_text(tmp_path / "out" / "a", "old")

    def fail():
        with staged(tmp_path / "out") as stage:
            write_text(stage / "a", "new")
            write_text(stage / "b", "new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]
    assert (tmp_path / "out" / "a").read_text() == "old"
    with staged(tmp_path / "out") as stage:
        write_text(stage / "a", "new")
        write_text(stage / "b", "new")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b"]
    assert (tmp_path / "out" / "a").read_text() == "new"


def test_patterns_keep_their_order_and_name_no_file_twice(tmp_path):
    for name in ("b2.root", "b1.root", "a.root", "odd[1].root"):
        (tmp_path / name).touch()
    found = find_files([f"{tmp_path}/{name}" for name in ("b*", "a.root", "*.root")])
    names = [path.rsplit("/", 1)[1] for path in found]
    assert names == ["b1.root", "b2.root", "a.root", "odd[1].root"]
    assert find_files([f"{tmp_path}/odd[1].root"]) == [f"{tmp_path}/odd[1].root"]
    with pytest.raises(InputError, match=r"c\*: no such file; check ingest.files"):
        find_files([f"{tmp_path}/a.root", f"{tmp_path}/c*"])


def test_digests(tmp_path):
    (tmp_path / "a").write_bytes(b"bytes" * 10000)
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"bytes" * 10000).hexdigest()
    assert digest("ab", "c") == digest(b"ab", "c") != digest("a", "bc") != digest("abc")


def test_json_round_trip(tmp_path):
    value = {"a": np.arange(3), "b": (1.5, math.nan, -math.inf), 3: np.float32(0.5), "µ": None}
    write_json(tmp_path / "a.json", value)
    plain = {"a": [0, 1, 2], "b": [1.5, None, None], "3": 0.5, "µ": None}
    assert read_json(tmp_path / "a.json", "ingest") == plain == json.loads(to_json(value))
    written = json.loads((tmp_path / "a.json").read_text())
    assert written == {**plain, "digest": digest(to_json(plain))}


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"{",
        b"\xff\xfe",
        b"[1]",
        b"1",
        b'{"a": 1}',
        b'{"a": 1, "digest": null}',
        b'{"digest": {}}',
        b"[" * 100000,
    ],
)
def test_json_that_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(IntermediateError, match=r"a\.json.*run ingest again"):
        read_json(tmp_path / "a.json", "ingest")


def test_a_number_in_json_cannot_change_unseen(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"lambda": 0.25, "names": ["a", "b"]})
    good = path.read_text()
    for old, new in (("0.25", "0.26"), ('"a"', '"c"'), ("lambda", "lambdb"), ('"b"', '"b", "c"')):
        path.write_text(good.replace(old, new))
        with pytest.raises(IntermediateError, match=r"does not match its digest.*run ingest again"):
            read_json(path, "ingest")


def test_what_does_not_read_back_never_takes_the_place(tmp_path):
    target = tmp_path / "a"
    write_text(target, "old")

    def verify(part):
        assert part.read_text() == "new"
        raise IntermediateError(f"{part}: cut")

    with (
        pytest.raises(SosieError, match=r"a: what was written does not read back \(cut\)"),
        write_atomic(target, verify) as part,
    ):
        part.write_text("new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_text_is_read_back(tmp_path, monkeypatch):
    whole = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: whole(self, data[:-1]))
    with pytest.raises(SosieError, match="does not read back"):
        write_text(tmp_path / "a", "text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.csv", "two words.csv", "back\\slash\nline.csv", "µ$(x);'.csv"])
def test_the_digest_beside_is_that_of_sha256sum(tmp_path, name):
    write_text(tmp_path / name, "text\n", beside=True)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted([name, f"{name}.sha256"])
    shown = subprocess.run(
        ["sha256sum", name], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (tmp_path / f"{name}.sha256").read_text() == shown.stdout
    assert sums({name: file_digest(tmp_path / name)}) == shown.stdout
    check_beside(tmp_path / name, "train")


@pytest.mark.parametrize("note", [None, "", "0" * 64, "\xff", "text"])
def test_a_file_that_is_not_that_of_its_digest_is_refused(tmp_path, note):
    path = tmp_path / "a.csv"
    write_text(path, "text", beside=True)
    beside = tmp_path / "a.csv.sha256"
    if note is None:
        beside.unlink()
        check_beside(path, "train", needed=False)
    else:
        beside.write_bytes(note.encode("latin-1"))
    with pytest.raises(IntermediateError, match=r"a\.csv: .*run train again"):
        check_beside(path, "train")


@pytest.mark.parametrize("damage", [b"texT", b"", b"text ", None])
def test_a_damaged_file_is_refused_by_the_digest_beside_it(tmp_path, damage):
    path = tmp_path / "a.csv"
    write_text(path, "text", beside=True)
    path.unlink() if damage is None else path.write_bytes(damage)
    for needed in (True, False):
        with pytest.raises(IntermediateError, match=r"a\.csv: .*run train again"):
            check_beside(path, "train", needed)


def dead_token():
    """The token of a process that has ended."""
    code = "from sosie.owners import token; print(token())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_what_dead_processes_left_is_removed_and_nothing_else(tmp_path):
    gone, here = dead_token(), token()
    mine = [f".a.{gone}.part", f".a.sha256.{gone}.part"]
    elsewhere = "0" * 12 + gone[12:]
    others = [f".b.{gone}.part", f".a.{here}.part2", ".a.12.part", f".a.{elsewhere}.part"]
    others += [f".a.{gone}", f".stage.{elsewhere}"]
    for name in mine + others:
        (tmp_path / name).touch()
    write_text(tmp_path / "a", "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a", *others])
    (tmp_path / f".stage.{gone}").mkdir()
    write_text(tmp_path / f".stage.{gone}" / "train.h5", "text")
    with staged(tmp_path) as stage:
        write_text(stage / "b", "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a", "b", *others])


def test_a_part_names_its_owner(tmp_path):
    with write_atomic(tmp_path / "a") as part:
        assert part.name == f".a.{token()}.part"
        part.touch()
    with staged(tmp_path) as stage:
        assert stage.name == f".stage.{token()}"


def test_to_ask_whether_a_folder_can_be_written_leaves_nothing(tmp_path):
    check_writable(tmp_path)
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SosieError, match="cannot be written"):
            check_writable(folder)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_a_full_disk_is_one_line(tmp_path, monkeypatch, number):
    def full(*_):
        raise OSError(number, os.strerror(number))

    write_text(tmp_path / "a", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SosieError, match=rf"a: cannot be written \({os.strerror(number)}\)"):
        write_text(tmp_path / "a", "new", beside=True)
    assert (tmp_path / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
