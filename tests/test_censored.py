"""Correlations of normal variables that are hidden below a level."""

import pytest
import torch
from torch import Tensor

from sosie.surrogates.censored import correlations, draw, fill, matrix

LEVEL = (1.3, 1.0, -1.0)
WANTED = torch.tensor([[1.0, 0.6, 0.3], [0.6, 1.0, 0.5], [0.3, 0.5, 1.0]])


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def hidden() -> tuple[Tensor, Tensor]:
    values = torch.randn(12_000, 3, generator=rng(1)) @ torch.linalg.cholesky(WANTED).T
    empty = values < torch.tensor(LEVEL)
    return torch.where(empty, torch.tensor(LEVEL), values), empty


def test_correlations_of_hidden_variables_come_out(hidden: tuple[Tensor, Tensor]) -> None:
    """At random below their level they would look independent: 0.15 instead of 0.6."""
    weight = torch.ones(12_000)
    told: list[int] = []
    found, values = correlations(*hidden, weight, 60, rng(2), told.append)
    assert told == list(range(1, 61))
    plain = matrix(fill(*hidden, rng(3)), weight)
    assert float(plain[0, 1]) < 0.25
    assert torch.allclose(found.float(), WANTED, atol=0.05)
    assert torch.allclose(values.mean(dim=0), torch.zeros(3), atol=0.03)
    assert torch.allclose(values.std(dim=0), torch.ones(3), atol=0.04)


def test_what_is_known_stays_and_what_is_drawn_is_below_its_level(
    hidden: tuple[Tensor, Tensor],
) -> None:
    level, empty = hidden
    values = fill(level, empty, rng(4))
    draw(values, level, empty, WANTED.double(), rng(5))
    assert torch.equal(values[~empty], level[~empty])
    assert (values <= level).all()


def test_a_hidden_variable_is_drawn_given_the_others() -> None:
    """Without a level it has the mean and the width that its correlation with the known one says."""
    known = torch.randn(40_000, generator=rng(6))
    level = torch.stack([known, torch.full_like(known, 20.0)], dim=1)
    empty = torch.tensor([False, True]).expand_as(level)
    values = fill(level, empty, rng(7))
    draw(values, level, empty, torch.tensor([[1.0, 0.8], [0.8, 1.0]]).double(), rng(8))
    rest = values[:, 1] - 0.8 * known
    assert float(rest.mean()) == pytest.approx(0, abs=0.01)
    assert float(rest.std()) == pytest.approx(0.6, abs=0.01)
    assert float(torch.corrcoef(torch.stack([rest, known]))[0, 1]) == pytest.approx(0, abs=0.02)


def test_events_count_by_their_weight() -> None:
    values = torch.randn(20_000, 2, generator=rng(9))
    values[:10_000, 1] = values[:10_000, 0]
    weight = torch.cat([torch.full((10_000,), 3.0), torch.ones(10_000)])
    assert float(matrix(values, weight)[0, 1]) == pytest.approx(0.75, abs=0.02)


def test_correlations_can_be_inverted_where_variables_are_the_same() -> None:
    value = torch.randn(1000, 1, generator=rng(10))
    found = matrix(value.expand(-1, 3), torch.ones(1000))
    assert torch.linalg.eigvalsh(found).min() > 1e-4
    assert torch.allclose(found.diagonal(), torch.ones(3).double())
