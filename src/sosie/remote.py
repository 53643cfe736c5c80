"""Input files that a server gives by XRootD, as EOS does: root://host//path."""

import hashlib
import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, NamedTuple

from sosie.errors import InputError

SCHEMES = ("root://", "roots://", "xroot://", "xroots://")
PATIENCE = 30  # seconds for an answer of a server
BLOCK = 8 << 20  # bytes of a request
# What the environment says goes first. The client would else look for a server for ten minutes, and
# would not survive a fork.
CLIENT = {
    "XRD_CONNECTIONWINDOW": "10",
    "XRD_CONNECTIONRETRY": "2",
    "XRD_STREAMTIMEOUT": str(PATIENCE),
    "XRD_RUNFORKHANDLER": "1",
}
# Codes of the client (XrdClStatus.hh): no connection, and no answer in time.
UNREACHABLE = range(100, 300)
ERROR_RESPONSE, NOT_FOUND = 400, 3011


class Seen(NamedTuple):
    """What a server says of a file: bytes, and seconds since 1970 of its last change."""

    size: int
    changed: int


def is_remote(path: object) -> bool:
    """Whether a path is the address of a file on an XRootD server."""
    return str(path).startswith(SCHEMES)


def _client(path: str) -> Any:
    for name, value in CLIENT.items():
        os.environ.setdefault(name, value)
    try:
        from XRootD import client
    except ImportError:
        raise InputError(
            f"{path}: the Python package xrootd is not installed; pip install '.[xrootd]'"
        ) from None
    return client


def _check(path: str, status: Any) -> None:
    if status.ok:
        return
    reason = " ".join(str(status.message).split()).partition("] ")[2] or f"code {status.code}"
    if status.code == ERROR_RESPONSE and status.errno == NOT_FOUND:
        raise InputError(f"{path}: no such file on the server; check the path")
    if status.code in UNREACHABLE:
        raise InputError(
            f"{path}: the server does not answer ({reason}); check its name, the network and, "
            "where it wants one, your ticket or token"
        )
    raise InputError(f"{path}: refused by the server ({reason}); check the path and your rights")


def _stat(path: str) -> Seen:
    client = _client(path)
    address = client.URL(path)
    if not (address.is_valid() and address.path):
        raise InputError(f"{path}: no address of a file; write root://host//folder/file.root")
    status, info = client.FileSystem(path).stat(address.path_with_params, timeout=PATIENCE)
    _check(path, status)
    if info.flags & client.flags.StatInfoFlags.IS_DIR:
        raise InputError(f"{path}: is a folder; name its files, as {path.rstrip('/')}//*.root")
    return Seen(int(info.size), int(info.modtime))


@cache
def seen(path: str) -> Seen:
    """What the server said of a file when this process first asked.

    Raises InputError for a file that is not there and a server that does not answer in time.
    """
    return _stat(path)


def check_unchanged(path: str) -> None:
    """Raise InputError if a file is no longer what it was at first sight."""
    first, now = seen(path), _stat(path)
    if now != first:
        raise InputError(
            f"{path}: changed while it was read, from {first.size} bytes to {now.size}, "
            f"{now.changed - first.changed} s later; run it again once it is complete"
        )


def find(pattern: str) -> list[str]:
    """The files that a pattern names, sorted; ``*`` and ``[...]`` in the name, not in folders.

    Raises InputError for a pattern that matches no file.
    """
    client = _client(pattern)
    address = client.URL(pattern)
    folder, _, name = address.path.rpartition("/")
    if not set("*[") & set(address.path):
        return [pattern]
    if set("*[") & set(folder) or "?" in pattern:
        raise InputError(
            f"{pattern}: wildcards of a root:// address are * and [...] in the name of the file, "
            "without a '?'; write one pattern for each folder"
        )
    status, entries = client.FileSystem(pattern).dirlist(f"{folder}/", timeout=PATIENCE)
    _check(pattern, status)
    base = pattern[: -len(name)]
    found = sorted(entry.name for entry in entries if fnmatchcase(entry.name, name))
    if not found:
        raise InputError(f"{pattern}: no such file on the server; check the path")
    return [base + one for one in found]


def sightings(patterns: Iterable[str]) -> list[str]:
    """Address, bytes and time of the last change of each file on a server, one text each.

    Raises InputError as ``find`` and ``seen`` do.
    """
    files = [path for pattern in patterns if is_remote(pattern) for path in find(pattern)]
    return [f"{path} {seen(path).size} {seen(path).changed}" for path in files]


def remote_digest(path: str) -> str:
    """SHA-256 of the bytes of a file.

    Raises InputError where it cannot be read whole.
    """
    client, state, size = _client(path), hashlib.sha256(), seen(path).size
    with client.File() as file:
        _check(path, file.open(path, timeout=PATIENCE)[0])
        for offset in range(0, size, BLOCK):
            wanted = min(BLOCK, size - offset)
            status, data = file.read(offset, wanted, timeout=PATIENCE)
            _check(path, status)
            if len(data) != wanted:
                raise InputError(f"{path}: {offset + len(data)} of {size} bytes; run it again")
            state.update(data)
    return state.hexdigest()
