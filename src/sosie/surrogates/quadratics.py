"""Quadratics in the features, and their least squares."""

from itertools import combinations_with_replacement

import torch
from torch import Tensor


def quadratic(features: Tensor, far: float | None = None) -> Tensor:
    """One, the features (N, F), and their products; features cut at ``far``, where that is given."""
    near = features if far is None else features.clamp(-far, far)
    pairs = combinations_with_replacement(range(near.shape[1]), 2)
    products = [near[:, i] * near[:, j] for i, j in pairs]
    return torch.stack([torch.ones_like(near[:, 0]), *near.T, *products], dim=1)


def terms(features: int) -> int:
    """How many numbers ``quadratic`` gives."""
    return 1 + features + features * (features + 1) // 2


def regression(basis: Tensor, weight: Tensor, ridge: Tensor | float = 0.0) -> Tensor | None:
    """The matrix (terms, N) that takes values (N, ...) to the coefficients of least squares.

    basis (N, terms), weight (N,), also negative; None where they leave no minimum. ``ridge``
    (terms,): events that speak for a coefficient of 0.
    """
    weighted = basis.T * weight
    least = torch.zeros_like(basis[0]) + 1e-5 * weight.sum() + ridge
    factor, failed = torch.linalg.cholesky_ex(weighted @ basis + torch.diag(least))
    return None if failed else torch.cholesky_solve(weighted, factor)
