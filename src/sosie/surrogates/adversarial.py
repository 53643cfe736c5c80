"""The training of a generator against critics: a step of the critics a batch, of the generator at times."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sosie.streams import key
from sosie.surrogates.training import Training

BETAS = (0.0, 0.9)


class Adversarial(Training):
    """One step of the critics a batch, one generator step every n_critic batches.

    Beside what a training gives, a kind of surrogate gives ``generate``, ``critic_loss``,
    ``generator_loss`` and ``distance_of``; its ``prepare`` sets ``critic`` too, and ``real`` is what critics see.
    """

    networks = ("generator", "critic", "averaged")
    critic: nn.Module

    @abstractmethod
    def generate(self, rows: Tensor, mask: Tensor, rng: torch.Generator) -> Any:
        """What critics see of responses drawn for the conditions of these rows (n,) of the sample."""

    @abstractmethod
    def critic_loss(
        self, rows: Tensor, shown: Any, rng: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the critics, and its parts by name, of which ``shown`` gets no gradient."""

    @abstractmethod
    def generator_loss(self, rows: Tensor, shown: Any, rng: torch.Generator) -> Tensor:
        """The loss of the generator; what it draws comes last in the batch."""

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        rates = self.settings["rate"], self.settings["critic_rate"]
        return [
            torch.optim.Adam(network.parameters(), rate, BETAS, fused=True)
            for network, rate in zip((self.generator, self.critic), rates, strict=True)
        ]

    def training_step(self, _: int, batch: int) -> None:
        rows, mask, rng = self.draws(batch)
        of_generator, of_critic = self.optimizers()  # type: ignore[attr-defined]
        moves = (self.done * self.batches + batch + 1) % self.settings["n_critic"] == 0
        with torch.set_grad_enabled(moves):
            shown = self.generate(rows, mask, rng)
        loss, parts = self.critic_loss(rows, shown, rng)
        self.step(of_critic, loss, batch)
        for name, value in parts.items():
            self.note(name, value)
        if moves:
            loss = self.generator_loss(rows, shown, rng)
            self.step(of_generator, loss, batch)
            self.follow()
            self.note("generator", loss)

    @abstractmethod
    def distance_of(self, draw: Callable[[], Tensor]) -> float:
        """Distance to the reference of scaled responses (N, *shape) for the validation conditions,

        of which ``draw`` gives others each time, the same ones in every epoch.
        """

    def draw_noise(self, count: int, rng: torch.Generator) -> Tensor:
        """Noise (count, noise) of the generator."""
        return torch.randn(count, self.generator.noise, generator=rng).to(self.device)

    @torch.no_grad()
    def validation_distance(self) -> float:
        """The distance of the averaged generator on validation."""
        rng = torch.Generator().manual_seed(key(self.task.seed, "validate"))
        count = len(self.asked)
        each = self.masks[torch.arange(count, device=self.device) % len(self.masks)]

        def draw() -> Tensor:
            noise = self.draw_noise(count, rng)
            image: Tensor = self.averaged(self.asked, noise, each.transpose(0, 1))
            return image

        return self.distance_of(draw)
