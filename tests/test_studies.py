"""Committed studies: rows hold what was measured, and the page says what the rows say."""

import json
from pathlib import Path

import numpy as np
import pytest

from samples import whole_events
from sosie.arrays import read_arrays, write_arrays
from sosie.detectors import find
from sosie.errors import InputError, IntermediateError
from sosie.files import read_json, write_json, write_text
from sosie.gates import FLOOR, judge
from sosie.leaderboard import columns
from sosie.speed import duration
from sosie.studies import benchmark, main, rows
from sosie.study_about import About, Target, read_about
from sosie.study_page import NOT_RECORDED, target_lines, write_page

ROOT = Path(__file__).parents[1]
ECAL = find("ecal")
HEAD = "s\th:m:s\tmax_rss\tmax_vms\n"


def figure(value, systematic="not estimated", count=3000):
    return {
        "value": value,
        "statistical": 0.01,
        "systematic": systematic,
        "events": [count, count + 1],
    }


def figures(auc, systematic="not estimated"):
    names = [*list(ECAL.observables)[:4], *ECAL.results]
    return {
        "classifier": {"auc": figure(auc, systematic), "jsd": figure(auc - 0.5)},
        **whole_events(figure(auc / 5)),
        "wasserstein_mean": figure(auc / 10),
        "separation_mean": figure(auc / 100),
        "wasserstein": {name: figure(auc / 10) for name in names},
        "separation": {name: figure(auc / 100) for name in names},
        "resolution": {name: figure(0.5 + auc, count=1500) for name in ECAL.results},
    }


def judged(coverage):
    return {
        "bins": 40,
        "coverage": coverage,
        "coverage_error": 0.03,
        "pull_width": 1.5,
        "pull_width_error": 0.1,
        "expected_width": 1.08,
    }


def trusted(name, members):
    """The trust of an ensemble with a sample outside its domain; None without an ensemble."""
    if members < 2:
        return None
    steps = {step: {"calibrated": judged(0.68)} for step in ("moments", "reconstruct")}
    steps["moments"] |= {"biased": 5, "flagged": 4}
    steps["reconstruct"] |= {"biased": 2, "flagged": 2}
    return {
        "surrogate": name,
        "scale": {
            step: {"value": 1.75, "error": 0.25, "bins": 40, "status": "fitted"} for step in steps
        },
        "samples": {
            name: {"events": events, "zones": zones, **steps}
            for name, events, zones in (
                ("calibration", 300, [1.0, 0.0, 0.0]),
                ("wide", 500, [0.02, 0.01, 0.97]),
            )
        },
    }


def entry(name, members, auc, systematic="not estimated"):
    pulls = {
        "scale": 1.75 if members > 1 else None,
        "raw": judged(0.4),
        "calibrated": judged(0.68) if members > 1 else None,
    }
    return {
        "surrogate": name,
        "members": members,
        "events": 1000,
        "figures": figures(auc, systematic),
        "floor": figures(0.5),
        "calibration": {"moments": pulls, "reconstruct": pulls},
        "trust": trusted(name, members),
    }


def put_benchmark(folder: Path, name: str, seconds: float, memory: float) -> None:
    path = folder / "benchmarks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEAD}{seconds}\t0:00:01\t{memory}\t99\n")


def put_costs(folder: Path, name: str, seconds: float, milliseconds: float) -> None:
    trained = {"seconds": seconds, "device": "cpu", "threads": 2, "peak_memory_mb": 900.0}
    write_json(folder / f"times/train/{name}/0.json", trained)
    network = name == "gan"
    each = [
        {"batch": batch, "events": min(batch, 4000), "milliseconds": milliseconds * factor,
         "low": milliseconds * factor - 0.05, "high": milliseconds * factor + 0.1, "peak_memory_mb": 300.0 + factor}
        for batch, factor in ((1, 10), (100, 1), (10_000, 0.5))
    ]  # fmt: skip
    drawn = {
        "kind": name, "parameters": 1234 * network, "stored_events": 2400 * (not network),
        "megabytes": 8.64, "full_simulation": 0.25, "processor": "a processor", "threads": 1,
        "cpu": each,
    }  # fmt: skip
    write_json(folder / f"times/generate/{name}.json", drawn)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results of a study with a library and a network of eight members, whose training took 2 h."""
    folder = tmp_path / "results/small"
    entries = {"library": entry("library", 1, 0.6), "gan": entry("gan", 8, 0.85, 0.02)}
    table = {FLOOR: columns(figures(0.5))}
    table |= {name: columns(one["figures"]) for name, one in entries.items()}
    gates = [{"figure": "auc", "relative_to": "floor", "margin": 0.3}]
    write_json(
        folder / "compare/metrics.json",
        {"floor": figures(0.5), "surrogates": entries, "gates": judge(gates, table)},
    )
    summary = {
        "detector": "ecal",
        "files": {"a.root": {"sha256": "abc123", "entries": 4000}},
        "events": {"kept": {"train": 2400, "validation": 600, "test": 1000}},
    }
    write_json(folder / "ingest/summary.json", summary)
    weights = {"weights/a": np.ones((30, 40)), "weights/b": np.ones(34), "masks": np.ones(999)}
    curves = "epoch,distance\n1,0.5\n2,\n3,0.2\n4,0.3\n"
    for name, arrays, text in (
        ("library", {"response": np.ones(7)}, "epoch\n"),
        ("gan", weights, curves),
    ):
        origin = {"provenance": {"code": f"code-of-{name}", "sosie": "0.1.0", "seed": 7}}
        about = {"surrogate": name, "settings": {"kind": name}, "origin": origin}
        write_arrays(folder / f"train/{name}/0.h5", "surrogate", arrays, about)
        write_text(folder / f"train/{name}/0.csv", text, beside=True)
    for name, seconds, milliseconds in (("library", 3, 2.0), ("gan", 7200, 1.0)):
        put_costs(folder, name, seconds, milliseconds)
    put_benchmark(folder, "ingest.tsv", 12, 300)
    put_benchmark(folder, "train/gan/0.tsv", 7200, 900)
    put_benchmark(folder, "generate/gan/test.tsv", 8, 400)
    put_benchmark(folder, "generate/library/test.tsv", 2, 200)
    return folder


@pytest.fixture
def study(results: Path, tmp_path: Path) -> Path:
    """The folder of the rows of that study, with its text by hand."""
    folder = tmp_path / "docs/small"
    assert main(["rows", str(results), str(folder)]) == 0
    about = {
        "title": "A small study",
        "description": ["Of nothing."],
        "targets": [
            {"surrogate": "gan", "figure": "auc", "at_most": 0.8},
            {"surrogate": "library", "figure": "resolution_energy_ratio", "within": 0.11},
        ],
        "notes": ["Trained on a Tuesday."],
    }
    (folder / "about.json").write_text(json.dumps(about))
    return folder


def line(text: str, *starts: str) -> list[str]:
    """The cells of the row of a table that begins with these."""
    lines = [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines()]
    (found,) = [cells for cells in lines if cells[: len(starts)] == list(starts)]
    return found[len(starts) :]


def test_rows_hold_what_was_measured(results):
    found = rows(results)
    assert list(found) == ["floor", "library", "gan"]
    gan, library, floor = (found[name] for name in ("gan", "library", "floor"))
    assert gan["figures"]["auc"] == figure(0.85, 0.02)
    assert gan["figures"]["resolution_residual_x"]["events"] == [1500, 1501]
    assert gan["training"]["weights"] == 30 * 40 + 34
    assert gan["training"]["kept"] == {"epoch": 3, "distance": 0.2}
    assert (gan["training"]["epochs"], library["training"]["epochs"]) == (4, 0)
    assert library["training"]["weights"] == 0
    assert "kept" not in library["training"]
    assert gan["steps"]["train"] == {"seconds": 7200.0, "peak_memory_mb": 900.0}
    assert library["steps"]["train"] == gan["steps"]["moments"] == "not recorded"
    assert gan["costs"]["training"]["seconds"] == 7200
    assert gan["costs"]["drawing"]["cpu"][1]["milliseconds"] == 1.0
    assert library["costs"]["drawing"]["full_simulation"] == 0.25
    assert gan["calibration"]["moments"]["raw"]["coverage"] == 0.4
    assert gan["trust"]["scale"]["moments"]["value"] == 1.75
    assert gan["gates"][0]["passed"] is False
    assert floor["inputs"] == {"a.root": "abc123"}
    assert floor["steps"]["ingest"]["seconds"] == 12
    assert gan["training"]["provenance"]["code"] == "code-of-gan"
    assert {"processor", "cores", "device", "python", "torch"} <= set(gan["machine"])


def test_the_cost_of_several_trainings_is_their_sum(results):
    arrays, about = read_arrays(results / "train/gan/0.h5", "surrogate", "train")
    about["settings"] = {**about["settings"], "method": "independent"}
    write_arrays(results / "train/gan/0.h5", "surrogate", arrays, about)
    for run in range(1, 8):
        trained = {"seconds": 100.0, "device": "cpu", "threads": 2, "peak_memory_mb": 800.0}
        write_json(results / f"times/train/gan/{run}.json", trained)
        put_benchmark(results, f"train/gan/{run}.tsv", 110, 1000)
    gan = rows(results)["gan"]
    assert gan["costs"]["training"]["seconds"] == 7200 + 7 * 100
    assert gan["costs"]["training"]["peak_memory_mb"] == 900
    assert gan["steps"]["train"] == {"seconds": 7200 + 7 * 110, "peak_memory_mb": 1000}
    assert gan["steps"]["generate"] == {"seconds": 8, "peak_memory_mb": 400}
    (results / "benchmarks/train/gan/5.tsv").unlink()
    assert rows(results)["gan"]["steps"]["train"] == NOT_RECORDED


def test_the_page_has_the_numbers_of_the_rows(study, tmp_path, capsys):
    page = tmp_path / "docs/small.md"
    assert main(["page", str(study), str(page)]) == 0
    text = page.read_text()
    assert text.startswith("# A small study\n")
    assert "| figure | floor | library | gan |" in text
    reached = "0.850 ± 0.010 (stat.) ± 0.020 (syst.)<br>3000 a class"
    assert line(text, "gan", "auc", "≤ 0.8") == [reached, "**missed** by 0.050"]
    assert line(text, "library", "resolution_energy_ratio", "1 ± 0.11")[1] == "reached"
    few = "1.000 ± 0.010 (stat.)<br>1500 a class, indicative"
    assert line(text, "resolution_residual_x")[0] == few
    assert line(text, "auc")[2] == reached
    assert "syst. not estimated" in line(text, "auc")[1]
    assert line(text, "separation_bary_x")[0].startswith("0.00500 ± 0.01000 (stat.)")
    assert line(text, "full simulation")[5:] == ["250 ms", "", "", "", "1"]
    gan = ["8", "4, kept 3", "1 234", "2 h (cpu, 2 threads)", "900 MB"]
    assert line(text, "gan", *gan) == [
        "10 (9.95-10.1) ms", "1 (0.95-1.1) ms", "0.5 (0.45-0.6) ms (4 000 events)", "300 MB", "250",
    ]  # fmt: skip
    kept = "none; 2 400 events kept, 8.64 MB"
    assert line(text, "library", "1", "none", kept)[-1] == "125"
    assert line(text, "gan", "moments", "40") == [
        "1.75 ± 0.25", "0.400 ± 0.030", "0.680 ± 0.030", "1.50 ± 0.10", "1.50 ± 0.10", "1.08",
    ]  # fmt: skip
    assert line(text, "library", "moments", "40")[2] == "not estimated"
    assert line(text, "gan", "wide") == [
        "500", "2.0%", "1.0%", "97.0%", "0.680", "0.680", "7", "6",
    ]  # fmt: skip
    assert line(text, "gan", "auc", "at most 0.800 (floor 0.500 + 0.3)")[-1] == "**failed**"
    assert line(text, "all", "ingest") == ["12 s", "300 MB"]
    for words in ("sha256 `abc123`", "code-of-gan", "Trained on a Tuesday.", "small/speed.svg"):
        assert words in text
    for name in ("distances.svg", "speed.svg"):
        assert (study / name).read_text().startswith("<?xml")


def test_the_page_is_the_same_every_time_and_from_its_folder_alone(study, results, tmp_path):
    files = [tmp_path / "docs/small.md", study / "distances.svg", study / "speed.svg"]
    write_page(study, files[0])
    before = [file.read_bytes() for file in files]
    results.rename(results.with_name("gone"))
    write_page(study, files[0])
    assert before == [file.read_bytes() for file in files]


def test_what_is_not_defined_is_shown_as_such(study, tmp_path):
    row = read_json(study / "gan.json", "rows")
    for name in ("auc", "w1_bary_x"):
        row["figures"][name] = {**figure(None), "statistical": None}
    write_json(study / "gan.json", row)
    write_page(study, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert line(text, "gan", "auc", "≤ 0.8") == ["not defined<br>3000 a class", "**missed**"]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("titel", "x", "titel: unknown key; did you mean 'title'"),
        ("title", 3, "title: should be text, not 3"),
        (
            "targets",
            [{"surrogate": "gan", "figure": "auc"}],
            "one of at_most, above_floor and within",
        ),
        ("targets", [{"surrogate": "gam", "figure": "auc", "within": 0.1}], "did you mean 'gan'"),
        ("targets", [{"surrogate": "gan", "figure": "auk", "within": 0.1}], "did you mean 'auc'"),
    ],
)
def test_a_wrong_text_by_hand_is_one_line(study, key, value, words, capsys):
    path = study / "about.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    assert main(["page", str(study), str(study.parent / "page.md")]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("studies page: ")
    assert words in said
    assert not (study.parent / "page.md").exists()


def test_what_is_missing_or_damaged_is_refused(study, results, tmp_path):
    row = study / "gan.json"
    row.write_text(row.read_text().replace("0.85", "0.58", 1))
    with pytest.raises(IntermediateError, match=r"gan\.json: .* digest"):
        write_page(study, tmp_path / "page.md")
    row.unlink()
    (study / "floor.json").unlink()
    with pytest.raises(InputError, match=r"floor\.json: missing; run"):
        write_page(study, tmp_path / "page.md")
    with pytest.raises(InputError, match=r"about\.json: cannot be read as JSON"):
        read_about(tmp_path / "about.json")
    (results / "train/gan/0.h5").unlink()
    with pytest.raises(IntermediateError, match=r"gan/0\.h5: refused"):
        rows(results)


@pytest.mark.parametrize("text", ["", HEAD, f"{HEAD}NA\t-\tNA\t-\n", f"{HEAD}1.0\t0:01\t-\t-\n"])
def test_a_benchmark_without_numbers_is_not_recorded(text, tmp_path):
    (tmp_path / "b.tsv").write_text(text)
    assert benchmark(tmp_path / "b.tsv") == "not recorded"
    assert benchmark(tmp_path / "none.tsv") == "not recorded"


def test_durations_and_targets():
    shown = [duration(t) for t in (0.0004, 0.25, 3, 119, 121, 7199, 7201)]
    assert shown == ["0.4 ms", "250 ms", "3 s", "119 s", "2.02 min", "120 min", "2 h"]
    within = Target(surrogate="g", figure="r", within=0.1)
    assert within.missed_by(0.85) == pytest.approx(within.missed_by(1.15)) == pytest.approx(0.05)
    assert within.missed_by(1.05) < 0
    assert Target(surrogate="g", figure="r", at_most=0.8).missed_by(0.8) == 0
    allowing = Target(surrogate="g", figure="r", at_most=0.8, sigma=2)
    assert allowing.missed_by(0.95, 0.05) == pytest.approx(0.05)
    assert allowing.words == "≤ 0.8, plus 2 errors"
    above = Target(surrogate="g", figure="r", above_floor=0.05)
    assert above.missed_by(0.57, floor=0.5) == pytest.approx(0.02)
    assert above.words == "≤ floor + 0.05"


def test_a_target_for_several_figures_is_that_of_the_worst():
    def row(values):
        figures = {
            name: {"value": value, "statistical": 0.01, "systematic": None, "events": [9000, 9000]}
            for name, value in values.items()
        }
        return {"name": "g", "figures": figures}

    rows = {
        "floor": row({"w1_a": 0.02, "w1_b": 0.08, "auc": 0.5}) | {"name": "floor"},
        "g": row({"w1_a": 0.06, "w1_b": 0.09, "auc": 0.9}),
    }
    target = {"surrogate": "g", "figure": "w1_*", "above_floor": 0.02}
    about = About(title="t", description=["d"], targets=[Target(**target)])
    (line,) = target_lines(about, rows)
    assert line[1:3] == ["w1_a", "≤ floor + 0.02, worst of 2"]
    assert line[4] == "**missed** by 0.0200"


@pytest.mark.parametrize("folder", sorted((ROOT / "docs/studies").glob("*/")), ids=lambda p: p.name)
def test_committed_pages_are_what_their_rows_make(folder, tmp_path):
    if not (folder / "floor.json").exists():
        pytest.skip("no rows yet")
    page = folder.with_suffix(".md")
    copied = tmp_path / folder.name
    for path in folder.glob("*.json"):
        (copied / path.name).parent.mkdir(exist_ok=True)
        (copied / path.name).write_bytes(path.read_bytes())
    write_page(copied, tmp_path / page.name)
    assert (tmp_path / page.name).read_text() == page.read_text(), (
        f"make study-page STUDY={folder.name}"
    )
    assert read_json(folder / "floor.json", "rows")["study"] == folder.name
