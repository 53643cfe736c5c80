"""generate: every member draws responses for the conditions of a sample, written as a stream."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sosie import __version__
from sosie.errors import InputError
from sosie.events import Block, open_events, write_events
from sosie.expressions import branches
from sosie.files import check_beside, file_digest
from sosie.layouts import Layout, columns_of, conditions_of, per_event, response_columns
from sosie.progress import say, track, warn
from sosie.streams import combine, stream
from sosie.surrogates import Surrogate, load

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


def _from_table(path: str, surrogate: Surrogate) -> Block:
    with open_events(path) as events:
        if events.detector != surrogate.origin.detector:
            raise InputError(
                f"{path}: holds events of detector '{events.detector}', the surrogate draws "
                f"'{surrogate.origin.detector}'; give conditions of that detector"
            )
        weight = events.weight
        return Block(
            np.empty((len(events), 0), np.float32),
            events.column("conditions"),
            events.column("event_id"),
            events.column("group_id"),
            None if (weight == 1).all() else weight,
            {name: events.column(f"aux/{name}") for name in events.aux},
        )


def _from_ntuple(path: str, surrogate: Surrogate) -> tuple[Block, dict[str, Array]]:
    from sosie.ntuples import branch_names, open_ntuple, read_ntuple  # slow to import

    layout = Layout.from_dict(surrogate.origin.layout)
    with open_ntuple(path, layout.tree) as table:
        there = branch_names(table)
        wanted = [*layout.required(), *(name for name in layout.further() if name in there)]
        wanted = list(dict.fromkeys(wanted))
        pieces = [columns for _, columns in read_ntuple(path, table, wanted, MEMORY)]
    if not pieces:
        raise InputError(f"{path}: tree '{layout.tree}' has no entries; give conditions")
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in wanted}
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
        block = _from_table(path, surrogate)
    _check(path, surrogate, block.conditions)
    return block, columns


def _check(path: str, surrogate: Surrogate, conditions: Array) -> None:
    """Refuse what has no features; warn of what the surrogate was not trained for."""
    if not len(conditions):
        raise InputError(f"{path}: holds no events; give conditions")
    features = surrogate.detector.features(conditions.astype(np.float64))
    for names, values in (
        (list(surrogate.detector.conditions), conditions),
        (surrogate.detector.feature_names, features),
    ):
        if (bad := ~np.isfinite(values)).any():
            entry, column = np.unravel_index(int(np.argmax(bad)), bad.shape)
            raise InputError(
                f"{path}: '{names[column]}' is {values[entry, column]} in entry {entry} "
                f"({int(bad.any(axis=1).sum())} such entries); leave these out"
            )
    domain = [surrogate.origin.transform.domain[name] for name in surrogate.detector.conditions]
    low, high = (np.array([limits[end] for limits in domain]) for end in ("min", "max"))
    if outside := int(((conditions < low) | (conditions > high)).any(axis=1).sum()):
        warn(
            "generate",
            f"{outside} of {len(conditions)} events ({100 * outside / len(conditions):.3g} %) of {path} "
            "lie outside the conditions of the training sample",
        )


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
    surrogate: Surrogate, block: Block, batch: int, seed: int
) -> Iterator[tuple[Array, Array]]:
    """Rows of the block and their responses, batch by batch."""
    rng = stream(seed, "generate", surrogate.kind, surrogate.origin.member)
    batches = surrogate.batches(block.conditions, batch, rng)
    for rows, response in track(batches, "generate", -(-len(block.event_id) // batch)):
        yield rows, _suppressed(surrogate, response)


def _write_table(
    path: str,
    surrogate: Surrogate,
    block: Block,
    batch: int,
    seed: int,
    provenance: Mapping[str, Any],
) -> None:
    origin = surrogate.origin
    attributes = {
        "threshold": origin.threshold,
        "layout": origin.layout,
        "member": origin.member,
        "surrogate": surrogate.kind,
        "provenance": provenance,
    }
    with write_events(path, surrogate.detector, attributes) as writer:
        for rows, response in _responses(surrogate, block, batch, seed):
            writer.append(replace(block.select(rows), response=response))


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
        for rows, response in _responses(surrogate, block, batch, seed):
            here = {name: column[rows] for name, column in columns.items()}
            append(here | response_columns(surrogate.detector, layout, response))


def run(
    surrogates: Sequence[str],
    conditions: str,
    outs: Sequence[str],
    *,
    seed: int,
    batch: int,
    repeat: int = 1,
    code: str = "",
) -> None:
    """Draw from each surrogate file for the same conditions; ``outs`` are .h5 or .root, one each.

    Raises InputError and IntermediateError for files that cannot be used.
    """
    for source, out in zip(surrogates, outs, strict=True):
        surrogate = load(source)
        block, columns = repeated(*read_conditions(conditions, surrogate), repeat)
        if Path(out).suffix == ".root":
            layout = Layout.from_dict(surrogate.origin.layout)
            if columns is None:
                columns = columns_of(surrogate.detector, layout, block)
            _write_root(out, surrogate, block, columns, batch, seed)
        else:
            provenance = {
                "sosie": __version__,
                "code": code,
                "seed": seed,
                "inputs": {"surrogate": file_digest(source), "conditions": file_digest(conditions)},
            }
            _write_table(out, surrogate, block, batch, seed, provenance)
        say("generate", f"{out}: {len(block.event_id)} events")
