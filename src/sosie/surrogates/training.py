"""The training of a network in Lightning: stateless draws, averaged weights, checkpoints at epochs' ends."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from abc import abstractmethod
from collections.abc import Callable
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
from sosie.surrogates.checkpoint import read_checkpoint, write_checkpoint
from sosie.surrogates.network import Masked, Network, draw_masks, inputs, pattern_of

if TYPE_CHECKING:
    from sosie.train import Task

FLAT = 0.2  # share of the epochs at the full learning rate
LEAST = 0.03  # what is left of it at the end
HALVINGS = 2  # of the learning rates, after losses that are not finite


class NotFiniteError(Exception):
    """A loss that is no number, where the training stopped."""


def rate_factor(progress: float) -> float:
    """Factor on the learning rate for progress from 0 to 1: one, then down in a straight line."""
    return 1.0 if progress < FLAT else max(LEAST, (1 - progress) / (1 - FLAT))


@torch.no_grad()
def average(mean: nn.Module, network: nn.Module, keep: float) -> None:
    """Move the averaged weights towards those of the network."""
    for old, new in zip(mean.parameters(), network.parameters(), strict=True):
        old.lerp_(new, 1 - keep)


class Training(pl.LightningModule):
    """The training of ``generator``, whose averaged weights of the best validation are kept.

    A kind of surrogate gives ``surrogate``, ``losses`` (names of the learning curves), ``prepare``,
    ``training_step`` and ``distance_of``; it may give ``configure_optimizers``, ``networks`` (what a
    checkpoint holds) and ``offsets``. Its ``training_step`` takes what it draws from ``draws``, and
    calls ``step`` for each loss, ``note`` for the curves and ``follow`` after a step of the generator.
    """

    surrogate: ClassVar[type[Network]]
    losses: ClassVar[tuple[str, ...]]
    networks: ClassVar[tuple[str, ...]] = ("generator", "averaged")
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
            ("features", inputs(origin, task.train.conditions, self.pattern)),
            ("asked", inputs(origin, task.validation.conditions, self.asked_pattern)),
            ("weight", weight.astype(np.float32)),
        ):
            self.register_buffer(name, torch.as_tensor(values), persistent=False)
        response = task.train.response
        image = origin.transform.response.forward(response).astype(np.float32)
        self.prepare(torch.from_numpy(response), torch.from_numpy(image))
        self.averaged = copy.deepcopy(self.generator)
        self.done, self.updates, self.halvings = 0, 0, 0
        self.best: dict[str, Tensor] = {}
        self.best_distance = float("inf")
        self.curves: list[dict[str, float]] = []
        self.optimiser_states: list[dict[Any, dict[str, Tensor]]] = []
        self._losses: dict[str, list[float]] = {}

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

    @abstractmethod
    def distance_of(self, draw: Callable[[], Tensor]) -> float:
        """Distance to the reference of scaled responses (N, *shape) for the validation conditions,

        of which ``draw`` gives others each time, the same ones in every epoch.
        """

    def offsets(self, generator: Masked) -> Tensor | None:
        """What is fitted for each mask once the generator is trained; None where nothing is."""
        return None

    @property
    def batches(self) -> int:
        """Batches of one epoch."""
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
        factor = rate_factor(self.done / self.settings["epochs"]) / 2**self.halvings
        for optimiser in self.trainer.optimizers:
            for group in optimiser.param_groups:
                group["lr"] = optimiser.defaults["lr"] * factor

    def draws(self, batch: int) -> tuple[Tensor, Tensor, torch.Generator]:
        """Rows (n,) of the sample in a batch, its mask (depth, width), and its random numbers."""
        size = self.settings["batch"]
        rows = self._order[batch * size : (batch + 1) * size]
        rng = torch.Generator().manual_seed(key(self.task.seed, "batch", self.done, batch))
        return rows, self.masks[int(torch.randint(len(self.masks), (), generator=rng))], rng

    def draw_noise(self, count: int, rng: torch.Generator) -> Tensor:
        """Noise (count, noise) of the generator."""
        return torch.randn(count, self.generator.noise, generator=rng).to(self.device)

    def step(self, optimiser: Any, loss: Tensor, batch: int) -> None:
        """One step of an optimiser down the gradient of a loss of this batch."""
        if not loss.isfinite():
            raise NotFiniteError(
                f"{self.kind}: the loss is {float(loss.detach())} in batch {batch + 1} of epoch {self.done + 1}"
            )
        optimiser.zero_grad()
        self.manual_backward(loss)
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
        last = self.done == self.settings["epochs"]
        validate = last or self.done % self.settings["validate_every"] == 0
        row = {"epoch": float(self.done)} | {n: mean.get(n, np.nan) for n in self.losses}
        row["distance"] = self.validate() if validate else np.nan
        self.curves.append(row)
        shown = [f"{n} {v:.4g}" for n, v in row.items() if n != "epoch" and np.isfinite(v)]
        best = f" (best {self.best_distance:.4g})" if self.best else ""
        place = f"{self.kind}: epoch {self.done}/{self.settings['epochs']}"
        say("train", f"{place}: {', '.join(shown)}{best}")
        write_checkpoint(self.task.checkpoint, self)

    def validate(self) -> float:
        """The distance of the averaged generator on validation; the best weights are kept."""
        rng = torch.Generator().manual_seed(key(self.task.seed, "validate"))
        count = len(self.asked)
        each = self.masks[torch.arange(count, device=self.device) % len(self.masks)]

        def draw() -> Tensor:
            noise = self.draw_noise(count, rng)
            image: Tensor = self.averaged(self.asked, noise, each.transpose(0, 1))
            return image

        with torch.no_grad():
            distance = self.distance_of(draw)
        if distance < self.best_distance:
            self.best_distance = distance
            state = self.averaged.state_dict()
            self.best = {name: value.detach().cpu().clone() for name, value in state.items()}
        return distance


def _begun(module_of: type[Training], task: Task, masks: Tensor) -> Training:
    module = module_of(task, masks)
    read_checkpoint(task.checkpoint, module)
    return module


def _run(module: Training) -> None:
    # Lightning's advice on loggers and loading workers does not apply to data in memory.
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            accelerator="auto",
            devices=1,
            max_epochs=module.settings["epochs"] - module.done,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module)


def fit(task: Task, module_of: type[Training]) -> tuple[Network, list[dict[str, float]]]:
    """Train, or go on training, and return the generator of the best epoch with its masks.

    Raises SettingsError for losses that are not finite with a quarter of the learning rates either.
    """
    torch.set_num_threads(task.threads)
    torch.set_flush_denormal(True)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings = task.settings
    rng = torch.Generator().manual_seed(key(task.seed, "masks"))
    sizes = settings["depth"], settings["width"], settings["dropout"]
    masks = draw_masks(task.masks, *sizes, rng)
    module, halvings = _begun(module_of, task, masks), 0
    while module.done < settings["epochs"]:
        module.halvings = max(module.halvings, halvings)
        try:
            _run(module)
        except NotFiniteError as error:
            halvings = module.halvings + 1
            if halvings > HALVINGS:
                rates = " and ".join(name for name in settings if name.endswith("rate"))
                raise SettingsError(
                    f"train: {error}, with the learning rates halved {HALVINGS} times; "
                    f"lower {rates}, or look for wild numbers in the response"
                ) from None
            warn("train", f"{error}; goes on from its last checkpoint with half the learning rates")
            module = _begun(module_of, task, masks)
    surrogate = module_of.surrogate
    generator = surrogate.build(task.origin, settings)
    generator.load_state_dict(module.best)
    offsets = module.offsets(generator)
    fitted = None if offsets is None else offsets.numpy()
    return surrogate(task.origin, settings, generator, masks.numpy(), fitted), module.curves
