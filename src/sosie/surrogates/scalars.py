"""Learning curves as scalars for TensorBoard, which is optional: what cannot be written is said."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from sosie.progress import warn

Write = Callable[[Mapping[str, float]], None]


def _writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        warn(
            "train",
            "TensorBoard is not installed, no scalars are written; pip install 'sosie[tensorboard]'",
        )
        return None
    try:
        # Scalars of an earlier run, from the first epoch on, are then no longer shown.
        return SummaryWriter(str(folder), purge_step=1)
    except OSError as error:
        warn("train", f"{folder}: {error}; no scalars are written")
        return None


@contextmanager
def scalars(folder: Path | None) -> Iterator[Write]:
    """What writes a row of the learning curves into a folder for TensorBoard; nothing without one."""
    writer: Any = _writer(folder) if folder else None

    def write(row: Mapping[str, float]) -> None:
        shown = {n: v for n, v in row.items() if n != "epoch" and np.isfinite(v)}
        try:
            for name, value in shown.items():
                writer.add_scalar(name, value, int(row["epoch"]))
            writer.flush()
        except OSError as error:
            warn("train", f"{folder}: {error}; scalars are missing")

    try:
        yield write if writer else lambda row: None
    finally:
        if writer:
            with suppress(OSError):
                writer.close()
