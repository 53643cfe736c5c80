"""Files: found by pattern, written all or nothing, recognised by digest."""

import errno
import glob
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sosie.errors import InputError, IntermediateError, SosieError

UNWRITABLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
}


def find_files(patterns: Iterable[str]) -> list[str]:
    """The files that the patterns name, in the order given, those of one pattern sorted.

    Raises InputError for a pattern that matches no file.
    """
    found = []
    for pattern in patterns:
        matches = sorted(glob.glob(pattern)) or ([pattern] if Path(pattern).is_file() else [])
        if not matches:
            raise InputError(f"{pattern}: no such file; check ingest.files and the current folder")
        found += [match for match in matches if match not in found]
    return found


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn the errors of a place that cannot be written into a SosieError."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise SosieError(
            f"{path}: cannot be written ({os.strerror(error.errno)}); "
            "check the folder, its permissions and the space on the disk"
        ) from None


@contextmanager
def write_atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; renamed to it on success, removed on any failure.

    Raises SosieError where the place cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            with open(part, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def staged(folder: str | Path) -> Iterator[Path]:
    """Yield a temporary folder inside ``folder``; its files move up once all of them are whole.

    Raises SosieError where the place cannot be written.
    """
    folder = Path(folder)
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".stage.") as stage:
            yield Path(stage)
            for file in sorted(Path(stage).iterdir()):
                os.replace(file, folder / file.name)


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as sha256sum prints it."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(*parts: bytes | str) -> str:
    """A 32-digit BLAKE2b digest of the parts, which cannot run into one another."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON text of nested dicts, lists, arrays and numbers; what is not finite becomes null."""
    return json.dumps(_plain(value), indent=indent, allow_nan=False, ensure_ascii=False)


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON."""
    write_text(path, to_json(value, indent=1) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text."""
    with write_atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: str | Path, step: str) -> Any:
    """What ``step`` wrote with ``write_json``; raises IntermediateError for anything else."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IntermediateError(
            f"{path}: cannot be read as JSON ({error}); delete it and run {step} again"
        ) from None
