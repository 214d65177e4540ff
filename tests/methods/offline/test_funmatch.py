"""Function matching: what the teacher sees, what the student sees, and that no label is read."""

import pytest
import torch
from torch import nn

from kdnb.data import Batches, Images, LoaderBatches
from kdnb.methods.offline.funmatch import MixedBatches, another_view, match
from kdnb.training import Recipe, predict

RECIPE = Recipe(epochs=3, batch_size=8, lr=0.05, precision="32")

AUGMENTED = {"crop_padding": 2, "flip": True}


def pictures(labels=None):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Images(images, torch.arange(40) % 3 if labels is None else labels)


def batches(labels=None, **options):
    return Batches(pictures(labels), 8, mean=(0.5,), sd=(0.3,), **options)


def linear(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))


def seen(views, data, recipe=RECIPE):
    """What both networks were shown, in order."""
    shown = {"student": [], "teacher": []}
    student, teacher = linear(0), linear(1)
    for name, network in (("student", student), ("teacher", teacher)):
        network.register_forward_pre_hook(lambda _, x, name=name: shown[name].append(x[0].clone()))
    history = match(student, teacher, data, recipe, views=views)
    return shown["student"], shown["teacher"], history


@pytest.mark.parametrize("views", ["consistent", "mixed"])
def test_teacher_and_student_see_the_same_images_bit_for_bit(views):
    student, teacher, history = seen(views, batches(**AUGMENTED))
    assert len(student) == len(teacher) == 15
    assert all(torch.equal(a, b) for a, b in zip(student, teacher, strict=True))
    assert set(history[0]) == {"epoch", "lr", "seconds", "soft"}
    data = MixedBatches(batches(**AUGMENTED)) if views == "mixed" else batches(**AUGMENTED)
    expected = [batch.images for epoch in range(3) for batch in data.epoch(epoch)]
    assert all(torch.equal(a, b) for a, b in zip(student, expected, strict=True))


def test_independent_views_are_of_the_same_images_but_not_the_same_views():
    data = batches(**AUGMENTED)
    student, teacher, _ = seen("independent", data)
    assert len(student) == len(teacher) == 15
    assert not any(torch.equal(a, b) for a, b in zip(student, teacher, strict=True))
    # Without augmentation the two views of an image are one: the pairs are the right ones.
    student, teacher, _ = seen("independent", batches())
    assert all(torch.equal(a, b) for a, b in zip(student, teacher, strict=True))


def test_another_view_depends_on_the_epoch_alone():
    data, index = batches(**AUGMENTED), torch.tensor([5, 3, 17])
    assert torch.equal(another_view(data, index, 1), another_view(data, index, 1))
    assert not torch.equal(another_view(data, index, 1), another_view(data, index, 2))


def test_fixed_targets_are_those_of_the_plain_images():
    student, teacher, _ = seen("fixed", batches(**AUGMENTED))
    plain = next(batches(shuffle=False).epoch(0)).images
    assert len(student) == 15
    shown = torch.cat(teacher)
    assert len(shown) == 40  # once, all images, un-augmented
    assert all((shown == image).flatten(1).all(1).any() for image in plain)
    copy, guide = linear(0), linear(1)
    match(copy, guide, batches(crop_padding=1), RECIPE, views="fixed")
    # With the labels' permutation undone: the logits looked up belong to the image's index.
    untrained, same = linear(0), linear(0)
    match(untrained, guide, batches(), RECIPE, views="fixed")
    match(same, guide, batches(), RECIPE, views="consistent")
    torch.testing.assert_close(untrained[1].weight, same[1].weight, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(copy[1].weight, same[1].weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("views", ["fixed", "independent", "consistent", "mixed"])
def test_no_label_is_read(views):
    blank = torch.full((40,), 2)
    one, two = linear(0), linear(0)
    match(one, linear(1), batches(**AUGMENTED), RECIPE, views=views)
    match(two, linear(1), batches(blank, **AUGMENTED), RECIPE, views=views)
    assert torch.equal(one[1].weight, two[1].weight)


def test_mixed_images_are_convex_combinations_of_neighbours():
    weights = []
    for epoch in range(4):
        both = zip(MixedBatches(batches()).epoch(epoch), batches().epoch(epoch), strict=True)
        for mixed, plain in both:
            other = plain.images.roll(1, 0)
            size = (plain.images - other).square().sum()
            weight = float(((mixed.images - other) * (plain.images - other)).sum() / size)
            expected = weight * plain.images + (1 - weight) * other
            torch.testing.assert_close(mixed.images, expected)
            assert mixed.index is None
            assert torch.equal(mixed.labels, plain.labels)
            weights.append(weight)
    assert min(weights) >= 0.5 - 1e-6
    assert max(weights) <= 1 + 1e-6
    assert len({round(weight, 6) for weight in weights}) == 20
    # max(u, 1 - u) of a uniform u is uniform between 1/2 and 1.
    assert 0.65 < sum(weights) / 20 < 0.85


def test_mixtures_are_a_function_of_seed_and_epoch():
    def images(seed, epoch):
        return torch.cat(
            [batch.images for batch in MixedBatches(batches(), seed=seed).epoch(epoch)]
        )

    assert torch.equal(images(0, 1), images(0, 1))
    assert not torch.equal(images(0, 1), images(1, 1))
    assert MixedBatches(batches()).augmented
    assert MixedBatches(batches()).examples == 40


def test_a_patient_student_matches_the_function():
    """More epochs bring the student nearer to the teacher, also on images it has not seen."""
    fresh = torch.randint(0, 256, (30, 1, 6, 6), dtype=torch.uint8)
    new = Batches(Images(fresh, torch.zeros(30).long()), 30, mean=(0.5,), sd=(0.3,), shuffle=False)
    teacher, distances = linear(1), []
    for epochs in (2, 40):
        student = linear(0)
        match(student, teacher, batches(), RECIPE.model_copy(update={"epochs": epochs}))
        gap = (predict(student, new) - predict(teacher, new)).softmax(1)
        distances.append(float((gap - 1 / 3).square().mean()))
    assert distances[1] < 0.25 * distances[0]


def test_wrong_arguments():
    with pytest.raises(ValueError, match="views must be one of fixed, .* got 'both'"):
        match(linear(0), linear(1), batches(), RECIPE, views="both")
    flipping = RECIPE.model_copy(update={"flip": True})
    with pytest.raises(ValueError, match="which these batches do not do"):
        match(linear(0), linear(1), batches(), flipping)
    loader = LoaderBatches([(torch.zeros(2, 1, 6, 6), torch.zeros(2).long())])
    with pytest.raises(TypeError, match="independent views need kdnb's Batches; got LoaderBatches"):
        match(linear(0), linear(1), loader, RECIPE, views="independent")
    match(linear(0), linear(1), loader, RECIPE)
