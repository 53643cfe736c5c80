"""The transform that is fitted: lambda recovered, a fair draw of cells, nothing odd let through."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

import toy
from samples import conditions, showers, write_table
from sosie import preprocess
from sosie.detectors import DETECTORS
from sosie.detectors.ecal import DETECTOR
from sosie.errors import InputError, SettingsError
from sosie.events import open_events
from sosie.files import read_json
from sosie.preprocess import MAX_POWER, MIN_CELLS, draw_cells, fit_power, fit_powers
from sosie.transforms import read_transform

SETTINGS: dict[str, Any] = {"seed": 3, "transform": "box_cox", "per_cell": False, "gap": 1.0}


def fit(train: str, out: Path, **settings: Any) -> Any:
    preprocess.run(train, str(out), **{**SETTINGS, **settings})
    return read_transform(str(out))


class Pieces:
    """A sample given in pieces of a size of one's own choice."""

    def __init__(self, response: np.ndarray, size: int) -> None:
        self.response, self.size = response, size

    def responses(self):
        for start in range(0, len(self.response), self.size):
            where = slice(start, start + self.size)
            yield where, self.response[where]


@pytest.mark.parametrize(
    ("power", "mean", "std"), [(-0.25, 1.0, 0.5), (0.0, 2.0, 0.7), (0.3, 3.0, 1.0), (1.0, 10, 2)]
)
def test_lambda_is_recovered(tmp_path: Path, power: float, mean: float, std: float) -> None:
    rng = np.random.default_rng(1)
    x = special.inv_boxcox(rng.normal(mean, std, (40, 30, 30)), power)
    train = write_table(tmp_path / "train.h5", x, conditions(40), threshold=0.0)
    found = fit(train, tmp_path / "t.json").response
    assert found.power == pytest.approx(power, abs=0.05)
    about = read_json(tmp_path / "t.json", "preprocess")["diagnostics"]
    assert abs(about["after"]["skewness"]) < 0.1
    assert abs(about["after"]["kurtosis"]) < 0.1
    assert sum(about["after"]["counts"]) == about["cells"] == x.size


def test_showers_come_out_scaled_and_less_skew(tmp_path: Path) -> None:
    where = conditions(100)
    response = showers(where)
    response[response < 0.2] = 0
    train = write_table(tmp_path / "train.h5", response, where)
    for kind in ("box_cox", "log", "none"):
        fitted = fit(train, tmp_path / "t.json", transform=kind).response
        image = fitted.forward(response)
        assert image.mean() == pytest.approx(0, abs=1e-9)
        assert image.std() == pytest.approx(1, rel=1e-9)
        np.testing.assert_allclose(fitted.inverse(image), response, rtol=1e-6)
        about = read_json(tmp_path / "t.json", "preprocess")["diagnostics"]
        filled = response[response > 0].astype(np.float64)
        assert about["before"]["skewness"] == pytest.approx(stats.skew(filled), rel=1e-6)
        if kind != "none":
            for name in ("skewness", "kurtosis"):
                assert abs(about["after"][name]) < 0.2 * abs(about["before"][name])


def test_the_floor_is_the_smallest_cell_of_all_where_there_is_no_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = conditions(20)
    response = showers(where)
    response[response < 1e-3] = 0
    train = write_table(tmp_path / "train.h5", response, where, threshold=0.0)
    drawn = draw_cells
    monkeypatch.setattr(preprocess, "draw_cells", lambda events, seed: drawn(events, seed, 300))
    fitted = fit(train, tmp_path / "t.json").response
    assert fitted.floor == response[response > 0].min()
    assert fitted.cap == pytest.approx(10 * response.max())
    np.testing.assert_allclose(fitted.inverse(fitted.forward(response)), response, rtol=1e-6)


def test_the_draw_is_fair_bounded_and_the_same_for_any_piece() -> None:
    rng = np.random.default_rng(5)
    response = (rng.random((60, 30, 30)) * (rng.random((60, 30, 30)) < 0.4)).astype(np.float32)
    draws = [draw_cells(Pieces(response, size), 3, 2000) for size in (1, 7, 60)]
    for draw in draws[1:]:
        for found, first in zip(draw, draws[0], strict=True):
            np.testing.assert_array_equal(found, first)
    values, cells, events = draws[0]
    np.testing.assert_array_equal(values, response.reshape(60, -1)[events, cells])
    assert len(values) == len(cells) == 2000
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    assert stats.kstest(cells / 900, "uniform").pvalue > 1e-3
    assert not np.array_equal(draw_cells(Pieces(response, 7), 4, 2000)[0], values)
    everything, _, _ = draw_cells(Pieces(response, 7), 3, 10**6)
    np.testing.assert_array_equal(everything, response[response > 0])


def test_each_cell_gets_its_own_lambda() -> None:
    rng = np.random.default_rng(6)
    few = rng.lognormal(size=MIN_CELLS - 1)
    laws = [special.inv_boxcox(rng.normal(m, s, 4000), p) for p, m, s in ((0, 2, 1), (0.5, 8, 1.5))]
    values = np.concatenate([*laws, few, np.full(100, 2.5)])
    cells = np.repeat([0, 1, 2, 4], [4000, 4000, len(few), 100])
    order = rng.permutation(len(values))
    powers = fit_powers(values[order], cells[order], (2, 3), 0.123)
    assert powers.shape == (2, 3)
    assert powers[0, 0] == pytest.approx(0, abs=0.06)
    assert powers[0, 1] == pytest.approx(0.5, abs=0.12)
    # Too few values, none at all, and values that do not vary.
    np.testing.assert_array_equal(powers.ravel()[2:], 0.123)


def test_lambda_keeps_within_its_limits() -> None:
    rng = np.random.default_rng(7)
    assert fit_power(special.inv_boxcox(rng.normal(10, 2, 2000), 6.0)) == MAX_POWER


def test_per_cell_reaches_the_file(tmp_path: Path) -> None:
    where = conditions(80)
    train = write_table(tmp_path / "train.h5", showers(where), where)
    fitted = fit(train, tmp_path / "t.json", per_cell=True).response
    assert fitted.power.shape == DETECTOR.shape
    assert len(np.unique(fitted.power)) > 20
    common = fit(train, tmp_path / "t.json").response
    assert common.power.shape == ()


def test_domain_and_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = conditions(50)
    where[:, 3] = 4.0
    train = write_table(tmp_path / "train.h5", showers(where), where)
    fitted = fit(train, tmp_path / "t.json")
    assert "x does not vary" in capsys.readouterr().err
    assert dict(zip(DETECTOR.feature_names, fitted.features.used, strict=True)) == {
        "log_p": True,
        "tan_x": True,
        "tan_y": True,
        "x": False,
        "y": True,
    }
    scaled = fitted.features(DETECTOR.features(where.astype(np.float64)))
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-9)
    assert fitted.domain["x"] == {"min": 4.0, "max": 4.0}
    assert fitted.domain["pz"] == {"min": where[:, 2].min(), "max": where[:, 2].max()}


def refused(tmp_path: Path, response: np.ndarray, where: np.ndarray) -> str:
    train = write_table(tmp_path / "train.h5", response, where)
    with pytest.raises(InputError) as error:
        fit(train, tmp_path / "t.json")
    assert not (tmp_path / "t.json").exists()
    assert "\n" not in str(error.value)
    assert train in str(error.value)
    return str(error.value)


def test_what_cannot_be_fitted_is_refused(tmp_path: Path) -> None:
    where = conditions(20)
    response = showers(where)
    assert "no condition varies" in refused(tmp_path, response, np.tile(where[:1], (20, 1)))
    assert "no two filled cells" in refused(tmp_path, np.zeros_like(response), where)
    where[[3, 8], 2] = 0
    text = refused(tmp_path, response, where)
    assert "'tan_x' is nan in event 3 (2 such events)" in text


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    where = conditions(30)
    train = write_table(tmp_path / "train.h5", showers(where), where)
    fit(train, tmp_path / "a.json", per_cell=True)
    fit(train, tmp_path / "b.json", per_cell=True)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with open_events(train) as events:
        assert len(events) == 30


def test_weights_enter_the_fit_of_lambda() -> None:
    rng = np.random.default_rng(8)
    values = special.inv_boxcox(rng.normal(2, 0.5, 5000), 0.3)
    assert fit_power(values, np.ones(5000)) == pytest.approx(fit_power(values), abs=1e-3)
    background = np.exp(rng.normal(-1, 0.1, 2000))
    weight = np.repeat([1.0, 1.0, -1.0], [5000, 2000, 2000])
    both = np.concatenate([values, background, background])
    assert fit_power(both, weight) == pytest.approx(fit_power(values), abs=1e-3)
    assert abs(fit_power(both) - fit_power(values)) > 0.1


def test_a_weight_of_two_is_an_event_twice(tmp_path: Path) -> None:
    where = conditions(60)
    response, twice = showers(where), np.concatenate([np.arange(60), np.arange(20)])
    weight = np.where(np.arange(60) < 20, 2.0, 1.0)
    one = fit(write_table(tmp_path / "a.h5", response, where, weight=weight), tmp_path / "a.json")
    two = fit(write_table(tmp_path / "b.h5", response[twice], where[twice]), tmp_path / "b.json")
    assert one.response.power == pytest.approx(two.response.power, abs=2e-3)
    assert one.response.scale == pytest.approx(two.response.scale, rel=1e-2)
    np.testing.assert_allclose(one.features.mean, two.features.mean, rtol=1e-6)


@pytest.fixture
def signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, np.ndarray, np.ndarray]:
    """A table of the toy detector, its conditions and its responses."""
    monkeypatch.setitem(DETECTORS, "toy", toy.TOY)
    where = toy.conditions(3000)
    response = toy.responses(where)
    return toy.table(tmp_path / "toy.h5", where, response), where, response


def test_signed_numbers_become_gaussian_where_they_are_free(signed, tmp_path: Path) -> None:
    train, where, response = signed
    fitted = fit(train, tmp_path / "t.json", transform="quantile")
    about = read_json(tmp_path / "t.json", "preprocess")["diagnostics"]
    free = [len(where), (where[:, 0] >= toy.SOFT).sum(), (where[:, 0] >= toy.HARD).sum()]
    for part, count in zip(about["components"], free, strict=True):
        assert part["events"] == count
        assert abs(part["after"]["skewness"]) < 0.05
        assert abs(part["after"]["kurtosis"]) < 0.2
    assert about["components"][0]["before"]["kurtosis"] < -0.5
    np.testing.assert_allclose(
        fitted.response.inverse(fitted.response.forward(response)), response, atol=1e-5
    )
    np.testing.assert_array_equal(fitted.ties.of(toy.TOY, where), toy.pattern(where))
    assert len(fitted.ties.change) == 2


@pytest.mark.parametrize("kind", ["yeo_johnson", "none"])
def test_other_transforms_of_signed_numbers(signed, tmp_path: Path, kind: str) -> None:
    train, _, response = signed
    image = fit(train, tmp_path / "t.json", transform=kind).response.forward(response)
    assert image[:, 0].mean() == pytest.approx(0, abs=1e-6)
    assert image[:, 0].std() == pytest.approx(1, rel=1e-6)


def test_a_transform_of_the_other_sign_is_refused(signed, tmp_path: Path) -> None:
    where = conditions(20)
    unsigned = write_table(tmp_path / "train.h5", showers(where), where)
    for train, kind in ((signed[0], "box_cox"), (signed[0], "log"), (unsigned, "quantile")):
        with pytest.raises(SettingsError, match=rf"preprocess.transform: '{kind}' does not serve"):
            fit(train, tmp_path / "t.json", transform=kind)


def test_signed_samples_that_cannot_be_fitted_are_refused(signed, tmp_path: Path) -> None:
    _, where, response = signed
    for change, weight, text in (
        (1, np.full(len(where), -1.0), "the weights sum to -3000"),
        (0, np.ones(len(where)), "number 0 of the response does not vary"),
    ):
        same = response.copy()
        same[:, 0] *= change
        train = toy.table(tmp_path / "bad.h5", where, same, weight=weight)
        with pytest.raises(InputError, match=text):
            fit(train, tmp_path / "t.json", transform="quantile")
