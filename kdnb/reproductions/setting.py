"""Shared by the reproductions of sections 2 to 4; those of 3 and 4 also share trials by this setting."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BeforeValidator, Field

from kdnb import nets
from kdnb.names import nearest
from kdnb.runs.task import data_spec

TEST_IMAGES = 10000

Precision = Annotated[
    Literal["32", "bf16"],
    BeforeValidator(str),  # on the command line, 32 is parsed as a number
    Field(description="of the arms; bf16 where the hardware has it"),
]


def _known(name: str) -> str:
    if name not in nets.names() and not name.startswith("wrn-"):
        raise ValueError(f"there is no such network ({nearest(name, nets.names())})")
    with torch.device("meta"):  # only its sizes
        nets.build(name, in_channels=3, image_size=32)
    return name


Network = Annotated[str, AfterValidator(_known)]  # of kdnb's own, for images of CIFAR's size


def setting(
    p: Any,
    *,
    dataset: str | None = None,
    lr: float = 0.1,
    augment: bool = True,
    batch_size: int = 64,
) -> dict[str, Any]:
    """Data and recipe of every training, from the parameters of a reproduction.

    Args:
        p: has `dataset`, `train_images`, `test_images`, `epochs` and `precision`.
        dataset: replaces that of the parameters.
        lr: the peak of the learning rate.
        augment: random crops (padding 4) and flips.
        batch_size: images per step.
    """
    evaluated = None if p.test_images == TEST_IMAGES else p.test_images
    name = dataset or p.dataset
    return {
        "data": data_spec(name, split="train_all", limit=p.train_images, evaluated=evaluated),
        "recipe": {"epochs": p.epochs, "batch_size": batch_size, "lr": lr, "momentum": 0.9,
                   "nesterov": True, "weight_decay": 5e-4, "schedule": "one_cycle",
                   "crop_padding": 4 if augment else 0, "flip": augment,
                   "precision": p.precision},
    }  # fmt: skip
