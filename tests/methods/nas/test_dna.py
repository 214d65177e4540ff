"""DNA: blocks of a teacher, candidates that learn apart, their grades and the choice."""

import copy
from itertools import product

import pytest
import torch
from torch import nn

from kdnb.losses import relative_block_error
from kdnb.methods.architecture.design import parameters
from kdnb.methods.nas import (
    Layer,
    SuperBlock,
    assembled,
    build,
    choose,
    cut,
    rate_paths,
    supervise_block,
)
from kdnb.training import Recipe

RECIPE = Recipe(epochs=30, batch_size=16, optimiser="adam", lr=0.01, precision="32")
IMAGES = torch.rand(48, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def teacher():
    torch.manual_seed(0)
    made = build((Layer(4), Layer(5), Layer(6, pool=2)), 0, num_classes=3, in_channels=3)
    return made.eval()


def block(inputs=3, outputs=4, seed=1):
    """Two layers: an identity-like 1x1 or a 3x3, then one of both; only a 3x3 sees neighbours."""
    torch.manual_seed(seed)

    def operations(a, b):
        return [nn.Conv2d(a, b, 1), nn.Conv2d(a, b, 3, padding=1)]

    return SuperBlock([operations(inputs, outputs), operations(outputs, outputs)])


def test_a_teacher_is_cut_into_blocks_that_are_it():
    made = teacher()
    blocks = cut(made, ["stage1", "stage2"], IMAGES[:2])
    assert [list(dict(one.named_children())) for one in blocks] == [
        ["stage1"], ["stage2"], ["stage3", "pool", "head"]]  # fmt: skip
    value = IMAGES
    for one in blocks:
        value = one(value)
    assert value.equal(made(IMAGES))


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (["stage4"], "'stage4' ends no block: stage1, stage2, stage3, pool do"),
        (["head"], "'head' ends no block"),
        (["stage2", "stage1"], "children in order, none twice"),
        (["stage1", "stage1"], "none twice"),
        ([], "in order"),
    ],
)  # fmt: skip
def test_wrong_ends(ends, words):
    with pytest.raises(ValueError, match=words):
        cut(teacher(), ends, IMAGES[:2])


def test_a_super_block_runs_the_path_that_it_is_set_to():
    made = block().eval()
    assert made.paths() == list(product((0, 1), repeat=2))
    for path in made.paths():
        made.path = path
        assert made(IMAGES).equal(made.alone(path)(IMAGES))
    made.train()
    torch.manual_seed(0)
    seen = set()
    for _ in range(40):
        made(IMAGES[:2])
        seen.add(made.path)
    assert seen == set(made.paths())
    with pytest.raises(ValueError, match="at least one layer, and each layer an operation"):
        SuperBlock([[nn.Identity()], []])


def test_a_block_learns_from_the_teachers_maps_alone_and_the_teacher_stays():
    made = teacher()
    made.stage2.train()  # as a user may have left it
    before = copy.deepcopy(made.state_dict())
    blocks, student = cut(made.eval(), ["stage1", "stage2"], IMAGES[:2]), block(4, 5)
    fit = supervise_block(student, blocks, 1, IMAGES, RECIPE, seed=0)
    assert fit.networks["block"] is student and len(fit.history) == 30
    assert fit.history.block.iloc[-5:].mean() < 0.5 * fit.history.block.iloc[0]
    assert all(value.equal(before[key]) for key, value in made.state_dict().items())
    assert all(p.requires_grad for p in made.parameters())


def test_a_blocks_training_is_a_function_of_its_seed():
    blocks = cut(teacher(), ["stage1", "stage2"], IMAGES[:2])
    short = RECIPE.model_copy(update={"epochs": 2})
    made = [block() for _ in range(3)]
    for one, seed in zip(made, (0, 0, 1), strict=True):
        supervise_block(one, blocks, 0, IMAGES, short, seed=seed)
    states = [torch.cat([p.detach().flatten() for p in one.parameters()]) for one in made]
    assert states[0].equal(states[1]) and not states[0].equal(states[2])


def test_ratings_know_which_candidates_can_do_the_teachers_work():
    """The teacher's first block looks at neighbours: a path of 1x1 alone cannot follow it."""
    blocks, student = cut(teacher(), ["stage1", "stage2"], IMAGES[:2]), block()
    long = RECIPE.model_copy(update={"epochs": 100, "lr": 0.02})
    supervise_block(student, blocks, 0, IMAGES[:32], long, seed=0)
    student.path = (1, 1)
    ratings = rate_paths(student, blocks, 0, IMAGES[32:])
    assert set(ratings) == set(student.paths())
    assert ratings[0, 0] > 1.1 * min(ratings[0, 1], ratings[1, 1])
    one = student.alone((1, 0)).eval()
    expected = relative_block_error(one(IMAGES[32:]), blocks[0](IMAGES[32:]))
    assert ratings[1, 0] == pytest.approx(expected.item(), rel=1e-5)


def test_rating_leaves_running_statistics_as_they_were():
    blocks = cut(teacher(), ["stage1", "stage2"], IMAGES[:2])
    student = SuperBlock([[nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))]])
    before = copy.deepcopy(student.state_dict())
    rate_paths(student, blocks, 0, IMAGES)
    assert all(value.equal(before[key]) for key, value in student.state_dict().items())
    assert all(module.training for module in student.modules())


def test_the_choice_against_a_walk_over_all_combinations():
    blocks = [block(3, 4), block(4, 5, seed=2)]
    numbers = torch.rand(8, generator=torch.Generator().manual_seed(3)).tolist()
    ratings = [dict(zip(one.paths(), numbers[4 * n : 4 * n + 4], strict=True)) for n, one in enumerate(blocks)]  # fmt: skip
    sizes = sorted(
        sum(parameters(one.alone(p)) for one, p in zip(blocks, pair, strict=True))
        for pair in product(*(one.paths() for one in blocks))
    )
    for limit in (None, sizes[5], sizes[0]):
        best = None
        for first in blocks[0].paths():
            for second in blocks[1].paths():
                size = parameters(blocks[0].alone(first)) + parameters(blocks[1].alone(second))
                error = ratings[0][first] + ratings[1][second]
                if (limit is None or size <= limit) and (best is None or error < best[0]):
                    best = error, [first, second]
        assert choose(blocks, ratings, limit) == best[1]
    with pytest.raises(ValueError, match=f"below the smallest combination, {sizes[0]} parameters"):
        choose(blocks, ratings, sizes[0] - 1)


def test_the_student_is_the_chosen_paths_and_the_teachers_rest():
    parts, blocks = cut(teacher(), ["stage1", "stage2"], IMAGES[:2]), [block(3, 4), block(4, 5)]
    student = assembled(blocks, [(1, 0), (0, 1)], parts[-1])
    expected = parts[-1](blocks[1].alone((0, 1))(blocks[0].alone((1, 0))(IMAGES)))
    assert student(IMAGES).equal(expected)


def test_what_cannot_work_is_refused_before_training():
    blocks = cut(teacher(), ["stage1", "stage2"], IMAGES[:2])
    with pytest.raises(ValueError, match="place must lie in 0 to 1; got 2"):
        supervise_block(block(), blocks, 2, IMAGES, RECIPE)
    with pytest.raises(ValueError, match="the same batch size, channels, height, width"):
        supervise_block(block(3, 7), blocks, 0, IMAGES, RECIPE)
    with pytest.raises(ValueError, match="supervise_block has no option 'epoch'"):
        supervise_block(block(), blocks, 0, IMAGES, epoch=3)


def test_candidates_that_do_not_fit_are_named_before_any_training():
    parts = cut(teacher(), ["stage1", "stage2"], IMAGES[:2])
    fitting = block()
    for wrong, words in (
        (SuperBlock([[nn.Conv2d(99, 4, 3)]]), r"the candidate \(0,\) does not fit: Given groups=1"),
        (block(3, 7), r"the candidate \(0, 0\) does not fit: feature maps must have the same"),
        (fitting.requires_grad_(False), "the block has nothing to learn"),
    ):
        with pytest.raises(ValueError, match=words):
            supervise_block(wrong, parts, 0, IMAGES, RECIPE)
    with pytest.raises(ValueError, match="at least 2 images; got 1"):
        rate_paths(fitting, parts, 0, IMAGES[:1])
    with pytest.raises(ValueError, match="place must lie in 0 to 1; got 5"):
        rate_paths(fitting, parts, 5, IMAGES)
