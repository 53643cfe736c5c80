"""The configuration of a study: one section a step, checked before anything runs."""

import difflib
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sosie.detectors import DETECTORS
from sosie.errors import SettingsError
from sosie.expressions import branches
from sosie.units import factor

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Edges = Annotated[list[float], Field(min_length=2)]
Bins = Annotated[int, Field(ge=1, le=1000)] | Edges


class Section(BaseModel):
    """A section: no unknown keys, no change after loading, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Branch(Section):
    """A condition: a branch, or an expression of branches, and its unit in the ntuple."""

    expression: str = Field(description="branch name or expression of branches")
    unit: str = Field("", description="unit of the expression; '' for a pure number")


class Response(Section):
    """The response: a fixed-size branch and its unit in the ntuple."""

    branch: str = Field(description="name of the fixed-size branch")
    unit: str = Field(description="unit of the numbers in it")


class Split(Section):
    """Shares of the three samples; they sum to one."""

    train: float = Field(0.60, gt=0, lt=1, description="share for training")
    validation: float = Field(0.15, gt=0, lt=1, description="share that chooses the best weights")
    test: float = Field(0.25, gt=0, lt=1, description="share that no fit ever sees")

    @model_validator(mode="after")
    def _sum(self) -> "Split":
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError("train, validation and test must sum to 1")
        return self


class Ingest(Section):
    """ROOT ntuples to event tables."""

    files: list[str] = Field(min_length=1, description="paths or globs of ROOT files")
    tree: str = Field(description="name of the TTree or RNTuple")
    response: Response = Field(description="the response of the detector")
    conditions: dict[str, Branch] = Field(description="every condition that the detector names")
    identity: list[str] = Field(
        [], description="branches that identify an event; without any: file digest and entry"
    )
    group: str | None = Field(
        None, description="branch of events that belong together; without it each stands alone"
    )
    selection: str | None = Field(
        None, description="expression; only events where it holds are kept"
    )
    weight: str | None = Field(None, description="branch or expression of the event weight")
    threshold: float = Field(
        0.0, ge=0, description="zero suppression, in the detector's unit: cells below it become 0"
    )
    split: Split = Field(default_factory=Split, description="shares of the samples")
    memory_mb: int = Field(200, ge=10, description="size of the pieces in which files are read")


class Preprocess(Section):
    """Transform of the response, scaling of the features."""

    transform: Literal["box_cox", "log", "none"] = Field(
        "box_cox", description="transform of the response before scaling"
    )
    per_cell: bool = Field(False, description="one lambda a cell instead of one for all")
    gap: float = Field(
        1.0, gt=0, le=100, description="distance of empty cells below the image of the threshold"
    )


class Library(Section):
    """The nearest training event, its response scaled; no network."""

    kind: Literal["library"]
    ensemble: ClassVar[bool] = False


class WganGp(Section):
    """Wasserstein GAN with gradient penalty."""

    kind: Literal["wgan_gp"]
    ensemble: ClassVar[bool] = True
    epochs: int = Field(100, ge=1, description="passes over the training sample")
    batch: int = Field(128, ge=2, description="events a step")
    latent: int = Field(32, ge=1, description="noise dimensions")
    width: int = Field(256, ge=8, description="hidden units a layer")
    depth: int = Field(3, ge=1, le=20, description="hidden layers")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of hidden units that a mask removes")
    n_critic: int = Field(3, ge=1, description="critic steps a generator step")
    penalty: float = Field(10.0, gt=0, description="weight of the gradient penalty")
    rate: float = Field(3e-4, gt=0, lt=1, description="learning rate")
    averaging: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights")
    validate_every: int = Field(5, ge=1, description="epochs between validations")


AnySurrogate = Annotated[Library | WganGp, Field(discriminator="kind")]


class Train(Section):
    """Which surrogates, and how each is trained."""

    surrogates: dict[Name, AnySurrogate] = Field(min_length=1, description="name: settings")
    masks: int = Field(8, ge=1, le=1000, description="fixed dropout masks, drawn by seed")


class Ensemble(Section):
    """Members of the ensemble."""

    members: int = Field(8, ge=1, description="how many of the masks become members")


class Generate(Section):
    """Responses drawn from every member."""

    batch: int = Field(1000, ge=1, description="events drawn at a time")


class Moments(Section):
    """First and second moments of the observables in bins of the conditions."""

    bins: dict[str, Bins] = Field(
        description="variable: number of equally filled bins, or list of edges", min_length=1
    )
    replicas: int = Field(200, ge=200, le=100000, description="bootstrap replicas")


class Reconstruct(Moments):
    """The detector's reconstruction, with bias and resolution in bins."""


class Compare(Section):
    """Distances between independent samples."""

    splits: int = Field(20, ge=2, le=1000, description="splits of the test events into halves")
    classifier_splits: int = Field(5, ge=2, le=1000, description="splits for the classifier test")


class Study(Section):
    """A whole study: one YAML file."""

    study: Name = Field(description="name of the study, and of its folder in results/")
    detector: Literal[tuple(DETECTORS)] = Field(description="the detector module")  # type: ignore[valid-type]
    seed: int = Field(1, ge=0, lt=2**63, description="the one seed")
    ingest: Ingest
    preprocess: Preprocess = Field(default_factory=Preprocess)
    train: Train
    ensemble: Ensemble = Field(default_factory=Ensemble)
    generate: Generate = Field(default_factory=Generate)
    moments: Moments
    reconstruct: Reconstruct
    compare: Compare = Field(default_factory=Compare)

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


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The section models inside a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _values(annotation: Any) -> Any:
    """What the values of a mapping type are."""
    if get_origin(annotation) is Annotated:
        return _values(get_args(annotation)[0])
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return next((_values(a) for a in get_args(annotation) if _values(a) is not None), None)
    return get_args(annotation)[1] if get_origin(annotation) is dict else None


def _valid_keys(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Keys allowed where ``path`` ends, its last word excluded."""
    here = [model]
    names: Any = None
    for word in path[:-1]:
        if names is not None:
            here, names = _models(names), None
            continue
        tagged = [
            m for m in here if (f := m.model_fields.get("kind")) and word in get_args(f.annotation)
        ]
        if tagged:
            here = tagged
            continue
        fields = [m.model_fields[word] for m in here if word in m.model_fields]
        names = next((v for f in fields if (v := _values(f.annotation)) is not None), None)
        if names is None:
            here = [inner for f in fields for inner in _models(f.annotation)]
    return [key for m in here for key in m.model_fields]


def _complaints(error: ValidationError, model: type[BaseModel], source: str) -> list[str]:
    found = []
    for problem in error.errors(include_url=False):
        path, kind = problem["loc"], problem["type"]
        tags = {"library", "wgan_gp"}
        shown = [
            str(word)
            for i, word in enumerate(path)
            if not (i >= 3 and word in tags and path[0] == "train")
        ]
        key = ".".join(
            word for word in shown if not word.startswith(("constrained-", "list[", "int"))
        )
        if kind == "extra_forbidden":
            valid = _valid_keys(model, path)
            near = difflib.get_close_matches(str(path[-1]), valid, n=1, cutoff=0.5)
            hint = (
                f"did you mean '{near[0]}'?" if near else f"valid keys: {', '.join(sorted(valid))}"
            )
            found.append(f"{source}: {key}: unknown key; {hint}")
        elif kind == "missing":
            found.append(f"{source}: {key}: missing; add this key")
        else:
            what = problem["msg"].removeprefix("Value error, ")
            given = "" if isinstance(problem["input"], dict) else f", not {problem['input']!r}"
            found.append(f"{source}: {key or 'study'}: {what[0].lower() + what[1:]}{given}")
    return list(dict.fromkeys(found))


def parse(model: type[BaseModel], values: Any, source: str) -> Any:
    """``values`` checked against a section's model.

    Raises SettingsError with one line for each problem, all at once.
    """
    if not isinstance(values, Mapping):
        raise SettingsError(f"{source}: holds no keys; write 'key: value' lines")
    try:
        # Through JSON, so that what YAML read as a tuple or a date is refused like any other value.
        return model.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise SettingsError("\n".join(_complaints(error, model, source))) from None
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{source}: {error}; use text, numbers, lists and mappings") from None


def _consistency(study: Study, source: str) -> list[str]:
    """What only shows when sections are looked at together, a line each."""
    detector = DETECTORS[study.detector]
    found: list[str] = []

    def check(action: Any, *arguments: Any) -> None:
        try:
            action(*arguments)
        except SettingsError as error:
            found.append(f"{source}: {error}")

    given, wanted = study.ingest.conditions, detector.conditions
    for name in [name for name in wanted if name not in given]:
        unit = f" [{wanted[name]}]" if wanted[name] else ""
        found.append(
            f"{source}: ingest.conditions.{name}: missing; {study.detector} needs {name}{unit}"
        )
    for name, branch in given.items():
        key = f"ingest.conditions.{name}"
        if name not in wanted:
            near = difflib.get_close_matches(name, wanted, n=1, cutoff=0.3)
            hint = f"did you mean '{near[0]}'?" if near else f"valid: {', '.join(wanted)}"
            found.append(f"{source}: {key}: {study.detector} has no such condition; {hint}")
            continue
        check(factor, branch.unit, wanted[name], f"{key}.unit")
        check(branches, branch.expression, f"{key}.expression")
    check(factor, study.ingest.response.unit, detector.unit, "ingest.response.unit")
    for key in ("selection", "weight"):
        if (expression := getattr(study.ingest, key)) is not None:
            check(branches, expression, f"ingest.{key}")
    for section in ("moments", "reconstruct"):
        for name, bins in getattr(study, section).bins.items():
            key = f"{section}.bins.{name}"
            if name not in detector.variables:
                near = difflib.get_close_matches(name, detector.variables, n=1, cutoff=0.3)
                hint = (
                    f"did you mean '{near[0]}'?"
                    if near
                    else "valid: " + ", ".join(detector.variables)
                )
                found.append(f"{source}: {key}: {study.detector} has no such variable; {hint}")
            if isinstance(bins, list) and any(b <= a for a, b in zip(bins, bins[1:], strict=False)):
                found.append(f"{source}: {key}: edges must rise, not {bins}")
    if study.ensemble.members > study.train.masks:
        found.append(
            f"{source}: ensemble.members: {study.ensemble.members} is more than "
            f"train.masks = {study.train.masks}; lower it or train more masks"
        )
    return found


def load(values: Mapping[str, Any], source: str) -> Study:
    """A study from nested values; ``source`` is the file named in errors.

    Raises SettingsError with one line for each problem.
    """
    study: Study = parse(Study, values, source)
    if problems := _consistency(study, source):
        raise SettingsError("\n".join(problems))
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
        place[last] = value
    return parse(Study.model_fields[name].annotation, values, f"--set {name}")  # type: ignore[arg-type]


def schema() -> str:
    """The JSON schema of a study, for editors; ``make schema`` writes it."""
    return json.dumps(Study.model_json_schema(), indent=2) + "\n"
