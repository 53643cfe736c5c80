"""The detector of docs/new-detector.md goes through all steps without a change to any of them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
import yaml

from examples import hodoscope
from examples.hodoscope import BARS, CENTRES, DETECTOR, PITCH
from sosie import detectors
from sosie.arrays import read_arrays
from sosie.cli import main
from sosie.errors import InputError
from sosie.events import open_events
from sosie.files import read_json
from sosie.settings import Study, load

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/new-detector.md"
EVENTS = 1500
MEV_PER_GEV = 20.0
SMEAR = 0.05


def blocks(language: str) -> list[str]:
    """The blocks of code of a language in the page."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def toy(count: int) -> dict[str, Any]:
    """Branches of a toy: light of 20 MeV per GeV, smeared by 5 %, over bars by a Gaussian of 8 mm."""
    rng = np.random.default_rng(1)
    x, energy = rng.uniform(-50, 50, count), np.exp(rng.uniform(0, np.log(20), count))
    shape = np.exp(-((CENTRES - x[:, None]) ** 2) / (2 * 8.0**2))
    shape *= rng.gamma(50, 1 / 50, (count, BARS))
    total = MEV_PER_GEV * energy * rng.normal(1, SMEAR, count)
    bars = shape / shape.sum(axis=1, keepdims=True) * total[:, None]
    return {
        "bars": bars.astype(np.float32),
        "x": (x / 10).astype(np.float32),
        "energy": (1000 * energy).astype(np.float32),
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which every step from ingest to compare has run, as the study of the page says."""
    folder = tmp_path_factory.mktemp("hodoscope")
    with uproot.recreate(folder / "toy.root") as file:
        file["hits"] = toy(EVENTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(detectors.DETECTORS, "hodoscope", DETECTOR)
        values = yaml.safe_load(blocks("yaml")[0])
        values["ingest"]["files"] = [str(folder / "toy.root")]
        run_all(load(values, str(PAGE)), folder)
    return folder


def run_all(study: Study, folder: Path) -> None:
    """Every step from ingest to compare, with the arguments of its rule."""
    (surrogate,) = study.train.surrogates
    train, test = folder / "train.h5", folder / "test.h5"
    seed = ["--seed", study.seed]
    lines: list[list[Any]] = [
        ["ingest", "--detector", study.detector, *seed, "--out", folder],
        ["preprocess", *seed, "--in", train, "--out", folder / "transform.json"],
        [
            *["train", "--surrogate", surrogate, "--run", 0, *seed, "--threads", 1],
            *["--work", folder / "work", "--curves", folder / "curves.csv"],
            *["--in", train, folder / "validation.h5", folder / "transform.json"],
            *["--out", folder / "trained.h5"],
        ],
        ["ensemble", "--in", folder / "trained.h5", "--out", folder / "member.h5"],
        [
            *["generate", *seed, "--surrogate", folder / "member.h5", "--conditions", test],
            *["--out", folder / "generated.h5"],
        ],
        ["reconstruct", "--calibrate", train, "--out", folder / "calibration.json"],
        [
            *["reconstruct", *seed, "--calibration", folder / "calibration.json"],
            *["--in", test, folder / "generated.h5", "--out", folder / "reconstruct.h5"],
        ],
        [
            *["moments", *seed, "--in", test, folder / "generated.h5"],
            *["--reconstruct", folder / "reconstruct.h5", "--out", folder / "moments.h5"],
        ],
        [
            *["compare", "--surrogate", surrogate, *seed, "--in", test, folder / "generated.h5"],
            *["--training", train, "--moments", folder / "moments.h5"],
            *["--reconstruct", folder / "reconstruct.h5"],
            *["--out", folder / "metrics.json"],
        ],
    ]
    settings = {name: study.lines(name) for name in ("ingest", "preprocess", "generate", "moments")}
    settings |= {"reconstruct": study.lines("reconstruct"), "train": study.training(surrogate)}
    settings["compare"] = study.lines("compare", "splits", "classifier_splits")
    for step, *words in lines:
        none = step not in settings or "--calibrate" in words
        more = [] if none else ["--set", *settings[step]]
        assert main([step, *map(str, words), *more]) == 0, step


def test_the_page_shows_the_module() -> None:
    (shown,) = blocks("python")
    assert shown == Path(hodoscope.__file__).read_text(encoding="utf-8")


def test_the_module_has_less_than_100_lines() -> None:
    assert len(blocks("python")[0].splitlines()) < 100


def test_the_page_names_every_optional_field_there_is() -> None:
    from dataclasses import MISSING, fields

    optional = {
        field.name
        for field in fields(DETECTOR)
        if field.default is not MISSING or field.default_factory is not MISSING
    }
    table = PAGE.read_text(encoding="utf-8").split("## What else there is")[1]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == optional


def test_units_are_converted(done: Path) -> None:
    with open_events(done / "train.h5") as events:
        conditions = events.column("conditions")
        assert events.shape == (16,)
    assert 45 < conditions[:, 0].max() <= 50
    assert 18 < conditions[:, 1].max() <= 20


def test_the_calibration_is_that_of_the_toy(done: Path) -> None:
    found = read_json(done / "calibration.json", "reconstruct")["calibration"]["mev_per_gev"]
    # Less than 0.5 % of the light leaves the bars or is suppressed.
    assert found == pytest.approx(MEV_PER_GEV, rel=0.01)


def test_the_resolution_is_that_of_the_toy(done: Path) -> None:
    arrays, about = read_arrays(done / "reconstruct.h5", "reconstruct", "reconstruct")
    assert about["quantities"] == ["energy_ratio", "residual"]
    bias, resolution = arrays["profiles/energy/reference"][:, 0]
    np.testing.assert_allclose(bias, 1, atol=0.02)
    np.testing.assert_allclose(resolution, SMEAR, rtol=0.35)


def test_the_library_is_compared_with_the_floor(done: Path) -> None:
    found = read_json(done / "metrics.json", "compare")
    assert found["members"] == 1
    assert found["events"] == pytest.approx(EVENTS / 4, rel=0.2)
    for part in ("figures", "floor"):
        assert set(DETECTOR.observables) < set(found[part]["wasserstein"])
        assert 0.3 < found[part]["classifier"]["auc"]["value"] < 0.9


def test_moments_have_every_observable(done: Path) -> None:
    arrays, about = read_arrays(done / "moments.h5", "moments", "moments")
    assert about["quantities"] == [*DETECTOR.observables, *DETECTOR.results]
    mean = arrays["profiles/energy/reference"][0, 0]
    energy = arrays["profiles/energy/centre"]
    np.testing.assert_allclose(mean, MEV_PER_GEV * energy, rtol=0.03)
    with open_events(done / "test.h5") as events:
        image = events.column("response").mean(axis=0)
    np.testing.assert_allclose(arrays["images/reference/mean"], image, rtol=1e-5)


def test_the_calibration_refuses_an_empty_sample() -> None:
    with pytest.raises(InputError, match="0 MeV deposited by 3 GeV; check the units"):
        DETECTOR.calibrate([(np.zeros((3, BARS)), np.ones((3, 2)))])


def test_observables_of_hand_made_responses() -> None:
    response = np.zeros((3, BARS))
    response[0, 8] = 30.0
    response[1, 7:9] = 0.5
    conditions = np.array([[2.0, 1.5], [0.0, 1.0], [1.0, 1.0]])
    seen = DETECTOR.observe(response, conditions)
    np.testing.assert_array_equal(seen["total"], [30, 1, 0])
    np.testing.assert_array_equal(seen["barycentre"], [PITCH / 2 - 2, 0, np.nan])
    np.testing.assert_array_equal(seen["bars"], [1, 0, 0])
    made = DETECTOR.reconstruct(response, conditions, {"mev_per_gev": 20.0})
    np.testing.assert_array_equal(made["energy_ratio"], [1, np.nan, np.nan])
    np.testing.assert_array_equal(made["found"], [1, 0, 0])
