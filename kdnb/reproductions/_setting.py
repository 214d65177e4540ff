"""What the reproductions of sections 3 and 4 share, so that their trials can be shared too."""

from __future__ import annotations

from typing import Any

from kdnb.schemes.offline import data_spec

TEST_IMAGES = 10000


def setting(p: Any) -> dict[str, Any]:
    """Data and recipe of every training, from the parameters of a chapter.

    Args:
        p: has `dataset`, `train_images`, `test_images`, `epochs` and `precision`.
    """
    evaluated = None if p.test_images == TEST_IMAGES else p.test_images
    return {
        "data": data_spec(p.dataset, split="train_all", limit=p.train_images, evaluated=evaluated),
        "recipe": {"epochs": p.epochs, "batch_size": 64, "lr": 0.1, "momentum": 0.9,
                   "nesterov": True, "weight_decay": 5e-4, "schedule": "one_cycle",
                   "crop_padding": 4, "flip": True, "precision": p.precision},
    }  # fmt: skip
