"""Every intermediate that is damaged, cut or foreign is refused by name, with the step to rerun."""

import io
import json
import pickle
import re
import shutil
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from samples import conditions, origin, showers, write_table
from sosie import ensemble, generate, preprocess, report
from sosie.arrays import read_arrays, write_arrays
from sosie.detectors.ecal import DETECTOR
from sosie.domain import read_domain
from sosie.errors import IntermediateError
from sosie.events import Block, open_events, write_events
from sosie.figures import read_curves, read_validation
from sosie.files import write_json, write_text
from sosie.gates import read_gates
from sosie.reconstruct import read_calibration
from sosie.surrogates import load, save
from sosie.surrogates.checkpoint import read_checkpoint
from sosie.surrogates.library import Library
from sosie.transforms import read_transform

WHERE = conditions(30)
FITTED = {"seed": 1, "transform": "log", "per_cell": False, "gap": 1.0}
EXECUTED = "executed"


def verify(path):
    with open_events(path) as events:
        for name in ("response", "conditions", "event_id", "group_id", "incident_energies"):
            events.column(name)
        for name in events.aux:
            events.column(f"aux/{name}")


READERS = {
    "table.h5": (verify, "ingest or generate"),
    "transform.json": (lambda path: read_transform(str(path)), "preprocess"),
    "domain.h5": (lambda path: read_domain(str(path)), "preprocess"),
    "trained.h5": (
        lambda path: ensemble.run([str(path)], [str(path.with_name("member"))]),
        "train and ensemble",
    ),
    "member.h5": (
        lambda path: generate.run(
            [str(path)], str(path.with_name("table.h5")), [f"{path}.out.h5"], seed=1, batch=100
        ),
        "train and ensemble",
    ),
    "checkpoint.h5": (lambda path: read_arrays(path, "checkpoint", "train"), "train"),
    "moments/a/test.h5": (
        lambda path: read_validation(path.parents[2], "moments", {"a": None}),
        "moments",
    ),
    "reconstruct/a/test.h5": (
        lambda path: read_validation(path.parents[2], "reconstruct", {"a": None}),
        "reconstruct",
    ),
    "calibration.json": (lambda path: read_calibration(str(path), "ecal"), "reconstruct"),
    "metrics.json": (lambda path: read_gates(str(path)), "compare"),
    "ingest/summary.json": (lambda path: report.provenance(path.parents[1]), "ingest"),
    "0.csv": (read_curves, "train"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One good file of every kind."""
    folder = tmp_path_factory.mktemp("made")
    write_table(folder / "table.h5", showers(WHERE), WHERE)
    places = (str(folder / name) for name in ("table.h5", "transform.json", "domain.h5"))
    table, transform, where = places
    preprocess.run(table, transform, domain=where, **FITTED)
    kept = showers(WHERE)[:5]
    for name in ("trained.h5", "member.h5"):
        save(
            folder / name,
            Library(origin(WHERE), {"kind": "library", "neighbours": 1}, kept, WHERE[:5]),
        )
    numbers = {"a/b": np.arange(20.0), "a/c": np.ones((3, 4), np.float32)}
    write_arrays(folder / "checkpoint.h5", "checkpoint", numbers, {"done": 1})
    for step in ("moments", "reconstruct"):
        write_arrays(folder / f"{step}/a/test.h5", step, numbers, {"members": 2})
    constants = {"detector": "ecal", "calibration": {"scale": 1.25}}
    write_json(folder / "calibration.json", constants)
    write_json(folder / "metrics.json", {"gates": []})
    write_json(folder / "ingest/summary.json", {"files": {}})
    write_text(folder / "0.csv", "epoch,loss\n1,0.5\n2,0.25\n", beside=True)
    return folder


@pytest.fixture
def here(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "results"))


def refused(path, name, match=None):
    reader, step = READERS[name]
    with pytest.raises(IntermediateError, match=match) as caught:
        reader(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert re.search(rf"\b{step}\b", message)
    assert "\n" not in message


@pytest.mark.parametrize("name", READERS)
def test_what_is_whole_is_read(here, name):
    READERS[name][0](here / name)


@pytest.mark.fault(4)
@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9, "last"])
def test_what_is_cut_is_refused(here, name, share):
    path = here / name
    data = path.read_bytes()
    path.write_bytes(data[:-3] if share == "last" else data[: int(share * len(data))])
    refused(path, name)


@pytest.mark.fault(4)
@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("other", READERS)
def test_a_file_of_another_kind_is_refused(here, name, other):
    same = {"trained.h5", "member.h5"}
    if other == name or {name, other} == same:
        return
    (here / name).write_bytes((here / other).read_bytes())
    refused(here / name, name)


@pytest.mark.fault(4)
@pytest.mark.parametrize("name", READERS)
def test_a_missing_file_is_refused(here, name):
    (here / name).unlink()
    refused(here / name, name)


def content(path, name):
    """All that is ever taken from a file."""
    if name == "table.h5":
        with open_events(path) as events:
            named = ["response", "conditions", "event_id", "group_id"]
            named += [f"aux/{name}" for name in events.aux]
            arrays = {name: events.column(name) for name in named}
            arrays["weight"] = events.weight
            arrays["pieces"] = np.concatenate([r for _, r in events.responses()])
            about = [events.attributes, len(events), events.detector, events.shape]
    else:
        arrays, about = read_arrays(path, "checkpoint", "train")
    plain = [(n, a.dtype.str, a.shape, a.tobytes()) for n, a in sorted(arrays.items())]
    return repr([about, plain])


@pytest.mark.fault(4)
@pytest.mark.parametrize("flips", [60, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["table.h5", "checkpoint.h5"])
def test_a_byte_that_flips_is_noticed_or_changes_nothing(here, name, flips):
    """Anywhere in the file, in data and in whatever else HDF5 keeps there."""
    path, rng = here / name, np.random.default_rng(1)
    data, whole, refusals = path.read_bytes(), content(path, name), 0
    for position in np.unique(rng.integers(0, len(data), flips)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = content(path, name)
        except IntermediateError:
            refusals += 1
        else:
            assert found == whole, position
    assert refusals > flips // 20


@pytest.mark.fault(4)
@pytest.mark.parametrize("name", [name for name in READERS if name.endswith((".json", ".csv"))])
def test_a_character_that_changes_is_noticed(here, name):
    path = here / name
    data = path.read_bytes()
    for position in range(0, len(data), max(1, len(data) // 60)):
        if data[position : position + 1].isspace():
            continue
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        if name.endswith(".json") and holds_the_same(path, data):
            continue
        refused(path, name)


def holds_the_same(path, data):
    """Whether another last digit is the same number: the digest is of what a file says."""
    try:
        return json.loads(path.read_bytes()) == json.loads(data)
    except ValueError:
        return False


def other_table(path, seed, detector=DETECTOR):
    where = conditions(30, seed)
    return write_table(path, showers(where, seed), where, detector=detector)


@pytest.mark.fault(4)
@pytest.mark.parametrize("what", ["response", "digests/response", "conditions", "attributes"])
def test_a_table_made_of_parts_of_two_is_refused(here, what):
    other_table(here / "other.h5", 2)
    with h5py.File(here / "table.h5", "a") as table, h5py.File(here / "other.h5") as other:
        if what == "attributes":
            del table[what]
            table[what] = np.bytes_(other[what][()].replace(b"0.2", b"0.3"))
        else:
            table[what][...] = other[what][...]
            if what == "response":
                table["digests/response"][...] = other["digests/response"][...]
    refused(here / "table.h5", "table.h5", "digest|are others")


@pytest.mark.fault(4)
@pytest.mark.parametrize("name", ["detector", "events", "unit", "conditions", "condition_units"])
def test_what_a_table_says_of_itself_cannot_change(here, name):
    with h5py.File(here / "table.h5", "a") as table:
        old = table.attrs[name]
        table.attrs[name] = 29 if name == "events" else np.char.add(old, b"x")
    refused(here / "table.h5", "table.h5", "damaged")


@pytest.mark.fault(4)
def test_arrays_cannot_change_their_names_or_be_lost(here):
    for change in ("swap", "lose"):
        path = here / "checkpoint.h5"
        with h5py.File(path, "a") as file:
            if change == "swap":
                file.move("arrays/a/b", "arrays/a/d")
            else:
                del file["arrays/a/c"]
        refused(path, "checkpoint.h5", "digest")


def test_a_file_of_version_0_1_is_read(tmp_path):
    """Its text had variable length, and its digest was that of the text alone."""
    from sosie.files import digest

    numbers = np.arange(5.0)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs.update({"schema": 1, "kind": "checkpoint"})
        file["attributes"] = '{"done": 3}'
        file.attrs["attributes_digest"] = digest('{"done": 3}')
        data = file.create_dataset("arrays/a/b", data=numbers)
        data.attrs["digest"] = digest("<f8", "(5,)", numbers.tobytes())
    arrays, about = read_arrays(tmp_path / "a.h5", "checkpoint", "train")
    np.testing.assert_array_equal(arrays["a/b"], numbers)
    assert about == {"done": 3}


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.fault(11)
@pytest.mark.parametrize("how", ["pickle", "torch", "numpy"])
def test_a_pickle_for_a_surrogate_is_refused_and_executes_nothing(tmp_path, how):
    mark, stream = tmp_path / EXECUTED, io.BytesIO()
    if how == "pickle":
        pickle.dump(Hostile(mark), stream)
    elif how == "torch":
        torch.save({"weights": Hostile(mark)}, stream)
    else:
        np.save(stream, np.array([Hostile(mark)], object), allow_pickle=True)
    (tmp_path / "member.h5").write_bytes(stream.getvalue())
    refused(tmp_path / "member.h5", "trained.h5", "signature not found")
    assert not mark.exists()


@pytest.mark.fault(11)
@pytest.mark.parametrize("kind", ["os.system", "sosie.surrogates.library:Library", "", None, ["a"]])
def test_a_kind_that_is_no_name_of_ours_is_refused(tmp_path, kind):
    write_arrays(tmp_path / "member.h5", "surrogate", {}, {"surrogate": kind})
    refused(tmp_path / "member.h5", "trained.h5", r"kind '.*' is not one of library, mix, wgan_gp")


@pytest.mark.fault(11)
@pytest.mark.parametrize("about", [{}, {"origin": 1, "settings": {}}, {"origin": {}}])
def test_a_surrogate_that_is_not_whole_is_refused(tmp_path, about):
    for kind in ("library", "wgan_gp"):
        write_arrays(tmp_path / "a.h5", "surrogate", {}, {"surrogate": kind, **about})
        refused(tmp_path / "a.h5", "trained.h5", "not a whole surrogate")


def outside(file, name, how, folder):
    """Put something that is not stored in this file, or not as numbers, into its place."""
    secret = folder / "secret.h5"
    with h5py.File(secret, "w") as other:
        other["x"] = np.arange(30.0)
    if name in file:
        del file[name]
    if how == "external link":
        file[name] = h5py.ExternalLink(str(secret), "/x")
    elif how == "soft link":
        file[name] = h5py.SoftLink("/attributes")
    elif how == "external storage":
        file.create_dataset(name, (30,), "f8", external=[(str(secret), 0, 240)])
    elif how == "virtual":
        layout = h5py.VirtualLayout((30,), "f8")
        layout[:] = h5py.VirtualSource(str(secret), "x", (30,))
        file.create_virtual_dataset(name, layout)
    elif how == "text":
        file[name] = np.array(["a"] * 30, object)
    elif how == "reference":
        file[name] = np.array([file.ref] * 30, h5py.ref_dtype)
    else:
        file[name] = np.zeros(30, [("a", "f8"), ("b", "i4")])


OUTSIDE = (
    "external link", "soft link", "external storage", "virtual", "text", "reference", "compound",
)  # fmt: skip


PLACES = [
    *product(
        [
            ("table.h5", "response"),
            ("table.h5", "aux/more"),
            ("table.h5", "digests/event_id"),
            ("table.h5", "attributes"),
            ("trained.h5", "attributes"),
            ("trained.h5", "arrays/response"),
        ],
        OUTSIDE,
    ),
    # Never opened, so only what it is matters.
    *product([("table.h5", "showers")], OUTSIDE[:2]),
]


@pytest.mark.fault(11)
@pytest.mark.parametrize(("place", "how"), PLACES)
def test_what_is_stored_elsewhere_is_refused_by_name(here, tmp_path, place, how):
    name, inside = place
    with h5py.File(here / name, "a") as file:
        outside(file, inside, how, tmp_path)
    last = inside.removeprefix("arrays/")
    refused(here / name, name, rf"'{last}'|attributes")


@pytest.mark.fault(11)
def test_a_group_that_holds_itself_is_refused(here):
    with h5py.File(here / "trained.h5", "a") as file:
        file["arrays/again"] = file["arrays"]
    refused(here / "trained.h5", "trained.h5")


@pytest.mark.fault(4)
def test_an_array_larger_than_its_file_is_refused_unread(here):
    with h5py.File(here / "trained.h5", "a") as file:
        file.create_dataset("arrays/huge", (10**12,), "f8")
    refused(here / "trained.h5", "trained.h5", "'huge' is not all there")


def test_a_calibration_of_another_detector_is_refused(here):
    write_json(here / "calibration.json", {"detector": "tpc", "calibration": {}})
    refused(here / "calibration.json", "calibration.json", "calibrates 'tpc'")


@pytest.mark.fault(4)
def test_a_slab_in_the_middle_is_not_given_out_and_the_others_are(tmp_path):
    path, count = tmp_path / "a.h5", 3 * 1024 + 5
    where = conditions(count)
    block = Block(np.ones((count, 30, 30), np.float32), where, np.arange(count), np.arange(count))
    with write_events(path, DETECTOR, {"threshold": 0.2}) as writer:
        writer.append(block)
    with h5py.File(path, "a") as file:
        file["response"][1500, 3, 3] = 2
    with open_events(path) as events:
        pieces = events.responses(1)
        assert next(pieces)[0] == slice(0, 1024)
        with pytest.raises(IntermediateError, match="damaged between events 1024 and 2048"):
            next(pieces)
        assert len(events.column("conditions")) == count


@pytest.mark.fault(4)
@pytest.mark.parametrize("damage", ["cut", "other networks", "pickle"])
def test_a_damaged_checkpoint_is_reported_and_nothing_of_it_taken(tmp_path, capsys, damage):
    path = tmp_path / damage / "checkpoint.h5"
    networks = {name: torch.nn.Linear(3, 2) for name in ("generator", "critic", "averaged")}
    module = SimpleNamespace(**networks, networks=tuple(networks), done=0, best={})
    before = {name: net.weight.detach().clone() for name, net in networks.items()}
    wide = {f"{name}/{e}": np.zeros((9, 2), "f4") for name in networks for e in ("weight", "bias")}
    write_arrays(path, "checkpoint", wide, {"done": 3})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "pickle":
        path.write_bytes(pickle.dumps(Hostile(tmp_path / EXECUTED)))
    read_checkpoint(path, module)
    assert "the training starts anew" in capsys.readouterr().err
    assert module.done == 0
    assert not (tmp_path / EXECUTED).exists()
    for name, net in networks.items():
        torch.testing.assert_close(net.weight.detach(), before[name])


def test_conditions_of_ours_are_verified_and_those_of_a_user_taken(here, tmp_path):
    save(
        here / "member.h5",
        Library(origin(WHERE), {"kind": "library", "neighbours": 1}, showers(WHERE)[:5], WHERE[:5]),
    )
    surrogate = load(here / "member.h5")
    out = here / "out.root"
    generate.run([str(here / "member.h5")], str(here / "table.h5"), [str(out)], seed=1, batch=100)
    generate.read_conditions(str(out), surrogate)
    data = bytearray(out.read_bytes())
    data[len(data) // 2] ^= 1
    out.write_bytes(data)
    with pytest.raises(IntermediateError, match=r"out\.root: .*out\.root\.sha256.*run generate"):
        generate.read_conditions(str(out), surrogate)
