"""The training of vae: law of the sum first, then encoder, decoder and the form of the sum."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sosie.detectors import find
from sosie.progress import say
from sosie.streams import key
from sosie.surrogates.descent import Known
from sosie.surrogates.gaussians import kl, log_likelihood
from sosie.surrogates.total_law import RESIDUAL, log_sum, unit
from sosie.surrogates.training import Training, average
from sosie.surrogates.vae import Vae
from sosie.surrogates.vae_networks import WIDTHS, Encoder, Generator
from sosie.transforms import ResponseTransform

if TYPE_CHECKING:
    from sosie.train import Sample

BLOCK = 1024
REPEATS = 4  # of the validation sample, each with other codes
WARM = 0.3  # share of the training in which the weight of the divergence rises to one
HARDLY = 1e-6  # spread of a feature that does not vary


@dataclass(frozen=True)
class Events:
    """A sample as the encoder sees it: standardised features (N, F), residual of the sum (N, 1), None
    where there is none, inputs (N, C), scaled values (N, cells), which of these are filled and which
    are there at all, weight (N,)."""

    standard: Tensor
    residual: Tensor | None
    inputs: Tensor
    values: Tensor
    filled: Tensor
    there: Tensor
    weight: Tensor

    def to(self, device: torch.device) -> Events:
        """The same, on a device."""
        there = {name: value.to(device) for name, value in vars(self).items() if value is not None}
        return replace(self, **there)


class VaeModule(Training):
    """The loss is the bound on the likelihood of sum and cells; its parts are the learning curves."""

    surrogate = Vae
    losses = ("cells", "kl", "total")
    networks = ("generator", "encoder", "averaged", "averaged_encoder")
    generator: Generator
    averaged: Generator

    def prepare(self, response: Tensor, image: Tensor) -> None:
        generator, task = self.generator, self.task
        spread, mean = torch.std_mean(self.features, dim=0)
        generator.mean.copy_(mean)
        generator.scale.copy_(torch.where(spread > HARDLY, spread, 1.0))
        standards = [generator.standardise(features) for features in (self.features, self.asked)]
        samples = task.train, task.validation
        if generator.total:
            say("train", f"{self.kind}: law of the sum")
            rng = torch.Generator().manual_seed(key(task.seed, "laws"))
            known, held = (
                Known(standard, log_sum(sample.response), unit(sample.weight))
                for sample, standard in zip(samples, standards, strict=True)
            )
            generator.total.fit(known, held, rng)
            generator.total.requires_grad_(False)
        self.known, self.held = (
            self._events(sample, standard)
            for sample, standard in zip(samples, standards, strict=True)
        )
        self.real = self.known.values
        self._begin(self.known)
        self.encoder = Encoder(
            self.real.shape[1],
            self.known.inputs.shape[1],
            self.settings["latent"],
            self.settings["encoder_width"],
        )
        self.averaged_encoder = copy.deepcopy(self.encoder)

    def _events(self, sample: Sample, standard: Tensor) -> Events:
        origin, generator, residual = self.task.origin, self.generator, None
        detector = find(origin.detector)
        known = origin.transform.response
        image = known.forward(sample.response).astype(np.float32)
        filled = np.ones(image.shape, bool)
        if isinstance(known, ResponseTransform):
            filled = sample.response >= known.floor
        if detector.frame is None:
            values, full = image.reshape(len(image), -1), filled.reshape(len(image), -1)
            there = np.ones(values.shape, bool)
        else:
            frame = detector.frame(sample.conditions, self.settings["mirrors"])
            canvas = self.surrogate.canvas(origin, self.settings)
            cells = canvas.cells(frame)
            there = cells >= 0
            values, full = (np.nan_to_num(canvas.take(x, cells)) for x in (image, filled))
        if generator.total:
            with torch.no_grad():
                mean, width = generator.total(standard)
            total = (log_sum(sample.response) - mean) / width
            residual = total[:, None].clamp(-RESIDUAL, RESIDUAL)
        return Events(
            standard,
            residual,
            generator.inputs(standard, residual),
            torch.from_numpy(values),
            torch.from_numpy(full.astype(bool)) & torch.from_numpy(there),
            torch.from_numpy(there),
            unit(sample.weight),
        )

    @torch.no_grad()
    def _begin(self, events: Events) -> None:
        """Have the decoder start from the odds, means and widths of each cell in the whole sample."""
        weight = events.weight[:, None]
        filled, there = events.filled * weight, events.there * weight
        count = filled.sum(dim=0)
        mean = ((events.values * filled).sum(dim=0) / count.clamp_min(1)).where(
            count > 0, self.generator.low
        )
        spread = ((events.values - mean).square() * filled).sum(dim=0) / count.clamp_min(1)
        width = spread.clamp_min(1e-2).log().div(2).where(count > 1, 0.0).clamp(*WIDTHS)
        share = (count + 0.5) / (there.sum(dim=0) + 1)
        start = [mean, width, torch.logit(share.clamp(1e-5, 1 - 1e-5))]
        chosen = start if self.generator.censored else start[:2]
        self.generator.decoder.leave.bias.copy_(torch.cat(chosen))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        parameters = [*self.generator.parameters(), *self.encoder.parameters()]
        return [torch.optim.Adam(parameters, self.settings["rate"], fused=True)]

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.known, self.held = self.known.to(self.device), self.held.to(self.device)

    def follow(self) -> None:
        keep = min(self.settings["averaging"], self.updates / (self.updates + 10))
        average(self.averaged_encoder, self.encoder, keep)
        super().follow()

    def training_step(self, _: int, batch: int) -> None:
        rows, mask, rng = self.draws(batch)
        parts = losses_of(self.generator, self.encoder, self.known, rows, mask, rng)
        weight, (cells, divergence, total) = self.weight[rows], parts
        # A code that costs all of its divergence from the start is never used.
        share = min(1.0, self.progress / WARM)
        self.step(self.optimizers(), (weight * (cells + share * divergence + total)).mean(), batch)
        self.follow()
        for name, part in zip(self.losses, parts, strict=True):
            self.note(name, (weight * part).mean())

    @torch.no_grad()
    def validation_distance(self) -> float:
        """The loss of the averaged networks on validation, the noise the same in every epoch."""
        rng = torch.Generator().manual_seed(key(self.task.seed, "validate"))
        held, found = self.held, 0.0
        for _ in range(REPEATS):
            for rows in torch.arange(len(held.inputs), device=self.device).split(BLOCK):
                each = self.masks[rows % len(self.masks)].transpose(0, 1)
                parts = losses_of(self.averaged, self.averaged_encoder, held, rows, each, rng)
                found += float((held.weight[rows] * sum(parts)).sum())
        return found / (REPEATS * float(held.weight.sum()))


def losses_of(
    generator: Generator,
    encoder: Encoder,
    events: Events,
    rows: Tensor,
    mask: Tensor,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Negative logarithm of the likelihood of the cells given a code, divergence of the code's laws,
    and the former of the sum, (n,) each, for some of the events."""
    inputs, values, filled = (part[rows] for part in (events.inputs, events.values, events.filled))
    mean, log_width = encoder(values, filled, inputs)
    noise = torch.randn(mean.shape, generator=rng).to(mean.device)
    law = generator.decode(mean + log_width.exp() * noise, inputs, mask)
    each = log_likelihood(values, filled, generator.low, *law)
    cells = -torch.where(events.there[rows], each, 0.0).sum(dim=1)
    divergence = kl(mean, log_width, *generator.code(inputs))
    if events.residual is None or generator.total_flow is None:
        return cells, divergence, torch.zeros_like(cells)
    total = generator.total_flow.loss(
        events.residual[rows], events.standard[rows], None, noise[:, 0], rng
    )
    return cells, divergence, total
