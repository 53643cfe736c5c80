"""ingest of what is no calorimeter: vectors of several branches, signed numbers, truth of groups, a test sample of its own."""

import json
from dataclasses import replace

import numpy as np
import pytest
import uproot

from sosie import ingest
from sosie.detectors import DETECTORS, find
from sosie.detectors.base import Groups, Quantity
from sosie.errors import InputError, SosieError
from sosie.events import open_events
from sosie.layouts import Layout

SPLIT = {"train": 0.60, "validation": 0.15, "test": 0.25}
NAMES = ["a", "b", "c"]
GROUPS = Groups(
    truth={"pt": "GeV", "vx": "mm"},
    variables={"pt": Quantity("p", "GeV")},
    variable=lambda truth: {"pt": truth["pt"]},
    results={},
    rates={},
    reconstruct=lambda *_: {},
)
PROBE = replace(
    find("ecal"),
    name="probe",
    shape=(3,),
    unit="",
    conditions={"momentum": "GeV"},
    incident_energy=None,
    signed=True,
    limits={"momentum": (0.1, 1000.0)},
    groups=GROUPS,
)
LAYOUT = Layout(
    tree="hits",
    response={"branch": NAMES, "unit": ""},
    conditions={"momentum": {"expression": "p", "unit": "MeV"}},
    identity=("track", "row"),
    group="track",
)
TRUTH = {
    "tree": "tracks",
    "values": {
        "pt": {"expression": "pt", "unit": "MeV"},
        "vx": {"expression": "vx + 1", "unit": "cm"},
    },
}


@pytest.fixture(autouse=True)
def detector(monkeypatch):
    monkeypatch.setitem(DETECTORS, "probe", PROBE)


def columns(first=0, tracks=60, rows=4):
    rng = np.random.default_rng([first, tracks])
    track = np.repeat(np.arange(first, first + tracks), rows)
    return {
        **{name: rng.normal(size=len(track)) for name in NAMES},
        "p": rng.uniform(5e3, 5e4, len(track)),
        "track": track,
        "row": np.tile(np.arange(rows), tracks),
        "w": rng.choice([-0.5, 1.0], len(track), p=[0.2, 0.8]),
    }


def write(path, hits, truth=None):
    with uproot.recreate(path) as file:
        file["hits"] = hits
        if truth is not None:
            file["tracks"] = truth
    return str(path)


def truth_of(hits):
    track = np.unique(hits["track"])[::-1]
    return {"track": track, "pt": 1000.0 + track, "vx": 0.1 * track}


def run(out, *paths, layout=LAYOUT, **more):
    ingest.run(
        list(paths),
        out,
        detector="probe",
        seed=1,
        layout=layout,
        threshold=0.0,
        split=SPLIT,
        memory=10**6,
        **more,
    )
    return out


def read(out, sample, *names):
    with open_events(out / f"{sample}.h5") as events:
        return [events.column(name) for name in names]


def test_a_vector_of_branches_keeps_its_order_and_its_signs(tmp_path):
    hits = columns()
    out = run(tmp_path / "out", write(tmp_path / "a.root", hits))
    for sample in ingest.SAMPLES:
        response, track, row = read(out, sample, "response", "aux/track", "aux/row")
        place = track * 4 + row
        wanted = np.stack([hits[name] for name in NAMES], axis=1).astype(np.float32)
        np.testing.assert_array_equal(response, wanted[place])
        assert (response < 0).any()


def test_a_detector_without_negative_numbers_refuses_them(tmp_path, monkeypatch):
    monkeypatch.setitem(DETECTORS, "probe", replace(PROBE, signed=False))
    with pytest.raises(InputError, match="branch 'a' is -"):
        run(tmp_path / "out", write(tmp_path / "a.root", columns()))


@pytest.mark.parametrize(
    ("branch", "message"),
    [
        (["a", "b"], "names 2 branches, probe needs (3,)"),
        (["a", "b", "nothing"], "no branch 'nothing'"),
    ],
)
def test_the_wrong_branches_are_refused(tmp_path, branch, message):
    layout = replace(LAYOUT, response={"branch": branch, "unit": ""})
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace(")", r"\)")):
        run(tmp_path / "out", write(tmp_path / "a.root", columns()), layout=layout)


def test_a_number_that_is_not_finite_is_named_by_its_own_branch(tmp_path):
    hits = columns()
    hits["b"][7] = np.nan
    with pytest.raises(InputError, match="branch 'b' is nan in entry 7"):
        run(tmp_path / "out", write(tmp_path / "a.root", hits), max_rejected=0.0)


def test_momentum_in_the_wrong_unit_is_refused_with_a_hint(tmp_path):
    conditions = {"momentum": {"expression": "p", "unit": "GeV"}}
    with pytest.raises(InputError, match=r"outside 0.1 to 1000 GeV; is .*momentum.unit right"):
        run(
            tmp_path / "out",
            write(tmp_path / "a.root", columns()),
            layout=replace(LAYOUT, conditions=conditions),
        )


def test_every_event_has_the_truth_of_its_group_in_house_units(tmp_path):
    hits = columns()
    layout = replace(LAYOUT, truth=TRUTH)
    out = run(tmp_path / "out", write(tmp_path / "a.root", hits, truth_of(hits)), layout=layout)
    for sample in ingest.SAMPLES:
        names = ("aux/track", "aux/truth_pt", "aux/truth_vx")
        track, pt, vx = read(out, sample, *names)
        np.testing.assert_allclose(pt, (1000.0 + track) / 1000, rtol=1e-12)
        np.testing.assert_allclose(vx, 10 * (0.1 * track + 1), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v[1:] for k, v in t.items()}, "track 59 has no entry in tree 'tracks'"),
        (lambda t: {k: np.append(v, v[:1]) for k, v in t.items()}, "has track 59 twice"),
        (lambda t: {**t, "vx": np.where(t["track"] == 3, np.inf, t["vx"])}, "is inf for track 3"),
        (lambda t: {k: v for k, v in t.items() if k != "pt"}, "no branch 'pt'"),
    ],
)
def test_truth_that_cannot_be_joined_is_refused(tmp_path, change, message):
    hits = columns()
    path = write(tmp_path / "a.root", hits, change(truth_of(hits)))
    with pytest.raises(InputError, match=message):
        run(tmp_path / "out", path, layout=replace(LAYOUT, truth=TRUTH))
    assert not list((tmp_path / "out").glob("*.h5"))


def test_a_test_sample_of_its_own_takes_nothing_from_the_others(tmp_path):
    one, other = columns(0), columns(1000)
    layout = replace(LAYOUT, weight="w")
    own = {
        "files": [write(tmp_path / "b.root", {**other, "q": 2 * other["p"]})],
        "tree": None,
        "selection": "row < 2",
        "weight": False,
        "conditions": {"momentum": {"expression": "q", "unit": "MeV"}},
    }
    out = run(tmp_path / "out", write(tmp_path / "a.root", one), layout=layout, test=own)
    track, row, conditions = read(out, "test", "aux/track", "aux/row", "conditions")
    assert (len(track), track.min(), row.max()) == (120, 1000, 1)
    place = (track - 1000) * 4 + row
    np.testing.assert_allclose(conditions[:, 0], 2e-3 * other["p"][place], rtol=1e-6)
    with open_events(out / "test.h5") as events:
        assert (events.weight == 1).all()
        assert events.attributes["layout"]["weight"] is None
    learnt = [read(out, sample, "aux/track")[0] for sample in ("train", "validation")]
    assert len(learnt[0]) + len(learnt[1]) == 240
    assert len(learnt[0]) / 240 == pytest.approx(0.8, abs=0.12)


def test_a_test_sample_may_be_a_selection_of_the_same_file_but_no_event_twice(tmp_path):
    path = write(tmp_path / "a.root", columns())
    own = {
        "files": None,
        "tree": None,
        "weight": None,
        "conditions": {},
        "selection": "track >= 40",
    }
    layout = replace(LAYOUT, selection="track < 40")
    out = run(tmp_path / "out", path, layout=layout, test=own)
    assert len(read(out, "test", "aux/track")[0]) == 80
    with pytest.raises(InputError, match="identity that was there before"):
        run(tmp_path / "again", path, layout=replace(LAYOUT, selection="track < 41"), test=own)


SAME = {"files": None, "tree": None, "weight": None, "conditions": {}, "selection": None}


def test_named_samples_are_whole_and_leave_the_split_as_it_is(tmp_path):
    path = write(tmp_path / "a.root", columns())
    without = run(tmp_path / "without", path, layout=replace(LAYOUT, selection="track < 40"))
    named = {
        "late": {**SAME, "selection": "track >= 40"},
        "other-file": {
            **SAME,
            "files": [write(tmp_path / "b.root", columns(1000))],
            "selection": "track >= 0",
        },
    }
    out = run(tmp_path / "out", path, layout=replace(LAYOUT, selection="track < 40"), samples=named)
    for sample in ingest.SAMPLES:
        for first, second in zip(
            read(without, sample, "event_id", "conditions", "response"),
            read(out, sample, "event_id", "conditions", "response"),
            strict=True,
        ):
            np.testing.assert_array_equal(first, second)
    late, other = (read(out, name, "aux/track")[0] for name in named)
    assert (len(late), late.min()) == (80, 40)
    assert (len(other), other.min()) == (240, 1000)
    kept = json.loads((out / "summary.json").read_text())["events"]["kept"]
    assert list(kept) == [*ingest.SAMPLES, *named]
    assert (kept["late"], kept["other-file"]) == (80, 240)


def test_a_named_sample_without_events_is_refused_with_its_own_selection(tmp_path):
    path = write(tmp_path / "a.root", columns())
    named = {"none": {**SAME, "selection": "track < 0"}}
    message = (
        r"a\.root: no event for the none sample .* rejected by ingest\.samples\.none\.selection"
    )
    with pytest.raises(InputError, match=message):
        run(tmp_path / "out", path, layout=LAYOUT, samples=named)
    missing = {"none": {**SAME, "files": [str(tmp_path / "no.root")]}}
    with pytest.raises(SosieError, match=r"ingest\.samples\.none\.files"):
        run(tmp_path / "out", path, layout=LAYOUT, samples=missing)


def test_an_event_of_a_named_sample_is_in_no_other(tmp_path):
    path = write(tmp_path / "a.root", columns())
    split = replace(LAYOUT, selection="track < 41")
    for named in (
        {"late": {**SAME, "selection": "track >= 40"}},
        {
            "late": {**SAME, "selection": "track >= 41"},
            "later": {**SAME, "selection": "track >= 50"},
        },
    ):
        with pytest.raises(InputError, match="identity that was there before"):
            run(tmp_path / "out", path, layout=split, samples=named)


def test_weights_that_sum_to_nothing_are_refused(tmp_path):
    hits = columns()
    hits["w"] = -np.abs(hits["w"])
    with pytest.raises(InputError, match=r"weights of the train sample \(\d+ events\) sum to -"):
        run(
            tmp_path / "out",
            write(tmp_path / "a.root", hits),
            layout=replace(LAYOUT, weight="w"),
        )
