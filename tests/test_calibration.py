"""The scale of the spread mends a bias that samples share, and its coverage is what it says."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sosie.bootstrap import CENTRAL
from sosie.calibration import (
    FITTED,
    HIDDEN,
    SHORT,
    Bins,
    bins_of,
    calibrated,
    fit_scale,
    judge,
    pulls,
    student,
    tables,
    widening,
)
from sosie.ensembles import expected_coverage, spread
from sosie.profiles import spread_arrays

BINS = 600


def table(members, noise=0.05, bias=0.0, seed=0, replicas=200, model=1.0, common=None):
    """Arrays of one table, as moments writes them: a truth and K members from one law of width
    ``model`` about a bias, with statistical errors ``noise``.

    bias: of all members alike, drawn for each bin with this width; or ``common`` (B,) itself.
    """
    rng = np.random.default_rng(seed)
    off = bias * rng.normal(size=BINS) if common is None else common
    own = rng.normal(0, noise, (members + 1, replicas + 1, BINS))
    own[:, 1:] += own[:, :1]
    centre = rng.normal(0, model, (members + 1, 1, BINS))
    centre[1:] += off
    whole = (centre + own)[:, :, None, None]
    return {
        f"profiles/p/{name}": array
        for name, array in spread_arrays(spread(whole[0], whole[1:]), whole[0], whole[1:]).items()
    }


def bins(members, **how):
    arrays = table(members, **how)
    return bins_of(arrays, tables(arrays), members)


@pytest.mark.parametrize("members", range(3, 21))
def test_coverage_of_a_perfect_ensemble_is_what_is_expected_for_its_members(members):
    found = judge(bins(members, seed=members, noise=0.01), 1.0)
    error = math.sqrt(CENTRAL * (1 - CENTRAL) / BINS)
    assert found["coverage"] == pytest.approx(CENTRAL, abs=4 * error)
    assert found["band_coverage"] == pytest.approx(expected_coverage(members), abs=4 * error)
    assert found["pull_width"] == pytest.approx(found["expected_width"], rel=0.12)


@pytest.mark.parametrize("noise", [0.05, 0.7])
def test_a_perfect_ensemble_needs_no_scale(noise):
    scale = fit_scale(bins(8, noise=noise, seed=5))
    assert scale.status == FITTED
    assert abs(scale.value - 1) < 3 * scale.error
    assert scale.error < 0.4


def test_a_common_bias_is_mended_where_the_sample_of_calibration_shares_it_and_nowhere_else():
    common = 2 * np.random.default_rng(1).normal(size=BINS)
    here, there = (bins(8, common=common, seed=seed) for seed in (2, 3))
    elsewhere = bins(8, common=4 * common, seed=4)
    assert judge(there, 1.0)["coverage"] < 0.5
    scale = fit_scale(here)
    assert scale.value == pytest.approx(math.sqrt(1 + 4), rel=0.15)
    after = judge(there, scale.value)
    assert abs(after["coverage"] - CENTRAL) < 2 * after["coverage_error"]
    assert after["pull_width"] == pytest.approx(student(8), rel=0.1)
    assert judge(elsewhere, scale.value)["coverage"] < 0.45


def test_a_sample_too_small_to_see_the_systematic_error_leaves_it_as_it_is():
    found = bins(8, noise=1.0, model=0.0, seed=7)
    quiet = Bins(
        found.difference * 0.5,
        np.full(BINS, 0.1),
        found.error,
        found.resampled_difference,
        np.full_like(found.resampled_systematic, 0.1),
        8,
    )
    scale = fit_scale(quiet)
    assert (scale.value, scale.status) == (1.0, HIDDEN)


def test_members_that_agree_where_they_are_off_have_no_scale():
    found = bins(8, noise=0.01, model=0.0, bias=1.0, seed=8)
    scale = fit_scale(replace(found, systematic=np.zeros(BINS)))
    assert (scale.value, scale.status) == (1.0, SHORT)


def test_no_bins_and_one_member_have_no_scale():
    empty = Bins(*(np.empty(0) for _ in range(3)), *(np.empty((5, 0)) for _ in range(2)), 8)
    for none in (fit_scale(empty), fit_scale(bins(1))):
        assert math.isnan(none.value)
        assert none.bins == 0
    assert math.isnan(judge(empty, 1.0)["coverage"])
    assert math.isnan(judge(bins(1), 1.0)["band_coverage"])


def test_the_error_of_a_coverage_covers_what_other_samples_give():
    found = [judge(bins(8, noise=0.3, seed=seed), 1.0) for seed in range(25)]
    scatter = np.std([one["coverage"] for one in found], ddof=1)
    error = np.mean([one["coverage_error"] for one in found])
    # Members are drawn again for all bins at once, since those of a surrogate correlate: where
    # they do not, as here, the error is too large.
    assert scatter < error < 3 * scatter


def test_the_calibrated_band_covers_and_the_raw_one_is_kept():
    members, scale = 5, 1.7
    arrays = table(members, noise=1e-3, seed=11, model=1.0)
    raw = arrays["profiles/p/systematic"].copy()
    shown = calibrated(arrays, scale, members)
    assert np.array_equal(shown["profiles/p/systematic_raw"], raw)
    assert np.allclose(shown["profiles/p/systematic"], scale * widening(members) * raw)
    assert np.array_equal(shown["profiles/p/pull_raw"], arrays["profiles/p/pull"])
    wanted = pulls(bins_of(arrays, ["profiles/p"], members), scale)
    assert np.allclose(shown["profiles/p/pull"].ravel(), wanted)
    plain = calibrated(arrays, 1.0, members)
    covered = np.abs(plain["profiles/p/difference"]) < plain["profiles/p/systematic"]
    assert covered.mean() == pytest.approx(CENTRAL, abs=0.08)


def test_what_is_not_defined_stays_so():
    arrays = table(4)
    for name in ("difference", "pull", "systematic"):
        arrays[f"profiles/p/{name}"][..., 0] = np.nan
    assert np.isnan(calibrated(arrays, 2.0, 4)["profiles/p/pull"].ravel()[0])
    assert len(bins_of(arrays, ["profiles/p"], 4).difference) == BINS - 1


def test_tables_are_those_measured_in_bins_but_not_in_the_distance():
    names = [
        "profiles/momentum",
        "profiles/distance",
        "rates/eta",
        "rates/distance",
        "rate_ratios/eta",
        "rocs/cells",
        "groups/results/pt",
        "groups/ratios",
        "pairs/found/distance",
        "pairs/summary",
        "ratios",
        "fits/energy_resolution",
    ]
    arrays = {f"{name}/pull": np.zeros(1) for name in names}
    assert tables(arrays) == [
        "groups/results/pt",
        "pairs/found/distance",
        "profiles/momentum",
        "rates/eta",
        "rocs/cells",
    ]
