"""Observables that a training is to get right, as the critics of a GAN see them.

Rogachev and Ratnikov, arXiv:2207.06329.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from sosie.detectors import find
from sosie.surrogates.base import Array
from sosie.surrogates.dense import Dense
from sosie.surrogates.network import to_response
from sosie.surrogates.wgan_networks import Image
from sosie.surrogates.wgan_summaries import Standard
from sosie.transforms import ResponseTransform

if TYPE_CHECKING:
    from sosie.train import Task

TINY = 1e-3  # sum of a response that has none
SMALL = 0.1  # of the largest spread among the numbers of a response, taken for smaller ones


class Priorities(nn.Module):
    """The named observables (n, P) of responses, standardised, with a gradient into the responses.

    An average over the cells is computed from the response itself. Of any other observable a
    regressor makes a guess: it is trained beside the critics on full simulation and drawn responses
    alike, and sees what they see. An observable that an event does not have is 0.

    features (N, F), inputs (N, I) and pattern (N,) are those of the training sample, ``seen`` (N, S) is
    what a critic sees of its responses.
    """

    features: Tensor
    inputs: Tensor
    wanted: Tensor
    centre: Tensor
    unit: Tensor

    def __init__(
        self, task: Task, features: Tensor, inputs: Tensor, pattern: Array | None, seen: Tensor
    ) -> None:
        super().__init__()
        settings, transform = task.settings, task.origin.transform.response
        self.task, self.pattern, self.detector = task, pattern, find(task.origin.detector)
        self.names: list[str] = settings["prioritise"]
        averages, self.image = self.detector.averages, None
        if (
            settings["regressor"] == "needed"
            and averages
            and isinstance(transform, ResponseTransform)
        ):
            self.image = Image(transform)
        known = self._averages(np.arange(1)) if self.image else {}
        self.exact = [k for k, name in enumerate(self.names) if name in known]
        self.guessed = [k for k, name in enumerate(self.names) if name not in known]
        self.register_buffer("features", features, persistent=False)
        self.register_buffer("inputs", inputs, persistent=False)
        self.standard = Standard(features.shape[1], len(self.names))
        observed = self._observed(task.train.response, np.arange(len(features)))
        self._fit(features, observed)
        self.register_buffer("wanted", self.standard(features, observed), persistent=False)
        self.regressor = None
        if self.guessed:
            width = settings["regressor_width"]
            spread, mean = torch.std_mean(seen, dim=0)
            self.register_buffer("centre", mean, persistent=False)
            self.register_buffer("unit", spread.clamp_min(SMALL * spread.max()), persistent=False)
            self.regressor = Dense(seen.shape[1] + inputs.shape[1], len(self.guessed), width, 2)
            nn.init.xavier_uniform_(self.regressor[-1].weight)  # type: ignore[arg-type]
            self.regressor.requires_grad_(settings["regressor"] != "untrained")

    @property
    def learns(self) -> bool:
        """Whether there is a regressor to train."""
        return self.regressor is not None and self.task.settings["regressor"] != "untrained"

    def forward(self, seen: Tensor, image: Tensor, rows: Tensor) -> Tensor:
        """The observables (n, P) of what critics see (n, seen) of scaled responses (n, *shape)."""
        values = seen.new_zeros(len(seen), len(self.names))
        if self.exact:
            assert self.image
            response = self.image.decode(image).flatten(1)
            share = response / response.sum(dim=1, keepdim=True).clamp(min=TINY)
            counts = self._averages(rows.cpu().numpy())
            for k in self.exact:
                # Not-a-number would spoil the gradient, even of what is not looked at.
                count = torch.from_numpy(np.nan_to_num(counts[self.names[k]]).astype(np.float32))
                values[:, k] = (share * count.to(share.device)).sum(dim=1)
            values = self.standard(self.features[rows], values)
        if self.regressor is not None:
            which = torch.tensor(self.guessed, device=seen.device)
            values = values.index_copy(1, which, self._guess(seen, rows))
        return torch.where(self.wanted[rows].isnan(), 0.0, values)

    def loss(self, seen: Tensor, wanted: Tensor, rows: Tensor) -> Tensor:
        """Mean squared error of the regressor on what critics see (n, seen) of responses whose
        standardised observables are known (n, P)."""
        wanted = wanted[:, self.guessed]
        known = ~wanted.isnan()
        return (self._guess(seen, rows) - wanted)[known].square().mean()

    def _guess(self, seen: Tensor, rows: Tensor) -> Tensor:
        assert self.regressor is not None
        scaled = (seen - self.centre) / self.unit
        guess: Tensor = self.regressor(torch.cat([scaled, self.inputs[rows]], dim=1))
        return guess

    @torch.no_grad()
    def found(self, image: Tensor, rows: Tensor) -> Tensor:
        """Standardised observables (n, P) of scaled responses (n, *shape), of the detector itself."""
        number = rows.cpu().numpy()
        pattern = None if self.pattern is None else self.pattern[number]
        response = to_response(self.task.origin, image.cpu().numpy(), pattern)
        if not self.detector.signed:
            response[response < self.task.origin.threshold] = 0
        observed = self._observed(response, number).to(image.device)
        return self.standard(self.features[rows], observed)

    def _averages(self, rows: Array) -> dict[str, Array]:
        assert self.detector.averages
        return self.detector.averages(self.task.train.conditions[rows].astype(np.float64))

    def _observed(self, response: Array, rows: Array) -> Tensor:
        conditions = self.task.train.conditions[rows].astype(np.float64)
        found = self.detector.observe(response, conditions)
        columns = [found[name] for name in self.names]
        return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))

    def _fit(self, features: Tensor, observed: Tensor) -> None:
        for k, column in enumerate(observed.T):
            there, one = column.isfinite(), Standard(features.shape[1], 1)
            one.fit(features[there], column[there, None])
            self.standard.mean[:, k], self.standard.width[:, k] = one.mean[:, 0], one.width[:, 0]
