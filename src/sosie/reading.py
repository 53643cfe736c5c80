"""Many ntuples read in parallel, piece by piece and in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from sosie.blocks import Piece, to_piece
from sosie.detectors.base import Detector
from sosie.errors import InputError
from sosie.files import file_digest
from sosie.layouts import Layout
from sosie.ntuples import (
    branch_types,
    check_branches,
    is_rntuple,
    open_ntuple,
    pieces,
    read_columns,
)
from sosie.truth import Truth, read_truth

T = TypeVar("T")


@dataclass
class Source:
    """An open input file."""

    path: str
    table: Any
    truth: Truth | None = None
    sha256: Future[str] = field(default_factory=Future)
    files: ExitStack = field(default_factory=ExitStack)

    def known(self) -> dict[str, Any]:
        """What is kept of the file in the provenance."""
        return {
            "sha256": self.sha256.result(),
            "entries": int(self.table.num_entries),
            "rntuple": is_rntuple(self.table),
        }


def in_order(jobs: Iterable[Callable[[], T]], threads: int) -> Iterator[T]:
    """Results of jobs in their order; a few are under way at a time, in ``threads`` threads."""
    if threads == 1:
        yield from (job() for job in jobs)
        return
    pool, waiting = ThreadPoolExecutor(threads), deque[Future[T]]()
    try:
        for job in jobs:
            waiting.append(pool.submit(job))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _load(
    source: Source, detector: Detector, layout: Layout, start: int, stop: int, keep: bool = False
) -> Piece:
    path = source.path
    columns = read_columns(path, source.table, layout.branches(), start, stop, layout.ragged())
    # A number of its own for each file is needed only where the events have none.
    digest = "" if layout.identity else source.sha256.result()
    entries = np.arange(start, stop)
    return to_piece(path, detector, layout, columns, entries, digest, source.truth, keep)


def survey(paths: Sequence[str], detector: Detector, layout: Layout) -> Layout:
    """The layout with the format of the first file, once all files are seen to hold it.

    Raises InputError for a file without entries, tree or branches, or with branches of another type
    than the first one; and for a first entry that cannot be used.
    """
    first: dict[str, str] = {}
    for path in paths:
        with open_ntuple(path, layout.tree) as table:
            if table.num_entries == 0:
                raise InputError(f"{path}: tree '{layout.tree}' has no entries; leave the file out")
            check_branches(path, table, layout.branches())
            types = branch_types(path, table, layout.branches())
            if not first:
                first, layout = types, replace(layout, rntuple=is_rntuple(table))
                source = Source(path, table, read_truth(path, detector, layout))
                source.sha256.set_result("0" * 64)
                _load(source, detector, layout, 0, 1)
        refuse_types(path, types, paths[0], first)
    return layout


def first_types(path: str, layout: Layout) -> dict[str, str]:
    """The type of each branch of a file that was surveyed."""
    with open_ntuple(path, layout.tree) as table:
        return branch_types(path, table, layout.branches())


def refuse_types(path: str, types: Mapping[str, str], other: str, known: Mapping[str, str]) -> None:
    """Raise InputError where a branch of a file has another type than in the first one."""
    for name, kind in types.items():
        if kind != known[name]:
            raise InputError(
                f"{path}: branch '{name}' is of type '{kind}', in {other} of type "
                f"'{known[name]}'; give files of one layout"
            )


def _digest(source: Source) -> None:
    try:
        source.sha256.set_result(file_digest(source.path))
    except BaseException as error:
        source.sha256.set_exception(error)
        raise


def read_pieces(
    paths: Sequence[str],
    detector: Detector,
    layout: Layout,
    memory: int,
    threads: int,
    finish: Callable[[Piece], T],
    keep: bool = False,
) -> Iterator[tuple[Source, T | None]]:
    """For each file the file and None, then the file and what ``finish`` makes of its pieces.

    Reading, checking and ``finish`` run in parallel, in ``threads`` threads; the order is that of the
    events. A few pieces of about ``memory`` bytes are held for each thread. ``keep``: events with
    numbers that are not finite stay in their pieces.
    """
    cells = 4 * int(np.prod(detector.shape))

    def work(source: Source, start: int, stop: int) -> tuple[Source, T | None, bool]:
        result = finish(_load(source, detector, layout, start, stop, keep))
        return source, result, stop == source.table.num_entries

    def begin(source: Source) -> tuple[Source, T | None, bool]:
        _digest(source)
        return source, None, False

    def jobs() -> Iterator[Callable[[], tuple[Source, T | None, bool]]]:
        for path in paths:
            with ExitStack() as stack:
                table = stack.enter_context(open_ntuple(path, layout.tree))
                spans = pieces(path, table, layout.branches(), memory, cells)
                truth = read_truth(path, detector, layout)
                source = Source(path, table, truth, files=stack.pop_all())
            opened.append(source)
            yield partial(begin, source)
            for start, stop in spans:
                yield partial(work, source, start, stop)

    opened: list[Source] = []
    try:
        for source, result, last in in_order(jobs(), threads):
            yield source, result
            if last:
                source.files.close()
                opened.remove(source)
    finally:
        for source in opened:
            source.files.close()
