"""Discriminators of logits and of features: every step by hand, and whom it leaves alone."""

import copy

import pytest
import torch
from draws import draw
from torch import nn
from torch.nn import functional as F

from kdnb import losses
from kdnb.data import Batches, Images
from kdnb.losses import fooling_loss, judging_loss, logit_distance
from kdnb.methods.adversarial import (
    ConditionalCritic,
    Critic,
    adversarial_compression,
    adversarial_features,
    conditional_adversarial,
)
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=40, lr=0.1, momentum=0.0, schedule="constant", precision="32")
QUICK = Recipe(epochs=2, batch_size=8, lr=0.02, precision="32")
PATHS = {"hidden": ("2", "2")}


def pictures(labels=None):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Images(images, torch.arange(40) % 3 if labels is None else labels)


def batches(size=8, labels=None):
    return Batches(pictures(labels), size, mean=(0.5,), sd=(0.3,))


def whole():
    return next(iter(batches(40)))


def network(seed, width=5):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, width), nn.Tanh(), nn.Linear(width, 3))


def critic_of(inputs, kind=Critic):
    torch.manual_seed(7)
    return kind(inputs, widths=(6,))


def assert_step(moved, before, loss, rate=0.1):
    """The parameters moved by one gradient step of the loss, which was made of `before`."""
    gradients = torch.autograd.grad(loss, list(before.parameters()), allow_unused=True)
    for new, old, gradient in zip(moved.parameters(), before.parameters(), gradients, strict=True):
        step = 0 if gradient is None else rate * gradient
        torch.testing.assert_close(new, old - step, rtol=1e-4, atol=1e-6)


def assert_same(network_, state):
    assert all(torch.equal(value, state[key]) for key, value in network_.state_dict().items())


def test_logit_distance_by_hand():
    z, v = draw(4, 3), draw(4, 3, seed=1)
    rows = [
        sum(abs(float(a - b)) for a, b in zip(x, y, strict=True)) for x, y in zip(z, v, strict=True)
    ]
    assert float(logit_distance(z, v)) == pytest.approx(sum(rows) / 4)
    with pytest.raises(ValueError, match="same shape"):
        logit_distance(z, v[:, :2])


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
