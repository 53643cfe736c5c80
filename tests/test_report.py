"""Figures and page: labels, errors, and nothing that executes."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from samples import whole_events
from sosie import panels
from sosie.binnings import Binning, bin_events
from sosie.bootstrap import binned_moments, counts
from sosie.detectors import find
from sosie.distance_board import distance_columns
from sosie.files import write_json
from sosie.profiles import tables
from sosie.report import board, gate_rows, provenance
from sosie.style import REFERENCE, Drawn, house_style, to_svg
from sosie.trust_plots import pull_figure

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


def pulls_of(values) -> Figure:
    drawn = [Drawn("gan", 0, 3, {"pull": values, "pull_raw": 2 * values})]
    return pull_figure([("moments", drawn), ("reconstruct", drawn)])


def test_svg_is_the_same_every_time_and_has_no_date():
    def draw() -> str:
        with house_style():
            return to_svg(pulls_of(np.linspace(-3, 3, 50)))

    assert draw() == draw()
    assert "<dc:date>" not in draw()


@pytest.mark.parametrize("values", [np.array([]), np.full(5, 100.0)])
def test_pulls_of_any_size_are_drawn(values):
    with house_style():
        assert to_svg(pulls_of(values))


def make_figure(value, count=3000):
    return {"value": value, "statistical": 0.01, "systematic": 0.02, "events": [count, count]}


def test_the_board_has_the_events_a_class_of_every_figure():
    part = {
        "classifier": {"auc": make_figure(0.7, 1500)},
        "wasserstein_mean": make_figure(0.1, 2000),
        "separation_mean": make_figure(0.0123, 2000),
        "resolution": {"residual_x": make_figure(1.1, 4000)},
    }
    found = board(
        ECAL.results, [{"surrogate": "gan", "members": 8, "figures": part, "floor": part}]
    )
    floor, gan = found["rows"]
    assert len(found["heads"]) == len(gan) == len(floor) == 6
    assert found["heads"][3:5] == ["mean separation", "x position resolution / sim."]
    notes = ["", "1500 a class, indicative", "2000 a class", "2000 a class", "4000 a class", ""]
    assert [note for _, note in gan] == [note for _, note in floor] == notes
    assert gan[3][0] == "0.0123 ± 0.0100 (stat.) ± 0.0200 (syst.)"
    assert floor[3][0] == "0.0123 ± 0.0100 (stat.)"


def test_distances_of_whole_events_have_a_table_with_plain_words():
    part = whole_events(make_figure(0.6, 1500))
    entry = {"surrogate": "gan", "members": 8, "figures": part, "floor": part}
    found = board(ECAL.results, [entry], distance_columns)
    assert found["heads"][3:5] == ["FPD", "KPD"]
    assert len(found["heads"]) == len(found["tips"]) == len(found["rows"][1]) == 12
    assert all(found["tips"][1:-1])
    assert {note for _, note in found["rows"][1][1:-1]} == {"1500 a class, indicative"}


def test_gates_are_told_with_value_and_limit():
    result = {
        "surrogate": "gan", "figure": "auc", "value": make_figure(0.71), "relative_to": "floor",
        "reference": 0.5, "limit": 0.6, "rule": "+ 0.1", "passed": False, "reason": "",
    }  # fmt: skip
    (row,) = gate_rows([result])
    assert row["cells"] == [
        "gan",
        "auc",
        "0.710 ± 0.010 (stat.) ± 0.020 (syst.)",
        "at most 0.600 (floor 0.500 + 0.1)",
    ]
    assert (row["passed"], row["events"]) == (False, "3000 a class")


def test_the_figures_of_compare_name_external_results():
    from sosie.figures import Validation, all_quantities, compare_figures

    about = {
        "quantities": [*ECAL.results, "depth"],
        "labels": {"depth": {"label": "$d$", "unit": "mm", "words": "shower depth"}},
    }
    quantities = all_quantities(ECAL, Validation(about, [], {}))
    assert list(quantities) == [*ECAL.observables, *ECAL.results, "depth"]
    part = {d: {n: make_figure(0.1) for n in quantities} for d in ("wasserstein", "separation")}
    with house_style():
        shown = list(
            compare_figures(quantities, [{"surrogate": "g", "figures": part, "floor": part}])
        )
    assert [one.name for one in shown] == ["wasserstein", "separation"]
    for one in shown:
        assert [text.get_text() for text in one.figure.axes[0].get_yticklabels()][-1] == "$d$"


def test_provenance_escapes_nothing_and_lists_versions(tmp_path):
    files = {"<script>.root": {"sha256": "ab", "entries": 1}}
    write_json(tmp_path / "ingest/summary.json", {"files": files})
    rows = dict(provenance(tmp_path))
    assert rows["input <script>.root"] == "sha256 ab"
    assert {"sosie", "numpy", "torch"} <= set(rows)
