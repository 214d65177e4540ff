"""ADMD: both steps by hand, and features that another modality's head can read."""

import copy

import torch
from digit_views import ADAM, assert_moved, digits, net, right

import kdnb
from kdnb.losses import modality_fooling_loss, modality_judging_loss
from kdnb.methods.adversarial import Critic
from kdnb.methods.cross_modal import admd
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=600, lr=0.01, momentum=0.0, schedule="constant", precision="32")
AT = {"views": ("left", "right"), "paths": ("1", "1")}


def test_admd_by_hand():
    hall, privileged = net(98), net(98, 1)
    torch.manual_seed(2)
    critic = Critic(20, 11, widths=(8,))
    own, judge = copy.deepcopy(hall), copy.deepcopy(critic)
    admd(hall, privileged, critic, digits(), STEP, critic_recipe=STEP, **AT)
    views, labels = digits()
    made, real = own[:2](views["left"]), privileged[:2](views["right"]).detach()
    assert_moved(hall, own, modality_fooling_loss(judge(made), labels))
    assert torch.equal(hall[2].weight, own[2].weight)  # the head stands behind what is judged
    assert_moved(critic, judge, modality_judging_loss(judge(real), judge(made.detach()), labels))


def test_admd_makes_features_that_the_other_halfs_head_can_read():
    """No label reaches the head, which is the privileged network's: only the features move."""
    views, labels = digits()
    privileged = net(98, 1)
    kdnb.train(privileged, (views["right"], labels), ADAM)
    hall = copy.deepcopy(privileged)
    untrained = right(hall, "left")
    torch.manual_seed(2)
    slow = ADAM.model_copy(update={"lr": 0.003, "epochs": 40})
    admd(hall, privileged, Critic(20, 11), digits(), slow, critic_recipe=slow, **AT)
    assert torch.equal(hall[2].weight, privileged[2].weight)
    assert right(hall, "left") > untrained + 0.2
