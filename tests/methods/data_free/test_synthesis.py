"""What all syntheses share: noise by seed and epoch, an update that rests."""

import pytest
import torch
from torch import nn

from kdnb.methods.data_free import (
    NoiseBatches,
)
from kdnb.methods.data_free.synthesis import resting


def test_an_update_that_rests_moves_nothing():
    weight = nn.Parameter(torch.ones(2))
    optimiser = torch.optim.Adam([weight], lr=0.1)
    weight.square().sum().backward()
    optimiser.step()
    before, memory = weight.clone(), optimiser.state[weight]["exp_avg"].clone()
    optimiser.zero_grad(set_to_none=True)
    loss = resting(torch.tensor(3.0))
    loss.backward()
    optimiser.step()
    assert loss.item() == 3
    assert torch.equal(weight, before)
    assert torch.equal(optimiser.state[weight]["exp_avg"], memory)


def test_noise_is_a_function_of_seed_and_epoch():
    batches = NoiseBatches(2, 3, (4,), seed=1)
    first = [batch.images for batch in batches.epoch(0)]
    assert len(batches) == len(first) == 2
    assert batches.examples == 6
    assert torch.equal(first[1], [b.images for b in batches.epoch(0)][1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], next(batches.epoch(1)).images)
    with pytest.raises(ValueError, match="must be at least 1; got 0, 3"):
        NoiseBatches(0, 3, (4,))
