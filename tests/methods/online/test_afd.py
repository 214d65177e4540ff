"""AFD: adversaries of feature maps, every step by hand."""

import pytest
import torch
from cohorts import STEP
from small_networks import assert_same, batches, state
from torch import nn

from kdnb.methods import online


def convolutional(seed, channels):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, channels, 3), nn.BatchNorm2d(channels), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3),
    )  # fmt: skip


def cohort(count=2):
    widths = [4, 6, 5][:count]
    networks = {f"n{i}": convolutional(i, width) for i, width in enumerate(widths)}
    following = widths[1:] + widths[:1]
    torch.manual_seed(9)
    transfers = {
        name: online.Transfer(width, goal)
        for name, width, goal in zip(networks, widths, following, strict=True)
    }
    critics = {
        name: online.Discriminator(goal, 8) for name, goal in zip(networks, following, strict=True)
    }
    return networks, transfers, critics


def afd(parts, data, recipe=STEP, adversarial=STEP, **options):
    return online.adversarial_maps(
        *parts, data, recipe, maps="2", adversarial_recipe=adversarial, **options
    )


def test_the_adversaries_losses_by_hand():
    own, other = torch.tensor([0.2, 0.6]), torch.tensor([0.9, 0.5])
    assert float(online.map_fooling_loss(own)) == pytest.approx((0.64 + 0.16) / 2)
    expected = (0.01 + 0.25) / 2 + (0.04 + 0.36) / 2
    assert float(online.map_judging_loss(other, own)) == pytest.approx(expected)
    assert float(online.map_judging_loss(torch.ones(3), torch.zeros(3))) == 0


@pytest.mark.parametrize("count", [2, 3])
def test_afd_moves_networks_transfers_and_critics(count):
    parts = cohort(count)
    before = [[state(part) for part in group.values()] for group in parts]
    history = afd(parts, batches(count=8))
    for group, old in zip(parts, before, strict=True):
        for part, was in zip(group.values(), old, strict=True):
            assert any(not torch.equal(v, was[k]) for k, v in state(part).items())
    terms = ("hard", "soft", "fooling", "judging")
    assert {f"n{i}.{term}" for i in range(count) for term in terms} <= set(history[0])


def test_only_the_critics_step_is_a_critics_and_the_classifier_fools_nobody():
    """Against two runs that differ in the adversary's rate alone: what moved came from it."""
    still = STEP.model_copy(update={"lr": 1e-12})
    ends = {}
    for name, adversarial in (("still", still), ("moving", STEP)):
        parts = cohort()
        afd(parts, batches(count=8), adversarial=adversarial)
        ends[name] = parts
    quiet, loud = (state(ends[name][0]["n0"]) for name in ("still", "moving"))
    assert (quiet["0.weight"] - loud["0.weight"]).abs().max() > 1e-5  # the feature extractor
    assert torch.equal(quiet["5.weight"], loud["5.weight"])  # not the classifier
    assert_same(
        {k: v for k, v in quiet.items() if "running" in k or "tracked" in k},
        {k: v for k, v in loud.items() if "running" in k or "tracked" in k},
    )
    assert int(loud["1.num_batches_tracked"]) == 1


def test_the_critics_step_by_hand():
    """It is that of the losses on the maps between the second and the third update."""
    frozen = STEP.model_copy(update={"lr": 1e-12})
    networks, transfers, critics = cohort()
    afd((networks, transfers, critics), batches(count=8), recipe=frozen)
    n, t, c = cohort()
    batch = next(iter(batches(count=8)))
    maps = {name: net.train()[:3](batch.images) for name, net in n.items()}
    critic = c["n0"]
    own = t["n0"].train()(maps["n0"]).detach()
    loss = (1 - critic(maps["n1"].detach())).square().mean() + critic(own).square().mean()
    (gradient,) = torch.autograd.grad(loss, critic.head.weight)
    moved = critics["n0"].head.weight - critic.head.weight
    torch.testing.assert_close(moved, -0.1 * gradient, rtol=1e-3, atol=1e-7)


def test_afd_refuses_names_that_do_not_agree():
    networks, transfers, critics = cohort()
    with pytest.raises(ValueError, match="a transfer and a critic of its name"):
        afd((networks, dict(list(transfers.items())[:1]), critics), batches())
