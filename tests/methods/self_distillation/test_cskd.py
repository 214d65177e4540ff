"""CS-KD: partners of one class, and the training."""

import torch
from other_views import QUICK, batches, small

from kdnb.methods import self_distillation as own


def test_partners_are_others_of_the_same_class_all_alike():
    labels = torch.tensor([0, 1, 0, 0, 1, 2, 0])
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(7, 7)
    for _ in range(3000):
        partners = own.class_partners(labels, generator)
        counts[torch.arange(7), partners] += 1
    assert (labels[:, None] == labels)[counts > 0].all()
    assert counts[5, 5] == 3000  # alone in its class
    others = counts.clone()
    others[5] = 0
    assert others.diagonal().sum() == 0
    assert counts[0, [2, 3, 6]].min() > 900


def test_cskd_shows_the_network_pairs_of_one_class():
    shown = []
    network = small()
    network.register_forward_pre_hook(
        lambda _, x: shown.append(
            ((x[0][:, 0, 0, 0] * 255).round().long(), torch.is_grad_enabled())
        )
    )
    history = own.class_wise_distil(network, batches(), QUICK)
    assert len(shown) == 2 * 2 * 5
    pairs = set()
    for (images, learns), (others, taught) in zip(shown[::2], shown[1::2], strict=True):
        assert learns
        assert not taught
        assert torch.equal(images % 3, others % 3)
        assert (images != others).all()
        pairs |= set(zip(images.tolist(), others.tolist(), strict=True))
    assert len(pairs) > 60  # of 80: another partner in the next epoch
    assert {"hard", "soft"} <= set(history[0])


def test_cskd_makes_answers_within_a_class_alike():
    plan = QUICK.model_copy(update={"epochs": 15})
    spread = []
    for weight in (0.0, 5.0):
        network = small()
        own.class_wise_distil(network, batches(), plan, soft_weight=weight)
        images = torch.cat([b.images for b in batches(shuffle=False)])
        q = network(images).detach().softmax(1)
        spread.append(sum(float(q[c::3].var(0).sum()) for c in range(3)))
    assert spread[1] < 0.7 * spread[0]
