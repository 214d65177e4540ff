"""Generated images in the transfer set, in addition to the real ones (Liu et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.methods.adversarial.kdgan import check_share
from kdnb.nets import constrain
from kdnb.training import Recipe, Update, fit
from kdnb.training.inputs import batches_for

Loss = Callable[[Tensor, Tensor], Tensor]


def distil_with_generated(
    student: nn.Module,
    teacher: nn.Module,
    generator: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    loss: Loss,
    generated_share: float = 0.5,
    soft_weight: float = 1.0,
    hard_weight: float = 0.0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Distillation on real images mixed with a GAN's (GAN-TSC; Liu, Fusi and Mackey 2018).

    .. math:: L_{KD} = L\big(F_t(x), F_s(x)\big), \qquad
        x = G(z) \text{ with probability } p, \text{ else a real image}

    This is category (a) of the survey's Figure 10, equation 7, mixed with real data. The teacher
    was trained on the real images, so it is more confident there than elsewhere; new images from
    the same distribution show its behaviour between them. The only label of a generated image is
    the teacher's answer. Generators that are themselves trained against teacher and student are in
    `kdnb.methods.data_free`.

    Args:
        student, teacher: images -> logits (batch, classes). The student is trained in place; the
            teacher is frozen.
        generator: noise (batch, latent) -> images, with an attribute `latent`, such as one from
            `train_gan`; frozen.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        loss: (student logits, teacher logits) -> scalar, such as `losses.soft_targets` with its
            temperature bound.
        generated_share: p in [0, 1], the probability with which each image of a batch is replaced.
        soft_weight: weight of the loss.
        hard_weight: weight of the cross-entropy with the true labels, summed over the real images
            and divided by the size of the whole batch; at 0 labels are not used.
        options: passed to `training.fit`.

    Returns:
        The history: `soft`, and `hard` if requested.

    Raises:
        ValueError: for a share outside [0, 1].

    Departures: the abstract confirms the mixture; replacing each image with a fixed probability is
    recalled. The paper's GAN is class-conditional; here any generator can be used.

    >>> from kdnb.methods.adversarial import mixed
    >>> mixed(torch.zeros(2, 1), torch.ones(2, 1), torch.tensor([True, False]))
    tensor([[1.],
            [0.]])
    """
    check_share(generated_share)
    batches = batches_for(examples, recipe, seed)

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        images, device = batch.images, batch.images.device
        fresh = torch.rand(len(images), device=device) < generated_share
        if generated_share:
            with torch.no_grad():
                noise = torch.randn(len(images), generator.latent, device=device)
                images = mixed(images, networks["generator"](noise), fresh)
        logits = networks["student"](images)
        with torch.no_grad():
            taught = networks["teacher"](images)
        parts = {"soft": soft_weight * loss(logits, taught)}
        if hard_weight:
            each = F.cross_entropy(logits.float(), batch.labels, reduction="none")
            parts["hard"] = hard_weight * torch.where(fresh, 0.0, each).mean()
        return parts

    update = Update(("student",), terms, after=lambda: constrain(student))
    networks = {"student": student, "teacher": teacher, "generator": generator}
    return fit(networks, batches, update, recipe, seed=seed, **options)


def mixed(images: Tensor, generated: Tensor, where: Tensor) -> Tensor:
    """Images with some of them replaced.

    Args:
        images, generated: of the same shape (batch, ...).
        where: (batch,) bool, true for those to be replaced.

    Raises:
        ValueError: for mismatched shapes.
    """
    if images.shape != generated.shape or where.shape != images.shape[:1]:
        raise ValueError(
            "the generated images must have the shape of the real ones, and one decision each; got "
            f"{tuple(generated.shape)}, {tuple(images.shape)} and {tuple(where.shape)}."
        )
    return torch.where(where.view(-1, *[1] * (images.ndim - 1)), generated, images)
