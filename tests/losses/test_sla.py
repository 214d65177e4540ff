"""The joint loss and the aggregate, against loops."""

import draws
import pytest
import torch
from torch.autograd import gradcheck

from kdnb import losses


def test_joint_loss_and_aggregate_against_loops():
    joint, labels = draws.draw(4, 3, 5, 4), torch.tensor([0, 4, 2])
    naive = 0.0
    for view in range(4):
        for b in range(3):
            flat = joint[view, b].flatten()
            naive -= float(flat.log_softmax(0)[labels[b] * 4 + view]) / 12
    assert losses.joint_loss(joint, labels).item() == pytest.approx(naive)
    mean = losses.aggregated(joint)
    for b in range(3):
        for k in range(5):
            assert mean[b, k].item() == pytest.approx(
                sum(float(joint[j, b, k, j]) for j in range(4)) / 4
            )
    assert gradcheck(lambda s: losses.joint_loss(s, labels), (joint.requires_grad_(),))
    for wrong in (torch.zeros(4, 3, 5), torch.zeros(4, 3, 5, 3)):
        with pytest.raises(ValueError, match=r"\(views, batch, classes, views\)"):
            losses.aggregated(wrong)
