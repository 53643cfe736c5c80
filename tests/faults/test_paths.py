"""Odd names of project, input and output: they work or are refused by name, and nothing is executed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import uproot
import yaml

from chain import chain, small, sosie
from conftest import ROOT, electrons, write_root
from sosie.cli import main
from sosie.errors import InputError
from sosie.events import open_events
from sosie.files import find_files
from sosie.start import check_names
from tiny import checkout, environment

COUNT = 120
ODD = [
    "a b", "it's", '"q"', "$(touch hacked)", "`touch hacked`;touch hacked&|", "ë ü 日本", "[1]*?", "~",
    "-x", "--out", "a:b", "a::b", "http:x", "file:x", "%41#b?c", "a\\b", "x=y,z", "$HOME", "!x",
]  # fmt: skip
BRACED = ["{x}", "{input}", "{{ 7 * 7 }}{% x %}", "<b>", "<results>"]
UNPRINTED = ["a\nb", "a\rb", "a\tb", "a\x1b[31mb", "a\u2028b", "a\x85b", "a\udcffb"]
PLACE = 'a "study" $(touch hacked) `touch hacked`; & it\'s\nünï %d'


@pytest.fixture(autouse=True)
def nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not [*tmp_path.rglob("hacked"), *Path.home().glob("hacked"), *ROOT.glob("hacked")]


@pytest.fixture(scope="module")
def ntuple(tmp_path_factory):
    """The bytes of a small ntuple."""
    return write_root(tmp_path_factory.mktemp("ntuple") / "a.root", electrons(COUNT)).read_bytes()


@pytest.fixture(scope="module")
def results(tmp_path_factory, ntuple):
    """Results of all steps by hand, with the oddest of names for folders, input and tree."""
    folder = tmp_path_factory.mktemp("results")
    source = folder / "it's {x} <b> $(touch hacked).root"
    source.write_bytes(ntuple)
    return chain(small([str(source)]), folder / f"{PLACE} {{x}} <b>" / "{input}")


@pytest.mark.slow
@pytest.mark.fault(10)
def test_all_steps_by_hand_below_an_odd_folder(results):
    assert (results / "compare/leaderboard.csv").stat().st_size > 1000
    assert (results / "times/generate/library.json").exists()
    assert not [*results.parents[1].rglob("hacked")]


@pytest.mark.slow
@pytest.mark.fault(10)
def test_odd_names_of_input_and_output(results, ntuple, tmp_path, tally):
    member = results / "ensemble/library/0.h5"
    for name in [*ODD, *BRACED]:
        Path(f"{name}.root").write_bytes(ntuple)
        lines = ["files=" + json.dumps([f"{name}.root"])]
        lines += [
            f"{key}={json.dumps(value)}"
            for key, value in small([])["ingest"].items()
            if key != "files"
        ]
        sosie("ingest", f"--out=./{name}", "--set", *lines)
        Path(name, "m.h5").write_bytes(member.read_bytes())
        for given in (f"./{name}.root", f"./{name}/test.h5"):
            drawn = [f"./{name}/drawn{end}" for end in (".root", ".h5")]
            for out in drawn:
                sosie(
                    "generate", "--surrogate", f"./{name}/m.h5", "--conditions", given, "--out", out
                )
            with uproot.open(Path(drawn[0]).open("rb")) as file, open_events(drawn[1]) as events:
                same = file["ecal"].num_entries == len(events)
            tally.add(same, f"{name} from {given}")


@pytest.mark.fault(10)
@pytest.mark.parametrize("name", UNPRINTED, ids=ascii)
def test_a_name_that_is_no_line_is_refused_in_one(ntuple, name, capsys):
    Path(f"{name}.root").write_bytes(ntuple)
    with pytest.raises(InputError, match="control characters") as caught:
        find_files(["a*.root"])
    assert repr(f"{name}.root") in str(caught.value)
    assert str(caught.value).isprintable()
    lines = [
        'tree="ecal"',
        "files=" + json.dumps(["a*.root"]),
        'response={"branch": "e", "unit": "MeV"}',
    ]
    assert main(["ingest", "--out", "out", "--set", *lines, "conditions={}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert repr(f"{name}.root") in line


@pytest.mark.fault(10)
@pytest.mark.parametrize("name", BRACED)
def test_a_name_that_snakemake_would_fill_in_is_refused_by_name(name):
    with pytest.raises(InputError, match="mean something to Snakemake") as caught:
        check_names(["a.root", f"{name}.root"])
    assert str(caught.value).startswith(f"{name}.root: ")
    check_names(ODD)


@pytest.mark.fault(10)
def test_no_name_at_all():
    for name in ("", "a\0b.root"):
        with pytest.raises(InputError, match=r"no such file|no name of a file"):
            find_files([name])


def run(folder: Path, study: dict, *words: str) -> subprocess.CompletedProcess[str]:
    """Snakemake in a checkout, on a study."""
    (folder / "config/config.yaml").write_text(yaml.safe_dump(study))
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", *words],
        cwd=folder, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.fault(10)
@pytest.mark.parametrize("jobs", [None, 10])
def test_the_workflow_in_an_odd_place_reads_odd_names(ntuple, tmp_path, long, tally, jobs):
    """In a label and a unit, too, braces are nothing that Snakemake fills in."""
    if jobs is None and not long:
        pytest.skip("in the long form")
    study = small([f"{name}.root".replace("[1]*?", "[[]1]?[?]") for name in ODD], identity=[])
    study["ingest"] |= {"files_per_job": jobs}
    study["reconstruct"] |= {
        "command": ["true", "{input}", "{output}", "{x}"],
        "results": {"r": {"label": r"$x_\mathrm{b}$", "unit": "{u}"}},
    }
    folder = checkout(tmp_path, study, PLACE)
    for number, name in enumerate(ODD):
        # The same events twice would be refused.
        columns = electrons(20, seed=number + 1)
        write_root(tmp_path / "a.root", columns)
        os.replace(tmp_path / "a.root", folder / f"{name}.root")
    done = run(folder, study, "ingest")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    read = json.loads((folder / "results/small/ingest/summary.json").read_text())
    for name in ODD:
        tally.add(f"{name}.root" in read["files"], name)
    assert "report" in (planned := run(folder, study, "-n", "all")).stdout, planned.stdout[-2000:]


@pytest.mark.slow
@pytest.mark.fault(10)
@pytest.mark.parametrize(("place", "name"), [("place", "a\n{b}"), ("place", "<b>"), ("{x}", "a")])
def test_the_workflow_refuses_others_by_name(ntuple, tmp_path, place, name):
    study = small([f"{name}.root"])
    folder = checkout(tmp_path, study, place)
    (folder / f"{name}.root").write_bytes(ntuple)
    done = run(folder, study, "-n", "all")
    assert done.returncode == 1
    (said,) = [line for line in (done.stdout + done.stderr).splitlines() if "rename" in line]
    named = f"{folder}/workflow" if place == "{x}" else f"{name}.root"
    assert said.startswith((f"{named}: ", repr(named)))


def test_the_ntuple_is_what_it_says(ntuple, tmp_path):
    Path("a.root").write_bytes(ntuple)
    with uproot.open("a.root") as file:
        assert np.array_equal(file["ecal/event_id"].array(library="np"), np.arange(COUNT))
