"""A process is called dead only where that is proved."""

import os
import subprocess
import sys

import pytest

from sosie import owners
from sosie.owners import TOKEN, dead, token

CHILD = "from sosie.owners import token; print(token(), flush=True); input()"


@pytest.fixture
def child():
    """A live process and its token."""
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process, process.stdout.readline().strip()
        process.kill()


def changed(token, **parts):
    names = ("host", "boot", "namespace", "pid", "start")
    values = dict(zip(names, TOKEN.fullmatch(token).groups(), strict=True))
    return "-".join((values | parts).values())


def test_who_lives_is_not_dead(child):
    assert token() == token()
    assert not dead(token())
    assert not dead(child[1])
    assert child[1] != token()


def test_a_killed_process_is_dead_before_and_after_it_is_collected(child):
    process, owner = child
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert dead(owner)
    process.wait()
    assert dead(owner)


def test_a_number_that_is_used_again_is_another_process(child):
    assert dead(changed(child[1], start="1"))


def test_what_ran_before_the_last_boot_is_dead(child):
    assert dead(changed(child[1], boot="0" * 12))


@pytest.mark.parametrize("part", ["host", "namespace"])
def test_nothing_is_known_of_other_places(child, part):
    """Not even of a number that nobody has here."""
    process, owner = child
    elsewhere = changed(owner, **{part: "0" * 12})
    process.kill()
    process.wait()
    assert dead(owner)
    assert not dead(elsewhere)
    assert not dead(changed(elsewhere, host="0" * 12, boot="0" * 12))


def test_without_the_start_of_a_process_a_number_in_use_is_no_proof(child, monkeypatch):
    assert not dead(changed(child[1], start=""))
    monkeypatch.setattr(owners, "_state", lambda pid: ("", False))
    assert not dead(changed(child[1], start="1"))
    assert TOKEN.fullmatch(token())
    assert not dead(token())


@pytest.mark.parametrize("text", ["", "x", "1", "../..", "1-2-3-4-5", "0" * 64, "a-b"])
def test_what_is_no_token_proves_nothing(text):
    assert not dead(text)
    assert not dead(text + token())


def test_a_number_that_no_process_can_have_proves_nothing_by_an_error():
    assert not dead(changed(token(), pid="9" * 30))
