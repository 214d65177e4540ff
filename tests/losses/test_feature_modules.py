"""Adapters and modules of the feature losses: shapes, parameters, gradients, errors."""

import doctest
import importlib
import math
from pathlib import Path

import pytest
import torch

from kdnb import losses
from kdnb.losses import adapters

MODULES = sorted(
    path.stem for path in Path(losses.__file__).parent.glob("*.py") if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"kdnb.losses.{name}")
    outcome = doctest.testmod(module, extraglobs={"torch": torch, "math": math})
    assert outcome.attempted > 0
    assert outcome.failed == 0


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parameters(module):
    return sum(value.numel() for value in module.parameters())


def trains(module, loss):
    """Every parameter takes part in the loss, and with a finite gradient."""
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    return True


def test_convolutional_regressor_has_the_papers_kernel():
    student, teacher = draw(3, 4, 9, 6), draw(3, 5, 7, 6, seed=1)
    regressor = adapters.ConvolutionalRegressor(student.shape, teacher.shape)
    assert regressor.convolution.kernel_size == (3, 1)
    assert regressor(student).shape == teacher.shape
    assert trains(regressor, losses.hint(regressor(student), teacher))
    same = adapters.ConvolutionalRegressor((4, 5, 5), (7, 5, 5), torch.nn.ReLU())
    assert same.convolution.kernel_size == (1, 1)
    assert (same(draw(2, 4, 5, 5)) >= 0).all()


def test_convolutional_regressor_is_smaller_than_a_connected_one():
    regressor = adapters.ConvolutionalRegressor((16, 8, 8), (32, 6, 6))
    assert parameters(regressor) == 3 * 3 * 16 * 32 + 32
    assert parameters(regressor) < 16 * 8 * 8 * 32 * 6 * 6


@pytest.mark.parametrize("teacher", [(5, 9, 5), (3, 5, 5, 9)])
def test_convolutional_regressor_refuses_larger_teachers(teacher):
    with pytest.raises(ValueError, match=r"student_shape \(4, 5, 5\) and teacher_shape") as error:
        adapters.ConvolutionalRegressor((4, 5, 5), teacher)
    assert str(teacher) in str(error.value)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("sizes", [((6, 4), (6, 4)), ((6, 4), (3, 2)), ((3, 2), (6, 5))])
def test_pointwise_adapter(sizes, normalise):
    student, teacher = draw(3, 4, *sizes[0]), draw(3, 7, *sizes[1], seed=1)
    adapter = adapters.PointwiseAdapter(student.shape, teacher.shape, normalise)
    projected, target = adapter(student, teacher)
    assert projected.shape == target.shape == (3, 7, *map(min, *sizes))
    assert parameters(adapter) == 4 * 7 + (14 if normalise else 7)
    assert trains(adapter, losses.hint(projected, target, "common"))


def test_common_size_pools_each_axis():
    student, teacher = adapters.to_common_size(draw(2, 3, 6, 2), draw(2, 3, 3, 4, seed=1))
    assert student.shape == teacher.shape == (2, 3, 3, 2)
    torch.testing.assert_close(student, draw(2, 3, 6, 2).unflatten(2, (3, 2)).mean(dim=3))
    same = draw(2, 3, 3, 2)
    assert adapters.to_common_size(same, same)[0] is same
    with pytest.raises(ValueError, match=r"student_maps \(2, .* teacher_maps \(3, "):
        adapters.to_common_size(torch.zeros(2, 1, 1, 1), torch.zeros(3, 1, 1, 1))
    with pytest.raises(ValueError, match=r"student_shape must be .* got \(4, 5\)"):
        adapters.map_shape((4, 5), "student_shape")


def test_paraphraser_and_translator():
    student, teacher = draw(2, 4, 6, 5), draw(2, 8, 6, 5, seed=1)
    paraphraser = losses.Paraphraser(teacher.shape, rate=0.75)
    translator = losses.Translator(student.shape, paraphraser.factors)
    factor = paraphraser.encode(teacher)
    assert paraphraser(teacher).shape == teacher.shape
    assert factor.shape == translator(student).shape == (2, 6, 6, 5)
    loss = losses.paraphrase_reconstruction(paraphraser(teacher), teacher)
    assert trains(paraphraser, loss)
    assert trains(translator, losses.factor_transfer(translator(student), factor.detach()))


@pytest.mark.parametrize("size", [(6, 4), (3, 5)])
def test_reused_classifier_projector(size):
    student, teacher = draw(3, 4, *size), draw(3, 6, 4, 4, seed=1).relu()
    projector = losses.ReusedClassifierProjector(student.shape, teacher.shape)
    projected, target = projector(student, teacher)
    assert projected.shape == target.shape
    assert (projected >= 0).all()
    assert trains(projector, losses.reused_classifier(projected, target))


def test_variational_regressor():
    student, teacher = draw(3, 4, 6, 4), draw(3, 5, 3, 5, seed=1)
    regressor = losses.VariationalRegressor(student.shape, teacher.shape)
    start = torch.nn.functional.softplus(regressor.raw_variance.detach()) + 1e-5
    torch.testing.assert_close(start, torch.full((5,), 5.0))
    assert trains(regressor, regressor(student, teacher))
    large = losses.VariationalRegressor((4, 2, 2), (5, 2, 2), 1e4)
    assert torch.isfinite(large(draw(2, 4, 2, 2), draw(2, 5, 2, 2)))
    with pytest.raises(ValueError, match="initial_variance must be above"):
        losses.VariationalRegressor((4, 2, 2), (5, 2, 2), 0.0)


def test_semantic_calibration_module():
    student = [draw(5, 3, 6, 4), draw(5, 4, 3, 2, seed=1)]
    teacher = [draw(5, 4, 6, 4, seed=2), draw(5, 5, 4, 2, seed=3), draw(5, 6, 3, 3, seed=4)]
    module = losses.SemanticCalibration(
        [maps.shape for maps in student], [maps.shape for maps in teacher], batch=5
    )
    projected, targets, attention = module(student, teacher)
    assert attention.shape == (5, 2, 3)
    torch.testing.assert_close(attention.sum(dim=2), torch.ones(5, 2))
    assert projected[0][2].shape == targets[0][2].shape == (5, 6, 3, 3)
    assert trains(module, losses.semantic_calibration(projected, targets, attention))
    with pytest.raises(ValueError, match=r"built for batches of 5; got \(4, 3, 6, 4\)"):
        module([maps[:4] for maps in student], [maps[:4] for maps in teacher])
    with pytest.raises(ValueError, match="got 1 maps for 2 student layers of the module"):
        module(student[:1], teacher)


def test_review_fusion():
    student = [draw(3, 4, 8, 6), draw(3, 5, 4, 3, seed=1), draw(3, 6, 1, 1, seed=2)]
    teacher = [draw(3, 7, 8, 6, seed=3), draw(3, 8, 5, 3, seed=4), draw(3, 9, 1, 1, seed=5)]
    shapes = [[maps.shape for maps in side] for side in (student, teacher)]
    fusion = losses.ReviewFusion(*shapes)
    outputs = fusion(student)
    assert [maps.shape for maps in outputs] == shapes[1]
    pairs = zip(outputs, teacher, strict=True)
    assert trains(fusion, sum(losses.hierarchical_context(s, t) for s, t in pairs))
    with pytest.raises(ValueError, match="must list as many layers, at least one; got 3 and 2"):
        losses.ReviewFusion(shapes[0], shapes[1][:2])
    with pytest.raises(ValueError, match="got 2 maps for 3 layers of the module"):
        fusion(student[:2])


def test_review_fusion_passes_knowledge_upwards_only():
    """A shallow teacher layer reaches the deep student layers; a deep one not the shallow."""
    student = [draw(3, 4, 4, 4), draw(3, 4, 2, 2, seed=1)]
    student = [maps.requires_grad_() for maps in student]
    fusion = losses.ReviewFusion([(4, 4, 4), (4, 2, 2)], [(4, 4, 4), (4, 2, 2)])
    shallow, deep = fusion(student)
    weights = draw(3, 4, 4, 4, seed=2)
    assert torch.autograd.grad((weights * shallow).sum(), student[1])[0].abs().sum() > 0
    unreached = torch.autograd.grad(deep.square().sum(), student[0], allow_unused=True)
    assert unreached == (None,)


def test_depth_weights():
    assert losses.depth_weights(1) == [1.0]
    assert losses.depth_weights(4) == [0.125, 0.25, 0.5, 1.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_modules_run_under_autocast(dtype):
    student, teacher = draw(4, 3, 4, 3), draw(4, 5, 4, 3, seed=1)
    calibration = losses.SemanticCalibration([student.shape], [teacher.shape], batch=4)
    fusion = losses.ReviewFusion([student.shape], [teacher.shape])
    regressor = losses.VariationalRegressor(student.shape, teacher.shape)
    with torch.autocast("cpu", dtype):
        found = [
            losses.semantic_calibration(*calibration([student], [teacher])),
            losses.hierarchical_context(fusion([student])[0], teacher),
            regressor(student, teacher),
        ]
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in found)
