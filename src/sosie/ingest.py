"""ingest: ROOT ntuples of full simulation become event tables for train, validation and test."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sosie import __version__
from sosie.blocks import Piece
from sosie.detectors import find
from sosie.detectors.base import Detector
from sosie.errors import InputError
from sosie.events import write_events
from sosie.files import find_files, staged, write_json
from sosie.identities import Table, refuse_twins
from sosie.layouts import Layout
from sosie.progress import say, warn
from sosie.reading import first_types, read_pieces, survey
from sosie.streams import key, mix, uniform
from sosie.tally import Prepared, Rejected, Summary, report_of

Array = np.ndarray[Any, Any]
SAMPLES = ("train", "validation", "test")
PART = "part.json"
JOB_MEMORY = 2_000_000_000
SHARE = 128
"""So much less than all memory may the identities take that are compared at a time."""


def assign(groups: Array, seed: int, shares: Mapping[str, float]) -> Array:
    """The sample of each group (N,), an index into ``shares``, a function of the group and the seed."""
    number = uniform(mix(groups ^ np.uint64(key(seed, "ingest", "split"))))
    edges = np.cumsum(list(shares.values()))[:-1]
    return np.searchsorted(edges, number, side="right")


def prepare(piece: Piece, *, threshold: float, seed: int, split: Mapping[str, float]) -> Prepared:
    """A piece with the cells below the threshold set to 0, divided into samples."""
    response = piece.block.response
    filled = response > 0
    small = filled & (response < np.float32(threshold))
    signal = float(response.sum(dtype=np.float64))
    kept = response * ~small
    sample = assign(piece.block.group_id, seed, split)
    return Prepared(
        replace(piece, block=replace(piece.block, response=kept)),
        {name: np.flatnonzero(sample == index) for index, name in enumerate(split)},
        int(np.count_nonzero(filled)),
        int(np.count_nonzero(small)),
        signal,
        signal - float(kept.sum(dtype=np.float64)),
    )


def _refuse_repeats(paths: Sequence[str]) -> None:
    for index, path in enumerate(paths):
        if path in paths[:index]:
            raise InputError(
                f"{path}, {path}: the same file twice; remove one of them from ingest.files"
            )


def _bad(summary: Summary) -> dict[str, Rejected]:
    return {path: there for path, there in summary.rejected.items() if there.not_finite}


def _warn_rejected(summary: Summary) -> None:
    """Warn of each file with numbers that are not finite."""
    for path, there in _bad(summary).items():
        warn(
            "ingest",
            f"{path}: {there.not_finite} of {there.selected} events rejected, with numbers that are "
            f"not finite; first: {there.problem}",
        )


def _refuse_share(summary: Summary, max_rejected: float) -> None:
    """Raise InputError if there are too many numbers that are not finite."""
    bad = _bad(summary)
    if bad and summary.not_finite > max_rejected * summary.selected:
        worst = max(bad, key=lambda path: bad[path].not_finite)
        raise InputError(
            f"{worst}: {bad[worst].problem}; {summary.not_finite} of {summary.selected} events "
            f"({100 * summary.not_finite / summary.selected:.3g} %) of all files hold numbers that are "
            f"not finite, {bad[worst].not_finite} of them here, more than ingest.max_rejected = "
            f"{max_rejected:g} allows; mend the ntuple, exclude them with ingest.selection or raise "
            "ingest.max_rejected"
        )


def _refuse_weights(summary: Summary, path: Mapping[str, str]) -> None:
    for name, total in summary.weight.items():
        if not total > 0:
            raise InputError(
                f"{path[name]}: the weights of the {name} sample ({summary.kept[name]} events) sum to "
                f"{total:g}; give events whose weights sum to more than 0, or leave out ingest.weight"
            )


def own_layout(layout: Layout, sample: Mapping[str, Any]) -> Layout:
    """The layout of a sample of its own: that of the others but for what is given."""
    own = {name: sample[name] for name in ("tree", "selection") if sample[name] is not None}
    if sample["weight"] is not None:
        own["weight"] = sample["weight"] or None
    return replace(layout, conditions={**layout.conditions, **sample["conditions"]}, **own)


@dataclass(frozen=True)
class Reading:
    """Files of one layout, and the shares of the samples that their events become; ``sample`` is the
    name of a sample of its own."""

    files: Sequence[str]
    layout: Layout
    shares: Mapping[str, float]
    selection: str = "ingest.selection"
    sample: str = ""


def plan(
    paths: Sequence[str],
    layout: Layout,
    split: Mapping[str, float],
    own: Mapping[str, Mapping[str, Any]],
    digests: Mapping[str, str],
) -> list[Reading]:
    """What is read: the files of the shared samples, then those of each sample of its own, by name.

    A sample of its own has no share of the others. Raises InputError for files that are not there,
    and for ``digests`` of files that are none of them.
    """
    shared = {name: share for name, share in split.items() if name not in own}
    total = 1.0 if len(shared) == len(split) else sum(shared.values())
    shares = {name: share / total for name, share in shared.items()}
    found = [Reading(find_files(paths), layout, shares)]
    for name, sample in own.items():
        key_ = "ingest.test" if name == "test" else f"ingest.samples.{name}"
        files = find_files(sample["files"] or paths, f"{key_}.files")
        selection = "ingest.selection" if sample["selection"] is None else f"{key_}.selection"
        found.append(Reading(files, own_layout(layout, sample), {name: 1.0}, selection, name))
    files = [path for read in found for path in read.files]
    for path in digests:
        if path not in files:
            near = get_close_matches(path, files, 1, 0) or files[:1]
            raise InputError(
                f"{path}: none of the files of the study, though ingest.digests has it; write the "
                f"path as it is found, like '{near[0]}'"
            )
    return found


def refuse_other_bytes(
    path: str, sha256: str, digests: Mapping[str, str], seen: Mapping[str, str]
) -> None:
    """Raise InputError for a file whose digest is not the one given, or that of the first reading."""
    if sha256 != digests.get(path, sha256):
        raise InputError(
            f"{path}: its SHA-256 is {sha256}, not {digests[path]} as ingest.digests says; "
            "copy the file again, or correct the key"
        )
    if sha256 != seen.get(path, sha256):
        raise InputError(
            f"{path}: its bytes changed since they were first read, and its time did not (SHA-256 is "
            f"{sha256}, was {seen[path]}); restore it, or touch it where it is meant to be another one"
        )


def _refuse_empty(summary: Summary, reads: Sequence[Reading]) -> None:
    for read in reads:
        for name in read.shares:
            if summary.kept[name] == 0:
                more = len(read.files) - 1
                others = f" and {more} more" if more else ""
                raise InputError(
                    f"{read.files[0]}{others}: no event for the {name} sample ({summary.read} read, "
                    f"{summary.read - summary.selected} rejected by {read.selection}); "
                    "give more events or a wider selection"
                )


def judge(
    summary: Summary,
    reads: Sequence[Reading],
    tables: Sequence[Table],
    max_rejected: float,
    memory: int,
) -> None:
    """Raise InputError for what only shows when all events are there; ``tables`` hold them."""
    _refuse_share(summary, max_rejected)
    refuse_twins(tables, memory)
    _refuse_empty(summary, reads)
    _refuse_weights(summary, {name: read.files[0] for read in reads for name in read.shares})


def write_samples(
    reads: Sequence[Reading],
    stage: Path,
    detector: Detector,
    *,
    seed: int,
    threshold: float,
    memory: int,
    threads: int,
    code: str,
    digests: Mapping[str, str],
    seen: Mapping[str, str],
) -> Summary:
    """Write a table of each sample into a folder; one without events has its columns all the same."""
    layouts = {name: read.layout for read in reads for name in read.shares}
    summary = Summary(kept=dict.fromkeys(layouts, 0), weight=dict.fromkeys(layouts, 0.0))
    attributes = {"threshold": threshold, "provenance": provenance(summary, seed, code)}
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                write_events(
                    stage / f"{name}.h5",
                    detector,
                    {**attributes, "layout": layout.as_dict()},
                    threads,
                )
            )
            for name, layout in layouts.items()
        }
        for read in reads:
            finish = partial(prepare, threshold=threshold, seed=seed, split=read.shares)
            for source, part in read_pieces(
                read.files, detector, read.layout, memory, threads, finish
            ):
                if part is None:
                    known = source.known()
                    refuse_other_bytes(source.path, known["sha256"], digests, seen)
                    summary.open(source.path, known)
                    say("ingest", f"{source.path}: {known['entries']} entries")
                    continue
                block = part.piece.block
                summary.add(source.path, part)
                for name, rows in part.samples.items():
                    # An empty one makes the columns, if none follows.
                    writers[name].append(block, rows)
                    here = len(rows) if block.weight is None else block.weight[rows].sum()
                    summary.keep(name, source.path, len(rows), float(here))
    return summary


def provenance(summary: Summary, seed: int, code: str) -> dict[str, Any]:
    """What a table tells of how it was made."""
    return {"sosie": __version__, "code": code, "seed": seed, "inputs": summary.files}


def run(
    paths: Sequence[str],
    out: str | Path,
    *,
    detector: str,
    seed: int,
    layout: Layout,
    threshold: float,
    split: Mapping[str, float],
    memory: int,
    max_rejected: float = 0.01,
    test: Mapping[str, Any] | None = None,
    samples: Mapping[str, Mapping[str, Any]] | None = None,
    threads: int = 1,
    code: str = "",
    job_memory: int = JOB_MEMORY,
    part: Sequence[str] = (),
    sample: str = "",
    digests: Mapping[str, str] | None = None,
    seen: Mapping[str, str] | None = None,
) -> None:
    """Write train.h5, validation.h5, test.h5, those of ``samples`` and summary.json into ``out``.

    Files are read in pieces of about ``memory`` bytes, and identities are compared within a share of
    ``job_memory``; neither these nor the number of threads change a byte of the output. ``test``:
    what differs for a test sample of its own, which has then no share of the others; ``samples``:
    the same for further samples by name. With ``part``, some of the files, of the shared samples or
    of the one named ``sample``, are read alone, into tables and part.json for ``merge``. SHA-256 by
    path: ``digests`` are given by the user, ``seen`` are those of earlier runs. Raises InputError for
    files, branches and numbers that cannot be used, and for a file with another digest.
    """
    kind, out = find(detector), Path(out)
    _refuse_repeats(paths)
    own = ({"test": test} if test is not None else {}) | dict(samples or {})
    reads = plan(paths, layout, split, own, digests or {})
    if part:
        reads = [replace(read, files=part) for read in reads if read.sample == sample]
    reads = [replace(read, layout=survey(read.files, kind, read.layout)) for read in reads]
    with staged(out) as stage:
        summary = write_samples(
            reads,
            stage,
            kind,
            seed=seed,
            threshold=threshold,
            memory=memory,
            threads=threads,
            code=code,
            digests=digests or {},
            seen=seen or {},
        )
        _warn_rejected(summary)
        if part:
            types = first_types(reads[0].files[0], reads[0].layout)
            write_json(
                stage / PART,
                {**summary.as_dict(), "layout": reads[0].layout.as_dict(), "types": types},
            )
        else:
            tables = [Table(stage / f"{n}.h5", rows) for n, rows in summary.rows.items()]
            judge(summary, reads, tables, max_rejected, job_memory // SHARE)
            write_json(stage / "summary.json", report_of(summary, kind, threshold))
    say("ingest", ", ".join(f"{name} {kept}" for name, kept in summary.kept.items()))
