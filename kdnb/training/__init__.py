"""Training: the one loop, its recipe, and what it looks at.

`recipe` says how a network is trained, `loop` trains it, `inputs` makes batches of anybody's
examples, `teacher` and `teacher_cache` ask a frozen teacher, `layers` look inside a network,
`metrics` measure it, and `devices` say where and in which precision.
"""

from kdnb.training.loop import Losses, Networks, NonFiniteLoss, Update, fit
from kdnb.training.metrics import predict
from kdnb.training.recipe import Recipe

__all__ = ["Losses", "Networks", "NonFiniteLoss", "Recipe", "Update", "fit", "predict"]
