"""The training of flow_matching: laws of sum and cells first, then the two velocities."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sosie.detectors import find
from sosie.progress import say
from sosie.streams import key
from sosie.surrogates.base import Array
from sosie.surrogates.cell_laws import RESIDUAL
from sosie.surrogates.flow_matching import FlowMatching
from sosie.surrogates.flow_networks import Generator, matching_loss
from sosie.surrogates.training import Training
from sosie.transforms import ResponseTransform

REPEATS = 4  # of the validation sample, each with other noise
FILLINGS = 2  # of the empty cells, for the mean correlations
LEAST = 1e-3  # eigenvalue of the mean correlations
HARDLY = 1e-6  # spread of a feature that does not vary
BLOCK = 2048
LATENT = 5.0  # largest normal variable that is learnt from


class FlowModule(Training):
    """``real`` (N, D) are the normal variables of the cells in the window, of an empty one the level below
    which it lies; there a value is drawn anew each time."""

    surrogate = FlowMatching
    losses = ("flow", "total")
    generator: Generator
    real: Tensor
    empty: Tensor
    averaged: Generator
    residual: Tensor | None
    whiten: Tensor
    inputs: Tensor
    standard: Tensor

    def prepare(self, response: Tensor, image: Tensor) -> None:
        generator, task = self.generator, self.task
        features = self.features
        spread, mean = torch.std_mean(features, dim=0)
        generator.mean.copy_(mean)
        generator.scale.copy_(torch.where(spread > HARDLY, spread, 1.0))
        rng = torch.Generator().manual_seed(key(task.seed, "laws"))
        standard = generator.standardise(features)
        self.residual = None
        if generator.total:
            say("train", f"{self.kind}: law of the sum")
            total = _log_sum(response)
            generator.total.fit(standard, total, self.weight, rng)
            with torch.no_grad():
                self.residual = generator.residual(standard, total).clamp(-RESIDUAL, RESIDUAL)
        inputs = generator.inputs(standard, self.residual)
        epochs = self.settings["law_epochs"]

        def tell(epoch: int, loss: float) -> None:
            say("train", f"{self.kind}: laws of the cells: epoch {epoch}/{epochs}, loss {loss:.5g}")

        values = self._values(response, image, task.train.conditions)
        generator.cells.fit(inputs, values, self.weight, epochs, rng, tell)
        # The laws are fitted; what follows is the training of the velocities.
        generator.cells.requires_grad_(False)
        if generator.total:
            generator.total.requires_grad_(False)
        real, empty = self._latents(inputs, values)
        filled = torch.cat([fill(real, empty, rng) for _ in range(FILLINGS)]).double()
        value, vector = torch.linalg.eigh(torch.atleast_2d(torch.cov(filled.T)))
        root = value.clamp_min(LEAST).sqrt()
        generator.spread.copy_((vector * root) @ vector.T)
        for name, buffer in (
            ("whiten", ((vector / root) @ vector.T).float()),
            ("real", real),
            ("empty", empty),
            ("inputs", inputs),
            ("standard", standard),
        ):
            self.register_buffer(name, buffer, persistent=False)
        self._prepare_validation()

    def _prepare_validation(self) -> None:
        sample, generator = self.task.validation, self.generator
        response = torch.from_numpy(sample.response)
        image = self.task.origin.transform.response.forward(sample.response).astype(np.float32)
        self.held_standard = generator.standardise(self.asked)
        self.held_residual = None
        if generator.total:
            with torch.no_grad():
                residual = generator.residual(self.held_standard, _log_sum(response))
            self.held_residual = residual.clamp(-RESIDUAL, RESIDUAL)
        self.held_inputs = generator.inputs(self.held_standard, self.held_residual)
        values = self._values(response, torch.from_numpy(image), sample.conditions)
        self.held, self.held_empty = self._latents(self.held_inputs, values)

    def _values(self, response: Tensor, image: Tensor, conditions: Array) -> Tensor:
        """Values (N, cells) as ``Cells`` has them."""
        origin = self.task.origin
        known, frame_of = origin.transform.response, find(origin.detector).frame
        if not isinstance(known, ResponseTransform):
            return image.flatten(1)
        if frame_of is None:
            cells = response.flatten(1)
        else:
            frame = frame_of(conditions, self.settings["mirrors"])
            canvas = FlowMatching.canvas(origin, self.settings)
            cells = torch.from_numpy(canvas.take(response.numpy(), canvas.cells(frame)))
        logarithm = torch.log(cells.clamp_min(known.floor) / known.floor)
        return torch.where(cells >= known.floor, logarithm, -torch.inf + 0 * cells)

    @torch.no_grad()
    def _latents(self, inputs: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        window, parts = self.generator.window, []
        for here, there in zip(inputs.split(BLOCK), values.split(BLOCK), strict=True):
            level, empty = self.generator.cells.to_latent(here, there)
            parts.append((level[:, window], empty[:, window]))
        levels, empties = zip(*parts, strict=True)
        return torch.cat(levels).clamp(min=-LATENT), torch.cat(empties)

    def training_step(self, _: int, batch: int) -> None:
        rows, mask, rng = self.draws(batch)
        real = fill(self.real[rows], self.empty[rows], rng) @ self.whiten
        flow, total = self._losses_of(
            self.generator,
            real,
            self.inputs[rows],
            self.standard[rows],
            None if self.residual is None else self.residual[rows],
            mask,
            rng,
        )
        weight = self.weight[rows]
        loss = (weight * (real.shape[1] * flow + total)).mean()
        self.step(self.optimizers(), loss, batch)
        self.follow()
        self.note("flow", (weight * flow).mean())
        self.note("total", (weight * total).mean())

    def _losses_of(
        self,
        generator: Generator,
        real: Tensor,
        inputs: Tensor,
        standard: Tensor,
        residual: Tensor | None,
        mask: Tensor,
        rng: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Losses (N,) of the flows of cells and sum."""
        size, time = len(real), torch.rand(len(real), generator=rng)
        noise = torch.randn(real.shape, generator=rng)
        flow = matching_loss(
            lambda point, t: generator.velocity(point, t, inputs, mask), real, noise, time
        )
        if residual is None or generator.total_velocity is None:
            return flow, torch.zeros_like(flow)
        of_total = generator.total_velocity
        noise = torch.randn((size, 1), generator=rng)
        return flow, matching_loss(
            lambda point, t: of_total(point, t, standard), residual, noise, time
        )

    @torch.no_grad()
    def validation_distance(self) -> float:
        """The loss of the averaged network on validation, its noise the same in every epoch."""
        rng = torch.Generator().manual_seed(key(self.task.seed, "validate"))
        weight = torch.from_numpy(self.task.validation.weight.astype(np.float32))
        found, count = 0.0, len(self.held)
        for _ in range(REPEATS):
            for rows in torch.arange(count).split(BLOCK):
                real = fill(self.held[rows], self.held_empty[rows], rng) @ self.whiten
                flow, total = self._losses_of(
                    self.averaged,
                    real,
                    self.held_inputs[rows],
                    self.held_standard[rows],
                    None if self.held_residual is None else self.held_residual[rows],
                    self.masks[rows % len(self.masks)].transpose(0, 1),
                    rng,
                )
                found += float((weight[rows] * (real.shape[1] * flow + total)).sum())
        return found / (REPEATS * float(weight.sum()))


def fill(level: Tensor, empty: Tensor, rng: torch.Generator) -> Tensor:
    """Normal variables (N, D): what there is, and below the level of an empty cell a random value."""
    share = torch.rand(level.shape, generator=rng) * 0.5 * torch.erfc(-level * 0.5**0.5)
    drawn = torch.erfinv((2 * share - 1).clamp(-0.999999, 0.999999)) * 2**0.5
    return torch.where(empty, drawn, level)


def _log_sum(response: Tensor) -> Tensor:
    return response.double().flatten(1).sum(dim=1).clamp_min(1e-30).log().float()
