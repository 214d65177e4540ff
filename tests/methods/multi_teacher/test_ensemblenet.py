"""EnsembleNet: its terms by hand, and what each of them does to the heads."""

import pytest
import torch
from branched_networks import branched, large
from draws import draw_wide
from several_teachers import QUICK, STEP, digits, mlp
from torch.nn import functional as F

from kdnb import losses
from kdnb.methods import multi_teacher as mt
from kdnb.methods import online
from kdnb.training import predict


def heads(count=3):
    return online.Branches.split(
        [mlp(seed, (24, 12)) for seed in range(count)], "head", digits()[0][:4]
    )


def test_the_terms_by_hand():
    images, labels = digits()
    history = mt.ensemblenet(
        heads(), (images, labels), STEP.model_copy(update={"batch_size": 120}),
        head_weight=0.5, distil_weight=0.25, temperature=2.0,
    )  # fmt: skip
    with torch.no_grad():
        z = heads()(images).logits
    mean = z.mean(1)
    p = (mean / 2).softmax(1)
    soft = sum(4 * (p * (p.log() - (k / 2).log_softmax(1))).sum(1).mean() for k in z.unbind(1))
    q = mean.softmax(1)
    apart = sum((q * (q.log() - k.log_softmax(1))).sum(1).mean() for k in z.unbind(1)) / 3
    row = history[0]
    assert row["ensemble"] == pytest.approx(float(F.cross_entropy(mean, labels)), rel=1e-4)
    hard = sum(F.cross_entropy(k, labels) for k in z.unbind(1))
    assert row["heads"] == pytest.approx(0.5 * float(hard), rel=1e-4)
    assert row["distil"] == pytest.approx(0.25 * float(soft), rel=1e-3)
    assert row["disagreement"] == pytest.approx(float(apart), rel=1e-3)


def test_codistillation_brings_heads_together_and_a_negative_weight_apart():
    found = {}
    for name, options in {
        "free": {"head_weight": 0.0, "distil_weight": 0.0},
        "together": {"head_weight": 0.0, "distil_weight": 5.0},
        "apart": {"head_weight": -0.2, "distil_weight": 0.0},
    }.items():
        found[name] = mt.ensemblenet(
            heads(), digits(), QUICK.model_copy(update={"epochs": 4, "lr": 1e-2}), **options
        )[-1]["disagreement"]
    assert found["together"] < 0.5 * found["free"] < 0.5 * found["apart"]


def test_the_ensemble_learns_digits_in_one_stage():
    branches = heads()
    recipe = QUICK.model_copy(update={"epochs": 12, "lr": 1e-2})
    history = mt.ensemblenet(branches, digits(), recipe)
    assert history[-1]["ensemble"] < 0.6 * history[0]["ensemble"]
    said = mt.AveragedBranches(branches)
    expected = branches(digits()[0]).logits.mean(1)
    torch.testing.assert_close(said(digits()[0]), expected)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_nothing_flows_from_the_divergences_into_the_ensemble(temperature):
    """The mean of the logits is where the sum of KL(ensemble || head) has no slope in its logits."""
    heads = [draw_wide(5, 4, seed=seed) for seed in range(3)]
    mean = torch.stack(heads).mean(0).requires_grad_()
    total = sum(losses.soft_targets(z, mean, temperature) for z in heads)
    (gradient,) = torch.autograd.grad(total, mean)
    assert total > 1 and gradient.abs().max() < 1e-12


def test_on_a_resnet_with_a_shared_stem():
    branches = branched()
    mt.ensemblenet(branches, large(), QUICK.model_copy(update={"batch_size": 8}))
    assert predict(mt.AveragedBranches(branches), large()).shape == (16, 3)
