"""The surrogates of a study: the settings of each kind."""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from sosie.section import Name, Section

REPULSION = ("repulsion", "repulsion_end")
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


class Network(Section):
    """How a network is trained, whatever its kind."""

    ensemble: ClassVar[bool] = True
    repels: ClassVar[bool] = False
    method: Literal["dropout_masks", "independent", "repulsive"] = Field(
        default="dropout_masks", description="how the members of the ensemble come about"
    )
    fraction: float = Field(
        default=1,
        gt=0,
        le=1,
        description="share of the training sample's groups that is learnt from",
    )
    clip: float | None = Field(
        default=None, gt=0, description="largest norm of the gradient of a step; longer ones shrink"
    )
    patience: int | None = Field(
        default=None, ge=1, description="epochs without a better distance after which it ends"
    )
    budget: float | None = Field(
        default=None, gt=0, description="minutes of wall time after which it ends"
    )
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="how the learning rate falls"
    )
    precision: Literal["full", "mixed"] = Field(
        default="full", description="mixed: bfloat16 where a GPU has it"
    )
    device: Literal["auto", "cpu", "gpu"] = Field(default="auto", description="where it is trained")

    @field_validator("method")
    @classmethod
    def _has_the_critic(cls, method: str) -> str:
        if method == "repulsive" and not cls.repels:
            raise ValueError(
                "repulsive needs a critic that measures an energy distance; take cramer_gan"
            )
        return method

    @model_serializer(mode="wrap")
    def _without_defaults(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Values without these at their defaults, so that the files of a surrogate do not name them."""
        fields, chosen = Network.model_fields, getattr(self, "prioritise", [])
        return {
            name: value
            for name, value in plain(self).items()
            if (name not in fields or value != fields[name].default)
            and (name not in REPULSION or self.method == "repulsive")
            and (name not in Prioritised.model_fields or chosen)
        }


class Prioritised(Section):
    """What a GAN is to get right before all else."""

    prioritise: list[str] = Field(
        default=[], description="observables that the critics see beside the response"
    )
    regressor: Literal["needed", "always", "untrained"] = Field(
        default="needed",
        description="which of them a regressor guesses: those that are no averages over the cells, "
        "or all; untrained: all, with weights as they were drawn",
    )
    regressor_width: int = Field(
        default=64, ge=1, description="hidden units in each of the two layers of the regressor"
    )


class WganGp(Network, Prioritised):
    """Wasserstein GAN with gradient penalty."""

    kind: Literal["wgan_gp"]
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
    penalty: float = Field(default=10.0, gt=0, description="weight of the gradient penalty")
    rate: float = Field(default=4e-4, gt=0, lt=1, description="learning rate until it falls")
    critic_rate: float = Field(default=1e-3, gt=0, lt=1, description="learning rate of the critic")
    averaging: float = Field(default=0.999, ge=0, lt=1, description="decay of the averaged weights")
    validate_every: int = Field(default=5, ge=1, description="epochs between validations")


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


class FlowMatching(Network):
    """Conditional flow matching: the sum of the response, then the cells given it."""

    kind: Literal["flow_matching"]
    epochs: int = Field(default=100, ge=1, description="passes over the training sample")
    law_epochs: int = Field(
        default=20, ge=1, description="passes in which the laws of single cells are learnt first"
    )
    batch: int = Field(default=256, ge=2, description="events a step")
    reach: int = Field(
        default=16, ge=0, le=100, description="cells to each side of the impact that can be filled"
    )
    window: int = Field(
        default=13, ge=0, le=100, description="cells to each side that are correlated"
    )
    core: int = Field(default=4, ge=0, le=100, description="cells to each side that the flow moves")
    mirrors: bool = Field(
        default=True,
        description="the detector is the same in a mirror along x, along y and along the diagonal",
    )
    law_width: int = Field(
        default=192, ge=8, description="hidden units a layer of the laws of single cells"
    )
    width: int = Field(default=256, ge=8, description="hidden units a layer of the velocity")
    depth: int = Field(default=3, ge=1, le=20, description="blocks of two layers of the velocity")
    dropout: float = Field(
        default=0.05, ge=0, lt=1, description="share of hidden units that a mask removes"
    )
    solver: Literal["euler", "heun"] = Field(
        default="heun", description="how the velocity is integrated: of first or of second order"
    )
    steps: int = Field(default=8, ge=1, le=1000, description="steps of the solver")
    rate: float = Field(default=1e-3, gt=0, lt=1, description="learning rate until it falls")
    averaging: float = Field(default=0.999, ge=0, lt=1, description="decay of the averaged weights")
    validate_every: int = Field(default=1, ge=1, description="epochs between validations")


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
    Library | Mix | WganGp | CramerGan | FlowMatching | OneStep | Parametric | Kde | External,
    Field(discriminator="kind"),
]

NETWORKS = [
    word
    for kind in Network.__subclasses__()
    for word in get_args(kind.model_fields["kind"].annotation)
]
