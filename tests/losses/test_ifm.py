"""The flow of information: weights of the layers, errors."""

import pytest
import torch
from draws import draw_wide

from kdnb.losses import (
    hybrid_transfer,
    information_flow,
)


def test_information_flow_weighs_the_layers():
    s, t = (
        [draw_wide(4, 3), draw_wide(4, 2), draw_wide(4, 5)],
        [draw_wide(4, 3, seed=i) for i in (1, 2, 3)],
    )
    parts = [hybrid_transfer(a, b).item() for a, b in zip(s, t, strict=True)]
    for epoch, weight in ((0, 100.0), (3, 100 * 0.7**3)):
        expected = weight * (parts[0] + parts[1]) + parts[2]
        assert information_flow(s, t, epoch).item() == pytest.approx(expected, rel=1e-12)


def test_ifm_refuses_wrong_options():
    s = torch.ones(4, 3)
    with pytest.raises(ValueError, match="epoch must be at least 0; got -1"):
        information_flow([s], [s], -1)
    with pytest.raises(ValueError, match="got 1 and 2"):
        information_flow([s], [s, s], 0)
