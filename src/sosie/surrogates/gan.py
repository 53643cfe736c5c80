"""gan: the generator of wgan_gp in a non-saturating GAN with spectral normalisation; under fixed masks.

Goodfellow et al., arXiv:1406.2661; Miyato et al., arXiv:1802.05957.
"""

from sosie.surrogates.wgan_gp import WganGp


class Gan(WganGp):
    """A trained generator with its masks, or a member: a generator with one mask folded in."""

    kind = "gan"
