"""Event tables: responses and conditions of one sample in HDF5, written and read as a stream."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from sosie.detectors.base import Detector
from sosie.errors import IntermediateError
from sosie.files import digest, to_json, write_atomic

Array = np.ndarray[Any, Any]
SCHEMA = 1
KIND = "event_table"
CHUNK = 128
SLAB = 8 * CHUNK


@dataclass(frozen=True)
class Block:
    """Some events: response (n, *shape) float32 and conditions (n, C) float32 in house units,
    event_id and group_id (n,) uint64, weight (n,) or None, aux by name (n,)."""

    response: Array
    conditions: Array
    event_id: Array
    group_id: Array
    weight: Array | None = None
    aux: Mapping[str, Array] = field(default_factory=dict)

    def columns(self) -> dict[str, Array]:
        """Every dataset of the table by its name."""
        named: dict[str, Array] = {
            "response": self.response.astype(np.float32, copy=False),
            "conditions": self.conditions.astype(np.float32, copy=False),
            "event_id": self.event_id.astype(np.uint64, copy=False),
            "group_id": self.group_id.astype(np.uint64, copy=False),
        }
        if self.weight is not None:
            named["weight"] = self.weight.astype(np.float64, copy=False)
        return named | {f"aux/{name}": column for name, column in self.aux.items()}

    def select(self, chosen: Array) -> "Block":
        """The chosen events (mask or indices)."""
        return Block(
            self.response[chosen],
            self.conditions[chosen],
            self.event_id[chosen],
            self.group_id[chosen],
            None if self.weight is None else self.weight[chosen],
            {name: column[chosen] for name, column in self.aux.items()},
        )


class EventWriter:
    """Appends blocks of events to an open file, in slabs of one size.

    So the bytes of the file do not depend on how the events were cut into blocks.
    """

    def __init__(self, file: h5py.File, detector: Detector) -> None:
        self._file = file
        self._incident_energy = detector.incident_energy
        self._held: list[dict[str, Array]] = []
        self.events = 0

    def append(self, block: Block) -> None:
        """Put the events of a block behind those already there."""
        columns, count, start = block.columns(), len(block.event_id), 0
        if not self.events:
            self._held.append({name: column[:0] for name, column in columns.items()})
        while start < count:
            stop = min(count, start + SLAB - self.events % SLAB)
            # A copy, since a view would keep the whole block in memory.
            self._held.append({name: column[start:stop].copy() for name, column in columns.items()})
            self.events += stop - start
            start = stop
            if self.events % SLAB == 0:
                self.flush()

    def flush(self) -> None:
        """Write the events that are held back."""
        held, self._held = self._held, []
        if not held:
            return
        start = self.events - sum(len(piece["event_id"]) for piece in held)
        columns = {name: np.concatenate([piece[name] for piece in held]) for name in held[0]}
        if self._incident_energy:
            energy = self._incident_energy(columns["conditions"])
            columns["incident_energies"] = energy.astype(np.float32)[:, None]
        for name, column in columns.items():
            if name not in self._file:
                self._file.create_dataset(
                    name,
                    shape=(0, *column.shape[1:]),
                    maxshape=(None, *column.shape[1:]),
                    chunks=(CHUNK if column.ndim > 2 else 8192, *column.shape[1:]),
                    dtype=column.dtype,
                    fletcher32=True,
                    **hdf5plugin.Zstd(clevel=1),
                )
            data = self._file[name]
            data.resize(self.events, axis=0)
            data[start:] = column

    def finish(self) -> None:
        """Write what is held back and, for a calorimeter, the CaloChallenge's view of the table.

        ``showers`` (N, cells) is a virtual dataset over the bytes of ``response``, in MeV like
        ``incident_energies`` (N, 1).
        """
        self.flush()
        if self._incident_energy and self.events:
            response = self._file["response"]
            space = h5py.h5s.create_simple((self.events, response[0].size))
            how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            # h5py's create_virtual_dataset stamps the time into the file.
            how.set_obj_track_times(False)
            how.set_virtual(space, b".", b"response", response.id.get_space())
            h5py.h5d.create(self._file.id, b"showers", response.id.get_type(), space, how)


@contextmanager
def write_events(
    path: str | Path, detector: Detector, attributes: Mapping[str, Any]
) -> Iterator[EventWriter]:
    """A writer of an event table; the file appears only when all has been written."""
    with write_atomic(path) as part, h5py.File(part, "w") as file:
        writer = EventWriter(file, detector)
        yield writer
        writer.finish()
        file.attrs["kind"] = KIND
        file.attrs["schema"] = SCHEMA
        file.attrs["detector"] = detector.name
        file.attrs["events"] = writer.events
        file.attrs["unit"] = detector.unit
        file.attrs["conditions"] = list(detector.conditions)
        file.attrs["condition_units"] = list(detector.conditions.values())
        # An attribute of HDF5 holds 64 kB at most, and a study may have many input files.
        text = to_json(attributes)
        file["attributes"] = text
        file.attrs["attributes_digest"] = digest(text)


class Events:
    """An event table open for reading."""

    def __init__(self, path: str | Path, file: h5py.File) -> None:
        self.path = str(path)
        self._file = file
        self.detector: str = file.attrs["detector"]
        text = file["attributes"][()]
        if file.attrs.get("attributes_digest") != digest(text):
            raise IntermediateError(
                f"{path}: its attributes are damaged; run the step that writes it again"
            )
        self.attributes: dict[str, Any] = json.loads(text)
        self.threshold: float = self.attributes["threshold"]

    def __len__(self) -> int:
        return int(self._file.attrs["events"])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one response."""
        return tuple(self._file["response"].shape[1:])

    def column(self, name: str) -> Array:
        """A whole column, as 'conditions' or 'aux/seed'; raises IntermediateError if damaged."""
        try:
            return self._file[name][()]
        except (OSError, KeyError, RuntimeError):
            raise IntermediateError(
                f"{self.path}: column '{name}' is missing or damaged; run the step that wrote it again"
            ) from None

    @property
    def weight(self) -> Array:
        """Event weights (N,), 1 where the table has none."""
        return self.column("weight") if "weight" in self._file else np.ones(len(self))

    @property
    def aux(self) -> list[str]:
        """Names of the columns that are carried along."""
        return list(self._file["aux"]) if "aux" in self._file else []

    def responses(self, size: int = 2048) -> Iterator[tuple[slice, Array]]:
        """The responses in pieces: (where, response (n, *shape)); raises IntermediateError."""
        for start in range(0, len(self), size):
            where = slice(start, min(start + size, len(self)))
            try:
                yield where, self._file["response"][where]
            except (OSError, RuntimeError):
                raise IntermediateError(
                    f"{self.path}: events {start} to {where.stop} are damaged; "
                    "run the step that wrote it again"
                ) from None


@contextmanager
def open_events(path: str | Path) -> Iterator[Events]:
    """An event table for reading; raises IntermediateError for what is not one, or not a whole one."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        reason = (
            "no such file"
            if not Path(path).exists()
            else f"not HDF5, or cut short ({' '.join(str(error).split())})"
        )
        raise IntermediateError(f"{path}: {reason}; run the step that writes it again") from None
    with file:
        if file.attrs.get("kind") != KIND or file.attrs.get("schema") != SCHEMA:
            raise IntermediateError(
                f"{path}: not an event table of schema {SCHEMA}; run the step that writes it again"
            )
        events = file.attrs["events"]
        for name in ("response", "conditions", "event_id", "group_id"):
            if "attributes" not in file or name not in file or len(file[name]) != events:
                raise IntermediateError(
                    f"{path}: column '{name}' does not hold {events} events; "
                    "run the step that writes it again"
                )
        yield Events(path, file)
