"""QKD's phases on digits: who moves when, and what is trained."""

import copy

import pytest
import torch
from several_teachers import digits, unchanged
from small_quantised import QUICK, STEP, levels, teacher, trained

from kdnb import losses
from kdnb.methods import quantized as q


def test_the_phases_one_after_the_other():
    student, guide = trained(), teacher()
    fit = q.qkd(student, guide, digits(), QUICK, epochs=5, keep=())
    assert fit.history["phase"].tolist() == [1, 1, 2, 3, 3]
    assert fit.history["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert fit.history["teacher.hard"].notna().tolist() == [False, False, True, False, False]
    assert fit.history["soft"].notna().tolist() == [False, False, True, True, True]
    assert levels(student[0]) <= 4 and levels(student[4]) <= 4


@pytest.mark.parametrize(
    ("shares", "moves"), [((1, 0, 0), False), ((0, 1, 0), True), ((0, 0, 1), False)]
)
def test_the_teacher_moves_in_the_second_phase_alone(shares, moves):
    guide = teacher()
    before = copy.deepcopy(guide.state_dict())
    fit = q.qkd(trained(), guide, digits(), QUICK, epochs=1, shares=shares, keep=())
    assert unchanged(guide, before) != moves
    assert fit.history["phase"].tolist() == [1 + shares.index(1)]


def test_the_losses_of_co_studying_by_hand():
    images, labels = digits()
    student, guide = trained(), teacher()
    step = {
        path: q.LearntStep(2, True, part.weight) for path, part in q.weights_of(student).items()
    }
    ours = copy.deepcopy(student)
    with torch.no_grad():
        for path, part in q.weights_of(ours).items():
            part.weight.copy_(step[path](part.weight))
    z, v = ours.train()(images), copy.deepcopy(guide).train()(images)
    row = q.qkd(
        student, guide, (images, labels), STEP, batch_size=120, shares=(0, 1, 0), keep=(),
        soft_weight=0.5,
    ).rows[0]  # fmt: skip
    expected = {
        "hard": losses.hard_loss(z, labels),
        "soft": 0.5 * losses.soft_targets(z, v, 2.0),
        "teacher.hard": losses.hard_loss(v, labels),
        "teacher.soft": 0.5 * losses.soft_targets(v, z, 2.0),
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(float(value), rel=1e-3), name


def test_activations_learn_their_steps_and_are_deployed():
    student = trained()
    fit = q.qkd(student, teacher(), digits(), QUICK, epochs=3, activation_bits=2, keep=())
    deployed = fit.networks["deployed"]
    steps = [part for part in deployed.modules() if isinstance(part, q.LearntStep)]
    assert len(steps) == 1 and steps[0].started
    assert len(deployed[:3].eval()(digits()[0]).unique()) <= 4
    assert isinstance(student[2], torch.nn.ReLU)


def test_a_killed_run_goes_on(tmp_path):
    one, other = trained(), trained()
    options = {"epochs": 3, "keep": (), "checkpoint": tmp_path / "state"}
    q.qkd(one, teacher(), digits(), QUICK, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.0", "state.1", "state.2"]
    (tmp_path / "state.2").unlink()
    q.qkd(other, teacher(), digits(), QUICK, **options)
    assert all(map(torch.equal, one.parameters(), other.parameters()))


def test_what_does_not_fit_is_refused():
    for options, words in (
        ({"shares": (0, 0, 0)}, "above 0"), ({"shares": (1, 1)}, "shares"), ({"bits": 1}, "bits"),
        ({"shares": (1, -1, 1)}, "shares"), ({"soft_weight": -1.0}, "soft_weight"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            q.qkd(trained(), teacher(), digits(), QUICK, **{"keep": (), **options})
