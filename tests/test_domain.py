"""The domain of training: distances and zones of a plane whose answers are known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samples import conditions, origin, showers, write_table
from sosie import ensemble, preprocess
from sosie.arrays import write_arrays
from sosie.detectors import DETECTORS
from sosie.detectors.base import Detector
from sosie.detectors.ecal import DETECTOR
from sosie.domain import Domain, read_domain, variables, write_domain
from sosie.errors import IntermediateError
from sosie.surrogates import load, save
from sosie.surrogates.base import Surrogate
from sosie.surrogates.external import External
from sosie.surrogates.library import Library
from sosie.surrogates.parts import Parts
from sosie.transforms import FeatureScaling, read_transform

PLANE = replace(
    DETECTOR,
    name="plane",
    conditions={"x": "", "y": "", "kind": ""},
    feature_names=("x", "y"),
    features=lambda c: c[:, :2],
)
"""Features are the first two conditions, scaled by 10."""
SCALING = FeatureScaling(("x", "y"), np.ones(2, bool), np.zeros(2), np.full(2, 10.0))


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DETECTORS, "plane", PLANE)


def domain(where: Any, detector: Detector = PLANE) -> Domain:
    where = np.asarray(where, np.float32)
    where = np.column_stack([where, np.ones(len(where), np.float32)])
    return Domain.fit(detector, SCALING, where, np.arange(len(where), dtype=np.uint64), 3)


def distances(known: Domain, *points: tuple[float, ...]) -> np.ndarray:
    return known.distance(np.array([(*p, 1.0)[:3] for p in points], np.float32))


@pytest.fixture
def square() -> Domain:
    """A lattice of step 1 from 0 to 20, without the points less than 5 from its middle."""
    x, y = (axis.ravel() for axis in np.mgrid[0:21, 0:21])
    ring = np.hypot(x - 10, y - 10) >= 5
    return domain(np.column_stack([x, y])[ring])


def test_points_of_a_lattice_are_one_step_apart(square: Domain) -> None:
    # A step is 0.1 in standardised features, for each point.
    assert square.near == pytest.approx(0.1, rel=1e-6)
    assert square.far_limit == pytest.approx(1.5, rel=1e-6)
    np.testing.assert_allclose(square.quantiles, 0.1, rtol=1e-5)


def test_inside_in_a_hole_and_beyond(square: Domain) -> None:
    found = distances(square, (3, 3), (3.5, 3), (10, 10), (20, 20.4), (30, 10), (20, -0.0001))
    np.testing.assert_allclose(found[:3], [0, 0.5, 5], atol=1e-5)
    # Beyond the range by 0.04 standard deviations: D is 1.04 though the next point is nearer.
    assert found[3] == pytest.approx(1.04, abs=1e-4)
    # By one standard deviation: the nearest point is ten steps away, which is more than 1 + 1.
    assert found[4] == pytest.approx(10, rel=1e-4)
    assert 1 < found[5] < 1.001
    assert square.zone(found).tolist() == [0, 0, 2, 1, 2, 1]


def test_a_sparse_region_in_reach_of_the_loneliest_event_is_the_edge() -> None:
    rng = np.random.default_rng(2)
    crowd = rng.uniform(0, 10, (2000, 2))
    lonely = [[14.0, 14.0]]
    known = domain(np.concatenate([crowd, lonely]))
    apart = np.hypot(*(crowd - lonely).T).min() / 10
    assert known.quantiles[-1] == pytest.approx(apart, rel=1e-5)
    assert known.far_limit == pytest.approx(1.5 * apart / known.near, rel=1e-5)
    far = distances(known, (14, 10), (5, 5), (14.0, 14.0))
    assert known.zone(far).tolist() == [1, 0, 0]


def test_a_condition_that_did_not_vary_and_differs_is_infinitely_far(square: Domain) -> None:
    found = distances(square, (3, 3, 1), (3, 3, 2))
    np.testing.assert_array_equal(found, [0, np.inf])
    assert square.zone(found).tolist() == [0, 2]


def test_a_hundredth_of_fresh_events_is_flagged() -> None:
    rng = np.random.default_rng(4)
    known = domain(rng.normal(0, 10, (10_000, 2)))
    fresh = distances(known, *rng.normal(0, 10, (20_000, 2)))
    assert (fresh > 1).mean() == pytest.approx(0.01, abs=0.004)
    assert (known.zone(fresh) == 2).mean() < 0.001


def test_repeated_conditions_count_once() -> None:
    rng = np.random.default_rng(5)
    law = rng.normal(0, 10, (3000, 2))
    once, thrice = domain(law), domain(np.repeat(law, 3, axis=0))
    np.testing.assert_array_equal(once.quantiles, thrice.quantiles)
    fresh = rng.normal(0, 10, (3000, 2))
    np.testing.assert_array_equal(distances(once, *fresh), distances(thrice, *fresh))


def test_one_condition_alone_is_known_and_no_other() -> None:
    known = domain(np.full((50, 2), 3.0))
    assert len(known.points) == 1
    found = distances(known, (3, 3), (3.001, 3))
    assert found[0] == 0
    assert known.zone(found).tolist() == [0, 2]
    assert np.isfinite(known.far_limit)


def test_at_most_20_000_points_are_kept_whatever_their_order() -> None:
    rng = np.random.default_rng(6)
    where = np.column_stack([rng.normal(size=(30_000, 2)), np.ones(30_000)]).astype(np.float32)
    ids = np.arange(30_000, dtype=np.uint64)
    order = rng.permutation(30_000)
    first = Domain.fit(PLANE, SCALING, where, ids, 1)
    assert first.points.shape == (20_000, 2)
    assert first.points.dtype == np.float32
    assert first.same(Domain.fit(PLANE, SCALING, where[order], ids[order], 1))
    assert not first.same(Domain.fit(PLANE, SCALING, where, ids, 2))
    # The range is that of all events.
    np.testing.assert_array_equal(first.low, where.min(axis=0))


def test_the_distance_is_a_variable_of_every_detector() -> None:
    assert list(variables(PLANE)) == [*PLANE.variables, "distance"]


def test_preprocess_fits_it_on_events_of_positive_weight(tmp_path: Path) -> None:
    where = conditions(300, seed=2)
    where[0, 2] = 500
    weight = np.ones(300)
    weight[0] = -0.5
    train = write_table(tmp_path / "train.h5", showers(where), where, weight=weight)
    out, transform = str(tmp_path / "domain.h5"), str(tmp_path / "t.json")
    settings: dict[str, Any] = {"seed": 1, "transform": "log", "per_cell": False, "gap": 1.0}
    preprocess.run(train, transform, domain=out, **settings)
    known = read_domain(out)
    scaling = read_transform(transform).features
    ids = np.arange(1, 301, dtype=np.uint64)
    assert known.same(Domain.fit(DETECTOR, scaling, where[1:], ids[1:], 1))
    assert len(known.points) == 299
    assert known.distance(where[1:]).max() == 0
    assert known.zone(known.distance(where[:1])) == 2


def surrogates(where: np.ndarray) -> dict[str, Surrogate]:
    """One of each shape of file: plain, of other programs, and of parts."""
    drawn = showers(where)
    library = {"kind": "library", "neighbours": 1}
    made = origin(where)
    external = {"kind": "external", "files": ["a.h5"]}
    part = Library(made, library, drawn, where)
    return {
        "library": part,
        "external": External(made, external, drawn, where, np.full(len(where), np.nan)),
        "parts": Parts(made, {**library, "separate": "pdg"}, {11.0: part}),
    }


@pytest.mark.parametrize("kind", ["library", "external", "parts"])
def test_it_is_kept_with_each_member(tmp_path: Path, kind: str) -> None:
    where = conditions(60, seed=2)
    trained = surrogates(where)[kind]
    scaling = trained.origin.transform.features
    known = Domain.fit(DETECTOR, scaling, where, np.arange(60, dtype=np.uint64), 1)
    save(tmp_path / "trained.h5", trained)
    write_domain(str(tmp_path / "domain.h5"), known)
    member = str(tmp_path / "member.h5")
    ensemble.run([str(tmp_path / "trained.h5")], [member], str(tmp_path / "domain.h5"))
    found = load(member)
    assert found.domain is not None
    assert found.domain.same(known)
    drawn = [
        np.concatenate([r for _, r in one.batches(where, 20, np.random.default_rng(1))])
        for one in (trained, found)
    ]
    np.testing.assert_array_equal(*drawn)
    assert load(tmp_path / "trained.h5").domain is None


def test_the_domain_of_another_training_sample_is_refused(tmp_path: Path) -> None:
    where = conditions(60, seed=2)
    save(tmp_path / "trained.h5", surrogates(where)["library"])
    other = conditions(60, seed=3)
    scaling = origin(other).transform.features
    known = Domain.fit(DETECTOR, scaling, other, np.arange(60, dtype=np.uint64), 1)
    write_domain(str(tmp_path / "domain.h5"), known)
    with pytest.raises(IntermediateError, match=r"domain\.h5: is not the domain of the training"):
        ensemble.run(
            [str(tmp_path / "trained.h5")], [str(tmp_path / "m.h5")], str(tmp_path / "domain.h5")
        )
    assert not (tmp_path / "m.h5").exists()


def test_a_file_without_the_arrays_is_no_domain(tmp_path: Path, square: Domain) -> None:
    about = {"detector": "plane", "scaling": SCALING.as_dict()}
    write_arrays(tmp_path / "d.h5", "domain", {"low": square.low}, about)
    with pytest.raises(IntermediateError, match=r"d\.h5: not a domain .* run preprocess again"):
        read_domain(str(tmp_path / "d.h5"))
