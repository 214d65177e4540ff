"""Fast data-free distillation (Fang et al. 2022): a generator that adapts in a few steps.

Images share features. Instead of inverting each batch from scratch for hundreds of iterations, the
method keeps one generator from which a few steps lead to any batch.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import decision_adversarial
from kdnb.methods.data_free.deepinversion import batch_norm_inputs, statistics_term
from kdnb.methods.data_free.generators import Generator
from kdnb.methods.data_free.synthesis import NoiseBatches, Pixels
from kdnb.training import Networks, Recipe, Update, fit

Meta = Literal["fomaml", "reptile"]

# Of the authors' CIFAR runs.
WEIGHTS = {"class": 0.5, "statistics": 10.0, "adversarial": 1.33}


def fast_synthesis(
    teacher: nn.Module,
    generator: Generator,
    *,
    classes: int,
    batches: int,
    batch_size: int,
    student: nn.Module | None = None,
    weights: Mapping[str, float] = WEIGHTS,
    inner_steps: int = 5,
    lr: float = 3e-3,
    noise_lr: float = 0.01,
    meta: Meta = "fomaml",
    precision: str = "32",
    seed: int = 0,
) -> Tensor:
    r"""Make batches of images from a generator meta-learnt as a good start (Fang 2022).

    .. math:: \theta' \leftarrow \theta - \lambda \nabla_{\theta'} L \;\text{(k times)}, \qquad
        \theta \leftarrow \theta - \eta \sum_{t \le k} \nabla_{\theta'_t} L
        \;\text{or}\; \theta - \eta\, (\theta - \theta'_k)

    (Fang et al. 2022): from a copy of the generator and fresh noise, k steps on the inversion
    loss give one batch; the generator itself then follows the sum of the copy's gradients
    (first-order MAML) or moves towards where the copy ended (Reptile), by Adam.

    Args:
        teacher: frozen, with batch normalisation.
        generator: trained in place; call again to continue from it.
        classes: number of classes of the labels, which are drawn at random.
        batches, batch_size: how many images are made, and how many at a time.
        student: of the adversarial term; without one that term is left out, as in the authors'
            warm-up.
        weights: weights of `class`, `statistics` and `adversarial`.
        inner_steps: k: 2, 5 and 10 are published.
        lr, noise_lr: learning rates of the copy and of the noise; the generator's own rate is lr *
            inner_steps.
        meta: how the generator follows.

    Returns:
        (batches * batch_size, channels, height, width) float32 on the CPU: of every batch the
        images of the lowest loss.

    Raises:
        ValueError: for an unknown term or way to follow.

    Departures: terms, rates and both update rules follow the authors' code, in which "MAML" is the
    first-order one. Its augmentations, its running average of batch statistics and its reset of the
    first layer are left out. Its Adam optimisers have a first momentum of 0.5; Adam cancels the
    factor 67 that it gives Reptile's step.
    """
    if unknown := set(weights) - set(WEIGHTS):
        raise ValueError(f"there is no term {min(unknown)!r}; there are {', '.join(WEIGHTS)}.")
    if meta not in get_args(Meta):
        raise ValueError(f"meta must be one of {', '.join(get_args(Meta))}; got {meta!r}.")
    weight = {name: value for name, value in weights.items() if value}
    if student is None:
        weight.pop("adversarial", None)
    others = {"teacher": teacher} | ({"student": student} if student is not None else {})
    recipe = Recipe(epochs=1, batch_size=batch_size, optimiser="adam", lr=lr, schedule="constant",
                    precision=precision)  # fmt: skip
    made: list[Tensor] = []

    def follow(running: Networks, batch: Batch) -> dict[str, Tensor]:
        labels = torch.randint(classes, (len(batch.images),), device=batch.images.device)
        copied = copy.deepcopy(generator)
        gradients = [torch.zeros_like(p) for p in generator.parameters()]
        images = _adapted(
            copied, batch.images, labels, others, weight, recipe, inner_steps, noise_lr, gradients,
            seed + len(made),
        )  # fmt: skip
        made.append(images)
        # Losses whose gradients are the two directions exactly.
        own = list(generator.parameters())
        if meta == "fomaml":
            total = [(p * g).sum() for p, g in zip(own, gradients, strict=True)]
        else:
            ends = [p.detach() for p in copied.parameters()]
            total = [(p - end).square().sum() / 2 for p, end in zip(own, ends, strict=True)]
        return {"meta": torch.stack(total).sum()}

    networks = {"generator": generator, **others}
    outer = recipe.model_copy(update={"lr": lr * inner_steps})
    noise = NoiseBatches(batches, batch_size, (generator.latent,), seed=seed)
    fit(networks, noise, Update(("generator",), follow), outer, seed=seed)
    return torch.cat(made)


def _adapted(
    generator: Generator,
    noise: Tensor,
    labels: Tensor,
    others: Mapping[str, nn.Module],
    weight: Mapping[str, float],
    recipe: Recipe,
    steps: int,
    noise_lr: float,
    gradients: list[Tensor],
    seed: int,
) -> Tensor:
    """Adapt a copy, add its gradients to `gradients`, and return its best images."""
    # Adam's steps do not depend on a gradient's size, so noise in units of this ratio moves at its
    # own rate in one and the same update.
    ratio = noise_lr / recipe.lr
    latent = Pixels(noise / ratio)
    best: dict[str, Tensor] = {}

    def collect() -> None:
        for total, parameter in zip(gradients, generator.parameters(), strict=True):
            if parameter.grad is not None:  # of one that stays as it is
                total += parameter.grad

    with batch_norm_inputs(others["teacher"]) as inputs:

        def losses(running: Networks, batch: Batch) -> dict[str, Tensor]:
            images = running["generator"](running["latent"]() * ratio)
            logits = running["teacher"](images)
            parts = {
                "class": lambda: F.cross_entropy(logits, labels),
                "statistics": lambda: statistics_term(inputs),
                "adversarial": lambda: decision_adversarial(running["student"](images), logits),
            }
            terms = {name: value * parts[name]() for name, value in weight.items()}
            total = sum(terms.values()).detach()
            if not best or total < best["total"]:
                best.update(total=total, images=images.detach())
            return terms

        networks = {"generator": generator, "latent": latent, **others}
        updates = [Update(("generator", "latent"), losses, after=collect)]
        fit(networks, NoiseBatches(steps, 1, (1,)), updates, recipe, seed=seed)
    return best["images"].float().cpu()
