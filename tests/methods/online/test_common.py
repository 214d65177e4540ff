"""The weight that climbs."""

import pytest
import torch
from branched_networks import QUICK, tiny
from small_networks import batches

from kdnb.methods import online


def test_ramp_up():
    assert online.ramp_up(40, 80) == pytest.approx(torch.tensor(-1.25).exp().item())
    assert online.ramp_up(200, 80) == 1.0
    with pytest.raises(ValueError, match="at least 0; got -1"):
        online.one(tiny(), online.Gate(6, 3), batches(), QUICK, ramp_up=-1)
