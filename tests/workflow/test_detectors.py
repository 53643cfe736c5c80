"""The quick studies of the other detectors, made tiny, through the real DAG."""

import csv
import json
import subprocess
import sys

import pytest
import yaml

from tiny import ROOT, environment

pytestmark = pytest.mark.slow

SMALL = {
    "wgan_gp": {"epochs": 2, "width": 16, "critic_width": 16, "depth": 2, "latent": 4},
    "cramer_gan": {"epochs": 2, "width": 16, "critic_width": 16, "depth": 2, "latent": 4},
}
FEW = {"tpc": "track_id < 300120", "rich": "event_id % 8 == 0"}


def run(name, folder):
    study = yaml.safe_load((ROOT / f"config/{name}-quick.yaml").read_text())
    study["study"] = "tiny"
    study["ingest"]["selection"] = FEW[name]
    study["ingest"]["files"] = [str(ROOT / file) for file in study["ingest"]["files"]]
    study["train"]["masks"], study["ensemble"]["members"] = 2, 2
    for how in study["train"]["surrogates"].values():
        how.update(SMALL.get(how["kind"], {}))
    for step in ("moments", "reconstruct"):
        study[step]["bins"] = dict.fromkeys(list(study[step]["bins"])[:2], 3)
    study["compare"] = {"splits": 3, "classifier_splits": 2}
    configuration = folder / "tiny.yaml"
    configuration.write_text(yaml.safe_dump(study))
    done = subprocess.run(
        [
            sys.executable, "-m", "snakemake", "all", "--cores", "2",
            "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder),
            "--configfile", str(configuration),
        ],
        env=environment(), capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return folder / "results/tiny"


@pytest.fixture(scope="module", params=["tpc", "rich"])
def finished(request, tmp_path_factory):
    """The name of a detector, and the results of its tiny study."""
    return request.param, run(request.param, tmp_path_factory.mktemp(request.param))


def test_every_surrogate_has_a_row_beside_the_floor(finished):
    name, results = finished
    kinds = {"tpc": ["library", "wgan_gp"], "rich": ["library", "kde", "cramer_gan"]}[name]
    with open(results / "compare/leaderboard.csv") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"floor", *kinds}
    for row in rows.values():
        assert 0.2 < float(row["auc"]) <= 1
    assert float(rows["floor"]["w1_mean"]) < float(rows[kinds[-1]]["w1_mean"])


def test_the_page_shows_what_only_this_detector_has(finished):
    name, results = finished
    page = (results / "report.html").read_text(encoding="utf-8")
    for words in {"tpc": ["pseudo", "track"], "rich": ["ROC", "Kaons found, DLLk"]}[name]:
        assert words in page, words


def test_the_metrics_hold_no_wild_number(finished):
    _, results = finished

    def numbers(value):
        if isinstance(value, dict):
            for inner in value.values():
                yield from numbers(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from numbers(inner)
        elif isinstance(value, float):
            yield value

    found = list(numbers(json.loads((results / "compare/metrics.json").read_text())))
    assert len(found) > 50
    assert all(abs(value) < 1e6 for value in found if value == value)
