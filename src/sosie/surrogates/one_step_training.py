"""The training of one_step: pairs of noise and what the teacher makes of it, drawn anew in each batch."""

from __future__ import annotations

import torch
from torch import Tensor

from sosie.streams import key
from sosie.surrogates.flow_matching import FlowMatching
from sosie.surrogates.flow_networks import Generator
from sosie.surrogates.network import Masked
from sosie.surrogates.one_step import OneStep
from sosie.surrogates.training import Training

BLOCK = 2048


class OneStepModule(Training):
    """Takes the laws, masks and offsets of the teacher, and starts from its velocities."""

    surrogate = OneStep
    losses = ("flow", "total")
    generator: Generator
    averaged: Generator

    def prepare(self, response: Tensor, image: Tensor) -> None:
        learnt = self.task.teacher
        assert isinstance(learnt, FlowMatching)
        self.offsets_of_teacher = learnt.offsets
        self.teacher = learnt.generator
        self.generator.load_state_dict(self.teacher.state_dict())
        self.generator.requires_grad_(False)
        for flow in (self.generator.flow, self.generator.total_flow):
            if flow is not None:
                flow.requires_grad_(True)
        self.real = self.features

    def offsets(self, generator: Masked) -> Tensor | None:
        """Those of the teacher, whose laws are taken."""
        given = self.offsets_of_teacher
        return None if given is None else torch.from_numpy(given)

    def training_step(self, _: int, batch: int) -> None:
        rows, mask, rng = self.draws(batch)
        flow, total = errors(self.generator, self.teacher, self.features[rows], mask, rng)
        weight = self.weight[rows]
        loss = (weight * (len(self.generator.core) * flow + total)).mean()
        self.step(self.optimizers(), loss, batch)
        self.follow()
        self.note("flow", (weight * flow).mean())
        self.note("total", (weight * total).mean())

    @torch.no_grad()
    def validation_distance(self) -> float:
        """The error of the averaged network at the conditions of validation, of the same noise in
        every epoch; summed over the cells of the core."""
        rng = torch.Generator().manual_seed(key(self.task.seed, "validate"))
        found = 0.0
        for rows in torch.arange(len(self.asked), device=self.device).split(BLOCK):
            each = self.masks[rows % len(self.masks)].transpose(0, 1)
            flow, total = errors(self.averaged, self.teacher, self.asked[rows], each, rng)
            found += float((len(self.averaged.core) * flow + total).sum())
        return found / len(self.asked)


def errors(
    student: Generator, teacher: Generator, features: Tensor, mask: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mean squared errors (N,) of the student's core and sum for features (N, F) and random noise.

    ``mask`` (depth, width), or (depth, N, width) of each event, is that of both.
    """
    device, count = features.device, len(features)
    standard, residual = teacher.standardise(features), None
    off = torch.zeros(count, device=device)
    if teacher.total:
        noise = torch.randn(count, 1, generator=rng).to(device)
        with torch.no_grad():
            residual = teacher.sum_flow(standard, noise)
        off = (student.sum_flow(standard, noise) - residual).square()[:, 0]
    inputs = teacher.inputs(standard, residual)
    noise = torch.randn(count, len(teacher.core), generator=rng).to(device)
    with torch.no_grad():
        wanted = teacher.core_flow(inputs, noise, mask)
    return (student.core_flow(inputs, noise, mask) - wanted).square().mean(dim=1), off
