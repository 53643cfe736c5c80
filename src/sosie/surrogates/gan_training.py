"""The training of gan: the two critics of wgan_gp tell real from drawn, none steeper than one."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from sosie.surrogates.gan import Gan
from sosie.surrogates.wgan_training import WganModule


class GanModule(WganModule):
    """Scores are logarithms of the odds that a response is real; the largest singular value of each
    layer of a critic is one."""

    surrogate = Gan
    losses: tuple[str, ...] = ("critic", "generator")

    def prepare(self, response: Tensor, image: Tensor) -> None:
        super().prepare(response, image)
        normalise(self.critic)

    def critic_loss(
        self, rows: Tensor, shown: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        features, weight, fake = self.features[rows], self.weight[rows], shown.detach()
        loss = torch.zeros((), device=self.device)
        with torch.no_grad():
            seen = self._seen(self.real[rows], rows), self._seen(fake, rows)
        for critic, true, false in zip(self.critic, *seen, strict=True):
            scores = critic(torch.cat([true, false]), features.repeat(2, 1)).chunk(2)
            loss = loss + (weight * critic_losses(*scores)).mean()
        real = self.real[rows, : self.cells]
        return loss + self.regression(real, fake[:, : self.cells], rows), {"critic": loss}

    def generator_loss(self, rows: Tensor, shown: Tensor, rng: torch.Generator) -> Tensor:
        features, weight = self.features[rows], self.weight[rows]
        seen = zip(self.critic, self._seen(shown, rows), strict=True)
        loss: Tensor = sum(
            ((weight * functional.softplus(-critic(x, features))).mean() for critic, x in seen),
            torch.zeros((), device=self.device),
        )
        return loss


def critic_losses(real: Tensor, fake: Tensor) -> Tensor:
    """Negative logarithm of the likelihood (N,) of telling both apart, for scores (N,)."""
    return functional.softplus(-real) + functional.softplus(fake)


def normalise(critic: nn.Module) -> None:
    """Divide each dense layer by its largest singular value, from now on."""
    for layer in critic.modules():
        if isinstance(layer, nn.Linear):
            spectral_norm(layer)
