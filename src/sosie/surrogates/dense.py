"""Dense layers, and the terms of a quadratic that they correct."""

from itertools import pairwise

import torch
from torch import Tensor, nn

FAR = 4.0  # standard deviations beyond which a quadratic is not followed


class Dense(nn.Sequential):
    """Hidden layers of a width, and an output that starts at 0."""

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        sizes = [inputs, *[width] * depth]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.SiLU()]
        last = nn.Linear(width, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(*layers, last)


def quadratic(inputs: Tensor) -> Tensor:
    """1, inputs (N, C) and their products (N, 1 + C + C (C + 1) / 2), inputs cut at 4."""
    near = inputs.clamp(-FAR, FAR)
    first, second = torch.triu_indices(near.shape[1], near.shape[1])
    one = torch.ones(len(near), 1, device=near.device)
    return torch.cat([one, near, near[:, first] * near[:, second]], dim=1)


def terms(inputs: int) -> int:
    """How many numbers ``quadratic`` gives."""
    return 1 + inputs + inputs * (inputs + 1) // 2
