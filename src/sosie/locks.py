"""The lock of a working directory: who holds it, and its removal once that process is proved dead."""

import atexit
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sosie.errors import IntermediateError, SosieError
from sosie.files import read_json, write_json, writing
from sosie.owners import dead, token
from sosie.progress import say

OWNER = "SOSIE_OWNER"
PAUSE = 0.5  # seconds between two looks at the run that a job belongs to


@contextmanager
def _alone(owners: Path) -> Iterator[bool]:
    """Whether no other run looks at the records meanwhile; False where files cannot be locked."""
    with writing(owners), ExitStack() as stack:
        owners.mkdir(parents=True, exist_ok=True)
        guard = stack.enter_context(open(owners / ".guard", "w"))
        made = stack.pop_all()
    with made:
        try:
            import fcntl

            fcntl.flock(guard, fcntl.LOCK_EX)
            held = True
        except (ImportError, OSError):
            held = False
        yield held


def _others(owners: Path, own: str) -> list[Path]:
    """Records of other processes than the one of the token ``own``."""
    return [path for path in sorted(owners.glob("[!.]*")) if path.name != own]


def _describe(record: Path) -> str:
    """Host, process and folder of a record, for people; its name alone proves who it is."""
    try:
        about = read_json(record, "snakemake")
        return f"process {about['process']} on {about['host']} in {about['folder']}"
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
    others = _others(folder / "owners", own)
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


def _sign(record: Path) -> None:
    """Write the record of this process, which is removed when it ends."""
    about = {"host": socket.gethostname(), "process": os.getpid(), "folder": str(Path.cwd())}
    write_json(record, about)
    atexit.register(record.unlink, missing_ok=True)


def claim(results: str | Path) -> None:
    """Make the results folder this process's own until it ends.

    Snakemake's lock is that of a working directory, and two of them may share their results through
    a link. Raises SosieError where a run that is not proved dead works in it, and names that one.
    """
    owners, own = Path(results).absolute() / "owners", token()
    with _alone(owners):
        for record in _others(owners, own):
            if not dead(record.name):
                raise SosieError(
                    f"{results}: {_describe(record)} works here; wait for its end, "
                    f"or if it is no more, remove {record}"
                )
            record.unlink(missing_ok=True)
        _sign(owners / own)


def register(folder: str | Path = ".snakemake") -> None:
    """Record this process as owner of the lock that Snakemake will write, until it ends.

    Locks of dead owners are removed. Raises SosieError where the folder cannot be written.
    """
    folder, own = Path(folder).absolute(), token()
    record = folder / "owners" / own
    with _alone(folder / "owners") as held:
        _sign(record)
        text = settle(folder, own) if held else _unsettled(folder)
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
