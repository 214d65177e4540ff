"""What every method of the catalogue keeps to, whatever its loss: one test for all, row by row."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import kdnb
from kdnb import nets
from kdnb.methods import METHODS
from kdnb.training import Recipe

IMAGES = 33  # two batches of 16, and one image over
RECIPE = Recipe(epochs=2, batch_size=16, lr=0.01, precision="32")
FIRST_STAGE = {"ft", "mhgd"}
every_method = pytest.mark.parametrize("name", METHODS)


def resnet(seed, width, classes=3):
    torch.manual_seed(seed)
    return nets.build("resnet8", num_classes=classes, in_channels=3, image_size=16, width=width)


def data(count=IMAGES):
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(count, 3, 16, 16, generator=generator)
    return TensorDataset(images, torch.arange(count) % 3)


def criterion(name, student, teacher, count=12, **options):
    images, labels = data(count)[:]
    found = kdnb.Criterion(
        name, student, teacher, (images, labels), weight=1.0, images=100, **options
    )
    if name in FIRST_STAGE:
        found.prepare(data(count), batch_size=count)
    return found, images, labels


def as_found(*networks):
    """Whatever of a user's modules must be the same before and after."""
    return [
        (part.training, dict(part._forward_hooks), dict(part._forward_pre_hooks),
         [(p.requires_grad, p.stride()) for p in part._parameters.values() if p is not None])
        for network in networks for part in network.modules()
    ]  # fmt: skip


@every_method
def test_the_gradient_reaches_the_student_and_not_the_teacher(name):
    student, teacher = resnet(1, 0.25), resnet(0, 0.5)
    loss, images, labels = criterion(name, student, teacher, label_weight=0.0)
    value = loss(images, labels)
    assert value.shape == () and torch.isfinite(value)
    value.backward()
    reached = [p for p in student.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert reached and all(torch.isfinite(p.grad).all() for p in reached)
    assert all(p.grad is None for p in teacher.parameters())


@every_method
def test_it_works_under_autocast(name):
    student, teacher = resnet(1, 0.25), resnet(0, 0.5)
    loss, images, labels = criterion(name, student.eval(), teacher, label_weight=0.0)
    torch.manual_seed(0)
    exact = loss(images, labels)
    loss, images, labels = criterion(name, student, teacher, label_weight=0.0)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(images, labels)
    assert value.dtype == torch.float32
    value.backward()
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)
    torch.testing.assert_close(value, exact, rtol=0.2, atol=0.05)


@every_method
def test_an_interrupted_run_goes_on_to_the_same_end_and_leaves_the_networks_alone(name, tmp_path):
    """With a last batch of one image: it trains, or adds nothing where the method needs more."""

    class Stopped(Exception):
        pass

    def stop(networks):
        raise Stopped

    def run(student, **options):
        found = kdnb.distil(student, teacher, data(), RECIPE, method=name, weight=1e-3, **options)
        return found.history

    teacher = resnet(0, 0.5)
    teacher.stage1.eval()
    teacher.head.weight.requires_grad_(False)
    whole, broken = resnet(1, 0.25).eval(), resnet(1, 0.25).eval()
    before = as_found(whole, teacher)
    history = run(whole)
    assert as_found(whole, teacher) == before
    file = tmp_path / "checkpoint"
    calls = []

    def after_one(networks):
        calls.append(1)
        return {} if len(calls) < 2 else stop(networks)

    with pytest.raises(Stopped):
        run(broken, checkpoint=file, evaluate=after_one)
    assert as_found(broken, teacher) == before
    again = run(resumed := resnet(1, 0.25).eval(), checkpoint=file)
    terms = [term for term in (name, "hard") if term in history]
    assert again[terms].equals(history[terms]) and history[terms].notna().all(axis=None)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@every_method
def test_what_it_cannot_take_is_refused_before_training_in_one_sentence(name):
    """Other classes than the teacher's for logits; for layers, a network that shows none."""
    student = resnet(1, 0.25)
    if METHODS[name].section == "2.1":
        teacher = resnet(0, 0.5, classes=4)
    else:
        teacher = nn.Sequential(nn.Flatten(), nn.Linear(768, 3))
    before = {key: value.clone() for key, value in student.state_dict().items()}
    with pytest.raises(ValueError, match="cannot take|has no") as error:
        kdnb.distil(student, teacher, data(), RECIPE, method=name, weight=1.0)
    assert all(torch.equal(before[key], value) for key, value in student.state_dict().items())
    assert METHODS[name].title in str(error.value)


@every_method
def test_a_batch_of_one_trains_or_is_refused_before_training(name):
    student, teacher = resnet(1, 0.25), resnet(0, 0.5)
    one = RECIPE.model_copy(update={"batch_size": 1, "epochs": 1})
    try:
        history = kdnb.distil(student, teacher, data(3), one, method=name, weight=1e-3).history
    except ValueError as error:
        assert METHODS[name].title in str(error) and "batch" in str(error)
    else:
        assert history[name].notna().all()
