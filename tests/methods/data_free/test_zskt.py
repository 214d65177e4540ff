"""ZSKT: whose step is whose, and a trial without any data."""

import data_free_workshop as workshop
import pytest
import torch

from kdnb import data as datasets
from kdnb import losses
from kdnb.methods.data_free import (
    Generator,
    NoiseBatches,
    dfad,
    zskt,
)
from kdnb.runs.functions import data_free as trials
from kdnb.runs.functions.data_free import adversarial_trial
from kdnb.training import Recipe

ONE = Recipe(epochs=1, batch_size=8, lr=0.1, optimiser="sgd", momentum=0.0, schedule="constant",
             precision="32")  # fmt: skip

ADAM = ONE.model_copy(update={"optimiser": "adam", "lr": 0.01})


def small(seed=0, name="zskt"):
    torch.manual_seed(seed)
    return Generator(name, width=4, image_size=8, latent=5)


def test_zskts_first_round_is_what_the_equations_say():
    """The generator climbs the divergence, then the student descends on what it makes now."""
    teacher = workshop.small_net(1).eval()
    student, generator = workshop.small_net(2), small()
    noise = next(iter(NoiseBatches(1, 8, (5,), seed=3))).images
    twin, other = small().train(), workshop.small_net(2)
    images = twin(noise)
    height = losses.soft_targets(other(images), teacher(images), 1.0)
    slopes = torch.autograd.grad(height, list(twin.parameters()))
    with torch.no_grad():
        for parameter, slope in zip(twin.parameters(), slopes, strict=True):
            parameter += 0.1 * slope
        images = twin(noise)
    gap = losses.soft_targets(other(images), teacher(images).detach(), 1.0)
    pulls = torch.autograd.grad(gap, list(other.parameters()))
    history = zskt(student, teacher, generator, ONE, generator_recipe=ONE, steps=1,
                   student_steps=1, seed=3)  # fmt: skip
    for moved, climbed in zip(generator.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(moved, climbed, rtol=1e-4, atol=1e-5)
    for moved, start, pull in zip(student.parameters(), other.parameters(), pulls, strict=True):
        torch.testing.assert_close(moved, start - 0.1 * pull, rtol=1e-4, atol=1e-5)
    assert history[0]["adversarial"] == pytest.approx(-height.item(), rel=1e-4)
    assert history[0]["soft"] == pytest.approx(gap.item(), rel=1e-4)


def test_zskt_steps_the_generator_once_for_each_round_of_the_student():
    student = workshop.Recorder(workshop.small_net(2))
    generator = small()
    weights = []
    generator.register_forward_hook(lambda part, *_: weights.append(part.last.weight.clone()))
    zskt(student, workshop.small_net(1), generator, ADAM, generator_recipe=ADAM, steps=6,
         student_steps=3)  # fmt: skip
    # Per round: once by the generator's step, three times by the student's own, on one batch.
    assert len(student.seen) == 8
    for start in (0, 4):
        same = student.seen[start + 1]
        assert all(torch.equal(same, seen) for seen in student.seen[start + 1 : start + 4])
        assert not torch.equal(student.seen[start], same)
    assert len(weights) == 4
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])


def test_zskts_attention_is_attention_transfer():
    teacher, student = workshop.small_net(1).eval(), workshop.small_net(2)
    seen = workshop.Recorder(student)
    history = zskt(
        seen, teacher, small(), ONE, generator_recipe=ONE, steps=1, student_steps=1,
        attention={"network.0": "0"}, attention_weight=7.0,
    )  # fmt: skip
    images = seen.seen[-1]
    expected = losses.attention_transfer(
        workshop.small_net(2)[0](images), teacher[0](images), variant="authors"
    )
    assert history[0]["attention"] == pytest.approx(7 * expected.item(), rel=1e-4)


def moved(before, network):
    """The length of a step: what the parameters have changed by."""
    changes = [new - old for old, new in zip(before, network.parameters(), strict=True)]
    return torch.cat([change.flatten() for change in changes]).norm().item()


@pytest.mark.parametrize("max_norm", [1e-4, None])
def test_both_gradients_are_clipped_in_the_units_of_a_mean_over_the_classes(max_norm):
    """The authors clip the gradient of a loss that is as many times smaller as there are classes."""
    teacher, student, generator = workshop.small_net(1), workshop.small_net(2), small()
    classes = teacher(torch.zeros(1, 1, 8, 8)).shape[1]
    starts = [[p.detach().clone() for p in part.parameters()] for part in (student, generator)]
    zskt(student, teacher, generator, ONE, generator_recipe=ONE, steps=1, student_steps=1,
         max_norm=max_norm)  # fmt: skip
    for start, network in zip(starts, (student, generator), strict=True):
        longest = 0.1 * 1e-4 * classes
        if max_norm:
            assert moved(start, network) == pytest.approx(longest, rel=1e-3)
        else:
            assert moved(start, network) > 2 * longest


def test_the_default_weight_of_attention_grows_with_the_classes():
    """Beside a divergence that is summed over them; the authors' 250 stands beside a mean."""
    found = []
    for weight in ({}, {"attention_weight": 1.0}):
        history = zskt(
            workshop.small_net(2), workshop.small_net(1), small(), ONE, generator_recipe=ONE,
            steps=1, student_steps=1, attention={"0": "0"}, **weight,
        )  # fmt: skip
        found.append(history[0]["attention"])
    classes = workshop.small_net(1)(torch.zeros(1, 1, 8, 8)).shape[1]
    assert found[0] == pytest.approx(250 * classes * found[1], rel=1e-5)


def test_a_description_of_the_first_form_keeps_its_meaning(monkeypatch, tmp_path):
    """Without `max_norm` nothing is clipped, as when the records were made."""
    workshop.guarded_mnist(monkeypatch)
    asked = []
    monkeypatch.setitem(trials.ADVERSARIES, "zskt", lambda *_, **options: asked.append(options))
    arguments = {"data": {"name": "mnist"}, "network": {"name": "lenet5_half_dafl"},
                 "teacher": workshop.teacher_trial(datasets.load("mnist")), "batch_size": 4,
                 "generator": {"name": "zskt", "width": 2}, "iterations": 2, "every": 2,
                 "student_recipe": {"lr": 1.0}, "generator_recipe": {"lr": 1.0}}  # fmt: skip
    for more in ({}, {"max_norm": 5.0}):
        with pytest.raises(TypeError):  # there is no history
            adversarial_trial(workshop.context(tmp_path), 0, **arguments, method="zskt", **more)
    assert [options["max_norm"] for options in asked] == [None, 5.0]
    assert asked[0]["attention_weight"] == 250


@pytest.mark.parametrize("game", [zskt, dfad])
def test_rounds_must_fit_an_epoch(game):
    with pytest.raises(ValueError, match="multiple of student_steps; got 4 and 3"):
        game(workshop.small_net(2), workshop.small_net(1), small(), ONE, generator_recipe=ONE,
             steps=4, student_steps=3)  # fmt: skip


@pytest.mark.parametrize(
    ("method", "options"),
    [("zskt", {"student_steps": 2, "attention": {"stage1": "stage1"}}), ("dfad", {})],
)
def test_the_trials_never_touch_the_training_set(monkeypatch, tmp_path, method, options):
    source = workshop.guarded_mnist(monkeypatch)
    options = {"student_steps": 1} | options
    outcome = adversarial_trial(
        workshop.context(tmp_path), 0, data={"name": "mnist", "evaluated": 20},
        network={"name": "lenet5_half_dafl"}, teacher=workshop.teacher_trial(source),
        generator={"name": method, "width": 2}, method=method, iterations=4, batch_size=4,
        every=2, student_recipe={"optimiser": "adam", "lr": 1e-3},
        generator_recipe={"optimiser": "adam", "lr": 1e-3}, precision="32", **options,
    )  # fmt: skip
    assert "adversarial" in outcome.series
    assert len(outcome.series["test_errors"]) == 2
    assert outcome.tensors["bank.images"].shape == (100, 1, 32, 32)
    with pytest.raises(ValueError, match="method must be one of zskt, dfad; got 'gan'"):
        adversarial_trial(
            workshop.context(tmp_path), 0, data={"name": "mnist"}, network={}, teacher=None,
            generator={}, method="gan", iterations=1, batch_size=1, every=1, student_recipe={},
            generator_recipe={},
        )  # fmt: skip
