"""The losses of discriminator and generator: optima, signs of the gradients, extreme scores."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.losses import confused_judging_loss, fooling_loss, judging_loss

KINDS = ["non_saturating", "saturating", "least_squares"]


def sigma(x):
    return 1 / (1 + math.exp(-x))


def test_the_losses_by_hand():
    real, fake = [0.7, -1.2], [0.3, 2.0, -0.4]
    expected = -sum(math.log(sigma(x)) for x in real) / 2
    expected -= sum(math.log(1 - sigma(x)) for x in fake) / 3
    r, f = torch.tensor(real), torch.tensor(fake)
    assert float(judging_loss(r, f)) == pytest.approx(expected)
    assert float(judging_loss(r, f, "saturating")) == pytest.approx(expected)
    squares = sum((x - 1) ** 2 for x in real) / 4 + sum(x**2 for x in fake) / 6
    assert float(judging_loss(r, f, "least_squares")) == pytest.approx(squares)
    fooled = {
        "non_saturating": -sum(math.log(sigma(x)) for x in fake) / 3,
        "saturating": sum(math.log(1 - sigma(x)) for x in fake) / 3,
        "least_squares": sum((x - 1) ** 2 for x in fake) / 6,
    }
    for kind, value in fooled.items():
        assert float(fooling_loss(f, kind)) == pytest.approx(value)


@pytest.mark.parametrize("confusion", [0.0, 0.5])
def test_the_best_discriminator(confusion):
    """Gradient descent on drawn samples ends at log(p / q + mu), outcome by outcome."""
    p, q, count = [0.5, 0.3, 0.2], [0.2, 0.2, 0.6], 10
    real = torch.tensor([i for i, x in enumerate(p) for _ in range(round(x * count))])
    fake = torch.tensor([i for i, x in enumerate(q) for _ in range(round(x * count))])
    scores = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([scores], max_iter=50, tolerance_grad=1e-12)

    def closure():
        optimiser.zero_grad()
        loss = confused_judging_loss(scores[real], scores[fake], confusion)
        loss.backward()
        return loss

    optimiser.step(closure)
    expected = [math.log(a / b + confusion) for a, b in zip(p, q, strict=True)]
    assert scores.tolist() == pytest.approx(expected, abs=1e-5)
    if not confusion:
        middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        js = sum(
            (a * math.log(a / m) + b * math.log(b / m)) / 2
            for a, b, m in zip(p, q, middle, strict=True)
        )
        loss = judging_loss(scores[real], scores[fake])
        assert float(loss.detach()) == pytest.approx(2 * math.log(2) - 2 * js)


def test_the_best_least_squares_discriminator():
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    real = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    fake = torch.tensor([0] * 2 + [1] * 2 + [2] * 6)
    best = (p / (p + q)).requires_grad_()
    judging_loss(best[real], best[fake], "least_squares").backward()
    torch.testing.assert_close(best.grad, torch.zeros(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_who_pulls_where(kind):
    real = torch.tensor([0.2, -0.5], requires_grad=True)
    fake = torch.tensor([0.3, 0.1], requires_grad=True)
    judging_loss(real, fake, kind).backward()
    assert (real.grad < 0).all()  # descent raises the scores of the real
    assert (fake.grad > 0).all()
    made = fake.detach().requires_grad_()
    fooling_loss(made, kind).backward()
    assert (made.grad < 0).all()


def test_only_the_saturating_loss_dies_before_a_sure_discriminator():
    def slope(kind):
        score = torch.tensor([-12.0], requires_grad=True)
        fooling_loss(score, kind).backward()
        return float(score.grad)

    assert slope("non_saturating") == pytest.approx(-1, abs=1e-4)
    assert slope("saturating") == pytest.approx(-math.exp(-12), rel=1e-3)
    assert slope("least_squares") == pytest.approx(-13)


def test_confusion_keeps_the_students_gradient_alive():
    """Fakes only, nothing real looks like them: the score stops at log mu instead of falling on."""
    floors = {}
    for weight in (0.0, 0.2):
        score = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.SGD([score], lr=4.0)
        for _ in range(120):
            optimiser.zero_grad()
            confused_judging_loss(torch.full((1,), 50.0), score, weight).backward()
            optimiser.step()
        floors[weight] = score.item()
    assert floors[0.2] == pytest.approx(math.log(0.2), abs=1e-3)
    assert floors[0.0] < -4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_scores_stay_finite(kind, dtype):
    if kind == "least_squares":
        scores = torch.tensor([-1e3, 1e3], dtype=dtype)
    else:
        scores = torch.tensor([-6e4, 6e4], dtype=dtype)
    scores.requires_grad_()
    total = judging_loss(scores, scores, kind) + fooling_loss(scores, kind)
    assert total.dtype == torch.float32
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind):
    real, fake = draw(4).requires_grad_(), draw(3, seed=1).requires_grad_()
    assert gradcheck(lambda r, f: confused_judging_loss(r, f, 0.3, kind), (real, fake))
    assert gradcheck(lambda f: fooling_loss(f, kind), (fake,))


def test_wrong_arguments_are_refused():
    good = torch.zeros(3)
    with pytest.raises(ValueError, match=r"kind must be .non_saturating., .*got .hinge."):
        judging_loss(good, good, "hinge")
    with pytest.raises(ValueError, match=r"fake_scores must be.*\(3, 1\)"):
        judging_loss(good, good[:, None])
    with pytest.raises(ValueError, match=r"fake_scores.*torch.int64"):
        fooling_loss(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"real_scores.*\(0,\)"):
        judging_loss(good[:0], good)
    with pytest.raises(ValueError, match="at least 0; got -1"):
        confused_judging_loss(good, good, -1.0)
