"""Addresses of files on XRootD servers, where no server is needed; tests/cluster has one."""

import sys

import pytest

from sosie.errors import InputError
from sosie.files import find_files
from sosie.remote import is_remote, sightings


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("root://eospublic.cern.ch//eos/a.root", True),
        ("roots://host//a.root", True),
        ("xroot://host:1094//a.root", True),
        ("/data/root://a.root", False),
        ("data/a.root", False),
    ],
)
def test_what_is_an_address(path, remote):
    assert is_remote(path) == remote


def test_a_missing_package_is_one_line_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "XRootD", None)
    with pytest.raises(InputError) as error:
        find_files(["root://host//a.root"])
    assert str(error.value) == (
        "root://host//a.root: the Python package xrootd is not installed; pip install '.[xrootd]'"
    )


def test_local_files_need_no_server():
    assert sightings(["data/a.root", "/b/*.root"]) == []


def test_responses_of_another_program_are_local():
    with pytest.raises(InputError, match=r"mine\.files takes no root:// address; copy it with xrd"):
        find_files(["root://host//a.h5"], "train.surrogates.mine.files")
