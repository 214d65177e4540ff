"""DFAD (Fang et al. 2019): a generator searches for images on which the student is wrong."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import discrepancy
from kdnb.methods.data_free.collapse import CollapseDetector
from kdnb.methods.data_free.generators import Generator
from kdnb.methods.data_free.synthesis import play, resting
from kdnb.methods.data_free.zskt import _Turns
from kdnb.nets import constrain
from kdnb.training import Networks, Recipe, Update


def dfad(
    student: nn.Module,
    teacher: nn.Module,
    generator: Generator,
    recipe: Recipe,
    *,
    generator_recipe: Recipe,
    steps: int,
    student_steps: int = 5,
    detector: CollapseDetector | None = None,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Data-free adversarial distillation (Fang et al. 2019).

    .. math:: \max_G \min_S\; E_z \big[ D(T(G(z)), S(G(z))) \big]

    with the mean absolute difference of logits, :func:`discrepancy`. The student makes
    `student_steps` steps, each on new images; then the generator makes one on new noise.

    Args: as :func:`zskt`; published on MNIST: student SGD at 0.01 with momentum 0.9 and weight
        decay 1e-4, generator Adam at 1e-3, batch 512, 40 epochs of 50 generator steps.

    Returns:
        The history: `discrepancy` of the student, `adversarial` of the generator (negative).

    Raises:
        ValueError: if `steps` is not a multiple of `student_steps`.

    The loop is confirmed in the authors' code.
    """
    turns = _Turns(steps, student_steps)
    made: dict[str, Tensor] = {}

    def follow(running: Networks, batch: Batch) -> dict[str, Tensor]:
        turns.taken += 1
        with torch.no_grad():
            images = running["generator"](batch.images)
            logits = running["teacher"](images)
        if detector:
            detector.see(images, logits)
        return {"discrepancy": discrepancy(running["student"](images), logits)}

    def attack(running: Networks, batch: Batch) -> dict[str, Tensor]:
        if not turns.generators:
            nothing = torch.zeros((), device=batch.images.device)
            return {"adversarial": resting(made.get("value", nothing))}
        images = running["generator"](torch.randn_like(batch.images))
        value = -discrepancy(running["student"](images), running["teacher"](images))
        made["value"] = value.detach()
        return {"adversarial": value}

    updates = [
        Update(("student",), follow, after=lambda: constrain(student), begin=turns.begin),
        Update(("generator",), attack, recipe=generator_recipe),
    ]
    return play(
        student, teacher, generator, updates, recipe, steps=steps, detector=detector, seed=seed,
        **options,
    )  # fmt: skip
