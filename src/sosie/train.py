"""train: a surrogate of each kind from the training sample, resumed from the last epoch if killed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sosie import __version__
from sosie.errors import InputError
from sosie.events import open_events
from sosie.files import digest, file_digest, to_json, write_json, write_text
from sosie.halves import chooses
from sosie.machine import accelerator, peak_memory, processor
from sosie.progress import say
from sosie.streams import key, mix, uniform
from sosie.surrogates import Surrogate, save
from sosie.surrogates.base import Origin
from sosie.surrogates.external import External
from sosie.surrogates.kde import Kde
from sosie.surrogates.library import Library, Mix
from sosie.surrogates.parts import Parts, values_of
from sosie.surrogates.runs import load_earlier, load_teacher
from sosie.transforms import read_transform

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Sample:
    """Events in memory: response (N, *shape), conditions (N, C), weight (N,)."""

    response: Array
    conditions: Array
    weight: Array

    def select(self, chosen: Array) -> "Sample":
        """The events that are chosen (N,)."""
        return Sample(self.response[chosen], self.conditions[chosen], self.weight[chosen])

    def positive(self) -> "Sample":
        """The events of positive weight."""
        return self if (self.weight > 0).all() else self.select(self.weight > 0)


class Clock:
    """Seconds of a training, those before a kill included: its checkpoints keep them."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start

    def resume(self, seconds: float) -> None:
        """Go on from what a checkpoint says, unless this process has seen more."""
        self._start -= max(0.0, seconds - self.seconds)


@dataclass(frozen=True)
class Task:
    """All that a training needs: what is learnt from, how, and where checkpoints are kept."""

    origin: Origin
    settings: dict[str, Any]
    masks: int
    seed: int
    threads: int
    train: Sample
    validation: Sample
    checkpoint: Path
    tensorboard: Path | None = None
    clock: Clock = field(default_factory=Clock)
    before: tuple[Surrogate, ...] = ()
    teacher: Surrogate | None = None

    def positive(self) -> "Task":
        """The task of the events of positive weight."""
        return replace(self, train=self.train.positive(), validation=self.validation.positive())

    def part(self, value: float) -> "Task":
        """The task of the events of one value of the condition ``settings.separate``."""
        samples = [
            sample.select(
                values_of(self.origin, self.settings["separate"], sample.conditions) == value
            )
            for sample in (self.train, self.validation)
        ]
        for words, sample in zip(("training", "validation"), samples, strict=True):
            if len(sample.response) < 2:
                raise InputError(
                    f"train.surrogates: separate: {self.settings['separate']} {value:g} has "
                    f"{len(sample.response)} {words} events; give more to ingest, or leave it out"
                )
        return replace(
            self,
            train=samples[0],
            validation=samples[1],
            seed=key(self.seed, "part", f"{value:g}"),
            checkpoint=self.checkpoint.with_name(f"checkpoint-{value:g}.h5"),
            tensorboard=self.tensorboard and self.tensorboard / f"{value:g}",
            before=tuple(one.parts[value] for one in self.before if isinstance(one, Parts)),
        )


def read_sample(path: str, chosen: Callable[[Array], Array] | None = None) -> Sample:
    """A sample, or of it the events whose group (N,) is chosen."""
    with open_events(path) as events:
        groups = events.column("group_id")
        keep = np.ones(len(events), bool) if chosen is None else chosen(groups)
        return Sample(
            events.column("response")[keep], events.column("conditions")[keep], events.weight[keep]
        )


def learnt(groups: Array, fraction: float, seed: int) -> Array:
    """The share of the training sample's groups that is learnt from; a larger one holds a smaller one."""
    return uniform(mix(groups ^ np.uint64(key(seed, "train", "fraction")))) < fraction


def _library(task: Task) -> tuple[Surrogate, list[dict[str, float]]]:
    known = task.train.positive()
    return Library(task.origin, task.settings, known.response, known.conditions), []


def _mix(task: Task) -> tuple[Surrogate, list[dict[str, float]]]:
    known = task.train.positive()
    return Mix(task.origin, task.settings, known.response, known.conditions), []


def _kde(task: Task) -> tuple[Surrogate, list[dict[str, float]]]:
    known = task.train.positive()
    return Kde(task.origin, task.settings, known.response, known.conditions, known.weight), []


def _parametric(task: Task) -> tuple[Surrogate, list[dict[str, float]]]:
    from sosie.surrogates.parametric_fit import fit

    known = task.train
    return fit(task.origin, task.settings, known.response, known.conditions, known.weight), []


def _external(task: Task) -> tuple[Surrogate, list[dict[str, float]]]:
    from sosie.foreign import read_foreign
    from sosie.layouts import Layout

    origin = task.origin
    layout = Layout.from_dict(origin.layout)
    read = read_foreign(task.settings["files"], origin.detector, layout, origin.threshold)
    kept = (getattr(read, name) for name in External.kept)
    return External(origin, task.settings, *kept), []


def _wgan_gp(task: Task) -> tuple[Surrogate, list[dict[str, float]]]:
    from sosie.surrogates.training import fit
    from sosie.surrogates.wgan_training import WganModule

    return fit(task, WganModule)


def _gan(task: Task) -> tuple[Surrogate, list[dict[str, float]]]:
    from sosie.surrogates.gan_training import GanModule
    from sosie.surrogates.training import fit

    return fit(task, GanModule)


def _cramer_gan(task: Task) -> tuple[Surrogate, list[dict[str, float]]]:
    from sosie.surrogates.cramer_training import CramerModule
    from sosie.surrogates.training import fit

    return fit(task, CramerModule)


def _flow_matching(task: Task) -> tuple[Surrogate, list[dict[str, float]]]:
    from sosie.surrogates.flow_training import FlowModule
    from sosie.surrogates.training import fit

    return fit(task.positive(), FlowModule)


def _flow(task: Task) -> tuple[Surrogate, list[dict[str, float]]]:
    from sosie.surrogates.flow_training import SplineModule
    from sosie.surrogates.training import fit

    return fit(task.positive(), SplineModule)


def _vae(task: Task) -> tuple[Surrogate, list[dict[str, float]]]:
    from sosie.surrogates.training import fit
    from sosie.surrogates.vae_training import VaeModule

    return fit(task.positive(), VaeModule)


def _diffusion(task: Task) -> tuple[Surrogate, list[dict[str, float]]]:
    from sosie.surrogates.flow_training import DenoiserModule
    from sosie.surrogates.training import fit

    return fit(task.positive(), DenoiserModule)


def _one_step(task: Task) -> tuple[Surrogate, list[dict[str, float]]]:
    from sosie.surrogates.one_step import settings_of
    from sosie.surrogates.one_step_training import OneStepModule
    from sosie.surrogates.training import fit

    assert task.teacher is not None
    settings = settings_of(task.settings, task.teacher.settings)
    return fit(replace(task.positive(), settings=settings), OneStepModule)


TRAINERS: dict[str, Callable[[Task], tuple[Surrogate, list[dict[str, float]]]]] = {
    "library": _library,
    "mix": _mix,
    "wgan_gp": _wgan_gp,
    "gan": _gan,
    "cramer_gan": _cramer_gan,
    "flow_matching": _flow_matching,
    "flow": _flow,
    "vae": _vae,
    "diffusion": _diffusion,
    "one_step": _one_step,
    "kde": _kde,
    "external": _external,
    "parametric": _parametric,
}


def fit(task: Task) -> tuple[Surrogate, list[dict[str, float]]]:
    """Train a surrogate of the kind that the settings name, or one for each value of a condition."""
    trainer, separate = TRAINERS[task.settings["kind"]], task.settings.get("separate")
    if not separate:
        return trainer(task)
    parts, rows = {}, []
    for value in np.unique(values_of(task.origin, separate, task.train.conditions)):
        say("train", f"{task.settings['kind']}: {separate} {value:g}")
        parts[float(value)], curves = trainer(task.part(float(value)))
        rows += [{separate: float(value), **row} for row in curves]
    return Parts(task.origin, task.settings, parts), rows


def to_csv(curves: list[dict[str, float]]) -> str:
    """Learning curves as CSV, one row an epoch; without a network only the word 'epoch'."""
    names = list(curves[0]) if curves else ["epoch"]
    lines = [
        ",".join("" if np.isnan(row[name]) else f"{row[name]:.7g}" for name in names)
        for row in curves
    ]
    return "\n".join([",".join(names), *lines]) + "\n"


def run(
    train: str,
    validation: str,
    transform: str,
    out: str,
    *,
    curves: str,
    work: str,
    settings: dict[str, Any],
    masks: int,
    seed: int,
    run_number: int,
    threads: int,
    code: str = "",
    tensorboard: str | None = None,
    times: str | None = None,
    before: Sequence[str] = (),
    teacher: str | None = None,
) -> None:
    """Train one surrogate and write it with its learning curves, these for TensorBoard too if asked,
    and, to ``times``, what it took. ``before``: the runs before this one, for a repulsive member;
    ``teacher``: the trained surrogate that one of kind one_step learns from.

    Checkpoints live in ``work`` in a folder named by the digest of all that the training depends
    on, so that a training started again goes on from the last epoch.
    """
    fraction = settings.get("fraction", 1)
    fitted = read_transform(transform)
    known = read_sample(train, lambda groups: learnt(groups, fraction, seed))
    chosen = read_sample(validation, lambda groups: chooses(groups, seed))
    for path, sample in ((train, known), (validation, chosen)):
        if len(sample.response) < 2:
            raise InputError(
                f"{path}: {len(sample.response)} events are too few to train; give more to ingest"
            )
    inputs = {Path(path).name: file_digest(path) for path in (train, validation, transform)}
    earlier = load_earlier(before, run_number, settings, inputs)
    learnt_from = load_teacher(teacher, settings, inputs)
    provenance = {
        "sosie": __version__,
        "code": code,
        "seed": seed,
        "run": run_number,
        "inputs": inputs,
    }
    own = [inputs, settings, masks, seed, run_number, threads, code]
    if before:
        provenance["before"] = [file_digest(path) for path in before]
        own.append(provenance["before"])
    if teacher:
        provenance["teacher"] = file_digest(teacher)
        own.append(provenance["teacher"])
    with open_events(train) as events:
        total = len(events)
        origin = Origin(
            detector=events.detector,
            threshold=events.threshold,
            layout=events.attributes["layout"],
            transform=fitted,
            provenance=provenance,
        )
    task = Task(
        origin=origin,
        settings=settings,
        masks=masks,
        seed=key(seed, "train", run_number),
        threads=threads,
        train=known,
        validation=chosen,
        checkpoint=Path(work) / digest(to_json(own)) / "checkpoint.h5",
        tensorboard=Path(tensorboard) if tensorboard else None,
        before=earlier,
        teacher=learnt_from,
    )
    surrogate, rows = fit(task)
    write_text(curves, to_csv(rows), beside=True)
    if times:
        write_json(
            times,
            {
                "seconds": task.clock.seconds,
                # What has learning curves was trained by Lightning, on the GPU where there is one.
                "device": (accelerator() if rows else None) or "cpu",
                "threads": threads,
                "processor": processor(),
                "peak_memory_mb": peak_memory(),
            },
        )
    save(out, surrogate)
    share = f" of {total}" if fraction < 1 else ""
    say("train", f"{out}: {surrogate.kind} on {len(known.response)}{share} events")
