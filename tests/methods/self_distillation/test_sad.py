"""SAD's training begins late."""

from exit_networks import QUICK, batches, resnet

from kdnb.methods import self_distillation as own


def test_sad_begins_late():
    plan = QUICK.model_copy(update={"epochs": 3})
    history = own.self_attention_distil(
        resnet(), batches(), plan, paths=["stage1", "stage2", "stage3"], start=2 / 3
    )
    assert [row["attention"] > 0 for row in history] == [False, False, True]
    now = own.self_attention_distil(
        resnet(), batches(), QUICK, paths=["stage1", "stage2"], start=0.0
    )
    assert all(row["attention"] > 0 for row in now)
