"""What surrogates with a generator under fixed dropout masks share: samples, members, files."""

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sosie.detectors import find
from sosie.errors import IntermediateError
from sosie.surrogates.base import Array, Origin, Surrogate, pattern_of
from sosie.ties import complete

WEIGHTS = "weights/"
GPU_BLOCK = 4096  # events at a time, to bound the memory


class Masked(nn.Module):
    """A generator: features (N, F), noise (N, noise) and mask to scaled responses (N, *shape).

    ``hidden`` are the layers whose outputs the rows of a mask (depth, width) multiply; ``offset``,
    where there is one, is fitted for each mask after the training.
    """

    noise: int
    hidden: nn.ModuleList
    offset: Tensor

    def take(self, offset: Tensor) -> None:
        """Take over the offset that belongs to a mask."""
        self.offset.copy_(offset)

    def fold_in(self, mask: Tensor) -> None:
        """Put the mask into the weights, after which the generator without it does the same.

        Leaky ReLU is positively homogeneous, so a mask scales the rows of the layer before it.
        """
        for layer, row in zip(self.hidden, mask, strict=True):
            assert isinstance(layer, nn.Linear)
            layer.weight.mul_(row[:, None])
            layer.bias.mul_(row)


G = TypeVar("G", bound=Masked)


def draw_masks(count: int, depth: int, width: int, dropout: float, rng: torch.Generator) -> Tensor:
    """Fixed masks (count, depth, width): a unit is 0 with probability p = dropout, else 1/(1-p)."""
    kept = torch.rand(count, depth, width, generator=rng) >= dropout
    return kept.float() / (1 - dropout)


def fold(generator: G, mask: Tensor, offset: Tensor | None = None) -> G:
    """The generator with the mask (depth, width) in its weights, equal to it under the mask.

    ``offset``: the one that belongs to the mask.
    """
    folded = copy.deepcopy(generator)
    with torch.no_grad():
        folded.fold_in(mask)
        if offset is not None:
            folded.take(offset)
    return folded


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: a block is too small for more, which wait for one another when a core is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def input_count(origin: Origin) -> int:
    """How many inputs ``inputs`` gives."""
    ties = origin.transform.ties
    return int(origin.transform.features.used.sum()) + (ties.count if ties else 0)


def inputs(origin: Origin, conditions: Array, pattern: Array | None) -> Array:
    """What a network sees of conditions (N, C): scaled features and the pattern, float32."""
    features = find(origin.detector).features(conditions.astype(np.float64))
    scaled = origin.transform.features(features).astype(np.float32)
    if origin.transform.ties is None or pattern is None:
        return scaled
    return np.hstack([scaled, origin.transform.ties.one_hot(pattern).astype(np.float32)])


def to_response(origin: Origin, image: Array, pattern: Array | None) -> Array:
    """Scaled responses (N, *shape) to responses in house units, ties exact."""
    response = origin.transform.response.inverse(image)
    ties = find(origin.detector).ties
    return response if ties is None or pattern is None else complete(ties, response, pattern)


class Network(Surrogate):
    """A trained generator with its masks, or a member: a generator with one mask folded in."""

    def __init__(
        self,
        origin: Origin,
        settings: Mapping[str, Any],
        generator: Masked,
        masks: Array | None,
        offsets: Array | None = None,
    ) -> None:
        super().__init__(origin, settings)
        self.generator = generator.eval()
        self.masks, self.offsets = masks, offsets

    @property
    @abstractmethod
    def block(self) -> int:
        """Events at a time, so that what the generator computes stays in the cache."""

    @staticmethod
    def inputs(
        origin: Origin, settings: Mapping[str, Any], conditions: Array, pattern: Array | None
    ) -> Array:
        """What the generator sees of conditions (N, C): (N, F) float32."""
        return inputs(origin, conditions, pattern)

    def respond(
        self, features: Tensor, noise: Tensor, conditions: Array, pattern: Array | None
    ) -> Array:
        """Responses (N, *shape) in house units for features and noise."""
        image = self.generator(features, noise).cpu().numpy()
        return to_response(self.origin, image, pattern)

    @staticmethod
    @abstractmethod
    def build(origin: Origin, settings: Mapping[str, Any]) -> Masked:
        """A generator of the size that the settings ask for, not yet trained."""

    def sample(self, conditions: Array, rng: np.random.Generator) -> Array:
        """Responses (N, *shape) float32; raises IntermediateError for what is not yet a member."""
        if self.masks is not None:
            raise IntermediateError(
                "a trained network with all its masks is no member; run ensemble and take a member"
            )
        pattern = pattern_of(self.origin, conditions)
        seen = self.inputs(self.origin, self.settings, conditions, pattern)
        features = torch.from_numpy(seen)
        noise = rng.standard_normal((len(conditions), self.generator.noise), np.float32)
        response = np.empty((len(conditions), *self.detector.shape), np.float32)
        device = next(self.generator.parameters()).device
        with torch.inference_mode(), one_thread():
            block = self.block if device.type == "cpu" else GPU_BLOCK
            for start in range(0, len(conditions), block):
                here = slice(start, start + block)
                own = None if pattern is None else pattern[here]
                given = features[here].to(device), torch.from_numpy(noise[here]).to(device)
                response[here] = self.respond(*given, conditions[here], own)
        return response

    def move(self, device: str) -> bool:
        """Move the generator."""
        self.generator.to(device)
        return True

    def members(self, count: int) -> list[Self]:
        """The generator under each of the first ``count`` masks."""
        there = 0 if self.masks is None else len(self.masks)
        if self.masks is None or count > there:
            raise IntermediateError(f"{count} members of {there} trained masks; run train again")
        return [
            type(self)(
                replace(self.origin, member=member),
                self.settings,
                fold(
                    self.generator,
                    torch.from_numpy(self.masks[member]),
                    None if self.offsets is None else torch.from_numpy(self.offsets[member]),
                ),
                None,
            )
            for member in range(count)
        ]

    def arrays(self) -> dict[str, Array]:
        """The weights, and masks and offsets where they are not folded."""
        state = self.generator.state_dict()
        named = {f"{WEIGHTS}{name}": value.numpy() for name, value in state.items()}
        of_members = {"masks": self.masks, "offsets": self.offsets}
        return named | {name: array for name, array in of_members.items() if array is not None}

    @classmethod
    def from_arrays(
        cls, origin: Origin, settings: Mapping[str, Any], arrays: Mapping[str, Array]
    ) -> Self:
        """The generator from its file; raises ValueError for weights of another network."""
        generator = cls.build(origin, settings)
        state = {
            name.removeprefix(WEIGHTS): torch.from_numpy(np.array(array))
            for name, array in arrays.items()
            if name.startswith(WEIGHTS)
        }
        try:
            generator.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(" ".join(str(error).split())[:200]) from None
        return cls(origin, settings, generator, arrays.get("masks"), arrays.get("offsets"))
