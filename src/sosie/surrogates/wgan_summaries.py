"""Summaries of a response of shape (n,) or (h, w), as the critics of wgan_gp see them.

What matters to a reconstruction (sum, centre, moments, leading cells, filled cells) is not left to
be found among hundreds of cells.
"""

import math
from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn
from torch.nn import functional

from sosie.surrogates.quadratics import quadratic, regression, terms

LEAST = 1e-8  # share of a cell, keeps logarithms finite
WINDOWS = (3, 5)  # widths in cells of the squares around the leading cell
FIRST = (2, 4, 9, 25)  # numbers of leading cells whose shares are added
LEVELS = tuple(10 ** (k / 4 - 4) for k in range(13))  # shares above which cells are counted


def cell_grid(shape: tuple[int, ...]) -> Tensor:
    """Cell centres (axes, cells), from -1 to 1 along each axis."""
    axes = [torch.linspace(-1, 1, n) for n in shape]
    return torch.stack([axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")])


def summary_count(shape: tuple[int, ...]) -> int:
    """How many numbers ``summaries`` gives."""
    axes = len(shape)
    return 1 + 3 * axes + axes * (axes + 1) // 2 + 1 + len(WINDOWS) + len(FIRST) + 3 + len(LEVELS)


def neighbours(share: Tensor, shape: tuple[int, ...], cell: Tensor, size: int) -> Tensor:
    """The values (N, size^axes) in the square around a cell (N,), 0 beyond the border."""
    reach, axes = size // 2, len(shape)
    padded = functional.pad(share.view(-1, *shape), [reach] * (2 * axes)).flatten(1)
    steps, first, stride = cell.new_zeros(1), torch.zeros_like(cell), 1
    for length in reversed(shape):
        step = torch.arange(size, device=cell.device) * stride
        steps = (step[:, None] + steps).flatten()
        first = first + cell % length * stride
        cell = cell // length
        stride *= length + 2 * reach
    return padded.gather(1, first[:, None] + steps)


def sum_and_centre(response: Tensor) -> Tensor:
    """Logarithm of the sum, and centres, (N, 1 + axes), of responses (N, *shape)."""
    total, _, centre, _ = _shares(response)
    return torch.cat([total.log()[:, None], centre], dim=1)


def _shares(response: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum, shares of the cells, centres and cell grid."""
    total = response.flatten(1).sum(1).clamp(min=1e-3)
    share = response.flatten(1) / total[:, None]
    grid = cell_grid(tuple(response.shape[1:])).to(response.device)
    return total, share, share @ grid.T, grid


def summaries(response: Tensor) -> Tensor:
    """What a reconstruction looks at, (N, S), of responses (N, *shape).

    Logarithm of the sum, centres, second moments (logarithms of the diagonal ones), third and
    fourth moments, shares of the leading cell, of squares around it and of the leading cells, power
    sums, shares of cells above levels (soft counts).
    """
    shape, axes = response.shape[1:], response.ndim - 1
    total, share, centre, grid = _shares(response)
    away = grid - centre[:, :, None]
    spread = []
    for i, j in combinations_with_replacement(range(axes), 2):
        moment = (share * away[:, i] * away[:, j]).sum(1)
        spread.append((moment + 1e-5).log() if i == j else moment)
    tails = [
        torch.asinh((share * (away[:, i] * 10) ** power).sum(1))
        for i in range(axes)
        for power in (3, 4)
    ]
    ordered = share.topk(min(max(FIRST), share.shape[1]), dim=1).values.cumsum(1)
    first = [ordered[:, min(n, ordered.shape[1]) - 1] for n in FIRST]
    leading = share.argmax(1)
    around = [neighbours(share, shape, leading, size).sum(1) for size in WINDOWS]
    root, logarithm = (share + LEAST).sqrt(), (share + LEAST).log()
    powers = [share.square().sum(1).log(), root.sum(1).log(), root.sqrt().sum(1).log()]
    filled = [
        (torch.sigmoid((logarithm - math.log(level)) / 0.2).mean(1) + 1e-4).log()
        for level in LEVELS
    ]
    return torch.stack(
        [total.log(), *centre.T, *spread, *tails, share.amax(1), *around, *first, *powers, *filled],
        dim=1,
    )


class Standard(nn.Module):
    """Mean and width of each summary, quadratic in the features; the width in its logarithm."""

    mean: Tensor
    width: Tensor

    def __init__(self, features: int, count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(terms(features), count))
        self.register_buffer("width", torch.zeros(terms(features), count))

    @torch.no_grad()
    def fit(self, features: Tensor, values: Tensor) -> None:
        """Least squares on summaries (N, S) of a sample with these features (N, F)."""
        basis, values = quadratic(features).double(), values.double()
        solver = regression(basis, torch.ones_like(basis[:, 0]))
        assert solver is not None
        mean = solver @ values
        residual = values - basis @ mean
        width = solver @ (residual.abs() + 1e-3 * residual.std(0) + 1e-9).log()
        pulls = (residual / torch.exp(basis @ width)).abs()
        width[0] += pulls.quantile(0.683, dim=0).clamp(min=1e-9).log()
        self.mean.copy_(mean)
        self.width.copy_(width)

    def moments(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and width (N, S) at these features (N, F)."""
        basis = quadratic(features)
        return basis @ self.mean, torch.exp(basis @ self.width)

    def forward(self, features: Tensor, values: Tensor) -> Tensor:
        """Residuals (N, S) in units of the width; far tails grow like a logarithm."""
        mean, width = self.moments(features)
        return 4 * torch.asinh((values - mean) / width / 4)
