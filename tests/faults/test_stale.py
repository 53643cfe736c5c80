"""What a result depends on changes: it is made again, or the run is refused; no result is stale."""

import os
import re
import shutil
from contextlib import chdir
from copy import deepcopy

import pytest
from test_configuration import keys, replaced

from sosie import code
from sosie.errors import SettingsError, SosieError
from sosie.seen import check
from sosie.settings import load
from tiny import ODD, ROOT, jobs, snakemake, tiny

pytestmark = pytest.mark.fault(8)

RULES = "\n".join(path.read_text() for path in (ROOT / "workflow").rglob("*.smk"))
STEPS = {
    name
    for call in re.findall(r"code_digest\(([^)]*)\)", RULES)
    for name in re.findall(r'"(\w+)"', call)
}
# What judges the study, starts and guards runs, or is called by hand: no result is made of it.
AROUND = {
    "__init__", "cli", "clusters", "code", "commands", "complaints", "convert", "flow_sections",
    "ingest_jobs", "init", "locks", "markdown", "network_section", "proposal", "releases", "scan",
    "section", "sections", "seen", "settings", "start", "studies", "study_about", "study_page",
    "surrogate_checks", "surrogate_sections",
}  # fmt: skip


def test_every_module_that_makes_a_result_counts_for_a_step(tally):
    used = {name for step in STEPS for name in code.modules(step)}
    for path in sorted(code.PACKAGE.rglob("*.py")):
        parts = path.relative_to(code.PACKAGE).with_suffix("").parts
        if parts[0] in AROUND or parts[-1] == "__main__":
            continue
        name = ".".join(["sosie", *(parts[:-1] if parts[-1] == "__init__" else parts)])
        tally.add(name in used, name)


# The rule that the first change of a section shows in; other keys have one of their own.
FIRST = {
    "seed": "ingest", "ingest": "ingest", "preprocess": "preprocess", "train": "train_one",
    "ensemble": "ensemble_wgan_gp", "generate": "generate_wgan_gp", "moments": "moments_one",
    "reconstruct": "reconstruct_one", "compare": "compare_one",
}  # fmt: skip
OWN = {
    "generate.full_simulation": "generate_times",
    "compare.gates": "compare",
    "compare.repetition": "compare_repetition",
    "train.tensorboard": "train_one",
    "train.surrogates.library.neighbours": "ensemble_library",
    # How much is read or held at a time changes no byte, and so it makes nothing again.
    "ingest.memory_mb": "report",
    "memory": "report",
}


def other(value):
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if value >= 1 else value * 0.9
    return None


def leaves():
    """Every number and switch of the study, with all defaults, and another value of it."""
    study = load(tiny(), "tiny.yaml").model_dump(mode="json")
    for place, value in keys(study):
        if (changed := other(value)) is not None:
            altered = replaced(deepcopy(study), place, place[-1], changed)
            try:
                load(altered, "tiny.yaml")
            except SettingsError:
                continue
            yield ".".join(place), changed


def test_every_number_of_the_study_reruns_what_depends_on_it(done, tally, long):
    found = dict(leaves())
    assert len(found) > 30
    chosen = found if long else {name: found[name] for name in list(found)[::20]}
    for name, value in chosen.items():
        planned = jobs(snakemake(done, "-n", "all", **{name.replace(".", "__"): value}))
        wanted = OWN.get(name, FIRST.get(name.split(".")[0]))
        tally.add(wanted in planned and "report" in planned, f"{name} = {value}: {planned}")


def put(path, data: bytes, when: int | None) -> None:
    """Other bytes, with the time ``when`` in ns or that of now."""
    path.write_bytes(data)
    if when is not None:
        os.utime(path, ns=(when, when))


def test_an_output_that_is_edited_or_emptied_stops_the_run(done, tally):
    """Every one of the results; the record is that of the run itself."""
    results = done / "results/tiny"
    outputs = check(results, [])["outputs"]
    assert len(outputs) > 60
    with chdir(done):
        for name in outputs:
            path = done / name
            data, before = path.read_bytes(), path.stat().st_mtime_ns
            for damaged in (b"", data + b" "):
                for when in (before, None):
                    put(path, damaged, when)
                    try:
                        check("results/tiny", [])
                        said = ""
                    except SosieError as error:
                        said = str(error)
                    tally.add(said.startswith(f"{name}: is not what"), f"{name}, {when}")
            put(path, data, before)


@pytest.fixture
def copied(done, tmp_path):
    """The results at another place, where all is up to date."""
    folder = tmp_path / "copy"
    shutil.copytree(done, folder, symlinks=True)
    assert "Nothing to be done" in snakemake(folder, "all")
    return folder


def refused(folder) -> str:
    with pytest.raises(AssertionError) as caught:
        snakemake(folder, "all")
    return str(caught.value)


def test_the_run_is_refused_until_the_output_is_gone(copied):
    page = copied / "results/tiny/report.html"
    whole = page.read_bytes()
    put(page, b"", page.stat().st_mtime_ns)
    assert "results/tiny/report.html: is not what the last run left" in refused(copied)
    page.unlink()
    assert "report" in jobs(snakemake(copied, "all"))
    assert len(page.read_bytes()) == pytest.approx(len(whole), rel=0.01)


def test_an_ntuple_with_an_old_time_is_refused_until_it_is_touched(copied):
    ntuple = copied / ODD
    other_one = (ROOT / "resources/ecal/ood_wide.root").read_bytes()
    put(ntuple, other_one, ntuple.stat().st_mtime_ns)
    assert "its bytes changed since they were read" in refused(copied)
    ntuple.touch()
    assert "ingest" in jobs(snakemake(copied, "-n", "all"))
