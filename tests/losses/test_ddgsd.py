"""The mean discrepancy is that of the linear kernel."""

import draws
import pytest
from torch.autograd import gradcheck

from kdnb import losses


def test_mean_discrepancy_is_the_linear_kernels():
    one, other = draws.draw(5, 4), draws.draw(5, 4, seed=1)
    kernel = sum(
        float(a @ b) * sign
        for x, y, sign in ((one, one, 1), (other, other, 1), (one, other, -2))
        for a in x
        for b in y
    )
    assert losses.mean_discrepancy(one, other).item() == pytest.approx(kernel / 25)
    shuffled = other[[3, 1, 4, 0, 2]]
    assert losses.mean_discrepancy(one, shuffled).item() == pytest.approx(kernel / 25)
    assert gradcheck(losses.mean_discrepancy, (one.requires_grad_(), other.requires_grad_()))
    with pytest.raises(ValueError, match=r"one \(5, 4\) and other \(4, 4\)"):
        losses.mean_discrepancy(one, other[:4])
