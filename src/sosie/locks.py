"""The lock of a working directory: who holds it, and its removal once that process is proved dead."""

import atexit
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sosie.errors import IntermediateError
from sosie.files import read_json, write_json
from sosie.owners import dead, token
from sosie.progress import say

OWNER = "SOSIE_OWNER"
PAUSE = 0.5  # seconds between two looks at the run that a job belongs to


@contextmanager
def _alone(owners: Path) -> Iterator[bool]:
    """Whether no other run looks at the records meanwhile; False where files cannot be locked."""
    owners.mkdir(parents=True, exist_ok=True)
    with open(owners / ".guard", "w") as guard:
        try:
            import fcntl

            fcntl.flock(guard, fcntl.LOCK_EX)
            held = True
        except (ImportError, OSError):
            held = False
        yield held


def _describe(record: Path) -> str:
    """Host and process of a record, for people; its name alone proves who it is."""
    try:
        about = read_json(record, "snakemake")
        return f"process {about['process']} on {about['host']}"
    except (IntermediateError, KeyError, TypeError):
        return f"the process of {record}"


def _unsettled(folder: Path) -> str:
    """What is to be said where nothing is known of the owners of the locks below ``folder``."""
    if not list((folder / "locks").glob("*.lock")):
        return ""
    return (
        f"{folder / 'locks'}: a lock is left alone, since its owner is not known; "
        "if no run works here, remove it with 'snakemake --unlock'"
    )


def settle(folder: Path, own: str) -> str:
    """Remove the locks below ``folder`` whose owners are all proved dead, and what is to be said.

    Snakemake writes no owner into its locks, so that they go only if every record of another run
    is that of a dead process. Call it while no other run starts: a run has its record before its lock.
    """
    others = [path for path in sorted((folder / "owners").glob("[!.]*")) if path.name != own]
    alive = [path for path in others if not dead(path.name)]
    # Listed after the dead were found, so that what they left is all here.
    locks = sorted((folder / "locks").glob("*.lock"))
    gone = [path for path in others if path not in alive]
    if not others:
        return _unsettled(folder)
    if locks and alive:
        return (
            f"{folder / 'locks'}: the lock is left alone, since "
            f"{', '.join(map(_describe, alive))} is not proved dead"
        )
    text = (
        f"{folder / 'locks'}: lock of {', '.join(map(_describe, gone))} removed, "
        "which was killed; the work goes on"
    )
    # Locks first: a kill in between leaves the record that allows the next run to go on.
    for path in [*locks, *gone]:
        path.unlink(missing_ok=True)
    return text if locks else ""


def register(folder: str | Path = ".snakemake") -> None:
    """Record this process as owner of the lock that Snakemake will write, until it ends.

    Locks of dead owners are removed. Raises SosieError where the folder cannot be written.
    """
    folder, own = Path(folder).absolute(), token()
    record = folder / "owners" / own
    with _alone(folder / "owners") as held:
        write_json(record, {"host": socket.gethostname(), "process": os.getpid()})
        text = settle(folder, own) if held else _unsettled(folder)
    atexit.register(record.unlink, missing_ok=True)
    if text:
        say("locks", text)


def lend() -> None:
    """Tell the jobs that this process starts whose they are; see ``end_with_owner``."""
    os.environ[OWNER] = token()


def end_with_owner() -> None:
    """End this process, as kill -9 does, once the run that started it is proved dead.

    A job that outlives a killed run would write its results late, over those of changed settings.
    """
    owner = os.environ.get(OWNER, "")

    def watch() -> None:
        while not dead(owner):
            time.sleep(PAUSE)
        say("locks", "the run of Snakemake that started this job was killed; so the job ends")
        os._exit(1)

    if owner:
        threading.Thread(target=watch, daemon=True).start()
