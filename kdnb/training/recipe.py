"""How a network is trained: optimiser, schedule, augmentation and precision, without data or loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from kdnb.names import brief, refused

OPTIMISERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}


class Recipe(BaseModel):
    """How a network is trained: everything but the networks, the data and the loss."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(ge=1, le=10**6)
    batch_size: int = Field(128, ge=1, le=10**6, description="images a step")
    optimiser: Literal["sgd", "adam", "adamw", "rmsprop"] = "sgd"
    lr: float = Field(gt=0, description="peak learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD's momentum, without damping")
    nesterov: bool = False
    smoothing: float = Field(0.99, ge=0, lt=1, description="RMSProp's memory of the mean square")
    epsilon: float = Field(1e-8, gt=0, description="added to Adam's and RMSProp's denominator")
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "step", "cosine", "one_cycle"] = "cosine"
    milestones: tuple[float, ...] = Field((0.5, 0.75), description="of `step`: shares of the run")
    decay: float = Field(0.1, gt=0, le=1, description="of `step`: the factor at each milestone")
    crop_padding: int = Field(0, ge=0, le=1024, description="pixels: pad, then crop at random")
    flip: bool = False
    jitter: float = Field(0.0, ge=0, lt=1, description="brightness and contrast, relative")
    precision: Literal["auto", "32", "bf16"] = Field(
        "auto", description="auto: bf16 autocast where the hardware gains from it"
    )

    def learning_rate(self, step: int, steps: int) -> float:
        """The rate of step `step` of `steps`: a pure function, so that a resume restores nothing.

        `one_cycle` (Smith 2018) climbs linearly from 1/25 of the peak for the first 30% and then
        follows a cosine to 0; `cosine` is that descent alone.
        """
        done = step / steps
        if self.schedule == "step":
            return self.lr * self.decay ** sum(done >= at for at in self.milestones)
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * done)) / 2
        if self.schedule == "one_cycle":
            if done < 0.3:
                return self.lr * (1 / 25 + (1 - 1 / 25) * done / 0.3)
            return self.lr * (1 + math.cos(math.pi * (done - 0.3) / 0.7)) / 2
        return self.lr

    def optimiser_for(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """A torch optimiser over `parameters`."""
        options: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay}
        if self.optimiser == "sgd":
            options |= {"momentum": self.momentum, "nesterov": self.nesterov}
        else:
            options["eps"] = self.epsilon
            if any(p.dtype == torch.float16 for p in parameters) and self.epsilon < 6e-8:
                raise ValueError(
                    f"epsilon={self.epsilon} is 0 in float16, and {self.optimiser} divides by it: "
                    "train network.float() under autocast, or take optimiser='sgd'."
                )
        if self.optimiser == "rmsprop":
            options["alpha"] = self.smoothing
        if self.optimiser != "rmsprop" and all(parameter.is_cuda for parameter in parameters):
            options["fused"] = True  # one kernel a step; on a CPU it rounds differently
        else:
            options["foreach"] = True  # the same numbers as one tensor after another, in less time
        return OPTIMISERS[self.optimiser](parameters, **options)


# What a verb takes where neither a recipe nor a keyword says so.
EPOCHS = 10
RATES = {"sgd": 0.05, "adam": 0.001, "adamw": 0.001, "rmsprop": 0.001}

# Fields that only some recipes read: field -> the field that decides, and its values that read it.
_READ_BY = {
    "milestones": ("schedule", ("step",)),
    "decay": ("schedule", ("step",)),
    "momentum": ("optimiser", ("sgd",)),
    "nesterov": ("optimiser", ("sgd",)),
    "smoothing": ("optimiser", ("rmsprop",)),
    "epsilon": ("optimiser", ("adam", "adamw", "rmsprop")),
}


def recipe_for(recipe: Recipe | None, fields: Mapping[str, Any]) -> Recipe:
    """A recipe out of a recipe, fields as keywords, or both: then the keywords change the recipe.

    Where nothing says otherwise it is 10 epochs of 128 images a step by Adam, the learning rate
    falling from 0.001 along a cosine: that trains most networks, with batch normalisation or
    without. Whoever names a learning rate, a momentum or `nesterov` but no optimiser gets SGD, as
    in `Recipe`; SGD's rate is then 0.05 where none is named.

    Raises:
        TypeError: when `recipe` is no Recipe.
        ValueError: for a field's bad value, or one that the recipe would ignore.

    >>> default, named = recipe_for(None, {"epochs": 3}), recipe_for(None, {"lr": 0.1})
    >>> default.optimiser, default.lr, named.optimiser, named.momentum
    ('adam', 0.001, 'sgd', 0.9)
    """
    if recipe is not None and not isinstance(recipe, Recipe):
        raise TypeError(
            f"recipe must be a kdnb.training.Recipe, not a {type(recipe).__name__}: give its "
            "fields as keywords, such as epochs=10, lr=0.1."
        )
    known: dict[str, Any] = recipe.model_dump() if recipe else {"epochs": EPOCHS}
    if recipe is None and not {"optimiser", "lr", "momentum", "nesterov"} & set(fields):
        known["optimiser"] = "adam"
    whole = {**known, **fields}
    whole.setdefault("lr", RATES.get(whole.get("optimiser", "sgd"), RATES["sgd"]))
    try:
        found = Recipe(**whole)
    except ValidationError as error:
        raise ValueError(refused(error)) from None
    for name in fields:
        by, values = _READ_BY.get(name, (None, ()))
        if by and getattr(found, by) not in values:
            wanted = " or ".join(f"{by}={value!r}" for value in values)
            raise ValueError(
                f"{name}={brief(fields[name])} would be ignored: {wanted} reads it, and the recipe has "
                f"{by}={getattr(found, by)!r}."
            )
    return found
