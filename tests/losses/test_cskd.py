"""The class-wise loss, against a loop."""

import draws
import pytest
from torch.autograd import gradcheck

from kdnb import losses


def test_class_wise_against_a_loop():
    student, partner = draws.draw(4, 5, scale=3), draws.draw(4, 5, scale=3, seed=1)
    naive = 0.0
    for z, v in zip(student / 4, partner / 4, strict=True):
        p, q = v.softmax(0), z.softmax(0)
        naive += 16 * float((p * (p / q).log()).sum()) / 4
    assert losses.class_wise(student, partner).item() == pytest.approx(naive)
    partner.requires_grad_()
    assert gradcheck(lambda z: losses.class_wise(z, partner.detach()), (student.requires_grad_(),))
    losses.class_wise(student, partner).backward()
    assert partner.grad is None
    with pytest.raises(ValueError, match="same shape"):
        losses.class_wise(student, partner[:, :2])
