"""Rules as teachers on real digits: what attention trusts, what the teacher adds, and the errors."""

import copy

import pytest
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional as F

import kdnb
from kdnb import losses
from kdnb.methods import attention
from kdnb.nets import build

CLASSES_OF = {
    0: [1, 2, 3, 4, 5, 7],
    1: [0, 4, 6, 9],
    2: [8],
}  # a digit's holes, as most people write it
RECIPE = {"epochs": 6, "batch_size": 50, "optimiser": "adam", "lr": 0.003, "precision": "32"}


def holes(inputs):
    """How many parts of the background a digit encloses, (batch,)."""
    found = [ndimage.label(one < 0.5)[1] - 1 for one in F.pad(inputs[:, 0], [1] * 4).numpy()]
    return torch.tensor(found).clamp(0, 2)


def rules(inputs):
    """A rule that holds for most digits, and one with other classes, which holds for few."""
    right = torch.zeros(len(inputs), 10)
    for row, count in enumerate(holes(inputs).tolist()):
        right[row, CLASSES_OF[count]] = 1
    wrong = right.roll(3, 1)
    return torch.stack([right, wrong], 1)


def digits(labelled=100, more=400):
    images = kdnb.data.load("mnist").train.select(slice(labelled + more))
    labels = images.labels.clone()
    labels[labelled:] = -100
    return images.images.float() / 255, labels, images.labels


def net():
    torch.manual_seed(0)
    return build("tiny")


def test_the_rule_of_holes_holds_for_most_digits():
    inputs, _, truth = digits()
    asked = rules(inputs)
    right, wrong = (asked[torch.arange(len(truth)), place, truth].mean() for place in (0, 1))
    assert right > 0.8 and wrong < 0.6


def test_attention_trusts_the_rule_that_agrees_with_the_labels():
    inputs, labels, _ = digits()
    fit = attention.distil_rules(net(), rules, (inputs, labels), seed=0, decay=0.6, **RECIPE)
    last = fit.rows[-1]
    assert last["share1"] > 0.6
    assert last["share1"] + last["share2"] == pytest.approx(1, abs=1e-5)
    even = attention.distil_rules(net(), rules, (inputs, labels), attend=False, **RECIPE)
    assert even.learnt is None and even.rows[-1]["share1"] == pytest.approx(0.5, abs=1e-5)


def test_a_step_by_hand():
    """The second epoch's first term: (1 - share) of the label's and share of the rules'."""
    inputs, labels, _ = digits(40, 10)
    student = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    at = kdnb.training.layers.Layers(maps=(), head="1")
    start = copy.deepcopy(student)
    options = {"epochs": 2, "batch_size": 50, "optimiser": "sgd", "lr": 1e-9, "precision": "32"}
    fit = attention.distil_rules(
        student, rules, (inputs, labels), strength=2.0, decay=0.75, layers=at, **options
    )
    z = start(inputs)
    asked = rules(inputs)
    trust = fit.learnt(inputs.flatten(1), asked)
    teacher = losses.rule_teacher(z, asked, trust, 2.0)
    assert fit.rows[0]["rules"] == 0
    assert fit.rows[1]["hard"] == pytest.approx(
        0.75 * F.cross_entropy(z[:40], labels[:40]).item(), rel=1e-4
    )
    assert fit.rows[1]["rules"] == pytest.approx(
        0.25 * losses.cross_entropy_with(z, teacher.softmax(1)).item(), rel=1e-3
    )


def test_without_rules_it_is_training_on_labels():
    inputs, labels, _ = digits(100, 0)
    alone, ruled = net(), net()
    kdnb.train(alone, (inputs, labels), seed=0, **RECIPE)
    attention.distil_rules(ruled, rules, (inputs, labels), seed=0, decay=1.0, **RECIPE)
    torch.testing.assert_close(ruled.eval()(inputs), alone.eval()(inputs), rtol=1e-3, atol=1e-3)


def test_the_authors_variant_bounds_the_teacher():
    inputs, labels, _ = digits(50, 0)
    for variant, sharpness in (("paper", 1.0), ("authors", 4.0)):
        fit = attention.distil_rules(
            net(), rules, (inputs, labels), strength=4.0, variant=variant, **RECIPE | {"epochs": 1}
        )
        assert fit.learnt.sharpness == sharpness


def test_it_is_measured_and_resumes(tmp_path):
    inputs, labels, truth = digits(60, 40)
    options = RECIPE | {"epochs": 2, "seed": 1}
    student = net()
    fit = attention.distil_rules(
        student,
        rules,
        (inputs, labels),
        evaluate=(inputs, truth),
        checkpoint=tmp_path / "run",
        **options,
    )
    found = dict(kdnb.evaluate(student, (inputs, truth)))
    assert {key: fit.rows[-1][key] for key in found} == pytest.approx(found, rel=1e-5)
    again = attention.distil_rules(
        net(),
        rules,
        (inputs, labels),
        evaluate=(inputs, truth),
        checkpoint=tmp_path / "run",
        **options,
    )
    assert again.rows[-1]["rules"] == fit.rows[-1]["rules"]


def test_clear_errors():
    inputs, labels, _ = digits(20, 0)
    with pytest.raises(
        ValueError, match=r"rules must give \(batch, rules, classes\), here \(.*10\); got"
    ):
        attention.distil_rules(net(), lambda x: torch.ones(len(x), 10), (inputs, labels), **RECIPE)
    with pytest.raises(ValueError, match="decay"):
        attention.distil_rules(net(), rules, (inputs, labels), decay=0.0, **RECIPE)
    with pytest.raises(ValueError, match="variant"):
        attention.distil_rules(net(), rules, (inputs, labels), variant="others", **RECIPE)
