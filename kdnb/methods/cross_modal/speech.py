"""Generalised distillation of recordings (Markov and Matsui 2016; last part of Fukuda et al. 2017).

The privileged view is the clean or broadband recording; the student's view is the same recording
with noise or in a narrow band. `views.noisy_at` and `views.narrow_band` make such pairs from any
signal.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from kdnb.losses import generalised_distillation
from kdnb.losses.checks import Variant, check_number, check_temperature
from kdnb.methods.cross_modal.views import Seeing, pair_of
from kdnb.methods.offline.distil import distil
from kdnb.methods.teachers import check_pair
from kdnb.training import Fit, Recipe


def distil_privileged(
    student: nn.Module,
    teacher: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    views: tuple[str | int, str | int],
    teacher_share: float = 0.5,
    temperature: float = 1.0,
    variant: Variant = "paper",
    **options: Any,
) -> Fit:
    """Train a student on its view from labels and from a teacher's answers to the privileged view.

    This is generalised distillation with any networks (Lopez-Paz et al. 2016, equation 4). With a
    noisy and a clean recording it is the method of Markov and Matsui; with a narrow and the full
    band, and `teacher_share=1`, it is the broadband teacher of Fukuda et al. 2017.

    Args:
        student: trained in place; takes only its view.
        teacher: trained on the privileged view, its only input; frozen.
        data: as of :func:`kdnb.methods.offline.distil.train`, whose inputs are a dict or a tuple of
            views of the same samples.
        views: the student's and the teacher's view, as keys or positions.
        teacher_share: lambda in [0, 1].
        temperature: T > 0, of the teacher's answers alone.
        variant: as in `kdnb.losses.generalised_distillation`.
        options: passed to :func:`kdnb.methods.offline.distil.distil`, such as `seed` or `evaluate`,
            and the recipe's fields.

    Returns:
        The history, with the loss as `loss`; the student in `Seeing` as `fit.networks["student"]`.

    Raises:
        ValueError: for a share outside [0, 1], a temperature that is not above 0, or inputs without
            these views.

    Departures: the papers distil the states of a recogniser frame by frame, with labels from forced
    alignment; here a sample is anything that the networks classify. Markov's loss is that of its
    abstract and of Lopez-Paz. Fukuda's abstract states that a broadband teacher's soft labels train
    narrow-band students; the loss is recalled. Both full texts were not available.
    """
    check_number(least=0, most=1, teacher_share=teacher_share)
    check_temperature(temperature)

    def loss(student_logits, teacher_logits, labels):
        return generalised_distillation(
            student_logits, teacher_logits, labels, teacher_share, temperature, variant
        )

    own, other = pair_of("views", views)
    check_pair(student, teacher)
    return distil(
        Seeing(student, own), Seeing(teacher, other), data, recipe, method=loss, label_weight=0,
        **options,
    )  # fmt: skip
