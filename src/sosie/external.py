"""The user's own reconstruction: a program that gets a ROOT file of a sample and returns another."""

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sosie.detectors.base import Detector, Quantity
from sosie.errors import InputError, SosieError
from sosie.events import Block, Events
from sosie.layouts import Layout, columns_of, response_columns
from sosie.progress import say

Array = np.ndarray[Any, Any]
STEP = "reconstruct"
ENTRY = "entry"
MEMORY = 50_000_000


@dataclass(frozen=True)
class Program:
    """A command whose words hold {input} and {output}, and what it writes: the branches
    ``results`` (one number an event) beside ``entry`` in the tree ``tree``."""

    command: Sequence[str]
    tree: str
    results: Mapping[str, Quantity]


def quantities(results: Mapping[str, Mapping[str, str]]) -> dict[str, Quantity]:
    """The results of the configuration, {name: {unit, label}}; without a label the name is one."""
    return {name: Quantity(how["label"] or name, how["unit"]) for name, how in results.items()}


def sample_columns(events: Events, detector: Detector) -> dict[str, Array]:
    """Branches of a sample's own ntuple, response apart, and ``entry``, the number of the event.

    Raises InputError where a condition is an expression: its branches cannot be got back.
    """
    block = Block(
        np.empty((len(events), 0), np.float32),
        events.column("conditions"),
        events.column("event_id"),
        events.column("group_id"),
        events.weight,
        {name: events.column(f"aux/{name}") for name in events.aux},
    )
    try:
        columns = columns_of(detector, Layout.from_dict(events.attributes["layout"]), block)
    except InputError as error:
        # What columns_of proposes is for generate.
        reason = str(error).partition(";")[0]
        raise InputError(
            f"reconstruct.command: {reason}; ingest with plain branches, or leave the command out"
        ) from None
    return {**columns, ENTRY: np.arange(len(events), dtype=np.int64)}


def write_sample(
    path: Path, events: Events, detector: Detector, columns: Mapping[str, Array]
) -> None:
    """A sample as a ROOT file with the tree, branches and units of its own ntuple."""
    layout = Layout.from_dict(events.attributes["layout"])
    from sosie.ntuples import write_ntuple

    with write_ntuple(path, layout.tree, layout.rntuple) as append:
        for where, response in events.responses():
            here = {name: column[where] for name, column in columns.items()}
            append(here | response_columns(detector, layout, response))


def call(command: Sequence[str], source: Path, target: Path) -> None:
    """Run the command with its two paths put in; what it prints goes to standard error.

    Raises SosieError where it cannot be run or fails.
    """
    paths = {"{input}": str(source), "{output}": str(target)}
    words = [re.sub(r"\{input\}|\{output\}", lambda m: paths[m[0]], word) for word in command]
    last = "it printed nothing"
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, ValueError) as error:
        raise SosieError(
            f"reconstruct.command: '{words[0]}' cannot be run ({error}); check name and path"
        ) from None
    with process:
        try:
            for line in process.stdout or ():
                print(line.rstrip(), file=sys.stderr, flush=True)
                last = line.strip() or last
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise SosieError(
            f"reconstruct.command: '{shlex.join(words)}' ended with exit code "
            f"{process.returncode}; its last line: {last}"
        )


def read_results(path: Path, program: Program, count: int) -> Array:
    """The results (count, Q) in the order of the entries, NaN for an entry that is not there.

    Raises InputError for a file that does not hold them.
    """
    if not path.is_file():
        raise InputError("wrote no file {output}; it should write its results there")
    names = [ENTRY, *program.results]
    from sosie.ntuples import open_ntuple, read_ntuple  # slow to import, and for a program alone

    with open_ntuple(str(path), program.tree) as table:
        pieces = [columns for _, columns in read_ntuple(str(path), table, names, MEMORY)]
    values = np.full((count, len(program.results)), np.nan)
    if not pieces:
        return values
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in names}
    for name, column in columns.items():
        if column.ndim > 1:
            raise InputError(
                f"branch '{name}' holds arrays of shape {column.shape[1:]}; write one number an event"
            )
    entry = columns[ENTRY]
    if entry.dtype.kind not in "iu":
        raise InputError(f"branch '{ENTRY}' is {entry.dtype}; write whole numbers, as in the input")
    if (unknown := (entry < 0) | (entry >= count)).any():
        raise InputError(
            f"branch '{ENTRY}' holds {entry[unknown][0]}, the sample has the entries 0 to "
            f"{count - 1}; copy the branch of the input"
        )
    times = np.bincount(entry.astype(np.int64), minlength=count)
    if times.max() > 1:
        raise InputError(
            f"branch '{ENTRY}' holds {times.argmax()} {times.max()} times; write an event once"
        )
    values[entry] = np.column_stack([columns[name] for name in program.results])
    return values


def reconstruct(
    program: Program, events: Events, detector: Detector, columns: Mapping[str, Array]
) -> Array:
    """What the program makes of a sample (N, Q); ``columns`` from ``sample_columns``.

    Raises SosieError where the program fails or its results cannot be used.
    """
    say(STEP, f"{events.path}: {shlex.join(program.command)}")
    with tempfile.TemporaryDirectory(prefix="sosie-") as folder:
        source, target = Path(folder, "sample.root"), Path(folder, "results.root")
        write_sample(source, events, detector, columns)
        call(program.command, source, target)
        try:
            return read_results(target, program, len(events))
        except InputError as error:
            # The messages of open_ntuple name the key of the ntuples.
            text = str(error).replace("ingest.tree", "reconstruct.tree")
            raise InputError(f"reconstruct.command on {events.path}: {text}") from None
