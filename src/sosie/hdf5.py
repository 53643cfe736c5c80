"""What all our HDF5 files have in common: how they are made, and what is refused in them."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sosie.files import digest

# The first format in which HDF5 keeps checksums of all its metadata.
FORMAT = ("v110", "v110")
LOCAL = "biufS"


class _Sink(io.FileIO):
    """A new file that keeps the first error of writing to itself.

    HDF5 that cannot write what it holds back ends the whole process by a segmentation fault.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all bytes of a buffer, which a full disk may cut."""
        view = memoryview(data).cast("B")
        done = 0
        try:
            while self.failure is None and done < len(view):
                done += super().write(view[done:]) or 0
        except OSError as error:
            self.failure = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the length."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0

    def check(self) -> None:
        """Raise the error that was kept."""
        if self.failure is not None:
            raise self.failure


@contextmanager
def new_file(part: Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """A new HDF5 file, and a function that raises OSError if something could not be written so far."""
    with _Sink(part, "w+") as sink:
        with h5py.File(sink, "w", libver=FORMAT) as file:
            yield file, sink.check
        sink.check()


def array_digest(array: np.ndarray[Any, Any]) -> str:
    """The digest of an array's type, shape and bytes."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return digest(array.dtype.str, str(array.shape), flat.view(np.uint8).data)


def own_datasets(
    group: h5py.Group, prefix: str = "", skip: Sequence[str] = ()
) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset below a group by its path, without reading it, but those to skip.

    Raises ValueError for what is a link, is stored elsewhere or is not made of plain numbers.
    """
    for name in group:
        path = f"{prefix}{name}"
        if path in skip:
            continue
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"'{path}' is a link")
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from own_datasets(item, f"{path}/")
            continue
        if not isinstance(item, h5py.Dataset):
            raise ValueError(f"'{path}' is not an array")
        if item.is_virtual or item.external:
            raise ValueError(f"'{path}' is stored elsewhere")
        if item.dtype.kind not in LOCAL:
            raise ValueError(f"'{path}' is of type '{item.dtype}', not plain numbers")
        # HDF5 makes up zeros for what is not stored, be it larger than the memory.
        if item.chunks is None and item.id.get_storage_size() != item.nbytes:
            raise ValueError(f"'{path}' is not all there")
        yield path, item


def own_group(file: h5py.File, name: str) -> Any:
    """A group of a file, empty where there is none; raises ValueError for a link and for no group."""
    if name not in file:
        return ()
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"'{name}' is a link")
    if not isinstance(file[name], h5py.Group):
        raise ValueError(f"'{name}' is no group")
    return file[name]


def fixed(text: str | Sequence[str]) -> Any:
    """Text to be stored in place: HDF5 has no checksum on text of any length, and may hang on it."""
    return np.bytes_(text.encode()) if isinstance(text, str) else np.char.encode(list(text))


def plain(value: Any) -> Any:
    """An attribute with its text decoded, numbers as they are."""
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


def own_text(file: h5py.File) -> str:
    """The text ``attributes`` of a file; raises ValueError for a link and what is stored elsewhere."""
    link = file.get("attributes", getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"'attributes' is {'a link' if link else 'missing'}")
    item = file["attributes"]
    if item.is_virtual or item.external or item.shape != ():
        raise ValueError("'attributes' is stored elsewhere")
    return str(item[()].decode())


def one_line(error: Exception) -> str:
    """The message of an error of h5py without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
