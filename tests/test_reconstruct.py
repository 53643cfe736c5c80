"""reconstruct: constants fitted once, resolutions and their ratios as planted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from samples import LAYOUT, blobs, conditions, write_table
from sosie import reconstruct
from sosie.arrays import read_arrays
from sosie.detectors.ecal import DETECTOR, momentum
from sosie.errors import InputError, IntermediateError
from sosie.files import read_json, write_json
from sosie.overlays import join
from sosie.reconstruct import ratios

BINS: dict[str, Any] = {"momentum": 6, "cell_x": [-10.0, 0.0, 10.0]}
STOCHASTIC, CONSTANT = 0.1, 0.02
WIDTH = 6.0


def narrow(where: np.ndarray, seed: int, extra: float = 0.0) -> np.ndarray:
    """Showers within 3 x 3 cells whose energy is smeared by 10 % / sqrt(E) (+) 2 % (+) ``extra``."""
    p = momentum(where)
    width = np.hypot(np.hypot(STOCHASTIC / np.sqrt(p), CONSTANT), extra)
    total = 180 * p * (1 + width * np.random.default_rng(seed).normal(size=len(p)))
    return blobs(total, where, WIDTH)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("calibration")
    where = conditions(1500, seed=11, low=1, high=100)
    train = write_table(folder / "train.h5", narrow(where, 11), where)
    reconstruct.calibrate(train, str(folder / "calibration.json"))
    return str(folder / "calibration.json")


def run(tmp_path: Path, calibration: str, reference: str, *members: str, **other: Any) -> Any:
    out = tmp_path / "reconstruct.h5"
    settings = {"seed": 1, "bins": BINS, "replicas": 40, **other}
    reconstruct.run(reference, members, calibration, str(out), **settings)
    return read_arrays(out, "reconstruct", "reconstruct")


def test_identical_samples_have_ratio_one(tmp_path: Path, calibration: str) -> None:
    where = conditions(600, low=1, high=100)
    table = write_table(tmp_path / "r.h5", narrow(where, 1), where)
    for members in (1, 3):
        arrays, about = run(tmp_path, calibration, table, *[table] * members)
        np.testing.assert_allclose(arrays["ratios/mean"], 1, rtol=1e-12)
        np.testing.assert_allclose(arrays["ratios/statistical"], 0, atol=1e-12)
        pull = arrays["ratios/pull"]
        assert (np.isnan(pull) | (pull == 0)).all()
        systematic = arrays["ratios/systematic"]
        assert np.isnan(systematic).all() if members == 1 else (systematic < 1e-12).all()
        assert about["found"] == {"reference": 1.0, "members": [1.0] * members}


def test_the_planted_resolution_is_found_and_fitted(tmp_path: Path, calibration: str) -> None:
    where = conditions(4000, low=1, high=100)
    reference = write_table(tmp_path / "r.h5", narrow(where, 1), where)
    # Four members as good as the reference, with noise of their own.
    members = [write_table(tmp_path / f"{k}.h5", narrow(where, k), where) for k in (2, 3)]
    arrays, about = run(tmp_path, calibration, reference, *members)
    assert about["quantities"] == list(DETECTOR.results)
    energy = about["quantities"].index("energy_ratio")
    p = arrays["profiles/momentum/centre"]
    expected = np.hypot(STOCHASTIC / np.sqrt(p), CONSTANT)
    bias, resolution = arrays["profiles/momentum/reference"][:, energy]
    error = arrays["profiles/momentum/reference_error"][:, energy]
    np.testing.assert_allclose(bias, 1, atol=0.015)
    # A bin is 2.2 times as wide in |p| at its end as at its beginning.
    assert (np.abs(resolution - expected) < 4 * error[1] + 0.06 * expected).all()
    assert (error[1] / resolution < 0.08).all()
    fitted, fit_error = (
        arrays["fits/energy_resolution/reference"],
        arrays["fits/energy_resolution/reference_error"],
    )
    assert fitted[0] == pytest.approx(STOCHASTIC, abs=4 * fit_error[0] + 0.005)
    assert fitted[1] == pytest.approx(CONSTANT, abs=4 * fit_error[1] + 0.002)
    assert fit_error[0] < 0.01
    ratio = arrays["ratios/mean"][energy]
    assert ratio == pytest.approx(1, abs=4 * arrays["ratios/difference_error"][energy])
    assert abs(arrays["ratios/pull"][energy]) < 4


def test_a_planted_smearing_is_the_ratio(tmp_path: Path, calibration: str) -> None:
    where = conditions(2500, low=9.9, high=10.1)
    reference = write_table(tmp_path / "r.h5", narrow(where, 1), where)
    extras = (0.03, 0.06)
    members = [
        write_table(tmp_path / f"{k}.h5", narrow(where, 1 + k, extra), where)
        for k, extra in enumerate(extras, 1)
    ]
    arrays, _ = run(tmp_path, calibration, reference, *members, bins={"momentum": 1})
    own = np.hypot(STOCHASTIC / np.sqrt(10), CONSTANT)
    expected = np.hypot(own, extras) / own
    np.testing.assert_allclose(arrays["ratios/members"][:, 0], expected, rtol=0.08)
    assert arrays["ratios/mean"][0] == pytest.approx(expected.mean(), rel=0.06)
    assert arrays["ratios/systematic"][0] == pytest.approx(expected.std(ddof=1), rel=0.25)
    # The position does not know of the energy: the members are as good as the reference.
    np.testing.assert_allclose(arrays["ratios/members"][:, 1:], 1, atol=0.02)


def test_the_constants_are_frozen(tmp_path: Path, calibration: str) -> None:
    """A member 10 % too bright is reconstructed 10 % too bright, not calibrated away."""
    where = conditions(300, low=5, high=50)
    response = narrow(where, 1)
    reference = write_table(tmp_path / "r.h5", response, where)
    member = write_table(tmp_path / "m.h5", response * np.float32(1.1), where)
    arrays, about = run(tmp_path, calibration, reference, member)
    constants = read_json(calibration, "reconstruct")["calibration"]
    assert about["calibration"] == constants
    ratio = arrays["events/members"][0, :, 0] / arrays["events/reference"][:, 0]
    np.testing.assert_allclose(ratio, 1.1, rtol=0.02)
    for values, data in (
        (arrays["events/reference"], response),
        (arrays["events/members"][0], response * np.float32(1.1)),
    ):
        found = DETECTOR.reconstruct(data, where, constants)
        np.testing.assert_array_equal(values, np.column_stack(list(found.values())))
    again, _ = run(tmp_path, calibration, member, reference)
    np.testing.assert_array_equal(again["events/reference"], arrays["events/members"][0])


def test_what_is_not_found_is_counted_and_left_out(tmp_path: Path, calibration: str) -> None:
    where = conditions(200, low=5, high=50)
    response = narrow(where, 1)
    reference = write_table(tmp_path / "r.h5", response, where)
    response[::4] = 0
    member = write_table(tmp_path / "m.h5", response, where)
    arrays, about = run(tmp_path, calibration, reference, member)
    assert about["found"] == {"reference": 1.0, "members": [0.75]}
    assert np.isnan(arrays["events/members"][0, ::4]).all()
    assert np.isfinite(arrays["profiles/momentum/mean"]).all()
    response[:] = 0
    nothing = write_table(tmp_path / "n.h5", response, where)
    arrays, about = run(tmp_path, calibration, reference, nothing)
    assert about["found"]["members"] == [0.0]
    assert np.isnan(arrays["ratios/mean"]).all()


def test_pairs_of_identical_samples_are_alike(tmp_path: Path, calibration: str) -> None:
    where = conditions(500, low=1, high=100)
    table = write_table(tmp_path / "r.h5", narrow(where, 1), where)
    arrays, about = run(tmp_path, calibration, table, table, table)
    assert about["pairs"]["pairs"] == 250
    for part in ("found", "results"):
        np.testing.assert_array_equal(arrays[f"pairs/{part}/distance/difference"], 0)
    for name in ("mean", "difference", "statistical", "systematic"):
        np.testing.assert_array_equal(arrays[f"pairs/summary/{name}"], [0.0])
    # Showers of 6 mm: one cluster at 25 mm, two from 60 mm on, each with its own energy.
    share = arrays["pairs/found/distance/reference"][0, 0]
    assert share[0] < 0.2
    assert share[4:].min() == 1
    bias, resolution = arrays["pairs/results/distance/reference"]
    np.testing.assert_allclose(bias[:, 5:], 0, atol=0.02)
    assert (resolution[:, 5:] < 0.1).all()
    edges, centre = (arrays[f"pairs/found/distance/{name}"] for name in ("edges", "centre"))
    np.testing.assert_array_equal(edges, np.arange(20, 121, 10))
    assert ((centre > edges[:-1]) & (centre < edges[1:])).all()
    assert (arrays["pairs/found/distance/events"][2:] > 240).all()


def test_what_a_member_loses_is_the_difference_of_the_pairs(
    tmp_path: Path, calibration: str
) -> None:
    """A third of the showers is empty: of pairs that are far apart (2/3)^2 are found."""
    where = conditions(600, low=5, high=100)
    response = narrow(where, 1)
    reference = write_table(tmp_path / "r.h5", response, where)
    response[::3] = 0
    member = write_table(tmp_path / "m.h5", response, where)
    arrays, _ = run(tmp_path, calibration, reference, member)
    difference = arrays["pairs/found/distance/mean"] - arrays["pairs/found/distance/reference"]
    np.testing.assert_allclose(difference[0, 0, 5:], 4 / 9 - 1, atol=0.1)
    summary = arrays["pairs/summary/mean"]
    np.testing.assert_allclose(summary, difference[0].mean(axis=-1), rtol=1e-9)
    error = arrays["pairs/found/distance/difference_error"][0, 0, 5:]
    np.testing.assert_allclose(error, np.sqrt(4 / 9 * 5 / 9 / 300), rtol=0.35)
    assert abs(arrays["pairs/summary/pull"][0]) > 5


def test_a_pair_has_the_weights_of_both_and_a_few_events_are_enough(
    tmp_path: Path, calibration: str
) -> None:
    where = conditions(60, low=5, high=100)
    response = narrow(where, 1)
    table = write_table(tmp_path / "r.h5", response, where)
    empty = np.zeros(60)
    # Wherever a shower of weight 0 is empty, nobody sees it.
    empty[::4] = 1
    response[empty == 1] = 0
    member = write_table(tmp_path / "m.h5", response, where, weight=1 - empty)
    weighted = write_table(tmp_path / "w.h5", narrow(where, 1), where, weight=1 - empty)
    arrays, _ = run(tmp_path, calibration, weighted, member, bins={"momentum": 2})
    np.testing.assert_allclose(arrays["pairs/summary/mean"], [0.0], atol=1e-15)
    arrays, _ = run(tmp_path, calibration, table, member, bins={"momentum": 2})
    assert arrays["pairs/summary/mean"][0] < -0.1
    one = write_table(tmp_path / "one.h5", response[1:2], where[1:2])
    arrays, about = run(tmp_path, calibration, one, one, bins={"momentum": [1, 100]})
    assert about["pairs"]["pairs"] == 0
    assert np.isnan(arrays["pairs/summary/mean"]).all()


def test_joined_pairs_are_disjoint_and_lie_in_one_piece() -> None:
    words = np.random.default_rng(1).integers(0, 2**63, 107).astype(np.uint64)
    rows = join(words, 20)
    assert rows.shape == (53, 2)
    assert len(np.unique(rows)) == 106
    np.testing.assert_array_equal(rows[:, 0] // 20, rows[:, 1] // 20)
    assert (np.abs(rows[:, 1] - rows[:, 0]) > 3).any()
    np.testing.assert_array_equal(join(words[:20], 20), rows[:10])
    assert join(words[:1], 20).shape == (0, 2)


@pytest.mark.slow
def test_real_pairs_are_told_apart_the_better_the_farther(tmp_path: Path) -> None:
    with uproot.open(Path(__file__).parents[1] / "resources/ecal/quick.root") as file:
        tree = file["ecal"].arrays(["energy", *LAYOUT["conditions"]], library="np")
    response = np.where(tree["energy"] < 0.2, 0, tree["energy"])
    unit = (1, 1, 1, 10, 10, 10, 1)
    names = zip(DETECTOR.conditions, unit, strict=True)
    where = np.column_stack([tree[name] * factor for name, factor in names]).astype(np.float32)
    table = write_table(tmp_path / "r.h5", response, where)
    reconstruct.calibrate(table, str(tmp_path / "c.json"))
    arrays, _ = run(tmp_path, str(tmp_path / "c.json"), table, table)
    share = arrays["pairs/found/distance/reference"][0, 0]
    assert (np.diff(share) > -0.01).all()
    assert share[0] < 0.2
    assert share[-1] > 0.98
    # Near each other the softer shower gains what the harder one lost.
    bias, resolution = arrays["pairs/results/distance/reference"]
    assert (bias[1, 1:6] > bias[0, 1:6]).all()
    assert np.abs(bias[:, -1]).max() < 0.05
    assert (resolution[:, 0] > 1.5 * resolution[:, -1]).all()


def test_ratios_leave_out_bins_that_are_not_defined() -> None:
    reference = np.ones((3, 2, 2, 4))
    reference[:, 1, 0] = [1, 2, np.nan, 0]
    members = np.full((1, 3, 2, 2, 4), 4.0)
    members[:, :, 1, 1, 2] = np.nan
    one, mean = ratios(reference, members)
    assert (one == 1).all()
    np.testing.assert_allclose(mean[0], [[3, 4]] * 3)
    assert np.isnan(ratios(reference * np.nan, members)[1]).all()


def test_foreign_constants_are_refused(tmp_path: Path, calibration: str) -> None:
    where = conditions(20)
    table = write_table(tmp_path / "r.h5", narrow(where, 1), where)
    foreign = tmp_path / "foreign.json"
    for content, text in (
        ({"metrics": 1}, "not a calibration"),
        ({"detector": "tpc", "calibration": {}}, "calibrates 'tpc', the samples are of 'ecal'"),
    ):
        write_json(foreign, content)
        with pytest.raises(IntermediateError, match=text):
            run(tmp_path, str(foreign), table, table)
    with pytest.raises(IntermediateError, match="cannot be read"):
        run(tmp_path, str(tmp_path / "none.json"), table, table)
    assert not (tmp_path / "reconstruct.h5").exists()


def test_a_sample_without_showers_cannot_calibrate(tmp_path: Path) -> None:
    where = conditions(20)
    table = write_table(tmp_path / "r.h5", np.zeros((20, 30, 30), np.float32), where)
    with pytest.raises(InputError):
        reconstruct.calibrate(table, str(tmp_path / "c.json"))
    assert not (tmp_path / "c.json").exists()


def test_the_same_bytes_twice(tmp_path: Path, calibration: str) -> None:
    where = conditions(100, low=1, high=100)
    table = write_table(tmp_path / "r.h5", narrow(where, 1), where)
    member = write_table(tmp_path / "m.h5", narrow(where, 2), where)
    found = []
    for _ in range(2):
        run(tmp_path, calibration, table, member)
        found.append((tmp_path / "reconstruct.h5").read_bytes())
    assert found[0] == found[1]
