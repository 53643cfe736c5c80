"""ingest: one event table whatever the form of the ntuples; what is wrong stops it with one line."""

import json
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest

from conftest import electrons, write_root
from sosie.cli import main
from sosie.detectors import find
from sosie.errors import SosieError
from sosie.events import open_events
from sosie.ingest import SAMPLES, assign, run
from sosie.layouts import Layout
from sosie.settings import load

SPLIT = {"train": 0.60, "validation": 0.15, "test": 0.25}
UNITS = {"px": "GeV", "py": "GeV", "pz": "GeV", "x": "cm", "y": "cm", "z": "cm", "pdg": ""}
LAYOUT = Layout(
    tree="ecal",
    response={"branch": "energy", "unit": "MeV"},
    conditions={name: {"expression": name, "unit": unit} for name, unit in UNITS.items()},
    identity=("seed", "event_id"),
)


def ingest(out, *paths, layout=LAYOUT, seed=5, threshold=0.0, memory=10**8, split=SPLIT, **more):
    run(
        [str(path) for path in paths],
        out,
        detector="ecal",
        seed=seed,
        layout=layout,
        threshold=threshold,
        split=split,
        memory=memory,
        **more,
    )
    return out


def table(out, samples=SAMPLES):
    """All columns of the samples, by seed and event number."""
    parts = []
    for index, sample in enumerate(samples):
        with open_events(out / f"{sample}.h5") as events:
            names = ["response", "conditions", "event_id", "group_id", "aux/seed", "aux/event_id"]
            columns = {name: events.column(name) for name in names}
            columns |= {"weight": events.weight, "sample": np.full(len(events), index)}
            parts.append(columns)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((joined["aux/event_id"], joined["aux/seed"]))
    return {name: column[order] for name, column in joined.items()}


def summary(out):
    return json.loads((out / "summary.json").read_text())


def same(left, right):
    for name, column in left.items():
        np.testing.assert_array_equal(column, right[name], err_msg=name)


def contents(out):
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def refused(out, files, *messages, **options):
    """Ingest raises one line with all of these and leaves nothing."""
    with pytest.raises(SosieError) as caught:
        ingest(out, *files, **options)
    for message in messages:
        assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not out.exists() or list(out.iterdir()) == []


@pytest.fixture
def plain(ntuple, tmp_path):
    """The table of one TTree in native units."""
    return table(ingest(tmp_path / "plain", ntuple()))


def test_values_in_house_units(plain):
    columns = electrons(120)
    np.testing.assert_array_equal(plain["response"], columns["energy"])
    for index, name in enumerate(UNITS):
        scale = 10 if UNITS[name] == "cm" else 1
        np.testing.assert_allclose(plain["conditions"][:, index], columns[name] * scale, rtol=1e-6)
    np.testing.assert_array_equal(plain["aux/event_id"], columns["event_id"])
    np.testing.assert_array_equal(plain["group_id"], plain["event_id"])


def test_rntuple_is_read_like_a_ttree(ntuple, tmp_path, plain):
    out = ingest(tmp_path / "out", ntuple("b.root", rntuple=True))
    same(plain, table(out))
    with open_events(out / "test.h5") as events:
        assert events.attributes["layout"]["rntuple"] is True


def test_flat_response(ntuple, tmp_path, plain):
    flat = electrons(120)["energy"].reshape(120, 900)
    same(plain, table(ingest(tmp_path / "out", ntuple("b.root", energy=flat))))


def test_many_files_and_globs(tmp_path, plain):
    columns = electrons(120)
    for number, rows in enumerate(np.array_split(np.arange(120), 4)):
        part = {name: column[rows] for name, column in columns.items()}
        write_root(tmp_path / f"part_{number}.root", part, rntuple=number == 2)
    out = ingest(tmp_path / "out", tmp_path / "part_3.root", tmp_path / "part_*.root")
    same(plain, table(out))
    assert [path[-6] for path in summary(out)["files"]] == ["3", "0", "1", "2"]
    assert summary(out)["events"]["read"] == 120


def test_units_are_converted(ntuple, tmp_path, plain):
    columns = electrons(120)
    other = {
        "energy": columns["energy"] / 1000,
        "px": columns["px"] * 1000,
        "x": columns["x"] / 100,
    }
    layout = replace(
        LAYOUT,
        response={"branch": "energy", "unit": "GeV"},
        conditions={
            **LAYOUT.conditions,
            "px": {"expression": "px", "unit": "MeV"},
            "x": {"expression": "x", "unit": "m"},
        },
    )
    found = table(ingest(tmp_path / "out", ntuple("b.root", **other), layout=layout))
    np.testing.assert_allclose(found["response"], plain["response"], rtol=1e-6)
    np.testing.assert_allclose(found["conditions"], plain["conditions"], rtol=1e-6)


def test_conditions_as_expressions(ntuple, tmp_path, plain):
    c = electrons(120)
    polar = {"pt": np.hypot(c["px"], c["py"]), "phi": np.arctan2(c["py"], c["px"])}
    path = ntuple("b.root", **polar, px=None, py=None, pdg=None)
    texts = {"px": "pt*cos(phi)", "py": "pt*sin(phi)", "pdg": "11"}
    conditions = {
        name: {"expression": texts.get(name, name), "unit": UNITS[name]} for name in UNITS
    }
    found = table(ingest(tmp_path / "out", path, layout=replace(LAYOUT, conditions=conditions)))
    np.testing.assert_allclose(found["conditions"], plain["conditions"], rtol=1e-5, atol=1e-6)


def test_selection_and_weight(ntuple, tmp_path, plain):
    layout = replace(LAYOUT, selection="(pz > 20) & (event_id % 2 == 0)", weight="1 / pz")
    out = ingest(tmp_path / "out", ntuple("b.root"), layout=layout)
    pz = plain["conditions"][:, 2]
    keep = (pz > 20) & (plain["aux/event_id"] % 2 == 0)
    found, weight = table(out), 1 / pz[keep]
    np.testing.assert_allclose(found.pop("weight"), weight, rtol=1e-6)
    same(found, {name: column[keep] for name, column in plain.items()})
    events = summary(out)["events"]
    assert events["read"] == 120
    assert events["rejected"] == {"selection": 120 - keep.sum(), "not_finite": 0}
    assert sum(events["kept"].values()) == keep.sum()


def test_zero_suppression_of_known_cells(ntuple, tmp_path):
    energy = np.zeros((120, 30, 30), np.float32)
    energy[:, 3, 4], energy[:, 5, 6], energy[:, 7, 8], energy[:, 9, 9] = 10, 0.5, 0.125, 0.25
    out = ingest(tmp_path / "out", ntuple(energy=energy), threshold=0.25)
    found = summary(out)["zero_suppression"]
    assert found == {
        "threshold": 0.25,
        "unit": "MeV",
        "share_of_cells": 0.25,
        "share_of_signal": pytest.approx(0.125 / 10.875, rel=1e-5),
    }
    response = table(out)["response"]
    energy[energy == 0.125] = 0
    np.testing.assert_array_equal(response, energy)
    with open_events(out / "train.h5") as events:
        assert events.threshold == 0.25


def test_ranges_of_conditions(ntuple, tmp_path, plain):
    found = summary(ingest(tmp_path / "out", ntuple()))["conditions"]
    assert list(found) == list(UNITS)
    x = plain["conditions"][:, 3]
    assert found["x"] == {"min": float(x.min()), "max": float(x.max()), "unit": "mm"}


def test_split_shares_are_disjoint_and_of_the_right_size():
    groups = np.arange(100000, dtype=np.uint64)
    sample = assign(groups, 1, SPLIT)
    shares = np.bincount(sample) / len(groups)
    np.testing.assert_allclose(shares, list(SPLIT.values()), atol=0.006)
    again = assign(groups, 2, SPLIT)
    assert np.mean(sample == again) == pytest.approx(0.36 + 0.0225 + 0.0625, abs=0.01)
    order = np.random.default_rng(1).permutation(len(groups))
    np.testing.assert_array_equal(assign(groups[order], 1, SPLIT), sample[order])


def test_split_is_stable_under_more_files_and_their_order(ntuple, tmp_path, plain):
    first, second = ntuple("a.root", seed=1), ntuple("b.root", seed=2)
    both = table(ingest(tmp_path / "both", first, second))
    same(both, table(ingest(tmp_path / "turned", second, first)))
    own = both["aux/seed"] == 1
    same(plain, {name: column[own] for name, column in both.items()})
    assert len(np.unique(both["event_id"])) == 240
    other = table(ingest(tmp_path / "other", first, seed=6))
    assert np.any(other["sample"] != plain["sample"])


def test_group_is_kept_together(ntuple, tmp_path):
    track = np.arange(120) // 4
    layout = replace(LAYOUT, group="track")
    found = table(ingest(tmp_path / "out", ntuple(track=track), layout=layout))
    samples = [set(found["sample"][track == number]) for number in range(30)]
    assert all(len(there) == 1 for there in samples)
    assert len(np.unique(found["group_id"])) == 30
    assert len(np.unique(found["event_id"])) == 120


def test_without_identity_file_and_entry_tell_events_apart(ntuple, tmp_path):
    layout = replace(LAYOUT, identity=())
    files = [ntuple("a.root", seed=1), ntuple("b.root", seed=2)]
    out = ingest(tmp_path / "out", *files, layout=layout)
    with open_events(out / "train.h5") as events:
        assert sorted(events.aux) == ["entry", "file"]
        ids = events.column("event_id")
    assert len(np.unique(ids)) == len(ids)
    again = ingest(tmp_path / "again", *files[::-1], layout=layout)
    with open_events(again / "train.h5") as events:
        assert set(events.column("event_id")) == set(ids)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("identity", [LAYOUT.identity, ()])
def test_same_input_same_bytes(ntuple, tmp_path, threads, identity):
    layout = replace(LAYOUT, identity=identity)
    paths = [ntuple(f"{seed}.root", seed=seed, count=110, rntuple=seed == 2) for seed in (1, 2)]
    first = contents(ingest(tmp_path / "a", *paths, threshold=0.2, layout=layout))
    again = ingest(tmp_path / "b", *paths, threshold=0.2, layout=layout, memory=1, threads=threads)
    assert first == contents(again)
    assert list(first) == ["summary.json", "test.h5", "train.h5", "validation.h5"]


def energies(value, entry=50, shape=(120, 30, 30)):
    energy = electrons(120)["energy"]
    energy[entry, 3, 3] = value
    return energy.reshape(shape)


def many(value):
    """Half of the showers with one bad cell."""
    energy = electrons(120)["energy"]
    energy[5:65, 3, 3] = value
    return energy


def px(value, step=10**6, start=5):
    column = electrons(120)["px"]
    column[start::step] = value
    return column


def jagged(count=120):
    return ak.values_astype(ak.Array([[1.0] * (1 + i % 3) for i in range(count)]), "float32")


BAD = {
    "tree": ({"tree": "hits"}, ["no tree 'ecal'; trees there: hits", "set ingest.tree"]),
    "branch": ({"pz": None}, ["no branch 'pz'; branches there: energy, event_id"]),
    "response": ({"energy": None}, ["no branch 'energy'; branches there: event_id, pdg"]),
    "zero entries": ({"count": 0}, ["tree 'ecal' has no entries; leave the file out"]),
    "negative": (
        {"energy": energies(-1)},
        ["branch 'energy' is -1.0 in entry 50 (1 such entries", "mend the ntuple or exclude"],
    ),
    "missing": ({}, ["no such file; check"]),
    "not ROOT": ({}, ["not a ROOT file, or cut short", "copy it again"]),
    "cut": ({}, ["not a ROOT file, or cut short", "copy it again"]),
    "damaged in the middle": ({}, ["cannot be read", "the file is cut or damaged, copy it again"]),
    "nan": ({"energy": many(np.nan)}, ["'energy' is nan in entry 5; 60 of", "60 of them here"]),
    "inf": ({"energy": many(np.inf)}, ["branch 'energy' is inf in entry 5; 60 of"]),
    "condition": ({"px": px(np.nan, 5)}, ["condition 'px' = 'px' is nan in entry 5; 23 of"]),
}
# What is wrong in the first of several files shows as another type in the second one as well.
BAD_TYPE = {
    "shape": (
        {"energy": np.ones((120, 20, 30), np.float32)},
        ["branch 'energy' has shape (20, 30), ecal needs (30, 30); set ingest.response.branch"],
    ),
    "other 900": ({"energy": np.ones((120, 10, 90), np.float32)}, ["has shape (10, 90)"]),
    "lists": (
        {"energy": jagged()},
        ["branch 'energy' holds 1 numbers in entry 0, ecal needs 900", "ingest.response.cell"],
    ),
    "condition shape": (
        {"px": np.ones((120, 3), np.float32)},
        ["ingest.conditions.px = 'px' has shape (3,) for each event, not one number; name"],
    ),
    "list of a condition": (
        {"px": jagged()},
        ["ingest.conditions.px = 'px' has shape (1,) for each event, not one number; name"],
    ),
    "identity": (
        {"event_id": np.arange(120.0)},
        ["branch 'event_id' holds float64, not one integer", "name another in ingest.identity"],
    ),
    "text": (
        {"rntuple": True, "pz": ak.Array(["a"] * 120)},
        ["branch 'pz' is of type 'string', not numeric; name another branch"],
    ),
}
CHANGED = {
    "double response": ({"energy": energies(0).astype(np.float64)}, "energy", "30 * 30 * float64"),
    "flat response": ({"energy": energies(0, shape=(120, 900))}, "energy", "900 * float32"),
    "integer energies": ({"energy": energies(0).astype(np.int32)}, "energy", "30 * 30 * int32"),
    "double condition": ({"x": electrons(120)["x"].astype(np.float64)}, "x", "float64"),
    "short identity": ({"event_id": np.arange(120, dtype=np.int32)}, "event_id", "int32"),
    "real identity": ({"event_id": np.arange(120, dtype=np.float32)}, "event_id", "float32"),
    "array": ({"z": np.zeros((120, 1), np.float32)}, "z", "1 * float32"),
    "list": ({"z": jagged()}, "z", "var * float"),
}


def words(study, out, *files, **settings):
    study["ingest"].update({"files": [str(path) for path in files], **settings})
    return ["ingest", "--out", str(out), "--set", *load(study, "study").lines("ingest")]


def stops(capsys, arguments, out, *messages):
    """The command exits with 2, one line and no file; gives the line."""
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
    assert line.startswith("sosie ingest: ")
    for message in messages:
        assert message in line
    assert not out.exists() or list(out.iterdir()) == []


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Two files with nothing wrong."""
    folder = tmp_path_factory.mktemp("good")
    return [write_root(folder / f"{seed}.root", electrons(120, seed)) for seed in (1, 2)]


def spoil(path, name):
    """Damage a good file as the name of the case says."""
    data = path.read_bytes()
    if name == "missing":
        path.unlink()
    if name == "not ROOT":
        path.write_text("px,py\n" * 500)
    if name == "cut":
        path.write_bytes(data[:-50])
    if name == "damaged in the middle":
        middle = bytearray(data)
        for start in range(0, 1000, 100):
            middle[len(data) // 2 + start] ^= 255
        path.write_bytes(middle)


@pytest.mark.parametrize("name", [*BAD, *BAD_TYPE])
def test_bad_ntuple(ntuple, tmp_path, study, capsys, name):
    changes, messages = (BAD | BAD_TYPE)[name]
    path, out = ntuple("bad.root", **changes), tmp_path / "out"
    spoil(path, name)
    stops(capsys, words(study, out, path), out, str(path), *messages)


@pytest.mark.fault(5)
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("name", BAD)
def test_bad_file_at_any_place_of_a_list(ntuple, good, tmp_path, name, place):
    changes, messages = BAD[name]
    bad = ntuple("bad.root", seed=9, **changes)
    spoil(bad, name)
    files = [*good]
    files.insert(place, bad)
    refused(tmp_path / "out", files, str(bad), *messages, threads=2)


@pytest.mark.fault(5)
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("name", BAD_TYPE)
def test_bad_type_at_any_place_of_a_list(ntuple, good, tmp_path, name, place):
    changes, messages = BAD_TYPE[name]
    bad = ntuple("bad.root", seed=9, **changes)
    files = [*good]
    files.insert(place, bad)
    first = [str(bad), *messages] if place == 0 else [f"{bad}: branch '", f"in {files[0]} of type"]
    refused(tmp_path / "out", files, *first)


# In the first file these are wrong by themselves.
ALONE = {"list": "has shape (1,)", "array": "has shape (1,)", "real identity": "float32, not one"}


@pytest.mark.fault(5)
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("name", CHANGED)
def test_type_changed_between_files(ntuple, good, tmp_path, name, place):
    columns, branch, kind = CHANGED[name]
    other = ntuple("other.root", seed=9, **columns)
    files = [*good]
    files.insert(place, other)
    changed, first = (files[1], files[0]) if place == 0 else (other, files[0])
    messages = [f"{changed}: branch '{branch}' is of type '", f"in {first} of type '", kind]
    if place == 0 and name in ALONE:
        messages = [str(other), f"'{branch}'", ALONE[name]]
    refused(tmp_path / "out", files, *messages)


@pytest.mark.fault(5)
@pytest.mark.parametrize("name", ["nan", "zero entries", "cut", "missing", "negative"])
def test_the_command_exits_with_2_for_the_middle_file(ntuple, tmp_path, study, capsys, name):
    bad = ntuple("bad.root", seed=9, **BAD[name][0])
    spoil(bad, name)
    out = tmp_path / "out"
    files = [ntuple("1.root", seed=1), bad, ntuple("2.root", seed=2)]
    stops(capsys, words(study, out, *files), out, str(bad), *BAD[name][1])


def test_a_pattern_without_a_match(ntuple, tmp_path):
    path = ntuple()
    for files in ([path, tmp_path / "x*.root"], [tmp_path / "x*.root", path]):
        refused(tmp_path / "out", files, "x*.root: no such file; check ingest.files")


@pytest.mark.fault(3)
@pytest.mark.parametrize("cut", [0, 0.01, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("rntuple", [False, True])
def test_cut_file(ntuple, tmp_path, study, capsys, cut, rntuple):
    path, out = ntuple(rntuple=rntuple), tmp_path / "out"
    data = path.read_bytes()
    path.write_bytes(data[: int(cut * len(data))])
    stops(capsys, words(study, out, path), out, str(path), "cut short", "copy it again")


@pytest.mark.fault(5)
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("identity", [LAYOUT.identity, ()], ids=["identity", "entries"])
@pytest.mark.parametrize("how", ["same", "other path", "link", "copy"])
def test_the_same_file_twice(ntuple, tmp_path, how, identity, place):
    first, third, twin = ntuple("a.root"), ntuple("c.root", seed=3), tmp_path / "twin.root"
    if how == "same":
        twin = first
    if how == "other path":
        twin = tmp_path / ".." / tmp_path.name / "a.root"
    if how == "link":
        twin.symlink_to(first)
    if how == "copy":
        twin.write_bytes(first.read_bytes())
    files = [first, twin]
    files.insert(place, third)
    message = f"{first}, {twin}: the same file twice; remove one of them from ingest.files"
    refused(tmp_path / "out", files, message, layout=replace(LAYOUT, identity=identity))


@pytest.mark.fault(5)
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
def test_the_same_events_in_two_files(ntuple, tmp_path, place):
    first, second = ntuple("a.root"), ntuple("b.root", x=electrons(120, 7)["x"])
    files = [first, second]
    files.insert(place, ntuple("c.root", seed=3))
    message = f"{first}, {second}: 120 events have an identity that was there before; remove"
    refused(tmp_path / "out", files, message)


@pytest.mark.fault(5)
@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_not_finite_is_rejected_and_counted(ntuple, tmp_path, capsys, plain, threads):
    energy, weight = electrons(120)["energy"], np.ones(120)
    energy[50, 3, 3], energy[110, 4, 4] = np.inf, 1e38
    weight[[50, 7]] = np.nan
    columns = {"energy": energy, "px": px(np.nan, start=70), "w": weight, "y": px(np.nan, start=90)}
    paths = [ntuple("b.root", **columns), ntuple("ok.root", seed=2, w=np.ones(120))]
    layout = replace(
        LAYOUT, weight="w", selection="event_id != 90", response={"branch": "energy", "unit": "TeV"}
    )
    options = {"layout": layout, "max_rejected": 0.02, "threads": threads, "memory": 1}
    out = ingest(tmp_path / "out", *paths, **options)
    bad = [7, 50, 70, 110]
    events = summary(out)["events"]
    assert events["read"] == 240
    assert events["rejected"] == {"selection": 2, "not_finite": 4}
    assert sum(events["kept"].values()) == 234
    found = table(out)
    kept = found["aux/seed"] == 1
    gone = np.isin(plain["aux/event_id"], [*bad, 90])
    np.testing.assert_array_equal(found["event_id"][kept], plain["event_id"][~gone])
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "warning" in text]
    assert f"{paths[0]}: 4 of 119 events rejected, with numbers that are not finite" in line
    assert "first: ingest.weight = 'w' is nan in entry 7" in line
    refused(
        tmp_path / "no",
        paths,
        f"{paths[0]}: ingest.weight = 'w' is nan in entry 7; 4 of 238 events (1.68 %) of all files",
        "4 of them here, more than ingest.max_rejected = 0.0168 allows; mend the ntuple, exclude",
        **{**options, "max_rejected": 0.0168},
    )


@pytest.mark.fault(5)
def test_the_worst_file_is_named(ntuple, tmp_path):
    few, many_there = ntuple("a.root", px=px(np.inf)), ntuple("b.root", seed=2, px=px(np.nan, 40))
    message = f"{many_there}: condition 'px' = 'px' is nan in entry 5; 4 of 240 events (1.67 %)"
    refused(tmp_path / "out", [few, many_there], message, "3 of them here")
    refused(tmp_path / "out", [few], "is inf in entry 5; 1 of 120", max_rejected=0)


def test_nothing_selected(ntuple, tmp_path, study, capsys):
    path, out = ntuple(), tmp_path / "out"
    message = "no event for the train sample (120 read, 120 rejected by ingest.selection)"
    stops(capsys, words(study, out, path, selection="pz > 1e6"), out, str(path), message)


def test_too_few_events(ntuple, tmp_path, study, capsys):
    path, out = ntuple(count=2), tmp_path / "out"
    stops(capsys, words(study, out, path), out, "no event for the", "give more events")


def test_weight_and_selection_that_cannot_be_used(ntuple, tmp_path, study, capsys):
    path, out = ntuple(), tmp_path / "out"
    cases = {
        "log(-pz)": "ingest.weight = 'log(-pz)' is nan in entry 0; 120 of 120 events (100 %)",
        "energy": "ingest.weight = 'energy' has shape (30, 30) for each event",
        "~pz": "ingest.weight: '~pz' cannot be evaluated",
    }
    for weight, message in cases.items():
        stops(capsys, words(study, out, path, weight=weight), out, message)
    arguments = words(study, out, path, weight=None, selection="energy > 1")
    stops(capsys, arguments, out, "ingest.selection = 'energy > 1' has shape (30, 30)")


def test_an_earlier_result_survives_a_failure(ntuple, tmp_path):
    out = ingest(tmp_path / "out", ntuple())
    before = contents(out)
    with pytest.raises(SosieError):
        ingest(out, ntuple("bad.root", energy=energies(-1)))
    assert contents(out) == before


def test_detector_must_be_known(ntuple, tmp_path, study, capsys):
    arguments = words(study, tmp_path / "out", ntuple())
    stops(capsys, [*arguments[:1], "--detector", "ecla", *arguments[1:]], tmp_path / "out", "ecla")
    assert find("ecal").name == "ecal"
