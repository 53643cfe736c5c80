"""Settings: what is wrong is said all at once, a line each, with the key and what to do."""

import datetime
import json
import subprocess
import sys
from copy import deepcopy

import pytest
import yaml

from conftest import ROOT
from sosie.errors import SettingsError
from sosie.settings import Study, load, load_file, schema, section

GONE = object()


def changed(study, changes):
    study = deepcopy(study)
    for path, value in changes.items():
        *outer, last = path.split("/")
        place = study
        for word in outer:
            place = place[word]
        if value is GONE:
            del place[last]
        else:
            place[last] = value
    return study


def complaints(study, changes=None):
    with pytest.raises(SettingsError) as caught:
        load(changed(study, changes or {}), "study.yaml")
    lines = str(caught.value).split("\n")
    assert all(line.startswith("study.yaml: ") for line in lines)
    return [line.removeprefix("study.yaml: ") for line in lines]


@pytest.mark.parametrize("name", ["config", "ecal"])
def test_studies_that_ship_load(name):
    study = load_file(ROOT / f"config/{name}.yaml")
    assert study.detector == "ecal"
    assert study.members("wgan_gp") == study.ensemble.members == 8
    assert study.members("library") == 1


MAPPING = "should be a mapping of keys, not"
NAME = "should be letters, digits, - and _, the first a letter or digit, not"
BINS = "should be a number of bins or a list of rising edges, not"
ONE = {
    # Unknown, misspelt and missing keys.
    "ingets": ({}, "ingets: unknown key; did you mean 'ingest'?"),
    "ingest/respons": ({}, "ingest.respons: unknown key; did you mean 'response'?"),
    "ingest/response/unti": ("MeV", "ingest.response.unti: unknown key; did you mean 'unit'?"),
    "ingest/conditions/px/unt": (
        "GeV",
        "ingest.conditions.px.unt: unknown key; did you mean 'unit'?",
    ),
    "ingest/split/trian": (0.6, "ingest.split.trian: unknown key; did you mean 'train'?"),
    "ingest/zzz": (
        1,
        "ingest.zzz: unknown key; valid: conditions, digests, files, files_per_job, group, identity, max_rejected, memory_mb, "
        "response, samples, selection, split, test, threshold, tree, truth, weight",
    ),
    "ingest/response": (GONE, "ingest.response: missing; add this key"),
    "ingest/response/branch": (GONE, "ingest.response.branch: missing; add this key"),
    "train": (GONE, "train: missing; add this key"),
    # Types.
    "ingest/split": ("a", f'ingest.split: {MAPPING} "a"'),
    "ingest/conditions/px": ("px", f'ingest.conditions.px: {MAPPING} "px"'),
    "ingest/files": ("a.root", 'ingest.files: should be a list, not "a.root"'),
    "ingest/tree": (3, "ingest.tree: should be text, not 3"),
    "ingest/threshold": ("a", 'ingest.threshold: should be a number, not "a"'),
    "ingest/memory_mb": (1.5, "ingest.memory_mb: should be a whole number, not 1.5"),
    "seed": (True, "seed: should be a whole number, not true"),
    "preprocess/per_cell": ("yes", 'preprocess.per_cell: should be true or false, not "yes"'),
    "ensemble": (None, f"ensemble: {MAPPING} null"),
    "moments/bins": ([3], f"moments.bins: {MAPPING} [3]"),
    # Values.
    "ingest/files ": ([], "ingest.files: should be 1 or more entries, not []"),
    "ingest/threshold ": (-1, "ingest.threshold: should be 0 or more, not -1"),
    "ingest/threshold  ": (float("nan"), "ingest.threshold: should be a finite number, not NaN"),
    "seed ": (-1, "seed: should be 0 or more, not -1"),
    "seed  ": (2**64, f"seed: should be less than 9.22337e+18, not {2**64}"),
    "ingest/split/test": (
        0.5,
        "ingest.split: train, validation and test should sum to 1, not 1.25",
    ),
    "preprocess/transform": (
        "boxcox",
        "preprocess.transform: should be 'box_cox', 'log', 'none', 'quantile' or 'yeo_johnson', not \"boxcox\"; did you mean 'box_cox'?",
    ),
    "detector": ("ecla", "detector: there is no detector 'ecla'; did you mean 'ecal'?"),
    "study": ("a/b", f'study: {NAME} "a/b"'),
    "study ": ("$(rm -rf x)", f'study: {NAME} "$(rm -rf x)"'),
    "study  ": ("a\n", f'study: {NAME} "a\\n"'),
    "study   ": ("../a", f'study: {NAME} "../a"'),
    "study    ": (3, "study: should be text, not 3"),
    # Surrogates, each by its kind.
    "train/surrogates/wgan_gp/epocs": (
        3,
        "train.surrogates.wgan_gp.epocs: unknown key; did you mean 'epochs'?",
    ),
    "train/surrogates/library/epochs": (
        3,
        "train.surrogates.library.epochs: unknown key; valid: kind, neighbours",
    ),
    "train/surrogates/wgan_gp/epochs": (
        0,
        "train.surrogates.wgan_gp.epochs: should be 1 or more, not 0",
    ),
    "train/surrogates/wgan_gp/rate": (
        "3e-4",
        'train.surrogates.wgan_gp.rate: should be a number, not "3e-4"; write it with a point, as 3.0e-4, and without quotes',
    ),
    "train/surrogates/wgan_gp/kind": (
        "wgan_g",
        "train.surrogates.wgan_gp.kind: should be one of 'library', 'mix', 'wgan_gp', 'gan', 'cramer_gan', 'flow_matching', 'flow', 'vae', 'diffusion', 'one_step', 'parametric', 'kde', 'external', not \"wgan_g\"; did you mean 'wgan_gp'?",
    ),
    "train/surrogates/wgan_gp/kind ": (
        GONE,
        "train.surrogates.wgan_gp.kind: missing; add this key",
    ),
    "train/surrogates/a b": ({"kind": "library"}, f'train.surrogates.a b: {NAME} "a b"'),
    "train/surrogates/library": (None, f"train.surrogates.library: {MAPPING} null"),
    "train/surrogates": ({}, "train.surrogates: should be 1 or more entries, not {}"),
    # Bins.
    "moments/bins/momentum": (0, "moments.bins.momentum: should be 1 or more, not 0"),
    "moments/bins/momentum ": ("six", f'moments.bins.momentum: {BINS} "six"'),
    "moments/bins/momentum  ": (True, f"moments.bins.momentum: {BINS} true"),
    "reconstruct/bins/angle": ([1], "reconstruct.bins.angle: should be 2 or more entries, not [1]"),
    "reconstruct/bins/angle ": (
        [1, "a"],
        'reconstruct.bins.angle.1: should be a number, not "a"',
    ),
    "moments/bins/angle": (
        [0, 5, 5],
        "moments.bins.angle: edges should rise, not [0.0, 5.0, 5.0]",
    ),
    "moments/bins/momentun": (
        6,
        "moments.bins.momentun: ecal has no such variable; did you mean 'momentum'?",
    ),
    "reconstruct/bins/zzz": (
        6,
        "reconstruct.bins.zzz: ecal has no such variable; valid: momentum, angle, impact_x, impact_y, cell_x, cell_y, distance",
    ),
    # What only shows between sections, and against the detector.
    "ensemble/members": (
        9,
        "ensemble.members: 9 is more than train.masks = 8; lower it or train more masks",
    ),
    "ingest/conditions/px ": (GONE, "ingest.conditions.px: missing; ecal needs px [GeV]"),
    "ingest/conditions/pxx": (
        {"expression": "px"},
        "ingest.conditions.pxx: ecal has no such condition; did you mean 'px'?",
    ),
    "ingest/conditions/x/unit": (
        "GeV",
        "ingest.conditions.x.unit: unit 'GeV' does not fit; give one of um, mm, cm, m",
    ),
    "ingest/conditions/pdg/unit": (
        "GeV",
        "ingest.conditions.pdg.unit: unit 'GeV' is given for a pure number; leave it out",
    ),
    "ingest/response/unit": (
        "mm",
        "ingest.response.unit: unit 'mm' does not fit; give one of eV, keV, MeV, GeV, TeV",
    ),
    "ingest/weight": (
        "1 +",
        "ingest.weight: '1 +' is not an expression; write it as in 'sqrt(px**2 + py**2)'",
    ),
}


@pytest.mark.fault(9)
@pytest.mark.parametrize("path", ONE)
def test_one_line_for_one_mistake(study, path):
    value, line = ONE[path]
    assert complaints(study, {path.strip(): value}) == [line]


@pytest.mark.fault(9)
def test_all_mistakes_at_once(study):
    lines = complaints(
        study,
        {
            "ingets": 1,
            "seed": -1,
            "study": "a b",
            "ensemble/members": 9,
            "ingest/selection": "px.size()",
            "ingest/conditions/px/unit": "furlong",
            "ingest/conditions/pxx": {"expression": "px"},
            "ingest/tree": GONE,
            "train/surrogates/wgan_gp/epocs": 3,
            "train/surrogates/wgan_gp/batch": "a",
            "moments/bins/momentun": 4,
            "moments/bins/angle": [3, 2],
            "reconstruct/replicas": 1,
        },
    )
    assert sorted(line.split(":")[0] for line in lines) == [
        "ensemble.members",
        "ingest.conditions.px.unit",
        "ingest.conditions.pxx",
        "ingest.selection",
        "ingest.tree",
        "ingets",
        "moments.bins.angle",
        "moments.bins.momentun",
        "reconstruct.replicas",
        "seed",
        "study",
        "train.surrogates.wgan_gp.batch",
        "train.surrogates.wgan_gp.epocs",
    ]


def test_keys_are_found_where_names_look_like_keys(study):
    """A surrogate may be called like another kind, or like a key."""
    study["train"]["surrogates"] = {
        "library": {"kind": "wgan_gp", "epocs": 3},
        "epochs": {"kind": "wgan_gp", "wgan_gp": 1, "epochs": 0},
        "kind": {"kind": "library", "kin": 1},
    }
    lines = sorted(line.removeprefix("train.surrogates.") for line in complaints(study))
    assert lines[0] == "epochs.epochs: should be 1 or more, not 0"
    assert lines[1].startswith("epochs.wgan_gp: unknown key; valid: averaging, batch")
    assert lines[2] == "kind.kin: unknown key; did you mean 'kind'?"
    assert lines[3] == "library.epocs: unknown key; did you mean 'epochs'?"


def test_default_of_members_is_compared_too(study):
    lines = complaints(study, {"ensemble": GONE, "train/masks": 4})
    assert lines[0].startswith("ensemble.members: 8 is more than train.masks = 4")
    assert load(changed(study, {"ensemble": {"members": 2}, "train/masks": 2}), "").members("wgan_gp") == 2  # fmt: skip


@pytest.mark.fault(9)
@pytest.mark.parametrize("text", ["", "- a\n- b\n", "text", "3"])
def test_yaml_that_is_no_mapping(tmp_path, text):
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"study.yaml: holds no keys; write 'key: value' lines"):
        load_file(tmp_path / "study.yaml")


@pytest.mark.fault(9)
def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SettingsError, match=r"none.yaml: cannot be read: .*No such file"):
        load_file(tmp_path / "none.yaml")
    (tmp_path / "study.yaml").write_text("a: [1,\nb: }")
    with pytest.raises(SettingsError, match=r"study.yaml: cannot be read") as caught:
        load_file(tmp_path / "study.yaml")
    assert "\n" not in str(caught.value)
    (tmp_path / "study.yaml").write_text("a: !!python/object/apply:os.getcwd []")
    with pytest.raises(SettingsError, match="could not determine a constructor"):
        load_file(tmp_path / "study.yaml")


def test_dates_of_yaml_are_the_text_that_was_written(study):
    day = datetime.date(2026, 11, 23)
    assert load(changed(study, {"study": day}), "").study == "2026-11-23"
    with pytest.raises(SettingsError, match="keys must be str"):
        load({(1, 2): 3}, "study.yaml")


def test_a_study_cannot_be_changed(study):
    with pytest.raises(ValueError, match="frozen"):
        load(study, "study.yaml").seed = 2


@pytest.mark.parametrize(
    "name", ["ingest", "preprocess", "train", "generate", "moments", "compare"]
)
def test_words_of_a_command_give_the_section_back(study, name):
    whole = load(study, "study.yaml")
    lines = whole.lines(name)
    assert all(json.loads(line.split("=", 1)[1]) is not ... for line in lines)
    assert section(name, lines) == getattr(whole, name)


def test_words_of_one_training(study):
    whole = load(study, "study.yaml")
    found = section("train", whole.training("wgan_gp"))
    assert found.surrogates == {"wgan_gp": whole.train.surrogates["wgan_gp"]}
    assert found.masks == 8
    assert whole.lines("train", "masks") == ["masks=8"]


def test_words_typed_by_hand():
    words = ["surrogates.a.kind=wgan_gp", "surrogates.a.epochs=7", "masks=2"]
    assert section("train", words).surrogates["a"].epochs == 7
    for words, message in {
        ("batch",): "--set batch: write it as key=value",
        ("batsh=3",): "--set: batsh: unknown key; did you mean 'batch'?",
        ("batch=3", "batch.x=1"): "--set batch.x=1: 'batch' has a value already; give one of them",
    }.items():
        with pytest.raises(SettingsError) as caught:
            section("generate", list(words))
        assert str(caught.value) == message


def test_schema_is_up_to_date():
    file = ROOT / "workflow/schemas/study.schema.json"
    assert file.read_text(encoding="utf-8") == schema(), "run make schema"
    assert json.loads(schema())["properties"]["detector"]["enum"] == ["ecal", "rich", "tpc"]


def test_every_key_has_a_description():
    document = json.loads(schema())
    for section_name, model in document["$defs"].items():
        assert model.get("description"), section_name
        for key, about in model["properties"].items():
            assert "description" in about or "const" in about, f"{section_name}.{key}"


def test_studies_are_plain_yaml():
    for path in (ROOT / "config").glob("*.yaml"):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert set(values) <= set(Study.model_fields)


def test_settings_load_without_torch():
    code = "import sys, sosie.settings; sys.exit('torch' in sys.modules or 'uproot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_gates_compare_with_what_there_is(study):
    gates = [
        {"figure": "auc", "relative_to": "libary", "margin": 0.1},
        {"figure": "auc", "factor": 2},
    ]
    study["compare"]["gates"] = gates
    with pytest.raises(SettingsError) as caught:
        load(study, "s.yaml")
    assert str(caught.value) == (
        "s.yaml: compare.gates.0.relative_to: there is no surrogate 'libary'; did you mean 'library'?"
    )
    gates[0]["relative_to"] = "library"
    words = load(study, "s.yaml").lines("compare", "gates")
    assert section("compare", words).gates == load(study, "s.yaml").compare.gates
    assert section("compare", ["splits=7"]).gates == []
    study["train"]["surrogates"]["floor"] = {"kind": "library"}
    with pytest.raises(SettingsError, match=r"train\.surrogates\.floor: .*; take another name"):
        load(study, "s.yaml")


RICH = {
    "ingest/response": {"branch": ["RichDLLe"], "unit": ""},
    "ingest/conditions": {
        "momentum": {"expression": "Brunel_P", "unit": "MeV"},
        **{name: {"expression": name} for name in ("eta", "spd", "pdg")},
    },
    "moments/bins": {"momentum": 2},
    "reconstruct/bins": {"momentum": 2},
    "preprocess/transform": "quantile",
    "train/surrogates": {"library": {"kind": "library"}},
    "compare/gates": [],
    "detector": "rich",
}


def test_what_only_some_detectors_can_take(study):
    assert complaints(study, {**RICH, "ingest/threshold": 0.5}) == [
        "ingest.threshold: 0.5, but numbers of rich may be negative and none is suppressed; leave it out"
    ]
    wrong = {
        "ingest/threshold": 0.0,
        "preprocess/transform": "log",
        "train/surrogates": {"g": {"kind": "wgan_gp"}, "h": {"kind": "gan"}},
    }
    assert complaints(study, {**RICH, **wrong}) == [
        "preprocess.transform: log needs a response that is never negative, that of rich may be; take "
        "quantile, yeo_johnson or none",
        "train.surrogates.g.kind: wgan_gp draws what is never negative, the response of rich may be; "
        "take cramer_gan",
        "train.surrogates.h.kind: gan draws what is never negative, the response of rich may be; "
        "take cramer_gan",
    ]
    assert complaints(study, {"preprocess/transform": "quantile"}) == [
        "preprocess.transform: quantile is for a response that may be negative, that of ecal is not; "
        "take box_cox, log or none"
    ]
    truth = {"tree": "tracks", "values": {"pt": {"expression": "pt", "unit": "GeV"}}}
    found = complaints(study, {"ingest/truth": truth})
    assert "ingest.truth: ecal has no groups; leave it out" in found


def test_bins_of_the_distance_to_training_need_edges_and_company(study):
    assert complaints(study, {"moments/bins": {"distance": 3}}) == [
        "moments.bins.distance: 1 is the edge of the domain; give edges, as [0, 0.5, 1, 1.5, 2, 4]",
        "moments.bins.distance: stands alone; give bins of a variable of ecal before it",
    ]


def test_a_test_sample_names_conditions_that_the_detector_has(study):
    own = {"conditions": {"pt": {"expression": "pt"}, "px": {"expression": "px", "unit": "cm"}}}
    found = complaints(study, {"ingest/test": own})
    assert [line.partition(";")[0] for line in found] == [
        "ingest.test.conditions.pt: ecal has no such condition",
        "ingest.test.conditions.px.unit: unit 'cm' does not fit",
    ]


@pytest.mark.parametrize("name", ["train", "validation", "test", "calibration", "summary", "times"])
def test_names_of_samples_that_are_taken_are_refused(study, name):
    (line,) = complaints(study, {"ingest/samples": {name: {"files": ["a.root"]}}})
    assert line.startswith("ingest.samples")
    assert f"'{name}' is taken" in line


def test_named_samples_are_checked_and_their_files_are_inputs(study):
    own = {"files": ["a.root"], "conditions": {"pxx": {"expression": "px", "unit": "GeV"}}}
    (line,) = complaints(study, {"ingest/samples": {"wide": own}})
    assert line.startswith("ingest.samples.wide.conditions.pxx: ecal has no such condition; ")
    (line,) = complaints(study, {"ingest/samples": {"a/b": {}}})
    assert "a/b" in line
    samples = {"wide": {"files": ["a.root"]}, "late": {"selection": "event_id > 5"}}
    found = load(changed(study, {"ingest/samples": samples}), "")
    assert found.ingest.all_files() == [*found.ingest.files, "a.root"]


def test_a_surrogate_draws_for_the_samples_that_it_can(study):
    plan = {
        "ingest/samples": {"wide": {"files": ["a.root"]}},
        "train/surrogates": {
            "gan": {"kind": "wgan_gp"},
            "library": {"kind": "library"},
            "other": {"kind": "external", "files": ["b.h5"]},
        },
    }
    found = load(changed(study, plan), "")
    assert found.samples("gan") == ["test", "calibration", "wide"]
    assert found.samples("library") == ["test", "wide"]
    assert found.samples("other") == ["test"]
    alone = load(changed(study, {**plan, "ensemble": {"members": 1}}), "")
    assert alone.samples("gan") == ["test", "wide"]
