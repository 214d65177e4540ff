"""Training: the one loop, its recipe, and what it looks at.

`recipe` says how a network is trained, `loop` trains it, `inputs` makes batches of anybody's
examples, `teacher` and `teacher_cache` ask a frozen teacher, `layers` look inside a network,
`metrics` measure it, `watching` does so after every epoch, `fitted` is what a verb returns, and
`devices` say where and in which precision. `answers` and `targets` understand what users' networks
return and their labels are; `borrowed` puts back what training changes of a network besides numbers,
which `fit` does for all networks, trained ones too; `identity` tells runs apart, and `checkpoint`
keeps what they need to go on.
"""

from kdnb.training.fitted import Fit
from kdnb.training.loop import Losses, Networks, Update, fit
from kdnb.training.metrics import evaluate, predict
from kdnb.training.recipe import Recipe
from kdnb.training.reporting import NonFiniteLoss

__all__ = [
    "Fit",
    "Losses",
    "Networks",
    "NonFiniteLoss",
    "Recipe",
    "Update",
    "evaluate",
    "fit",
    "predict",
]
