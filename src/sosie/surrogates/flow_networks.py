"""Networks of flow_matching: velocities, and the generator that two flows make with the laws of cells."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sosie.surrogates.cell_laws import Cells
from sosie.surrogates.dense import Dense
from sosie.surrogates.network import Masked
from sosie.surrogates.total_law import RESIDUAL, Total
from sosie.surrogates.transport import Transport

QUARTER = math.pi / 2
FREQUENCIES = 8  # of the time that a velocity sees
EMBEDDED = 128
TOTAL_WIDTH = 64
TOTAL_DEPTH = 2

Factory = Callable[[int, int, int, int], Transport]


class Block(nn.Module):
    """Adds to hidden values (N, w) what two layers make of them and of the embedding (N, e)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.before = nn.Linear(width, width)
        self.condition = nn.Linear(EMBEDDED, width, bias=False)
        self.after = nn.Linear(width, width)
        nn.init.zeros_(self.after.weight)
        nn.init.zeros_(self.after.bias)

    def forward(self, hidden: Tensor, embedded: Tensor, mask: Tensor | None) -> Tensor:
        inner = functional.silu(self.before(self.norm(hidden)) + self.condition(embedded))
        return hidden + self.after(inner if mask is None else inner * mask)


class Trunk(nn.Module):
    """Numbers (N, outputs) of a point (N, n) and an embedding (N, e); 0 at the start."""

    def __init__(self, size: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.enter = nn.Linear(size, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, outputs)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, point: Tensor, embedded: Tensor, mask: Tensor | None = None) -> Tensor:
        """``mask``: (depth, width) or (depth, N, width)."""
        hidden = self.enter(point)
        for layer, block in enumerate(self.blocks):
            hidden = block(hidden, embedded, None if mask is None else mask[layer])
        out: Tensor = self.leave(self.norm(hidden))
        return out

    def fold_in(self, mask: Tensor) -> None:
        """Put the mask (depth, width) into the weights."""
        for block, row in zip(self.blocks, mask, strict=True):
            assert isinstance(block, Block)
            block.after.weight.mul_(row)


def embedding(inputs: int) -> Dense:
    """Layers that make an embedding of inputs (N, C)."""
    made = Dense(inputs, EMBEDDED, EMBEDDED, 1)
    nn.init.xavier_uniform_(made[-1].weight)  # type: ignore[arg-type]
    return made


class TimedTrunk(nn.Module):
    """Numbers (N, n) of a point (N, n) at times (N,) from 0 to 1 for inputs (N, C); 0 at the start."""

    frequencies: Tensor

    def __init__(self, size: int, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", QUARTER * torch.arange(1.0, FREQUENCIES + 1))
        self.embed = embedding(inputs + 2 * FREQUENCIES)
        self.trunk = Trunk(size, size, width, depth)

    def forward(
        self, point: Tensor, time: Tensor, inputs: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """``mask``: (depth, width) or (depth, N, width)."""
        phase = time[:, None] * self.frequencies
        embedded = functional.silu(self.embed(torch.cat([inputs, phase.sin(), phase.cos()], dim=1)))
        out: Tensor = self.trunk(point, embedded, mask)
        return out


class Velocity(Transport):
    """Along the velocity that a network gives at each point and time."""

    def __init__(
        self, size: int, inputs: int, width: int, depth: int, *, solver: str, steps: int
    ) -> None:
        super().__init__()
        self.solver, self.steps = solver, steps
        self.network = TimedTrunk(size, inputs, width, depth)

    def draw(self, noise: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        return integrate(
            lambda point, time: QUARTER * self.network(point, time, inputs, mask),
            noise,
            self.steps,
            self.solver,
        )

    def loss(
        self,
        target: Tensor,
        inputs: Tensor,
        mask: Tensor | None,
        time: Tensor,
        rng: torch.Generator,
    ) -> Tensor:
        noise = torch.randn(target.shape, generator=rng).to(target.device)
        return matching_loss(
            lambda point, t: self.network(point, t, inputs, mask), target, noise, time
        )

    def fold_in(self, mask: Tensor) -> None:
        self.network.trunk.fold_in(mask)


def matching_loss(
    velocity: Callable[[Tensor, Tensor], Tensor], target: Tensor, noise: Tensor, time: Tensor
) -> Tensor:
    """Mean squared error (N,) of a velocity on the path from noise to target (N, n) at times (N,).

    The path is a quarter of a circle, on which a normal variable stays one, so that a velocity of
    0 is right for it. Lipman et al., arXiv:2210.02747; the path: Albergo and Vanden-Eijnden,
    arXiv:2209.15571. In units of the angle, over pi / 2.
    """
    angle = QUARTER * time[:, None]
    point = angle.cos() * noise + angle.sin() * target
    wanted = angle.cos() * target - angle.sin() * noise
    return (velocity(point, time) - wanted).square().mean(dim=1)


def integrate(
    velocity: Callable[[Tensor, Tensor], Tensor], start: Tensor, steps: int, solver: str
) -> Tensor:
    """The point (N, n) at time 1 that is at ``start`` (N, n) at time 0, in equal steps.

    solver: 'euler', of first order, one call of the velocity a step; 'heun', of second order, two.
    """
    point, length = start, 1 / steps
    for step in range(steps):
        time = torch.full((len(start),), step * length, dtype=start.dtype, device=start.device)
        slope = velocity(point, time)
        if solver == "heun":
            slope = (slope + velocity(point + length * slope, time + length)) / 2
        point = point + length * slope
    return point


class Generator(Masked):
    """Features (N, F) and noise (N, noise) to values of cells (N, cells), as ``Cells`` has them.

    First the logarithm of the sum, where there is one: its mean and width at the conditions, and a
    flow of the residual. Then, given it, normal variables of the cells. Those in ``window`` have the
    mean correlations of the training sample, which ``spread`` (D, D) brings in; before, a flow moves
    those of them that are ``near`` the middle. Cells beyond the window are drawn by themselves.
    ``transport`` makes a flow of so many numbers, inputs, hidden units a layer and blocks; with
    ``of_total`` the flow of the sum is made by that, and the other one moves the whole window.
    """

    mean: Tensor
    scale: Tensor
    window: Tensor
    core: Tensor
    spread: Tensor

    def __init__(
        self,
        features: int,
        places: Tensor,
        window: Tensor,
        near: Tensor,
        groups: Tensor,
        censored: bool,
        transport: Factory,
        of_total: Factory | None = None,
        *,
        width: int,
        depth: int,
        law_width: int,
    ) -> None:
        super().__init__()
        size = len(window)
        inputs = features + censored
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("window", window)
        moved = torch.isin(window, near) if of_total is None else torch.ones_like(window)
        self.register_buffer("core", moved.nonzero()[:, 0])
        self.register_buffer("spread", torch.eye(size))
        self.total = Total(features) if censored else None
        first = of_total or transport
        self.total_flow = first(1, features, TOTAL_WIDTH, TOTAL_DEPTH) if censored else None
        self.cells = Cells(inputs, places, near, groups, censored, law_width)
        self.flow = transport(len(self.core), inputs, width, depth)
        self.noise = len(places) + self.flow.more
        if self.total_flow:
            self.noise += 1 + self.total_flow.more
        self.register_buffer("offset", torch.zeros(0))

    def fold_in(self, mask: Tensor) -> None:
        self.flow.fold_in(mask)

    def take(self, offset: Tensor) -> None:
        """Move the laws by an offset (P,) of the correlations, the corrections of the cells, and the sum."""
        for law, change in zip(self.moved(), self.parts(offset), strict=True):
            law.add_(change)

    def moved(self) -> list[Tensor]:
        """What the members' laws differ in."""
        laws = [self.spread, self.cells.trim.odds, self.cells.trim.mean]
        return laws + ([self.total.base, self.total.start] if self.total else [])

    def parts(self, offset: Tensor) -> list[Tensor]:
        """An offset (P,) in pieces of the shapes of ``moved``."""
        laws = self.moved()
        pieces = offset.split([law.numel() for law in laws])
        return [piece.view_as(law) for piece, law in zip(pieces, laws, strict=True)]

    def standardise(self, features: Tensor) -> Tensor:
        """Features (N, F) of mean 0 and standard deviation 1 in the training sample."""
        return (features - self.mean) / self.scale

    def residual(self, features: Tensor, total: Tensor) -> Tensor | None:
        """Residual (N, 1) of the logarithm of the sum (N,), for standardised features (N, F); None
        where the sum has no law."""
        if self.total is None:
            return None
        with torch.no_grad():
            mean, width = self.total(features)
        return ((total - mean) / width)[:, None].clamp(-RESIDUAL, RESIDUAL)

    def inputs(self, features: Tensor, residual: Tensor | None) -> Tensor:
        """What the cells depend on (N, C): standardised features and the residual of the sum."""
        if residual is None:
            return features
        return torch.cat([features, residual.clamp(-RESIDUAL, RESIDUAL)], dim=1)

    def sum_flow(self, features: Tensor, noise: Tensor) -> Tensor:
        """Residual (N, 1) of the sum that noise becomes, for standardised features (N, F)."""
        assert self.total_flow is not None
        return self.total_flow.draw(noise, features)

    def core_flow(self, inputs: Tensor, noise: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normal variables (N, n) of the core that noise becomes, for inputs (N, C)."""
        return self.flow.draw(noise, inputs, mask)

    def forward(
        self, features: Tensor, noise: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Values of the cells, and the logarithm of the sum (N,), None where there is none."""
        features, residual, total = self.standardise(features), None, None
        if self.total and self.total_flow:
            count = 1 + self.total_flow.more
            residual, noise = self.sum_flow(features, noise[:, :count]), noise[:, count:]
            mean, width = self.total(features)
            total = mean + width * residual[:, 0]
        inputs = self.inputs(features, residual)
        normal, more = noise.split([noise.shape[1] - self.flow.more, self.flow.more], dim=1)
        normal, white = normal.clone(), normal[:, self.window]
        start = torch.cat([white[:, self.core], more], dim=1)
        white[:, self.core] = self.core_flow(inputs, start, mask)
        normal[:, self.window] = white @ self.spread
        return self.cells.from_latent(inputs, normal), total
