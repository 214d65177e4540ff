"""What the reproductions of sections 2 to 4 share; by the setting of 3 and 4, also their trials."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from kdnb.runs.task import data_spec

TEST_IMAGES = 10000

Precision = Annotated[
    Literal["32", "bf16"],
    BeforeValidator(str),  # on a command line, 32 is read as a number
    Field(description="of the arms; bf16 where the hardware has it"),
]


class Training(BaseModel):
    """Parameters of a recipe that most reproductions share."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    lr: float = Field(0.1, gt=0, le=10, description="peak of the one-cycle learning rate")
    augment: bool = Field(True, description="random crops (padding 4) and flips")


def setting(p: Any, dataset: str | None = None) -> dict[str, Any]:
    """Data and recipe of every training, from the parameters of a reproduction.

    Args:
        p: has `dataset`, `train_images`, `test_images`, `epochs` and `precision`, and may have what
            `Training` has.
        dataset: in place of the parameters' own.
    """
    evaluated = None if p.test_images == TEST_IMAGES else p.test_images
    name = dataset or p.dataset
    lr = p.lr if isinstance(p, Training) else 0.1
    recipe = {"epochs": p.epochs, "batch_size": 64, "lr": lr, "momentum": 0.9, "nesterov": True,
              "weight_decay": 5e-4, "schedule": "one_cycle", "precision": p.precision}  # fmt: skip
    if not isinstance(p, Training) or p.augment:
        recipe |= {"crop_padding": 4, "flip": True}
    return {
        "data": data_spec(name, split="train_all", limit=p.train_images, evaluated=evaluated),
        "recipe": recipe,
    }
