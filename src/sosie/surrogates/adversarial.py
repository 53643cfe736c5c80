"""The training of a generator against critics: a step of the critics a batch, of the generator at times."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sosie.detectors import find
from sosie.streams import key
from sosie.surrogates.priorities import Priorities
from sosie.surrogates.training import Training

BETAS = (0.0, 0.9)


class Adversarial(Training):
    """One step of the critics a batch, one generator step every n_critic batches.

    Beside what a training gives, a kind of surrogate gives ``generate``, ``critic_loss``,
    ``generator_loss`` and ``distance_of``; its ``prepare`` sets ``critic`` too, and ``real`` is what critics see.
    It calls ``prioritise`` there, has its critics see what ``prioritised`` gives, and adds ``regression`` to
    their loss.
    """

    networks: tuple[str, ...] = ("generator", "critic", "averaged")
    critic: nn.Module
    priorities: Priorities | None

    def prioritise(self, inputs: Tensor, seen: Tensor) -> int:
        """Have critics see the observables that matter; how many there are.

        inputs (N, I), seen (N, S): what a critic is given of the conditions, and sees of full simulation.
        """
        names = self.settings.get("prioritise")
        self.priorities = None
        if names:
            chosen = Priorities(self.task, self.features, inputs, self.pattern, seen)
            self.priorities = chosen
            self.networks = (*self.networks, "priorities")
            if chosen.learns:
                self.losses = (*self.losses, "regression")
        return len(names or [])

    def image_of(self, seen: Tensor, rows: Tensor) -> Tensor:
        """Scaled responses (n, *shape) of what critics see of them (n, seen)."""
        return seen.view(len(seen), *find(self.task.origin.detector).shape)

    def prioritised(self, seen: Tensor, rows: Tensor) -> Tensor:
        """The observables that matter (n, P), of what critics see (n, seen); none of them where none do."""
        if self.priorities is None:
            return seen[:, :0]
        values: Tensor = self.priorities(seen, self.image_of(seen, rows), rows)
        return values

    def regression(self, real: Tensor, fake: Tensor, rows: Tensor) -> Tensor:
        """The loss of the regressor on full simulation and on drawn responses (n, seen), if there is one."""
        chosen = self.priorities
        if chosen is None or not chosen.learns:
            return torch.zeros((), device=self.device)
        drawn = chosen.found(self.image_of(fake, rows), rows)
        both = torch.cat([real, fake]), torch.cat([chosen.wanted[rows], drawn])
        loss = chosen.loss(*both, rows.repeat(2))
        self.note("regression", loss)
        return loss

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
        judges = nn.ModuleList([self.critic, *([self.priorities] if self.priorities else [])])
        return [
            torch.optim.Adam(network.parameters(), rate, BETAS, fused=True)
            for network, rate in zip((self.generator, judges), rates, strict=True)
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
