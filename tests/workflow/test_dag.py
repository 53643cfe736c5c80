"""The real DAG on a tiny study: end to end, and what reruns after a change."""

import csv
import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import uproot

from sosie.arrays import read_arrays
from sosie.calibration import widening
from sosie.events import open_events
from tiny import ODD, ROOT, digests, jobs, snakemake, tiny

CHAIN = ["ingest", "preprocess", "train_one", "ensemble", "generate", "moments_one"]
AFTER_GENERATE = {"moments_one", "reconstruct_one", "compare_one", "compare", "report", "all"}


class Page(HTMLParser):
    """Tags and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "data")]


def test_every_step_leaves_its_results(done):
    results = done / "results/tiny"
    for path in (
        "ingest/train.h5", "ingest/validation.h5", "ingest/test.h5", "ingest/summary.json",
        "preprocess/transform.json", "train/library/0.h5", "train/wgan_gp/0.h5",
        "train/wgan_gp/0.csv", "ensemble/library/0.h5", "ensemble/wgan_gp/1.h5",
        "ingest/late.h5", "ingest/calibration.h5", "preprocess/domain.h5",
        "generate/library/0/test.h5", "generate/wgan_gp/1/test.h5", "moments/wgan_gp/test.h5",
        "generate/wgan_gp/1/calibration.h5", "moments/wgan_gp/calibration.h5",
        "moments/library/late.h5", "reconstruct/wgan_gp/late.h5",
        "reconstruct/calibration.json", "reconstruct/library/test.h5",
        "compare/metrics.json", "compare/leaderboard.csv", "report.html",
        "times/train/wgan_gp/0.json", "times/generate/library.json",
    ):  # fmt: skip
        assert (results / path).stat().st_size > 0, path
    # A calibration is of an ensemble.
    assert not (results / "generate/library/0/calibration.h5").exists()
    assert not list(results.rglob("*.part"))


def test_zones_stand_beside_what_was_drawn_and_in_the_profiles(done):
    results = done / "results/tiny"
    for name in ("test", "late"):
        zones = []
        for member in (0, 1):
            with open_events(results / f"generate/wgan_gp/{member}/{name}.h5") as events:
                zones.append(events.column("aux/sosie_zone"))
                assert events.column("aux/sosie_distance").dtype == np.float32
        assert np.array_equal(*zones)
        for step in ("moments", "reconstruct"):
            arrays, _ = read_arrays(results / f"{step}/wgan_gp/{name}.h5", step, step)
            count, share = (arrays[f"profiles/momentum/{key}"] for key in ("events", "flagged"))
            assert (count * share).sum() == pytest.approx((zones[0] > 0).sum())


def test_the_trust_of_the_ensemble_is_on_the_page(done):
    trust = json.loads((done / "results/tiny/compare/wgan_gp/trust.json").read_text())
    assert set(trust["samples"]) == {"calibration", "late", "test"}
    assert not (done / "results/tiny/compare/library/trust.json").exists()
    scale = trust["scale"]["moments"]["value"]
    metrics = json.loads((done / "results/tiny/compare/metrics.json").read_text())
    entry = metrics["surrogates"]["wgan_gp"]
    assert entry["calibration"]["moments"]["scale"] == scale
    ratio = entry["figures"]["resolution"]["energy_ratio"]
    widened = trust["scale"]["reconstruct"]["value"] * widening(2)
    assert ratio["systematic"] == pytest.approx(widened * ratio["systematic_raw"])
    page = (done / "results/tiny/report.html").read_text(encoding="utf-8")
    assert 'id="trust"' in page
    for figure in ("pulls", "coverage", "bands", "members"):
        assert f'id="figure-{figure}"' in page


def test_the_worked_example_of_the_docs_runs(done):
    text = (ROOT / "docs/trust.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=done, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    numbers = [float(word) for word in re.findall(r"\d+\.\d+", ran.stdout)]
    assert 0.1 < numbers[0] <= 1
    assert all(0 <= number < 1 for number in numbers[1:3])


def test_leaderboard_has_floor_library_and_surrogate(done):
    with open(done / "results/tiny/compare/leaderboard.csv") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["floor", "library", "wgan_gp"]
    assert 0.2 < float(rows["floor"]["auc"]) < 0.8
    assert float(rows["wgan_gp"]["auc"]) > float(rows["floor"]["auc"])
    assert rows["library"]["auc_systematic"] == "not estimated"
    assert float(rows["wgan_gp"]["auc_systematic"]) >= 0
    assert float(rows["library"]["w1_e_over_p"]) < float(rows["wgan_gp"]["w1_e_over_p"])


@pytest.mark.fault(10)
def test_an_odd_path_runs_nothing(done):
    assert not list(done.rglob("hacked"))
    assert (
        html.escape(ODD).replace("&#x27;", "&#39;")
        in (done / "results/tiny/report.html").read_text()
    )


def test_summary_counts_every_event(done):
    events = json.loads((done / "results/tiny/ingest/summary.json").read_text())["events"]
    late = events["kept"].pop("late")
    # The file is read again for the named sample.
    assert events["read"] == 8000
    assert events["rejected"]["selection"] == 3500 + 4000 - late
    assert late == 40
    assert sum(events["kept"].values()) == 500


@pytest.mark.fault(12)
def test_the_page_stands_alone(done):
    page = Page()
    page.feed((done / "results/tiny/report.html").read_text())
    assert "script" not in page.tags
    assert page.tags.count("img") >= 10
    assert all(a.startswith(("#", "data:image/svg+xml;base64,")) for a in page.addresses)
    assert len(list((done / "results/tiny/report").glob("*.svg"))) == page.tags.count("img")


def test_a_member_draws_into_the_layout_of_the_ntuple(done, tmp_path):
    member = done / "results/tiny/ensemble/wgan_gp/0.h5"
    source = ROOT / "resources/ecal/quick.root"
    subprocess.run(
        [
            sys.executable, "-m", "sosie.cli", "generate", "--surrogate", str(member),
            "--conditions", str(source), "--out", str(tmp_path / "out.root"), "--seed", "5",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    with uproot.open(source) as file, uproot.open(tmp_path / "out.root") as drawn:
        given, made = file["ecal"], drawn["ecal"]
        names = ["px", "py", "pz", "x", "y", "z", "pdg", "event_id", "seed"]
        assert set(made.keys()) == {"energy", *names, "sosie_zone", "sosie_distance"}
        for name in names:
            expected, found = (tree[name].array(library="np") for tree in (given, made))
            assert np.array_equal(expected, found), name
        response = made["energy"].array(library="np")
        assert response.shape == (4000, 30, 30)
        assert (response[response > 0] >= 0.2 * (1 - 1e-6)).all()


def test_nothing_changed_reruns_nothing(done):
    assert "Nothing to be done" in snakemake(done, "-n", "all")


def test_all_is_the_default_target(done):
    assert "Nothing to be done" in snakemake(done, "-n")
    assert "all" in jobs(snakemake(done, "-n", seed=5))


def test_one_value_on_the_command_line_changes_the_default_study():
    dry = subprocess.run(
        [
            sys.executable, "-m", "snakemake", "-n", "--cores", "2", "--config", "study=other",
            "--snakefile", str(ROOT / "Snakefile"),
        ],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert "results/other/report.html" in dry.stdout + dry.stderr


def test_each_member_of_an_ensemble_of_trainings_has_a_training(tmp_path):
    small = {"epochs": 2, "width": 16, "critic_width": 16, "depth": 2, "latent": 4}
    surrogates = {
        "library": {"kind": "library"},
        "alone": {"kind": "wgan_gp", "method": "independent", **small},
        "apart": {"kind": "cramer_gan", "method": "repulsive", **small},
    }
    scan = {"surrogate": "apart", "fractions": [0.5]}
    said = snakemake(tmp_path, "-n", "ensemble", train__surrogates=surrogates, train__scan=scan)
    assert re.search(r"^train_one +7$", said, re.MULTILINE)
    assert jobs(said) >= {
        "ensemble_library",
        "ensemble_alone",
        "ensemble_apart",
        "ensemble_apart_50",
    }
    before = re.findall(
        r"^    input: .*train/apart/0\.h5.*\n    output: (\S*),", said, re.MULTILINE
    )
    assert "results/tiny/train/apart/1.h5" in before


@pytest.mark.fault(8)
def test_bins_of_moments_rerun_what_depends_on_them(done):
    found = jobs(snakemake(done, "-n", "all", moments__bins={"momentum": 4}))
    assert found == {"moments_one", "compare_trust", "compare_one", "compare", "report", "all"}


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    ("key", "value", "reruns"),
    [
        ("generate__full_simulation", 0.3, {"generate_times"}),
        ("compare__repetition", 3, {"compare_repetition", "compare"}),
        ("compare__repetition", 0, {"compare"}),
    ],
)
def test_what_is_measured_beside_draws_no_sample_again(done, key, value, reruns):
    assert jobs(snakemake(done, "-n", "all", **{key: value})) == {*reruns, "report", "all"}


def test_members_rerun_nothing_before_ensemble(done):
    found = jobs(snakemake(done, "-n", "all", ensemble__members=3))
    assert "ensemble_wgan_gp" in found
    assert not found & {"ingest", "preprocess", "train_one", "reconstruct_calibrate"}
    assert not found & {"ensemble_library", "generate_library"}


@pytest.mark.fault(8)
def test_settings_of_one_surrogate_leave_the_other_alone(done):
    changed = {**tiny()["train"]["surrogates"]["wgan_gp"], "epochs": 3}
    found = jobs(snakemake(done, "-n", "all", train__surrogates__wgan_gp=changed))
    assert "ensemble_wgan_gp" in found
    assert not found & {"ingest", "preprocess", "ensemble_library", "generate_library"}


def test_a_step_can_be_the_target(done):
    assert jobs(snakemake(done, "-n", "moments", seed=3)) >= {"ingest", "moments_one", "moments"}
    assert not jobs(snakemake(done, "-n", "moments", seed=3)) & {"report", "compare_one"}


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    ("module", "reruns", "spared"),
    [
        ("moments", {"moments_one", "compare_one", "report"}, {"train_one", "reconstruct_one"}),
        ("panels", {"report"}, {"train_one", "moments_one", "compare_one", "generate_wgan_gp"}),
        ("preprocess", {"preprocess", "train_one", "report"}, {"ingest", "reconstruct_calibrate"}),
        ("settings", set(), set(CHAIN) | AFTER_GENERATE),
    ],
)
def test_an_edited_module_reruns_its_step_and_what_follows(done, tmp_path, module, reruns, spared):
    shutil.copytree(ROOT / "src/sosie", tmp_path / "sosie")
    edited = tmp_path / "sosie" / f"{module}.py"
    edited.write_text(edited.read_text() + "\nEDITED = True\n")
    found = jobs(snakemake(done, "-n", "all", code=tmp_path))
    assert reruns <= found
    assert not found & spared


def test_a_comment_reruns_nothing(done, tmp_path):
    shutil.copytree(ROOT / "src/sosie", tmp_path / "sosie")
    edited = tmp_path / "sosie" / "moments.py"
    edited.write_text(edited.read_text() + "\n# a comment\n")
    assert "Nothing to be done" in snakemake(done, "-n", "all", code=tmp_path)


@pytest.mark.slow
def test_same_study_same_bytes(done, tmp_path):
    first = digests(done)
    snakemake(tmp_path, "all")
    again = digests(tmp_path)
    assert set(first) == set(again)
    assert {name for name in first if first[name] != again[name]} == set()


@pytest.mark.slow
def test_snakemake_makes_its_own_report_too(done):
    snakemake(done, "--report", str(done / "snakemake.html"))
    assert (done / "snakemake.html").stat().st_size > 10**5


@pytest.mark.parametrize("cluster", ["htcondor", "slurm"])
def test_profiles_of_clusters_plan_the_study(tmp_path, cluster):
    pytest.importorskip(f"snakemake_executor_plugin_{cluster}", reason="make .venv/cluster")
    profile = str(ROOT / "profiles" / cluster)
    assert "report" in jobs(snakemake(tmp_path, "-n", "all", "--workflow-profile", profile))


def test_the_study_says_which_trainings_ask_for_a_gpu(tmp_path):
    said = snakemake(
        tmp_path, "-n", "train",
        train__surrogates={
            "here": {"kind": "wgan_gp"}, "there": {"kind": "wgan_gp", "device": "gpu"}
        },
    )  # fmt: skip
    asked = re.findall(r"wildcards: surrogate=(\w+), .*\n(?:.*\n)*?    resources: .*gpu=(\d)", said)
    assert dict(asked) == {"here": "0", "there": "1"}
