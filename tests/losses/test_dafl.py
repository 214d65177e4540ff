"""DAFL's terms: naive derivations and limits."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.losses import (
    activation,
    information_entropy,
    one_hot,
)


def softmax(row):
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def rows(logits):
    return [softmax(row) for row in logits.tolist()]


def test_one_hot_against_loops():
    logits = draw(5, 4, scale=2.0)
    expected = -sum(math.log(max(row)) for row in rows(logits)) / 5
    assert one_hot(logits).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("base", [10.0, 2.0, None])
def test_information_entropy_against_loops(base):
    logits = draw(6, 4, scale=2.0)
    mean = [sum(row[k] for row in rows(logits)) / 6 for k in range(4)]
    expected = sum(p * math.log(p) / math.log(base or math.e) for p in mean)
    assert information_entropy(logits, base).item() == pytest.approx(expected, rel=1e-10)


def test_both_entropies_agree_once_the_weight_is_converted():
    one, two = (draw(6, 4).requires_grad_() for _ in range(2))
    (5 * information_entropy(one, 10.0)).backward()
    (5 / math.log(10) * information_entropy(two, None)).backward()
    torch.testing.assert_close(one.grad, two.grad)
    assert 5 / math.log(10) == pytest.approx(2.171, abs=5e-4)


def test_the_entropy_wants_all_classes_and_is_bounded():
    balanced, single = 50 * torch.eye(4), torch.zeros(4, 4)
    single[:, 2] = 50
    assert information_entropy(balanced, None).item() == pytest.approx(-math.log(4))
    assert information_entropy(single, None).item() == pytest.approx(0, abs=1e-6)
    extreme = torch.tensor([[1e3, -1e3], [1e3, -1e3]], requires_grad=True)
    information_entropy(extreme).backward()
    assert torch.isfinite(extreme.grad).all()


def test_activation_is_the_sum_or_the_mean_over_features():
    maps = draw(3, 2, 4, 5)
    total = sum(abs(value) for value in maps.flatten().tolist())
    assert activation(maps, "paper").item() == pytest.approx(-total / 3, rel=1e-10)
    assert activation(maps).item() == pytest.approx(-total / maps.numel(), rel=1e-10)


def test_gradients_by_finite_differences():
    logits = draw(4, 3).requires_grad_()
    assert gradcheck(one_hot, (logits,))
    assert gradcheck(information_entropy, (logits,))
    assert gradcheck(activation, (draw(2, 3, 2, 2).requires_grad_(),))


def test_half_precision_is_computed_in_float32():
    logits = torch.randn(4, 3, dtype=torch.bfloat16)
    for value in (one_hot(logits), information_entropy(logits), activation(logits)):
        assert value.dtype == torch.float32


def test_errors_name_what_was_got():
    with pytest.raises(ValueError, match="must be logits of shape"):
        one_hot(torch.zeros(3))
    with pytest.raises(ValueError, match=r"base must be a finite number above 1; got 1"):
        information_entropy(torch.zeros(2, 3), base=1)
    with pytest.raises(ValueError, match='variant must be "paper" or "authors"'):
        activation(torch.zeros(2, 3), "code")
    with pytest.raises(ValueError, match="not empty"):
        activation(torch.zeros(0, 3))
