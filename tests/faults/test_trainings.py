"""Trainings that are killed at random batches, and checkpoints that lack something."""

import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import killer
import samples
import toy
from sosie import preprocess
from sosie.arrays import read_arrays, write_arrays
from sosie.cli import main
from sosie.detectors import DETECTORS
from sosie.files import file_digest
from sosie.progress import warn
from sosie.surrogates import descent, training
from sosie.surrogates.checkpoint import read_checkpoint
from tiny import environment

KILLS = {"short": 3, "long": 20}
EPOCHS, BATCHES, BATCH = 6, 5, 32
COMMON = {"epochs": EPOCHS, "batch": BATCH, "width": 16, "depth": 2, "validate_every": 2}
GAN = {**COMMON, "critic_width": 16, "latent": 4, "n_critic": 2}
SETTINGS = {
    "wgan_gp": {**GAN, "kind": "wgan_gp", "sources": 2},
    "cramer_gan": {**GAN, "kind": "cramer_gan", "vector": 4},
    "flow_matching": {**COMMON, "kind": "flow_matching", "law_epochs": 2, "law_width": 16},
}


@pytest.fixture(autouse=True)
def as_in_the_children(monkeypatch):
    monkeypatch.setitem(DETECTORS, "toy", toy.TOY)
    monkeypatch.setattr(descent, "STEPS", killer.STEPS)


def tables(folder: Path, kind: str) -> list[str]:
    """Train, validation and transform: showers for wgan_gp, the toy's vectors for the others."""
    paths = [str(folder / name) for name in ("train.h5", "validation.h5", "transform.json")]
    cells = kind == "wgan_gp"
    for seed, path in enumerate(paths[:2], 1):
        if cells:
            where = samples.conditions(BATCH * BATCHES, seed)
            samples.write_table(path, samples.showers(where, seed), where)
        else:
            where = toy.conditions(BATCH * BATCHES, seed)
            toy.table(path, where, toy.responses(where, seed))
    how = "box_cox" if cells else "yeo_johnson"
    preprocess.run(paths[0], paths[2], seed=1, transform=how, per_cell=False, gap=0.5)
    return paths


@dataclass(frozen=True)
class Trained:
    """A training of a kind: its command without a place, and the folder in which nothing disturbed it."""

    kind: str
    inputs: list[str]
    undisturbed: Path

    def command(self, folder: Path) -> list[str]:
        """The command that trains it in a folder."""
        words = [
            "train", "--surrogate", self.kind, "--threads", "1", "--in", *self.inputs,
            "--work", "work", "--curves", "0.csv", "--out", "0.h5",
        ]  # fmt: skip
        places = {name: str(folder / name) for name in ("work", "0.csv", "0.h5")}
        settings = f"surrogates.{self.kind}={json.dumps(SETTINGS[self.kind])}"
        return [places.get(word, word) for word in words] + ["--set", "masks=2", settings]

    def same(self, folder: Path) -> bool:
        """Whether the training in a folder left the bytes of the undisturbed one."""
        pairs = [
            [file_digest(f / n) for n in ("0.h5", "0.csv")] for f in (self.undisturbed, folder)
        ]
        return pairs[0] == pairs[1]


@pytest.fixture(scope="module")
def killed(tmp_path_factory, request):
    """The trainings by kind, each undisturbed and, in a folder 'killed' beside, killed at random batches."""
    kills = KILLS[request.config.getoption("--faults")]
    places = [(epoch, batch) for epoch in range(EPOCHS) for batch in range(BATCHES)]
    found, tasks = {}, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DETECTORS, "toy", toy.TOY)
        for kind in SETTINGS:
            folder = tmp_path_factory.mktemp(kind)
            found[kind] = Trained(kind, tables(folder, kind), folder)
            # Several within one epoch are as likely as any.
            chosen = sorted(random.Random(kind).sample(places, kills))
            tasks.append(([], found[kind].command(folder)))
            tasks.append((chosen, found[kind].command(folder / "killed")))
    done = subprocess.run(
        [sys.executable, killer.__file__, json.dumps(tasks)],
        env=environment() | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "goes on after epoch" in done.stderr
    return found


@pytest.mark.slow
@pytest.mark.fault(6, recovery=True)
@pytest.mark.parametrize("kind", SETTINGS)
def test_killed_at_random_batches_gives_the_same_bytes(kind, killed, tally, request):
    trained = killed[kind]
    for _ in range(KILLS[request.config.getoption("--faults")]):
        tally.add(trained.same(trained.undisturbed / "killed"), kind)


class Begun(Exception):
    """Holds a training that would now begin, or go on."""


def begun(trained: Trained, folder: Path, monkeypatch) -> training.Training:
    """The training as it is before its first batch."""

    def stop(module):
        raise Begun(module)

    with monkeypatch.context() as patch:
        patch.setattr(training, "_run", stop)
        with pytest.raises(Begun) as caught:
            main(trained.command(folder))
    return caught.value.args[0]


def held(module) -> dict[str, torch.Tensor]:
    """All that a checkpoint could change."""
    states = {name: getattr(module, name).state_dict() for name in module.networks}
    states["best"] = module.best
    return {f"{n}/{k}": t.clone() for n, state in states.items() for k, t in state.items()}


def lacking(arrays, about, kind):
    """Checkpoints that are whole files but lack something, by what they lack."""
    moment = [n for n in arrays if n.startswith("optimiser/")]
    first = moment[0].rsplit("/", 1)[0]

    def without(*starts, ends=""):
        return {
            n: a for n, a in arrays.items() if not (n.startswith(starts) and n.endswith(ends))
        }, about

    yield "all moments", without("optimiser/")
    yield "first moments", without("optimiser/", ends="/exp_avg")
    yield "second moments", without("optimiser/", ends="/exp_avg_sq")
    yield "the steps of Adam", without("optimiser/", ends="/step")
    yield "the moments of one parameter", without(f"{first}/")
    if kind != "flow_matching":
        yield "the optimiser of the generator", without("optimiser/0/")
        yield "the optimiser of the critic", without("optimiser/1/")
        yield "the critic", without("critic/")
    yield "averaged weights", without("averaged/")
    one = next(name for name in arrays if name.startswith("averaged/"))
    yield "one of the averaged weights", without(one)
    yield "best weights", without("best/")
    yield "the generator", without("generator/")
    short = {n: a.reshape(-1)[:-1] if n.endswith("/exp_avg") else a for n, a in arrays.items()}
    yield "a part of each moment", (short, about)
    yield "all but one more", ({**arrays, "averaged/more": np.ones(2, np.float32)}, about)
    yield "numbers", ({n: np.full(a.shape, b"x", "S1") for n, a in arrays.items()}, about)
    for name in about:
        yield name, (arrays, {key: value for key, value in about.items() if key != name})
    yield "curves that are none", (arrays, {**about, "curves": [1]})


@pytest.mark.slow
@pytest.mark.fault(6)
@pytest.mark.parametrize("kind", SETTINGS)
def test_a_checkpoint_that_lacks_something_is_refused_and_nothing_of_it_taken(
    kind, killed, tally, tmp_path, monkeypatch, capsys
):
    trained = killed[kind]
    (whole,) = (trained.undisturbed / "work").glob("*/checkpoint.h5")
    arrays, about = read_arrays(whole, "checkpoint", "train")
    module = begun(trained, tmp_path, monkeypatch)
    path, before = tmp_path / "checkpoint.h5", held(module)
    for what, parts in lacking(arrays, about, kind):
        write_arrays(path, "checkpoint", *parts)
        capsys.readouterr()
        warn.cache_clear()
        read_checkpoint(path, module)
        said = capsys.readouterr().err
        same = all(torch.equal(now, before[name]) for name, now in held(module).items())
        refused = said.startswith(f"[train] warning: {path}: refused: ") and said.count("\n") == 1
        untouched = (module.done, module.best, module.optimiser_states, module.curves)
        tally.add(
            refused and "starts anew" in said and same and untouched == (0, {}, [], []),
            f"{kind} without {what}: {said}",
        )
    # The same file with nothing taken out is taken up.
    write_arrays(path, "checkpoint", arrays, about)
    read_checkpoint(path, module)
    assert f"goes on after epoch {EPOCHS}" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.fault(6, recovery=True)
@pytest.mark.parametrize("kind", SETTINGS)
def test_the_training_that_starts_anew_gives_the_same_bytes(
    kind, killed, long, tally, tmp_path, capsys
):
    trained = killed[kind]
    (whole,) = (trained.undisturbed / "work").glob("*/checkpoint.h5")
    arrays, about = read_arrays(whole, "checkpoint", "train")
    chosen = list(lacking(arrays, about, kind))
    for what, parts in chosen if long else chosen[:1]:
        warn.cache_clear()
        write_arrays(tmp_path / "work" / whole.parent.name / whole.name, "checkpoint", *parts)
        assert main(trained.command(tmp_path)) == 0
        said = capsys.readouterr().err
        assert "refused" in said
        assert "goes on after" not in said
        tally.add(trained.same(tmp_path), f"{kind} without {what}")
