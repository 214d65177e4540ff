"""Residual knowledge distillation: the assistant learns what the student leaves."""

import copy

import pytest
import torch
from draws import draw
from torch import nn
from torch.autograd import gradcheck

from kdnb import nets
from kdnb.data import Batches, Images
from kdnb.methods.architecture import Mimic, Pair, distil_residual, residual_error, split_widths
from kdnb.methods.architecture.design import multiply_adds
from kdnb.methods.offline import distil
from kdnb.nets import features
from kdnb.training import Recipe

RECIPE = Recipe(epochs=8, batch_size=8, lr=0.01, optimiser="adam", precision="32")


def batches():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (48, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Batches(Images(images, torch.arange(48) % 3), 8, mean=(0.5,), sd=(0.3,))


def net(seed, width):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3),
    )  # fmt: skip


def maps_of(network, path="3"):
    images = next(batches().epoch(0)).images
    with torch.no_grad(), features(network, [path]) as maps:
        network(images)
    return maps[path], images


@pytest.fixture(scope="module")
def trained():
    teacher, student, assistant = net(1, 12), net(2, 3), net(3, 3)
    distil.train(teacher, batches(), RECIPE.model_copy(update={"epochs": 20}))
    before = copy.deepcopy(teacher.state_dict())
    pair, history = distil_residual(
        student, assistant, teacher, batches(), RECIPE, path="3", classes=3
    )
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    return teacher, student, assistant, pair, history


def test_the_residual_by_loops():
    student, assistant, teacher = (draw(3, 2, 4, 5, seed=seed) for seed in range(3))
    total = 0.0
    for s, a, t in zip(*(m.flatten().tolist() for m in (student, assistant, teacher)), strict=True):
        total += (s + a - t) ** 2
    found = residual_error(student, assistant, teacher)
    assert found.item() == pytest.approx(total / (2 * 3 * 2 * 4 * 5))
    assert residual_error(student, teacher - student, teacher).item() == pytest.approx(0, abs=1e-12)
    inputs = [m.requires_grad_() for m in (student, assistant)]
    assert gradcheck(lambda s, a: residual_error(s, a, teacher), inputs)
    (gradient,) = torch.autograd.grad(residual_error(student, assistant, teacher), assistant)
    torch.testing.assert_close(gradient, (student + assistant - teacher) / 120)
    with pytest.raises(ValueError, match="must have the same batch size, channels"):
        residual_error(student, assistant[:, :1], teacher)


def test_half_precision_is_computed_in_float32():
    parts = [draw(2, 2, 3, 3, seed=seed).to(torch.bfloat16) for seed in range(3)]
    assert residual_error(*parts).dtype == torch.float32


def test_the_pair_comes_closer_to_the_teacher_than_the_student(trained):
    teacher, _, _, pair, history = trained
    wanted, images = maps_of(teacher)
    with torch.no_grad():
        student, rest = pair.student(images), pair.assistant(images)
    alone = (student - wanted).square().sum()
    assert (student + rest - wanted).square().sum() < 0.9 * alone
    assert alone < wanted.square().sum()
    assert history[-1]["assistant"] < history[-1]["student"]
    assert set(history[0]) >= {"student", "student_hard", "assistant", "assistant_hard"}


def test_the_pair_is_one_classifier_on_the_sum(trained):
    _, student, assistant, pair, _ = trained
    assert isinstance(pair, Pair)
    assert pair.student.trunk is student
    assert pair.assistant.trunk is assistant
    images = next(batches().epoch(0)).images
    with torch.no_grad():
        maps = pair.student(images) + pair.assistant(images)
        expected = maps.mean((2, 3)) @ pair.head.weight.T + pair.head.bias
        torch.testing.assert_close(pair(images), expected)
    assert student.training and assistant.training  # the modes of the caller, who lent both


def test_the_assistant_does_not_move_the_student():
    """Whatever assistant stands beside it, the student's first step is the same."""
    recipe = RECIPE.model_copy(update={"epochs": 1, "batch_size": 48})
    one_batch = Batches(batches().images, 48, mean=(0.5,), sd=(0.3,))
    students = []
    for seed in (3, 4):
        student = net(2, 3)
        distil_residual(student, net(seed, 3), net(1, 12), one_batch, recipe, path="3", classes=3)
        students.append(student[0].weight.detach().clone())
    assert torch.equal(*students)


def test_what_each_of_the_two_minimises():
    still = RECIPE.model_copy(update={"epochs": 1, "batch_size": 48, "lr": 1e-12})
    one_batch = Batches(batches().images, 48, mean=(0.5,), sd=(0.3,), shuffle=False)
    teacher = net(1, 12)
    pair, history = distil_residual(
        net(2, 3), net(3, 3), teacher, one_batch, still, path="3", classes=3, hint_weight=5.0
    )
    images = next(one_batch.epoch(0)).images
    labels = one_batch.images.labels
    with torch.no_grad():
        own, rest, wanted = pair.student(images), pair.assistant(images), teacher[:4](images)
        expected = {
            "student": 2.5 * (own - wanted).square().mean(),
            "assistant": 2.5 * (own + rest - wanted).square().mean(),
            "student_hard": nn.functional.cross_entropy(pair.head(own.mean((2, 3))), labels),
            "assistant_hard": nn.functional.cross_entropy(pair(images), labels),
        }
    for name, value in expected.items():
        assert history[0][name] == pytest.approx(value.item(), rel=1e-5), name


def test_split_widths_cost_what_the_model_costs():
    for share in (0.1, 0.25, 0.5):
        first, second = split_widths(share)
        assert first**2 + second**2 == pytest.approx(1)
        assert second**2 == pytest.approx(share)
    data = {"num_classes": 10, "in_channels": 3, "image_size": 32}
    image, costs = torch.zeros(3, 32, 32), []
    for width in (1.0, *split_widths(0.25)):
        costs.append(multiply_adds(nets.build("resnet8", width=width, **data), image))
    assert costs[1] + costs[2] == pytest.approx(costs[0], rel=0.05)
    with pytest.raises(ValueError, match="within 0 and 1; got 1"):
        split_widths(1)


def test_a_teacher_of_another_path_and_other_sizes():
    teacher = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(1, 5, 3, padding=1), nn.Flatten(),
                            nn.Linear(80, 3))  # fmt: skip
    pair, _ = distil_residual(
        net(2, 3), net(3, 3), teacher, batches(), RECIPE.model_copy(update={"epochs": 1}),
        path="3", teacher_path="1", classes=3,
    )  # fmt: skip
    assert pair.head.in_features == 5
    with pytest.raises(ValueError, match="must have the same batch size, channels"):
        distil_residual(
            net(2, 3), net(3, 3), teacher, batches(), RECIPE, path="1", teacher_path="1", classes=3
        )
    with pytest.raises(ValueError, match="no module 'x'"):
        Mimic(net(1, 3), "x", 4, torch.zeros(2, 1, 8, 8))
