"""Similarities of several teachers, and the aggregator that learns whom to hear."""

import copy

import pytest
import torch
from several_teachers import QUICK, STEP, digits, lenet, mlp, state, teachers, unchanged

from kdnb import losses
from kdnb.methods import multi_teacher as mt
from kdnb.training.layers import layers_of, look

SLOW = STEP.model_copy(update={"batch_size": 40})


def embedding(network, images):
    return look(network, layers_of(network), images).embedding


def test_the_risk_against_loops():
    x, y = torch.randn(5, 4).double(), torch.tensor([0, 1, 0, 2, 1])
    found, total = losses.similarities(x), 0.0
    for a in range(5):
        for b in range(5):
            if a != b:
                total += (found[a, b].item() - float(y[a] == y[b])) ** 2 / 20
    assert mt.verification_risk(x, y).item() == pytest.approx(total)


def test_the_first_step_by_hand():
    """The loss, the tentative step, and the aggregator's gradient by finite differences."""
    images, _ = digits(40)
    members, known = teachers("mlp", "lenet"), (digits(120)[0][60:80], digits(120)[1][60:80])
    fit = mt.learn_similarities(
        mlp(), members, images, known, SLOW, ridge=0.5, step=0.05, aggregator_lr=2.0
    )
    student = mlp()
    each = [
        losses.log_euclidean(embedding(student, images), embedding(member, images), 0.5)
        for member in members
    ]
    assert fit.rows[0]["similarity"] == pytest.approx(float(sum(each)) / 2, rel=1e-3)
    gradients = []
    for member in members:
        ours = student.hidden(student.stem(images))
        loss = losses.log_euclidean(ours, embedding(member, images), 0.5)
        gradients.append(torch.autograd.grad(loss, list(student.hidden.parameters())))

    def risk(scores):
        moved = copy.deepcopy(student)
        with torch.no_grad():
            for weight, own in zip(scores.softmax(0), gradients, strict=True):
                for parameter, gradient in zip(moved.hidden.parameters(), own, strict=True):
                    parameter -= 0.05 * weight * gradient
        return float(mt.verification_risk(embedding(moved, known[0]).double(), known[1]))

    assert fit.rows[0]["risk"] == pytest.approx(risk(torch.zeros(2)), rel=1e-3)
    slope = (risk(torch.tensor([0.5, 0.0])) - risk(torch.tensor([-0.5, 0.0]))) / 1.0
    moved = fit.learnt.scores.detach()
    assert float(moved[0]) == pytest.approx(-2 * slope, rel=0.1)
    assert float(moved.sum()) == pytest.approx(0, abs=1e-6)  # a softmax does not see a shift


def test_the_teacher_that_knows_the_domain_is_heard():
    """Digits are the domain: a teacher of digits gains weight over one of noise."""
    images, labels = digits(400)
    noise = mlp(9)
    with torch.no_grad():
        for parameter in noise.parameters():
            parameter.copy_(parameter.abs())  # finds all images alike
    (good,) = teachers("mlp")
    before = state(good)
    fit = mt.learn_similarities(
        lenet(5), [good, noise], images[:200], (images[300:360], labels[300:360]), QUICK,
        epochs=4, step=0.01, aggregator_lr=20.0, batch_size=40,
    )  # fmt: skip
    weights = fit.learnt()
    assert weights[0] > 0.55
    assert fit.rows[-1]["weight1"] > fit.rows[0]["weight1"]
    assert fit.rows[-1]["similarity"] < fit.rows[0]["similarity"]
    assert unchanged(good, before)


def test_the_labels_move_the_aggregator_alone():
    """With one teacher its weight is 1, whatever the labels: the student does not see them."""
    images, labels = digits(120)
    ends = []
    for known in (labels[:20], labels[:20].flip(0)):
        student = mlp()
        mt.learn_similarities(student, teachers("mlp"), images, (images[:20], known), QUICK)
        ends.append(state(student))
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_labelled_images_have_a_pair():
    images, _ = digits(20)
    with pytest.raises(ValueError, match="two images of one identity"):
        mt.learn_similarities(mlp(), teachers("mlp"), images, (images[:3], torch.arange(3)), QUICK)
