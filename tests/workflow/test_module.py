"""Another workflow imports this one as a module."""

import re
import shutil
import subprocess
import sys

import yaml

from tiny import ODD, ROOT, environment, jobs, tiny

OTHER = """
configfile: "analysis.yaml"


module sosie:
    snakefile:
        {snakefile!r}
    config:
        config["surrogate"]


use rule * from sosie as sosie_*


rule mine:
    input:
        "results/tiny/{file}",
    output:
        "mine.txt",
    default_target: True
    shell:
        "cp {{input:q}} {{output:q}}"
"""


def analysis(folder, file: str, *arguments: str) -> str:
    """Run a workflow of somebody else, which makes something of a file of ours."""
    if not (folder / ODD).exists():
        shutil.copy(ROOT / "resources/ecal/quick.root", folder / ODD)
    settings = {"surrogate": tiny(), "events": 5}
    (folder / "analysis.yaml").write_text(yaml.safe_dump(settings))
    text = OTHER.format(snakefile=str(ROOT / "workflow/Snakefile"), file=file)
    (folder / "Snakefile").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=folder, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return done.stdout + done.stderr


def test_all_steps_are_there_under_a_name_of_their_own(tmp_path):
    said = analysis(tmp_path, "report.html", "-n")
    steps = ("ingest", "preprocess", "train_one", "ensemble_wgan_gp", "generate_library", "report")
    assert jobs(said) >= {"mine", *(f"sosie_{step}" for step in steps)}
    assert re.search(r"^mine +1$", said, re.MULTILINE)


def test_what_a_step_makes_is_the_input_of_another_workflow(tmp_path):
    analysis(tmp_path, "ingest/summary.json")
    assert (tmp_path / "mine.txt").read_bytes() == (
        tmp_path / "results/tiny/ingest/summary.json"
    ).read_bytes()
    assert "Nothing to be done" in analysis(tmp_path, "ingest/summary.json", "-n")
