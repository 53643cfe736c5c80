"""The training of wgan_gp in Lightning: stateless draws, checkpoints at the ends of epochs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from sosie.arrays import read_arrays, write_arrays
from sosie.detectors import find
from sosie.distances import wasserstein
from sosie.errors import IntermediateError
from sosie.progress import say
from sosie.streams import key, stream
from sosie.surrogates.wgan_gp import WganGp
from sosie.surrogates.wgan_networks import Critic, Generator, draw_masks, gradient_penalty

if TYPE_CHECKING:
    from sosie.train import Task

Array = np.ndarray[Any, Any]
BETAS = (0.0, 0.9)


class Distance:
    """Mean over observables of W1 between a sample and its twins, in standard deviations."""

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
        found = self.detector.observe(
            np.where(response < self.threshold, 0, response), self.conditions
        )
        each = []
        for name, values in self.reference.items():
            sigma = float(np.nanstd(values))
            if sigma > 0:
                each.append(wasserstein(values, found[name], self.weight, self.weight) / sigma)
        each = [value if np.isfinite(value) else 10.0 for value in each]
        return float(np.mean(each))


class WganModule(pl.LightningModule):
    """One critic step a batch, a generator step every n_critic batches."""

    def __init__(self, task: Task, masks: Tensor) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.task, self.settings = task, task.settings
        origin = task.origin
        transform = origin.transform
        torch.manual_seed(key(task.seed, "weights"))
        self.generator = Generator.build(origin, self.settings)
        self.critic = Critic.build(origin, self.settings)
        decay = self.settings["averaging"]
        self.averaged = AveragedModel(self.generator, multi_avg_fn=get_ema_multi_avg_fn(decay))
        detector = find(origin.detector)

        def features(conditions: Array) -> Tensor:
            scaled = transform.features(detector.features(conditions.astype(np.float64)))
            return torch.from_numpy(scaled.astype(np.float32))

        image = transform.response.forward(task.train.response).astype(np.float32)
        self.register_buffer("masks", masks, persistent=False)
        self.register_buffer("image", torch.from_numpy(image), persistent=False)
        self.register_buffer("features", features(task.train.conditions), persistent=False)
        self.register_buffer("asked", features(task.validation.conditions), persistent=False)
        self.distance = Distance(task)
        self.done = 0
        self.best: dict[str, Tensor] = {}
        self.best_distance = float("inf")
        self.curves: list[dict[str, float]] = []
        self._losses: dict[str, list[float]] = {}

    @property
    def batches(self) -> int:
        """Batches of one epoch."""
        return max(1, len(self.image) // self.settings["batch"])

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        rate = self.settings["rate"]
        return [
            torch.optim.Adam(self.generator.parameters(), rate, BETAS),
            torch.optim.Adam(self.critic.parameters(), rate, BETAS),
        ]

    def train_dataloader(self) -> DataLoader[int]:
        return DataLoader(range(self.batches), batch_size=None)  # type: ignore[arg-type]

    def _rows(self, epoch: int, batch: int) -> Tensor:
        order = stream(self.task.seed, "order", epoch).permutation(len(self.image))
        size = self.settings["batch"]
        return torch.from_numpy(order[batch * size : (batch + 1) * size])

    def _draw(self, epoch: int, batch: int) -> tuple[torch.Generator, Tensor]:
        """The generator of random numbers of a batch, and its mask (layers, width)."""
        rng = torch.Generator().manual_seed(key(self.task.seed, "batch", epoch, batch))
        return rng, self.masks[int(torch.randint(len(self.masks), (), generator=rng))]

    def _noise(self, count: int, rng: torch.Generator) -> Tensor:
        return torch.randn(count, self.generator.noise, generator=rng).to(self.device)

    def training_step(self, _: int, batch: int) -> None:
        epoch = self.done
        rows = self._rows(epoch, batch).to(self.device)
        rng, mask = self._draw(epoch, batch)
        real, features = self.image[rows], self.features[rows]
        of_generator, of_critic = self.optimizers()  # type: ignore[attr-defined]
        with torch.no_grad():
            fake = self.generator(features, self._noise(len(rows), rng), mask)
        mixing = torch.rand(len(rows), generator=rng).to(self.device)
        distance = self.critic(real, features).mean() - self.critic(fake, features).mean()
        penalty = gradient_penalty(self.critic, real, fake, features, mixing)
        of_critic.zero_grad()
        self.manual_backward(self.settings["penalty"] * penalty - distance)
        of_critic.step()
        self._note("wasserstein", distance)
        self._note("penalty", penalty)
        if (epoch * self.batches + batch + 1) % self.settings["n_critic"] == 0:
            fake = self.generator(features, self._noise(len(rows), rng), mask)
            loss = -self.critic(fake, features).mean()
            of_generator.zero_grad()
            self.manual_backward(loss)
            of_generator.step()
            self.averaged.update_parameters(self.generator)
            self._note("generator", loss)

    def _note(self, name: str, value: Tensor) -> None:
        self._losses.setdefault(name, []).append(float(value.detach()))

    def on_train_epoch_end(self) -> None:
        row = {"epoch": float(self.done + 1)}
        row |= {name: float(np.mean(values)) for name, values in self._losses.items()}
        row.setdefault("generator", float("nan"))
        self._losses = {}
        self.done += 1
        validate = (
            self.done % self.settings["validate_every"] == 0 or self.done == self.settings["epochs"]
        )
        row["distance"] = self.validate() if validate else float("nan")
        self.curves.append({name: row[name] for name in sorted(row, key=list(row).index)})
        text = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        say("train", f"wgan_gp: epoch {self.done}/{self.settings['epochs']}: {text}")
        self.save()

    def validate(self) -> float:
        """The distance of the averaged generator on validation; the best weights are kept."""
        rng = torch.Generator().manual_seed(key(self.task.seed, "validate"))
        count = len(self.asked)
        which = torch.arange(count, device=self.device) % len(self.masks)
        mask = self.masks[which].transpose(0, 1)
        with torch.no_grad():
            image = self.averaged.module(self.asked, self._noise(count, rng), mask)
        distance = self.distance(image.cpu().numpy())
        if distance < self.best_distance:
            self.best_distance = distance
            state = self.averaged.module.state_dict()
            self.best = {name: value.detach().cpu().clone() for name, value in state.items()}
        return distance

    def save(self) -> None:
        """Write the checkpoint: all networks, averaged and best weights, both optimisers, curves."""
        arrays: dict[str, Array] = {}
        for name, state in self._states().items():
            arrays |= {
                f"{name}/{key}": value.detach().cpu().numpy() for key, value in state.items()
            }
        for index, optimiser in enumerate(self.trainer.optimizers):
            for parameter, state in optimiser.state_dict()["state"].items():
                arrays |= {
                    f"optimiser/{index}/{parameter}/{k}": v.cpu().numpy() for k, v in state.items()
                }
        about = {"done": self.done, "best_distance": self.best_distance, "curves": self.curves}
        write_arrays(self.task.checkpoint, "checkpoint", arrays, about)

    def _states(self) -> dict[str, Mapping[str, Tensor]]:
        return {
            "generator": self.generator.state_dict(),
            "critic": self.critic.state_dict(),
            "averaged": self.averaged.state_dict(),
            "best": self.best,
        }

    def resume(self) -> None:
        """Take up networks and curves from the checkpoint, if there is one."""
        if not self.task.checkpoint.exists():
            return
        try:
            arrays, about = read_arrays(self.task.checkpoint, "checkpoint", "train")
        except IntermediateError as error:
            say("train", f"warning: {error}; training starts anew")
            return
        states: dict[str, dict[str, Tensor]] = {"optimiser": {}}
        for name, array in arrays.items():
            network, _, rest = name.partition("/")
            states.setdefault(network, {})[rest] = torch.from_numpy(array)
        self.generator.load_state_dict(states["generator"])
        self.critic.load_state_dict(states["critic"])
        self.averaged.load_state_dict(states["averaged"])
        self.best = states.get("best", {})
        self.done = about["done"]
        self.best_distance = (
            float("inf") if about["best_distance"] is None else about["best_distance"]
        )
        self.curves = [
            {name: float("nan") if value is None else value for name, value in row.items()}
            for row in about["curves"]
        ]
        self._optimiser_state = states["optimiser"]
        say("train", f"wgan_gp: goes on after epoch {self.done}")

    def on_fit_start(self) -> None:
        for index, optimiser in enumerate(self.trainer.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in getattr(self, "_optimiser_state", {}).items():
                number, parameter, entry = name.split("/")
                if int(number) == index:
                    state.setdefault(int(parameter), {})[entry] = value
            if state:
                optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def fit(task: Task) -> tuple[WganGp, list[dict[str, float]]]:
    """Train, or go on training, and return the generator of the best epoch with its masks."""
    torch.set_num_threads(task.threads)
    torch.use_deterministic_algorithms(True)
    settings = task.settings
    rng = torch.Generator().manual_seed(key(task.seed, "masks"))
    masks = draw_masks(task.masks, settings["depth"], settings["width"], settings["dropout"], rng)
    module = WganModule(task, masks)
    module.resume()
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
    generator = Generator.build(task.origin, settings)
    generator.load_state_dict(module.best)
    return WganGp(task.origin, settings, generator, masks.numpy()), module.curves
