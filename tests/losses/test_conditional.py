"""The distance of logits, by hand."""

import pytest
from draws import draw

from kdnb.losses import logit_distance


def test_logit_distance_by_hand():
    z, v = draw(4, 3), draw(4, 3, seed=1)
    rows = [
        sum(abs(float(a - b)) for a, b in zip(x, y, strict=True)) for x, y in zip(z, v, strict=True)
    ]
    assert float(logit_distance(z, v)) == pytest.approx(sum(rows) / 4)
    with pytest.raises(ValueError, match="same shape"):
        logit_distance(z, v[:, :2])
