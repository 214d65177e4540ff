"""Training: the training loop, its recipe, and its inputs and measurements.

`recipe` says how a network is trained, `loop` trains it, `inputs` makes batches of user
data, `teacher` and `teacher_cache` query a frozen teacher, `layers` look inside a network,
`metrics` measure it, `watching` does so after every epoch, `fitted` is what training functions
return, and `devices` choose device and precision. `answers` and `targets` interpret the outputs of
users' networks and their labels; `borrowed` restores what training changes in a network, except its
numbers, and `fit` does so for all networks, including trained ones; `identity` tells runs apart,
and `checkpoint` stores what they need to resume.
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
