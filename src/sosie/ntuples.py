"""ROOT ntuples, TTree or RNTuple: opened, checked, read in pieces, written in the same layout."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from sosie.errors import InputError
from sosie.files import write_atomic

Array = np.ndarray[Any, Any]


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:100] or type(error).__name__


def _is_table(classname: str) -> bool:
    return classname == "TTree" or classname.endswith("RNTuple")


@contextmanager
def open_ntuple(path: str, tree: str) -> Iterator[Any]:
    """The TTree or RNTuple named ``tree`` in a ROOT file.

    Raises InputError when the file is missing, not ROOT or cut, or has no such tree.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; check the path")
    with ExitStack() as stack:
        try:
            # In a mapping, since in a plain path uproot takes ':' for the start of a name inside.
            file = stack.enter_context(uproot.open({path: None}))
            whole, there_is = file.file.fEND, Path(path).stat().st_size
            if there_is < whole:
                raise ValueError(f"{there_is} of {whole} bytes")
            classes = file.classnames(cycle=False)
        except Exception as error:
            raise InputError(
                f"{path}: not a ROOT file, or cut short ({_reason(error)}); copy it again"
            ) from None
        tables = [name for name, classname in classes.items() if _is_table(classname)]
        if tree not in tables:
            there = ", ".join(tables) or "none"
            raise InputError(f"{path}: no tree '{tree}'; trees there: {there}; set ingest.tree")
        try:
            table = file[tree]
            # An RNTuple reads its header only now.
            table.num_entries, table.keys()
        except Exception as error:
            raise InputError(
                f"{path}: tree '{tree}' cannot be read ({_reason(error)}); copy the file again"
            ) from None
        yield table


def is_rntuple(table: Any) -> bool:
    """Whether an open tree is an RNTuple."""
    return "RNTuple" in type(table).__name__


def check_branches(path: str, table: Any, branches: Sequence[str]) -> None:
    """Raise InputError, with the branches there, if one of ``branches`` is not in the tree."""
    there = table.keys()
    if missing := [name for name in branches if name not in there]:
        raise InputError(
            f"{path}: no branch {', '.join(map(repr, missing))}; "
            f"branches there: {', '.join(sorted(there))}"
        )


def entry_bytes(path: str, table: Any, branches: Sequence[str]) -> int:
    """Bytes of one entry of the branches in memory, from the first entry."""
    first = _read(path, table, branches, 0, 1)
    return max(1, sum(column.nbytes for column in first.values()))


def _to_numpy(path: str, name: str, column: ak.Array) -> Array:
    try:
        array = ak.to_numpy(column, allow_missing=False)
    except ValueError:
        raise InputError(
            f"{path}: branch '{name}' is of type '{column.type.content}', not a number or a "
            "fixed-size array; name another branch"
        ) from None
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"{path}: branch '{name}' is of type '{column.type.content}', not numeric; "
            "name another branch"
        )
    return array


def _read(
    path: str, table: Any, branches: Sequence[str], start: int, stop: int
) -> dict[str, Array]:
    try:
        arrays = table.arrays(list(branches), entry_start=start, entry_stop=stop, library="ak")
        columns = {name: arrays[name] for name in branches}
    except Exception as error:
        raise InputError(
            f"{path}: entries {start} to {stop} cannot be read ({_reason(error)}); "
            "the file is cut or damaged, copy it again"
        ) from None
    read = {name: _to_numpy(path, name, column) for name, column in columns.items()}
    for name, column in read.items():
        if len(column) != stop - start:
            raise InputError(
                f"{path}: branch '{name}' holds {len(column)} of the entries {start} to {stop}; "
                "the file is cut or damaged, copy it again"
            )
    return read


def read_ntuple(
    path: str, table: Any, branches: Sequence[str], memory: int
) -> Iterator[tuple[int, dict[str, Array]]]:
    """Pieces of a tree of about ``memory`` bytes: (first entry, columns by branch name).

    Raises InputError where a branch is missing, not numeric, jagged or cannot be read.
    """
    check_branches(path, table, branches)
    entries = table.num_entries
    if entries == 0:
        return
    # A column lives in up to four copies at a time: decompressed, awkward, converted, selected.
    size = max(1, memory // (4 * entry_bytes(path, table, branches)))
    for start in range(0, entries, size):
        yield start, _read(path, table, branches, start, min(start + size, entries))


@contextmanager
def write_ntuple(
    path: str | Path, tree: str, rntuple: bool
) -> Iterator[Callable[[Mapping[str, Array]], None]]:
    """A function that appends columns (n, ...) to a new TTree or RNTuple; the file appears whole."""
    with write_atomic(path) as part, uproot.recreate(part) as file:
        table = None

        def append(columns: Mapping[str, Array]) -> None:
            nonlocal table
            if table is None and rntuple:
                table = file.mkrntuple(tree, dict(columns))
                return
            if table is None:
                types = {
                    name: (c.dtype, c.shape[1:]) if c.ndim > 1 else c.dtype
                    for name, c in columns.items()
                }
                table = file.mktree(tree, types)
            table.extend(dict(columns))

        yield append
