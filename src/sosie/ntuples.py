"""ROOT ntuples, TTree or RNTuple: opened, checked, read in pieces, written in the same layout."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from sosie.errors import InputError, SosieError
from sosie.files import write_atomic
from sosie.remote import PATIENCE, check_unchanged, is_remote, seen

Array = np.ndarray[Any, Any]
SAMPLED = 64
LOCAL = {"handler": uproot.MultithreadedFileSource}
"""How a local file is read: by default a name with '::' or 'file:' in it would be an address."""


@dataclass(frozen=True)
class Ragged:
    """Lists of varying length: how long each is (N,), and the elements of all of them in a row."""

    counts: Array
    content: Array

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, chosen: Array) -> "Ragged":
        """The lists where a mask (N,) holds."""
        return Ragged(self.counts[chosen], self.content[np.repeat(chosen, self.counts)])

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(self.counts.nbytes + self.content.nbytes)


Column = Array | Ragged


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:100] or type(error).__name__


def _is_table(classname: str) -> bool:
    return classname == "TTree" or classname.endswith("RNTuple")


@contextmanager
def open_ntuple(path: str, tree: str) -> Iterator[Any]:
    """The TTree or RNTuple named ``tree`` in a ROOT file.

    Raises InputError when the file is missing, not ROOT or cut, or has no such tree; at the end when
    a file on a server is no longer the one that was opened.
    """
    remote = is_remote(path)
    if not (remote or Path(path).is_file()):
        raise InputError(f"{path}: no such file; check the path")
    there_is = seen(path).size if remote else Path(path).stat().st_size
    source = {"handler": uproot.XRootDSource, "timeout": PATIENCE} if remote else LOCAL
    with ExitStack() as stack:
        try:
            # In a mapping, since in a plain path uproot takes ':' for the start of a name inside.
            # Without the caches, which would keep 100 MB of what was read.
            file = stack.enter_context(
                uproot.open({path: None}, array_cache=None, object_cache=None, **source)
            )
            whole = file.file.fEND
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
    if remote:
        check_unchanged(path)


def is_rntuple(table: Any) -> bool:
    """Whether an open tree is an RNTuple."""
    return "RNTuple" in type(table).__name__


def branch_names(table: Any) -> set[str]:
    """Names of the branches of a tree, alone and with those around them."""
    return {*table.keys(), *table.keys(full_paths=False)}


def check_branches(path: str, table: Any, branches: Sequence[str]) -> None:
    """Raise InputError, with the branches there, if one of ``branches`` is not in the tree."""
    there = branch_names(table)
    if missing := [name for name in branches if name not in there]:
        raise InputError(
            f"{path}: no branch {', '.join(map(repr, missing))}; "
            f"branches there: {', '.join(sorted(table.keys()))}"
        )


def _arrays(
    path: str, table: Any, branches: Sequence[str], start: int, stop: int
) -> dict[str, ak.Array]:
    try:
        arrays = table.arrays(list(branches), entry_start=start, entry_stop=stop, library="ak")
        # Of a field inside another one, an RNTuple gives both, nested.
        return {
            name: arrays[name] if name in arrays.fields else arrays[tuple(name.split("."))]
            for name in branches
        }
    except Exception as error:
        raise InputError(
            f"{path}: entries {start} to {stop} cannot be read ({_reason(error)}); "
            "the file is cut or damaged, copy it again"
        ) from None


def _type(column: ak.Array) -> str:
    return str(column.type.content)


def _plain_type(table: Any, name: str) -> str | None:
    """The type of a branch of numbers or fixed-size arrays; None where only reading tells it."""
    if is_rntuple(table) or not isinstance(known := table[name].interpretation, uproot.AsDtype):
        return None
    kind = known.to_dtype
    return " * ".join([*map(str, kind.shape), str(kind.base)]) if not kind.names else None


def branch_types(path: str, table: Any, branches: Sequence[str]) -> dict[str, str]:
    """The type of an entry of each branch, as 'float32', '30 * 30 * float32' or 'var * int32'."""
    try:
        types = {name: _plain_type(table, name) for name in branches}
    except Exception as error:
        raise InputError(
            f"{path}: the types of its branches cannot be read ({_reason(error)}); "
            "the file is damaged, copy it again"
        ) from None
    if others := [name for name, kind in types.items() if kind is None]:
        columns = _arrays(path, table, others, 0, 0)
        types |= {name: _type(column) for name, column in columns.items()}
    return {name: kind or "" for name, kind in types.items()}


def _to_numpy(path: str, name: str, column: ak.Array, ragged: bool) -> Column:
    try:
        if ragged and _type(column).startswith("var *"):
            counts = ak.to_numpy(ak.num(column), allow_missing=False)
            content = ak.to_numpy(ak.flatten(column), allow_missing=False)
            array: Array = content
            found: Column = Ragged(counts, content)
        else:
            found = array = ak.to_numpy(column, allow_missing=False)
    except ValueError:
        raise InputError(
            f"{path}: branch '{name}' is of type '{_type(column)}', not a number or a "
            "fixed-size array; name another branch"
        ) from None
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"{path}: branch '{name}' is of type '{_type(column)}', not numeric; name another branch"
        )
    return found


def read_columns(
    path: str,
    table: Any,
    branches: Sequence[str],
    start: int,
    stop: int,
    ragged: Collection[str] = (),
) -> dict[str, Any]:
    """Entries ``start`` to ``stop`` of branches: arrays (n, ...), ``Ragged`` for lists in ``ragged``.

    Raises InputError where a branch cannot be read, is not numeric, or holds lists otherwise.
    """
    arrays = _arrays(path, table, branches, start, stop)
    for name, column in arrays.items():
        if len(column) != stop - start:
            raise InputError(
                f"{path}: branch '{name}' holds {len(column)} of the entries {start} to {stop}; "
                "the file is cut or damaged, copy it again"
            )
    return {name: _to_numpy(path, name, column, name in ragged) for name, column in arrays.items()}


def entry_bytes(path: str, table: Any, branches: Sequence[str]) -> int:
    """Bytes of an entry of the branches in memory, on average."""
    if not is_rntuple(table):
        return sum(int(table[name].uncompressed_bytes) for name in branches) // table.num_entries
    count = min(SAMPLED, table.num_entries)
    first = _arrays(path, table, branches, 0, count)
    return sum(int(column.nbytes) for column in first.values()) // count


def _edges(table: Any, branches: Sequence[str]) -> list[int]:
    """Where the baskets of the largest branch begin, or the clusters."""
    if is_rntuple(table):
        return [int(cluster.num_first_entry) for cluster in table.cluster_summaries]
    largest = max(branches, key=lambda name: int(table[name].uncompressed_bytes))
    return [int(edge) for edge in table[largest].entry_offsets]


def pieces(
    path: str, table: Any, branches: Sequence[str], memory: int, least: int = 1
) -> Iterator[tuple[int, int]]:
    """First and last entry of pieces of about ``memory`` bytes, ``least`` bytes an entry or more.

    A piece begins where a basket begins, since a basket is decompressed as a whole.
    """
    entries = int(table.num_entries)
    # A column lives in up to four copies at a time: decompressed, awkward, converted, selected.
    size = max(1, memory // (4 * max(least, entry_bytes(path, table, branches))))
    inside = {edge for edge in _edges(table, branches) if 0 < edge < entries}
    start = last = 0
    for edge in [*sorted(inside), entries]:
        if edge - start > size and last > start:
            yield start, last
            start = last
        last = edge
    yield start, last


def read_ntuple(
    path: str, table: Any, branches: Sequence[str], memory: int
) -> Iterator[tuple[int, dict[str, Array]]]:
    """Pieces of a tree of about ``memory`` bytes: (first entry, columns by branch name).

    Raises InputError where a branch is missing, not numeric, jagged or cannot be read.
    """
    check_branches(path, table, branches)
    if table.num_entries:
        for start, stop in pieces(path, table, branches, memory):
            yield start, read_columns(path, table, branches, start, stop)


def _nested(columns: Mapping[str, Array]) -> dict[str, Any]:
    """Columns with dotted names put together as records, since a field of an RNTuple has no dot."""
    plain: dict[str, Any] = {name: column for name, column in columns.items() if "." not in name}
    inner: dict[str, dict[str, Array]] = {}
    for name, column in columns.items():
        if "." in name:
            parent, _, child = name.partition(".")
            inner.setdefault(parent, {})[child] = column
    return plain | {
        name: ak.zip(_nested(children), depth_limit=1) for name, children in inner.items()
    }


@contextmanager
def write_ntuple(
    path: str | Path, tree: str, rntuple: bool
) -> Iterator[Callable[[Mapping[str, Array]], None]]:
    """A function that appends columns (n, ...) to a new TTree or RNTuple; the file appears whole."""
    table, entries = None, 0

    def verify(part: Path) -> None:
        with uproot.open({part: None}, **LOCAL) as file:
            if table is not None and file[tree].num_entries != entries:
                raise SosieError(f"{file[tree].num_entries} of {entries} entries")

    # Open already, since uproot would take a name with '::' for an address here, too.
    with (
        write_atomic(path, verify, beside=True) as part,
        open(part, "w+b") as target,
        uproot.recreate(target) as file,
    ):

        def append(columns: Mapping[str, Array]) -> None:
            nonlocal table, entries
            entries += len(next(iter(columns.values())))
            here = _nested(columns) if rntuple else dict(columns)
            if table is None and rntuple:
                table = file.mkrntuple(tree, here)
                return
            if table is None:
                types = {
                    name: (c.dtype, c.shape[1:]) if c.ndim > 1 else c.dtype
                    for name, c in here.items()
                }
                table = file.mktree(tree, types)
            table.extend(here)

        yield append
