"""Rates, ROC curves, groups and weights of a toy detector whose answers are known."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sosie import compare, detectors, groups, moments, reconstruct
from sosie.arrays import read_arrays
from sosie.detectors.base import Detector, Groups, Quantity, Roc
from sosie.errors import InputError
from sosie.events import Block, write_events
from sosie.figures import all_quantities, compare_figures, moments_figures, reconstruct_figures
from sosie.files import read_json
from sosie.high_figures import spoken
from sosie.leaderboard import collect, columns
from sosie.report import board, group_columns
from sosie.shown import Validation
from sosie.style import Drawn, house_style, to_svg
from sosie.vectors import component_figure, component_names, vector_events_figure
from sosie.verdict import sentences

D = 1.5
"""Distance of the scores of the two classes, in standard deviations."""
TRUTH = {"slope": ""}


def _observe(response: np.ndarray, conditions: np.ndarray) -> dict[str, np.ndarray]:
    return {"a": response[:, 0].astype(float), "b": response[:, 1].astype(float)}


def _fit(
    response: Any, conditions: Any, group: Any, aux: Any, truth: Any, calibration: Any
) -> dict[str, np.ndarray]:
    """Slope of the second number against the place of the event in its group."""
    number = np.bincount(group)
    slope = np.bincount(group, response[:, 1] * aux["place"]) / np.bincount(
        group, aux["place"].astype(float) ** 2
    )
    return {
        "slope": slope - truth["slope"],
        "share": np.bincount(group, response[:, 1] > 0) / number,
    }


GROUPS = Groups(
    truth=TRUTH,
    variables={"slope": Quantity("true slope")},
    variable=lambda truth: {"slope": truth["slope"]},
    results={"slope": Quantity("slope", "mm", "slope of the line")},
    rates={"share": Quantity("share above zero")},
    reconstruct=_fit,
)

TOY = Detector(
    name="toy",
    shape=(2,),
    unit="",
    axes=(Quantity("number"),),
    centres=(np.array(["a", "b"]),),
    conditions={"p": "GeV", "eta": "", "kind": ""},
    feature_names=("p", "eta"),
    features=lambda c: np.asarray(c, float)[:, :2],
    scale=lambda c: np.ones(len(c)),
    variables={"p": Quantity("$p$", "GeV"), "eta": Quantity(r"$\eta$")},
    variable=lambda c: {"p": np.asarray(c, float)[:, 0], "eta": np.asarray(c, float)[:, 1]},
    observables={"a": Quantity("$a$"), "b": Quantity("$b$")},
    observe=_observe,
    calibrate=lambda pieces: {},
    results={},
    reconstruct=lambda r, c, k: {"found": np.where(c[:, 2] == 1, r[:, 0] > 0, np.nan)},
    signed=True,
    rates={"found": Quantity("efficiency", words="signal found")},
    rocs={
        "ab": Roc(
            Quantity("a against b", words="signal against background"),
            lambda c: c[:, 2] == 1,
            lambda c: c[:, 2] == 0,
            lambda r: r[:, 0].astype(float),
        )
    },
    roc_grid=("p", "eta"),
    pseudo_chi2=("b",),
)


def law(rng: np.random.Generator, where: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """Two numbers: a class-dependent Gaussian, and one that follows p."""
    a = rng.normal(D * where[:, 2] - 0.3 + shift * where[:, 2], 1)
    return np.column_stack([a, rng.normal(0.1 * where[:, 0], 1)]).astype(np.float32)


def where_of(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.column_stack(
        [rng.uniform(2, 20, count), rng.uniform(2, 5, count), rng.integers(0, 2, count)]
    ).astype(np.float32)


def write(path: Path, response: Any, where: Any, detector: Detector = TOY, **other: Any) -> str:
    ids = np.arange(1, len(where) + 1)
    own = {"group_id": ids, "weight": None, "aux": {}, **other}
    with write_events(path, detector, {"threshold": 0.0, "provenance": {}}) as writer:
        writer.append(Block(response, where, ids, own["group_id"], own["weight"], own["aux"]))
    return str(path)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(detectors.DETECTORS, "toy", TOY)


def steps(folder: Path, name: str, reference: str, *members: str) -> dict[str, Any]:
    """All that the three steps say of these members."""
    constants = str(folder / "calibration.json")
    reconstruct.calibrate(reference, constants)
    paths = {step: str(folder / f"{name}.{step}.h5") for step in ("moments", "reconstruct")}
    settings: dict[str, Any] = {"seed": 1, "bins": {"p": 3, "eta": 2}, "replicas": 40}
    reconstruct.run(reference, members, constants, paths["reconstruct"], **settings)
    moments.run(reference, members, paths["moments"], reconstruct=paths["reconstruct"], **settings)
    out = str(folder / f"{name}.json")
    rng = np.random.default_rng(7)
    learnt = where_of(rng, 3000)
    training = write(folder / "training.h5", law(rng, learnt), learnt)
    halving = {"splits": 4, "classifier_splits": 2}
    compare.run(
        reference, members, *paths.values(), out, training=training, name=name, seed=1, **halving
    )
    return {
        "entry": read_json(out, "compare"),
        **{step: read_arrays(path, step, step) for step, path in paths.items()},
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("high")
    rng = np.random.default_rng(1)
    where = where_of(rng, 6000)
    detectors.DETECTORS["toy"] = TOY
    try:
        reference = write(folder / "r.h5", law(rng, where), where)
        good = [write(folder / f"g{k}.h5", law(rng, where), where) for k in range(2)]
        off = write(folder / "o.h5", law(rng, where, 0.5), where)
        return {
            "folder": folder,
            "good": steps(folder, "good", reference, *good),
            "off": steps(folder, "off", reference, off),
        }
    finally:
        del detectors.DETECTORS["toy"]


def test_the_rates_are_those_of_the_law(found: dict[str, Any]) -> None:
    arrays, about = found["off"]["reconstruct"]
    assert about["quantities"] == []
    assert about["rates"] == ["found"]
    rate, error = (arrays[f"rates/p/{n}"][0, 0] for n in ("reference", "reference_error"))
    np.testing.assert_allclose(error, np.sqrt(rate * (1 - rate) / 1000), rtol=0.35)
    known = [stats.norm.cdf(D - 0.3 + shift) for shift in (0, 0.5)]
    assert (np.abs(rate - known[0]) < 4 * error).all()
    ratio, off_by = (arrays[f"rate_ratios/p/{n}"][0, 0] for n in ("mean", "difference_error"))
    assert (np.abs(ratio - known[1] / known[0]) < 4 * off_by).all()
    np.testing.assert_allclose(ratio, arrays["rates/p/mean"][0, 0] / rate)
    assert np.isnan(arrays["rate_ratios/p/systematic"]).all()
    assert (found["good"]["reconstruct"][0]["rates/p/systematic"] >= 0).all()


def test_the_areas_are_those_of_two_gaussians(found: dict[str, Any]) -> None:
    arrays, _ = found["off"]["reconstruct"]
    assert arrays["rocs/cells/reference"].shape == (2, 1, 9)
    assert arrays["rocs/events"].shape == (1, 2, 9)
    assert arrays["rocs/events"].sum() == 6000
    for name, d in (("reference", D), ("mean", D + 0.5)):
        area = arrays[f"rocs/cells/{name}"][0, 0]
        assert area.mean() == pytest.approx(stats.norm.cdf(d / math.sqrt(2)), abs=0.012)
    rejection = 1 / stats.norm.sf(stats.norm.ppf(0.1) + D)
    assert arrays["rocs/cells/reference"][1, 0].mean() == pytest.approx(rejection, rel=0.15)
    efficiency, mis_id = arrays["rocs/curves/reference"][0].mean(axis=0)
    expected = stats.norm.sf(stats.norm.isf(efficiency[10:-10]) + D)
    np.testing.assert_allclose(mis_id[10:-10], expected, atol=0.03)
    assert (arrays["rocs/cells/difference_error"][0] < 0.03).all()


def test_compare_has_the_worst_of_each(found: dict[str, Any]) -> None:
    good, off = (found[name]["entry"] for name in ("good", "off"))
    for part, planted in (
        ("rates", stats.norm.cdf(D + 0.2) / stats.norm.cdf(D - 0.3) - 1),
        ("rocs", stats.norm.cdf((D + 0.5) / math.sqrt(2)) - stats.norm.cdf(D / math.sqrt(2))),
    ):
        (figure,) = off["figures"][part].values()
        assert figure["difference"] == pytest.approx(planted, abs=0.06)
        assert figure["value"] == abs(figure["difference"])
        assert figure["value"] > 2 * figure["statistical"]
        (fair,) = good["figures"][part].values()
        error = math.hypot(fair["statistical"], fair["systematic"])
        assert fair["value"] < fair["limit"] + 3.5 * error
        (floor,) = off["floor"][part].values()
        assert 0 < floor["value"] < 0.2
    assert "eta" in off["figures"]["rocs"]["ab"]["where"]
    names = set(columns(off["figures"]))
    assert names == set(columns(off["floor"]))
    assert {"rate_found", "delta_auc_ab", "pseudo_chi2", "pseudo_chi2_b"} <= names
    collect([str(found["folder"] / f"{n}.json") for n in ("good", "off")], found["folder"] / "all")


def test_the_pseudo_chi2_of_equal_laws_is_its_number_of_terms(found: dict[str, Any]) -> None:
    for part in ("figures", "floor"):
        figure = found["good"]["entry"][part]["pseudo_chi2"]["all"]
        # Two terms a bin: 3 of p and 2 of eta.
        assert figure["terms"] == 10
        assert figure["value"] == pytest.approx(10, abs=8)
        assert figure["events"] == [3000, 3000]


def test_page_and_words(found: dict[str, Any]) -> None:
    entries = [found[name]["entry"] for name in ("good", "off")]
    arrays = {
        step: Validation(
            found["good"][step][1],
            [
                Drawn(name, place, members, found[name][step][0])
                for place, (name, members) in enumerate((("good", 2), ("off", 1)))
            ],
            {},
        )
        for step in ("moments", "reconstruct")
    }
    quantities = all_quantities(TOY, arrays["reconstruct"])
    words = {**spoken(TOY), **quantities}
    said = " ".join(sentences(entries[1], words))
    assert "The AUC of signal against background is not within 0.005" in said
    assert "farthest is signal found" in said
    assert "resolution" not in said
    assert "rates" in said
    heads = board(words, entries)["heads"]
    assert heads[-4:] == [
        "pseudo chi2",
        "largest change of AUC, signal against background",
        "largest |rate / sim. - 1|",
        "members",
    ]
    assert group_columns(words, entries[0]["floor"]) == []
    with house_style():
        shown = [
            *moments_figures(TOY, arrays["moments"]),
            *reconstruct_figures(TOY, arrays["reconstruct"]),
            *compare_figures(quantities, entries),
        ]
        # Drawing takes long: those that no test of the calorimeter draws.
        for one in shown:
            if one.name in ("components", "delta_auc", "roc_ab", "rate_found"):
                assert to_svg(one.figure)
    names = [one.name for one in shown]
    for name in ("components", "delta_auc", "roc_ab", "rate_found", "pseudo_chi2"):
        assert name in names
    assert any(name.startswith("pulls_rates_") for name in names)
    assert not any(name.startswith("pulls_reconstruct_") for name in names)


def test_what_full_simulation_has_nowhere_is_not_drawn(found: dict[str, Any]) -> None:
    arrays, about = found["good"]["reconstruct"]
    absent = {
        name: np.full_like(array, np.nan)
        if name.startswith("rates/") and name.endswith("/reference")
        else np.zeros_like(array)
        if name == "rocs/events"
        else array
        for name, array in arrays.items()
    }
    shown = {}
    for words, given in (("there", arrays), ("absent", absent)):
        validation = Validation(about, [Drawn("good", 0, 2, given)], {})
        with house_style():
            shown[words] = {one.name for one in reconstruct_figures(TOY, validation)}
    assert shown["there"] - shown["absent"] == {"rate_found", "roc_ab"}


def test_vectors_bear_the_names_of_their_numbers() -> None:
    assert component_names(TOY) == ["a", "b"]
    numbered = replace(TOY, centres=(np.arange(2.0),))
    assert component_names(numbered) == ["0", "1"]
    shown = {"reference/mean": [1.0, -2.0], "reference/std": [1.0, 1.0]}
    arrays = {
        **{name: np.array(values) for name, values in shown.items()},
        "members/mean": np.array([[1.0, -1.0], [2.0, -1.0]]),
        "members/std": np.ones((2, 2)),
    }
    with house_style():
        figure = component_figure(TOY, [Drawn("s", 0, 2, arrays)])
        assert [t.get_text() for t in figure.axes[2].get_xticklabels()] == ["a", "b"]
        (bars,) = figure.axes[2].containers
        np.testing.assert_allclose(bars[0].get_ydata(), [0.5, 1.0])
        single = vector_events_figure(TOY, ["one"], {"full simulation": np.array([[3.0, -4.0]])})
        np.testing.assert_array_equal(single.axes[0].lines[0].get_ydata(), [3.0, -4.0])


def test_groups_have_the_planted_resolution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = replace(TOY, groups=GROUPS, rocs={}, roc_grid=(), rates={}, pseudo_chi2=())
    monkeypatch.setitem(detectors.DETECTORS, "toy", detector)
    rng = np.random.default_rng(2)
    tracks, rows = 400, 10
    slope = np.repeat(rng.uniform(-1, 1, tracks), rows)
    aux = {"place": np.tile(np.arange(1, rows + 1), tracks), "truth_slope": slope}
    # Rows of a track lie anywhere in the table.
    order = rng.permutation(tracks * rows)
    aux = {name: column[order] for name, column in aux.items()}
    group_id = np.repeat(rng.permutation(tracks) + 5, rows)[order]
    where = where_of(rng, tracks * rows)

    def table(name: str, width: float, **carried: Any) -> str:
        values = aux["truth_slope"] * aux["place"] + rng.normal(0, width, tracks * rows)
        response = np.column_stack([values * 0, values]).astype(np.float32)
        return write(
            tmp_path / name, response, where, detector,
            group_id=group_id, aux={**aux, **carried},
        )  # fmt: skip

    reference, wide = table("r.h5", 1.0), table("w.h5", 1.5)
    found = steps(tmp_path, "s", reference, wide)
    arrays, about = found["reconstruct"]
    assert about["groups"]["groups"] == tracks
    bias, resolution = arrays["groups/results/slope/reference"][:, 0]
    known = 1 / math.sqrt((np.arange(1, rows + 1) ** 2).sum())
    error = arrays["groups/results/slope/reference_error"][1, 0]
    assert (np.abs(resolution - known) < 4 * error).all()
    np.testing.assert_allclose(error / known, 0.1, atol=0.06)
    assert np.abs(bias).max() < known
    ratio = found["entry"]["figures"]["group_resolution"]["slope"]
    assert ratio["value"] == pytest.approx(1.5, abs=4 * ratio["statistical"])
    assert ratio["events"] == [tracks, tracks]
    floor = found["entry"]["floor"]["group_resolution"]["slope"]
    assert floor["value"] == pytest.approx(1, abs=0.25)
    assert floor["events"] == [tracks // 2, tracks // 2]
    share = arrays["groups/rates/slope/reference"][0, 0]
    assert (np.diff(share) > 0).all()
    assert found["entry"]["figures"]["group_rates"]["share"]["value"] > 0
    words = {**spoken(detector), **detector.observables}
    heads = board(words, [found["entry"]], group_columns)["heads"]
    assert heads[1] == "slope of the line resolution / sim."
    with house_style():
        drawn = Validation(about, [Drawn("s", 0, 1, arrays)], {})
        names = [one.name for one in reconstruct_figures(detector, drawn)]
    assert names == ["group_slope", "group_rate_share"]


def test_groups_without_truth_are_left_out_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = replace(TOY, groups=GROUPS, rocs={}, roc_grid=(), rates={}, pseudo_chi2=())
    monkeypatch.setitem(detectors.DETECTORS, "toy", detector)
    rng = np.random.default_rng(3)
    where = where_of(rng, 200)
    table = write(tmp_path / "r.h5", law(rng, where), where, detector)
    found = steps(tmp_path, "s", table, table)
    assert found["reconstruct"][1]["groups"] == {"left_out": "the sample carries no true slope"}
    assert "groups are left out: the sample carries no true slope" in capsys.readouterr().err
    assert "group_resolution" not in found["entry"]["figures"]


def test_index_of_groups_is_in_order_of_appearance() -> None:
    index, first = groups.index_of(np.array([7, 3, 7, 9, 3], np.uint64))
    np.testing.assert_array_equal(index, [0, 1, 0, 2, 1])
    np.testing.assert_array_equal(first, [0, 1, 3])


def test_signed_weights_take_a_planted_background_out(tmp_path: Path) -> None:
    """Background of weight 1 and as much of weight -1: what is left is the signal's law."""
    rng = np.random.default_rng(4)
    signal, wrong = where_of(rng, 1400), where_of(rng, 350)
    where = np.concatenate([signal, wrong, wrong])
    weight = np.repeat([1.0, 1.0, -1.0], [1400, 350, 350])

    def table(name: str) -> str:
        clean = law(rng, signal)
        foul = [law(rng, wrong) + np.float32(6) for _ in range(2)]
        return write(tmp_path / name, np.concatenate([clean, *foul]), where, weight=weight)

    reference, member = table("r.h5"), table("m.h5")
    found = steps(tmp_path, "s", reference, member)
    arrays, _ = found["reconstruct"]
    rate, error = (arrays[f"rates/p/{n}"][0, 0] for n in ("reference", "reference_error"))
    assert (np.abs(rate - stats.norm.cdf(D - 0.3)) < 4 * error).all()
    area = np.nanmean(arrays["rocs/cells/reference"][0, 0])
    assert area == pytest.approx(stats.norm.cdf(D / math.sqrt(2)), abs=0.04)
    mean = found["moments"][0]["profiles/eta/reference"][0, 0]
    assert mean == pytest.approx(D / 2 - 0.3, abs=0.25)
    figures = found["entry"]["figures"]
    assert figures["classifier"]["auc"]["value"] == pytest.approx(0.5, abs=0.06)
    assert figures["pseudo_chi2"]["all"]["value"] == pytest.approx(10, abs=12)
    for distance in ("wasserstein", "separation"):
        assert 0 <= figures[distance]["a"]["value"] < 0.4


def test_bins_whose_weights_say_nothing_are_empty_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(5)
    where = where_of(rng, 600)
    where[:, 0] = np.repeat([3.0, 10.0, 17.0], 200)
    weight = np.ones(600)
    weight[:200] = np.tile([1.0, -1.0], 100)  # sums to nothing
    weight[200:400] = 1e-6
    weight[200] = 1.0  # one event has all the weight
    table = write(tmp_path / "r.h5", law(rng, where), where, weight=weight)
    out = str(tmp_path / "m.h5")
    moments.run(table, [table], out, seed=1, bins={"p": [2.0, 6.0, 14.0, 20.0]}, replicas=40)
    arrays, about = read_arrays(out, "moments", "moments")
    mean = arrays["profiles/p/reference"][0]
    assert np.isnan(mean[:, :2]).all()
    assert np.isfinite(mean[:, 2]).all()
    assert np.isnan(arrays["profiles/p/pull"][..., :2]).all()
    assert about["left_empty"] == {"p": 2}
    assert "the weights of 2 of 3 bins of p" in capsys.readouterr().err
    nothing = write(tmp_path / "n.h5", law(rng, where), where, weight=np.tile([1.0, -1.0], 300))
    moments.run(nothing, [nothing], out, seed=1, bins={"p": [2.0, 20.0]}, replicas=40)
    arrays, _ = read_arrays(out, "moments", "moments")
    assert np.isnan(arrays["images/reference/mean"]).all()


def test_events_are_binned_by_their_distance_to_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    where = where_of(rng, 600)
    away = np.linspace(0, 3, 600, dtype=np.float32)
    away[-1] = np.inf
    zone = np.digitize(away, [1, 2]).astype(np.uint8)
    response = law(rng, where)
    table = write(tmp_path / "r.h5", response, where)
    drawn = write(
        tmp_path / "g.h5", response, where, aux={"sosie_distance": away, "sosie_zone": zone}
    )
    bins = {"p": [2.0, 11.0, 20.0, 90.0], "distance": [0.0, 0.5, 1.5, 4.0]}
    settings: dict[str, Any] = {"seed": 1, "bins": bins, "replicas": 40}
    out = str(tmp_path / "m.h5")
    moments.run(table, [drawn], out, **settings)
    arrays, about = read_arrays(out, "moments", "moments")
    assert about["variables"] == ["p", "distance"]
    known = [np.histogram(some, bins["distance"])[0] for some in (away, away[zone > 0])]
    np.testing.assert_array_equal(arrays["profiles/distance/events"], known[0])
    np.testing.assert_allclose(arrays["profiles/distance/flagged"], known[1] / known[0])
    share = (zone[where[:, 0] < 11] > 0).mean()
    assert arrays["profiles/p/flagged"][0] == pytest.approx(share)
    # No event lies in the last bin.
    assert np.isnan(arrays["profiles/p/flagged"][2])
    with pytest.raises(InputError, match=r"moments\.bins\.distance: .* run ensemble and generate"):
        moments.run(table, [table], out, **settings)
    moments.run(table, [table], out, **{**settings, "bins": {"p": 2}})
    assert np.isnan(read_arrays(out, "moments", "moments")[0]["profiles/p/flagged"]).all()


def test_a_sample_beyond_all_bins_leaves_them_empty(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    where = where_of(rng, 500)
    away = np.full(500, np.inf, np.float32)
    known = {"sosie_distance": away, "sosie_zone": np.full(500, 2, np.uint8)}
    table = write(tmp_path / "r.h5", law(rng, where), where, aux=known)
    constants = str(tmp_path / "c.json")
    reconstruct.calibrate(table, constants)
    bins = {"p": [1000.0, 2000.0, 3000.0], "distance": [0.0, 1.0, 4.0]}
    settings: dict[str, Any] = {"seed": 1, "bins": bins, "replicas": 40}
    found = str(tmp_path / "h.h5"), str(tmp_path / "m.h5")
    reconstruct.run(table, [table], constants, found[0], **settings)
    moments.run(table, [table], found[1], reconstruct=found[0], **settings)
    for path, step in zip(found, ("reconstruct", "moments"), strict=True):
        arrays, _ = read_arrays(path, step, step)
        for variable in bins:
            assert np.isnan(arrays[f"profiles/{variable}/reference"]).all()
            assert (arrays[f"profiles/{variable}/events"] == 0).all()
