"""What reproductions share: the arithmetic, and the setting of sections 3 and 4, trials included."""

from __future__ import annotations

import sys
from typing import Any

from kdnb.chapter import RECORDED, profile_of
from kdnb.schemes.offline import data_spec

TEST_IMAGES = 10000


def precision(p: Any) -> str:
    """The `precision` of the recipes of a run with these parameters of a chapter.

    bf16 by name where results are recorded: the recipe of a recorded number does not depend on the
    machine. In all other runs, such as a reader's, what this machine is fast at: a CPU without bf16
    arithmetic takes twice the time to emulate it.
    """
    profiles = sys.modules[type(p).__module__].PROFILES  # they stand beside the parameters' class
    return "bf16" if profile_of(p, profiles) in RECORDED else "auto"


def setting(p: Any) -> dict[str, Any]:
    """Data and recipe of every training, from the parameters of a chapter.

    Args:
        p: has `dataset`, `train_images`, `test_images` and `epochs`.
    """
    evaluated = None if p.test_images == TEST_IMAGES else p.test_images
    return {
        "data": data_spec(p.dataset, split="train_all", limit=p.train_images, evaluated=evaluated),
        "recipe": {"epochs": p.epochs, "batch_size": 64, "lr": 0.1, "momentum": 0.9,
                   "nesterov": True, "weight_decay": 5e-4, "schedule": "one_cycle",
                   "crop_padding": 4, "flip": True, "precision": precision(p)},
    }  # fmt: skip
