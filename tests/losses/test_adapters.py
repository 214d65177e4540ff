"""Adapters between maps: shapes, parameters, errors."""

import pytest
import torch
from draws import draw32

from kdnb import losses
from kdnb.losses import adapters


def parameters(module):
    return sum(value.numel() for value in module.parameters())


def trains(module, loss):
    """Every parameter takes part in the loss, and with a finite gradient."""
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    return True


def test_convolutional_regressor_has_the_papers_kernel():
    student, teacher = draw32(3, 4, 9, 6), draw32(3, 5, 7, 6, seed=1)
    regressor = adapters.ConvolutionalRegressor(student.shape, teacher.shape)
    assert regressor.convolution.kernel_size == (3, 1)
    assert regressor(student).shape == teacher.shape
    assert trains(regressor, losses.hint(regressor(student), teacher))
    same = adapters.ConvolutionalRegressor((4, 5, 5), (7, 5, 5), torch.nn.ReLU())
    assert same.convolution.kernel_size == (1, 1)
    assert (same(draw32(2, 4, 5, 5)) >= 0).all()


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
    student, teacher = draw32(3, 4, *sizes[0]), draw32(3, 7, *sizes[1], seed=1)
    adapter = adapters.PointwiseAdapter(student.shape, teacher.shape, normalise)
    projected, target = adapter(student, teacher)
    assert projected.shape == target.shape == (3, 7, *map(min, *sizes))
    assert parameters(adapter) == 4 * 7 + (14 if normalise else 7)
    assert trains(adapter, losses.hint(projected, target, "common"))


def test_common_size_pools_each_axis():
    student, teacher = adapters.to_common_size(draw32(2, 3, 6, 2), draw32(2, 3, 3, 4, seed=1))
    assert student.shape == teacher.shape == (2, 3, 3, 2)
    torch.testing.assert_close(student, draw32(2, 3, 6, 2).unflatten(2, (3, 2)).mean(dim=3))
    same = draw32(2, 3, 3, 2)
    assert adapters.to_common_size(same, same)[0] is same
    with pytest.raises(ValueError, match=r"student_maps \(2, .* teacher_maps \(3, "):
        adapters.to_common_size(torch.zeros(2, 1, 1, 1), torch.zeros(3, 1, 1, 1))
    with pytest.raises(ValueError, match=r"student_shape must be .* got \(4, 5\)"):
        adapters.map_shape((4, 5), "student_shape")
