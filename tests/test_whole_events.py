"""FPD, KPD, manifolds and neighbours have their known values for known laws."""

import math

import numpy as np
import pytest

from sosie.distances import Halved, sampled
from sosie.fpd_kpd import defined_rows, fpd, frechet, kpd, mmd, physics_distances
from sosie.manifold import manifold
from sosie.memorisation import fingerprints, is_copy
from sosie.neighbours import nearest_two, radii, squared_distances
from sosie.whole_figures import half_figures

RNG = np.random.default_rng(11)


def ones(*samples):
    return [np.ones(len(x)) for x in samples]


def test_frechet_of_two_gaussians_is_the_closed_form():
    """Commuting covariances: |m|^2 + sum (s - t)^2; and any two against the matrix square root."""
    s, t, m = np.array([1.0, 2.0, 0.5]), np.array([1.5, 1.0, 0.5]), np.array([0.3, 0.0, -1.0])
    known = m @ m + ((s - t) ** 2).sum()
    found = frechet(np.zeros(3), np.diag(s**2), m, np.diag(t**2))
    assert found == pytest.approx(known)
    from scipy.linalg import sqrtm

    a, b = (x @ x.T for x in RNG.normal(size=(2, 4, 4)))
    known = np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet(np.zeros(4), a, np.zeros(4), b) == pytest.approx(known)


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_fpd_of_two_gaussians_for_ever_more_events(shift):
    """The line in 1/N takes away what a batch of few events adds, some 5 D^2 / (4 N)."""
    scale = np.linspace(0.5, 1.5, 8)
    values = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(1500, 8)), rng.normal(size=(1500, 8)) * scale
        b[:, 0] += shift
        values.append(fpd(a, b, seed, *ones(a, b)))
    known = shift**2 + ((scale - 1) ** 2).sum()
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    assert np.mean(values) == pytest.approx(known, abs=3 * error)
    assert error < 0.02


def test_fpd_of_equal_laws_is_small_beside_that_of_a_batch():
    values = [
        fpd(*(x := rng.normal(size=(2, 1000, 6))), seed, *ones(*x))
        for seed, rng in enumerate(map(np.random.default_rng, range(8)))
    ]
    assert 0 <= np.mean(values) < 0.01
    rng = np.random.default_rng(1)
    batch = [np.cov(rng.normal(size=(250, 6)).T) for _ in range(2)]
    assert frechet(np.zeros(6), batch[0], np.zeros(6), batch[1]) > 0.02


def test_mmd_is_the_double_sum():
    a, b = RNG.normal(size=(7, 3)), RNG.normal(1, 1, size=(5, 3))
    u, v = RNG.uniform(0.5, 2, 7), RNG.uniform(0.5, 2, 5)

    def k(x, y):
        return (x @ y / 3 + 1) ** 4

    def mean(x, w, y, z, same):
        pairs = [(i, j) for i in range(len(x)) for j in range(len(y)) if not (same and i == j)]
        weight = [w[i] * z[j] for i, j in pairs]
        return np.average([k(x[i], y[j]) for i, j in pairs], weights=weight)

    known = mean(a, u, a, u, True) + mean(b, v, b, v, True) - 2 * mean(a, u, b, v, False)
    assert mmd(a, b, u, v) == pytest.approx(known)


def test_kpd_of_a_shift_is_the_closed_form():
    """One number, N(0, 1) and N(d, 1): the kernel is the sum of C(4, p) of products of p-th moments."""
    d = 0.7
    first, second = [1, 0, 1, 0, 3], [1, d, d**2 + 1, d**3 + 3 * d, d**4 + 6 * d**2 + 3]
    known = sum(math.comb(4, p) * (first[p] - second[p]) ** 2 for p in range(5))
    values = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(3000, 1)), rng.normal(d, 1, size=(3000, 1))
        values.append(kpd(a, b, seed, *ones(a, b)))
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    # The median of a law with a tail lies somewhat below its mean.
    assert np.mean(values) == pytest.approx(known, abs=4 * error + 0.02 * known)
    same = [
        kpd(*(x := rng.normal(size=(2, 3000, 1))), seed, *ones(*x))
        for seed, rng in enumerate(map(np.random.default_rng, range(8)))
    ]
    assert abs(np.mean(same)) < 0.01 * known


def test_events_with_a_missing_value_are_left_out_and_weights_subtract():
    a, b = RNG.normal(size=(2, 2000, 3))
    a[::4, 1] = np.nan
    found = physics_distances(a, b, 1)
    assert found.events == (1500, 2000)
    assert found == physics_distances(*(defined_rows(x, None)[0] for x in (a, b)), 1)
    far = RNG.normal(3, 1, size=(1000, 3))
    mixed = np.concatenate([b, far[:500], far[500:]])
    weight = np.repeat([1.0, 1.0, -1.0], [2000, 500, 500])
    assert physics_distances(a, mixed, 1, None, weight).fpd < 0.1
    assert physics_distances(a, mixed[:2500], 1).fpd > 1
    assert math.isnan(physics_distances(a, b, 1, None, np.tile([1.0, -1.0], 1000)).kpd)
    few = physics_distances(a[1:4], b[:3], 1)
    assert math.isnan(few.fpd)
    assert math.isnan(few.kpd)


def test_jetnet_finds_the_same():
    jetnet = pytest.importorskip("jetnet")
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(50_000, 5)), rng.normal(0.1, 1.2, size=(50_000, 5))
    scale = np.abs(a).max(axis=0)
    found = physics_distances(a / scale, b / scale, 1)
    value, error = jetnet.evaluation.fpd(a, b)
    assert found.fpd == pytest.approx(value, abs=5 * error + 0.05 * value)
    value, error = jetnet.evaluation.kpd(a, b)
    assert found.kpd == pytest.approx(value, abs=5 * error + 0.1 * value)


def test_manifolds_of_equal_laws():
    """Coverage of equal laws is 1 - 2^-5 for as many events (Naeem et al., lemma 2); density is 1."""
    a, b = RNG.normal(size=(2, 3000, 4))
    found = manifold(a, b)
    assert found.coverage == pytest.approx(1 - 2**-5, abs=0.015)
    assert found.density == pytest.approx(1, abs=0.04)
    assert found.precision == pytest.approx(found.recall, abs=0.02)
    assert found.precision > 0.9
    assert found.events == (3000, 3000)


def test_manifolds_by_hand():
    """Two clusters of one number: b repeats one of them, densely, and lies nowhere else but once."""
    near, far = np.arange(8.0), 1000 + np.arange(8.0)
    a = np.concatenate([near, far])[:, None]
    b = np.concatenate([near, [-500.0]])[:, None]
    found = manifold(a, b)
    assert found.precision == pytest.approx(8 / 9)
    assert found.coverage == pytest.approx(8 / 16)
    distances = np.abs(a - a.T)
    balls = np.sort(distances, axis=1)[:, 5]
    known = (np.abs(a - b.T) <= balls[:, None]).sum() / (5 * 9)
    assert found.density == pytest.approx(known)
    # The ball of an event of b at 7 reaches to 2, that of the one at -500 to 4: all near events.
    assert found.recall == pytest.approx(8 / 16)


def test_manifolds_see_lost_modes_and_lost_width():
    real = RNG.normal(size=(2000, 3))
    narrow = manifold(real, 0.3 * RNG.normal(size=(2000, 3)))
    assert narrow.precision > 0.97
    assert narrow.recall < 0.4
    assert narrow.coverage < 0.4
    wide = manifold(real, 3 * RNG.normal(size=(2000, 3)))
    assert wide.precision < 0.5
    assert wide.recall > 0.95
    weight = np.repeat([1.0, 0.0], 1000)
    both = np.concatenate([real[:1000], real[1000:] + 50])
    assert manifold(real, both).precision == pytest.approx(0.5)
    assert manifold(real, both, None, weight).precision == 1
    assert math.isnan(manifold(real[:5], real).recall)


def test_neighbours_are_those_of_a_search_of_all():
    x, y = RNG.normal(size=(1500, 6)), RNG.normal(size=(1300, 6))
    known = ((x[:, None] - y) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared_distances(x, y), known, atol=1e-12)
    found = nearest_two(x, (y[start : start + 500] for start in range(0, 1300, 500)))
    np.testing.assert_allclose(found, np.sqrt(np.sort(known, axis=1)[:, :2]))
    own = np.sort(((x[:, None] - x) ** 2).sum(axis=2), axis=1)
    np.testing.assert_allclose(radii(x, 3), own[:, 3])
    same = nearest_two(x, [x])
    assert (same[:, 0] == 0).all()
    assert (same[:, 1] > 0).all()
    assert np.isinf(nearest_two(x, [y[:1]])[:, 1]).all()


def test_fingerprints_do_not_know_the_scale():
    response = RNG.gamma(0.5, 1, (20, 3, 3))
    one, two = (fingerprints(r, False, np.ones(9)) for r in (response, 7 * response))
    np.testing.assert_allclose(one, two)
    np.testing.assert_allclose((one**2).sum(axis=1), 1)
    assert (fingerprints(np.zeros((1, 3, 3)), False, np.ones(9)) == 0).all()
    np.testing.assert_array_equal(
        fingerprints(np.array([[2.0, -3.0, 1.0]]), True, np.array([2.0, 1.0, 0.0])), [[1, -3]]
    )


def test_a_copy_is_nearer_than_test_events_ever_are():
    of_test = RNG.uniform(0.4, 1, 3000)
    ratio = np.array([0.0, 0.1, 0.19, 0.25, 0.4, 0.9, np.nan])
    np.testing.assert_array_equal(is_copy(ratio, of_test), [1, 1, 1, 0, 0, 0, 0])
    assert not is_copy(ratio, np.full(5, np.nan)).any()


def test_a_part_of_the_events_is_drawn_by_group():
    groups = np.repeat(np.arange(400, dtype=np.uint64), 5)
    chosen = sampled(groups, 1, 1000)
    assert chosen.sum() == 1000
    assert set(chosen.reshape(400, 5).sum(axis=1)) == {0, 5}
    order = RNG.permutation(2000)
    np.testing.assert_array_equal(sampled(groups[order], 1, 1000), chosen[order])
    assert sampled(groups, 1, 2000).all()
    assert (sampled(groups, 2, 1000) != chosen).any()


def test_figures_of_halves_know_members_and_events():
    split = np.arange(200) % 2 == np.arange(2)[:, None]
    events = Halved(split, np.arange(200, dtype=np.uint64), None, 1)
    reference = RNG.normal(size=(200, 2))
    reference[:30, 0] = np.nan

    def measure(a, b, seed, a_groups, b_groups):
        assert not set(a_groups) & set(b_groups)
        return physics_distances(a, b, seed)

    one = half_figures(measure, reference, [reference], events)
    assert one["fpd"]["events"] == [85, 85]
    assert one["fpd"]["systematic"] == "not estimated"
    two = half_figures(measure, reference, iter([reference, reference + 1]), events)
    assert two["fpd"]["systematic"] > 0
    chosen = np.arange(200) < 100
    assert events.some(chosen).split.shape == (2, 100)
