"""Prioritised observables: their values, their gradients, the regressor, and the keys."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import samples
import toy
from sosie import train
from sosie.detectors import DETECTORS, find
from sosie.errors import SettingsError
from sosie.files import file_digest
from sosie.settings import load as load_study
from sosie.surrogates.cramer_training import CramerModule
from sosie.surrogates.priorities import Priorities
from sosie.surrogates.training import masks_of
from sosie.surrogates.wgan_training import WganModule

EVENTS = 200
ECAL, TPC = find("ecal"), find("tpc")
SMALL = {
    "batch": 50, "epochs": 2, "latent": 4, "width": 16, "depth": 2, "critic_width": 16,
    "dropout": 0.1, "n_critic": 1, "penalty": 10.0, "rate": 1e-3, "critic_rate": 1e-3,
    "averaging": 0.9, "validate_every": 1,
}  # fmt: skip
WGAN = {"kind": "wgan_gp", "sources": 2, "summaries": 5.0, **SMALL}
CRAMER = {"kind": "cramer_gan", "vector": 4, **SMALL}
ASYMMETRIES = ["asym_long", "asym_trans"]


def settings_of(base: dict[str, Any], *names: str, regressor: str = "needed") -> dict[str, Any]:
    return {**base, "prioritise": [*names], "regressor": regressor, "regressor_width": 16}


def task_of(settings: dict[str, Any], folder: Path) -> train.Task:
    """A training on the showers of the calorimeter, of which the last has no direction."""
    where = samples.conditions(EVENTS)
    where[-1, :2] = 0
    response = samples.showers(where)
    response[response < 0.2] = 0
    sample = train.Sample(response, where, np.ones(EVENTS))
    origin = samples.origin(where)
    return train.Task(origin, settings, 2, 3, 1, sample, sample, folder / "checkpoint.h5")


def module_of(settings: dict[str, Any], folder: Path) -> WganModule | CramerModule:
    task = task_of(settings, folder)
    kind = WganModule if settings["kind"] == "wgan_gp" else CramerModule
    return kind(task, masks_of(task))


def image_of(module: WganModule | CramerModule) -> torch.Tensor:
    """The scaled responses of the training sample."""
    task = module.task
    image = task.origin.transform.response.forward(task.train.response)
    return torch.from_numpy(image.astype(np.float32))


def test_averages_over_the_cells_are_the_observables() -> None:
    rng = np.random.default_rng(1)
    rows = np.column_stack(
        [
            *rng.uniform(-50, 50, (2, 30)), *rng.uniform(5, 100, (2, 30)),
            np.full((30, 3), (12.0, 0.5, 211)),
        ]
    )  # fmt: skip
    for detector, where in ((ECAL, samples.conditions(30)), (TPC, rows)):
        response = rng.gamma(0.3, 10, (30, *detector.shape))
        share = response.reshape(30, -1) / response.sum(axis=(1, 2))[:, None]
        observed = detector.observe(response, where)
        assert detector.averages
        for name, count in detector.averages(where.astype(np.float64)).items():
            np.testing.assert_allclose((share * count).sum(axis=1), observed[name], atol=1e-9)


@pytest.mark.parametrize("base", [WGAN, CRAMER], ids=["wgan_gp", "cramer_gan"])
def test_critics_see_the_observables_themselves(base, tmp_path):
    """Drawn from the response or found by the detector, standardised they are the same; 0 where there
    are none."""
    module = module_of(settings_of(base, *ASYMMETRIES), tmp_path)
    rows = torch.arange(EVENTS)
    seen = module.real[:, : 30 * 30]
    with torch.no_grad():
        shown = module.prioritised(seen, rows)
    assert module.priorities is not None
    assert module.priorities.regressor is None
    wanted = module.priorities.found(image_of(module), rows)
    assert torch.allclose(shown[:-1], wanted[:-1], atol=2e-3)
    assert torch.allclose(module.priorities.wanted[:-1], wanted[:-1], atol=2e-3)
    assert wanted[-1].isnan().all()
    assert not shown[-1].any()
    assert shown[:-1].abs().mean() > 0.3


def test_the_gradient_is_that_of_the_observable(tmp_path):
    """Against differences of what the detector finds in responses moved a little."""
    module = module_of(settings_of(WGAN, "asym_trans", "bary_x"), tmp_path)
    rows, image = torch.arange(20), image_of(module)[:20].requires_grad_(True)
    values = module.prioritised(image.flatten(1), rows)
    values[:, 0].sum().backward()
    assert module.priorities is not None
    with torch.no_grad():
        # The ten cells of most energy of each event, whose step of single precision is small.
        for cell in image[0].flatten().topk(10).indices.tolist():
            moved = [image.flatten(1).clone() for _ in range(2)]
            for sign, one in zip((1, -1), moved, strict=True):
                one[:, cell] += sign * 0.02
            up, down = (module.priorities.found(one.view_as(image), rows)[0, 0] for one in moved)
            slope = float(up - down) / 0.04
            assert float(image.grad.flatten(1)[0, cell]) == pytest.approx(slope, rel=0.05, abs=2e-3)
    assert image.grad.isfinite().all()


@pytest.mark.parametrize("base", [WGAN, CRAMER], ids=["wgan_gp", "cramer_gan"])
@pytest.mark.parametrize("regressor", ["needed", "always", "untrained"])
def test_the_gradient_reaches_the_generator(base, regressor, tmp_path):
    module = module_of(settings_of(base, "asym_trans", "cells_5mev", regressor=regressor), tmp_path)
    rng = torch.Generator().manual_seed(1)
    rows = torch.arange(50)
    shown = module.generate(rows, module.masks[0], rng)
    drawn = shown[0] if isinstance(shown, tuple) else shown
    for column in range(2):
        module.generator.zero_grad()
        module.prioritised(drawn[:, : 30 * 30], rows)[:, column].square().sum().backward(
            retain_graph=True
        )
        slopes = [p.grad for p in module.generator.parameters() if p.grad is not None]
        assert all(slope.isfinite().all() for slope in slopes)
        assert sum(float(slope.abs().sum()) for slope in slopes) > 0


def test_the_regressor_learns_the_observable_and_leaves_out_what_is_undefined(tmp_path):
    module = module_of(settings_of(WGAN, "bary_x", "asym_long", regressor="always"), tmp_path)
    chosen, rows = module.priorities, torch.arange(EVENTS)
    assert chosen is not None
    assert chosen.learns
    seen = module.real[:, : 30 * 30]
    optimiser = torch.optim.Adam(chosen.parameters(), 5e-3)
    losses = []
    for _ in range(300):
        loss = chosen.loss(seen, chosen.wanted[rows], rows)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.1 * losses[0]
    error = (chosen(seen, image_of(module), rows) - chosen.wanted)[:-1].square().mean()
    assert float(error.detach()) == pytest.approx(losses[-1], rel=0.3)


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch | None = None, **changed: Any) -> Path:
    """A training of wgan_gp to the end, or killed in its second epoch and taken up again."""
    settings = {**settings_of(WGAN, "asym_trans", "cells_5mev"), **changed}
    task = task_of(settings, folder)
    if monkeypatch:
        step = WganModule.training_step

        def killed(module: WganModule, item: int, batch: int) -> None:
            if (module.done, batch) == (1, 1):
                raise InterruptedError
            step(module, item, batch)

        with monkeypatch.context() as patch:
            patch.setattr(WganModule, "training_step", killed)
            with pytest.raises(InterruptedError):
                train.fit(task)
    surrogate, curves = train.fit(replace(task, clock=train.Clock()))
    assert ("regression" in curves[0]) == (settings["regressor"] != "untrained")
    out = folder / "0.h5"
    train.save(out, surrogate)
    return out


def test_killed_and_taken_up_gives_the_same_bytes(tmp_path, monkeypatch):
    whole = trained(tmp_path / "whole")
    again = trained(tmp_path / "killed", monkeypatch)
    assert file_digest(again) == file_digest(whole)


def test_an_untrained_regressor_stays_as_it_was_drawn(tmp_path):
    module = module_of(settings_of(WGAN, *ASYMMETRIES, regressor="untrained"), tmp_path)
    chosen, rows = module.priorities, torch.arange(50)
    assert chosen is not None
    assert not chosen.learns
    seen = module.real[rows, : 30 * 30]
    assert float(module.regression(seen, seen, rows)) == 0
    assert not any(parameter.requires_grad for parameter in chosen.parameters())
    with torch.no_grad():
        assert module.prioritised(seen, rows).std(dim=0).min() > 1e-3


def test_numbers_of_either_sign_are_guessed(tmp_path, monkeypatch):
    monkeypatch.setitem(DETECTORS, "toy", toy.TOY)
    where = toy.conditions(300)
    path = toy.fitted(tmp_path, toy.table(tmp_path / "train.h5", where, toy.responses(where)))
    sample = train.Sample(toy.responses(where), where, np.ones(300))
    settings = settings_of({**CRAMER, "batch": 100}, "r1")
    task = train.Task(toy.origin(path), settings, 2, 3, 1, sample, sample, tmp_path / "c.h5")
    module = CramerModule(task, masks_of(task))
    assert isinstance(module.priorities, Priorities)
    assert module.priorities.guessed == [0]
    surrogate, curves = train.fit(task)
    assert all(np.isfinite(list(row.values())).all() for row in curves)
    response = surrogate.members(1)[0].sample(where, np.random.default_rng(1))
    assert np.isfinite(response).all()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["asym_lnog"], "0: ecal has no observable 'asym_lnog'; did you mean 'asym_long'?"),
        (
            ["asym_long", "asymmetry_long"],
            "1: ecal has no observable 'asymmetry_long'; did you mean 'asym_long'?",
        ),
        (["bary_x", "bary_x"], "1: 'bary_x' is there already; give each observable once"),
    ],
)
def test_what_is_no_observable_is_refused(study, given, line):
    study["train"]["surrogates"]["wgan_gp"]["prioritise"] = given
    with pytest.raises(SettingsError) as caught:
        load_study(study, "s")
    assert str(caught.value) == f"s: train.surrogates.wgan_gp.prioritise.{line}"


def test_files_name_the_keys_where_they_are_given(study):
    plain = load_study(study, "s").train.surrogates["wgan_gp"].model_dump()
    assert "prioritise" not in plain
    assert "regressor" not in plain
    study["train"]["surrogates"]["wgan_gp"]["prioritise"] = ASYMMETRIES
    dumped = load_study(study, "s").train.surrogates["wgan_gp"].model_dump()
    assert dumped["prioritise"] == ASYMMETRIES
    assert (dumped["regressor"], dumped["regressor_width"]) == ("needed", 64)
