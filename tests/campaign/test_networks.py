"""Users' networks and data from a grammar: the right result, or one sentence before any training."""

import math

import pytest
import torch
from forms import Form, Net, data_of, forms, naive_loss
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky
from torch import nn
from tries import COUNTS, SEED, SHARE, refused

import kdnb
from kdnb.training import Recipe

BLOCK = 40  # forms of one test: hypothesis begins each with the plainest
RECIPE = Recipe(epochs=2, batch_size=4, lr=0.05, momentum=0.9, precision="32")
STILL = Recipe(epochs=1, batch_size=4, lr=1e-9, momentum=0.0, precision="32")


def squares(student, teacher):
    return (student - teacher).square().mean()


def as_found(*networks):
    """Whatever of a user's modules must be the same before and after, but for numbers."""
    return [
        (part.training, list(part._forward_hooks), list(part._forward_pre_hooks),
         list(part._backward_hooks), sorted(vars(part)),
         [(name, id(p), p.requires_grad, p.stride(), p.dtype, p.device)
          for name, p in (*part._parameters.items(), *part._buffers.items()) if p is not None])
        for network in networks for part in network.modules()
    ]  # fmt: skip


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def teacher_of(form: Form, student: Net):
    """The teacher, and the modules of it that must stay as they are."""
    teacher = Net(form, 7 if form.teacher == "other" else 6, 9).train(not form.training)
    if form.teacher == "function":
        return (lambda x: teacher(x)), [teacher]
    if form.teacher == "several":
        second = Net(form, 5, 8)
        return [teacher, second], [teacher, second]
    if form.teacher == "itself":
        return student, []
    if form.teacher == "shared":
        teacher.head = student.head if form.network != "tokens" else teacher.head
    return teacher, [teacher]


def call(form: Form, student: Net, recipe: Recipe, **options):
    if form.verb == "train":
        return kdnb.train(student, data_of(form), recipe, seed=form.seed, **options), []
    teacher, parts = teacher_of(form, student)
    method = squares if form.method == "own" else form.method
    weight = {} if form.method == "own" else {"weight": 0.5}
    more = {"label_weight": 0.0} if form.targets in ("none", "real", "too_high") else {}
    before = as_found(*parts), [weights(part) for part in parts]
    try:
        fit = kdnb.distil(
            student, teacher, data_of(form), recipe, method=method, seed=form.seed,
            **weight, **more, **options,
        )  # fmt: skip
    finally:
        assert as_found(*parts) == before[0], "the teacher was not left as it came"
        assert all(map(same, map(weights, parts), before[1])), "the teacher has learnt"
    return fit, parts


def numbers(fit):
    return {key: list(fit.history[key]) for key in fit.history if key != "seconds"}


def judge(form: Form, folder) -> None:
    """One form: what a call does with it, what an interrupt leaves, and what the rest gives."""
    student = Net(form, 6, form.seed)
    found, start = as_found(student), weights(student)
    try:
        fit, _ = call(form, student, RECIPE)
    except (ValueError, TypeError, ArithmeticError) as error:
        said = refused(error, ValueError, TypeError, ArithmeticError)
        assert not form.must_work, said
        assert same(weights(student), start), f"it had trained already: {said}"
        assert as_found(student) == found, f"not left as it came: {said}"
        return
    assert as_found(student) == found, "the student was not left as it came"
    assert all(math.isfinite(value) for column in numbers(fit).values() for value in column)
    end = weights(student)
    moved = [key for key, _ in student.named_parameters() if not torch.equal(start[key], end[key])]
    assert moved, "it learnt nothing"
    if form.network == "frozen_norm":
        still = [key for key in start if key.startswith("body.1.")]
        if form.training:
            assert all(torch.equal(start[key], end[key]) for key in still), "a frozen norm moved"
    if form.verb == "train" and (right := naive_loss(again := Net(form, 6, form.seed), form)):
        (value,) = call(form, again, STILL)[0].history.hard
        assert value == pytest.approx(right, rel=1e-4, abs=1e-5), "another loss than torch's"
    if form.interrupted:
        interrupt(form, folder / "checkpoint", numbers(fit), end)


def interrupt(form: Form, file, history, end) -> None:
    """A Ctrl-C after the first epoch; then the rest from the checkpoint."""
    calls = []

    def stop(networks):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {}

    file.unlink(missing_ok=True)
    student = Net(form, 6, form.seed)
    found, start = as_found(student), weights(student)
    try:
        call(form, student, RECIPE, checkpoint=file, evaluate=stop)
        raise AssertionError("it was not interrupted")
    except KeyboardInterrupt:
        assert as_found(student) == found, "an interrupt left the student otherwise"
    except ValueError as error:  # what cannot go on says so before it starts
        assert "checkpoint" in refused(error, ValueError) and form.loader == "unseeded"
        assert same(weights(student), start)
        return
    resumed = Net(form, 6, form.seed)
    fit, _ = call(form, resumed, RECIPE, checkpoint=file)
    assert numbers(fit) == history, "a resumed run is another one"
    assert same(weights(resumed), end), "a resumed run ends elsewhere"


def blocks() -> list[int]:
    wanted = max(1, round(COUNTS["networks"] * SHARE))
    return [min(BLOCK, wanted - start) for start in range(0, wanted, BLOCK)]


@pytest.mark.campaign
@pytest.mark.parametrize("number", range(len(blocks())))
def test_a_form_works_or_is_refused_before_training(number, tmp_path, record_property):
    tried = held = 0
    failed = False

    def one(form: Form) -> None:
        nonlocal tried, held, failed
        tried += not failed  # then hypothesis reduces what failed
        failed_before, failed = failed, True
        judge(form, tmp_path)
        failed = failed_before
        held += not failed

    search = settings(
        max_examples=blocks()[number], database=None, deadline=None,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    try:
        seed(1000 * SEED + number)(search(given(forms())(one)))()
    except Flaky as error:
        raise AssertionError(f"not the same twice: {error}") from error
    finally:
        record_property("tried", tried)
        record_property("held", held)
