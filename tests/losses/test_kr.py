"""KR: histograms of parameters and their cross-entropy, by loops, invariances, gradients."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.losses import parameter_distribution, parameter_histogram


def group(seed=0):
    return [
        draw(4, 3, 3, 3, seed=seed),
        draw(5, 4, seed=seed + 1, scale=0.2),
        draw(5, seed=seed + 2),
    ]


def naive_histogram(tensors, bins, span):
    counts, total = [1 / bins] * bins, 1
    for tensor in tensors:
        values = tensor.flatten().tolist()
        rms = math.sqrt(sum(v * v for v in values) / len(values))
        for value in values:
            place = min(max((value / rms + span) / (2 * span / (bins - 1)), 0), bins - 1)
            for k in range(bins):
                counts[k] += max(0, 1 - abs(place - k))
            total += 1
    return [count / total for count in counts]


def naive_loss(students, teachers, bins, kept):
    total = 0.0
    for student, teacher in zip(students, teachers, strict=True):
        p, q = (naive_histogram(tensors, bins, 3.0) for tensors in (teacher, student))
        code = sorted(range(bins), key=lambda k: -p[k])[:kept]
        mass_p, mass_q = (sum(share[k] for k in code) for share in (p, q))
        total -= sum(p[k] / mass_p * math.log(q[k] / mass_q) for k in code)
    return total / len(students)


@pytest.mark.parametrize(("bins", "span"), [(2, 1.0), (9, 2.0), (32, 3.0)])
def test_histogram_against_loops(bins, span):
    got = parameter_histogram(group(), bins, span)
    torch.testing.assert_close(got.tolist(), naive_histogram(group(), bins, span))
    assert got.sum().item() == pytest.approx(1, abs=1e-12)
    assert (got > 0).all()


@pytest.mark.parametrize(("bins", "kept"), [(8, 8), (9, 4), (32, 16)])
def test_loss_against_loops(bins, kept):
    students, teachers = [group(), group(7)], [group(3)[:2], group(11)]
    got = parameter_distribution(students, teachers, bins, kept)
    assert got.item() == pytest.approx(naive_loss(students, teachers, bins, kept), rel=1e-9)


def test_defaults_are_the_documented_ones():
    assert parameter_distribution([group()], [group(5)]) == parameter_distribution(
        [group()], [group(5)], bins=32, kept=16
    )


def test_histogram_knows_no_scale_no_order_and_no_shape():
    tensors = group()
    plain = parameter_histogram(tensors)
    scaled = [factor * tensor for factor, tensor in zip((0.01, 7.0, 3.0), tensors, strict=True)]
    torch.testing.assert_close(parameter_histogram(scaled), plain)
    flat = [tensor.flatten().flip(0) for tensor in tensors[::-1]]
    torch.testing.assert_close(parameter_histogram(flat), plain)
    mirrored = parameter_histogram([-tensor for tensor in tensors])
    torch.testing.assert_close(mirrored, plain.flip(0))


def test_the_least_is_the_entropy_of_the_code_at_a_match():
    teacher = group()
    student = [tensor.clone().requires_grad_() for tensor in teacher]
    loss = parameter_distribution([student], [teacher], kept=10)
    share = parameter_histogram(teacher).topk(10).values
    share = share / share.sum()
    torch.testing.assert_close(loss, -(share * share.log()).sum())
    for gradient in torch.autograd.grad(loss, student):
        assert gradient.abs().max() < 1e-12
    for seed in range(20, 30):
        assert parameter_distribution([group(seed)], [teacher], kept=10) > loss


def test_rare_values_of_the_teacher_ask_nothing():
    """Bins outside the code count for neither side: only the kept ones are compared."""
    centres = torch.linspace(-3, 3, 7, dtype=torch.float64)
    body = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64).repeat(50)
    # A pair of outliers at one and the same distance keeps the root mean square.
    left, right = (torch.cat([body, sign * centres[-1:].repeat(2)]) for sign in (-1, 1))
    code = {"bins": 7, "kept": 3}
    assert parameter_distribution([[left]], [[left]], **code) == pytest.approx(
        parameter_distribution([[right]], [[left]], **code).item(), rel=1e-12
    )
    everything = {"bins": 7, "kept": 7}
    gap = parameter_distribution([[right]], [[left]], **everything)
    assert gap - parameter_distribution([[left]], [[left]], **everything) > 1e-3


def test_gradients_by_finite_differences():
    students = [tensor.requires_grad_() for tensor in (draw(3, 4), draw(5, seed=1))]
    teachers = [draw(4, 4, seed=2).requires_grad_(), draw(6, seed=3)]
    assert gradcheck(
        lambda *tensors: parameter_distribution(
            [tensors[:2]], [[tensors[2], teachers[1]]], bins=8, kept=6
        ),
        (*students, teachers[0]),
    )


def test_descent_gives_the_student_the_teachers_distribution():
    generator = torch.Generator().manual_seed(0)
    teacher = [torch.randn(400, generator=generator).sign()]
    weight = torch.randn(20, 20, generator=generator).requires_grad_()
    optimiser = torch.optim.Adam([weight], lr=0.03)
    start = parameter_distribution([[weight]], [teacher]).item()
    for _ in range(200):
        optimiser.zero_grad()
        parameter_distribution([[weight]], [teacher]).backward()
        optimiser.step()
    least = parameter_distribution([teacher], [teacher]).item()
    # Not all the way: a parameter only feels the two bins beside it.
    assert parameter_distribution([[weight]], [teacher]).item() - least < 0.3 * (start - least)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_zeros_and_extremes_stay_finite(dtype):
    students = [torch.zeros(7, dtype=dtype), (1e3 * draw(50).sign()).to(dtype)]
    for tensor in students:
        tensor.requires_grad_()
        loss = parameter_distribution([[tensor]], [[draw(9, 3).to(dtype)]])
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert torch.isfinite(torch.autograd.grad(loss, tensor)[0]).all()


def test_wrong_arguments():
    tensors = group()
    with pytest.raises(
        ValueError,
        match="student_groups and teacher_groups must be lists of one length, at least 1; got 1 and 2",
    ):
        parameter_distribution([tensors], [tensors, tensors])
    for kept in (1, 33):
        with pytest.raises(
            ValueError, match=rf"kept must lie in \[2, 32\], a whole number; got {kept}"
        ):
            parameter_distribution([tensors], [tensors], kept=kept)
    with pytest.raises(ValueError, match="group must be a list of at least 1; got 0"):
        parameter_histogram([])
    with pytest.raises(
        ValueError, match=r"group\[0\] must hold floating-point numbers; got torch.int64"
    ):
        parameter_histogram([torch.tensor([1, 2])])
    with pytest.raises(ValueError, match=r"group\[0\] must be .* none empty; got \(0,\)"):
        parameter_histogram([torch.zeros(0)])
    for options in ({"bins": 1}, {"span": 0.0}, {"span": math.inf}):
        with pytest.raises(
            ValueError, match="bins must be at least 2|span must be a finite number above 0"
        ):
            parameter_histogram(tensors, **options)
