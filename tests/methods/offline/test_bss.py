"""Boundary-supporting samples: where they lie, how bases and targets are chosen, the loss."""

from functools import partial

import pytest
import torch
from draws import draw
from torch import nn
from torch.nn import functional as F

from kdnb.data import Batches, Images
from kdnb.methods.offline import distil
from kdnb.methods.offline.bss import (
    boundary_samples,
    choose_bases,
    choose_targets,
    distil_at_boundaries,
    published_weights,
)
from kdnb.training import Recipe

RECIPE = Recipe(epochs=4, batch_size=10, lr=0.05, precision="32")


def network(seed, units=20):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, units), nn.Tanh(), nn.Linear(units, 3))


def batches(count=60):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 6, 6), generator=generator, dtype=torch.uint8)
    labels = images.float().mean((1, 2, 3)).argsort().argsort() * 3 // count
    return Batches(Images(images, labels), 10, mean=(0.5,), sd=(0.3,))


@pytest.fixture(scope="module")
def teacher():
    trained = network(1)
    distil.train(trained, batches(), RECIPE.model_copy(update={"epochs": 30}))
    trained.zero_grad()
    return trained


def gap(net, samples, base, targets):
    logits = net(samples)
    return (logits.gather(1, base[:, None]) - logits.gather(1, targets[:, None]))[:, 0].abs()


def inputs():
    return batches().images.images.float() / 255 / 0.3 - 0.5 / 0.3


def test_samples_lie_closer_to_the_boundary(teacher):
    with torch.no_grad():
        logits = teacher(inputs())
        base, targets = logits.argmax(1), logits.topk(2).indices[:, 1]
        samples = boundary_samples(teacher, inputs(), targets)
        before, after = gap(teacher, inputs(), base, targets), gap(teacher, samples, base, targets)
    assert after.mean() < 0.2 * before.mean()
    assert (after < before).all()
    assert samples.abs().max() <= 2.5
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_steps_by_hand(variant):
    """Two classes, linear scores: the direction is known, and the gap follows by arithmetic."""
    net = nn.Linear(2, 2, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    start = torch.tensor([[1.0, 0.5], [-1.0, 0.0]], dtype=torch.float64)
    targets, length = torch.tensor([1, 0]), {"paper": 25, "authors": 5}[variant]
    for steps in (1, 2, 3):
        found = boundary_samples(
            net, start, targets, steps=steps, step_size=0.25, bounds=None, variant=variant
        )
        for row, sample in zip(start.tolist(), found, strict=True):
            x, y = row
            sign = 1 if 3 * x + 4 * y > 0 else -1
            for _ in range(steps):
                score = 3 * x + 4 * y  # the gap is its size; its gradient is (3, 4)
                if score * sign <= 0:
                    break
                size = 0.25 * (abs(score) + 1e-4) / length
                x, y = x - sign * size * 3, y - sign * size * 4
            torch.testing.assert_close(sample, torch.tensor([x, y], dtype=torch.float64))


def test_a_sample_that_has_crossed_stays_where_it_is(teacher):
    with torch.no_grad():
        targets = teacher(inputs()).topk(2).indices[:, 1]
        once = boundary_samples(teacher, inputs(), targets, steps=1, step_size=1.0)
        many = boundary_samples(teacher, inputs(), targets, steps=20, step_size=1.0)
        done = teacher(once).argmax(1) != teacher(inputs()).argmax(1)
        all_done = teacher(many).argmax(1) != teacher(inputs()).argmax(1)
    assert 0 < done.sum() < len(done)
    assert torch.equal(once[done], many[done])
    assert not (once[~done] == many[~done]).flatten(1).all(1).any()
    assert all_done.sum() > done.sum()


def test_targets_follow_the_teachers_probabilities():
    logits = torch.tensor([[4.0, 1.0, 0.0, -1.0]]).expand(20000, 4)
    torch.manual_seed(0)
    shares = torch.bincount(choose_targets(logits), minlength=4) / 20000
    expected = torch.tensor([0.0, *torch.tensor([1.0, 0.0, -1.0]).softmax(0).tolist()])
    assert shares[0] == 0
    assert torch.allclose(shares, expected, atol=0.015)
    # A teacher that is as sure as numbers can be still has a second choice.
    sure = torch.tensor([[1e4, 0.0, -1e3]]).expand(50, 3)
    assert (choose_targets(sure) == 1).all()


def test_bases_are_right_and_differ_most():
    teacher_logits, student_logits = draw(30, 4, scale=2.0), draw(30, 4, scale=2.0, seed=1)
    labels = teacher_logits.argmax(1).where(torch.arange(30) % 3 > 0, torch.tensor(0))
    found = choose_bases(student_logits, teacher_logits, labels, 5).tolist()
    scores = {}
    for b in range(30):
        p, q = teacher_logits[b].softmax(0).tolist(), student_logits[b].softmax(0).tolist()
        if max(range(4), key=p.__getitem__) == labels[b]:
            scores[b] = sum((p[k] - q[k]) ** 2 for k in range(4) if k != labels[b])
    assert found == sorted(scores, key=scores.get, reverse=True)[:5]
    wrong = (teacher_logits.argmax(1) + 1) % 4
    assert len(choose_bases(student_logits, teacher_logits, wrong, 5)) == 0


def test_the_published_schedule():
    assert published_weights(0.0) == (4.0, 2.0)
    assert published_weights(1.0) == (1.0, 0.0)
    assert published_weights(0.375) == pytest.approx((2.875, 1.0))


def test_the_boundary_term_follows_its_weight(teacher):
    history = distil_at_boundaries(network(0), teacher, batches(), RECIPE, count=4)
    assert [row["boundary"] > 0 for row in history] == [True, True, False, False]
    for row in history:
        assert row["hard"] > 0
        assert row["soft"] > 0


def test_without_boundary_samples_it_is_plain_distillation(teacher):
    ours, plain = network(0), network(0)
    distil_at_boundaries(
        ours, teacher, batches(), RECIPE, temperature=2.0, weights=lambda done: (1.5, 0.0)
    )

    def cross_entropy(z, v):
        return -(F.softmax(v / 2, 1) * F.log_softmax(z / 2, 1)).sum(1).mean()

    distil.distil(
        plain, teacher, batches(), RECIPE, method=cross_entropy, weight=1.5, label_weight=1.0
    )
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_the_student_learns_the_border(teacher):
    """On boundary samples, a student taught there agrees better with the teacher."""
    targets = teacher(inputs()).topk(2).indices[:, 1]
    samples = boundary_samples(teacher, inputs(), targets)
    wanted, distances = teacher(samples).softmax(1).detach(), []
    longer = RECIPE.model_copy(update={"epochs": 15})
    for boundary_weight in (0.0, 4.0):
        student = network(0, units=4)
        weights = partial(lambda done, w: (1.0, w), w=boundary_weight)
        distil_at_boundaries(student, teacher, batches(), longer, weights=weights)
        distances.append((student(samples).softmax(1) - wanted).square().mean().item())
    assert distances[1] < distances[0]


def test_wrong_arguments():
    images = torch.zeros(3, 1, 6, 6)
    with pytest.raises(ValueError, match=r"shape \(3,\), one for each image; got \(2,\)"):
        boundary_samples(network(0), images, torch.zeros(2).long())
    with pytest.raises(ValueError, match="must be above 0; got 0 and 0.3"):
        boundary_samples(network(0), images, torch.zeros(3).long(), steps=0)
    with pytest.raises(ValueError, match="'paper' or 'authors'; got 'mine'"):
        boundary_samples(network(0), images, torch.zeros(3).long(), variant="mine")
    with pytest.raises(ValueError, match="two classes"):
        choose_targets(torch.zeros(3, 1))
    with pytest.raises(ValueError, match="count must be at least 1; got 0"):
        choose_bases(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(3).long(), 0)
