"""Input gradients: by hand, and matched by training."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdnb import losses
from kdnb.methods.attention import input_gradients, match_jacobians
from kdnb.training import Recipe

X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3
STEP = Recipe(epochs=1, batch_size=12, lr=1e-6, momentum=0.0, schedule="constant", precision="32")


def net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def test_a_gradient_by_differences():
    model = net(0).double()
    x = X.double()
    for of in ("logit", "cross_entropy"):
        found, logits = input_gradients(model, x, Y, of)
        torch.testing.assert_close(logits, model(x).detach())

        def number(inputs, of=of):
            z = model(inputs)
            return (
                F.cross_entropy(z, Y, reduction="none")
                if of == "cross_entropy"
                else z.gather(1, Y[:, None])[:, 0]
            )

        for k in range(6):
            step = torch.zeros(6).double()
            step[k] = 1e-5
            change = (number(x + step) - number(x - step)) / 2e-5
            torch.testing.assert_close(found[:, k], change.detach(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("of", ["logit", "cross_entropy"])
def test_the_terms_are_the_losses(of):
    student, teacher = net(0), net(1)
    classes = Y if of == "cross_entropy" else teacher(X).argmax(1)
    ours, _ = input_gradients(student, X, classes, of)
    theirs, _ = input_gradients(teacher, X, classes, of)
    loss = losses.gradient_attention if of == "cross_entropy" else losses.jacobian_matching
    hard, soft = (
        F.cross_entropy(student(X), Y).item(),
        losses.soft_targets(student(X), teacher(X), 4.0).item(),
    )
    fit = match_jacobians(
        student, teacher, (X, Y), STEP, of=of, gradient_weight=2.0, soft_weight=0.5
    )
    row = fit.history.iloc[0]
    assert row["gradient"] == pytest.approx(2 * loss(ours, theirs).item(), rel=1e-4)
    assert row["hard"] == pytest.approx(hard, rel=1e-4)
    assert row["soft"] == pytest.approx(0.5 * soft, rel=1e-4)


def test_gradients_come_together():
    student, teacher = net(0), net(1)
    fit = match_jacobians(
        student, teacher, (X, Y), epochs=60, batch_size=12, optimiser="adam", lr=0.02, precision="32",
        label_weight=0.0,
    )  # fmt: skip
    assert fit.history.gradient.iloc[-1] < 0.3 * fit.history.gradient.iloc[0]
    assert all(parameter.grad is None for parameter in teacher.parameters())
