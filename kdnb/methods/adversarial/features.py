"""Discriminators of features: adversarial feature distillation, and compression without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import confused_judging_loss, fooling_loss, hard_loss, logit_regression
from kdnb.losses.checks import at_least_float32
from kdnb.losses.gan import Kind
from kdnb.nets import constrain, features
from kdnb.training import Recipe, Update, fit
from kdnb.training.inputs import batches_for

Loss = Callable[[Tensor, Tensor], Tensor]


def adversarial_features(
    student: nn.Module,
    teacher: nn.Module,
    critics: Mapping[str, nn.Module],
    examples: Any,
    recipe: Recipe,
    *,
    paths: Mapping[str, tuple[str, str]],
    critic_recipe: Recipe,
    transfers: Mapping[str, nn.Module] | None = None,
    loss: Loss | None = None,
    soft_weight: float = 1.0,
    hard_weight: float = 1.0,
    hint_weight: float = 0.0,
    adversarial_weight: float = 1.0,
    confusion_weight: float = 0.0,
    kind: Kind = "non_saturating",
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Adversarial feature distillation (equation 8 of the survey).

    .. math:: L_{GANKD} = w_h\, L_{CE}(G(F_s(x)), y) + w_s\, L(G(F_s(x)), F_t(x))
        + w_a\, L_{GAN}(F_s(x), F_t(x))

    The student learns to make discriminators, one per place, take its features for the teacher's.
    With one place before the classifier, this is the adversarial learning of portable students
    (Wang et al. 2018, "teaching assistant"). With several places and `hint_weight`, it is the
    multi-level features of Gao et al. 2019.

    Args:
        student, teacher: images -> logits (batch, classes). The student is trained in place; the
            teacher is frozen.
        critics: for each place, by name: the teacher's features -> scores (batch,), such as
            `Critic`; trained in place.
        paths: for each place, by name: the module paths in the student and in the teacher.
        critic_recipe: for the discriminators' update.
        transfers: for each place where the student's features differ in shape from the teacher's,
            by name: a module such as `kdnb.methods.online.Transfer` or a linear layer; trained with
            the student.
        loss: (student logits, teacher logits) -> scalar; no such term if None.
        soft_weight, hard_weight: weights of that loss, and of the cross-entropy; at 0 labels are
            not used.
        hint_weight: weight of the mean squared distance of the features at every place.
        adversarial_weight: weight of `fooling_loss`, the mean over the places.
        confusion_weight: see `confused_judging_loss`.
        kind: form of the adversarial loss.
        options: passed to `training.fit`.

    Returns:
        The history: `fooling`, `judging`, and `soft`, `hard`, `hint` if requested.

    Raises:
        ValueError: if critics or transfers name places that are not in `paths`.

    Departures: the abstracts confirm that discriminators separate the features of teacher and
    student; the other terms follow the survey's equation. Gao's weights are not confirmed.
    """
    check_places(paths, critics, transfers or {})
    mapped = {name: (transfers or {}).get(name, nn.Identity()) for name in paths}
    batches = batches_for(examples, recipe, seed)
    seen: dict[str, tuple[Tensor, Tensor]] = {}  # (teacher's, student's) features of this batch
    with ExitStack() as stack:
        own = stack.enter_context(features(student, _unique(s for s, _ in paths.values())))
        others = stack.enter_context(features(teacher, _unique(t for _, t in paths.values())))

        def mimic(networks, batch: Batch) -> dict[str, Tensor]:
            z = networks["student"](batch.images)
            with torch.no_grad():
                v = networks["teacher"](batch.images)
            parts, hints, fooled = {}, [], []
            for name, (here, there) in paths.items():
                made = networks[f"{name}.transfer"](own[here]).float()
                seen[name] = (others[there].float(), made.detach())
                if hint_weight:
                    hints.append(F.mse_loss(at_least_float32(made), seen[name][0]))
                fooled.append(fooling_loss(networks[f"{name}.critic"](made), kind))
            if loss:
                parts["soft"] = soft_weight * loss(z, v)
            if hard_weight:
                parts["hard"] = hard_weight * hard_loss(z, batch.labels)
            if hint_weight:
                parts["hint"] = hint_weight * sum(hints) / len(hints)
            return {**parts, "fooling": adversarial_weight * sum(fooled) / len(fooled)}

        def judge(networks, _: Batch) -> dict[str, Tensor]:
            parts = []
            for name, (real, fake) in seen.items():
                critic = networks[f"{name}.critic"]
                parts.append(
                    confused_judging_loss(critic(real), critic(fake), confusion_weight, kind)
                )
            return {"judging": sum(parts) / len(parts)}

        carriers = tuple(f"{name}.transfer" for name in transfers or {})
        judges = tuple(f"{name}.critic" for name in paths)
        updates = [
            Update(("student", *carriers), mimic, after=lambda: constrain(student)),
            Update(judges, judge, recipe=critic_recipe),
        ]
        networks = {
            "student": student,
            "teacher": teacher,
            **{f"{name}.transfer": mapped[name] for name in paths},
            **{f"{name}.critic": critics[name] for name in paths},
        }
        return fit(networks, batches, updates, recipe, seed=seed, **options)


def adversarial_compression(
    student: nn.Module,
    teacher: nn.Module,
    critic: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    path: tuple[str, str],
    critic_recipe: Recipe,
    regression_weight: float = 1.0,
    confusion_weight: float = 1.0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Adversarial network compression (Belagiannis et al. 2018), without labels.

    .. math:: \min_{f_s} \max_D\; E[\log D(f_t^k(x))] + E[\log(1 - D(f_s^k(x)))]
        + \lambda\, \lVert f_t^l(x) - f_s^l(x) \rVert_2^2

    with the features k before the classifier and the logits l. `confused_judging_loss` keeps the
    discriminator from winning.

    Args:
        path: module paths of the features in the student and in the teacher, of equal width.
        regression_weight: lambda, of half the squared distance of the logits.
        confusion_weight: mu; 0 leaves the regularisation out.
        options: passed to `adversarial_features`.

    Returns:
        The history: `soft` (the regression), `fooling` and `judging`.

    Departures: the abstract confirms training without labels, a discriminator of features, and its
    regularisation. The equation is recalled, and so is the form of the regularisation, which did
    better than L1 and L2 on the discriminator's weights. The regression is half the squared norm.
    """
    return adversarial_features(
        student, teacher, {"features": critic}, examples, recipe,
        paths={"features": path}, critic_recipe=critic_recipe,
        loss=logit_regression, soft_weight=regression_weight, hard_weight=0.0,
        confusion_weight=confusion_weight, **options,
    )  # fmt: skip


def check_places(
    paths: Mapping[str, Any],
    critics: Mapping[str, nn.Module],
    transfers: Mapping[str, nn.Module],
) -> None:
    """Require a critic for every place, and transfers for some of them."""
    if not paths or set(critics) != set(paths) or not set(transfers) <= set(paths):
        raise ValueError(
            f"each place needs a critic of its name, and a transfer must have one too; got places "
            f"{list(paths)}, critics {list(critics)} and transfers {list(transfers)}."
        )


def _unique(paths) -> Sequence[str]:
    return list(dict.fromkeys(paths))
