"""The user's own reconstruction: a script that knows nothing of this package, and all it can do wrong."""

import shlex
import stat
import sys
from pathlib import Path
from typing import Any

import awkward
import numpy as np
import pytest
import uproot

from samples import LAYOUT, conditions, showers, write_table
from sosie import external, reconstruct
from sosie.arrays import read_arrays
from sosie.detectors import find
from sosie.detectors.base import Quantity
from sosie.detectors.ecal import DETECTOR
from sosie.errors import InputError, SettingsError, SosieError
from sosie.events import open_events
from sosie.external import Program, call, read_results
from sosie.figures import Validation, all_quantities, reconstruct_figures
from sosie.settings import load
from sosie.style import Drawn, house_style, to_svg

SCRIPT = """
import sys
import numpy as np
import uproot

with uproot.open({sys.argv[1]: None}) as file:
    table = file["ecal"].arrays(["energy", "px", "py", "pz", "x", "seed", "event_id", "entry"], library="np")
energy = table["energy"].astype(float)
total = energy.sum(axis=(1, 2))
p = np.sqrt(sum(table[name].astype(float) ** 2 for name in ("px", "py", "pz")))
place = 2.0 * (np.arange(30) - 14.5)
x = energy.sum(axis=2) @ place / total - table["x"]
# In another order, and without the events of odd entry above 100.
order = np.argsort(-total)
order = order[(order < 100) | (order % 2 == 0)]
print("reconstructed", len(order), "of", table["event_id"][-1], file=sys.stderr)
with uproot.recreate(sys.argv[2]) as file:
    file["results"] = {"entry": table["entry"][order], "ratio": (total / p)[order], "bary-x": x[order]}
"""
RESULTS = {
    "ratio": {"unit": "MeV/GeV", "label": r"$\Sigma E / |p|$"},
    "bary-x": {"unit": "cm", "label": ""},
}
NAMES = [*DETECTOR.results, *RESULTS]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A reference, a brighter member and the constants, in a folder of a hostile name."""
    folder = tmp_path_factory.mktemp("a folder; $(touch hacked) 'ü'")
    where = conditions(160)
    response = showers(where)
    paths = {
        name: write_table(folder / f"{name} {{input}}.h5", data, where)
        for name, data in (("reference", response), ("member", response * np.float32(1.1)))
    }
    reconstruct.calibrate(paths["reference"], str(folder / "c.json"))
    script = folder / "my 'script'.py"
    script.write_text(SCRIPT, encoding="utf-8")
    return {**paths, "folder": folder, "script": str(script), "response": response, "where": where}


def run(sample: dict[str, Any], out: Path, command: list[str], **other: Any) -> Any:
    settings = {"results": RESULTS, "seed": 1, "bins": {"momentum": 2}, "replicas": 20, **other}
    reconstruct.run(
        sample["reference"], [sample["member"]], str(sample["folder"] / "c.json"), str(out),
        command=command, **settings,
    )  # fmt: skip
    return read_arrays(out, "reconstruct", "reconstruct")


@pytest.fixture(scope="module")
def done(sample: dict[str, Any]) -> Any:
    command = [sys.executable, sample["script"], "{input}", "{output}"]
    return run(sample, sample["folder"] / "out.h5", command)


def test_a_script_of_its_own_joins_the_results(sample: dict[str, Any], done: Any) -> None:
    arrays, about = done
    assert about["quantities"] == NAMES
    p = np.linalg.norm(sample["where"][:, :3].astype(float), axis=1)
    for factor, values in ((1, arrays["events/reference"]), (1.1, arrays["events/members"][0])):
        response = sample["response"].astype(float)
        kept = (np.arange(160) < 100) | (np.arange(160) % 2 == 0)
        assert (np.isfinite(values[:, -2:]).all(axis=1) == kept).all()
        total = response.sum(axis=(1, 2))
        np.testing.assert_allclose(values[kept, -2], factor * (total / p)[kept], rtol=1e-5)
        place = 20 * (np.arange(30) - 14.5)
        x = (response.sum(axis=2) @ place / total - sample["where"][:, 3]) / 10
        np.testing.assert_allclose(values[kept, -1], x[kept], atol=1e-4)
    # Bias and resolution in bins, and the ratio of the leaderboard, as of ours.
    assert arrays["profiles/momentum/reference"].shape == (2, len(NAMES), 2)
    np.testing.assert_allclose(arrays["profiles/momentum/mean"][0, -2], 198, rtol=0.02)
    np.testing.assert_allclose(arrays["ratios/mean"][-2:], [1.1, 1], rtol=1e-4)
    assert about["found"]["reference"] == 1.0


def test_its_quantities_are_drawn_under_their_own_labels(done: Any) -> None:
    arrays, about = done
    found = Validation(about, [Drawn("noisy", 0, 1, arrays)], {})
    quantities = all_quantities(find("ecal"), found)
    assert quantities["ratio"] == Quantity(r"$\Sigma E / |p|$", "MeV/GeV")
    assert quantities["bary-x"] == Quantity("bary-x", "cm")
    with house_style():
        shown = {one.name: one for one in reconstruct_figures(find("ecal"), found)}
        figure = shown["reconstruct_ratio"].figure
        assert to_svg(figure)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert r"bias of $\Sigma E / |p|$ [MeV/GeV]" in labels
    assert "own reconstruction" in shown["reconstruct_bary-x"].text
    axes = {axes.get_xlabel() for axes in shown["pairs_found"].figure.axes}
    assert "distance of the impact points [mm]" in axes
    assert {"pairs_energy_high", "pairs_energy_low"} < set(shown)


@pytest.mark.fault(10)
def test_the_program_gets_no_shell_and_its_words_as_they_are(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "import os, sys; print(sys.argv[1:], os.getcwd())"
    hostile = ["$(touch hacked)", "a; touch hacked", "{inputs}", "--in={input}", "é'\""]
    call([sys.executable, "-c", code, *hostile], Path("/a {output}"), Path("/b"))
    said = capfd.readouterr()
    expected = [*hostile[:3], "--in=/a {output}", hostile[4]]
    assert said.err == f"{expected} {tmp_path}\n"
    assert said.out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import sys; print('first'); print('no such knob\\n'); sys.exit(3)", "exit code 3; its last line: no such knob"),
        ("import sys; sys.exit(1)", "exit code 1; its last line: it printed nothing"),
        ("import os; os.kill(os.getpid(), 9)", "exit code -9"),
        ("raise RuntimeError('broken')", "last line: RuntimeError: broken"),
    ],
)  # fmt: skip
def test_a_program_that_fails_is_named_with_its_code_and_last_line(code: str, text: str) -> None:
    words = [sys.executable, "-c", code, "{input}"]
    with pytest.raises(SosieError) as found:
        call(words, Path("/a b"), Path("/c"))
    assert text in str(found.value)
    assert "\n" not in str(found.value).replace(shlex.join([*words[:3], "/a b"]), "")


def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("no program")
    plain.chmod(stat.S_IRUSR)
    for name in ("no-such-program-here", str(plain), "nul\0"):
        with pytest.raises(SosieError, match=r"reconstruct.command: '.*cannot be run"):
            call([name, "{input}"], tmp_path, tmp_path)


ENTRY = np.arange(5)
VALUES = np.linspace(0, 1, 5)


@pytest.mark.parametrize(
    ("tree", "columns", "text"),
    [
        ("results", {"entry": ENTRY, "other": VALUES}, "no branch 'ratio'; branches there: entry, other"),
        ("results", {"ratio": VALUES}, "no branch 'entry'"),
        ("mine", {"entry": ENTRY, "ratio": VALUES}, "no tree 'results'; trees there: mine; set reconstruct.tree"),
        ("results", {"entry": ENTRY + 1, "ratio": VALUES}, "'entry' holds 5, the sample has the entries 0 to 4"),
        ("results", {"entry": ENTRY - 1, "ratio": VALUES}, "'entry' holds -1,"),
        ("results", {"entry": ENTRY // 2, "ratio": VALUES}, "'entry' holds 0 2 times"),
        ("results", {"entry": VALUES, "ratio": VALUES}, "'entry' is float64; write whole numbers"),
        ("results", {"entry": ENTRY, "ratio": np.ones((5, 3))}, r"'ratio' holds arrays of shape \(3,\)"),
        ("results", {"entry": np.ones((5, 2), int), "ratio": VALUES}, r"'entry' holds arrays of shape \(2,\)"),
    ],
)  # fmt: skip
def test_results_that_are_of_no_use(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tree: str,
    columns: dict[str, Any],
    text: str,
) -> None:
    where = conditions(5)
    table = write_table(tmp_path / "five.h5", showers(where), where)

    def write(command: list[str], source: Path, target: Path) -> None:
        with uproot.recreate(target) as file:
            file[tree] = columns

    monkeypatch.setattr(external, "call", write)
    program = Program(["x"], "results", {"ratio": Quantity("ratio")})
    with open_events(table) as events, pytest.raises(InputError, match=text) as found:
        external.reconstruct(program, events, DETECTOR, external.sample_columns(events, DETECTOR))
    assert str(found.value).startswith(f"reconstruct.command on {table}: ")


def test_a_jagged_result_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    program = Program(["x"], "results", {"ratio": Quantity("ratio")})
    path = tmp_path / "r.root"
    with pytest.raises(InputError, match="wrote no file"):
        read_results(path, program, 5)
    with uproot.recreate(path) as file:
        jagged = awkward.Array([[1.0], [], [2.0, 3.0], [], []])
        file.mktree("results", {"entry": "int64", "ratio": "var * float64"})
        file["results"].extend({"entry": ENTRY, "ratio": jagged})
    with pytest.raises(InputError, match="'ratio'"):
        read_results(path, program, 5)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(InputError, match="not a ROOT file, or cut short"):
        read_results(path, program, 5)
    with uproot.recreate(path) as file:
        file.mktree("results", {"entry": "int64", "ratio": "float64"})
    assert np.isnan(read_results(path, program, 5)).all()


def test_conditions_that_cannot_be_got_back_are_refused_at_the_start(
    tmp_path: Path, sample: dict[str, Any]
) -> None:
    mangled = {"px": {"expression": "p * tx", "unit": "GeV"}}
    layout = {**LAYOUT, "conditions": {**LAYOUT["conditions"], **mangled}}
    table = write_table(
        tmp_path / "e.h5", sample["response"][:20], sample["where"][:20], layout=layout
    )
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w')"
    with pytest.raises(InputError, match=r"reconstruct.command: condition 'px' is the expression"):
        run(
            {**sample, "reference": table, "member": table},
            tmp_path / "out.h5",
            [sys.executable, "-c", code, "{input}", "{output}"],
        )
    assert not marker.exists()


@pytest.mark.parametrize(
    ("results", "text"),
    [
        ({"entry": {}}, "reconstruct.results.entry: ecal has a quantity of this name already"),
        ({"residual_x": {}}, "reconstruct.results.residual_x: ecal has a quantity"),
        ({"total_energy": {}}, "reconstruct.results.total_energy: ecal has a quantity"),
        ({"a": {"label": "$x_{1$"}}, "reconstruct.results.a.label: '$x_{1$' is not mathtext"),
        ({"a": {"unit": "$m^{2$"}}, "reconstruct.results.a.unit: '$m^{2$' is not mathtext"),
        ({"a": {"label": "x\x01"}}, r"reconstruct.results.a.label: 'x\x01' is not mathtext"),
        ({"a": {"label": r"$\foo$"}}, "reconstruct.results.a.label"),
    ],
)
def test_names_and_labels_are_checked_with_the_study(
    study: dict[str, Any], results: dict[str, Any], text: str
) -> None:
    study["reconstruct"] |= {"command": ["x", "{input}", "{output}"], "results": results}
    with pytest.raises(SettingsError) as found:
        load(study, "study.yaml")
    assert text in str(found.value)
    assert "\n" not in str(found.value)
    study["reconstruct"]["results"] = {"mine": {"label": r"$x_{1}$", "unit": "mm"}}
    assert load(study, "study.yaml").reconstruct.results["mine"].unit == "mm"
