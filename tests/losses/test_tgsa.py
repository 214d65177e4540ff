"""Representational dissimilarities: loops, what they do not see, and networks that know nothing."""

import math

import pytest
import torch
from draws import draw
from loops import SHAPES, lists
from torch.autograd import gradcheck

from kdnb.losses import dissimilarity_matrix, representation_similarity


def naive_correlation(a, b):
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    over = sum((x - ma) * (y - mb) for x, y in zip(a, b, strict=True))
    under = sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b)
    return over / math.sqrt(under)


def naive_pairs(features):
    images = lists(features)
    return [
        1 - naive_correlation(images[i], images[j])
        for i in range(len(images)) for j in range(i + 1, len(images))
    ]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), SHAPES)
def test_against_loops(ours, theirs):
    s, t = draw(*ours), draw(*theirs, seed=1)
    expected = naive_correlation(naive_pairs(s), naive_pairs(t))
    assert representation_similarity(s, t).item() == pytest.approx(expected, abs=1e-12)
    matrix = dissimilarity_matrix(s)
    above = torch.triu_indices(len(s), len(s), 1)
    torch.testing.assert_close(matrix[above[0], above[1]], torch.tensor(naive_pairs(s), dtype=torch.float64))  # fmt: skip
    torch.testing.assert_close(matrix, matrix.T)
    assert matrix.diagonal().eq(0).all()
    assert -1e-12 <= matrix.min() <= matrix.max() <= 2 + 1e-12


def test_gradients():
    s, t = draw(5, 4).requires_grad_(), draw(5, 3, seed=1).requires_grad_()
    assert gradcheck(representation_similarity, (s, t))
    assert gradcheck(dissimilarity_matrix, (s,))


def test_an_images_scale_and_shift_and_the_order_of_features_are_free():
    s, t = draw(6, 5), draw(6, 4, seed=1)
    value = representation_similarity(s, t)
    moved = draw(6, 1, seed=2).abs() * s + draw(6, 1, seed=3)
    torch.testing.assert_close(representation_similarity(moved, t[:, [2, 0, 3, 1]]), value)
    torch.testing.assert_close(representation_similarity(s.repeat(1, 3), t), value)
    torch.testing.assert_close(representation_similarity(t, s), value)
    flipped = draw(1, 5, seed=4).sign() * s  # features of other signs are other representations
    assert abs(representation_similarity(flipped, t) - value) > 1e-3


def test_the_same_layer_is_1_and_another_order_of_images_about_0():
    s = draw(40, 8)
    assert representation_similarity(s, 3 * s + 1).item() == pytest.approx(1)
    shuffled = [
        representation_similarity(s[torch.randperm(40, generator=torch.Generator().manual_seed(n))], s)
        for n in range(30)
    ]  # fmt: skip
    found = torch.stack(shuffled)
    assert found.abs().max() < 0.5 and abs(found.mean()) < 0.1


def test_a_network_that_tells_no_image_from_another_is_0():
    same = torch.ones(5, 3).requires_grad_()
    value = representation_similarity(same, draw(5, 3).float())
    (gradient,) = torch.autograd.grad(value, same)
    assert value == 0 and gradient.isfinite().all()
    assert representation_similarity(torch.arange(5.0)[:, None], draw(5, 3).float()) == 0
    alike = dissimilarity_matrix(torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 2.0]]))
    torch.testing.assert_close(alike, torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))  # fmt: skip


def test_extreme_features():
    for scale in (1e-18, 1e18):
        s = (scale * draw(6, 5)).float()
        assert representation_similarity(s, draw(6, 5)).item() == pytest.approx(
            representation_similarity(draw(6, 5), draw(6, 5)).item(), abs=1e-5
        )


def test_wrong_features():
    with pytest.raises(ValueError, match=r"at least 3 samples in the batch; got student \(2, 3\)"):
        representation_similarity(torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match="the same number of samples"):
        representation_similarity(torch.ones(4, 3), torch.ones(5, 3))
    with pytest.raises(ValueError, match="at least 2 samples"):
        dissimilarity_matrix(torch.ones(1, 3))
    assert representation_similarity(torch.full((4, 3), math.nan), draw(4, 3)).isnan()
