"""The small critic, and what the section offers."""

import pytest
import torch
from torch import nn

from kdnb.methods import adversarial
from kdnb.methods.adversarial import Critic


def test_the_critic_averages_maps_and_gives_scores():
    torch.manual_seed(0)
    critic = Critic(4, widths=(5,))
    maps = torch.randn(3, 4, 2, 3)
    torch.testing.assert_close(critic(maps), critic(maps.mean((2, 3))))
    assert critic(maps).shape == (3,)
    assert sum(isinstance(part, nn.Linear) for part in critic.modules()) == 2
    assert Critic(4, widths=())(torch.zeros(2, 4)).shape == (2,)
    with pytest.raises(ValueError, match=r"vectors of 4 numbers.*\(3, 5\)"):
        critic(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="outputs must be a whole number above 0"):
        Critic(4, 0)


def test_every_public_name_is_there():
    for name in adversarial.__all__:
        assert getattr(adversarial, name).__doc__
