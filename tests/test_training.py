"""The base of all trainings, on a network of one optimiser that learns a known mean."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch import nn

import toy
from sosie import train
from sosie.arrays import read_arrays
from sosie.detectors import DETECTORS
from sosie.errors import SettingsError
from sosie.settings import section
from sosie.surrogates import timed, training
from sosie.surrogates.cramer_training import CramerModule
from sosie.surrogates.network import Masked, Network, input_count
from sosie.surrogates.place import place
from sosie.surrogates.schedule import is_stale, progress, rate_factor
from sosie.surrogates.training import NotFiniteError, Training, fit

SETTINGS = {
    "kind": "plain", "epochs": 8, "batch": 100, "width": 16, "depth": 1, "dropout": 0.0,
    "rate": 1e-2, "averaging": 0.9, "validate_every": 2,
}  # fmt: skip
CRAMER = {
    "kind": "cramer_gan", "latent": 4, "critic_width": 16, "vector": 4, "n_critic": 1,
    "penalty": 1.0, "critic_rate": 1e-3,
}  # fmt: skip
EVENTS = 600


class Linear(Masked):
    """The mean of the scaled response, which for the toy is linear but for its ties."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.noise = 1
        self.hidden = nn.ModuleList([nn.Linear(features, width)])
        self.out = nn.Linear(width, 3)

    def forward(self, features, noise, mask=None):
        hidden = self.hidden[0](features)
        return self.out(hidden if mask is None else hidden * mask[0])


class Plain(Network):
    kind = "plain"
    block = 100

    @staticmethod
    def build(origin, settings):
        return Linear(input_count(origin), settings["width"])


class PlainModule(Training):
    surrogate = Plain
    losses = ("square",)

    def prepare(self, response, image):
        self.register_buffer("real", image, persistent=False)
        held = self.task.origin.transform.response.forward(self.task.validation.response)
        self.held = torch.from_numpy(held.astype(np.float32))

    def training_step(self, _, batch):
        rows, mask, rng = self.draws(batch)
        noise = torch.randn(len(rows), self.generator.noise, generator=rng)
        loss = (self.generator(self.features[rows], noise, mask) - self.real[rows]).square().mean()
        self.step(self.optimizers(), loss, batch)
        self.follow()
        self.note("square", loss)

    @torch.no_grad()
    def validation_distance(self):
        rng = torch.Generator().manual_seed(1)
        noise = torch.randn(len(self.asked), self.generator.noise, generator=rng)
        mask = self.masks[torch.arange(len(self.asked)) % len(self.masks)].transpose(0, 1)
        drawn = self.averaged(self.asked, noise, mask)
        return float((drawn - self.held).square().mean())


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DETECTORS, "toy", toy.TOY)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> train.Task:
    """The task of a training without any of the settings that all networks share."""
    folder, samples = tmp_path_factory.mktemp("task"), []
    for seed in (1, 3):
        where = toy.conditions(EVENTS, seed)
        samples.append(train.Sample(toy.responses(where, seed), where, np.ones(EVENTS)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DETECTORS, "toy", toy.TOY)
        path = toy.table(folder / "train.h5", samples[0].conditions, samples[0].response)
        origin = toy.origin(toy.fitted(folder, path, "yeo_johnson"))
    return train.Task(origin, SETTINGS, 2, 1, 1, *samples, folder / "checkpoint.h5")


@pytest.fixture
def task(whole: train.Task, tmp_path: Path) -> train.Task:
    return replace(whole, checkpoint=tmp_path / "checkpoint.h5")


def changed(task: train.Task, **settings) -> train.Task:
    return replace(task, settings={**task.settings, **settings})


def weights(surrogate: Network) -> dict[str, np.ndarray]:
    return surrogate.arrays()


def same(one: Network, other: Network) -> bool:
    return all(np.array_equal(a, weights(other)[name]) for name, a in weights(one).items())


class Killed(BaseException):
    """What no code is written to expect."""


def kill_at(patch: pytest.MonkeyPatch, epoch: int, batch: int) -> None:
    step = PlainModule.training_step

    def killed(module, item, number):
        if (module.done, number) == (epoch, batch):
            raise Killed
        step(module, item, number)

    patch.setattr(PlainModule, "training_step", killed)


def test_one_optimiser_learns_the_mean_and_resumes_alike(task, monkeypatch) -> None:
    surrogate, curves = fit(task, PlainModule)
    assert [row["epoch"] for row in curves] == list(range(1, 9))
    distance = [row["distance"] for row in curves]
    assert [bool(np.isfinite(d)) for d in distance] == 4 * [False, True]
    # What is left is the variance about the mean, which a straight line does not miss by much.
    assert distance[-1] < 0.7 * distance[1]
    again = replace(task, checkpoint=task.checkpoint.with_name("again.h5"))
    with monkeypatch.context() as patch:
        kill_at(patch, 3, 2)
        with pytest.raises(Killed):
            fit(again, PlainModule)
    resumed, others = fit(again, PlainModule)
    assert same(resumed, surrogate)
    np.testing.assert_equal(others, curves)


def test_clipping_bounds_the_norm_of_the_gradient(task, monkeypatch) -> None:
    norms: list[float] = []
    step = PlainModule.step

    def measured(module, optimiser, loss, batch):
        step(module, optimiser, loss, batch)
        norms.append(
            float(sum(p.grad.square().sum() for p in module.generator.parameters())) ** 0.5
        )

    monkeypatch.setattr(PlainModule, "step", measured)
    fit(changed(task, epochs=1), PlainModule)
    free, norms[:] = list(norms), []
    bound = float(np.median(free))
    assert max(free) > 1.05 * bound
    own = replace(task, checkpoint=task.checkpoint.with_name("own.h5"))
    fit(changed(own, epochs=1, clip=bound), PlainModule)
    assert max(norms) <= bound * (1 + 1e-5)
    assert len(norms) == len(free)


def distances(patch: pytest.MonkeyPatch, found: list[float]) -> None:
    """What the validations find, one after the other."""
    rest = iter(found)
    patch.setattr(PlainModule, "validation_distance", lambda module: next(rest))


def test_patience_ends_it_with_the_best_weights(task, monkeypatch, capsys) -> None:
    kept: dict[int, np.ndarray] = {}
    validate = PlainModule.validate

    def keeping(module):
        kept[module.done] = module.averaged.out.weight.detach().clone().numpy()
        return validate(module)

    monkeypatch.setattr(PlainModule, "validate", keeping)
    distances(monkeypatch, [5.0, 3.0, 4.0, 3.0, 9.0])
    own = changed(task, epochs=20, patience=3)
    surrogate, curves = fit(own, PlainModule)
    # Validated every second epoch, best after 4: three epochs without a better one are over at 8.
    assert curves[-1]["epoch"] == 8
    assert "ends after epoch 8: the distance no longer falls" in capsys.readouterr().err
    assert np.array_equal(weights(surrogate)["weights/out.weight"], kept[4])
    monkeypatch.setattr(PlainModule, "training_step", None)
    assert same(fit(own, PlainModule)[0], surrogate), "it went on"


def test_an_epoch_that_was_not_validated_is_not_stale() -> None:
    curves = [{"epoch": float(k), "distance": d} for k, d in enumerate((2.0, 3.0, np.nan), 1)]
    assert is_stale({"patience": 1}, curves[:2])
    assert not is_stale({"patience": 2}, curves[:2])
    assert not is_stale({"patience": 1}, curves)
    assert not is_stale({"patience": 1}, [])
    assert not is_stale({}, curves[:2])


class Clock:
    """A clock that moves by a second a batch and by two a validation, and stands still else."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        step, judge = PlainModule.training_step, PlainModule.validation_distance

        def stepped(module, item, batch):
            self.now += 1
            step(module, item, batch)

        def judged(module):
            self.now += 2
            return judge(module)

        patch.setattr(timed, "monotonic", lambda: self.now)
        patch.setattr(PlainModule, "training_step", stepped)
        patch.setattr(PlainModule, "validation_distance", judged)


def test_a_budget_too_short_for_one_validation_is_refused_before_any_epoch(task, monkeypatch):
    Clock(monkeypatch)
    # Two epochs of 6 batches, and a validation: 14 seconds.
    with pytest.raises(SettingsError, match=r"budget: plain: 0\.23 minutes .* 0\.233 min.*epoch 2"):
        fit(changed(task, budget=0.23), PlainModule)
    assert not task.checkpoint.exists()
    fit(changed(task, budget=0.24), PlainModule)
    assert task.checkpoint.exists()


def test_one_batch_an_epoch_is_timed_too(task, monkeypatch):
    Clock(monkeypatch)
    with pytest.raises(SettingsError, match=r"0\.0667 minutes"):
        fit(changed(task, batch=EVENTS, budget=0.06), PlainModule)


def test_a_budget_ends_it_after_a_whole_validated_epoch(task, monkeypatch, capsys) -> None:
    Clock(monkeypatch)
    rates: list[float] = []
    start = PlainModule.on_train_epoch_start

    def started(module):
        start(module)
        rates.append(module.trainer.optimizers[0].param_groups[0]["lr"])

    monkeypatch.setattr(PlainModule, "on_train_epoch_start", started)
    # 2 seconds of the estimate, 6 an epoch and 2 a validation; 21 are over in the third epoch.
    own = changed(task, epochs=100, budget=0.35)
    _, curves = fit(own, PlainModule)
    assert "ends after epoch 3: its budget is spent" in capsys.readouterr().err
    assert [row["budget"] * 21 for row in curves] == pytest.approx([8, 16, 24])
    assert [bool(np.isfinite(row["distance"])) for row in curves] == [False, True, True]
    # The rates fall with the budget, not with the epochs.
    expected = [1e-2 * rate_factor(share / 21) for share in (0, 8, 16)]
    assert rates == pytest.approx(expected)
    assert read_arrays(own.checkpoint, "checkpoint", "train")[1]["seconds"] == 24


def test_a_budget_is_that_of_all_runs_together(task, monkeypatch) -> None:
    clock = Clock(monkeypatch)
    own = changed(task, epochs=100, budget=0.35)
    with monkeypatch.context() as patch:
        kill_at(patch, 2, 0)
        with pytest.raises(Killed):
            fit(own, PlainModule)
    clock.now += 10_000
    surrogate, curves = fit(own, PlainModule)
    assert [row["epoch"] for row in curves] == [1, 2, 3]
    assert curves[-1]["budget"] * 21 == pytest.approx(24)
    monkeypatch.setattr(PlainModule, "training_step", None)
    again, others = fit(own, PlainModule)
    assert same(again, surrogate)
    assert len(others) == 3


def test_time_lost_to_a_loss_that_is_not_finite_counts(task, monkeypatch) -> None:
    Clock(monkeypatch)
    step = PlainModule.step

    def broken(module, optimiser, loss, batch):
        if (module.done, batch, module.halvings) == (2, 5, 0):
            raise NotFiniteError("the loss is nan")
        step(module, optimiser, loss, batch)

    monkeypatch.setattr(PlainModule, "step", broken)
    _, curves = fit(changed(task, epochs=100, budget=0.45), PlainModule)
    # 6 seconds an epoch and 2 a validation; 6 are lost in the third, which then is the last.
    assert [row["budget"] * 27 for row in curves] == pytest.approx([8, 16, 30])


def test_without_a_budget_the_curves_hold_no_times(task) -> None:
    assert set(fit(task, PlainModule)[1][0]) == {"epoch", "square", "distance"}


def test_schedules_start_at_one_and_end_at_the_least() -> None:
    for schedule in ("linear", "cosine"):
        assert [rate_factor(p, schedule) for p in (0.0, 0.19)] == [1, 1]
        assert rate_factor(0.6, schedule) == pytest.approx(0.5)
        assert rate_factor(1.0, schedule) == rate_factor(1.7, schedule) == 0.03
    assert rate_factor(0.4, "cosine") == pytest.approx((1 + np.cos(np.pi / 4)) / 2)
    assert {rate_factor(p, "constant") for p in (0.0, 0.5, 1.0)} == {1.0}
    assert progress({"epochs": 10}, 3, 1e9) == 0.3
    assert [progress({"epochs": 10, "budget": 1}, 3, s) for s in (6, 30)] == [0.3, 0.5]


def test_a_gpu_that_is_not_there_is_said_and_the_cpu_taken(task, monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plain, _ = fit(task, PlainModule)
    assert "warning" not in capsys.readouterr().err
    own = replace(task, checkpoint=task.checkpoint.with_name("own.h5"))
    asked, _ = fit(changed(own, device="gpu", precision="mixed"), PlainModule)
    said = capsys.readouterr().err
    assert said.count("device: gpu: there is none") == 1
    assert said.count("precision: mixed: needs a GPU with bfloat16; stays full") == 1
    assert "plain: on cpu, 32-true" in said
    assert same(asked, plain)


def test_where_a_gpu_is_it_is_taken_as_asked(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    taken = {name: place({"device": name, "precision": "mixed"}) for name in ("auto", "gpu", "cpu")}
    assert {name: how["accelerator"] for name, how in taken.items()} == {n: n for n in taken}
    precision = [how["precision"] for how in taken.values()]
    assert precision == ["bf16-mixed", "bf16-mixed", "32-true"]
    # One process a training, in a job of SLURM too, on one device.
    alone = place({})
    (plugin,) = alone.pop("plugins")
    assert isinstance(plugin, LightningEnvironment)
    assert alone == {"accelerator": "auto", "devices": [0], "precision": "32-true"}


def test_in_mixed_precision_every_loss_sees_the_weights_of_now(task, monkeypatch) -> None:
    """The CPU can compute in bfloat16 as a GPU does; the generator meets the critic after its step."""
    monkeypatch.setattr(
        training, "place", lambda _: {"accelerator": "cpu", "precision": "bf16-mixed"}
    )
    loss, gaps, kinds = CramerModule.generator_loss, [], set()

    def compared(module, rows, shown, rng):
        found = loss(module, rows, shown, rng)
        kinds.add(module.critic.layers[0](torch.zeros(1, 3 + module.encoded.shape[1])).dtype)
        with torch.autocast("cpu", enabled=False), torch.no_grad():
            full = loss(module, rows, tuple(x.float() for x in shown), rng)
        gaps.append(float((found / full - 1).abs()))
        return found

    monkeypatch.setattr(CramerModule, "generator_loss", compared)
    # Steps so long that the weights before them would give another loss.
    own = changed(task, **CRAMER, epochs=1, validate_every=1)
    own.settings["critic_rate"] = 0.5
    fit(own, CramerModule)
    assert kinds == {torch.bfloat16}
    assert max(gaps) < 0.05


def test_tensorboard_has_the_curves_once(task, tmp_path, monkeypatch) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    own = replace(task, tensorboard=tmp_path / "logs" / "0")
    with monkeypatch.context() as patch:
        kill_at(patch, 3, 2)
        with pytest.raises(Killed):
            fit(own, PlainModule)
    surrogate, curves = fit(own, PlainModule)
    read = EventAccumulator(str(own.tensorboard))
    read.Reload()
    assert set(read.Tags()["scalars"]) == {"square", "distance"}
    for name in ("square", "distance"):
        found = [(event.step, event.value) for event in read.Scalars(name)]
        wanted = [(row["epoch"], row[name]) for row in curves if np.isfinite(row[name])]
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    plain = replace(task, checkpoint=task.checkpoint.with_name("plain.h5"))
    assert same(surrogate, fit(plain, PlainModule)[0])


def test_without_tensorboard_it_is_said_and_trained(task, tmp_path, monkeypatch, capsys) -> None:
    for name in [n for n in sys.modules if n.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    _, curves = fit(replace(task, tensorboard=tmp_path / "logs"), PlainModule)
    assert "pip install 'sosie[tensorboard]'" in capsys.readouterr().err
    assert len(curves) == SETTINGS["epochs"]
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("kind", ["wgan_gp", "cramer_gan"])
def test_settings_of_a_network_are_named_only_where_they_are_given(kind: str) -> None:
    shared = {"clip", "patience", "budget", "schedule", "precision", "device"}
    plain = section("train", [f"surrogates.a.kind={kind}"]).model_dump()["surrogates"]["a"]
    assert not shared & set(plain)
    given = [f"surrogates.a.{word}" for word in (f"kind={kind}", "budget=5", "schedule=cosine")]
    found = section("train", given).model_dump()["surrogates"]["a"]
    assert found == {**plain, "budget": 5.0, "schedule": "cosine"}
    with pytest.raises(SettingsError, match=r"budget: should be more than 0, not 0"):
        section("train", [*given[:1], "surrogates.a.budget=0"])
