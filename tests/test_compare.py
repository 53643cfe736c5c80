"""compare: equal laws look alike, what was planted stands out, and nothing foreign is collected."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samples import conditions, showers, write_table
from sosie import compare, moments, reconstruct
from sosie.compare import (
    NOT_ESTIMATED,
    calibration_of,
    collect,
    deviation,
    figure,
    floor_resolution,
    leaderboard,
    wasserstein_figures,
)
from sosie.detectors.ecal import DETECTOR, momentum
from sosie.distances import halves
from sosie.ensembles import expected_coverage
from sosie.errors import IntermediateError
from sosie.profiles import bin_events

EVENTS = 500
SPLITS = {"splits": 6, "classifier_splits": 2}
SHIFT = 2.0
SMEAR = 0.05


def entry(folder: Path, name: str, reference: str, *members: str) -> dict[str, Any]:
    """All that compare says of these members."""
    paths = {step: str(folder / f"{name}.{step}.h5") for step in ("moments", "reconstruct")}
    constants = str(folder / "calibration.json")
    settings: dict[str, Any] = {"seed": 1, "bins": {"momentum": 3}, "replicas": 20}
    moments.run(reference, members, paths["moments"], **settings)
    reconstruct.run(reference, members, constants, paths["reconstruct"], **settings)
    out = folder / f"{name}.json"
    compare.run(reference, members, *paths.values(), str(out), name=name, seed=1, **SPLITS)
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One surrogate of the law of the reference, an ensemble of two, and one that is too bright."""
    folder = tmp_path_factory.mktemp("compare")
    where = conditions(EVENTS)
    reference = write_table(folder / "r.h5", showers(where, 1), where)
    reconstruct.calibrate(reference, str(folder / "calibration.json"))
    twins = [write_table(folder / f"{k}.h5", showers(where, k), where) for k in (2, 3)]
    bright = showers(where, 4) * np.float32(1 + SHIFT * SMEAR)
    first = showers(where, 1)
    return {
        "folder": folder,
        "ratio": {
            name: response.sum(axis=(1, 2)) / momentum(where)
            for name, response in (("r", first), ("bright", bright))
        },
        "reference": reference,
        "twins": twins,
        "library": entry(folder, "library", reference, twins[0]),
        "pair": entry(folder, "pair", reference, *twins),
        "bright": entry(folder, "bright", reference, write_table(folder / "b.h5", bright, where)),
    }


def test_equal_laws_cannot_be_told_apart(found: dict[str, Any]) -> None:
    for name in ("library", "pair"):
        figures, floor = found[name]["figures"], found[name]["floor"]
        auc, least = figures["classifier"]["auc"], floor["classifier"]["auc"]
        assert abs(auc["value"] - least["value"]) < 0.06
        assert abs(auc["value"] - 0.5) < 0.06
        assert figures["classifier"]["jsd"]["value"] < 0.05
        for observable, value in figures["wasserstein"].items():
            assert value["value"] < 2 * floor["wasserstein"][observable]["value"]
        for value in figures["resolution"].values():
            assert abs(value["value"] - 1) < 5 * value["statistical"] + 0.02
    assert found["pair"]["figures"]["classifier"]["events_per_class"] == [EVENTS // 2] * 2


def test_the_floor_is_one_for_all(found: dict[str, Any]) -> None:
    assert found["library"]["floor"] == found["pair"]["floor"] == found["bright"]["floor"]


def test_a_planted_shift_stands_out(found: dict[str, Any]) -> None:
    figures, floor = (found["bright"][part]["wasserstein"] for part in ("figures", "floor"))
    excess = {name: figures[name]["value"] / floor[name]["value"] for name in figures}
    assert max(excess, key=lambda name: excess[name]) == "e_over_p"
    planted = (found["ratio"]["bright"].mean() - found["ratio"]["r"].mean()) / found["ratio"][
        "r"
    ].std()
    assert figures["e_over_p"]["value"] == pytest.approx(planted, rel=0.02)
    assert planted == pytest.approx(SHIFT, abs=0.3)
    assert found["bright"]["figures"]["classifier"]["auc"]["value"] > 0.85
    beyond = {
        name: found[name]["calibration"]["moments"]["share_beyond_3"]
        for name in ("bright", "library")
    }
    assert beyond["bright"] > 0.03 > beyond["library"]


def test_one_member_has_no_systematic(found: dict[str, Any]) -> None:
    alone, pair = found["library"], found["pair"]
    for name in ("auc", "jsd"):
        assert alone["figures"]["classifier"][name]["systematic"] == NOT_ESTIMATED
        assert pair["figures"]["classifier"][name]["systematic"] >= 0
    for part in ("wasserstein", "resolution"):
        for name, value in alone["figures"][part].items():
            assert value["systematic"] == NOT_ESTIMATED
            assert pair["figures"][part][name]["systematic"] >= 0
            assert pair["floor"][part][name]["systematic"] == NOT_ESTIMATED
    for step in ("moments", "reconstruct"):
        assert alone["calibration"][step]["coverage"] == NOT_ESTIMATED
        assert 0 <= pair["calibration"][step]["coverage"] <= 1
        assert pair["calibration"][step]["expected_coverage"] == pytest.approx(expected_coverage(2))


def test_the_leaderboard(found: dict[str, Any], tmp_path: Path) -> None:
    paths = [str(found["folder"] / f"{name}.json") for name in ("library", "pair", "bright")]
    collect(paths, tmp_path)
    with open(tmp_path / "leaderboard.csv") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["floor", "library", "pair", "bright"]
    whole = json.loads((tmp_path / "metrics.json").read_text())
    assert list(whole["surrogates"]) == ["library", "pair", "bright"]
    assert whole["floor"] == found["library"]["floor"]
    for name in ("library", "bright"):
        assert whole["surrogates"][name] == found[name]
        systematics = [value for key, value in rows[name].items() if key.endswith("_systematic")]
        assert len(systematics) == 3 + len(DETECTOR.results) + len(DETECTOR.observables)
        assert set(systematics) == {NOT_ESTIMATED}
    assert float(rows["pair"]["auc_systematic"]) >= 0
    for name in ("library", "pair", "bright"):
        figures = found[name]["figures"]
        assert float(rows[name]["auc"]) == pytest.approx(
            figures["classifier"]["auc"]["value"], rel=1e-5
        )
        major = [n for n in DETECTOR.observables if n not in DETECTOR.minor]
        mean = np.mean([figures["wasserstein"][n]["value"] for n in major])
        assert float(rows[name]["w1_mean"]) == pytest.approx(mean, rel=1e-5)
    before = (tmp_path / "leaderboard.csv").read_bytes(), (tmp_path / "metrics.json").read_bytes()
    collect(paths, tmp_path)
    assert before == (
        (tmp_path / "leaderboard.csv").read_bytes(),
        (tmp_path / "metrics.json").read_bytes(),
    )


def test_what_is_not_a_surrogate_is_not_collected(found: dict[str, Any], tmp_path: Path) -> None:
    good = str(found["folder"] / "library.json")
    short = found["pair"] | {"surrogate": "short", "figures": dict(found["pair"]["figures"])}
    short["figures"]["resolution"] = {}
    short["floor"] = {**short["floor"], "resolution": {}}
    foreign = {
        "calibration.json": (found["folder"] / "calibration.json").read_text(),
        "empty.json": "{}",
        "list.json": "[1, 2]",
        "number.json": "3",
        "cut.json": Path(good).read_text()[:500],
        "twice.json": Path(good).read_text(),
        "short.json": json.dumps(short),
    }
    expected = dict.fromkeys(foreign, "not the figures of a surrogate") | {
        "cut.json": "cannot be read as JSON",
        "twice.json": "'library' is there already",
        "short.json": "has other figures than",
    }
    for name, text in foreign.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(IntermediateError, match=expected[name]):
            collect([good, str(tmp_path / name)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_of_other_members_are_refused(found: dict[str, Any], tmp_path: Path) -> None:
    paths = [str(found["folder"] / f"library.{step}.h5") for step in ("moments", "reconstruct")]
    with pytest.raises(IntermediateError, match=r"was made for members 1, .* have members 2"):
        compare.run(
            found["reference"],
            found["twins"],
            *paths,
            str(tmp_path / "out.json"),
            name="pair",
            seed=1,
            **SPLITS,
        )
    assert not list(tmp_path.iterdir())


def test_wasserstein_of_a_shift_is_the_shift() -> None:
    """Two halves of one sample, the other moved by 3 standard deviations."""
    rng = np.random.default_rng(1)
    count = len(DETECTOR.observables)
    reference = rng.normal(5, 2, (4000, count))
    reference[:, 1] = 0.3
    reference[::3, 2] = np.nan
    split = halves(np.arange(4000), 1, 4)
    names = list(DETECTOR.observables)
    moved = reference + 6
    both = wasserstein_figures(DETECTOR, reference, [moved], split, np.ones(4000))
    figures = both["wasserstein"]
    assert both["wasserstein_mean"]["value"] == pytest.approx(3, abs=0.1)
    for name in (names[0], names[2], names[-1]):
        assert figures[name]["value"] == pytest.approx(3, abs=0.1)
        assert figures[name]["systematic"] == NOT_ESTIMATED
    # What does not vary has no standard deviation to be measured in.
    assert math.isnan(figures[names[1]]["value"])


def test_deviation_takes_weights_and_leaves_out_what_is_undefined() -> None:
    rng = np.random.default_rng(2)
    values, weight = rng.normal(3, 2, 1000), rng.integers(0, 4, 1000).astype(float)
    repeated = np.repeat(values, weight.astype(int))
    assert deviation(values, weight) == pytest.approx(repeated.std(), rel=1e-12)
    values[::2] = np.nan
    assert deviation(values, np.ones(1000)) == pytest.approx(values[1::2].std(), rel=1e-12)
    assert math.isnan(deviation(np.full(5, 0.3), np.ones(5)))
    assert math.isnan(deviation(np.full(5, np.nan), np.ones(5)))


def test_the_floor_of_a_resolution_is_one() -> None:
    """Also where the resolution differs between the bins, which would dominate it without them."""
    rng = np.random.default_rng(3)
    place = rng.uniform(0, 2, 4000)
    values = rng.normal(0, np.where(place < 1, 1, 100))
    split, weight = halves(np.arange(4000), 1, 20), np.ones(4000)
    found = floor_resolution(values, weight, bin_events("v", place, [0.0, 1.0, 2.0]), split)
    assert found["value"] == pytest.approx(1, abs=0.02)
    assert 0.01 < found["statistical"] < 0.06
    assert found["systematic"] == NOT_ESTIMATED
    nothing = floor_resolution(values * np.nan, weight, bin_events("v", place, 2), split)
    assert math.isnan(nothing["value"])


def test_calibration_counts_the_pulls() -> None:
    rng = np.random.default_rng(4)
    pull = rng.normal(0, 2, (2, 50, 100))
    pull[0, 0] = np.nan
    profiles = {
        "profiles/v/pull": pull,
        "profiles/v/difference": rng.normal(0, 1, pull.shape),
        "profiles/v/systematic": np.full(pull.shape, 1.0),
    }
    found = calibration_of(profiles, ["v"], 1)
    assert found["bins"] == 9900
    assert found["pull_width"] == pytest.approx(2, rel=0.05)
    assert found["share_within_1"] == pytest.approx(0.383, abs=0.02)
    assert found["expected_within_1"] == pytest.approx(0.6827, abs=1e-4)
    assert found["share_beyond_3"] == pytest.approx(0.134, abs=0.02)
    assert found["coverage"] == NOT_ESTIMATED
    several = calibration_of(profiles, ["v"], 8)
    assert several["coverage"] == pytest.approx(0.6827, abs=0.02)
    assert several["expected_coverage"] == pytest.approx(0.62, abs=0.01)
    nothing = calibration_of({"profiles/v/pull": pull * np.nan}, ["v"], 1)
    assert nothing["bins"] == 0
    assert math.isnan(nothing["share_within_1"])


def test_figures_and_rows() -> None:
    assert figure(1.0, 0.1)["systematic"] == NOT_ESTIMATED
    assert figure(1.0, 0.1, 0.0)["systematic"] == 0.0
    part = {
        "classifier": {"auc": figure(0.5, 0.1), "jsd": figure(0, 0.1), "events_per_class": [5, 4]},
        "wasserstein_mean": figure(1.0, 0.1),
        "wasserstein": {"a": figure(1.0, 0.1), "b": {**figure(0, 0), "value": None}},
        "resolution": {},
    }
    rows = leaderboard([{"surrogate": "s", "figures": part, "floor": part}])
    assert [row["name"] for row in rows] == ["floor", "s"]
    assert rows[1]["events_per_class"] == 4
    assert rows[1]["w1_mean"] == 1.0
