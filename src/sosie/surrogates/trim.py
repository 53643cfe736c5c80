"""Corrections to the laws of cells that make them right on average, whatever a network learnt."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from sosie.surrogates.dense import FAR
from sosie.surrogates.quadratics import quadratic, terms

RIDGE = 10.0  # filled cells that speak for no correction
STEPS = 5  # of Newton, at most
SMALL = 0.02  # change after which there is no other
LARGEST = 1.0  # change of the logarithm of the odds in a step
ODDS = 20.0  # logarithm of the odds that stand for always, or never

Law = tuple[Tensor, Tensor, Tensor]


class Trim(nn.Module):
    """Adds to the logarithm of the odds and to the mean of cells (N, n) what is quadratic in the
    inputs (N, C), alike for all cells of a group.

    ``groups`` (n,) has the number of each cell's group, from 0.
    """

    groups: Tensor
    odds: Tensor
    mean: Tensor

    def __init__(self, inputs: int, groups: Tensor) -> None:
        super().__init__()
        count = int(groups.max()) + 1
        self.register_buffer("groups", groups)
        self.register_buffer("odds", torch.zeros(terms(inputs), count))
        self.register_buffer("mean", torch.zeros(terms(inputs), count))

    def forward(self, inputs: Tensor, law: Law) -> Law:
        """The law, corrected."""
        shape, (odds, mean, width) = quadratic(inputs, FAR), law
        return (
            (odds + (shape @ self.odds)[:, self.groups]).clamp(-ODDS, ODDS),
            mean + (shape @ self.mean)[:, self.groups],
            width,
        )

    @torch.no_grad()
    def fit(
        self,
        law_of: Callable[[Tensor], Law],
        blocks: Callable[[], Iterable[tuple[Tensor, ...]]],
    ) -> None:
        """The likeliest corrections to a law of inputs, by Newton's method.

        ``blocks`` gives inputs, values (-inf: empty, not-a-number: not there) and weight. After it
        each group has, for each term of the quadratic, as many filled cells as the sample, and its
        mean value.
        """
        count, groups = self.odds.shape
        for step in range(STEPS):
            slope, first = torch.zeros(2, groups, count, dtype=torch.double)
            curve, second = torch.zeros(2, groups, count, count, dtype=torch.double)
            for inputs, values, weight in blocks():
                shape = quadratic(inputs, FAR).double()
                odds, mean, width = self(inputs, law_of(inputs))
                there, filled = ~values.isnan() * weight[:, None], values.isfinite()
                share = torch.sigmoid(odds)
                slope += self._sums((filled.float() - share) * there).T @ shape
                curve += _products(self._sums(share * (1 - share) * there), shape)
                if step == 0:
                    known = filled * weight[:, None] / width**2
                    off = torch.where(filled, values, mean) - mean
                    first += self._sums(known * off).T @ shape
                    second += _products(self._sums(known), shape)
            change = _solved(curve, slope - RIDGE * self.odds.T).clamp(-LARGEST, LARGEST)
            self.odds += change.T
            if step == 0:
                self.mean += _solved(second, first).T
            if float(change.abs().max()) < SMALL:
                return

    @torch.no_grad()
    def changes(
        self,
        law_of: Callable[[Tensor], Law],
        blocks: Callable[[], Iterable[tuple[Tensor, ...]]],
        drawn: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """What a fit to samples drawn again would add to ``odds`` and ``mean``, (K, terms, groups) each.

        drawn (K, N): how often each event is in each sample. One Newton step from the fit to the whole
        sample; ``law_of`` and ``blocks`` as in ``fit``.
        """
        count, groups = self.odds.shape
        slope, first = torch.zeros(2, len(drawn), groups, count, dtype=torch.double)
        curve, second = torch.zeros(2, groups, count, count, dtype=torch.double)
        start = 0
        for inputs, values, weight in blocks():
            more = drawn[:, start : start + len(inputs)].double() - 1
            start += len(inputs)
            shape = quadratic(inputs, FAR).double()
            odds, mean, width = self(inputs, law_of(inputs))
            there, filled = ~values.isnan() * weight[:, None], values.isfinite()
            share = torch.sigmoid(odds)
            known = filled * weight[:, None] / width**2
            off = self._sums((filled.float() - share) * there)
            slope += torch.einsum("kn,ng,nt->kgt", more, off, shape)
            curve += _products(self._sums(share * (1 - share) * there), shape)
            off = self._sums(known * (torch.where(filled, values, mean) - mean))
            first += torch.einsum("kn,ng,nt->kgt", more, off, shape)
            second += _products(self._sums(known), shape)
        return (
            torch.stack([_solved(curve, one).T for one in slope]),
            torch.stack([_solved(second, one).T for one in first]),
        )

    def _sums(self, values: Tensor) -> Tensor:
        """Sums (N, groups) of values of cells (N, n)."""
        sums = torch.zeros(len(values), self.odds.shape[1])
        return sums.index_add_(1, self.groups, values).double()


def _products(weight: Tensor, shape: Tensor) -> Tensor:
    """Weighted products (groups, terms, terms)."""
    return torch.einsum("ng,na,nb->gab", weight, shape, shape)


def _solved(curve: Tensor, slope: Tensor) -> Tensor:
    ridge = RIDGE * torch.eye(curve.shape[1]).double()
    return torch.linalg.solve(curve + ridge, slope[:, :, None])[:, :, 0].float()
