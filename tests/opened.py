"""Whether a file is opened, by anyone and in any way: inotify(7) of Linux."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

READ_OR_OPENED = 0x00000001 | 0x00000020


class Watch:
    """Tells whether the file was opened or read since it was last asked."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __call__(self) -> bool:
        try:
            return bool(os.read(self._handle, 1 << 16))
        except BlockingIOError:
            return False


@contextmanager
def watched(path: Path) -> Iterator[Watch]:
    """A watch over a file; the test is skipped where there is no inotify."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "inotify_init1"):
        pytest.skip("there is no inotify here")
    handle = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if handle < 0 or libc.inotify_add_watch(handle, os.fsencode(path), READ_OR_OPENED) < 0:
        pytest.skip(f"inotify: {os.strerror(ctypes.get_errno())}")
    try:
        yield Watch(handle)
    finally:
        os.close(handle)
