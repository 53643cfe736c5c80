"""Event tables: responses and conditions of one sample in HDF5, written and read as a stream."""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from sosie.chunks import FILTERS, pack
from sosie.detectors.base import Detector
from sosie.errors import IntermediateError
from sosie.files import digest, to_json, write_atomic
from sosie.hdf5 import fixed, new_file, one_line, own_datasets, own_text, plain

Array = np.ndarray[Any, Any]
SCHEMA = 2
KIND = "event_table"
MERGED = "merged_event_table"
CHUNK = 128
SLAB = 8 * CHUNK
PIECE = 16 * SLAB
VIEW = "showers"
INCIDENT = "incident_energies"
NEEDED = ("response", "conditions", "event_id", "group_id")
AGAIN = "run the step that wrote it again, ingest or generate"
ABOUT = ("kind", "schema", "detector", "events", "unit", "conditions", "condition_units")


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

    def select(self, chosen: Array | slice) -> "Block":
        """The chosen events (mask, indices or slice)."""
        return Block(
            self.response[chosen],
            self.conditions[chosen],
            self.event_id[chosen],
            self.group_id[chosen],
            None if self.weight is None else self.weight[chosen],
            {name: column[chosen] for name, column in self.aux.items()},
        )


def pieces(count: int) -> Iterator[slice]:
    """So many events some at a time, as many as columns of single numbers are read of at once."""
    for start in range(0, count, PIECE):
        yield slice(start, min(start + PIECE, count))


class EventWriter:
    """Appends blocks of events to an open file, in slabs of one size.

    So the bytes of the file do not depend on how the events were cut into blocks.
    """

    def __init__(
        self,
        file: h5py.File,
        check: Callable[[], None],
        detector: Detector,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._file = file
        self._check = check
        self._threads = threads
        self._chunks: dict[str, list[bytes]] = {}
        self._incident_energy = detector.incident_energy
        self._slab: dict[str, Array] = {}
        self.digests: dict[str, list[str]] = {}
        self.events = 0

    def append(self, block: Block, rows: Array | None = None) -> None:
        """Put the events of a block, or some ``rows`` of it, behind those already there."""
        columns = block.columns()
        rows = np.arange(len(block.event_id)) if rows is None else rows
        if not self._slab:
            self._slab = {name: self._begin(name, column) for name, column in columns.items()}
        if columns.keys() != self._slab.keys():
            raise ValueError(f"columns {list(columns)} behind columns {list(self._slab)}")
        while len(rows):
            filled = self.events % SLAB
            now, rows = rows[: SLAB - filled], rows[SLAB - filled :]
            for name, column in columns.items():
                np.take(column, now, axis=0, out=self._slab[name][filled : filled + len(now)])
            self.events += len(now)
            if self.events % SLAB == 0:
                self._write(SLAB)

    def _begin(self, name: str, column: Array) -> Array:
        """Make a dataset, and a slab that is filled before it is written."""
        data = self._file.create_dataset(
            name,
            shape=(0, *column.shape[1:]),
            maxshape=(None, *column.shape[1:]),
            chunks=(CHUNK if column.ndim > 2 else SLAB, *column.shape[1:]),
            dtype=column.dtype,
            **FILTERS,
        )
        self.digests[name], self._chunks[name] = [], []
        return np.empty((SLAB, *data.shape[1:]), data.dtype)

    def _write(self, count: int) -> None:
        """Write the first events of the slab, the last ones so far."""
        columns = {name: slab[:count] for name, slab in self._slab.items()}
        if self._incident_energy:
            energy = self._incident_energy(columns["conditions"]).astype(np.float32)[:, None]
            if INCIDENT not in self.digests:
                self._begin(INCIDENT, energy)
            columns[INCIDENT] = energy
        for name, column in columns.items():
            if count:
                self._write_column(name, column)
                self.digests[name].append(slab_digest(column))
        self._check()

    def _write_column(self, name: str, column: Array) -> None:
        """Put a slab behind what a dataset holds, its chunks compressed in parallel."""
        data = self._file[name]
        length, first = data.chunks[0], len(data)
        data.resize(first + len(column), axis=0)
        starts = range(0, len(column), length)
        pieces = [column[start : start + length] for start in starts]
        chunks = self._threads.map(pack, pieces, [length] * len(pieces))
        for start, chunk in zip(starts, chunks, strict=True):
            place = (first + start, *[0] * (column.ndim - 1))
            data.id.write_direct_chunk(place, chunk)
            self._chunks[name].append(xxhash.xxh3_128_digest(chunk))

    def verify(self, path: Path) -> None:
        """Raise IntermediateError unless a file holds every chunk that was written."""
        with open_events(path) as events:
            events.verify_chunks(self._chunks)

    def finish(self) -> None:
        """Write what is held back and, for a calorimeter, the CaloChallenge's view of the table.

        ``showers`` (N, cells) is a virtual dataset over the bytes of ``response``, in MeV like
        ``incident_energies`` (N, 1).
        """
        if self._slab and (self.events % SLAB or not self.events):
            self._write(self.events % SLAB)
        if self._incident_energy and self.events:
            response = self._file["response"]
            space = h5py.h5s.create_simple((self.events, response[0].size))
            how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            # h5py's create_virtual_dataset stamps the time into the file.
            how.set_obj_track_times(False)
            how.set_virtual(space, b".", b"response", response.id.get_space())
            h5py.h5d.create(self._file.id, VIEW.encode(), response.id.get_type(), space, how)


def slab_digest(slab: Array) -> str:
    """The digest of some rows of a column: their type, shape and bytes.

    XXH3, which finds damage at the speed of the memory; the signature over all of them is BLAKE2b.
    """
    state = xxhash.xxh3_128(f"{slab.dtype.str}{slab.shape}".encode())
    state.update(np.ascontiguousarray(slab).reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def _signature(file: h5py.File, text: str, digests: Mapping[str, list[str]]) -> str:
    """The digest of all that a table holds, so that none can be made of the parts of others."""
    about = {name: plain(file.attrs[name]) for name in ABOUT}
    return digest(text, to_json([about, sorted(digests.items())]))


@contextmanager
def write_events(
    path: str | Path, detector: Detector, attributes: Mapping[str, Any], threads: int = 1
) -> Iterator[EventWriter]:
    """A writer of an event table; the file appears only when all has been written.

    ``threads`` compress; their number changes no byte. Raises SosieError where the place cannot be
    written.
    """
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        part = stack.enter_context(write_atomic(path, lambda part: writer.verify(part)))
        with new_file(part) as (file, check):
            writer = EventWriter(file, check, detector, pool)
            yield writer
            _finish(file, writer, detector, attributes)


def _finish(
    file: h5py.File, writer: EventWriter, detector: Detector, attributes: Mapping[str, Any]
) -> None:
    """Write what is held back and all that is said of the table as a whole."""
    writer.finish()
    file.attrs["kind"] = fixed(KIND)
    file.attrs["schema"] = SCHEMA
    file.attrs["detector"] = fixed(detector.name)
    file.attrs["events"] = writer.events
    file.attrs["unit"] = fixed(detector.unit)
    file.attrs["conditions"] = fixed(list(detector.conditions))
    file.attrs["condition_units"] = fixed(list(detector.conditions.values()))
    for name, digests in writer.digests.items():
        # Item assignment would make groups that bear the time.
        file.create_dataset(f"digests/{name}", data=np.array(digests, "S32"))
    # An attribute of HDF5 holds 64 kB at most, and a study may have many input files.
    text = to_json(attributes)
    file["attributes"] = fixed(text)
    file.attrs["attributes_digest"] = fixed(_signature(file, text, writer.digests))


class Column:
    """A column of an open table, of which only what is sliced is read."""

    def __init__(self, events: "Events", name: str) -> None:
        self._events, self._name = events, name

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, where: slice) -> Array:
        start, stop, _ = where.indices(len(self))
        return self._events.rows(self._name, slice(start, stop))


class Events:
    """An event table open for reading; every slab of events is verified before it is given out."""

    def __init__(self, path: str | Path, file: h5py.File) -> None:
        self.path = str(path)
        if plain(file.attrs.get("kind")) != KIND or file.attrs.get("schema") != SCHEMA:
            raise ValueError(f"it is not an event table of schema {SCHEMA}")
        self._columns, self._digests = {}, {}
        for name, data in own_datasets(file, skip=(VIEW, "attributes")):
            if name.startswith("digests/"):
                self._digests[name.removeprefix("digests/")] = data[()].astype(str).tolist()
            else:
                self._columns[name] = data
        # Not even opened: HDF5 crashes on damage in a virtual dataset, and we never read this one.
        if VIEW in list(file) and not isinstance(file.get(VIEW, getlink=True), h5py.HardLink):
            raise ValueError(f"'{VIEW}' is a link")
        text = own_text(file)
        self.signature: str = plain(file.attrs.get("attributes_digest"))
        if self.signature != _signature(file, text, self._digests):
            raise ValueError("its attributes or digests are damaged")
        self._held: dict[str, tuple[int, Array]] = {}
        self.detector: str = plain(file.attrs["detector"])
        self.attributes: dict[str, Any] = json.loads(text)
        self.threshold: float = self.attributes["threshold"]
        self._events = int(file.attrs["events"])
        for name in {*NEEDED, *self._columns, *self._digests}:
            data, known = self._columns.get(name), self._digests.get(name, [])
            if data is None or len(data) != self._events or len(known) != -(-self._events // SLAB):
                raise ValueError(f"column '{name}' does not hold {self._events} events")

    def __len__(self) -> int:
        return self._events

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one response."""
        return self.kind_of("response")[0]

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self._columns)

    def kind_of(self, name: str) -> tuple[tuple[int, ...], Any]:
        """Shape of a row of a column, and type."""
        return tuple(self._columns[name].shape[1:]), self._columns[name].dtype

    def close(self) -> None:
        """Close what was opened besides the file."""

    def _slabs(self, name: str, start: int, stop: int) -> Array:
        """Whole slabs of a column, from the first event of a slab on; raises IntermediateError."""
        try:
            rows = self._columns[name][start:stop]
            for first in range(start, stop, SLAB):
                slab = rows[first - start : min(first + SLAB, stop) - start]
                if slab_digest(slab) != self._digests[name][first // SLAB]:
                    raise ValueError(f"the {len(slab)} events from {first} on are others")
        # Damaged metadata make h5py raise whatever its bytes happen to mean.
        except Exception as error:
            raise IntermediateError(
                f"{self.path}: column '{name}' is damaged between events {start} and {stop} "
                f"({one_line(error)}); {AGAIN}"
            ) from None
        return np.asarray(rows)

    def rows(self, name: str, where: slice) -> Array:
        """Some events of a column, as 'conditions' or 'aux/seed'; raises IntermediateError if damaged."""
        if name not in self.names:
            raise IntermediateError(f"{self.path}: no column '{name}'; {AGAIN}")
        first = where.start // SLAB * SLAB
        stop = min(-(-where.stop // SLAB) * SLAB, len(self))
        begin, held = self._held.pop(name, (first, None))
        if held is None or begin != first or first == where.start:
            whole = self._slabs(name, first, stop)
        elif stop > first + len(held):
            whole = np.concatenate([held, self._slabs(name, first + len(held), stop)])
        else:
            whole = held
        if where.stop < stop:
            # What comes next begins within the slab in which this ends.
            last = where.stop // SLAB * SLAB
            self._held[name] = last, whole[last - first :].copy()
        return whole[where.start - first : where.stop - first]

    def stream(self, name: str) -> Column:
        """A column that is read where it is sliced."""
        return Column(self, name)

    def column(self, name: str) -> Array:
        """A whole column; raises IntermediateError if damaged."""
        return self.rows(name, slice(0, len(self)))

    def weights(self, where: slice) -> Array:
        """Weights (n,) of some events, 1 where the table has none."""
        if "weight" in self.names:
            return self.rows("weight", where)
        return np.ones(where.stop - where.start)

    @property
    def weight(self) -> Array:
        """Event weights (N,), 1 where the table has none."""
        return self.weights(slice(0, len(self)))

    @cached_property
    def weighted(self) -> bool:
        """Whether an event has another weight than 1."""
        return any((self.weights(where) != 1).any() for where in self.pieces())

    @property
    def aux(self) -> list[str]:
        """Names of the columns that are carried along."""
        return [n.removeprefix("aux/") for n in self.names if n.startswith("aux/")]

    def pieces(self) -> Iterator[slice]:
        """The events some at a time, as many as columns of single numbers are read of at once."""
        return pieces(len(self))

    def conditioned(self, where: slice | None = None) -> Block:
        """Some events, or all, with every column but the response, which is (n, 0); raises
        IntermediateError."""
        where = where or slice(0, len(self))
        return Block(
            np.empty((where.stop - where.start, 0), np.float32),
            self.rows("conditions", where),
            self.rows("event_id", where),
            self.rows("group_id", where),
            self.weights(where) if self.weighted else None,
            {name: self.rows(f"aux/{name}", where) for name in self.aux},
        )

    def responses(self, slabs: int = 2) -> Iterator[tuple[slice, Array]]:
        """The responses, some slabs at a time: (where, response (n, *shape)).

        Raises IntermediateError where they are damaged.
        """
        for start in range(0, len(self), slabs * SLAB):
            where = slice(start, min(start + slabs * SLAB, len(self)))
            yield where, self.rows("response", where)

    def verify_chunks(self, digests: Mapping[str, list[bytes]]) -> None:
        """Raise IntermediateError unless every column consists of the chunks with these digests."""
        for name, known in digests.items():
            data = self._columns[name]
            try:
                there = [
                    xxhash.xxh3_128_digest(
                        data.id.read_direct_chunk((start, *[0] * (data.ndim - 1)))[1]
                    )
                    for start in range(0, len(data), data.chunks[0])
                ]
            except Exception as error:
                raise IntermediateError(
                    f"{self.path}: '{name}' ({one_line(error)}); {AGAIN}"
                ) from None
            if there != known:
                raise IntermediateError(f"{self.path}: '{name}' is not what was written; {AGAIN}")


@contextmanager
def open_events(path: str | Path) -> Iterator[Events]:
    """An event table for reading, written as one or merged of parts; raises IntermediateError for
    what is not one, or not a whole one."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(h5py.File(path, "r"))
            events = _kind(file)(path, file)
        except IntermediateError:
            raise
        except Exception as error:
            there = Path(path).exists()
            reason = f"refused: {one_line(error)}" if there else "no such file"
            raise IntermediateError(f"{path}: {reason}; {AGAIN}") from None
        stack.callback(events.close)
        yield events


def _kind(file: h5py.File) -> type[Events]:
    if plain(file.attrs.get("kind")) != MERGED:
        return Events
    from sosie.merged import MergedEvents  # which reads its parts with what is here

    return MergedEvents
