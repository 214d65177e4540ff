"""ZSKT (Micaelli and Storkey 2019): a generator against the student.

The generator searches for images on which student and teacher disagree; the student closes the gap
there. The images need not look like data.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.methods.data_free.bank import bank_of
from kdnb.methods.data_free.collapse import CollapseDetector
from kdnb.methods.data_free.generators import Generator
from kdnb.methods.data_free.synthesis import play, resting
from kdnb.methods.online.common import running_statistics_kept
from kdnb.nets import constrain, features
from kdnb.training import Networks, Recipe, Update

# Of the authors' loss, which is a mean over the classes too.
ATTENTION_WEIGHT = 250.0
MAX_NORM = 5.0


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
    attention_weight: float | None = None,
    max_norm: float | None = MAX_NORM,
    detector: CollapseDetector | None = None,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Zero-shot knowledge transfer by adversarial belief matching (Micaelli and Storkey 2019).

    .. math:: \max_G\; \mathrm{KL}\big(T(x) \Vert S(x)\big), \qquad
        \min_S\; \mathrm{KL}\big(T(x) \Vert S(x)\big) + w \sum_l A_l, \quad x = G(z)

    with attention transfer A_l on pairs of layers, KL summed over the K classes. For every batch of
    noise the generator makes one step, and the student `student_steps` steps on the updated
    generator's images.

    Args:
        student, generator: trained in place.
        teacher: frozen.
        recipe: for the student and the run; published: Adam at 2e-3, cosine, batch 128.
        generator_recipe: published: Adam at 1e-3, cosine.
        steps: of the student, an epoch; a multiple of `student_steps`.
        attention: student's module path -> teacher's, of maps; None leaves the term out.
        attention_weight: w, of the sum of `losses.attention_transfer(variant="authors")`; 250 K if
            None.
        max_norm: both gradients are clipped to K times this norm; None leaves them as they are.
        detector: sees every new batch of images.
        options: passed to `training.fit`.

    Returns:
        The history: `adversarial` (minus the divergence), `soft` and `attention`.

    Raises:
        ValueError: if `steps` is not a multiple of `student_steps`.

    Departures: loop, rates, weights and clipping follow the authors' code (`solver.py`), read in
    November 2026. Their code also divides the divergence by K (`kl_div` with its default mean),
    with an attention weight of 250 and gradients clipped to 5. This loss and both numbers are K
    times theirs, which makes no difference to Adam. The temperature is 1.
    """
    turns = _Turns(steps, student_steps)
    pairs = dict(attention or {})
    made: dict[str, Tensor] = {}
    count = _classes(teacher, generator)
    if attention_weight is None:
        attention_weight = ATTENTION_WEIGHT * count
    longest = None if max_norm is None else max_norm * count

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
            Update(
                ("generator",), attack, recipe=generator_recipe, max_norm=longest, begin=turns.begin
            ),
            Update(("student",), follow, max_norm=longest, after=lambda: constrain(student)),
        ]
        return play(
            student, teacher, generator, updates, recipe, steps=steps, detector=detector,
            seed=seed, **options,
        )  # fmt: skip


@torch.no_grad()
def _classes(teacher: nn.Module, generator: Generator) -> int:
    noise = torch.zeros(2, generator.latent, device=next(generator.parameters()).device)
    with running_statistics_kept(generator):
        images = generator.forward(noise)  # not a call, so that no hooks count it
    return bank_of(images, teacher).logits.shape[1]


class _Turns:
    """Counts turns: the generator makes one step after a number of student steps."""

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
