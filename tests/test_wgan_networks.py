"""The noise of a cell in the generator of wgan_gp follows a gamma distribution."""

import numpy as np
import pytest
import torch
from scipy import stats

from sosie.surrogates.wgan_networks import log_gamma


def drawn(variance: float, count: int = 200_000) -> np.ndarray:
    z = torch.from_numpy(stats.norm.ppf((np.arange(count) + 0.5) / count).astype(np.float32))
    return log_gamma(z, torch.full((count,), variance)).exp().numpy().astype(np.float64)


@pytest.mark.parametrize("variance", [0.01, 0.1, 0.5, 1.0])
def test_moments_are_those_of_a_gamma_variable(variance):
    found = drawn(variance)
    assert found.mean() == pytest.approx(1, abs=0.005)
    assert found.var() == pytest.approx(variance, rel=0.01)


@pytest.mark.parametrize("variance", [0.1, 1.0, 2.0])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.99])
def test_quantiles_are_those_of_a_gamma_variable(variance, share):
    true = stats.gamma(1 / variance, scale=variance).ppf(share)
    assert np.quantile(drawn(variance), share) == pytest.approx(true, rel=0.04)


def test_gradients_stay_finite_where_a_cell_is_all_but_empty():
    z = torch.full((3,), -6.0, requires_grad=True)
    variance = torch.tensor([0.1, 5.0, 148.0], requires_grad=True)
    log_gamma(z, variance).sum().backward()
    assert torch.isfinite(z.grad).all()
    assert torch.isfinite(variance.grad).all()
