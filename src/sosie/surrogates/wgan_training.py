"""The training of wgan_gp in Lightning: stateless draws, checkpoints at the ends of epochs."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sosie.detectors import find
from sosie.distances import wasserstein
from sosie.progress import say
from sosie.streams import key, stream
from sosie.surrogates.wgan_checkpoint import read_checkpoint, write_checkpoint
from sosie.surrogates.wgan_gp import WganGp, build_generator
from sosie.surrogates.wgan_networks import (
    Critic,
    Generator,
    draw_masks,
    gradient_penalty,
    view,
)
from sosie.surrogates.wgan_summaries import summaries, summary_count

if TYPE_CHECKING:
    from sosie.train import Task

Array = np.ndarray[Any, Any]
BETAS = (0.0, 0.9)
FLAT = 0.2  # share of the epochs at the full learning rate
LEAST = 0.03  # what is left of it at the end
FAR = 10.0  # the distance of an observable that a generated sample does not have


def rate_factor(progress: float) -> float:
    """Factor on the learning rate for progress from 0 to 1: one, then down in a straight line."""
    return 1.0 if progress < FLAT else max(LEAST, (1 - progress) / (1 - FLAT))


@torch.no_grad()
def average(mean: Generator, generator: Generator, keep: float) -> None:
    """Move the averaged weights towards those of the generator."""
    for old, new in zip(mean.parameters(), generator.parameters(), strict=True):
        old.lerp_(new, 1 - keep)


class Distance:
    """Mean over observables of W1 between a sample and its twins, in standard deviations.

    Minor observables are left out.
    """

    def __init__(self, task: Task) -> None:
        self.detector = find(task.origin.detector)
        self.transform = task.origin.transform.response
        self.threshold = task.origin.threshold
        self.conditions = task.validation.conditions.astype(np.float64)
        self.weight = task.validation.weight
        self.reference = self.detector.observe(task.validation.response, self.conditions)

    def __call__(self, image: Array) -> float:
        """The distance of scaled responses (N, *shape) drawn for the validation conditions."""
        response = self.transform.inverse(image)
        response[response < self.threshold] = 0
        found = self.detector.observe(response, self.conditions)
        each = []
        for name, values in self.reference.items():
            if name in self.detector.minor:
                continue
            finite = values[np.isfinite(values)]
            sigma = float(np.std(finite)) if len(finite) else 0.0
            if sigma > 0:
                distance = wasserstein(values, found[name], self.weight, self.weight) / sigma
                each.append(distance if np.isfinite(distance) else FAR)
        return float(np.mean(each)) if each else FAR


class WganModule(pl.LightningModule):
    """One step of both critics a batch, one generator step every n_critic batches."""

    masks: Tensor
    features: Tensor
    asked: Tensor
    real: Tensor

    def __init__(self, task: Task, masks: Tensor) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.task, self.settings = task, task.settings
        torch.manual_seed(key(task.seed, "weights"))
        self.generator = build_generator(task.origin, self.settings)
        transform, detector = task.origin.transform, find(task.origin.detector)

        def features(conditions: Array) -> Tensor:
            scaled = transform.features(detector.features(conditions.astype(np.float64)))
            return torch.from_numpy(scaled.astype(np.float32))

        self.register_buffer("masks", masks, persistent=False)
        self.register_buffer("features", features(task.train.conditions), persistent=False)
        self.register_buffer("asked", features(task.validation.conditions), persistent=False)
        response = torch.from_numpy(task.train.response)
        self.generator.standard.fit(self.features, summaries(response))
        image = torch.from_numpy(transform.response.forward(task.train.response).astype(np.float32))
        self.register_buffer("real", self._view(image, self.features), persistent=False)
        self.averaged = copy.deepcopy(self.generator)
        width = self.settings["critic_width"]
        of_features = self.features.shape[1]
        # The second sees the summaries alone, so that they do not drown among the cells.
        self.summaries = summary_count(self.generator.shape)
        self.critic = nn.ModuleList(
            [Critic(count, of_features, width) for count in (self.real.shape[1], self.summaries)]
        )
        self.distance = Distance(task)
        self.done, self.updates = 0, 0
        self.best: dict[str, Tensor] = {}
        self.best_distance = float("inf")
        self.curves: list[dict[str, float]] = []
        self._losses: dict[str, list[float]] = {}
        self._optimisers: list[dict[Any, dict[str, Tensor]]] = []

    def _view(self, image: Tensor, features: Tensor) -> Tensor:
        return view(image, features, self.generator, self.settings["summaries"])

    def _seen(self, shown: Tensor) -> list[Tensor]:
        """What each critic sees of what ``view`` shows; the summaries come last in it."""
        return [shown, shown[:, -self.summaries :]]

    @property
    def batches(self) -> int:
        """Batches of one epoch."""
        return max(1, len(self.real) // self.settings["batch"])

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        rates = self.settings["rate"], self.settings["critic_rate"]
        return [
            torch.optim.Adam(network.parameters(), rate, BETAS, fused=True)
            for network, rate in zip((self.generator, self.critic), rates, strict=True)
        ]

    def train_dataloader(self) -> DataLoader[int]:
        return DataLoader(range(self.batches), batch_size=None)  # type: ignore[arg-type]

    def on_fit_start(self) -> None:
        for optimiser, state in zip(self.trainer.optimizers, self._optimisers, strict=False):
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})

    def on_train_epoch_start(self) -> None:
        order = stream(self.task.seed, "order", self.done).permutation(len(self.real))
        self._order = torch.from_numpy(order).to(self.device)
        factor = rate_factor(self.done / self.settings["epochs"])
        for optimiser in self.trainer.optimizers:
            optimiser.param_groups[0]["lr"] = optimiser.defaults["lr"] * factor

    def _generate(self, features: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        noise = torch.randn(len(features), self.generator.noise, generator=rng).to(self.device)
        return self._view(self.generator(features, noise, mask), features)

    def training_step(self, _: int, batch: int) -> None:
        size = self.settings["batch"]
        rows = self._order[batch * size : (batch + 1) * size]
        features, real = self.features[rows], self.real[rows]
        rng = torch.Generator().manual_seed(key(self.task.seed, "batch", self.done, batch))
        mask = self.masks[int(torch.randint(len(self.masks), (), generator=rng))]
        of_generator, of_critic = self.optimizers()  # type: ignore[attr-defined]
        moves = (self.done * self.batches + batch + 1) % self.settings["n_critic"] == 0
        with torch.set_grad_enabled(moves):
            shown = self._generate(features, mask, rng)
        fake = shown.detach()
        mixing = torch.rand(len(rows), 1, generator=rng).to(self.device)
        distance = penalty = torch.zeros((), device=self.device)
        for critic, true, false in zip(
            self.critic, self._seen(real), self._seen(fake), strict=True
        ):
            scores = critic(torch.cat([true, false]), features.repeat(2, 1)).chunk(2)
            distance = distance + scores[0].mean() - scores[1].mean()
            penalty = penalty + gradient_penalty(critic, true, false, features, mixing)
        of_critic.zero_grad()
        self.manual_backward(self.settings["penalty"] * penalty - distance)
        of_critic.step()
        self._note("wasserstein", distance)
        self._note("penalty", penalty)
        if moves:
            seen = zip(self.critic, self._seen(shown), strict=True)
            loss = -sum(critic(x, features).mean() for critic, x in seen)
            of_generator.zero_grad()
            self.manual_backward(loss)
            of_generator.step()
            # The mean of the first steps is not held back by the weights drawn at the start.
            keep = min(self.settings["averaging"], self.updates / (self.updates + 10))
            average(self.averaged, self.generator, keep)
            self.updates += 1
            self._note("generator", loss)

    def _note(self, name: str, value: Tensor) -> None:
        self._losses.setdefault(name, []).append(float(value.detach()))

    def on_train_epoch_end(self) -> None:
        mean = {name: float(np.mean(values)) for name, values in self._losses.items()}
        self._losses = {}
        self.done += 1
        last = self.done == self.settings["epochs"]
        validate = last or self.done % self.settings["validate_every"] == 0
        names = ("wasserstein", "penalty", "generator")
        row = {"epoch": float(self.done)} | {name: mean.get(name, np.nan) for name in names}
        row["distance"] = self.validate() if validate else np.nan
        self.curves.append(row)
        shown = [f"{n} {v:.4g}" for n, v in row.items() if n != "epoch" and np.isfinite(v)]
        best = f" (best {self.best_distance:.4g})" if self.best else ""
        say(
            "train",
            f"wgan_gp: epoch {self.done}/{self.settings['epochs']}: {', '.join(shown)}{best}",
        )
        write_checkpoint(self.task.checkpoint, self)

    def validate(self) -> float:
        """The distance of the averaged generator on validation; the best weights are kept."""
        rng = torch.Generator().manual_seed(key(self.task.seed, "validate"))
        count = len(self.asked)
        noise = torch.randn(count, self.generator.noise, generator=rng).to(self.device)
        each = self.masks[torch.arange(count, device=self.device) % len(self.masks)]
        with torch.no_grad():
            image = self.averaged(self.asked, noise, each.transpose(0, 1))
        distance = self.distance(image.cpu().numpy())
        if distance < self.best_distance:
            self.best_distance = distance
            state = self.averaged.state_dict()
            self.best = {name: value.detach().cpu().clone() for name, value in state.items()}
        return distance


def fit(task: Task) -> tuple[WganGp, list[dict[str, float]]]:
    """Train, or go on training, and return the generator of the best epoch with its masks."""
    torch.set_num_threads(task.threads)
    torch.set_flush_denormal(True)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings = task.settings
    rng = torch.Generator().manual_seed(key(task.seed, "masks"))
    sizes = settings["depth"], settings["width"], settings["dropout"]
    masks = draw_masks(task.masks, *sizes, rng)
    module = WganModule(task, masks)
    read_checkpoint(task.checkpoint, module)
    if module.done < settings["epochs"]:
        # Lightning's advice on loggers and loading workers does not apply to data in memory.
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = pl.Trainer(
                accelerator="auto",
                devices=1,
                max_epochs=settings["epochs"] - module.done,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(module)
    generator = build_generator(task.origin, settings)
    generator.load_state_dict(module.best)
    return WganGp(task.origin, settings, generator, masks.numpy()), module.curves
