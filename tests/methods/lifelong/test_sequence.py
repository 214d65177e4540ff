"""The shared loop: against a plain one, its matrix, checkpoints, and whose network it is."""

import copy
import math

import pytest
import torch
from small_contexts import ONCE, SOME, contexts, network, weights
from torch import nn
from torch.nn import functional as F

from kdnb.methods import lifelong
from kdnb.methods.lifelong.sequence import label_term


def test_it_is_a_plain_loop_over_contexts():
    made, plain, data = network(), network(), contexts()
    lifelong.fine_tune(made, data, ONCE, epochs=3)
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.1)
    for number in range(3):
        inputs, labels = data.train[number]
        own = data.own(number)
        for _ in range(3):
            optimiser.zero_grad()
            F.cross_entropy(plain(inputs)[:, own], labels - own.start).backward()
            optimiser.step()
    torch.testing.assert_close(weights(made), weights(plain))


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_the_matrix_counts_right_answers(scenario):
    made, data = network(2 if scenario == "domain" else 6), contexts(scenario)
    fit = lifelong.fine_tune(made, data, SOME, epochs=5, transfer=True)
    for number, (inputs, labels) in enumerate(data.test):
        asked = data.asked(number, 2)
        named = made(inputs)[:, asked].argmax(1) + asked.start
        assert fit.accuracy[2, number] == pytest.approx(
            100 * float((named == labels).double().mean())
        )
    ahead = fit.accuracy.triu(1)[0, 1:]
    assert bool(ahead.isnan().all()) == (scenario == "class")
    assert fit.history.accuracy.notna().sum() == 3 == fit.history.context.max()
    last = fit.history.accuracy.dropna().iloc[-1]
    assert last == pytest.approx(lifelong.average_accuracy(fit.accuracy))
    assert fit.measures["forgetting"] == lifelong.forgetting(fit.accuracy)


def test_without_transfer_nobody_asks_ahead():
    fit = lifelong.fine_tune(network(), contexts("task"), ONCE)
    assert bool(fit.untrained.isnan().all()) and bool(fit.accuracy[0, 1:].isnan().all())


def test_labels_compete_with_their_rivals_alone():
    logits, labels = torch.randn(4, 6), torch.tensor([0, 3, 5, 2])
    for scenario, groups in (("task", [(0, 2), (2, 4), (4, 6), (2, 4)]), ("class", [(0, 6)] * 4)):
        rivals = contexts(scenario).rivals(2)
        each = [
            F.cross_entropy(logits[i : i + 1, a:b], labels[i : i + 1] - a)
            for i, (a, b) in enumerate(groups)
        ]
        torch.testing.assert_close(label_term(logits, labels, rivals), sum(each) / 4)


def test_an_interrupted_sequence_goes_on_and_ends_the_same(tmp_path):
    whole, data = network(), contexts("class")
    lifelong.lwf(whole, data, SOME, epochs=4)
    once, again, seen = network(), network(), []
    real = lifelong.sequence.accuracies

    class Stop(Exception):
        pass

    def stop(*given):
        seen.append(given)
        if len(seen) == 2:
            raise Stop
        return real(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifelong.sequence, "accuracies", stop)
        with pytest.raises(Stop):
            lifelong.lwf(once, data, SOME, epochs=4, checkpoint=tmp_path / "checkpoint")
    files = sorted(path.name for path in tmp_path.glob("checkpoint*"))
    assert files == ["checkpoint-1", "checkpoint-2"]
    fit = lifelong.lwf(again, data, SOME, epochs=4, checkpoint=tmp_path / "checkpoint")
    assert weights(again).equal(weights(whole)) and len(fit.history) == 12


def test_the_network_is_the_callers():
    made = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))
    made[0].bias.requires_grad_(False)
    made.train()
    made[1].eval()
    before = made[0].bias.clone()
    lifelong.lwf(made, contexts(), SOME, epochs=2, warm_up=1)
    assert [part.training for part in made] == [True, False, True, True]
    assert [p.requires_grad for p in made.parameters()] == [True, False, True, True, True, True]
    assert made[0].bias.equal(before)


def test_a_network_of_another_size_and_unknown_options_are_refused():
    with pytest.raises(ValueError, match=r"have 6 columns in the scenario task, and the network answers \(30, 5\)"):  # fmt: skip
        lifelong.fine_tune(network(5), contexts(), SOME.model_copy(update={"batch_size": 64}))
    with pytest.raises(ValueError, match="fine_tune has no option 'epoch'"):
        lifelong.fine_tune(network(), contexts(), epoch=3)
    with pytest.raises(TypeError, match="network must be a torch module"):
        lifelong.fine_tune("mlp", contexts())


def test_a_loader_a_dataset_and_an_output_of_ones_own():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, inputs):
            return {"scores": self.inner(inputs)}

    data = contexts()
    sets = [torch.utils.data.TensorDataset(*part) for part in data.train]
    loaders = [torch.utils.data.DataLoader(one, 10) for one in sets]
    for train in (sets, loaders):
        mixed = lifelong.Contexts(train, data.test, data.sizes, "task")
        fit = lifelong.lwf(
            Named(), mixed, epochs=8, optimiser="adam", lr=0.02, output=lambda a: a["scores"],
            **({} if train is loaders else {"batch_size": 10}),
        )  # fmt: skip
        assert math.isfinite(lifelong.average_accuracy(fit.accuracy))
        assert lifelong.learning_accuracy(fit.accuracy) > 90


@pytest.mark.parametrize("verb", ["lwf", "fine_tune"])
def test_a_network_that_has_learnt_already_goes_on_without_the_old_data(verb):
    data, made, kept = contexts("task"), network(), []
    real = lifelong.sequence.accuracies
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            lifelong.sequence, "accuracies", lambda *g: kept.append(copy.deepcopy(made)) or real(*g)
        )
        whole = getattr(lifelong, verb)(made, data, SOME, epochs=3)
    middle = kept[0]
    later = lifelong.Contexts([None, *data.train[1:]], data.test, data.sizes, "task")
    fit = getattr(lifelong, verb)(middle, later, SOME, epochs=3, known=1)
    assert weights(middle).equal(weights(made))
    assert bool(fit.accuracy[0].isnan().all()) and fit.accuracy[2].equal(whole.accuracy[2])
    assert fit.history.context.tolist() == [2] * 3 + [3] * 3
    with pytest.raises(ValueError, match=r"known must lie in \[0, 2\]"):
        getattr(lifelong, verb)(middle, data, SOME, known=3)
