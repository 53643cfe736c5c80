"""The training of wgan_gp: two critics, one of the whole response, one of its summaries."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sosie.detectors import find
from sosie.distances import wasserstein
from sosie.progress import say, warn
from sosie.streams import key
from sosie.surrogates.adversarial import Adversarial
from sosie.surrogates.network import Masked, fold, to_response
from sosie.surrogates.wgan_gp import CELLS, WganGp
from sosie.surrogates.wgan_networks import Critic, Generator, gradient_penalty, view
from sosie.surrogates.wgan_summaries import (
    regression,
    sum_and_centre,
    summaries,
    summary_count,
)

if TYPE_CHECKING:
    from sosie.train import Task

Array = np.ndarray[Any, Any]
FAR = 10.0  # the distance of an observable that a generated sample does not have
ROUNDS = 4  # of the fit of the offsets
DAMPING = 0.5  # share of a step that is taken
FITTED = 20_000_000  # cells of all events of a round
RIDGE = 100.0  # events that speak against each piece of the range of a feature


class Distance:
    """Mean over observables of W1 between a sample and its twins, in standard deviations.

    Minor observables are left out.
    """

    def __init__(self, task: Task, pattern: Array | None) -> None:
        self.detector, self.origin = find(task.origin.detector), task.origin
        self.conditions = task.validation.conditions.astype(np.float64)
        self.weight, self.pattern = task.validation.weight, pattern
        self.reference = self.detector.observe(task.validation.response, self.conditions)

    def __call__(self, image: Array) -> float:
        """The distance of scaled responses (N, *shape) drawn for the validation conditions."""
        response = to_response(self.origin, image, self.pattern)
        response[response < self.origin.threshold] = 0
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


class WganModule(Adversarial):
    """The critics see the scaled response and its standardised summaries."""

    surrogate = WganGp
    losses: tuple[str, ...] = ("wasserstein", "penalty", "generator")
    generator: Generator
    critic: nn.ModuleList

    def prepare(self, response: Tensor, image: Tensor) -> None:
        self.generator.standard.fit(self.features, summaries(response))
        self.generator.encoding.fit(self.features)
        self.register_buffer("real", self._view(image, self.features), persistent=False)
        width, of_features = self.settings["critic_width"], self.features.shape[1]
        # The second sees the summaries alone, so that they do not drown among the cells, and a third
        # one the observables that matter, where there are some.
        self.summaries = summary_count(self.generator.shape)
        self.cells = math.prod(self.generator.shape)
        self.more = self.prioritise(self.features, self.real[:, : self.cells])
        seen = self.real.shape[1], self.summaries, self.more
        self.critic = nn.ModuleList([Critic(count, of_features, width) for count in seen if count])
        self.distance = Distance(self.task, self.asked_pattern)

    def _view(self, image: Tensor, features: Tensor) -> Tensor:
        return view(image, features, self.generator, self.settings["summaries"])

    def _seen(self, shown: Tensor, rows: Tensor) -> list[Tensor]:
        """What each critic sees of what ``view`` shows; the summaries come last in it."""
        seen = [shown, shown[:, -self.summaries :]]
        return [*seen, self.prioritised(shown[:, : self.cells], rows)] if self.more else seen

    def generate(self, rows: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        features = self.features[rows]
        noise = self.draw_noise(len(features), rng)
        return self._view(self.generator(features, noise, mask), features)

    def critic_loss(
        self, rows: Tensor, shown: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        features, weight, fake = self.features[rows], self.weight[rows], shown.detach()
        mixing = torch.rand(len(rows), 1, generator=rng).to(self.device)
        distance = penalty = torch.zeros((), device=self.device)
        with torch.no_grad():
            seen = self._seen(self.real[rows], rows), self._seen(fake, rows)
        for critic, true, false in zip(self.critic, *seen, strict=True):
            scores = critic(torch.cat([true, false]), features.repeat(2, 1)).chunk(2)
            distance = distance + (weight * scores[0]).mean() - (weight * scores[1]).mean()
            penalty = penalty + gradient_penalty(critic, true, false, features, mixing)
        loss = self.settings["penalty"] * penalty - distance
        real = self.real[rows, : self.cells]
        loss = loss + self.regression(real, fake[:, : self.cells], rows)
        return loss, {"wasserstein": distance, "penalty": penalty}

    def generator_loss(self, rows: Tensor, shown: Tensor, rng: torch.Generator) -> Tensor:
        features, weight = self.features[rows], self.weight[rows]
        seen = zip(self.critic, self._seen(shown, rows), strict=True)
        loss: Tensor = -sum((weight * critic(x, features)).mean() for critic, x in seen)
        return loss

    @torch.no_grad()
    def offsets(self, generator: Masked) -> Tensor | None:
        """Offsets (K, terms, 1 + axes) that put sum and centre of each mask where they are in training.

        Least squares of the differences of twins in damped steps: what an offset moves may move by
        up to three times as much.
        """
        assert isinstance(generator, Generator)
        step = math.ceil(self.real.shape[0] * math.prod(generator.shape) / FITTED)
        features, weight = (x.cpu()[::step] for x in (self.features, self.weight))
        basis = generator.basis(features).double()
        ridge = torch.full_like(basis[0], RIDGE)
        ridge[: len(generator.standard.mean)] = 0
        solver = regression(basis, weight.double(), ridge)
        if solver is None:
            warn("train", "the weights leave the mean of the sum undefined; members keep theirs")
            return None
        wanted = sum_and_centre(torch.from_numpy(self.task.train.response[::step]))
        found = torch.zeros(len(self.masks), *generator.offset.shape)
        for member, mask in enumerate(self.masks.cpu()):
            say("train", f"{self.kind}: sum and centre of mask {member + 1}/{len(self.masks)}")
            for round_ in range(ROUNDS):
                rng = torch.Generator().manual_seed(key(self.task.seed, "offset", member, round_))
                drawn = self._sum_and_centre(fold(generator, mask, found[member]), features, rng)
                found[member] += DAMPING * (solver @ (wanted - drawn).double()).float()
        return found

    def _sum_and_centre(
        self, generator: Generator, features: Tensor, rng: torch.Generator
    ) -> Tensor:
        """Logarithm of the sum, and centre, of an event drawn for each of the features (N, F)."""
        drawn = []
        for block in features.split(max(1, CELLS // math.prod(generator.shape))):
            noise = torch.randn(len(block), generator.noise, generator=rng)
            response = generator.image.decode(generator(block, noise))
            response[response < self.task.origin.threshold] = 0
            drawn.append(sum_and_centre(response))
        return torch.cat(drawn)

    def distance_of(self, draw: Callable[[], Tensor]) -> float:
        return self.distance(draw().cpu().numpy())
