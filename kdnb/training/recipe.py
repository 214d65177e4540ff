"""How a network is trained: optimiser, schedule, augmentation and precision, without data or loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

OPTIMISERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}


class Recipe(BaseModel):
    """How a network is trained: everything but the networks, the data and the loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=1)
    batch_size: int = Field(128, ge=1, description="images a step")
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
    crop_padding: int = Field(0, ge=0, description="pixels: pad, then crop at random")
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
        if self.optimiser == "rmsprop":
            options["alpha"] = self.smoothing
        elif all(parameter.is_cuda for parameter in parameters):
            options["fused"] = True  # one kernel a step; on a CPU it is no faster
        return OPTIMISERS[self.optimiser](parameters, **options)
