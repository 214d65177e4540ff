"""Frame-level distillation: alignments, the loop, who teaches, and the best path through a word."""

import copy
import itertools

import pytest
import torch
from spoken_sequences import FEATURES, RECIPE, bumps
from torch.nn.functional import cross_entropy

from kdnb.losses import frame_distillation
from kdnb.methods.applications.acoustic import RecurrentModel, WindowModel, frame_logits
from kdnb.methods.applications.frames import (
    distil_frames,
    even_states,
    frame_errors,
    log_priors,
    train_frames,
    word_scores,
)


def student(seed=0):
    torch.manual_seed(seed)
    return WindowModel(FEATURES, 4, (5,), 1, 1)


@pytest.fixture(scope="module")
def taught():
    data = bumps()
    torch.manual_seed(9)
    teacher = RecurrentModel(FEATURES, 4, 8)
    train_frames(teacher, (data.inputs, data.states), RECIPE, epochs=15)
    return data, teacher


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_states_share_a_words_frames():
    states = even_states(torch.tensor([0, 2]), torch.tensor([3, 6]), 3, 7)
    assert states[0].tolist() == [0, 1, 2, *[-100] * 4]
    assert states[1].tolist() == [6, 6, 7, 7, 8, 8, -100]


def test_labels_are_learnt(taught):
    data, teacher = taught
    assert frame_errors(frame_logits(teacher, data.inputs), data.states) < 10
    model = student()
    fit = train_frames(model, (data.inputs, data.states), RECIPE, epochs=6)
    assert fit.networks["model"] is model and fit.history.hard.is_monotonic_decreasing


def test_a_loop_of_ones_own_gives_the_same(taught):
    data, teacher = taught
    model, other = student(), student()
    distil_frames(
        model, teacher, (data.inputs, data.states), RECIPE, label_weight=0.5, weight=2.0,
        temperature=3.0, epochs=1, batch_size=99, schedule="constant",
    )  # fmt: skip
    optimiser = torch.optim.Adam(other.parameters(), lr=RECIPE.lr)
    z, v = other(*data.inputs), frame_logits(teacher, data.inputs)
    loss = 2 * frame_distillation(z, v, data.lengths, 3.0)
    (loss + 0.5 * cross_entropy(z.transpose(1, 2), data.states)).backward()
    optimiser.step()
    torch.testing.assert_close(weights(model), weights(other), rtol=1e-4, atol=1e-6)


def test_no_label_is_read_and_logits_stand_for_the_teacher(taught):
    data, teacher = taught
    by_model, by_logits, spoilt = student(), student(), student()
    distil_frames(by_model, teacher, data.inputs, RECIPE)
    distil_frames(by_logits, frame_logits(teacher, data.inputs), data.inputs, RECIPE)
    distil_frames(spoilt, teacher, (data.inputs, data.states * 0), RECIPE)
    assert torch.equal(weights(by_model), weights(by_logits))
    assert torch.equal(weights(by_model), weights(spoilt))


def test_the_hard_form_learns_the_likeliest_states(taught):
    data, teacher = taught
    best = frame_logits(teacher, data.inputs).argmax(2).masked_fill(data.states == -100, -100)
    hard, labels = student(), student()
    distil_frames(hard, teacher, data.inputs, RECIPE, hard=True)
    train_frames(labels, (data.inputs, best), RECIPE)
    torch.testing.assert_close(weights(hard), weights(labels))


def test_the_teacher_stays_as_it_was(taught):
    data, teacher = taught
    before = copy.deepcopy(teacher.state_dict())
    teacher.train()
    distil_frames(student(), teacher, data.inputs, RECIPE)
    assert teacher.training and all(p.requires_grad for p in teacher.parameters())
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_killed_run_goes_on(taught, tmp_path):
    data, teacher = taught
    whole, resumed = student(), student()
    distil_frames(whole, teacher, data.inputs, RECIPE)
    file = tmp_path / "run"
    distil_frames(resumed, teacher, data.inputs, RECIPE, checkpoint=file)
    again = student()
    distil_frames(again, teacher, data.inputs, RECIPE, checkpoint=file)
    assert torch.equal(weights(whole), weights(resumed))
    assert torch.equal(weights(whole), weights(again))


def naive_score(scores, states, word):
    """The best of all paths, each listed."""
    best = -float("inf")
    for path in itertools.product(range(states), repeat=len(scores)):
        steps = [b - a for a, b in itertools.pairwise(path)]
        if path[0] == 0 and path[-1] == states - 1 and all(step in (0, 1) for step in steps):
            best = max(best, sum(float(scores[n, word * states + s]) for n, s in enumerate(path)))
    return best


@pytest.mark.parametrize("priors", [False, True])
def test_the_best_path_against_all_paths(priors):
    torch.manual_seed(0)
    logits, lengths = torch.randn(3, 6, 4), torch.tensor([6, 2, 4])
    prior = torch.randn(4).log_softmax(0) if priors else None
    ours = word_scores(logits, lengths, 2, prior)
    scores = logits.log_softmax(2) - (prior if priors else 0)
    for row, n in enumerate(lengths.tolist()):
        for word in range(2):
            expected = naive_score(scores[row, :n], 2, word)
            assert ours[row, word].item() == pytest.approx(expected, rel=1e-5)


def test_priors_and_errors():
    states = torch.tensor([[0, 0, 1, -100], [0, 2, -100, -100]])
    torch.testing.assert_close(log_priors(states, 4).exp(), torch.tensor([4, 2, 2, 1]) / 9)
    logits = torch.eye(4)[torch.tensor([[0, 1, 1, 3], [0, 3, 3, 3]])]
    assert frame_errors(logits, states) == pytest.approx(40)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label_weight": 1.0}, "label_weight needs labels"),
        ({"weight": 0.0}, "all of weight, label_weight are 0"),
        ({"temperature": 0.0}, "temperature"),
        ({"hard": 1}, "hard"),
        ({"tempratre": 2}, "tempratre"),
    ],
)
def test_what_is_refused(taught, options, said):
    data, teacher = taught
    with pytest.raises(ValueError, match=said):
        distil_frames(student(), teacher, data.inputs, RECIPE, **options)
