"""compare: equal laws look alike, what was planted stands out, and nothing foreign is collected."""

import csv
import json
import math
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toy
from samples import conditions, showers, whole_events, write_table
from sosie import compare, moments, reconstruct
from sosie.arrays import read_arrays, write_arrays
from sosie.binnings import bin_events
from sosie.cli import main
from sosie.compare import (
    deviation,
    distance_figures,
    distances_from,
    floor_resolution,
    resolution_figures,
)
from sosie.detectors.ecal import DETECTOR, momentum
from sosie.distances import halves
from sosie.ensembles import expected_coverage
from sosie.errors import IntermediateError, SettingsError
from sosie.events import open_events
from sosie.files import read_json, write_json
from sosie.kept import rows_kept
from sosie.leaderboard import collect, leaderboard
from sosie.performance import NOT_ESTIMATED, figure
from sosie.streams import key

EVENTS, TRAINING = 500, 900
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
    training = str(folder / "training.h5")
    compare.run(
        reference,
        members,
        *paths.values(),
        str(out),
        training=training,
        name=name,
        seed=1,
        **SPLITS,
    )
    return read_json(out, "compare")


def table_of_toys(path: Path) -> str:
    where = toy.conditions(50)
    return toy.table(path, where, toy.responses(where))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One surrogate of the law of the reference, an ensemble of two, and one that is too bright."""
    folder = tmp_path_factory.mktemp("compare")
    where = conditions(EVENTS)
    reference = write_table(folder / "r.h5", showers(where, 1), where)
    learnt = conditions(TRAINING, 9)
    write_table(folder / "training.h5", showers(learnt, 9), learnt)
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
        for distance in ("wasserstein", "separation"):
            for quantity, value in figures[distance].items():
                assert value["value"] < 2 * floor[distance][quantity]["value"]
        for value in figures["resolution"].values():
            assert abs(value["value"] - 1) < 5 * value["statistical"] + 0.02


def test_of_more_events_than_fit_into_memory_some_are_drawn(
    found: dict[str, Any], tmp_path: Path
) -> None:
    """As if the sample had those events alone, and the same ones for every surrogate."""
    each = int(1e9) // compare.most_events(DETECTOR, 6, 10**9)
    folder, where = found["folder"], conditions(EVENTS)
    entries = []
    for name, twins in (("library", found["twins"][:1]), ("pair", found["twins"])):
        out = tmp_path / f"{name}.json"
        compare.run(
            found["reference"],
            twins,
            str(folder / f"{name}.moments.h5"),
            str(folder / f"{name}.reconstruct.h5"),
            str(out),
            training=str(folder / "training.h5"),
            name=name,
            seed=1,
            memory=200 * each + each // 2,
            **SPLITS,
        )
        entries.append(read_json(out, "compare"))
    assert [(e["events"], e["drawn_of"]) for e in entries] == [(200, EVENTS)] * 2
    assert entries[0]["floor"] == entries[1]["floor"]
    assert "drawn_of" not in found["pair"]
    with open_events(found["reference"]) as events:
        rows = rows_kept(events, key(1, "compare", "kept"), 200)
        ids = events.column("event_id")[rows]
    shutil.copy(folder / "training.h5", tmp_path)
    shutil.copy(folder / "calibration.json", tmp_path)
    cut = [
        write_table(tmp_path / f"{k}.h5", showers(where, k)[rows], where[rows], ids=ids)
        for k in (1, 2, 3)
    ]
    alone = entry(tmp_path, "alone", *cut)
    for part in ("figures", "floor"):
        for distance in ("wasserstein", "separation", "classifier", "memorisation", "manifold"):
            assert entries[1][part][distance] == alone[part][distance], (part, distance)


def test_whole_events_of_equal_laws_and_of_a_shift(found: dict[str, Any]) -> None:
    """Both twins are of the law of the reference; the bright ones are 2 deviations off in e_over_p."""
    for name in ("library", "pair"):
        figures, floor = found[name]["figures"], found[name]["floor"]
        for part in (figures, floor):
            for classifier in ("classifier_mlp", "classifier_low"):
                assert abs(part[classifier]["auc"]["value"] - 0.5) < 0.12
            assert all(part["manifold"][n]["value"] > 0.8 for n in ("precision", "recall"))
            assert part["manifold"]["density"]["value"] == pytest.approx(1, abs=0.15)
            assert part["memorisation"]["copies"]["value"] == 0
            assert part["memorisation"]["auc"]["value"] == pytest.approx(0.5, abs=0.1)
    bright, floor = found["bright"]["figures"], found["bright"]["floor"]
    assert bright["classifier_mlp"]["auc"]["value"] > 0.8
    assert bright["fpd"]["value"] > 3 * floor["fpd"]["value"]
    assert bright["kpd"]["value"] > 5 * abs(floor["kpd"]["value"])
    assert bright["manifold"]["precision"]["value"] < floor["manifold"]["precision"]["value"]
    # Brighter by a factor: the shape of a shower, and so its neighbour, is that of another draw.
    assert bright["memorisation"]["auc"]["value"] == pytest.approx(0.5, abs=0.1)


def test_the_floor_is_one_for_all(found: dict[str, Any]) -> None:
    assert found["library"]["floor"] == found["pair"]["floor"] == found["bright"]["floor"]


def test_a_planted_shift_stands_out(found: dict[str, Any]) -> None:
    for distance in ("separation", "wasserstein"):
        figures, floor = (found["bright"][part][distance] for part in ("figures", "floor"))
        excess = {name: figures[name]["value"] / floor[name]["value"] for name in figures}
        # The calibrated energy over the momentum is the same ratio, seen by the reconstruction.
        assert set(sorted(excess, key=excess.__getitem__)[-2:]) == {"e_over_p", "energy_ratio"}
    planted = (found["ratio"]["bright"].mean() - found["ratio"]["r"].mean()) / found["ratio"][
        "r"
    ].std()
    assert figures["e_over_p"]["value"] == pytest.approx(planted, rel=0.02)
    assert planted == pytest.approx(SHIFT, abs=0.3)
    assert found["bright"]["figures"]["classifier"]["auc"]["value"] > 0.85
    beyond = {
        name: found[name]["calibration"]["moments"]["raw"]["beyond_3"]
        for name in ("bright", "library")
    }
    assert beyond["bright"] > 0.03 > beyond["library"]


def test_one_member_has_no_systematic(found: dict[str, Any]) -> None:
    alone, pair = found["library"], found["pair"]
    for name in ("auc", "jsd"):
        assert alone["figures"]["classifier"][name]["systematic"] == NOT_ESTIMATED
        assert pair["figures"]["classifier"][name]["systematic"] >= 0
    for part in ("wasserstein", "separation", "resolution"):
        for name, value in alone["figures"][part].items():
            assert value["systematic"] == NOT_ESTIMATED
            assert pair["figures"][part][name]["systematic"] >= 0
            assert pair["floor"][part][name]["systematic"] == NOT_ESTIMATED
    for step in ("moments", "reconstruct"):
        one, two = (which["calibration"][step]["raw"] for which in (alone, pair))
        assert one["band_coverage"] is None
        assert 0 <= two["band_coverage"] <= 1
        assert two["expected_band_coverage"] == pytest.approx(expected_coverage(2))
        assert one["expected_width"] == pytest.approx(1, abs=1e-3)
        assert two["expected_width"] == pytest.approx(1.837, abs=1e-3)


def test_the_leaderboard(found: dict[str, Any], tmp_path: Path) -> None:
    paths = [str(found["folder"] / f"{name}.json") for name in ("library", "pair", "bright")]
    collect(paths, tmp_path)
    with open(tmp_path / "leaderboard.csv") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["floor", "library", "pair", "bright"]
    whole = read_json(tmp_path / "metrics.json", "compare")
    assert whole["gates"] == []
    assert list(whole["surrogates"]) == ["library", "pair", "bright"]
    assert whole["floor"] == found["library"]["floor"]
    for name in ("library", "bright"):
        assert whole["surrogates"][name] == found[name]
        systematics = [value for key, value in rows[name].items() if key.endswith("_systematic")]
        both = len(DETECTOR.results) + len(DETECTOR.observables)
        assert len(systematics) == 16 + len(DETECTOR.results) + 2 * both
        assert set(systematics) == {NOT_ESTIMATED}
    assert float(rows["pair"]["auc_systematic"]) >= 0
    for name in ("library", "pair", "bright"):
        figures = found[name]["figures"]
        assert float(rows[name]["auc"]) == pytest.approx(
            figures["classifier"]["auc"]["value"], rel=1e-5
        )
        major = [n for n in DETECTOR.observables if n not in DETECTOR.minor]
        for distance, column in (("wasserstein", "w1_mean"), ("separation", "separation_mean")):
            mean = np.mean([figures[distance][n]["value"] for n in major])
            assert float(rows[name][column]) == pytest.approx(mean, rel=1e-5)
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
    old = json.loads(json.dumps(found["pair"])) | {"surrogate": "old"}
    del old["figures"]["separation"], old["floor"]["separation"]
    uncounted = json.loads(json.dumps(found["pair"])) | {"surrogate": "uncounted"}
    del uncounted["figures"]["resolution"]["residual_x"]["events"]
    values = {"empty.json": {}, "short.json": short, "old.json": old, "uncounted.json": uncounted}
    for name, value in values.items():
        write_json(tmp_path / name, value)
    foreign = {
        "calibration.json": (found["folder"] / "calibration.json").read_text(),
        "list.json": "[1, 2]",
        "number.json": "3",
        "cut.json": Path(good).read_text()[:500],
        "twice.json": Path(good).read_text(),
        **{name: (tmp_path / name).read_text() for name in values},
    }
    expected = dict.fromkeys(foreign, "not the figures of a surrogate") | {
        **dict.fromkeys(("cut.json", "list.json", "number.json"), "cannot be read as JSON"),
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
            training=str(found["folder"] / "training.h5"),
            name="pair",
            seed=1,
            **SPLITS,
        )
    assert not list(tmp_path.iterdir())


def test_a_copy_is_seen_in_spite_of_its_scale(found: dict[str, Any], tmp_path: Path) -> None:
    """Half of the events repeat a training event at the energy of their conditions."""
    from sosie.distances import Halved
    from sosie.memorisation import memorisation_figures

    where, others = conditions(EVENTS), conditions(TRAINING, 9)
    learnt, mixed = showers(others, 9), showers(where, 5)
    learnt[learnt < 0.2] = 0
    mixed[::2] = learnt[: EVENTS // 2] * np.linspace(0.8, 3, EVENTS // 2)[:, None, None]
    mixed[mixed < 0.2] = 0
    training = write_table(tmp_path / "training.h5", learnt, others)
    twins = [write_table(tmp_path / f"{k}.h5", mixed, where) for k in range(2)]
    ids = np.arange(EVENTS, dtype=np.uint64)
    halved = Halved(halves(ids, 1, 4), ids, None, 1)
    with ExitStack() as stack:
        opened = [
            stack.enter_context(open_events(p)) for p in (training, found["reference"], *twins)
        ]
        figures, floor = memorisation_figures(*opened[:2], opened[2:], False, halved)
        other = stack.enter_context(open_events(table_of_toys(tmp_path / "toy.h5")))
        with pytest.raises(IntermediateError, match="give the training sample of the same study"):
            memorisation_figures(other, opened[1], opened[2:], False, halved)
    planted = np.mean([(~a)[::2].sum() / (~a).sum() for a in halved.split])
    assert figures["copies"]["value"] == pytest.approx(planted, abs=0.005)
    assert floor["copies"]["value"] == 0
    # Copies win always, the others in half of the cases.
    assert figures["auc"]["value"] == pytest.approx((1 + planted) / 2, abs=0.05)
    assert floor["auc"]["value"] == pytest.approx(0.5, abs=0.07)


def test_every_figure_has_its_events_a_class(found: dict[str, Any]) -> None:
    half = [EVENTS // 2, EVENTS // 2]
    for part in ("figures", "floor"):
        figures = found["pair"][part]
        assert (
            figures["classifier"]["auc"]["events"] == figures["classifier"]["jsd"]["events"] == half
        )
        for distance in ("wasserstein", "separation"):
            assert figures[f"{distance}_mean"]["events"] <= half
            assert figures[distance]["e_over_p"]["events"] == half
            assert figures[distance]["residual_x"]["events"] == half
        size = [EVENTS, EVENTS] if part == "figures" else half
        assert figures["resolution"]["residual_x"]["events"] == size


def test_events_are_those_with_a_value_the_fewest_of_all_splits() -> None:
    rng = np.random.default_rng(5)
    reference, sample = rng.normal(size=(2, 1000, 2))
    reference[:100, 0] = sample[:300, 1] = np.nan
    split = np.zeros((2, 1000), bool)
    split[0, :500] = split[1, 500:] = True
    found = distance_figures(
        ["a", "b"], ["a"], reference, [sample, sample * 2], split, np.ones(1000)
    )
    assert found["wasserstein"]["a"]["events"] == found["separation"]["a"]["events"] == [400, 500]
    assert found["wasserstein"]["b"]["events"] == [500, 200]
    assert found["wasserstein_mean"]["events"] == [400, 500]
    assert found["separation_mean"]["value"] == found["separation"]["a"]["value"]
    high = {
        "events/reference": reference,
        "events/members": np.stack([sample, reference]),
        **{f"ratios/{n}": np.ones(2) for n in ("mean", "statistical", "systematic")},
    }
    ratio = resolution_figures(["a", "b"], high)
    assert [ratio[name]["events"] for name in "ab"] == [[900, 900], [1000, 700]]


def test_distances_of_a_shift_are_the_known_ones() -> None:
    """Two halves of one sample, the other moved by 3 standard deviations."""
    rng = np.random.default_rng(1)
    names = [f"q{number}" for number in range(5)]
    reference = rng.normal(5, 2, (4000, len(names)))
    reference[:, 1] = 0.3
    reference[::3, 2] = np.nan
    split = halves(np.arange(4000), 1, 4)
    moved = reference + 6
    found = distance_figures(names, names[:3], reference, [moved], split, np.ones(4000))
    figures = found["wasserstein"]
    assert found["wasserstein_mean"]["value"] == pytest.approx(3, abs=0.1)
    for name in (names[0], names[2], names[-1]):
        assert figures[name]["value"] == pytest.approx(3, abs=0.1)
        assert figures[name]["systematic"] == NOT_ESTIMATED
        # S = 1 - integral of 2 p q / (p + q) = 0.8028 for unit Gaussians 3 apart.
        assert found["separation"][name]["value"] == pytest.approx(0.803, abs=0.02)
    # What does not vary has no standard deviation to be measured in, but a histogram.
    assert math.isnan(figures[names[1]]["value"])
    assert found["separation"][names[1]]["value"] == 1


def test_the_bins_of_the_separation_are_those_of_the_reference() -> None:
    """Where the tail lies does not matter, and weights make what they repeat."""
    rng = np.random.default_rng(2)
    reference = rng.normal(size=5000)
    power = distances_from(reference, np.ones(5000))["separation"]
    a, b, ones = reference[:2500], reference[2500:].copy(), np.ones(2500)
    before = power(a, b, ones, ones)
    b[b > 2.8] = 1e9
    assert power(a, b, ones, ones) == before
    twice = rng.integers(0, 3, 2500)
    weighted = power(a, b, twice.astype(float), ones)
    assert weighted == pytest.approx(power(np.repeat(a, twice), b, np.ones(twice.sum()), ones))


def test_results_of_the_reconstruction_are_measured_and_keep_their_names_apart(
    found: dict[str, Any], tmp_path: Path
) -> None:
    names = list(found["pair"]["figures"]["wasserstein"])
    assert names == [*DETECTOR.observables, *DETECTOR.results]
    arrays, about = read_arrays(found["folder"] / "library.reconstruct.h5", "reconstruct", "")
    about["quantities"][0] = "bary_x"
    clash = tmp_path / "reconstruct.h5"
    write_arrays(clash, "reconstruct", arrays, about)
    moments_file, out = str(found["folder"] / "library.moments.h5"), str(tmp_path / "out.json")
    samples = found["reference"], found["twins"][:1]
    with pytest.raises(IntermediateError, match=r"result 'bary_x' has the name of an observable; "):
        compare.run(
            *samples, moments_file, str(clash), out, training="", name="library", seed=1, **SPLITS
        )


def test_gates_are_judged_where_all_is_collected(
    found: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(found["folder"] / f"{name}.json") for name in ("library", "bright")]
    gates = [
        {"figure": "auc", "relative_to": "floor", "margin": 0.1},
        {"figure": "w1_e_over_p", "relative_to": "library", "factor": 2.0},
    ]
    words = ["--set", f"gates={json.dumps(gates)}"]
    assert main(["compare", "--collect", *paths, "--out", str(tmp_path), *words]) == 0
    judged = read_json(tmp_path / "metrics.json", "compare")["gates"]
    passed = [(g["figure"], g["surrogate"], g["passed"]) for g in judged]
    assert passed == [
        ("auc", "library", True),
        ("auc", "bright", False),
        ("w1_e_over_p", "bright", False),
    ]
    base = found["library"]["figures"]["wasserstein"]["e_over_p"]["value"]
    assert judged[2]["limit"] == pytest.approx(2 * base)
    assert judged[2]["value"] == found["bright"]["figures"]["wasserstein"]["e_over_p"]
    capsys.readouterr()
    assert main(["compare", "--gate", str(tmp_path / "metrics.json")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["passed", "FAILED", "FAILED"]
    collect(paths, tmp_path, gates[:1])
    collect(paths[:1], tmp_path / "one", gates[:1])
    assert main(["compare", "--gate", str(tmp_path / "one/metrics.json")]) == 0
    with pytest.raises(SettingsError, match=r"gates\.0\.figure: .* 'w1_e_p'; near it: w1_e_over_p"):
        collect(paths, tmp_path / "none", [{"figure": "w1_e_p", "relative_to": "floor"}])
    assert not (tmp_path / "none").exists()


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


def test_figures_and_rows() -> None:
    def one(value: float = 1.0) -> dict[str, Any]:
        return figure(value, 0.1, math.nan, (5, 4))

    assert one()["systematic"] == NOT_ESTIMATED
    assert figure(1.0, 0.1, 0.0, (1, 1))["systematic"] == 0.0
    part = {
        "classifier": {"auc": one(0.5), "jsd": one(0)},
        **whole_events(one(0.3)),
        "wasserstein_mean": one(),
        "separation_mean": one(0.2),
        "wasserstein": {"a": one(), "b": {**one(0), "value": None}},
        "separation": {"a": one(), "b": one()},
        "resolution": {"r": one()},
    }
    rows = leaderboard([{"surrogate": "s", "figures": part, "floor": part}])
    assert [row["name"] for row in rows] == ["floor", "s"]
    assert [rows[1][f"{name}_events"] for name in ("auc", "w1_a", "resolution_r")] == [4, 4, 4]
    assert rows[1]["w1_mean"] == 1.0
    assert rows[1]["separation_mean"] == 0.2
    whole = ("auc_mlp", "jsd_low", "fpd", "kpd", "density", "copies", "memorisation_auc")
    assert {rows[1][name] for name in whole} == {0.3}
