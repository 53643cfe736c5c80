"""The settings of the kinds that draw the sum of a response, and the cells given it."""

from typing import Literal

from pydantic import Field

from sosie.network_section import Network


class Cellwise(Network):
    """Laws of the sum and of single cells, and flows that bring the cells together."""

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
    width: int = Field(default=256, ge=8, description="hidden units a layer of the flow")
    depth: int = Field(default=3, ge=1, le=20, description="blocks of two layers of the flow")
    dropout: float = Field(
        default=0.05, ge=0, lt=1, description="share of hidden units that a mask removes"
    )
    rate: float = Field(default=1e-3, gt=0, lt=1, description="learning rate until it falls")
    averaging: float = Field(default=0.999, ge=0, lt=1, description="decay of the averaged weights")
    validate_every: int = Field(default=1, ge=1, description="epochs between validations")


class FlowMatching(Cellwise):
    """Conditional flow matching: the sum of the response, then the cells given it."""

    kind: Literal["flow_matching"]
    solver: Literal["euler", "heun"] = Field(
        default="heun", description="how the velocity is integrated: of first or of second order"
    )
    steps: int = Field(default=8, ge=1, le=1000, description="steps of the solver")


class Flow(Cellwise):
    """Normalising flow of neural splines: the sum of the response, then the cells given it."""

    kind: Literal["flow"]
    width: int = Field(default=64, ge=8, description="hidden units a layer of a coupling")
    depth: int = Field(default=1, ge=1, le=20, description="blocks of two layers of a coupling")
    couplings: int = Field(
        default=6, ge=1, le=100, description="layers, each of which moves half of the cells"
    )
    bins: int = Field(default=6, ge=2, le=100, description="pieces of a spline")
    rate: float = Field(default=2e-4, gt=0, lt=1, description="learning rate until it falls")


class Diffusion(Cellwise):
    """Score-based diffusion: the sum of the response, then the cells given it."""

    kind: Literal["diffusion"]
    steps: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="steps in which the noise is taken away, two calls of the network each",
    )
    churn: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of a step by which fresh noise is added before each but the first",
    )


class Vae(Cellwise):
    """Conditional variational autoencoder: the sum of the response, then a code, then the cells."""

    kind: Literal["vae"]
    window: int = Field(
        default=8, ge=0, le=100, description="cells to each side that the code moves"
    )
    latent: int = Field(default=32, ge=1, le=10000, description="numbers of the code")
    encoder_width: int = Field(
        default=256, ge=8, description="hidden units in each of the two layers of the encoder"
    )
    depth: int = Field(default=2, ge=1, le=20, description="blocks of two layers of the decoder")
    core: int = Field(
        default=4,
        ge=0,
        le=100,
        description="cells to each side whose laws are learnt each by itself",
    )
