"""The recipe: its schedules and optimisers, and what it refuses."""

import math

import pytest
import torch

from kdnb.training import Recipe


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one_cycle"])
def test_schedules(schedule):
    recipe = Recipe(epochs=1, lr=0.4, schedule=schedule)
    rates = [recipe.learning_rate(step, 100) for step in range(100)]
    assert max(rates) == pytest.approx(0.4, rel=0.01)
    expected = {
        "constant": (0.4, 0.4, 0.4),
        "step": (0.4, 0.04, 0.004),
        "cosine": (0.4, 0.2, 0.4 * 0.0002467),
        "one_cycle": (0.016, 0.4 * 0.8117, 0.4 * 0.0005035),
    }[schedule]
    assert [rates[0], rates[50], rates[99]] == pytest.approx(expected, rel=1e-3)


def test_rmsprop_has_the_memory_and_the_floor_it_is_given():
    """One step from rest: v = (1 - smoothing) g², and the weight moves by lr g / (sqrt v + e)."""
    recipe = Recipe(epochs=1, optimiser="rmsprop", lr=0.1, smoothing=0.9, epsilon=0.5)
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    optimiser = recipe.optimiser_for([weight])
    weight.grad = torch.tensor([3.0])
    optimiser.step()
    assert weight.item() == pytest.approx(1 - 0.1 * 3 / (math.sqrt(0.1 * 9) + 0.5), rel=1e-6)
    adam = Recipe(epochs=1, optimiser="adam", lr=0.1, epsilon=0.25).optimiser_for([weight])
    assert adam.defaults["eps"] == 0.25


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_all_tensors_at_once_take_the_steps_of_one_after_another_bit_for_bit(name, decay):
    recipe = Recipe(epochs=1, optimiser=name, lr=0.1, weight_decay=decay)

    def steps(foreach):
        weights = [torch.nn.Parameter(torch.linspace(-1, 1, n**2).view(n, n)) for n in (2, 5, 9)]
        optimiser = recipe.optimiser_for(weights)
        assert optimiser.param_groups[0]["foreach"] is True
        optimiser.param_groups[0]["foreach"] = foreach
        for k in range(4):
            for weight in weights:
                weight.grad = (weight.detach() + 0.1 * k).sin().T.contiguous().T
            optimiser.step()
        return weights

    for one, other in zip(steps(True), steps(False), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_the_fused_optimisers_of_a_gpu_take_the_same_steps(name, monkeypatch):
    recipe = Recipe(epochs=1, optimiser=name, lr=0.1, weight_decay=0.01)

    def steps():
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 5))
        optimiser = recipe.optimiser_for([weight])
        for k in range(3):
            weight.grad = torch.linspace(1, 2, 5) * (k + 1)
            optimiser.step()
        return optimiser.defaults.get("fused"), weight.detach()

    plain, expected = steps()
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)  # fused kernels exist for CPUs as well
    fused, found = steps()
    assert not plain and bool(fused) == (name != "rmsprop")
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("field", ["epochs", "batch_size", "crop_padding"])
def test_a_recipe_refuses_counts_beyond_the_memory(field):
    with pytest.raises(ValueError, match=field):
        Recipe(**{"epochs": 1, "lr": 0.1, field: 10**9})


def test_recipe_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="learning_rate"):
        Recipe(epochs=1, lr=0.1, learning_rate=0.2)
    with pytest.raises(ValueError, match="greater than 0"):
        Recipe(epochs=1, lr=0)
