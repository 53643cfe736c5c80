"""All steps of a small study by hand, in one process: ``sosie`` from the ntuple to the leaderboard, and the page."""

import json
from pathlib import Path

from sosie.cli import main
from sosie.settings import load


def small(files: list[str], **ingest) -> dict:
    """A study of the native layout with a library, whose steps take a second each."""
    plain = {name: {"expression": name, "unit": "GeV"} for name in ("px", "py", "pz")}
    plain |= {name: {"expression": name, "unit": "cm"} for name in "xyz"}
    bins = {"momentum": 2}
    return {
        "study": "small",
        "detector": "ecal",
        "ingest": {
            "files": files, "tree": "ecal", "response": {"branch": "energy", "unit": "MeV"},
            "conditions": {**plain, "pdg": {"expression": "pdg"}}, "threshold": 0.2,
            "identity": ["seed", "event_id"], **ingest,
        },
        "train": {"masks": 1, "surrogates": {"library": {"kind": "library"}}},
        "ensemble": {"members": 1},
        "moments": {"bins": bins},
        "reconstruct": {"bins": bins},
        "compare": {"splits": 2, "classifier_splits": 2, "repetition": 0.0},
    }  # fmt: skip


def sosie(*words: str | Path) -> None:
    """Run a command, which must succeed."""
    assert main(list(map(str, words))) == 0


def chain(study: dict, out: Path) -> Path:
    """The results of a study's steps below a folder, all but the report, which takes longest."""
    known = load(study, "study")
    name = next(iter(known.train.surrogates))
    train, validation, test = (out / f"ingest/{n}.h5" for n in ("train", "validation", "test"))
    transform, calibration = out / "preprocess/transform.json", out / "reconstruct/calibration.json"
    trained, member = out / f"train/{name}/0.h5", out / f"ensemble/{name}/0.h5"
    drawn = out / f"generate/{name}/0/test.h5"
    high, low = (out / f"{step}/{name}/test.h5" for step in ("reconstruct", "moments"))
    one = out / f"compare/{name}/metrics.json"
    own = out / f"work/{name}", out / f"train/{name}/0.csv", out / f"times/train/{name}/0.json"
    commands = [
        ["ingest", "--detector", known.detector, "--out", out / "ingest", "--set", *known.lines("ingest")],
        ["preprocess", "--in", train, "--out", transform, "--set", *known.lines("preprocess")],
        ["train", "--surrogate", name, "--in", train, validation, transform, "--work", own[0],
         "--curves", own[1], "--times", own[2], "--out", trained, "--set", *known.training(name)],
        ["ensemble", "--in", trained, "--out", member],
        ["generate", "--surrogate", member, "--conditions", test, "--out", drawn],
        ["reconstruct", "--calibrate", train, "--out", calibration],
        ["reconstruct", "--calibration", calibration, "--in", test, drawn, "--out", high,
         "--set", *known.lines("reconstruct")],
        ["moments", "--in", test, drawn, "--reconstruct", high, "--out", low,
         "--set", *known.lines("moments")],
        ["compare", "--surrogate", name, "--in", test, drawn, "--training", train, "--moments", low,
         "--reconstruct", high, "--out", one, "--set", *known.lines("compare", "splits", "classifier_splits")],
        ["compare", "--collect", one, "--out", out / "compare", "--set", *known.lines("compare", "gates")],
        ["generate", "--times", "--surrogate", member, "--conditions", test,
         "--out", out / f"times/generate/{name}.json"],
    ]  # fmt: skip
    for words in commands:
        sosie(*words)
    return out


def report(study: dict, out: Path) -> Path:
    """The page of the results below a folder."""
    plain = json.dumps(load(study, "study").model_dump(mode="json"))
    page = out / "report.html"
    sosie("report", "--in", out, "--study", plain, "--figures", out / "report", "--out", page)
    return page
