"""Networks with several branches: what they are and what is refused."""

import pytest
import torch
from branched_networks import QUICK, branched, example, resnets, tiny
from small_networks import batches, linear
from torch import nn

from kdnb.methods import online
from kdnb.methods.offline.distil import train


@pytest.mark.parametrize("name", ["resnet8", "wrn-10-1"])
def test_a_branch_is_the_network_it_was_made_of(name):
    networks = resnets(2, name)
    whole = [network.eval()(example()) for network in networks]
    branches = online.Branches.split(networks, "stage3", example()).eval()
    said = branches(example())
    assert said.logits.shape == (8, 2, 3)
    torch.testing.assert_close(said.logits[:, 0], whole[0])
    assert (said.logits[:, 1] - whole[1]).abs().max() > 1e-4  # whose stem is another
    torch.testing.assert_close(branches.deployed(0)(example()), whole[0])
    fresh = resnets(1, name)[0]
    fresh.load_state_dict(branches.deployed(1).state_dict())
    torch.testing.assert_close(fresh.eval()(example()), said.logits[:, 1])


def test_maps_and_features_are_those_before_pool_and_classifier():
    branches = branched(2).eval()
    said = branches(example())
    assert said.maps[1].shape == (8, 64, 2, 2)
    torch.testing.assert_close(said.maps[1].mean((2, 3)), said.features[1])
    assert said.shared.shape == (8, 32, 4, 4)
    flat = tiny()(next(iter(batches())).images)
    assert flat.maps[0] is flat.features[0]


def test_splitting_at_the_first_child_shares_nothing():
    networks = resnets(2)
    expected = [network.eval()(example()) for network in networks]
    said = online.Branches.split(networks, "stem", example()).eval()(example())
    for k in range(2):
        torch.testing.assert_close(said.logits[:, k], expected[k])


def test_networks_that_are_no_chain_are_refused():
    class Twisted(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Flatten(), nn.Linear(64, 3)

        def forward(self, images):
            return -self.second(self.first(images))

    with pytest.raises(ValueError, match="no chain of its children"):
        online.Branches.split([Twisted()], "second", example())
    with pytest.raises(ValueError, match="'stage9' is no child of this network: it has stem"):
        online.Branches.split(resnets(1), "stage9", example())
    with pytest.raises(ValueError, match="at least one network"):
        online.Branches.split([], "stage3", example())
    with pytest.raises(TypeError, match="nn.Sequential; got Linear"):
        online.Branches(nn.Sequential(), nn.Linear(2, 2))


def test_a_single_branch_learns_as_the_network_alone():
    alone, one = linear(4), linear(4)
    head = nn.Sequential(one[1])
    branches = online.Branches(nn.Sequential(one[0]), head, nn.Sequential(linear(5)[1]))
    online.rocket(branches, batches(), QUICK, hint_weight=0.0)
    train(alone, batches(), QUICK)
    torch.testing.assert_close(branches.deployed(0).head[0].weight, alone[1].weight)
