"""Ingest with a job for each file: the tables are those of one job, and only what changed runs again."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from sosie.events import open_events
from tiny import ODD, jobs, snakemake

AGAIN = 'b $(touch hacked) "it\'s".root'
TARGETS = [f"results/tiny/ingest/{name}.h5" for name in ("train", "late", "calibration")]


def table(path: Path) -> dict[str, np.ndarray]:
    with open_events(path) as events:
        return {name: events.column(name) for name in events.names}


@pytest.mark.slow
def test_jobs_for_each_file_give_the_tables_of_one_job(tmp_path):
    settings = {"ingest__files": [ODD, AGAIN], "ingest__selection": "event_id < 500"}
    settings |= {"ingest__identity": [], "ingest__samples": {}}
    settings["ingest__samples"] = {"late": {"files": [ODD], "selection": "event_id >= 3960"}}
    write_inputs(tmp_path)
    found = []
    for folder, more in (("one", {}), ("parts", {"ingest__files_per_job": 1})):
        place = tmp_path / folder
        place.mkdir()
        for name in (ODD, AGAIN):
            shutil.copy(tmp_path / name, place)
        said = snakemake(place, *TARGETS, **settings, **more)
        assert ("ingest_part" in said) == bool(more)
        found.append({name: table(place / name) for name in TARGETS})
    one, parts = found
    for name, columns in one.items():
        assert columns.keys() == parts[name].keys()
        for column, values in columns.items():
            np.testing.assert_array_equal(values, parts[name][column], err_msg=f"{name} {column}")
    place = tmp_path / "parts"
    assert not (place / "hacked").exists()
    with_parts = settings | {"ingest__files_per_job": 1}
    assert "Nothing to be done" in snakemake(place, *TARGETS, "-n", **with_parts)
    assert "Nothing to be done" in snakemake(place, *TARGETS, "-n", **with_parts, memory=3000)
    write_inputs(place)  # a new AGAIN, the same ODD
    said = snakemake(place, *TARGETS, "-n", **with_parts)
    assert jobs(said) == {"ingest_part", "ingest", "ingest_calibration"}
    assert said.count("rule ingest_part:") == 1, said


def write_inputs(place: Path) -> None:
    """Two files of other bytes, the second with showers of its own."""
    import uproot

    from tiny import ROOT

    if not (place / ODD).exists():
        shutil.copy(ROOT / "resources/ecal/quick.root", place / ODD)
    with uproot.open(ROOT / "resources/ecal/quick.root") as file:
        columns = file["ecal"].arrays(entry_start=1000, entry_stop=1300, library="np")
    columns["event_id"] = np.arange(300)
    with uproot.recreate(place / AGAIN) as file:
        file.mktree(
            "ecal", {n: (c.dtype.newbyteorder("="), c.shape[1:]) for n, c in columns.items()}
        )
        file["ecal"].extend(columns)
