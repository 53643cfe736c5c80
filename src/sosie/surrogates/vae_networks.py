"""Networks of vae: encoder, and the generator that a decoder makes with the law of the sum."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sosie.surrogates.dense import Dense
from sosie.surrogates.flow_networks import TOTAL_DEPTH, TOTAL_WIDTH, Trunk, embedding
from sosie.surrogates.gaussians import drawn
from sosie.surrogates.network import Masked
from sosie.surrogates.splines import Splines
from sosie.surrogates.total_law import RESIDUAL, Total

WIDTHS = (-4.0, 2.0)  # of the logarithm of a width
CODES = (-5.0, 2.0)  # of the logarithm of a width of the code
ALWAYS = 30.0  # logarithm of the odds of what is never empty
BINS = 8  # of the spline of the sum

Law = tuple[Tensor, Tensor, Tensor]


class Encoder(nn.Module):
    """Mean and logarithm of the width (N, latent) of the code of an event.

    Scaled values (N, n) of the cells, which of them are filled, and inputs (N, C).
    """

    def __init__(self, cells: int, inputs: int, latent: int, width: int) -> None:
        super().__init__()
        self.layers = Dense(2 * cells + inputs, 2 * latent, width, 2)

    def forward(self, values: Tensor, filled: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the width."""
        seen = torch.cat([values * filled, filled.float(), inputs], dim=1)
        mean, width = self.layers(seen).chunk(2, dim=1)
        return mean, width.clamp(*CODES)


class Generator(Masked):
    """Features (N, F) and noise (N, noise) to scaled values of cells (N, cells), -inf for an empty one.

    First the logarithm of the sum, where there is one: its mean and width at the conditions, and a
    spline of the residual. A code is normal given conditions and sum; given it too, each cell is
    filled with some odds by a normal variable cut at ``low``, independent of the others.
    """

    mean: Tensor
    scale: Tensor
    low: Tensor

    def __init__(
        self, features: int, low: Tensor, censored: bool, *, latent: int, width: int, depth: int
    ) -> None:
        super().__init__()
        inputs, cells = features + censored, len(low)
        self.latent, self.censored = latent, censored
        self.noise = latent + cells + censored
        for name, value in (
            ("mean", torch.zeros(features)),
            ("scale", torch.ones(features)),
            ("low", low),
        ):
            self.register_buffer(name, value)
        self.total = Total(features) if censored else None
        self.total_flow = (
            Splines(1, features, TOTAL_WIDTH, TOTAL_DEPTH, bins=BINS, couplings=1)
            if censored
            else None
        )
        self.prior = Dense(inputs, 2 * latent, width, 1)
        self.embed = embedding(inputs)
        self.decoder = Trunk(latent, (2 + censored) * cells, width, depth)
        self.register_buffer("offset", torch.zeros(0))

    def fold_in(self, mask: Tensor) -> None:
        self.decoder.fold_in(mask)

    def standardise(self, features: Tensor) -> Tensor:
        """Features (N, F) of mean 0 and standard deviation 1 in the training sample."""
        return (features - self.mean) / self.scale

    def inputs(self, features: Tensor, residual: Tensor | None) -> Tensor:
        """What code and cells depend on (N, C): standardised features and the residual of the sum."""
        if residual is None:
            return features
        return torch.cat([features, residual.clamp(-RESIDUAL, RESIDUAL)], dim=1)

    def code(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the width (N, latent) of the code of any event at these inputs."""
        mean, width = self.prior(inputs).chunk(2, dim=1)
        return mean, width.clamp(*CODES)

    def decode(self, code: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Law:
        """Logarithm of the odds to be filled, mean and width (N, cells)."""
        embedded = functional.silu(self.embed(inputs))
        mean, width, *odds = self.decoder(code, embedded, mask).chunk(2 + self.censored, dim=1)
        always = torch.full_like(mean, ALWAYS)
        return odds[0] if odds else always, mean, width.clamp(*WIDTHS).exp()

    def forward(
        self, features: Tensor, noise: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Scaled values of the cells, and the logarithm of the sum (N,), None where there is none."""
        features, residual, total = self.standardise(features), None, None
        if self.total and self.total_flow:
            residual = self.total_flow.draw(noise[:, :1], features)
            mean, width = self.total(features)
            total, noise = mean + width * residual[:, 0], noise[:, 1:]
        inputs = self.inputs(features, residual)
        of_code, of_cells = noise.split([self.latent, len(self.low)], dim=1)
        mean, log_width = self.code(inputs)
        law = self.decode(mean + log_width.exp() * of_code, inputs, mask)
        return drawn(of_cells, self.low, *law), total
