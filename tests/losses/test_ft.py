"""Factor transfer against loops; paraphraser and translator."""

import pytest
import torch
from draws import MAPS, draw, draw32
from loops import AXES, flat, naive_sum, normal

from kdnb import losses


def naive_factor(student, teacher, norm=1):
    total = 0.0
    for pair in zip(student, teacher, strict=True):
        s, t = (normal([v for channel in flat(sample) for v in channel]) for sample in pair)
        total += sum(abs(a - b) ** norm for a, b in zip(s, t, strict=True)) ** (1 / norm)
    return total / len(student)


def trains(module, loss):
    """Every parameter takes part in the loss, and with a finite gradient."""
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    return True


@pytest.mark.parametrize("norm", [1, 2])
def test_factor_transfer_against_loops(norm):
    student, teacher = draw(*MAPS), draw(*MAPS, seed=1)
    expected = naive_factor(student, teacher, norm)
    assert losses.factor_transfer(student, teacher, norm).item() == pytest.approx(expected)
    authors = losses.factor_transfer(student, teacher, variant="authors").item()
    assert authors == pytest.approx(naive_factor(student, teacher) / len(AXES))


def test_reconstruction_against_loops():
    student, teacher = draw(*MAPS), draw(*MAPS, seed=1)
    expected = naive_sum(student, teacher, lambda s, t, c: (s - t) ** 2)
    value = losses.paraphrase_reconstruction(student, teacher)
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_paraphraser_and_translator():
    student, teacher = draw32(2, 4, 6, 5), draw32(2, 8, 6, 5, seed=1)
    paraphraser = losses.Paraphraser(teacher.shape, rate=0.75)
    translator = losses.Translator(student.shape, paraphraser.factors)
    factor = paraphraser.encode(teacher)
    assert paraphraser(teacher).shape == teacher.shape
    assert factor.shape == translator(student).shape == (2, 6, 6, 5)
    loss = losses.paraphrase_reconstruction(paraphraser(teacher), teacher)
    assert trains(paraphraser, loss)
    assert trains(translator, losses.factor_transfer(translator(student), factor.detach()))
