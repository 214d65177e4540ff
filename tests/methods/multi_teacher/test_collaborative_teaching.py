"""Collaborative teaching: a scratch teacher on its own path, an expert's attention."""

import pytest
import torch
from several_teachers import QUICK, STEP, digits, lenet, state, teachers, unchanged

import kdnb
from kdnb import losses
from kdnb.methods import multi_teacher as mt
from kdnb.training.layers import layers_of, look


def test_the_terms_by_hand():
    images, labels = digits()
    (expert,) = teachers("lenet")
    before = state(expert)
    fit = mt.collaborative_teaching(
        lenet(5), lenet(6), expert, digits(), STEP, temperature=2.0, soft_weight=0.5,
        attention_weight=3.0, label_weight=0.25, batch_size=120,
    )  # fmt: skip
    with torch.no_grad():
        path = lenet(6)(images)
    ours, theirs = (look(one, layers_of(one), images) for one in (lenet(5), expert))
    soft = losses.soft_targets(ours.logits, path, 2.0)
    attention = sum(map(losses.attention_transfer, ours.maps, theirs.maps))
    row = fit.rows[0]
    assert row["soft"] == pytest.approx(0.5 * float(soft), rel=1e-3)
    assert row["attention"] == pytest.approx(3 * float(attention), rel=1e-3)
    assert row["hard"] == pytest.approx(
        0.25 * float(losses.hard_loss(ours.logits, labels)), rel=1e-3
    )
    assert row["scratch"] == pytest.approx(float(losses.hard_loss(path, labels)), rel=1e-3)
    assert unchanged(expert, before)


def test_the_scratch_teacher_goes_its_own_way():
    """It ends where it would have ended alone: nothing flows into it from the student."""
    (expert,) = teachers("lenet")
    scratch, alone = lenet(6), lenet(6)
    fit = mt.collaborative_teaching(lenet(5), scratch, expert, digits(), QUICK, seed=2)
    kdnb.train(alone, digits(), QUICK, seed=2)
    for one, other in zip(scratch.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert fit.networks["scratch"] is scratch


def test_its_path_starts_without_an_opinion():
    """The soft targets' entropy falls along the path: a curriculum that the expert cannot give."""
    images, _ = digits()
    (expert,) = teachers("lenet")
    entropies, scratch = [], lenet(6)

    def entropy(network):
        with torch.no_grad():
            log_p = network(images).log_softmax(1)
        return float(-(log_p.exp() * log_p).sum(1).mean())

    entropies.append(entropy(scratch))
    for seed in range(3):
        mt.collaborative_teaching(lenet(5), scratch, expert, digits(), QUICK, epochs=3, lr=1e-2,
                                  seed=seed)  # fmt: skip
        entropies.append(entropy(scratch))
    assert entropies == sorted(entropies, reverse=True)
    assert entropies[0] > 0.9 * torch.tensor(10.0).log()


def test_networks_are_three():
    scratch = lenet(6)
    with pytest.raises(ValueError, match="share parameters"):
        mt.collaborative_teaching(lenet(5), scratch, scratch, digits(), QUICK)
