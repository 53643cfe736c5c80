"""init: what it proposes for ntuples of known layouts, and that its study loads and can be ingested."""

import glob
import os
import subprocess
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml

from conftest import ROOT, electrons, write_root
from sosie.cli import main
from sosie.detectors import find
from sosie.events import open_events
from sosie.files import find_files
from sosie.proposal.branches import Branch
from sosie.proposal.conditions import conditions
from sosie.proposal.draft import epochs
from sosie.proposal.names import identity_order, is_weight, likeness, named_unit
from sosie.proposal.response import threshold
from sosie.proposal.wording import one_line, quoted, share
from sosie.settings import load_file
from sosie.units import UNITS

ECAL = find("ecal")
COUNT = 50


def propose(tmp_path, *words):
    """The exit code of init, and the study it wrote as text."""
    out = tmp_path / "study.yaml"
    code = main(["init", *map(str, words), "--out", str(out)])
    return code, out.read_text(encoding="utf-8") if out.exists() else ""


def study_of(tmp_path, *words):
    """The section ingest of the study that init wrote, loaded, and its text."""
    code, text = propose(tmp_path, *words)
    assert code == 0
    return load_file(tmp_path / "study.yaml").ingest, text


def ingested(tmp_path):
    """Responses and conditions of all events that ingest makes of the study."""
    study = load_file(tmp_path / "study.yaml")
    out = tmp_path / "tables"
    assert main(["ingest", "--out", str(out), "--set", *study.lines("ingest")]) == 0
    parts = []
    for sample in ("train", "validation", "test"):
        with open_events(out / f"{sample}.h5") as events:
            parts.append((events.column("response"), events.column("conditions")))
    responses, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(values[:, 2])
    return responses[order], values[order]


def house(columns):
    """Conditions of electrons() in house units and the responses, in the order of ``ingested``."""
    scale = {"x": 10, "y": 10, "z": 10}
    values = np.column_stack([columns[n] * scale.get(n, 1) for n in ECAL.conditions])
    order = np.argsort(values[:, 2])
    return columns["energy"][order], values[order]


def same_events(tmp_path, columns, dropped):
    """Check the ingested events against those of electrons(), but for suppressed cells."""
    (response, values), (truth, right) = ingested(tmp_path), house(columns)
    np.testing.assert_allclose(values, right, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        response, np.where(truth < dropped, 0, truth), rtol=1e-5, atol=dropped / 1e3
    )


def hits(columns):
    """The filled cells of each event: energies and flat indices."""
    cells = columns["energy"].reshape(len(columns["energy"]), 900)
    index = [np.flatnonzero(row) for row in cells]
    energy = ak.Array([row[i] for row, i in zip(cells, index, strict=True)])
    return ak.values_astype(energy, "float32"), ak.values_astype(ak.Array(index), "int32")


def write_lists(path, columns, tree="hits"):
    """A TTree with lists of their own types."""
    kinds = {
        name: f"var * {column.type.content.content}"
        if isinstance(column, ak.Array)
        else (column.dtype, column.shape[1:])
        for name, column in columns.items()
    }
    with uproot.recreate(path) as file:
        file.mktree(tree, kinds).extend(columns)
    return path


def vectors(columns, *names):
    return np.stack([columns[name] for name in names], axis=1)


def test_the_shipped_sample_gives_the_default_study(tmp_path, study, monkeypatch):
    monkeypatch.chdir(ROOT)
    code, text = propose(tmp_path, "resources/ecal/quick.root")
    assert code == 0
    ours, theirs = yaml.safe_load(text), study
    for section in ("preprocess", "train", "ensemble", "moments", "reconstruct"):
        assert ours[section] == theirs[section], section
    assert ours["ingest"] == theirs["ingest"]
    assert ours["detector"] == "ecal"
    assert "guessed: check" not in text
    assert "84 % of the cells are empty" in text
    assert "pdg: {expression: pdg}" in text
    assert "# constant: 11, left out of the features" in text
    assert "-0.4997 to 0.4997 cm = -4.997 to 4.997 mm" in text
    load_file(tmp_path / "study.yaml")


@pytest.mark.parametrize("rntuple", [False, True])
def test_the_native_layout_without_titles(tmp_path, ntuple, rntuple):
    section, text = study_of(tmp_path, ntuple(count=COUNT, rntuple=rntuple))
    assert section.response.model_dump() == {
        "branch": "energy",
        "unit": "MeV",
        "cell": None,
        "layers": 1,
    }
    assert {n: c.unit for n, c in section.conditions.items()} == {
        **dict.fromkeys(("px", "py", "pz"), "GeV"),
        **dict.fromkeys("xyz", "cm"),
        "pdg": "",
    }
    assert section.identity == ["seed", "event_id"]
    guessed = [line for line in text.splitlines() if "guessed: check" in line]
    assert len(guessed) == 7
    same_events(tmp_path, electrons(COUNT), section.threshold)


def test_the_layout_of_the_lhcb_studies(tmp_path):
    columns = electrons(COUNT)
    shares = np.random.default_rng(1).dirichlet([3] * 4, (COUNT, 1))
    deep = (columns["energy"].reshape(COUNT, 900, 1) * shares).astype(np.float32)
    path = write_root(
        tmp_path / "lhcb.root",
        {
            "EnergyDeposit": deep.reshape(COUNT, 3600),
            "ParticlePoint": vectors(columns, "x", "y", "z"),
            "ParticleMomentum": vectors(columns, "px", "py", "pz"),
            "ParticlePDG": columns["pdg"].astype(np.float64),
        },
        tree="ecalNT",
    )
    section, _ = study_of(tmp_path, path)
    assert section.tree == "ecalNT"
    assert (section.response.branch, section.response.layers) == ("EnergyDeposit", 4)
    assert section.conditions["py"].expression == "ParticleMomentum[1]"
    assert section.conditions["x"].model_dump() == {"expression": "ParticlePoint[0]", "unit": "cm"}
    assert section.identity == []
    same_events(tmp_path, columns, section.threshold)


def jagged(columns):
    """Hits with GeV, momentum as size and angles in MeV, places in mm."""
    energy, index = hits(columns)
    size = np.sqrt(sum(columns[n].astype(np.float64) ** 2 for n in ("px", "py", "pz")))
    return {
        "hit_energy": energy / 1000,
        "hit_cell": index,
        "p_MeV": 1000 * size,
        "theta": np.degrees(np.arccos(columns["pz"] / size)),
        "phi": np.arctan2(columns["py"], columns["px"]),
        "vx": columns["x"] * 10,
        "vy": columns["y"] * 10,
        "vz": columns["z"],
        "pid": columns["pdg"],
        "weight": np.random.default_rng(2).normal(1, 0.1, len(size)),
    }


def test_hits_with_mev_and_mm_and_angles(tmp_path, capsys):
    columns = electrons(COUNT)
    section, text = study_of(tmp_path, write_lists(tmp_path / "hits.root", jagged(columns)))
    assert section.response.model_dump() == {
        "branch": "hit_energy",
        "unit": "GeV",
        "cell": "hit_cell",
        "layers": 1,
    }
    assert section.conditions["px"].expression == "p_MeV * sin((theta * pi / 180)) * cos(phi)"
    assert section.conditions["px"].unit == "MeV"
    assert section.conditions["x"].unit == "mm"
    assert "theta taken for deg; phi taken for rad" in text
    assert "\n  # weight: weight " in text
    assert section.weight is None
    said = capsys.readouterr().out
    assert "response: hit_energy [GeV]" in said
    assert "ingest.conditions.px.expression" in said
    same_events(tmp_path, columns, section.threshold)


@pytest.mark.parametrize("rntuple", [False, True])
def test_hits_with_row_and_column(tmp_path, rntuple):
    columns = electrons(COUNT)
    energy, index = hits(columns)
    table = {
        "edep": energy,
        "ix": index // 30,
        "iy": index % 30,
        "iz": index % 7,
        "mom": 1000 * vectors(columns, "px", "py", "pz"),
        "pos": vectors(columns, "x", "y", "z"),
        "pdgId": columns["pdg"],
        "evt": columns["event_id"],
    }
    path = tmp_path / "hits.root"
    if rntuple:
        write_root(path, table, "hits", rntuple=True)
    else:
        write_lists(path, table)
    section, _ = study_of(tmp_path, path)
    assert section.response.cell == "ix * 30 + iy"
    assert section.conditions["pz"].model_dump() == {"expression": "mom[2]", "unit": "MeV"}
    assert section.identity == ["evt"]
    same_events(tmp_path, columns, section.threshold)


@pytest.mark.parametrize("depth", [True, False])
def test_hits_with_layers_in_the_index(tmp_path, depth):
    columns = electrons(60)
    energy, index = hits(columns)
    energy = ak.concatenate([energy, 2 * energy], axis=1)
    table = {
        "edep": energy,
        "cell": ak.concatenate([3 * index, 3 * index + 2], axis=1),
        **{n: columns[n] for n in ECAL.conditions},
    }
    if depth:
        table["depth"] = ak.concatenate([0 * index, 0 * index + 2], axis=1)
    section, text = study_of(tmp_path, write_lists(tmp_path / "hits.root", table))
    assert section.response.cell == "cell"
    # Without a depth the largest index is all there is to go by: that is said.
    assert section.response.layers == 3 if depth else section.response.layers > 1
    assert ("layers from the largest index" in text) != depth


def test_dotted_names_of_records(tmp_path):
    columns = electrons(COUNT)
    columns["Particle"] = ak.zip({f"f{n.upper()}": columns.pop(n) for n in ("px", "py", "pz")})
    section, _ = study_of(tmp_path, write_root(tmp_path / "r.root", columns, rntuple=True))
    assert section.conditions["px"].expression == "Particle.fPX"
    same_events(tmp_path, electrons(COUNT), section.threshold)


def test_several_trees(tmp_path, ntuple):
    path = ntuple(count=COUNT)
    small = {name: column[:40] for name, column in electrons(COUNT).items()}
    with uproot.update(path) as file:
        for tree, columns in (("many", {"a": np.arange(1000.0)}), ("few", small)):
            file.mktree(tree, {n: (c.dtype, c.shape[1:]) for n, c in columns.items()}).extend(
                columns
            )
    section, text = study_of(tmp_path, path)
    assert section.tree == "ecal"
    assert "# Other trees: many (1000 entries), few (40 entries)." in text
    (tmp_path / "study.yaml").unlink()
    assert study_of(tmp_path, path, "--tree", "few")[0].tree == "few"


def test_constant_conditions_weights_and_alternatives(tmp_path, ntuple):
    columns = electrons(COUNT)
    path = ntuple(
        count=COUNT,
        x=np.full(COUNT, 0.25, np.float32),
        wgt=np.linspace(0.5, 2, COUNT),
        particle_px=columns["px"],
        truth=2 * columns["energy"],
    )
    _, text = study_of(tmp_path, path)
    lines = {line.split(":")[0].strip(): line for line in text.splitlines()}
    assert "constant: 0.25 cm, left out of the features" in lines["x"]
    assert "or particle_px?" in lines["px"]
    assert "# Constant branches: x (0.25), z (0), pdg (11), seed (1)." in text
    assert "# It could also be truth: 30 x 30 numbers" in text
    assert "# weight: wgt" in text
    # What does not vary has no bins.
    assert "momentum" in load_file(tmp_path / "study.yaml").moments.bins


def test_variables_that_do_not_vary_have_no_bins(tmp_path, ntuple):
    fixed = {"px": 0.0, "py": 0.0, "pz": 20.0}
    path = ntuple(count=COUNT, **{n: np.full(COUNT, v, np.float32) for n, v in fixed.items()})
    propose(tmp_path, path)
    assert list(load_file(tmp_path / "study.yaml").moments.bins) == ["impact_x", "impact_y"]


@pytest.mark.parametrize(("count", "bad", "most"), [(120, 1, 0.01), (50, 5, 0.12)])
def test_numbers_that_are_not_finite(tmp_path, ntuple, count, bad, most):
    columns = electrons(count)
    columns["energy"][:bad, 3, 4] = np.nan
    columns["px"][:bad] = np.inf
    path = ntuple(count=count, energy=columns["energy"], px=columns["px"])
    section, text = study_of(tmp_path, path)
    assert "# Not finite in " in text
    assert "not finite in " in next(line for line in text.splitlines() if " px:" in line)
    assert section.max_rejected == most
    assert len(ingested(tmp_path)[0]) == count - bad


def test_negative_cells_are_named(tmp_path, ntuple, capsys):
    energy = electrons(COUNT)["energy"]
    energy[:5, 0, 0] = -1
    code, text = propose(tmp_path, ntuple(count=COUNT, energy=energy))
    assert code == 2
    assert "branch 'energy' is negative in 10 % of the entries" in capsys.readouterr().err
    assert "# Negative in 10 % of the entries, where ingest stops" in text


def test_what_is_not_found_is_commented_out_and_named(tmp_path, ntuple, capsys):
    code, text = propose(tmp_path, ntuple(count=COUNT, z=None))
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nothing found for ingest.conditions.z in tree 'ecal'" in line
    assert "branches there: energy, px, py, pz, x, y, pdg, event_id, seed;" in line
    assert "# z: {expression: NAME, unit: mm}" in text
    completed = text.replace("# z: {expression: NAME", 'z: {expression: "0"')
    (tmp_path / "study.yaml").write_text(completed, encoding="utf-8")
    assert len(ingested(tmp_path)[0]) == COUNT


def test_nothing_found_at_all(tmp_path, capsys):
    path = write_root(tmp_path / "a.root", {"alpha": np.arange(9.0), "beta": np.ones((9, 66))})
    code, text = propose(tmp_path, path)
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "ingest.response, ingest.conditions.px" in line
    assert "branches there: alpha, beta;" in line
    assert yaml.safe_load(text)["ingest"]["conditions"] is None
    assert "# response: {branch: NAME, unit: MeV}" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"text", "not a ROOT file"), ({}, "trees there: none")],
)
def test_files_that_cannot_be_read(tmp_path, capsys, content, message):
    path = tmp_path / "a.root"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        uproot.recreate(path).close()
    assert propose(tmp_path, path) == (2, "")
    assert message in capsys.readouterr().err


def test_empty_trees_and_unknown_names_are_refused(tmp_path, ntuple, capsys):
    with uproot.recreate(tmp_path / "empty.root") as file:
        file.mktree("ecal", {"energy": "float32"})
    assert propose(tmp_path, tmp_path / "empty.root") == (2, "")
    assert "has no entries" in capsys.readouterr().err
    assert propose(tmp_path, ntuple(count=COUNT), "--tree", "x") == (2, "")
    assert "no tree 'x'; trees there: ecal" in capsys.readouterr().err
    assert propose(tmp_path, ntuple(count=COUNT), "--detector", "x") == (2, "")
    assert "detector: 'x'" in capsys.readouterr().err


def test_nothing_is_overwritten(tmp_path, ntuple, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = ntuple("my showers (1).root", count=COUNT)
    assert main(["init", str(path)]) == 0
    made = Path("config/my-showers-1.yaml")
    assert load_file(made).study == "my-showers-1"
    made.write_text("mine")
    assert main(["init", str(path)]) == 2
    assert "is there already; give another file with --out" in capsys.readouterr().err
    assert made.read_text() == "mine"


def test_several_files(tmp_path, ntuple):
    paths = [ntuple("a.root", count=COUNT), ntuple("b.root", seed=2, count=COUNT)]
    section, text = study_of(tmp_path, *paths)
    assert section.files == list(map(str, paths))
    assert "2 files with 100 entries" in text
    assert section.identity == ["seed", "event_id"]
    assert "different in all 100 entries" in text
    (tmp_path / "study.yaml").unlink()
    # The same numbers again tell no entries apart.
    section, text = study_of(tmp_path, paths[0], ntuple("c.root", count=COUNT))
    assert section.identity == []
    assert "seed, event_id do not tell all entries apart" in text


def test_a_file_of_another_kind_is_refused(tmp_path, ntuple, capsys):
    assert propose(
        tmp_path, ntuple("a.root", count=COUNT), ntuple("b.root", px=None, count=COUNT)
    ) == (2, "")
    assert "b.root: no branch 'px'" in capsys.readouterr().err


HOSTILE = [
    "on: #x",
    "a\"b'c",
    "line\nbreak: {x: 1}",
    "{{ 7 * 7 }}{% for %}",
    "ü\u2028é\u0085",
    "~",
    "- !!python object:os.system",
    "tab\there\\n",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_of_branch_and_tree(tmp_path, name):
    columns = electrons(20)
    columns[name] = columns.pop("energy")
    section, text = study_of(
        tmp_path, write_root(tmp_path / "a.root", columns, rntuple=True, tree=name)
    )
    assert section.response.branch == name
    assert section.tree == name
    assert set(yaml.safe_load(text)["ingest"]) == {
        "files", "tree", "response", "conditions", "identity", "threshold", "split",
    }  # fmt: skip


def test_a_branch_that_no_expression_can_name_is_no_condition(tmp_path):
    columns = electrons(20)
    columns["p x"] = columns.pop("px")
    path = write_root(tmp_path / "a.root", columns)
    code, text = propose(tmp_path, path)
    assert code == 2
    assert "# px: {expression: NAME, unit: GeV}" in text


@pytest.mark.fault(10)
@pytest.mark.parametrize("name", ["a[1]*?.root", 'it\'s "#x": ü $(touch x).root', "-a: b.root"])
def test_hostile_paths_are_taken_literally(tmp_path, ntuple, name):
    ntuple("a1.root", count=COUNT)
    path = ntuple(name, count=COUNT)
    section, _ = study_of(tmp_path, path)
    assert find_files(section.files) == [str(path)]
    assert section.files == [glob.escape(str(path))]


@pytest.mark.parametrize("name", ["a{b}.root", os.fsdecode(b"a\xff.root")])
def test_paths_that_cannot_stand_in_a_study(tmp_path, name, capsys):
    assert propose(tmp_path, tmp_path / name) == (2, "")
    assert "rename the file" in capsys.readouterr().err


@pytest.mark.slow
def test_snakemake_takes_the_study(tmp_path, ntuple):
    propose(tmp_path, ntuple("it's (1) [2].root", count=300))
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "1",
        "-n",
        "-s",
        str(ROOT / "Snakefile"),
    ]
    words = [
        "--directory",
        str(tmp_path / "run"),
        "all",
        "--configfile",
        str(tmp_path / "study.yaml"),
    ]
    done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    "value", [*HOSTILE, "yes", "null", "1e3", "0x1", "", " a ", "é", "\ue000😀", "a.b/c-d"]
)
def test_quoted_values_come_back_from_yaml(value):
    assert yaml.safe_load(f"a: {one_line(quoted(value))}") == {"a": value}
    assert yaml.safe_load(one_line(quoted({"k": [value]}))) == {"k": [value]}
    assert yaml.safe_load(f"a: 1  # {one_line(value)}") == {"a": 1}


@pytest.mark.parametrize(
    ("name", "element", "condition", "rank"),
    [
        ("px", "", "px", 0),
        ("true_px", "", "px", 0),
        ("ParticleMomentum", "x", "px", 1),
        ("momentum_y", "", "py", 1),
        ("p_MeV", "", "p", 0),
        ("EntryX", "", "x", 1),
        ("x_um", "", "x", 0),
        ("pdgId", "", "pdg", 1),
        ("Particle.fPx", "", "px", 0),
        ("drift", "", "drift", 0),
        ("max", "", "x", None),
        ("energy", "", "px", None),
    ],
)
def test_likeness(name, element, condition, rank):
    found = likeness(name, element, condition)
    assert (None if found is None else found[0]) == rank


TITLE = (
    "ECAL: energy[ix][iy] deposit MeV per 2x2 cm cell; p,e_kin GeV; x,y,z cm at the face; e_* MeV"
)


@pytest.mark.parametrize(
    ("name", "title", "condition", "kind", "unit"),
    [
        ("x", "x/F", "x", "length", "cm"),
        ("px", "px/F", "px", "energy", "GeV"),
        ("energy", "energy[30][30]/F", "", "energy", "MeV"),
        ("e_lead", "", "", "energy", "MeV"),
        ("x", "entry point [mm]", "x", "length", "mm"),
        ("ParticlePoint", "ParticlePoint[3]/cm", "x", "length", "cm"),
        ("l", "length (m)", "", "length", "m"),
        ("p_MeV", "", "p", "energy", "MeV"),
        ("theta", "theta/F", "", "angle", ""),
        ("other", "", "", "length", ""),
        ("t", "t/s", "", "time", ""),
    ],
)  # fmt: skip
def test_units_that_are_named(name, title, condition, kind, unit):
    assert named_unit(name, title, TITLE, UNITS[kind], condition)[0] == unit


def test_names_of_identity_and_weight():
    names = ["run", "eventNumber", "evt_id", "seed", "lumiBlock", "pdg", "nevents", "track_id"]
    assert [identity_order(name) for name in names] == [0, 1, 1, 0, 0, None, None, None]
    assert [is_weight(name) for name in ("w", "sWeight", "mc_weight", "width")] == [True] * 3 + [
        False
    ]


P = {"size": 5.0, "theta": 0.3, "phi": 2.0}


@pytest.mark.parametrize("names", [("p", "theta", "phi"), ("p", "eta", "phi"), ("pt", "eta", "phi"), ("pt", "theta", "phi"), ("p", "tx", "ty"), ("e", "theta", "phi")])  # fmt: skip
def test_momentum_from_size_and_direction(names):
    size, theta, phi = P.values()
    values = {
        "p": size,
        "e": size,
        "pt": size * np.sin(theta),
        "theta": theta,
        "eta": -np.log(np.tan(theta / 2)),
        "phi": phi,
        "tx": np.tan(theta) * np.cos(phi),
        "ty": np.tan(theta) * np.sin(phi),
    }
    found = conditions([Branch(n, "", np.full(3, values[n])) for n in names], ECAL, "")
    direction = [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)]
    for name, cosine in zip(("px", "py", "pz"), direction, strict=True):
        np.testing.assert_allclose(found[name].values, size * cosine)
    assert ("mass neglected" in found["px"].remark) == (names[0] == "e")


def test_threshold_removes_less_than_a_thousandth():
    # 1000 cells of 0.3 are 0.0003 of the sum, the next ones would be 0.003 of it.
    cells = np.concatenate([np.zeros(50), np.full(1000, 0.3), np.full(1000, 3.0), np.full(10, 1e5)])
    assert threshold(cells) == (2.0, 1000 / 2010, pytest.approx(300 / 1003300))
    assert threshold(np.zeros(4)) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("value", "text"), [(0, "0 %"), (0.00054, "0.054 %"), (0.156, "16 %"), (0.8434, "84 %"), (0.9234, "92.3 %"), (0.99961, "99.961 %"), (1, "100 %")])  # fmt: skip
def test_shares(value, text):
    assert share(value) == text


def test_as_many_batches_as_in_the_default_study():
    assert epochs(4000) == 160
    assert 5000 < epochs(400) * (240 // 64) < 7000
    assert epochs(10**6) == 20


def test_conditions_of_a_chamber_are_found_by_their_names(tmp_path):
    source = ROOT / "resources/tpc/quick.root"
    assert main(["init", str(source), "--detector", "tpc", "--out", str(tmp_path / "t.yaml")]) == 0
    study = load_file(tmp_path / "t.yaml")
    assert study.ingest.response.branch == "response"
    for name, branch in study.ingest.conditions.items():
        assert branch.expression == name


def test_a_vector_of_either_sign_gets_a_transform_and_a_network_of_its_own(tmp_path, capsys):
    source, out = ROOT / "resources/rich/quick.root", tmp_path / "r.yaml"
    assert main(["init", str(source), "--detector", "rich", "--out", str(out)]) == 2
    assert "nothing found for ingest.response in tree" in capsys.readouterr().err
    text = out.read_text()
    names = ["RichDLLe", "RichDLLmu", "RichDLLk", "RichDLLp", "RichDLLbt"]
    before = "# response: {branch: [NAME, NAME, ...], unit: " + '""' + "}"
    assert before in text
    out.write_text(text.replace(before, f"response: {{branch: [{', '.join(names)}], unit: ''}}"))
    study = load_file(out)
    found = {name: (b.expression, b.unit) for name, b in study.ingest.conditions.items()}
    assert found["momentum"] == ("Brunel_P", "MeV")
    assert found["spd"] == ("nSPDHits", "")
    assert study.preprocess.transform == "quantile"
    assert "cramer_gan" in study.train.surrogates
