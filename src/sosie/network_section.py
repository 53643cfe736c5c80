"""The settings that all networks share."""

from typing import Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from sosie.section import Section

REPULSION = ("repulsion", "repulsion_end")


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
