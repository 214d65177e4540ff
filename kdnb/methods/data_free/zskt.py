"""ZSKT (Micaelli and Storkey 2019): a generator against the student.

The generator seeks images on which student and teacher disagree; the student closes the gap there.
Nobody asks that the images look like data.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.methods.data_free.collapse import CollapseDetector
from kdnb.methods.data_free.generators import Generator
from kdnb.methods.data_free.synthesis import play, resting
from kdnb.nets import constrain, features
from kdnb.training import Networks, Recipe, Update


def zskt(
    student: nn.Module,
    teacher: nn.Module,
    generator: Generator,
    recipe: Recipe,
    *,
    generator_recipe: Recipe,
    steps: int,
    student_steps: int = 10,
    attention: Mapping[str, str] | None = None,
    attention_weight: float = 250.0,
    detector: CollapseDetector | None = None,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Zero-shot knowledge transfer by adversarial belief matching (Micaelli and Storkey 2019).

    .. math:: \max_G\; \mathrm{KL}\big(T(x) \Vert S(x)\big), \qquad
        \min_S\; \mathrm{KL}\big(T(x) \Vert S(x)\big) + w \sum_l A_l, \quad x = G(z)

    with attention transfer A_l on pairs of layers. For every batch of noise the generator makes one
    step and the student `student_steps` steps on what it makes then.

    Args:
        student, generator: trained in place.
        teacher: frozen.
        recipe: of the student and the run; published: Adam at 2e-3, cosine, batch 128.
        generator_recipe: published: Adam at 1e-3, cosine.
        steps: of the student, an epoch; a multiple of `student_steps`.
        attention: student's module path -> teacher's, of maps; None leaves the term out.
        attention_weight: of the sum of `losses.attention_transfer(variant="authors")`.
        detector: sees every new batch of images.
        options: of `training.fit`.

    Returns:
        The history: `adversarial` (minus the divergence), `soft` and `attention`.

    Raises:
        ValueError: when `steps` is not a multiple of `student_steps`.

    Departures: loop, rates and weights follow the authors' code, except that theirs clips both
    gradients to norm 5, which this loop does not, and divides the divergence by the number of
    classes too (`KLDivLoss` with its default mean), so that beside it the attention weighs as
    many times more. Temperature 1.
    """
    turns = _Turns(steps, student_steps)
    pairs = dict(attention or {})
    made: dict[str, Tensor] = {}

    with ExitStack() as stack:
        ours = stack.enter_context(features(student, list(pairs)))
        theirs = stack.enter_context(features(teacher, list(dict.fromkeys(pairs.values()))))

        def attack(running: Networks, batch: Batch) -> dict[str, Tensor]:
            if not turns.generators:
                return {"adversarial": resting(made["value"])}
            images = running["generator"](batch.images)
            value = -losses.soft_targets(running["student"](images), running["teacher"](images), 1)
            made["value"], made["noise"] = value.detach(), batch.images
            return {"adversarial": value}

        def follow(running: Networks, batch: Batch) -> dict[str, Tensor]:
            if turns.generators:
                with torch.no_grad():
                    made["images"] = running["generator"](made["noise"])
                    made["logits"] = running["teacher"](made["images"])
                    made.update({f"map {path}": theirs[path] for path in pairs.values()})
                if detector:
                    detector.see(made["images"], made["logits"])
            turns.taken += 1
            logits = running["student"](made["images"])
            terms = {"soft": losses.soft_targets(logits, made["logits"], 1.0)}
            if pairs:
                apart = [
                    losses.attention_transfer(ours[a], made[f"map {b}"], variant="authors")
                    for a, b in pairs.items()
                ]
                terms["attention"] = attention_weight * torch.stack(apart).sum()
            return terms

        updates = [
            Update(("generator",), attack, recipe=generator_recipe, begin=turns.begin),
            Update(("student",), follow, after=lambda: constrain(student)),
        ]
        return play(
            student, teacher, generator, updates, recipe, steps=steps, detector=detector,
            seed=seed, **options,
        )  # fmt: skip


class _Turns:
    """Whose turn it is: after every so many steps of the student the generator makes one."""

    def __init__(self, steps: int, student_steps: int) -> None:
        if student_steps < 1 or steps % student_steps:
            raise ValueError(
                f"steps must be a multiple of student_steps; got {steps} and {student_steps}."
            )
        self.student_steps, self.taken = student_steps, 0

    def begin(self, epoch: int) -> None:
        self.taken = 0

    @property
    def generators(self) -> bool:
        return self.taken % self.student_steps == 0
