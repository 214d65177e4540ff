"""Offline distillation: on anybody's networks and data, and as trials."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from kdnb import data as datasets
from kdnb import losses, nets
from kdnb.data import Batches, Images
from kdnb.methods.offline import distil
from kdnb.reproductions import hinton2015
from kdnb.runs.task import built
from kdnb.training import Recipe
from kdnb.training.inputs import examples_of
from kdnb.training.teacher import teacher_logits

QUICK = Recipe(epochs=2, batch_size=8, lr=0.05, precision="32")


def test_a_strangers_model_and_data():
    """A timm teacher, a user's own module, a user's own Dataset: under 20 lines."""

    class Stripes(Dataset):
        def __len__(self):
            return 24

        def __getitem__(self, i):
            generator = torch.Generator().manual_seed(i)
            noise = 0.1 * torch.randn(3, 32, 32, generator=generator)
            return noise + torch.arange(32).div(4).mul(1 + i % 3).sin(), i % 3

    torch.manual_seed(0)
    teacher = nets.build("timm:resnet10t", num_classes=3, in_channels=3, image_size=32)
    student = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, 3))
    distil.train(teacher, Stripes(), Recipe(epochs=6, batch_size=8, lr=0.05, precision="32"))
    fit = distil.distil(
        student, teacher, Stripes(), Recipe(epochs=12, batch_size=8, lr=0.05, precision="32"),
        method="kd", temperature=4.0, label_weight=0.1,
    )  # fmt: skip
    assert fit.history.kd.iloc[-1] < 0.5 * fit.history.kd.iloc[0]
    images = torch.stack([Stripes()[i][0] for i in range(24)])
    labels = torch.tensor([i % 3 for i in range(24)])
    assert (student(images).argmax(1) == labels).float().mean() > 0.9


def pictures(count=40):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Images(images, torch.arange(count) % 3)


def batches(**options):
    return Batches(pictures(), 8, mean=(0.5,), sd=(0.3,), **options)


def linear(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))


def soft(z, v):
    return losses.soft_targets(z, v, 2.0)


def test_stored_teacher_logits_change_nothing():
    """Looking the logits up gives the student that asking the teacher in every step gives."""
    teacher, looked_up, asked = linear(1), linear(2), linear(2)
    distil.distil(looked_up, teacher, batches(), QUICK, method=soft, label_weight=0)

    class Changing(Batches):  # the same batches without the promise that images never change
        augmented = True

    changing = Changing(pictures(), 8, mean=(0.5,), sd=(0.3,))
    distil.distil(asked, teacher, changing, QUICK, method=soft, label_weight=0)
    torch.testing.assert_close(looked_up[1].weight, asked[1].weight, rtol=1e-5, atol=1e-6)


def test_stored_logits_of_augmented_batches_are_refused():
    with pytest.raises(ValueError, match="cannot be stored for batches that are cropped"):
        teacher_logits(linear(0), batches(crop_padding=1))


def test_an_augmentation_that_would_not_happen_is_refused():
    flipping = QUICK.model_copy(update={"flip": True})
    with pytest.raises(ValueError, match="'flip': True.*which these batches do not do"):
        distil.train(linear(0), batches(), flipping)
    distil.train(linear(0), batches(flip=True), flipping)


def test_the_teacher_sees_what_the_student_sees():
    seen = {"student": [], "teacher": []}
    student, teacher = linear(0), linear(1)
    for name, network in (("student", student), ("teacher", teacher)):
        network.register_forward_pre_hook(lambda _, x, name=name: seen[name].append(x[0].clone()))
    # With jitter no view comes twice; what is known of crops and flips: test_teacher_cache.
    changing = batches(crop_padding=2, flip=True, jitter=0.1)
    distil.distil(student, teacher, changing, QUICK, method=soft, label_weight=0)
    # Ten steps, after one trial of the first batch.
    assert len(seen["student"]) == len(seen["teacher"]) == 11
    assert all(torch.equal(a, b) for a, b in zip(*seen.values(), strict=True))


def test_the_teacher_is_left_as_it_was():
    teacher = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 3))
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    distil.distil(linear(0), teacher, batches(crop_padding=1), QUICK, method=soft, label_weight=0)
    for key, value in teacher.state_dict().items():
        assert torch.equal(value, before[key])


def test_without_hard_weight_no_label_is_read():
    blank = Images(pictures().images, torch.full((40,), 2))
    one, two = linear(0), linear(0)
    distil.distil(one, linear(1), batches(), QUICK, method=soft, label_weight=0)
    other = Batches(blank, 8, mean=(0.5,), sd=(0.3,))
    distil.distil(two, linear(1), other, QUICK, method=soft, label_weight=0)
    assert torch.equal(one[1].weight, two[1].weight)


def test_distilled_and_undistilled_student_start_from_the_same_weights():
    arms = hinton2015.arms(hinton2015.Parameters())
    alone, taught = arms["student"](3), arms["distilled"](3)
    assert alone.arguments["network"] == taught.arguments["network"]
    assert alone.arguments["recipe"] == taught.arguments["recipe"]
    source = datasets.load("mnist")
    first, second = (built(t.arguments["network"], source, t.seed) for t in (alone, taught))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_arms_leave_out_what_they_say():
    source = datasets.load("mnist")
    arms = hinton2015.arms(hinton2015.Parameters())
    for name, expected in (("no_3", {0, 1, 2, 4, 5, 6, 7, 8, 9}), ("only_7_8", {7, 8})):
        images = examples_of(source, arms[name](0).arguments["data"])
        assert set(images.labels.tolist()) == expected
    few = examples_of(source, arms["few_hard"](0).arguments["data"])
    assert len(few) == 100
    laptop = hinton2015.arms(hinton2015.PROFILES["laptop"])
    assert len(examples_of(source, laptop["few_soft"](0).arguments["data"])) == 150
    assert len(examples_of(source, laptop["student"](0).arguments["data"])) == 5000
    validation = {bytes(image.numpy()) for image in source.validation.images}
    held_out = examples_of(source, laptop["no_3"](0).arguments["data"])
    assert not validation & {bytes(image.numpy()) for image in held_out.images}


def test_the_shift_is_the_best_on_a_grid():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (500,), generator=generator)
    logits = torch.randn(500, 10, generator=generator) + 4 * F.one_hot(labels, 10)
    logits[:, 3] -= 3.0
    best = hinton2015.best_shift(logits, labels, [3])

    def errors(shift):
        moved = logits.clone()
        moved[:, 3] += shift
        return int((moved.argmax(1) != labels).sum())

    assert errors(best) == min(errors(step / 10) for step in range(-200, 201))
    assert 2 < best < 4
