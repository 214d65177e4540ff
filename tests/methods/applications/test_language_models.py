"""Language models that are taught: each verb against a loop of plain steps."""

import copy

import pytest
import torch
from small_languages import END, STEP, assert_stepped, model, sentences

from kdnb import losses
from kdnb.methods.applications.generation import (
    beam_continuations,
    continuations,
    responses,
    words_of,
)
from kdnb.methods.applications.language_models import (
    distil_language_model,
    next_token_loss,
    teacher_sequences,
    train_language_model,
)
from kdnb.methods.applications.minillm import distil_sequences
from kdnb.methods.applications.text_measures import likelihood
from kdnb.methods.multi_teacher import sentence_bleu
from kdnb.nets.translation import Translator

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


def test_the_oracle_takes_the_sequence_of_the_beam_that_is_most_like_the_given_one():
    teacher, options = model(1), {"prompt": 2, "end": END}
    said = teacher_sequences(teacher, TOKENS, beam=5, by="oracle", batch=10, **options)
    beams = beam_continuations(teacher, TOKENS[:, :2], longest=5, end=END, beam=5)[0]

    def likeness(row, reference):
        ours, theirs = (words_of(one.tolist(), 2, END) for one in (row, reference))
        return sentence_bleu(ours, theirs)

    for row, beam, reference in zip(said, beams, TOKENS, strict=True):
        best = max(likeness(one, reference) for one in beam)
        assert likeness(row, reference) == best
        assert row.equal(next(one for one in beam if likeness(one, reference) == best))
    assert not said.equal(teacher_sequences(teacher, TOKENS, beam=5, **options))
    with pytest.raises(ValueError, match="the oracle chooses among a beam"):
        teacher_sequences(teacher, TOKENS, beam=None, by="oracle", **options)
    with pytest.raises(ValueError, match="by must be"):
        teacher_sequences(teacher, TOKENS, by="nobody", **options)


def test_prompts_may_be_of_another_vocabulary():
    """A translator's source: nothing is asked about it, so its tokens may be unknown to the answer."""
    torch.manual_seed(0)
    student, teacher = (Translator(50, 6, source=3, width=8) for _ in range(2))
    rows = torch.cat([torch.randint(3, 50, (64, 3)), TOKENS], 1)
    plan = {"epochs": 25, "batch_size": 16, "optimiser": "adam", "lr": 0.02}
    train_language_model(teacher, rows, prompt=4, **plan)
    fit = distil_language_model(student, teacher, rows, prompt=4, end=END, label_weight=0.5, **plan)
    assert fit.history.divergence.iloc[-1] < 0.3 * fit.history.divergence.iloc[0]
    said = teacher_sequences(teacher, rows, prompt=4, end=END, beam=3, by="oracle")
    assert said[:, :4].equal(rows[:, :4]) and int(said[:, 4:].max()) < 6
    assert likelihood(student, rows, 4) < likelihood(Translator(50, 6, source=3, width=8), rows, 4)
    own = distil_language_model(student, teacher, rows, prompt=4, end=END, on_policy=1.0, top=2, epochs=1)  # fmt: skip
    assert own.history.divergence.iloc[0] > 0
    distil_sequences(student, teacher, rows, prompt=4, end=END, epochs=1)


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
