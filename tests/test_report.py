"""Figures and page: labels, errors, and nothing that executes."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from sosie import panels, plots
from sosie.bootstrap import binned_moments, counts
from sosie.detectors import find
from sosie.profiles import Binning, bin_events, tables
from sosie.report import provenance
from sosie.style import REFERENCE, Drawn, house_style, to_svg

ECAL = find("ecal")


def make_drawn(members: int = 3) -> list[Drawn]:
    """Profiles of two quantities in four bins of the momentum."""
    rng = np.random.default_rng(1)
    count = 400
    p = np.exp(rng.uniform(0, 4, count))
    binning: Binning = bin_events("momentum", p, 4)
    weights = counts(1, np.arange(count, dtype=np.uint64), 20)

    def table(values):
        found = binned_moments(values, np.ones(count), weights, binning.index, 4)
        return np.stack([found.mean, found.std], axis=1)

    reference = rng.normal([10.0, 0.0], 1, (count, 2))
    others = [reference + rng.normal(0.1, 0.1, 2) for _ in range(members)]
    arrays = tables(binning, table(reference), map(table, others))
    return [Drawn("gan", 0, members, {f"momentum/{name}": a for name, a in arrays.items()})]


def texts(figure: Figure) -> list[str]:
    return [axes.get_xlabel() for axes in figure.axes] + [a.get_ylabel() for a in figure.axes]


def test_every_profile_has_units_ratio_and_band():
    variables = {"momentum": ECAL.variables["momentum"]}
    with house_style():
        figure = panels.profile_figure(
            ECAL.observables["bary_x"], 0, ("mean", "std"), variables, make_drawn()
        )
        found = texts(figure)
        assert any("[GeV]" in text for text in found)
        assert any("mean of" in text and "[mm]" in text for text in found)
        assert "gen. / sim." in found
        assert all(axes.collections for axes in figure.axes), "a band in every panel"
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels == [REFERENCE, "gan", "gan systematic"]


def test_a_quantity_about_zero_is_shown_as_a_difference():
    variables = {"momentum": ECAL.variables["momentum"]}
    with house_style():
        figure = panels.profile_figure(
            ECAL.observables["bary_x"], 1, ("mean", "std"), variables, make_drawn()
        )
        labels = [axes.get_ylabel() for axes in figure.axes]
        assert labels[1].startswith("gen. $-$ sim.")
        assert labels[3] == "gen. / sim."


def test_one_member_has_no_band():
    variables = {"momentum": ECAL.variables["momentum"]}
    with house_style():
        figure = panels.profile_figure(
            ECAL.observables["bary_x"], 0, ("mean", "std"), variables, make_drawn(1)
        )
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [REFERENCE, "gan"]


def test_svg_is_the_same_every_time_and_has_no_date():
    def draw() -> str:
        with house_style():
            return to_svg(plots.pull_figure(make_drawn(), {"gan": np.linspace(-3, 3, 50)}))

    assert draw() == draw()
    assert "<dc:date>" not in draw()


@pytest.mark.parametrize("values", [np.array([]), np.full(5, 100.0)])
def test_pulls_of_any_size_are_drawn(values):
    with house_style():
        assert to_svg(plots.pull_figure(make_drawn(), {"gan": values}))


def test_provenance_escapes_nothing_and_lists_versions(tmp_path):
    (tmp_path / "ingest").mkdir()
    (tmp_path / "ingest/summary.json").write_text(
        '{"files": {"<script>.root": {"sha256": "ab", "entries": 1}}}'
    )
    rows = dict(provenance(tmp_path))
    assert rows["input <script>.root"] == "sha256 ab"
    assert {"sosie", "numpy", "torch"} <= set(rows)
