"""Uninformed students: loops, the split of the mean error, and channels that tell nothing."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.losses import anomaly_maps, descriptor_regression, standardised


def test_regression_against_loops():
    s, t = draw(2, 4, 3, 2), draw(2, 4, 3, 2, seed=1)
    total = sum(
        (s[b, c, y, x] - t[b, c, y, x]).item() ** 2
        for b in range(2) for c in range(4) for y in range(3) for x in range(2)
    )  # fmt: skip
    assert descriptor_regression(s, t).item() == pytest.approx(total / 12)


def test_maps_against_the_formulas():
    students = [draw(2, 4, 3, 2, seed=n) for n in range(3)]
    t = draw(2, 4, 3, 2, seed=9)
    error, disagreement = anomaly_maps(students, t)
    for b in range(2):
        for y in range(3):
            for x in range(2):
                seen = [s[b, :, y, x].tolist() for s in students]
                mean = [sum(v) / 3 for v in zip(*seen, strict=True)]
                away = sum((m - v) ** 2 for m, v in zip(mean, t[b, :, y, x].tolist(), strict=True))
                squares = sum(v * v for one in seen for v in one) / 3 - sum(m * m for m in mean)
                assert error[b, y, x].item() == pytest.approx(away)
                assert disagreement[b, y, x].item() == pytest.approx(squares)


def test_error_and_disagreement_add_up_to_the_mean_error_of_the_students():
    students, t = [draw(2, 4, 3, 2, seed=n) for n in range(4)], draw(2, 4, 3, 2, seed=9)
    total = sum(descriptor_regression(s, t) for s in students) / 4
    torch.testing.assert_close(sum(anomaly_maps(students, t)).mean(), total)


def test_one_student_does_not_disagree_and_a_perfect_one_has_no_error():
    t = draw(2, 4, 3, 2)
    error, disagreement = anomaly_maps([t], t)
    assert error.eq(0).all() and disagreement.eq(0).all() and error.shape == (2, 3, 2)


def test_no_digits_are_lost_far_from_0():
    """The formula's difference of two large squares would be noise here."""
    far = [1e4 + draw(1, 2, 2, 2, seed=n).float() for n in range(3)]
    near = [one.double() - 1e4 for one in far]
    found, expected = (anomaly_maps(students, students[0])[1] for students in (far, near))
    torch.testing.assert_close(found.double(), expected, rtol=1e-2, atol=1e-6)


def test_standardised_descriptors():
    maps = 3 * draw(5, 4, 3, 2) + 7
    flat = maps.transpose(0, 1).flatten(1)
    found = standardised(maps, flat.mean(1), flat.std(1)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(found.mean(1), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(found.std(1), torch.ones(4, dtype=torch.float64))
    dead = standardised(torch.full((1, 1, 2, 2), 5.0), torch.tensor([3.0]), torch.tensor([0.0]))
    assert dead.eq(2).all()


def test_gradients():
    s, t = draw(2, 4, 3, 2).requires_grad_(), draw(2, 4, 3, 2, seed=1).requires_grad_()
    assert gradcheck(descriptor_regression, (s, t))
    assert gradcheck(lambda a, b: anomaly_maps([a, 2 * b, b], b), (s, t))


def test_wrong_maps():
    maps = torch.ones(2, 4, 3, 2)
    with pytest.raises(ValueError, match="the same number of channels"):
        descriptor_regression(maps, torch.ones(2, 3, 3, 2))
    with pytest.raises(ValueError, match="students_maps must be a list of at least 1; got 0"):
        anomaly_maps([], maps)
    with pytest.raises(ValueError, match=r"mean must be \(4,\), one number for each channel"):
        standardised(maps, torch.ones(3), torch.ones(4))
    with pytest.raises(ValueError, match="sd must hold standard deviations, at least 0"):
        standardised(maps, torch.ones(4), -torch.ones(4))
    assert descriptor_regression(torch.full((1, 2, 2, 2), math.nan), torch.ones(1, 2, 2, 2)).isnan()
