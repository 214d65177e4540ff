"""Channel statistics, against loops."""

import math

import pytest
import torch
from draws import draw
from loops import flat

from kdnb import losses


def test_feature_statistics_against_loops_and_restyling():
    student, teacher = draw(3, 4, 5, 2), draw(3, 4, 3, 3, seed=1)
    total = 0.0
    for pair in zip(student, teacher, strict=True):
        for s, t in zip(*(flat(sample) for sample in pair), strict=True):
            means = [sum(v) / len(v) for v in (s, t)]
            spread = [
                math.sqrt(sum((x - m) ** 2 for x in v) / len(v) + 1e-5)
                for v, m in zip((s, t), means, strict=True)
            ]
            total += (means[0] - means[1]) ** 2 + (spread[0] - spread[1]) ** 2
    value = losses.feature_statistics(student, teacher).item()
    assert value == pytest.approx(total / 3, rel=1e-10)
    restyled = losses.restyle(teacher, student)
    assert losses.feature_statistics(restyled, student).item() < 1e-8
    torch.testing.assert_close(losses.restyle(teacher, teacher), teacher)
