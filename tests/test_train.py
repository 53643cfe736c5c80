"""train: deterministic, resumed after a kill, alike for every kind of surrogate."""

import csv
from pathlib import Path

import numpy as np
import pytest

from sosie import ingest, preprocess, train
from sosie.errors import IntermediateError
from sosie.files import file_digest
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


def run(tables, folder: Path, seed: int = 1, **changed) -> Path:
    out = folder / "0.h5"
    settings = {**SETTINGS, **changed}
    if settings["kind"] == "library":
        settings = {"kind": "library"}
    train.run(
        *tables, str(out), curves=str(folder / "0.csv"), work=str(folder / "work"),
        settings=settings, masks=3, seed=seed, run_number=0, threads=1,
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


@pytest.mark.parametrize(("epoch", "batch"), [(0, 3), (1, 0), (2, 5)])
def test_killed_and_started_again_gives_the_same_bytes(
    tables, undisturbed, tmp_path, monkeypatch, epoch, batch
):
    step = WganModule.training_step

    def killed(module, item, number):
        if (module.done, number) == (epoch, batch):
            raise KeyboardInterrupt
        step(module, item, number)

    with monkeypatch.context() as patch:
        patch.setattr(WganModule, "training_step", killed)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run(tables, tmp_path)
    assert not (tmp_path / "0.h5").exists()
    out = run(tables, tmp_path)
    assert file_digest(out) == file_digest(undisturbed)
    assert out.with_suffix(".csv").read_bytes() == undisturbed.with_suffix(".csv").read_bytes()


def test_resumes_rather_than_repeats(tables, tmp_path, monkeypatch, capsys):
    run(tables, tmp_path)
    (tmp_path / "0.h5").unlink()
    monkeypatch.setattr(WganModule, "training_step", None)
    run(tables, tmp_path)
    assert "goes on after epoch 4" in capsys.readouterr().err


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


def test_other_settings_take_up_no_checkpoint_of_these(tables, tmp_path, capsys):
    run(tables, tmp_path)
    run(tables, tmp_path, width=40)
    assert "goes on" not in capsys.readouterr().err
    assert len(list((tmp_path / "work").iterdir())) == 2


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


def test_half_of_the_validation_sample_chooses():
    groups = np.arange(20000, dtype=np.uint64)
    first = train.chooses(groups, 1)
    assert abs(first.mean() - 0.5) < 0.02
    assert abs((first == train.chooses(groups, 2)).mean() - 0.5) < 0.02


def test_missing_transform_is_named(tables, tmp_path):
    with pytest.raises(IntermediateError, match=r"nothing\.json"):
        run([*tables[:2], str(tmp_path / "nothing.json")], tmp_path)
