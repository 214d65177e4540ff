"""KDGAN (Wang et al. 2018): classifier, teacher and discriminator, trained in one game.

Classifier and teacher both propose a label for an image. The discriminator separates their pairs
(image, label) from the true ones. Classifier and teacher also learn from each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import fooling_loss, hard_loss, logit_regression
from kdnb.losses.checks import at_least_float32, check_labels, check_logits, check_temperature
from kdnb.methods.offline.distil import train
from kdnb.methods.online.common import in_passing
from kdnb.nets import constrain
from kdnb.training import Recipe, Update, fit
from kdnb.training.checkpoint import file_of
from kdnb.training.inputs import batches_for

Loss = Callable[[Tensor, Tensor], Tensor]
TEMPERATURES = (10.0, 0.1)  # of the concrete samples, first and last, in the authors' code


def gumbel_noise(like: Tensor) -> Tensor:
    """Standard Gumbel numbers, -log of exponential ones, from torch's random state.

    Args:
        like: gives shape, device and type (float32 at least).
    """
    waits = torch.empty_like(at_least_float32(like), requires_grad=False).exponential_()
    return -waits.clamp_min(torch.finfo(waits.dtype).tiny).log()


def concrete(logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
    r"""A sample of the concrete distribution: the Gumbel-max trick with a softmax for the maximum.

    .. math:: \tilde y = \mathrm{softmax}\big((z + g) / \tau\big)

    (Maddison et al. 2017; Jang et al. 2017; KDGAN section 3.3). At any temperature, the largest
    entry is at label k with probability softmax(z)_k. As tau falls the sample approaches one-hot;
    for any tau above 0, gradients flow from it into the logits.

    Args:
        logits: (batch, classes).
        noise: such as `gumbel_noise(logits)`.
        temperature: tau > 0.

    Returns:
        (batch, classes), rows sum to 1.

    Raises:
        ValueError: for wrong shapes, or a temperature that is not above 0.

    >>> concrete(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), temperature=0.5)
    tensor([[0.5000, 0.5000]])
    """
    check_logits(logits=logits, noise=noise)
    check_temperature(temperature)
    return ((at_least_float32(logits) + noise) / temperature).softmax(1)


def pair_scores(table: Tensor, labels: Tensor) -> Tensor:
    r"""The discriminator's scores of pairs (image, label): :math:`h(x, y) = \sum_k y_k h_k(x)`.

    Args:
        table: (batch, classes), the score of every label for each image.
        labels: (batch,) integers, or (batch, classes) relaxed one-hot labels.

    Returns:
        (batch,).

    Raises:
        ValueError: for wrong shapes.

    >>> pair_scores(torch.tensor([[1.0, 5.0]]), torch.tensor([1]))
    tensor([5.])
    """
    if labels.is_floating_point():
        check_logits(table=table, labels=labels)
        return (at_least_float32(table) * labels).sum(1)
    check_logits(table=table)
    check_labels(table, labels)
    return at_least_float32(table).gather(1, labels[:, None])[:, 0]


def game_value(
    table: Tensor,
    truth: Tensor,
    classifier_logits: Tensor,
    teacher_logits: Tensor,
    classifier_share: float,
) -> Tensor:
    r"""The value of the game without sampling, for few enough labels to sum over.

    .. math:: V = E_{p_u}[\log \sigma(h)] + \rho\, E_{p_c}[\log(1 - \sigma(h))]
        + (1 - \rho)\, E_{p_t}[\log(1 - \sigma(h))]

    (KDGAN, equation of section 3.2 without the distillation losses). The discriminator maximises
    it. At the best discriminator it is -log 4 exactly when :math:`\rho p_c + (1-\rho) p_t = p_u`,
    and is above it everywhere else. The distillation losses, which are 0 when p_c = p_t, single out
    the solution p_c = p_t = p_u.

    Args:
        table: (batch, classes), scores h.
        truth: (batch, classes), the true distribution p_u of the labels.
        classifier_logits, teacher_logits: (batch, classes).
        classifier_share: rho in [0, 1].

    Returns:
        A scalar in nats, the mean over the images.

    Raises:
        ValueError: for different shapes, or a share outside [0, 1].
    """
    mixture = _mixture(classifier_logits, teacher_logits, classifier_share).exp()
    check_logits(table=table, truth=truth, classifier_logits=classifier_logits)
    h = at_least_float32(table)
    # A label that never occurs may have a score of minus infinity; 0 times that is not 0.
    told = torch.where(truth > 0, truth * F.logsigmoid(h), 0.0)
    return (told + mixture * F.logsigmoid(-h)).sum(1).mean()


def best_scores(
    truth: Tensor, classifier_logits: Tensor, teacher_logits: Tensor, classifier_share: float
) -> Tensor:
    r"""The scores that maximise `game_value`, for a given classifier and teacher.

    .. math:: h^* = \log p_u - \log(\rho p_c + (1 - \rho) p_t)

    Args: as of `game_value`.

    Returns:
        (batch, classes); minus infinity where the truth is 0.
    """
    mixture = _mixture(classifier_logits, teacher_logits, classifier_share)
    check_logits(truth=truth, classifier_logits=classifier_logits)
    return truth.log() - mixture


def kdgan(
    classifier: nn.Module,
    teacher: nn.Module | None,
    critic: nn.Module | None,
    examples: Any,
    recipe: Recipe,
    *,
    critic_recipe: Recipe | None = None,
    teacher_recipe: Recipe | None = None,
    classifier_share: float = 0.5,
    classifier_weight: float = 1.0,
    teacher_weight: float = 1.0,
    loss: Loss = logit_regression,
    temperature: float | Sequence[float] = TEMPERATURES,
    label_epochs: int | None = None,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""KDGAN: knowledge distillation with generative adversarial networks (Wang et al. 2018).

    .. math:: \min_{c,t} \max_d\; E_{p_u}[\log p_d] + \rho\, E_{p_c}[\log(1 - p_d)]
        + (1 - \rho)\, E_{p_t}[\log(1 - p_d)] + w_c L_{DS}^c(p_c, p_t) + w_t L_{DS}^t(p_t, p_c)

    There are three updates per batch: the discriminator, on the true labels and on labels drawn
    from classifier and teacher; the teacher; and the classifier. The last two get gradients from
    the discriminator through `concrete` samples of their answers, which vary less than those of
    drawn labels, and each learns from the other's detached logits. The discriminator sees drawn
    labels; it would recognise relaxed ones by their softness.

    Args:
        classifier, teacher: images -> logits (batch, classes); both are trained in place. The
            teacher is already trained on labels. If None, this is the naive game of two players
            (NaGAN), and share and weights are ignored.
        critic: images -> (batch, classes), the score of every label, such as any classifier;
            trained in place. If None, the cross-entropy of the labels takes its place: this is
            co-distillation with the same distances, a control for the effect of the critic.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        critic_recipe, teacher_recipe: the run's own if None.
        classifier_share: rho, the share of the classifier's labels among the proposed ones.
        classifier_weight, teacher_weight: weights of the distillation losses of classifier and
            teacher.
        loss: (own logits, the other's logits) -> scalar.
        temperature: tau of the concrete samples, or its values in the first and the last epoch,
            between which it falls geometrically.
        label_epochs: epochs in which the classifier learns from the labels alone before the game,
            by the run's recipe: 0 for a trained classifier; as many as the game has if None.
        options: passed to `training.fit`.

    Returns:
        The history: `judging`, `teacher.fooling`, `teacher.soft`, `classifier.fooling` and
        `classifier.soft`; `judging` and `classifier.fooling` without a teacher; `.hard` in place of
        `.fooling` and no `judging` without a critic.

    Raises:
        ValueError: for a share outside [0, 1], a temperature that is not above 0, more than two
            temperatures, fewer than 0 epochs, or neither a teacher nor a critic.

    Departures: the three players, both distillation losses and the concrete samples are confirmed
    by the abstract; the value is from a secondary summary. As in the authors' public code
    (`mdlcompr/`, read in November 2026), the discriminator scores all labels at once, classifier
    and teacher are trained beforehand, and tau falls from 10 to 0.1. In that code the discriminator
    is also trained on labels first, tau falls in steps of 0.88 for the classifier alone, the
    distillation loss is a mean squared difference of logits, cross-entropy with the labels is
    added, and labels are drawn hard. The paper's teacher also sees privileged features, which plain
    images do not have.
    """
    check_share(classifier_share)
    first, last = _ends(temperature)
    if teacher is None and critic is None:
        raise ValueError(
            "without teacher and critic there is nobody to play with: `train` does it."
        )
    label_epochs = recipe.epochs if label_epochs is None else label_epochs
    if label_epochs < 0:
        raise ValueError(f"label_epochs must be at least 0; got {label_epochs}.")
    batches = batches_for(examples, recipe, seed)
    if label_epochs:
        alone = recipe.model_copy(update={"epochs": label_epochs})
        path = file_of(options.get("checkpoint"), 0)
        fabric = options.get("fabric")
        train(classifier, batches, alone, seed=seed, checkpoint=path, fabric=fabric)
    tau = first

    players = {"classifier": classifier} | ({} if teacher is None else {"teacher": teacher})
    shares = {"classifier": classifier_share, "teacher": 1 - classifier_share}
    if teacher is None:
        shares = {"classifier": 1.0}

    def begin(epoch: int) -> None:
        nonlocal tau
        tau = first * (last / first) ** (epoch / max(1, recipe.epochs - 1))

    def judge(networks, batch: Batch) -> dict[str, Tensor]:
        table = networks["critic"](batch.images)
        loss_ = F.softplus(-pair_scores(table, batch.labels)).mean()
        for name, share in shares.items():
            chances = in_passing(networks[name], batch.images).float().softmax(1)
            drawn = torch.multinomial(chances, 1)[:, 0]
            loss_ = loss_ + share * F.softplus(pair_scores(table, drawn)).mean()
        return {"judging": loss_}

    def play(name: str, other: str, weight: float):
        def terms(networks, batch: Batch) -> dict[str, Tensor]:
            z = networks[name](batch.images)
            if critic is None:
                parts = {f"{name}.hard": hard_loss(z, batch.labels)}
            else:
                table = in_passing(networks["critic"], batch.images)
                sample = concrete(z, gumbel_noise(z), tau)
                fooled = fooling_loss(pair_scores(table, sample), "saturating")
                parts = {f"{name}.fooling": shares[name] * fooled}
            if other in players:
                v = in_passing(networks[other], batch.images)
                parts[f"{name}.soft"] = weight * loss(z, v)
            return parts

        return terms

    teach = play("teacher", "classifier", teacher_weight)
    learn = play("classifier", "teacher", classifier_weight)
    updates = {
        "critic": Update(("critic",), judge, recipe=critic_recipe, begin=begin),
        "teacher": Update(
            ("teacher",), teach, recipe=teacher_recipe, after=lambda: constrain(teacher)
        ),
        "classifier": Update(("classifier",), learn, after=lambda: constrain(classifier)),
    }
    networks = players if critic is None else {**players, "critic": critic}
    chosen = [update for name, update in updates.items() if name in networks]
    return fit(networks, batches, chosen, recipe, seed=seed, **options)


def check_share(share: float) -> None:
    """Require a share of the whole."""
    if not 0 <= share <= 1:
        raise ValueError(f"a share must lie in [0, 1]; got {share}.")


def _ends(temperature: float | Sequence[float]) -> tuple[float, float]:
    """The temperatures of the first and the last epoch."""
    ends = tuple(temperature) if isinstance(temperature, Sequence) else (temperature, temperature)
    if len(ends) != 2:
        raise ValueError(f"temperature is one number or two, first and last; got {temperature}.")
    for value in ends:
        check_temperature(value)
    return ends


def _mixture(classifier_logits: Tensor, teacher_logits: Tensor, share: float) -> Tensor:
    """log(share · p_c + (1 - share) · p_t)."""
    check_share(share)
    check_logits(classifier_logits=classifier_logits, teacher_logits=teacher_logits)
    logs = (
        at_least_float32(z).log_softmax(1) + (math.log(part) if part else -math.inf)
        for z, part in ((classifier_logits, share), (teacher_logits, 1 - share))
    )
    return torch.logaddexp(*logs)
