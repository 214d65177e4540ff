"""Discriminators of features: every step by hand, and whom it leaves alone."""

import copy

import pytest
import torch
from feature_critics import (
    QUICK,
    STEP,
    assert_same,
    assert_step,
    batches,
    critic_of,
    network,
    whole,
)
from torch import nn
from torch.nn import functional as F

from kdnb import losses
from kdnb.losses import fooling_loss, judging_loss
from kdnb.methods.adversarial import (
    Critic,
    adversarial_compression,
    adversarial_features,
)

PATHS = {"hidden": ("2", "2")}


def features_of(net, images):
    return net[:3](images)


@pytest.mark.parametrize("kind", ["non_saturating", "least_squares"])
def test_the_feature_steps_by_hand(kind):
    student, teacher, critic = network(0), network(1, 9), critic_of(9)
    torch.manual_seed(3)
    transfer = nn.Linear(5, 9)
    s, t, c, m = (copy.deepcopy(part) for part in (student, teacher, critic, transfer))
    adversarial_features(
        student, teacher, {"hidden": critic}, batches(40), STEP,
        paths=PATHS, critic_recipe=STEP, transfers={"hidden": transfer},
        loss=lambda z, v: losses.soft_targets(z, v, 2.0),
        soft_weight=0.5, hard_weight=0.4, hint_weight=0.3, adversarial_weight=0.2, kind=kind,
    )  # fmt: skip
    images, labels, *_ = whole()
    z, v = s(images), t(images).detach()
    own, other = m(features_of(s, images)), features_of(t, images).detach()
    loss = 0.5 * losses.soft_targets(z, v, 2.0) + 0.4 * F.cross_entropy(z, labels)
    loss = loss + 0.3 * (own - other).square().mean() + 0.2 * fooling_loss(c(own), kind)
    both = nn.ModuleList([s, m])
    assert_step(nn.ModuleList([student, transfer]), both, loss)
    assert_step(critic, c, judging_loss(c(other), c(own.detach()), kind))
    assert_same(teacher, t.state_dict())


def test_the_adversarial_term_leaves_the_classifier_alone():
    """Equation 8: the discriminator sees the features, not the head that stands on them."""
    student = network(0)
    before = copy.deepcopy(student)
    history = adversarial_features(
        student, network(1), {"hidden": critic_of(5)}, batches(), QUICK,
        paths=PATHS, critic_recipe=QUICK, hard_weight=0.0,
    )  # fmt: skip
    assert set(history[0]) == {"epoch", "lr", "seconds", "fooling", "judging"}
    assert torch.equal(student[3].weight, before[3].weight)
    assert not torch.equal(student[1].weight, before[1].weight)


def test_features_come_to_look_like_the_teachers():
    """The student's features start elsewhere; a linear discriminator alone brings their mean home."""
    teacher, student = network(1), network(1)
    with torch.no_grad():
        student[1].bias += 1.0
    images = whole().images

    def apart():
        with torch.no_grad():
            return float(
                (features_of(student, images) - features_of(teacher, images)).mean(0).norm()
            )

    before = apart()
    torch.manual_seed(0)
    recipe = QUICK.model_copy(update={"epochs": 20, "momentum": 0.0, "lr": 0.1})
    adversarial_features(
        student, teacher, {"hidden": Critic(5, widths=())}, batches(), recipe,
        paths=PATHS, critic_recipe=recipe, hard_weight=0.0,
    )  # fmt: skip
    assert apart() < 0.5 * before


def test_compression_reads_no_label():
    ends = []
    for labels in (torch.arange(40) % 3, torch.full((40,), 2)):
        student = network(0)
        history = adversarial_compression(
            student, network(1), critic_of(5), batches(labels=labels), QUICK,
            path=PATHS["hidden"], critic_recipe=QUICK,
        )  # fmt: skip
        ends.append(student)
    assert torch.equal(ends[0][1].weight, ends[1][1].weight)
    assert set(history[0]) == {"epoch", "lr", "seconds", "soft", "fooling", "judging"}


def test_compression_by_hand():
    student, teacher, critic = network(0), network(1), critic_of(5)
    s, t, c = (copy.deepcopy(part) for part in (student, teacher, critic))
    adversarial_compression(
        student, teacher, critic, batches(40), STEP, path=PATHS["hidden"],
        critic_recipe=STEP, regression_weight=2.0, confusion_weight=0.5,
    )  # fmt: skip
    images = whole().images
    own, other = features_of(s, images), features_of(t, images).detach()
    loss = (s(images) - t(images).detach()).square().sum(1).mean() + fooling_loss(c(own))
    assert_step(student, s, loss)
    own = own.detach()
    assert_step(critic, c, judging_loss(c(other), c(own)) + 0.5 * fooling_loss(c(own)))


def test_places_must_agree():
    parts = (network(0), network(1))
    for critics, transfers in (
        ({}, {}),
        ({"other": critic_of(5)}, {}),
        ({"hidden": critic_of(5)}, {"other": nn.Identity()}),
    ):
        with pytest.raises(ValueError, match="each place needs a critic of its name"):
            adversarial_features(
                *parts, critics, batches(), QUICK,
                paths=PATHS, critic_recipe=QUICK, transfers=transfers,
            )  # fmt: skip
