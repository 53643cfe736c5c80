"""The command: help, exit codes, and one line for what the user can mend."""

import re
import subprocess
import sys

import pytest

from sosie import __version__, cli, ingest
from sosie.errors import SettingsError

STEPS = [
    "ingest",
    "preprocess",
    "train",
    "ensemble",
    "generate",
    "moments",
    "reconstruct",
    "compare",
    "report",
]


@pytest.mark.parametrize("step", STEPS)
def test_help_of_each_step(step, capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main([step, "--help"])
    assert f"usage: sosie {step}" in capsys.readouterr().out


def test_help_and_version(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert re.findall(r"^    (\w+)\b", text, re.MULTILINE) == [*STEPS, "init", "convert"]
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"sosie {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["ingst"], ["ingest"], ["ingest", "--out", "x", "--k"]])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(arguments)
    assert "usage: sosie" in capsys.readouterr().err


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    return code, capsys.readouterr().err.splitlines()


def test_settings_are_complained_about_a_line_each(tmp_path, capsys):
    words = ["--set", "bins.momentum=six", "replica=200"]
    code, lines = run(capsys, "moments", "--in", "a.h5", "--out", tmp_path / "b.h5", *words)
    assert code == 2
    assert lines == [
        'sosie moments: --set: bins.momentum: should be a number of bins or a list of rising edges, not "six"',
        "sosie moments: --set: replica: unknown key; did you mean 'replicas'?",
    ]


def test_words_that_do_not_fit_together(tmp_path, capsys):
    out = tmp_path / "out"
    kind = ["--set", "surrogates.a.kind=library"]
    files = ["--in", "a", "b", "c", "--work", out, "--curves", out, "--out", out]
    cases = [
        (["train", "--surrogate", "b", *files, *kind], "sosie train: --surrogate b: not in --set"),
        (["reconstruct", "--out", out], "sosie reconstruct: give --calibrate TRAIN"),
        (["compare", "--out", out], "sosie compare: give --collect FILES"),
        (
            ["generate", "--surrogate", "a", "b", "--conditions", "c", "--out", out],
            "sosie generate: --out: 1 files for 2 surrogates; give one each",
        ),
        (
            ["generate", "--surrogate", "a", "--conditions", "c.txt", "--out", "o.h5"],
            "sosie generate: --conditions c.txt: should end in .h5 or .root",
        ),
        (
            ["generate", "--surrogate", "a", "--conditions", "c.h5", "--out", "o"],
            "sosie generate: --out o: should end in .h5 or .root",
        ),
        (
            [
                "generate",
                "--surrogate",
                "a",
                "--conditions",
                "c.h5",
                "--out",
                "o.h5",
                "--repeat",
                "0",
            ],
            "sosie generate: --repeat 0: should be 1 or more",
        ),
    ]
    for arguments, message in cases:
        code, lines = run(capsys, *arguments)
        assert code == 2
        assert len(lines) == 1
        assert lines[0].startswith(message)
    assert not out.exists()


def test_a_bug_is_not_swallowed(tmp_path, monkeypatch, study):
    def bug(*_, **__):
        raise ZeroDivisionError("a bug")

    from sosie.settings import load

    monkeypatch.setattr(ingest, "run", bug)
    words = load(study, "study.yaml").lines("ingest")
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli.main(["ingest", "--out", str(tmp_path), "--set", *words])


def test_the_step_gets_what_the_words_say(tmp_path, monkeypatch, study):
    from sosie.settings import load

    got = {}
    monkeypatch.setattr(ingest, "run", lambda *a, **k: got.update(k, files=a[0], out=a[1]))
    study["ingest"].update(threshold=0.5, memory_mb=20, selection="px > 1")
    words = load(study, "study.yaml").lines("ingest")
    out = ["--out", str(tmp_path), "--seed", "7", "--code", "abc"]
    assert cli.main(["ingest", *out, "--set", *words]) == 0
    assert got["files"] == ["resources/ecal/quick.root"]
    assert (got["threshold"], got["memory"], got["seed"]) == (0.5, 20_000_000, 7)
    assert (got["code"], got["out"], got["detector"]) == ("abc", str(tmp_path), "ecal")
    assert got["layout"].selection == "px > 1"
    assert got["layout"].branches()[-1] == "energy"


def test_the_command_itself_exits_with_2_and_one_line(tmp_path):
    command = [sys.executable, "-m", "sosie.cli", "preprocess", "--in", str(tmp_path / "a.h5")]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "b.json")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"sosie preprocess: {tmp_path}/a.h5: no such file; ")


def test_errors_are_one_family():
    assert issubclass(SettingsError, cli.SosieError)
