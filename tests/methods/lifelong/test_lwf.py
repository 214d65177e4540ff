"""LwF: both terms of a step in every scenario, whose answers are kept, and that old data is gone."""

import pytest
import torch
from small_contexts import ONCE, SOME, after_first, at, contexts, network, stepped, weights
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb.methods import lifelong
from kdnb.methods.lifelong import Contexts
from kdnb.methods.lifelong.lwf import old_answers
from kdnb.methods.lifelong.sequence import Stage
from kdnb.training.inputs import batches_for


def softened(logits, old, temperature):
    """H(softmax(old / T), softmax(logits / T)), averaged over the batch."""
    p, q = (old / temperature).softmax(1), (logits / temperature).log_softmax(1)
    return -(p * q).sum(1).mean()


def two(scenario):
    data = contexts(scenario, sizes=(2, 2))
    return data, network(data.columns)


@pytest.mark.parametrize("temperature", [2.0, 3.0])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_a_step_has_the_labels_and_what_was_answered_before(scenario, temperature):
    data, made = two(scenario)
    middle = after_first(data, made)
    inputs, labels = data.train[1]
    z, v = middle(inputs), middle(inputs).detach()
    if scenario == "task":
        hard, kept = (
            F.cross_entropy(z[:, 2:], labels - 2),
            softened(z[:, :2], v[:, :2], temperature),
        )
    elif scenario == "domain":
        hard, kept = F.cross_entropy(z, labels), softened(z, v, temperature)
    else:
        p = F.pad((v[:, :2] / temperature).softmax(1), (0, 2))  # new classes: probability 0
        hard = F.cross_entropy(z, labels)
        kept = -(p * (z / temperature).log_softmax(1)).sum(1).mean()
    expected = stepped(middle, hard + 0.7 * kept)
    lifelong.lwf(made, data, ONCE, weight=0.7, temperature=temperature)
    torch.testing.assert_close(weights(made), expected)


def test_new_classes_may_be_left_out():
    data, made = two("class")
    middle = after_first(data, made)
    inputs, labels = data.train[1]
    z, v = middle(inputs), middle(inputs).detach()
    expected = stepped(middle, F.cross_entropy(z, labels) + softened(z[:, :2], v[:, :2], 2.0))
    lifelong.lwf(made, data, ONCE, new_classes="free")
    torch.testing.assert_close(weights(made), expected)


def test_the_weights_of_van_de_ven_and_tolias():
    """In context k: 1/k for the labels, the rest for the mean of the k - 1 old terms."""
    data, made = contexts("task"), network()
    middle = after_first(data, made)
    inputs, labels = data.train[1]
    z, v = middle(inputs), middle(inputs).detach()
    loss = F.cross_entropy(z[:, 2:4], labels - 2) / 2 + softened(z[:, :2], v[:, :2], 2.0) / 2
    third = at(made, stepped(middle, loss))
    inputs, labels = data.train[2]
    z, v = third(inputs), third(inputs).detach()
    old = (softened(z[:, :2], v[:, :2], 2.0) + softened(z[:, 2:4], v[:, 2:4], 2.0)) / 2
    expected = stepped(third, F.cross_entropy(z[:, 4:], labels - 4) / 3 + 2 / 3 * old)
    lifelong.lwf(made, data, ONCE, weighting="contexts")
    torch.testing.assert_close(weights(made), expected)


def test_several_old_tasks_are_summed_in_the_paper():
    data, made = contexts("task"), network()
    middle = after_first(data, made)
    inputs, labels = data.train[1]
    z, v = middle(inputs), middle(inputs).detach()
    loss = F.cross_entropy(z[:, 2:4], labels - 2) + softened(z[:, :2], v[:, :2], 2.0)
    third = at(made, stepped(middle, loss))
    inputs, labels = data.train[2]
    z, v = third(inputs), third(inputs).detach()
    old = softened(z[:, :2], v[:, :2], 2.0) + softened(z[:, 2:4], v[:, 2:4], 2.0)
    expected = stepped(third, F.cross_entropy(z[:, 4:], labels - 4) + old)
    lifelong.lwf(made, data, ONCE)
    torch.testing.assert_close(weights(made), expected)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_with_weight_0_it_is_fine_tuning(scenario):
    data, made = two(scenario)
    other = network(data.columns)
    one = lifelong.lwf(made, data, SOME, epochs=4, weight=0.0)
    two_ = lifelong.fine_tune(other, data, SOME, epochs=4)
    assert weights(made).equal(weights(other))
    assert one.accuracy.nan_to_num(-1).equal(two_.accuracy.nan_to_num(-1))


def test_no_example_of_an_earlier_context_is_looked_at_again():
    """Once the second context has begun, the first one's training data may be anything."""

    class Gone(torch.utils.data.TensorDataset):
        reads = 0

        def __getitem__(self, index):
            Gone.reads += 1
            return super().__getitem__(index)

    data, made = contexts("task", sizes=(2, 2)), network(4)
    first = Gone(*data.train[0])
    mixed = Contexts([first, data.train[1]], data.test, data.sizes, "task")
    seen = []
    real = lifelong.sequence.accuracies
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            lifelong.sequence,
            "accuracies",
            lambda *given: (seen.append(Gone.reads), real(*given))[1],
        )
        lifelong.lwf(made, mixed, SOME, epochs=3)
    assert seen[0] == seen[1] > 0


def test_it_forgets_less_than_fine_tuning():
    """Contexts whose inputs overlap, so that answers on new ones say something about old ones."""
    data = contexts("task", each=30)
    kept, lost = (
        [
            how(network(seed=seed), data, SOME, seed=seed).measures["average accuracy"]
            for seed in range(3)
        ]
        for how in (lifelong.lwf, lifelong.fine_tune)
    )
    assert sum(kept) >= sum(lost)


def test_while_warming_up_only_the_new_rows_learn():
    data, made = contexts("task", sizes=(2, 2)), network(4)
    seen = []
    real = lifelong.sequence.fit

    def watched(networks, *given, **named):
        before = weights(networks["network"])
        found = real(networks, *given, **named)
        seen.append((before != weights(networks["network"])).nonzero()[:, 0])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifelong.sequence, "fit", watched)
        lifelong.lwf(made, data, SOME, epochs=2, warm_up=2, weight_decay=0.1)
    body = 5 * 16 + 16
    rows = set(range(body + 2 * 16, body + 4 * 16)) | {body + 4 * 16 + 2, body + 4 * 16 + 3}
    assert len(seen) == 3 and set(seen[1].tolist()) <= rows and len(seen[1]) > 16
    assert not set(seen[2].tolist()) <= rows


def test_shuffled_answers_belong_to_other_images():
    source = datasets.load("mnist").train.select(slice(0, 120))
    data = lifelong.split_classes(source, source, [[0, 1, 2], [3, 4, 5]], "task")
    torch.manual_seed(0)
    old = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 6)).eval()
    stage = Stage(1, old, batches_for(data.train[1], SOME, 0))
    plain, mixed = old_answers(stage), old_answers(stage, None, 5)
    batch = next(iter(stage.batches.epoch(0)))
    one, other = plain({}, batch), mixed({}, batch)
    assert not one.equal(other)
    rows = {
        tuple(row) for row in torch.cat([plain({}, b) for b in stage.batches.epoch(0)]).tolist()
    }
    assert {tuple(row) for row in other.tolist()} <= rows
    with pytest.raises(ValueError, match="shuffled answers need Images without augmentation"):
        lifelong.lwf(network(4), contexts("task", sizes=(2, 2)), SOME, epochs=1, shuffled=True)


def test_wrong_options():
    data = contexts()
    for wrong, words in (
        ({"weight": -1.0}, "weight must be at least 0"),
        ({"temperature": 0.0}, "temperature must be"),
        ({"weighting": "mean"}, 'weighting must be "paper" or "contexts"'),
        ({"new_classes": "one"}, "new_classes must be"),
        ({"shuffled": 1}, "shuffled must be"),
        ({"warm_up": -1}, "warm_up must be"),
    ):
        with pytest.raises(ValueError, match=words):
            lifelong.lwf(network(), data, ONCE, **wrong)
    with pytest.raises(ValueError, match="in the scenario domain no row of the head is new"):
        lifelong.lwf(network(2), contexts("domain"), ONCE, warm_up=1)
