"""The student becomes the master: blocks inside teachers, where tasks leave, what is deployed."""

import pytest
import torch
from knowing_teachers import (
    QUESTIONS,
    RECIPE,
    assert_unmoved,
    digits,
    frozen_state,
    small,
)
from torch import nn
from torch.nn import functional as F

from kdnb.data import Images
from kdnb.methods.multi_teacher.master import ChannelCoding, Master, become_master, rest_after
from kdnb.methods.offline.distil import train
from kdnb.training import Recipe

BLOCKS = ["stage1", "stage2"]


def question_teacher(question, seed=0, width=4):
    images = digits()[0]
    net = small(6 if question == "digit" else 2, seed, width)
    own = Images(images.images, QUESTIONS[question](images.labels), images.card)
    train(net, own, seed=seed, **RECIPE)
    return net


def ink_teacher(seed=5):
    """A regression: how much ink an image has, in its standard deviations."""
    inputs = digits()[0].tensors()[0]
    net = small(1, seed)
    train(net, (inputs, ink(inputs)), loss=lambda z, y: F.mse_loss(z, y), seed=seed, **RECIPE)
    return net


def ink(inputs):
    return inputs.mean(dim=(1, 2, 3))[:, None] * 5


@pytest.fixture(scope="module")
def mastered():
    teachers = {"large": question_teacher("large"), "ink": ink_teacher()}
    before = frozen_state(teachers.values())
    student = small(2, seed=9, width=6)
    fit = become_master(
        student, teachers, BLOCKS, digits()[1], digits()[2].tensors()[0],
        task_losses={"ink": F.mse_loss}, **RECIPE,
    )  # fmt: skip
    return fit, teachers, before, student


def test_one_network_answers_a_question_of_classes_and_one_of_numbers(mastered):
    fit, teachers, before, _ = mastered
    assert_unmoved(teachers.values(), before)
    master = fit.networks["master"].eval()
    inputs, labels = digits()[2].tensors()
    with torch.no_grad():
        found = master(inputs)
    assert list(found) == ["large", "ink"]
    assert (found["large"].argmax(1) == QUESTIONS["large"](labels)).double().mean() > 0.85
    wanted = ink(inputs)
    assert F.mse_loss(found["ink"], wanted) < 0.3 * wanted.var()


def test_each_task_leaves_where_its_teacher_loses_least_on_images_held_out(mastered):
    fit, teachers, _, student = mastered
    master, rows = fit.networks["master"], fit.rows
    last = [row for row in rows if row["phase"] == 1][-1]
    for task in teachers:
        values = {name: last[f"held_out.{task}.{name}"] for name in BLOCKS}
        assert master.places[task] == min(values, key=values.get)
        assert all(last[f"{task}.{name}"] > 0 for name in BLOCKS)
    assert [row["phase"] for row in rows] == [1] * RECIPE["epochs"] + [2] * RECIPE["epochs"]
    # The student's own blocks are in it, and none behind the last place where a task leaves.
    deepest = max(BLOCKS.index(place) for place in master.places.values())
    assert list(master.blocks) == BLOCKS[: deepest + 1]
    assert master.blocks["stage1"][0] is student.stage1
    # The teachers' later blocks are copies.
    theirs = {id(p) for net in teachers.values() for p in net.parameters()}
    assert not theirs & {id(p) for p in master.parameters()}


def test_the_rest_of_a_teacher_gives_its_answer():
    net, inputs = small(3, seed=1).eval(), digits()[1].tensors()[0][:8]
    with torch.no_grad():
        rest = rest_after(net, "stage1", inputs)
        assert torch.equal(rest(net.stage1(inputs)), net(inputs))
    with pytest.raises(ValueError, match="'head' is no child with others behind it"):
        rest_after(net, "head", inputs)


def test_channel_coding_weighs_channels_of_each_image():
    torch.manual_seed(0)
    coding, maps = ChannelCoding(6, 6), torch.randn(4, 6, 3, 3)
    weights = coding(maps) / maps
    torch.testing.assert_close(weights, weights[:, :, :1, :1].expand_as(maps))
    assert ((weights > 0) & (weights < 1)).all()
    assert (weights[0] - weights[1]).abs().max() > 0
    assert ChannelCoding(6, 4)(maps).shape == (4, 4, 3, 3)


def test_a_branch_leaves_behind_its_block():
    parts = {"one": nn.Identity(), "two": nn.Flatten()}
    master = Master(
        parts, {"a": "two", "b": "one"}, {"a": nn.Identity(), "b": nn.Identity()},
        {"a": nn.Identity(), "b": nn.Identity()},
    )  # fmt: skip
    found = master(torch.zeros(2, 3, 4, 4))
    assert list(found) == ["a", "b"]
    assert found["a"].shape == (2, 48) and found["b"].shape == (2, 3, 4, 4)
    assert list(Master(parts, {"b": "one"}, {"b": nn.Identity()}, {"b": nn.Identity()}).blocks) == [
        "one"
    ]


def test_what_does_not_fit_is_named():
    images, few = digits()[1].select(slice(0, 32)), Recipe(epochs=1, lr=0.01)
    inputs = images.tensors()[0]
    with pytest.raises(ValueError, match="at least one teacher and one block"):
        become_master(small(2), {}, BLOCKS, images, inputs, few)
    with pytest.raises(ValueError, match="'stage9' is no child"):
        become_master(small(2), {"a": small(2, 1)}, ["stage9"], images, inputs, few)
    with pytest.raises(ValueError, match="must come in the order"):
        become_master(small(2), {"a": small(2, 1)}, BLOCKS[::-1], images, inputs, few)
    with pytest.raises(ValueError, match=r"task_losses are of \['b'\]"):
        become_master(
            small(2), {"a": small(2, 1)}, BLOCKS, images, inputs, few,
            task_losses={"b": F.mse_loss},
        )  # fmt: skip
