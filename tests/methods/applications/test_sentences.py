"""Smaller encoders: each verb's first step against its losses, and what a student starts from."""

import copy

import pytest
import torch
from small_languages import STEP, assert_stepped, classified, encoder
from torch.nn import functional as F

from kdnb import losses
from kdnb.methods.applications.sentences import (
    distil_masked_words,
    distil_patiently,
    masked_copies,
    patient_layers,
    start_from_layers,
)
from kdnb.nets import features
from kdnb.nets.language import BagOfWords, SentenceLSTM

RECIPE = {**STEP, "batch_size": 16}


def states(network, place, tokens):
    with features(network, [f"blocks.{place}"]) as seen:
        network(tokens)
        return seen[f"blocks.{place}"]


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_patience_is_labels_soft_targets_and_first_states(variant):
    student, teacher = encoder(2), encoder(4, 1)
    start, (tokens, labels) = copy.deepcopy(student), classified()
    options = {
        "weight": 3.0,
        "soft_weight": 0.3,
        "label_weight": 0.7,
        "temperature": 2.0,
        "variant": variant,
    }
    distil_patiently(student, teacher, (tokens, labels), **options, **RECIPE)

    def loss(s):
        pairs = [(states(s, 0, tokens)[:, 0], states(teacher, 1, tokens)[:, 0].detach())]
        ours, theirs = (torch.stack(one, 1) for one in zip(*pairs, strict=True))
        soft = losses.soft_targets(s(tokens), teacher(tokens).detach(), 2.0)
        return (
            0.7 * F.cross_entropy(s(tokens), labels)
            + 0.3 * soft
            + 3 * losses.patient(ours, theirs, variant)
        )

    assert_stepped(student, start, loss)


def test_which_layers_are_patient():
    assert patient_layers(3, 6) == [1, 3] and patient_layers(3, 6, "last") == [3, 4]
    student, teacher = encoder(3), encoder(6, 1)
    fit = distil_patiently(student, teacher, classified(), layers=[2, 5], **RECIPE)
    assert set(fit.history) >= {"hard", "soft", "states"}
    with pytest.raises(ValueError, match="multiple"):
        patient_layers(4, 6)
    with pytest.raises(ValueError, match="which"):
        patient_layers(3, 6, "first")
    for layers in ([], [6], [0, 1, 2, 3]):
        with pytest.raises(ValueError, match="layers must name 1 to 3 of the teacher's"):
            distil_patiently(student, teacher, classified(), layers=layers)
    with pytest.raises(ValueError, match="all of weight"):
        distil_patiently(student, teacher, classified(), weight=0, soft_weight=0, label_weight=0)


def test_a_student_that_starts_from_all_layers_is_its_teacher():
    student, teacher = encoder(2, 5, classes=0), encoder(2, 1, classes=0)
    start_from_layers(student, teacher)
    tokens, _ = classified()
    torch.testing.assert_close(student(tokens), teacher(tokens))
    half = encoder(1, 5, classes=0)
    start_from_layers(half, teacher, [1])
    assert half.blocks[0].query.weight.equal(teacher.blocks[1].query.weight)
    start_from_layers(half, teacher)
    assert half.blocks[0].query.weight.equal(teacher.blocks[0].query.weight)
    with pytest.raises(ValueError, match="one for each of the student's 1"):
        start_from_layers(half, teacher, [0, 1])
    with pytest.raises(ValueError, match="must lie in 0 to 1"):
        start_from_layers(half, teacher, [2])


def test_the_triple_loss(monkeypatch):
    student, teacher = encoder(1, classes=0), encoder(2, 1, classes=0)
    start, (tokens, _) = copy.deepcopy(student), classified()
    chances = torch.rand(16, 6, generator=torch.Generator().manual_seed(4))
    monkeypatch.setattr("kdnb.methods.applications.sentences.torch.rand", lambda *shape: chances)
    fit = distil_masked_words(student, teacher, tokens, mask=1, share=0.3, **RECIPE)
    # Batches come in a drawn order; with one batch the mean over hidden words is over all of them.
    assert set(fit.history) >= {"soft", "words", "states"}
    found = fit.history.iloc[0]
    assert found.soft > 0 and found.words > 0 and 0 < found.states < 2
    moved = [not a.equal(b) for a, b in zip(student.parameters(), start.parameters(), strict=True)]
    assert sum(moved) >= len(moved) - 2  # biases of keys have no gradient


def test_a_student_equal_to_its_teacher_has_no_soft_loss():
    teacher = encoder(2, 1, classes=0)
    student = copy.deepcopy(teacher)
    tokens, _ = classified()
    fit = distil_masked_words(student, teacher, tokens, mask=1, **RECIPE)
    assert fit.history.soft.iloc[0] == pytest.approx(0, abs=1e-5)
    assert fit.history.states.iloc[0] == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match="share"):
        distil_masked_words(student, teacher, tokens, mask=1, share=0)


def test_masked_copies():
    tokens, _ = classified(200)
    plain = masked_copies(tokens, 2, mask=1, share=0, cut=0)
    assert plain.equal(torch.cat([tokens, tokens]))
    made = masked_copies(tokens, 3, mask=1, share=0.2, cut=0)
    assert (made == 0).equal((tokens == 0).repeat(3, 1))
    assert float((made == 1).sum() / (made != 0).sum()) == pytest.approx(0.2, abs=0.03)
    cut = masked_copies(tokens, 1, mask=1, share=0, cut=1.0)
    for row, whole in zip(cut.tolist(), tokens.tolist(), strict=True):
        kept = [token for token in row if token]
        assert 1 <= len(kept) <= 5
        assert any(whole[i : i + len(kept)] == kept for i in range(6))
    assert not masked_copies(tokens, 1, mask=1, seed=1).equal(masked_copies(tokens, 1, mask=1))
    with pytest.raises(ValueError, match="copies"):
        masked_copies(tokens, 0, mask=1)


@pytest.mark.parametrize("kind", [SentenceLSTM, BagOfWords])
def test_padding_is_not_read_by_small_classifiers(kind):
    torch.manual_seed(0)
    network, (tokens, _) = kind(12, num_classes=3), classified()
    longer = torch.cat([tokens, torch.zeros(16, 3, dtype=torch.int64)], 1)
    torch.testing.assert_close(network.eval()(longer), network(tokens))
    shuffled = tokens[1::2].flip(1)
    same = torch.allclose(network(shuffled), network(tokens[1::2]), atol=1e-6)
    assert same == (kind is BagOfWords)
