"""Reversed gradients, the shift, and a student that does not know where its image comes from."""

import pytest
import torch
from draws import draw

from kdnb.losses import reverse_gradient


def test_the_gradient_turns_round():
    x = draw(3, 2).requires_grad_()
    y = reverse_gradient(x, 0.7)
    assert torch.equal(y, x)
    (gradient,) = torch.autograd.grad((y**3).sum(), x)
    torch.testing.assert_close(gradient, -0.7 * 3 * x.detach() ** 2)
    (nothing,) = torch.autograd.grad(reverse_gradient(x, 0.0).sum(), x)
    assert (nothing == 0).all()
    with pytest.raises(ValueError, match="at least 0; got -1"):
        reverse_gradient(x, -1.0)
