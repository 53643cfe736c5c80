"""Correlations of normal variables of which some are only known to lie below a level."""

from collections.abc import Callable

import torch
from torch import Tensor

from sosie.surrogates.spectra import above

BLOCK = 2048
LEAST = 1e-3  # eigenvalue of the correlations


def fill(level: Tensor, empty: Tensor, rng: torch.Generator) -> Tensor:
    """Normal variables (N, D): what is known, and below the level of an empty one a random value."""
    return torch.where(empty, _below(level, rng), level)


def correlations(
    level: Tensor,
    empty: Tensor,
    weight: Tensor,
    sweeps: int,
    rng: torch.Generator,
    tell: Callable[[int], None] = lambda _: None,
) -> tuple[Tensor, Tensor]:
    """Correlations (D, D) of normal variables (N, D), and values for all of them.

    Where ``empty``, a variable is only known to lie below ``level``; otherwise it is ``level``.
    Each sweep draws the empty ones from what the correlations found before make of the others, and
    takes the correlations from that: data augmentation, Tanner and Wong, J. Am. Stat. Assoc. 82
    (1987) 528. Filled at random instead, variables that are seldom known look uncorrelated.
    ``tell`` gets the number of each sweep.
    """
    found = fill(level, empty, rng)
    for sweep in range(sweeps if empty.any() else 0):
        draw(found, level, empty, matrix(found, weight), rng)
        tell(sweep + 1)
    return matrix(found, weight), found


def matrix(values: Tensor, weight: Tensor) -> Tensor:
    """Correlations (D, D) of values (N, D), with no eigenvalue of about 0."""
    count = values.shape[1]
    covariance = torch.cov(values.double().T, aweights=weight.double()).view(count, count)
    value, vector = torch.linalg.eigh(covariance)
    whole = (vector * value.clamp_min(LEAST)) @ vector.T
    width = whole.diagonal().sqrt()
    return whole / (width[:, None] * width)


def draw(
    values: Tensor, level: Tensor, empty: Tensor, correlation: Tensor, rng: torch.Generator
) -> None:
    """Draw the empty ones of values (N, D) in place, one after the other, given all others."""
    if not empty.any():
        return
    precision = torch.linalg.inv(correlation)
    width = precision.diagonal().rsqrt()
    links = (precision * width**2).T.float().contiguous()
    for rows in torch.arange(len(values)).split(BLOCK):
        # A variable's values lie side by side, which is twice as fast.
        here, top, hidden = (part[rows].T.contiguous() for part in (values, level, empty))
        for cell, spread in enumerate(width.tolist()):
            old = here[cell].clone()
            centre = old - links[cell] @ here
            drawn = centre + spread * _below((top[cell] - centre) / spread, rng)
            here[cell] = torch.where(hidden[cell], drawn, old)
        values[rows] = here.T


def _below(level: Tensor, rng: torch.Generator) -> Tensor:
    share = torch.rand(level.shape, generator=rng) * above(-level)
    drawn = torch.erfinv((2 * share - 1).clamp(-0.999999, 0.999999)) * 2**0.5
    return torch.minimum(drawn, level)
