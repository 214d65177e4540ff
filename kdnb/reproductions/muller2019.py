"""Müller, Kornblith and Hinton 2019, "When Does Label Smoothing Help?", section 4 on MNIST.

The trials are those of Hinton's experiment: the same teacher, trained once on plain labels and once
on labels smoothed by 0.1, and a student of each.

Departures: the paper's smoothed teacher uses smoothing instead of dropout; ours keeps dropout, so that
the two teachers differ only in their targets.
"""

from kdnb.reproductions import Arms, Reproduction, every_arm, hinton2015
from kdnb.reproductions.hinton2015 import Parameters, measure

__all__ = ["PROFILES", "REPRODUCTION", "Parameters", "arms"]

PROFILES = every_arm(hinton2015.PROFILES)

NEEDED = ("teacher", "distilled", "student", "smoothed_student", "smoothed_teacher",
          "distilled_from_smoothed", "wide_T2", "smoothed_T2")  # fmt: skip


def arms(p: Parameters) -> Arms:
    """The arms of the comparison."""
    return {name: arm for name, arm in hinton2015.arms(p).items() if name in NEEDED}


REPRODUCTION = Reproduction("muller2019", arms, measure)
