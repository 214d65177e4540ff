"""Apprentice's three schemes on digits."""

import copy

import pytest
import torch
from several_teachers import digits, unchanged
from small_quantised import QUICK, STEP, convnet, levels, teacher, trained

from kdnb import losses
from kdnb.methods import quantized as q

ALL = {"keep": (), "activation_bits": None}


@pytest.mark.parametrize("scheme", ["A", "B"])
def test_the_loss_by_hand(scheme):
    images, labels = digits()
    student, guide = trained(), teacher()
    z = q.rounded(student, q.ternary).train()(images)
    v = copy.deepcopy(guide).train(scheme == "A")(images)
    fit = q.apprentice(student, guide, (images, labels), STEP, batch_size=120, scheme=scheme, **ALL)
    weight = 1.0 if scheme == "A" else 0.0
    expected = losses.apprenticeship(z, v, labels, teacher_weight=weight)
    assert fit.rows[0]["apprentice"] == pytest.approx(float(expected), rel=1e-4)


def test_who_learns_in_which_scheme():
    for scheme in ("A", "B", "C"):
        student, guide = trained(), teacher()
        before = copy.deepcopy(guide.state_dict())
        fit = q.apprentice(student, guide, digits(), QUICK, scheme=scheme, **ALL)
        assert unchanged(guide, before) == (scheme != "A")
        assert levels(student[0]) == 3 and levels(student[4]) == 3
        assert ("teacher" in fit.networks) == (scheme == "A")


def test_scheme_c_is_scheme_b_at_a_tenth_of_the_rate():
    one, other = trained(), trained()
    q.apprentice(one, teacher(), digits(), QUICK, scheme="C", **ALL)
    q.apprentice(other, teacher(), digits(), QUICK, lr=QUICK.lr / 10, scheme="B", **ALL)
    assert all(map(torch.equal, one.parameters(), other.parameters()))


def test_the_ends_stay_in_full_precision_and_activations_are_deployed():
    student = torch.nn.Sequential(*convnet()[:4], torch.nn.Linear(256, 8), torch.nn.Linear(8, 10))
    fit = q.apprentice(student, teacher(), digits(), QUICK, activation_bits=2)
    assert levels(student[4]) == 3 and levels(student[0]) > 3 and levels(student[5]) > 3
    assert isinstance(student[2], torch.nn.ReLU)
    deployed = fit.networks["deployed"]
    inside = deployed[:3].eval()(digits()[0])
    assert len(inside.unique()) == 4
    assert torch.equal(deployed[4].weight, student[4].weight)


def test_what_does_not_fit_is_refused():
    for options, words in (
        ({"scheme": "D"}, "scheme"), ({"slower": 0.0}, "slower"), ({"activation_bits": 0}, "bits"),
        ({"label_weight": 0.0, "imitation_weight": 0.0}, "nothing would be learnt"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            q.apprentice(convnet(), teacher(), digits(), QUICK, **{"keep": (), **options})
