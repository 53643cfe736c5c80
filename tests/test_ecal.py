"""Calorimeter: observables and reconstruction against showers whose answer is known."""

import json
from pathlib import Path

import numpy as np
import pytest
import uproot
from matplotlib.mathtext import MathTextParser
from scipy.optimize import nnls

from sosie.detectors import clusters, ecal, ecal_clusters, pairs
from sosie.detectors.base import Array
from sosie.errors import InputError

SAMPLE = Path(__file__).parents[1] / "resources" / "ecal" / "quick.root"
DETECTOR = ecal.DETECTOR


def particle(p: float = 10.0, tan: tuple[float, float] = (0.0, 0.0), impact=(0.0, 0.0)) -> Array:
    """Conditions (1, 7) of a particle that crosses `impact` at 127 mm depth."""
    pz = p / np.sqrt(1 + tan[0] ** 2 + tan[1] ** 2)
    entry = np.asarray(impact) - 127.0 * np.asarray(tan)
    return np.array([[tan[0] * pz, tan[1] * pz, pz, *entry, 0.0, 11.0]])


def blob(centre=(0.0, 0.0), widths=(40.0, 40.0), azimuth: float = 0.0) -> Array:
    """A Gaussian (1, 30, 30) of 1000 MeV at the cell centres, with its widths along u and v."""
    x, y = np.meshgrid(ecal.CENTRES - centre[0], ecal.CENTRES - centre[1], indexing="ij")
    u = x * np.cos(azimuth) + y * np.sin(azimuth)
    v = -x * np.sin(azimuth) + y * np.cos(azimuth)
    density = np.exp(-0.5 * (u / widths[0]) ** 2 - 0.5 * (v / widths[1]) ** 2)
    return 1000 * density[None] / density.sum()


def single(cells: dict[tuple[int, int], float]) -> Array:
    """One shower (1, 30, 30) with the given energies in MeV."""
    response = np.zeros((1, 30, 30))
    for cell, energy in cells.items():
        response[0][cell] = energy
    return response


def observe_one(response: Array, conditions: Array) -> dict[str, float]:
    return {name: values.item() for name, values in DETECTOR.observe(response, conditions).items()}


def exponential(place: Array, b: float) -> Array:
    """Integrals (N, 30) over the cells of exp(-|x - place| / b) / (2 b)."""
    edges = (np.arange(31) - 15) * 20.0 - place[:, None]
    return np.diff(np.sign(edges) * (1 - np.exp(-np.abs(edges) / b)) / 2, axis=1)


@pytest.fixture(scope="module")
def planted() -> tuple[Array, Array]:
    """6000 exponential showers: b = 4 mm in x, 3 mm in y; 177 MeV/GeV, 7 %/sqrt(E) (+) 1 %."""
    rng = np.random.default_rng(1)
    n = 6000
    p = np.exp(rng.uniform(0, np.log(100), n))
    impact = rng.uniform(-40, 40, (n, 2))
    smearing = 1 + rng.normal(size=n) * np.hypot(0.07 / np.sqrt(p), 0.01)
    profile = exponential(impact[:, 0], 4.0)[:, :, None] * exponential(impact[:, 1], 3.0)[:, None]
    response = (177 * p * smearing)[:, None, None] * profile
    conditions = np.zeros((n, 7))
    conditions[:, 2:5] = np.column_stack([p, impact])
    return response.astype(np.float32), conditions


def test_features_and_variables_by_hand():
    conditions = np.array([[3.0, 0.0, 4.0, 5.0, -7.0, 0.0, 11.0]], dtype=np.float32)
    np.testing.assert_allclose(DETECTOR.features(conditions), [[np.log(5), 0.75, 0, 5, -7]])
    np.testing.assert_allclose(DETECTOR.scale(conditions), [5.0])
    values = {name: value.item() for name, value in DETECTOR.variable(conditions).items()}
    expected = {
        "momentum": 5.0,
        "angle": np.degrees(np.arctan(0.75)),
        "impact_x": 5 + 0.75 * 127,
        "impact_y": -7.0,
        "cell_x": 5 + 0.75 * 127 - 110,
        "cell_y": 3.0,
    }
    assert values == pytest.approx(expected, rel=1e-6)


def test_names_and_labels():
    response, conditions = blob(), particle()
    calibration = DETECTOR.calibrate([(response, conditions)])
    assert list(DETECTOR.observe(response, conditions)) == list(DETECTOR.observables)
    assert list(DETECTOR.variable(conditions)) == list(DETECTOR.variables)
    assert list(DETECTOR.reconstruct(response, conditions, calibration)) == list(DETECTOR.results)
    assert DETECTOR.features(conditions).shape == (1, len(DETECTOR.feature_names))
    assert conditions.shape == (1, len(DETECTOR.conditions))
    quantities = [*DETECTOR.variables.values(), *DETECTOR.observables.values()]
    parse = MathTextParser("path").parse
    for quantity in [*quantities, *DETECTOR.results.values(), *DETECTOR.axes]:
        parse(quantity.axis)
    for fit in DETECTOR.fits.values():
        parse(fit.formula)


@pytest.mark.parametrize("azimuth", [0.0, 0.5, np.pi / 4, 2.0])
def test_an_isotropic_blob_has_one_width_at_every_azimuth(azimuth):
    tan = (0.2 * np.cos(azimuth), 0.2 * np.sin(azimuth))
    seen = observe_one(blob((3.0, -8.0)), particle(tan=tan, impact=(3.0, -8.0)))
    assert seen["width_long"] == pytest.approx(40, rel=1e-4)
    assert seen["width_trans"] == pytest.approx(40, rel=1e-4)
    assert (seen["bary_x"], seen["bary_y"]) == pytest.approx((0, 0), abs=1e-6)
    assert seen["cov_xy"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("azimuth", [0.0, 0.5, np.pi / 4, 2.0])
def test_an_elongated_blob_has_its_widths_along_its_axes(azimuth):
    tan = (0.2 * np.cos(azimuth), 0.2 * np.sin(azimuth))
    seen = observe_one(blob(widths=(45.0, 25.0), azimuth=azimuth), particle(tan=tan))
    assert seen["width_long"] == pytest.approx(45, rel=1e-4)
    assert seen["width_trans"] == pytest.approx(25, rel=1e-4)
    cos, sin = np.cos(azimuth), np.sin(azimuth)
    assert seen["var_x"] == pytest.approx((45 * cos) ** 2 + (25 * sin) ** 2, rel=1e-4)
    assert seen["var_y"] == pytest.approx((45 * sin) ** 2 + (25 * cos) ** 2, rel=1e-4)
    assert seen["cov_xy"] == pytest.approx((45**2 - 25**2) * cos * sin, rel=1e-4, abs=1e-3)


def test_a_shifted_blob_moves_the_barycentre_by_the_shift():
    at_rest = observe_one(blob((1.0, 2.0)), particle())
    shifted = observe_one(blob((1.0 + 13.0, 2.0 - 9.0)), particle())
    assert shifted["bary_x"] - at_rest["bary_x"] == pytest.approx(13, abs=1e-6)
    assert shifted["bary_y"] - at_rest["bary_y"] == pytest.approx(-9, abs=1e-6)
    impact = observe_one(blob((1.0, 2.0)), particle(impact=(4.0, -5.0)))
    assert (impact["bary_x"], impact["bary_y"]) == pytest.approx((-3, 7), abs=1e-6)


def test_a_shower_in_one_cell():
    seen = observe_one(single({(17, 12): 400.0}), particle(p=2.0, tan=(0.1, 0.0), impact=(45, -60)))
    assert seen["total_energy"] == 400
    assert seen["e_over_p"] == pytest.approx(200)
    assert (seen["bary_x"], seen["bary_y"]) == pytest.approx((5, 10))
    for name in ("var_x", "var_y", "cov_xy"):
        assert seen[name] == pytest.approx(0, abs=1e-9)
    for name in ("width_long", "width_trans"):
        assert seen[name] == pytest.approx(0, abs=1e-4)
    assert (seen["asym_long"], seen["asym_trans"]) == (1, 1)
    assert seen["cells_5mev"] == 1
    for name in ecal.SPARSITY:
        assert seen[name] == 1 / 900
    for name in ("max_share", "share_3x3", "share_5x5", "share_9", "share_25"):
        assert seen[name] == 1


def test_asymmetries_by_hand():
    response = single({(20, 15): 30.0, (10, 15): 10.0, (15, 20): 20.0, (15, 10): 40.0})
    # Flying along +x: plus is x > 0; v = +y. The impact point is off the lines of cell centres.
    along_x = observe_one(response, particle(tan=(0.1, 0.0), impact=(0.0, 0.0)))
    assert along_x["asym_long"] == pytest.approx((30 + 20 + 40 - 10) / 100)
    assert along_x["asym_trans"] == pytest.approx((30 + 10 + 20 - 40) / 100)
    # Flying along -y: u = -y, v = +x; the split moves with the impact point.
    along_y = observe_one(response, particle(tan=(0.0, -0.1), impact=(15.0, 15.0)))
    assert along_y["asym_long"] == pytest.approx((40 + 30 + 10 - 20) / 100)
    assert along_y["asym_trans"] == pytest.approx((30 - 10 - 20 - 40) / 100)


def test_sparsity_and_shares_of_equal_cells():
    k = 49
    response = np.zeros((1, 30, 30))
    response[0, 4:11, 4:11] = 7.0
    seen = observe_one(response, particle())
    for name, alpha in zip(ecal.SPARSITY, np.logspace(-4, -1, 20), strict=True):
        assert seen[name] == pytest.approx(k / 900 if 1 / k >= alpha else 0)
    assert seen["cells_5mev"] == k
    assert seen["max_share"] == pytest.approx(1 / k)
    assert seen["share_9"] == pytest.approx(9 / k)
    assert seen["share_25"] == pytest.approx(25 / k)
    # The first of the equal cells leads: a quarter of its squares lies in the shower.
    assert seen["share_3x3"] == pytest.approx(4 / k)
    assert seen["share_5x5"] == pytest.approx(9 / k)


def test_leading_cells_of_unequal_ones():
    energies = np.random.default_rng(4).permutation(np.arange(1.0, 901.0))
    seen = observe_one(energies.reshape(1, 30, 30), particle())
    total = 900 * 901 / 2
    assert seen["max_share"] == pytest.approx(900 / total)
    assert seen["share_9"] == pytest.approx(np.arange(892, 901).sum() / total)
    assert seen["share_25"] == pytest.approx(np.arange(876, 901).sum() / total)


def test_squares_are_cut_at_the_edge():
    response = single({(0, 29): 50.0, (1, 28): 20.0, (2, 27): 5.0, (0, 0): 10.0, (29, 29): 15.0})
    seen = observe_one(response, particle())
    assert seen["share_3x3"] == pytest.approx(0.7)
    assert seen["share_5x5"] == pytest.approx(0.75)
    assert seen["cells_5mev"] == 4


@pytest.mark.parametrize(("tangent", "defined"), [(0.0, False), (0.9e-3, False), (1.1e-3, True)])
def test_the_axis_needs_transverse_momentum(tangent, defined):
    seen = observe_one(blob(), particle(tan=(0.6 * tangent, 0.8 * tangent)))
    undefined = {name for name, value in seen.items() if np.isnan(value)}
    assert undefined == (set() if defined else set(ecal.NEEDS_AXIS))


def test_an_empty_shower_is_undefined_but_for_its_energy():
    seen = observe_one(np.zeros((1, 30, 30), np.float32), particle(tan=(0.1, 0.1)))
    for name in ("total_energy", "e_over_p", "cells_5mev"):
        assert seen.pop(name) == 0
    assert np.isnan(list(seen.values())).all()


def test_a_particle_that_flies_away_has_no_impact_point():
    conditions = particle(tan=(0.1, 0.1)) * [1, 1, -1, 1, 1, 1, 1]
    seen = observe_one(blob(), conditions)
    assert np.isnan([seen["bary_x"], seen["asym_long"], seen["width_long"]]).all()
    assert seen["total_energy"] == pytest.approx(1000)
    assert np.isnan(DETECTOR.variable(conditions)["impact_x"]).all()


def test_two_seeds_split_shared_cells_and_conserve_the_energy():
    middle = {(11, 9): 40.0, (11, 10): 60.0, (11, 11): 20.0}
    cells = {(10, 10): 100.0, (12, 10): 300.0, (9, 9): 7.0, (13, 11): 9.0, **middle}
    found = clusters.find_clusters(single(cells), 50.0, 20.0)
    np.testing.assert_array_equal(np.column_stack([found.ix, found.iy]), [[10, 10], [12, 10]])
    np.testing.assert_allclose(found.energy, [100 + 7 + 120 / 4, 300 + 9 + 120 * 3 / 4])
    assert found.energy.sum() == pytest.approx(sum(cells.values()))
    np.testing.assert_allclose(found.dx * found.energy / 20, [30 - 7, 9 - 90])
    np.testing.assert_allclose(found.dy * found.energy / 20, [-5 - 7, -15 + 9])


def test_three_clusters_may_share_one_cell():
    cells = {(10, 10): 100.0, (12, 12): 200.0, (10, 12): 300.0, (11, 11): 60.0}
    found = clusters.find_clusters(single(cells), 50.0, 20.0)
    np.testing.assert_allclose(found.energy, [110, 350 - 20, 200 + 20])


def test_local_maxima_in_ties_and_corners():
    response = np.concatenate(
        [
            single({(5, 5): 80.0, (5, 6): 80.0}),
            single({(5, 6): 80.0, (6, 5): 80.0}),
            single({(0, 0): 80.0, (29, 29): 90.0, (0, 29): 30.0}),
            single({}),
        ]
    )
    event, ix, iy = clusters.local_maxima(response, 50.0)
    np.testing.assert_array_equal(event, [0, 1, 2, 2])
    np.testing.assert_array_equal(ix, [5, 5, 0, 29])
    np.testing.assert_array_equal(iy, [5, 6, 0, 29])


def test_the_shower_is_the_cluster_of_largest_energy():
    wide = {(20 + i, 20 + j): 60.0 for i in (-1, 0, 1) for j in (-1, 0, 1)} | {(20, 20): 90.0}
    response = np.concatenate([single({(5, 5): 100.0, **wide}), single({}), single({(3, 3): 70})])
    best = clusters.leading(clusters.find_clusters(response, 50.0, 20.0))
    np.testing.assert_array_equal(best.event, [0, 2])
    np.testing.assert_array_equal(best.ix, [20, 3])
    np.testing.assert_allclose(best.energy, [8 * 60 + 90, 70])


def test_s_shape_keeps_centre_and_borders_and_inverts_the_profile():
    np.testing.assert_allclose(clusters.s_shape(np.array([-10, 0, 10.0]), 3.0, 10.0), [-10, 0, 10])
    place = np.linspace(-10, 10, 41)
    offset = exponential(place + 10, 5.0) @ (ecal.CENTRES - 10)
    np.testing.assert_allclose(clusters.s_shape(offset, 5.0, 10.0), place, atol=1e-6)


def test_reconstruction_recovers_position_and_energy(planted):
    response, conditions = planted
    half = len(response) // 2
    calibration = json.loads(json.dumps(DETECTOR.calibrate([(response[:half], conditions[:half])])))
    # Profiles narrow enough that three cells hold all but 0.4 % of the energy.
    assert calibration["b_x"] == pytest.approx(4, rel=0.02)
    assert calibration["b_y"] == pytest.approx(3, rel=0.02)
    response, conditions = response[half:], conditions[half:]
    results = DETECTOR.reconstruct(response, conditions, calibration)
    found = clusters.find_clusters(response, ecal_clusters.SEED_THRESHOLD, ecal.PITCH)
    assert len(found.event) == len(response)
    for axis, cell, offset in (("x", found.ix, found.dx), ("y", found.iy, found.dy)):
        impact = conditions[:, 3 if axis == "x" else 4]
        raw = clusters.half_width(ecal.CENTRES[cell] + offset - impact)
        residual = results[f"residual_{axis}"]
        assert abs(residual.mean()) < 0.05
        assert clusters.half_width(residual) < raw / 10
    ratio = results["energy_ratio"]
    assert np.median(ratio) == pytest.approx(1, abs=0.005)
    p = DETECTOR.variable(conditions)["momentum"]
    index = np.digitize(p, np.geomspace(1, 100, 11)) - 1
    energies = np.array([1 / np.mean(1 / p[index == k]) for k in range(10)])
    widths = np.array([clusters.half_width(ratio[index == k]) for k in range(10)])
    a, b = DETECTOR.fits["energy_resolution"].solve(energies, widths)
    assert a == pytest.approx(0.07, rel=0.05)
    assert b == pytest.approx(0.01, abs=0.004)


def test_a_shower_without_a_seed_is_nan(planted):
    response, conditions = planted
    calibration = DETECTOR.calibrate([(response[:200], conditions[:200])])
    faint = response[:3] * np.array([1, 0, 1e-4], np.float32)[:, None, None]
    for values in DETECTOR.reconstruct(faint, conditions[:3], calibration).values():
        np.testing.assert_array_equal(np.isnan(values), [False, True, True])
    with pytest.raises(InputError, match="none of 2 showers"):
        DETECTOR.calibrate([(faint[1:], conditions[1:3])])


@pytest.mark.parametrize("n", [1, 2, 60, 120])
def test_few_showers_can_be_calibrated(planted, n):
    response, conditions = planted
    calibration = DETECTOR.calibrate([(response[:n], conditions[:n])])
    assert len(calibration["momentum"]) == max(1, n // clusters.EVENTS_PER_BIN)
    ratio = DETECTOR.reconstruct(response[:500], conditions[:500], calibration)["energy_ratio"]
    assert np.median(ratio) == pytest.approx(1, abs=0.2)


def test_calibration_follows_a_power_law_beyond_its_knots():
    truth = np.geomspace(2, 50, 4000)
    knots = clusters.fit_energy(30 * truth**0.9, truth)
    assert len(knots[0]) == clusters.MAX_BINS
    wide = np.geomspace(0.5, 200, 50)
    np.testing.assert_allclose(clusters.calibrated_energy(30 * wide**0.9, *knots), wide, rtol=2e-3)


def test_calibration_of_one_momentum_is_a_factor():
    knots = clusters.fit_energy(np.linspace(900, 1100, 501), np.full(501, 10.0))
    assert knots == ([1000.0], [10.0])
    np.testing.assert_allclose(clusters.calibrated_energy(np.array([50.0]), *knots), [0.5])


def test_knots_increase_whatever_the_response():
    rng = np.random.default_rng(2)
    knots = clusters.fit_energy(rng.uniform(50, 60, 2000), rng.uniform(1, 100, 2000))
    assert all((np.diff(values) > 0).all() for values in knots)


@pytest.mark.parametrize(("a", "b"), [(0.09, 0.01), (0.09, 0.0), (0.0, 0.02)])
def test_resolution_fit_recovers_planted_terms(a, b):
    energy = np.geomspace(1, 100, 8)
    curve = ecal.DETECTOR.fits["energy_resolution"].model(energy, np.array([a, b]))
    np.testing.assert_allclose(curve, np.sqrt(a**2 / energy + b**2))
    width = np.stack([curve, 2 * curve, np.where(np.arange(8) == 3, np.nan, curve)])
    parameters = clusters.solve_resolution(energy, width)
    np.testing.assert_allclose(parameters, [[a, b], [2 * a, 2 * b], [a, b]], atol=1e-7)


def test_resolution_fit_is_the_best_one_with_no_negative_term():
    rng = np.random.default_rng(3)
    energy = np.geomspace(1, 100, 6)
    width = rng.uniform(0.01, 0.1, (40, 6)) * energy ** rng.uniform(-1, 0.5, (40, 1))
    parameters = clusters.solve_resolution(energy, width)
    zeros = set()
    for row, found in zip(width, parameters, strict=True):
        design = np.column_stack([1 / energy, np.ones(6)]) / row[:, None] ** 2
        expected = np.sqrt(nnls(design, np.ones(6))[0])
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
        zeros |= set(np.flatnonzero(expected == 0))
    assert zeros == {0, 1}


def test_resolution_fit_needs_two_energies():
    width = np.array([[0.1, np.nan, 0.0], [0.1, 0.05, 0.05]])
    parameters = clusters.solve_resolution(np.array([1.0, 10.0, 100.0]), width)
    np.testing.assert_array_equal(np.isnan(parameters), [[True, True], [False, False]])
    assert np.isnan(clusters.solve_resolution(np.array([5.0, 5.0]), np.array([0.1, 0.2]))).all()


@pytest.mark.parametrize("w0", [2.3, 4.0, 8.0])
def test_log_offset_by_hand(w0):
    cells = np.zeros((2, 3, 3))
    cells[:, 1, 1], cells[0, 2, 1], cells[0, 0, 0] = 60, 30, 10
    cells[1] = np.nan
    weights = [max(0.0, w0 + np.log(share)) for share in (0.6, 0.3, 0.1)]
    x = 20 * (weights[1] - weights[2]) / sum(weights)
    y = -20 * weights[2] / sum(weights)
    np.testing.assert_allclose(clusters.log_offset(cells, w0, 20.0), [[x, y], [np.nan, np.nan]])
    assert (weights[2] == 0) == (w0 == 2.3)


def test_w0_is_the_one_that_was_planted():
    rng = np.random.default_rng(5)
    cells = rng.gamma(0.5, 10, (1500, 3, 3))
    cells[:, 1, 1] += 100
    place = clusters.log_offset(cells, 3.6, 20.0)
    assert clusters.fit_w0(cells, place, 20.0) == pytest.approx(3.6, abs=0.02)


def test_the_log_weighted_position_is_one_of_the_results(planted):
    response, conditions = planted
    half = len(response) // 2
    calibration = DETECTOR.calibrate([(response[:half], conditions[:half])])
    results = DETECTOR.reconstruct(response[half:], conditions[half:], calibration)
    found = clusters.find_clusters(response[half:], ecal_clusters.SEED_THRESHOLD, ecal.PITCH)
    offset = clusters.log_offset(found.cells, calibration["w0"], ecal.PITCH)
    for axis, cell in enumerate((found.ix, found.iy)):
        impact = conditions[half:, 3 + axis]
        expected = ecal.CENTRES[cell] + offset[:, axis] - impact
        np.testing.assert_allclose(results[f"residual_{'xy'[axis]}_log"], expected, atol=1e-9)
        linear = clusters.half_width(ecal.CENTRES[cell] + (found.dx, found.dy)[axis] - impact)
        assert clusters.half_width(expected) < linear
        assert abs(np.median(expected)) < 0.2


@pytest.mark.parametrize("pieces", [2, 7])
def test_pieces_do_not_change_the_calibration(planted, pieces):
    response, conditions = planted[0][:900], planted[1][:900]
    cuts = zip(*(np.array_split(part, pieces) for part in (response, conditions)), strict=True)
    assert DETECTOR.calibrate(cuts) == DETECTOR.calibrate([(response, conditions)])


def test_pairs_are_put_where_they_should_be():
    rng = np.random.default_rng(8)
    points = rng.uniform(-60, 60, (2, 400, 2))
    points[0, 7] = np.nan
    words = rng.integers(0, 2**63, 400).astype(np.uint64)
    edges = ecal_clusters.PAIR_EDGES
    shifts, distance = pairs.placements(*points, words, edges, 20.0)
    moved = points + 20 * shifts.transpose(1, 2, 0, 3).astype(float)
    apart = np.linalg.norm(moved[:, 1] - moved[:, 0], axis=-1)
    there = np.isfinite(distance)
    np.testing.assert_allclose(distance[there], apart.T[there])
    assert not there[7].any()
    # Beyond 40 mm every bin holds a whole-cell shift; 20 to 30 mm has none near a corner.
    assert np.delete(there, 7, axis=0)[:, 2:].mean() > 0.99
    assert 0.95 < there[:, 0].mean() < 1
    for b in range(10):
        assert ((distance[:, b] >= edges[b]) & (distance[:, b] < edges[b + 1]))[there[:, b]].all()
    middle = moved.mean(axis=1).transpose(1, 0, 2)[there]
    assert (np.abs(middle) <= 10 + 1e-9).all()
    step = (moved[:, 1] - moved[:, 0]).transpose(1, 0, 2)[there]
    assert np.abs(np.mean(step / np.linalg.norm(step, axis=1)[:, None], axis=0)).max() < 0.05


def test_shifts_lose_what_leaves_the_matrix():
    response = np.random.default_rng(3).random((4, 30, 30))
    moved = pairs.shifted(response, np.array([[0, 0], [3, -2], [-30, 0], [0, 500]]))
    np.testing.assert_array_equal(moved[0], response[0])
    np.testing.assert_array_equal(moved[1, 3:, :-2], response[1, :-3, 2:])
    assert moved[1, :3].sum() == moved[1, :, -2:].sum() == moved[2:].sum() == 0


def spikes(energy: list[float], p: list[float]) -> tuple[Array, Array]:
    """Showers in one cell, at the middle of the matrix, of particles that fly straight into it."""
    response = np.zeros((len(p), 30, 30), np.float32)
    response[:, 15, 15] = energy
    conditions = np.zeros((len(p), 7))
    conditions[:, 2], conditions[:, 3:5] = p, 10.0
    return response, conditions


PLAIN = {"cluster_energy": [180.0], "momentum": [1.0], "b_x": 5.0, "b_y": 5.0, "w0": 4.0}


def test_two_spikes_are_found_with_their_energies():
    """180 MeV are 1 GeV: what the first has too much and the second too little is the bias."""
    first, second = spikes([360, 1800 * 1.1], [2, 10]), spikes([1800 * 0.9, 900], [10, 5])
    words = np.array([3, 4], np.uint64)
    distance, found, results = DETECTOR.pairs.overlay(*first, *second, words, PLAIN)
    place = np.isfinite(distance)
    # Whole cells apart: 20 and 28.3 mm are neighbours, one maximum; from 40 mm on there are two.
    squares = (distance[place] / 20) ** 2
    np.testing.assert_allclose(squares, np.round(squares))
    np.testing.assert_array_equal(found[place], distance[place] > 30)
    two = found == 1
    assert two.sum(axis=1).min() >= 7
    np.testing.assert_allclose(results["energy_high"][0][two[0]], -0.1, rtol=1e-5)
    np.testing.assert_allclose(results["energy_low"][0][two[0]], 0, atol=1e-6)
    np.testing.assert_allclose(results["energy_high"][1][two[1]], 0.1, rtol=1e-5)
    np.testing.assert_allclose(results["energy_low"][1][two[1]], 0, atol=1e-6)
    for values in results.values():
        np.testing.assert_array_equal(np.isfinite(values), two)


def test_showers_at_one_place_are_one():
    response, _ = spikes([1800, 360], [10, 2])
    total = clusters.find_clusters(response.sum(axis=0, keepdims=True), 20.0, 20.0)
    owner, away = pairs.nearest(total.event, np.array([[10.0, 10.0]]), np.full((1, 2, 2), 10.0))
    np.testing.assert_array_equal(owner, [[0, 0]])
    np.testing.assert_array_equal(away, [[0, 0]])


def test_a_shower_alone_is_always_found(planted):
    response, conditions = planted[0][:400], planted[1][:400]
    found = clusters.find_clusters(response, ecal_clusters.SEED_THRESHOLD, ecal.PITCH)
    place = np.column_stack([ecal.CENTRES[found.ix] + found.dx, ecal.CENTRES[found.iy] + found.dy])
    owner, away = pairs.nearest(found.event, place, conditions[:, None, 3:5])
    assert (owner >= 0).all()
    assert (away < ecal_clusters.PAIR_REACH).all()
    empty = pairs.nearest(found.event[:0], place[:0], conditions[:3, None, 3:5])
    np.testing.assert_array_equal(empty[0], [[-1]] * 3)
    assert np.isinf(empty[1]).all()


def test_a_pair_and_its_exchange_are_alike(planted, monkeypatch):
    response, conditions = planted
    calibration = DETECTOR.calibrate([(response[:1000], conditions[:1000])])
    one, two = (response[:150], conditions[:150]), (response[150:300], conditions[150:300])
    words = np.arange(150, dtype=np.uint64)
    drawn = pairs.placements(one[1][:, 3:5], two[1][:, 3:5], words, ecal_clusters.PAIR_EDGES, 20.0)
    monkeypatch.setattr(ecal_clusters, "placements", lambda *_: drawn)
    first = DETECTOR.pairs.overlay(*one, *two, words, calibration)
    monkeypatch.setattr(ecal_clusters, "placements", lambda *_: (drawn[0][:, :, ::-1], drawn[1]))
    second = DETECTOR.pairs.overlay(*two, *one, words, calibration)
    np.testing.assert_array_equal(first[1], second[1])
    for name, values in first[2].items():
        np.testing.assert_allclose(values, second[2][name], rtol=1e-6)


def test_no_pairs_and_particles_that_fly_away():
    response, conditions = spikes([1800, 360], [10, -2])
    words = np.array([1], np.uint64)
    halves = response[:1], conditions[:1], response[1:], conditions[1:]
    distance, found, results = DETECTOR.pairs.overlay(*halves, words, PLAIN)
    assert np.isnan([distance, found, *results.values()]).all()
    none = [part[:0] for part in halves]
    distance, found, results = DETECTOR.pairs.overlay(*none, words[:0], PLAIN)
    assert distance.shape == found.shape == results["energy_low"].shape == (0, 10)


def test_blocks_do_not_change_results(planted):
    response, conditions = planted[0][:100], planted[1][:100]
    calibration = DETECTOR.calibrate([(response, conditions)])
    for block in (7, 100):
        observed = ecal.observe(response, conditions, block)
        for name, values in DETECTOR.observe(response, conditions).items():
            np.testing.assert_allclose(observed[name], values, rtol=1e-9, atol=1e-9)
        results = ecal.reconstruct(response, conditions, calibration, block)
        for name, values in DETECTOR.reconstruct(response, conditions, calibration).items():
            np.testing.assert_array_equal(results[name], values)
    nothing = DETECTOR.observe(response[:0], conditions[:0])
    assert {values.shape for values in nothing.values()} == {(0,)}


def test_real_showers():
    with uproot.open(SAMPLE) as file:
        tree = file["ecal"].arrays(["energy", "px", "py", "pz", "x", "y", "z", "pdg"], library="np")
    response = np.where(tree["energy"] < 0.2, 0, tree["energy"])
    names = zip(DETECTOR.conditions, (1, 1, 1, 10, 10, 10, 1), strict=True)
    conditions = np.column_stack([tree[name] * factor for name, factor in names])
    observed = DETECTOR.observe(response, conditions)
    assert observed["e_over_p"].mean() == pytest.approx(176.6, rel=0.03)
    assert abs(observed["bary_x"].mean()) < 1.5
    assert abs(observed["bary_y"].mean()) < 1.5
    half = len(response) // 2
    calibration = DETECTOR.calibrate([(response[:half], conditions[:half])])
    results = DETECTOR.reconstruct(response[half:], conditions[half:], calibration)
    p = DETECTOR.variable(conditions[half:])["momentum"]
    assert all(np.isfinite(values).all() for values in results.values())
    index = np.digitize(p, np.geomspace(1, 100, 9)) - 1
    energies = np.array([1 / np.mean(1 / p[index == k]) for k in range(8)])
    ratio = results["energy_ratio"]
    widths = np.array([clusters.half_width(ratio[index == k]) for k in range(8)])
    assert 0.06 < DETECTOR.fits["energy_resolution"].solve(energies, widths)[0] < 0.11
    # In x, where showers are tilted by up to 20 degrees, the depth of soft showers blurs the place.
    binary = ecal.PITCH / np.sqrt(12)
    assert clusters.half_width(results["residual_y"]) < binary
    assert clusters.half_width(results["residual_x"][p > 10]) < binary
