"""Contexts: which classes arrive when, which compete, and data that is split and joined again."""

import pytest
import torch
from small_contexts import contexts

from kdnb.data import Images
from kdnb.methods.lifelong import Contexts, class_order, split_classes, together
from kdnb.methods.lifelong.contexts import gathered


def pictures(count=60, classes=6):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return Images(images, torch.arange(count) % classes)


def test_an_order_holds_every_class_once_and_follows_its_seed():
    order = class_order(10, 5, 3)
    assert sorted(label for one in order for label in one) == list(range(10))
    assert [len(one) for one in order] == [2] * 5
    assert order == class_order(10, 5, 3) != class_order(10, 5, 4)
    with pytest.raises(ValueError, match="10 classes cannot be shared out among 3"):
        class_order(10, 3, 0)


def test_columns_of_every_scenario():
    task, domain, whole = (contexts(one) for one in ("task", "domain", "class"))
    assert (task.columns, domain.columns, whole.columns) == (6, 2, 6)
    assert [task.own(k) for k in range(3)] == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert domain.own(2) == domain.seen(2) == slice(0, 2)
    assert task.asked(0, 2) == slice(0, 2) and task.asked(2, 0) == slice(4, 6)
    assert whole.asked(0, 1) == slice(0, 4) and whole.asked(2, 1) is None
    uneven = contexts("class", sizes=(1, 3))
    assert uneven.own(1) == slice(1, 4)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_rivals_are_what_is_asked(scenario):
    made = contexts(scenario)
    for after in range(3):
        rivals = made.rivals(after)
        for number in range(after + 1):
            own, asked = made.own(number), made.asked(number, after)
            for label in range(own.start, own.stop):
                wanted = [asked.start <= column < asked.stop for column in range(made.columns)]
                assert rivals[label].tolist() == wanted
    if scenario != "domain":
        assert not made.rivals(0)[2:].any()


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_a_data_set_is_split(scenario):
    sets = [[4, 1], [0, 5]]
    made = split_classes(pictures(), pictures(30), sets, scenario)
    for number, members in enumerate(sets):
        start = 0 if scenario == "domain" else 2 * number
        for part, whole in ((made.train, pictures()), (made.test, pictures(30))):
            for place, label in enumerate(members):
                found = part[number].images[part[number].labels == start + place]
                assert found.equal(whole.images[whole.labels == label])
    assert made.names == sets and made.sizes == [2, 2]
    assert pictures().labels.max() == 5  # the caller's are as they were


def test_contexts_are_joined_again():
    made = split_classes(pictures(), pictures(), [[0, 1], [2, 3]])
    whole = together(made.train)
    assert isinstance(whole, Images) and len(whole) == 40
    inputs, labels = gathered(whole)
    assert inputs.max() <= 1 and labels.equal(whole.labels)
    inputs, labels = together([(torch.zeros(2, 3), torch.tensor([0, 1])), made_dataset()])
    assert inputs.shape == (5, 3) and labels.tolist() == [0, 1, 2, 2, 2]


def made_dataset():
    return torch.utils.data.TensorDataset(torch.ones(3, 3), torch.full((3,), 2))


def test_wrong_contexts():
    with pytest.raises(ValueError, match="a class stands in two contexts"):
        split_classes(pictures(), pictures(), [[0, 1], [1, 2]])
    with pytest.raises(ValueError, match=r"no image of the classes \[7\]"):
        split_classes(pictures(), pictures(), [[0, 7]])
    with pytest.raises(ValueError, match="one entry for each context; got 1, 1 and 2"):
        Contexts([0], [0], [2, 2])
    with pytest.raises(ValueError, match="scenario must be"):
        Contexts([0], [0], [2], "tasks")
    with pytest.raises(ValueError, match=r"domain have the same classes; got sizes \(2, 3\)"):
        Contexts([0, 1], [0, 1], (2, 3), "domain")
    with pytest.raises(ValueError, match="names must fit"):
        Contexts([0], [0], [2], names=[[1]])
    two = torch.utils.data.TensorDataset(torch.ones(3, 3), torch.ones(3, 3), torch.zeros(3))
    loader = [((a[None], b[None]), c[None].long()) for a, b, c in two]
    with pytest.raises(TypeError, match="inputs that are one tensor"):
        gathered(loader)
