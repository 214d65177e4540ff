"""A noisy teacher on digits."""

import pytest
import torch
from several_teachers import QUICK, STEP, digits, mlp, state, teachers, unchanged

from kdnb import losses
from kdnb.methods import multi_teacher as mt


def test_the_mean_loss_is_the_plain_one_and_the_teachers_squares():
    """E |z - (1 + a xi) v|^2 = |z - v|^2 + s sigma^2 |v|^2."""
    images, _ = digits()
    (teacher,) = teachers("mlp")
    before = state(teacher)
    fit = mt.learn_from_noisy_teacher(
        mlp(), teacher, images, STEP, sd=0.6, share=0.5, epochs=60, batch_size=120
    )
    with torch.no_grad():
        z, v = mlp()(images), teacher(images)
    plain = float(losses.logit_regression(z, v))
    added = 0.5 * 0.36 * float(v.square().sum(1).mean()) / 2
    found = sum(row["logits"] for row in fit.rows) / len(fit.rows)
    assert found == pytest.approx(plain + added, rel=0.02)
    assert added > 0.05 * plain
    assert unchanged(teacher, before)


def test_without_noise_it_is_the_regression_of_logits():
    images, labels = digits()
    (teacher,) = teachers("mlp")
    fit = mt.learn_from_noisy_teacher(
        mlp(), teacher, digits(), STEP, sd=0.0, label_weight=0.5, batch_size=120
    )
    with torch.no_grad():
        z, v = mlp()(images), teacher(images)
    assert fit.rows[0]["logits"] == pytest.approx(float(losses.logit_regression(z, v)), rel=1e-4)
    assert fit.rows[0]["hard"] == pytest.approx(0.5 * float(losses.hard_loss(z, labels)), rel=1e-4)


def test_a_student_learns_and_noise_is_drawn_anew():
    images, _ = digits()
    (teacher,) = teachers("mlp")
    fit = mt.learn_from_noisy_teacher(mlp(5), teacher, images, QUICK, epochs=4, lr=1e-2)
    assert fit.rows[-1]["logits"] < 0.7 * fit.rows[0]["logits"]
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\]"):
        mt.learn_from_noisy_teacher(mlp(), teacher, images, QUICK, share=2.0)
