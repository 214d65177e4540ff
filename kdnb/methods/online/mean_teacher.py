"""Mean teacher (Tarvainen and Valpola 2017): the moving average of the weights teaches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import consistency_cost, labelled_cross_entropy
from kdnb.methods.online.common import Distortion, Ramp
from kdnb.nets import constrain
from kdnb.training import Recipe, Update, fit
from kdnb.training.borrowed import twin_of
from kdnb.training.inputs import batches_for


class MeanTeacher(nn.Module):
    """A network and the moving average of its weights.

    Args:
        student: trained; `teacher` starts as a copy of it.
        ema_decay: m of teacher <- m · teacher + (1 - m) · student after every step; at step t,
            counted from 1, at most 1 - 1 / (t + 1), as in the authors' code
            (CuriousAI/mean-teacher, `update_ema_variables`).
    """

    def __init__(self, student: nn.Module, ema_decay: float = 0.999):
        super().__init__()
        if not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay must lie in [0, 1); got {ema_decay}.")
        self.student, self.ema_decay = student, ema_decay
        self.teacher = twin_of(student).requires_grad_(False)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor, teachers_images: Tensor) -> tuple[Tensor, Tensor]:
        """The student's logits, and the teacher's without gradient."""
        with torch.no_grad():
            taught = self.teacher(teachers_images)
        return self.student(images), taught

    @torch.no_grad()
    def average(self) -> None:
        """Move the teacher's weights towards the student's."""
        self.step += 1
        decay = min(1 - 1 / (int(self.step) + 1), self.ema_decay)
        for mean, new in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            mean.lerp_(new, 1 - decay)


def mean_teacher(
    pair: MeanTeacher,
    examples: Any,
    recipe: Recipe,
    *,
    weight: float = 100.0,
    ramp_up: int = 5,
    view: Distortion | None = None,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Mean teacher (Tarvainen and Valpola 2017, equations 1 and 2).

    .. math:: L = H(y, f(x, \theta, \eta)) + w\, \lVert f(x, \theta, \eta)
        - f(x, \theta', \eta') \rVert^2, \quad \theta' \leftarrow m \theta' + (1 - m) \theta

    Images with label -1 count only in the second term.

    Args:
        pair: trained in place; `pair.teacher` is the result.
        weight: w after `ramp_up` epochs, of a mean over the classes (`softmax_mse_loss` there).
        view: distorts a batch of images at random, independently for student and teacher.
        options: passed to `training.fit`.

    Returns:
        The history: `hard` and `consistency`.

    Departures: as in the authors' code (`ema_model.train()`) the teacher runs in train mode, so
    that its dropout is the eta' of the paper and its batch normalisation keeps its own running
    statistics; only weights are averaged.
    """
    ramp = Ramp(weight, ramp_up)
    look = view or (lambda images: images)

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        logits, taught = networks["pair"](look(batch.images), look(batch.images))
        cost = consistency_cost(logits, taught.float().softmax(1))
        return {
            "hard": labelled_cross_entropy(logits, batch.labels),
            "consistency": ramp.now * cost,
        }

    def after() -> None:
        constrain(pair.student)
        pair.average()

    update = Update(("pair",), terms, after=after, begin=ramp.begin)
    batches = batches_for(examples, recipe, seed)
    return fit({"pair": pair}, batches, update, recipe, seed=seed, **options)
