"""Numbers of events that are many, kept in a file that nobody else sees and that no kill leaves."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sosie.files import writing

Array = np.ndarray[Any, Any]


class Scratch:
    """Rows (N, D) of float64 in a file without a name, appended and read in pieces."""

    def __init__(self, folder: Path, columns: int) -> None:
        self.columns, self._folder = columns, folder
        self._rows = 0
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def __len__(self) -> int:
        return self._rows

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, rows: Array) -> None:
        """Put rows (n, D) behind those that are there; raises SosieError where the disk is full."""
        with writing(self._folder):
            self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(rows, np.float64).reshape(-1).view(np.uint8).data)
            self._file.flush()
        self._rows += len(rows)

    def rows(self, where: slice) -> Array:
        """Rows (n, D) from ``where.start`` to ``where.stop``."""
        count = where.stop - where.start
        out = np.empty((count, self.columns))
        self._file.seek(8 * self.columns * where.start)
        self._file.readinto(out.reshape(-1).view(np.uint8).data)
        return out
