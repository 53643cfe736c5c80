"""Networks of flow: coupling layers of monotone rational-quadratic splines."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from zuko.transforms import MonotonicRQSTransform

from sosie.surrogates.flow_networks import Trunk, embedding
from sosie.surrogates.transport import Transport

BOUND = 6.0  # beyond it a number stays as it is
SEED = 20190604  # of the orders in which numbers are coupled


class Coupling(nn.Module):
    """Moves some of the numbers (N, n) along splines whose knots follow from those that stay and
    from the inputs (N, C).

    ``moves`` (m,) are the numbers that it moves. Dinh et al., arXiv:1605.08803; splines: Durkan et al.,
    arXiv:1906.04032. The identity at the start.
    """

    moves: Tensor
    stays: Tensor

    def __init__(
        self, size: int, inputs: int, width: int, depth: int, moves: Tensor, bins: int
    ) -> None:
        super().__init__()
        self.bins = bins
        rest = torch.ones(size, dtype=torch.bool)
        rest[moves] = False
        self.register_buffer("moves", moves)
        self.register_buffer("stays", rest.nonzero()[:, 0])
        self.embed = embedding(inputs)
        seen = len(self.stays) + inputs
        self.trunk = Trunk(seen, len(moves) * (3 * bins - 1), width, depth)

    def _splines(self, point: Tensor, inputs: Tensor, mask: Tensor | None) -> MonotonicRQSTransform:
        seen = torch.cat([point[:, self.stays], inputs], dim=1)
        knots = self.trunk(seen, functional.silu(self.embed(inputs)), mask)
        shape = len(point), len(self.moves), 3 * self.bins - 1
        sizes = [self.bins, self.bins, self.bins - 1]
        return MonotonicRQSTransform(*knots.view(shape).split(sizes, dim=2), bound=BOUND)

    def forward(
        self, point: Tensor, inputs: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The moved point (N, n), and the logarithm of the determinant of the Jacobian (N,)."""
        splines = self._splines(point, inputs, mask)
        moved, logarithm = splines.call_and_ladj(point[:, self.moves])
        return point.index_copy(1, self.moves, moved), logarithm.sum(dim=1)

    def inverse(self, point: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The point (N, n) that is moved to this one."""
        splines = self._splines(point, inputs, mask)
        return point.index_copy(1, self.moves, splines.inv(point[:, self.moves]))


class Splines(Transport):
    """A normalising flow: couplings that take a target (N, n) to noise, one after the other.

    They go through the numbers in pairs, of which the second moves those that the first leaves; a
    single number has one, whose knots follow from the inputs alone.
    """

    def __init__(
        self, size: int, inputs: int, width: int, depth: int, *, bins: int, couplings: int
    ) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(SEED)
        count = couplings if size > 1 else 1
        parts: list[Tensor] = []
        while len(parts) < count:
            parts += torch.randperm(size, generator=rng).split(math.ceil(size / 2))
        self.couplings = nn.ModuleList(
            Coupling(size, inputs, width, depth, part.sort().values, bins) for part in parts[:count]
        )

    def to_noise(
        self, target: Tensor, inputs: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The noise (N, n) of a target (N, n), and the logarithm of the determinant (N,)."""
        point, total = target, torch.zeros_like(target[:, 0])
        for coupling in self.couplings:
            point, logarithm = coupling(point, inputs, mask)
            total = total + logarithm
        return point, total

    def draw(self, noise: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        point = noise
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, Coupling)
            point = coupling.inverse(point, inputs, mask)
        return point

    def loss(
        self,
        target: Tensor,
        inputs: Tensor,
        mask: Tensor | None,
        time: Tensor,
        rng: torch.Generator,
    ) -> Tensor:
        """Negative logarithm of the density (N,) for each number, up to a constant."""
        noise, logarithm = self.to_noise(target, inputs, mask)
        return (noise.square().sum(dim=1) / 2 - logarithm) / target.shape[1]

    def fold_in(self, mask: Tensor) -> None:
        for coupling in self.couplings:
            assert isinstance(coupling, Coupling)
            coupling.trunk.fold_in(mask)
