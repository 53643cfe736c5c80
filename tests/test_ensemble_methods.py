"""Ensembles by masks, independent trainings and repulsion, on laws that are known."""

import csv
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import toy
from samples import write_table
from sosie import ensemble, train
from sosie.detectors import DETECTORS
from sosie.errors import IntermediateError, SettingsError
from sosie.figures import train_figures
from sosie.files import file_digest, write_text
from sosie.settings import load as load_study
from sosie.surrogates import load
from sosie.surrogates.cramer_training import CramerModule
from sosie.surrogates.training import masks_of
from test_cramer_gan import SETTINGS as CRAMER

SETTINGS = {**CRAMER, "epochs": 6, "validate_every": 3, "width": 24, "critic_width": 24}
MEMBERS = 3
BINS = 5
CELLS = replace(toy.TOY, name="cells", signed=False, ties=None)
KNOWN = 2000  # training events
DRAWN = 8000
SHAPE = 4.0


def cells(where: np.ndarray) -> np.ndarray:
    """The means (N, 3) of gamma laws of shape 4, as deposits in three cells."""
    return (5 + where[:, :1]) * np.array([1.0, 2.0, 0.5])


def gammas(where: np.ndarray, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng([seed, 5])
    mean = cells(where)
    return (rng.gamma(SHAPE, size=mean.shape) / SHAPE * mean).astype(np.float32)


def above(where: np.ndarray) -> np.ndarray:
    """Conditions (N, 2) at which the toy has no ties."""
    lifted = where.copy()
    lifted[:, 0] = toy.HARD + 0.1 + lifted[:, 0] * (4.9 / 10)
    return lifted


LAWS = {
    "gaussian": (toy.TOY, "quantile", toy.responses, toy.means, lambda mean: np.ones_like(mean)),
    "gamma": (CELLS, "box_cox", gammas, cells, lambda mean: mean / math.sqrt(SHAPE)),
}


@pytest.fixture(autouse=True)
def detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in (toy.TOY, CELLS):
        monkeypatch.setitem(DETECTORS, one.name, one)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("methods")


@cache
def tables(folder: Path, law: str) -> tuple[str, str, str]:
    """Train, validation and transform of a law."""
    detector, transform, draw, *_ = LAWS[law]
    place = folder / law
    place.mkdir()
    paths = []
    for name, count, seed in (("train", KNOWN, 1), ("validation", 600, 3)):
        where = above(toy.conditions(count, seed))
        threshold = 0.0 if detector.signed else 0.1
        paths.append(
            write_table(
                place / f"{name}.h5", draw(where, seed), where, threshold=threshold,
                layout=toy.LAYOUT, detector=detector, aux={},
            )
        )  # fmt: skip
    return paths[0], paths[1], toy.fitted(place, paths[0], transform)


@cache
def trained(folder: Path, law: str, method: str, run: int, alpha: tuple[float, float]) -> str:
    """The path of a training, the ones before it made too."""
    masks = method == "dropout_masks"
    how = {} if masks else {"method": method}
    if method == "repulsive":
        how |= {"repulsion": alpha[0], "repulsion_end": alpha[1]}
    place = folder / law / f"{method}-{alpha[0]}-{alpha[1]}"
    before = range(run) if method == "repulsive" else ()
    out = str(place / f"{run}.h5")
    train.run(
        *tables(folder, law), out, curves=str(place / f"{run}.csv"), work=str(place / "work"),
        settings={**SETTINGS, "dropout": 0.05 * masks, **how}, masks=MEMBERS, seed=1,
        run_number=run, threads=1,
        before=[trained(folder, law, method, one, alpha) for one in before],
    )  # fmt: skip
    return out


def runs(folder: Path, law: str, method: str, alpha=(0.3, 0.0), count: int = MEMBERS) -> list[str]:
    count = 1 if method == "dropout_masks" else count
    return [trained(folder, law, method, run, alpha) for run in range(count)]


def drawn(paths: list[str], where: np.ndarray) -> np.ndarray:
    """Responses (K, N, 3) of the members."""
    members = ensemble.members(paths, MEMBERS if len(paths) == 1 else len(paths))
    return np.stack([m.sample(where, np.random.default_rng(k)) for k, m in enumerate(members)])


def in_bins(p: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means (BINS, ...) of values (N, ...) in bins of p."""
    which = np.minimum(((p - toy.HARD - 0.1) / 4.9 * BINS).astype(int), BINS - 1)
    return np.stack([values[which == b].mean(axis=0) for b in range(BINS)])


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("method", ["dropout_masks", "independent", "repulsive"])
def test_the_truth_lies_within_the_errors_of_each_method(folder: Path, law: str, method: str):
    """Means in bins of p: |O - truth| in errors of spread, training sample and draws, K = 3.

    Student's t with two degrees of freedom is beyond 4 in 6 % of the bins. A shift of half a width
    would be beyond in most.
    """
    *_, means, widths = LAWS[law]
    where = above(toy.conditions(DRAWN, seed=7))
    width = in_bins(where[:, 0], widths(means(where)))
    away = [
        in_bins(where[:, 0], one - means(where)) / width
        for one in drawn(runs(folder, law, method), where)
    ]
    spread, mean = np.std(away, axis=0, ddof=1), np.mean(away, axis=0)
    finite = BINS / KNOWN + BINS / (MEMBERS * DRAWN)
    error = np.sqrt(spread**2 * (1 + 1 / MEMBERS) + finite)
    pull = mean / error
    assert (np.abs(pull) < 4).mean() >= 0.8, pull
    assert (np.abs((mean + 0.5) / error) < 4).mean() < 0.5
    assert (spread > 0).all()


def energy_distance(one: np.ndarray, other: np.ndarray) -> float:
    """E|x - y| - E|x - x'| / 2 - E|y - y'| / 2 over all pairs of (N, n) and (M, n)."""

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.linalg.norm(a[:, None] - b[None], axis=2).mean())

    return mean(one, other) - mean(one, one) / 2 - mean(other, other) / 2


def test_repulsion_kept_to_the_end_drives_members_apart(folder: Path) -> None:
    where = above(np.tile([[5.0, 1.0]], (1000, 1)).astype(np.float32))
    # Without repulsion the members are the independent ones, of the same seeds.
    still = energy_distance(*drawn(runs(folder, "gaussian", "independent", count=2), where))
    pushed = energy_distance(*drawn(runs(folder, "gaussian", "repulsive", (0.4, 0.4), 2), where))
    assert pushed > 2 * still, (pushed, still)


def same(one: str, other: str) -> bool:
    arrays = [load(path).arrays() for path in (one, other)]
    return all(np.array_equal(a, arrays[1][name]) for name, a in arrays[0].items())


def test_without_repulsion_each_member_is_the_independent_one(folder: Path) -> None:
    alone = runs(folder, "gaussian", "independent")
    first = trained(folder, "gaussian", "repulsive", 0, (0.3, 0.0))
    assert same(first, alone[0])
    still = trained(folder, "gaussian", "repulsive", 1, (0.0, 0.0))
    assert same(still, alone[1])
    assert not same(trained(folder, "gaussian", "repulsive", 1, (0.3, 0.0)), alone[1])
    heads = [Path(p).with_suffix(".csv").read_text().split("\n")[0] for p in (first, still)]
    assert ["repulsion" in head for head in heads] == [False, True]


def module(folder: Path, alpha: float, end: float, done: int) -> CramerModule:
    """The training of run 1, with a critic that sees the residuals as they are."""
    paths = tables(folder, "gaussian")
    before = load(trained(folder, "gaussian", "independent", 0, (0.3, 0.0)))
    settings = {**SETTINGS, "method": "repulsive", "repulsion": alpha, "repulsion_end": end}
    sample = train.read_sample(paths[0])
    task = train.Task(
        toy.origin(paths[2]), settings, 1, 3, 1, sample, sample, folder / "c.h5", before=(before,)
    )
    made = CramerModule(task, masks_of(task))
    made.done = done
    with torch.no_grad():
        for parameter in made.critic.parameters():
            parameter.zero_()
    return made


def test_the_loss_is_least_at_the_width_that_it_has_in_closed_form(
    folder: Path, monkeypatch
) -> None:
    """For y and u of width 1 and x of width s the loss is c ((2 - a) sqrt(1 + s^2) - sqrt(2) s),

    c = sqrt(2 / pi), a the repulsion: half of it is left after three of six epochs.
    """
    own = module(folder, 0.4, 0.0, done=3)
    assert own.repulsion == pytest.approx(0.2)
    rng = torch.Generator().manual_seed(1)
    rows = torch.arange(KNOWN)
    line = torch.tensor([1.0, 0.0, 0.0])
    found = {}
    own.weight = torch.ones(KNOWN)
    rounds = [[torch.randn(KNOWN, 1, generator=rng) * line for _ in range(4)] for _ in range(20)]
    for width in (0.7, 1.0, 1.27, 1.6):
        losses = []
        for real, earlier, one, other in rounds:
            own.real = real
            monkeypatch.setattr(own, "earlier", lambda rows, rng, earlier=earlier: earlier)
            with torch.no_grad():
                losses.append(float(own.generator_loss(rows, (width * one, width * other), rng)))
        found[width] = np.mean(losses)
        expected = 1.8 * math.sqrt(1 + width**2) - math.sqrt(2) * width
        assert found[width] == pytest.approx(math.sqrt(2 / math.pi) * expected, abs=0.02)
    assert min(found, key=found.__getitem__) == 1.27  # sqrt(2 / ((2 - a)^2 - 2))


def test_responses_of_members_before_are_residuals_of_this_one(folder: Path) -> None:
    own = module(folder, 0.4, 0.0, done=0)
    rows = torch.arange(KNOWN)
    found = own.earlier(rows, torch.Generator().manual_seed(1))
    assert found.shape == (KNOWN, 3)
    assert not found.requires_grad
    # The member before has learnt the law, whose residuals have mean 0 and width 1.
    np.testing.assert_allclose(found.mean(dim=0), 0, atol=0.2)
    np.testing.assert_allclose(found.std(dim=0), 1, atol=0.3)


def test_a_repulsive_training_goes_on_to_the_same_bytes(
    folder: Path, tmp_path, monkeypatch
) -> None:
    alpha = (0.3, 0.0)
    whole = trained(folder, "gaussian", "repulsive", 1, alpha)
    step = CramerModule.training_step

    def until(own, item, batch):
        if own.done == 3:
            raise RuntimeError("killed")
        step(own, item, batch)

    def again(before: list[str]) -> str:
        out = str(tmp_path / "1.h5")
        train.run(
            *tables(folder, "gaussian"), out, curves=str(tmp_path / "1.csv"),
            work=str(tmp_path / "work"), settings=load(whole).settings, masks=MEMBERS, seed=1,
            run_number=1, threads=1, before=before,
        )  # fmt: skip
        return out

    first = [trained(folder, "gaussian", "repulsive", 0, alpha)]
    with monkeypatch.context() as patch:
        patch.setattr(CramerModule, "training_step", until)
        with pytest.raises(RuntimeError, match="killed"):
            again(first)
    assert file_digest(again(first)) == file_digest(whole)
    assert len(list((tmp_path / "work").iterdir())) == 1


def test_members_before_are_those_of_this_surrogate(folder: Path, tmp_path: Path) -> None:
    first, other = (
        trained(folder, "gaussian", m, 0, (0.3, 0.0)) for m in ("repulsive", "independent")
    )
    second = trained(folder, "gaussian", "repulsive", 1, (0.3, 0.0))

    def again(before: list[str], run: int = 1) -> None:
        train.run(
            *tables(folder, "gaussian"), str(tmp_path / "1.h5"), curves=str(tmp_path / "1.csv"),
            work=str(tmp_path), settings=load(first).settings, masks=MEMBERS, seed=1,
            run_number=run, threads=1, before=before,
        )  # fmt: skip

    with pytest.raises(
        SettingsError, match="--before: 0 files for run 1; give those of runs 0 to 0"
    ):
        again([])
    with pytest.raises(SettingsError, match="--before: 1 files for run 0; give none"):
        again([first], run=0)
    with pytest.raises(IntermediateError, match=f"{other}: is no training before run 1"):
        again([other])
    with pytest.raises(IntermediateError, match=f"{second}: is no training before run 1"):
        again([second])
    with pytest.raises(IntermediateError, match=f"{first}: is run 0, as {first} is"):
        again([first, first], run=2)


def test_repulsion_of_one_network_for_each_type(folder: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "epochs": 1, "separate": "type", "method": "repulsive"}
    settings |= {"repulsion": 0.3, "repulsion_end": 0.0}
    outs: list[str] = []
    for run in range(2):
        train.run(
            *tables(folder, "gaussian"), str(tmp_path / f"{run}.h5"), work=str(tmp_path / "work"),
            curves=str(tmp_path / f"{run}.csv"), settings=settings, masks=1, seed=1,
            run_number=run, threads=1, before=outs,
        )  # fmt: skip
        outs = [*outs, str(tmp_path / f"{run}.h5")]
    with open(tmp_path / "1.csv") as file:
        assert all(float(row["repulsion"]) > 0 for row in csv.DictReader(file))
    where = above(toy.conditions(50))
    members = ensemble.members(outs, 2)
    one, other = (m.sample(where, np.random.default_rng(1)) for m in members)
    assert np.isfinite(one).all()
    assert not np.array_equal(one, other)


def test_members_of_several_trainings_are_their_networks(folder: Path, tmp_path: Path) -> None:
    paths = runs(folder, "gaussian", "independent")
    outs = [str(tmp_path / f"{k}.h5") for k in range(MEMBERS)]
    ensemble.run(paths, outs)
    where = above(toy.conditions(30))
    for number, (path, out) in enumerate(zip(paths, outs, strict=True)):
        member, alone = load(out), load(path)
        assert (alone.masks == 1).all()
        assert len(alone.masks) == 1
        assert (member.origin.member, member.origin.provenance["run"]) == (number, number)
        expected = alone.members(1)[0].sample(where, np.random.default_rng(1))
        assert np.array_equal(member.sample(where, np.random.default_rng(1)), expected)


def test_trainings_of_other_surrogates_are_no_members(folder: Path, tmp_path: Path) -> None:
    one, other, third = runs(folder, "gaussian", "independent")
    strange = trained(folder, "gaussian", "repulsive", 1, (0.3, 0.0))
    elsewhere = trained(folder, "gamma", "independent", 1, (0.3, 0.0))
    outs = [str(tmp_path / f"out/{k}.h5") for k in range(2)]
    for paths, message in (
        ([one, other, third], "one of 3 trainings for 2 members; give one for each"),
        ([one, one], f"{one}: is run 0, as {one} is; give each training once"),
        ([one, strange], f"{strange}: its settings differ from those of {one}"),
        ([one, elsewhere], f"{elsewhere}: its detector differ from those of {one}"),
        ([one], "2 members of 1 trained masks"),
    ):
        with pytest.raises(IntermediateError) as caught:
            ensemble.run(paths, outs)
        assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_training_of_its_own_has_no_dropout() -> None:
    settings = {"width": 8, "depth": 2, "dropout": 0.5}
    task = SimpleNamespace(
        settings={**settings, "method": "independent"}, seed=1, masks=4, teacher=None
    )
    assert torch.equal(masks_of(task), torch.ones(1, 2, 8))
    task.settings = settings
    assert masks_of(task).shape == (4, 2, 8)
    assert set(masks_of(task).unique().tolist()) == {0.0, 2.0}


def test_fractions_nest_and_keep_groups_whole() -> None:
    groups = np.repeat(np.arange(5000, dtype=np.uint64), 2)
    kept = {f: train.learnt(groups, f, seed=3) for f in (0.1, 0.25, 0.5, 1.0)}
    for fraction, chosen in kept.items():
        assert chosen.mean() == pytest.approx(fraction, abs=5 * math.sqrt(0.25 / 5000))
        assert np.array_equal(chosen[::2], chosen[1::2])
    for small, large in ((0.1, 0.25), (0.25, 0.5), (0.5, 1.0)):
        assert kept[large][kept[small]].all()
    assert kept[1.0].all()
    assert not np.array_equal(train.learnt(groups, 0.25, seed=4), kept[0.25])


def test_a_fraction_is_what_is_learnt_from(
    folder: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    seen = []
    monkeypatch.setattr(
        train, "fit", lambda task: seen.append(task) or (SimpleNamespace(kind="x"), [])
    )
    monkeypatch.setattr(train, "save", lambda *_: None)
    for run, fraction in ((0, 0.25), (1, 0.25), (0, 1)):
        train.run(
            *tables(folder, "gaussian"), str(tmp_path / "0.h5"), curves=str(tmp_path / "0.csv"),
            work=str(tmp_path), settings={**SETTINGS, "fraction": fraction}, masks=1, seed=1,
            run_number=run, threads=1,
        )  # fmt: skip
    few, again, whole = (task.train.response for task in seen)
    assert np.array_equal(few, again), "all runs learn from the same events"
    assert len(few) == pytest.approx(KNOWN / 4, abs=5 * math.sqrt(KNOWN * 3 / 16))
    assert len(whole) == KNOWN
    said = capsys.readouterr().err
    assert f"x on {len(few)} of {KNOWN} events" in said
    assert f"x on {KNOWN} events" in said


def networks(study: dict, **changed) -> dict:
    """The default study with a cramer_gan for its network."""
    own = {"library": {"kind": "library"}, "gan": {"kind": "cramer_gan", **changed}}
    return {**study, "train": {"surrogates": own}, "compare": {}}


def test_a_method_needs_as_many_trainings_as_members(study) -> None:
    for method, count in (("dropout_masks", 1), ("independent", 8), ("repulsive", 8)):
        found = load_study(networks(study, method=method), "s")
        assert (found.runs("gan"), found.runs("library"), found.members("gan")) == (count, 1, 8)
        assert ("masks=8" in found.training("gan")) == (method == "dropout_masks")
        own = found.train.surrogates["gan"].model_dump()
        assert ("method" in own, "repulsion" in own) == (count > 1, method == "repulsive")
    values = networks(study, method="independent")
    values["train"]["masks"] = 2
    assert load_study(values, "s").members("gan") == 8, "masks bound no member without masks"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "repulsiv"}, "method: should be 'dropout_masks', 'independent' or 'repulsive'"),
        ({"kind": "wgan_gp", "method": "repulsive"}, "method: repulsive needs .*; take cramer_gan"),
        ({"repulsion": 0.6}, "repulsion: should be less than 0.585786, not 0.6"),
        ({"repulsion_end": -1}, "repulsion_end: should be 0 or more, not -1"),
        ({"fraction": 0}, "fraction: should be more than 0, not 0"),
        ({"fraction": 1.5}, "fraction: should be 1 or less, not 1.5"),
    ],
)
def test_settings_of_the_methods(study, changed, message) -> None:
    with pytest.raises(SettingsError, match=rf"^s: train\.surrogates\.gan\.{message}"):
        load_study(networks(study, **changed), "s")


def test_a_scan_is_further_surrogates(study) -> None:
    values = networks(study, method="independent", epochs=7)
    values["train"]["scan"] = {"surrogate": "gan", "fractions": [0.1, 0.25]}
    values["compare"] = {"gates": [{"figure": "auc", "relative_to": "gan_25", "margin": 0.1}]}
    found = load_study(values, "s")
    assert list(found.train.surrogates) == ["library", "gan", "gan_10", "gan_25"]
    for name, fraction in (("gan_10", 0.1), ("gan_25", 0.25)):
        expected = {**found.train.surrogates["gan"].model_dump(), "fraction": fraction}
        assert found.train.surrogates[name].model_dump() == expected
    assert found.runs("gan_10") == 8


@pytest.mark.parametrize(
    ("scan", "message"),
    [
        ({"surrogate": "gann"}, "surrogate: there is no surrogate 'gann'; did you mean 'gan'?"),
        ({"surrogate": "library"}, "surrogate: 'library' is of kind library, which has no network"),
        ({"fractions": [0.125]}, "fractions.0: should be whole percent, as 0.25, not 0.125"),
        ({"fractions": [0.5, 0.5]}, "fractions.1: 0.5 is there already; give each fraction once"),
        ({"fractions": [0.2]}, "fractions.0: there is a surrogate 'gan_20' already; rename it"),
        ({"fractions": [1.0]}, "fractions.0: should be less than 1, not 1.0"),
        ({"fractions": []}, "fractions: should be 1 or more entries, not []"),
    ],
)
def test_what_a_scan_cannot_be(study, scan, message) -> None:
    values = networks(study)
    values["train"]["surrogates"]["gan_20"] = {"kind": "cramer_gan"}
    values["train"]["scan"] = {"surrogate": "gan", "fractions": [0.1], **scan}
    with pytest.raises(SettingsError) as caught:
        load_study(values, "s")
    assert str(caught.value).startswith(f"s: train.scan.{message}")


def test_a_fraction_of_its_own_is_no_scan(study) -> None:
    values = networks(study, fraction=0.5)
    values["train"]["scan"] = {"surrogate": "gan", "fractions": [0.1]}
    with pytest.raises(SettingsError, match=r"gan\.fraction: train\.scan gives the fractions"):
        load_study(values, "s")


def test_the_page_says_which_training_it_shows(tmp_path: Path) -> None:
    write_text(tmp_path / "train/gan/0.csv", "epoch,loss,distance\n1,2,0.5\n2,1,0.4\n", beside=True)
    for count, words in ((1, False), (3, True)):
        (shown,) = train_figures(tmp_path, {"gan": count})
        assert ("Shown is the first of 3 trainings." in shown.text) == words
