"""moments.run on showers whose moments are known, and ensembles whose spread was planted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samples import blobs, conditions, showers, write_table
from sosie import moments
from sosie.arrays import read_arrays
from sosie.detectors.ecal import DETECTOR, momentum
from sosie.events import Events, open_events
from sosie.moments import histogram_edges, histograms, images, observe

ENERGY = list(DETECTOR.observables).index("total_energy")
RATIO = list(DETECTOR.observables).index("e_over_p")
BINS: dict[str, Any] = {"momentum": 4, "impact_x": [-20.0, 0.0, 10.0]}
SPREAD = 0.03


def run(tmp_path: Path, reference: str, *members: str, **other: Any) -> Any:
    out = tmp_path / "moments.h5"
    moments.run(reference, members, str(out), **{"seed": 1, "bins": BINS, "replicas": 40, **other})
    return read_arrays(out, "moments", "moments")


def pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    own = Events.responses
    monkeypatch.setattr(Events, "responses", lambda self, _=0: own(self, size))


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
    where = conditions(50)
    reference = write_table(tmp_path / "r.h5", showers(where), where)
    with open_events(reference) as events:
        whole, pictures = observe(events, DETECTOR, where), images(events, np.ones(50))
        pieces(monkeypatch, 7)
        np.testing.assert_allclose(observe(events, DETECTOR, where), whole, rtol=1e-9, atol=1e-9)
        for one, other in zip(images(events, np.ones(50)), pictures, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


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
    found = histograms([values, far], np.ones(1001))
    inside = (values >= found["edges"][0]) & (values <= found["edges"][-1])
    assert found["reference"].sum() == inside.sum()
    assert found["members"][0].sum() == inside[:900].sum()
