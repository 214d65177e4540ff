"""The contract of a batch: labels and answers of any form, in every verb, with right values."""

import math

import pytest
import torch
from strange_data import ONE, QUICK, N, draw, images, labels, linear
from torch import nn
from torch.nn import functional as F

import kdnb
from kdnb.losses import soft_targets


def peers_hard(data, networks=None, **options):
    networks = networks or [linear(0), linear(1)]
    return kdnb.mutual(networks, data, **{**ONE, **options}).history["peer0.hard"][0]


def test_soft_labels_in_every_verb():
    truth = draw(N, 3).softmax(1)
    expected = F.cross_entropy(linear()(images()), truth).item()
    data = (images(), truth)
    assert kdnb.train(linear(), data, **ONE).history.hard[0] == pytest.approx(expected)
    assert peers_hard(data) == pytest.approx(expected)
    assert len(kdnb.born_again(linear, data, generations=1, label_weight=1.0, **ONE).history) == 2


@pytest.mark.parametrize("form", ["triple", "four parts", "a share each"])
def test_pairs_of_mixup_weigh_two_cross_entropies(form):
    one, two = labels(), labels().flip(0)
    share = torch.rand(N, generator=torch.Generator().manual_seed(0))
    share = share if form == "a share each" else torch.full((N,), 0.3)
    given = share if form == "a share each" else 0.3
    item = (images(), one, two, given) if form == "four parts" else (images(), (one, two, given))
    data, plain = [item], {"epochs": 1, "lr": 0.05, "momentum": 0.0, "precision": "32"}
    each = [F.cross_entropy(linear()(images()), y, reduction="none") for y in (one, two)]
    expected = (share * each[0] + (1 - share) * each[1]).mean().item()
    assert kdnb.train(linear(), data, **plain).history.hard[0] == pytest.approx(expected)
    fit = kdnb.distil(linear(), linear(1), data, **plain)
    assert fit.history.hard[0] == pytest.approx(expected)
    peers = kdnb.mutual([linear(), linear(1)], data, **plain)
    assert peers.history["peer0.hard"][0] == pytest.approx(expected)
    assert kdnb.evaluate(linear(), data)["images"] == N
    with pytest.raises(ValueError, match="DKD reads numbers of classes.*gives mixed labels"):
        kdnb.distil(linear(), linear(1), data, method="dkd", **plain)


def test_real_values_take_a_loss():
    truth = draw(N, 1, seed=2)
    expected = F.mse_loss(linear(0, 1)(images()), truth).item()
    fit = kdnb.train(linear(0, 1), (images(), truth), loss=F.mse_loss, **ONE)
    assert fit.history.loss[0] == pytest.approx(expected)

    def both(student, teacher, labels):
        return F.mse_loss(student, teacher) + F.mse_loss(student, labels)

    fit = kdnb.distil(
        linear(0, 1), linear(1, 1), (images(), truth), method=both, label_weight=0, **ONE
    )
    assert fit.history.both[0] > expected
    for verb in (kdnb.train, lambda n, d, **o: kdnb.mutual([n, linear(1)], d, **o)):
        with pytest.raises(ValueError, match=r"For real values give train a loss"):
            verb(linear(), (images(), draw(N)), **QUICK)
    with pytest.raises(ValueError, match=r"got torch.float32 of shape \(24,\): take its mean"):
        kdnb.train(linear(), (images(), labels()), loss=lambda z, y: z.sum(1), **ONE)


def test_samples_without_a_label_count_for_the_teacher_alone():
    some = labels().clone()
    some[::2] = -100
    logits, taught = linear()(images()), linear(1)(images())
    fit = kdnb.distil(linear(), linear(1), (images(), some), **ONE)
    assert fit.history.hard[0] == pytest.approx(F.cross_entropy(logits, some).item())
    assert fit.history.kd[0] == pytest.approx(soft_targets(logits, taught, 4.0).item(), rel=1e-5)


def test_dense_and_binary_answers_in_every_verb():
    def dense(seed):
        torch.manual_seed(seed)
        return nn.Conv2d(1, 3, 1)

    truth = torch.arange(N * 12).view(N, 3, 4) % 3
    truth[:, 0] = 255
    kept = truth != 255
    ours, theirs = (dense(seed)(images()).movedim(1, -1)[kept] for seed in (0, 1))
    hard, soft = F.cross_entropy(ours, truth[kept]).item(), soft_targets(ours, theirs, 1.0).item()
    data, options = (images(), truth), {**ONE, "ignore_index": 255}
    fit = kdnb.mutual([dense(0), dense(1)], data, order="simultaneous", **options)
    assert fit.history["peer0.hard"][0] == pytest.approx(hard, rel=1e-5)
    assert fit.history["peer0.soft"][0] == pytest.approx(soft, rel=1e-5)
    fit = kdnb.distil(
        dense(0), dense(1), data, method=lambda z, v: soft_targets(z, v, 1.0), **options
    )
    assert fit.history.soft[0] == pytest.approx(soft, rel=1e-5)
    for targets in ("soft", "cwtm", "dkpp"):
        kdnb.born_again(lambda: dense(0), data, generations=1, targets=targets, **options)
    nothing = (images(), torch.full_like(truth, 255))
    assert kdnb.distil(dense(0), dense(1), nothing, **options).history.kd[0] == 0
    # one logit: two peers, and one that answers with two logits
    ours, theirs = linear(0, 1)(images()), linear(1, 1)(images())
    truth, pairs = labels(2), [F.pad(z, (1, 0)) for z in (ours, theirs)]
    fit = kdnb.mutual([linear(0, 1), linear(1, 1)], (images(), truth), order="simultaneous", **ONE)
    expected = F.binary_cross_entropy_with_logits(ours[:, 0], truth.float()).item()
    assert fit.history["peer0.hard"][0] == pytest.approx(expected, rel=1e-5)
    expected = soft_targets(*pairs, 1.0).item()
    assert fit.history["peer0.soft"][0] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="peers must answer for the same places and classes"):
        kdnb.mutual([linear(0, 3), linear(1, 4)], (images(), labels()), **QUICK)


VERBS = {
    "train": lambda make, data, **more: kdnb.train(make(0), data, **ONE, **more),
    "distil": lambda make, data, **more: kdnb.distil(make(0), make(1), data, **ONE, **more),
    "mutual": lambda make, data, **more: kdnb.mutual([make(0), make(1)], data, **ONE, **more),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("axes", [2, 3])
def test_masks_and_volumes_as_they_are_kept(axes, verb):
    """With an axis of their own or without, of maps and volumes, of classes and one logit."""
    layer, side = (nn.Conv2d, nn.Conv3d)[axes - 2], (3, 4, 2)[:axes]
    inputs = torch.randn(N, 1, *side, generator=torch.Generator().manual_seed(3))

    def make(seed, classes=3):
        torch.manual_seed(seed)
        return layer(1, classes, 1)

    truth = torch.arange(N * math.prod(side)).view(N, *side) % 3
    truth[:, 0] = 255
    expected = F.cross_entropy(make(0)(inputs), truth, ignore_index=255).item()
    pair = (make(seed)(inputs).movedim(1, -1)[truth != 255] for seed in (0, 1))
    soft = soft_targets(*pair, 4.0).item()
    column = "peer0.hard" if verb == "mutual" else "hard"
    for given in (truth, truth[:, None]):
        fit = VERBS[verb](make, (inputs, given), ignore_index=255)
        assert fit.history[column][0] == pytest.approx(expected, rel=1e-5)
        if verb == "distil":  # the places that count are the teacher's as well
            assert fit.history.kd[0] == pytest.approx(soft, rel=1e-5)
            VERBS[verb](make, (inputs, given), ignore_index=255, method="dkd")
        assert kdnb.evaluate(make(0), (inputs, given), ignore_index=255)["images"] == float(
            (truth != 255).sum()
        )
    mask = (truth == 1).float()
    expected = F.binary_cross_entropy_with_logits(make(0, 1)(inputs), mask[:, None]).item()
    for given in (mask, mask[:, None], mask[:, None].long()):
        fit = VERBS[verb](lambda seed: make(seed, 1), (inputs, given))
        assert fit.history[column][0] == pytest.approx(expected, rel=1e-5)
        assert kdnb.evaluate(make(0, 1), (inputs, given))["cross_entropy"] == pytest.approx(
            expected, rel=1e-5
        )
    soft = torch.softmax(make(7)(inputs), 1).detach()
    expected = F.cross_entropy(make(0)(inputs), soft).item()
    fit = VERBS[verb](make, (inputs, soft))
    assert fit.history[column][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize(
    "teacher",
    [
        nn.Conv2d(1, 3, 2, 2),
        nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(2), nn.Unflatten(2, (2, 6))),
    ],
)
def test_maps_of_other_places_are_refused(teacher, labelled):
    """Also where there are as many of them."""
    data = (draw(4, 1, 4, 3), torch.zeros(4, 4, 3).long()) if labelled else draw(4, 1, 4, 3)
    options = QUICK if labelled else {**QUICK, "label_weight": 0}
    with pytest.raises(
        ValueError, match=r"of the same places; got student_logits \(4, 3, 4, 3\) and"
    ):
        kdnb.distil(nn.Conv2d(1, 3, 1), teacher, data, **options)


class Masked(nn.Module):
    """A class that is excluded by minus infinity, or left out."""

    def __init__(self, seed, left_out=False):
        super().__init__()
        self.network, self.left_out = linear(seed, 4), left_out

    def forward(self, inputs):
        logits = self.network(inputs)
        if self.left_out:
            return logits[:, :3]
        return logits.masked_fill(torch.arange(4) == 3, -math.inf)


@pytest.mark.parametrize("method", ["kd", "dkd", "nkd", "dist", "lskd", "mlkd", "ttm", "ctkd"])
def test_a_masked_class_is_as_good_as_none(method):
    found = [
        kdnb.distil(
            Masked(0, out), Masked(1, out), (images(), labels()), method=method, weight=1.0, **ONE
        )
        for out in (False, True)
    ]
    one, two = (fit.history.iloc[0] for fit in found)
    assert one[method] == pytest.approx(two[method], rel=1e-4, abs=1e-7)
    assert one.hard == pytest.approx(two.hard, rel=1e-5)


def test_masks_of_one_network_or_of_some_samples():
    class Some(Masked):
        def forward(self, inputs):
            away = torch.arange(4)[None] == (inputs.flatten(1)[:, :1] > 0).long()
            return self.network(inputs).masked_fill(away, -math.inf)

    logits, taught = Some(0)(images()), Some(1)(images())
    each = [
        soft_targets(z[torch.isfinite(z)][None], v[torch.isfinite(v)][None], 4.0)
        for z, v in zip(logits, taught, strict=True)
    ]
    fit = kdnb.distil(Some(0), Some(1), images(), label_weight=0, **ONE)
    assert fit.history.kd[0] == pytest.approx(torch.stack(each).mean().item(), rel=1e-5)
    with pytest.raises(ValueError, match="where both networks mask the same ones"):
        kdnb.distil(Some(0), Some(1), images(), method="ttm", weight=1.0, label_weight=0, **ONE)
    with pytest.raises(ValueError, match="the student excludes classes .* teacher allows"):
        kdnb.distil(Masked(0), linear(1, 4), (images(), labels()), **ONE)
    fit = kdnb.distil(linear(0, 4), Masked(1), (images(), labels()), **ONE)
    p = Masked(1)(images()).div(4).softmax(1)
    q = linear(0, 4)(images()).div(4).log_softmax(1)
    expected = 16 * (torch.special.xlogy(p, p) - p * q).sum(1).mean()
    assert fit.history.kd[0] == pytest.approx(expected.item(), rel=1e-4)
    peers = kdnb.mutual([Masked(0), Masked(1)], (images(), labels()), **ONE)
    assert math.isfinite(peers.history["peer0.soft"][0])
