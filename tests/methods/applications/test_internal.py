"""Internal representations: which layers are taught when, and what a step minimises."""

import copy

import pytest
from small_languages import STEP, assert_stepped, classified, encoder
from torch.nn import functional as F

from kdnb import losses
from kdnb.methods.applications.internal import active_layers, distil_internal
from kdnb.methods.attention.heads import attention_layers, heads_in, watched

RECIPE = {**STEP, "batch_size": 16}
del RECIPE["epochs"]


def looked(network, place, tokens):
    layer = attention_layers(network)[place]
    with watched(network, [layer]) as seen:
        network(tokens)
        heads = heads_in(seen, layer)
        return losses.attention_scores(heads.queries, heads.keys), seen[layer.block]


def layer_loss(student, teacher, tokens, ours, theirs):
    (a, s), (b, t) = looked(student, ours, tokens), looked(teacher, theirs, tokens)
    return losses.internal_representation(a, b.detach(), s, t.detach(), tokens != 0, 1.0)


def test_schedules():
    progressive = [active_layers("progressive", e, 1, 3) for e in range(5)]
    assert progressive == [[0], [1], [2], [], []]
    assert [active_layers("stacked", e, 1, 3) for e in range(4)] == [[0], [0, 1], [0, 1, 2], []]
    assert active_layers("together", 7, 1, 2) == [0, 1]
    with pytest.raises(ValueError, match="stages"):
        active_layers("all", 0, 1, 2)


def test_together_is_the_sum_of_everything():
    student, teacher = encoder(2), encoder(4, 1)
    start, (tokens, labels) = copy.deepcopy(student), classified()
    distil_internal(
        student,
        teacher,
        (tokens, labels),
        stages="together",
        epochs=1,
        soft_weight=0.5,
        temperature=2.0,
        **RECIPE,
    )

    def loss(s):
        value = F.cross_entropy(s(tokens), labels)
        value = value + 0.5 * losses.soft_targets(s(tokens), teacher(tokens).detach(), 2.0)
        for ours, theirs in ((0, 1), (1, 3)):
            value = value + layer_loss(s, teacher, tokens, ours, theirs)
        return value

    assert_stepped(student, start, loss, atol=1e-5, rtol=1e-3)


def test_layers_come_one_after_the_other_and_then_the_answers():
    student, teacher = encoder(2), encoder(4, 1)
    start = {name: value.clone() for name, value in student.state_dict().items()}
    fit = distil_internal(student, teacher, classified(), stages="progressive", epochs=3, **RECIPE)
    rows = fit.history
    assert (rows.internal > 0).tolist() == [True, True, False]
    assert (rows.hard > 0).tolist() == [False, False, True]
    first = encoder(2)
    distil_internal(
        first, teacher, classified(), stages="progressive", epochs_each=1, epochs=3, **RECIPE
    )
    assert all(a.equal(b) for a, b in zip(first.parameters(), student.parameters(), strict=True))
    assert not student.classifier.weight.equal(start["classifier.weight"])


def test_the_classifier_waits_for_the_layers():
    student, teacher = encoder(1), encoder(2, 1)
    before = student.classifier.weight.clone()
    fit = distil_internal(
        student,
        teacher,
        classified(),
        epochs_each=2,
        epochs=3,
        label_weight=0.0,
        soft_weight=0.0,
        **RECIPE,
    )
    assert student.classifier.weight.equal(before)
    assert fit.history.internal.iloc[1] < fit.history.internal.iloc[0]


def test_wrong_arguments():
    student, teacher = encoder(2), encoder(4, 1)
    for options, words in (
        ({"epochs": 2}, "leave none for answers"),
        ({"epochs": 3, "layers": [1]}, "one for each of the student's 2"),
        ({"epochs": 3, "layers": [1, 4]}, "must lie in 0 to 3"),
        ({"epochs": 3, "stages": "all"}, "stages"),
        ({"epochs": 3, "epochs_each": 0}, "epochs_each"),
        ({"epochs": 3, "label_weight": -1.0}, "label_weight"),
    ):
        with pytest.raises(ValueError, match=words):
            distil_internal(student, teacher, classified(), **options)
