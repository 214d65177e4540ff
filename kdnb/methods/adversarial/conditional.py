"""A learnt distillation loss: a discriminator of logits that also knows the classes (Xu 2018)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import fooling_loss, hard_loss, judging_loss, logit_distance
from kdnb.losses.gan import Kind
from kdnb.methods.adversarial.critics import Critic
from kdnb.nets import constrain
from kdnb.training import Recipe, Update, fit
from kdnb.training.inputs import batches_for


class ConditionalCritic(Critic):
    """Xu's discriminator: logits (batch, classes) -> (batch, 1 + classes).

    Column 0 is the score for "from the teacher"; the others are logits of the image's class,
    predicted from the judged logits, as in an auxiliary-classifier GAN (Odena et al. 2017).

    Args:
        classes: number of classes of the task.
        widths: widths of the hidden layers.
    """

    def __init__(self, classes: int, *, widths: tuple[int, ...] = (128, 128)) -> None:
        super().__init__(classes, 1 + classes, widths=widths)


def conditional_adversarial(
    student: nn.Module,
    teacher: nn.Module,
    critic: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    critic_recipe: Recipe,
    hard_weight: float = 1.0,
    distance_weight: float = 1.0,
    adversarial_weight: float = 1.0,
    kind: Kind = "non_saturating",
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Conditional adversarial distillation (Xu, Hsu and Huang 2018), which learns the loss itself.

    The discriminator learns to tell the teacher's logits v from the student's z and to read the
    class from both; the student is the generator:

    .. math:: L_D = -\log P(real | v) - \log(1 - P(real | z)) - \log P(y | v) - \log P(y | z),
        \qquad L_S = H(y, z) + \lVert z - v \rVert_1
        + w \big(L_{fool}(z) - \log P(y | z)\big)

    There are two updates per batch: first the student against the current discriminator, then the
    discriminator on the detached logits of the same forward pass.

    Args:
        student, teacher: images -> logits (batch, classes). The student is trained in place; the
            teacher is frozen.
        critic: such as `ConditionalCritic`; trained in place.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        critic_recipe: for the discriminator's update.
        hard_weight, distance_weight: weights of the cross-entropy and of the L1 distance.
        adversarial_weight: weight of both terms that pass through the discriminator.
        kind: form of the student's adversarial loss.
        options: passed to `training.fit`.

    Returns:
        The history: `hard`, `distance`, `fooling`, `class` (the student's), `judging` and
        `reading` (the discriminator's).

    Departures: the abstract and the three kinds of terms are confirmed; the exact equations are
    recalled. The paper's discriminator has two outputs for real and fake; one logit, their
    difference, is equivalent. Its student gets noise from dropout; here this depends on the
    student's layers.
    """
    batches = batches_for(examples, recipe, seed)
    seen: dict[str, Tensor] = {}

    def mimic(networks, batch: Batch) -> dict[str, Tensor]:
        z = networks["student"](batch.images)
        with torch.no_grad():
            v = networks["teacher"](batch.images)
        seen.update(student=z.detach(), teacher=v)
        judged = networks["critic"](z).float()
        return {
            "hard": hard_weight * hard_loss(z, batch.labels),
            "distance": distance_weight * logit_distance(z, v),
            "fooling": adversarial_weight * fooling_loss(judged[:, 0], kind),
            "class": adversarial_weight * F.cross_entropy(judged[:, 1:], batch.labels),
        }

    def judge(networks, batch: Batch) -> dict[str, Tensor]:
        real = networks["critic"](seen["teacher"]).float()
        fake = networks["critic"](seen["student"]).float()
        read = sum(F.cross_entropy(judged[:, 1:], batch.labels) for judged in (real, fake))
        return {"judging": judging_loss(real[:, 0], fake[:, 0], kind), "reading": read}

    updates = [
        Update(("student",), mimic, after=lambda: constrain(student)),
        Update(("critic",), judge, recipe=critic_recipe),
    ]
    networks = {"student": student, "teacher": teacher, "critic": critic}
    return fit(networks, batches, updates, recipe, seed=seed, **options)
