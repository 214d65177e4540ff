"""Segmentation: IoU by hand, what each term makes a student do, and terms that are no term."""

import copy

import pytest
import torch

import kdnb
from kdnb import Recipe, losses
from kdnb.methods.applications.segmentation import (
    SegmentationNet,
    distil_segmentation,
    intersection_over_union,
    predicted_masks,
)

PLAN = Recipe(epochs=4, batch_size=8, optimiser="adam", lr=0.01, precision="32")


def pictures(count=24, seed=0):
    """Squares of one of two colours, and their masks."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.1 * torch.randn(count, 3, 8, 8, generator=generator)
    masks = torch.zeros(count, 8, 8, dtype=torch.int64)
    for row in range(count):
        y, x = torch.randint(0, 5, (2,), generator=generator).tolist()
        images[row, row % 2, y : y + 4, x : x + 4] += 1
        masks[row, y : y + 4, x : x + 4] = 1 + row % 2
    return images, masks


def net(seed, width=2):
    torch.manual_seed(seed)
    return SegmentationNet(width, 3)


def test_shapes():
    network = net(0)
    images = pictures(2)[0]
    assert network(images).shape == (2, 3, 8, 8)
    assert predicted_masks(network, images).shape == (2, 8, 8) and network.training


def test_iou_by_hand():
    masks = torch.tensor([[[0, 0, 1], [1, 2, 2]]])
    answer = torch.tensor([[[0, 1, 1], [1, 0, 2]]])
    found = intersection_over_union(answer, masks, 4)
    torch.testing.assert_close(found[:3], torch.tensor([1 / 3, 2 / 3, 1 / 2]))
    assert found[3].isnan()
    torch.testing.assert_close(intersection_over_union(masks, masks, 3), torch.ones(3))
    with pytest.raises(ValueError, match="masks must have one shape"):
        intersection_over_union(answer, masks[0], 3)


def test_a_network_that_ignores_a_small_class_looks_fine_by_pixels_only():
    masks = torch.zeros(1, 10, 10, dtype=torch.int64)
    masks[0, 0, :3] = 1
    found = intersection_over_union(torch.zeros_like(masks), masks, 2)
    assert found.tolist() == pytest.approx([0.97, 0.0])


@pytest.mark.parametrize("term", ["pixel", "pair", "channel"])
def test_each_term_brings_the_student_nearer_to_its_teacher(term):
    images, masks = pictures()
    teacher, student = net(1, width=3), net(2)
    kdnb.train(teacher, (images, masks), PLAN)
    teacher.eval()
    looked = {"pixel": losses.pixel_wise, "channel": lambda a, b: losses.channel_wise(a, b, 4.0)}

    def distance(one):
        if term == "pair":
            with torch.no_grad():
                maps = [n.features(_before(n, images)) for n in (one, teacher)]
            return losses.pair_wise(*maps, 4)
        with torch.no_grad():
            return looked[term](one(images), teacher(images))

    def _before(network, given):
        second = network.second(network.first(given))
        return torch.cat([network.up(network.third(second)), second], 1)

    untaught = copy.deepcopy(student).eval()
    fit = distil_segmentation(
        student, teacher, (images, masks), PLAN, label_weight=0.0, nodes=4, **{term: 1.0}
    )
    assert distance(student.eval()) < distance(untaught)
    assert len(fit.history) == 4


def test_all_terms_at_once_beside_the_labels():
    images, masks = pictures()
    teacher = net(1, width=3)
    fit = distil_segmentation(
        net(2), teacher, (images, masks), PLAN, pixel=1.0, pair=2.0, channel=0.5
    )
    assert {"hard", "pixels", "knowledge", "channels"} <= set(fit.history.columns)
    assert fit.history.hard.iloc[-1] < fit.history.hard.iloc[0]


def test_the_terms_are_the_losses_times_their_weights():
    """One batch, a rate so small that nothing moves: the history holds the losses themselves."""
    images, masks = pictures(8)
    teacher, student = net(1, width=3), net(2)
    still = Recipe(epochs=1, batch_size=8, optimiser="sgd", lr=1e-12, precision="32")
    student.train()
    with torch.no_grad():
        ours, theirs = copy.deepcopy(student)(images), teacher.eval()(images)
    fit = distil_segmentation(student, teacher, (images, masks), still, pixel=3.0, channel=2.0)
    row = fit.history.iloc[0]
    assert row.pixels == pytest.approx(3 * losses.pixel_wise(ours, theirs).item(), rel=1e-4)
    assert row.channels == pytest.approx(2 * losses.channel_wise(ours, theirs).item(), rel=1e-4)


def test_no_term():
    with pytest.raises(ValueError, match="pixel, pair or channel must be above 0"):
        distil_segmentation(net(0), net(1), pictures(8), PLAN)
    with pytest.raises(ValueError, match="pair must be at least 0; got -1"):
        distil_segmentation(net(0), net(1), pictures(8), PLAN, pair=-1)
