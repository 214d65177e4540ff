"""Retrieval: what a batch holds, recall by hand, which negatives are drawn, and students of embeddings."""

import pytest
import torch
from draws import draw
from torch import nn

from kdnb import Recipe
from kdnb.methods.applications import retrieval
from kdnb.methods.applications.retrieval import (
    ClassBatches,
    Normalised,
    class_mean_logits,
    distance_weighted,
    embed,
    learn_embedding,
    recall_at,
    relations,
    triplet_loss,
)

PLAN = Recipe(epochs=30, optimiser="adam", lr=0.02, precision="32")


def groups(classes=6, each=12, seed=0):
    """Points of several classes about their centres, and the classes."""
    generator = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(classes, 1, 8, generator=generator)
    points = centres + 0.5 * torch.randn(classes, each, 8, generator=generator)
    return points.flatten(0, 1), torch.arange(classes).repeat_interleave(each)


def network(outputs=4, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, outputs))


def test_a_batch_has_several_images_of_each_of_its_classes():
    points, labels = groups()
    batches = ClassBatches(points, labels, torch.arange(72), classes=3, each=4)
    batches.generator.manual_seed(0)
    found = list(batches)
    assert len(found) == len(batches) == 6
    for inputs, places in found:
        torch.testing.assert_close(inputs, points[places])
        kinds, counts = labels[places].unique(return_counts=True)
        assert len(kinds) == 3 and counts.tolist() == [4, 4, 4] and len(places.unique()) == 12
    assert not torch.equal(found[0][1], found[1][1])
    batches.generator.manual_seed(0)
    assert all(torch.equal(a[1], b[1]) for a, b in zip(found, batches, strict=True))


def test_batches_that_cannot_be():
    points, labels = groups()
    with pytest.raises(ValueError, match="got 6 classes, the smallest of 12 images"):
        ClassBatches(points, labels, classes=7)
    with pytest.raises(ValueError, match="got 6 classes, the smallest of 12 images"):
        ClassBatches(points, labels, classes=2, each=13)
    with pytest.raises(ValueError, match="targets must be one for each input; got 3 and 72"):
        ClassBatches(points, labels, torch.ones(3))


def test_recall_against_loops():
    points, labels = draw(30, 3).float(), torch.arange(30) % 4
    found = recall_at(points, labels, (1, 2, 5))
    for k, value in zip((1, 2, 5), found, strict=True):
        hits = 0
        for one in range(30):
            others = sorted(
                (float((points[one] - points[two]).norm()), two) for two in range(30) if two != one
            )
            hits += any(labels[two] == labels[one] for _, two in others[:k])
        assert value == pytest.approx(hits / 30)
    assert recall_at(points, labels, (29,)) == [1.0]


def test_the_query_itself_is_never_found():
    points = torch.arange(4.0)[:, None]
    assert recall_at(points, torch.arange(4)) == [0.0]
    twins = torch.zeros(3, 2)
    assert recall_at(twins, torch.tensor([0, 1, 2])) == [0.0]
    with pytest.raises(ValueError, match=r"k must lie in \[\d, 3\]|k must be"):
        recall_at(points, torch.arange(4), (4,))


def test_triplets_have_a_positive_and_a_negative():
    unit = nn.functional.normalize(draw(20, 6).float())
    labels = torch.arange(20) % 5
    torch.manual_seed(0)
    a, p, n = distance_weighted(unit, labels).unbind(1)
    assert len(a) == 20 * 3 and (a != p).all()
    assert torch.equal(labels[a], labels[p]) and (labels[a] != labels[n]).all()
    assert len(distance_weighted(unit, torch.arange(20))) == 0
    assert len(distance_weighted(unit, torch.zeros(20, dtype=torch.int64))) == 0


def test_near_negatives_are_drawn_as_often_as_rare():
    """In 16 dimensions most points lie near 1.41; drawn alike by distance, near ones are preferred."""
    generator = torch.Generator().manual_seed(1)
    unit = nn.functional.normalize(torch.randn(400, 16, generator=generator))
    labels = torch.arange(400) // 2
    torch.manual_seed(0)
    a, _, n = distance_weighted(unit, labels).unbind(1)
    drawn = (unit[a] - unit[n]).norm(dim=1)
    every = torch.cdist(unit, unit)[labels[:, None] != labels[None]]
    assert (
        drawn.max() < retrieval.FARTHEST
        and drawn.mean() < every[every < retrieval.FARTHEST].mean() - 0.1
    )


def test_an_anchor_without_near_negatives_draws_among_all():
    unit = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    found = distance_weighted(unit, torch.tensor([0, 0, 1, 1]))
    assert len(found) == 4 and all(0 <= one < 4 for one in found[:, 2].tolist())
    assert not ((found[:, 0] < 2) == (found[:, 2] < 2)).any()


def test_the_triplet_loss_by_hand():
    unit = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 1])
    assert triplet_loss(unit, labels, 0.2).item() == 0
    assert triplet_loss(unit, labels, 2.0).item() == pytest.approx(2 - 2**0.5, abs=1e-5)
    nothing = triplet_loss(unit, torch.arange(3))
    assert nothing == 0 and nothing.requires_grad


def test_relations_are_the_authors_sum():
    from kdnb.losses import rkd_angle, rkd_distance

    s, t = draw(6, 4), draw(6, 3, seed=1)
    both = rkd_distance(s, t, "authors") + 2 * rkd_angle(s, t, "authors")
    torch.testing.assert_close(relations(s, t), both)
    torch.testing.assert_close(relations(s, t, 0.0, 1.0), rkd_angle(s, t, "authors"))
    assert relations(s, t, 0, 0) == 0


def test_class_means_make_logits():
    points, labels = groups()
    logits = class_mean_logits(points, labels, 5.0)
    assert logits.shape == (72, 6) and logits.abs().max() <= 5.001
    assert (logits.argmax(1) == labels).float().mean() > 0.9
    mean = nn.functional.normalize(points[labels == 2]).mean(0)
    cosine = nn.functional.cosine_similarity(points[7], mean, dim=0)
    assert logits[7, 2].item() == pytest.approx(5 * cosine.item(), rel=1e-5)


def test_an_embedding_is_learnt_from_labels_and_after_a_teacher():
    points, labels = groups()
    fresh, _ = groups(seed=1)
    teacher = Normalised(network(8))
    before = recall_at(embed(teacher, points), labels)[0]
    fit = learn_embedding(teacher, points, labels, PLAN, classes=4, each=4)
    assert fit.history.loss.iloc[-1] < fit.history.loss.iloc[0]
    assert recall_at(embed(teacher, points), labels)[0] >= before
    theirs = embed(teacher, points)
    assert theirs.norm(dim=1).sub(1).abs().max() < 1e-5

    student = network(3, seed=1)
    start = relations(embed(student, fresh), embed(teacher, fresh))
    learn_embedding(
        student, points, labels, PLAN, targets=theirs, loss=relations, classes=4, each=4
    )
    assert relations(embed(student, fresh), embed(teacher, fresh)) < start - 0.05


def test_a_training_is_a_function_of_its_seed():
    points, labels = groups()
    brief = PLAN.model_copy(update={"epochs": 2})
    ends = []
    for seed in (0, 0, 1):
        one = Normalised(network())
        torch.manual_seed(len(ends))  # what the caller has drawn before does not matter
        learn_embedding(one, points, labels, brief, classes=4, each=4, seed=seed)
        ends.append(embed(one, points))
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])
