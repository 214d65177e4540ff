"""CMI (Fang et al. 2021): diverse generated images, on which student and teacher disagree."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import divergence, product
from kdnb.losses.checks import at_least_float32, check_logits, check_samples, check_temperature


def contrastive_diversity(
    local: Tensor,
    whole: Tensor,
    old_local: Tensor | None = None,
    old_whole: Tensor | None = None,
    temperature: float = 0.1,
) -> Tensor:
    r"""CMI's contrastive term (Fang 2021): a new image should be unlike all others, new or old.

    .. math:: L_{cr} = -\frac1n \sum_i \log
        \frac{\exp(\langle l_i, w_i \rangle / \tau)}{\sum_j \exp(\langle l_i, w_j \rangle / \tau)}
        - \frac1m \sum_{i'} (\ldots)

    (Fang et al. 2021): the local view l_i of an image is matched to its whole view w_i among the
    whole views of all images in the batch and the memory bank. New and old images are averaged
    separately.

    Args:
        local, whole: (batch, features), of unit length.
        old_local, old_whole: (memory, features), of the bank; None while it is empty.
        temperature: tau, which divides the similarities.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: if the shapes do not agree.

    Departures: as in the authors' code, no gradient flows through the whole views.
    """
    check_temperature(temperature)
    _check_views(local=local, whole=whole)
    if (old_local is None) != (old_whole is None):
        raise ValueError("old_local and old_whole belong together; got one of them.")
    count = len(local)
    if old_local is not None and getattr(old_local, "shape", ())[:1] != (0,):
        _check_views(old_local=old_local, old_whole=old_whole)
        local, whole = torch.cat([local, old_local]), torch.cat([whole, old_whole])
    logits = product(at_least_float32(local), at_least_float32(whole).detach().T) / temperature
    rows = F.cross_entropy(
        logits, torch.arange(len(logits), device=logits.device), reduction="none"
    )
    old = rows[count:].mean() if len(rows) > count else 0.0
    return rows[:count].mean() + old


def decision_adversarial(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    r"""The adversarial term of CMI and Fast (Fang 2021): disagree in degree, not in the decision.

    .. math:: L_{adv} = -\frac1n \sum_i [\arg\max T(x_i) = \arg\max S(x_i)]\,
        \mathrm{KL}\big(T(x_i) \Vert S(x_i)\big)

    (Fang et al. 2021, after Choi et al. 2020). Images on which the two already decide differently
    add nothing: making them harder still gains nothing.

    Args:
        student_logits, teacher_logits: (batch, classes).

    Returns:
        A scalar in nats, at most 0.

    Raises:
        ValueError: for wrong or mismatched shapes, or an empty batch.
    """
    check_logits(2, student_logits=student_logits, teacher_logits=teacher_logits)
    student, teacher = at_least_float32(student_logits), at_least_float32(teacher_logits)
    same = student.argmax(1) == teacher.argmax(1)
    return -(divergence(teacher, student) * same).mean()


def _check_views(**views: Tensor) -> None:
    check_samples(minimum=1, **views)
    shapes = {tuple(view.shape) for view in views.values()}
    if len(shapes) > 1 or len(shapes.pop()) != 2:
        got = ", ".join(f"{name} {tuple(view.shape)}" for name, view in views.items())
        raise ValueError(f"views must be (batch, features), of one shape; got {got}.")
