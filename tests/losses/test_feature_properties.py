"""Feature losses on maps: gradients, invariances, extreme inputs, errors."""

import pytest
import torch
from draws import MAPS, draw
from torch.autograd import gradcheck

from kdnb import losses

MATCHING = {
    "hint": losses.hint,
    "common hint": lambda s, t: losses.hint(s, t, "common"),
    "attention": losses.attention_transfer,
    "authors' attention": lambda s, t: losses.attention_transfer(s, t, variant="authors"),
    "linear": lambda s, t: losses.neuron_selectivity(s, t, "linear"),
    "polynomial": losses.neuron_selectivity,
    "gaussian": lambda s, t: losses.neuron_selectivity(s, t, "gaussian", bandwidth=0.5),
    "factor": losses.factor_transfer,
    "factor, L2": lambda s, t: losses.factor_transfer(s, t, 2),
    "overhaul": lambda s, t: losses.overhaul(s, t, torch.full((4,), -9.0)),
    "classes": losses.class_attention,
    "statistics": losses.feature_statistics,
    "context": losses.hierarchical_context,
    "reused": losses.reused_classifier,
}
OTHERS = {
    "boundary": losses.activation_boundary,
    "variational": lambda s, t: losses.variational_information(s, t, torch.zeros(4)),
    "adaptive gaussian": lambda s, t: losses.neuron_selectivity(s, t, "gaussian"),
    "layers": lambda s, t: losses.layer_projection(s.flatten(2), t.flatten(2)),
}
EVERY = {**MATCHING, **OTHERS}


@pytest.mark.parametrize("name", [name for name in EVERY if name != "adaptive gaussian"])
def test_gradients_by_finite_differences(name):
    student, teacher = draw(2, 4, 3, 2).requires_grad_(), draw(2, 4, 3, 2, seed=1).requires_grad_()
    assert gradcheck(EVERY[name], (student, teacher))


def test_gradients_of_the_variance():
    maps, raw = (draw(2, 4, 3, 2), draw(2, 4, 3, 2, seed=1)), draw(4, seed=2).requires_grad_()
    assert gradcheck(lambda a: losses.variational_information(*maps, a), (raw,))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("name", [*MATCHING, "adaptive gaussian"])
def test_matching_student_has_no_loss_and_no_gradient(name, dtype):
    teacher = draw(*MAPS).to(dtype)
    student = teacher.clone().requires_grad_()
    loss = EVERY[name](student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    precise = dtype == torch.float64
    assert loss.item() == pytest.approx(0, abs=1e-12 if precise else 1e-6)
    assert gradient.abs().max() < (1e-12 if precise else 1e-5)


@pytest.mark.parametrize("name", ["attention", "polynomial", "linear"])
def test_channel_order_is_free(name):
    student, teacher = draw(*MAPS), draw(*MAPS, seed=1)
    order = torch.tensor([2, 0, 3, 1])
    moved = EVERY[name](student[:, order], teacher[:, order.flip(0)])
    torch.testing.assert_close(moved, EVERY[name](student, teacher))


@pytest.mark.parametrize("name", ["attention", "polynomial", "gaussian", "factor", "classes"])
def test_scale_of_a_sample_is_free(name):
    student, teacher = draw(*MAPS), draw(*MAPS, seed=1)
    scale = torch.tensor([1e-3, 2.0, 70.0], dtype=torch.float64)[:, None, None, None]
    moved = EVERY[name](scale * student, teacher / scale)
    torch.testing.assert_close(moved, EVERY[name](student, teacher))


@pytest.mark.parametrize("name", ["attention", "polynomial", "factor", "classes", "statistics"])
def test_sizes_meet_by_pooling(name):
    student, teacher = draw(3, 4, 6, 2), draw(3, 4, 3, 4, seed=1)
    value = EVERY[name](student.requires_grad_(), teacher)
    assert torch.isfinite(torch.autograd.grad(value, student)[0]).all()
    if name in ("attention", "polynomial", "factor"):
        small = torch.nn.functional.adaptive_avg_pool2d(student, (3, 2))
        other = torch.nn.functional.adaptive_avg_pool2d(teacher, (3, 2))
        torch.testing.assert_close(EVERY[name](small, other), value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", EVERY)
def test_extreme_maps_and_half_precision(name, dtype):
    scale = 30.0 if name == "layers" else 1e3  # its gradient, cubic in the scale, fills a half
    student = draw(*MAPS).sign().mul(scale).to(dtype)
    teacher = draw(*MAPS, seed=1).sign().mul(scale).to(dtype)
    student[0, 0], teacher[1] = 0, 0
    student.requires_grad_()
    loss = EVERY[name](student, teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()
    assert loss > 0


@pytest.mark.parametrize("name", ["attention", "polynomial", "linear", "factor", "classes"])
def test_dead_maps_have_bounded_gradients(name):
    teacher, student = draw(*MAPS).float(), torch.zeros(MAPS, requires_grad=True)
    (gradient,) = torch.autograd.grad(EVERY[name](student, teacher), student)
    assert gradient.abs().max() < 10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype):
    student, teacher = draw(*MAPS).float(), draw(*MAPS, seed=1).float()
    plain = [loss(student, teacher) for loss in EVERY.values()]
    plain.append(losses.class_activation_maps(student, teacher[0, :, :, 0].T))
    with torch.autocast("cpu", dtype):
        cast = [loss(student, teacher) for loss in EVERY.values()]
        cast.append(losses.class_activation_maps(student, teacher[0, :, :, 0].T))
    torch.testing.assert_close(cast, plain)


SAME_SHAPE = ["hint", "overhaul", "context", "reused", "boundary", "variational"]


@pytest.mark.parametrize("name", SAME_SHAPE)
@pytest.mark.parametrize("other", [(3, 5, 5, 2), (3, 4, 2, 5), (2, 4, 5, 2)])
def test_different_shapes_are_named(name, other):
    with pytest.raises(ValueError, match=r"\(3, 4, 5, 2\) and .* \(") as error:
        EVERY[name](torch.zeros(MAPS), torch.zeros(other))
    assert str(other) in str(error.value)


@pytest.mark.parametrize("name", [name for name in EVERY if name != "layers"])
def test_wrong_maps_are_named(name):
    for shape in ((3, 4), (0, 4, 5, 2), (3, 4, 0, 2)):
        with pytest.raises(ValueError, match="must be feature maps of shape") as error:
            EVERY[name](torch.zeros(shape), torch.zeros(shape))
        assert str(shape) in str(error.value)


@pytest.mark.parametrize("name", ["factor", "classes", "statistics"])
def test_different_channels_are_named(name):
    with pytest.raises(ValueError, match=r"batch size, channels; .* \(3, 4, .* \(3, 5, "):
        EVERY[name](torch.zeros(3, 4, 2, 2), torch.zeros(3, 5, 2, 2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda a: losses.hint(a, a, "authors"), 'variant must be "paper" or "common"'),
        (lambda a: losses.attention_transfer(a, a, variant="other"), "variant must be"),
        (lambda a: losses.attention_transfer(a, a, 0.5), "power must be at least 1; got 0.5"),
        (lambda a: losses.activation_boundary(a, a, 0.0), "margin must be above 0"),
        (lambda a: losses.factor_transfer(a, a, 3), "norm must be 1 or 2"),
        (lambda a: losses.factor_transfer(a, a, 2, "authors"), "norm must be 1 or 2"),
        (lambda a: losses.class_attention(a, a, 0), "resolution must be at least 1"),
        (lambda a: losses.neuron_selectivity(a, a, "cubic"), "kernel must be linear"),
        (lambda a: losses.neuron_selectivity(a, a, bandwidth=0.0), "bandwidth must be above 0"),
        (lambda a: losses.overhaul(a, a, torch.zeros(3)), r"margin must be \(4,\)"),
        (lambda a: losses.overhaul_margin(torch.ones(2), torch.ones(3)), "vectors of one length"),
        (lambda a: losses.class_activation_maps(a, torch.ones(2, 3)), r"got \(2, 3\)"),
        (lambda a: losses.variational_information(a, a, torch.ones(3)), r"got \(3,\)"),
        (lambda a: losses.layer_projection(a[0], a[0, :2]), r"student_states \(4, 5, 2\)"),
        (lambda a: losses.layer_projection(a[0], a[0], 0.0), "temperature must be"),
        (lambda a: losses.semantic_calibration([[a]], [], a), "got 1 maps for 0 teacher layers"),
        (lambda a: losses.semantic_calibration([[a]], [[a]], a), r"attention must be .* \(3, 1,"),
    ],
)
def test_wrong_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call(torch.ones(MAPS))
