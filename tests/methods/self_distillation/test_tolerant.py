"""A tolerant teacher is less sure."""

from softened_labels import QUICK, batches, small

from kdnb.methods import self_distillation as own


def test_a_tolerant_teacher_is_less_sure():
    plan = QUICK.model_copy(update={"epochs": 15})
    strict, tolerant = small(), small()
    for network, weight in ((strict, 0.0), (tolerant, 0.9)):
        own.tolerant_teacher(
            network, batches(), plan, kept=3, hard_weight=0.6, tolerance_weight=weight
        )
    images = next(iter(batches(shuffle=False))).images
    sure = [n(images).softmax(1).amax(1).mean().item() for n in (strict, tolerant)]
    assert sure[1] < sure[0] - 0.02
