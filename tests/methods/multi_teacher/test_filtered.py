"""Filtered amalgamation: gates that keep one task's answer, and the student of what they let through."""

import copy

import pytest
import torch
from knowing_teachers import (
    RECIPE,
    assert_unmoved,
    digits,
    frozen_state,
    right,
    task_net,
    task_teacher,
)

from kdnb.methods.multi_teacher.filtered import (
    ChannelGates,
    gated,
    learn_filtered,
    learn_gates,
)
from kdnb.training import Recipe
from kdnb.training.layers import look

STILL = Recipe(epochs=1, batch_size=512, lr=1e-9, precision="32", schedule="constant")


def teacher():
    return task_teacher(("odd", "large"), 0)


def test_gates_close_while_the_answer_stays():
    before = frozen_state([teacher()])
    loose, tight = (
        learn_gates(
            teacher(), "large", digits()[1], sparsity=sparsity, epochs=6, lr=0.1, optimiser="adam"
        )
        for sparsity in (0.0, 0.3)
    )
    assert_unmoved([teacher()], before)
    means = [sum(gate.mean().item() for gate in one.learnt()) for one in (loose, tight)]
    assert means[1] < means[0] - 0.2
    with torch.no_grad(), gated(teacher(), teacher().layers().maps, tight.learnt()):
        left = right(teacher(), digits()[2], ("odd", "large"))["large"]
    assert left > right(teacher(), digits()[2], ("odd", "large"))["large"] - 0.03


def test_the_gate_of_a_channel_that_nobody_reads_closes():
    net = copy.deepcopy(teacher())
    with torch.no_grad():  # each channel of the second block is read at 16 places
        net.trunk.embedding[0].weight.view(32, 8, 16)[:, 3] = 0
    gates = learn_gates(
        net, "large", digits()[1], sparsity=0.3, epochs=20, lr=0.1, optimiser="adam"
    ).learnt
    assert gates()[1].argmin() == 3 and gates()[1][3] < 0.2 < gates()[1].max()


def test_open_gates_change_nothing_and_closed_ones_everything():
    net, images = teacher().eval(), digits()[2].tensors()[0][:16]
    paths = net.layers().maps
    with torch.no_grad():
        plain = net(images)
        with gated(net, paths, [torch.ones(4), torch.ones(8)]):
            assert torch.equal(net(images), plain)
        with gated(net, paths, [torch.ones(4), torch.zeros(8)]):
            shut = net(images)
        assert torch.equal(net(images), plain)
    assert (shut - shut[:1]).abs().max() == 0  # no image shows any more


def test_a_student_of_one_question_of_teachers_of_two():
    pair = [teacher(), task_teacher(("large", "odd"), 1, 6)]
    gates = [
        learn_gates(one, "large", digits()[1], epochs=2, lr=0.1, optimiser="adam").learnt
        for one in pair
    ]
    student, before = task_net(("large",), 9), frozen_state(pair)
    fit = learn_filtered(student, pair, digits()[1], gates=gates, **RECIPE)
    assert_unmoved(pair, before)
    for term in ("soft", "features"):
        assert fit.history[term].iloc[-1] < fit.history[term].iloc[0]
    assert right(student, digits()[2], ("large",))["large"] > 0.85


def test_what_is_minimised():
    images, one = digits()[1], teacher()
    gates = ChannelGates([4, 8])
    with torch.no_grad():
        gates.raw[1][:3] = -20.0
    fit = learn_filtered(
        task_net(("odd",), 9), [one], images, STILL, gates=[gates], temperature=2.0,
        soft_weight=0.5, feature_weight=2.0,
    )  # fmt: skip
    inputs, fresh, seen = images.tensors()[0], task_net(("odd",), 9).train(), {}
    for name in ("stage1", "stage2"):
        getattr(fresh.trunk, name).register_forward_hook(
            lambda module, given, output, name=name: seen.__setitem__(name, output)
        )
    with torch.no_grad():
        z, view = fresh(inputs), look(one, one.layers(), inputs)
        p = (one.parts(view.logits)["odd"] / 2).softmax(1)
        soft = 4 * (p * (p.log() - (z / 2).log_softmax(1))).sum(1).mean()
        near = 0.0
        for number, name in enumerate(("stage1", "stage2")):
            aim = view.maps[number] * gates.raw[number].sigmoid()[:, None, None]
            near += (fit.learnt.maps[0][number](seen[name]) - aim).square().mean()
    assert fit.rows[0]["soft"] == pytest.approx(0.5 * soft.item(), rel=1e-3)
    assert fit.rows[0]["features"] == pytest.approx(2 * near.item(), rel=1e-3)


def test_what_does_not_fit_is_named():
    images, few = digits()[1].select(slice(0, 32)), {"epochs": 1}
    gates = ChannelGates([4, 8])
    with pytest.raises(ValueError, match="must be a TaskNet that knows 'digit'"):
        learn_gates(task_net(("odd",)), "digit", images, **few)
    with pytest.raises(ValueError, match="the student must have one task"):
        learn_filtered(task_net(("odd", "large")), [teacher()], images, gates=[gates], **few)
    with pytest.raises(ValueError, match="gates must be one for each of 1 teachers; got 2"):
        learn_filtered(task_net(("odd",)), [teacher()], images, gates=[gates] * 2, **few)
    with pytest.raises(ValueError, match=r"gates must fit the teacher's channels \[4, 8\]"):
        learn_filtered(task_net(("odd",)), [teacher()], images, gates=[ChannelGates([4])], **few)
