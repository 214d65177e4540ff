"""SPEQ on digits: the teacher is the network itself."""

import pytest
import torch
from several_teachers import digits
from small_quantised import QUICK, STEP, levels, trained

from kdnb import losses
from kdnb.methods import quantized as q


def answer(network, bits, images):
    with q.rounded_activations(network, lambda: q.Rounded(bits)):
        return network.train()(images)


def test_the_loss_by_hand_where_one_precision_can_be_drawn():
    images, labels = digits()
    student = trained()
    ours = q.rounded(student, lambda w: q.uniform(w, 2))
    z, v = answer(ours, 1, images), answer(ours, 4, images)
    fit = q.speq(
        student,
        (images, labels),
        STEP,
        batch_size=120,
        keep=(),
        activation_bits=1,
        teacher_bits=[4],
    )
    row = fit.rows[0]
    assert row["hard"] == pytest.approx(float(losses.hard_loss(z, labels)), rel=1e-3)
    assert row["soft"] == pytest.approx(float(losses.cosine_targets(z, v, 2.0)), rel=1e-2)


def test_the_same_precision_teaches_nothing():
    fit = q.speq(trained(), digits(), QUICK, keep=(), activation_bits=3, teacher_bits=[3], epochs=1)
    assert fit.rows[0]["soft"] == pytest.approx(0, abs=1e-10)


def test_the_running_statistics_count_a_batch_once():
    images, labels = digits()
    student, plain = trained(), trained()
    before = int(student[1].num_batches_tracked)
    q.speq(student, (images, labels), STEP, batch_size=120, keep=(), teacher_bits=[8])
    assert int(student[1].num_batches_tracked) == before + 1
    assert int(plain[1].num_batches_tracked) == before


def test_weights_and_activations_of_what_is_deployed():
    student = trained()
    fit = q.speq(student, digits(), QUICK, keep=(), activation_bits=1)
    assert levels(student[0]) == 4 and isinstance(student[2], torch.nn.ReLU)
    assert len(fit.networks["deployed"][:3].eval()(digits()[0]).unique()) == 2


def test_what_does_not_fit_is_refused():
    for options, words in (
        ({"teacher_bits": []}, "teacher_bits"), ({"teacher_bits": [0]}, "teacher_bits"),
        ({"temperature": 0.0}, "temperature"), ({"activation_bits": 99}, "bits"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            q.speq(trained(), digits(), QUICK, **{"keep": (), **options})
