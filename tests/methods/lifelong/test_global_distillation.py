"""Global distillation: which unlabelled images are taken, a step with all references, no label read."""

import pytest
import torch
from small_contexts import ONCE, SOME, at, contexts, network, points, stepped, weights
from torch.nn import functional as F

from kdnb import losses
from kdnb.methods import lifelong
from kdnb.methods.lifelong.exemplars import at_random
from kdnb.methods.lifelong.global_distillation import sampled
from kdnb.training.randomness import mix

WILD = points(torch.arange(8).repeat(20), seed=50, noise=0.5)


def test_the_surest_of_every_class_and_others_at_random():
    old = torch.nn.Linear(5, 3)
    kept = sampled(old, WILD, slice(0, 2), 20, 0.0, seed=0)
    logits = old(WILD)[:, :2]
    wanted = {i for k in range(2) for i in logits[:, k].topk(10).indices.tolist()}
    assert {tuple(row) for row in kept.tolist()} == {tuple(WILD[i].tolist()) for i in wanted}
    assert len(sampled(old, WILD, slice(0, 2), 20, 1.0, seed=0)) == 20
    both = sampled(old, WILD, slice(0, 2), 20, 0.5, seed=0)
    assert 10 < len(both) <= 20
    assert len(sampled(old, WILD, slice(0, 2), 10**6, 0.5, seed=0)) <= len(WILD)


def first_step(made, data):
    """By hand: labels among own columns, and no confidence on unlabelled images that were drawn."""
    inputs, labels = data.train[0]
    wild = WILD[
        torch.randperm(len(WILD), generator=torch.Generator().manual_seed(mix(0, 0, 3)))[:30]
    ]
    return inputs, labels, wild


def test_a_step_with_all_references(monkeypatch):
    """Draws are watched, and every term is written out."""
    data, made = contexts("class", sizes=(2, 2)), network(4)
    drawn, real = [], torch.randint
    monkeypatch.setattr(torch, "randint", lambda *a, **k: drawn.append(real(*a, **k)) or drawn[-1])
    start = network(4)
    lifelong.global_distillation(made, data, WILD, ONCE, memory=8, balance_epochs=0)
    assert [len(one) for one in drawn] == [30, 30, 38]
    inputs, labels, wild = first_step(start, data)
    z = start(torch.cat([inputs, wild[drawn[0]]]))[:, :2]
    loss = F.cross_entropy(z[:30], labels) + losses.confidence_penalty(z[30:])
    middle = at(start, stepped(start, loss))

    sample = sampled(middle, WILD, slice(0, 2), 38, 0.7, mix(0, 1, 3))
    stored = lifelong.Exemplars(8)
    stored.add(0, inputs, labels, at_random(mix(0, 0, 2)))
    kept, old_labels = stored.all()
    new, new_labels = data.train[1]
    unsure = torch.cat([sample, kept])
    z = middle(torch.cat([new, unsure[drawn[1]]]))[:, 2:]
    loss = F.cross_entropy(z[:30], new_labels - 2) + losses.confidence_penalty(z[30:])
    teacher = at(middle, stepped(middle, loss))

    both = torch.cat([new, kept, sample[drawn[2]]])
    z, p, c = middle(both), middle(both)[:, :2].detach(), teacher(both)[:, 2:].detach()
    hard = F.cross_entropy(z[:38], torch.cat([new_labels, old_labels]))
    apart = (losses.soft_targets(z[:, :2], p, 2.0) + losses.soft_targets(z[:, 2:], c, 2.0)) / 2
    joined = losses.joined_distillation(z[38:], p[38:], c[38:])
    expected = stepped(middle, hard / 2 + apart + joined / 2)
    torch.testing.assert_close(weights(made), expected)


def test_with_balance_the_head_alone_learns_last():
    data = contexts("class", sizes=(2, 2))
    one, two = network(4), network(4)
    for made, epochs in ((one, 0), (two, 2)):
        lifelong.global_distillation(
            made, data, WILD, SOME, epochs=3, memory=8, balance_epochs=epochs
        )
    body = 5 * 16 + 16
    assert weights(one)[:body].equal(weights(two)[:body])
    assert not weights(one)[body:].equal(weights(two)[body:])


def test_unlabelled_images_have_no_label_to_read():
    data = contexts("class", sizes=(2, 2))
    given = [WILD, torch.utils.data.TensorDataset(WILD, torch.full((len(WILD),), -7))]
    one, two = (network(4) for _ in given)
    for made, external in zip((one, two), given, strict=True):
        lifelong.global_distillation(made, data, external, SOME, epochs=2, memory=8)
    assert weights(one).equal(weights(two))


@pytest.mark.parametrize("references", ["P", "PC", "PCQ"])
def test_it_keeps_what_fine_tuning_loses(references):
    data = contexts("class")
    fit = lifelong.global_distillation(
        network(), data, WILD, SOME, memory=24, references=references
    )
    lost = lifelong.fine_tune(network(), data, SOME)
    assert lifelong.average_accuracy(fit.accuracy) > lifelong.average_accuracy(lost.accuracy) + 20
    assert ("joined" in fit.history) == (references == "PCQ")


def test_wrong_options():
    data = contexts("class")
    for wrong, words in (
        ({"references": "CQ"}, "references must be"), ({"outside": 1.5}, "outside must lie"),
        ({"temperature": 0.0}, "temperature must"), ({"balance_epochs": -1}, "balance_epochs must"),
        ({"confidence_weight": -1.0}, "confidence_weight must"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            lifelong.global_distillation(network(), data, WILD, ONCE, **wrong)
    with pytest.raises(ValueError, match='its contexts must be "class", not "task"'):
        lifelong.global_distillation(network(), contexts("task"), WILD, ONCE)


@pytest.mark.parametrize(
    ("external", "words"),
    [
        (torch.empty(0, 5), "external holds no input|hold no sample"),
        (torch.randn(40, 7), r"like the contexts' own, float32 of shape \(5,\); got float32 of shape \(7,\)"),
        (torch.ones(40, 5, dtype=torch.int64), r"float32 of shape \(5,\); got int64"),
        ([1, 2], "external must be Images, a Dataset, or a tensor"),
        (torch.tensor(1.0), "external must be Images|sample"),
    ],
)  # fmt: skip
def test_unlabelled_inputs_of_another_kind_are_refused_before_any_training(external, words):
    made = network()
    before = weights(made)
    with pytest.raises(ValueError, match=words):
        lifelong.global_distillation(made, contexts("class"), external, ONCE)
    assert weights(made).equal(before)
