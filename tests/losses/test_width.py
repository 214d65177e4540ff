"""The price of channels: loops, what scales it, and that it drives gates to 0."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.losses import gate_penalty


def test_against_loops():
    gates, costs = [draw(4), draw(2, seed=1), draw(5, seed=2)], (1.0, 7.0, 0.5)
    paid = all_of_it = 0.0
    for layer, cost in zip(gates, costs, strict=True):
        for gate in layer.tolist():
            paid += cost * abs(gate)
            all_of_it += cost
    assert gate_penalty(gates, costs).item() == pytest.approx(paid / all_of_it)


def test_gradients():
    gates = [draw(4).requires_grad_(), draw(2, seed=1).requires_grad_()]
    assert gradcheck(lambda *given: gate_penalty(given, (1.0, 3.0)), gates)


def test_open_gates_cost_1_whatever_the_costs_and_their_unit():
    gates = [torch.ones(3), -torch.ones(8)]
    for costs in ((1.0, 1.0), (5.0, 0.1), (1e6, 1e6)):
        assert gate_penalty(gates, costs).item() == pytest.approx(1)
    some = [draw(3), draw(8, seed=1)]
    torch.testing.assert_close(gate_penalty(some, (2.0, 3.0)), gate_penalty(some, (20.0, 30.0)))


def test_a_channel_that_costs_more_is_pushed_harder_and_a_closed_one_stays():
    gates = [torch.tensor([0.5, 0.0], requires_grad=True), torch.tensor([2.0], requires_grad=True)]
    cheap, dear = torch.autograd.grad(gate_penalty(gates, (1.0, 4.0)), gates)
    torch.testing.assert_close(cheap, torch.tensor([1 / 6, 0.0]))
    torch.testing.assert_close(dear, torch.tensor([4 / 6]))


def test_extreme_gates():
    gates = [torch.tensor([1e4, -1e-30], dtype=torch.float16), torch.zeros(2, dtype=torch.float16)]
    value = gate_penalty(gates, (1e6, 1.0))
    assert value.dtype == torch.float32 and value.isfinite()
    assert gate_penalty([torch.tensor([math.nan])], (1.0,)).isnan()


@pytest.mark.parametrize(
    ("gates", "costs", "words"),
    [
        ([torch.ones(2)], (1.0, 2.0), "gates and costs must be lists of one length"),
        ([], (), "at least 1; got 0 and 0"),
        ([torch.ones(2)], (0.0,), "costs must be a finite number above 0; got 0"),
        ([torch.ones(2, 2)], (1.0,), r"gates must be \(channels,\)"),
        (torch.ones(2), (1.0,), "gates must be a list; got a tensor"),
    ],
)  # fmt: skip
def test_wrong_arguments(gates, costs, words):
    with pytest.raises(ValueError, match=words):
        gate_penalty(gates, costs)
