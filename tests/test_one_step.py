"""one_step: known maps are learnt, what is no teacher is refused, a kill changes no byte."""

import math
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import samples
from examples import hodoscope
from sosie import preprocess, train
from sosie.detectors import DETECTORS
from sosie.errors import IntermediateError, SettingsError
from sosie.files import file_digest
from sosie.settings import load as load_study
from sosie.surrogates import load, save
from sosie.surrogates.flow_networks import QUARTER, Generator, Velocity
from sosie.surrogates.one_step_training import OneStepModule, errors
from test_surrogates import _bars

FLOW = {
    "kind": "flow_matching", "epochs": 2, "law_epochs": 1, "batch": 100, "reach": 16, "window": 13,
    "core": 4, "mirrors": True, "law_width": 16, "width": 16, "depth": 2, "dropout": 0.1,
    "solver": "heun", "steps": 4, "rate": 1e-3, "averaging": 0.9, "validate_every": 1,
}  # fmt: skip
OWN = {
    "kind": "one_step", "teacher": "flow", "epochs": 4, "batch": 100, "steps": 1, "rate": 1e-3,
    "averaging": 0.9, "validate_every": 2,
}  # fmt: skip


def rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Turning(nn.Module):
    """A velocity that is linear in the point and, but for a factor, knows nothing else."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, point: Tensor, time: Tensor, inputs: Tensor, mask: Tensor | None = None):
        return point @ self.matrix


def generator_of(core: Tensor, total: Tensor, steps: int, solver: str) -> Generator:
    """A generator of two correlated cells and a sum, with linear velocities."""
    torch.manual_seed(1)
    sizes = {"width": 8, "depth": 1, "law_width": 8}
    places, cells = torch.zeros(2, 0), torch.arange(2)
    flow = partial(Velocity, solver=solver, steps=steps)
    generator = Generator(1, places, cells, cells, cells, True, flow, **sizes)
    generator.flow.network, generator.total_flow.network = Turning(core), Turning(total)
    return generator


@pytest.mark.parametrize("steps", [1, 2])
def test_the_map_of_a_linear_flow_is_learnt(steps: int) -> None:
    """dx/dt = A x has x(1) = exp(A) x(0); what k calls (1 + B / k)^k make of it must be that."""
    core, total = torch.tensor([[0.2, 0.4], [-0.4, 0.1]]), torch.tensor([[0.3]])
    teacher = generator_of(core, total, 20, "heun")
    student = generator_of(torch.zeros(2, 2), torch.zeros(1, 1), steps, "euler")
    flows = [*student.flow.parameters(), *student.total_flow.parameters()]
    optimiser = torch.optim.Adam(flows, 0.02)
    for step in range(300):
        flow, of_total = errors(student, teacher, torch.randn(64, 1, generator=rng(step)), torch.ones(1, 8), rng(step))  # fmt: skip
        optimiser.zero_grad()
        (flow + of_total).mean().backward()
        optimiser.step()
    unit = torch.eye(2)
    with torch.no_grad():
        made = student.core_flow(torch.zeros(2, 2), unit)
        ended = student.sum_flow(torch.zeros(1, 1), torch.ones(1, 1))
    assert torch.allclose(made, torch.matrix_exp(QUARTER * core), atol=2e-3)
    assert float(ended) == pytest.approx(math.exp(QUARTER * 0.3), abs=2e-3)
    calls = torch.linalg.matrix_power(unit + QUARTER * student.flow.network.matrix / steps, steps)
    assert torch.allclose(made, calls, atol=1e-5)


def test_the_teacher_has_no_errors_of_itself() -> None:
    teacher = generator_of(torch.eye(2), torch.ones(1, 1), 3, "heun")
    coarse = generator_of(torch.eye(2), torch.ones(1, 1), 1, "euler")
    features, mask = torch.randn(500, 1, generator=rng()), torch.ones(1, 8)
    with torch.no_grad():
        assert not any(part.any() for part in errors(teacher, teacher, features, mask, rng()))
        flow, total = errors(coarse, teacher, features, mask, rng())
    off = (1 + QUARTER / 3 + (QUARTER / 3) ** 2 / 2) ** 3 - (1 + QUARTER)
    assert float(flow.mean()) == pytest.approx(off**2, rel=0.1)
    assert float(total.mean()) == pytest.approx(off**2, rel=0.2)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Train, validation and transform of the hodoscope."""
    folder = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DETECTORS, "hodoscope", hodoscope.DETECTOR)
        paths = []
        for name, count in (("train", 600), ("validation", 300)):
            where, bars = _bars(count, len(name))
            paths.append(
                samples.write_table(
                    folder / f"{name}.h5", bars, where, threshold=0.2, aux={},
                    detector=hodoscope.DETECTOR, layout=samples.LAYOUT,
                )
            )  # fmt: skip
        transform = str(folder / "transform.json")
        preprocess.run(paths[0], transform, seed=1, transform="box_cox", per_cell=False, gap=0.5)
    return [*paths, transform]


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DETECTORS, "hodoscope", hodoscope.DETECTOR)


def run(tables: list[str], folder: Path, settings: dict, teacher: Path | None = None) -> Path:
    out = folder / f"{settings['kind']}.h5"
    train.run(
        *tables, str(out), curves=str(folder / "0.csv"), work=str(folder / "work"),
        settings=settings, masks=3, seed=1, run_number=0, threads=1,
        teacher=teacher and str(teacher),
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def teacher(tables: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DETECTORS, "hodoscope", hodoscope.DETECTOR)
        patch.setattr("sosie.surrogates.descent.STEPS", 60)
        return run(tables, tmp_path_factory.mktemp("teacher"), FLOW)


def test_laws_masks_and_members_are_those_of_the_teacher(tables, teacher, tmp_path):
    learnt, known = load(run(tables, tmp_path, OWN, teacher)), load(teacher)
    assert np.array_equal(learnt.masks, known.masks)
    assert np.array_equal(learnt.offsets, known.offsets)
    own, old = learnt.arrays(), known.arrays()
    differ = {name for name in own if not np.array_equal(own[name], old[name])}
    assert differ
    assert all("flow" in name for name in differ)
    assert (learnt.generator.flow.steps, learnt.generator.flow.solver) == (1, "euler")
    assert learnt.origin.provenance["teacher"] == file_digest(teacher)


def test_killed_and_taken_up_gives_the_same_bytes(tables, teacher, tmp_path, monkeypatch):
    whole = run(tables, tmp_path / "whole", OWN, teacher)
    step = OneStepModule.training_step

    def killed(module: OneStepModule, item: int, batch: int) -> None:
        if (module.done, batch) == (2, 3):
            raise KeyboardInterrupt
        step(module, item, batch)

    with monkeypatch.context() as patch:
        patch.setattr(OneStepModule, "training_step", killed)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run(tables, tmp_path / "killed", OWN, teacher)
    assert not (tmp_path / "killed/one_step.h5").exists()
    again = run(tables, tmp_path / "killed", OWN, teacher)
    assert file_digest(again) == file_digest(whole)


def test_what_is_no_teacher_is_refused(tables, teacher, tmp_path):
    (member,) = load(teacher).members(1)
    save(tmp_path / "member.h5", member)
    student = run(tables, tmp_path, OWN, teacher)
    other = [shutil.copy(tables[1], tmp_path / "train.h5"), *tables[1:]]
    for given, settings, path, error, words in (
        (tables, OWN, None, SettingsError, r"--teacher is missing: .* training of 'flow'"),
        (tables, FLOW, teacher, SettingsError, r"--teacher .*: kind flow_matching; give none"),
        (tables, OWN, student, IntermediateError, "is of kind one_step; give a training of kind"),
        (tables, OWN, tmp_path / "member.h5", IntermediateError, "is a member of an ensemble"),
        (other, OWN, teacher, IntermediateError, "was trained on other samples"),
    ):
        with pytest.raises(error, match=words):
            run(given, tmp_path / "refused", settings, path)
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, None),
        ({"teacher": "flwo"}, "teacher: surrogate 'flwo' is not there; did you mean 'flow'?"),
        ({"teacher": "library"}, "teacher: surrogate 'library' is of another kind; valid: flow"),
        (
            {"method": "independent"},
            "method: independent, but its teacher 'flow' has dropout_masks; give the same",
        ),
        ({"fraction": 0.5}, "fraction: 0.5, but its teacher 'flow' has 1; give the same"),
        ({"steps": 3}, "steps: should be 2 or less, not 3"),
    ],
)
def test_a_study_names_a_teacher_that_is_one(study, changes, line):
    study["train"]["surrogates"] |= {
        "flow": {"kind": "flow_matching"},
        "fast": {"kind": "one_step", "teacher": "flow", **changes},
    }
    if line is None:
        assert load_study(study, "s").teachers("fast") == ["flow"]
        assert load_study(study, "s").teachers("flow") == []
        return
    with pytest.raises(SettingsError) as caught:
        load_study(study, "s")
    assert str(caught.value) == f"s: train.surrogates.fast.{line}"


def test_a_scan_is_one_of_the_teacher(study):
    study["train"]["surrogates"] |= {
        "flow": {"kind": "flow_matching"},
        "fast": {"kind": "one_step", "teacher": "flow"},
    }
    study["train"]["scan"] = {"surrogate": "fast", "fractions": [0.5]}
    with pytest.raises(SettingsError, match="'fast' learns from 'flow'; scan that one"):
        load_study(study, "s")
