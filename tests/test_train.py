"""train: deterministic, resumed after a kill, alike for every kind of surrogate."""

import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sosie import ingest, preprocess, train
from sosie.cli import main
from sosie.errors import IntermediateError, SettingsError
from sosie.events import open_events
from sosie.files import file_digest, read_json
from sosie.owners import token
from sosie.surrogates import load
from sosie.surrogates.wgan_training import WganModule

SAMPLE = Path(__file__).parents[1] / "resources" / "ecal" / "quick.root"
SETTINGS = {
    "kind": "wgan_gp", "epochs": 4, "batch": 32, "latent": 8, "width": 32, "depth": 2,
    "sources": 3, "critic_width": 32, "dropout": 0.2, "summaries": 3.0, "n_critic": 2,
    "penalty": 10.0, "rate": 1e-3, "critic_rate": 1e-3, "averaging": 0.9, "validate_every": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Train, validation and transform of 400 showers of full simulation."""
    folder = tmp_path_factory.mktemp("tables")
    plain = ("px", "py", "pz")
    layout = ingest.Layout(
        tree="ecal",
        response={"branch": "energy", "unit": "MeV"},
        conditions={name: {"expression": name, "unit": "GeV"} for name in plain}
        | {name: {"expression": name, "unit": "cm"} for name in "xyz"}
        | {"pdg": {"expression": "pdg", "unit": ""}},
        identity=["seed", "event_id"],
        selection="event_id < 400",
    )
    split = {"train": 0.6, "validation": 0.2, "test": 0.2}
    ingest.run(
        [str(SAMPLE)], folder, detector="ecal", seed=1, layout=layout, threshold=0.2, split=split,
        memory=10**8,
    )  # fmt: skip
    transform = str(folder / "transform.json")
    preprocess.run(
        str(folder / "train.h5"), transform, seed=1, transform="box_cox", per_cell=False, gap=1.0
    )
    return [str(folder / "train.h5"), str(folder / "validation.h5"), transform]


def run(tables, folder: Path, **changed) -> Path:
    out = folder / "0.h5"
    others = {"masks": 3, "seed": 1, "run_number": 0, "threads": 1, "code": "", "times": None}
    others = {name: changed.pop(name, value) for name, value in others.items()}
    settings = {**SETTINGS, **changed}
    if settings["kind"] == "library":
        settings = {"kind": "library", "neighbours": 1}
    train.run(
        *tables, str(out), curves=str(folder / "0.csv"), work=str(folder / "work"),
        settings=settings, **others,
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def undisturbed(tables, tmp_path_factory):
    return run(tables, tmp_path_factory.mktemp("undisturbed"))


def curves(out: Path) -> list[dict[str, str]]:
    with open(out.with_suffix(".csv")) as file:
        return list(csv.DictReader(file))


def test_same_seed_same_bytes_other_seed_other_bytes(tables, undisturbed, tmp_path):
    again, other = run(tables, tmp_path / "again"), run(tables, tmp_path / "other", seed=2)
    assert file_digest(again) == file_digest(undisturbed)
    assert file_digest(other) != file_digest(undisturbed)


class Killed(BaseException):
    """What no code is written to expect."""


def kill_at(monkeypatch, epoch: int, batch: int) -> None:
    """Have the training end before a batch; the weights of the batches before are then lost."""
    step = WganModule.training_step

    def killed(module, item, number):
        if (module.done, number) == (epoch, batch):
            raise Killed
        step(module, item, number)

    monkeypatch.setattr(WganModule, "training_step", killed)


def not_finite(monkeypatch, epoch: int, batch: int, halvings: int) -> list[float]:
    """A loss that is no number until the rates are halved so often; returns the rates that were used."""
    loss, rates = WganModule.critic_loss, []

    def broken(module, rows, shown, rng):
        found, parts = loss(module, rows, shown, rng)
        rates.append(module.trainer.optimizers[0].param_groups[0]["lr"])
        number = module.trainer.fit_loop.epoch_loop.batch_idx
        if (module.done, number) == (epoch, batch) and module.halvings < halvings:
            found = found * float("nan")
        return found, parts

    monkeypatch.setattr(WganModule, "critic_loss", broken)
    return rates


def test_a_loss_that_is_not_finite_is_retried_with_half_the_rates(
    tables, tmp_path, monkeypatch, capsys
):
    rates = not_finite(monkeypatch, 2, 3, 1)
    out = run(tables, tmp_path)
    said = capsys.readouterr().err
    assert "the loss is nan in batch 4 of epoch 3; goes on from its last checkpoint" in said
    assert [row["epoch"] for row in curves(out)] == ["1", "2", "3", "4"]
    before, after = rates[2 * 7], rates[2 * 7 + 4]
    assert after == pytest.approx(before / 2)
    assert all(np.isfinite(x).all() for x in load(out).arrays().values())


def test_the_rates_stay_halved_when_the_training_is_killed_later(tables, tmp_path, monkeypatch):
    not_finite(monkeypatch, 1, 0, 1)
    whole = run(tables, tmp_path / "whole")
    kill_at(monkeypatch, 2, 1)
    with pytest.raises(Killed):
        run(tables, tmp_path / "killed")
    monkeypatch.undo()
    not_finite(monkeypatch, 1, 0, 1)
    assert same(run(tables, tmp_path / "killed"), whole)


def test_a_loss_that_never_is_finite_stops_with_epoch_and_batch(tables, tmp_path, monkeypatch):
    not_finite(monkeypatch, 0, 2, 99)
    with pytest.raises(SettingsError, match=r"batch 3 of epoch 1, with the .* halved 2 times"):
        run(tables, tmp_path)
    assert not (tmp_path / "0.h5").exists()


def same(out: Path, other: Path) -> bool:
    """Whether two trainings left the same network and the same curves."""
    pairs = [(path, path.with_suffix(".csv")) for path in (out, other)]
    return len({tuple(file_digest(path) for path in pair) for pair in pairs}) == 1


@pytest.mark.fault(6, recovery=True)
def test_killed_at_every_batch_of_an_epoch_in_turn_gives_the_same_bytes(
    tables, undisturbed, tmp_path, monkeypatch
):
    with open_events(tables[0]) as events:
        batches = len(events) // SETTINGS["batch"]
    assert batches > 5
    middle = [(1, batch) for batch in range(batches)]
    for epoch, batch in [(0, batches - 1), *middle, (2, 0), (3, batches - 1)]:
        with monkeypatch.context() as patch:
            kill_at(patch, epoch, batch)
            with pytest.raises(Killed):
                run(tables, tmp_path)
        assert not (tmp_path / "0.h5").exists()
    assert same(run(tables, tmp_path), undisturbed)


# Kills itself when the file that it writes is to be flushed to the disk for the n-th time.
KILLED_IN_A_WRITE = """
import os, signal, sys
from sosie import cli
left, fsync = [int(sys.argv[1])], os.fsync
def last(handle):
    left[0] -= 1
    os.kill(os.getpid(), signal.SIGKILL if left[0] == 0 else 0)
    fsync(handle)
os.fsync = last
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.fault(6, recovery=True)
@pytest.mark.slow
def test_a_command_killed_with_sigkill_again_and_again_gives_the_same_bytes(tables, tmp_path):
    moments, settings = random.Random(7), json.dumps({**SETTINGS, "epochs": 12})

    def command(folder: Path) -> list[str]:
        return [
            "train", "--surrogate", "wgan_gp", "--threads", "1", "--in", *tables,
            "--work", str(folder / "work"), "--curves", str(folder / "0.csv"),
            "--out", str(folder / "0.h5"), "--set", "masks=3", f"surrogates.wgan_gp={settings}",
        ]  # fmt: skip

    assert main(command(tmp_path / "undisturbed")) == 0
    out = tmp_path / "0.h5"
    for write, lines in ((3, 99), (0, 3), (4, 99), (0, 2), (1, 99)):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED_IN_A_WRITE, str(write), *command(tmp_path)],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while lines and (line := process.stderr.readline()):
            lines -= "epoch" in line
        if not lines:
            time.sleep(moments.uniform(0, 0.05))
            process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not out.exists()
    done = subprocess.run(
        [sys.executable, "-m", "sosie.cli", *command(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "goes on after epoch" in done.stderr
    assert same(out, tmp_path / "undisturbed/0.h5")
    assert not list(tmp_path.rglob(".*.part"))


@pytest.mark.fault(6)
def test_a_checkpoint_cut_in_its_writing_is_no_checkpoint(
    tables, undisturbed, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        kill_at(patch, 2, 1)
        with pytest.raises(Killed):
            run(tables, tmp_path)
    (checkpoint,) = (tmp_path / "work").glob("*/checkpoint.h5")
    whole = checkpoint.read_bytes()
    owner = token().rpartition("-")[0] + "-1"  # a process that had this number, and is gone
    part = checkpoint.with_name(f".{checkpoint.name}.{owner}.part")
    part.write_bytes(whole[: len(whole) // 2])
    out = run(tables, tmp_path)
    assert "goes on after epoch 2" in capsys.readouterr().err
    assert same(out, undisturbed)
    assert not part.exists()


def test_resumes_rather_than_repeats(tables, tmp_path, monkeypatch, capsys):
    times = str(tmp_path / "times.json")
    run(tables, tmp_path, times=times)
    first = read_json(times, "train")
    assert first["threads"] == 1
    (tmp_path / "0.h5").unlink()
    monkeypatch.setattr(WganModule, "training_step", None)
    # What the second process takes is short; the first one's epochs count.
    monkeypatch.setattr("sosie.train.time.perf_counter", lambda: 0.0)
    run(tables, tmp_path, times=times)
    assert "goes on after epoch 4" in capsys.readouterr().err
    assert 0 < read_json(times, "train")["seconds"] < first["seconds"]


@pytest.mark.fault(6)
def test_a_damaged_checkpoint_is_said_and_not_used(tables, undisturbed, tmp_path, capsys):
    out = run(tables, tmp_path)
    (checkpoint,) = (tmp_path / "work").glob("*/checkpoint.h5")
    data = bytearray(checkpoint.read_bytes())
    data[len(data) // 2] ^= 1
    checkpoint.write_bytes(data)
    out.unlink()
    run(tables, tmp_path)
    assert "the training starts anew" in capsys.readouterr().err
    assert file_digest(out) == file_digest(undisturbed)


@pytest.mark.fault(6)
@pytest.mark.parametrize(
    "changed",
    [
        {"width": 40}, {"rate": 2e-3}, {"epochs": 5}, {"masks": 4}, {"seed": 2},
        {"run_number": 1}, {"threads": 2}, {"code": "other"},
    ],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_a_checkpoint_of_another_training_is_not_taken_up(
    tables, undisturbed, tmp_path, monkeypatch, capsys, changed
):
    shutil.copytree(undisturbed.parent / "work", tmp_path / "work")
    kill_at(monkeypatch, 0, 0)
    with pytest.raises(Killed):
        run(tables, tmp_path, **changed)
    assert "goes on" not in capsys.readouterr().err


def test_the_best_epoch_is_kept(undisturbed):
    rows = curves(undisturbed)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert [bool(row["distance"]) for row in rows] == [False, True, False, True]
    assert all(float(row["wasserstein"]) and float(row["penalty"]) >= 0 for row in rows)


def test_training_approaches_the_reference(tables, tmp_path):
    out = run(tables, tmp_path, epochs=30, validate_every=1, rate=1e-3)
    distance = [float(row["distance"]) for row in curves(out)]
    assert min(distance[-10:]) < 0.5 * distance[0]


def test_library_is_trained_by_the_same_step(tables, tmp_path):
    out = run(tables, tmp_path, kind="library")
    library = load(out)
    assert library.kind == "library"
    assert (tmp_path / "0.csv").read_text() == "epoch\n"
    response = library.sample(library.conditions[:5], np.random.default_rng(1))
    np.testing.assert_allclose(response, library.response[:5], rtol=1e-6)


def test_missing_transform_is_named(tables, tmp_path):
    with pytest.raises(IntermediateError, match=r"nothing\.json"):
        run([*tables[:2], str(tmp_path / "nothing.json")], tmp_path)
