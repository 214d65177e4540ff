"""Unifying classifiers of some classes: on digits, what is minimised, what is refused."""

import pytest
import torch
from torch import nn

from kdnb import data as datasets
from kdnb import losses, nets
from kdnb.data import Images
from kdnb.methods.multi_teacher.uhc import RULES, unify
from kdnb.methods.offline.distil import train
from kdnb.training import Recipe

SETS = [[0, 1, 2], [2, 3, 4], [4, 5, 0]]
STILL = Recipe(epochs=1, batch_size=8, lr=1e-9, precision="32", schedule="constant")


def linear(classes, seed=0, features=6):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(features, classes))


def drawn(count=24):
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def digits():
    """Three classifiers of 0 to 5 that know three digits each, and images none of them saw."""
    whole = datasets.load("mnist").train
    some = whole.select(whole.labels < 6)
    private, other = some.select(slice(0, 600)), some.select(slice(600, 1200))
    classifiers = []
    for seed, own in enumerate(SETS):
        mine = private.select(torch.isin(private.labels, torch.tensor(own)))
        labels = torch.tensor([own.index(label) for label in mine.labels.tolist()])
        torch.manual_seed(seed)
        network = nets.build("mlp", num_classes=3, widths=[32])
        images = Images(mine.images, labels, mine.card)
        train(network, images, epochs=8, batch_size=32, lr=0.003, optimiser="adam", seed=seed)
        classifiers.append(network)
    return classifiers, other


def student(seed=9):
    torch.manual_seed(seed)
    return nets.build("mlp", num_classes=6, widths=[64])


def accuracy(network, images):
    with torch.no_grad():
        return (network(images.tensors()[0]).argmax(1) == images.labels).double().mean().item()


def test_a_student_knows_all_digits_though_no_classifier_does_and_the_naive_one_less(digits):
    classifiers, images = digits
    found = {}
    for estimate in ("backpropagated", "cross_entropy", "zero_padded"):
        network = student()
        fit = unify(
            network, classifiers, SETS, images, epochs=10, batch_size=32, lr=0.003,
            optimiser="adam", estimate=estimate,
        )  # fmt: skip
        assert list(fit.networks) == ["student"] and fit.history.soft.iloc[-1] > 0
        found[estimate] = accuracy(network, images)
    alone = max(
        (torch.tensor(own)[net(images.tensors()[0]).argmax(1)] == images.labels).double().mean()
        for net, own in zip(classifiers, SETS, strict=True)
    )
    assert alone < 0.6  # half of the digits are not its own
    for estimate in ("backpropagated", "cross_entropy"):
        assert found[estimate] > 0.75
        assert found[estimate] > found["zero_padded"] + 0.03


def test_labels_change_nothing(digits):
    classifiers, images = digits
    few = images.select(slice(0, 64))
    wrong = Images(few.images, few.labels * 0, few.card)
    states = []
    for some in (few, wrong):
        network = student()
        unify(network, classifiers, SETS, some, epochs=1, batch_size=32, lr=0.01)
        states.append(network.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize("estimate", ["backpropagated", *RULES])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_what_is_minimised(estimate, temperature):
    classifiers = [linear(3, seed) for seed in range(3)]
    network, images = linear(6, 7), drawn()
    before = [{k: v.clone() for k, v in one.state_dict().items()} for one in classifiers]
    with torch.no_grad():
        z = network(images) / temperature
        said = [one(images) / temperature for one in classifiers]
        if estimate == "backpropagated":
            expected = losses.restricted_cross_entropy(z, said, SETS)
        else:
            expected = losses.cross_entropy_with(z, RULES[estimate](said, SETS, 6))
    row = unify(
        network, classifiers, SETS, images, STILL, estimate=estimate, temperature=temperature
    ).rows[0]
    assert row["soft"] == pytest.approx(temperature**2 * expected.item(), rel=1e-5)
    for one, kept in zip(classifiers, before, strict=True):
        assert all(torch.equal(kept[key], value) for key, value in one.state_dict().items())
        assert all(p.requires_grad for p in one.parameters())


def test_images_that_never_change_and_others_give_the_same(digits):
    """The target is made once for the one, in every step for the other."""
    classifiers, images = digits
    few = images.select(slice(0, 64))
    rows = [
        unify(student(), classifiers, SETS, data, STILL, estimate="cross_entropy").rows[0]["soft"]
        for data in (few, few.tensors())
    ]
    assert rows[0] == pytest.approx(rows[1], rel=1e-5)


def test_class_sets_that_fall_apart_are_refused_unless_that_is_wanted():
    classifiers, images = [linear(2, 0), linear(3, 1)], drawn()
    apart = [[0, 1], [2, 3, 4]]
    for estimate in ("backpropagated", "cross_entropy", "log_space", "factorised"):
        with pytest.raises(ValueError, match=r"compares a class of \[0, 1\] with one of \[2, 3, 4"):
            unify(linear(5), classifiers, apart, images, STILL, estimate=estimate)
        unify(linear(5), classifiers, apart, images, STILL, estimate=estimate, unconnected=True)
    unify(linear(5), classifiers, apart, images, STILL, estimate="zero_padded")


def test_what_does_not_fit_is_named():
    classifiers, images = [linear(3, seed) for seed in range(3)], drawn()
    for arguments, words in (
        ((linear(5), classifiers, SETS), r"the student must answer \(batch, 6\)"),
        (
            (linear(6), [linear(3), linear(3), linear(4)], SETS),
            r"classifier 2 must answer .batch, 3",
        ),
        ((linear(6), classifiers[:2], SETS), "one list for each of 2 classifiers; got 3"),
        ((linear(6), classifiers, [[0, 1, 2], [2, 3, 5], [5, 3, 0]]), "got none with 4"),
    ):
        with pytest.raises(ValueError, match=words):
            unify(*arguments, images, STILL)
    with pytest.raises(TypeError, match="as a list of modules"):
        unify(linear(6), classifiers[0], SETS, images, STILL)
    with pytest.raises(ValueError, match='estimate must be "backpropagated"'):
        unify(linear(6), classifiers, SETS, images, STILL, estimate="mean")
    with pytest.raises(ValueError, match="share"):
        unify(classifiers[0], classifiers, [[0, 1, 2]] * 3, images, STILL)
