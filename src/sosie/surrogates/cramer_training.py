"""The training of cramer_gan: two independent responses for each event of the batch; repulsion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sosie.detectors import find
from sosie.errors import InputError
from sosie.streams import key
from sosie.surrogates.adversarial import Adversarial
from sosie.surrogates.cramer_gan import CramerGan
from sosie.surrogates.cramer_networks import Critic, Generator, gradient_penalty, length
from sosie.ties import free

Array = np.ndarray[Any, Any]
DRAWS = 4  # responses for each event of the validation sample
STEPS = 1500  # of the fit of mean and width, at most
LEAST = 30  # events of a bin


def energy_score(real: Tensor, drawn: Sequence[Tensor], weight: Tensor) -> float:
    """Mean of |y - x| - |x - x'| / 2 for references y (N, n) and independent x, x' at their conditions.

    Up to what no surrogate can change, half the energy distance at given conditions: least for the
    true law. weight (N,), also negative. Gneiting and Raftery, JASA 102 (2007) 359, equation 21.
    """
    near = sum(length(real - x) for x in drawn) / len(drawn)
    pairs = [length(x - other) for x, other in combinations(drawn, 2)]
    each = near - sum(pairs) / (2 * len(pairs))
    return float((weight * each).sum() / weight.sum())


class CramerModule(Adversarial):
    """The critic sees the residuals of the scaled response, 0 for what follows from the ties.

    A repulsive member is pushed away from the members before it, which stay as they are: Kazeev et
    al., arXiv:2210.09767.
    """

    surrogate = CramerGan
    losses: tuple[str, ...] = ("cramer", "penalty", "generator")
    generator: Generator
    critic: Critic
    before: nn.ModuleList
    encoded: Tensor
    free: Tensor

    def prepare(self, response: Tensor, image: Tensor) -> None:
        detector = find(self.task.origin.detector)
        earlier = [member.generator for member in self.task.before if isinstance(member, CramerGan)]
        self.before = nn.ModuleList(earlier).requires_grad_(False)
        if earlier:
            self.losses = (*self.losses, "repulsion")
        generator, flat = self.generator, image.flatten(1)
        generator.encoding.fit(self.features)
        encoded = generator.encoding(self.features)
        free_ = torch.ones_like(flat)
        if self.pattern is not None and detector.ties:
            free_ = self._free_under(self.pattern)
        steps = min(STEPS, self.settings["epochs"] * max(1, len(flat) // self.settings["batch"]))
        rng = torch.Generator().manual_seed(key(self.task.seed, "location"))
        generator.location.fit(encoded, flat, self.weight[:, None] * free_, steps, rng)
        with torch.no_grad():
            mean, width = generator.location(encoded)
        self.register_buffer("encoded", encoded, persistent=False)
        self.register_buffer("free", free_, persistent=False)
        self.register_buffer("real", (flat - mean) / width * free_, persistent=False)
        more = self.prioritise(encoded, self.real)
        # The observables that matter count as much as all numbers of the response together.
        self.weight_of_more = (flat.shape[1] / max(more, 1)) ** 0.5
        sizes = flat.shape[1] + more, encoded.shape[1]
        self.critic = Critic(*sizes, self.settings["critic_width"], self.settings["vector"])
        asked, task = generator.encoding(self.asked), self.task
        self.unit = generator.location(asked)[1].detach()
        held = task.origin.transform.response.forward(task.validation.response)
        self.held = torch.from_numpy(held.astype(np.float32)).flatten(1)
        weight = task.validation.weight
        if not weight.sum() > 0:
            raise InputError(
                f"train: the weights of the validation sample sum to {weight.sum():g}; give more to "
                "ingest, or look at ingest.weight"
            )
        self.held_weight = torch.from_numpy(weight.astype(np.float32))
        self.held_free = torch.ones_like(self.held)
        if detector.ties and self.asked_pattern is not None:
            pattern = detector.ties.find(task.validation.response)
            self.held_free = self._free_under(pattern)

    def _free_under(self, pattern: Array) -> Tensor:
        detector = find(self.task.origin.detector)
        assert detector.ties
        return torch.from_numpy(free(detector.ties, detector.shape)[pattern]).float()

    def generate(self, rows: Tensor, mask: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        noise = self.draw_noise(2 * len(rows), rng)
        drawn = self.generator.residual(self.encoded[rows].repeat(2, 1), noise, mask)
        one, other = (drawn * self.free[rows].repeat(2, 1)).chunk(2)
        return one, other

    def image_of(self, seen: Tensor, rows: Tensor) -> Tensor:
        mean, width = self.generator.location(self.encoded[rows])
        return super().image_of(mean + width * seen, rows)

    def _seen(self, residual: Tensor, rows: Tensor) -> Tensor:
        """What the critic sees of residuals (n, cells): these, and the observables that matter."""
        if self.priorities is None:
            return residual
        chosen = self.weight_of_more * self.prioritised(residual, rows)
        return torch.cat([residual, chosen], dim=1)

    def critic_loss(
        self, rows: Tensor, shown: tuple[Tensor, Tensor], rng: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        features, weight = self.encoded[rows], self.weight[rows]
        drawn = [self.real[rows], *(one.detach() for one in shown)]
        with torch.no_grad():
            real, fake, other = (self._seen(one, rows) for one in drawn)
        mixing = torch.rand(len(rows), 1, generator=rng).to(self.device)
        vectors = self.critic(torch.cat([real, fake, other]), features.repeat(3, 1)).chunk(3)
        of_real, of_fake = (length(v - vectors[2]) - length(v) for v in vectors[:2])
        distance = (weight * (of_real - of_fake)).mean()
        penalty = gradient_penalty(self.critic, real, fake, other, features, mixing)
        loss = self.settings["penalty"] * penalty - distance
        loss = loss + self.regression(drawn[0], drawn[1], rows)
        return loss, {"cramer": distance, "penalty": penalty}

    def generator_loss(
        self, rows: Tensor, shown: tuple[Tensor, Tensor], rng: torch.Generator
    ) -> Tensor:
        """Energy distance of the vectors, up to what the generator cannot change, less repulsion."""
        features, weight = self.encoded[rows], self.weight[rows]
        responses = torch.cat([self._seen(one, rows) for one in (self.real[rows], *shown)])
        real, fake, other = self.critic(responses, features.repeat(3, 1)).chunk(3)
        each = length(real - fake) + length(real - other) - length(fake - other)
        loss: Tensor = (weight * each).mean()
        if len(self.before):
            apart = length(fake - self.critic(self._seen(self.earlier(rows, rng), rows), features))
            distance = (weight * apart).mean()
            self.note("repulsion", distance)
            loss = loss - self.repulsion * distance
        return loss

    @property
    def repulsion(self) -> float:
        """Its weight in the loss, on a straight line from the start of the training to its end."""
        start, end = self.settings["repulsion"], self.settings["repulsion_end"]
        return float(start + (end - start) * min(1.0, self.progress))

    @torch.no_grad()
    def earlier(self, rows: Tensor, rng: torch.Generator) -> Tensor:
        """Responses (n, cells) of one of the members before, as residuals of this member's own mean."""
        member = self.before[int(torch.randint(len(self.before), (), generator=rng))]
        noise = self.draw_noise(len(rows), rng)
        mean, width = self.generator.location(self.encoded[rows])
        drawn: Tensor = member(self.features[rows], noise).flatten(1)
        return (drawn - mean) / width * self.free[rows]

    def distance_of(self, draw: Callable[[], Tensor]) -> float:
        """The energy score, in units of the width at the conditions of each event."""
        unit = self.held_free / self.unit.cpu()
        drawn = [draw().flatten(1).cpu() * unit for _ in range(DRAWS)]
        return energy_score(self.held * unit, drawn, self.held_weight)
