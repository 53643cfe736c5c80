"""The training of cramer_gan: two independent responses for each event of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sosie.detectors import find
from sosie.distances import wasserstein
from sosie.streams import key
from sosie.surrogates.adversarial import Adversarial
from sosie.surrogates.cramer_gan import CramerGan
from sosie.surrogates.cramer_networks import Critic, Generator, gradient_penalty, length
from sosie.surrogates.network import to_response
from sosie.ties import free

if TYPE_CHECKING:
    from sosie.train import Task

Array = np.ndarray[Any, Any]
CLASSES = 8  # a variable of at most so many values has a bin for each
BINS = 5
STEPS = 1500  # of the fit of mean and width, at most
LEAST = 30  # events of a bin


def classes(values: Array) -> list[Array]:
    """The events (N,) of each value of a variable, or of all where there are more than CLASSES."""
    found = np.unique(values[np.isfinite(values)])
    if len(found) > CLASSES:
        return [np.ones(len(values), bool)]
    return [values == value for value in found]


def cells(variables: dict[str, Array]) -> list[Array]:
    """Bins of the conditions as masks (N,): each variable in BINS of equal filling, class by class.

    The classes are the values of those variables that have few of them.
    """
    split = [classes(values) for values in variables.values()]
    few = next((masks for masks in split if len(masks) > 1), [np.ones(0, bool)])
    continuous = [v for v, masks in zip(variables.values(), split, strict=True) if len(masks) == 1]
    found = []
    for values in continuous:
        inner = np.nanquantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
        place = np.searchsorted(inner, values, side="right")
        here = few if len(few[0]) else [np.ones(len(values), bool)]
        found += [mask & (place == number) for mask in here for number in range(BINS)]
    return found or few


class Distance:
    """Mean over observables and bins of the conditions of W1, in standard deviations.

    A sum over all conditions would not see that a surrogate takes them for one another.
    Minor observables, and bins of fewer than LEAST events, are left out.
    """

    def __init__(self, task: Task, pattern: Array | None) -> None:
        self.detector, self.origin, self.pattern = find(task.origin.detector), task.origin, pattern
        self.conditions = task.validation.conditions.astype(np.float64)
        self.weight = task.validation.weight
        self.reference = self.detector.observe(task.validation.response, self.conditions)
        everywhere = np.ones(len(self.weight), bool)
        seen = cells(self.detector.variable(self.conditions))
        self.cells = [c for c in seen if c.sum() >= LEAST and self.weight[c].sum() > 0]
        self.cells = self.cells or [everywhere]

    def __call__(self, image: Array) -> float:
        """The distance of scaled responses (N, *shape) drawn for the validation conditions."""
        response = to_response(self.origin, image, self.pattern)
        if not self.detector.signed:
            response[response < self.origin.threshold] = 0
        found = self.detector.observe(response, self.conditions)
        each = []
        for name, values in self.reference.items():
            if name in self.detector.minor:
                continue
            sigma = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
            if sigma > 0:
                each += [
                    wasserstein(values[c], found[name][c], self.weight[c], self.weight[c]) / sigma
                    for c in self.cells
                ]
        finite = [value for value in each if np.isfinite(value)]
        return float(np.mean(finite)) if finite else float("inf")


class CramerModule(Adversarial):
    """The critic sees the residuals of the scaled response, 0 for what follows from the ties."""

    surrogate = CramerGan
    losses = ("cramer", "penalty", "generator")
    generator: Generator
    critic: Critic
    encoded: Tensor
    free: Tensor

    def prepare(self, response: Tensor, image: Tensor) -> None:
        detector = find(self.task.origin.detector)
        generator, flat = self.generator, image.flatten(1)
        generator.encoding.fit(self.features)
        encoded = generator.encoding(self.features)
        free_ = torch.ones_like(flat)
        if self.pattern is not None and detector.ties:
            free_ = torch.from_numpy(free(detector.ties, detector.shape)[self.pattern]).float()
        steps = min(STEPS, self.settings["epochs"] * max(1, len(flat) // self.settings["batch"]))
        rng = torch.Generator().manual_seed(key(self.task.seed, "location"))
        generator.location.fit(encoded, flat, self.weight[:, None] * free_, steps, rng)
        with torch.no_grad():
            mean, width = generator.location(encoded)
        self.register_buffer("encoded", encoded, persistent=False)
        self.register_buffer("free", free_, persistent=False)
        self.register_buffer("real", (flat - mean) / width * free_, persistent=False)
        sizes = flat.shape[1], encoded.shape[1]
        self.critic = Critic(*sizes, self.settings["critic_width"], self.settings["vector"])
        self.distance = Distance(self.task, self.asked_pattern)

    def generate(self, rows: Tensor, mask: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        noise = self.draw_noise(2 * len(rows), rng)
        drawn = self.generator.residual(self.encoded[rows].repeat(2, 1), noise, mask)
        one, other = (drawn * self.free[rows].repeat(2, 1)).chunk(2)
        return one, other

    def critic_loss(
        self, rows: Tensor, shown: tuple[Tensor, Tensor], rng: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        features, weight, real = self.encoded[rows], self.weight[rows], self.real[rows]
        fake, other = (drawn.detach() for drawn in shown)
        mixing = torch.rand(len(rows), 1, generator=rng).to(self.device)
        vectors = self.critic(torch.cat([real, fake, other]), features.repeat(3, 1)).chunk(3)
        of_real, of_fake = (length(v - vectors[2]) - length(v) for v in vectors[:2])
        distance = (weight * (of_real - of_fake)).mean()
        penalty = gradient_penalty(self.critic, real, fake, other, features, mixing)
        loss = self.settings["penalty"] * penalty - distance
        return loss, {"cramer": distance, "penalty": penalty}

    def generator_loss(self, rows: Tensor, shown: tuple[Tensor, Tensor]) -> Tensor:
        """Energy distance of the vectors, up to what the generator cannot change."""
        features, weight = self.encoded[rows], self.weight[rows]
        responses = torch.cat([self.real[rows], *shown])
        real, fake, other = self.critic(responses, features.repeat(3, 1)).chunk(3)
        each = length(real - fake) + length(real - other) - length(fake - other)
        loss: Tensor = (weight * each).mean()
        return loss

    def distance_of(self, image: Array) -> float:
        return self.distance(image)
