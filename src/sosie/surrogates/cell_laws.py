"""Laws of the sum of a response, and of each cell by itself, as functions of the conditions."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from sosie.surrogates.spectra import Spectra, above, normal_quantile

RATE = 2e-3
BATCH = 256
TOTAL_STEPS = 1500
RIDGE = 30.0
FAR = 4.0  # standard deviations beyond which a quadratic is not followed
WIDTHS = (-6.0, 2.0)  # of the logarithm of a width
RESIDUAL = 6.0  # standard deviations of the sum that cells depend on, at most
NODES = (16, 4)  # of the spectra: shape, first feature
ABSENT = 20.0  # level below which a cell that is not there always lies


class Dense(nn.Sequential):
    """Hidden layers of a width, and an output that starts at 0."""

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        sizes = [inputs, *[width] * depth]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.SiLU()]
        last = nn.Linear(width, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(*layers, last)


def quadratic(inputs: Tensor) -> Tensor:
    """1, inputs (N, C) and their products (N, 1 + C + C (C + 1) / 2), inputs cut at 4."""
    near = inputs.clamp(-FAR, FAR)
    first, second = torch.triu_indices(near.shape[1], near.shape[1])
    one = torch.ones(len(near), 1, device=near.device)
    return torch.cat([one, near, near[:, first] * near[:, second]], dim=1)


def terms(inputs: int) -> int:
    """How many numbers ``quadratic`` gives."""
    return 1 + inputs + inputs * (inputs + 1) // 2


def descend(
    network: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    events: int,
    steps: int,
    rng: torch.Generator,
    tell: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Steps of Adam down a loss of rows (n,) of the sample; the rate falls as a cosine."""
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    order = torch.empty(0, dtype=torch.long)
    size = min(BATCH, events)
    for step in range(steps):
        if len(order) < size:
            order = torch.randperm(events, generator=rng)
        rows, order = order[:size], order[size:]
        for group in optimiser.param_groups:
            group["lr"] = RATE * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        loss = loss_of(rows)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        tell(step, float(loss.detach()))


class Total(nn.Module):
    """Mean and width of the logarithm of the sum for inputs (N, C): a quadratic and a network."""

    base: Tensor
    start: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.register_buffer("base", torch.zeros(terms(inputs)))
        self.register_buffer("start", torch.zeros(()))
        self.network = Dense(inputs, 2, 64, 2)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and width (N,)."""
        shift, width = self.network(inputs).unbind(1)
        scale = self.start.exp()
        return quadratic(inputs) @ self.base + scale * shift, (self.start + width).exp()

    def fit(self, inputs: Tensor, total: Tensor, weight: Tensor, rng: torch.Generator) -> None:
        """Least squares, then the likelihood of a normal law with its tails cut; weight (N,)."""
        shape = quadratic(inputs).double()
        weighed = shape.T * weight.double()
        least = 1e-3 * weight.sum().double() * torch.eye(shape.shape[1]).double()
        least[0, 0] = 0
        with torch.no_grad():
            self.base.copy_(
                torch.linalg.solve(weighed @ shape + 1e-3 * least, weighed @ total.double())
            )
            off = total - quadratic(inputs) @ self.base
            width = ((weight * off**2).sum() / weight.sum()).sqrt()
            self.start.copy_(width.clamp_min(1e-6).log())

        def loss_of(rows: Tensor) -> Tensor:
            mean, width = self(inputs[rows])
            pull = ((total[rows] - mean) / width).clamp(-RESIDUAL, RESIDUAL)
            return (weight[rows] * (0.5 * pull**2 + width.log())).mean()

        descend(self, loss_of, len(inputs), TOTAL_STEPS, rng)


class Cells(nn.Module):
    """The law of each cell by itself for inputs (N, C).

    A cell is filled with some probability; what fills it, the logarithm over the floor (or the
    scaled response, of a detector whose numbers may be negative and are all there), has a mean and a
    width, and a tabulated form about them. Mean, width and probability start from a regression, quadratic in
    the inputs, which a network corrects. Events are given as values (N, n): -inf for an empty
    cell, not-a-number for one that the response does not have.
    """

    base: Tensor
    width: Tensor
    odds: Tensor

    def __init__(self, inputs: int, cells: int, censored: bool, width: int, depth: int) -> None:
        super().__init__()
        self.censored = censored
        self.register_buffer("base", torch.zeros(terms(inputs), cells))
        self.register_buffer("width", torch.zeros(cells))
        self.register_buffer("odds", torch.zeros(cells))
        self.network = Dense(inputs, 3 * cells, width, depth)
        self.spectra = Spectra(NODES[0] if censored else cells, NODES[1])

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logarithm of the odds to be filled, mean and width (N, n)."""
        odds, mean, width = self.network(inputs).chunk(3, dim=1)
        centre = quadratic(inputs) @ self.base + mean * self.width.exp()
        return 2 * odds + self.odds, centre, (width + self.width).clamp(*WIDTHS).exp()

    def fit(
        self,
        inputs: Tensor,
        values: Tensor,
        weight: Tensor,
        epochs: int,
        rng: torch.Generator,
        tell: Callable[[int, float], None],
    ) -> None:
        """The regression, then the likelihood of a normal law of what fills a cell, then its form.

        weight (N,), not negative. ``tell`` gets number and mean loss of each epoch.
        """
        self._start(inputs, values, weight)
        batches, losses = max(1, len(inputs) // BATCH), [0.0]

        def loss_of(rows: Tensor) -> Tensor:
            odds, mean, width = self(inputs[rows])
            value, there = values[rows], ~values[rows].isnan()
            filled = value.isfinite()
            pull = (torch.where(filled, value, mean) - mean) / width
            each = torch.where(filled, 0.5 * pull**2 + width.log(), 0.0)
            if self.censored:
                each = each + functional.softplus(torch.where(filled, -odds, odds))
            return (weight[rows, None] * each * there).sum(dim=1).mean() / there.shape[1]

        def told(step: int, loss: float) -> None:
            losses[0] += loss / batches
            if (step + 1) % batches == 0:
                tell((step + 1) // batches, losses[0])
                losses[0] = 0.0

        descend(self, loss_of, len(inputs), epochs * batches, rng, told)
        self._fit_spectra(inputs, values)

    @torch.no_grad()
    def _start(self, inputs: Tensor, values: Tensor, weight: Tensor) -> None:
        count, cells = self.base.shape
        matrix = torch.zeros(cells, count * count, dtype=torch.double)
        target = torch.zeros(cells, count, dtype=torch.double)
        squares, filled_sum, there_sum = torch.zeros(3, cells, dtype=torch.double)
        for inputs_, values_, weight_ in _blocks(inputs, values, weight):
            shape = quadratic(inputs_)
            filled = values_.isfinite() * weight_[:, None]
            value = torch.where(values_.isfinite(), values_, 0.0)
            products = (shape[:, :, None] * shape[:, None, :]).flatten(1)
            matrix += (filled.T @ products).double()
            target += ((filled * value).T @ shape).double()
            squares += (filled * value**2).sum(dim=0).double()
            filled_sum += filled.sum(dim=0).double()
            there_sum += (~values_.isnan() * weight_[:, None]).sum(dim=0).double()
        plain = matrix.view(cells, count, count)
        solved = torch.linalg.solve(plain + RIDGE * torch.eye(count).double(), target[:, :, None])
        found = solved[:, :, 0]
        rest = squares - 2 * (found * target).sum(dim=1)
        rest += torch.einsum("ni,nij,nj->n", found, plain, found)
        share = ((filled_sum + 0.5) / (there_sum + 1)).clamp(1e-4, 1 - 1e-4)
        self.base.copy_(found.T)
        self.width.copy_((rest / filled_sum.clamp_min(5)).clamp(1e-4, 4).log() / 2)
        self.odds.copy_(torch.log(share / (1 - share)))

    def _coordinates(self, inputs: Tensor, mean: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates of the form: how far the mean lies above the floor in widths, or the cell."""
        if self.censored:
            return torch.log1p((mean / width).clamp_min(0)), inputs[:, :1]
        cells = torch.arange(mean.shape[1], dtype=mean.dtype, device=mean.device)
        return cells.expand_as(mean), inputs[:, :1]

    @torch.no_grad()
    def _fit_spectra(self, inputs: Tensor, values: Tensor) -> None:
        pulls, firsts, seconds = [], [], []
        for inputs_, values_ in _blocks(inputs, values):
            _, mean, width = self(inputs_)
            filled = values_.isfinite()
            first, second = self._coordinates(inputs_, mean, width)
            pulls.append(((values_ - mean) / width)[filled])
            firsts.append(first[filled])
            seconds.append(second.expand_as(first)[filled])
        pull, first, second = (torch.cat(parts) for parts in (pulls, firsts, seconds))
        if self.censored:
            _spread(self.spectra.first, first, 0.002)
        _spread(self.spectra.second, second, 0.05)
        self.spectra.fit(pull, first, second)

    def to_latent(self, inputs: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """A standard normal variable (N, n) for each filled cell, and for an empty one the level
        below which it lies; which cells are empty (N, n)."""
        odds, mean, width = self(inputs)
        empty = ~values.isfinite()
        rows = self.spectra.at(*self._coordinates(inputs, mean, width))
        normal = rows.to_normal((torch.where(empty, mean, values) - mean) / width)
        tail = above(normal)
        filled = torch.sigmoid(odds) if self.censored else torch.ones_like(odds)
        share = torch.where(empty, torch.ones_like(tail), tail)
        level = normal_quantile(1 - filled * share, filled * share)
        return torch.where(values.isnan(), ABSENT, level), empty

    def from_latent(self, inputs: Tensor, normal: Tensor) -> Tensor:
        """Values (N, n) of standard normal variables; -inf for an empty cell."""
        odds, mean, width = self(inputs)
        tail = above(normal)
        filled = torch.sigmoid(odds) if self.censored else torch.ones_like(odds)
        share = (tail / filled).clamp(max=1.0)
        rows = self.spectra.at(*self._coordinates(inputs, mean, width))
        value = mean + width * rows.from_normal(normal_quantile(1 - share, share))
        if not self.censored:
            return value
        return torch.where(tail < filled, value.clamp_min(0), -torch.inf)


def _blocks(*tensors: Tensor, size: int = 2048) -> Iterator[tuple[Tensor, ...]]:
    yield from zip(*(tensor.split(size) for tensor in tensors), strict=True)


def _spread(nodes: Tensor, values: Tensor, edge: float) -> None:
    """Put nodes at equidistant quantiles of values (n,), the first and last ``edge`` inside."""
    ordered = values.sort().values
    levels = torch.linspace(edge, 1 - edge, len(nodes), dtype=torch.double)
    found = ordered[(levels * (len(ordered) - 1)).long()]
    # Nodes of the few values of a condition that hardly varies must still rise.
    nodes.copy_(found + torch.arange(len(found)) * 1e-4)
