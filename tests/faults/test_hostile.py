"""Files that would run a program or read another file: nothing is run or read, each is named."""

import io
import json
import os
import pickle
import subprocess
import sys
from itertools import product
from pathlib import Path

import h5py
import joblib
import numpy as np
import pytest
import torch
import yaml

import samples
from chain import small
from conftest import ROOT, electrons, write_root
from opened import watched
from sosie import merge
from sosie.cli import main
from sosie.detectors.ecal import incident_energy
from sosie.errors import InputError, IntermediateError, SettingsError
from sosie.events import open_events
from sosie.foreign import read_foreign
from sosie.ingest import run as ingest
from sosie.layouts import Layout
from sosie.settings import load_file
from sosie.studies import main as studies
from test_damage import READERS, Hostile, here, made, refused  # noqa: F401
from test_ingest import LAYOUT, SPLIT
from tiny import environment

EXECUTED = "executed"
WHERE = samples.conditions(30)


def programs(mark: Path) -> dict[str, bytes]:
    """Files of other programs that touch ``mark`` when they are loaded without care."""
    hostile, found = Hostile(mark), {}
    for name, how in {
        "pickle": lambda stream: pickle.dump(hostile, stream),
        "old pickle": lambda stream: pickle.dump(hostile, stream, protocol=0),
        "joblib": lambda stream: joblib.dump({"transform": hostile}, stream),
        "compressed joblib": lambda stream: joblib.dump(hostile, stream, compress=3),
        "torch": lambda stream: torch.save({"state_dict": hostile}, stream),
        "old torch": lambda stream: torch.save(
            hostile, stream, _use_new_zipfile_serialization=False
        ),
        "numpy": lambda stream: np.save(stream, np.array([hostile], object), allow_pickle=True),
        # Lightning imports and calls what these name, also where weights alone are loaded.
        "lightning": lambda stream: torch.save(
            {
                "pytorch-lightning_version": "2.6.6", "epoch": 1, "global_step": 1,
                "state_dict": {"generator.weight": torch.ones(2)}, "loops": {},
                "hparams_name": "kwargs", "hyper_parameters": {
                    "_class_path": "os.system", "_instantiator": "pathlib.Path.touch",
                    "command": f"touch '{mark}'",
                },
            },
            stream,
        ),
        "lightning with a pickle": lambda stream: torch.save(
            {"state_dict": {}, "hyper_parameters": {"_instantiator": hostile}}, stream
        ),
    }.items():  # fmt: skip
        stream = io.BytesIO()
        how(stream)
        found[name] = stream.getvalue()
    return found


def test_they_would_execute(tmp_path):
    """Loaded without care: what follows can fail."""
    mark = tmp_path / EXECUTED
    for data, how in (
        (programs(mark)["joblib"], joblib.load),
        (programs(mark)["torch"], lambda file: torch.load(file, weights_only=False)),
    ):
        how(io.BytesIO(data))
        assert mark.exists()
        mark.unlink()


@pytest.mark.fault(11)
@pytest.mark.parametrize("name", READERS)
def test_programs_in_the_place_of_an_intermediate(here, tmp_path, tally, name):  # noqa: F811
    mark = tmp_path / EXECUTED
    for what, data in programs(mark).items():
        (here / name).write_bytes(data)
        refused(here / name, name)
        tally.add(not mark.exists(), what)


@pytest.mark.fault(11)
def test_programs_that_are_given_to_a_command(here, tmp_path, tally, capsys):  # noqa: F811
    """Whatever their name, as a Lightning checkpoint or a file of scikit-learn."""
    mark, table = tmp_path / EXECUTED, str(here / "table.h5")
    for (what, data), end in product(
        programs(mark).items(), ("h5", "ckpt", "pkl", "joblib", "root")
    ):
        path = tmp_path / f"model.{end}"
        path.write_bytes(data)
        commands = [
            ["generate", "--surrogate", str(path), "--conditions", table, "--out", f"{path}.h5"],
            ["ensemble", "--in", str(path), "--out", f"{path}.h5"],
            ["train", "--surrogate", "a", "--in", table, table, str(path), "--work", str(tmp_path),
             "--curves", f"{path}.csv", "--out", f"{path}.h5", "--set", 'surrogates.a={"kind": "library"}'],
            ["compare", "--gate", str(path)],
            ["ingest", "--out", str(tmp_path / "out"), "--set", *(
                f"{key}={json.dumps(value)}" for key, value in small([str(path)])["ingest"].items()
            )],
        ]  # fmt: skip
        for words in commands:
            assert main(words) == 2
            (line,) = capsys.readouterr().err.splitlines()
            tally.add(str(path) in line and not mark.exists(), f"{what}: {line}")


def refer(file: h5py.File, name: str, how: str, secret: Path) -> None:
    """Put something that lies in another file into a place."""
    if name in file:
        del file[name]
    if how == "external link":
        file[name] = h5py.ExternalLink(str(secret), "/x")
    elif how == "external storage":
        file.create_dataset(name, (30,), "f8", external=[(str(secret), 0, 240)])
    elif how == "virtual":
        layout = h5py.VirtualLayout((30,), "f8")
        layout[:] = h5py.VirtualSource(str(secret), "x", (30,))
        file.create_virtual_dataset(name, layout)
    else:
        # Of no fixed length: HDF5 would look into the other file for it.
        source = h5py.VirtualSource(str(secret), "x", (30,), maxshape=(None,))
        layout = h5py.VirtualLayout((30,), "f8", maxshape=(None,))
        layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
        file.create_virtual_dataset(name, layout)


OUTSIDE = "external link", "external storage", "virtual", "unlimited virtual"
# Every place in a file of ours that is looked at, and groups around them.
PLACES = {
    "table.h5": ["response", "aux/seed", "aux", "digests", "digests/response", "attributes"],
    "domain.h5": ["arrays", "attributes"],
    "trained.h5": ["arrays", "arrays/response", "attributes"],
    "checkpoint.h5": ["arrays", "arrays/a", "arrays/a/b"],
    "moments/a/test.h5": ["arrays", "arrays/a/b", "attributes"],
    "reconstruct/a/test.h5": ["arrays", "arrays/a/b"],
}


@pytest.fixture
def secret(tmp_path):
    """A file that is none of ours, and a watch over it."""
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(30.0), maxshape=(None,))
    with watched(path) as seen:
        yield path, seen


@pytest.mark.fault(11)
@pytest.mark.parametrize("name", PLACES)
def test_what_lies_outside_is_refused_unopened(here, secret, tally, name):  # noqa: F811
    path, seen = secret
    whole = (here / name).read_bytes()
    for place, how in product(PLACES[name], OUTSIDE):
        (here / name).write_bytes(whole)
        with h5py.File(here / name, "a") as file:
            refer(file, place, how, path)
        seen()
        refused(here / name, name)
        tally.add(not seen(), f"{place}: {how}")


def test_the_watch_sees_what_is_opened(secret, tmp_path):
    path, seen = secret
    for how in OUTSIDE:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            refer(file, "x", how, path)
        seen()
        with h5py.File(tmp_path / "a.h5") as file:
            file["x"][()]
        assert seen(), how


@pytest.mark.fault(11)
def test_a_merged_table_takes_nothing_from_outside(tmp_path, secret, tally):
    path, seen = secret
    common = {"detector": "ecal", "seed": 5, "layout": LAYOUT, "threshold": 0.0, "split": SPLIT}
    source, out = str(write_root(tmp_path / "a.root", electrons(60))), tmp_path / "out"
    ingest([source], out / "parts/0", memory=10**6, part=[source], **common)
    merge.run([str(out / "parts/0")], [source], out, **common)
    with open_events(out / "train.h5") as events:
        expected = events.column("response")
    tables = {name: (out / name).read_bytes() for name in ("train.h5", "parts/0/train.h5")}
    places = ("response", "showers", "conditions", "attributes")
    for name, place, how in product(tables, places, OUTSIDE):
        for each, data in tables.items():
            (out / each).write_bytes(data)
        with h5py.File(out / name, "a") as file:
            refer(file, place, how, path)
        seen()
        try:
            with open_events(out / "train.h5") as events:
                # The list of parts is taken, and what others see of it is not.
                held = np.array_equal(events.column("response"), expected)
            held = held and (place != "attributes" and (name == "train.h5" or place == "showers"))
        except IntermediateError as error:
            held = str(error).startswith(str(out / name))
        tally.add(held and not seen(), f"{name}: {place}: {how}")


@pytest.mark.fault(11)
def test_responses_of_another_program_take_nothing_from_outside(tmp_path, secret, tally):
    path, seen = secret
    other = tmp_path / "other.h5"
    columns = {
        "incident_energies": incident_energy(WHERE)[:, None],
        "showers": samples.showers(WHERE).reshape(len(WHERE), -1),
        "px": WHERE[:, 0],
    }
    for place, how in product([*columns, "py"], OUTSIDE):
        with h5py.File(other, "w") as file:
            for name, column in columns.items():
                file[name] = column
            refer(file, place, how, path)
        seen()
        with pytest.raises(InputError) as caught:
            read_foreign([str(other)], "ecal", Layout.from_dict(samples.LAYOUT), 0.5)
        said = str(caught.value)
        held = said.startswith(f"{other}: '{place}' is no dataset of numbers in this file")
        tally.add(held and "\n" not in said and not seen(), f"{place}: {how}: {said}")


TAGS = [
    "!!python/object/apply:os.system ['touch executed']",
    "!!python/object/new:os.system ['touch executed']",
    "!!python/object:pathlib.Path {}",
    "!!python/module:this",
    "!!python/name:os.system",
    "!!python/object/apply:subprocess.check_call [[touch, executed]]",
]


@pytest.mark.fault(11)
@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("key", ["study", "seed", "ingest", "train.surrogates.library.neighbours"])
def test_a_tag_in_a_study_is_refused_with_its_file(tmp_path, monkeypatch, key, tag):
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path / "study.yaml", key, tag)
    with pytest.raises(SettingsError) as caught:
        load_file(tmp_path / "study.yaml")
    assert str(caught.value).startswith(f"{tmp_path}/study.yaml: cannot be read: ")
    assert not (tmp_path / EXECUTED).exists()


def write_study(path: Path, key: str, value: str) -> None:
    """A study with the text of a value at a key."""
    study = small(["a.root"])
    place = study
    *outer, last = key.split(".")
    for word in outer:
        place = place[word]
    place[last] = "PLACE"
    path.write_text(yaml.safe_dump(study).replace("PLACE", value), encoding="utf-8")


def run_study(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--cores", "1", "--snakefile",
         str(ROOT / "Snakefile"), "--configfile", "study.yaml", *words],
        cwd=folder, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.fault(11)
def test_a_tag_in_a_study_given_to_snakemake(tmp_path, long, tally):
    """Snakemake reads the study first, and takes the tag of a name alone; that one we refuse."""
    write_root(tmp_path / "a.root", electrons(20))
    for tag in TAGS if long else TAGS[:1] + TAGS[4:5]:
        write_study(tmp_path / "study.yaml", "seed", tag)
        done = run_study(tmp_path)
        said = done.stdout + done.stderr
        ours = "study.yaml: cannot be read: could not determine a constructor for the tag" in said
        held = ours if tag == TAGS[4] else "Config file is not valid JSON or YAML" in said
        tally.add(done.returncode == 1 and held and not (tmp_path / EXECUTED).exists(), said[-500:])


@pytest.mark.slow
def test_a_template_is_refused_though_snakemake_has_evaluated_it(tmp_path):
    """The one exception, see docs/reliability.md: no code of ours runs before Snakemake reads a study."""
    write_root(tmp_path / "a.root", electrons(20))
    write_study(tmp_path / "study.yaml", "seed", "?1 + 1")
    with open(tmp_path / "study.yaml", "a") as file:
        file.write("__use_yte__: true\n")
    done = run_study(tmp_path)
    assert done.returncode == 1
    assert "study.yaml: __use_yte__: the expressions of a template are Python" in (
        done.stdout + done.stderr
    )


@pytest.mark.fault(11)
@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_in_the_settings_of_a_command_is_text(tmp_path, monkeypatch, capsys, tag):
    monkeypatch.chdir(tmp_path)
    assert main(["preprocess", "--in", "a.h5", "--out", "b.json", "--set", f"transform={tag}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sosie preprocess: --set: transform: ")
    assert os.listdir() == []


@pytest.mark.fault(11)
@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_in_the_text_of_a_study_page_is_refused(tmp_path, monkeypatch, capsys, tag):
    monkeypatch.chdir(tmp_path)
    Path("about.json").write_text(f"title: {tag}\n")
    assert studies(["page", ".", "page.md"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "about.json: cannot be read as JSON" in line
    assert os.listdir() == ["about.json"]
