"""Files: found by pattern, written all or nothing, recognised by digest."""

import errno
import glob
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

from sosie.errors import InputError, IntermediateError, SosieError
from sosie.owners import dead, token
from sosie.remote import find, is_remote, remote_digest

DIGEST = "digest"
UNPRINTED = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
"""Characters that end a line, tell a terminal what to do, or are no text in UTF-8."""

UNWRITABLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
}


def find_files(patterns: Iterable[str], key: str = "ingest.files") -> list[str]:
    """The files that the patterns of ``key`` name, in the order given, those of one pattern sorted.

    Raises InputError for a pattern that matches no file, a name that does not print as one line, and
    outside ``ingest`` for a root:// address.
    """
    found: list[str] = []
    for pattern in patterns:
        if is_remote(pattern):
            if not key.startswith("ingest."):
                raise InputError(f"{pattern}: {key} takes no root:// address; copy it with xrdcp")
            found += [match for match in find(pattern) if match not in found]
            continue
        if "\0" in pattern:
            raise InputError(f"{pattern!r}: no name of a file; check {key}")
        matches = sorted(glob.glob(pattern)) or ([pattern] if Path(pattern).is_file() else [])
        if not matches:
            raise InputError(f"{pattern}: no such file; check {key} and the current folder")
        if odd := [match for match in matches if UNPRINTED.search(match)]:
            raise InputError(
                f"{odd[0]!r}: holds control characters; rename the file, or change {key}"
            )
        found += [match for match in matches if match not in found]
    return found


@contextmanager
def writing(path: Path) -> Iterator[None]:
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


def check_writable(folder: str | Path) -> None:
    """Write and remove a small file in a folder, or where the folder would be made.

    Raises SosieError where the place cannot be written.
    """
    folder = Path(folder)
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    with writing(folder):
        probe = there / f".{token()}.part"
        try:
            probe.write_bytes(b"x")
        finally:
            probe.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Make the names in a folder last, where its file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _remove_left(folder: Path, prefix: str, suffix: str) -> None:
    """Remove what processes that are proved dead have left below the prefix."""
    for left in folder.iterdir():
        if left.name.startswith(prefix) and left.name.endswith(suffix):
            owner = left.name[len(prefix) : len(left.name) - len(suffix)]
            if dead(owner):
                with suppress(OSError):
                    rmtree(left) if left.is_dir() else left.unlink()


def _check_whole(part: Path, verify: Callable[[Path], object] | None, path: Path) -> None:
    """Flush a part to the disk and verify what came to lie there."""
    with open(part, "rb") as stream:
        os.fsync(stream.fileno())
    if verify is None:
        return
    try:
        verify(part)
    except SosieError as error:
        reason = str(error).removeprefix(f"{part}: ")
        raise SosieError(
            f"{path}: what was written does not read back ({reason}); check the disk"
        ) from None


@contextmanager
def write_atomic(
    path: str | Path, verify: Callable[[Path], object] | None = None, beside: bool = False
) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; renamed to it on success, removed on any failure.

    The file at ``path`` is the last good one or the new one, whole and on the disk, and nothing in
    between: the part is flushed, ``verify`` reads it back and raises SosieError if it is not what
    was written, then it is renamed and the folder flushed. ``beside`` is for files that hold no
    digest themselves: it goes to ``<name>.sha256``, in the format of sha256sum. Parts that dead
    processes have left are removed.

    Raises SosieError where the place cannot be written or does not give back what was written.
    """
    path, owner = Path(path), token()
    note = path.with_name(f"{path.name}.sha256")
    part, note_part = (p.with_name(f".{p.name}.{owner}.part") for p in (path, note))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for place in (path, note):
            _remove_left(path.parent, f".{place.name}.", ".part")
        try:
            yield part
            _check_whole(part, verify, path)
            if beside:
                note_part.write_text(sums({path.name: file_digest(part)}), encoding="utf-8")
                _check_whole(note_part, None, note)
            # A kill leaves the old file with its digest, or one of the two without any.
            note.unlink(missing_ok=True)
            os.replace(part, path)
            if beside:
                os.replace(note_part, note)
            _sync(path.parent)
        finally:
            part.unlink(missing_ok=True)
            note_part.unlink(missing_ok=True)


@contextmanager
def staged(folder: str | Path) -> Iterator[Path]:
    """Yield a temporary folder inside ``folder``; its files move up once all of them are whole.

    Raises SosieError where the place cannot be written.
    """
    folder = Path(folder)
    stage = folder / f".stage.{token()}"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_left(folder, ".stage.", "")
        stage.mkdir()
        try:
            yield stage
            for file in sorted(stage.iterdir()):
                os.replace(file, folder / file.name)
            _sync(folder)
        finally:
            rmtree(stage, ignore_errors=True)


def sums(digests: Mapping[str, str]) -> str:
    """SHA-256 digests by name in the format of sha256sum, which escapes what would break a line."""
    lines = []
    for name, known in digests.items():
        escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        lines.append(f"{'' if escaped == name else chr(92)}{known}  {escaped}\n")
    return "".join(lines)


def check_beside(path: str | Path, step: str, needed: bool = True) -> None:
    """Compare a file with the digest that ``step`` wrote beside it.

    Raises IntermediateError if they differ, or if there is none and it is ``needed``.
    """
    note = Path(path).with_name(f"{Path(path).name}.sha256")
    if not (needed or note.exists()):
        return
    try:
        known, found = note.read_text(encoding="utf-8").lstrip("\\")[:64], file_digest(path)
    except (OSError, ValueError) as error:
        raise IntermediateError(
            f"{path}: cannot be verified ({error}); run {step} again to make it"
        ) from None
    if known != found:
        raise IntermediateError(
            f"{path}: is not the file whose digest is in {note.name}: damaged, or replaced; "
            f"run {step} again, or remove {note.name} if the file is your own"
        )


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as sha256sum prints it."""
    if is_remote(path):
        return remote_digest(str(path))
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(*parts: bytes | str | memoryview) -> str:
    """A 32-digit BLAKE2b digest of the parts, which cannot run into one another."""
    return Digest(*parts).hexdigest()


class Digest:
    """The digest of some parts and of a last one of ``size`` bytes that is added piece by piece."""

    def __init__(self, *parts: bytes | str | memoryview, size: int | None = None) -> None:
        self._state = hashlib.blake2b(digest_size=16)
        for part in parts:
            data = part.encode() if isinstance(part, str) else part
            self._state.update(len(data).to_bytes(8, "little"))
            self._state.update(data)
        if size is not None:
            self._state.update(size.to_bytes(8, "little"))

    def add(self, piece: bytes | memoryview) -> None:
        """Add a piece of the last part."""
        self._state.update(piece)

    def hexdigest(self) -> str:
        """32 digits."""
        return self._state.hexdigest()


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


def write_json(path: str | Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` as indented JSON, with its digest as the last entry."""
    plain = _plain(value)
    write_text(path, to_json({**plain, DIGEST: digest(to_json(plain))}, indent=1) + "\n")


def write_text(path: str | Path, text: str, beside: bool = False) -> None:
    """Write UTF-8 text; ``beside`` as in ``write_atomic``."""
    data = text.encode()

    def verify(part: Path) -> None:
        if part.read_bytes() != data:
            raise SosieError("other bytes")

    with write_atomic(path, verify, beside) as part:
        part.write_bytes(data)


def read_json(path: str | Path, step: str, keys: Iterable[str] = ()) -> dict[str, Any]:
    """What ``step`` wrote with ``write_json``, ``keys`` among it.

    Raises IntermediateError for anything else.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(found, dict) or DIGEST not in found:
            raise ValueError("it has no digest")
        if found.pop(DIGEST) != digest(to_json(found)):
            raise ValueError("it does not match its digest")
    except (OSError, ValueError, RecursionError) as error:
        raise IntermediateError(
            f"{path}: cannot be read as JSON ({error}); delete it and run {step} again"
        ) from None
    if missing := [key for key in keys if key not in found]:
        raise IntermediateError(
            f"{path}: holds no '{missing[0]}', so it is another file; run {step} again"
        )
    return found
