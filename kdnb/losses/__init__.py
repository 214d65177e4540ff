"""What is transferred (section 2 of the survey). Pure functions of tensors; torch alone.

`response` is section 2.1, with its successors in `logits`; `feature` is 2.2; `relation` is 2.3.
Every loss can be imported from here by its name.
"""

from kdnb.losses import feature, logits, relation
from kdnb.losses.feature import *  # noqa: F403 - each room names what it offers in __all__
from kdnb.losses.logits import *  # noqa: F403
from kdnb.losses.relation import *  # noqa: F403
from kdnb.losses.response import label_smoothing, logit_regression, soft_targets

__all__ = [
    "label_smoothing",
    "logit_regression",
    "soft_targets",
    *logits.__all__,
    *feature.__all__,
    *relation.__all__,
]
