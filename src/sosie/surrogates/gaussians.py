"""Laws of the vae: normal variables of a code, and of cells above the threshold."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from sosie.surrogates.spectra import above, normal_quantile

HALF_LOG = 0.5 * math.log(2 * math.pi)


def kl(mean: Tensor, log_width: Tensor, other_mean: Tensor, other_log_width: Tensor) -> Tensor:
    """Kullback-Leibler divergence (N,) of independent normal variables (N, n) from others.

    Kingma and Welling, arXiv:1312.6114, appendix B, for any second law.
    """
    away = (mean - other_mean) / other_log_width.exp()
    ratio = log_width - other_log_width
    return (0.5 * (away.square() + (2 * ratio).exp() - 1) - ratio).sum(dim=1)


def log_likelihood(
    value: Tensor, filled: Tensor, low: Tensor, odds: Tensor, mean: Tensor, width: Tensor
) -> Tensor:
    """Logarithm of the likelihood (N, n) of cells that are filled with these odds.

    What fills a cell is normal and cut at ``low``, where that is given, or not cut, with ``low`` at -inf.
    """
    pull = (value - mean) / width
    inside = torch.special.log_ndtr((mean - low) / width)
    of_value = -0.5 * pull.square() - HALF_LOG - width.log() - inside
    return torch.where(filled, of_value + functional.logsigmoid(odds), functional.logsigmoid(-odds))


def drawn(normal: Tensor, low: Tensor, odds: Tensor, mean: Tensor, width: Tensor) -> Tensor:
    """Values (N, n) of normal variables (N, n) by the same law; -inf for an empty cell."""
    tail, filled = above(normal), torch.sigmoid(odds)
    # Of what is above the quantile of the cell's share, the part that is above the value.
    share = (tail / filled).clamp(max=1.0) * above((low - mean) / width)
    value = torch.maximum(mean + width * normal_quantile(1 - share, share), low)
    return torch.where(tail < filled, value, -torch.inf)
