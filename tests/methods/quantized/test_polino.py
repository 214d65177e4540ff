"""Quantized distillation and differentiable quantization on digits."""

import copy

import pytest
import torch
from several_teachers import digits, unchanged
from small_quantised import QUICK, STEP, convnet, levels, teacher, trained
from torch import nn

import kdnb
from kdnb import losses
from kdnb.methods import quantized as q
from kdnb.training.inputs import logits_on


def test_the_loss_is_that_of_the_quantised_network():
    images, labels = digits()
    student, guide = trained(), teacher()
    aim = guide.eval()(images).detach()
    at_points = q.rounded(student, lambda w: q.uniform(w, 2)).train()
    z = at_points(images)
    fit = q.quantized_distillation(student, guide, (images, labels), STEP, batch_size=120)
    row = fit.rows[0]
    assert row["soft"] == pytest.approx(0.7 * float(losses.soft_targets(z, aim, 2.0)), rel=1e-4)
    assert row["hard"] == pytest.approx(0.3 * float(losses.hard_loss(z, labels)), rel=1e-4)


def test_a_run_by_hand():
    """Algorithm 1 in plain PyTorch: forward at Q(w), step on w."""
    images, labels = digits()
    student, guide, by_hand = convnet(), teacher().eval(), convnet().train()
    plan = QUICK.model_copy(update={"optimiser": "sgd", "lr": 0.05, "epochs": 3, "batch_size": 120})
    q.quantized_distillation(student, guide, (images, labels), plan, bits=2)
    shadows = {name: p.detach().clone() for name, p in by_hand.named_parameters()}
    moved = {name: value.requires_grad_() for name, value in shadows.items()}
    optimiser = torch.optim.SGD(moved.values(), lr=0.05, momentum=0.9)
    aim = guide(images).detach()
    for step in range(3):
        optimiser.param_groups[0]["lr"] = plan.learning_rate(step, 3)
        now = {k: q.uniform(v, 2) if v.ndim > 1 else v for k, v in moved.items()}
        z = torch.func.functional_call(by_hand, now, images)
        loss = 0.7 * losses.soft_targets(z, aim, 2.0) + 0.3 * losses.hard_loss(z, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for name, value in student.named_parameters():
        aim_of = q.uniform(moved[name], 2) if value.ndim > 1 else moved[name]
        torch.testing.assert_close(value, aim_of.detach(), rtol=1e-3, atol=1e-4)


def test_weights_end_on_few_points_and_the_teacher_stays():
    student, guide = convnet(), teacher()
    before = copy.deepcopy(guide.state_dict())
    fit = q.quantized_distillation(student, guide, digits(), QUICK, bits=1, bucket=None)
    assert levels(student[0]) == 2 and levels(student[4]) == 2
    assert unchanged(guide, before)
    assert list(fit.networks) == ["student"] and fit.networks["student"] is student
    assert fit.history["soft"].iloc[-1] < fit.history["soft"].iloc[0]


def test_another_quantiser_and_layers_that_are_kept():
    student = convnet()
    q.quantized_distillation(student, teacher(), digits(), QUICK, quantiser=q.ternary, keep=["0"])
    assert levels(student[4]) == 3 and levels(student[0]) > 4


def test_without_a_soft_weight_it_is_training_on_labels():
    one, other = convnet(), convnet()
    q.quantized_distillation(
        one, teacher(), digits(), QUICK, bits=2, soft_weight=0.0, label_weight=1.0
    )
    with q.quantised(other, lambda w: q.uniform(w, 2)):
        kdnb.train(other, digits(), QUICK)
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_no_labels_are_needed_without_their_weight():
    images, labels = digits()
    one, other = convnet(), convnet()
    weights = {"soft_weight": 1.0, "label_weight": 0.0}
    q.quantized_distillation(one, teacher(), images, QUICK, **weights)
    q.quantized_distillation(other, teacher(), (images, labels), QUICK, **weights)
    assert all(map(torch.equal, one.parameters(), other.parameters()))
    assert not all(map(torch.equal, one.parameters(), convnet().parameters()))


def test_a_killed_run_goes_on_and_bits_belong_to_it(tmp_path):
    path = tmp_path / "state"
    whole, half = convnet(), convnet()
    q.quantized_distillation(whole, teacher(), digits(), QUICK, epochs=2, checkpoint=path)
    again = convnet()
    fit = q.quantized_distillation(again, teacher(), digits(), QUICK, epochs=2, checkpoint=path)
    assert len(fit.history) == 2
    assert all(map(torch.equal, whole.parameters(), again.parameters()))
    with pytest.raises(ValueError, match="another run"):
        q.quantized_distillation(half, teacher(), digits(), QUICK, bits=4, checkpoint=path)


# Differentiable quantization


def test_the_points_alone_learn():
    student, guide = trained(), trained()
    weights = student[0].weight.detach().clone()
    bias, gain = student[0].bias.detach().clone(), student[1].weight.detach().clone()
    fit = q.differentiable_quantization(student, guide, digits(), QUICK, bits=2, lr=0.02)
    assert torch.equal(student[0].bias, bias) and torch.equal(student[1].weight, gain)
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert set(fit.learnt) == {"0", "4"}
    found = fit.learnt["0"](weights)
    torch.testing.assert_close(student[0].weight.detach(), found.detach())
    assert levels(student[0]) == 4
    start = q.Points(weights, 2)
    assert (fit.learnt["0"].points - start.points).abs().max() > 1e-3


def test_learnt_points_answer_more_like_the_teacher_than_where_they_started():
    guide = trained(epochs=12)
    images = digits()[0]
    aim = guide.eval()(images).detach()

    def distance(network):
        return float(losses.soft_targets(network.eval()(images).detach(), aim, 2.0))

    untouched, student = copy.deepcopy(guide), copy.deepcopy(guide)
    for network, rate, epochs in ((untouched, 1e-12, 1), (student, 0.01, 15)):
        q.differentiable_quantization(
            network, guide, digits(), QUICK, bits=2, lr=rate, epochs=epochs, label_weight=0.0,
            soft_weight=1.0,
        )  # fmt: skip
    assert distance(student) < 0.8 * distance(untouched)


def test_what_does_not_fit_is_refused_and_nothing_changes():
    student, guide = trained(), teacher()
    before = copy.deepcopy(student.state_dict())
    for call, words in (
        (lambda: q.quantized_distillation(student, student, digits(), QUICK), "is its own teacher"),
        (lambda: q.quantized_distillation(student, guide, digits(), QUICK, bits=0), "bits"),
        (lambda: q.quantized_distillation(student, guide, digits(), QUICK, bucket=0), "bucket"),
        (lambda: q.quantized_distillation(student, guide, digits(), QUICK, bitz=2), "bits"),
        (
            lambda: q.quantized_distillation(
                student, guide, digits(), QUICK, soft_weight=0.0, label_weight=0.0
            ),
            "nothing would be learnt",
        ),
        (lambda: q.differentiable_quantization(student, guide, digits(), QUICK, bits=9), "bits"),
        (
            lambda: q.differentiable_quantization(student, guide, digits(), QUICK, temperature=0.0),
            "temperature",
        ),
        (
            lambda: q.quantized_distillation(student, nn.Linear(3, 3), digits(), QUICK),
            "teacher|shape|mat",
        ),
    ):
        with pytest.raises((ValueError, RuntimeError), match=words):
            call()
        assert unchanged(student, before)
        assert all(parameter.requires_grad for parameter in student.parameters())


def test_answers_at_hand_teach_as_the_teacher_does():
    source = kdnb.data.load("mnist")
    few, guide = source.train.select(slice(90)), teacher()
    aim = logits_on(guide, few, source)
    one, other = convnet(), convnet()
    q.quantized_distillation(one, guide, few, QUICK)
    wrong = convnet(5)  # is not asked
    q.quantized_distillation(other, wrong, few, QUICK, answers=aim)
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(ValueError, match="a row for each of 90"):
        q.quantized_distillation(other, wrong, few, QUICK, answers=aim[:7])
    with pytest.raises(ValueError, match="never change"):
        q.quantized_distillation(other, wrong, few, QUICK, flip=True, answers=aim)
