"""DAFL: what each network learns from, and a trial without any data."""

import math

import data_free_workshop as workshop
import pytest
import torch
from torch import nn

from kdnb import losses
from kdnb.losses import information_entropy, one_hot
from kdnb.methods.data_free import CollapseDetector, Generator, NoiseBatches, dafl
from kdnb.runs.functions import data_free as functions
from kdnb.runs.functions.data_free import dafl_trial, isolated
from kdnb.runs.task import built, network_of
from kdnb.training import Recipe

FAST = Recipe(epochs=2, batch_size=8, lr=0.01, optimiser="adam", schedule="constant",
              precision="32")  # fmt: skip

SGD = FAST.model_copy(update={"optimiser": "sgd", "lr": 0.1, "momentum": 0.0})

ONE = SGD.model_copy(update={"epochs": 1})


def small(seed=0, **options):
    torch.manual_seed(seed)
    return Generator(width=4, image_size=8, latent=5, **options)


def run(student, teacher, generator, **options):
    options = {"generator_recipe": ONE, "steps": 1, "features": "0"} | options
    return dafl(student, teacher, generator, ONE, **options)


def trial(folder, source, **options):
    options = {"generator": {"name": "dafl", "width": 2, "image_size": 32}} | options
    return dafl_trial(
        workshop.context(folder), 0, data={"name": "mnist", "split": "train_all", "evaluated": 20},
        network={"name": "lenet5_half_dafl"}, teacher=workshop.teacher_trial(source),
        iterations=2, batch_size=4, every=1, precision="32", **options,
    )  # fmt: skip


def test_one_step_is_what_the_equations_say():
    """Both networks after one plain gradient step, derived without the loop."""
    teacher = workshop.small_net(1).eval()
    student, generator = workshop.small_net(2), small()
    noise = next(iter(NoiseBatches(1, 8, (5,), seed=3))).images
    twin, other = small().train(), workshop.small_net(2)
    images = twin(noise)
    features = teacher[0](images)
    logits = teacher(images)
    total = (
        2 * one_hot(logits) + 5 * information_entropy(logits, None) - 0.1 * features.abs().mean()
    )
    slopes = torch.autograd.grad(total, list(twin.parameters()))
    divergence = losses.soft_targets(other(images.detach()), logits.detach(), 1.0)
    pulls = torch.autograd.grad(divergence, list(other.parameters()))
    history = run(
        student, teacher, generator, base=None, seed=3,
        weights={"one_hot": 2.0, "entropy": 5.0, "activation": 0.1},
    )  # fmt: skip
    for moved, start, slope in zip(generator.parameters(), twin.parameters(), slopes, strict=True):
        torch.testing.assert_close(moved, start - 0.1 * slope, rtol=1e-4, atol=1e-5)
    for moved, start, pull in zip(student.parameters(), other.parameters(), pulls, strict=True):
        torch.testing.assert_close(moved, start - 0.1 * pull, rtol=1e-4, atol=1e-5)
    assert history[0]["soft"] == pytest.approx(divergence.item(), rel=1e-4)
    assert history[0]["one_hot"] + history[0]["entropy"] + history[0]["activation"] == (
        pytest.approx(total.item(), rel=1e-4)
    )


def test_the_student_learns_from_what_the_teacher_saw_and_gives_the_generator_nothing():
    teacher = workshop.Recorder(workshop.small_net(1))
    student = workshop.Recorder(workshop.small_net(2))
    first, second = small(), small()
    dafl(student, teacher, first, FAST, generator_recipe=FAST, steps=3, features="network.0")
    assert len(teacher.seen) == len(student.seen) == 6
    assert all(torch.equal(a, b) for a, b in zip(teacher.seen, student.seen, strict=True))
    dafl(workshop.small_net(9), workshop.small_net(1), second, FAST, generator_recipe=FAST,
         steps=3, features="0")  # fmt: skip
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_teacher_is_left_as_it_was():
    teacher = workshop.small_net(1, norm=True)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    run(workshop.small_net(2), teacher, small(), steps=2)
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert all(parameter.requires_grad for parameter in teacher.parameters())


def test_a_term_without_weight_is_left_out():
    history = run(workshop.small_net(2), workshop.small_net(1), small(), weights={"one_hot": 1.0})
    assert {"one_hot", "soft"} <= set(history[0])
    assert not {"entropy", "activation"} & set(history[0])
    with pytest.raises(ValueError, match="no term moves the generator"):
        run(workshop.small_net(2), workshop.small_net(1), small(), weights={"one_hot": 0.0})
    with pytest.raises(ValueError, match="DAFL has no term 'style'"):
        run(workshop.small_net(2), workshop.small_net(1), small(), weights={"style": 1.0})


def test_the_entropy_term_is_what_spreads_the_classes():
    """The generator alone against a teacher of three brightness classes, with and without."""

    class Brightness(nn.Module):
        def __init__(self):
            super().__init__()
            self.stage3 = nn.Identity()
            self.scale = nn.Parameter(torch.tensor(6.0))

        def forward(self, images):
            level = self.stage3(images)[:, :, :4].mean((1, 2, 3))
            return torch.stack([-level, 0.2 - level.abs(), level], 1) * self.scale

    balance = {}
    for entropy in (0.0, 20.0):
        detector = CollapseDetector(3)
        recipe = FAST.model_copy(update={"batch_size": 32, "epochs": 3, "lr": 0.02})
        dafl(
            workshop.small_net(2), Brightness(), small(), recipe, generator_recipe=recipe,
            steps=10, weights={"one_hot": 1.0, "entropy": entropy}, detector=detector,
        )  # fmt: skip
        balance[entropy] = detector.counts / detector.counts.sum()
    assert balance[0.0].min() < 0.1
    assert balance[20.0].min() > 0.2


def test_bf16_and_channels_last():
    recipe = FAST.model_copy(update={"precision": "bf16", "epochs": 1})
    student, generator = workshop.small_net(2), small()
    weight, before = generator.inner1[0].weight, generator.inner1[0].weight.stride()
    seen = []  # whether the generator's weights lie channels last while it trains
    student.register_forward_pre_hook(
        lambda *_: seen.append(weight.is_contiguous(memory_format=torch.channels_last))
    )
    history = dafl(student, workshop.small_net(1), generator, recipe, generator_recipe=recipe,
                   steps=2, features="0")  # fmt: skip
    assert all(math.isfinite(value) for value in history[0].values())
    assert seen[-2:] == [True, True]  # both steps; before them it is tried which format works
    assert weight.stride() == before  # as its user had it
    assert weight.dtype == torch.float32


def test_the_trial_never_touches_the_training_set(monkeypatch, tmp_path):
    source = workshop.guarded_mnist(monkeypatch)
    with pytest.raises(AssertionError, match="touched"):
        built({"name": "lenet5"}, source, 0)  # the guard works: the usual way reads the shape there
    outcome = trial(tmp_path, source)
    assert outcome.metrics["test_images"] == 20
    assert set(outcome.series) >= {"one_hot", "entropy", "activation", "soft", "test_errors"}
    last = outcome.series["test_errors"]
    assert outcome.metrics["last_ten_test_errors"] == pytest.approx(sum(last) / 2)
    assert outcome.metrics["test_errors"] == last[-1]
    assert sum(outcome.metrics[f"made_share_{k}"] for k in range(10)) == pytest.approx(1)
    assert outcome.tensors["bank.images"].shape == (100, 1, 32, 32)
    assert 0 <= outcome.metrics["class_balance"] <= 1


def test_the_trials_student_can_be_loaded(monkeypatch, tmp_path):
    source = workshop.guarded_mnist(monkeypatch)
    outcome = trial(tmp_path, source)
    monkeypatch.setattr("kdnb.data.load", lambda name, **_: isolated(source))
    arguments = {"data": {"name": "mnist"}, "network": {"name": "lenet5_half_dafl"}}
    network = network_of(workshop.FinishedTrial({"arguments": arguments}, outcome.tensors))
    assert sum(parameter.numel() for parameter in network.parameters()) == 15_738


def test_the_baseline_learns_from_noise_alone(monkeypatch, tmp_path):
    source = workshop.guarded_mnist(monkeypatch)
    outcome = trial(tmp_path, source, generator={"name": "noise", "image_size": 32})
    assert "soft" in outcome.series
    assert "one_hot" not in outcome.series
    assert not any(key.startswith("generator.") for key in outcome.tensors)


def test_the_trial_resumes_to_the_same_student(monkeypatch, tmp_path):
    source = workshop.guarded_mnist(monkeypatch)
    whole = trial(tmp_path / "a", source)
    calls = []

    class Killed(RuntimeError):
        pass

    from kdnb.training.inputs import logits_on

    plain = logits_on

    def once(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return plain(*arguments)

    monkeypatch.setattr(functions, "logits_on", once)
    with pytest.raises(Killed):
        trial(tmp_path / "b", source)
    monkeypatch.setattr(functions, "logits_on", plain)
    resumed = trial(tmp_path / "b", source)
    for key, value in whole.tensors.items():
        assert torch.equal(value, resumed.tensors[key]), key


def test_wrong_descriptions_are_refused(monkeypatch, tmp_path):
    source = workshop.guarded_mnist(monkeypatch)
    with pytest.raises(ValueError, match="entropy must be one of released, natural"):
        trial(tmp_path, source, entropy="log2")
    with pytest.raises(ValueError, match="multiple of every; got 2 and 3"):
        dafl_trial(
            workshop.context(tmp_path), 0, data={"name": "mnist"}, network={"name": "lenet5"},
            teacher=workshop.teacher_trial(source), generator={"name": "dafl"}, iterations=2,
            every=3,
        )  # fmt: skip
