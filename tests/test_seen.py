"""What changed between two runs so that no time shows it is refused; what is meant is taken."""

import os
import re
import subprocess
import sys
from contextlib import chdir

import pytest

from sosie.errors import InputError, IntermediateError
from sosie.files import write_json, write_text
from sosie.seen import RECORD, check, first_seen, remember, watch

OLD = (1_500_000_000, 1_500_000_000)


def states(*paths):
    return {str(path): [path.stat().st_size, *times(path)] for path in paths}


def times(path):
    return [path.stat().st_mtime_ns, path.stat().st_ctime_ns]


def replaced(path, text="other", when=None):
    """Other bytes with the time of before, or the one given."""
    found = path.stat()
    path.write_text(text)
    os.utime(path, when or (found.st_atime, found.st_mtime))


@pytest.fixture
def study(tmp_path):
    """An input, two outputs and what is not looked at, after a run."""
    ntuple, results = tmp_path / "a.root", tmp_path / "results"
    ntuple.write_text("events")
    os.utime(ntuple, OLD)
    write_text(results / "moments/a/test.h5", "moments")
    write_text(results / "report.html", "page")
    write_text(results / "logs/a.json", "log")
    write_text(results / "train/a/work/checkpoint.h5", "weights")
    remember(results, states(ntuple))
    return ntuple, results


def test_what_is_as_it_was_is_taken(study):
    ntuple, results = study
    assert set(check(results, [str(ntuple)])["inputs"]) == {str(ntuple)}
    assert list(first_seen(results / RECORD)) == [str(ntuple)]


@pytest.mark.parametrize("name", ["moments/a/test.h5", "report.html"])
@pytest.mark.parametrize("text", ["", "edited"])
@pytest.mark.parametrize("when", [OLD, None, (2e9, 2e9)])
@pytest.mark.fault(8)
def test_an_output_that_is_edited_or_emptied_is_refused(study, name, text, when):
    ntuple, results = study
    replaced(results / name, text, when)
    with pytest.raises(
        IntermediateError, match=f"{re.escape(name)}: is not what the last run left"
    ):
        check(results, [str(ntuple)])
    (results / name).unlink()
    check(results, [str(ntuple)])


@pytest.mark.parametrize("name", ["logs/a.json", "train/a/work/checkpoint.h5"])
def test_what_jobs_change_as_they_run_is_not_looked_at(study, name):
    ntuple, results = study
    replaced(results / name)
    check(results, [str(ntuple)])


@pytest.mark.parametrize("when", [OLD, None, (1_400_000_000, 1_400_000_000)])
@pytest.mark.fault(8)
def test_an_input_with_other_bytes_and_an_old_time_is_refused(study, when):
    ntuple, results = study
    replaced(ntuple, when=when)
    with pytest.raises(InputError, match=r"a\.root: its bytes changed since they were read"):
        check(results, [str(ntuple)])


def test_an_input_that_is_touched_is_taken_anew_and_said(study, capsys):
    ntuple, results = study
    replaced(ntuple)
    ntuple.touch()
    assert not check(results, [str(ntuple)])["inputs"]
    assert "a.root: has changed since the last run, and is read again" in capsys.readouterr().err


def test_the_same_bytes_with_another_time_are_the_same(study):
    ntuple, results = study
    for path in (ntuple, results / "report.html"):
        path.touch()
    check(results, [str(ntuple)])


def test_outputs_of_a_run_that_was_killed_are_its_own_if_they_are_newer(study):
    ntuple, results = study
    write_json(results / RECORD, {**check(results, [str(ntuple)]), "running": True})
    replaced(results / "report.html", when=(2e9, 2e9))
    check(results, [str(ntuple)])
    replaced(results / "moments/a/test.h5", when=OLD)
    with pytest.raises(IntermediateError, match=r"moments/a/test\.h5"):
        check(results, [str(ntuple)])


def test_the_digest_of_an_input_is_that_of_its_reading(study, tmp_path):
    """One that is replaced while the run goes on is not what was read."""
    ntuple, results = study
    (results / RECORD).unlink()
    before = states(ntuple)
    known = {str(ntuple): {"sha256": "0" * 64}}
    write_json(results / "ingest/summary.json", {"files": known})
    remember(results, before)
    assert first_seen(results / RECORD) == {str(ntuple): "0" * 64}
    replaced(ntuple, when=(2e9, 2e9))
    remember(results, before)
    assert not check(results, [str(ntuple)])["inputs"]
    (results / RECORD).unlink()
    remember(results, before)
    assert first_seen(results / RECORD) == {}


def test_a_record_that_is_damaged_is_refused(study):
    ntuple, results = study
    (results / RECORD).write_text("{}")
    with pytest.raises(IntermediateError, match=r"\.seen: cannot be read as JSON"):
        watch(results, [str(ntuple)])


def test_a_run_remembers_when_it_ends_and_not_when_it_is_killed(study):
    ntuple, results = study
    code = (
        "import os, sys; from sosie.seen import watch; os.chdir(sys.argv[1]); watch('.', [sys.argv[2]]); os.chdir('/');"
        "open(sys.argv[1] + '/report.html', 'w').write(sys.argv[3]);"
        "sys.argv[3] == 'kill' and os._exit(1)"
    )
    for word, running in (("kill", True), ("end", False)):
        command = [sys.executable, "-c", code, str(results), str(ntuple), word]
        assert subprocess.run(command, check=False).returncode == running
        with chdir(results):
            assert check(".", [str(ntuple)])["running"] == running
    replaced(results / "report.html")
    with chdir(results), pytest.raises(IntermediateError, match=r"^report\.html: "):
        check(".", [str(ntuple)])
