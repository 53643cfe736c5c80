"""The benchmarks: inputs hold what they should, and the page says what was measured. No times."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import uproot

from sosie.events import open_events
from sosie.generate import draw
from sosie.ingest import SAMPLES
from sosie.streams import stream
from sosie.surrogates import load

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import inputs  # noqa: E402
import page  # noqa: E402
import run  # noqa: E402
import scale  # noqa: E402
import scale_page  # noqa: E402


def measured(*seconds, peak=100.0):
    return [{"seconds": s, "cpu_seconds": s / 2, "peak_mb": peak} for s in seconds]


INGEST = {
    page.BARE: measured(1.0, 2.0, 3.0),
    page.PLAIN: measured(0.5, 0.5, 0.5),
    page.AS_IS: measured(4.0, 4.0, 4.0),
    **{page.without(part): measured(3.0, 3.0, 3.0) for part in page.PARTS},
    page.without("all three"): measured(2.0, 2.0, 2.0),
    page.TWO: measured(2.0, 4.0, 6.0),
    page.TWICE: measured(0.5, 1.0, 1.5),
}
SIZES = page.Sizes(files=2, showers=8000, megabytes=32.0, few=10, many=100, drawn=1000)


def test_a_ratio_is_to_the_bare_loop_of_the_same_repetition():
    assert page.ratios(INGEST, page.AS_IS) == [0.25, 0.5, 0.75]
    assert page.ratios(INGEST, page.TWO) == [0.5, 0.5, 0.5]


def test_the_table_of_ingest_holds_median_range_throughput_and_ratio():
    row = page.ingest_table(INGEST, 8000, 32.0).splitlines()[4]
    assert row == "| ingest | 4.00 (4.00-4.00) | 2.00 | 2000 | 8 | 0.50 (0.25-0.75) |"


@pytest.mark.parametrize(
    ("many", "word"), [(119, "met"), (121, "missed"), (81, "met"), (79, "missed")]
)
def test_memory_is_the_same_within_a_fifth(many, word):
    rows = {"step": [*measured(1, peak=100), *measured(1, peak=many)]}
    assert (
        page.memory_table(rows, 10, 100).splitlines()[2].endswith(f"| {many / 100:.2f} | {word} |")
    )


def test_a_target_that_is_missed_reads_missed():
    flat = {"step": measured(1, 1)}
    grown = flat | {"other": [*measured(1), *measured(1, peak=150)]}
    good = page.targets(INGEST, flat, measured(0.5), 1000).splitlines()[2:]
    bad = page.targets(INGEST | {page.AS_IS: measured(9, 9, 9)}, grown, measured(0.51), 1000)
    assert [line.split("|")[-2].strip() for line in good] == ["met", "missed", "met", "met"]
    words = [line.split("|")[-2].strip() for line in bad.splitlines()[2:]]
    assert words == ["missed"] * 4
    assert "worst: other" in bad


def test_generate_is_compared_with_full_simulation():
    row = page.generate_table(measured(0.5), 1000).splitlines()[2]
    assert row == "| one GAN member | 0.500 (0.500-0.500) | 0.250 (0.250-0.250) | 480 |"


def test_the_page_has_every_part():
    memory = {"step": measured(1, 1)}
    text = page.build({"cores": 2}, INGEST, memory, measured(0.5), "the overhead", SIZES)
    for part in ("cores 2", "2 files with 8000 showers", "the overhead", "compression 25%"):
        assert part in text


def test_ntuples_repeat_the_showers_with_numbers_of_their_own(tmp_path, ntuple):
    source = ntuple("source.root", count=120)
    path = inputs.write_ntuple(tmp_path / "made.root", 1250, 500, source)
    with uproot.open(source) as file, uproot.open(path) as made:
        old, new = (one["ecal"].arrays(library="np") for one in (file, made))
        assert made["ecal"]["energy"].num_baskets == 2
        assert made.file.compression == file.file.compression
    assert list(new["event_id"]) == list(range(500, 1750))
    assert set(new) == set(old)
    assert (new["energy"][1200:] == old["energy"][:50]).all()
    assert (new["px"][:120] == old["px"]).all()


def test_the_shipped_file_has_the_baskets_of_the_copies():
    with uproot.open(inputs.SHIPPED) as file:
        assert file["ecal"]["energy"].basket(0).num_entries == inputs.BASKET


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Tables and surrogates made of the first showers of the shipped file."""
    folder = tmp_path_factory.mktemp("benchmarks")
    return inputs.make(folder, Path(inputs.write_ntuple(folder / "few.root", 200)))


def test_tables_repeat_the_events(made, tmp_path):
    path = inputs.write_table(tmp_path / "table.h5", made.tables, 450)
    with open_events(path) as events:
        (_, response), *_ = events.responses()
        assert list(events.column("event_id")) == list(range(450))
    assert (response[:200] == response[200:400]).all()


def test_the_network_fills_no_fewer_cells_than_a_shower_has(made):
    network = load(made.surrogates["wgan_gp"])
    with open_events(made.tables["test"]) as events:
        (_, real), *_ = events.responses()
        drawn = draw(network, events.column("conditions"), stream(1, "test"))
    assert (drawn > 0).mean() > (real > 0).mean()


@pytest.mark.slow
def test_every_task_runs_and_is_measured(made, tmp_path):
    files = inputs.write_ntuples(tmp_path, 2, 100)
    read = run.ingest(tmp_path, files, 1)
    assert set(read) == set(INGEST)
    memory = run.memory(tmp_path, made, 96, 104)
    assert all(one["peak_mb"] > 10 for pair in memory.values() for one in pair)
    drawn = run.generate(tmp_path, made, 50, 1)
    assert page.build({}, read, memory, drawn, "", SIZES)


@pytest.mark.parametrize(
    ("without", "compressed", "checked"),
    [
        ([], True, True),
        (["compression"], False, True),
        (["checksums", "reading back"], True, False),
    ],
)
def test_parts_are_left_out_of_ingest(tmp_path, without, compressed, checked):
    files = inputs.write_ntuples(tmp_path, 1, 100)
    arguments = {"files": files, "out": str(tmp_path), "threads": 1, "without": without}
    run.fresh("ingest", inputs.ingest_settings() | arguments)
    for name in SAMPLES:
        with h5py.File(tmp_path / f"{name}.h5") as file:
            data = file["response"]
            # Reading would fail, were what is declared not what was written.
            assert np.isfinite(data[()]).all()
            assert bool(data._filters.keys() - {"fletcher32"}) == compressed
            assert data.fletcher32 == checked


def test_the_exponent_is_that_of_a_power():
    assert scale_page.exponent([10, 100, 1000], [3.0, 30.0, 300.0]) == pytest.approx(1)
    assert scale_page.exponent([10, 100], [5.0, 5.0 * 10**1.5]) == pytest.approx(1.5)
    assert np.isnan(scale_page.exponent([10], [5.0]))


def test_the_page_of_the_scale_has_the_powers_and_the_arithmetic():
    def one(events, step):
        power = 1.5 if step == "moments" else 1.0
        peak = 200.0 + (events / 1000 if step == "reconstruct" else 0)
        cpu = 1e-4 * events**power
        return {"seconds": 2 * cpu, "cpu_seconds": cpu, "peak_mb": peak, "bytes": 600.0 * events}

    found = {n: {s: one(n, s) for s in scale_page.STEPS} for n in (1000, 10_000, 100_000)}
    text = scale_page.build({"cores": 2}, found)
    rows = {
        line.split("|")[1].strip(): line for line in scale_page.fitted_table(found).splitlines()
    }
    assert rows["ingest"] == "| ingest | 1.00 | 1.00 | yes | +0% | 0 | yes |"
    assert rows["moments"].startswith("| moments | 1.50 | 1.50 | no |")
    assert rows["reconstruct"].endswith("| +49% | 1000 | no |")
    # 10^9 events of 100 us, on 1000 jobs.
    assert "| ingest | 1e+09 | 100 µs | 27.8 h | 1000 | 1.67 min |" in text
    assert "0.6 TB for 1e+09" in text


@pytest.mark.slow
def test_the_scale_is_measured_and_taken_up_again(tmp_path, monkeypatch):
    made = scale.prepare(tmp_path)
    first = scale.measure(tmp_path, 300, made)
    assert set(first) == set(scale_page.STEPS)
    assert not (tmp_path / "300").exists()
    monkeypatch.setattr(scale, "fresh", None)
    assert scale.measure(tmp_path, 300, made) == first
