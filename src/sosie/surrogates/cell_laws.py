"""Laws of the cells of a response, each by itself, as functions of the conditions."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from sosie.surrogates.dense import FAR, Dense
from sosie.surrogates.descent import BATCH, Descent, Known
from sosie.surrogates.quadratics import quadratic, terms
from sosie.surrogates.spectra import Spectra, above, normal_quantile
from sosie.surrogates.trim import Law, Trim

FIELD_WIDTH = 128
PRODUCTS = 96  # of a function of the inputs and one of the place
RIDGE = 30.0
WIDTHS = (-6.0, 2.0)  # of the logarithm of a width
NODES = (16, 6)  # of the spectra: shape, first feature
ABSENT = 20.0  # level below which a cell that is not there always lies


class Field(nn.Module):
    """Three numbers (N, 3 n) for inputs (N, C), smooth in the places (n, P) of the cells.

    Sums of products of a function of the inputs and one of the place, so that no network sees every
    cell of every event. Lu et al. (DeepONet), Nature Machine Intelligence 3 (2021) 218.
    """

    places: Tensor

    def __init__(self, inputs: int, places: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("places", places)
        self.of_inputs = Dense(terms(inputs), PRODUCTS, width, 2)
        nn.init.xavier_uniform_(self.of_inputs[-1].weight)  # type: ignore[arg-type]
        self.of_places = Dense(places.shape[1], 3 * PRODUCTS, width, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        factors = self.of_places(self.places).unflatten(1, (3, PRODUCTS)).permute(2, 1, 0)
        numbers: Tensor = self.of_inputs(quadratic(inputs, FAR)) @ factors.flatten(1)
        return numbers


class Cells(nn.Module):
    """The law of each cell by itself for inputs (N, C).

    A cell is filled with some probability; what fills it, the logarithm over the floor (or the
    scaled response, of a detector whose numbers may be negative and are all there), has a mean and a
    width, and a tabulated form about them. For the cells ``near`` the middle mean, width and
    probability start from a regression, quadratic in the inputs, which a network corrects. Those
    of the others, seldom filled, come from a network that is smooth in their ``places`` (n, P).
    In the end the cells of each of the ``groups`` (n,) are made right on average.
    Events are given as values (N, n): -inf for an empty cell, not-a-number for one that the
    response does not have.
    """

    base: Tensor
    width: Tensor
    odds: Tensor
    near: Tensor
    far: Tensor

    def __init__(
        self,
        inputs: int,
        places: Tensor,
        near: Tensor,
        groups: Tensor,
        censored: bool,
        width: int,
    ) -> None:
        super().__init__()
        self.censored, cells = censored, len(places)
        self.trim = Trim(inputs, groups)
        self.register_buffer("base", torch.zeros(terms(inputs), len(near)))
        self.register_buffer("width", torch.zeros(len(near)))
        self.register_buffer("odds", torch.zeros(len(near)))
        rest = torch.ones(cells, dtype=torch.bool)
        rest[near] = False
        self.register_buffer("near", near)
        self.register_buffer("far", rest.nonzero()[:, 0])
        self.network = Dense(inputs, 3 * len(near), width, 3)
        self.field = Field(inputs, places[rest], FIELD_WIDTH) if rest.any() else None
        self.spectra = Spectra(NODES[0] if censored else cells, NODES[1])

    def forward(self, inputs: Tensor) -> Law:
        """Logarithm of the odds to be filled, mean and width (N, n)."""
        return self.trim(inputs, self._untrimmed(inputs))

    def _untrimmed(self, inputs: Tensor) -> Law:
        own = self._near(inputs)
        if self.field is None:
            return own
        shape = 3, len(inputs), len(self.near) + len(self.far)
        found = torch.empty(shape, device=inputs.device)
        found[:, :, self.near] = torch.stack(own)
        found[:, :, self.far] = torch.stack(_law(self.field(inputs)))
        return found[0], found[1], found[2]

    def _near(self, inputs: Tensor) -> Law:
        odds, mean, width = self.network(inputs).chunk(3, dim=1)
        centre = quadratic(inputs, FAR) @ self.base + mean * self.width.exp()
        return 2 * odds + self.odds, centre, (width + self.width).clamp(*WIDTHS).exp()

    def fit(
        self,
        known: Known,
        held: Known,
        epochs: int,
        rng: torch.Generator,
        tell: Callable[[str, int, int, float], None],
    ) -> None:
        """The regression, then the likelihood of a normal law of what fills a cell, then its form.

        ``tell`` gets a word, number of the epoch and of all, held loss.
        """
        near, held_near = known.of(self.near), held.of(self.near)
        self._start(near)

        def near_of(events: Known, rows: Tensor) -> Tensor:
            law = self._near(events.inputs[rows])
            return self._loss(law, events.target[rows], events.weight[rows])

        self._descend(self.network, near_of, near, held_near, epochs, rng, partial(tell, "near"))
        if self.field is not None:
            field, far, held_far = self.field, known.of(self.far), held.of(self.far)

            def far_of(events: Known, rows: Tensor) -> Tensor:
                law = _law(field(events.inputs[rows]))
                return self._loss(law, events.target[rows], events.weight[rows])

            self._descend(field, far_of, far, held_far, epochs, rng, partial(tell, "far"))
        self.trim.fit(self._untrimmed, lambda: _blocks(known.inputs, known.target, known.weight))
        self._fit_spectra(known.inputs, known.target)

    def changes(self, known: Known, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """What fits to samples drawn again would add to the corrections; see ``Trim.changes``."""
        blocks = partial(_blocks, known.inputs, known.target, known.weight)
        return self.trim.changes(self._untrimmed, blocks, drawn)

    @staticmethod
    def _descend(
        network: nn.Module,
        loss_of: Callable[[Known, Tensor], Tensor],
        known: Known,
        held: Known,
        epochs: int,
        rng: torch.Generator,
        tell: Callable[[int, int, float], None],
    ) -> None:
        def of_held() -> float:
            parts = torch.arange(len(held.inputs)).split(BATCH)
            return sum(float(loss_of(held, rows)) * len(rows) for rows in parts)

        def told(epoch: int, of: int, loss: float) -> None:
            tell(epoch, of, loss / len(held.inputs))

        descent = Descent(network, partial(loss_of, known), of_held, len(known.inputs))
        descent.run(epochs, rng, told)

    def _loss(self, law: Law, values: Tensor, weight: Tensor) -> Tensor:
        """Mean negative logarithm of the likelihood of values (N, n)."""
        odds, mean, width = law
        there, filled = ~values.isnan(), values.isfinite()
        pull = (torch.where(filled, values, mean) - mean) / width
        each = torch.where(filled, 0.5 * pull**2 + width.log(), 0.0)
        if self.censored:
            each = each + functional.softplus(torch.where(filled, -odds, odds))
        loss: Tensor = (weight[:, None] * each * there).sum(dim=1).mean()
        return loss

    @torch.no_grad()
    def _start(self, known: Known) -> None:
        inputs, values, weight = known.inputs, known.target, known.weight
        count, cells = self.base.shape
        matrix = torch.zeros(cells, count * count, dtype=torch.double)
        target = torch.zeros(cells, count, dtype=torch.double)
        squares, filled_sum, there_sum = torch.zeros(3, cells, dtype=torch.double)
        for inputs_, values_, weight_ in _blocks(inputs, values, weight):
            shape = quadratic(inputs_, FAR)
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
        # Of events, not of filled cells, of which those of low energy have few.
        _spread(self.spectra.second, inputs[:, 0], 0.02)
        self.spectra.fit(pull, first, second)

    def to_latent(self, inputs: Tensor, values: Tensor, some: Tensor) -> tuple[Tensor, Tensor]:
        """For some cells (m,) a standard normal variable (N, m) for each that is filled, and for an
        empty one the level below which it lies; which are empty (N, m)."""
        law = self(inputs)
        first, second = self._coordinates(inputs, *law[1:])
        odds, mean, width = (part[:, some] for part in law)
        values = values[:, some]
        empty = ~values.isfinite()
        rows = self.spectra.at(first[:, some], second)
        normal = rows.to_normal((torch.where(empty, mean, values) - mean) / width)
        tail = above(normal)
        filled = torch.sigmoid(odds) if self.censored else torch.ones_like(odds)
        share = torch.where(empty, torch.ones_like(tail), tail)
        level = normal_quantile(1 - filled * share, filled * share)
        return torch.where(values.isnan(), ABSENT, level), empty

    def from_latent(self, inputs: Tensor, normal: Tensor) -> Tensor:
        """Values (N, n) of standard normal variables; -inf for an empty cell."""
        odds, mean, width = self(inputs)
        if not self.censored:
            rows = self.spectra.at(*self._coordinates(inputs, mean, width))
            return mean + width * rows.from_normal(normal)
        tail, filled = above(normal), torch.sigmoid(odds)
        # Most cells are empty, and need no more than that.
        there = tail < filled
        mean, width = mean[there], width[there]
        share = (tail[there] / filled[there]).clamp(max=1.0)
        first, second = self._coordinates(inputs, mean, width)
        rows = self.spectra.at(first, second.expand_as(there)[there])
        value = mean + width * rows.from_normal(normal_quantile(1 - share, share))
        return torch.full_like(normal, -torch.inf).masked_scatter(there, value.clamp_min(0))


def _blocks(*tensors: Tensor, size: int = BATCH) -> Iterator[tuple[Tensor, ...]]:
    yield from zip(*(tensor.split(size) for tensor in tensors), strict=True)


def _spread(nodes: Tensor, values: Tensor, edge: float) -> None:
    """Put nodes at equidistant quantiles of values (n,), the first and last ``edge`` inside."""
    ordered = values.sort().values
    levels = torch.linspace(edge, 1 - edge, len(nodes), dtype=torch.double)
    found = ordered[(levels * (len(ordered) - 1)).long()]
    # Nodes of the few values of a condition that hardly varies must still rise.
    nodes.copy_(found + torch.arange(len(found)) * 1e-4)


def _law(numbers: Tensor) -> Law:
    """Logarithm of the odds, mean and width (N, n) from (N, 3 n)."""
    odds, mean, width = numbers.chunk(3, dim=1)
    return odds, mean, width.clamp(*WIDTHS).exp()
