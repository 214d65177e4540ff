"""Kimura et al. 2018: few real examples, and pseudo examples optimised with the student."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb import losses
from kdnb.data import Batch
from kdnb.methods.data_free.synthesis import Bounds, Pixels
from kdnb.nets import constrain
from kdnb.training import Networks, Recipe, Update, fit
from kdnb.training.inputs import batches_for


def mixed_examples(images: Tensor, count: int, *, seed: int = 0) -> Tensor:
    """Initial pseudo examples: mixtures of two real images with uniform weights.

    Args:
        images: (N, ...), at least one.
        count: how many.

    Returns:
        (count, ...).
    """
    stream = torch.Generator().manual_seed(seed)
    first, second = torch.randint(len(images), (2, count), generator=stream)
    weight = torch.rand(count, *[1] * (images.ndim - 1), generator=stream)
    return weight * images[first] + (1 - weight) * images[second]


def pseudo_examples(
    student: nn.Module,
    teacher: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    start: Tensor,
    pseudo_recipe: Recipe,
    pseudo_batch: int = 100,
    pseudo_weight: float = 1.0,
    hard_weight: float = 0.0,
    temperature: float = 1.0,
    bounds: Bounds | None = None,
    seed: int = 0,
    **options: Any,
) -> tuple[Tensor, list[dict[str, float]]]:
    r"""Train a student on few examples and on pseudo examples on which it errs (Kimura 2018).

    .. math:: \min_\theta \max_{\tilde x}\; \mathrm{KL}\big(f_t(\tilde x) \Vert f_s(\tilde x)\big),
        \qquad \min_\theta \mathrm{KL}\big(f_t(x) \Vert f_s(x)\big)

    In every batch some pseudo examples, which resemble the inducing points of a Gaussian process,
    take one step towards larger student errors; then the student takes a step on them and on the
    real batch.

    Args:
        student: trained in place.
        teacher: frozen; the paper's "reference model", which is good on few data.
        examples: the few real ones, as `offline.distil` takes them.
        recipe: for the student.
        start: the pseudo examples at the beginning, (count, ...), such as `mixed_examples`.
        pseudo_recipe: for the pseudo examples.
        pseudo_batch: the number of pseudo examples in a step, drawn at random.
        pseudo_weight: weight of the divergence on pseudo examples in the student's loss; that on
            real examples has weight 1.
        hard_weight: weight of the cross-entropy with the real labels.
        temperature: temperature of both divergences.
        bounds: bounds of the pixels.
        options: passed to `training.fit`.

    Returns:
        The pseudo examples after the last step, and the history: `adversarial` (minus the
        divergence), `pseudo`, `soft`, `hard`.

    Departures: idea and min-max are confirmed from the abstract and second-hand; steps, start and
    weights are ours. The paper trains on the real examples first; give a trained student for that.
    """
    batches = batches_for(examples, recipe, seed)
    pixels = Pixels(start, bounds)
    chosen = torch.zeros(0, dtype=torch.int64)

    def attack(running: Networks, batch: Batch) -> dict[str, Tensor]:
        nonlocal chosen
        chosen = torch.randperm(len(start))[:pseudo_batch]
        x = running["pseudo"]()[chosen.to(batch.images.device)]
        return {
            "adversarial": -losses.soft_targets(
                running["student"](x), running["teacher"](x), temperature
            )
        }

    def follow(running: Networks, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            x = running["pseudo"]()[chosen.to(batch.images.device)]
            taught = running["teacher"](torch.cat([x, batch.images]))
        logits = running["student"](torch.cat([x, batch.images]))
        count = len(x)
        terms = {
            "pseudo": pseudo_weight
            * losses.soft_targets(logits[:count], taught[:count], temperature),
            "soft": losses.soft_targets(logits[count:], taught[count:], temperature),
        }
        if hard_weight:
            hard = F.cross_entropy(logits[count:].float(), batch.labels)
            terms["hard"] = hard_weight * hard
        return terms

    updates = [
        Update(("pseudo",), attack, recipe=pseudo_recipe, after=pixels.clamp),
        Update(("student",), follow, after=lambda: constrain(student)),
    ]
    networks = {"student": student, "pseudo": pixels, "teacher": teacher}
    history = fit(networks, batches, updates, recipe, seed=seed, **options)
    return pixels.images.detach().cpu(), history
