"""ingest, its last part: event tables that were written by jobs of their own become one each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sosie.detectors import find
from sosie.errors import IntermediateError
from sosie.files import read_json, write_json
from sosie.identities import Table
from sosie.ingest import JOB_MEMORY, PART, judge, plan, provenance
from sosie.layouts import Layout
from sosie.merged import write_merged
from sosie.progress import say
from sosie.reading import refuse_types
from sosie.tally import Summary, report_of

SHARE = 4
"""Of all memory, of which nothing else is held here, what identities may take."""


def run(
    parts: Sequence[str],
    paths: Sequence[str],
    out: str | Path,
    *,
    detector: str,
    seed: int,
    layout: Layout,
    threshold: float,
    split: Mapping[str, float],
    max_rejected: float = 0.01,
    test: Mapping[str, Any] | None = None,
    samples: Mapping[str, Mapping[str, Any]] | None = None,
    code: str = "",
    job_memory: int = JOB_MEMORY,
    digests: Mapping[str, str] | None = None,
) -> None:
    """Write the tables of all samples as lists of those in ``parts``, folders ``parts/<number>`` of
    ``out``, and summary.json; nothing is copied.

    What is checked of all events is checked here, as ingest does in one job. Raises InputError as it
    does, IntermediateError for parts that are not those of the study's files.
    """
    kind, out = find(detector), Path(out)
    own = ({"test": test} if test is not None else {}) | dict(samples or {})
    reads = plan(paths, layout, split, own, digests or {})
    found = [read_json(Path(part) / PART, "ingest", ["files", "rows", "types"]) for part in parts]
    wanted = [(read.sample, path) for read in reads for path in read.files]
    samples_of = {name: read.sample for read in reads for name in read.shares}
    there = [(samples_of.get(next(iter(p["kept"]))), path) for p in found for path in p["files"]]
    if there != wanted:
        raise IntermediateError(
            f"{out}: its {len(parts)} parts hold {len(there)} files, which are not the {len(wanted)} "
            "of the study in their order; run ingest of all parts again"
        )
    first: dict[str, tuple[str, Any]] = {}
    summary = Summary()
    for part in found:
        summary.join(part)
        path = next(iter(part["files"]))
        for name in part["kept"]:
            other, known = first.setdefault(name, (path, part))
            refuse_types(path, part["types"], other, known["types"])
    tables = [
        Table(Path(folder) / f"{name}.h5", part["rows"][name])
        for folder, part in zip(parts, found, strict=True)
        for name in part["kept"]
    ]
    judge(summary, reads, tables, max_rejected, job_memory // SHARE)
    for name, (_, part) in first.items():
        attributes = {
            "threshold": threshold,
            "provenance": provenance(summary, seed, code),
            "layout": part["layout"],
        }
        listed = [
            f"parts/{Path(folder).name}/{name}.h5"
            for folder, one in zip(parts, found, strict=True)
            if name in one["kept"]
        ]
        write_merged(out / f"{name}.h5", kind, attributes, listed)
    write_json(out / "summary.json", report_of(summary, kind, threshold))
    kept = ", ".join(f"{name} {count}" for name, count in summary.kept.items())
    say("ingest", f"{len(parts)} parts merged: {kept}")
