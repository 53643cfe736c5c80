"""Fits of small networks to whole samples."""

import torch
from torch import Tensor, nn

from sosie.surrogates.descent import STEPS, Descent


def fit(events: int, epochs: int, held_at: float) -> tuple[float, list[tuple[int, int]], int]:
    """A number fitted to 0.5, held by its distance to ``held_at``: itself, what was told, steps."""
    network, steps, told = nn.Linear(1, 1, bias=False), 0, []
    nn.init.zeros_(network.weight)

    def loss_of(rows: Tensor) -> Tensor:
        nonlocal steps
        steps += 1
        return (network.weight - 0.5).square().mean() + 0 * rows.sum()

    def held() -> float:
        return float((network.weight - held_at).abs())

    descent = Descent(network, loss_of, held, events)
    rng = torch.Generator().manual_seed(1)
    descent.run(epochs, rng, lambda epoch, of, _: told.append((epoch, of)))
    return float(network.weight.detach()), told, steps


def test_few_events_are_gone_through_more_often() -> None:
    found, told, steps = fit(700, 2, 0.5)
    assert steps == STEPS
    assert told[-1] == (STEPS // 2, STEPS // 2)
    assert abs(found - 0.5) < 0.01


def test_many_events_are_gone_through_as_often_as_is_asked() -> None:
    _, told, steps = fit(256 * 800, 2, 0.5)
    assert steps == 1600
    assert told == [(1, 2), (2, 2)]


def test_the_weights_are_those_that_describe_other_events_best() -> None:
    found, _, _ = fit(700, 2, 0.25)
    assert abs(found - 0.25) < 0.01
