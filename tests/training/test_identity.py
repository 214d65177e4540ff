"""By what a run is known again: whatever a loss of the user's rests on is part of it."""

from functools import partial

import pytest
import torch
from torch import nn

import kdnb
from kdnb.training.identity import of_function

WEIGHT = 1.0


def helper(student, teacher):
    return (student - teacher).square().mean()


def by_global(student, teacher):
    return WEIGHT * helper(student, teacher)


class Weighted:
    """A loss that is an object."""

    def __init__(self, weight):
        self.weight, self.itself = weight, self

    def __call__(self, student, teacher):
        return self.weight * helper(student, teacher)

    def bound(self, student, teacher):
        return self(student, teacher)


def closed_over(weight):
    return lambda student, teacher: weight * helper(student, teacher)


def around(loss):
    return lambda student, teacher: loss(student, teacher)


def by_default(weight):
    def loss(student, teacher, weight=weight):
        return weight * helper(student, teacher)

    return loss


def by_keyword(weight):
    def loss(student, teacher, *, weight=weight):
        return weight * helper(student, teacher)

    return loss


def through_a_layer(weight):
    layer = nn.Linear(3, 3)
    nn.init.constant_(layer.weight, weight)
    nn.init.zeros_(layer.bias)
    return lambda student, teacher: helper(layer(student), teacher)


LOSSES = {
    "object": Weighted,
    "bound method": lambda weight: Weighted(weight).bound,
    "partial": lambda weight: partial(lambda s, t, weight: weight * helper(s, t), weight=weight),
    "partial of an object": lambda weight: partial(lambda s, t, o: o(s, t), o=Weighted(weight)),
    "closure": closed_over,
    "closure over an object": lambda weight: around(Weighted(weight)),
    "closure over a tensor": lambda weight: closed_over(torch.tensor(weight)),
    "closure over a list": lambda weight: closed_over([weight]),
    "default": by_default,
    "keyword": by_keyword,
    "layer": through_a_layer,
}


@pytest.mark.parametrize("kind", LOSSES)
def test_two_losses_are_told_apart_by_all_they_rest_on(kind):
    make = LOSSES[kind]
    assert of_function(make(1.0)) == of_function(make(1.0))
    assert of_function(make(1.0)) != of_function(make(2.0))


def test_globals_and_functions_of_its_own_module_count(monkeypatch):
    first = of_function(by_global)
    with monkeypatch.context() as changed:
        changed.setitem(globals(), "WEIGHT", 2.0)
        assert of_function(by_global) != first
    with monkeypatch.context() as changed:
        changed.setitem(globals(), "helper", closed_over(2.0))
        assert of_function(by_global) != first
    assert of_function(by_global) == first


def test_every_callable_has_one():
    for function in (len, torch.dist, nn.functional.mse_loss, Weighted, nn.MSELoss()):
        assert of_function(function) == of_function(function)


@pytest.mark.parametrize("kind", ["object", "bound method", "default"])
def test_a_finished_run_is_not_another_losss_result(kind, tmp_path):
    """The second call trained nothing and returned the first one's history."""
    torch.manual_seed(0)
    data, teacher = (torch.randn(8, 4), torch.arange(8) % 3), nn.Linear(4, 3)

    def run(weight):
        torch.manual_seed(1)
        loss, file = LOSSES[kind](weight), tmp_path / "c"
        return kdnb.distil(nn.Linear(4, 3), teacher, data, method=loss, epochs=1, checkpoint=file)

    first = run(1.0)
    assert run(1.0).history.equals(first.history)
    with pytest.raises(ValueError, match="belongs to another run .*method differ"):
        run(2.0)
