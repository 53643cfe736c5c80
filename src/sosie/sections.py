"""The sections of a study: keys, types, ranges and defaults, one model a step."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from sosie.errors import SettingsError
from sosie.expressions import branches
from sosie.section import Name, Section
from sosie.surrogate_sections import AnySurrogate


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


def _free(name: str) -> str:
    if name in (taken := ("train", "validation", "test", "calibration", "summary", "times")):
        raise ValueError(f"'{name}' is taken (as {', '.join(taken)} are); take another name")
    return name


Expression = Annotated[str, AfterValidator(_readable)]
SampleName = Annotated[Name, AfterValidator(_free)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Bins = Annotated[
    Annotated[int, Field(ge=1, le=1000), Tag("number")]
    | Annotated[list[float], Field(min_length=2), AfterValidator(_rising), Tag("edges")],
    Discriminator(
        _form,
        custom_error_type="bins",
        custom_error_message="should be a number of bins or a list of rising edges",
    ),
]


class Branch(Section):
    """A condition: a branch, or an expression of branches, and its unit in the ntuple."""

    expression: Expression = Field(description="branch name or expression of branches")
    unit: str = Field(default="", description="unit of the expression; '' for a pure number")


class Response(Section):
    """The response: a fixed-size branch, branches of one number each, or the hits of an event with
    the cell of each."""

    branch: str | Annotated[list[str], Field(min_length=1)] = Field(
        description="name of the fixed-size branch, or of the energies of the hits; a list of "
        "branches of one number each for a vector"
    )
    unit: str = Field(description="unit of the numbers in it")
    cell: Expression | None = Field(
        default=None,
        description="for hits: branch or expression of the flat index of the cell of each hit",
    )
    layers: int = Field(
        default=1,
        ge=1,
        le=100000,
        description="depth layers, the last index of the vector or of the cell; summed over",
    )


class Truth(Section):
    """True numbers of the groups, as of tracks, in a tree of the same files."""

    tree: str = Field(description="name of the TTree or RNTuple; it has the branch ingest.group")
    values: dict[str, Branch] = Field(description="every true number that the detector names")


class TestSample(Section):
    """Where a sample comes from, if not from a share of the events; the rest is as for the others."""

    files: list[str] | None = Field(
        default=None, min_length=1, description="paths or globs of ROOT files"
    )
    tree: str | None = Field(default=None, description="name of the TTree or RNTuple")
    conditions: dict[str, Branch] = Field(default={}, description="conditions that differ")
    selection: Expression | None = Field(
        default=None, description="expression; only events where it holds are kept"
    )
    weight: Expression | Literal[False] | None = Field(
        default=None, description="branch or expression of the event weight; false: none"
    )


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
    digests: dict[str, Sha256] = Field(
        default={},
        description="SHA-256 of files by path, as sha256sum prints them; other bytes are refused",
    )
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
    truth: Truth | None = Field(
        default=None, description="true numbers of the groups, for a detector that has groups"
    )
    test: TestSample | None = Field(
        default=None, description="a test sample of its own; its share then goes to the others"
    )
    samples: dict[SampleName, TestSample] = Field(
        default={},
        description="further samples by name, whole, to be validated like the test sample",
    )
    threshold: float = Field(
        default=0.0,
        ge=0,
        description="zero suppression, in the detector's unit: cells below it become 0",
    )
    max_rejected: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="largest share of events that may be rejected for numbers that are not finite",
    )
    split: Split = Field(default_factory=Split, description="shares of the samples")
    memory_mb: int = Field(
        default=16, ge=10, description="size of the pieces in which files are read"
    )
    files_per_job: int | None = Field(
        default=None,
        ge=1,
        description="files that a job reads; without it one job reads all of them",
    )

    def all_files(self) -> list[str]:
        """Paths and globs of every ROOT file, those of samples of their own last."""
        own = [*([self.test] if self.test else []), *self.samples.values()]
        return [*self.files, *(path for sample in own for path in sample.files or [])]


class Preprocess(Section):
    """Transform of the response, scaling of the features."""

    transform: Literal["box_cox", "log", "none", "quantile", "yeo_johnson"] = Field(
        default="box_cox",
        description="transform of the response before scaling; quantile and yeo_johnson for a "
        "response that may be negative, box_cox and log for one that may not",
    )
    per_cell: bool = Field(default=False, description="one lambda a cell instead of one for all")
    gap: float = Field(
        default=0.5,
        gt=0,
        le=100,
        description="distance of empty cells below the image of the threshold",
    )


class Scan(Section):
    """The training of one surrogate repeated on fractions of the training sample."""

    surrogate: Name = Field(description="the surrogate, one with a network")
    fractions: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        min_length=1, description="shares of the training sample, in whole percent"
    )


class Train(Section):
    """Which surrogates, and how each is trained."""

    surrogates: dict[Name, AnySurrogate] = Field(min_length=1, description="name: settings")
    masks: int = Field(default=8, ge=1, le=1000, description="fixed dropout masks, drawn by seed")
    tensorboard: bool = Field(default=False, description="write learning curves for TensorBoard")
    scan: Scan | None = Field(
        default=None, description="further surrogates, trained on fractions of the training sample"
    )


class Ensemble(Section):
    """Members of the ensemble."""

    members: int = Field(
        default=8, ge=1, description="how many of the masks, or trainings, become members"
    )


class Generate(Section):
    """Responses drawn from every member."""

    batch: int = Field(default=1000, ge=1, description="events drawn at a time")
    outside: Literal["warn", "flag", "refuse"] = Field(
        default="warn", description="what becomes of events outside the domain of training"
    )
    full_simulation: float | None = Field(
        default=None,
        gt=0,
        description="time of an event of full simulation, in seconds on one core, that of a "
        "surrogate is compared with",
    )


class Moments(Section):
    """First and second moments of the observables in bins of the conditions."""

    bins: dict[str, Bins] = Field(
        description="variable: number of equally filled bins, or list of edges", min_length=1
    )
    replicas: int = Field(default=200, ge=200, le=100000, description="bootstrap replicas")


class Result(Section):
    """A number for each event that the user's own reconstruction returns."""

    unit: str = Field(default="", description="unit, for the axes; '' for a pure number")
    label: str = Field(default="", description="label in mathtext; without it the name")


class Reconstruct(Moments):
    """The detector's reconstruction, with bias and resolution in bins."""

    command: list[str] = Field(
        default=[],
        description="program and arguments of your own reconstruction; {input} and {output} stand "
        "for the ROOT files of a sample and of its results",
    )
    tree: str = Field(default="results", description="tree that the command writes")
    results: dict[Name, Result] = Field(
        default={}, description="branches of that tree, one number an event"
    )

    @model_validator(mode="after")
    def _command_has_results(self) -> "Reconstruct":
        if bool(self.command) != bool(self.results):
            raise ValueError("command and results go together; give both or neither")
        words = " ".join(self.command)
        if self.command and not ("{input}" in words and "{output}" in words):
            raise ValueError("command should have {input} and {output} among its arguments")
        return self


class Gate(Section):
    """A limit on a figure of the leaderboard, relative to the floor or to another surrogate."""

    figure: Name = Field(description="column of the leaderboard, as auc or w1_total_energy")
    relative_to: Name = Field(default="floor", description="floor, or the name of a surrogate")
    factor: float | None = Field(default=None, gt=0, description="at most so many times that")
    margin: float | None = Field(default=None, ge=0, description="at most that and so much more")
    within: float | None = Field(
        default=None, gt=0, lt=1, description="at most this share away from that, up or down"
    )

    @model_validator(mode="after")
    def _one_limit(self) -> "Gate":
        if sum(limit is not None for limit in (self.factor, self.margin, self.within)) != 1:
            raise ValueError("should have one of factor, margin and within")
        return self


class Compare(Section):
    """Distances between independent samples."""

    splits: int = Field(
        default=20, ge=2, le=1000, description="splits of the test events into halves"
    )
    classifier_splits: int = Field(
        default=5,
        ge=2,
        le=1000,
        description="splits for the classifier tests and the other distances of whole events",
    )
    repetition: float = Field(
        default=20.0,
        ge=0,
        le=500,
        description="times the training sample that is drawn to see whether responses repeat; 0: "
        "not at all. Slow samplers are drawn twice at most",
    )
    gates: list[Gate] = Field(
        default=[], description="limits that every surrogate but the one compared with should keep"
    )
