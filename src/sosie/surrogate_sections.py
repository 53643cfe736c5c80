"""The surrogates of a study: the settings of each kind."""

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from sosie.flow_sections import Diffusion, Flow, FlowMatching, Vae
from sosie.network_section import Network, Prioritised
from sosie.section import Name, Section

# 2 E|y - x| - E|x - x'| - alpha E|u - x| falls with the width of x without end from 2 - sqrt(2) on.
UNBOUNDED = 2 - 2**0.5


class Library(Section):
    """One of the nearest training events, its response scaled; no network."""

    kind: Literal["library"]
    ensemble: ClassVar[bool] = False
    neighbours: int = Field(
        default=1, ge=1, le=10000, description="training events among which one is drawn"
    )


class Mix(Section):
    """Two of the nearest training events, mixed in random shares; no network."""

    kind: Literal["mix"]
    ensemble: ClassVar[bool] = False
    neighbours: int = Field(
        default=2, ge=2, le=10000, description="training events among which two are drawn"
    )


class Sources(Network, Prioritised):
    """A GAN whose generator draws shares of a sum from moving sources."""

    epochs: int = Field(default=100, ge=1, description="passes over the training sample")
    batch: int = Field(default=64, ge=2, description="events a step")
    latent: int = Field(default=32, ge=1, description="noise dimensions beside one for each cell")
    width: int = Field(default=256, ge=8, description="hidden units a layer of the generator")
    depth: int = Field(default=3, ge=1, le=20, description="hidden layers of the generator")
    sources: int = Field(
        default=5, ge=1, le=100, description="moving sources that make up the response"
    )
    critic_width: int = Field(default=256, ge=8, description="hidden units a layer of the critic")
    dropout: float = Field(
        default=0.1, ge=0, lt=1, description="share of hidden units that a mask removes"
    )
    summaries: float = Field(
        default=5.0,
        gt=0,
        le=100,
        description="weight of the summaries that the critic sees beside the cells",
    )
    n_critic: int = Field(default=1, ge=1, description="critic steps a generator step")
    rate: float = Field(default=4e-4, gt=0, lt=1, description="learning rate until it falls")
    critic_rate: float = Field(default=1e-3, gt=0, lt=1, description="learning rate of the critic")
    averaging: float = Field(default=0.999, ge=0, lt=1, description="decay of the averaged weights")
    validate_every: int = Field(default=5, ge=1, description="epochs between validations")


class WganGp(Sources):
    """Wasserstein GAN with gradient penalty."""

    kind: Literal["wgan_gp"]
    penalty: float = Field(default=10.0, gt=0, description="weight of the gradient penalty")


class Gan(Sources):
    """Non-saturating GAN with spectral normalisation."""

    kind: Literal["gan"]


class CramerGan(Network, Prioritised):
    """Cramér GAN: a dense generator against a critic that measures an energy distance."""

    kind: Literal["cramer_gan"]
    repels: ClassVar[bool] = True
    separate: Name | None = Field(
        default=None,
        description="condition, by absolute value, with a network of its own for each value",
    )
    epochs: int = Field(default=100, ge=1, description="passes over the training sample")
    batch: int = Field(default=512, ge=2, description="events a step")
    latent: int = Field(default=16, ge=1, description="noise dimensions")
    width: int = Field(default=128, ge=8, description="hidden units a layer of the generator")
    depth: int = Field(default=4, ge=1, le=20, description="hidden layers of the generator")
    critic_width: int = Field(default=128, ge=8, description="hidden units a layer of the critic")
    vector: int = Field(
        default=64, ge=1, le=10000, description="numbers in which the critic measures distances"
    )
    repulsion: float = Field(
        default=0.3,
        ge=0,
        lt=UNBOUNDED,
        description="repulsion of a repulsive member at the start of its training",
    )
    repulsion_end: float = Field(
        default=0.0, ge=0, lt=UNBOUNDED, description="repulsion at the end of the training"
    )
    dropout: float = Field(
        default=0.05, ge=0, lt=1, description="share of hidden units that a mask removes"
    )
    n_critic: int = Field(default=1, ge=1, description="critic steps a generator step")
    penalty: float = Field(default=1.0, gt=0, description="weight of the gradient penalty")
    rate: float = Field(default=1e-3, gt=0, lt=1, description="learning rate until it falls")
    critic_rate: float = Field(default=1e-3, gt=0, lt=1, description="learning rate of the critic")
    averaging: float = Field(default=0.999, ge=0, lt=1, description="decay of the averaged weights")
    validate_every: int = Field(default=5, ge=1, description="epochs between validations")


class OneStep(Network):
    """A surrogate of kind flow_matching in one or two calls of its networks."""

    kind: Literal["one_step"]
    teacher: Name = Field(
        description="the surrogate of kind flow_matching that it learns from, trained before"
    )
    epochs: int = Field(
        default=60, ge=1, description="passes over the conditions of the training sample"
    )
    batch: int = Field(default=256, ge=2, description="events a step")
    steps: int = Field(default=1, ge=1, le=2, description="calls of each network")
    rate: float = Field(default=1e-3, gt=0, lt=1, description="learning rate until it falls")
    averaging: float = Field(default=0.999, ge=0, lt=1, description="decay of the averaged weights")
    validate_every: int = Field(default=1, ge=1, description="epochs between validations")


class Kde(Section):
    """Kernel density in standardised response and feature space; no network."""

    kind: Literal["kde"]
    ensemble: ClassVar[bool] = False
    separate: Name | None = Field(
        default=None,
        description="condition, by absolute value, with a density of its own for each value",
    )
    neighbours: int = Field(
        default=20, ge=1, le=10000, description="training events among which one is drawn"
    )
    bandwidth: float = Field(
        default=0.5, ge=0, le=100, description="width of the kernel in units of Silverman's"
    )


class External(Section):
    """Responses that another program made for the conditions of the test sample; no training."""

    kind: Literal["external"]
    ensemble: ClassVar[bool] = False
    files: list[str] = Field(
        min_length=1,
        description="paths or globs of ROOT files of the layout of ingest, event tables or files of "
        "the CaloChallenge",
    )


class Parametric(Section):
    """Gaussian of the transformed response, its mean and covariance fitted; no network."""

    kind: Literal["parametric"]
    ensemble: ClassVar[bool] = False
    separate: Name | None = Field(
        default=None,
        description="condition, by absolute value, with a fit of its own for each value",
    )
    components: int = Field(
        default=60, ge=1, le=10000, description="principal components whose covariance is fitted"
    )


AnySurrogate = Annotated[
    Library
    | Mix
    | WganGp
    | Gan
    | CramerGan
    | FlowMatching
    | Flow
    | Vae
    | Diffusion
    | OneStep
    | Parametric
    | Kde
    | External,
    Field(discriminator="kind"),
]

NETWORKS = [
    word
    for kind in get_args(get_args(AnySurrogate)[0])
    if issubclass(kind, Network)
    for word in get_args(kind.model_fields["kind"].annotation)
]

SHARES = [
    word
    for kind in Sources.__subclasses__()
    for word in get_args(kind.model_fields["kind"].annotation)
]
"""Kinds that draw shares of a sum, which numbers that may be negative do not have."""
