"""Replay and its bounds: a step with stored examples, joint training, and a body that is frozen."""

import pytest
import torch
from small_contexts import ONCE, SOME, after_first, contexts, network, stepped, weights
from torch.nn import functional as F

from kdnb.methods import lifelong
from kdnb.methods.lifelong.exemplars import at_random
from kdnb.training.randomness import mix


@pytest.mark.parametrize("targets", ["hard", "soft"])
def test_a_step_with_as_many_stored_examples(targets, monkeypatch):
    data, made = contexts("class", sizes=(2, 2)), network(4)
    middle = after_first(data, made)
    drawn = []
    real = torch.randint
    monkeypatch.setattr(torch, "randint", lambda *a, **k: drawn.append(real(*a, **k)) or drawn[-1])
    lifelong.replay(made, data, ONCE, memory=10, targets=targets)
    assert len(drawn) == 1 and len(drawn[0]) == 30
    stored = lifelong.Exemplars(10)
    stored.add(0, *data.train[0], at_random(mix(0, 0, 2)))
    again, labels = (part[drawn[0]] for part in stored.all())
    new, own = data.train[1]
    hard = F.cross_entropy(middle(new), own) / 2
    if targets == "hard":
        old = F.cross_entropy(middle(again), labels)
    else:
        v = (middle(again).detach()[:, :2] / 2).softmax(1)
        old = -(F.pad(v, (0, 2)) * (middle(again) / 2).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(weights(made), stepped(middle, hard + old / 2))


def test_stored_examples_keep_what_fine_tuning_loses():
    data = contexts("class")
    kept = lifelong.replay(network(), data, SOME, memory=24).measures
    lost = lifelong.fine_tune(network(), data, SOME).measures
    assert kept["average accuracy"] > lost["average accuracy"] + 20
    assert kept["forgetting"] < lost["forgetting"] - 20


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_joint_training_sees_everything_at_once(scenario):
    data = contexts(scenario)
    made = network(data.columns)
    plain = network(data.columns)
    lifelong.train_jointly(made, data, ONCE)
    inputs = torch.cat([part for part, _ in data.train])
    labels = torch.cat([part for _, part in data.train])
    z = plain(inputs)
    if scenario == "task":
        loss = sum(F.cross_entropy(z[30 * k : 30 * k + 30, data.own(k)], labels[30 * k : 30 * k + 30] - 2 * k)
                   for k in range(3)) / 3  # fmt: skip
    else:
        loss = F.cross_entropy(z, labels)
    torch.testing.assert_close(weights(made), stepped(plain, loss))


def test_of_joint_training_there_is_the_last_row_alone():
    fit = lifelong.train_jointly(network(), contexts("class"), SOME)
    assert bool(fit.accuracy[:2].isnan().all())
    assert lifelong.average_accuracy(fit.accuracy) > 90


def test_a_frozen_body_keeps_old_answers_exactly():
    data, made = contexts("task"), network()
    first, rows = network(), []
    real = lifelong.sequence.accuracies
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            lifelong.sequence, "accuracies", lambda *g: rows.append(weights(made)) or real(*g)
        )
        fit = lifelong.fine_tune(made, data, SOME, body="frozen", weight_decay=0.05)
    body = 5 * 16 + 16
    assert not rows[0][:body].equal(weights(first)[:body])
    assert rows[2][:body].equal(rows[0][:body]) and not rows[2].equal(rows[1])
    assert rows[2][body : body + 32].equal(rows[0][body : body + 32])
    assert lifelong.forgetting(fit.accuracy) == 0
    assert fit.accuracy[2, 0] == fit.accuracy[0, 0]


def test_wrong_options():
    for wrong, words in (
        ({"memory": 0}, "memory must be at least 1"), ({"memory": 1}, "a memory of 1 is smaller"),
        ({"targets": "mixed"}, "targets must be"), ({"temperature": -1.0}, "temperature must"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            lifelong.replay(network(), contexts(), ONCE, **wrong)
    with pytest.raises(ValueError, match='body must be "trained" or "frozen"'):
        lifelong.fine_tune(network(), contexts(), ONCE, body="still")
    with pytest.raises(ValueError, match="in the scenario domain no row"):
        lifelong.fine_tune(network(2), contexts("domain"), ONCE, body="frozen")
