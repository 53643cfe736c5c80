"""Features as shares of the pieces of their ranges, in which sharp dependences are linear."""

import torch
from torch import Tensor, nn

NARROW = 1e-3  # least width of a piece, in standard deviations


class Encoding(nn.Module):
    """How far each of features (N, F) lies through each of ``count`` pieces of its range.

    Gorishniy, Rubachev, Babenko, NeurIPS 2022, arXiv:2203.05556, equation 1.
    """

    low: Tensor
    width: Tensor

    def __init__(self, features: int, count: int) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(features, count))
        self.register_buffer("width", torch.ones(features, count))
        self.size = features * (1 + count)

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Pieces of equal filling of a sample; those of a feature of few values have no width."""
        count = self.low.shape[1]
        levels = torch.linspace(0, 1, count + 1, dtype=torch.double)
        edges = features.double().sort(dim=0).values[(levels * (len(features) - 1)).long()].T
        self.low.copy_(edges[:, :-1])
        self.width.copy_((edges[:, 1:] - edges[:, :-1]).clamp(min=NARROW))

    def pieces(self, features: Tensor) -> Tensor:
        """The shares (N, F count), 0 before a piece and 1 beyond it."""
        return (features[:, :, None] - self.low).div_(self.width).clamp_(0, 1).flatten(1)

    def forward(self, features: Tensor) -> Tensor:
        """The features, and their shares: (N, F (1 + count))."""
        return torch.cat([features, self.pieces(features)], dim=1)
