"""wgan_gp: Wasserstein GAN with gradient penalty; the generator under fixed dropout masks.

Gulrajani et al., NeurIPS 2017, arXiv:1704.00028.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch

from sosie.detectors import find
from sosie.errors import IntermediateError
from sosie.surrogates.base import Array, Origin, Surrogate
from sosie.surrogates.wgan_networks import Generator, fold

WEIGHTS = "weights/"
BLOCK = 256  # events at a time, so that what the generator computes stays in the cache


def build_generator(origin: Origin, settings: Mapping[str, Any]) -> Generator:
    """A generator of the size that the settings ask for, not yet trained."""
    return Generator(
        find(origin.detector).shape,
        int(origin.transform.features.used.sum()),
        origin.transform.response,
        **{name: settings[name] for name in ("latent", "width", "depth", "sources")},
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: a block is too small for more, which wait for one another when a core is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class WganGp(Surrogate):
    """A trained generator with its masks, or a member: a generator with one mask folded in."""

    kind = "wgan_gp"

    def __init__(
        self,
        origin: Origin,
        settings: Mapping[str, Any],
        generator: Generator,
        masks: Array | None,
    ) -> None:
        super().__init__(origin, settings)
        self.generator = generator.eval()
        self.masks = masks

    def sample(self, conditions: Array, rng: np.random.Generator) -> Array:
        """Responses (N, *shape) float32; raises IntermediateError for what is not yet a member."""
        if self.masks is not None:
            raise IntermediateError(
                "a trained network with all its masks is no member; run ensemble and take a member"
            )
        features = torch.from_numpy(self.features(conditions).astype(np.float32))
        noise = rng.standard_normal((len(conditions), self.generator.noise), np.float32)
        response = np.empty((len(conditions), *self.detector.shape), np.float32)
        with torch.inference_mode(), one_thread():
            for start in range(0, len(conditions), BLOCK):
                here = slice(start, start + BLOCK)
                image = self.generator(features[here], torch.from_numpy(noise[here])).numpy()
                response[here] = self.origin.transform.response.inverse(image)
        return response

    def members(self, count: int) -> list[Self]:
        """The generator under each of the first ``count`` masks."""
        there = 0 if self.masks is None else len(self.masks)
        if self.masks is None or count > there:
            raise IntermediateError(f"{count} members of {there} trained masks; run train again")
        return [
            type(self)(
                replace(self.origin, member=member),
                self.settings,
                fold(self.generator, torch.from_numpy(self.masks[member])),
                None,
            )
            for member in range(count)
        ]

    def arrays(self) -> dict[str, Array]:
        """The weights, and the masks where they are not folded."""
        state = self.generator.state_dict()
        named = {f"{WEIGHTS}{name}": value.numpy() for name, value in state.items()}
        return named if self.masks is None else {**named, "masks": self.masks}

    @classmethod
    def from_arrays(
        cls, origin: Origin, settings: Mapping[str, Any], arrays: Mapping[str, Array]
    ) -> Self:
        """The generator from its file; raises ValueError for weights of another network."""
        generator = build_generator(origin, settings)
        state = {
            name.removeprefix(WEIGHTS): torch.from_numpy(np.array(array))
            for name, array in arrays.items()
            if name.startswith(WEIGHTS)
        }
        try:
            generator.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(" ".join(str(error).split())[:200]) from None
        return cls(origin, settings, generator, arrays.get("masks"))
