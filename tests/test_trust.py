"""Trust of an ensemble: the scale of its spread, coverage by sample and distance, members, figures."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samples import conditions, showers, write_table
from sosie import moments, reconstruct, trust, trust_plots
from sosie.calibration import student
from sosie.cli import main
from sosie.detectors.ecal import DETECTOR
from sosie.ensembles import spread
from sosie.errors import InputError, IntermediateError
from sosie.figures import read_validation
from sosie.files import read_json
from sosie.profiles import spread_arrays
from sosie.style import house_style
from sosie.trust_figures import ensembles, method_table, sample_table, scales, trust_figures
from sosie.verdict import sentences

EVENTS, MEMBERS = 500, 4
BIAS, SPREAD, FAR = 0.03, 0.01, 0.3
EDGES = [0.0, 0.5, 1.0, 2.0, 4.0]
BINS: dict[str, Any] = {"momentum": 3, "angle": 2, "distance": EDGES}


def deformed(where: np.ndarray[Any, Any], seed: int, off: float) -> np.ndarray[Any, Any]:
    """Showers that are too bright, too narrow and shifted, by as much as ``off`` says."""
    moved = where + 20 * off * np.array([0, 0, 0, 1, 1, 0, 0], np.float32)
    response = showers(moved, seed, 0.05 * (1 + 5 * off))
    top = response.max(axis=(1, 2), keepdims=True)
    return (1 + off) * response * np.maximum(response / top, 1e-9) ** (3 * off)


def sample(folder: Path, name: str, seed: int, bias: float, away: float) -> dict[str, str]:
    """A sample, and members whose energy, place and form are off by a bias in common and a spread of
    their own."""
    where = conditions(EVENTS, seed)
    reference = write_table(folder / f"{name}.h5", showers(where, seed), where)
    distance = (away + np.random.default_rng(seed).uniform(0, 0.9, EVENTS)).astype(np.float32)
    zone = np.where(distance > 1, 1, 0).astype(np.uint8)
    aux = {"sosie_distance": distance, "sosie_zone": zone}
    own = np.random.default_rng(3).normal(0, SPREAD, MEMBERS)
    members = [
        write_table(
            folder / f"{name}_{k}.h5",
            deformed(where, 100 * seed + k, bias + off),
            where,
            aux=aux,
        )
        for k, off in enumerate(own)
    ]
    paths = {step: folder / step / "gan" / f"{name}.h5" for step in trust.STEPS}
    settings: dict[str, Any] = {"seed": 1, "bins": BINS, "replicas": 60}
    constants = str(folder / "constants.json")
    if not Path(constants).exists():
        reconstruct.calibrate(reference, constants)
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    reconstruct.run(reference, members, constants, str(paths["reconstruct"]), **settings)
    moments.run(reference, members, str(paths["moments"]), **settings)
    return {step: str(path) for step, path in paths.items()}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("trust")
    parts = [
        sample(folder, "calibration", 1, BIAS, 0.0),
        sample(folder, "test", 2, BIAS, 0.0),
        sample(folder, "far", 3, FAR, 1.2),
    ]
    where = conditions(900, 9)
    training = write_table(folder / "train.h5", showers(where, 9), where)
    paths = {step: [part[step] for part in parts] for step in trust.STEPS}
    out = str(folder / "trust.json")
    trust.run(paths["moments"], paths["reconstruct"], training, out, name="gan")
    return {"folder": folder, "paths": paths, "training": training, "trust": trust.read_trust(out)}


def test_the_spread_is_scaled_up_where_all_members_are_off_alike(found: dict[str, Any]) -> None:
    for step in trust.STEPS:
        scale = found["trust"]["scale"][step]
        assert scale["status"] == "fitted"
        assert scale["value"] > 1
        assert scale["bins"] > 20
    assert trust.scales_of(found["trust"])["moments"] == found["trust"]["scale"]["moments"]["value"]


def test_the_scale_holds_in_the_test_sample_and_not_beyond_the_domain(
    found: dict[str, Any],
) -> None:
    samples = found["trust"]["samples"]
    here, far = (samples[name]["reconstruct"]["calibrated"] for name in ("test", "far"))
    before = samples["test"]["reconstruct"]["raw"]["coverage"]
    assert before < here["coverage"]
    assert abs(here["coverage"] - here["expected_coverage"]) < 3 * here["coverage_error"]
    assert far["coverage"] < here["coverage"] - 0.1
    assert samples["calibration"]["zones"] == samples["test"]["zones"] == [1.0, 0.0, 0.0]
    assert samples["far"]["zones"] == [0.0, 1.0, 0.0]


def test_bins_that_are_off_outside_the_domain_are_flagged(found: dict[str, Any]) -> None:
    far, here = (found["trust"]["samples"][n]["reconstruct"] for n in ("far", "test"))
    assert far["biased"] >= 3
    assert far["flagged"] == far["biased"]
    assert here["flagged"] == 0


def test_bias_and_coverage_follow_the_distance(found: dict[str, Any]) -> None:
    here, far = (found["trust"]["samples"][n]["moments"]["distance"] for n in ("test", "far"))
    assert here["edges"] == far["edges"] == EDGES
    assert sum(here["events"][:2]) == EVENTS
    assert here["events"][3] == 0
    assert here["coverage"][3] is None
    assert far["events"][2] > 0
    assert far["flagged"][2] == 1.0
    assert far["bias"][2] > 2 * here["bias"][0]


def members_table(bias: float, s: float, noise: float) -> dict[str, np.ndarray[Any, Any]]:
    """A table of 3 000 bins of which bias, spread and statistical errors are known."""
    rng = np.random.default_rng(4)
    count, members = 3000, 8
    own = rng.normal(0, noise, (members + 1, 101, count))
    own[:, 1:] += own[:, :1]
    own[1:] += rng.normal(0, s, (members, 1, count)) + rng.normal(0, bias, count)
    whole = own[:, :, None, None]
    arrays = spread_arrays(spread(whole[0], whole[1:]), whole[0], whole[1:])
    return {f"profiles/p/{name}": array for name, array in arrays.items()}


def test_first_members_have_bias_and_spread_in_units_of_the_statistical_error() -> None:
    rows = trust.with_members(members_table(2.0, 1.0, 0.5), 8, 1.0)
    assert [row["members"] for row in rows] == list(range(2, 9))
    for row in rows:
        # What is left of the spread in the mean of k members counts as bias.
        assert row["bias"] == pytest.approx(math.hypot(4, 2 / math.sqrt(row["members"])), rel=0.1)
    assert rows[-1]["spread"] == pytest.approx(2, rel=0.1)
    assert rows[0]["coverage"] > rows[-1]["coverage"]


def test_no_bias_is_none() -> None:
    last = trust.with_members(members_table(0.0, 0.0, 0.5), 8, 1.0)[-1]
    assert last["bias"] < 0.35
    assert last["spread"] < 0.3
    # Statistical errors are normal, and the limits those of Student's t: a little too wide.
    assert 0.66 < last["coverage"] < 0.80


def test_what_is_missing_or_foreign_is_named(found: dict[str, Any], tmp_path: Path) -> None:
    out, paths = str(tmp_path / "t.json"), found["paths"]
    with pytest.raises(InputError, match="none is of the sample 'calibration'; give moments of"):
        trust.run(paths["moments"][1:], paths["reconstruct"], found["training"], out, name="gan")
    with pytest.raises(IntermediateError, match="reconstruct"):
        trust.run(paths["moments"], paths["moments"], found["training"], out, name="gan")
    assert not Path(out).exists()


def test_one_member_is_refused(tmp_path: Path) -> None:
    where = conditions(200)
    reference = write_table(tmp_path / "r.h5", showers(where, 1), where)
    twin = write_table(tmp_path / "t.h5", showers(where, 2), where)
    settings: dict[str, Any] = {"seed": 1, "bins": {"momentum": 2}, "replicas": 20}
    constants = str(tmp_path / "constants.json")
    reconstruct.calibrate(reference, constants)
    paths: dict[str, list[str]] = {}
    for step in trust.STEPS:
        for name in ("calibration", "test"):
            path = tmp_path / step / f"{name}.h5"
            path.parent.mkdir(exist_ok=True)
            paths.setdefault(step, []).append(str(path))
            if step == "moments":
                moments.run(reference, [twin], str(path), **settings)
            else:
                reconstruct.run(reference, [twin], constants, str(path), **settings)
    with pytest.raises(InputError, match="one member has no spread"):
        trust.run(*paths.values(), reference, str(tmp_path / "t.json"), name="x")


def test_the_command_calibrates(found: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "trust.json"
    words = ["--surrogate", "gan", "--calibrate", found["training"], "--out", str(out)]
    for step, paths in found["paths"].items():
        words += [f"--{step}", *paths]
    assert main(["compare", *words]) == 0
    assert read_json(out, "compare") == read_json(found["folder"] / "trust.json", "compare")


def test_the_command_takes_one_sample_without_calibrate(
    found: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--in", "a.h5", "b.h5", "--training", "t.h5", "--out", str(tmp_path / "x.json")]
    for step, paths in found["paths"].items():
        words += [f"--{step}", *paths]
    assert main(["compare", *words]) == 2
    assert "give one file each" in capsys.readouterr().err


def entry_of(found: dict[str, Any], name: str = "gan") -> dict[str, Any]:
    """As much of what compare says of a surrogate as the trust pages need."""
    own = {**copy.deepcopy(found["trust"]), "surrogate": name}
    calibration = {
        step: {
            **own["samples"]["test"][step],
            "scale": own["scale"][step]["value"],
        }
        for step in trust.STEPS
    }
    return {"surrogate": name, "members": MEMBERS, "trust": own, "calibration": calibration}


def test_every_figure_of_the_trust_pages_is_drawn(found: dict[str, Any]) -> None:
    names = ["gan", "gan_50", "repelled"]
    entries = [entry_of(found, name) for name in names]
    alone = {**entry_of(found, "library"), "trust": None, "members": 1}
    settings = {
        "gan": {"kind": "cramer_gan"},
        "gan_50": {"kind": "cramer_gan", "fraction": 0.5},
        "repelled": {"kind": "cramer_gan", "method": "repulsive", "repulsion_end": 1.0},
        "library": {"kind": "library"},
    }
    with house_style():
        low, high = (
            read_validation(found["folder"], step, {"gan": scales(entries, step)["gan"]})
            for step in trust.STEPS
        )
        shown = list(trust_figures(DETECTOR, [*entries, alone], settings, low, high))
        wanted = ["pulls", "coverage", "bands", "distance", "members", "size", "repulsion"]
        assert [one.name for one in shown] == wanted
        size = trust_plots.size_figure(
            [(450.0, entries[1]["trust"]), (900.0, entries[0]["trust"])], trust.STEPS
        )
        limit = size.axes[0].lines[2]
        assert np.allclose(limit.get_ydata(), np.sqrt(EVENTS / np.array([450.0, 900.0])))
    assert ensembles([*entries, alone]) == [entry["trust"] for entry in entries]
    assert scales([alone], "moments") == {"library": None}


def test_tables_say_method_scale_and_zones(found: dict[str, Any]) -> None:
    entry = entry_of(found)
    how = {"gan": {"kind": "cramer_gan", "method": "repulsive", "repulsion_end": 0.5}}
    table = method_table([entry], how, {"gan": MEMBERS})
    assert len(table["rows"]) == 2
    assert all(len(row) == len(table["heads"]) for row in table["rows"])
    assert "final alpha 0.5: the spread is a choice" in table["rows"][0][1]
    assert table["rows"][0][2] == "4 of 4 trainings"
    rows = sample_table([entry])["rows"]
    assert [row[1] for row in rows] == ["test", "far"]
    assert rows[1][3:6] == ["0.0%", "100.0%", "0.0%"]


def test_the_verdict_tells_the_coverage_before_and_after(found: dict[str, Any]) -> None:
    from test_verdict import QUANTITIES
    from test_verdict import entry as plain

    entry = {**plain(), **entry_of(found)}
    said = " ".join(sentences(entry, QUANTITIES))
    assert "once the spread is scaled by" in said
    assert "the errors are fair" in said
    bad = copy.deepcopy(entry)
    bad["calibration"]["moments"]["calibrated"] |= {"coverage": 0.2, "coverage_error": 0.05}
    assert "off by more than its errors say" in " ".join(sentences(bad, QUANTITIES))


def test_a_calibrated_sigma_is_that_of_few_members() -> None:
    """A bin at 3 sigma of many members is none of four, whose Student's t is wider."""
    arrays = members_table(0.0, 1.0, 0.01)
    table = {**arrays, "profiles/p/events": np.full(3000, 60), "profiles/p/flagged": np.zeros(3000)}
    found = trust.biased(table, 8, 1.0)
    pull = np.abs(arrays["profiles/p/pull"][0])
    assert found == {"biased": int((pull > 3 * student(8)).sum()), "flagged": 0}
