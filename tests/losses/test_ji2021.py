"""Attention-based feature matching (Ji 2021), against loops and a derivation of the attention."""

import math

import pytest
import torch
from draws import draw
from loops import flat, normal, softmax
from torch import nn

from kdnb import losses

STUDENT = [draw(3, 2, 4, 4), draw(3, 5, 2, 2, seed=1)]
TEACHER = [draw(3, 4, 4, 4, seed=2), draw(3, 3, 2, 2, seed=3), draw(3, 2, 1, 1, seed=4)]
ATTENTION = draw(3, 3, 2, seed=5).softmax(2)


def squares(sample, size):
    """The channel mean of squares, averaged over blocks to a size, of length 1."""
    channels = flat(sample)
    side = math.isqrt(len(channels[0]))
    mean = [sum(c[i] ** 2 for c in channels) / len(channels) for i in range(side * side)]
    block = side // size
    pooled = [
        sum(
            mean[(r * block + i) * side + c * block + j] for i in range(block) for j in range(block)
        )
        / block**2
        for r in range(size)
        for c in range(size)
    ]
    return normal(pooled)


def test_attended_matching_against_loops():
    expected = 0.0
    for b in range(3):
        for t, teacher in enumerate(TEACHER[:2]):
            size = teacher.shape[-1]
            theirs = squares(teacher[b], size)
            for s, student in enumerate(STUDENT):
                if student.shape[-1] < size:  # enlarged: each pixel is repeated
                    small = squares(student[b], 2)
                    ours = normal(
                        [small[(r // 2) * 2 + c // 2] for r in range(4) for c in range(4)]
                    )
                else:
                    ours = squares(student[b], size)
                apart = sum((x - y) ** 2 for x, y in zip(ours, theirs, strict=True)) / size**2
                expected += ATTENTION[b, t, s].item() * apart / 3
    value = losses.attended_matching(STUDENT, TEACHER[:2], ATTENTION[:, :2])
    assert value.item() == pytest.approx(expected, rel=1e-10)


def test_a_map_of_one_pixel_tells_nothing():
    """Its unit vector is 1 for every network."""
    assert losses.attended_matching(STUDENT, TEACHER[2:], ATTENTION[:, 2:]).item() < 1e-30


def test_free_of_each_map_s_scale():
    scaled = [3 * STUDENT[0], STUDENT[1] / 7]
    value = losses.attended_matching(STUDENT, TEACHER, ATTENTION)
    assert losses.attended_matching(scaled, TEACHER, ATTENTION).item() == pytest.approx(
        value.item()
    )


def test_one_pair_is_the_authors_attention_transfer():
    """With one layer each, where maps agree in size: the same mean of squared differences."""
    student, teacher = STUDENT[0], TEACHER[0]
    value = losses.attended_matching([student], [teacher], torch.ones(3, 1, 1))
    at = losses.attention_transfer(student, teacher, variant="authors")
    assert value.item() == pytest.approx(at.item(), rel=1e-10)


def test_layer_attention_against_its_formula():
    torch.manual_seed(0)
    module = losses.LayerAttention([x.shape for x in STUDENT], [x.shape for x in TEACHER], 6)
    module = module.double().train()

    def normalised(values, layer):
        """The linear layer and batch normalisation without memory, at its initial scale."""
        out = values @ layer[0].weight.T + layer[0].bias
        return (out - out.mean(0)) / (out.var(0, unbiased=False) + 1e-5).sqrt()

    keys = [
        normalised(x.mean((2, 3)), k).clamp_min(0)
        for x, k in zip(STUDENT, module.keys, strict=True)
    ]
    queries = [normalised(x.mean((2, 3)), q) for x, q in zip(TEACHER, module.queries, strict=True)]
    joint = torch.stack(keys, 1).flatten(0, 1)  # the student's layers share one normalisation
    weighed = normalised(joint, module.bilinear).view(3, 2, 3, 6)
    found = module(STUDENT, TEACHER)
    for b in range(3):
        for t in range(3):
            row = []
            for s in range(2):
                place = module.teacher_places[t] @ module.student_places[s]
                row.append(((weighed[b, s, t] @ queries[t][b] + place) / math.sqrt(6)).item())
            assert found[b, t].tolist() == pytest.approx(softmax(row), rel=1e-8)


def test_attention_learns_the_pair_that_agrees():
    """The teacher's map is the second of the student's: attention goes there."""
    torch.manual_seed(0)
    student = [draw(16, 3, 4, 4, seed=6), draw(16, 3, 4, 4, seed=7)]
    module = losses.LayerAttention([x.shape for x in student], [student[1].shape], 8).double()
    optimiser = torch.optim.Adam(module.parameters(), 0.05)
    for _ in range(60):
        optimiser.zero_grad()
        losses.attended_matching(student, student[1:], module(student, student[1:])).backward()
        optimiser.step()
    assert module(student, student[1:])[:, 0, 1].mean() > 0.9


def test_shapes_are_refused():
    with pytest.raises(ValueError, match=r"attention must be .* \(3, 3, 2\); got \(3, 2, 3\)"):
        losses.attended_matching(STUDENT, TEACHER, ATTENTION.mT)
    module = losses.LayerAttention([(2, 4, 4)], [(4, 4, 4)], 4).double()
    with pytest.raises(ValueError, match="student_maps"):
        module([TEACHER[0]], [TEACHER[0]])
    assert isinstance(module.bilinear, nn.Module)
