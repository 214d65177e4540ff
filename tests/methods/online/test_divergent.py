"""ACNs: divergent examples, and what is learnt from them."""

import draws
import pytest
import torch
from cohorts import QUICK
from small_networks import batches, linear, small, state

from kdnb.methods import online
from kdnb.training import Recipe


def test_divergent_examples_stay_near():
    generator = online.DivergentExamples(1, reach=0.2)
    images = draws.draw(5, 1, 6, 6, scale=3.0).float()
    made = generator(images)
    assert 0 < (made - images).abs().max() <= 0.2 + 1e-6
    with pytest.raises(ValueError, match="reach must be above 0"):
        online.DivergentExamples(1, reach=0.0)


def test_the_generator_drives_the_classifiers_apart():
    """Classifiers whose rate is next to 0 disagree more and more on what is generated."""
    torch.manual_seed(0)
    generator, critic = online.DivergentExamples(1, reach=1.0), online.Discriminator(1, 4)
    networks = {"a": linear(0), "b": linear(1)}
    before = state(networks["a"])
    history = online.adversarial_codistillation(
        networks, generator, critic, batches(),
        Recipe(epochs=6, batch_size=8, lr=1e-12, momentum=0.0, precision="32"),
        generator_recipe=Recipe(epochs=6, batch_size=8, lr=0.01, optimiser="adam", precision="32"),
        realism_weight=0.0,
    )  # fmt: skip
    assert history[-1]["divergence"] < history[0]["divergence"] < 0
    torch.testing.assert_close(state(networks["a"])["1.weight"], before["1.weight"])


def test_classifiers_learn_from_real_and_generated_images():
    generator, critic = online.DivergentExamples(1), online.Discriminator(1, 4)
    networks = {"a": small(0), "b": small(1), "c": small(2, hidden=5)}
    history = online.adversarial_codistillation(
        networks, generator, critic, batches(), QUICK, generator_recipe=QUICK
    )
    assert {"divergence", "realism", "critic", "a.hard", "c.soft"} <= set(history[0])
    assert int(networks["a"][2].num_batches_tracked) == 10  # once a step
