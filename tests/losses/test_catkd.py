"""Class attention, against loops."""

import pytest
import torch
from draws import draw
from loops import normal

from kdnb import losses


def test_class_attention_against_loops():
    student, teacher = draw(2, 3, 6, 4), draw(2, 3, 4, 2, seed=1)

    def pooled(sample, k):
        height, width = sample.shape[1] // 2, sample.shape[2] // 2
        cells = [(i, j) for i in range(2) for j in range(2)]
        return normal(
            [
                sum(
                    sample[k, i * height + a, j * width + b].item()
                    for a in range(height)
                    for b in range(width)
                )
                for i, j in cells
            ]
        )

    total = sum(
        sum((x - y) ** 2 for x, y in zip(pooled(s, k), pooled(t, k), strict=True))
        for s, t in zip(student, teacher, strict=True)
        for k in range(3)
    )
    assert losses.class_attention(student, teacher).item() == pytest.approx(total / 6)
    authors = losses.class_attention(student, teacher, variant="authors").item()
    assert authors == pytest.approx(total / 24)


def test_class_activation_maps_average_to_the_logits():
    maps, classifier = draw(2, 4, 3, 5), draw(6, 4, seed=1)
    logits = losses.class_activation_maps(maps, classifier).mean(dim=(2, 3))
    torch.testing.assert_close(logits, maps.mean(dim=(2, 3)) @ classifier.T)
