"""Networks of wgan_gp, for a response of shape (n,) or (h, w): generator, critic, masks.

The generator draws the shares of the cells and their sum; the critic sees the scaled response and
summaries of the physical response (sum, centre, second moments, leading cells), so that what
matters to a reconstruction is not left to be found among hundreds of cells.
"""

import copy
import math
from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn
from torch.nn import functional

from sosie.transforms import ResponseTransform

SLOPE = 0.2
GAIN = 2.0  # of the dense correction to the logarithm of the response
SOFTENING = 0.05  # rounds the tip of a source, in squared widths
LEAST = 1e-8  # share of a cell, keeps logarithms finite
WINDOWS = (3, 5)  # widths in cells of the squares around the leading cell
LEVELS = (
    1e-4,
    3e-4,
    1e-3,
    3e-3,
    1e-2,
    3e-2,
    1e-1,
)  # shares at which filled cells are counted, softly


class Image(nn.Module):
    """The transform of the response (see ``transforms.ResponseTransform``) for gradients to pass."""

    power: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, transform: ResponseTransform) -> None:
        super().__init__()
        self.start = math.log(transform.floor)
        self.shift, self.scale, self.gap = transform.shift, transform.scale, transform.gap
        for name in ("power", "low", "high"):
            value = torch.as_tensor(getattr(transform, name), dtype=torch.float32)
            self.register_buffer(name, value, persistent=False)

    def _box_cox(self, logarithm: Tensor) -> Tensor:
        safe = torch.where(self.power == 0, 1.0, self.power)
        return torch.where(self.power == 0, logarithm, torch.expm1(safe * logarithm) / safe)

    def encode_log(self, logarithm: Tensor) -> Tensor:
        """Scaled image (N, *shape) of exp(logarithm); below the floor it goes on linearly."""
        above = self._box_cox(logarithm.clamp(min=self.start))
        slope = torch.exp(self.power * self.start)
        below = slope * (logarithm - self.start).clamp(max=0)
        return (above + below - self.shift) / self.scale

    def filled(self, image: Tensor) -> Tensor:
        """Which cells lie at the image of the floor or above."""
        return image * self.scale + self.shift >= self.low - 1e-6 * self.gap

    def decode(self, image: Tensor) -> Tensor:
        """Responses (N, *shape), differentiable in the filled cells, 0 in the others."""
        y = torch.minimum(torch.maximum(image * self.scale + self.shift, self.low), self.high)
        safe = torch.where(self.power == 0, 1.0, self.power)
        logarithm = torch.where(self.power == 0, y, torch.log1p(safe * y) / safe)
        return torch.where(self.filled(image), logarithm.exp(), torch.zeros_like(y))

    def cut(self, image: Tensor) -> Tensor:
        """Cells below the floor put where empty cells lie; the gradient passes straight through."""
        empty = (self.low - self.gap - self.shift) / self.scale
        cut = torch.where(self.filled(image), image, empty.expand_as(image))
        return image + (cut - image).detach()


def cell_grid(shape: tuple[int, ...]) -> Tensor:
    """Cell centres (axes, cells), from -1 to 1 along each axis."""
    axes = [torch.linspace(-1, 1, n) for n in shape]
    return torch.stack([axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")])


def summary_count(shape: tuple[int, ...]) -> int:
    """How many numbers ``summaries`` gives."""
    axes = len(shape)
    return 1 + axes + axes * (axes + 1) // 2 + 1 + len(WINDOWS) + 3 + len(LEVELS)


def summaries(response: Tensor) -> Tensor:
    """What a reconstruction looks at, (N, S), of responses (N, *shape).

    Logarithm of the sum, centres, second moments (logarithms of the diagonal ones), shares of the
    leading cell and of squares around it, power sums, shares of filled cells.
    """
    shape, axes = response.shape[1:], response.ndim - 1
    total = response.flatten(1).sum(1).clamp(min=1e-3)
    share = response.flatten(1) / total[:, None]
    grid = cell_grid(tuple(shape)).to(response.device)
    centre = share @ grid.T
    away = grid - centre[:, :, None]
    spread = []
    for i, j in combinations_with_replacement(range(axes), 2):
        moment = (share * away[:, i] * away[:, j]).sum(1)
        spread.append((moment + 1e-5).log() if i == j else moment)
    pool = functional.avg_pool1d if axes == 1 else functional.avg_pool2d
    leading = share.argmax(1, keepdim=True)
    image = share.reshape(-1, 1, *shape)
    windows = [pool(image, size, 1, size // 2).flatten(1) * size**axes for size in WINDOWS]
    around = [window.gather(1, leading)[:, 0] for window in windows]
    root, logarithm = (share + LEAST).sqrt(), (share + LEAST).log()
    powers = [share.square().sum(1).log(), root.sum(1).log(), root.sqrt().sum(1).log()]
    filled = [
        (torch.sigmoid((logarithm - math.log(level)) / 0.2).mean(1) + 1e-4).log()
        for level in LEVELS
    ]
    return torch.stack(
        [total.log(), *centre.T, *spread, share.amax(1), *around, *powers, *filled], dim=1
    )


def quadratic(features: Tensor) -> Tensor:
    """One, the features (N, F), and their products."""
    pairs = combinations_with_replacement(range(features.shape[1]), 2)
    products = [features[:, i] * features[:, j] for i, j in pairs]
    return torch.stack([torch.ones_like(features[:, 0]), *features.T, *products], dim=1)


class Standard(nn.Module):
    """Mean and width of each summary, quadratic in the features; the width in its logarithm."""

    mean: Tensor
    width: Tensor

    def __init__(self, features: int, count: int) -> None:
        super().__init__()
        terms = 1 + features + features * (features + 1) // 2
        self.register_buffer("mean", torch.zeros(terms, count))
        self.register_buffer("width", torch.zeros(terms, count))

    @torch.no_grad()
    def fit(self, features: Tensor, values: Tensor) -> None:
        """Least squares on summaries (N, S) of a sample with these features (N, F)."""
        basis, values = quadratic(features).double(), values.double()
        ridge = 1e-5 * len(basis) * torch.eye(basis.shape[1], dtype=torch.double)
        solver = torch.linalg.solve(basis.T @ basis + ridge, basis.T)
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


def draw_masks(count: int, depth: int, width: int, dropout: float, rng: torch.Generator) -> Tensor:
    """Fixed masks (count, depth, width): a unit is 0 with probability p = dropout, else 1/(1-p)."""
    kept = torch.rand(count, depth, width, generator=rng) >= dropout
    return kept.float() / (1 - dropout)


class Generator(nn.Module):
    """Features (N, F) and noise (N, noise) to a scaled response (N, *shape).

    The shares of the cells come from a few moving sources, a dense correction and noise of each
    cell; they are multiplied by a sum drawn about its mean at these features.
    """

    grid: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        features: int,
        transform: ResponseTransform,
        *,
        latent: int,
        width: int,
        depth: int,
        sources: int,
    ) -> None:
        super().__init__()
        axes, cells = len(shape), math.prod(shape)
        self.shape, self.latent, self.sources = shape, latent, sources
        self.noise = latent + cells
        self.image = Image(transform)
        self.standard = Standard(features, summary_count(shape))
        self.register_buffer("grid", cell_grid(shape), persistent=False)
        sizes = [features + latent, *[width] * (depth - 1)]
        self.hidden = nn.ModuleList([nn.Linear(size, width) for size in sizes])
        self.source = nn.Linear(width, sources * (1 + 2 * axes))
        self.direct = nn.Linear(features, sources * (1 + 2 * axes), bias=False)
        self.correction, self.spread = nn.Linear(width, cells), nn.Linear(width, cells)
        self.total = nn.Linear(width, 1)
        self.start = nn.Linear(latent, 1 + axes, bias=False)
        self.strength = nn.Parameter(torch.tensor(0.4))
        self.knee = nn.Parameter(torch.tensor(math.log(transform.floor) + 1.0))
        self._begin()

    @torch.no_grad()
    def _begin(self) -> None:
        """Sources of graded width in the middle, small corrections, sum and centre as fitted."""
        gains = {self.source: 0.3, self.direct: 0.3, self.correction: 0.2, self.spread: 0.3}
        for layer, gain in {**gains, self.total: 0.1}.items():
            layer.weight.mul_(gain)
            if layer.bias is not None:
                layer.bias.zero_()
        axes = len(self.shape)
        widths = self.source.bias.view(1 + 2 * axes, self.sources)[1 + axes :]
        widths.copy_(torch.linspace(0.05, 0.4, self.sources).log().expand_as(widths))
        self.start.weight.copy_(functional.normalize(self.start.weight))

    def _profile(self, features: Tensor, hidden: Tensor, middle: Tensor) -> Tensor:
        """Logarithm of the response (N, cells) up to its sum, of sources about ``middle``."""
        axes = len(self.shape)
        source = self.source(hidden) + self.direct(features)
        source = source.view(len(features), 1 + 2 * axes, self.sources, 1)
        place = middle[:, :, None, None] + 0.1 * source[:, 1 : 1 + axes]
        distance = (self.grid[:, None] - place) * torch.exp(-source[:, 1 + axes :])
        tails = -torch.sqrt(distance.square().sum(1) + SOFTENING)
        return torch.logsumexp(source[:, 0] + tails, dim=1) + GAIN * self.correction(hidden)

    def logarithm(self, features: Tensor, noise: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logarithm of the response (N, cells), all cells filled.

        ``mask`` (depth, width), or (depth, N, width) of each event; None once it is folded in.
        """
        latent, of_cells = noise.split([self.latent, self.noise - self.latent], dim=1)
        hidden = torch.cat([features, latent], dim=1)
        for k, layer in enumerate(self.hidden):
            step = functional.leaky_relu(layer(hidden), SLOPE)
            step = step if mask is None else step * mask[k]
            hidden = step if k == 0 else hidden + step
        mean, width = (m[:, : 1 + len(self.shape)] for m in self.standard.moments(features))
        start = mean + width * self.start(latent)
        log_sum = start[:, :1] + width[:, :1] * self.total(hidden)
        profile = self._profile(features, hidden, start[:, 1:])
        expected = torch.log_softmax(profile, dim=1) + log_sum
        # The relative noise of a cell falls with the root of its signal, as counting does.
        log_noise = self.spread(hidden) - functional.softplus(expected - self.knee) / 2
        noisy = profile + torch.exp(self.strength + log_noise.clamp(max=1.0)) * of_cells
        return torch.log_softmax(noisy, dim=1) + log_sum

    def forward(self, features: Tensor, noise: Tensor, mask: Tensor | None = None) -> Tensor:
        """The scaled response (N, *shape), its empty cells where empty cells lie."""
        logarithm = self.logarithm(features, noise, mask).view(-1, *self.shape)
        return self.image.cut(self.image.encode_log(logarithm))


def fold(generator: Generator, mask: Tensor) -> Generator:
    """The generator with the mask (depth, width) in its weights, equal to it under the mask.

    Leaky ReLU is positively homogeneous, so a mask scales the rows of the layer before it.
    """
    folded = copy.deepcopy(generator)
    with torch.no_grad():
        for layer, row in zip(folded.hidden, mask, strict=True):
            assert isinstance(layer, nn.Linear)
            layer.weight.mul_(row[:, None])
            layer.bias.mul_(row)
    return folded


class Critic(nn.Module):
    """Scores (N,) of what ``view`` shows, given the features (N, F)."""

    def __init__(self, inputs: int, features: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs + features, width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(width, width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(width, 1),
        )

    def forward(self, inputs: Tensor, features: Tensor) -> Tensor:
        """The scores (N,)."""
        scores: Tensor = self.layers(torch.cat([inputs, features], dim=1))
        return scores.squeeze(1)


def view(image: Tensor, features: Tensor, generator: Generator, weight: float) -> Tensor:
    """What the critic sees: scaled response (N, *shape) and weighted, standardised summaries."""
    seen = generator.standard(features, summaries(generator.image.decode(image)))
    return torch.cat([image.flatten(1), weight * seen], dim=1)


def gradient_penalty(
    critic: nn.Module, real: Tensor, fake: Tensor, features: Tensor, mixing: Tensor
) -> Tensor:
    """Mean of (|gradient of the critic| - 1)^2 on lines between real and fake inputs (N, I).

    mixing (N, 1) in [0, 1]. Gulrajani et al., arXiv:1704.00028, equation 3.
    """
    between = (mixing * real + (1 - mixing) * fake).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between, features).sum(), between, create_graph=True)
    return (slope.norm(dim=1) - 1).square().mean()
