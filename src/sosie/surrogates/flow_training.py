"""The training of flow_matching: laws of sum and cells first, then the two flows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from sosie.detectors import find
from sosie.progress import say
from sosie.streams import key
from sosie.surrogates.censored import LEAST, correlations, draw, fill, matrix
from sosie.surrogates.descent import BATCH, Known
from sosie.surrogates.diffusion import Diffusion
from sosie.surrogates.flow import Flow
from sosie.surrogates.flow_matching import FlowMatching
from sosie.surrogates.flow_networks import Generator
from sosie.surrogates.network import Masked
from sosie.surrogates.total_law import log_sum, unit
from sosie.surrogates.training import Training
from sosie.transforms import ResponseTransform

if TYPE_CHECKING:
    from sosie.train import Sample

REPEATS = 4  # of the validation sample, each with other noise
SWEEPS = 40  # in which the mean correlations of cells that are seldom filled come out
BURN = 5  # sweeps until the empty cells of other events follow them
FILLINGS = 8  # values of the empty cells, for the flow
HARDLY = 1e-6  # spread of a feature that does not vary
BLOCK = 2048
LATENT = 5.0  # largest normal variable that is learnt from


@dataclass(frozen=True)
class Events:
    """A sample as the flows see it: standardised features (N, F), residual of the sum (N, 1), None
    where there is none, inputs of the cells (N, C), weight (N,), and what the flow goes to
    (K, N, n): normal variables of the core without their mean correlations, of which those of empty
    cells differ."""

    standard: Tensor
    residual: Tensor | None
    inputs: Tensor
    weight: Tensor
    points: Tensor

    def drawn(self, rows: Tensor, rng: torch.Generator) -> Tensor:
        """Where the flow goes (n, D) for some events, with any of the values for empty cells."""
        which = torch.randint(len(self.points), rows.shape, generator=rng)
        return self.points[which.to(rows.device), rows]

    def to(self, device: torch.device) -> Events:
        """The same, on a device."""
        there = {name: value.to(device) for name, value in vars(self).items() if value is not None}
        return replace(self, **there)


class FlowModule(Training):
    """Fits the laws before the first epoch; the epochs are for the flows."""

    surrogate: ClassVar[type[FlowMatching]] = FlowMatching
    losses = ("flow", "total")
    generator: Generator
    averaged: Generator

    def prepare(self, response: Tensor, image: Tensor) -> None:
        generator, task = self.generator, self.task
        spread, mean = torch.std_mean(self.features, dim=0)
        generator.mean.copy_(mean)
        generator.scale.copy_(torch.where(spread > HARDLY, spread, 1.0))
        rng = torch.Generator().manual_seed(key(task.seed, "laws"))
        parts = [
            (task.train, generator.standardise(self.features)),
            (task.validation, generator.standardise(self.asked)),
        ]
        if generator.total:
            say("train", f"{self.kind}: law of the sum")
            known, held = (
                Known(standard, log_sum(sample.response), unit(sample.weight))
                for sample, standard in parts
            )
            generator.total.fit(known, held, rng)
        residuals = [
            generator.residual(standard, log_sum(sample.response)) for sample, standard in parts
        ]
        known, held = (
            Known(generator.inputs(standard, residual), self._values(sample), unit(sample.weight))
            for (sample, standard), residual in zip(parts, residuals, strict=True)
        )
        generator.cells.fit(known, held, self.settings["law_epochs"], rng, self._tell)
        generator.requires_grad_(False)
        for flow in (generator.flow, generator.total_flow):
            if flow is not None:
                flow.requires_grad_(True)
        points = self._points(known, held, rng)
        self.known, self.held = (
            Events(standard, residual, seen.inputs, seen.weight, goals)
            for (_, standard), residual, seen, goals in zip(
                parts, residuals, (known, held), points, strict=True
            )
        )
        self.real = self.known.points[0]

    @torch.no_grad()
    def _points(self, known: Known, held: Known, rng: torch.Generator) -> list[Tensor]:
        """Mean correlations of the cells; the normal variables of the core without them (K, N, n)."""
        generator = self.generator
        latents = [self._latents(generator, seen) for seen in (known, held)]
        correlation, filled = correlations(
            *latents[0],
            known.weight,
            SWEEPS,
            rng,
            lambda sweep: say("train", f"{self.kind}: mean correlations: {sweep}/{SWEEPS}"),
        )
        value, vector = torch.linalg.eigh(correlation)
        generator.spread.copy_((vector * value.sqrt()) @ vector.T)
        whiten = ((vector / value.sqrt()) @ vector.T)[:, generator.core].float()
        points = []
        for latent, values, burn in zip(
            latents, (filled, fill(*latents[1], rng)), (0, BURN), strict=True
        ):
            for _ in range(burn):
                draw(values, *latent, correlation, rng)
            each = []
            for _ in range(FILLINGS if latent[1].any() else 1):
                draw(values, *latent, correlation, rng)
                each.append(values @ whiten)
            points.append(torch.stack(each))
        return points

    @torch.no_grad()
    def offsets(self, generator: Masked) -> Tensor | None:
        """Offsets (K, P) that move the laws of each mask to the training sample drawn again, one step
        from the fit to the whole one, so that the members differ in their laws as well.

        None for one mask, which is no ensemble.
        """
        assert isinstance(generator, Generator)
        if len(self.masks) < 2:
            return None
        say("train", f"{self.kind}: laws of {len(self.masks)} samples drawn again")
        rng = torch.Generator().manual_seed(key(self.task.seed, "offset"))
        sample = self.task.train
        drawn = torch.poisson(torch.ones(len(self.masks), len(sample.weight)), generator=rng)
        standard, weight = generator.standardise(self.features.cpu()), unit(sample.weight)
        total = log_sum(sample.response)
        inputs = generator.inputs(standard, generator.residual(standard, total))
        seen = Known(inputs, self._values(sample), weight)
        cells = generator.cells.changes(seen, drawn)
        sums = (
            generator.total.changes(Known(standard, total, weight), drawn)
            if generator.total
            else ()
        )
        changes = [self._correlated(generator, seen, drawn, rng), *cells, *sums]
        return torch.cat([change.reshape(len(drawn), -1) for change in changes], dim=1)

    def _correlated(
        self, generator: Generator, seen: Known, drawn: Tensor, rng: torch.Generator
    ) -> Tensor:
        """Changes (K, D, D) of the root of the mean correlations in samples drawn again."""
        level, empty = self._latents(generator, seen)
        correlation = (generator.spread @ generator.spread).double()
        values = fill(level, empty, rng)
        for _ in range(BURN):
            draw(values, level, empty, correlation, rng)
        whole = matrix(values, seen.weight)
        changes = []
        for times in drawn:
            # What stands in the weights is moved by as much as the sample moves its estimate.
            value, vector = torch.linalg.eigh(
                correlation + matrix(values, seen.weight * times) - whole
            )
            root = (vector * value.clamp_min(LEAST).sqrt()) @ vector.T
            changes.append(root.float() - generator.spread)
        return torch.stack(changes)

    def _tell(self, word: str, epoch: int, epochs: int, loss: float) -> None:
        say("train", f"{self.kind}: laws of {word} cells: epoch {epoch}/{epochs}, loss {loss:.5g}")

    def _values(self, sample: Sample) -> Tensor:
        """Values (N, cells) as ``Cells`` has them."""
        origin = self.task.origin
        known, frame_of = origin.transform.response, find(origin.detector).frame
        if not isinstance(known, ResponseTransform):
            scaled = known.forward(sample.response).astype(np.float32)
            return torch.from_numpy(scaled).flatten(1)
        if frame_of is None:
            cells = sample.response.reshape(len(sample.response), -1)
        else:
            frame = frame_of(sample.conditions, self.settings["mirrors"])
            canvas = self.surrogate.canvas(origin, self.settings)
            cells = canvas.take(sample.response, canvas.cells(frame))
        ratio = torch.from_numpy(cells) / known.floor
        empty = torch.where(ratio.isnan(), torch.nan, -torch.inf)
        return torch.where(ratio >= 1, ratio.clamp_min(1).log(), empty)

    @staticmethod
    @torch.no_grad()
    def _latents(generator: Generator, seen: Known) -> tuple[Tensor, Tensor]:
        parts = [
            generator.cells.to_latent(inputs, values, generator.window)
            for inputs, values in zip(
                seen.inputs.split(BATCH), seen.target.split(BATCH), strict=True
            )
        ]
        levels, empties = zip(*parts, strict=True)
        return torch.cat(levels).clamp(min=-LATENT), torch.cat(empties)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.known, self.held = self.known.to(self.device), self.held.to(self.device)

    def training_step(self, _: int, batch: int) -> None:
        rows, mask, rng = self.draws(batch)
        flow, total = losses_of(self.generator, self.known, rows, mask, rng)
        weight = self.weight[rows]
        loss = (weight * (len(self.generator.core) * flow + total)).mean()
        self.step(self.optimizers(), loss, batch)
        self.follow()
        self.note("flow", (weight * flow).mean())
        self.note("total", (weight * total).mean())

    @torch.no_grad()
    def validation_distance(self) -> float:
        """The loss of the averaged network on validation, its noise the same in every epoch."""
        rng = torch.Generator().manual_seed(key(self.task.seed, "validate"))
        held, found = self.held, 0.0
        for _ in range(REPEATS):
            for rows in torch.arange(len(held.inputs), device=self.device).split(BLOCK):
                each = self.masks[rows % len(self.masks)].transpose(0, 1)
                flow, total = losses_of(self.averaged, held, rows, each, rng)
                loss = len(self.averaged.core) * flow + total
                found += float((held.weight[rows] * loss).sum())
        return found / (REPEATS * float(held.weight.sum()))


class SplineModule(FlowModule):
    """The same, with flows of splines."""

    surrogate = Flow


class DenoiserModule(FlowModule):
    """The same, with flows of denoisers."""

    surrogate = Diffusion


def losses_of(
    generator: Generator, events: Events, rows: Tensor, mask: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Losses (n,) of the flows of cells and sum for some of the events."""
    real = events.drawn(rows, rng)
    time = torch.rand(len(rows), generator=rng).to(real.device)
    flow = generator.flow.loss(real, events.inputs[rows], mask, time, rng)
    if events.residual is None or generator.total_flow is None:
        return flow, torch.zeros_like(flow)
    total = generator.total_flow.loss(events.residual[rows], events.standard[rows], None, time, rng)
    return flow, total
