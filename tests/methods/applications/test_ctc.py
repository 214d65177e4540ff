"""CTC: beams against all sequences, error rates, and a student at each level."""

import itertools
import math

import pytest
import torch
from spoken_sequences import FEATURES, RECIPE, bumps

from kdnb.losses import ctc_log_probability, spike_guidance
from kdnb.methods.applications.acoustic import RecurrentModel, WindowModel, frame_logits
from kdnb.methods.applications.ctc import (
    distil_ctc,
    greedy_tokens,
    n_best,
    prefix_beam_search,
    token_error_rate,
    train_ctc,
)

HOT = RECIPE.model_copy(update={"epochs": 40})


def student(seed=0):
    torch.manual_seed(seed)
    return WindowModel(FEATURES, 4, (8,), 2, 2)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture(scope="module")
def taught():
    data = bumps(40)
    torch.manual_seed(3)
    teacher = RecurrentModel(FEATURES, 4, 10)
    train_ctc(teacher, (data.inputs, data.tokens), HOT)
    return data, teacher


def all_sequences(logs):
    found = {}
    for path in itertools.product(range(len(logs[0])), repeat=len(logs)):
        merged = [k for k, _ in itertools.groupby(path)]
        name = tuple(k for k in merged if k)
        p = math.exp(sum(logs[n][k] for n, k in enumerate(path)))
        found[name] = found.get(name, 0.0) + p
    return found


def test_a_wide_beam_finds_all_sequences():
    torch.manual_seed(0)
    logs = (2 * torch.randn(4, 3)).log_softmax(1).tolist()
    expected = sorted(all_sequences(logs).items(), key=lambda one: -one[1])
    found = prefix_beam_search(logs, 50)
    assert [one.tokens for one in found[:6]] == [name for name, _ in expected[:6]]
    for one in found:
        assert math.exp(one.log_probability) == pytest.approx(dict(expected)[one.tokens])


def test_a_narrow_beam_is_a_lower_bound_and_unlikely_classes_are_left_out():
    torch.manual_seed(1)
    logs = torch.randn(5, 3).log_softmax(1).tolist()
    exact = all_sequences(logs)
    for one in prefix_beam_search(logs, 2):
        assert math.exp(one.log_probability) <= exact[one.tokens] * (1 + 1e-9)
    logs[0][1] = logs[1][1] = logs[2][1] = logs[3][1] = logs[4][1] = -20.0
    assert all(1 not in one.tokens for one in prefix_beam_search(logs, 50))


def test_lists_have_exact_probabilities_and_say_where_they_end():
    logits = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))
    lists = n_best(logits, torch.tensor([1, 3]), 4)
    short = lists.scores[0].isfinite()
    assert short.sum() == 3  # of one frame: nothing, or one of two tokens
    assert lists.scores[0].exp()[short].sum().item() == pytest.approx(1)
    exact = ctc_log_probability(logits, torch.tensor([1, 3]), lists.tokens)
    torch.testing.assert_close(lists.scores[1], exact[1])


def test_greedy_joins_repeats_and_leaves_blanks_out():
    path = torch.tensor([[1, 1, 0, 1, 2, 2, 0], [0, 3, 3, 1, 1, 1, 1]])
    logits = torch.eye(4)[path]
    assert greedy_tokens(logits, torch.tensor([7, 3])) == [(1, 1, 2), (3,)]


def test_the_error_rate_counts_edits():
    logits = torch.eye(4)[torch.tensor([[1, 0, 2, 0], [3, 0, 3, 0]])]
    tokens = torch.tensor([[1, 2, 3], [3, -1, -1]])  # one is missing; one is too many
    rate = token_error_rate(logits, (logits, torch.tensor([4, 4])), tokens)
    assert rate == pytest.approx(100 * 2 / 4)


def test_the_teacher_reads(taught):
    data, teacher = taught
    assert token_error_rate(teacher, data.inputs, data.tokens) < 10
    assert token_error_rate(teacher, bumps(20, 5).inputs, bumps(20, 5).tokens) < 30


def test_a_student_of_sequences_reads_without_labels(taught):
    data, teacher = taught
    model = student()
    fit = distil_ctc(model, teacher, data.inputs, HOT, level="sequence", beam=3)
    assert list(fit.history)[2] == "sequence" or "sequence" in fit.history
    assert token_error_rate(model, data.inputs, data.tokens) < 25


def test_one_sure_hypothesis_is_training_on_what_the_teacher_heard(taught):
    data, teacher = taught
    heard = n_best(frame_logits(teacher, data.inputs), data.lengths, 1).tokens[:, 0]
    one, other = student(), student()
    distil_ctc(one, teacher, data.inputs, RECIPE, beam=1)
    train_ctc(other, (data.inputs, heard), RECIPE)
    torch.testing.assert_close(weights(one), weights(other), rtol=1e-4, atol=1e-5)


def test_a_guided_student_spikes_with_its_guide(taught):
    data, teacher = taught
    guided, free = student(), student()
    both = (data.inputs, data.tokens)
    distil_ctc(guided, teacher, both, HOT, level="guided", label_weight=1.0, weight=3.0)
    train_ctc(free, both, HOT)
    theirs = frame_logits(teacher, data.inputs)
    together = [
        spike_guidance(frame_logits(model, data.inputs), theirs, data.lengths).item()
        for model in (guided, free)
    ]
    assert together[0] < together[1]


def test_frames_are_followed(taught):
    data, teacher = taught
    fit = distil_ctc(student(), teacher, data.inputs, RECIPE, level="frame")
    assert fit.history.frame.is_monotonic_decreasing


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"level": "word"}, "level"),
        ({"beam": 0}, "beam"),
        ({"label_weight": 1.0}, "labels are needed"),
        ({"level": "guided"}, "labels are needed"),
        ({"weight": 0.0}, "are 0"),
    ],
)
def test_what_is_refused(taught, options, said):
    data, teacher = taught
    with pytest.raises(ValueError, match=said):
        distil_ctc(student(), teacher, data.inputs, RECIPE, **options)


def test_guidance_needs_a_weight_of_labels(taught):
    data, teacher = taught
    with pytest.raises(ValueError, match="when and not what"):
        distil_ctc(student(), teacher, (data.inputs, data.tokens), RECIPE, level="guided")
