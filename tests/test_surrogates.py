"""What every kind of surrogate keeps, on two small laws: signed vectors with ties, and cells.

A new kind needs a row in CASES.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import pytest
import torch

import samples
import toy
from examples import hodoscope
from sosie import preprocess, train
from sosie.detectors import DETECTORS
from sosie.errors import SettingsError
from sosie.generate import draw
from sosie.settings import section
from sosie.surrogate_sections import AnySurrogate
from sosie.surrogates import SURROGATES, Surrogate, load, save
from sosie.surrogates.base import Origin, pattern_of
from sosie.surrogates.network import Network
from sosie.transforms import read_transform

EVENTS, ASKED = 3000, 2000
THRESHOLD = 0.2
SMEAR = 0.05
SMALL = {"width": 32, "depth": 2, "critic_width": 32, "latent": 4, "averaging": 0.98}


@dataclass(frozen=True)
class Case:
    """How a kind is tried: its settings, the law it learns, and how well it should.

    ``bias`` and ``width``: by how much mean and width of the residuals may be off, in widths of the
    law; ``spread``: the width that is right. ``draws``: whether two draws differ. ``fitted``:
    parameters that no gradient is to reach.
    """

    law: str = "toy"
    settings: dict[str, Any] = field(default_factory=dict)
    bias: float = 0.2
    width: float = 0.1
    spread: float = 1.0
    draws: bool = True
    fitted: tuple[str, ...] = ()


CASES = {
    "library": Case(draws=False),
    "mix": Case(spread=(2 / 3) ** 0.5, settings={"neighbours": 5}),
    "kde": Case(),
    "external": Case(draws=False),
    "parametric": Case(),
    "wgan_gp": Case(
        "hodoscope", {**SMALL, "epochs": 8, "sources": 2, "validate_every": 4, "dropout": 0.02},
        bias=0.4, width=0.3,
    ),
    "gan": Case(
        "hodoscope", {**SMALL, "epochs": 8, "sources": 2, "validate_every": 4, "dropout": 0.02},
        bias=0.4, width=0.3,
    ),
    "cramer_gan": Case(
        settings={**SMALL, "epochs": 10, "batch": 100, "vector": 8, "dropout": 0.02, "rate": 2e-3},
        bias=0.35, width=0.35, fitted=("location",),
    ),
    "flow_matching": Case(
        "hodoscope",
        {"width": 32, "depth": 2, "law_width": 32, "law_epochs": 10, "epochs": 10, "batch": 100, "averaging": 0.98},
    ),
    "diffusion": Case(
        "hodoscope",
        {"width": 32, "depth": 2, "law_width": 32, "law_epochs": 10, "epochs": 10, "batch": 100, "averaging": 0.98},
    ),
    "vae": Case(
        "hodoscope",
        {"width": 32, "depth": 1, "latent": 4, "encoder_width": 32, "law_width": 32, "law_epochs": 10, "epochs": 10, "batch": 100, "averaging": 0.98},
        fitted=("flow.encoder",),
        width=0.15,
    ),
    "flow": Case(
        "hodoscope",
        {"width": 16, "couplings": 4, "law_width": 32, "law_epochs": 10, "epochs": 5, "rate": 1e-3, "batch": 100, "averaging": 0.98},
        width=0.15,
    ),
    "one_step": Case("hodoscope", {"teacher": "flow_matching", "epochs": 10, "batch": 100, "averaging": 0.98}),
}  # fmt: skip
REQUIRED: dict[str, dict[str, Any]] = {
    "external": {"files": ["a.root"]},
    "one_step": {"teacher": "flow_matching"},
}


# What serves cells and signed vectors alike is tried on both.
TRIED = [
    *CASES.items(),
    *(
        (kind, replace(CASES[kind], law="toy", fitted=("total", *CASES[kind].fitted)))
        for kind in ("flow_matching", "flow", "vae", "diffusion", "one_step")
    ),
]


@dataclass(frozen=True)
class Law:
    """A detector with events of a known law, a transform fitted to them, and other conditions."""

    name: str
    origin: Origin
    sample: train.Sample
    asked: np.ndarray
    table: str
    residuals: Any


def _vectors(folder: Path) -> Law:
    """Gaussians of width 1, tied below a threshold of p."""
    where, asked = toy.conditions(EVENTS), toy.conditions(ASKED, seed=5)
    response = toy.responses(where)
    path = toy.fitted(folder, toy.table(folder / "train.h5", where, response), "none")
    table = toy.table(folder / "asked.h5", asked, toy.responses(asked, seed=9))

    def residuals(response: np.ndarray) -> list[np.ndarray]:
        away = response - toy.means(asked)
        kinds = [(asked[:, 0] > toy.HARD) & (np.abs(asked[:, 1]) == kind) for kind in (1, 2)]
        return [away[here] for here in kinds]

    sample = train.Sample(response, where, np.ones(EVENTS))
    return Law("toy", toy.origin(path), sample, asked, table, residuals)


def _bars(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Conditions and responses: 20 MeV per GeV, smeared by 5 %, over bars by a Gaussian of 12 mm."""
    rng = np.random.default_rng(seed)
    x, energy = rng.uniform(-30, 30, count), np.exp(rng.uniform(0, np.log(10), count))
    shape = np.exp(-((hodoscope.CENTRES - x[:, None]) ** 2) / (2 * 12.0**2))
    shape *= rng.gamma(50, 1 / 50, shape.shape)
    total = 20.0 * energy * rng.normal(1, SMEAR, count)
    bars = shape / shape.sum(axis=1, keepdims=True) * total[:, None]
    bars[bars < THRESHOLD] = 0
    return np.column_stack([x, energy]).astype(np.float32), bars.astype(np.float32)


def _cells(folder: Path) -> Law:
    """Showers whose energy is known, and what cells below the threshold take from it is not."""
    (where, response), (asked, other) = _bars(EVENTS // 2, 1), _bars(ASKED, 2)
    layout = {**toy.LAYOUT, "tree": "hits"}
    tables = [
        samples.write_table(
            folder / f"{name}.h5", deposit, place, threshold=THRESHOLD, layout=layout,
            detector=hodoscope.DETECTOR, aux={},
        )
        for name, deposit, place in (("train", response, where), ("asked", other, asked))
    ]  # fmt: skip
    path = str(folder / "transform.json")
    preprocess.run(tables[0], path, seed=1, transform="box_cox", per_cell=False, gap=0.5)
    origin = Origin("hodoscope", THRESHOLD, layout, read_transform(path), {})
    # What the threshold takes is known to a hundredth of the width.
    kept = response.sum(axis=1).mean() / (20.0 * where[:, 1]).mean()

    def residuals(response: np.ndarray) -> list[np.ndarray]:
        away = (response.sum(axis=1) / (20.0 * kept * asked[:, 1]) - 1) / SMEAR
        return [away[here][:, None] for here in (asked[:, 1] < 3, asked[:, 1] >= 3)]

    return Law("hodoscope", origin, train.Sample(response, where, np.ones(EVENTS // 2)), asked, tables[1], residuals)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def detectors() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DETECTORS, "toy", toy.TOY)
        patch.setitem(DETECTORS, "hodoscope", hodoscope.DETECTOR)
        yield


@pytest.fixture(scope="module")
def laws(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Law]:
    made = {"toy": _vectors, "hodoscope": _cells}
    return {name: law(tmp_path_factory.mktemp(name)) for name, law in made.items()}


@dataclass(frozen=True)
class Made:
    """A surrogate of a kind that is trained on its law, its first members, and how it is tried."""

    case: Case
    law: Law
    trained: Surrogate
    members: list[Surrogate]

    def draw(self, seed: int = 1, member: int = 0) -> np.ndarray:
        return self.members[member].sample(self.law.asked, np.random.default_rng(seed))


@pytest.fixture(scope="module", params=TRIED, ids=lambda each: f"{each[0]}-{each[1].law}")
def made(request: Any, laws: dict[str, Law], tmp_path_factory: pytest.TempPathFactory) -> Made:
    kind, case = request.param
    law = laws[case.law]
    own = {"files": [law.table]} if kind == "external" else {}
    settings = settings_of(kind, **case.settings, **own)
    folder = tmp_path_factory.mktemp(kind)
    held = train.Sample(law.sample.response[:500], law.sample.conditions[:500], np.ones(500))
    task = train.Task(law.origin, settings, 2, 3, 1, law.sample, held, folder / "checkpoint.h5")
    if teacher := settings.get("teacher"):
        first = settings_of(teacher, **CASES[teacher].settings)
        place = folder / "teacher.h5"
        task = replace(task, teacher=train.fit(replace(task, settings=first, checkpoint=place))[0])
    trained, _ = train.fit(task)
    return Made(case, law, trained, trained.members(2))


def settings_of(kind: str, **changed: Any) -> dict[str, Any]:
    """The settings of a kind as a study gives them to the training."""
    words = [f"surrogates.a={json.dumps({'kind': kind, **changed})}"]
    return dict(section("train", words).surrogates["a"].model_dump())


SECTIONS = {get_args(s.model_fields["kind"].annotation)[0]: s for s in get_args(get_args(AnySurrogate)[0])}  # fmt: skip


def test_each_kind_has_a_section_a_trainer_and_a_row_here():
    assert set(SURROGATES) == set(train.TRAINERS) == set(SECTIONS) == set(CASES)
    for name, kind in SURROGATES.items():
        assert kind().kind == name


@pytest.mark.parametrize("kind", SECTIONS)
def test_settings_of_other_kinds_are_refused(kind):
    valid, every = set(SECTIONS[kind].model_fields), set()
    for other in SECTIONS.values():
        every |= set(other.model_fields)
    own = REQUIRED.get(kind, {})
    for key in [*sorted(every - valid), "nonsense"]:
        with pytest.raises(SettingsError, match=rf"surrogates\.a\.{key}: unknown key"):
            settings_of(kind, **own, **{key: 1})


def test_responses_are_finite_and_in_the_shape_of_the_detector(made):
    response = made.draw()
    assert response.shape == (ASKED, *made.trained.detector.shape)
    assert response.dtype == np.float32
    assert np.isfinite(response).all()
    assert made.trained.detector.signed or (response >= 0).all()


def test_the_law_is_learnt(made):
    """Mean and width of what is left of a response without its mean, in parts of the conditions."""
    for away in made.law.residuals(made.draw()):
        assert len(away) > 300
        np.testing.assert_allclose(away.mean(axis=0), 0, atol=made.case.bias)
        np.testing.assert_allclose(away.std(axis=0), made.case.spread, atol=made.case.width)


def test_ties_are_exact(made):
    if made.law.name != "toy":
        pytest.skip("the detector has none")
    asked = made.law.asked
    clear = np.min([np.abs(asked[:, 0] - edge) for edge in (toy.SOFT, toy.HARD)], axis=0) > 0.1
    np.testing.assert_array_equal(toy.find(made.draw())[clear], toy.pattern(asked)[clear])


def test_cells_are_suppressed_like_the_reference(made):
    response = draw(made.members[0], made.law.asked, np.random.default_rng(1))
    threshold = np.float32(made.law.origin.threshold)
    assert made.trained.detector.signed or ((response == 0) | (response >= threshold)).all()
    assert made.trained.detector.signed or (response == 0).any()


def test_the_same_seed_gives_the_same_bytes(made):
    assert made.draw(1).tobytes() == made.draw(1).tobytes()
    assert (made.draw(1).tobytes() != made.draw(2).tobytes()) == made.case.draws


def test_batches_change_nothing(made):
    whole, rng = made.draw(), np.random.default_rng(1)
    parts = list(made.members[0].batches(made.law.asked, 300, rng))
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in parts]), np.arange(ASKED))
    again = np.concatenate([response for _, response in parts])
    np.testing.assert_allclose(again, whole, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [k for k, s in SECTIONS.items() if "separate" in s.model_fields])
def test_batches_change_nothing_where_types_are_separate(kind, laws, tmp_path):
    law = laws["toy"]
    quick = {"epochs": 1} if "epochs" in SECTIONS[kind].model_fields else {}
    settings = settings_of(kind, **{**CASES[kind].settings, **quick, "separate": "type"})
    task = train.Task(law.origin, settings, 1, 3, 1, law.sample, law.sample, tmp_path / "c.h5")
    (member,) = train.fit(task)[0].members(1)
    assert [part.kind for part in member.parts.values()] == [kind, kind]
    whole = member.sample(law.asked, np.random.default_rng(1))
    parts = member.batches(law.asked, 300, np.random.default_rng(1))
    again = np.concatenate([response for _, response in parts])
    np.testing.assert_allclose(again, whole, rtol=1e-3, atol=1e-3)


def test_blocks_change_nothing(made, monkeypatch):
    """What is drawn at a time to stay in the cache does not show."""
    if not isinstance(made.trained, Network):
        pytest.skip("draws in no blocks")
    whole = made.draw()
    threads = torch.get_num_threads()
    monkeypatch.setattr(type(made.trained), "block", 7)
    np.testing.assert_allclose(made.draw(), whole, rtol=1e-3, atol=1e-3)
    assert torch.get_num_threads() == threads


def test_the_file_gives_the_same_samples(made, tmp_path):
    save(tmp_path / "0.h5", made.members[0])
    again = load(tmp_path / "0.h5")
    assert type(again) is type(made.trained)
    assert again.origin.as_dict() == made.members[0].origin.as_dict()
    drawn = again.sample(made.law.asked, np.random.default_rng(1))
    assert drawn.tobytes() == made.draw().tobytes()
    save(tmp_path / "1.h5", again)
    assert (tmp_path / "0.h5").read_bytes() == (tmp_path / "1.h5").read_bytes()


def test_the_file_holds_numbers_and_text_only(made, tmp_path):
    save(tmp_path / "0.h5", made.trained)
    kinds = set()

    def visit(_: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            kinds.add("text" if h5py.check_string_dtype(item.dtype) else item.dtype.kind)

    with h5py.File(tmp_path / "0.h5") as file:
        file.visititems(visit)
    assert kinds <= {"f", "i", "text"}


def test_members_differ_where_there_is_an_ensemble(made):
    assert SECTIONS[made.trained.kind].ensemble == (len(made.members) == 2)
    if len(made.members) == 1:
        assert made.members == [made.trained]
        return
    assert [member.origin.member for member in made.members] == [0, 1]
    assert made.draw(1, 0).tobytes() != made.draw(1, 1).tobytes()


def test_gradients_reach_every_parameter(made):
    if not isinstance(made.trained, Network):
        pytest.skip("no network")
    generator, origin, asked = made.trained.generator, made.law.origin, made.law.asked
    pattern = pattern_of(origin, asked)
    seen = made.trained.inputs(origin, made.trained.settings, asked, pattern)
    features = torch.from_numpy(seen)
    generator.zero_grad()
    noise = torch.randn(len(asked), generator.noise, generator=torch.Generator().manual_seed(1))
    drawn = generator(features, noise)
    parts = [part for part in drawn if part is not None] if isinstance(drawn, tuple) else [drawn]
    sum(part[part.isfinite()].square().sum() for part in parts).backward()
    for name, parameter in generator.named_parameters():
        if not name.startswith(made.case.fitted or "-"):
            assert parameter.grad is not None, name
            assert float(parameter.grad.abs().sum()) > 0, name
