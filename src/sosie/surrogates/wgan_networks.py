"""Networks of wgan_gp, for a response of shape (n,) or (h, w): generator and critic.

The generator draws the shares of the cells and their sum; the critics see the scaled response and
its summaries.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from sosie.surrogates.encoding import Encoding
from sosie.surrogates.network import Masked
from sosie.surrogates.quadratics import quadratic
from sosie.surrogates.wgan_summaries import Standard, summaries, summary_count
from sosie.transforms import ResponseTransform

SLOPE = 0.2
PIECES = 8  # of the range of each feature, for the offsets
GAIN = 2.0  # of the dense correction to the logarithm of the response
REACH = 5.0  # of a source, in sqrt(2) widths
START_WIDTHS = (0.03, 0.5)  # of the sources, from -1 to 1 being the whole axis
GRAIN = 1.5  # logarithm of the size of a deposit over the floor, at the start
CONSTANT = 0.1  # term of the relative noise of a cell, at the start
MOST = 5.0  # logarithm of the largest relative variance of a cell
SHARP = 10.0  # how closely the cube root of the noise of a cell keeps to values above 0
TINY = 1e-12
FAINT = 1e-7  # share of a cell that no source reaches


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
        """Scaled image (N, *shape) of exp(logarithm); below the floor it falls ever more slowly."""
        above = self._box_cox(logarithm.clamp(min=self.start))
        slope = torch.exp(self.power * self.start)
        below = -slope * torch.log1p((self.start - logarithm).clamp(min=0))
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


def log_gamma(z: Tensor, variance: Tensor) -> Tensor:
    """Logarithm of a gamma variable of mean 1 and this variance, from a normal z; smooth at 0.

    Wilson and Hilferty, PNAS 17 (1931) 684: the cube root is nearly normal.
    """
    root = 1 - variance / 9 + variance.sqrt() / 3 * z
    return 3 * (functional.softplus(SHARP * root) / SHARP).clamp(min=TINY).log()


def cell_borders(count: int) -> Tensor:
    """Borders (count + 1,) of the cells whose centres run from -1 to 1."""
    half = 1 / max(count - 1, 1)
    return torch.linspace(-1 - half, 1 + half, count + 1)


class Generator(Masked):
    """Features (N, F) and noise (N, noise) to a scaled response (N, *shape).

    The shares of the cells come from a few moving Gaussian sources, integrated over each cell, a
    dense correction and gamma noise of each cell; they are multiplied by a sum drawn about its mean at
    these features. ``offset`` moves the logarithm of the sum and the centre, as a function of the
    features; 0 while the network is trained.
    """

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
        self.encoding = Encoding(features, PIECES)
        terms = len(self.standard.mean) + features * PIECES
        self.register_buffer("offset", torch.zeros(terms, 1 + axes))
        for axis, n in enumerate(shape):
            self.register_buffer(f"borders_{axis}", cell_borders(n), persistent=False)
        sizes = [features + latent, *[width] * (depth - 1)]
        self.hidden = nn.ModuleList([nn.Linear(size, width) for size in sizes])
        self.source = nn.Linear(width, sources * (1 + 2 * axes))
        self.direct = nn.Linear(features, sources * (1 + 2 * axes), bias=False)
        self.correction, self.spread = nn.Linear(width, cells), nn.Linear(width, cells)
        self.total = nn.Linear(width, 1)
        self.start = nn.Linear(latent, 1 + axes, bias=False)
        self.grain = nn.Parameter(torch.tensor(math.log(transform.floor) + GRAIN))
        self.constant = nn.Parameter(torch.tensor(math.log(CONSTANT)))
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
        least, most = map(math.log, START_WIDTHS)
        widths.copy_(torch.linspace(least, most, self.sources).expand_as(widths))
        self.start.weight.copy_(functional.normalize(self.start.weight))

    def basis(self, features: Tensor) -> Tensor:
        """The functions of the features (N, F) that ``offset`` is made of: quadratic first, pieces."""
        return torch.cat([quadratic(features), self.encoding.pieces(features)], dim=1)

    def _profile(self, features: Tensor, hidden: Tensor, middle: Tensor) -> Tensor:
        """Logarithm of the response (N, cells) up to its sum, of sources about ``middle``."""
        axes = len(self.shape)
        source = self.source(hidden) + self.direct(features)
        source = source.view(len(features), 1 + 2 * axes, self.sources)
        place = middle[:, :, None] + 0.1 * source[:, 1 : 1 + axes]
        inverse = torch.exp(-source[:, 1 + axes :]) / math.sqrt(2)
        shares = torch.softmax(source[:, 0], dim=1)
        response = shares[..., None]
        for axis in range(axes):
            borders = self.get_buffer(f"borders_{axis}")
            away = (borders - place[:, axis, :, None]) * inverse[:, axis, :, None]
            below = torch.erf(away.clamp(-REACH, REACH))
            # The bound keeps products out of the range where numbers lose digits and time.
            inside = (below[..., 1:] - below[..., :-1]).clamp(min=FAINT) / 2
            response = (response[..., None] * inside[:, :, None]).flatten(2)
        profile = response.sum(1)
        return (profile + FAINT).log() + GAIN * self.correction(hidden)

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
        basis, first = self.basis(features), self.offset.shape[1]
        polynomial = basis[:, : len(self.standard.mean)]
        width = torch.exp(polynomial @ self.standard.width[:, :first])
        mean = polynomial @ self.standard.mean[:, :first] + basis @ self.offset
        start = mean + width * self.start(latent)
        log_sum = start[:, :1] + width[:, :1] * self.total(hidden)
        profile = self._profile(features, hidden, start[:, 1:])
        expected = torch.log_softmax(profile, dim=1) + log_sum
        # As many deposits of one size as make up the signal, and a constant term.
        counting = (self.grain - expected + self.spread(hidden)).clamp(max=MOST).exp()
        noisy = profile + log_gamma(of_cells, counting + (2 * self.constant).exp())
        return torch.log_softmax(noisy, dim=1) + log_sum

    def forward(self, features: Tensor, noise: Tensor, mask: Tensor | None = None) -> Tensor:
        """The scaled response (N, *shape), its empty cells where empty cells lie."""
        logarithm = self.logarithm(features, noise, mask).view(-1, *self.shape)
        return self.image.cut(self.image.encode_log(logarithm))


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
