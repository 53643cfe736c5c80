"""Tracks of the time projection chamber: fits of exact and of smeared helices, tracks of a sector."""

from pathlib import Path

import numpy as np
import pytest
import uproot

from sosie.detectors import tpc, tpc_fit, tpc_tracks
from sosie.detectors.base import Array
from sosie.detectors.tpc_rows import HEIGHT, ROW_PADS, ROW_Y, ROWS, corner
from sosie.errors import InputError

SAMPLE = Path(__file__).parents[1] / "resources" / "tpc" / "quick.root"
GROUPS = tpc.DETECTOR.groups
EXACT = {"offset_x": 0.0, "offset_z": 0.0, "error_x": [0.1, 0, 0], "error_z": [0.1, 0, 0]}


def helices(count: int, seed: int = 1) -> dict[str, Array]:
    """Truth (G,) of tracks from near the origin, in house units; both charges."""
    rng = np.random.default_rng(seed)
    return {
        "pt": np.exp(rng.uniform(np.log(0.25), np.log(2), count)),
        "charge": rng.choice([-1.0, 1.0], count),
        "phi0": np.pi / 2 + rng.uniform(-0.1, 0.1, count),
        "dip": rng.uniform(-30, 30, count),
        "vx": rng.normal(0, 0.1, count),
        "vy": rng.normal(0, 0.1, count),
        "vz": rng.uniform(750, 850, count),
    }


def crossings(truth: dict[str, Array]) -> tuple[Array, Array, Array]:
    """x and z in mm and the crossing angle in rad (G, 53) where helices cross the middle of the pad rows.

    A track of charge q at pT in GeV has a radius of pT / (0.299792458 * 0.5) m; at x = x0 +
    R q (sin phi0 - sin phi), y = y0 - R q (cos phi0 - cos phi) with phi = phi0 - q * path / R.
    """
    t = {name: values[:, None] for name, values in truth.items()}
    radius, q = 1000 * t["pt"] / (0.299792458 * 0.5), t["charge"]
    cos = np.cos(t["phi0"]) + q * (ROW_Y - t["vy"]) / radius
    phi = np.arccos(cos)
    path = q * radius * (t["phi0"] - phi)
    x = t["vx"] + radius * q * (np.sin(phi) - np.sin(t["phi0"])) * -1
    return x, t["vz"] + path * np.tan(np.radians(t["dip"])), np.pi / 2 - phi


def responses(
    truth: dict[str, Array], x: Array, z: Array, crossing: Array
) -> tuple[Array, Array, Array, Array]:
    """Responses whose charge-weighted mean is exact, conditions, track and row (N,), of hits (G, 53)."""
    shape = x.shape
    pad = x / 5 + ROW_PADS / 2 - 0.5
    drift = (1630 - z) / 5.5
    constant = [np.broadcast_to(truth[name][:, None], shape) for name in ("dip", "pt")]
    heights, pdg = np.broadcast_to(HEIGHT, shape), np.full(shape, 211.0)
    columns = (np.degrees(crossing), constant[0], drift, pad, heights, constant[1], pdg)
    conditions = np.column_stack([column.ravel() for column in columns])
    pad0, bucket0 = corner(conditions)
    u, v = pad.ravel() - pad0, drift.ravel() - bucket0
    response = np.zeros((len(u), 8, 16))
    n = np.arange(len(u))
    for a, share_a in ((3, 4 - u), (4, u - 3)):
        for b, share_b in ((7, 8 - v), (8, v - 7)):
            response[n, a, b] = 100 * share_a * share_b
    track = np.repeat(np.arange(shape[0]), ROWS)
    return response, conditions, track, np.tile(np.arange(ROWS), shape[0])


def half68(values: Array) -> float:
    return float(np.diff(np.nanquantile(values, (0.15865, 0.84135)))[0] / 2)


def fit(x: Array, y: Array, error: float = 0.1) -> tpc_fit.Circles:
    circle, _, converged = tpc_fit.fit_circles(x, y, np.full(x.shape, error))
    assert converged.all()
    return circle


@pytest.mark.parametrize("radius", [900.0, 1300.0, 1e4, 1e6])
@pytest.mark.parametrize("side", [-1, 1])
def test_circle_through_exact_points(radius: float, side: int) -> None:
    # Closest to the origin at (3, -1) / sqrt(10) * d, towards (1, 3): centre to the left for side = 1.
    u, n = np.array([1, 3]) / np.sqrt(10), np.array([-3, 1]) / np.sqrt(10)
    d = -2.5
    centre = (d + side * radius) * n
    turn = np.linspace(400, 1200, 53) / radius
    points = centre - side * radius * (n * np.cos(turn)[:, None] - side * u * np.sin(turn)[:, None])
    found = fit(points[None, :, 0], points[None, :, 1])
    np.testing.assert_allclose(found.curvature, side / radius, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(found.phi, np.arctan2(3, 1), atol=1e-7)
    np.testing.assert_allclose(found.d, d, atol=1e-4)
    column = tpc_fit.Circles(*(v[:, None] for v in (found.curvature, found.phi, found.d)))
    path = column.path(points[None, :, 0], points[None, :, 1])
    np.testing.assert_allclose(path, radius * turn[None], rtol=1e-6)


def test_straight_track_is_a_circle_without_curvature() -> None:
    y = np.linspace(400, 1200, 53)[None]
    found = fit(3 + 0.1 * y, y)
    assert abs(found.curvature[0]) < 1e-10
    np.testing.assert_allclose(found.phi, np.arctan2(1, 0.1), atol=1e-8)
    np.testing.assert_allclose(np.abs(found.d), 3 / np.sqrt(1.01), atol=1e-4)


def test_distance_from_a_circle_is_signed_to_the_left() -> None:
    circle = tpc_fit.Circles(np.array([1 / 100]), np.array([0.0]), np.array([0.0]))
    np.testing.assert_allclose(circle.distance(np.array([0.0]), np.array([30.0])), 30)
    np.testing.assert_allclose(circle.distance(np.array([100.0]), np.array([100.0])), 0, atol=1e-9)
    np.testing.assert_allclose(circle.distance(np.array([0.0]), np.array([-10.0])), -10)


def test_errors_of_the_curvature_are_those_of_gluckstern() -> None:
    # Nucl. Instrum. Meth. 24, 381 (1963): N + 1 equidistant points over a length L.
    rng = np.random.default_rng(5)
    points, length, sigma = 53, 800.0, 0.3
    y = np.broadcast_to(np.linspace(400, 400 + length, points), (4000, points))
    found = fit(rng.normal(0, sigma, y.shape), y, sigma)
    n = points - 1
    expected = sigma / length**2 * np.sqrt(720 * n**3 / ((n - 1) * (n + 1) * (n + 2) * (n + 3)))
    assert found.curvature.std() == pytest.approx(expected, rel=0.05)
    assert abs(found.curvature.mean()) < 4 * expected / np.sqrt(4000)


def test_missing_hits_do_not_move_a_fit_and_too_few_do_not_make_one() -> None:
    truth = helices(2)
    x, z, _ = crossings(truth)
    y = np.broadcast_to(ROW_Y, x.shape)
    errors = np.full(x.shape, 0.3)
    x[0, 10:20] = np.nan
    x[1, tpc_fit.MIN_HITS - 1 :] = np.nan
    found = tpc_fit.fit_helices(x, y, z, errors, errors)
    np.testing.assert_array_equal(found.hits, [43, tpc_fit.MIN_HITS - 1])
    np.testing.assert_array_equal(found.converged, [True, False])
    expected = -truth["charge"] * 0.299792458e-3 * 0.5 / truth["pt"]
    np.testing.assert_allclose(found.circle.curvature[0], expected[0], rtol=1e-6)


def test_chi2_of_smeared_hits_is_that_of_their_degrees_of_freedom() -> None:
    rng = np.random.default_rng(2)
    x, z, crossing = crossings(helices(1000))
    x = x + rng.normal(0, 0.3, x.shape)
    z = z + rng.normal(0, 1.0, z.shape)
    error_xy, error_z = 0.3 * np.cos(crossing), np.full(z.shape, 1.0)
    found = tpc_fit.fit_helices(x, np.broadcast_to(ROW_Y, x.shape), z, error_xy, error_z)
    assert found.converged.all()
    assert found.chi2_xy.mean() == pytest.approx(ROWS - 3, abs=1.5)
    assert found.chi2_z.mean() == pytest.approx(ROWS - 2, abs=1.5)


def test_no_hits_at_all_give_no_track() -> None:
    nothing = np.full((2, ROWS), np.nan)
    y = np.broadcast_to(ROW_Y, nothing.shape)
    found = tpc_fit.fit_helices(nothing, y, nothing, nothing, nothing)
    assert not found.converged.any()


def test_hits_anywhere_do_not_break_a_fit() -> None:
    rng = np.random.default_rng(4)
    x, z = rng.uniform(-500, 500, (2, 300, ROWS))
    x[:, 5:40][rng.random((300, 35)) < 0.8] = np.nan
    errors = np.full(x.shape, 0.3)
    found = tpc_fit.fit_helices(x, np.broadcast_to(ROW_Y, x.shape), z, errors, errors)
    assert np.isfinite([found.circle.curvature, found.circle.d, found.z, found.slope]).all()


def test_responses_of_exact_helices_give_the_true_tracks() -> None:
    truth = helices(40)
    response, conditions, track, row = responses(truth, *crossings(truth))
    event = np.arange(40)
    tracks, found = tpc_tracks.sector(response, conditions, track, row, event, EXACT)
    assert found.all()
    assert tracks.converged.all()
    seen = tpc_tracks.residuals(tracks, truth)
    for name, largest in {
        "inverse_pt": 1e-6, "dca_xy": 1e-4, "dca_z": 1e-4, "phi": 1e-3, "dip_angle": 1e-3
    }.items():  # fmt: skip
        assert np.abs(seen[name]).max() < largest, name


def test_tracks_in_one_sector_are_found_where_they_do_not_cross() -> None:
    truth = helices(tpc_tracks.N_TRACKS)
    truth["phi0"] = np.pi / 2 + np.linspace(-0.1, 0.1, tpc_tracks.N_TRACKS)
    truth["pt"][:] = 2.0
    truth["charge"][:] = 1.0
    response, conditions, track, row = responses(truth, *crossings(truth))
    seen = GROUPS.reconstruct(response, conditions, track, {"row": row}, truth, EXACT)
    np.testing.assert_array_equal(seen["hit_efficiency"], 1)
    np.testing.assert_array_equal(seen["track_found"], 1)
    assert np.abs(seen["inverse_pt"]).max() < 1e-6


def test_tracks_on_top_of_each_other_lose_hits() -> None:
    truth = {name: np.repeat(values, 2) for name, values in helices(1).items()}
    truth["vx"][1] += 2.0
    response, conditions, track, row = responses(truth, *crossings(truth))
    together, apart = (
        tpc_tracks.sector(response, conditions, track, row, np.array(event), EXACT)[1].mean()
        for event in ([0, 0], [0, 1])
    )
    assert apart == 1
    assert together < 0.8


def test_track_of_empty_responses_is_not_found() -> None:
    truth = helices(3)
    response, conditions, track, row = responses(truth, *crossings(truth))
    response[track == 1] = 0
    seen = GROUPS.reconstruct(response, conditions, track, {"row": row}, truth, EXACT)
    np.testing.assert_array_equal(seen["hit_efficiency"], [1, 0, 1])
    np.testing.assert_array_equal(seen["track_found"], [1, 0, 1])
    for name in GROUPS.results:
        np.testing.assert_array_equal(np.isnan(seen[name]), [False, True, False])


def test_order_of_the_rows_does_not_matter() -> None:
    truth = helices(4)
    x, z, crossing = crossings(truth)
    x += np.random.default_rng(1).normal(0, 0.3, x.shape)
    response, conditions, track, row = responses(truth, x, z, crossing)
    order = np.random.default_rng(2).permutation(len(row))
    straight, mixed = (
        GROUPS.reconstruct(response[o], conditions[o], track[o], {"row": row[o]}, truth, EXACT)
        for o in (np.arange(len(row)), order)
    )
    for name in (*GROUPS.results, *GROUPS.rates):
        np.testing.assert_allclose(straight[name], mixed[name], atol=1e-6, err_msg=name)


def test_pad_row_that_is_not_there_is_named() -> None:
    truth = helices(1)
    response, conditions, track, row = responses(truth, *crossings(truth))
    row[7] = 53
    with pytest.raises(InputError, match=r"pad row 53 is not one of 0 to 52; check the branch row"):
        GROUPS.reconstruct(response, conditions, track, {"row": row}, truth, EXACT)
    with pytest.raises(InputError, match=r"name the branch row in ingest.identity"):
        GROUPS.reconstruct(response, conditions, track, {}, truth, EXACT)


@pytest.fixture(scope="module")
def shipped() -> dict[str, Array]:
    """What the reconstruction makes of the tracks of the sample that ships with the project."""
    with uproot.open(SAMPLE) as file:
        columns = file["responses"].arrays(library="np")
        truth = file["tracks"].arrays(library="np")
    conditions = np.column_stack([columns[name] for name in tpc.DETECTOR.conditions])
    constants = tpc.DETECTOR.calibrate([(columns["response"], conditions)])
    group = np.searchsorted(truth["track_id"], columns["track_id"])
    for name in ("vx", "vy", "vz"):
        truth[name] = 10 * truth[name].astype(np.float64)
    return GROUPS.reconstruct(
        columns["response"], conditions, group, {"row": columns["row"]}, truth, constants
    )


def test_tracks_of_the_shipped_sample(shipped: dict[str, Array]) -> None:
    # The description of the data gives 0.84 %, 0.50 mm, 0.35 mm, 1.4 mrad, 0.3 mrad for single tracks;
    # 200 tracks know a width to 7 %, and overlaid tracks are a little worse.
    expected = {
        "inverse_pt": 0.0084, "dca_xy": 0.52, "dca_z": 0.35, "phi": 1.4, "dip_angle": 0.29
    }  # fmt: skip
    assert set(shipped) == {*GROUPS.results, *GROUPS.rates}
    for name, width in expected.items():
        assert half68(shipped[name]) == pytest.approx(width, rel=0.25), name
        assert abs(np.nanmedian(shipped[name])) < 0.4 * width, name
    assert shipped["hit_efficiency"].mean() > 0.98
    assert shipped["track_found"].mean() == 1
