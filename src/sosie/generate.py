"""generate: every member draws responses for the conditions of a sample, written as a stream."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sosie import __version__
from sosie.domain import AWAY, ZONE
from sosie.errors import InputError
from sosie.events import Block, Column, Events, open_events, pieces, write_events
from sosie.expressions import branches
from sosie.files import check_beside, file_digest
from sosie.layouts import Layout, columns_of, conditions_of, per_event, response_columns
from sosie.progress import say, track
from sosie.streams import combine, stream
from sosie.surrogates import Surrogate, load
from sosie.zones import Zones

Array = np.ndarray[Any, Any]
MEMORY = 50_000_000


def draw(surrogate: Surrogate, conditions: Array, rng: np.random.Generator) -> Array:
    """Responses (N, *shape) float32 in house units, zero-suppressed like the reference."""
    return _suppressed(surrogate, surrogate.sample(conditions, rng))


def _suppressed(surrogate: Surrogate, drawn: Array) -> Array:
    response = drawn.astype(np.float32, copy=False)
    if surrogate.detector.signed:
        return response
    return np.where(response < surrogate.origin.threshold, np.float32(0), response)


@contextmanager
def _open_table(path: str, surrogate: Surrogate) -> Iterator[Events]:
    with open_events(path) as events:
        if events.detector != surrogate.origin.detector:
            raise InputError(
                f"{path}: holds events of detector '{events.detector}', the surrogate draws "
                f"'{surrogate.origin.detector}'; give conditions of that detector"
            )
        yield events


def _from_ntuple(path: str, surrogate: Surrogate) -> tuple[Block, dict[str, Array]]:
    from sosie.ntuples import branch_names, open_ntuple, read_ntuple  # slow to import

    layout = Layout.from_dict(surrogate.origin.layout)
    with open_ntuple(path, layout.tree) as table:
        there = branch_names(table)
        wanted = [*layout.required(), *(name for name in layout.further() if name in there)]
        wanted = list(dict.fromkeys(wanted))
        parts = [columns for _, columns in read_ntuple(path, table, wanted, MEMORY)]
    if not parts:
        raise InputError(f"{path}: tree '{layout.tree}' has no entries; give conditions")
    columns = {name: np.concatenate([part[name] for part in parts]) for name in wanted}
    count = len(next(iter(columns.values())))
    conditions = conditions_of(path, surrogate.detector, layout, columns, count)
    aux = {name: columns[name] for name in layout.identity} or entries_of(path, count)
    ids = combine(*aux.values())
    groups = combine(columns[layout.group]) if layout.group in columns else ids
    weight = None
    if layout.weight and all(name in columns for name in branches(layout.weight)):
        weight = per_event(path, layout.weight, columns, count, "ingest.weight")
    return Block(np.empty((count, 0), np.float32), conditions, ids, groups, weight, aux), columns


def entries_of(path: str, count: int) -> dict[str, Array]:
    """The identity of the events of a file without one of their own, as ingest gives it."""
    number = int(file_digest(path)[:15], 16)
    return {"file": np.full(count, number), "entry": np.arange(count)}


def read_conditions(path: str, surrogate: Surrogate) -> tuple[Block, dict[str, Array] | None]:
    """Conditions of a ROOT file or an event table: a block without response, and the branches of
    the ROOT file, None for a table.

    Raises InputError for a file that cannot be used.
    """
    columns = None
    if Path(path).suffix == ".root":
        check_beside(path, "generate", needed=False)
        block, columns = _from_ntuple(path, surrogate)
    else:
        with _open_table(path, surrogate) as events:
            block = events.conditioned()
    _check(path, surrogate, block.conditions)
    return block, columns


def _check(path: str, surrogate: Surrogate, conditions: Array | Column) -> None:
    """Refuse what has no features."""
    if not len(conditions):
        raise InputError(f"{path}: holds no events; give conditions")
    names = (list(surrogate.detector.conditions), surrogate.detector.feature_names)
    first, count = ["", ""], [0, 0]
    for where in pieces(len(conditions)):
        here = conditions[where]
        tables = (here, surrogate.detector.features(here.astype(np.float64)))
        for k, values in enumerate(tables):
            bad = ~np.isfinite(values)
            if bad.any() and not first[k]:
                entry, column = np.unravel_index(int(np.argmax(bad)), bad.shape)
                value = values[entry, column]
                first[k] = f"'{names[k][column]}' is {value} in entry {where.start + entry}"
            count[k] += int(bad.any(axis=1).sum())
    for problem, number in zip(first, count, strict=True):
        if problem:
            raise InputError(f"{path}: {problem} ({number} such entries); leave these out")


def located(
    block: Block, columns: Mapping[str, Array] | None, place: Mapping[str, Array]
) -> tuple[Block, dict[str, Array] | None]:
    """The events with the columns of their place in the domain, in the stead of older ones."""
    aux = {name: column for name, column in block.aux.items() if name not in (ZONE, AWAY)}
    block = replace(block, aux={**aux, **place})
    return block, None if columns is None else {**columns, **place}


def repeated(
    block: Block, columns: Mapping[str, Array] | None, times: int
) -> tuple[Block, dict[str, Array] | None]:
    """Each event ``times`` times in a row, told apart by a column ``repeat``; the group stays."""
    if times == 1:
        return block, None if columns is None else dict(columns)
    rows = np.repeat(np.arange(len(block.event_id)), times)
    number = np.tile(np.arange(times), len(block.event_id))
    again = block.select(rows)
    ids = combine(again.event_id, number)
    again = replace(again, event_id=ids, aux={**again.aux, "repeat": number})
    if columns is None:
        return again, None
    return again, {**{name: column[rows] for name, column in columns.items()}, "repeat": number}


def _responses(
    surrogate: Surrogate, conditions: Array | Column, batch: int, seed: int
) -> Iterator[tuple[slice, Array]]:
    """Some events and their responses, batch by batch."""
    rng = stream(seed, "generate", surrogate.kind, surrogate.origin.member)
    batches = surrogate.batches(conditions, batch, rng)
    for rows, response in track(batches, "generate", -(-len(conditions) // batch)):
        yield slice(int(rows[0]), int(rows[-1]) + 1), _suppressed(surrogate, response)


def _write_table(
    path: str,
    surrogate: Surrogate,
    conditions: Array | Column,
    some: Callable[[slice], Block],
    batch: int,
    seed: int,
    provenance: Mapping[str, Any],
) -> None:
    """``some`` gives the other columns of some events."""
    origin = surrogate.origin
    attributes = {
        "threshold": origin.threshold,
        "layout": origin.layout,
        "member": origin.member,
        "surrogate": surrogate.kind,
        "provenance": provenance,
    }
    with write_events(path, surrogate.detector, attributes) as writer:
        for where, response in _responses(surrogate, conditions, batch, seed):
            writer.append(replace(some(where), response=response))


def _write_root(
    path: str,
    surrogate: Surrogate,
    block: Block,
    columns: Mapping[str, Array],
    batch: int,
    seed: int,
) -> None:
    """The response is an array in the detector's shape, whatever hits or layers it came from."""
    layout = Layout.from_dict(surrogate.origin.layout)
    from sosie.ntuples import write_ntuple  # slow to import

    with write_ntuple(path, layout.tree, layout.rntuple) as append:
        for where, response in _responses(surrogate, block.conditions, batch, seed):
            here = {name: column[where] for name, column in columns.items()}
            append(here | response_columns(surrogate.detector, layout, response))


def run(
    surrogates: Sequence[str],
    conditions: str,
    outs: Sequence[str],
    *,
    seed: int,
    batch: int,
    outside: str = "warn",
    repeat: int = 1,
    code: str = "",
) -> None:
    """Draw from each surrogate file for the same conditions; ``outs`` are .h5 or .root, one each.

    ``outside`` says what becomes of events outside the domain of training: warn, flag or refuse.
    Raises InputError and IntermediateError for files that cannot be used.
    """
    zones = Zones(conditions, outside)
    tables = Path(conditions).suffix != ".root" and repeat == 1
    for source, out in zip(surrogates, outs, strict=True):
        surrogate = load(source)
        provenance = {
            "sosie": __version__,
            "code": code,
            "seed": seed,
            "inputs": {"surrogate": file_digest(source), "conditions": file_digest(conditions)},
        }
        if tables and Path(out).suffix != ".root":
            events = _as_stream(out, surrogate, conditions, zones, batch, seed, provenance, source)
            say("generate", f"{out}: {events} events")
            continue
        block, columns = read_conditions(conditions, surrogate)
        place = zones.of(source, surrogate.domain, block.conditions)
        block, columns = repeated(*located(block, columns, place), repeat)
        if Path(out).suffix == ".root":
            layout = Layout.from_dict(surrogate.origin.layout)
            if columns is None:
                columns = columns_of(surrogate.detector, layout, block)
            _write_root(out, surrogate, block, columns, batch, seed)
        else:
            _write_table(out, surrogate, block.conditions, block.select, batch, seed, provenance)
        say("generate", f"{out}: {len(block.event_id)} events")


def _as_stream(
    out: str,
    surrogate: Surrogate,
    conditions: str,
    zones: Zones,
    batch: int,
    seed: int,
    provenance: Mapping[str, Any],
    source: str,
) -> int:
    """From table to table, of which only a batch is in memory, beside the zone and distance of each
    event; returns the number of events."""
    with _open_table(conditions, surrogate) as events:
        asked = events.stream("conditions")
        _check(conditions, surrogate, asked)
        place = zones.of(source, surrogate.domain, asked)

        def some(where: slice) -> Block:
            here = {name: column[where] for name, column in place.items()}
            return located(events.conditioned(where), None, here)[0]

        _write_table(out, surrogate, asked, some, batch, seed, provenance)
        return len(events)
