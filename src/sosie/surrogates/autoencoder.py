"""The network of vae: a code for each event, and normal variables of cells given it.

Kingma and Welling, arXiv:1312.6114; given conditions: Sohn, Lee and Yan, NeurIPS 2015.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from sosie.surrogates.dense import Dense
from sosie.surrogates.flow_networks import Trunk, embedding
from sosie.surrogates.transport import Transport

WIDTHS = (-3.0, 1.0)  # of the logarithm of a width
HALF_LOG = 0.5 * math.log(2 * math.pi)

Normal = tuple[Tensor, Tensor]


def kl(law: Normal, other: Normal) -> Tensor:
    """Kullback-Leibler divergence (N,) of independent normal variables from others.

    Each law is a mean and a logarithm of the width (N, n). Kingma and Welling, appendix B, for any
    second law.
    """
    (mean, width), (other_mean, other_width) = law, other
    away, ratio = (mean - other_mean) / other_width.exp(), width - other_width
    return (0.5 * (away.square() + (2 * ratio).exp() - 1) - ratio).sum(dim=1)


def log_likelihood(level: Tensor, empty: Tensor, law: Normal) -> Tensor:
    """Logarithm of the likelihood (N, n) of normal variables of which the empty ones are only known to
    lie below their level."""
    mean, width = law
    pull = (level - mean) / width.exp()
    known = -0.5 * pull.square() - HALF_LOG - width
    return torch.where(empty, torch.special.log_ndtr(pull), known)


class Autoencoder(Transport):
    """A code is normal given the inputs; given both, the variables are normal and independent.

    The target is the levels of the variables and which of them are empty (N, 2 n). ``share`` is the
    weight of the divergence in the loss.
    """

    share: float = 1.0

    def __init__(
        self, size: int, inputs: int, width: int, depth: int, *, latent: int, encoder_width: int
    ) -> None:
        super().__init__()
        self.size, self.more = size, latent
        self.encoder = Dense(2 * size + inputs, 2 * latent, encoder_width, 2)
        self.prior = Dense(inputs, 2 * latent, width, 1)
        self.embed = embedding(inputs)
        self.decoder = Trunk(latent, 2 * size, width, depth)

    def code(self, inputs: Tensor) -> Normal:
        """The law of the code (N, latent) of any event."""
        return _law(self.prior(inputs))

    def encode(self, target: Tensor, inputs: Tensor) -> Normal:
        """The law of the code (N, latent) of a target."""
        level, empty = target.split(self.size, dim=1)
        # Of an empty cell it sees that it is, not a level that follows from the inputs.
        return _law(self.encoder(torch.cat([level * (1 - empty), empty, inputs], dim=1)))

    def decode(self, code: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Normal:
        """The law of the variables (N, n)."""
        return _law(self.decoder(code, functional.silu(self.embed(inputs)), mask))

    def draw(self, noise: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        of_cells, of_code = noise.split([self.size, self.more], dim=1)
        mean, width = self.code(inputs)
        mean, width = self.decode(mean + width.exp() * of_code, inputs, mask)
        return mean + width.exp() * of_cells

    def loss(
        self,
        target: Tensor,
        inputs: Tensor,
        mask: Tensor | None,
        time: Tensor,
        rng: torch.Generator,
    ) -> Tensor:
        """Bound on the negative logarithm of the likelihood (N,), for each number."""
        level, empty = target.split(self.size, dim=1)
        law = self.encode(target, inputs)
        noise = torch.randn(law[0].shape, generator=rng).to(level.device)
        cells = log_likelihood(
            level, empty > 0, self.decode(law[0] + law[1].exp() * noise, inputs, mask)
        )
        divergence = kl(law, self.code(inputs))
        return (self.share * divergence - cells.sum(dim=1)) / self.size

    def fold_in(self, mask: Tensor) -> None:
        self.decoder.fold_in(mask)


def _law(numbers: Tensor) -> Normal:
    mean, width = numbers.chunk(2, dim=1)
    return mean, width.clamp(*WIDTHS)
