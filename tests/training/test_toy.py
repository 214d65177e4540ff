"""The toy settings: balanced images, a recipe that fits them, a teacher that saw more."""

import pytest
import torch

import kdnb
from kdnb.data import Images
from kdnb.training.toy import balanced


@pytest.mark.parametrize("count", [1, 9, 10, 25, 30])
def test_images_are_balanced_and_nested(count):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (60,), generator=generator)
    labels[:50] = torch.arange(50) % 5
    source = Images(torch.arange(60, dtype=torch.uint8).view(60, 1, 1, 1), labels)
    found, larger = balanced(source, count), balanced(source, 35)
    sizes = found.labels.bincount(minlength=5)
    assert len(found) == count and int(sizes.max() - sizes.min()) <= 1
    assert torch.equal(larger.images[:count], found.images)
    for label in range(5):  # the first ones of each class
        own = source.images[source.labels == label][: sizes[label]]
        assert torch.equal(found.images[found.labels == label], own)
    with pytest.raises(ValueError, match="the smallest class has"):
        balanced(source, 58 + 5)


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist", "cifar10"])
def test_the_student_fits_and_the_teacher_is_better(dataset):
    toy = kdnb.toy(dataset, images=100)
    assert toy.train.labels.bincount().tolist() == [10] * 10
    few = toy.held_out.select(slice(1000))
    student = toy.student(0)
    kdnb.train(student, toy.train, toy.recipe, seed=0)
    assert kdnb.evaluate(student, toy.train).errors == 0
    assert kdnb.evaluate(toy.teacher, few).errors < kdnb.evaluate(student, few).errors
    assert "100 training and 10000 held-out images" in repr(toy)


def test_a_seed_fixes_the_students_weights():
    toy = kdnb.toy("mnist", images=20, teacher=None)
    one, same, other = (toy.student(seed).head.weight for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert toy.teacher is None


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"no toy of 'mnits' \(nearest: mnist"):
        kdnb.toy("mnits")
    with pytest.raises(ValueError, match="images must be at least 1"):
        kdnb.toy("mnist", images=0)
    with pytest.raises(ValueError, match="there is no trained resnet999 on mnist"):
        kdnb.toy("mnist", teacher="resnet999")


@pytest.mark.parametrize(("name", "wrong"), [("recipe", {}), ("student", torch.nn.Linear(1, 1))])
def test_a_toy_of_wrong_parts_is_refused(name, wrong):
    parts = {"train": None, "held_out": None, "student": lambda seed: None, "teacher": None}
    parts |= {"recipe": kdnb.Recipe(epochs=1, lr=0.1), name: wrong}
    with pytest.raises(TypeError, match=name):
        kdnb.Toy(**parts)
