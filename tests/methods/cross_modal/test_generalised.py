"""Targets of generalised distillation: the loss's own gradient, and what each control keeps."""

import math

import pytest
import torch
from draws import draw_wide, labels_of

from kdnb.losses import generalised_distillation
from kdnb.methods.cross_modal import class_means, mixed_targets, shuffled_within, smoothed_like


@pytest.mark.parametrize("variant", ["paper", "authors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_their_cross_entropy_is_the_loss(share, variant):
    student, teacher = draw_wide(6, 5).requires_grad_(), draw_wide(6, 5, seed=1)
    labels = labels_of(student)
    loss = generalised_distillation(student, teacher, labels, share, 3.0, variant)
    targets = mixed_targets(teacher, labels, share, 3.0, variant)
    own = -(targets * student.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(own, loss)
    gradients = [torch.autograd.grad(one, student, retain_graph=True)[0] for one in (own, loss)]
    torch.testing.assert_close(*gradients)


def test_the_weight_of_a_sample():
    teacher, labels = draw_wide(4, 3), torch.tensor([0, 1, 2, 0])
    assert torch.allclose(mixed_targets(teacher, labels, 0.3, 5.0).sum(1), torch.ones(4).double())
    heavy = mixed_targets(teacher, labels, 0.3, 5.0, "authors").sum(1)
    assert torch.allclose(heavy, torch.full((4,), 0.7 + 0.3 * 25).double())


@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
def test_smoothed_labels_have_the_entropy_of_the_targets(spread):
    targets = (spread * draw_wide(40, 10)).softmax(1)
    labels = torch.arange(40) % 10
    found = smoothed_like(targets, labels)
    entropy = torch.special.entr(targets).sum(1).mean()
    torch.testing.assert_close(
        torch.special.entr(found).sum(1).mean(), entropy, rtol=1e-5, atol=1e-6
    )
    assert torch.allclose(found.sum(1), torch.ones(40).double())
    rest = found[torch.arange(10) != labels[:, None]]
    assert torch.allclose(rest, rest[0].expand_as(rest))
    assert found.argmax(1).equal(labels) or spread == 0.01


def test_sure_targets_are_the_labels_again():
    labels = torch.tensor([0, 2, 1])
    hard = torch.eye(3).double()[labels]
    torch.testing.assert_close(smoothed_like(hard, labels), hard)


def test_class_means_by_hand():
    targets = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]])
    found = class_means(targets, torch.tensor([0, 0, 1]))
    torch.testing.assert_close(found, torch.tensor([[0.7, 0.3], [0.7, 0.3], [0.1, 0.9]]))


def test_class_means_of_class_means_change_nothing():
    targets, labels = draw_wide(20, 4).softmax(1), torch.arange(20) % 3  # a class without a sample
    once = class_means(targets, labels)
    torch.testing.assert_close(class_means(once, labels), once)


def test_a_shuffle_keeps_the_class_and_no_sample():
    labels = torch.randint(4, (50,), generator=torch.Generator().manual_seed(0))
    labels[0] = 9  # alone in its class
    places = shuffled_within(labels, 3)
    assert places.sort().values.equal(torch.arange(50))
    assert labels[places].equal(labels)
    assert (places == torch.arange(50)).nonzero().flatten().tolist() == [0]
    assert not places.equal(shuffled_within(labels, 4))
    assert places.equal(shuffled_within(labels, 3))


def test_what_cannot_be_is_refused():
    logits, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"teacher_share must lie in \[0, 1\]"):
            mixed_targets(logits, labels, share)
    with pytest.raises(ValueError, match="temperature"):
        mixed_targets(logits, labels, 0.5, 0.0)
    with pytest.raises(ValueError, match="labels"):
        class_means(logits, torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="targets must have at least 2 classes"):
        smoothed_like(torch.zeros(2, 1), torch.tensor([0, 0]))
