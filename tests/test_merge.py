"""Ingest in parts: merged tables hold what one job writes, and what is wrong is refused by name."""

import json
import os
import shutil

import h5py
import numpy as np
import pytest

from conftest import electrons, write_root
from sosie import merge
from sosie.errors import InputError, IntermediateError, SosieError
from sosie.events import SLAB, open_events
from sosie.ingest import SAMPLES, run
from sosie.ingest_jobs import jobs
from sosie.settings import load
from test_ingest import LAYOUT, SPLIT

COUNTS = (1, 700, 2100, 40)
COMMON = {"detector": "ecal", "seed": 5, "layout": LAYOUT, "threshold": 0.0, "split": SPLIT}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Four files, the first with one event: not every sample has an event of each."""
    folder = tmp_path_factory.mktemp("files")
    columns, start, paths = electrons(sum(COUNTS)), 0, []
    for number, count in enumerate(COUNTS):
        part = {name: column[start : start + count] for name, column in columns.items()}
        paths.append(str(folder / f"{number}.root"))
        write_root(folder / f"{number}.root", part)
        start += count
    return paths


def in_parts(out, files, *cuts, reads=None, **more):
    """Ingest with a job for each cut of the files, or for each of (files, sample), and merge."""
    reads = reads or [(part, "") for part in cuts]
    parts = []
    for number, (some, sample) in enumerate(reads):
        parts.append(str(out / f"parts/{number}"))
        run(files, parts[-1], memory=10**6, part=some, sample=sample, **{**COMMON, **more})
    merge.run(parts, files, out, **{**COMMON, **more})
    return out


def one_by_one(files):
    return [[path] for path in files]


def whole(out, files, **more):
    run(files, out, memory=10**6, **{**COMMON, **more})
    return out


def same_tables(left, right, samples=SAMPLES):
    for name in samples:
        with open_events(left / f"{name}.h5") as one, open_events(right / f"{name}.h5") as two:
            assert (len(one), one.shape, one.aux) == (len(two), two.shape, two.aux)
            assert one.attributes == two.attributes
            for column in one.names:
                np.testing.assert_array_equal(one.column(column), two.column(column))
            for (here, response), (there, other) in zip(
                one.responses(), two.responses(), strict=True
            ):
                assert here == there
                np.testing.assert_array_equal(response, other)
            for start in (0, 5, SLAB - 1, len(one) - 3):
                where = slice(start, min(start + 1000, len(one)))
                np.testing.assert_array_equal(
                    one.rows("conditions", where), two.rows("conditions", where)
                )


def test_any_number_of_jobs_gives_the_same(files, tmp_path):
    expected = whole(tmp_path / "one", files)
    for name, cuts in (("each", one_by_one(files)), ("two", [files[:3], files[3:]])):
        found = in_parts(tmp_path / name, files, *cuts)
        same_tables(found, expected)
        summaries = [json.loads((f / "summary.json").read_text()) for f in (found, expected)]
        assert summaries[0] == summaries[1]


def test_nothing_is_copied(files, tmp_path):
    out = in_parts(tmp_path / "out", files, *one_by_one(files))
    parts = sum(path.stat().st_size for path in out.glob("parts/*/train.h5"))
    assert (out / "train.h5").stat().st_size < parts / 10


def test_other_programs_see_one_table_that_moves_with_its_folder(files, tmp_path):
    in_parts(tmp_path / "out", files, *one_by_one(files))
    shutil.move(tmp_path / "out", tmp_path / "moved")
    with open_events(tmp_path / "moved/train.h5") as events:
        cells = events.column("response").reshape(len(events), -1)
        energy = events.column("incident_energies")
    with h5py.File(tmp_path / "moved/train.h5") as file:
        np.testing.assert_array_equal(file["showers"][()], cells)
        np.testing.assert_array_equal(file["incident_energies"][()], energy)
        assert len(file["event_id"]) == len(cells)


def test_the_same_bytes_twice(files, tmp_path):
    once, twice = (in_parts(tmp_path / n, files, *one_by_one(files)) for n in ("a", "b"))
    for path in once.rglob("*.*"):
        assert path.read_bytes() == (twice / path.relative_to(once)).read_bytes(), path


def test_a_sample_of_its_own_has_parts_of_its_own(files, tmp_path):
    nothing = {"tree": None, "selection": None, "weight": None, "conditions": {}}
    more = {"samples": {"late": {**nothing, "files": [files[3]]}}}
    first = files[:3]
    expected = whole(tmp_path / "one", first, **more)
    reads = [(first[:2], ""), (first[2:], ""), ([files[3]], "late")]
    found = in_parts(tmp_path / "parts", first, reads=reads, **more)
    same_tables(found, expected, [*SAMPLES, "late"])


def test_the_same_events_in_two_parts(files, tmp_path):
    columns = electrons(200)
    again = {name: column[150:] for name, column in columns.items()}
    again["energy"] = again["energy"] * np.float32(1.5)
    write_root(tmp_path / "again.root", again)
    both = [*files, str(tmp_path / "again.root")]
    for memory in (10**9, 10**5):
        with pytest.raises(InputError, match="50 events have an identity that was there") as error:
            in_parts(tmp_path / f"{memory}", both, *one_by_one(both), job_memory=memory)
        assert files[1] in str(error.value)
        assert both[4] in str(error.value)
        assert not list((tmp_path / f"{memory}").glob("*.*"))


def test_a_copy_in_another_part(files, tmp_path):
    shutil.copy(files[2], tmp_path / "copy.root")
    both = [*files, str(tmp_path / "copy.root")]
    with pytest.raises(InputError, match="the same file twice") as error:
        in_parts(tmp_path / "out", both, *one_by_one(both))
    assert both[2] in str(error.value)
    assert both[4] in str(error.value)


def test_a_type_that_changes_between_parts(files, tmp_path):
    columns = electrons(40)
    write_root(tmp_path / "other.root", {**columns, "px": columns["px"].astype(np.float64)})
    both = [files[0], str(tmp_path / "other.root")]
    with pytest.raises(InputError, match=r"other.root: branch 'px' is of type"):
        in_parts(tmp_path / "out", both, *one_by_one(both))


def test_the_worst_file_of_all_parts_is_named(files, tmp_path):
    columns = electrons(40)
    columns["px"] = columns["px"].copy()
    columns["px"][:30] = np.nan
    columns["event_id"] = columns["event_id"] + 10**6
    write_root(tmp_path / "bad.root", columns)
    both = [files[1], str(tmp_path / "bad.root")]
    with pytest.raises(InputError, match=r"bad.root: .*30 of 740 events"):
        in_parts(tmp_path / "out", both, *one_by_one(both))


def test_parts_of_other_files_are_refused(files, tmp_path):
    with pytest.raises(IntermediateError, match="are not the 4 of the study"):
        in_parts(tmp_path / "out", files, *one_by_one(files[:3]))
    with pytest.raises(IntermediateError, match="in their order"):
        in_parts(tmp_path / "turned", files, *one_by_one(files[::-1]))


@pytest.mark.parametrize("change", ["lost", "other", "link", "folder", "byte"])
def test_a_part_that_is_not_what_it_was_is_refused(files, tmp_path, change):
    out = in_parts(tmp_path / "out", files, *one_by_one(files))
    part = out / "parts/2/train.h5"
    if change == "lost":
        part.unlink()
    elif change == "other":
        shutil.copy(out / "parts/1/train.h5", part)
    elif change == "link":
        part.rename(tmp_path / "train.h5")
        part.symlink_to(tmp_path / "train.h5")
    elif change == "folder":
        (out / "parts/2").rename(tmp_path / "2")
        os.symlink(tmp_path / "2", out / "parts/2")
    else:
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 255
        part.write_bytes(data)
    with (
        pytest.raises(IntermediateError, match=r"parts/2/train.h5") as error,
        open_events(out / "train.h5") as events,
    ):
        events.column("response")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["../../secret.h5", "/etc/secret.h5", "parts/0/../x.h5"])
def test_a_list_that_points_elsewhere_is_refused(files, tmp_path, name):
    """Even one that is signed as ours are."""
    from sosie.events import MERGED
    from sosie.files import digest

    out = in_parts(tmp_path / "out", files, *one_by_one(files))
    with h5py.File(out / "train.h5", "a") as file:
        text = file["attributes"][()].decode().replace("parts/1/train.h5", name)
        del file["attributes"]
        file["attributes"] = np.bytes_(text.encode())
        with pytest.raises(SosieError, match="damaged"), open_events(out / "train.h5"):
            pass
        file.attrs["attributes_digest"] = np.bytes_(digest(MERGED, text))
    with pytest.raises(IntermediateError, match="lies elsewhere"), open_events(out / "train.h5"):
        pass


def test_jobs_are_cut_by_the_number_of_files(files, tmp_path):
    import yaml

    from conftest import ROOT

    study = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    study["ingest"]["files"] = files

    def cut(**more):
        study["ingest"] |= more
        return [(job.files, job.sample) for job in jobs(load(study, "study").ingest)]

    assert not cut()
    assert not cut(files_per_job=4)
    assert cut(files_per_job=3) == [(files[:3], ""), (files[3:], "")]
    late = {"late": {"files": files[3:]}}
    assert cut(files_per_job=4, samples=late) == [(files, ""), (files[3:], "late")]
