"""The RICH: its ties, observables, rates and curves on hand-made tracks, and the sample that ships."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from sosie.detectors import rich
from sosie.detectors.rich import DETECTOR, TYPES
from sosie.errors import InputError

ROOT = Path(__file__).parents[1]
Array = np.ndarray[Any, Any]


def conditions(pdg: Any, p: float = 10.0, eta: float = 3.0, spd: float = 200.0) -> Array:
    code = np.asarray(pdg, np.float32)
    return np.column_stack([np.full((len(code), 3), [p, eta, spd]), code]).astype(np.float32)


@pytest.fixture(scope="module")
def tracks() -> tuple[Array, Array]:
    """Responses (20 000, 5) and conditions of the sample that ships."""
    columns = uproot.open(ROOT / "resources/rich/quick.root")["tracks"].arrays(library="np")
    response = np.column_stack([columns[f"RichDLL{name}"] for name in rich.DLLS])
    where = [columns["Brunel_P"] / 1000, columns["Brunel_ETA"], columns["nSPDHits"], columns["pdg"]]
    return response, np.column_stack(where).astype(np.float32)


def test_features() -> None:
    found = DETECTOR.features(conditions([11, -13, 211, -321, 2212], p=np.e))
    assert found.shape == (5, len(DETECTOR.feature_names))
    np.testing.assert_allclose(found[:, :3], np.tile([1, 3, 200], (5, 1)), rtol=1e-6)
    np.testing.assert_array_equal(found[:, 3:], np.eye(5))


def test_features_of_what_is_unknown_are_not_numbers() -> None:
    unknown = DETECTOR.features(conditions([22]))
    assert np.isnan(unknown[0, 3:]).all()
    assert np.isfinite(unknown[0, :3]).all()
    assert np.isnan(DETECTOR.features(conditions([11], p=-1.0))[0, 0])


def test_variables() -> None:
    found = DETECTOR.variable(conditions([-211, 22], p=7.0))
    assert list(found) == list(DETECTOR.variables)
    assert [found[name][0] for name in ("momentum", "eta", "spd", "type")] == [7, 3, 200, 2]
    assert np.isnan(found["type"][1])


PATTERNS = np.array(
    [
        [1, 2, 3, 4, 5],
        [1, 2, 3, 4, 4],
        [1, 2, 3, 3, 3],
        [1, 2, 0, 0, 0],
        [1, 0, 0, 0, 0],
    ],
    np.float32,
)


def test_each_pattern_is_found() -> None:
    np.testing.assert_array_equal(DETECTOR.ties.find(PATTERNS), np.arange(5))
    assert len(DETECTOR.ties.patterns) == 5


@pytest.mark.parametrize(
    ("response", "pattern"),
    [
        ([1, 0, 3, 4, 5], 0),  # mu alone
        ([1, 2, 3, 3, 5], 0),  # k = p without bt
        ([1, 2, 0, 0, 5], 0),
        ([1, 0, 0, 3, 3], 1),
        ([1, 0, 3, 3, 3], 2),
        ([0, 2, 0, 0, 0], 3),
        ([1, 2, 3, 4, np.nextafter(np.float32(4), np.float32(5))], 0),
        ([1, 2, -0.0, 0, 0], 3),
    ],
)
def test_ties_are_nested(response: list[float], pattern: int) -> None:
    assert DETECTOR.ties.find(np.array([response], np.float32))[0] == pattern


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_imposed_patterns_hold_exactly(kind: type) -> None:
    rng = np.random.default_rng(1)
    response = rng.normal(0, 20, (5000, 5)).astype(kind)
    pattern = rng.integers(0, 5, 5000)
    tied = DETECTOR.ties.impose(response, pattern)
    assert tied.dtype == kind
    np.testing.assert_array_equal(DETECTOR.ties.find(tied), pattern)
    again = DETECTOR.ties.impose(tied, pattern)
    assert again.tobytes() == tied.tobytes()
    np.testing.assert_array_equal(tied[pattern == 0], response[pattern == 0])
    np.testing.assert_array_equal(tied[:, 0], response[:, 0])
    np.testing.assert_array_equal(tied[pattern == 1][:, 4], response[pattern == 1][:, 3])
    np.testing.assert_array_equal(tied[pattern == 2][:, 4], response[pattern == 2][:, 2])
    assert np.count_nonzero(response == 0) == 0, "the argument is left alone"


def test_the_sample_is_tied_at_the_known_rates_and_momenta(
    tracks: tuple[Array, Array],
) -> None:
    response, where = tracks
    pattern = DETECTOR.ties.find(response)
    assert DETECTOR.ties.impose(response, pattern).tobytes() == response.tobytes()
    # Rates in 300 000 tracks; five binomial errors of 20 000.
    rates = {"tie_p_bt": 0.5745, "tie_k_p_bt": 0.4223, "tie_zero": 0.1215, "tie_zero_mu": 0.0555}
    observed = DETECTOR.observe(response, where)
    for name, rate in rates.items():
        error = np.sqrt(rate * (1 - rate) / len(response))
        assert abs(observed[name].mean() - rate) < 5 * error, name
    # A hypothesis is below threshold by the measured momentum alone, sharp to 0.5 MeV.
    edges = np.array([16.7784, 8.8282, 2.4958, 1.8894])
    away = where[:, :1] - edges
    clear = (np.abs(away) > 5e-4).all(axis=1)
    assert clear.mean() > 0.999
    np.testing.assert_array_equal(pattern[clear], (away[clear] < 0).sum(axis=1))


def test_observables_of_one_track() -> None:
    response = np.array([[1.0, -2.0, 20.0, -20.0, 0.0]], np.float32)
    found = DETECTOR.observe(response, conditions([321]))
    assert list(found) == list(DETECTOR.observables)
    np.testing.assert_array_equal([found[f"dll_{n}"][0] for n in rich.DLLS], response[0])
    assert found["product_k_p"][0] == pytest.approx(-(np.tanh(1) ** 2))
    assert found["product_k_bt"][0] == 0
    assert found["tie_p_bt"][0] == 0


def test_a_spike_or_a_wild_number_cannot_carry_a_product() -> None:
    rng = np.random.default_rng(4)
    dll = rng.normal(0, 5, (10_000, 5))
    plain = DETECTOR.observe(dll, conditions(np.full(10_000, 321)))
    dll[0] = 1e6
    wild = DETECTOR.observe(dll, conditions(np.full(10_000, 321)))
    for name in rich.PRODUCTS:
        assert abs(plain[name].mean()) < 5 * plain[name].std() / 100
        assert abs(wild[name].mean() - plain[name].mean()) < 2e-4


def test_products_follow_the_correlation() -> None:
    rng = np.random.default_rng(5)
    shared = rng.normal(0, 3, 20_000)
    dll = rng.normal(0, 4, (20_000, 5))
    dll[:, 2:4] += shared[:, None]
    found = DETECTOR.observe(dll, conditions(np.full(20_000, 321)))
    # Far below the scale tanh is linear up to a third of the squares: 9 / 20^2, less 12 %.
    assert found["product_k_p"].mean() == pytest.approx(9 / 400, rel=0.2)
    assert abs(found["product_e_mu"].mean()) < 0.002


@pytest.mark.parametrize("function", ["observe", "reconstruct"])
def test_no_event_at_all(function: str) -> None:
    more = [{}] if function == "reconstruct" else []
    found = getattr(DETECTOR, function)(np.zeros((0, 5)), np.zeros((0, 4)), *more)
    assert {len(column) for column in found.values()} == {0}


def test_rates_of_hand_made_tracks() -> None:
    where = conditions([321, -321, 211, 2212, 13, 11])
    response = np.array(
        [
            [0, 0, 6.0, 0, 0],  # a kaon beyond both cuts
            [0, 0, 5.0, 9.0, 0],  # a kaon at the cut, taken for a proton
            [0, 1.0, -1.0, 0.0, 0],  # a pion taken for a muon; 0 does not pass
            [0, 0, 3.0, 4.0, 0],
            [0, 2.0, 8.0, 0, 0],
            [9.0, 9.0, 9.0, 9.0, 9.0],  # no rate asks for electrons
        ]
    )
    found = DETECTOR.reconstruct(response, where, {})
    assert set(found) == set(DETECTOR.rates)
    n = np.nan
    expected = {
        "eff_k_dllk0": [1, 1, n, n, n, n],
        "eff_k_dllk5": [1, 0, n, n, n, n],
        "mis_pi_dllk0": [n, n, 0, n, n, n],
        "mis_pi_dllk5": [n, n, 0, n, n, n],
        "mis_p_dllk0": [n, n, n, 1, n, n],
        "mis_p_dllk5": [n, n, n, 0, n, n],
        "eff_p_dllp0": [n, n, n, 1, n, n],
        "mis_pi_dllp0": [n, n, 0, n, n, n],
        "mis_k_dllp0": [0, 1, n, n, n, n],
        "eff_mu_dllmu0": [n, n, n, n, 1, n],
        "mis_pi_dllmu0": [n, n, 1, n, n, n],
    }
    assert set(expected) == set(found)
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column, err_msg=name)


@pytest.mark.parametrize(
    ("low", "high", "rates"),
    [
        (2.7, 5, {"eff_k_dllk0": 0.889, "mis_pi_dllk0": 0.053, "eff_k_dllk5": 0.549}),
        (35, 50, {"eff_k_dllk0": 0.916, "mis_pi_dllk0": 0.090, "eff_k_dllk5": 0.396}),
        (85, 100, {"eff_p_dllp0": 0.874, "mis_pi_dllp0": 0.137}),
    ],
)
def test_rates_of_the_sample(
    tracks: tuple[Array, Array], low: float, high: float, rates: dict[str, float]
) -> None:
    """Against the rates of the 300 000 tracks from which the sample is taken."""
    response, where = tracks
    found = DETECTOR.reconstruct(response, where, {})
    inside = (where[:, 0] > low) & (where[:, 0] < high)
    for name, rate in rates.items():
        asked = found[name][inside & np.isfinite(found[name])]
        assert abs(asked.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / len(asked)), name


def test_classes_and_scores_of_the_curves() -> None:
    where = conditions([321, -211, 13, -2212, 11])
    response = np.arange(25.0).reshape(5, 5)
    expected = {"k_pi": (0, 2), "mu_pi": (2, 1), "p_pi": (3, 3)}
    assert set(DETECTOR.rocs) == set(expected)
    for name, (row, column) in expected.items():
        roc = DETECTOR.rocs[name]
        np.testing.assert_array_equal(np.flatnonzero(roc.signal(where)), [row])
        np.testing.assert_array_equal(np.flatnonzero(roc.background(where)), [1])
        np.testing.assert_array_equal(roc.score(response), response[:, column])
    assert set(DETECTOR.roc_grid) <= set(DETECTOR.variables)


def test_momenta_in_mev_are_beyond_the_limits(tracks: tuple[Array, Array]) -> None:
    _, where = tracks
    for index, name in enumerate(DETECTOR.conditions):
        if name in DETECTOR.limits:
            low, high = DETECTOR.limits[name]
            assert ((where[:, index] >= low) & (where[:, index] <= high)).all()
    assert (1000 * where[:, 0] > DETECTOR.limits["momentum"][1]).all()


def test_calibrate_counts_the_types() -> None:
    pieces = [(np.zeros((3, 5)), conditions([11, -13, 211])), (np.zeros((0, 5)), conditions([]))]
    more = (np.zeros((3, 5)), conditions([321, 2212, -2212]))
    found = DETECTOR.calibrate([*pieces, more])
    assert found == {"tracks": {"e": 1, "mu": 1, "pi": 1, "k": 1, "p": 2}}


def test_a_type_without_tracks_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    DETECTOR.calibrate([(np.zeros((2, 5)), conditions([321, -211]))])
    assert "no tracks of type e, mu, p in the training sample" in capsys.readouterr().err


def test_codes_that_are_all_unknown_are_refused() -> None:
    with pytest.raises(InputError, match=r"PDG code of 11, 13, 211, 321, 2212, but \[0, 22\]"):
        DETECTOR.calibrate([(np.zeros((2, 5)), conditions([22, 0]))])


def test_functions_do_not_depend_on_how_events_are_cut(tracks: tuple[Array, Array]) -> None:
    response, where = (column[:300] for column in tracks)
    functions: list[Callable[[Array, Array], dict[str, Array]]] = [
        DETECTOR.observe,
        lambda r, c: DETECTOR.reconstruct(r, c, {}),
    ]
    for function in functions:
        whole = function(response, where)
        first, last = function(response[:77], where[:77]), function(response[77:], where[77:])
        for name, column in whole.items():
            np.testing.assert_array_equal(np.concatenate([first[name], last[name]]), column)


def test_labels_can_be_drawn() -> None:
    from matplotlib.mathtext import MathTextParser

    shown = [
        *DETECTOR.axes,
        *(roc.axis for roc in DETECTOR.rocs.values()),
        *(
            q
            for part in ("variables", "observables", "rates")
            for q in getattr(DETECTOR, part).values()
        ),
    ]
    for quantity in shown:
        MathTextParser("path").parse(quantity.axis)
    assert set(DETECTOR.minor) < set(DETECTOR.observables)
    assert len(TYPES) == 5
