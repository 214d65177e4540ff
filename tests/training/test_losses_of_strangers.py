"""Losses, measures and answers of strangers: each works, or is refused in one sentence."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import kdnb
from kdnb.training.metrics import evaluate

QUICK = {"epochs": 2, "batch_size": 8, "lr": 0.05, "momentum": 0.0, "precision": "32"}


def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(24, 6, generator=generator), torch.arange(24) % 3


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))


def distil(method="kd", **options):
    return kdnb.distil(net(), net(1), data(), method=method, **{**QUICK, **options})


def squares(student, teacher):
    return (student - teacher).square().mean()


@pytest.mark.parametrize("late", [None, 0.5, torch.zeros(8, requires_grad=True)])
def test_a_loss_that_changes_its_mind_is_told(late):
    calls = []

    def loss(student, teacher):
        calls.append(1)
        return squares(student, teacher) if len(calls) < 4 else late

    with pytest.raises((TypeError, ValueError), match="^the method loss must return "):
        distil(loss)
    calls.clear()
    with pytest.raises((TypeError, ValueError), match="^loss must return "):
        kdnb.train(net(), data(), loss=loss_of_labels(loss), **QUICK)


def loss_of_labels(loss):
    return lambda answer, labels: loss(answer, F.one_hot(labels, 3).float())


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_loss_that_writes_over_an_answer_is_refused(side):
    def loss(student, teacher):
        (student if side == "student" else teacher).mul_(0.5)
        return squares(student, teacher)

    for method in (loss, ["kd", loss], [loss, "kd"]):
        with pytest.raises(ValueError, match="the method loss changes the answers in place"):
            distil(method)
    with pytest.raises(ValueError, match="changes the answers in place"):
        kdnb.Criterion(loss, net(), net(1), data()[0])


class Learning(nn.Module):
    """A loss with parameters, and a mode."""

    def __init__(self):
        super().__init__()
        self.scale, self.drop = nn.Parameter(torch.ones(3)), nn.Dropout(0.1)

    def forward(self, answer, labels):
        return F.cross_entropy(self.drop(answer * self.scale), labels)


def test_a_loss_of_labels_learns_and_is_left_as_it_came(tmp_path):
    loss, start = Learning(), Learning()
    loss.drop.eval()
    fit = kdnb.train(net(), data(), loss=loss, checkpoint=tmp_path / "c", **QUICK)
    assert fit.learnt is loss
    assert not torch.equal(loss.scale, start.scale)
    assert loss.training
    assert not loss.drop.training
    again = Learning()
    again.drop.eval()
    kdnb.train(net(), data(), loss=again, checkpoint=tmp_path / "c", **QUICK)
    assert torch.equal(again.scale, loss.scale)


class Centred(nn.Module):
    """A loss with nothing to learn and a running mean, as DINO's; frozen parts keep their mode."""

    def __init__(self):
        super().__init__()
        self.register_buffer("centre", torch.zeros(3))
        self.norm = nn.BatchNorm1d(3).eval().requires_grad_(False)

    def forward(self, answer, target):
        if target.ndim == 1:
            target = F.one_hot(target, 3).float()
        value = squares(self.norm(answer), target - self.centre)
        self.centre = 0.5 * self.centre + 0.5 * target.mean(0).detach()
        return value


def counting():
    calls = []

    def loss(answer, target):
        calls.append(1)
        return Centred()(answer, target) / len(calls)

    return loss


def learn(verb, loss, **options):
    if verb == "distil":
        return distil(loss, **options).history
    return kdnb.train(net(), data(), loss=loss, **{**QUICK, **options}).history


@pytest.mark.parametrize("verb", ["train", "distil"])
def test_what_a_loss_remembers_is_resumed_or_its_loss_is_told(verb, tmp_path, monkeypatch, capsys):
    class Killed(Exception):
        pass

    def kill(networks, epochs=[]):  # noqa: B006 - it counts
        epochs.append(1)
        if len(epochs) == 2:
            raise Killed
        return {"a": 1}

    whole = learn(verb, Centred(), epochs=4, evaluate=lambda networks: {"a": 1})
    with pytest.raises(Killed):
        learn(verb, Centred(), epochs=4, checkpoint=tmp_path / "c", evaluate=kill)
    loss = Centred()
    rest = learn(
        verb, loss, epochs=4, checkpoint=tmp_path / "c", evaluate=lambda networks: {"a": 1}
    )
    assert whole.drop(columns="seconds").equals(rest.drop(columns="seconds"))
    assert loss.training
    assert not loss.norm.training
    monkeypatch.setenv("TQDM_DISABLE", "0")
    learn(verb, counting(), checkpoint=tmp_path / "d")
    assert capsys.readouterr().err.count("remembers what the checkpoint does not keep") == 1


@pytest.mark.parametrize("verb", ["train", "distil"])
def test_a_loss_forgets_its_trial(verb):
    inputs, labels = data()
    options = {"epochs": 1, "batch_size": len(labels), "label_weight": 0}
    options = {k: v for k, v in options.items() if verb == "distil" or k != "label_weight"}
    target = net(1)(inputs) if verb == "distil" else labels
    history = learn(verb, Centred(), **options)
    assert history.iloc[0, 2] == pytest.approx(Centred()(net()(inputs), target).item(), rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_a_loss_of_two_answers_is_left_in_its_mode(training):
    class Adapted(nn.Module):
        def __init__(self):
            super().__init__()
            self.adapter = nn.Linear(3, 3)

        def forward(self, student, teacher):
            return squares(self.adapter(student), teacher)

    loss = Adapted().train(training)
    before = copy.deepcopy(loss.adapter.weight)
    assert distil(loss).learnt is loss
    assert loss.training == loss.adapter.training == training
    assert not torch.equal(loss.adapter.weight, before)


@pytest.mark.parametrize(
    ("loss", "message"),
    [("mse", "loss is a function"), (lambda answer: answer.mean(), "loss cannot take this answer")],
)
def test_what_is_no_loss_of_labels_is_refused(loss, message):
    with pytest.raises((TypeError, ValueError), match=message):
        kdnb.train(net(), data(), loss=loss, **QUICK)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (nn.Identity(), "evaluate is a function of the networks by name, or data; got a Identity"),
        (lambda networks: {"each": np.ones(2)}, r"'each' is a ndarray of shape \(2,\): give its"),
        (lambda networks: {"huge": 10**400}, "'huge' is a int"),
    ],
)
def test_what_is_no_measure_is_refused(measure, message):
    with pytest.raises(TypeError, match=message):
        distil(evaluate=measure)


def test_a_measure_sees_the_users_network():
    student, seen = net(), []

    def look(networks):
        shown = networks["student"]
        seen.append(shown.state_dict())
        assert shown.extra == "mine"
        return {}

    student.extra = "mine"
    kdnb.distil(student, net(1), data(), evaluate=look, **QUICK)
    assert seen[-1].keys() == student.state_dict().keys()
    net().load_state_dict(seen[-1])


def test_answers_of_nan_are_errors():
    network = net()
    with torch.no_grad():
        network[2].bias[0] = math.nan
    found = evaluate(network, data())
    assert found["errors"] == 24
    assert found["accuracy"] == 0


class Named(nn.Module):
    def __init__(self, network, make):
        super().__init__()
        self.network, self.make = network, make

    def forward(self, x):
        return self.make(self.network(x))


def test_a_number_in_front_of_the_logits_is_no_logits():
    network = Named(net(), lambda logits: (logits.sum(), logits))
    with pytest.raises(TypeError, match="one number stands where kdnb looks for logits"):
        kdnb.train(network, data(), **QUICK)
    right = kdnb.train(net(), data(), **QUICK).history.hard
    network = Named(net(), lambda logits: (logits.sum(), logits))
    assert kdnb.train(network, data(), output=1, **QUICK).history.hard.equals(right)


def test_a_pair_of_outputs_is_for_two_networks():
    teacher = Named(net(1), lambda logits: {"scores": logits})
    found = evaluate(net(), data(), teacher=teacher, output=(None, "scores"))
    assert found["agreement"] == evaluate(net(), data(), teacher=net(1))["agreement"]
    with pytest.raises(TypeError, match="is a pair, which kdnb.distil takes"):
        kdnb.train(net(), data(), output=(None, "scores"), **QUICK)


@pytest.mark.parametrize("wrap", [nn.DataParallel, "compiled", "compiled in place"])
def test_wrapped_networks_say_what_to_give(wrap):
    network = kdnb.nets.build("resnet8", num_classes=3, in_channels=3, image_size=8, width=0.25)
    images = torch.randn(8, 3, 8, 8), torch.arange(8) % 3
    if wrap == "compiled in place":
        network.compile(backend="eager")
    else:
        compiled = wrap == "compiled"
        network = torch.compile(network, backend="eager") if compiled else wrap(network)
    with pytest.raises(ValueError, match="kdnb does not look into a"):
        kdnb.distil(network, copy.deepcopy(network), images, method="at", weight=1, **QUICK)


@pytest.mark.parametrize("members", [[nn.Linear(2, 2), 3], nn.Linear(2, 2), iter([])])
def test_what_is_no_list_of_modules_makes_no_ensemble(members):
    with pytest.raises(TypeError, match="of an ensemble is a module|takes a list of modules"):
        kdnb.Ensemble(members)


@pytest.mark.parametrize(
    ("key", "meant"), [("T", "temperature"), ("learning_rate", "lr"), ("wd", "weight_decay")]
)
def test_what_others_call_an_option_is_known(key, meant):
    with pytest.raises(ValueError, match=rf"has no option '{key}' \(here it is {meant}\)"):
        distil(**{key: 1})


@pytest.mark.parametrize("wrong", [{"generations": "two"}, {"generations": 1.5}])
def test_generations_are_counted(wrong):
    with pytest.raises(ValueError, match="generations must be at least 0, a whole number"):
        kdnb.born_again(net, data(), **wrong, **QUICK)


def test_generations_share_nothing():
    network = net()
    with pytest.raises(ValueError, match="two of its networks share parameters"):
        kdnb.born_again(lambda: nn.Sequential(network), data(), generations=1, **QUICK)


@pytest.mark.parametrize(
    ("condition", "options", "message"),
    [
        ({"seed": 3}, {}, "names seed, which belongs to the comparison"),
        ({"checkpoint": "c"}, {}, "names checkpoint, which belongs"),
        (lambda seed: np.ones(2), {}, "must return its errors"),
        ("kd", {"seeds": "ab"}, "seeds is how many"),
        ("kd", {"seeds": None}, "seeds is how many"),
    ],
)
def test_what_is_no_comparison_is_refused(condition, options, message):
    recipe = kdnb.Recipe(**QUICK)
    setting = kdnb.Toy(data(), data(), net, net(1), recipe)
    assert "24 training and 24 held-out" in repr(setting)
    with pytest.raises((TypeError, ValueError), match=message):
        kdnb.compare({"one": condition}, setting=setting, **{"seeds": 2, **options})
