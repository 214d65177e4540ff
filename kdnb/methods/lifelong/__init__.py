"""Lifelong distillation (section 5.8): the network's earlier self is the teacher.

`contexts` defines the order of the data and the test scenarios, and `accuracy_matrix` evaluates the
results. `lwf`, `icarl` and `global_distillation` train classifiers, `lifelong_gan` a generator.
Methods for comparison are `fine_tune`, `replay`, `ewc`, and
`train_jointly`.
"""

from kdnb.methods.lifelong.accuracy_matrix import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
    learning_accuracy,
    summary,
)
from kdnb.methods.lifelong.conditional_nets import CodeEncoder, LabelCritic, LabelGenerator
from kdnb.methods.lifelong.contexts import Contexts, class_order, split_classes, together
from kdnb.methods.lifelong.ewc import ewc, fisher_information
from kdnb.methods.lifelong.exemplars import Exemplars, herding
from kdnb.methods.lifelong.global_distillation import global_distillation
from kdnb.methods.lifelong.icarl import NearestMean, icarl
from kdnb.methods.lifelong.lifelong_gan import lifelong_gan, pictures
from kdnb.methods.lifelong.lwf import lwf
from kdnb.methods.lifelong.replay import fine_tune, replay, train_jointly
from kdnb.methods.lifelong.sequence import LifelongFit

__all__ = [
    "CodeEncoder",
    "Contexts",
    "Exemplars",
    "LabelCritic",
    "LabelGenerator",
    "LifelongFit",
    "NearestMean",
    "average_accuracy",
    "backward_transfer",
    "class_order",
    "ewc",
    "fine_tune",
    "fisher_information",
    "forgetting",
    "forward_transfer",
    "global_distillation",
    "herding",
    "icarl",
    "learning_accuracy",
    "lifelong_gan",
    "lwf",
    "pictures",
    "replay",
    "split_classes",
    "summary",
    "together",
    "train_jointly",
]
