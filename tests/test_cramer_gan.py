"""cramer_gan: its losses against closed forms, its training on a known law, with weights too."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import toy
from sosie import train
from sosie.detectors import DETECTORS
from sosie.errors import InputError, IntermediateError, SettingsError
from sosie.files import file_digest
from sosie.surrogates import load
from sosie.surrogates.cramer_networks import (
    Critic,
    Encoding,
    Generator,
    Location,
    gradient_penalty,
    length,
)
from sosie.surrogates.cramer_training import CramerModule, energy_score
from sosie.surrogates.network import draw_masks, fold

SETTINGS = {
    "kind": "cramer_gan", "separate": None, "epochs": 3, "batch": 100, "latent": 4, "width": 32,
    "depth": 2, "critic_width": 32, "vector": 8, "dropout": 0.0, "n_critic": 1, "penalty": 1.0,
    "rate": 2e-3, "critic_rate": 1e-3, "averaging": 0.98, "validate_every": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DETECTORS, "toy", toy.TOY)


def tables(folder: Path, count: int = 3000, response=None, weight=None, where=None) -> list[str]:
    """Train, validation and transform of the toy's law, or of what is given."""
    where = toy.conditions(count) if where is None else where
    response = toy.responses(where) if response is None else response
    own = toy.table(folder / "train.h5", where, response, weight=weight)
    other = toy.conditions(800, seed=3)
    held = toy.table(folder / "validation.h5", other, toy.responses(other, seed=3))
    return [own, held, toy.fitted(folder, own)]


def run(paths: list[str], folder: Path, **changed) -> Path:
    out = folder / "0.h5"
    train.run(
        *paths, str(out), curves=str(folder / "0.csv"), work=str(folder / "work"),
        settings={**SETTINGS, **changed}, masks=2, seed=1, run_number=0, threads=1,
    )  # fmt: skip
    return out


def test_a_folded_mask_equals_the_masked_network() -> None:
    torch.manual_seed(1)
    generator = Generator((3,), 4, latent=5, width=16, depth=3)
    features, noise = torch.randn(50, 4), torch.randn(50, 5)
    masks = draw_masks(3, 3, 16, 0.4, torch.Generator().manual_seed(2))
    for mask in masks:
        torch.testing.assert_close(
            fold(generator, mask)(features, noise), generator(features, noise, mask)
        )
    which = torch.arange(50) % 3
    together = generator(features, noise, masks[which].transpose(0, 1))
    alone = torch.stack([generator(features, noise, masks[k])[i] for i, k in enumerate(which)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_parameter_of_the_critic() -> None:
    critic = Critic(3, 2, 16, 4)
    critic(torch.randn(64, 3), torch.randn(64, 2)).square().mean().backward()
    for name, parameter in critic.named_parameters():
        assert float(parameter.grad.abs().sum()) > 0, name


@pytest.mark.parametrize(
    ("place", "other", "slope"),
    [
        ((1.0, 0.0), (9.0, 0.0), 2.0),
        ((9.0, 0.0), (1.0, 0.0), 0.0),
        ((0.0, 2.0), (2.0, 2.0), 2**0.5),
    ],
)
def test_the_penalty_is_that_of_the_slope_of_the_witness(place, other, slope) -> None:
    """Without a learnt part f(y) = |y - y'| - |y|, the sum of two unit vectors for a gradient."""
    critic = Critic(2, 1, 8, 3)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.zero_()
        at, away = (torch.tensor([point]).repeat(10, 1) for point in (place, other))
    rest = torch.zeros(10, 1), torch.rand(10, 1)
    found = gradient_penalty(critic, at, at, away, *rest).detach()
    assert float(found) == pytest.approx((slope - 1) ** 2, abs=1e-5)


def test_the_encoding_is_the_share_of_each_piece() -> None:
    encoding = Encoding(1, 16)
    encoding.fit(torch.linspace(0, 1, 1601)[:, None])
    found = encoding(torch.tensor([[0.0], [0.5], [1.0], [0.53125], [-3.0]]))
    assert found.shape == (5, encoding.size)
    np.testing.assert_allclose(found[:, 1:].sum(dim=1), [0, 8, 16, 8.5, 0], atol=1e-3)
    assert (found[:, 1:].diff(dim=1) <= 0).all()


def test_length_has_a_gradient_at_0() -> None:
    vector = torch.zeros(2, 3, requires_grad=True)
    length(vector).sum().backward()
    assert torch.isfinite(vector.grad).all()


def test_mean_and_width_are_fitted() -> None:
    rng = torch.Generator().manual_seed(1)
    features = torch.rand(4000, 1, generator=rng)
    scale = torch.where(features < 0.5, 0.1, 1.0)
    image = 3 * (features > 0.3) + scale * torch.randn(4000, 1, generator=rng)
    torch.manual_seed(1)
    encoding = Encoding(1, 16)
    encoding.fit(features)
    location = Location(encoding.size, 1)
    location.fit(encoding(features), image, torch.ones(4000, 1), 300, rng)
    mean, width = location(encoding(torch.tensor([[0.1], [0.4], [0.8]])))
    np.testing.assert_allclose(mean[:, 0], [0, 3, 3], atol=0.15)
    np.testing.assert_allclose(width[:, 0].log(), np.log([0.1, 0.1, 1]), atol=0.7)


def test_the_energy_score_is_least_for_the_true_law() -> None:
    """Of Gaussians of width s drawn for those of width 1, E|y - x| = sqrt(2 (1 + s^2) / pi)."""
    rng = torch.Generator().manual_seed(1)
    real = torch.randn(20000, 1, generator=rng)
    noise = [torch.randn(20000, 1, generator=rng) for _ in range(4)]
    ones, found = torch.ones(20000), {}
    for width in (0.6, 1.0, 1.5):
        found[width] = energy_score(real, [width * x for x in noise], ones)
        expected = math.sqrt(2 * (1 + width**2) / math.pi) - width / math.sqrt(math.pi)
        assert found[width] == pytest.approx(expected, abs=0.02)
    assert found[1.0] == min(found.values())
    # Background taken away by weights of -1 leaves the score of the signal.
    both = torch.cat([real, real + 5, real + 5])
    weight = torch.cat([ones, ones, -ones])
    assert energy_score(both, [x.repeat(3, 1) for x in noise], weight) == pytest.approx(
        found[1.0], abs=1e-4
    )


def module(folder: Path, weight: np.ndarray) -> CramerModule:
    where = toy.conditions(400)
    paths = tables(folder, where=where)
    sample = train.Sample(toy.responses(where), where, weight)
    task = train.Task(toy.origin(paths[2]), SETTINGS, 2, 3, 1, sample, sample, folder / "c.h5")
    return CramerModule(task, draw_masks(2, 2, 32, 0.1, torch.Generator().manual_seed(1)))


def test_weights_enter_the_losses(tmp_path: Path) -> None:
    """Weights 2 and 0 on the halves of a batch give the loss of the one half."""
    rows = torch.arange(200)
    plain = module(tmp_path, np.ones(400))
    half = module(tmp_path, np.where(np.arange(400) % 200 < 100, 2.0, 0.0))
    # What is fitted first takes the weights too, and the generator starts from it.
    half.load_state_dict(plain.state_dict())
    half.real = plain.real
    found = []
    for own, some in ((plain, rows[:100]), (half, rows)):
        drawn = own.generate(rows, own.masks[0], torch.Generator().manual_seed(2))
        shown = tuple(each[some] for each in drawn)
        _, parts = own.critic_loss(some, shown, torch.Generator().manual_seed(1))
        found.append((parts["cramer"], own.generator_loss(some, shown, torch.Generator())))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_what_follows_from_the_ties_is_hidden_from_the_critic(tmp_path: Path) -> None:
    own = module(tmp_path, np.ones(400))
    pattern = torch.from_numpy(toy.pattern(toy.conditions(400)))
    shown = own.generate(torch.arange(400), own.masks[0], torch.Generator().manual_seed(2))
    for response in (own.real, *shown):
        assert not response[pattern == 1, 2].any()
        assert not response[pattern == 2, 1:].any()
        assert (response[pattern == 0] == 0).float().mean() < 0.01


def test_the_law_is_learnt_with_its_ties(tmp_path: Path) -> None:
    out = run(tables(tmp_path, 3000), tmp_path, epochs=10, validate_every=10)
    asked = toy.conditions(4000, seed=7)
    response = load(out).members(2)[1].sample(asked, np.random.default_rng(1))
    assert response.dtype == np.float32
    clear = np.min([np.abs(asked[:, 0] - toy.SOFT), np.abs(asked[:, 0] - toy.HARD)], axis=0) > 0.1
    np.testing.assert_array_equal(toy.find(response)[clear], toy.pattern(asked)[clear])
    away = response - toy.means(asked)
    for kind in (1, 2):
        here = (asked[:, 0] > toy.HARD) & (np.abs(asked[:, 1]) == kind)
        np.testing.assert_allclose(away[here].mean(axis=0), 0, atol=0.35)
        np.testing.assert_allclose(away[here].std(axis=0), 1, atol=0.35)
        assert np.corrcoef(away[here, 0], away[here, 1])[0, 1] == pytest.approx(0.8, abs=0.2)


def test_negative_weights_take_a_planted_background_away(tmp_path: Path) -> None:
    """Background of weight 1 twice, and once more with weight -1: sums leave the signal alone."""
    where = toy.conditions(2000)
    signal = toy.responses(where)
    shift = toy.impose(signal + np.float32(4), toy.pattern(where))
    again = toy.impose(toy.responses(where, seed=9) + np.float32(4), toy.pattern(where))
    weight = np.concatenate([np.ones(4000), -np.ones(2000)])
    everything = np.concatenate([signal, shift, again])
    paths = tables(tmp_path, where=np.tile(where, (3, 1)), response=everything, weight=weight)
    out = run(paths, tmp_path, epochs=8, validate_every=8)
    asked = toy.conditions(3000, seed=7)
    away = load(out).members(1)[0].sample(asked, np.random.default_rng(1))[:, 0]
    away = away - toy.means(asked)[:, 0]
    # Without weights the mean is 4 x 2/3.
    assert abs(away.mean()) < 0.5


def test_resumed_at_an_epoch_it_gives_the_same_bytes(tmp_path: Path, monkeypatch) -> None:
    paths = tables(tmp_path, 600)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = run(paths, tmp_path / "a")
    step = CramerModule.training_step

    def until(own, item, batch):
        if own.done == 2:
            raise RuntimeError("killed")
        step(own, item, batch)

    with monkeypatch.context() as patch:
        patch.setattr(CramerModule, "training_step", until)
        with pytest.raises(RuntimeError, match="killed"):
            run(paths, tmp_path / "b")
    assert file_digest(run(paths, tmp_path / "b")) == file_digest(whole)


@pytest.mark.parametrize("kind", ["cramer_gan", "kde"])
def test_one_surrogate_for_each_type(tmp_path: Path, kind: str) -> None:
    own = {"neighbours": 10, "bandwidth": 0.5} if kind == "kde" else {"epochs": 2}
    out = run(tables(tmp_path, 600), tmp_path, kind=kind, separate="type", **own)
    trained = load(out)
    assert list(trained.parts) == [1.0, 2.0]
    member = trained.members(1)[0]
    asked = toy.conditions(200, seed=7)
    response = member.sample(asked, np.random.default_rng(1))
    assert response.shape == (200, 3)
    assert np.isfinite(response).all()
    if kind == "cramer_gan":
        with open(tmp_path / "0.csv") as file:
            assert [row["type"] for row in csv.DictReader(file)] == ["1", "1", "2", "2"]
        with pytest.raises(IntermediateError, match="run ensemble"):
            trained.sample(asked, np.random.default_rng(1))
    asked[3, 1] = 5
    with pytest.raises(InputError, match=r"type: no surrogate was trained for 5, only for 1, 2"):
        member.sample(asked, np.random.default_rng(1))


def test_what_cannot_be_separated_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="separate: 'kind' is no condition"):
        run(tables(tmp_path, 200), tmp_path, separate="kind")
    where = toy.conditions(200)
    where[0, 1] = 3
    with pytest.raises(InputError, match="type 3 has 1 training events"):
        run(tables(tmp_path, where=where), tmp_path, separate="type", epochs=1)
