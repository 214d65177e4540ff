"""Snapshot distillation: the last cycle's end teaches."""

import pytest
import torch
from other_views import QUICK, batches, pictures, small

from kdnb.data import Batches
from kdnb.methods import self_distillation as own
from kdnb.methods.self_distillation import common, snapshot


def test_the_snapshot_is_the_last_cycles_end(monkeypatch):
    """Its age, its weights, and that the first cycle has none."""
    runs = []
    fit_one = common.fit_one

    def watched(network, examples, recipe, terms, **options):
        teacher = (options.get("frozen") or {}).get("teacher")
        taught = teacher and {k: v.clone() for k, v in teacher.state_dict().items()}
        start = {k: v.clone() for k, v in network.state_dict().items()}
        rows = fit_one(network, examples, recipe, terms, **options)
        left = teacher and {k: v.clone() for k, v in teacher.state_dict().items()}
        runs.append((taught, left, start, [row["lr"] for row in rows]))
        return rows

    monkeypatch.setattr(snapshot, "fit_one", watched)
    plan = QUICK.model_copy(update={"epochs": 6, "schedule": "cosine"})
    history = own.snapshot_distil(small(), batches(), plan, cycles=3)
    assert [row["teacher_age"] for row in history] == [0, 0, 1, 2, 1, 2]
    assert [row["cycle"] for row in history] == [0, 0, 1, 1, 2, 2]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert ["soft" in row for row in history] == [False, False, True, True, True, True]
    assert runs[0][0] is None
    for taught, left, start, rates in runs[1:]:
        for key, value in taught.items():
            assert torch.equal(value, start[key])  # as the former cycle left the network
            assert torch.equal(value, left[key])  # and it does not move
        assert rates == runs[0][3]  # the learning rate begins again


def test_only_the_teacher_is_softened():
    plan = QUICK.model_copy(update={"epochs": 2, "batch_size": 40, "lr": 1e-9})
    network = small()
    whole = Batches(pictures(), 40, mean=(0.0,), sd=(1.0,), shuffle=False)
    history = own.snapshot_distil(network, whole, plan, teacher_temperature=3.0, soft_weight=2.0)
    z = network(next(iter(whole)).images).detach().double()
    p, q = (z / 3).softmax(1), z.softmax(1)
    expected = 2 * float((p * (p / q).log()).sum(1).mean())
    assert history[1]["soft"] == pytest.approx(expected, rel=1e-4)


def test_cycles_go_on_through_the_data_and_resume(tmp_path):
    plan = QUICK.model_copy(update={"epochs": 4})
    orders = []

    class Watched(Batches):
        def epoch(self, number):
            orders.append(number)
            return super().epoch(number)

    watched = Watched(pictures(), 8, mean=(0.0,), sd=(1.0,))
    straight, first, second = small(), small(), small()
    own.snapshot_distil(straight, watched, plan)
    assert orders == [0, 1, 2, 3]
    own.snapshot_distil(first, batches(), plan, checkpoint=tmp_path / "state")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["state.0", "state.1"]
    (tmp_path / "state.1").unlink()
    own.snapshot_distil(second, batches(), plan, checkpoint=tmp_path / "state")
    for a, b, c in zip(straight.parameters(), first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_wrong_cycles():
    with pytest.raises(ValueError, match="from the second cycle on"):
        own.snapshot_distil(small(), batches(), QUICK, cycles=1)
    with pytest.raises(ValueError, match="2 epochs cannot be shared out evenly over 3"):
        own.snapshot_distil(small(), batches(), QUICK, cycles=3)
