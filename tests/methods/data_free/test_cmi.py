"""CMI: memory, views, features, a batch unlike the last."""

import pytest
import torch
from normalised_teacher import LABELS, small, teacher

from kdnb.methods.data_free import (
    FeatureMemory,
    Head,
    batch_norm_inputs,
    contrastive_inversion,
    feature_count,
    instance_features,
    random_view,
)


def test_the_memory_keeps_the_last_and_draws_pairs():
    memory = FeatureMemory(3, 2)
    assert len(memory) == len(memory.draw(5)[0]) == 0
    rows = torch.arange(8.0).view(4, 2)
    memory.add(rows[:2], rows[:2] + 100)
    memory.add(rows[2:], rows[2:] + 100)
    local, whole = memory.draw(5)
    assert len(memory) == 3
    assert sorted(local.tolist()) == rows[1:].tolist()
    assert torch.equal(local + 100, whole)
    with pytest.raises(ValueError, match="at least 1; got 0 and 2"):
        FeatureMemory(0, 2)


def test_views_are_parts_of_the_image_with_a_way_back():
    torch.manual_seed(0)
    images = torch.randn(6, 1, 8, 8, requires_grad=True)
    same = random_view(images)
    for view, image in zip(same, images, strict=True):
        candidates = torch.stack([image, image.flip(-1)])
        assert (candidates - view).abs().amax((1, 2, 3)).min() < 1e-4
    constant = random_view(torch.ones(4, 1, 8, 8), scale=(0.25, 0.9))
    torch.testing.assert_close(constant[..., 2:-2, 2:-2], torch.ones(4, 1, 4, 4))
    moved = random_view(torch.ones(4, 1, 8, 8), shift=0.25)
    assert (moved == 0).any()
    random_view(images, scale=(0.25, 1.0)).sum().backward()
    assert images.grad.abs().sum() > 0


def test_features_are_the_means_of_what_enters_each_normalisation():
    network = teacher()
    images = torch.randn(5, 1, 8, 8)
    with batch_norm_inputs(network) as inputs:
        network(images)
        found = instance_features(inputs)
    torch.testing.assert_close(found, network[0](images).mean((2, 3)))
    assert feature_count(network) == 4


def test_cmi_makes_a_batch_and_remembers_it():
    network, generator = teacher(), small()
    features = feature_count(network)
    torch.manual_seed(0)
    memory, head = FeatureMemory(100, features), Head(features, 8)
    before = [p.clone() for p in head.parameters()]
    made = [
        contrastive_inversion(
            network, generator, LABELS, memory, head, iterations=8, lr=0.01, seed=seed
        )
        for seed in (0, 1)
    ]
    assert len(memory) == 24
    assert made[0].shape == (12, 1, 8, 8)
    assert not torch.equal(*made)
    assert any(not torch.equal(a, b) for a, b in zip(before, head.parameters(), strict=True))
    with pytest.raises(ValueError, match="the adversarial term needs a student"):
        contrastive_inversion(network, generator, LABELS, memory, head, weights={"adversarial": 1})


@pytest.mark.parametrize("anew", [False, True])
def test_the_heads_adam_goes_on_and_the_generators_begins_anew(anew, monkeypatch):
    """One optimiser of the head for all batches; the other has a first momentum of 0.5."""
    made = []

    class Recorded(torch.optim.Adam):
        def __init__(self, parameters, **options):
            super().__init__(parameters, **options)
            made.append(self)

    monkeypatch.setattr(torch.optim, "Adam", Recorded)
    network, head, memory = teacher(), Head(4, 8), FeatureMemory(100, 4)
    for seed in range(2):
        contrastive_inversion(network, small(), LABELS, memory, head, iterations=3, lr=0.01,
                              head_anew=anew, seed=seed)  # fmt: skip
    betas = [adam.param_groups[0]["betas"][0] for adam in made]
    assert betas == ([0.9, 0.5, 0.9, 0.5] if anew else [0.9, 0.5, 0.5])
    steps = {int(state["step"]) for state in head.adam(0.01).state.values()}
    assert steps == {3 if anew else 6}


def test_the_contrast_is_what_makes_a_batch_diverse():
    def spread(weight):
        torch.manual_seed(0)
        network, head = teacher(), Head(4, 8)
        images = contrastive_inversion(
            network, small(), torch.zeros(12, dtype=torch.int64), FeatureMemory(10, 4), head,
            weights={"class": 1.0, "contrast": weight}, iterations=60, lr=0.01,
        )  # fmt: skip
        with torch.no_grad():
            means = network[0](images).mean((2, 3))
        return float(means.var(0).sum() / means.square().sum(1).mean())

    assert spread(3.0) > 1.2 * spread(0.0)
