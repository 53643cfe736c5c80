"""The flow of diffusion: a network that knows the score of noisy data, and the way from noise to data.

A point on the way is y = cos(a) x + sin(a) n with data x and normal n, at an angle a: the noise level is
tan(a), and the variance of normal data is preserved. Song et al., arXiv:2011.13456.
"""

import torch
from torch import Tensor

from sosie.surrogates.flow_networks import QUARTER, TimedTrunk
from sosie.surrogates.transport import Transport

TYPICAL = (-0.5, 1.2)  # mean and width of the logarithm of the noise levels that are learnt
LEAST = 0.01  # angle below which the network is not asked
EDGE = 1e-6


class Denoiser(Transport):
    """Takes noise away in equal steps of the angle; of the flow of probability, or with fresh noise.

    The network gives v = dy / da = cos(a) n - sin(a) x on average: Salimans and Ho, arXiv:2202.00512.
    Before each step of Heun's method but the first the angle is raised by the share ``churn`` of a step by
    fresh noise, so that errors are forgotten: Karras et al., arXiv:2206.00364, algorithm 2.
    """

    def __init__(
        self, size: int, inputs: int, width: int, depth: int, *, steps: int, churn: float
    ) -> None:
        super().__init__()
        self.size, self.steps, self.churn = size, steps, churn
        self.more = size * (steps - 1) if churn else 0
        self.network = TimedTrunk(size, inputs, width, depth)

    def slope(
        self, point: Tensor, angle: Tensor, inputs: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """v (N, n) at a point and angles (N,)."""
        out: Tensor = self.network(point, 1 - angle / QUARTER, inputs, mask)
        return out

    def denoised(
        self, point: Tensor, angle: Tensor, inputs: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """The mean (N, n) of the data behind a point."""
        slope = self.slope(point, angle, inputs, mask)
        return angle.cos()[:, None] * point - angle.sin()[:, None] * slope

    def score(
        self, point: Tensor, angle: Tensor, inputs: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Gradient (N, n) of the logarithm of the density at a point; Tweedie's formula."""
        away = angle.cos()[:, None] * self.denoised(point, angle, inputs, mask) - point
        return away / angle.sin()[:, None] ** 2

    def draw(self, noise: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        point, *fresh = noise.split(self.size, dim=1)
        step = QUARTER / self.steps

        def slope(at: Tensor, angle: float) -> Tensor:
            angles = at.new_full((len(at),), max(angle, LEAST))
            return self.slope(at, angles, inputs, mask)

        for number in range(self.steps):
            angle = QUARTER - number * step
            end = angle - step
            if self.churn and number:
                raised = angle + self.churn * step
                point, angle = churned(point, fresh[number - 1], angle, raised), raised
            first = slope(point, angle)
            second = slope(point + (end - angle) * first, end)
            point = point + (end - angle) * (first + second) / 2
        return point

    def loss(
        self,
        target: Tensor,
        inputs: Tensor,
        mask: Tensor | None,
        time: Tensor,
        rng: torch.Generator,
    ) -> Tensor:
        """Mean squared error (N,) of v at log-normal noise levels (Karras et al., section 5)."""
        noise = torch.randn(target.shape, generator=rng).to(target.device)
        mean, width = TYPICAL
        angle = torch.atan((mean + width * torch.special.ndtri(time.clamp(EDGE, 1 - EDGE))).exp())
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        found = self.slope(cos * target + sin * noise, angle, inputs, mask)
        return (found - (cos * noise - sin * target)).square().mean(dim=1)

    def fold_in(self, mask: Tensor) -> None:
        self.network.trunk.fold_in(mask)


def churned(point: Tensor, noise: Tensor, angle: float, raised: float) -> Tensor:
    """A point (N, n) at an angle taken to a larger one by fresh noise (N, n)."""
    share = torch.tensor(raised).cos() / torch.tensor(angle).cos()
    return share * point + (1 - share**2).sqrt() * noise
