"""The kernel of wide networks against a wide network, and kernel students against torch."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdnb.methods.theory import kernel_student, relu_kernel, soft_mixture


def points(n, d=3, seed=0):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_kernel_is_that_of_a_wide_network():
    x, width = points(4), 40000
    torch.manual_seed(0)
    first = torch.randn(width, 3, dtype=torch.float64) * 2**0.5
    second = torch.randn(width, dtype=torch.float64)
    before = x @ first.T
    # f = a . relu(W x) / sqrt(width): gradients to a and to W, times those of another point
    by_second = before.relu() @ before.relu().T / width
    on = (before > 0).double()
    by_first = (on * second**2) @ on.T / width * (x @ x.T)
    wanted = by_second + by_first * 2
    found = relu_kernel(x, x)
    assert torch.allclose(found, wanted, rtol=0.1, atol=0.1)
    assert torch.allclose(found.diag(), 2 * x.square().sum(1))
    assert torch.linalg.eigvalsh(found).min() > -1e-9


def test_a_students_coefficients_are_those_of_a_general_optimiser():
    x = points(12)
    kernel, targets = relu_kernel(x, x), torch.rand(12, dtype=torch.float64)
    a = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([a], max_iter=2000, tolerance_grad=1e-12, tolerance_change=1e-14,
                                  line_search_fn="strong_wolfe")  # fmt: skip

    def closure():
        optimiser.zero_grad()
        f = kernel @ a
        loss = F.binary_cross_entropy_with_logits(f, targets) + 0.005 * a @ f
        loss.backward()
        return loss

    optimiser.step(closure)
    found = kernel_student(kernel, targets, ridge=0.01)
    assert torch.allclose(kernel @ found, kernel @ a.detach(), atol=1e-4)


def test_soft_targets_are_fitted():
    x = points(20)
    kernel, targets = relu_kernel(x, x), 0.05 + 0.9 * torch.rand(20, dtype=torch.float64)
    a = kernel_student(kernel, targets, ridge=1e-10)
    assert torch.allclose((kernel @ a).sigmoid(), targets, atol=1e-3)


def test_the_mixture_has_the_gradient_of_both_terms():
    labels, answers = torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0.3, 0.6, 0.9])
    z = torch.tensor([0.2, -1.0, 3.0], requires_grad=True)
    bce = F.binary_cross_entropy_with_logits
    both = 0.3 * bce(z, answers) + 0.7 * bce(z, labels)
    one = bce(z, soft_mixture(labels, answers, 0.3))
    assert torch.allclose(torch.autograd.grad(both, z)[0], torch.autograd.grad(one, z)[0])


@pytest.mark.parametrize(("call", "message"), [
    (lambda: relu_kernel(torch.ones(2, 3), torch.ones(2, 4)), "points, dimensions"),
    (lambda: soft_mixture(torch.ones(2), torch.ones(3), 0.5), r"are \(n,\)"),
    (lambda: soft_mixture(torch.ones(2), torch.ones(2), 1.5), "from 0 to 1"),
    (lambda: kernel_student(torch.eye(3), torch.ones(2)), "the kernel is"),
    (lambda: kernel_student(torch.eye(2), torch.ones(2), ridge=0.0), "above 0"),
])  # fmt: skip
def test_wrong_wishes(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_linear_layer_of_features_gives_the_same_as_its_kernel():
    x = points(6)
    features = nn.Linear(3, 8).double()(x).relu().detach()
    a = kernel_student(features @ features.T, torch.tensor([1.0, 0, 1, 0, 1, 0]), ridge=0.1)
    w = features.T @ a
    p = (features @ w).sigmoid()
    slope = features.T @ (p - torch.tensor([1.0, 0, 1, 0, 1, 0])) / 6 + 0.1 * w
    assert slope.abs().max() < 1e-6
