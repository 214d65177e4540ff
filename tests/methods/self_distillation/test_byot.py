"""BYOT: the terms of the exits."""

import draws
import pytest
import torch
from exit_networks import QUICK, batches, exits, pictures
from torch.autograd import gradcheck
from torch.nn import functional as F

from kdnb.data import Batches
from kdnb.methods import self_distillation as own
from kdnb.nets import features


def test_exit_terms_by_hand_and_the_deepest_is_not_taught():
    logits, labels = draws.draw(6, 3, 4).requires_grad_(), torch.arange(6) % 4
    terms = own.exit_terms(logits, labels, temperature=2.0, soft_weight=0.3, hard_weight=0.7)
    cross = [F.cross_entropy(logits[:, e], labels) for e in range(3)]
    assert terms["hard"].item() == pytest.approx((0.7 * (cross[0] + cross[1]) + cross[2]).item())
    p = (logits[:, 2] / 2).softmax(1)
    soft = sum(
        (p * (p.log() - (logits[:, e] / 2).log_softmax(1))).sum(1).mean() * 4 for e in (0, 1)
    )
    assert terms["soft"].item() == pytest.approx(0.3 * soft.item())
    (gradient,) = torch.autograd.grad(terms["soft"], logits)
    assert gradient[:, 2].abs().max() == 0
    assert gradient[:, :2].abs().min() > 0
    teacher = draws.draw(6, 1, 4, seed=9)

    def loss(early):
        full = torch.cat([early, teacher], 1)
        return sum(
            own.exit_terms(full, labels, temperature=2.0, soft_weight=1.0, hard_weight=1.0).values()
        )

    assert gradcheck(loss, (draws.draw(6, 2, 4, seed=3).requires_grad_(),))
    with pytest.raises(ValueError, match="only where there are two"):
        own.exit_terms(logits[:, :1], labels, temperature=1.0, soft_weight=1.0, hard_weight=1.0)


def test_byot_trains_every_exit_and_its_hint_pulls_features_together():
    def apart(network):
        images = next(iter(batches(shuffle=False))).images
        with torch.no_grad(), features(network.eval(), network.feature_paths) as seen:
            network(images)
        *early, last = (seen[path] for path in network.feature_paths)
        return [float((one - last).square().mean() / last.square().mean()) for one in early]

    plan = QUICK.model_copy(update={"epochs": 6})
    with_hint, without = exits(), exits()
    history = own.be_your_own_teacher(with_hint, batches(), plan, hint_weight=1e-3)
    assert {"hard", "soft", "hint"} <= set(history[0])
    assert history[-1]["hard"] < history[0]["hard"]
    assert "hint" not in own.be_your_own_teacher(without, batches(), plan, hint_weight=0.0)[0]
    assert sum(apart(with_hint)) < sum(apart(without))
    start = exits()
    for one, two in zip(start.exits.parameters(), with_hint.exits.parameters(), strict=True):
        assert not torch.equal(one, two)


def test_byots_hint_does_not_move_the_deepest_features():
    """One step with and without the hint: stage3 moves alike, the shared stage1 does not."""
    one_step = QUICK.model_copy(update={"epochs": 1, "batch_size": 24})
    whole = Batches(pictures(), 24, mean=(0.5,), sd=(0.3,))
    first, second = exits(), exits()
    for model, weight in ((first, 1.0), (second, 0.0)):
        own.be_your_own_teacher(
            model, whole, one_step, soft_weight=0.0, hard_weight=0.0, hint_weight=weight
        )
    pairs = zip(first.network.stage3.parameters(), second.network.stage3.parameters(), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    one, two = first.network.stage1[0].conv1, second.network.stage1[0].conv1
    assert not torch.equal(one.weight, two.weight)
