"""moments.run on showers whose moments are known, and ensembles whose spread was planted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samples import blobs, conditions, showers, write_table
from sosie import moments
from sosie.arrays import read_arrays, write_arrays
from sosie.bootstrap import binned_moments
from sosie.detectors.ecal import DETECTOR, momentum
from sosie.ensembles import statistical_error
from sosie.errors import InputError, IntermediateError
from sosie.events import SLAB
from sosie.moments import Array, Sums, histogram_edges, observe
from sosie.profiles import open_twins

ENERGY = list(DETECTOR.observables).index("total_energy")
RATIO = list(DETECTOR.observables).index("e_over_p")
BINS: dict[str, Any] = {"momentum": 4, "impact_x": [-20.0, 0.0, 10.0]}
SPREAD = 0.03


def run(tmp_path: Path, reference: str, *members: str, **other: Any) -> Any:
    out = tmp_path / "moments.h5"
    moments.run(reference, members, str(out), **{"seed": 1, "bins": BINS, "replicas": 40, **other})
    return read_arrays(out, "moments", "moments")


def test_moments_of_a_known_law(tmp_path: Path) -> None:
    """E_tot / |p| is 180 * 0.9 or 180 * 1.1 in turn: mean 180, standard deviation 18 in every bin."""
    where = conditions(400)
    sign = np.where(np.argsort(np.argsort(momentum(where))) % 2, 1.1, 0.9)
    reference = write_table(tmp_path / "r.h5", blobs(180 * momentum(where) * sign, where), where)
    member = write_table(tmp_path / "m.h5", blobs(150 * momentum(where), where), where)
    arrays, about = run(tmp_path, reference, member)
    found = arrays["profiles/momentum/reference"][:, RATIO]
    np.testing.assert_allclose(found[0], 180, rtol=1e-5)
    np.testing.assert_allclose(found[1], 18, rtol=1e-5)
    np.testing.assert_allclose(arrays["profiles/momentum/mean"][0, RATIO], 150, rtol=1e-5)
    np.testing.assert_allclose(arrays["profiles/momentum/mean"][1, RATIO], 0, atol=1e-3)
    np.testing.assert_allclose(arrays["profiles/momentum/difference"][0, RATIO], 30, rtol=1e-4)
    # The error of the mean of 100 events, and the pull of the reference.
    error = arrays["profiles/momentum/reference_error"][0, RATIO]
    np.testing.assert_allclose(error, 1.8, rtol=0.5)
    pull = arrays["profiles/momentum/pull"][0, RATIO]
    np.testing.assert_allclose(pull, 30 / error, rtol=0.01)
    assert np.isnan(arrays["profiles/momentum/systematic"]).all()
    assert about["quantities"][RATIO] == "e_over_p"
    assert (about["members"], about["events"]) == (1, 400)


def test_the_bins_are_those_of_numpy(tmp_path: Path) -> None:
    where = conditions(300)
    response, weight = showers(where), np.random.default_rng(1).uniform(0, 2, 300)
    reference = write_table(tmp_path / "r.h5", response, where, weight=weight)
    arrays, about = run(tmp_path, reference, reference)
    seen = DETECTOR.observe(response, where)
    impact = DETECTOR.variable(where.astype(np.float64))["impact_x"]
    for b, (low, high) in enumerate([(-20, 0), (0, 10)]):
        inside = (impact >= low) & (impact < high)
        assert arrays["profiles/impact_x/events"][b] == inside.sum()
        for index, name in enumerate(DETECTOR.observables):
            usable = inside & np.isfinite(seen[name])
            mean = np.average(seen[name][usable], weights=weight[usable])
            variance = np.average((seen[name][usable] - mean) ** 2, weights=weight[usable])
            found = arrays["profiles/impact_x/reference"][:, index, b]
            np.testing.assert_allclose(found, [mean, variance**0.5], rtol=1e-8, atol=1e-10)
    for name in DETECTOR.observables:
        edges = arrays[f"histograms/{name}/edges"]
        inside = (seen[name] >= edges[0]) & (seen[name] <= edges[-1])
        assert arrays[f"histograms/{name}/reference"].sum() == pytest.approx(weight[inside].sum())
        np.testing.assert_array_equal(
            arrays[f"histograms/{name}/members"][0], arrays[f"histograms/{name}/reference"]
        )
        assert about["undefined"][name] == np.count_nonzero(~np.isfinite(seen[name]))


def test_identical_samples_have_no_difference(tmp_path: Path) -> None:
    where = conditions(200)
    reference = write_table(tmp_path / "r.h5", showers(where), where)
    for members in (1, 3):
        arrays, _ = run(tmp_path, reference, *[reference] * members)
        for name in BINS:
            scale = np.abs(arrays[f"profiles/{name}/reference"])
            assert (np.abs(arrays[f"profiles/{name}/difference"]) <= 1e-12 * scale).all()
            pull = arrays[f"profiles/{name}/pull"]
            assert (np.isnan(pull) | (pull == 0)).all()


def test_the_planted_spread_is_found(tmp_path: Path) -> None:
    where = conditions(600)
    response = showers(where)
    factors = np.random.default_rng(8).normal(1, SPREAD, 6)
    reference = write_table(tmp_path / "r.h5", response, where)
    members = [
        write_table(tmp_path / f"{k}.h5", response * np.float32(factor), where)
        for k, factor in enumerate(factors)
    ]
    arrays, _ = run(tmp_path, reference, *members)
    part = {
        name: arrays[f"profiles/momentum/{name}"][0, ENERGY]
        for name in ("reference", "mean", "systematic")
    }
    planted = part["reference"] * factors.std(ddof=1)
    np.testing.assert_allclose(part["systematic"], planted, rtol=0.01)
    np.testing.assert_allclose(part["mean"], part["reference"] * factors.mean(), rtol=1e-5)
    each = arrays["profiles/momentum/members"][:, 0, ENERGY]
    np.testing.assert_allclose(each, part["reference"] * factors[:, None], rtol=1e-5)
    # The standard deviation of the energy scales as its mean; shares do not change at all.
    std = arrays["profiles/momentum/reference"][1, ENERGY]
    np.testing.assert_allclose(
        arrays["profiles/momentum/systematic"][1, ENERGY], std * factors.std(ddof=1), rtol=0.02
    )
    share = list(DETECTOR.observables).index("share_3x3")
    np.testing.assert_allclose(arrays["profiles/momentum/systematic"][0, share], 0, atol=1e-6)


def test_fluctuations_of_members_are_not_a_spread(tmp_path: Path) -> None:
    """Members that differ by their own noise alone: s is far below the spread of their means."""
    where = conditions(600)
    paths = [
        write_table(tmp_path / f"{seed}.h5", showers(where, seed, smear=0.1), where)
        for seed in range(9)
    ]
    arrays, _ = run(tmp_path, *paths, bins={"impact_y": 12})
    error = 180 * 0.1 / np.sqrt(50)
    s = arrays["profiles/impact_y/systematic"][0, RATIO]
    raw = arrays["profiles/impact_y/members"][:, 0, RATIO].std(axis=0, ddof=1)
    assert raw.mean() == pytest.approx(error, rel=0.25)
    assert np.sqrt((s**2).mean()) < 0.6 * error
    pull = arrays["profiles/impact_y/pull"][0, RATIO]
    assert np.isfinite(pull).all()
    assert 0.4 < np.sqrt((pull**2).mean()) < 1.7


def test_images_are_those_of_numpy(tmp_path: Path) -> None:
    where = conditions(150)
    response, weight = showers(where), np.linspace(0.1, 2, 150)
    reference = write_table(tmp_path / "r.h5", response, where, weight=weight)
    members = [write_table(tmp_path / f"{k}.h5", response * k, where) for k in (1, 2)]
    arrays, _ = run(tmp_path, reference, *members)
    data = response.astype(np.float64)
    mean = np.average(data, axis=0, weights=weight)
    std = np.sqrt(np.average((data - mean) ** 2, axis=0, weights=weight))
    np.testing.assert_allclose(arrays["images/reference/mean"], mean, rtol=1e-10)
    np.testing.assert_allclose(arrays["images/reference/std"], std, rtol=1e-5, atol=1e-6)
    for k in (1, 2):
        np.testing.assert_allclose(arrays["images/members/mean"][k - 1], k * mean, rtol=1e-6)
        np.testing.assert_allclose(
            arrays["images/members/std"][k - 1], k * std, rtol=1e-5, atol=1e-6
        )


def test_pieces_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pieces, the second short, and all in one give the same, as the plain formula does."""
    count = SLAB + 100
    where = conditions(count)
    weight = np.random.default_rng(1).normal(1, 0.3, count)
    reference = write_table(tmp_path / "r.h5", showers(where), where, weight=weight)
    member = write_table(tmp_path / "m.h5", showers(where, 5), where)
    found = run(tmp_path, reference, member)[0]
    monkeypatch.setattr(moments, "SLABS", 2)
    whole = run(tmp_path, reference, member)[0]
    assert found.keys() == whole.keys()
    for name, array in whole.items():
        scale = np.abs(array[np.isfinite(array)]).max(initial=1e-3)
        # The square root of the difference of squares in a spread that is none.
        tolerance = 1e-6 if "systematic" in name or "/std" in name else 1e-9
        np.testing.assert_allclose(found[name], array, rtol=1e-7, atol=tolerance * scale)
    with open_twins(reference, [member], 1, 40) as twins:
        (binning,) = twins.binnings({"momentum": 4}, "moments", index=True)
        values = observe(twins.reference, DETECTOR, where.astype(np.float64))
        drawn = binned_moments(values, weight, twins.counts, binning.index, 4)
    expected = np.stack([drawn.mean[0], drawn.std[0]])
    scale = np.abs(expected).max(axis=(0, 2), keepdims=True)
    off = np.abs(found["profiles/momentum/reference"] - expected) / np.where(scale, scale, 1)
    assert np.nanmax(off) < 1e-10
    np.testing.assert_allclose(
        found["profiles/momentum/reference_error"][0], statistical_error(drawn.mean), rtol=1e-8
    )


def write_results(path: Path, reference: Array, members: Array, **other: Any) -> str:
    """Two results for each event, the second one of a program of the user's own."""
    about = {
        "detector": "ecal",
        "quantities": ["energy_ratio", "theirs"],
        "labels": {"theirs": {"label": "$t$", "unit": "mm", "words": ""}},
        **other,
    }
    arrays = {"events/reference": reference, "events/members": members}
    write_arrays(path, "reconstruct", arrays, about)
    return str(path)


def test_results_of_the_reconstruction_follow_the_observables(tmp_path: Path) -> None:
    where = conditions(200)
    reference = write_table(tmp_path / "r.h5", showers(where), where)
    rng = np.random.default_rng(3)
    first, others = rng.normal(5, 2, (200, 2)), rng.normal(4, 1, (3, 200, 2))
    first[::10, 1] = np.nan
    path = write_results(tmp_path / "reconstruct.h5", first, others)
    arrays, about = run(tmp_path, *[reference] * 4, reconstruct=path)
    alone, plain = run(tmp_path, *[reference] * 4)
    number = len(DETECTOR.observables)
    assert about["quantities"] == [*DETECTOR.observables, "energy_ratio", "theirs"]
    assert about["labels"] == {"theirs": {"label": "$t$", "unit": "mm", "words": ""}}
    assert (about["undefined"]["theirs"], plain["labels"]) == (20, {})
    momenta = momentum(where)
    inside = momenta >= arrays["profiles/momentum/edges"][3]
    mine = first[inside, 1]
    expected = [np.nanmean(mine), np.nanstd(mine)]
    found = arrays["profiles/momentum/reference"][:, number + 1, 3]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(
        arrays["profiles/momentum/members"][:, 0, number:, 3],
        others[:, inside].mean(axis=1),
        rtol=1e-10,
    )
    histogram = arrays["histograms/theirs/members"]
    edges = arrays["histograms/theirs/edges"]
    for k in range(3):
        np.testing.assert_array_equal(histogram[k], np.histogram(others[k, :, 1], edges)[0])
    for name in BINS:
        for part in ("reference", "mean", "difference"):
            np.testing.assert_array_equal(
                arrays[f"profiles/{name}/{part}"][:, :number], alone[f"profiles/{name}/{part}"]
            )


def test_results_of_other_samples_are_refused(tmp_path: Path) -> None:
    where = conditions(60)
    reference = write_table(tmp_path / "r.h5", showers(where), where)
    path = tmp_path / "reconstruct.h5"
    good = np.zeros((60, 2)), np.zeros((1, 60, 2))
    clash = ["energy_ratio", "total_energy"]
    for first, others, other, error, text in (
        (good[0][:5], good[1], {}, IntermediateError, "was not made for the 60 events"),
        (good[0], np.zeros((2, 60, 2)), {}, IntermediateError, "and 1 members"),
        (*good, {"detector": "tpc"}, IntermediateError, "run reconstruct again"),
        (*good, {"quantities": clash}, InputError, "'total_energy' is the name of an observable"),
    ):
        write_results(path, first, others, **other)
        with pytest.raises(error, match=text) as raised:
            run(tmp_path, reference, reference, reconstruct=str(path))
        assert str(path) in str(raised.value)


def test_edges_come_from_events_all_over_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second half has ten times the energy: the histogram must reach it."""
    monkeypatch.setattr(moments, "EDGE_EVENTS", 50)
    where = conditions(200, low=10, high=10.01)
    total = np.repeat([1000.0, 10000.0], 100)
    reference = write_table(tmp_path / "r.h5", blobs(total, where), where)
    arrays, _ = run(tmp_path, reference, reference, bins={"impact_x": 2})
    assert arrays["histograms/total_energy/reference"].sum() > 150
    assert arrays["histograms/total_energy/edges"][[0, -1]] == pytest.approx([1000, 10000], rel=0.6)


def test_more_bins_than_events_can_carry(tmp_path: Path, capsys: Any) -> None:
    where = conditions(60)
    reference = write_table(tmp_path / "r.h5", showers(where), where)
    with pytest.raises(InputError, match=r"60 events for 8 bins .* moments\.bins\.momentum"):
        run(tmp_path, reference, reference, bins={"momentum": 8})
    run(tmp_path, reference, reference, bins={"momentum": [5.0, 5.1, 5.2, 100.0]})
    said = capsys.readouterr().err
    assert said.count("2 of 3 bins of momentum hold fewer than 10 events") == 1


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    where = conditions(60)
    reference = write_table(tmp_path / "r.h5", showers(where), where)
    member = write_table(tmp_path / "m.h5", showers(where, 5), where)
    found = []
    for _ in range(2):
        run(tmp_path, reference, member)
        found.append((tmp_path / "moments.h5").read_bytes())
    assert found[0] == found[1]


def test_edges_of_histograms() -> None:
    rng = np.random.default_rng(1)
    normal = histogram_edges(rng.normal(size=20000))
    assert len(normal) == 41
    np.testing.assert_allclose(normal[[0, -1]], [-2.576, 2.576], atol=0.15)
    whole = histogram_edges(rng.integers(3, 9, 1000).astype(float))
    np.testing.assert_allclose(whole, np.arange(3, 10) - 0.5)
    for odd in (np.full(5, 2.0), np.full(5, np.nan), np.array([1.0])):
        assert (np.diff(histogram_edges(odd)) > 0).all()


def test_histograms_leave_out_what_is_outside_or_undefined() -> None:
    values = np.linspace(0, 1, 1001)
    far = np.concatenate([values[:900], np.full(50, 7.0), np.full(51, np.nan)])
    edges = histogram_edges(values)
    inside = (values >= edges[0]) & (values <= edges[-1])
    for column, expected in ((values, inside.sum()), (far, inside[:900].sum())):
        sums = Sums((2,), [], [edges])
        sums.add(np.zeros((1001, 2)), column[:, None], np.ones(1001), [])
        assert sums.histograms[0].sum() == expected
        assert sums.undefined == np.count_nonzero(~np.isfinite(column))
