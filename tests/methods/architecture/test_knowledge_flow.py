"""Knowledge Flow: what flows, how the weights are driven to independence, who is left at the end."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from kdnb.data import Batches, Images
from kdnb.methods.architecture import KnowledgeFlow, dependence, learn_from_flow, teacher_maps
from kdnb.methods.offline import distil
from kdnb.training import Recipe, predict

RECIPE = Recipe(epochs=10, batch_size=8, lr=0.05, precision="32")

ROUTES = {"1": [(0, "1"), (1, "3")], "3": [(1, "1")]}


def batches():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 100, (48, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(48) % 3
    for row in range(3):  # a bright line: which one is the class
        images[labels == row, :, 2 * row + 1] += 60
    return Batches(Images(images, labels), 8, mean=(0.2,), sd=(0.15,))


def net(seed, first, second, classes=3, stride=1):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, first, 3, stride=stride, padding=1), nn.ReLU(),
        nn.Conv2d(first, second, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(second, classes),
    )  # fmt: skip


def trio():
    """A student, and two teachers of other widths, sizes and tasks."""
    return net(0, 4, 6), [net(1, 5, 7, classes=9), net(2, 3, 8, classes=2, stride=2)]


def test_a_layer_becomes_the_weighted_sum_of_what_flows_into_it():
    student, teachers = trio()
    images = next(batches().epoch(0)).images
    flow = KnowledgeFlow(student, teachers, ROUTES, images[:2])
    with torch.no_grad():
        flow.mixing[0].copy_(torch.tensor([0.3, -0.5, 1.0]))
        flow.mixing[1].copy_(torch.tensor([0.0, 2.0]))
        found = flow(images, teacher_maps(teachers, ROUTES, images))

        first, second = (weights.softmax(0) for weights in flow.mixing)
        one = teachers[0][:2](images)
        two = teachers[1][:4](images)  # 2x2 maps, enlarged to the student's 8x8
        early = teachers[1][:2](images)  # 4x4, the student's size there
        hidden = first[0] * student[:2](images) + first[1] * flow.transforms[0][0](one)
        hidden = hidden + first[2] * flow.transforms[0][1](nn.Upsample(scale_factor=4)(two))
        hidden = second[0] * student[2:4](hidden) + second[1] * flow.transforms[1][0](early)
        torch.testing.assert_close(found, student[4:](hidden))
        # Nothing flows: the student, by itself, untouched by the hooks.
        torch.testing.assert_close(flow(images), student(images))
    assert not student[1]._forward_hooks


def test_the_weights_are_normalised():
    student, teachers = trio()
    flow = KnowledgeFlow(student, teachers, ROUTES, torch.zeros(2, 1, 8, 8))
    assert [len(share) for share in flow.shares().values()] == [3, 2]
    assert list(flow.shares()) == ["1", "3"]
    for share in flow.shares().values():
        assert share.sum().item() == pytest.approx(1)
        assert (share == share[0]).all()


def test_the_student_ends_independent():
    student, teachers = trio()
    before = [copy.deepcopy(teacher.state_dict()) for teacher in teachers]
    asked = []
    teachers[0].register_forward_hook(lambda *_: asked.append(1))
    flow, history = learn_from_flow(
        student, teachers, batches(), RECIPE, routes=ROUTES, dependence_weight=2.0
    )
    own = [row["own_share"] for row in history]
    assert own == sorted(own)
    assert own[0] < 0.7
    assert own[-1] > 0.9
    assert history[0]["dependence"] > 0
    assert history[-1]["dependence"] == 0
    assert len(asked) == 1 + 9 * len(batches())  # once for its sizes; silent in the last epoch
    assert flow.student is student
    with torch.no_grad():
        images = next(batches().epoch(0)).images
        assert torch.equal(flow(images), student(images))
    assert history[-1]["hard"] < history[0]["hard"]
    for teacher, state in zip(teachers, before, strict=True):
        assert all(torch.equal(state[key], value) for key, value in teacher.state_dict().items())


def test_without_the_dependence_loss_the_teachers_keep_their_share():
    shares = []
    for weight in (0.0, 2.0):
        student, teachers = trio()
        flow, _ = learn_from_flow(
            student, teachers, batches(), RECIPE, routes=ROUTES, dependence_weight=weight,
            independent_from=1.0,
        )  # fmt: skip
        shares.append(min(share[0].item() for share in flow.shares().values()))
    assert shares[0] < 0.6
    assert shares[1] > 0.9


def test_the_student_learns_what_the_teacher_knows():
    """A trained teacher of the student's own shape flows in: faster than alone."""
    teacher = net(5, 4, 6)
    distil.train(teacher, batches(), RECIPE.model_copy(update={"epochs": 40, "lr": 0.1}))
    short = RECIPE.model_copy(update={"epochs": 2})
    alone = distil.train(net(0, 4, 6), batches(), short).rows
    routes = {"3": [(0, "3")], "1": [(0, "1")]}
    _, helped = learn_from_flow(
        net(0, 4, 6), [teacher], batches(), short, routes=routes, dependence_weight=0.0,
        independent_from=1.0,
    )  # fmt: skip
    assert helped[-1]["hard"] < alone[-1]["hard"]


def test_answers_are_held_near_those_of_the_epoch_before():
    """The paper's second regulariser: none in the first epoch, then less drift than without."""
    images, drifts, moved = next(batches().epoch(0)).images, [], []
    for weight in (0.0, 50.0):
        student, teachers = trio()
        answers = []

        def look(networks, kept=answers):
            kept.append(networks["flow"].student(images).softmax(1))
            return {}

        _, history = learn_from_flow(
            student, teachers, batches(), RECIPE.model_copy(update={"epochs": 3}), routes=ROUTES,
            drift_weight=weight, independent_from=1.0, evaluate=look,
        )  # fmt: skip
        drifts.append([row["drift"] for row in history])
        moved.append((answers[2] - answers[0]).abs().sum())
    assert drifts[0] == [0, 0, 0] and drifts[1][0] == 0 < drifts[1][1]
    assert moved[1] < 0.5 * moved[0]


def test_the_dependence_loss_by_hand():
    weights = [torch.tensor([0.2, -1.0, 0.5]).double(), torch.tensor([3.0, 0.0]).double()]
    expected = 0.0
    for row in weights:
        powers = [math.exp(value) for value in row.tolist()]
        expected -= math.log(powers[0] / sum(powers))
    assert dependence([w.softmax(0) for w in weights]).item() == pytest.approx(expected)
    inputs = [w.requires_grad_() for w in weights]
    assert gradcheck(lambda *rows: dependence([row.softmax(0) for row in rows]), inputs)
    assert dependence([torch.tensor([1.0, 0.0])]) == 0


def test_wrong_arguments():
    student, teachers = trio()
    images = torch.zeros(2, 1, 8, 8)
    with pytest.raises(ValueError, match=r"comes from \(2, '1'\), but there are 2 teachers"):
        KnowledgeFlow(student, teachers, {"1": [(2, "1")]}, images)
    with pytest.raises(ValueError, match="cannot flow into 1 of shape"):
        KnowledgeFlow(student, teachers, {"1": [(0, "6")]}, images)
    with pytest.raises(ValueError, match="no module 'x'"):
        KnowledgeFlow(student, teachers, {"x": [(0, "1")]}, images)
    with pytest.raises(ValueError, match="sums to 1"):
        dependence([torch.tensor([0.5, 0.4])])
    with pytest.raises(ValueError, match="no layer"):
        dependence([])
    with pytest.raises(ValueError, match=r"lie in \(0, 1\]; got 0"):
        learn_from_flow(student, teachers, batches(), RECIPE, routes=ROUTES, independent_from=0.0)
    with pytest.raises(ValueError, match="drift_weight must be at least 0; got -1"):
        learn_from_flow(student, teachers, batches(), RECIPE, routes=ROUTES, drift_weight=-1)


def test_vectors_flow_into_vectors():
    student, teachers = trio()
    _, history = learn_from_flow(
        student, teachers, batches(), RECIPE.model_copy(update={"epochs": 2}),
        routes={"5": [(0, "5"), (1, "6")]},
    )  # fmt: skip
    assert math.isfinite(history[-1]["hard"])
    assert predict(student, batches()).shape == (48, 3)
