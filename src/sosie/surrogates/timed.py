"""When a training ends: its epochs, its wall time, and the epochs without a better distance."""

from __future__ import annotations

from abc import abstractmethod
from time import monotonic
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from sosie.surrogates.schedule import check_budget, is_stale, progress

PROBED = 5  # batches that are timed to tell whether a budget is enough


class Timed(pl.LightningModule):
    """What a training knows of its course: ``seconds`` of wall time, over all its runs, among it."""

    settings: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.done = 0
        self.seconds = 0.0
        self.best: dict[str, Tensor] = {}
        self.curves: list[dict[str, float]] = []
        self._since = self._warm = 0.0

    @property
    @abstractmethod
    def batches(self) -> int:
        """Batches of one epoch."""

    @abstractmethod
    def validation_distance(self) -> float:
        """The distance on validation."""

    @property
    def progress(self) -> float:
        """Share of the training that is done; 1 and more at its end."""
        return progress(self.settings, self.done, self.seconds)

    @property
    def ended(self) -> bool:
        """Whether epochs, budget or patience have come to their end, and there are best weights."""
        stale = is_stale(self.settings, self.curves)
        return bool(self.best) and (self.progress >= 1 or stale)

    def tick(self) -> None:
        """Have the time since the last call enter ``seconds``, the wall time of the training."""
        now = monotonic()
        self.seconds += now - self._since
        self._since = now

    def on_train_start(self) -> None:
        self._since = monotonic()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Refuse a budget that is too short, once a few batches of the first epoch were timed."""
        last = min(PROBED, self.batches - 1)
        if self.settings.get("budget") is None or self.done or batch_idx not in (0, last):
            return
        now = monotonic()
        if batch_idx == 0:
            # What the first batch sets up would count for every batch.
            self._warm = now
        if batch_idx == last:
            each = (now - self._warm) / last if last else now - self._since
            self.validation_distance()
            check_budget(self.settings, self.batches * each, monotonic() - now)
