"""The configuration of a study: one section a step, checked before anything runs."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, field_validator

from sosie.complaints import check, near, sections
from sosie.detectors import DETECTORS, find
from sosie.detectors.base import DISTANCE, Detector
from sosie.errors import SettingsError
from sosie.files import UNPRINTED
from sosie.scan import expand, further, problems
from sosie.sections import (
    Compare,
    Ensemble,
    Generate,
    Ingest,
    Moments,
    Name,
    Preprocess,
    Reconstruct,
    Section,
    Train,
)
from sosie.surrogate_checks import priorities, teachers
from sosie.surrogate_sections import NETWORKS, SHARES, OneStep
from sosie.units import factor

MASKS = "dropout_masks"


class Study(Section):
    """A whole study: one YAML file."""

    study: Name = Field(description="name of the study, and of its folder in results/")
    detector: str = Field(
        description="the detector module", json_schema_extra={"enum": list(DETECTORS)}
    )
    seed: int = Field(default=1, ge=0, lt=2**63, description="the one seed")
    memory: int = Field(
        default=2000,
        ge=1000,
        description="MB that a job of ingest, generate, moments, reconstruct or compare may take",
    )
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
        masks = self.lines("train", "masks") if self.method(surrogate) == MASKS else []
        return [*masks, f"surrogates.{surrogate}={json.dumps(own)}"]

    def method(self, surrogate: str) -> str:
        """How the members of a surrogate come about; that of the masks where it has none."""
        return getattr(self.train.surrogates[surrogate], "method", MASKS)

    def teachers(self, surrogate: str) -> list[str]:
        """The surrogate that this one is distilled from, if any."""
        return [how.teacher] if isinstance(how := self.train.surrogates[surrogate], OneStep) else []

    def members(self, surrogate: str) -> int:
        """Members of a surrogate's ensemble; 1 where its kind has none."""
        return self.ensemble.members if self.train.surrogates[surrogate].ensemble else 1

    def samples(self, surrogate: str) -> list[str]:
        """The samples for whose conditions a surrogate draws.

        Calibration is for ensembles alone; responses of another program are for the test sample.
        """
        if self.train.surrogates[surrogate].kind == "external":
            return ["test"]
        calibration = ["calibration"] if self.members(surrogate) > 1 else []
        return ["test", *calibration, *self.ingest.samples]

    def runs(self, surrogate: str) -> int:
        """Trainings of a surrogate: one for each member, or one for all of them."""
        return 1 if self.method(surrogate) == MASKS else self.members(surrogate)

    def trainings(self) -> int:
        """Trainings of networks in the whole study."""
        networks = [name for name, how in self.train.surrogates.items() if how.kind in NETWORKS]
        return sum(map(self.runs, networks))

    def gpus(self, surrogate: str) -> int:
        """GPUs that a training of the surrogate asks for: 1 with ``device: gpu``, else 0."""
        return int(getattr(self.train.surrogates[surrogate], "device", "") == "gpu")


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


def _drawable(label: Any) -> bool:
    """Whether matplotlib can set a label; what is not text is another check's concern."""
    if not isinstance(label, str):
        return True
    if UNPRINTED.search(label):
        return False
    if "$" not in label:
        return True
    # Slow to import, and few studies have a formula.
    from matplotlib.mathtext import MathTextParser

    try:
        MathTextParser("path").parse(label)
    except ValueError:
        return False
    return True


def _consistency(values: Mapping[str, Any]) -> Iterator[str]:
    """What only shows when sections are looked at together, as 'key: what is wrong; remedy'.

    It looks at plain values, so that it can speak up beside any other problem.
    """
    members = _at(values, "ensemble").get("members", Ensemble().members)
    masks = _at(values, "train").get("masks", Train.model_fields["masks"].default)
    surrogates = _at(values, "train", "surrogates")
    networks = [how for how in surrogates.values() if _at(how).get("kind") in NETWORKS]
    masked = not networks or any(how.get("method", MASKS) == MASKS for how in networks)
    if isinstance(members, int) and isinstance(masks, int) and members > masks and masked:
        yield (
            f"ensemble.members: {members} is more than train.masks = {masks}; "
            "lower it or train more masks"
        )
    signed = find(values["detector"]).signed if values.get("detector") in DETECTORS else None
    transform = _at(values, "preprocess").get("transform", Preprocess().transform)
    if signed and transform in ("box_cox", "log"):
        yield (
            f"preprocess.transform: {transform} needs a response that is never negative, that of "
            f"{values['detector']} may be; take quantile, yeo_johnson or none"
        )
    if signed is False and transform in ("quantile", "yeo_johnson"):
        yield (
            f"preprocess.transform: {transform} is for a response that may be negative, that of "
            f"{values['detector']} is not; take box_cox, log or none"
        )
    for name, how in surrogates.items():
        if signed and isinstance(how, Mapping) and how.get("kind") in SHARES:
            yield (
                f"train.surrogates.{name}.kind: {how['kind']} draws what is never negative, the response of "
                f"{values['detector']} may be; take cramer_gan"
            )
    if "floor" in surrogates:
        yield "train.surrogates.floor: floor is a row of the leaderboard; take another name"
    yield from teachers(surrogates)
    scan = _at(values, "train").get("scan")
    yield from problems(scan, surrogates)
    others = ["floor", *surrogates, *further(scan)]
    gates = _at(values, "compare").get("gates")
    for number, gate in enumerate(gates if isinstance(gates, list) else []):
        other = gate.get("relative_to", "floor") if isinstance(gate, Mapping) else "floor"
        if surrogates and isinstance(other, str) and other not in others:
            hint = near(other, others)
            yield f"compare.gates.{number}.relative_to: there is no surrogate '{other}'; {hint}"
    if values.get("detector") not in list(DETECTORS):
        return
    detector = find(values["detector"])
    yield from priorities(surrogates, detector)
    yield from _truth(values, detector)
    given = _at(values, "ingest", "response").get("unit")
    units = [(given, detector.unit, "ingest.response.unit")]
    known: Mapping[str, str] = detector.groups.truth if detector.groups else {}
    conditions = _at(values, "ingest", "conditions")
    for where, wanted, what in (
        (("conditions",), detector.conditions, "condition"),
        (("test", "conditions"), detector.conditions, "condition"),
        *(
            (("samples", name, "conditions"), detector.conditions, "condition")
            for name in _at(values, "ingest", "samples")
        ),
        (("truth", "values"), known, "true number of a group"),
    ):
        for name, how in (there := _at(values, "ingest", *where)).items():
            key = ".".join(("ingest", *where, name))
            if name in wanted:
                given = _at(there, name).get("unit", "") if isinstance(how, Mapping) else None
                units.append((given, wanted[name], f"{key}.unit"))
            else:
                yield f"{key}: {detector.name} has no such {what}; {near(name, wanted)}"
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
        for name, how in (bins := _at(values, section, "bins")).items():
            key = f"{section}.bins.{name}"
            if name == DISTANCE:
                if isinstance(how, int):
                    yield f"{key}: 1 is the edge of the domain; give edges, as [0, 0.5, 1, 1.5, 2, 4]"
                if len(bins) == 1:
                    yield f"{key}: stands alone; give bins of a variable of {detector.name} before it"
            elif name not in detector.variables:
                hint = near(name, [*detector.variables, DISTANCE])
                yield f"{key}: {detector.name} has no such variable; {hint}"
    taken = ("entry", *detector.observables, *detector.results)
    for name, how in _at(values, "reconstruct", "results").items():
        key = f"reconstruct.results.{name}"
        if name in taken:
            yield f"{key}: {detector.name} has a quantity of this name already; take another one"
        for part in ("label", "unit") if isinstance(how, Mapping) else ():
            if not _drawable(text := how.get(part)):
                yield f"{key}.{part}: {text!r} is not mathtext on a line; close each $ and brace"


def _truth(values: Mapping[str, Any], detector: Detector) -> Iterator[str]:
    """Whether truth and suppression of ingest are what the detector can take."""
    threshold = _at(values, "ingest").get("threshold")
    if detector.signed and isinstance(threshold, int | float) and threshold > 0:
        yield (
            f"ingest.threshold: {threshold:g}, but numbers of {detector.name} may be negative and none "
            "is suppressed; leave it out"
        )
    given = _at(values, "ingest").get("truth")
    if given is None:
        return
    if detector.groups is None:
        yield f"ingest.truth: {detector.name} has no groups; leave it out"
        return
    if not _at(values, "ingest").get("group"):
        yield "ingest.group: missing; ingest.truth is joined to the events by this branch"
    for name, house in detector.groups.truth.items():
        if name not in _at(values, "ingest", "truth", "values"):
            needs = f"{name} [{house}]" if house else name
            yield f"ingest.truth.values.{name}: missing; {detector.name} needs {needs}"


def load(values: Mapping[str, Any], source: str) -> Study:
    """A study from nested values; ``source`` is the file named in errors.

    Raises SettingsError with one line for each problem, all at once.
    """
    text = _plain(values, source)
    study, found = check(Study, text, source)
    # Values of a wrong type, which were found already, may stop it anywhere.
    with suppress(*((TypeError, AttributeError, ValueError, KeyError) if found else ())):
        for problem in _consistency(json.loads(text)):
            found.append(f"{source}: {problem}")
    if found:
        raise SettingsError("\n".join(dict.fromkeys(found)))
    return study.model_copy(update={"train": expand(study.train)})


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
