"""Rocket launching: whom the hint reaches."""

import pytest
import torch
from branched_networks import QUICK, STEP, example, large, resnets, tiny
from small_networks import assert_same, batches, state

from kdnb import nets
from kdnb.methods import online


def rockets(hint_weight, gradient_block=True):
    branches = tiny(2)
    data = batches(count=8)
    online.rocket(branches, data, STEP, hint_weight=hint_weight, gradient_block=gradient_block)
    return branches


def test_the_booster_gets_no_gradient_from_the_hint():
    without, hinted, open_ = rockets(0.0), rockets(1.0), rockets(1.0, gradient_block=False)
    booster = [state(branches.heads[1]) for branches in (without, hinted, open_)]
    assert_same(booster[0], booster[1])
    assert (booster[0]["2.weight"] - booster[2]["2.weight"]).abs().max() > 1e-4
    for part in ("heads.0.2.weight", "stem.1.weight"):  # the light head and the shared stem do
        assert (state(without)[part] - state(hinted)[part]).abs().max() > 1e-4


def test_the_hint_reaches_the_stem_through_the_light_head_alone():
    batch = next(iter(batches(count=8)))
    branches = tiny(2)
    light, booster = branches(batch.images).logits.unbind(1)
    hint = (light - booster.detach()).square().sum() / 8
    (gradient,) = torch.autograd.grad(hint, branches.stem[1].weight)
    moved = rockets(1.0).stem[1].weight - rockets(0.0).stem[1].weight
    torch.testing.assert_close(moved, -0.1 * gradient, rtol=1e-3, atol=1e-6)


def test_rocket_of_unequal_heads():
    deep = nets.build("resnet14", num_classes=3, image_size=8)
    branches = online.Branches.split([resnets(1)[0], deep], "stage3", example())
    history = online.rocket(branches, large(), QUICK)
    assert history[0]["hint"] > 0
    count = [sum(p.numel() for p in branches.deployed(k).parameters()) for k in (0, 1)]
    assert count[0] < count[1]
    with pytest.raises(ValueError, match="a light head and a booster; got 3"):
        online.rocket(tiny(3), batches(), QUICK)
