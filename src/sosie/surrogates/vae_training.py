"""The training of vae: laws of sum and cells first, then encoder and decoder."""

import torch
from torch import Tensor

from sosie.surrogates.autoencoder import Autoencoder
from sosie.surrogates.descent import Known
from sosie.surrogates.flow_networks import Generator
from sosie.surrogates.flow_training import FlowModule
from sosie.surrogates.vae import Vae

WARM = 0.3  # share of the training in which the weight of the divergence rises to one


class VaeModule(FlowModule):
    """The decoder learns the correlations of cells too, from what is known of empty ones."""

    surrogate = Vae

    @torch.no_grad()
    def _points(self, known: Known, held: Known, rng: torch.Generator) -> list[Tensor]:
        """Levels of the cells and which are empty (1, N, 2 n)."""
        latents = [self._latents(self.generator, seen) for seen in (known, held)]
        return [torch.cat([level, empty.float()], dim=1)[None] for level, empty in latents]

    def _correlated(
        self, generator: Generator, seen: Known, drawn: Tensor, rng: torch.Generator
    ) -> Tensor:
        """No changes (K, D, D): there are no mean correlations."""
        return torch.zeros(len(drawn), *generator.spread.shape)

    def training_step(self, _: int, batch: int) -> None:
        assert isinstance(self.generator.flow, Autoencoder)
        # A code that costs its whole divergence from the start is never used.
        self.generator.flow.share = min(1.0, self.progress / WARM)
        super().training_step(_, batch)
