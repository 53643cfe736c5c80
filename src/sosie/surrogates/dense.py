"""Dense layers."""

from itertools import pairwise

from torch import nn

FAR = 4.0  # standard deviations beyond which what the layers correct stays as it is


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
