"""Which files each job of ingest reads."""

from collections.abc import Sequence
from dataclasses import dataclass

from sosie.files import find_files
from sosie.sections import Ingest


@dataclass(frozen=True)
class Job:
    """Files that one job reads for the shared samples, or for the sample of its own with this name."""

    files: Sequence[str]
    sample: str = ""


def jobs(ingest: Ingest) -> list[Job]:
    """The jobs, those of samples of their own last; none where one job reads all files."""
    step = ingest.files_per_job
    if step is None:
        return []
    own = ({"test": ingest.test} if ingest.test else {}) | dict(ingest.samples)
    files = {"": ingest.files, **{name: how.files or ingest.files for name, how in own.items()}}
    found = [
        Job(there[start : start + step], sample)
        for sample, patterns in files.items()
        for there in [find_files(patterns)]
        for start in range(0, len(there), step)
    ]
    return found if len(found) > 1 else []
