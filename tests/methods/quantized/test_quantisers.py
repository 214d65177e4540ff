"""Quantisers: by loops, what the papers say of them, and what reaches the weights."""

import itertools

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.methods import quantized as q
from kdnb.methods.quantized.quantisers import straight_through


def by_loops(values, bits, bucket):
    """Polino's uniform quantiser, one number at a time."""
    flat = values.flatten().tolist()
    size, steps, found = bucket or len(flat), 2**bits - 1, []
    for begin in range(0, len(flat), size):
        group = flat[begin : begin + size]
        low, span = min(group), max(group) - min(group)
        span = span if span >= 1e-10 else 1.0
        for v in group:
            points = [low + span * k / steps for k in range(steps + 1)]
            found.append(min(points, key=lambda p, v=v: abs(p - v)))
    return torch.tensor(found, dtype=values.dtype).view(values.shape)


@pytest.mark.parametrize("bucket", [None, 1, 7, 16, 256])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_uniform_quantiser_by_loops(bits, bucket):
    values = draw(5, 3, 3, seed=bits)
    torch.testing.assert_close(q.uniform(values, bits, bucket), by_loops(values, bits, bucket))


def test_the_ends_of_every_bucket_are_points_and_no_error_is_above_half_a_step():
    values = draw(4, 64)
    for bits in (1, 2, 3, 8):
        error = (q.uniform(values, bits, 64) - values).abs()
        span = values.amax(1) - values.amin(1)
        assert (error.amax(1) <= span / (2 * (2**bits - 1)) + 1e-12).all()
        for row, rounded in zip(values, q.uniform(values, bits, 64), strict=True):
            assert rounded.min() == row.min()
            assert float(rounded.max()) == pytest.approx(float(row.max()), rel=1e-12)


def test_scale_and_shift_go_through():
    values = draw(3, 50)
    moved = q.uniform(3 * values - 2, 3, 50)
    torch.testing.assert_close(moved, 3 * q.uniform(values, 3, 50) - 2)


def test_rounding_twice_is_rounding_once():
    once = q.uniform(draw(300), 3, 64)
    torch.testing.assert_close(q.uniform(once, 3, 64), once)


def test_equal_numbers_stay_and_nan_stays_nan():
    assert (q.uniform(torch.full((5,), 0.3), 2, 4) == 0.3).all()
    assert q.uniform(torch.tensor([0.0, float("nan"), 1.0]), 2, 3).isnan().any()


def test_stochastic_rounding_keeps_the_expectation():
    values = draw(40)
    torch.manual_seed(0)
    mean = sum(q.uniform(values, 2, None, stochastic=True) for _ in range(4000)) / 4000
    step = float(values.max() - values.min()) / 3
    assert (mean - values).abs().max() < 5 * step / 2 / 4000**0.5
    # ... and with it that of every scalar product, which deterministic rounding does not.
    x = draw(40, seed=1)
    assert abs(float(mean @ x - values @ x)) < 5 * step / 2 * float(x.norm()) / 4000**0.5


def test_stochastic_rounding_gives_neighbours_alone():
    values = draw(200)
    torch.manual_seed(1)
    rounded = q.uniform(values, 3, None, stochastic=True)
    step = float(values.max() - values.min()) / 7
    assert ((rounded - values).abs() < step + 1e-9).all()
    assert q.uniform(rounded, 3, None).allclose(rounded)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_numbers_in_half_precision_sit_on_the_points_of_float32(dtype):
    values = torch.randn(300, generator=torch.Generator().manual_seed(5)).to(dtype)
    for bits in (1, 2, 4, 8):
        found = q.uniform(values, bits, 64)
        assert found.dtype == dtype
        assert torch.equal(found, q.uniform(values.float(), bits, 64).to(dtype))
        torch.testing.assert_close(q.uniform(found, bits, 64), found)
    assert q.Points(values, 2, 64)(values).dtype == dtype


def test_a_bucket_larger_than_the_tensor_is_one_bucket_and_one_number_is_its_own_point():
    values = torch.randn(7, generator=torch.Generator().manual_seed(6))
    assert torch.equal(q.uniform(values, 2, 1000), q.uniform(values, 2, None))
    for alone in (torch.tensor(3.0), torch.ones(1)):
        for quantiser in (lambda v: q.uniform(v, 1), q.ternary, q.signs):
            assert torch.equal(quantiser(alone), alone)


def test_smaller_buckets_lose_less():
    values = draw(4096)
    errors = [float((q.uniform(values, 2, k) - values).square().mean()) for k in (16, 256, None)]
    assert errors == sorted(errors)


def test_ternary_weights_by_loops_and_their_scale_is_the_best():
    values = draw(6, 10)
    flat = values.flatten().tolist()
    limit = 0.7 * sum(map(abs, flat)) / len(flat)
    large = [abs(v) for v in flat if abs(v) > limit]
    alpha = sum(large) / len(large)
    expected = [0.0 if abs(v) <= limit else alpha * (1 if v > 0 else -1) for v in flat]
    found = q.ternary(values)
    torch.testing.assert_close(found.flatten(), torch.tensor(expected, dtype=values.dtype))
    error = (found - values).square().sum()
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert (factor * found - values).square().sum() > error


def test_signs_have_the_best_scale_of_each_filter():
    values = draw(3, 4, 2)
    found = q.signs(values)
    for row, ours in zip(values, found, strict=True):
        sizes = ours.abs().unique()
        assert len(sizes) == 1 and float(sizes) == pytest.approx(float(row.abs().mean()))
        for factor in (0.9, 1.1):
            assert (factor * ours - row).square().sum() > (ours - row).square().sum()


@pytest.mark.parametrize(
    "quantiser",
    [lambda v: q.uniform(v, 2, 8), q.ternary, q.signs,
     lambda v: q.uniform(v, 2, 8, stochastic=True)],
)  # fmt: skip
def test_the_gradient_is_that_of_the_identity(quantiser):
    values = draw(4, 9).requires_grad_()
    weights = draw(4, 9, seed=3)
    (gradient,) = torch.autograd.grad((quantiser(values) * weights).sum(), values)
    torch.testing.assert_close(gradient, weights)


def test_straight_through_is_exact_where_adding_and_subtracting_rounds():
    values = torch.tensor([1e8, 0.1])
    aim = torch.tensor([1.0, 1e-9])
    assert (straight_through(values, aim) == aim).all()
    assert not ((values + (aim - values)) == aim).all()


# Points that learn


def test_points_by_loops():
    values = draw(6, 5)
    points = q.Points(values, 2, bucket=10).double()
    found = points(values).detach()
    buckets = values.flatten().view(3, 10)
    for k, group in enumerate(buckets):
        low, span = group.min(), group.max() - group.min()
        for i, v in enumerate(group):
            p = min(points.points.tolist(), key=lambda p, v=v: abs(p - float((v - low) / span)))
            assert float(found.flatten()[10 * k + i]) == pytest.approx(float(low + span * p))


def test_the_gradient_of_a_point_is_the_sum_over_its_weights():
    values = draw(6, 5)
    module = q.Points(values, 2, bucket=10).double()
    coefficients = draw(6, 5, seed=1)
    (gradient,) = torch.autograd.grad((module(values) * coefficients).sum(), module.points)
    scaled = q.buckets(values, 10)
    expected = [0.0] * 4
    for k, i in itertools.product(range(3), range(10)):
        nearest = int((module.points - scaled.scaled[k, i]).abs().argmin())
        alpha = float(scaled.spans[k])
        expected[nearest] += alpha * float(coefficients.flatten()[10 * k + i])
    torch.testing.assert_close(gradient, torch.tensor(expected, dtype=gradient.dtype))


def test_the_gradient_of_points_by_finite_differences():
    values = draw(5, 5)
    module = q.Points(values, 2, None).double()
    coefficients = draw(5, 5, seed=1)

    def loss(points):
        return (torch.func.functional_call(module, {"points": points}, values) * coefficients).sum()

    assert gradcheck(loss, (module.points.detach().clone().requires_grad_(),))


def test_points_do_not_depend_on_their_order():
    values = draw(50)
    module = q.Points(values, 3)
    before = module(values)
    with torch.no_grad():
        module.points.copy_(module.points.flip(0))
    torch.testing.assert_close(module(values), before)


def test_points_start_at_quantiles_or_evenly():
    values = draw(1000) ** 3
    even = q.Points(values, 2, None, "uniform")
    torch.testing.assert_close(
        even(values).double(), q.uniform(values, 2, None), rtol=1e-5, atol=1e-5
    )
    quantiles = q.Points(values, 2, None)
    scaled = q.buckets(values, None).scaled.flatten()
    expected = torch.quantile(scaled, torch.tensor([0, 1 / 3, 2 / 3, 1], dtype=scaled.dtype))
    torch.testing.assert_close(quantiles.points.detach().double(), expected, rtol=1e-3, atol=2e-3)


# A step that learns


def test_a_learnt_step_by_loops():
    values = draw(40)
    module = q.LearntStep(3, True, values).double()
    step = float(module.step)
    expected = [step * max(-4, min(3, round(max(-4, min(3, v / step))))) for v in values.tolist()]
    torch.testing.assert_close(module(values), torch.tensor(expected, dtype=values.dtype))


def test_the_gradients_of_a_learnt_step():
    values = draw(60).mul(2).requires_grad_()
    module = q.LearntStep(2, True, values).double()
    step = float(module.step)
    weights = draw(60, seed=1)
    of_values, of_step = torch.autograd.grad(
        (module(values) * weights).sum(), (values, module.step)
    )
    places = values.detach() / step
    inside = (places > -2) & (places < 1)
    torch.testing.assert_close(of_values, weights * inside)
    moved = torch.where(inside, places.round() - places, places.clamp(-2, 1))
    torch.testing.assert_close(of_step, (weights * moved).sum().to(of_step.dtype))


def test_activations_set_their_step_by_the_first_batch():
    module = q.LearntStep(2, signed=False)
    first = draw(100).abs().float()
    module(first)
    step = module.step.clone()
    assert float(step.detach()) == pytest.approx(2 * float(first.mean()) / 3**0.5)
    module(10 * first)
    assert torch.equal(module.step, step)
    assert module(torch.tensor([-5.0])) == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: q.uniform(torch.ones(3), 0), "bits must lie in"),
        (lambda: q.uniform(torch.ones(3), 2, 0), "bucket must be at least 1"),
        (lambda: q.uniform(torch.ones(3).long(), 2), "floating-point"),
        (lambda: q.uniform(torch.ones(0), 2), "none empty"),
        (lambda: q.uniform(torch.ones(3), 2, stochastic="no"), "stochastic"),
        (lambda: q.Points(torch.ones(3), 9), "bits must lie in"),
        (lambda: q.Points(torch.ones(3), 2, start="ends"), "start"),
        (lambda: q.LearntStep(1), "bits must lie in"),
    ],
)
def test_wrong_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
