"""Customised students: whom each image follows, adaptors that keep their length, two stages."""

import pytest
import torch
from knowing_teachers import (
    RECIPE,
    assert_unmoved,
    digits,
    frozen_state,
    right,
    small,
    task_net,
    task_teacher,
)

from kdnb import losses
from kdnb.methods.multi_teacher.custom import Adaptors, customise, learn_from_least_ambiguous
from kdnb.methods.multi_teacher.tasks import TaskNet
from kdnb.training import Recipe

STILL = Recipe(epochs=1, batch_size=512, lr=1e-9, precision="32", schedule="constant")


def teachers():
    return [task_teacher(("odd", "digit"), 0), task_teacher(("large", "odd"), 1, 6)]


def test_a_student_of_two_chosen_questions_in_two_stages():
    student = task_net(("large", "odd"), 9, 6)
    components = {task: task_net((task,), seed) for seed, task in enumerate(("large", "odd"), 7)}
    before = frozen_state(teachers())
    fit = customise(student, components, teachers(), digits()[1], **RECIPE)
    assert_unmoved(teachers(), before)
    found = right(student, digits()[2], ("large", "odd"))
    assert min(found.values()) > 0.8, found
    for task, one in components.items():
        assert right(one, digits()[2], (task,))[task] > 0.8
        assert fit.networks[task] is one
    assert fit.networks["student"] is student
    # In the second stage each question has one teacher.
    assert (fit.history["large.teacher0"] == 1).all() and (fit.history["odd.teacher1"] == 1).all()


def test_what_is_minimised_and_who_is_followed():
    images, pair = digits()[1], teachers()
    fit = learn_from_least_ambiguous(
        task_net(("odd",), 9), pair, images, STILL, temperature=2.0, soft_weight=0.5,
        feature_weight=0.0, filter_weight=3.0,
    )  # fmt: skip
    inputs, fresh = images.tensors()[0], task_net(("odd",), 9).train()
    with torch.no_grad():
        z = fresh(inputs)
        said = [one.parts(one.eval()(inputs))["odd"] for one in pair]
        p = torch.stack([one.softmax(1) for one in said])
        surest = (-(p * p.log()).sum(2)).argmin(0)
        aim = torch.stack(said)[surest, torch.arange(len(z))]
        soft = losses.soft_targets(z, aim, 2.0)
        filters = sum(
            (layer.weight.flatten(1).square().sum(1) - 1).square().mean()
            for layer in fit.learnt.modules()
            if isinstance(layer, torch.nn.Conv2d)
        )
    row = fit.rows[0]
    assert row["soft"] == pytest.approx(0.5 * soft.item(), rel=1e-3)
    assert row["filters"] == pytest.approx(3 * filters.item(), rel=1e-4)
    share = (surest == 0).double().mean().item()
    assert 0 < share < 1
    assert row["odd.teacher0"] == pytest.approx(share, abs=0.005)
    assert row["odd.teacher1"] == pytest.approx(1 - share, abs=0.005)


def test_adaptors_on_both_sides_would_shrink_without_their_penalty():
    def lengths(weight):
        torch.manual_seed(0)
        adaptors = Adaptors([4], [[6]])
        ours, theirs = [torch.randn(8, 4, 3, 3)], [[torch.randn(8, 6, 3, 3)]]
        optimiser = torch.optim.Adam(adaptors.parameters(), 0.01)
        for _ in range(150):
            apart, filters = adaptors(ours, theirs)
            optimiser.zero_grad()
            (apart.mean() + weight * filters).backward()
            optimiser.step()
        return torch.cat([p.flatten(1).norm(dim=1) for p in adaptors.parameters()]).mean().item()

    assert lengths(0.0) < 0.2
    assert 0.8 < lengths(10.0) < 1.2


def test_a_teachers_distance_counts_for_the_images_that_follow_it():
    torch.manual_seed(0)
    adaptors = Adaptors([2, 3], [[2, 3], [4, 5]])
    ours = [torch.randn(6, 2, 4, 4), torch.randn(6, 3, 2, 2)]
    theirs = [
        [torch.randn(6, 2, 4, 4), torch.randn(6, 3, 2, 2)],
        [torch.randn(6, 4, 4, 4), torch.randn(6, 5, 2, 2)],
    ]
    apart, _ = adaptors(ours, theirs)
    assert apart.shape == (6, 2)
    for number, shown in enumerate(theirs):
        pairs = zip(adaptors.ours[number], adaptors.theirs[number], ours, shown, strict=True)
        total = sum((g(a) - h(b)).square().mean(dim=(1, 2, 3)) for g, h, a, b in pairs)
        torch.testing.assert_close(apart[:, number], total)


def test_what_does_not_fit_is_named():
    images = digits()[1].select(slice(0, 32))
    with pytest.raises(ValueError, match="no teacher knows the task 'digit'; they know"):
        learn_from_least_ambiguous(task_net(("digit",)), [task_net(("odd",), 1)], images, epochs=1)
    with pytest.raises(ValueError, match="has 3 answers in the student and 2 in teacher 0"):
        learn_from_least_ambiguous(
            TaskNet(small(1), {"odd": 3}), [task_net(("odd",), 1)], images, epochs=1
        )
    with pytest.raises(TypeError, match="must be TaskNets; got a Small"):
        learn_from_least_ambiguous(small(2), [task_net(("odd",), 1)], images, epochs=1)
    with pytest.raises(ValueError, match="components must hold one network for each"):
        customise(task_net(("odd",)), {}, teachers(), images, epochs=1)
