"""Box-Cox against scipy, exact inverses, and nothing but physical numbers out of a network."""

import json

import numpy as np
import pytest
from scipy import special, stats

from sosie.errors import IntermediateError
from sosie.files import to_json, write_json
from sosie.signed import Quantile, YeoJohnson
from sosie.ties import TieLaw
from sosie.transforms import (
    FeatureScaling,
    ResponseTransform,
    Transform,
    box_cox,
    inverse_box_cox,
    read_transform,
)

POWERS = [-1.0, -0.25, 0.0, 0.3, 1.0, 2.0]
FLOOR, CAP = 0.2, 1e4
CELLS = np.random.default_rng(1).uniform(-1, 1, (4, 5))
KINDS = {
    "box_cox": np.asarray(-0.25),
    "log": np.asarray(0.0),
    "none": np.asarray(1.0),
    "per_cell": np.where(np.abs(CELLS) < 0.3, 0.0, CELLS),
}


def transform(kind: str, scale: float = 1.3) -> ResponseTransform:
    return ResponseTransform(KINDS[kind], FLOOR, CAP, gap=1.0, shift=-2.5, scale=scale)


def responses(dtype: type = np.float32) -> np.ndarray:
    """Responses (200, 4, 5), a third of the cells empty, some exactly at the floor or the cap."""
    rng = np.random.default_rng(2)
    x = np.exp(rng.uniform(np.log(0.21), np.log(5000), (200, 4, 5)))
    x[rng.random(x.shape) < 0.3] = 0
    x[0], x[1], x[2, 0] = FLOOR, CAP, 0.0
    return x.astype(dtype)


@pytest.mark.parametrize("power", POWERS)
def test_box_cox_is_that_of_scipy(power: float) -> None:
    x = np.geomspace(1e-3, 1e4, 300)
    np.testing.assert_allclose(box_cox(x, power), stats.boxcox(x, lmbda=power), rtol=1e-12)
    np.testing.assert_allclose(box_cox(x, power), special.boxcox(x, power), rtol=1e-12)
    y = special.boxcox(np.geomspace(0.01, 100, 300), power)
    np.testing.assert_allclose(inverse_box_cox(y, power), special.inv_boxcox(y, power), rtol=1e-10)


@pytest.mark.parametrize("power", POWERS)
def test_derivative_is_a_power(power: float) -> None:
    x = np.geomspace(0.1, 100, 50)
    step = 1e-5 * x
    slope = (box_cox(x + step, power) - box_cox(x - step, power)) / (2 * step)
    np.testing.assert_allclose(slope, x ** (power - 1), rtol=1e-7)


def test_box_cox_is_smooth_where_lambda_is_zero() -> None:
    x = np.geomspace(1e-3, 1e4, 50)
    np.testing.assert_allclose(box_cox(x, 1e-9), np.log(x), atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_is_exact(kind: str) -> None:
    x = responses()
    back = transform(kind).inverse(transform(kind).forward(x))
    np.testing.assert_array_equal(back == 0, x == 0)
    np.testing.assert_allclose(back, x, rtol=1e-6)
    assert (back[0].astype(np.float32) == np.float32(FLOOR)).all()


@pytest.mark.parametrize("kind", ["log", "box_cox"])
def test_round_trip_through_what_a_network_sees(kind: str) -> None:
    x = responses()
    back = transform(kind).inverse(transform(kind).forward(x).astype(np.float32))
    np.testing.assert_array_equal(back == 0, x == 0)
    np.testing.assert_allclose(back, x, rtol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_cell_lies_a_gap_below_the_floor(kind: str) -> None:
    own = transform(kind)
    empty, least = own.forward(np.zeros((1, 4, 5))), own.forward(np.full((1, 4, 5), FLOOR))
    np.testing.assert_allclose((least - empty) * own.scale, own.gap, rtol=1e-12)
    assert (own.inverse(empty) == 0).all()
    below = np.nextafter(np.float32(FLOOR), np.float32(0))
    np.testing.assert_array_equal(own.forward(np.full((1, 4, 5), below)), empty)
    assert (own.inverse(least - 1e-3) == 0).all()


@pytest.mark.parametrize("scale", [1e-3, 1.3, 1e3])
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_network_emits_is_a_response(kind: str, scale: float) -> None:
    wild = np.array([1e30, -1e30, np.inf, -np.inf, np.nan], np.float32)
    z = np.concatenate(
        [
            np.random.default_rng(3).normal(0, 100, (500, 4, 5)),
            np.broadcast_to(wild[:, None, None], (5, 4, 5)),
        ]
    ).astype(np.float32)
    x = transform(kind, scale).inverse(z)
    assert np.isfinite(x).all()
    assert ((x == 0) | ((x >= FLOOR) & (x <= CAP))).all()
    np.testing.assert_allclose(x[[-5, -3]], CAP, rtol=1e-6)
    assert (x[[-4, -2, -1]] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_inverse_rises(kind: str) -> None:
    z = np.linspace(-10, 10, 400)[:, None, None] * np.ones((1, 4, 5))
    assert (np.diff(transform(kind).inverse(z), axis=0) >= 0).all()


def scaling() -> FeatureScaling:
    rng = np.random.default_rng(4)
    features = np.column_stack(
        [rng.normal(5, 2, 1000), np.full(1000, 3.3), rng.uniform(0, 1, 1000)]
    )
    return FeatureScaling.fit(("a", "b", "c"), features)


def test_features_have_mean_0_and_deviation_1() -> None:
    rng = np.random.default_rng(4)
    features = np.column_stack(
        [rng.normal(5, 2, 1000), np.full(1000, 3.3), rng.uniform(0, 1, 1000)]
    )
    fitted = FeatureScaling.fit(("a", "b", "c"), features)
    assert fitted.used.tolist() == [True, False, True]
    scaled = fitted(features)
    assert scaled.shape == (1000, 2)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_json_keeps_every_bit(kind: str) -> None:
    odd = ResponseTransform(KINDS[kind] / 3, 0.1 + 0.2, CAP / 7, 1 / 3, -np.pi, np.e)
    whole = Transform(odd, scaling(), {"px": {"min": 0.1, "max": 1 / 3}})
    again = Transform.from_dict(json.loads(to_json(whole.as_dict())))
    assert to_json(again.as_dict()) == to_json(whole.as_dict())
    x = responses()
    assert again.response.forward(x).tobytes() == odd.forward(x).tobytes()
    z = np.random.default_rng(5).normal(0, 3, (50, 4, 5))
    assert again.response.inverse(z).tobytes() == odd.inverse(z).tobytes()
    assert again.domain == whole.domain
    f = np.random.default_rng(6).normal(size=(20, 3))
    assert again.features(f).tobytes() == whole.features(f).tobytes()


def test_a_file_of_version_0_1_names_no_kind() -> None:
    plain = Transform(transform("per_cell"), scaling(), {}).as_dict()
    assert plain["response"].pop("kind") == "box_cox"
    x = responses()
    again = Transform.from_dict(plain)
    assert again.ties is None
    assert again.response.forward(x).tobytes() == transform("per_cell").forward(x).tobytes()


def test_signed_transforms_and_ties_are_read_back() -> None:
    rng = np.random.default_rng(7)
    columns, weights = [rng.normal(size=500)] * 2, [np.ones(500)] * 2
    law = TieLaw("p", np.array([2.0]), np.array([1, 0]), 2)
    for kind in (Quantile, YeoJohnson):
        whole = Transform(kind.fit(columns, weights), scaling(), {}, law)
        again = Transform.from_dict(json.loads(to_json(whole.as_dict())))
        assert isinstance(again.response, kind)
        assert again.ties.draw(np.array([1.0, 3.0])).tolist() == [1, 0]


def test_features_are_scaled_by_weight() -> None:
    features = np.random.default_rng(8).normal(5, 2, (1000, 1))
    twice = np.concatenate([features, features[:300]])
    weight = np.concatenate([np.full(300, 2.0), np.ones(700)])
    weighted = FeatureScaling.fit(("a",), features, weight)
    plain = FeatureScaling.fit(("a",), twice)
    np.testing.assert_allclose([weighted.mean, weighted.std], [plain.mean, plain.std], rtol=1e-9)
    background = np.concatenate([features, features + 9, features + 9])
    signed = FeatureScaling.fit(("a",), background, np.repeat([1.0, 1.0, -1.0], 1000))
    np.testing.assert_allclose(signed.mean, features.mean(axis=0), rtol=1e-9)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"transform": []},
        {"transform": {"response": {}}},
        {"transform": 3},
        {"transform": {"response": {"kind": "os.system"}}},
    ],
)
def test_a_foreign_file_is_refused(tmp_path, content) -> None:
    write_json(tmp_path / "t.json", content)
    with pytest.raises(IntermediateError, match="not a transform"):
        read_transform(str(tmp_path / "t.json"))
