"""flow_matching: frames, laws of single cells, paths and solvers, on cases with known answers."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from sosie.detectors import find
from sosie.surrogates.canvas import Canvas
from sosie.surrogates.cell_laws import Cells
from sosie.surrogates.censored import fill
from sosie.surrogates.descent import Known
from sosie.surrogates.flow_networks import Generator, Velocity, integrate, matching_loss
from sosie.surrogates.flow_training import Events, losses_of
from sosie.surrogates.network import draw_masks, fold
from sosie.surrogates.spectra import Spectra, normal_quantile
from sosie.surrogates.spectra import above as tail
from sosie.surrogates.total_law import Total

ECAL = find("ecal")


def directions(count: int) -> np.ndarray:
    """Conditions (N, 7) of electrons from all sides."""
    rng = np.random.default_rng(3)
    momentum = rng.uniform(-1, 1, (count, 3)) * [3, 3, 0] + [0, 0, 10]
    place = rng.uniform(-60, 60, (count, 2))
    return np.column_stack([momentum, place, np.zeros(count), np.full(count, 11.0)])


def rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("mirrors", [True, False])
def test_what_is_taken_from_a_response_is_put_back_where_it_was(mirrors: bool) -> None:
    conditions = directions(50)
    response = np.random.default_rng(1).random((50, 30, 30)).astype(np.float32)
    assert ECAL.frame
    frame = ECAL.frame(conditions, mirrors)
    assert frame.turned.any() == mirrors
    canvas = Canvas((30, 30), 29)
    cells = canvas.cells(frame)
    values = canvas.take(response, cells)
    assert np.isnan(values).mean() > 0.5
    assert np.array_equal(canvas.put(np.nan_to_num(values), cells), response)


@pytest.mark.parametrize("how", ["x", "y", "diagonal"])
def test_a_mirrored_event_looks_the_same_in_its_frame(how: str) -> None:
    conditions, mirrored = directions(50), directions(50)
    response = np.random.default_rng(1).random((50, 30, 30))
    if how == "diagonal":
        seen = response.transpose(0, 2, 1)
        mirrored[:, [0, 1, 3, 4]] = conditions[:, [1, 0, 4, 3]]
    else:
        axis = "xy".index(how)
        seen = np.flip(response, axis + 1)
        mirrored[:, [axis, 3 + axis]] *= -1
    assert ECAL.frame
    one, other = ECAL.frame(conditions, True), ECAL.frame(mirrored, True)
    assert np.allclose(one.features, other.features)
    canvas = Canvas((30, 30), 12)
    assert np.array_equal(
        canvas.take(response, canvas.cells(one)),
        canvas.take(seen, canvas.cells(other)),
        equal_nan=True,
    )


def test_the_impact_lies_in_the_middle_of_a_frame_and_tangents_are_ordered() -> None:
    conditions = directions(200)
    assert ECAL.frame
    frame = ECAL.frame(conditions, True)
    log_p, first, second, *place = frame.features.T
    assert np.allclose(log_p, np.log(np.linalg.norm(conditions[:, :3], axis=1)))
    assert (first >= second).all()
    assert (second >= 0).all()
    assert np.abs(place).max() <= 0.5
    cells = Canvas((30, 30), 0).cells(frame)[:, 0]
    impact = conditions[:, 3:5] + 127 * conditions[:, :2] / conditions[:, 2:3]
    centres = np.stack(np.divmod(cells, 30), axis=1) * 20.0 - 290
    assert np.abs(centres - impact).max() <= 10 + 1e-9


def test_a_spectrum_is_the_one_it_was_fitted_to_and_is_undone() -> None:
    values = torch.empty(40_000).exponential_(generator=rng())
    spectra = Spectra(1, 1)
    spectra.fit(values, torch.zeros(40_000), torch.zeros(40_000))
    normal = torch.randn(1000, 8, generator=rng(2)).clamp(-3.5, 3.5)
    rows = spectra.at(torch.zeros(1000, 8), torch.zeros(1000, 1))
    drawn = rows.from_normal(normal)
    assert torch.allclose(rows.to_normal(drawn), normal, atol=2e-3)
    exact = -torch.log(tail(normal))
    middle = normal.abs() < 2
    assert (drawn - exact)[middle].abs().max() < 0.1
    assert abs(float(drawn.mean()) - 1) < 0.05


def test_spectra_are_interpolated_between_their_nodes() -> None:
    spectra = Spectra(2, 1)
    coordinate = (torch.arange(20_000) % 2).float()
    values = torch.randn(20_000, generator=rng()) * 0.1 + 3 * coordinate
    spectra.fit(values, coordinate, torch.zeros(20_000))
    at = torch.tensor([[0.0, 0.5, 1.0]])
    found = spectra.at(at, torch.zeros(1, 1)).from_normal(torch.zeros(1, 3))
    assert torch.allclose(found, torch.tensor([[0.0, 1.5, 3.0]]), atol=0.02)


def test_the_normal_quantile_keeps_its_precision_in_both_tails() -> None:
    share = torch.tensor([1e-6, 0.02, 0.5])
    wanted = torch.special.ndtri(share.double()).float()
    assert torch.allclose(normal_quantile(share, 1 - share), wanted, atol=1e-4)
    assert torch.allclose(normal_quantile(1 - share, share), -wanted, atol=1e-4)


def cells_of(count: int) -> tuple[Tensor, Tensor]:
    """Inputs (N, 1), and values (N, 2): filled with a probability that rises with the input, where
    filled of mean 2 + input / 2 and width 0.3; and always filled."""
    inputs = torch.randn(count, 1, generator=rng(4))
    share = torch.rand(count, 2, generator=rng(5))
    value = 2 + inputs / 2 + 0.3 * torch.randn(count, 2, generator=rng(6))
    filled = share < torch.cat([torch.sigmoid(inputs), torch.ones_like(inputs)], dim=1)
    return inputs, torch.where(filled, value, -torch.inf)


@pytest.fixture(scope="module")
def fitted() -> Cells:
    inputs, values = cells_of(6000)
    torch.manual_seed(1)
    cells = Cells(1, torch.zeros(2, 1), torch.tensor([0]), torch.tensor([0, 1]), True, 16)
    known = Known(inputs, values, torch.ones(6000))
    cells.fit(known, known, 60, rng(), lambda *_: None)
    return cells


def test_cells_are_drawn_by_their_own_law(fitted: Cells) -> None:
    count = 20_000
    for at in (-1.0, 0.5):
        inputs = torch.full((count, 1), at)
        with torch.no_grad():
            drawn = fitted.from_latent(inputs, torch.randn(count, 2, generator=rng(7)))
        filled = drawn[:, 0].isfinite()
        assert abs(float(filled.float().mean()) - 1 / (1 + math.exp(-at))) < 0.03
        assert drawn[:, 1].isfinite().float().mean() > 0.999
        value = drawn[filled, 0]
        assert abs(float(value.mean()) - (2 + at / 2)) < 0.03
        assert abs(float(value.std()) - 0.3) < 0.03


def test_the_latents_of_cells_are_normal_and_give_the_cells_back(fitted: Cells) -> None:
    inputs, values = cells_of(6000)
    with torch.no_grad():
        level, empty = fitted.to_latent(inputs, values, torch.arange(2))
        normal = fill(level, empty, rng(8))
        back = fitted.from_latent(inputs, normal)
    assert (empty == ~values.isfinite()).all()
    assert abs(float(normal.mean())) < 0.03
    assert abs(float(normal.std()) - 1) < 0.03
    assert abs(float(torch.corrcoef(normal.T)[0, 1])) < 0.05
    assert (back.isfinite() == values.isfinite()).all()
    there = values.isfinite()
    assert (back - values)[there].abs().quantile(0.99) < 0.02


def test_a_cell_that_the_response_does_not_have_is_random_and_not_learnt(fitted: Cells) -> None:
    inputs, values = cells_of(4000)
    values[:, 0] = torch.nan
    with torch.no_grad():
        level, empty = fitted.to_latent(inputs, values, torch.arange(2))
    normal = fill(level, empty, rng(9))[:, 0]
    assert empty[:, 0].all()
    assert abs(float(normal.mean())) < 0.05
    assert abs(float(normal.std()) - 1) < 0.05


def test_the_law_of_the_sum_has_mean_and_width_of_the_conditions() -> None:
    inputs = torch.randn(6000, 1, generator=rng(1))
    width = 0.1 * torch.exp(0.5 * inputs[:, 0])
    total = 4 + inputs[:, 0] + width * torch.randn(6000, generator=rng(2))
    torch.manual_seed(1)
    law = Total(1)
    known = Known(inputs, total, torch.ones(6000))
    law.fit(known, known, rng(3))
    with torch.no_grad():
        mean, found = law(torch.tensor([[-1.0], [0.0], [1.0]]))
    assert torch.allclose(mean, torch.tensor([3.0, 4.0, 5.0]), atol=0.02)
    assert torch.allclose(found / 0.1, torch.tensor([0.607, 1.0, 1.649]), rtol=0.1)


def test_samples_drawn_again_move_the_law_of_the_sum_by_its_error() -> None:
    count = 4000
    inputs = torch.randn(count, 1, generator=rng(1))
    total = Total(1)
    with torch.no_grad():
        total.base.copy_(torch.tensor([5.0, 0.3, 0.0]))
        total.start.copy_(torch.tensor(0.1).log())
        for parameter in total.network.parameters():
            parameter.zero_()
    target = 5 + 0.3 * inputs[:, 0] + 0.1 * torch.randn(count, generator=rng(2))
    known = Known(inputs, target, torch.ones(count))
    drawn = torch.poisson(torch.ones(60, count), generator=rng(3))
    base, start = total.changes(known, drawn)
    # A quadratic in one normal variable: the variance at its middle is 3/2 of that of a mean.
    assert float(base[:, 0].std()) == pytest.approx(0.1 * math.sqrt(1.5 / count), rel=0.25)
    assert float(base[:, 1].std()) == pytest.approx(0.1 / math.sqrt(count), rel=0.25)
    assert float(start.std()) == pytest.approx(1 / math.sqrt(2 * count), rel=0.25)
    assert not any(change.any() for change in total.changes(known, torch.ones(1, count)))


def test_an_offset_moves_the_laws_of_a_member() -> None:
    generator, masks = generator_of(0.2)
    laws = [law.clone() for law in generator.moved()]
    offset = torch.randn(sum(law.numel() for law in laws), generator=rng(4))
    member = fold(generator, masks[0], offset)
    for law, old, change in zip(member.moved(), laws, generator.parts(offset), strict=True):
        assert torch.equal(law, old + change)
    assert all(torch.equal(a, b) for a, b in zip(generator.moved(), laws, strict=True))


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_the_error_of_a_solver_falls_with_its_order(solver: str, order: int) -> None:
    """dx/dt = x cos t has x(1) = x(0) exp(sin 1)."""
    start = torch.tensor([[1.0], [-2.0]], dtype=torch.double)
    exact = start * math.exp(math.sin(1))

    def velocity(point: Tensor, time: Tensor) -> Tensor:
        return point * time[:, None].cos()

    errors = [
        float((integrate(velocity, start, steps, solver) - exact).abs().max())
        for steps in (10, 20, 40)
    ]
    found = [math.log2(errors[0] / errors[1]), math.log2(errors[1] / errors[2])]
    assert found == pytest.approx([order, order], abs=0.15)


def test_a_velocity_of_zero_is_the_best_for_a_normal_target() -> None:
    """On the quarter circle the wanted velocity is not correlated with the point."""
    target, noise = torch.randn(2, 200_000, 1, generator=rng())
    time = torch.rand(200_000, generator=rng(2))
    losses = [
        float(matching_loss(lambda point, _, s=slope: s * point, target, noise, time).mean())
        for slope in (-0.1, 0.0, 0.1)
    ]
    assert losses[1] == pytest.approx(1, abs=0.02)
    assert losses[1] < min(losses[0], losses[2])


def test_a_linear_flow_widens_a_law_as_its_velocity_says() -> None:
    """dx/dt = k x takes a normal law to one of width exp(k)."""
    start = torch.randn(5000, 1, generator=rng())
    end = integrate(lambda point, time: 0.5 * point, start, 20, "heun")
    assert float(end.std() / start.std()) == pytest.approx(math.exp(0.5), rel=1e-3)


def generator_of(dropout: float) -> tuple[Generator, Tensor]:
    torch.manual_seed(5)
    sizes = {"width": 16, "depth": 2, "law_width": 8}
    generator = Generator(
        2,
        torch.randn(9, 2),
        torch.tensor([3, 4, 5]),
        torch.tensor([4]),
        torch.arange(9),
        True,
        partial(Velocity, solver="heun", steps=3),
        **sizes,
    )
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return generator.eval(), draw_masks(4, 2, 16, dropout, rng())


def test_a_member_is_the_network_under_its_mask() -> None:
    generator, masks = generator_of(0.5)
    features, noise = torch.randn(6, 2, generator=rng(1)), torch.randn(6, 10, generator=rng(2))
    one, other = (fold(generator, masks[member]) for member in (1, 2))
    point, time = torch.randn(6, 1, generator=rng(3)), torch.rand(6, generator=rng(4))
    inputs = torch.randn(6, 3, generator=rng(5))
    with torch.no_grad():
        under, total = generator(features, noise, masks[1])
        own, own_total = one(features, noise)
        speeds = [member.flow.network(point, time, inputs) for member in (one, other)]
        wanted = generator.flow.network(point, time, inputs, masks[1])
    assert torch.allclose(under, own, atol=1e-4)
    assert torch.equal(total, own_total)
    assert torch.allclose(speeds[0], wanted, atol=1e-5)
    assert not torch.allclose(speeds[1], wanted, atol=1e-2)


def test_each_event_may_have_a_mask_of_its_own() -> None:
    generator, masks = generator_of(0.5)
    features, noise = torch.randn(4, 2, generator=rng(1)), torch.randn(4, 10, generator=rng(2))
    with torch.no_grad():
        together, _ = generator(features, noise, masks.transpose(0, 1))
        alone = [
            generator(features[k, None], noise[k, None], masks[k])[0] for k in range(len(masks))
        ]
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)


def test_all_is_computed_where_the_network_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """On 'meta', whose numbers cannot be mixed with those of another device; there every cell is filled."""
    monkeypatch.setattr("torch.fx.experimental._config.meta_nonzero_assume_all_nonzero", True)
    generator, masks = generator_of(0.5)
    there = torch.device("meta")
    generator.to(there)
    events = Events(
        standard=torch.zeros(6, 2),
        residual=torch.zeros(6, 1),
        inputs=torch.zeros(6, 3),
        weight=torch.ones(6),
        points=torch.zeros(2, 6, 1),
    ).to(there)
    flow, total = losses_of(
        generator, events, torch.arange(4, device=there), masks[0].to(there), rng()
    )
    drawn, _ = generator(torch.zeros(4, 2, device=there), torch.zeros(4, 10, device=there))
    assert flow.device == total.device == drawn.device == there
