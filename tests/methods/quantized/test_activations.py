"""Activations on few points: where modules come and go."""

import pytest
import torch
from draws import draw
from small_quantised import convnet
from torch import nn

from kdnb.methods import quantized as q


def test_rounding_by_loops():
    values = draw(30).relu()
    most, steps = float(values.max()), 7
    expected = [round(v / most * steps) / steps * most for v in values.tolist()]
    found = q.Rounded(3)(values)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=values.dtype))


def test_the_gradient_passes():
    values, weights = draw(30).relu().requires_grad_(), draw(30, seed=1)
    (gradient,) = torch.autograd.grad((q.Rounded(2)(values) * weights).sum(), values)
    torch.testing.assert_close(gradient, weights)
    assert (q.Rounded(2)(torch.zeros(3)) == 0).all()


def test_modules_follow_every_relu_and_leave_again():
    network = convnet()
    relu, before = network[2], [name for name, _ in network.named_modules()]
    with q.rounded_activations(network, lambda: q.Rounded(1)) as made:
        assert list(made) == ["2"]
        inside = network[:3].eval()(torch.randn(2, 1, 28, 28))
        assert len(inside.unique()) == 2
    assert network[2] is relu
    assert [name for name, _ in network.named_modules()] == before


def test_a_shared_relu_has_one_follower():
    shared = nn.ReLU()
    network = nn.ModuleDict({"a": nn.Sequential(nn.Linear(2, 2), shared), "b": shared})
    with q.rounded_activations(network, lambda: q.Rounded(4)) as made:
        assert len(made) == 1 and network["b"] is network["a"][1]
    assert network["b"] is shared and network["a"][1] is shared


def test_an_exception_takes_them_out_too():
    network = convnet()
    relu = network[2]
    with pytest.raises(RuntimeError), q.rounded_activations(network, lambda: q.Rounded(4)):
        raise RuntimeError
    assert network[2] is relu


def test_other_activations_stay_and_a_note_says_so(monkeypatch):
    notes = []
    monkeypatch.setattr("kdnb.methods.quantized.activations.note", notes.append)
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.Hardswish())
    with q.rounded_activations(network, lambda: q.Rounded(1)):
        assert isinstance(network[3], nn.Hardswish)
    assert len(notes) == 1 and "not after Hardswish" in notes[0]


def test_a_network_without_a_relu_is_refused():
    inside = q.rounded_activations(nn.Linear(2, 2), lambda: q.Rounded(4))
    with pytest.raises(ValueError, match="none"), inside:
        pass
    with pytest.raises(ValueError, match="bits"):
        q.Rounded(0)
