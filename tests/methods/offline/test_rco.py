"""RCO: the route of checkpoints and its anchors."""

import copy
from functools import partial
from itertools import pairwise

import pytest
import torch
from draws import draw
from torch import nn

from kdnb import losses
from kdnb.data import Batches, Images
from kdnb.methods.offline import distil, rco
from kdnb.training import Recipe

RECIPE = Recipe(epochs=4, batch_size=8, lr=0.05, precision="32")

soft = partial(losses.soft_targets, temperature=2.0)


def batches(**options):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Batches(Images(images, torch.arange(40) % 3), 8, mean=(0.5,), sd=(0.3,), **options)


def linear(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))


def test_the_route_is_where_the_teacher_was_after_every_epoch():
    teacher = linear(3)
    history, states = rco.record_route(
        teacher, batches(), RECIPE, evaluate=lambda networks: {"seen": 1.0}
    )
    assert len(history) == len(states) == 4
    assert all(row["seen"] == 1.0 for row in history)
    assert torch.equal(states[-1]["1.weight"], teacher[1].weight)
    step_by_step = [state["1.weight"] for state in states]
    assert not any(torch.equal(a, b) for a, b in pairwise(step_by_step))
    # A constant rate: training for two epochs alone ends at the route's second point.
    constant = RECIPE.model_copy(update={"schedule": "constant"})
    _, states = rco.record_route(linear(3), batches(), constant)
    short = linear(3)
    distil.train(short, batches(), constant.model_copy(update={"epochs": 2}))
    assert torch.equal(states[1]["1.weight"], short[1].weight)
    with pytest.raises(ValueError, match="cannot be resumed"):
        rco.record_route(linear(3), batches(), RECIPE, checkpoint="somewhere")


def test_the_student_follows_the_anchors_in_their_order(tmp_path):
    teacher = linear(3)
    _, states = rco.record_route(teacher, batches(), RECIPE)
    before = copy.deepcopy(teacher.state_dict())
    asked = []

    def listening(student_logits, teacher_logits):
        asked.append(teacher_logits.detach())
        return soft(student_logits, teacher_logits)

    student, by_hand = linear(0), linear(0)
    histories = rco.follow_route(
        student, teacher, states, [1, 3, 4], batches(shuffle=False), RECIPE, loss=listening,
        checkpoint=tmp_path / "state",
    )  # fmt: skip
    assert [len(history) for history in histories] == [4, 4, 4]
    first = next(batches(shuffle=False).epoch(0)).images
    for number, anchor in enumerate([1, 3, 4]):
        guide = linear(9)
        guide.load_state_dict(states[anchor - 1])
        expected = guide(first).detach()
        start = number * (1 + 4 * 5)  # a trial of the first batch, then four epochs of five steps
        for one in asked[start : start + 2]:
            torch.testing.assert_close(one, expected, rtol=1e-5, atol=1e-5)
        distil.distil(by_hand, guide, batches(shuffle=False), RECIPE, method=soft, label_weight=0)
    assert torch.equal(student[1].weight, by_hand[1].weight)
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.0", "state.1", "state.2"]


@pytest.mark.parametrize("anchors", [[], [0, 2], [2, 2], [3, 1], [1, 5]])
def test_wrong_anchors_are_named(anchors):
    with pytest.raises(ValueError, match="must rise within epochs 1 to 4"):
        rco.follow_route(linear(0), linear(1), [{}] * 4, anchors, batches(), RECIPE, loss=soft)


def test_equal_intervals():
    assert rco.equal_intervals(10, 3) == [3, 7, 10]
    assert rco.equal_intervals(5, 5) == [1, 2, 3, 4, 5]
    assert rco.equal_intervals(7, 1) == [7]
    with pytest.raises(ValueError, match="between 1 and 3 anchors; got 4"):
        rco.equal_intervals(3, 4)


def test_the_greedy_anchor_is_the_farthest_that_is_easy_enough():
    student = draw(20, 5)
    direction = draw(20, 5, seed=1)
    # The teacher walks away from the student along a line: ever harder.
    course = [student + distance * direction for distance in (0.2, 0.3, 0.4, 0.6, 3.0)]
    hardness = [float(losses.soft_targets(student, v, 1.0)) for v in course]
    assert hardness == sorted(hardness)
    for current in range(1, 5):
        for ratio in (1.01, 2.5, 5.0, 1e4):
            easy = [j for j in range(current + 1, 6)
                    if hardness[j - 1] / hardness[current - 1] <= ratio]  # fmt: skip
            expected = easy[-1] if easy else current + 1
            assert rco.farthest_anchor(student, course, current, ratio) == expected
    assert rco.farthest_anchor(student, course, 1, 1.01) == 2
    assert rco.farthest_anchor(student, course, 1, 1e4) == 5
    with pytest.raises(ValueError, match="before the last of 5"):
        rco.farthest_anchor(student, course, 5, 2.0)
    with pytest.raises(ValueError, match="above 1; got 1"):
        rco.farthest_anchor(student, course, 1, 1.0)
