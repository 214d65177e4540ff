"""Language models that are taught: each verb against a loop of plain steps."""

import copy

import pytest
from small_languages import END, STEP, assert_stepped, model, sentences

from kdnb import losses
from kdnb.methods.applications.generation import beam_continuations, continuations, responses
from kdnb.methods.applications.language_models import (
    distil_language_model,
    next_token_loss,
    teacher_sequences,
    train_language_model,
)

TOKENS = sentences()
RECIPE = {**STEP, "batch_size": len(TOKENS)}


def test_the_likelihood_against_loops():
    logits = model(0)(TOKENS)
    total = 0.0
    for row, said in zip(TOKENS, logits, strict=True):
        places = [t for t in range(1, TOKENS.shape[1]) if row[t] != 0 and t >= 2]
        total += sum(-said[t - 1].log_softmax(0)[row[t]] for t in places) / len(places)
    assert next_token_loss(logits, TOKENS, 2).item() == pytest.approx(total.item() / 64, rel=1e-5)


@pytest.mark.parametrize("prompt", [1, 2])
def test_training_is_descent_on_the_likelihood(prompt):
    student = model(0)
    start = copy.deepcopy(student)
    fit = train_language_model(student, TOKENS, prompt=prompt, **RECIPE)
    assert_stepped(student, start, lambda s: next_token_loss(s(TOKENS), TOKENS, prompt))
    assert list(fit.history.words) == [
        pytest.approx(float(next_token_loss(model(0)(TOKENS), TOKENS, prompt)), rel=1e-5)
    ]


@pytest.mark.parametrize("kind", ["forward", "reverse", "jensen_shannon"])
@pytest.mark.parametrize("label_weight", [0.0, 0.5])
def test_distillation_on_given_sequences(kind, label_weight):
    student, teacher = model(0), model(1)

    def loss(s):
        there = responses(TOKENS, 2)
        value = losses.token_divergence(
            s(TOKENS)[:, :-1], teacher(TOKENS)[:, :-1].detach(), there, kind, 0.3
        )
        return value + label_weight * next_token_loss(s(TOKENS), TOKENS, 2)

    start = copy.deepcopy(student)
    before = copy.deepcopy(teacher.state_dict())
    options = {"kind": kind, "teacher_share": 0.3, "label_weight": label_weight}
    distil_language_model(student, teacher, TOKENS, prompt=2, end=END, **options, **RECIPE)
    assert_stepped(student, start, loss)
    assert all(value.equal(before[name]) for name, value in teacher.state_dict().items())


def test_on_policy_sequences_are_the_students_own(monkeypatch):
    seen = []

    def write(who, prompts, **options):
        drawn = continuations(who, prompts, **options)
        seen.append((who, prompts, drawn.tokens))
        return drawn

    monkeypatch.setattr("kdnb.methods.applications.language_models.continuations", write)
    student, teacher = model(0), model(1)
    start = copy.deepcopy(student)
    distil_language_model(
        student, teacher, TOKENS, prompt=2, end=END, kind="reverse", on_policy=1.0, **RECIPE
    )
    ((who, prompts, tokens),) = seen
    assert who is student and prompts.shape == (64, 2)
    cut = tokens[:, : int((tokens != 0).any(0).sum())]

    def loss(s):
        aim = teacher(cut)[:, :-1].detach()
        return losses.token_divergence(s(cut)[:, :-1], aim, responses(cut, 2), "reverse")

    assert_stepped(student, start, loss)


def test_shares_of_own_sequences(monkeypatch):
    counted = []
    monkeypatch.setattr(
        "kdnb.methods.applications.language_models.continuations",
        lambda *a, **k: counted.append(1) or continuations(*a, **k),
    )
    recipe = {**RECIPE, "batch_size": 2, "epochs": 4}
    distil_language_model(model(0), model(1), TOKENS, prompt=2, end=END, on_policy=0.25, **recipe)
    assert 15 < len(counted) < 50  # of 128 batches, 32 on average


def test_corrected_sequences_are_taken_with_top():
    def taught(top):
        student = model(0)
        distil_language_model(
            student, model(1), TOKENS, prompt=2, end=END, on_policy=1.0, top=top, seed=3, **RECIPE
        )
        return student.next.weight

    assert not taught(1).equal(taught(6)) and taught(1).equal(taught(1))


def test_the_teachers_corpus():
    teacher = model(1)
    said = teacher_sequences(teacher, TOKENS, prompt=2, end=END, beam=2, batch=10)
    best = beam_continuations(teacher, TOKENS[:, :2], longest=5, end=END, beam=2)[0][:, 0]
    assert said.equal(best) and said.shape == TOKENS.shape
    drawn = [
        teacher_sequences(teacher, TOKENS, prompt=2, end=END, beam=None, seed=s) for s in (0, 0, 1)
    ]
    assert drawn[0].equal(drawn[1]) and not drawn[0].equal(drawn[2])


def test_a_student_comes_near_its_teacher():
    student, teacher = model(0), model(1)
    fit = distil_language_model(
        student,
        teacher,
        TOKENS,
        prompt=1,
        end=END,
        epochs=30,
        batch_size=16,
        optimiser="adam",
        lr=0.02,
    )
    assert fit.history.divergence.iloc[-1] < 0.1 * fit.history.divergence.iloc[0]


def test_wrong_arguments():
    for options, words in (
        ({"on_policy": 2.0}, "on_policy"), ({"label_weight": -1.0}, "label_weight"),
        ({"kind": "sideways"}, "kind"), ({"prompt": 0}, "prompt"), ({"promt": 1}, "promt"),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match=words):
            distil_language_model(model(0), model(1), TOKENS, end=END, **options)
