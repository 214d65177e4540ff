"""The shared loop: against a plain one, its matrix, checkpoints, and whose network it is."""

import copy
import math

import pytest
import torch
from small_contexts import ONCE, SOME, contexts, network, weights
from torch import nn
from torch.nn import functional as F

from kdnb import nets
from kdnb.methods import lifelong
from kdnb.methods.lifelong import Contexts
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


VERBS = {
    "fine_tune": lambda made, data: lifelong.fine_tune(made, data, ONCE),
    "lwf": lambda made, data: lifelong.lwf(made, data, ONCE),
    "ewc": lambda made, data: lifelong.ewc(made, data, ONCE, strength=1.0, samples=5),
    "replay": lambda made, data: lifelong.replay(made, data, ONCE, memory=100),
    "icarl": lambda made, data: lifelong.icarl(made, data, ONCE, memory=100),
    "global_distillation": lambda made, data: lifelong.global_distillation(
        made, data, torch.randn(40, 5), ONCE, memory=100
    ),
    "train_jointly": lambda made, data: lifelong.train_jointly(made, data, ONCE),
}


def changed(kind):
    """Three contexts of two classes, with something wrong in the second or third."""
    data, empty = contexts("class"), (torch.empty(0, 5), torch.empty(0, dtype=torch.int64))
    train, test = list(data.train), list(data.test)
    (x, y), (u, v) = train[1], train[2]
    if kind == "empty":
        train[1] = empty
    elif kind == "no test":
        test[1] = empty
    elif kind == "classes of the first":
        train[1] = (x, y - 2)
    elif kind == "classes that nobody has":
        train[2] = (u, v + 50)
    elif kind == "tests of another":
        test[2] = test[1]
    elif kind == "no numbers of classes":
        train[2] = (u, v.float())
    elif kind == "other inputs":
        train[2] = (torch.randn(30, 7), v)
    return Contexts(train, test, data.sizes, "class")


WRONG = {
    "empty": "training data of context 2: these tensors hold no sample",
    "no test": "test data of context 2: these tensors hold no sample",
    "classes of the first": "context 2: labels must be this context's own columns, 2 to 3; got 0 to 1",
    "classes that nobody has": "context 3: labels must be this context's own columns, 4 to 5; got 54",
    "tests of another": "test data of context 3: labels must be this context's own columns, 4 to 5",
    "no numbers of classes": "context 3: labels must be numbers of columns",
    "other inputs": "context 3: the network cannot take|inputs of context 3 have the shape",
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", WRONG)
def test_contexts_that_cannot_be_learnt_are_refused_before_the_first_one_is(verb, kind):
    made = network()
    before = weights(made)
    with pytest.raises((ValueError, RuntimeError), match=WRONG[kind]) as refused:
        VERBS[verb](made, changed(kind))
    assert isinstance(refused.value, ValueError) and weights(made).equal(before)


def test_weights_that_are_no_numbers_are_refused():
    made = network()
    made[0].bias.data[1] = float("inf")
    with pytest.raises(
        ValueError, match="the network has weights that are NaN or infinite, in '0.bias'"
    ):
        lifelong.lwf(made, contexts(), ONCE)


class Dictionary(nn.Module):
    """Convolutions without normalisation for one-channel images, and a dict as the answer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 7, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.head = nn.Linear(7, 4)

    def forward(self, images):
        return {"logits": self.head(self.body(images))}


def convolutional(colours):
    return nn.Sequential(
        nn.Conv2d(colours, 5, 3, stride=2), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(5, 4),
    )  # fmt: skip


STRANGERS = {
    "a dict": (Dictionary, 1),
    "colours, normalisation": (lambda: convolutional(3), 3),
    "bfloat16": (lambda: convolutional(1).bfloat16(), 1),
    "timm": (lambda: nets.build("timm:resnet10t", num_classes=4, in_channels=3, image_size=32), 3),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_networks_of_many_kinds_learn_by_every_verb(name):
    """With batches that end in one sample, one class in the second context, and room for more than all."""
    make, colours = STRANGERS[name]
    images = torch.rand(17, colours, 12, 12, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(17) % 3
    data = Contexts([(images, labels), (images[:9], torch.full((9,), 3))],
                    [(images[:5], labels[:5]), (images[:3], torch.full((3,), 3))], (3, 1), "class")  # fmt: skip
    short = ONCE.model_copy(update={"batch_size": 8})
    for verb, call in {
        "lwf": lambda made: lifelong.lwf(made, data, short, warm_up=1),
        "ewc": lambda made: lifelong.ewc(made, data, short, strength=1.0, samples=3),
        "replay": lambda made: lifelong.replay(made, data, short, memory=500, targets="soft"),
        "icarl": lambda made: lifelong.icarl(made, data, short, memory=500),
        "global_distillation": lambda made: lifelong.global_distillation(
            made, data, torch.rand(20, colours, 12, 12), short, memory=500
        ),
    }.items():
        torch.manual_seed(0)
        made = make()
        kind = next(made.parameters()).dtype
        fit = call(made)
        assert fit.accuracy[-1].isfinite().all(), verb
        assert {p.dtype for p in made.parameters()} == {kind}
