"""Yuan et al. 2020, "Revisiting Knowledge Distillation via Label Smoothing Regularization" (Tf-KD).

Is it the teacher's knowledge that helps? A poor teacher teaches (De-KD), the student teaches its
teacher (Re-KD), a network teaches one of its kind (Tf-KD_self), and a teacher is designed by hand
(Tf-KD_reg), on a part of CIFAR-10. The baseline is the trial `generation0` of the born-again networks.

The published loss, in our units: the released code computes (1 - α) H + α τ² KL / K, since its
`KLDivLoss` averages over the K classes as well (100 of them: the published numbers are for
CIFAR-100). We keep that ratio of the two terms and divide by 1 - α, so that the labels have the same
weight as in the baseline and every arm learns at the same rate: hard_weight 1 and soft_weight
α / (1 - α) / 100. The paper's equation, without τ², has a soft term that is 4 times smaller at τ = 20.
"""

from __future__ import annotations

from typing import Any

from kdnb.methods.self_distillation import fresh_seed
from kdnb.reproductions import Arms, Reproduction, every_arm, furlanello2018ban
from kdnb.reproductions.furlanello2018ban import Parameters, setting
from kdnb.runs.trials import Result, Trial

# α and τ of the released configurations: ResNet-18 teaches MobileNetV2, MobileNetV2 teaches
# itself, MobileNetV2 teaches ResNet-18; the virtual teacher; label smoothing.
TEMPERATURE = 20.0
NORMAL_SHARE, REVERSED_SHARE, VIRTUAL_SHARE = 0.95, 0.6, 0.1
PUBLISHED_CLASSES = 100
SMOOTHING = 0.1

__all__ = ["PROFILES", "REPRODUCTION", "Parameters", "arms", "relative_weight"]

PROFILES = every_arm(furlanello2018ban.PROFILES)
PROFILES["laptop"] = PROFILES["laptop"].model_copy(update={"seeds": 10})  # as registered


def relative_weight(share: float) -> float:
    """The soft_weight that, with hard_weight 1, gives the released code's ratio at α = share.

    >>> round(relative_weight(0.95), 3), round(relative_weight(0.6), 3)
    (0.19, 0.015)
    """
    return share / (1 - share) / PUBLISHED_CLASSES


def arms(p: Parameters) -> Arms:
    """The student: alone, taught well, poorly, by itself, by a virtual one; its teacher: alone, taught."""
    common = setting(p)
    small = {**common, "network": {"name": p.network}}
    large = {**common, "network": {"name": p.larger}}

    def alone(arguments: dict[str, Any], **more: Any) -> Any:
        return lambda seed: Trial("supervised", {**arguments, **more}, seed)

    def taught(arguments: dict[str, Any], teacher: Any, share: float) -> Any:
        more = {
            "loss": {"name": "soft_targets", "temperature": TEMPERATURE},
            "hard_weight": 1.0, "soft_weight": relative_weight(share),
        }  # fmt: skip
        return lambda seed: Trial(
            "distilled",
            {**arguments, **more, "teacher": teacher(seed)},
            seed,
        )

    def self_taught(seed: int) -> Trial:
        arguments = {
            **small, "teacher": baseline(seed), "temperature": TEMPERATURE,
            "hard_weight": 1.0, "soft_weight": relative_weight(NORMAL_SHARE),
        }  # fmt: skip
        return Trial("born_again", arguments, seed)

    def virtual(seed: int) -> Trial:
        arguments = {
            **small, "temperature": TEMPERATURE, "correct": 0.99,
            "hard_weight": 1 - VIRTUAL_SHARE, "soft_weight": VIRTUAL_SHARE,
        }  # fmt: skip
        return Trial("virtual_teacher", arguments, seed)

    # One teacher per seed: Re-KD needs the larger network alone for every seed anyway.
    baseline, teacher = alone(small), alone(large)
    briefly = {**common["recipe"], "epochs": p.poor_epochs}
    poor = alone({**large, "recipe": briefly})
    return {
        "baseline": baseline,
        # From the initial weights of self_taught, which differ from those of its teacher.
        "fresh_baseline": lambda seed: baseline(fresh_seed(seed, 1)),
        "teacher": teacher,
        "poor_teacher": poor,
        "normal": taught(small, teacher, NORMAL_SHARE),
        "defective": taught(small, poor, NORMAL_SHARE),
        "reversed": taught(large, baseline, REVERSED_SHARE),
        "self_taught": self_taught,
        "smoothing": alone(small, smoothing=SMOOTHING),
        "virtual": virtual,
    }


def measure(arm: str, result: Result) -> dict[str, float]:
    """Errors on test and training images, and the test images' cross-entropy."""
    return {
        name: result.metrics[name] for name in ("test_errors", "train_errors", "test_cross_entropy")
    }


REPRODUCTION = Reproduction("yuan2020tfkd", arms, measure)
