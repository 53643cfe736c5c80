"""generate: twins in order, zero-suppressed, in either format, the same bytes for the same seed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import write_root
from samples import LAYOUT, Noisy, conditions, origin, showers, write_table
from sosie import generate, ingest, preprocess, surrogates
from sosie.detectors.ecal import DETECTOR
from sosie.domain import Domain
from sosie.errors import InputError
from sosie.events import open_events
from sosie.files import file_digest
from sosie.layouts import Layout
from sosie.ntuples import open_ntuple, write_ntuple
from sosie.streams import combine
from sosie.surrogates import save
from sosie.surrogates.base import Surrogate
from sosie.surrogates.library import Library
from sosie.transforms import read_transform

THRESHOLD = 0.2


@pytest.fixture(autouse=True)
def noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(surrogates.SURROGATES, "noisy", lambda: Noisy)


def ntuple(path: Path, where: np.ndarray, rntuple: bool = False, **other: Any) -> str:
    """The conditions in the units of the ntuple, with an identity and a response that is not read."""
    names = ("px", "py", "pz", "x", "y", "z", "pdg")
    columns = {name: where[:, index].copy() for index, name in enumerate(names)}
    for name in ("x", "y", "z"):
        columns[name] /= np.float32(10)
    columns["pdg"] = columns["pdg"].astype(np.int32)
    columns["seed"] = np.full(len(where), 7)
    columns["event_id"] = np.arange(1, len(where) + 1)
    columns |= other
    return str(
        write_root(path, {k: c for k, c in columns.items() if c is not None}, rntuple=rntuple)
    )


def domain_of(made: Surrogate, where: np.ndarray) -> Domain:
    """The domain of events with these conditions."""
    scaling = made.origin.transform.features
    return Domain.fit(DETECTOR, scaling, where, np.arange(len(where), dtype=np.uint64), 1)


def surrogate(path: Path, kind: str = "noisy", **other: Any) -> str:
    where = conditions(40, seed=2)
    own: Surrogate = (
        Noisy(origin(where, **other), {})
        if kind == "noisy"
        else Library(
            origin(where, **other), {"kind": "library", "neighbours": 1}, showers(where), where
        )
    )
    own.domain = domain_of(own, where)
    save(path, own)
    return str(path)


def run(source: str, given: str, out: Path, **other: Any) -> Path:
    generate.run([source], given, [str(out)], **{"seed": 5, "batch": 8, **other})
    return out


def read(path: Path) -> dict[str, np.ndarray]:
    with open_events(path) as events:
        names = ["response", "conditions", "event_id", "group_id"]
        names += [f"aux/{name}" for name in events.aux]
        return {name: events.column(name) for name in names} | {"weight": events.weight}


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Event table of 30 conditions, in another order than that of its identities."""
    where = conditions(30, seed=3)
    ids = combine(np.random.default_rng(1).permutation(30))
    aux = {"seed": np.full(30, 7), "event_id": np.arange(1, 31)}
    return write_table(
        tmp_path / "test.h5", showers(where), where, ids=ids, groups=ids // 2, aux=aux
    )


def test_twins_in_order(tmp_path: Path, table: str) -> None:
    twins, given = read(run(surrogate(tmp_path / "s.h5"), table, tmp_path / "out.h5")), read(table)
    assert twins.keys() == given.keys() | {"aux/sosie_zone", "aux/sosie_distance"}
    for name in given.keys() - {"response"}:
        np.testing.assert_array_equal(twins[name], given[name])
    # The noise is at most 10 % of the energy, so that each twin is that of its own conditions.
    momentum = np.linalg.norm(given["conditions"][:, :3], axis=1)
    total = twins["response"].sum(axis=(1, 2)) / (180 * momentum)
    assert ((total > 0.98) & (total < 1.1001)).all()
    assert total.std() > 0.02


def test_weights_are_carried(tmp_path: Path) -> None:
    where, weight = conditions(10), np.linspace(-1, 2, 10)
    given = write_table(tmp_path / "w.h5", showers(where), where, weight=weight)
    with open_events(run(surrogate(tmp_path / "s.h5"), given, tmp_path / "out.h5")) as events:
        np.testing.assert_array_equal(events.weight, weight)


@pytest.mark.parametrize("kind", ["noisy", "library"])
def test_cells_below_the_threshold_are_zero(tmp_path: Path, table: str, kind: str) -> None:
    source = surrogate(tmp_path / "s.h5", kind)
    response = read(run(source, table, tmp_path / "out.h5"))["response"]
    assert ((response == 0) | (response >= np.float32(THRESHOLD))).all()
    assert (response == 0).any()
    raw = surrogates.load(source).sample(
        read(table)["conditions"], generate.stream(5, "generate", kind, 0)
    )
    np.testing.assert_array_equal(response, np.where(raw < THRESHOLD, 0, raw))


@pytest.mark.parametrize("rntuple", [False, True])
def test_root_and_table_give_the_same_responses(tmp_path: Path, table: str, rntuple: bool) -> None:
    source = surrogate(tmp_path / "s.h5")
    given = ntuple(tmp_path / "given.root", read(table)["conditions"], rntuple)
    a = read(run(source, table, tmp_path / "a.h5"))
    b = read(run(source, given, tmp_path / "b.h5"))
    np.testing.assert_allclose(b["conditions"], a["conditions"], rtol=2e-7)
    np.testing.assert_allclose(b["response"], a["response"], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(b["event_id"], combine(np.full(30, 7), np.arange(1, 31)))


def ingested(
    path: Path, out: Path, threshold: float = THRESHOLD, layout: dict[str, Any] = LAYOUT
) -> dict[str, np.ndarray]:
    """All events of an ntuple, read by ingest, in the order of their identity."""
    ingest.run(
        [str(path)],
        out,
        detector="ecal",
        seed=1,
        layout=Layout.from_dict(layout),
        threshold=threshold,
        split={"train": 0.4, "validation": 0.3, "test": 0.3},
        memory=10**8,
    )
    parts = [read(out / f"{name}.h5") for name in ingest.SAMPLES]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(whole["aux/event_id"])
    return {name: column[order] for name, column in whole.items()}


@pytest.mark.parametrize("rntuple", [False, True])
@pytest.mark.parametrize("unit", ["MeV", "GeV"])
def test_the_root_output_is_ingested_again(tmp_path: Path, rntuple: bool, unit: str) -> None:
    layout = {**LAYOUT, "rntuple": rntuple}
    given = ntuple(tmp_path / "given.root", conditions(60, seed=3), rntuple)
    source = surrogate(tmp_path / "s.h5", layout=layout)
    direct = read(run(source, given, tmp_path / "direct.h5"))
    out = run(source, given, tmp_path / "out.root")
    again = ingested(out, tmp_path / "again")
    for name in direct.keys() - {"aux/sosie_zone", "aux/sosie_distance"}:
        np.testing.assert_array_equal(again[name], direct[name], err_msg=name)


def test_the_root_output_has_the_unit_of_the_layout(tmp_path: Path, table: str) -> None:
    layout = {**LAYOUT, "response": {"branch": "dose", "unit": "GeV"}}
    source = surrogate(tmp_path / "s.h5", layout=layout)
    direct = read(run(source, table, tmp_path / "direct.h5"))
    with open_ntuple(str(run(source, table, tmp_path / "out.root")), "ecal") as tree:
        dose = tree["dose"].array(library="np")
        x = tree["x"].array(library="np")
    np.testing.assert_allclose(dose * 1000, direct["response"], rtol=1e-6)
    np.testing.assert_allclose(x * 10, direct["conditions"][:, 3], rtol=1e-6)


VECTORS: dict[str, Any] = {
    **LAYOUT,
    "tree": "ecalNT",
    "response": {"branch": "EnergyDeposit", "unit": "MeV", "cell": None, "layers": 5},
    "conditions": {
        **{f"p{a}": {"expression": f"Particle.p[{i}]", "unit": "GeV"} for i, a in enumerate("xyz")},
        **{a: {"expression": f"ParticlePoint[{i}]", "unit": "cm"} for i, a in enumerate("xyz")},
        "pdg": {"expression": "Particle.pdg", "unit": ""},
    },
    "group": "track",
    "weight": "w",
    "selection": "quality > 0",
}


@pytest.mark.parametrize("rntuple", [False, True])
@pytest.mark.parametrize("suffix", [".h5", ".root"])
def test_vectors_group_and_weight_are_given_back(
    tmp_path: Path, rntuple: bool, suffix: str
) -> None:
    """Whatever the conditions came in, the output has the branches of the ntuple and is ingested."""
    where, ids = conditions(30, seed=3), np.arange(1, 31)
    where[:, 3:6] = np.round(where[:, 3:6])
    if suffix == ".h5":
        aux = {"seed": np.full(30, 7), "event_id": ids}
        given = write_table(
            tmp_path / "in.h5", showers(where), where, aux=aux, groups=ids // 3,
            weight=1 / ids, layout=VECTORS,
        )  # fmt: skip
    else:
        columns = {
            "Particle.p": where[:, :3],
            "ParticlePoint": where[:, 3:6] / np.float32(10),
            "Particle.pdg": where[:, 6].astype(np.int32),
            "seed": np.full(30, 7),
            "event_id": ids,
            "track": ids // 3,
            "w": 1 / ids,
            "quality": np.ones(30, np.int8),
        }
        with write_ntuple(tmp_path / "in.root", "ecalNT", rntuple) as append:
            append(columns)
        given = str(tmp_path / "in.root")
    source = surrogate(tmp_path / "s.h5", layout={**VECTORS, "rntuple": rntuple})
    direct = read(run(source, given, tmp_path / "direct.h5"))
    with open_events(tmp_path / "direct.h5") as events:
        np.testing.assert_array_equal(events.weight, 1 / ids)
    np.testing.assert_allclose(direct["conditions"], where, rtol=1e-6)
    out = run(source, given, tmp_path / "out.root")
    layout = {**VECTORS, "response": {"branch": "EnergyDeposit", "unit": "MeV"}, "selection": None}
    again = ingested(out, tmp_path / "again", layout=layout)
    np.testing.assert_array_equal(again["response"], direct["response"])
    np.testing.assert_allclose(again["conditions"], direct["conditions"], rtol=2e-7)
    np.testing.assert_array_equal(again["weight"], 1 / ids)
    pairs = {(a, b) for a, b in zip(again["group_id"], ids // 3, strict=True)}
    assert len(pairs) == len(set(ids // 3))
    with open_ntuple(str(out), "ecalNT") as table:
        assert table["EnergyDeposit"].array(library="np").shape == (30, 30, 30)
        assert ("quality" in table) == (suffix == ".root")


def test_conditions_need_neither_weight_nor_group(tmp_path: Path) -> None:
    given = ntuple(tmp_path / "given.root", conditions(20))
    layout = {**LAYOUT, "group": "track", "weight": "2 * w", "selection": "w > 0"}
    source = surrogate(tmp_path / "s.h5", layout=layout)
    direct = read(run(source, given, tmp_path / "out.h5"))
    np.testing.assert_array_equal(direct["group_id"], direct["event_id"])


def test_a_table_gives_back_the_ntuple(tmp_path: Path, table: str) -> None:
    source = surrogate(tmp_path / "s.h5")
    direct = read(run(source, table, tmp_path / "direct.h5"))
    again = ingested(run(source, table, tmp_path / "out.root"), tmp_path / "again")
    np.testing.assert_allclose(again["conditions"], direct["conditions"], rtol=2e-7)
    np.testing.assert_array_equal(again["response"], direct["response"])


def test_expressions_cannot_be_got_back_from_a_table(tmp_path: Path, table: str) -> None:
    moved = {**LAYOUT["conditions"], "x": {"expression": "x - 5", "unit": "cm"}}
    source = surrogate(tmp_path / "s.h5", layout={**LAYOUT, "conditions": moved})
    with pytest.raises(InputError, match="'x' is the expression 'x - 5'"):
        run(source, table, tmp_path / "out.root")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.h5", "test.h5"]
    given = ntuple(tmp_path / "given.root", read(table)["conditions"])
    out = read(run(source, given, tmp_path / "out.h5"))
    np.testing.assert_allclose(
        out["conditions"][:, 3], read(table)["conditions"][:, 3] - 50, rtol=1e-6
    )


def test_without_identity_events_are_told_apart_as_ingest_does(tmp_path: Path) -> None:
    given = ntuple(tmp_path / "given.root", conditions(20), seed=None, event_id=None)
    source = surrogate(tmp_path / "s.h5", layout={**LAYOUT, "identity": []})
    twins = read(run(source, given, tmp_path / "out.h5"))
    number = int(file_digest(given)[:15], 16)
    np.testing.assert_array_equal(twins["event_id"], combine(np.full(20, number), np.arange(20)))
    assert set(twins) >= {"aux/file", "aux/entry"}


def test_repeat(tmp_path: Path, table: str) -> None:
    source = surrogate(tmp_path / "s.h5")
    given, twins = read(table), read(run(source, table, tmp_path / "out.h5", repeat=3))
    np.testing.assert_array_equal(twins["conditions"], np.repeat(given["conditions"], 3, axis=0))
    np.testing.assert_array_equal(twins["group_id"], np.repeat(given["group_id"], 3))
    np.testing.assert_array_equal(twins["aux/repeat"], np.tile([0, 1, 2], 30))
    assert len(np.unique(twins["event_id"])) == 90
    total = twins["response"].sum(axis=(1, 2)).reshape(30, 3)
    assert (np.diff(np.sort(total, axis=1), axis=1) > 0).all()
    root = run(source, table, tmp_path / "out.root", repeat=3)
    with open_ntuple(str(root), "ecal") as tree:
        np.testing.assert_array_equal(tree["repeat"].array(library="np"), twins["aux/repeat"])
        np.testing.assert_array_equal(tree["energy"].array(library="np"), twins["response"])


def test_batches_change_nothing(tmp_path: Path, table: str) -> None:
    source = surrogate(tmp_path / "s.h5")
    one, few = (read(run(source, table, tmp_path / f"{size}.h5", batch=size)) for size in (1000, 7))
    for size in (1000, 7):
        out = run(source, table, tmp_path / f"{size}.root", batch=size)
        with open_ntuple(str(out), "ecal") as tree:
            np.testing.assert_array_equal(tree["energy"].array(library="np"), one["response"])
    for name in one:
        np.testing.assert_array_equal(one[name], few[name])


def test_seeds_and_members(tmp_path: Path, table: str) -> None:
    source = surrogate(tmp_path / "s.h5")
    first = run(source, table, tmp_path / "a.h5").read_bytes()
    assert run(source, table, tmp_path / "b.h5").read_bytes() == first
    other = read(run(source, table, tmp_path / "c.h5", seed=6))["response"]
    member = surrogate(tmp_path / "1.h5", member=1)
    second = read(run(member, table, tmp_path / "d.h5"))["response"]
    response = read(tmp_path / "a.h5")["response"]
    assert (other != response).any(axis=(1, 2)).all()
    assert (second != response).any(axis=(1, 2)).all()
    with open_events(tmp_path / "d.h5") as events:
        assert events.attributes["member"] == 1
        assert events.attributes["provenance"]["inputs"]["conditions"] == file_digest(table)
        assert events.threshold == THRESHOLD


def test_members_together_and_one_by_one(tmp_path: Path, table: str) -> None:
    sources = [surrogate(tmp_path / f"{k}.h5", member=k) for k in range(2)]
    outs = [tmp_path / f"out{k}.h5" for k in range(2)]
    generate.run(sources, table, [str(out) for out in outs], seed=5, batch=8)
    for source, out in zip(sources, outs, strict=True):
        assert run(source, table, tmp_path / "alone.h5").read_bytes() == out.read_bytes()


def far(path: Path) -> str:
    """40 events of training, of which three are moved far away and another has no such particle."""
    where = conditions(40, seed=2)
    where[5:8, 2] *= 100
    where[9, 6] = 22
    return write_table(path, showers(where), where)


def test_events_outside_the_domain_are_warned_of_once_and_flagged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [surrogate(tmp_path / f"{k}.h5", member=k) for k in range(2)]
    where = conditions(40, seed=2)
    near = write_table(tmp_path / "in.h5", showers(where), where)
    outs = [str(tmp_path / f"out{k}.h5") for k in range(2)]
    generate.run(sources, near, outs, seed=5, batch=8)
    assert "warning" not in capsys.readouterr().err
    with open_events(outs[1]) as events:
        assert (events.column("aux/sosie_zone") == 0).all()
        assert (events.column("aux/sosie_distance") == 0).all()
    generate.run(sources, far(tmp_path / "far.h5"), outs, seed=5, batch=8)
    said = capsys.readouterr().err
    assert said.count("warning") == 1
    assert (
        f"{tmp_path}/far.h5: 4 of 40 events (10 %) lie outside the domain of training, 0 (0 %)"
        in said
    )
    for out in outs:
        with open_events(out) as events:
            zone, away = (events.column(f"aux/sosie_{name}") for name in ("zone", "distance"))
        assert (zone.dtype, away.dtype) == (np.uint8, np.float32)
        assert np.flatnonzero(zone).tolist() == [5, 6, 7, 9]
        assert np.flatnonzero(np.isinf(away)).tolist() == [9]
    run(sources[0], far(tmp_path / "far.h5"), tmp_path / "flag.h5", outside="flag")
    assert "warning" not in capsys.readouterr().err
    assert (tmp_path / "flag.h5").read_bytes() == Path(outs[0]).read_bytes()


def test_events_outside_the_domain_are_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    source, given = surrogate(tmp_path / "s.h5"), far(tmp_path / "far.h5")
    text = r"far\.h5: 4 of 40 events lie outside .*, entry 5 first, at distance [\d.]+ .* leave them out"
    with pytest.raises(InputError, match=text):
        run(source, given, tmp_path / "out.h5", outside="refuse")
    assert not (tmp_path / "out.h5").exists()


def test_a_surrogate_without_a_domain_tells_no_zone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = conditions(40, seed=2)
    save(tmp_path / "s.h5", Noisy(origin(where), {}))
    before = run(surrogate(tmp_path / "a.h5"), far(tmp_path / "far.h5"), tmp_path / "before.h5")
    capsys.readouterr()
    run(str(tmp_path / "s.h5"), str(before), tmp_path / "out.h5")
    assert "s.h5: holds no domain of training; run ensemble again" in capsys.readouterr().err
    with open_events(tmp_path / "out.h5") as events:
        # Not the zones of the other surrogate either.
        assert events.aux == ["event_id", "seed"]
    with pytest.raises(InputError, match="holds no domain of training; run ensemble again"):
        run(str(tmp_path / "s.h5"), str(before), tmp_path / "no.h5", outside="refuse")


@pytest.mark.parametrize("rntuple", [False, True])
def test_zones_are_branches_of_an_ntuple_and_new_each_time(tmp_path: Path, rntuple: bool) -> None:
    source = surrogate(tmp_path / "s.h5")
    where = conditions(40, seed=2)
    where[3, 2] *= 100
    given = ntuple(tmp_path / "in.root", where, rntuple, sosie_zone=np.full(40, 7))
    for repeat in (1, 2):
        out = run(source, given, tmp_path / f"{repeat}.root", repeat=repeat)
        with open_ntuple(str(out), "ecal") as table:
            zone = table["sosie_zone"].array(library="np")
            away = table["sosie_distance"].array(library="np")
        assert np.flatnonzero(zone == 2).tolist() == list(range(3 * repeat, 4 * repeat))
        assert (away[zone == 0] <= 1).all()


def test_a_constant_condition_is_left_out_and_kept_in_the_domain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = conditions(200, seed=2)
    where[:, 3] = 2.5
    train = write_table(tmp_path / "train.h5", showers(where), where)
    out = tmp_path / "transform.json"
    preprocess.run(train, str(out), seed=1, transform="log", per_cell=False, gap=1.0)
    assert "warning: x does not vary and is left out of the features" in capsys.readouterr().err
    transform = read_transform(str(out))
    assert transform.features.used.tolist() == [True, True, True, False, True]
    assert transform.domain["x"] == {"min": 2.5, "max": 2.5}
    made = Noisy(origin(where, transform=transform), {})
    made.domain = domain_of(made, where)
    assert made.features(where).shape == (200, 4)
    save(tmp_path / "s.h5", made)
    run(str(tmp_path / "s.h5"), train, tmp_path / "out.h5")
    assert "warning" not in capsys.readouterr().err
    where[:50, 3] = 2.75
    moved = write_table(tmp_path / "moved.h5", showers(where), where)
    run(str(tmp_path / "s.h5"), moved, tmp_path / "out.h5")
    assert "50 of 200 events (25 %)" in capsys.readouterr().err
    where[:] = where[0]
    same = write_table(tmp_path / "same.h5", showers(where), where)
    with pytest.raises(InputError, match="no condition varies"):
        preprocess.run(same, str(out), seed=1, transform="log", per_cell=False, gap=1.0)


def refused(tmp_path: Path, source: str, given: str, text: str, suffix: str = ".h5") -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=text) as error:
        run(source, given, tmp_path / f"out{suffix}")
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


def test_conditions_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    source = surrogate(tmp_path / "s.h5")
    where = conditions(10)
    lacking = ntuple(tmp_path / "lacking.root", where, pz=None)
    refused(tmp_path, source, lacking, "no branch 'pz'; branches there: event_id, pdg, px, py")
    bad = where.copy()
    bad[4, 0] = np.nan
    refused(tmp_path, source, ntuple(tmp_path / "nan.root", bad), "'px' is nan in entry 4")
    bad = where.copy()
    bad[6, 2] = 0
    refused(tmp_path, source, ntuple(tmp_path / "pz.root", bad), "'tan_x' is nan in entry 6")
    still = write_table(tmp_path / "pz.h5", showers(where), bad)
    refused(tmp_path, source, still, "'tan_x' is nan in entry 6", ".root")
    empty = write_table(tmp_path / "empty.h5", showers(where)[:0], where[:0])
    refused(tmp_path, source, empty, "holds no events")
    other = replace(DETECTOR, name="tpc")
    foreign = write_table(tmp_path / "tpc.h5", showers(where), where, detector=other)
    refused(tmp_path, source, foreign, "holds events of detector 'tpc'")


@pytest.mark.parametrize("suffix", [".h5", ".root"])
def test_a_failure_leaves_nothing(
    tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    source = surrogate(tmp_path / "s.h5")
    drawn: list[int] = []

    def fail(self: Noisy, conditions: np.ndarray, rng: Any) -> np.ndarray:
        drawn.append(len(conditions))
        if len(drawn) == 3:
            raise RuntimeError("out of order")
        return np.zeros((len(conditions), 30, 30), np.float32)

    monkeypatch.setattr(Noisy, "sample", fail)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="out of order"):
        run(source, table, tmp_path / f"out{suffix}")
    assert sorted(tmp_path.iterdir()) == before
