"""KDCL: targets made of all students' logits."""

import importlib

import draws
import pytest
import torch
from cohorts import QUICK, STEP
from small_networks import batches, linear, small
from torch.nn import functional as F

from kdnb.losses import soft_targets
from kdnb.methods import online
from kdnb.methods.online.common import shifted


def losses_of(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def students(count=3):
    return draws.draw(count, 50, 4, scale=2.0), torch.arange(50) % 4


def test_naive_takes_the_best_student_of_each_image():
    logits, labels = students()
    target = online.naive_target(logits, labels)
    each = torch.stack([losses_of(z, labels) for z in logits])
    torch.testing.assert_close(losses_of(target, labels), each.min(0).values)
    assert {int(k) for k in each.argmin(0)} == {0, 1, 2}


def test_min_logit_is_at_least_as_good_as_every_student():
    logits, labels = students()
    target = online.min_logit_target(logits, labels)
    assert (target[torch.arange(50), labels] == 0).all()
    for i in range(50):
        for c in range(4):
            margins = [float(z[i, c] - z[i, labels[i]]) for z in logits]
            assert float(target[i, c]) == pytest.approx(min(margins))
    for z in logits:
        assert (losses_of(target, labels) <= losses_of(z, labels) + 1e-9).all()


def test_linear_is_the_best_convex_combination_of_two():
    logits, labels = students(2)
    found = losses_of(online.linear_target(logits, labels), labels)
    grid = torch.stack(
        [losses_of(a * logits[0] + (1 - a) * logits[1], labels) for a in torch.linspace(0, 1, 501)]
    )
    assert (found <= grid.min(0).values + 1e-6).all()
    assert (found >= grid.min(0).values - 1e-3).all()


def test_linear_is_near_the_best_of_three():
    logits, labels = students(3)
    found = losses_of(online.linear_target(logits, labels), labels)
    best = torch.full((50,), torch.inf, dtype=torch.float64)
    for i in range(41):
        for j in range(41 - i):
            a = torch.tensor([i, j, 40 - i - j]) / 40
            mixed = (a.view(3, 1, 1) * logits).sum(0)
            best = torch.minimum(best, losses_of(mixed, labels))
    assert (found <= best + 1e-3).all()


def test_general_weights_are_the_best_on_a_grid():
    p, labels = draws.draw(2, 60, 4, scale=2.0).softmax(2), torch.arange(60) % 4
    p[1] = (p[1] + 2 * F.one_hot(labels, 4)) / 3
    truth = F.one_hot(labels, 4)
    weights = online.general_weights(p, labels)
    assert float(weights.sum()) == pytest.approx(1.0)

    def error(w):
        return float((w * p[0] + (1 - w) * p[1] - truth).square().sum())

    best = min((k / 1000 for k in range(-1000, 2001)), key=error)
    assert float(weights[0]) == pytest.approx(best, abs=2e-3)
    same = online.general_weights(torch.stack([p[0], p[0]]), labels)
    torch.testing.assert_close(same, torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize("aggregate", ["naive", "min_logit", "linear"])
def test_kdcl_by_a_bare_step(aggregate):
    ours, bare = [linear(s) for s in range(3)], [linear(s) for s in range(3)]
    online.kdcl(
        {str(i): n for i, n in enumerate(ours)}, batches(count=8), STEP, aggregate=aggregate,
        weight=0.5, view=None,
    )  # fmt: skip
    batch = next(iter(batches(count=8)))
    logits = [network(batch.images) for network in bare]
    stacked = torch.stack(logits).detach()
    target = getattr(online, f"{aggregate}_target")(stacked, batch.labels)
    for one, other, z in zip(ours, bare, logits, strict=True):
        loss = F.cross_entropy(z, batch.labels) + 0.5 * soft_targets(z, target, 2.0)
        (gradient,) = torch.autograd.grad(loss, other[1].weight)
        torch.testing.assert_close(one[1].weight, other[1].weight - 0.1 * gradient)


def test_every_student_sees_a_view_of_its_own():
    seen = []

    def view(images):
        seen.append(images + torch.randn_like(images))
        return seen[-1]

    online.kdcl({"a": linear(0), "b": linear(1)}, batches(count=8), STEP, view=view)
    assert len(seen) == 2
    assert not torch.equal(*seen)


def test_views_differ_without_being_asked_for():
    """Of one batch, whose images are the same in every view but for where they stand."""
    seen = {}
    networks = {"a": linear(0), "b": linear(1)}
    for name, network in networks.items():
        network.register_forward_hook(lambda _, given, __, name=name: seen.update({name: given[0]}))
    online.kdcl(networks, batches(count=8), STEP)
    plain = next(iter(batches(count=8))).images
    assert seen["a"].shape == plain.shape
    assert not torch.equal(seen["a"], seen["b"])
    online.kdcl(networks, batches(count=8), STEP, view=None)
    assert torch.equal(seen["a"], seen["b"])


def test_a_shifted_image_is_the_image_elsewhere():
    torch.manual_seed(0)
    images = torch.randn(40, 2, 8, 16)
    padded = F.pad(images, (2, 2, 1, 1), mode="replicate")
    places = set()
    for image, view in zip(padded, shifted(images), strict=True):
        found = [
            (y, x)
            for y in range(3)
            for x in range(5)
            if torch.equal(view, image[:, y : y + 8, x : x + 16])
        ]
        assert len(found) == 1
        places.update(found)
    assert len(places) > 8
    with pytest.raises(ValueError, match="give view= a distortion of your own"):
        shifted(torch.zeros(3, 5))


def test_general_asks_held_out_images_before_every_epoch(monkeypatch):
    kdcl = importlib.import_module("kdnb.methods.online.kdcl")  # the function hides it
    asked = []
    real = kdcl.general_weights

    def recorded(probabilities, labels):
        asked.append(probabilities.shape)
        return real(probabilities, labels)

    monkeypatch.setattr(kdcl, "general_weights", recorded)
    held_out = batches(count=24, shuffle=False)
    networks = {"a": small(0), "b": small(1)}
    history = online.kdcl(networks, batches(), QUICK, aggregate="general", validation=held_out)
    assert asked == [(2, 24, 3)] * 2
    assert history[0]["a.soft"] > 0
    with pytest.raises(ValueError, match="validation images go with"):
        online.kdcl(networks, batches(), QUICK, aggregate="general")
    with pytest.raises(ValueError, match="got 'best'"):
        online.kdcl(networks, batches(), QUICK, aggregate="best")
    with pytest.raises(ValueError, match=r"\(students, batch, classes\)"):
        online.min_logit_target(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
