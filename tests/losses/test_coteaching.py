"""Co-teaching: which samples are kept, whose loss they count for, and how many."""

import math

import pytest
import torch
from draws import draw, labels_of
from loops import softmax

from kdnb.losses import coteaching, kept_share, small_losses
from kdnb.losses.cross_entropy import hard_loss


def naive(logits, labels):
    return [-math.log(softmax(row)[y]) for row, y in zip(logits.tolist(), labels.tolist(), strict=True)]  # fmt: skip


@pytest.mark.parametrize(("share", "kept"), [(1.0, 7), (0.72, 5), (0.5, 3), (0.0, 1)])
def test_against_loops(share, kept):
    f, g = draw(7, 4), draw(7, 4, seed=1)
    y = labels_of(f)
    own, other = naive(f, y), naive(g, y)
    by_f = sorted(range(7), key=own.__getitem__)[:kept]
    by_g = sorted(range(7), key=other.__getitem__)[:kept]
    first, second = coteaching(f, g, y, share)
    assert first.item() == pytest.approx(sum(own[i] for i in by_g) / kept)
    assert second.item() == pytest.approx(sum(other[i] for i in by_f) / kept)
    authors = coteaching(f, g, y, share, "authors")
    assert authors[0].item() == pytest.approx(first.item() / kept)


def test_with_all_samples_it_is_the_plain_loss():
    f, g = draw(6, 3), draw(6, 3, seed=1)
    y = labels_of(f)
    first, second = coteaching(f, g, y, 1.0)
    torch.testing.assert_close(first, hard_loss(f, y))
    torch.testing.assert_close(second, hard_loss(g, y))


def test_a_network_learns_nothing_from_what_the_other_leaves_out():
    f, g = draw(6, 3).requires_grad_(), draw(6, 3, seed=1)
    y = labels_of(f)
    (gradient,) = torch.autograd.grad(coteaching(f, g, y, 0.5)[0], f)
    kept = small_losses(torch.tensor(naive(g, y)), 0.5)
    assert sorted(gradient.abs().sum(1).nonzero()[:, 0].tolist()) == sorted(kept.tolist())


def test_exchanging_the_networks_exchanges_the_losses():
    f, g = draw(5, 3), draw(5, 3, seed=1)
    y = labels_of(f)
    assert torch.stack(coteaching(f, g, y, 0.6)).equal(
        torch.stack(coteaching(g, f, y, 0.6)).flip(0)
    )


def test_the_share_falls_to_that_of_right_labels():
    assert [kept_share(e, 0.45) for e in (0, 5, 10, 50)] == pytest.approx([1, 0.775, 0.55, 0.55])
    assert kept_share(3, 0.0) == 1 and kept_share(20, 1.0) == 0
    assert kept_share(1, 0.5, ramp_epochs=2) == 0.75


def test_shares_are_not_lost_to_rounding():
    assert len(small_losses(torch.arange(10.0), 0.7)) == 7  # 0.7 * 10 is below 7 in binary
    assert small_losses(torch.ones(4), 0.5).tolist() == [0, 1]


def test_extreme_logits_and_nan():
    f = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    y = torch.tensor([0, 0])
    first, second = coteaching(f, f, y, 0.5)
    assert first == 0 and second == 0
    spoilt = f.clone()
    spoilt[1] = math.nan
    assert coteaching(spoilt, f, y, 0.5)[0].isnan()


def test_wrong_arguments():
    z, y = draw(4, 3), torch.tensor([0, 1, 2, 0])
    with pytest.raises(ValueError, match="logits must have the same shape"):
        coteaching(z, draw(4, 5), y, 0.5)
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\]; got 1.5"):
        coteaching(z, z, y, 1.5)
    with pytest.raises(ValueError, match="labels must lie in 0 to 2"):
        coteaching(z, z, y + 1, 0.5)
    with pytest.raises(ValueError, match='variant must be "paper" or "authors"'):
        coteaching(z, z, y, 0.5, "code")
    with pytest.raises(ValueError, match=r"noise_rate must lie in \[0, 1\]"):
        kept_share(1, 1.5)
