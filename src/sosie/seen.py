"""What inputs and outputs of a study were at the end of its last run, and what has changed since.

Snakemake compares times; a file that has other bytes and an old time is found here.
"""

import atexit
from collections.abc import Iterable, Iterator, Mapping
from contextlib import chdir, suppress
from pathlib import Path
from typing import Any

from sosie.errors import InputError, IntermediateError
from sosie.files import file_digest, read_json, write_json
from sosie.progress import say

RECORD = ".seen"
STEPS = (
    "ingest", "preprocess", "train", "times", "ensemble", "generate", "moments", "reconstruct",
    "compare", "report",
)  # fmt: skip
SUFFIXES = {".h5", ".json", ".csv", ".html", ".svg", ".root", ".sha256"}
OWN = {"work", "logs"}
"""Folders of files that a job changes while it runs."""

Record = Mapping[str, Mapping[str, Any]]


def _state(path: str | Path) -> list[int]:
    """Size, and times of the last change of bytes and of anything, in ns."""
    found = Path(path).stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _read(results: Path) -> dict[str, Any]:
    path = results / RECORD
    if not path.exists():
        return {"running": False, "inputs": {}, "outputs": {}}
    return read_json(path, "snakemake", ["running", "inputs", "outputs"])


def _outputs(results: Path) -> Iterator[Path]:
    for step in STEPS:
        for path in sorted((results / step).rglob("*")):
            inner = path.relative_to(results).parts
            named = path.suffix in SUFFIXES or path.name == "SHA256SUMS"
            if named and not OWN & set(inner) and inner[-1][0] != ".":
                yield path
    yield from sorted(results.glob("*.html"))


def first_seen(record: str | Path) -> dict[str, str]:
    """SHA-256 of the inputs when they were first read, by path; none where no run has ended.

    Raises IntermediateError for a damaged record.
    """
    inputs = _read(Path(record).parent)["inputs"]
    return {path: entry["sha256"] for path, entry in inputs.items()}


def _changed(known: Mapping[str, Mapping[str, Any]], asked: Iterable[str]) -> Iterator[str]:
    """Those files that are there with other bytes than are known of them."""
    for path in asked:
        entry = known.get(path)
        touched = entry and Path(path).is_file() and _state(path) != entry["state"]
        if entry and touched and file_digest(path) != entry["sha256"]:
            yield path


def check(results: str | Path, inputs: Iterable[str]) -> dict[str, Any]:
    """The record, once nothing has changed since the last run so that Snakemake does not see it.

    An input that is newer than all results is taken anew, and no longer in the record. A run that
    was killed did not write down its outputs: those newer than the record are its own. Raises
    InputError and IntermediateError for a file with other bytes.
    """
    results = Path(results)
    record = _read(results)
    if record["inputs"] or record["outputs"]:
        when = _state(results / RECORD)[1]
        newest = max([when, *(_state(path)[1] for path in _outputs(results))])
        for path in list(_changed(record["inputs"], inputs)):
            if _state(path)[1] <= newest:
                raise InputError(
                    f"{path}: its bytes changed since they were read, and its time is older than "
                    f"the results (SHA-256 was {record['inputs'][path]['sha256']}); restore it, or "
                    "touch it where it is meant to be another one"
                )
            say("ingest", f"{path}: has changed since the last run, and is read again")
            del record["inputs"][path]
        for path in _changed(record["outputs"], record["outputs"]):
            if not (record["running"] and _state(path)[1] > when):
                raise IntermediateError(
                    f"{path}: is not what the last run left; restore it, or remove it: the same "
                    "command makes it again where it is needed"
                )
    return record


def _entries(
    states: Mapping[str, list[int]], known: Record, read: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """What is kept of files; those are hashed that changed and of which no digest is known."""
    found: dict[str, dict[str, Any]] = {}
    for path, state in states.items():
        before = known.get(path, {})
        # A file may go while others are hashed.
        with suppress(OSError):
            if before.get("state") == state:
                found[path] = dict(before)
            elif _state(path) == state:
                found[path] = {"state": state, "sha256": read.get(path) or file_digest(path)}
    return found


def _digests(results: Path) -> tuple[dict[str, str], int]:
    """SHA-256 of the files that ingest read, by path, and when it had read them."""
    path = results / "ingest/summary.json"
    try:
        files = read_json(path, "ingest", ["files"])["files"]
        return {name: known["sha256"] for name, known in files.items()}, _state(path)[1]
    except IntermediateError:
        return {}, 0


def remember(results: str | Path, states: Mapping[str, list[int]]) -> None:
    """Write down what inputs and outputs are now; ``states`` of inputs are those before the run."""
    results = Path(results)
    if not results.is_dir():
        return
    record = _read(results)
    digests, when = _digests(results)
    # What changed after ingest had read it is not what it read.
    read = {path: known for path, known in digests.items() if path in states}
    inputs = {path: state for path, state in states.items() if path not in read or state[1] < when}
    outputs = {str(path): _state(path) for path in _outputs(results)}
    write_json(
        results / RECORD,
        {
            "running": False,
            "inputs": _entries(inputs, record["inputs"], read),
            "outputs": _entries(outputs, record["outputs"], {}),
        },
    )


def watch(results: str | Path, inputs: Iterable[str]) -> None:
    """``check`` now, and ``remember`` when this process ends.

    Raises SosieError as ``check`` does, and nothing is remembered then.
    """
    inputs = list(inputs)
    write_json(Path(results) / RECORD, {**check(results, inputs), "running": True})
    states, folder = {path: _state(path) for path in inputs}, Path.cwd()

    def at_end() -> None:
        # Snakemake goes back to where it was started from.
        with chdir(folder):
            remember(results, states)

    atexit.register(at_end)
