"""FFL: fused maps teach both ways."""

import draws
import pytest
import torch
from branched_networks import STEP, branched, large
from small_networks import state

from kdnb.losses import soft_targets
from kdnb.methods import online


def test_maps_of_different_sizes_are_fused():
    fusion = online.FeatureFusion([4, 6], 3)
    assert fusion.layers[0].groups == 10
    assert fusion.layers[3].out_channels == 4
    logits = fusion([draws.draw(2, 4, 8, 8).float(), draws.draw(2, 6, 4, 4).float()])
    assert logits.shape == (2, 3)
    with pytest.raises(ValueError, match="maps are 4-dimensional"):
        fusion([torch.zeros(2, 4), torch.zeros(2, 6)])


def test_fusion_teaches_both_ways_without_gradients_in_its_targets():
    """With the labels' terms taken away, students follow the fused one and it follows them."""
    branches = branched(2, at="stem")
    fusion = online.FeatureFusion([64, 64], 3)
    start, fused = state(branches), state(fusion)
    online.feature_fusion(branches, fusion, large(8), STEP, weight=0.0)
    plain, plain_fused = state(branches), state(fusion)
    branches.load_state_dict(start)
    fusion.load_state_dict(fused)
    history = online.feature_fusion(branches, fusion, large(8), STEP, weight=1.0)
    assert history[0]["to_fused"] > 0
    assert history[0]["to_students"] > 0
    # The step is the sum of the labels' step and the divergences', by hand.
    torch.manual_seed(0)
    twin = branched(2, at="stem")
    twin_fusion = online.FeatureFusion([64, 64], 3)
    twin.load_state_dict(start)
    twin_fusion.load_state_dict(fused)
    batch = next(iter(large(8)))
    said = twin(batch.images)
    z_fused = twin_fusion(said.maps)
    to_fused = soft_targets(z_fused, said.logits.mean(1).detach(), 3.0)
    to_students = sum(soft_targets(z, z_fused.detach(), 3.0) for z in said.logits.unbind(1))
    weight = twin_fusion.head.weight
    (gradient,) = torch.autograd.grad(to_fused, weight, retain_graph=True)
    moved = fusion.head.weight - plain_fused["head.weight"]
    torch.testing.assert_close(moved, -0.1 * gradient, rtol=1e-3, atol=1e-6)
    head = twin.heads[1][-1].weight
    (gradient,) = torch.autograd.grad(to_students, head)
    moved = branches.heads[1][-1].weight - plain["heads.1.head.weight"]
    torch.testing.assert_close(moved, -0.1 * gradient, rtol=1e-3, atol=1e-6)
