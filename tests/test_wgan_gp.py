"""wgan_gp: its networks against closed forms, its training against itself."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from samples import origin as make_origin
from sosie import train
from sosie.detectors import DETECTORS
from sosie.errors import IntermediateError, SettingsError
from sosie.surrogates import load, save
from sosie.surrogates.base import Origin
from sosie.surrogates.network import draw_masks, fold
from sosie.surrogates.schedule import rate_factor
from sosie.surrogates.wgan_gp import WganGp
from sosie.surrogates.wgan_networks import (
    Critic,
    Generator,
    Image,
    cell_borders,
    gradient_penalty,
)
from sosie.surrogates.wgan_summaries import (
    Standard,
    neighbours,
    sum_and_centre,
    summaries,
    summary_count,
)
from sosie.surrogates.wgan_training import WganModule
from sosie.transforms import FeatureScaling, ResponseTransform, Transform

SIZES = {"latent": 8, "width": 32, "depth": 3, "sources": 3}
TRANSFORM = ResponseTransform(np.float64(-0.25), 0.2, 1e5, 0.5, -2.0, 0.8)


def make_generator(shape=(6, 7), features=5) -> Generator:
    torch.manual_seed(1)
    generator = Generator(shape, features, TRANSFORM, **SIZES)
    sample = torch.randn(200, features)
    generator.standard.fit(sample, summaries(torch.rand(200, *shape) * 100))
    return generator


@pytest.mark.parametrize("norm", [0.5, 1.0, 3.0])
def test_gradient_penalty_of_a_linear_critic(norm):
    weight = torch.randn(10)
    weight *= norm / weight.norm()

    class Linear(nn.Module):
        def forward(self, inputs, features):
            return inputs @ weight + features.sum(1)

    inputs = torch.randn(2, 64, 10)
    penalty = gradient_penalty(Linear(), *inputs, torch.randn(64, 3), torch.rand(64, 1))
    assert float(penalty) == pytest.approx((norm - 1) ** 2, rel=1e-5, abs=1e-6)


def test_gradient_penalty_reaches_the_critic():
    critic = Critic(10, 3, 16)
    inputs = torch.randn(2, 64, 10)
    gradient_penalty(critic, *inputs, torch.randn(64, 3), torch.rand(64, 1)).backward()
    weights = [p.grad for name, p in critic.named_parameters() if name.endswith("weight")]
    assert all(float(g.abs().sum()) > 0 for g in weights)


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5])
def test_masks_have_mean_one_and_two_values(dropout):
    masks = draw_masks(200, 3, 100, dropout, torch.Generator().manual_seed(5))
    values = set(np.round(masks.unique().numpy(), 5))
    assert values <= {0.0, np.float32(np.round(1 / (1 - dropout), 5))}
    assert float(masks.mean()) == pytest.approx(
        1.0, abs=5 * math.sqrt(dropout / (1 - dropout) / 6e4)
    )
    again = draw_masks(200, 3, 100, dropout, torch.Generator().manual_seed(5))
    assert torch.equal(masks, again)


def test_the_first_masks_do_not_depend_on_how_many_are_drawn():
    few, many = (draw_masks(n, 3, 16, 0.3, torch.Generator().manual_seed(5)) for n in (3, 8))
    assert torch.equal(few, many[:3])


@pytest.mark.parametrize("shape", [(6, 7), (12,), (30, 30)])
def test_a_folded_mask_equals_the_masked_network(shape):
    generator = make_generator(shape)
    features, noise = torch.randn(50, 5), torch.randn(50, generator.noise)
    masks = draw_masks(4, SIZES["depth"], SIZES["width"], 0.3, torch.Generator().manual_seed(2))
    plain = generator.logarithm(features, noise)
    for mask in masks:
        masked = generator.logarithm(features, noise, mask)
        folded = fold(generator, mask).logarithm(features, noise)
        torch.testing.assert_close(folded, masked, rtol=2e-4, atol=2e-4)
        assert float((masked - plain).detach().abs().mean()) > 1e-3
    assert torch.equal(generator.logarithm(features, noise), plain), "fold changed the original"


def test_a_mask_for_each_event_equals_the_masks_one_by_one():
    generator = make_generator()
    features, noise = torch.randn(6, 5), torch.randn(6, generator.noise)
    masks = draw_masks(3, SIZES["depth"], SIZES["width"], 0.3, torch.Generator().manual_seed(2))
    which = torch.arange(6) % 3
    together = generator(features, noise, masks[which].transpose(0, 1))
    for event in range(6):
        one = slice(event, event + 1)
        alone = generator(features[one], noise[one], masks[which[event]])
        torch.testing.assert_close(together[one], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("power", [-0.25, 0.0, 0.5, 1.0])
def test_image_agrees_with_the_transform(power):
    transform = replace(TRANSFORM, power=np.float64(power), cap=1e4)
    rng = np.random.default_rng(3)
    response = np.exp(rng.normal(2, 2, (50, 4, 5))).clip(0.2, 9e3)
    response[rng.random(response.shape) < 0.5] = 0
    expected = transform.forward(response)
    image = Image(transform)
    filled = response > 0
    logs = torch.from_numpy(np.log(np.where(filled, response, 1e-9)).astype(np.float32))
    encoded = image.cut(image.encode_log(logs)).numpy()
    np.testing.assert_allclose(encoded, expected, rtol=2e-4, atol=2e-4)
    decoded = image.decode(torch.from_numpy(expected.astype(np.float32))).numpy()
    np.testing.assert_allclose(decoded, response, rtol=5e-3)
    assert (decoded[~filled] == 0).all()


def test_summaries_of_one_filled_cell():
    response = torch.zeros(2, 5, 5)
    response[0, 2, 2], response[1, 4, 0] = 100.0, 7.0
    found = summaries(response)
    assert found.shape == (2, summary_count((5, 5)))
    log_sum, x, y = found[:, 0], found[:, 1], found[:, 2]
    torch.testing.assert_close(log_sum, torch.tensor([math.log(100), math.log(7)]))
    torch.testing.assert_close(x, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(y, torch.tensor([0.0, -1.0]))


def test_neighbours_of_a_cell():
    share = torch.arange(1.0, 21.0).view(1, 20)
    middle, corner = (neighbours(share, (4, 5), torch.tensor([c]), 3) for c in (6, 19))
    assert sorted(middle[0].tolist()) == [1, 2, 3, 6, 7, 8, 11, 12, 13]
    assert sorted(corner[0].tolist()) == [0, 0, 0, 0, 0, 14, 15, 19, 20]
    assert neighbours(share, (20,), torch.tensor([0]), 3).sum() == 3


def test_summaries_of_a_share_of_leading_cells_and_of_a_tail():
    response = torch.zeros(1, 11)
    response[0, 5], response[0, 10] = 3.0, 1.0
    found = summaries(response)[0]
    # One axis: sum, centre, one second moment, then third and fourth moment.
    places, shares = np.array([0.0, 1.0]), np.array([0.75, 0.25])
    away = 10 * (places - places @ shares)
    assert found[3:5].tolist() == pytest.approx(np.arcsinh([away**3 @ shares, away**4 @ shares]))
    leading, squares, first = found[5], found[6:8], found[8:12]
    assert [leading, *squares, *first] == pytest.approx([0.75, 0.75, 0.75, 1, 1, 1, 1])


@pytest.mark.parametrize("shape", [(9,), (8, 6)])
def test_a_gaussian_source_is_integrated_over_each_cell(shape):
    generator = make_generator(shape)
    axes, sources = len(shape), generator.sources
    with torch.no_grad():
        generator.source.weight.zero_()
        generator.direct.weight.zero_()
        generator.correction.weight.zero_()
        generator.correction.bias.zero_()
        shown = generator.source.bias.view(1 + 2 * axes, sources)
        shown.zero_()
        shown[0, 1:] = -50.0
        shown[1 + axes :, 0] = math.log(0.3)
        place = torch.linspace(-0.2, 0.3, axes)[None]
        profile = generator._profile(torch.zeros(1, 5), torch.zeros(1, 32), place)
    expected = np.ones(())
    for axis, count in enumerate(shape):
        borders = cell_borders(count).numpy()
        inside = np.diff(stats.norm(float(place[0, axis]), 0.3).cdf(borders))
        expected = np.multiply.outer(expected, inside)
    np.testing.assert_allclose(profile[0].exp(), expected.ravel(), rtol=1e-3, atol=2e-6)


def test_standard_recovers_mean_and_width():
    rng = torch.Generator().manual_seed(1)
    features = torch.randn(20000, 2, generator=rng)
    width = torch.exp(0.3 * features[:, :1])
    values = 2 + features[:, :1] ** 2 + width * torch.randn(20000, 1, generator=rng)
    standard = Standard(2, 1)
    standard.fit(features, values)
    mean, fitted = standard.moments(features)
    assert float((mean - 2 - features[:, :1] ** 2).abs().mean()) < 0.05
    assert float((fitted / width - 1).abs().mean()) < 0.1


def test_rate_is_flat_then_falls():
    assert [rate_factor(p) for p in (0.0, 0.19)] == [1.0, 1.0]
    assert rate_factor(0.6) == pytest.approx(0.5)
    assert rate_factor(1.0) == pytest.approx(0.03)


def make_surrogate(masks: int = 4) -> WganGp:
    names = ("log_p", "tan_x", "tan_y", "x", "y")
    scaling = FeatureScaling(names, np.ones(5, bool), np.zeros(5), np.ones(5))
    layout = {"tree": "ecal", "conditions": {}, "identity": []}
    origin = Origin("ecal", 0.2, layout, Transform(TRANSFORM, scaling, {}), {})
    settings = {"kind": "wgan_gp", **SIZES}
    drawn = draw_masks(masks, 3, 32, 0.3, torch.Generator().manual_seed(9))
    return WganGp(origin, settings, make_generator((30, 30)), drawn.numpy())


CONDITIONS = np.tile(np.array([[1.0, 0.5, 10.0, 2.0, -3.0, 0.0, 11.0]], np.float32), (20, 1))


def test_a_trained_network_is_no_member(tmp_path):
    trained = make_surrogate()
    with pytest.raises(IntermediateError, match="run ensemble"):
        trained.sample(CONDITIONS, np.random.default_rng(1))
    with pytest.raises(IntermediateError, match="9 members of 4 trained masks"):
        trained.members(9)
    save(tmp_path / "t.h5", trained)
    assert np.array_equal(load(tmp_path / "t.h5").masks, trained.masks)


def test_weights_of_another_size_are_refused(tmp_path):
    surrogate = make_surrogate()
    surrogate.settings = {**surrogate.settings, "width": 16}
    save(tmp_path / "t.h5", surrogate)
    with pytest.raises(IntermediateError, match=r"t\.h5"):
        load(tmp_path / "t.h5")


def test_signed_responses_are_refused_by_name(monkeypatch):
    signed = replace(DETECTORS["ecal"], signed=True)
    monkeypatch.setitem(DETECTORS, "ecal", signed)
    with pytest.raises(SettingsError, match=r"'wgan_gp'.*'ecal'.*cramer_gan"):
        WganGp.build(make_surrogate_origin(), {"kind": "wgan_gp", **SIZES})


def make_surrogate_origin() -> Origin:
    return make_origin(np.random.default_rng(1).uniform(1, 2, (50, 7)).astype(np.float32))


def wgan_module(weight: np.ndarray, tmp_path) -> WganModule:
    rng, count = np.random.default_rng(4), len(weight)
    conditions = rng.uniform(1, 2, (count, 7)).astype(np.float32)
    response = rng.gamma(1.0, 10.0, (count, 30, 30)).astype(np.float32)
    sample = train.Sample(response, conditions, weight)
    settings = {
        "kind": "wgan_gp", **SIZES, "epochs": 1, "batch": 30, "critic_width": 16, "dropout": 0.1,
        "summaries": 1.0, "n_critic": 1, "penalty": 10.0, "rate": 1e-3, "critic_rate": 1e-3,
        "averaging": 0.9, "validate_every": 1,
    }  # fmt: skip
    task = train.Task(
        make_origin(conditions), settings, 2, 3, 1, sample, sample, tmp_path / "checkpoint.h5"
    )
    masks = draw_masks(2, SIZES["depth"], SIZES["width"], 0.1, torch.Generator().manual_seed(1))
    return WganModule(task, masks)


def test_offsets_put_sum_and_centre_of_each_mask_where_they_are_in_training(tmp_path):
    module = wgan_module(np.ones(600), tmp_path)
    generator = module.generator
    with torch.no_grad():
        generator.total.bias += 3
        generator.source.bias.view(5, -1)[1:3] += 2
    reference = sum_and_centre(torch.from_numpy(module.task.train.response)).mean(0)
    offsets = module.offsets(generator)
    assert offsets.shape == (2, *generator.offset.shape)
    off = []
    for offset in (torch.zeros_like(offsets), offsets):
        members = [fold(generator, *pair) for pair in zip(module.masks, offset, strict=True)]
        rng = torch.Generator().manual_seed(7)
        drawn = [module._sum_and_centre(one, module.features, rng) for one in members]
        error = torch.stack([one.std(0) for one in drawn]) / 600**0.5
        off.append((torch.stack([one.mean(0) for one in drawn]) - reference).abs() / error)
    assert (off[0] > 20).all()
    assert (off[1] < 0.2 * off[0]).all()


def test_offsets_of_weights_without_a_minimum_are_left_out(tmp_path, capsys):
    weight = np.where(np.arange(600) % 5 < 2, -1.4, 1.0)
    assert wgan_module(weight, tmp_path).offsets(wgan_module(weight, tmp_path).generator) is None
    assert "the weights leave" in capsys.readouterr().err


def test_a_member_takes_the_offset_of_its_mask(tmp_path):
    trained = make_surrogate()
    terms = trained.generator.offset.shape
    trained.offsets = np.random.default_rng(1).normal(0, 0.1, (4, *terms)).astype(np.float32)
    save(tmp_path / "t.h5", trained)
    for number, member in enumerate(load(tmp_path / "t.h5").members(4)):
        assert np.array_equal(member.generator.offset, trained.offsets[number])
        assert (member.masks, member.offsets) == (None, None)


def test_weights_enter_the_losses(tmp_path):
    """Weight 2 and 0 on halves of a batch is the loss of the one half, up to the penalty."""
    rows = torch.arange(20)
    plain = wgan_module(np.ones(60), tmp_path)
    half = wgan_module(np.where(np.arange(60) % 20 < 10, 2.0, 0.0), tmp_path)
    found = []
    for module, some in ((plain, rows[:10]), (half, rows)):
        rng = torch.Generator().manual_seed(1)
        shown = module.generate(rows, module.masks[0], torch.Generator().manual_seed(2))[some]
        _, parts = module.critic_loss(some, shown, rng)
        found.append((parts["wasserstein"], module.generator_loss(some, shown, torch.Generator())))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)
