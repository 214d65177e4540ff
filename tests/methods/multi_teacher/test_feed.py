"""FEED: a translator for each teacher, none of which is left afterwards."""

import pytest
import torch
from several_teachers import QUICK, STEP, digits, lenet, mlp, state, teachers, unchanged

from kdnb import losses
from kdnb.methods import multi_teacher as mt
from kdnb.training.layers import layers_of, look


def test_the_loss_by_hand():
    images, labels = digits()
    members = teachers("lenet", "lenet")
    before = [state(one) for one in members]
    fit = mt.feed(lenet(5), members, digits(), STEP, feature_weight=2.0, label_weight=0.5, seed=3,
                  batch_size=120)  # fmt: skip
    student = lenet(5)
    views = [look(one, layers_of(one), images) for one in (student, *members)]
    torch.manual_seed(3)
    translators = mt.FeatureTranslators(
        views[0].maps[-1].shape, [view.maps[-1].shape for view in views[1:]]
    ).train()
    total = 0.0
    with torch.no_grad():
        for translated, view in zip(translators(views[0].maps[-1]), views[1:], strict=True):
            for s, t in zip(translated.flatten(1), view.maps[-1].flatten(1), strict=True):
                length = t.norm() if t.norm() > 0 else 1.0
                total += float((s / s.norm() - t / length).abs().sum()) / len(images)
    assert fit.rows[0]["features"] == pytest.approx(2 * total, rel=1e-3)
    hard = float(losses.hard_loss(views[0].logits, labels))
    assert fit.rows[0]["hard"] == pytest.approx(0.5 * hard, rel=1e-3)
    assert all(unchanged(*pair) for pair in zip(members, before, strict=True))


def test_translators_are_one_a_teacher_learn_and_are_not_deployed():
    student, members = lenet(5), [*teachers("lenet"), lenet(7, (2, 6, 8, 5))]
    size = sum(p.numel() for p in student.parameters())
    fit = mt.feed(student, members, digits(), QUICK, epochs=4, lr=1e-2)
    assert fit.rows[-1]["features"] < fit.rows[0]["features"]
    assert len(fit.learnt.translators) == 2
    # three 3x3 convolutions with batch normalisation: c -> c -> k -> k
    count = sum(9 * i * o + o + 2 * o for k in (12, 8) for i, o in ((12, 12), (12, k), (k, k)))
    assert sum(p.numel() for p in fit.learnt.parameters()) == count
    assert sum(p.numel() for p in student.parameters()) == size


def test_an_order_of_channels_of_the_teacher_does_not_matter_to_a_translator():
    """What the mean of two teachers' maps would lose: both say the same in another order."""
    maps, order = torch.randn(4, 6, 3, 3).relu(), torch.tensor([3, 1, 5, 0, 4, 2])
    same = losses.factor_transfer(maps[:, order], maps[:, order])
    assert same == 0
    mean = (maps + maps[:, order]) / 2
    assert losses.factor_transfer(mean, maps) > 0.1


def test_in_turn_a_student_teaches_the_next():
    (first,) = teachers("lenet")
    chain = [first, lenet(5), lenet(6)]
    fits = mt.feed_in_turn(chain, digits(), QUICK, seed=2)
    assert [fit.networks["student"] for fit in fits] == chain[1:]
    alone = lenet(6)
    mt.feed(alone, [chain[1]], digits(), QUICK, seed=2)
    assert unchanged(alone, state(chain[2]))
    with pytest.raises(ValueError, match="all different"):
        mt.feed_in_turn([first, first], digits(), QUICK)


def test_layers_are_counted():
    with pytest.raises(ValueError, match="one for each of 2 teachers; got 1"):
        mt.feed(lenet(), teachers("lenet", "lenet"), digits(), QUICK, layers=[layers_of(lenet())])
    flat = mt.feed(mlp(), teachers("mlp"), digits(), QUICK, epochs=1)
    assert flat.rows[0]["features"] > 0  # features of one position
