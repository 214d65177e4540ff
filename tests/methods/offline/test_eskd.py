"""Early-stopped distillation (Cho and Hariharan)."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdnb import losses
from kdnb.data import Batches, Images
from kdnb.methods.offline import distil, eskd
from kdnb.runs import trials
from kdnb.runs.task import data_spec
from kdnb.runs.trials import Trial
from kdnb.training import Recipe

RECIPE = Recipe(epochs=4, batch_size=8, lr=0.05, precision="32")

soft = partial(losses.soft_targets, temperature=2.0)


def batches(**options):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Batches(Images(images, torch.arange(40) % 3), 8, mean=(0.5,), sd=(0.3,), **options)


def linear(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))


def test_after_the_stop_only_labels_count():
    student = linear(0)
    history = eskd.distil_then_labels(
        student, linear(1), batches(), RECIPE, loss=soft, stop_epoch=2, soft_weight=0.7
    )
    assert [row["soft"] > 0 for row in history] == [True, True, False, False]
    assert [row["hard"] > 0 for row in history] == [False, False, True, True]

    bare, teacher = linear(0), linear(1)  # the same by hand
    optimiser = torch.optim.SGD(bare.parameters(), lr=0.05, momentum=0.9)
    step = 0
    for epoch in range(4):
        for batch in batches().epoch(epoch):
            optimiser.param_groups[0]["lr"] = RECIPE.learning_rate(step, 20)
            logits = bare(batch.images)
            with torch.no_grad():
                taught = teacher(batch.images)
            loss = (
                0.7 * soft(logits, taught) if epoch < 2 else F.cross_entropy(logits, batch.labels)
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
    torch.testing.assert_close(student[1].weight, bare[1].weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"crop_padding": 1}])
def test_never_stopped_is_plain_distillation_and_stopped_at_once_is_training(options):
    taught, plain, alone, labels = (linear(0) for _ in range(4))
    weights = {"soft_weight": 0.5, "hard_weight": 0.3}
    run = partial(eskd.distil_then_labels, loss=soft, **weights)
    run(taught, linear(1), batches(**options), RECIPE, stop_epoch=4)
    lesson = batches(**options)
    distil.distil(plain, linear(1), lesson, RECIPE, method=soft, weight=0.5, label_weight=0.3)
    assert torch.equal(taught[1].weight, plain[1].weight)
    run(alone, linear(1), batches(**options), RECIPE, stop_epoch=0)
    distil.train(labels, batches(**options), RECIPE)
    torch.testing.assert_close(alone[1].weight, labels[1].weight)


def test_a_silent_teacher_is_not_asked():
    teacher, asked = linear(1), []
    teacher.register_forward_hook(lambda *_: asked.append(1))
    changing = batches(crop_padding=1, jitter=0.1)  # no view comes twice
    eskd.distil_then_labels(linear(0), teacher, changing, RECIPE, loss=soft, stop_epoch=1)
    assert len(asked) == len(batches())


@pytest.mark.parametrize("epoch", [-1, 5])
def test_a_stop_outside_the_run_is_refused(epoch):
    with pytest.raises(ValueError, match=f"within 0 and the run's 4 epochs; got {epoch}"):
        eskd.distil_then_labels(
            linear(0), linear(1), batches(), RECIPE, loss=soft, stop_epoch=epoch
        )


def test_early_stopped_trial_is_the_scheme_with_the_weights_of_distilled(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    data = data_spec("mnist", limit=60, evaluated=50)
    shared = {"data": data, "network": {"name": "mlp", "widths": [8]},
              "recipe": {"epochs": 2, "batch_size": 20, "lr": 0.05, "precision": "32"}}  # fmt: skip
    teacher = Trial("supervised", shared, 7)
    taught = {**shared, "teacher": teacher, "loss": {"name": "soft_targets", "temperature": 2.0},
              "soft_weight": 0.5, "hard_weight": 0.5}  # fmt: skip
    plain = trials.run(Trial("distilled", taught, 3))
    alone = trials.run(Trial("supervised", shared, 3))
    by_stop = [
        trials.run(Trial("early_stopped", {**taught, "stop_epoch": stop}, 3)) for stop in (0, 1, 2)
    ]

    def same(one, two):
        return all(
            torch.allclose(value, two.tensors()[key], rtol=1e-5, atol=1e-6)
            for key, value in one.tensors().items()
        )

    assert same(by_stop[0], alone) and same(by_stop[2], plain)
    assert not same(by_stop[1], plain) and not same(by_stop[1], alone)
    assert [value > 0 for value in by_stop[1].series["soft"]] == [True, False]
