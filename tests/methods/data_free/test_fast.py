"""Fast synthesis: adapted copies, and the student in the game."""

import data_free_workshop as workshop
import pytest
import torch
from normalised_teacher import small, teacher

from kdnb.methods.data_free import (
    NoiseBatches,
    batch_norm_inputs,
    fast_synthesis,
    statistics_term,
)


@pytest.mark.parametrize("meta", ["fomaml", "reptile"])
def test_fast_synthesis_follows_its_adapted_copies(meta):
    """The generator's direction is rebuilt by adapting a copy with a plain Adam."""
    network, generator, twin = teacher(), small(), small().train()
    images = fast_synthesis(network, generator, classes=3, batches=1, batch_size=6, inner_steps=2,
                            lr=1e-3, noise_lr=1e-2, meta=meta, weights={"statistics": 1.0})  # fmt: skip
    assert images.shape == (6, 1, 8, 8)
    fast = small().train()
    noise = next(iter(NoiseBatches(1, 6, (5,)))).images.clone().requires_grad_()
    optimiser = torch.optim.Adam([{"params": fast.parameters()}, {"params": [noise], "lr": 1e-2}],
                                 lr=1e-3)  # fmt: skip
    total = [torch.zeros_like(p) for p in fast.parameters()]
    for _ in range(2):
        with batch_norm_inputs(network) as inputs:
            network(fast(noise))
            loss = statistics_term(inputs)
        optimiser.zero_grad()
        loss.backward()
        for sum_, p in zip(total, fast.parameters(), strict=True):
            sum_ += p.grad
        optimiser.step()
    for moved, start, end, slope in zip(
        generator.parameters(), twin.parameters(), fast.parameters(), total, strict=True
    ):
        direction = slope if meta == "fomaml" else start - end
        clear = slope.abs() > 1e-4  # a bias in front of a normalisation has only rounding errors
        step = (moved - start)[clear]  # Adam's first has the size of its rate, 2 * lr
        torch.testing.assert_close(step, -2e-3 * direction[clear].sign(), rtol=0.05, atol=1e-5)


def test_fast_synthesis_uses_the_student_once_there_is_one():
    options = {"classes": 3, "batches": 2, "batch_size": 4, "inner_steps": 1}
    images = fast_synthesis(teacher(), small(), student=workshop.small_net(2), **options)
    assert images.shape == (8, 1, 8, 8)
    with pytest.raises(ValueError, match="meta must be one of fomaml, reptile"):
        fast_synthesis(teacher(), small(), meta="maml", **options)
    with pytest.raises(ValueError, match="there is no term 'style'"):
        fast_synthesis(teacher(), small(), weights={"style": 1.0}, **options)
