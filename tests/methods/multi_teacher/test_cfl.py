"""Common features: on digits, who is drawn to whom, and what keeps them from collapsing."""

import torch
from knowing_teachers import (
    HALVES,
    RECIPE,
    assert_unmoved,
    digits,
    frozen_state,
    halves,
    right,
    small,
)

from kdnb import losses
from kdnb.methods.multi_teacher.cfl import CommonSpace, learn_common_features


def test_the_student_knows_all_digits_and_comes_nearer_to_its_teachers_features():
    teachers, student = halves(True), small(6, seed=9, width=8)
    before = frozen_state(teachers)
    fit = learn_common_features(student, teachers, HALVES, digits()[1], **RECIPE)
    assert_unmoved(teachers, before)
    history = fit.history
    for term in ("soft", "discrepancy", "restoring"):
        assert history[term].iloc[-1] < history[term].iloc[0]
    assert right(student, digits()[2]) > 0.8
    # A quarter of the student's 16 channels.
    assert fit.learnt.student[0].out_channels == 4


def drawn_together(restoring):
    """Steps on two fixed batches of maps; how much the teachers' features still differ."""
    torch.manual_seed(0)
    space = CommonSpace(4, [3, 5], 4)
    ours = torch.randn(16, 4, 4, 4)
    theirs = [torch.randn(16, 3, 4, 4), torch.randn(16, 5, 4, 4)]
    optimiser = torch.optim.Adam(space.parameters(), 0.01)
    for _ in range(60):
        apart, restored, _ = space(ours, theirs)
        optimiser.zero_grad()
        (apart + restoring * restored).backward()
        optimiser.step()
    return restored.item()


def test_without_restoring_the_common_space_forgets_what_the_teachers_said():
    assert drawn_together(0.0) > 1.5 * drawn_together(10.0)


def test_the_terms_are_sums_over_teachers():
    torch.manual_seed(0)
    space = CommonSpace(4, [3, 5], 2).eval()
    ours = torch.randn(6, 4, 4, 4)
    theirs = [torch.randn(6, 3, 8, 8), torch.randn(6, 5, 4, 4)]
    apart, restored, found = space(ours, theirs)
    small_maps = [torch.nn.functional.avg_pool2d(theirs[0], 2), theirs[1]]
    own = space.shared(space.student(ours))
    total = squares = 0.0
    for number, maps in enumerate(small_maps):
        other = space.shared(space.teachers[number](maps))
        torch.testing.assert_close(other, found[number])
        total = total + losses.common_feature_discrepancy(own, other)
        squares = squares + (space.decoders[number](other) - maps).square().mean()
    torch.testing.assert_close(apart, total)
    torch.testing.assert_close(restored, squares)
