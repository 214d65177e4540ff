"""The conditional discriminator of logits: every step by hand, and what it reads."""

import copy

import torch
from feature_critics import (
    QUICK,
    STEP,
    assert_same,
    assert_step,
    batches,
    critic_of,
    network,
    pictures,
    whole,
)
from torch.nn import functional as F

from kdnb.data import Batches
from kdnb.losses import fooling_loss, judging_loss
from kdnb.methods.adversarial import (
    ConditionalCritic,
    conditional_adversarial,
)


def test_the_conditional_steps_by_hand():
    student, teacher, critic = network(0), network(1, 9), critic_of(3, ConditionalCritic)
    s, t, c = (copy.deepcopy(part) for part in (student, teacher, critic))
    history = conditional_adversarial(
        student, teacher, critic, batches(40), STEP, critic_recipe=STEP,
        hard_weight=0.3, distance_weight=0.2, adversarial_weight=0.7,
    )  # fmt: skip
    images, labels, *_ = whole()
    z, v = s(images), t(images).detach()
    judged = c(z)
    loss = 0.3 * F.cross_entropy(z, labels) + 0.2 * (z - v).abs().sum(1).mean()
    loss = loss + 0.7 * (fooling_loss(judged[:, 0]) + F.cross_entropy(judged[:, 1:], labels))
    assert_step(student, s, loss)
    real, fake = c(v), c(z.detach())  # the critic judges the forward that the student learnt from
    loss = judging_loss(real[:, 0], fake[:, 0])
    loss = loss + F.cross_entropy(real[:, 1:], labels) + F.cross_entropy(fake[:, 1:], labels)
    assert_step(critic, c, loss)
    assert_same(teacher, t.state_dict())
    names = {"hard", "distance", "fooling", "class", "judging", "reading"}
    assert names <= set(history[0])


def test_the_conditional_critic_reads_the_class():
    """Logits that say the class let it be read; the student's own answers follow."""
    student, teacher = network(0), network(1)
    plain = Batches(pictures(), 40, mean=(0.5,), sd=(0.3,), shuffle=False)
    with torch.no_grad():
        labels = teacher(next(iter(plain)).images).argmax(1)
    critic = critic_of(3, ConditionalCritic)
    recipe = QUICK.model_copy(update={"epochs": 12, "optimiser": "adam", "lr": 0.02})
    history = conditional_adversarial(
        student, teacher, critic, batches(labels=labels), recipe, critic_recipe=recipe
    )
    assert history[-1]["reading"] < 0.6 * history[0]["reading"]
    assert history[-1]["distance"] < 0.6 * history[0]["distance"]
