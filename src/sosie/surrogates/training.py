"""The training of a network in Lightning: stateless draws, averaged weights, checkpoints at epochs' ends."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sosie.detectors import find
from sosie.errors import SettingsError
from sosie.progress import say, warn
from sosie.streams import key, stream
from sosie.surrogates.base import Array, pattern_of
from sosie.surrogates.checkpoint import read_checkpoint, write_checkpoint
from sosie.surrogates.network import Masked, Network, draw_masks
from sosie.surrogates.place import place
from sosie.surrogates.scalars import Write, scalars
from sosie.surrogates.schedule import rate_factor
from sosie.surrogates.timed import Timed

if TYPE_CHECKING:
    from sosie.train import Task

HALVINGS = 2  # of the learning rates, after losses that are not finite


class NotFiniteError(Exception):
    """A loss that is no number, where the training stopped."""


@torch.no_grad()
def average(mean: nn.Module, network: nn.Module, keep: float) -> None:
    """Move the averaged weights towards those of the network."""
    for old, new in zip(mean.parameters(), network.parameters(), strict=True):
        old.lerp_(new, 1 - keep)


class Training(Timed):
    """The training of ``generator``, whose averaged weights of the best validation are kept.

    A kind of surrogate gives ``surrogate``, ``losses`` (names of the learning curves), ``prepare``,
    ``training_step`` and ``validation_distance``; it may give ``configure_optimizers``, ``networks`` (what a
    checkpoint holds) and ``offsets``. Its ``training_step`` takes what it draws from ``draws``, and
    calls ``step`` for each loss, ``note`` for the curves and ``follow`` after a step of the generator.
    """

    surrogate: ClassVar[type[Network]]
    losses: tuple[str, ...]
    networks: tuple[str, ...] = ("generator", "averaged")
    masks: Tensor
    features: Tensor
    asked: Tensor
    weight: Tensor
    real: Tensor

    def __init__(self, task: Task, masks: Tensor) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.task, self.settings = task, task.settings
        torch.manual_seed(key(task.seed, "weights"))
        origin, detector = task.origin, find(task.origin.detector)
        self.generator: Masked = self.surrogate.build(origin, self.settings)
        ties = detector.ties if origin.transform.ties else None
        self.pattern = ties.find(task.train.response) if ties else None
        self.asked_pattern = pattern_of(origin, task.validation.conditions)
        # Weights of mean one leave the learning rates what they are.
        weight = task.train.weight / task.train.weight.mean()
        for name, values in (
            ("masks", masks),
            ("features", self._inputs(task.train.conditions, self.pattern)),
            ("asked", self._inputs(task.validation.conditions, self.asked_pattern)),
            ("weight", weight.astype(np.float32)),
        ):
            self.register_buffer(name, torch.as_tensor(values), persistent=False)
        response = task.train.response
        image = origin.transform.response.forward(response).astype(np.float32)
        self.prepare(torch.from_numpy(response), torch.from_numpy(image))
        self.averaged = copy.deepcopy(self.generator)
        self.updates, self.halvings = 0, 0
        self.best_distance = float("inf")
        self.optimiser_states: list[dict[Any, dict[str, Tensor]]] = []
        self.write: Write = lambda row: None
        self._losses: dict[str, list[float]] = {}

    def _inputs(self, conditions: Array, pattern: Array | None) -> Array:
        return self.surrogate.inputs(self.task.origin, self.settings, conditions, pattern)

    @property
    def kind(self) -> str:
        """The kind of surrogate that is trained."""
        return self.surrogate.kind

    @abstractmethod
    def prepare(self, response: Tensor, image: Tensor) -> None:
        """Fit what is fitted at once; set ``real`` (N, ...), what is learnt of each event.

        response (N, *shape) in house units, image (N, *shape) the scaled one.
        """

    @abstractmethod
    def training_step(self, _: int, batch: int) -> None:
        """One step of each optimiser whose turn it is."""

    def offsets(self, generator: Masked) -> Tensor | None:
        """What is fitted for each mask once the generator is trained; None where nothing is."""
        return None

    @property
    def batches(self) -> int:
        return max(1, len(self.real) // self.settings["batch"])

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(self.generator.parameters(), self.settings["rate"], fused=True)]

    def train_dataloader(self) -> DataLoader[int]:
        return DataLoader(range(self.batches), batch_size=None)  # type: ignore[arg-type]

    def on_fit_start(self) -> None:
        for optimiser, state in zip(self.trainer.optimizers, self.optimiser_states, strict=False):
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})

    def on_train_epoch_start(self) -> None:
        order = stream(self.task.seed, "order", self.done).permutation(len(self.real))
        self._order = torch.from_numpy(order).to(self.device)
        schedule = self.settings.get("schedule", "linear")
        factor = rate_factor(self.progress, schedule) / 2**self.halvings
        for optimiser in self.trainer.optimizers:
            for group in optimiser.param_groups:
                group["lr"] = optimiser.defaults["lr"] * factor

    def draws(self, batch: int) -> tuple[Tensor, Tensor, torch.Generator]:
        """Rows (n,) of the sample in a batch, its mask (depth, width), and its random numbers."""
        size = self.settings["batch"]
        rows = self._order[batch * size : (batch + 1) * size]
        rng = torch.Generator().manual_seed(key(self.task.seed, "batch", self.done, batch))
        return rows, self.masks[int(torch.randint(len(self.masks), (), generator=rng))], rng

    def step(self, optimiser: Any, loss: Tensor, batch: int) -> None:
        """One step of an optimiser down the gradient of a loss of this batch."""
        if not loss.isfinite():
            raise NotFiniteError(
                f"{self.kind}: the loss is {float(loss.detach())} in batch {batch + 1} of epoch {self.done + 1}"
            )
        optimiser.zero_grad()
        self.manual_backward(loss)
        if clip := self.settings.get("clip"):
            for group in optimiser.param_groups:
                nn.utils.clip_grad_norm_(group["params"], clip)
        optimiser.step()

    def follow(self) -> None:
        """Have the averaged weights follow a step of the generator."""
        # The mean of the first steps is not held back by the weights drawn at the start.
        keep = min(self.settings["averaging"], self.updates / (self.updates + 10))
        average(self.averaged, self.generator, keep)
        self.updates += 1

    def note(self, name: str, value: Tensor) -> None:
        """Have a value enter the mean of its learning curve over the epoch."""
        self._losses.setdefault(name, []).append(float(value.detach()))

    def on_train_epoch_end(self) -> None:
        mean = {name: float(np.mean(values)) for name, values in self._losses.items()}
        self._losses = {}
        self.done += 1
        self.tick()
        validate = self.progress >= 1 or self.done % self.settings["validate_every"] == 0
        row = {"epoch": float(self.done)} | {n: mean.get(n, np.nan) for n in self.losses}
        row["distance"] = self.validate() if validate else np.nan
        if validate:
            self.tick()
        if budget := self.settings.get("budget"):
            row["budget"] = self.seconds / (60 * budget)
        self.curves.append(row)
        shown = [f"{n} {v:.4g}" for n, v in row.items() if n != "epoch" and np.isfinite(v)]
        best = f" (best {self.best_distance:.4g})" if self.best else ""
        place = f"{self.kind}: epoch {self.done}/{self.settings['epochs']}"
        say("train", f"{place}: {', '.join(shown)}{best}")
        write_checkpoint(self.task.checkpoint, self)
        self.write(row)
        if self.ended and self.done < self.settings["epochs"]:
            why = "its budget is spent" if self.progress >= 1 else "the distance no longer falls"
            say("train", f"{self.kind}: ends after epoch {self.done}: {why}")
            self.trainer.should_stop = True

    def validate(self) -> float:
        """The distance of the averaged generator on validation; the best weights are kept."""
        distance = self.validation_distance()
        if distance < self.best_distance or not self.best:
            self.best_distance = min(self.best_distance, distance)
            state = self.averaged.state_dict()
            self.best = {name: value.detach().cpu().clone() for name, value in state.items()}
        return distance

    @abstractmethod
    def validation_distance(self) -> float:
        """The distance of the averaged generator to the validation sample."""


def _begun(module_of: type[Training], task: Task, masks: Tensor) -> Training:
    module = module_of(task, masks)
    read_checkpoint(task.checkpoint, module)
    return module


def _retried(failed: Training, error: NotFiniteError, module: Training) -> Training:
    """The module of the last checkpoint, with half the learning rates and all the time that it took."""
    if failed.halvings == HALVINGS:
        rates = " and ".join(n for n in ("rate", "critic_rate") if n in failed.settings)
        raise SettingsError(
            f"train: {error}, with the learning rates halved {HALVINGS} times; "
            f"lower {rates}, or look for wild numbers in the response"
        ) from None
    warn("train", f"{error}; goes on from its last checkpoint with half the learning rates")
    failed.tick()
    module.halvings, module.seconds = failed.halvings + 1, failed.seconds
    return module


def _run(module: Training) -> None:
    # Lightning's advice on loggers and loading workers does not apply to data in memory.
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            **place(module.settings),
            max_epochs=module.settings["epochs"] - module.done,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        say("train", f"{module.kind}: on {trainer.strategy.root_device}, {trainer.precision}")
        trainer.fit(module)


def masks_of(task: Task) -> Tensor:
    """The masks (K, depth, width), those of a teacher where there is one; a single one of ones where
    each member has a training of its own."""
    learnt = task.teacher
    if isinstance(learnt, Network) and learnt.masks is not None:
        return torch.from_numpy(learnt.masks)
    sizes = task.settings["depth"], task.settings["width"]
    if task.settings.get("method", "dropout_masks") != "dropout_masks":
        return torch.ones(1, *sizes)
    rng = torch.Generator().manual_seed(key(task.seed, "masks"))
    return draw_masks(task.masks, *sizes, task.settings["dropout"], rng)


def fit(task: Task, module_of: type[Training]) -> tuple[Network, list[dict[str, float]]]:
    """Train, or go on training, and return the generator of the best epoch with its masks.

    Raises SettingsError for losses that are not finite with a quarter of the learning rates either,
    and for a budget that is spent before the first validation.
    """
    torch.set_num_threads(task.threads)
    torch.set_flush_denormal(True)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings = task.settings
    masks = masks_of(task)
    module = _begun(module_of, task, masks)
    with scalars(task.tensorboard) as write:
        for row in module.curves:
            write(row)
        while not module.ended:
            module.write = write
            try:
                _run(module)
            except NotFiniteError as error:
                module = _retried(module, error, _begun(module_of, task, masks))
    surrogate = module_of.surrogate
    generator = surrogate.build(task.origin, settings)
    generator.load_state_dict(module.best)
    offsets = module.offsets(generator)
    fitted = None if offsets is None else offsets.numpy()
    return surrogate(task.origin, settings, generator, masks.numpy(), fitted), module.curves
