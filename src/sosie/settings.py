"""The configuration of a study: one section a step, checked before anything runs."""

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from sosie.complaints import check, near, sections
from sosie.detectors import DETECTORS, find
from sosie.errors import SettingsError
from sosie.expressions import branches
from sosie.units import factor


def _rising(edges: list[float]) -> list[float]:
    if any(b <= a for a, b in pairwise(edges)):
        raise ValueError(f"edges should rise, not {edges}")
    return edges


def _readable(expression: str) -> str:
    try:
        branches(expression)
    except SettingsError as error:
        raise ValueError(str(error)) from None
    return expression


def _form(bins: Any) -> str | None:
    return {int: "number", list: "edges"}.get(type(bins))


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Expression = Annotated[str, AfterValidator(_readable)]
Bins = Annotated[
    Annotated[int, Field(ge=1, le=1000), Tag("number")]
    | Annotated[list[float], Field(min_length=2), AfterValidator(_rising), Tag("edges")],
    Discriminator(
        _form,
        custom_error_type="bins",
        custom_error_message="should be a number of bins or a list of rising edges",
    ),
]


class Section(BaseModel):
    """A section: no unknown keys, no change after loading, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Branch(Section):
    """A condition: a branch, or an expression of branches, and its unit in the ntuple."""

    expression: Expression = Field(description="branch name or expression of branches")
    unit: str = Field(default="", description="unit of the expression; '' for a pure number")


class Response(Section):
    """The response: a fixed-size branch and its unit in the ntuple."""

    branch: str = Field(description="name of the fixed-size branch")
    unit: str = Field(description="unit of the numbers in it")


class Split(Section):
    """Shares of the three samples; they sum to one."""

    train: float = Field(default=0.60, gt=0, lt=1, description="share for training")
    validation: float = Field(
        default=0.15, gt=0, lt=1, description="share that chooses the best weights"
    )
    test: float = Field(default=0.25, gt=0, lt=1, description="share that no fit ever sees")

    @model_validator(mode="after")
    def _sum(self) -> "Split":
        if abs((total := self.train + self.validation + self.test) - 1) > 1e-9:
            raise ValueError(f"train, validation and test should sum to 1, not {total:g}")
        return self


class Ingest(Section):
    """ROOT ntuples to event tables."""

    files: list[str] = Field(min_length=1, description="paths or globs of ROOT files")
    tree: str = Field(description="name of the TTree or RNTuple")
    response: Response = Field(description="the response of the detector")
    conditions: dict[str, Branch] = Field(description="every condition that the detector names")
    identity: list[str] = Field(
        default=[],
        description="branches that identify an event; without any: file digest and entry",
    )
    group: str | None = Field(
        default=None,
        description="branch of events that belong together; without it each stands alone",
    )
    selection: Expression | None = Field(
        default=None, description="expression; only events where it holds are kept"
    )
    weight: Expression | None = Field(
        default=None, description="branch or expression of the event weight"
    )
    threshold: float = Field(
        default=0.0,
        ge=0,
        description="zero suppression, in the detector's unit: cells below it become 0",
    )
    split: Split = Field(default_factory=Split, description="shares of the samples")
    memory_mb: int = Field(
        default=200, ge=10, description="size of the pieces in which files are read"
    )


class Preprocess(Section):
    """Transform of the response, scaling of the features."""

    transform: Literal["box_cox", "log", "none"] = Field(
        default="box_cox", description="transform of the response before scaling"
    )
    per_cell: bool = Field(default=False, description="one lambda a cell instead of one for all")
    gap: float = Field(
        default=0.5,
        gt=0,
        le=100,
        description="distance of empty cells below the image of the threshold",
    )


class Library(Section):
    """The nearest training event, its response scaled; no network."""

    kind: Literal["library"]
    ensemble: ClassVar[bool] = False


class WganGp(Section):
    """Wasserstein GAN with gradient penalty."""

    kind: Literal["wgan_gp"]
    ensemble: ClassVar[bool] = True
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
    n_critic: int = Field(default=3, ge=1, description="critic steps a generator step")
    penalty: float = Field(default=10.0, gt=0, description="weight of the gradient penalty")
    rate: float = Field(default=4e-4, gt=0, lt=1, description="learning rate until it falls")
    critic_rate: float = Field(default=1e-3, gt=0, lt=1, description="learning rate of the critic")
    averaging: float = Field(default=0.999, ge=0, lt=1, description="decay of the averaged weights")
    validate_every: int = Field(default=5, ge=1, description="epochs between validations")


AnySurrogate = Annotated[Library | WganGp, Field(discriminator="kind")]


class Train(Section):
    """Which surrogates, and how each is trained."""

    surrogates: dict[Name, AnySurrogate] = Field(min_length=1, description="name: settings")
    masks: int = Field(default=8, ge=1, le=1000, description="fixed dropout masks, drawn by seed")


class Ensemble(Section):
    """Members of the ensemble."""

    members: int = Field(default=8, ge=1, description="how many of the masks become members")


class Generate(Section):
    """Responses drawn from every member."""

    batch: int = Field(default=1000, ge=1, description="events drawn at a time")


class Moments(Section):
    """First and second moments of the observables in bins of the conditions."""

    bins: dict[str, Bins] = Field(
        description="variable: number of equally filled bins, or list of edges", min_length=1
    )
    replicas: int = Field(default=200, ge=200, le=100000, description="bootstrap replicas")


class Reconstruct(Moments):
    """The detector's reconstruction, with bias and resolution in bins."""


class Compare(Section):
    """Distances between independent samples."""

    splits: int = Field(
        default=20, ge=2, le=1000, description="splits of the test events into halves"
    )
    classifier_splits: int = Field(
        default=5, ge=2, le=1000, description="splits for the classifier test"
    )


class Study(Section):
    """A whole study: one YAML file."""

    study: Name = Field(description="name of the study, and of its folder in results/")
    detector: str = Field(
        description="the detector module", json_schema_extra={"enum": list(DETECTORS)}
    )
    seed: int = Field(default=1, ge=0, lt=2**63, description="the one seed")
    ingest: Ingest
    preprocess: Preprocess = Field(default_factory=Preprocess)
    train: Train
    ensemble: Ensemble = Field(default_factory=Ensemble)
    generate: Generate = Field(default_factory=Generate)
    moments: Moments
    reconstruct: Reconstruct
    compare: Compare = Field(default_factory=Compare)

    @field_validator("detector")
    @classmethod
    def _there(cls, name: str) -> str:
        if name not in DETECTORS:
            raise ValueError(f"there is no detector '{name}'; {near(name, DETECTORS)}")
        return name

    def lines(self, section: str, *keys: str) -> list[str]:
        """Settings of a section as 'key=JSON' words of a command, those of ``keys`` or all."""
        values = getattr(self, section).model_dump(mode="json")
        return [f"{key}={json.dumps(values[key])}" for key in keys or values]

    def training(self, surrogate: str) -> list[str]:
        """Settings of the training of one surrogate, as words of a command."""
        own = self.train.surrogates[surrogate].model_dump(mode="json")
        return [*self.lines("train", "masks"), f"surrogates.{surrogate}={json.dumps(own)}"]

    def members(self, surrogate: str) -> int:
        """Members of a surrogate's ensemble; 1 where its kind has none."""
        return self.ensemble.members if self.train.surrogates[surrogate].ensemble else 1


def _plain(values: Any, source: str) -> str:
    """Settings as JSON text, so that whatever read them, YAML or a command, the types are the same."""
    if not isinstance(values, Mapping):
        raise SettingsError(f"{source}: holds no keys; write 'key: value' lines")
    try:
        return json.dumps(dict(values), default=str)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{source}: {error}; use text, numbers, lists and mappings") from None


def _at(values: Any, *path: str) -> Mapping[str, Any]:
    """The mapping at a path of keys, empty where there is none."""
    for word in path:
        values = values.get(word) if isinstance(values, Mapping) else None
    return values if isinstance(values, Mapping) else {}


def _consistency(values: Mapping[str, Any]) -> Iterator[str]:
    """What only shows when sections are looked at together, as 'key: what is wrong; remedy'.

    It looks at plain values, so that it can speak up beside any other problem.
    """
    members = _at(values, "ensemble").get("members", Ensemble().members)
    masks = _at(values, "train").get("masks", Train.model_fields["masks"].default)
    if isinstance(members, int) and isinstance(masks, int) and members > masks:
        yield (
            f"ensemble.members: {members} is more than train.masks = {masks}; "
            "lower it or train more masks"
        )
    if values.get("detector") not in list(DETECTORS):
        return
    detector = find(values["detector"])
    given = _at(values, "ingest", "response").get("unit")
    units = [(given, detector.unit, "ingest.response.unit")]
    conditions = _at(values, "ingest", "conditions")
    for name in conditions:
        key = f"ingest.conditions.{name}"
        if name in detector.conditions:
            given = (
                _at(conditions, name).get("unit", "")
                if isinstance(conditions[name], Mapping)
                else None
            )
            units.append((given, detector.conditions[name], f"{key}.unit"))
        else:
            hint = near(name, detector.conditions)
            yield f"{key}: {detector.name} has no such condition; {hint}"
    if isinstance(values.get("ingest"), Mapping) and "conditions" in values["ingest"]:
        for name, house in detector.conditions.items():
            if name not in conditions:
                needs = f"{name} [{house}]" if house else name
                yield f"ingest.conditions.{name}: missing; {detector.name} needs {needs}"
    for unit, house, key in units:
        try:
            if isinstance(unit, str):
                factor(unit, house, key)
        except SettingsError as error:
            yield str(error)
    for section in ("moments", "reconstruct"):
        for name in _at(values, section, "bins"):
            if name not in detector.variables:
                hint = near(name, detector.variables)
                yield f"{section}.bins.{name}: {detector.name} has no such variable; {hint}"


def load(values: Mapping[str, Any], source: str) -> Study:
    """A study from nested values; ``source`` is the file named in errors.

    Raises SettingsError with one line for each problem, all at once.
    """
    text = _plain(values, source)
    study, found = check(Study, text, source)
    found += [f"{source}: {problem}" for problem in _consistency(json.loads(text))]
    if found:
        raise SettingsError("\n".join(dict.fromkeys(found)))
    return study


def load_file(path: str | Path) -> Study:
    """A study from its YAML file; raises SettingsError."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"{path}: cannot be read: {reason}") from None
    return load(values, str(path))


def section(name: str, words: list[str]) -> Any:
    """A section from 'key=JSON' words of a command; dotted keys reach inside.

    Raises SettingsError.
    """
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise SettingsError(f"--set {word}: write it as key=value")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        *outer, last = key.split(".")
        place = values
        for part in outer:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise SettingsError(f"--set {word}: '{part}' has a value already; give one of them")
        place[last] = value
    (model,) = sections(Study.model_fields[name].annotation)
    found, problems = check(model, _plain(values, "--set"), "--set")
    if problems:
        raise SettingsError("\n".join(dict.fromkeys(problems)))
    return found


def schema() -> str:
    """The JSON schema of a study, for editors; ``make schema`` writes it."""
    return json.dumps(Study.model_json_schema(), indent=2) + "\n"
