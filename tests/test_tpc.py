"""Time projection chamber: observables, hits and clusters of responses whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
import uproot
from matplotlib.mathtext import MathTextParser

from sosie.detectors import tpc, tpc_hits, tpc_rows
from sosie.detectors.base import Array
from sosie.errors import InputError

SAMPLE = Path(__file__).parents[1] / "resources" / "tpc" / "quick.root"
DETECTOR = tpc.DETECTOR
EMPTY = np.zeros((1, 8, 16))


def segment(pad: float = 30.4, drift: float = 100.7, **others: float) -> Array:
    """Conditions (1, 7) of a track that crosses its pad row at this pad coordinate and drift length."""
    values = {"crossing_angle": 5.0, "dip_angle": 20.0, "drift_length": drift}
    values |= {"pad_coordinate": pad, "pad_height": 12.0, "pt": 0.5, "pdg": 211.0, **others}
    return np.array([[values[name] for name in DETECTOR.conditions]])


def single(cells: dict[tuple[int, int], float]) -> Array:
    """One response (1, 8, 16) with the given charges in ADC."""
    response = EMPTY.copy()
    for cell, charge in cells.items():
        response[0][cell] = charge
    return response


def shared(pad: Array, bucket: Array, conditions: Array, charge: float = 100.0) -> Array:
    """Responses (N, 8, 16) of 2 x 2 cells whose charge-weighted mean is this pad and bucket."""
    pad0, bucket0 = tpc_rows.corner(conditions)
    u, v = np.asarray(pad) - pad0, np.asarray(bucket) - bucket0
    response = np.zeros((len(conditions), 8, 16))
    i, j, n = np.floor(u).astype(int), np.floor(v).astype(int), np.arange(len(conditions))
    for a, share_a in ((0, 1 - (u - i)), (1, u - i)):
        for b, share_b in ((0, 1 - (v - j)), (1, v - j)):
            response[n, i + a, j + b] = charge * share_a * share_b
    return response


def gaussian(conditions: Array, widths: tuple[float, float] = (0.5, 1.2), total: float = 500.0):
    """Responses (N, 8, 16): a Gaussian about the true position of each."""
    pad0, bucket0 = tpc_rows.corner(conditions)
    u = np.arange(8) - (conditions[:, 3] - pad0)[:, None]
    v = np.arange(16) - (conditions[:, 2] - bucket0)[:, None]
    x, t = (np.exp(-0.5 * (w / s) ** 2) for w, s in zip((u, v), widths, strict=True))
    response = x[:, :, None] * t[:, None, :]
    return total * response / response.sum(axis=(1, 2), keepdims=True)


@pytest.fixture(scope="module")
def sample() -> tuple[Array, Array]:
    """Responses and conditions of the sample that ships with the project."""
    with uproot.open(SAMPLE) as file:
        columns = file["responses"].arrays(library="np")
    conditions = np.column_stack([columns[name] for name in DETECTOR.conditions])
    return columns["response"], conditions.astype(np.float32)


def half68(values: Array) -> float:
    return float(np.diff(np.nanquantile(values, (0.15865, 0.84135)))[0] / 2)


def test_observables_of_two_cells_follow_from_their_definition() -> None:
    # pad0 = 30 - 3, bucket0 = 100 - 7: the cells (3, 7) and (5, 8) are pads 30, 32 and buckets 100, 101.
    seen = DETECTOR.observe(single({(3, 7): 30.0, (5, 8): 10.0}), segment(30.4, 100.7))
    expected = {
        "bary_pad": 30.5 - 30.4,
        "bary_time": 100.25 - 100.7,
        "var_pad": 0.25 * 0.75 * 4,
        "var_time": 0.25 * 0.75,
        "cov": 0.25 * 0.75 * 2,
        "amplitude": 40.0,
        "log_amplitude": np.log10(40.0),
        "cells": 2 / 128,
    }
    assert list(seen) == list(DETECTOR.observables)
    for name, value in expected.items():
        np.testing.assert_allclose(seen[name], value, rtol=1e-12, atol=1e-12, err_msg=name)


def test_observables_do_not_depend_on_the_integer_parts_of_the_place() -> None:
    response = gaussian(segment(30.4, 100.7))
    here, there = (DETECTOR.observe(response, segment(*p)) for p in ((30.4, 100.7), (7.4, 3.7)))
    for name in DETECTOR.observables:
        np.testing.assert_allclose(here[name], there[name], atol=1e-9, err_msg=name)


def test_empty_response_has_charge_and_cells_only() -> None:
    seen = DETECTOR.observe(EMPTY, segment())
    assert seen["amplitude"] == seen["cells"] == 0
    undefined = {name for name, values in seen.items() if np.isnan(values).all()}
    assert undefined == set(DETECTOR.observables) - {"amplitude", "cells"}
    hit = DETECTOR.reconstruct(EMPTY, segment(), {"offset_x": 0.0, "offset_z": 0.0})
    assert hit["hit_found"] == 0
    assert np.isnan([hit["residual_x"], hit["residual_z"]]).all()


def test_features_are_the_same_wherever_the_row_is_crossed() -> None:
    np.testing.assert_allclose(
        DETECTOR.features(segment(30.25, 100.5)) - DETECTOR.features(segment(77.25, 40.5)),
        [[0, 0, 0, 0, 60, 0, 0]],
        atol=1e-12,
    )
    assert DETECTOR.features(segment()).shape == (1, len(DETECTOR.feature_names))


def test_beta_gamma_is_momentum_over_mass() -> None:
    pt, dip = 0.4, 60.0
    for pdg, mass in ((211, 0.1395704), (-321, 0.493677), (2212, 0.9382721)):
        found = tpc.log_beta_gamma(segment(pt=pt, dip_angle=dip, pdg=pdg))
        np.testing.assert_allclose(10**found, pt / 0.5 / mass, rtol=1e-9)


@pytest.mark.parametrize("pdg", [0.0, 12345.0, np.nan])
def test_unknown_species_is_taken_for_a_pion(pdg: float) -> None:
    found = DETECTOR.features(segment(pdg=pdg))
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, DETECTOR.features(segment(pdg=-211.0)))


def test_momenta_in_mev_are_beyond_the_limits() -> None:
    low, high = DETECTOR.limits["pt"]
    assert low < 0.2 < 2.0 < high
    assert high < 200.0


def test_hit_of_a_response_lies_at_its_charge_weighted_mean() -> None:
    # A pad is 5 mm, a bucket 5.5 mm of drift, and drift goes down in z.
    conditions = segment(30.4, 100.7)
    seen = DETECTOR.reconstruct(
        shared(np.array([30.6]), np.array([100.2]), conditions),
        conditions,
        {"offset_x": 0.1, "offset_z": 0.0},
    )
    np.testing.assert_allclose(seen["residual_x"], 0.2 * 5 - 0.1)
    np.testing.assert_allclose(seen["residual_z"], 0.5 * 5.5)
    assert seen["hit_found"] == 1


def test_hit_beyond_reach_is_not_found() -> None:
    conditions = np.vstack([segment(30.4, 100.7)] * 3)
    at = shared(np.array([31.3, 31.5, 30.4]), np.array([100.7, 100.7, 102.8]), conditions)
    seen = DETECTOR.reconstruct(at, conditions, {"offset_x": 0.0, "offset_z": 0.0})
    np.testing.assert_array_equal(seen["hit_found"], [1, 0, 0])
    np.testing.assert_array_equal(np.isnan(seen["residual_x"]), [False, True, True])


def test_calibration_finds_planted_offsets_and_errors() -> None:
    rng = np.random.default_rng(3)
    n = 40_000
    conditions = np.vstack([segment()] * n)
    conditions[:, 0] = rng.uniform(-30, 30, n)
    conditions[:, 1] = rng.uniform(-55, 55, n)
    conditions[:, 2:4] = rng.uniform((5, 20), (290, 100), (n, 2))
    crossing, dip = np.radians(conditions[:, :2]).T
    squares = (
        0.02 + 2e-4 * conditions[:, 2] + 0.1 * 12 * np.tan(crossing) ** 2,
        0.1 + 1e-3 * conditions[:, 2] + 0.1 * 12 * (np.tan(dip) / np.cos(crossing)) ** 2,
    )
    x, z = (rng.normal(0, np.sqrt(square)) for square in squares)
    pad, bucket = conditions[:, 3] + (x + 0.05) / 5, conditions[:, 2] - (z - 0.1) / 5.5
    found = DETECTOR.calibrate([(shared(pad, bucket, conditions), conditions)])
    assert found["offset_x"] == pytest.approx(0.05, abs=0.02)
    assert found["offset_z"] == pytest.approx(-0.1, abs=0.03)
    errors = tpc_hits.errors(conditions, found)
    for error, square in zip(errors, squares, strict=True):
        np.testing.assert_allclose(np.median(error / np.sqrt(square)), 1, atol=0.03)
        assert np.abs(error / np.sqrt(square) - 1).max() < 0.15


def test_calibration_without_a_hit_says_what_to_check() -> None:
    with pytest.raises(InputError, match=r"none of 1 responses has a hit .* check pad_coordinate"):
        DETECTOR.calibrate([(EMPTY, segment())])


def test_overlay_puts_responses_back_on_their_rows_and_sums_them() -> None:
    # Windows that begin at pads 27 and 29 and buckets 93 and 95: cell (2, 2) of the first is (0, 0)
    # of the second; in another plane it stays alone.
    conditions = np.vstack([segment(30.4, 100.7), segment(32.1, 102.2), segment(32.1, 102.2)])
    response = np.vstack([single({(2, 2): 5.0, (3, 2): 1.0}), *[single({(0, 0): 7.0})] * 2])
    cells = tpc_rows.overlay(response, conditions, np.array([0, 0, 1]))
    np.testing.assert_array_equal(cells.plane, [0, 0, 1])
    np.testing.assert_array_equal(cells.pad, [29, 30, 29])
    np.testing.assert_array_equal(cells.bucket, [95, 95, 95])
    np.testing.assert_array_equal(cells.charge, [12, 1, 7])


def test_overlay_knows_pads_and_buckets_below_zero() -> None:
    cells = tpc_rows.overlay(single({(0, 0): 1.0}), segment(1.5, 2.5), np.array([4]))
    assert (cells.plane, cells.pad, cells.bucket) == (4, -2, -5)


def test_clusters_divide_shared_charge_along_the_valley() -> None:
    ridge = {(1, 5): 10.0, (2, 5): 40.0, (3, 5): 8.0, (4, 5): 6.0, (5, 5): 30.0, (6, 5): 9.0}
    cells = tpc_rows.overlay(single(ridge), segment(30.0, 100.0), np.array([0]))
    found = tpc_rows.find_clusters(cells)
    np.testing.assert_array_equal(found.charge, [58, 45])
    np.testing.assert_allclose(
        found.pad, [(28 * 10 + 29 * 40 + 30 * 8) / 58, (31 * 6 + 32 * 30 + 33 * 9) / 45]
    )
    np.testing.assert_array_equal(found.bucket, [98, 98])


def test_cells_that_meet_at_a_corner_are_one_cluster_and_a_plateau_has_one_top() -> None:
    conditions = segment(30.0, 100.0)
    corner = single({(2, 4): 3.0, (3, 5): 2.0})
    plateau = single({(2, 4): 3.0, (2, 5): 3.0, (3, 4): 3.0})
    for response, charge in ((corner, 5.0), (plateau, 9.0)):
        cells = tpc_rows.overlay(response, conditions, np.array([0]))
        np.testing.assert_array_equal(tpc_rows.find_clusters(cells).charge, [charge])


def test_no_charge_gives_no_cluster() -> None:
    cells = tpc_rows.overlay(EMPTY, segment(), np.array([0]))
    assert len(tpc_rows.find_clusters(cells).charge) == 0
    assert tpc_hits.overlaid_hits(EMPTY, segment(), np.array([0])).charge == 0


def test_alone_the_hit_of_an_overlay_is_that_of_the_response(sample: tuple[Array, Array]) -> None:
    response, conditions = (column[:500] for column in sample)
    alone = tpc_hits.single_hits(response, conditions)
    overlaid = tpc_hits.overlaid_hits(response, conditions, np.arange(500))
    np.testing.assert_allclose(overlaid.charge, alone.charge, rtol=1e-6)
    np.testing.assert_allclose(overlaid.pad, alone.pad, rtol=1e-7)
    np.testing.assert_allclose(overlaid.bucket, alone.bucket, rtol=1e-7)


def test_two_tracks_of_a_row_keep_their_hits_apart_until_they_merge() -> None:
    for distance, number in ((4.0, 2), (0.6, 1)):
        conditions = np.vstack([segment(30.3, 100.7), segment(30.3 + distance, 100.7)])
        hits = tpc_hits.overlaid_hits(gaussian(conditions), conditions, np.zeros(2, int))
        assert np.isfinite(hits.residuals(conditions)[0]).sum() == number
    far = np.vstack([segment(30.3, 100.7), segment(36.3, 100.7)])
    alone = tpc_hits.single_hits(gaussian(far), far)
    both = tpc_hits.overlaid_hits(gaussian(far), far, np.zeros(2, int))
    np.testing.assert_allclose(both.pad, alone.pad, atol=1e-3)


def test_geometry_of_the_sector() -> None:
    assert tpc_rows.ROWS == len(tpc_rows.ROW_Y) == 53
    assert tpc_rows.ROW_PADS[[0, 23, 52]].tolist() == [40, 70, 122]
    np.testing.assert_allclose(tpc_rows.ROW_Y[[0, 26, 27, 52]], [409, 721, 736, 1186])
    np.testing.assert_allclose(tpc_rows.pad_x(np.array([19.5, 20.5]), np.array([0, 0])), [0, 5])
    np.testing.assert_allclose(tpc_rows.bucket_z(np.array([0, 100])), [1630, 1080])


def test_hits_of_the_shipped_sample(sample: tuple[Array, Array]) -> None:
    # 0.31 mm and 0.96 mm in the description of the data; 10 000 rows know a width to 2 %.
    constants = DETECTOR.calibrate([sample])
    seen = DETECTOR.reconstruct(*sample, constants)
    assert half68(seen["residual_x"]) == pytest.approx(0.313, rel=0.05)
    assert half68(seen["residual_z"]) == pytest.approx(0.965, rel=0.05)
    assert seen["hit_found"].mean() > 0.995
    for name, error in zip("xz", tpc_hits.errors(sample[1], constants), strict=True):
        assert half68(seen[f"residual_{name}"] / error) == pytest.approx(1, abs=0.06)


def test_shipped_sample_lies_within_limits_and_windows(sample: tuple[Array, Array]) -> None:
    for (low, high), name in ((v, k) for k, v in DETECTOR.limits.items()):
        column = sample[1][:, list(DETECTOR.conditions).index(name)]
        assert low < column.min() <= column.max() < high
    with uproot.open(SAMPLE) as file:
        there = file["responses"].arrays(["pad0", "time0"], library="np")
    pad0, bucket0 = tpc_rows.corner(sample[1])
    np.testing.assert_array_equal(pad0, there["pad0"])
    np.testing.assert_array_equal(bucket0, there["time0"])


def test_contract_holds_together(sample: tuple[Array, Array]) -> None:
    response, conditions = (column[:50] for column in sample)
    assert set(DETECTOR.pseudo_chi2) <= set(DETECTOR.observables)
    assert set(DETECTOR.limits) <= set(DETECTOR.conditions)
    assert list(DETECTOR.variable(conditions)) == list(DETECTOR.variables)
    results = DETECTOR.reconstruct(response, conditions, DETECTOR.calibrate([sample]))
    assert set(results) == {*DETECTOR.results, *DETECTOR.rates}
    named = (DETECTOR.variables, DETECTOR.observables, DETECTOR.results, DETECTOR.rates)
    for quantity in (q for group in named for q in group.values()):
        MathTextParser("agg").parse(quantity.axis)
