"""Files appear whole or not at all; digests are those of the bytes."""

import hashlib
import json
import math

import numpy as np
import pytest

from sosie.errors import InputError, IntermediateError, SosieError
from sosie.files import (
    digest,
    file_digest,
    find_files,
    read_json,
    staged,
    to_json,
    write_atomic,
    write_json,
    write_text,
)


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


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe"])
def test_json_that_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(IntermediateError, match=r"a\.json.*run ingest again"):
        read_json(tmp_path / "a.json", "ingest")
