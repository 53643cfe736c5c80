"""generate: every member draws responses for the conditions of a sample, written as a stream."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sosie import __version__
from sosie.errors import InputError
from sosie.events import Block, open_events, write_events
from sosie.expressions import branches, evaluate
from sosie.files import file_digest
from sosie.ntuples import open_ntuple, read_ntuple, write_ntuple
from sosie.progress import say, track
from sosie.streams import combine, stream
from sosie.surrogates import Surrogate, load
from sosie.units import factor

Array = np.ndarray[Any, Any]
MEMORY = 50_000_000


def draw(surrogate: Surrogate, conditions: Array, rng: np.random.Generator) -> Array:
    """Responses (N, *shape) float32 in house units, zero-suppressed like the reference."""
    response = surrogate.sample(conditions, rng)
    return np.where(response < surrogate.origin.threshold, np.float32(0), response)


def _from_table(path: str, surrogate: Surrogate) -> tuple[Block, dict[str, Array]]:
    with open_events(path) as events:
        if events.detector != surrogate.origin.detector:
            raise InputError(
                f"{path}: holds events of detector '{events.detector}', the surrogate draws "
                f"'{surrogate.origin.detector}'; give conditions of that detector"
            )
        aux = {name: events.column(f"aux/{name}") for name in events.aux}
        empty = np.empty((len(events), 0), np.float32)
        columns = (events.column(name) for name in ("conditions", "event_id", "group_id"))
        block = Block(empty, *columns, aux=aux)
    source = {}
    for index, (name, house) in enumerate(surrogate.detector.conditions.items()):
        given = surrogate.origin.layout["conditions"][name]
        plain = branches(given["expression"], name) == [given["expression"].strip()]
        back = 1 / factor(given["unit"], house, name) if plain else 1.0
        source[given["expression"].strip() if plain else name] = block.conditions[:, index] * back
    return block, source | aux


def _from_ntuple(path: str, surrogate: Surrogate) -> tuple[Block, dict[str, Array]]:
    layout, houses = surrogate.origin.layout, surrogate.detector.conditions
    named = [branches(source["expression"], name) for name, source in layout["conditions"].items()]
    wanted = list(dict.fromkeys([name for names in named for name in names] + layout["identity"]))
    with open_ntuple(path, layout["tree"]) as table:
        pieces = [columns for _, columns in read_ntuple(path, table, wanted, MEMORY)]
    if not pieces:
        raise InputError(f"{path}: tree '{layout['tree']}' has no entries; give conditions")
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in wanted}
    count = len(columns[wanted[0]])
    conditions = np.empty((count, len(houses)), np.float32)
    for index, (name, house) in enumerate(houses.items()):
        source = layout["conditions"][name]
        values = evaluate(source["expression"], columns, name)
        conditions[:, index] = values * factor(source["unit"], house, name)
        bad = ~np.isfinite(conditions[:, index])
        if bad.any():
            raise InputError(
                f"{path}: condition '{name}' = '{source['expression']}' is not finite in entry "
                f"{int(np.argmax(bad))} ({int(bad.sum())} such entries); leave these out"
            )
    entries = np.arange(count)
    identity = [columns[name] for name in layout["identity"]] or [entries]
    ids = combine(*identity)
    aux = dict(zip(layout["identity"] or ["entry"], identity, strict=True))
    return Block(np.empty((count, 0), np.float32), conditions, ids, ids, aux=aux), columns


def read_conditions(path: str, surrogate: Surrogate) -> tuple[Block, dict[str, Array]]:
    """Conditions of a ROOT file or an event table: a block without response, and the columns that
    an ntuple of the surrogate's layout holds beside the response.

    Raises InputError for a file that cannot be used.
    """
    if Path(path).suffix == ".root":
        return _from_ntuple(path, surrogate)
    return _from_table(path, surrogate)


def repeated(
    block: Block, columns: Mapping[str, Array], times: int
) -> tuple[Block, dict[str, Array]]:
    """Each event ``times`` times in a row, told apart by a column ``repeat``; the group stays."""
    if times == 1:
        return block, dict(columns)
    rows = np.repeat(np.arange(len(block.event_id)), times)
    number = np.tile(np.arange(times), len(block.event_id))
    again = block.select(rows)
    ids = combine(again.event_id, number)
    again = replace(again, event_id=ids, aux={**again.aux, "repeat": number})
    return again, {**{name: column[rows] for name, column in columns.items()}, "repeat": number}


def _responses(
    surrogate: Surrogate, block: Block, batch: int, seed: int
) -> Iterator[tuple[slice, Array]]:
    rng = stream(seed, "generate", surrogate.kind, surrogate.origin.member)
    count = len(block.event_id)
    starts = range(0, count, batch)
    for start in track(starts, "generate", len(starts)):
        where = slice(start, min(start + batch, count))
        yield where, draw(surrogate, block.conditions[where], rng)


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
        "members": origin.members,
        "surrogate": surrogate.kind,
        "provenance": provenance,
    }
    with write_events(path, surrogate.detector, attributes) as writer:
        for where, response in _responses(surrogate, block, batch, seed):
            writer.append(replace(block.select(where), response=response))


def _write_root(
    path: str,
    surrogate: Surrogate,
    block: Block,
    columns: Mapping[str, Array],
    batch: int,
    seed: int,
) -> None:
    layout = surrogate.origin.layout
    branch, unit = layout["response"]["branch"], layout["response"]["unit"]
    back = np.float32(1 / factor(unit, surrogate.detector.unit, "response"))
    with write_ntuple(path, layout["tree"], layout["rntuple"]) as append:
        for where, response in _responses(surrogate, block, batch, seed):
            append(
                {name: column[where] for name, column in columns.items()}
                | {branch: response * back}
            )


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
