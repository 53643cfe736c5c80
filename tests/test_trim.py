"""Corrections that make the laws of cells right on average."""

import torch
from torch import Tensor

from sosie.surrogates.trim import ODDS, RIDGE, Law, Trim

EVENTS, CELLS = 20_000, 6
GROUPS = torch.tensor([0, 0, 0, 1, 1, 2])


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(inputs: Tensor) -> Law:
    """A law that knows nothing of the inputs."""
    shape = len(inputs), CELLS
    return torch.zeros(shape), torch.full(shape, 1.0), torch.full(shape, 0.5)


def sample() -> tuple[Tensor, Tensor]:
    """Odds exp(input - group / 2) to be filled; values of mean 2 + input and width 0.5. The last cell is
    missing in half of the events."""
    inputs = torch.randn(EVENTS, 1, generator=rng(1))
    share = torch.rand(EVENTS, CELLS, generator=rng(2))
    values = 2 + inputs + 0.5 * torch.randn(EVENTS, CELLS, generator=rng(3))
    filled = share < torch.sigmoid(inputs - GROUPS / 2)
    values = torch.where(filled, values, -torch.inf)
    values[::2, -1] = torch.nan
    return inputs, values


def fitted(weight: Tensor) -> Trim:
    inputs, values = sample()
    trim = Trim(1, GROUPS)
    trim.fit(plain, lambda: zip(*(x.split(4096) for x in (inputs, values, weight)), strict=True))
    return trim


def test_the_likeliest_correction_is_found() -> None:
    trim = fitted(torch.ones(EVENTS))
    at = torch.tensor([[-1.0], [0.0], [1.0]])
    odds, mean, width = trim(at, plain(at))
    assert torch.allclose(odds, at - GROUPS / 2, atol=0.1)
    assert torch.allclose(mean, (2 + at).expand_as(mean), atol=0.04)
    assert torch.equal(width, plain(at)[2])


def test_each_group_is_filled_as_often_as_in_the_sample_but_for_the_ridge() -> None:
    trim = fitted(torch.ones(EVENTS))
    inputs, values = sample()
    there, share = ~values.isnan(), torch.sigmoid(trim(inputs, plain(inputs))[0])
    off = (values.isfinite().float() - share) * there
    for term, moment in enumerate((torch.ones(EVENTS, 1), inputs, inputs**2)):
        for group in range(3):
            more = (off * moment)[:, group == GROUPS].sum()
            assert abs(more - RIDGE * trim.odds[term, group]) < 0.2
            assert abs(more) < 0.02 * values[:, group == GROUPS].isfinite().sum()


def test_events_count_by_their_weight() -> None:
    inputs, _ = sample()
    trim = fitted((inputs[:, 0] > 0).float())
    odds, _, _ = trim(inputs[:1] * 0 + 1.0, plain(inputs[:1]))
    assert torch.allclose(odds, 1.0 - GROUPS / 2, atol=0.15)


def test_a_cell_that_is_never_filled_has_odds_that_can_be_divided_by() -> None:
    """Odds of exp(-200) are a probability of 0 in single precision, and gradients of it no numbers."""
    inputs = torch.zeros(2, 1)
    law = (torch.full((2, CELLS), -200.0), *plain(inputs)[1:])
    odds, _, _ = Trim(1, GROUPS)(inputs, law)
    assert torch.equal(odds, torch.full_like(odds, -ODDS))
    assert (torch.sigmoid(odds) > 0).all()


def test_samples_drawn_again_move_the_correction_as_new_samples_do() -> None:
    trim = Trim(1, GROUPS)
    inputs, values = sample()
    parts = (inputs, values, torch.ones(EVENTS))

    def blocks() -> list[tuple[Tensor, ...]]:
        return list(zip(*(x.split(4096) for x in parts), strict=True))

    trim.fit(plain, blocks)
    drawn = torch.poisson(torch.ones(40, EVENTS), generator=rng(5))
    odds, mean = trim.changes(plain, blocks, drawn)
    # Of the first group alone, at input 0: the errors of the likeliest quadratic.
    share = torch.sigmoid(inputs[:, 0])
    shape = torch.stack([torch.ones(EVENTS), inputs[:, 0], inputs[:, 0] ** 2])
    of_odds = torch.linalg.inv(3 * (shape * share * (1 - share)) @ shape.T)[0, 0].sqrt()
    of_mean = torch.linalg.inv(3 * (shape * share / 0.25) @ shape.T)[0, 0].sqrt()
    assert 0.75 < odds[:, 0, 0].std() / of_odds < 1.3
    assert 0.75 < mean[:, 0, 0].std() / of_mean < 1.3
    assert odds[:, 0, 0].mean().abs() < 0.5 * of_odds
    none, nothing = trim.changes(plain, blocks, torch.ones(1, EVENTS))
    assert not none.any()
    assert not nothing.any()
