"""ADMD's critic: the classes and one for what is made up."""

import math

import pytest
import torch
from draws import draw_wide
from loops import rows, softmax

from kdnb.losses import modality_fooling_loss, modality_judging_loss

LABELS = torch.tensor([0, 1, 2, 1])


def test_against_loops():
    real, made, judged, fooled = draw_wide(4, 4), draw_wide(4, 4, seed=1), 0.0, 0.0
    for (v, z), y in zip(rows(real, made), LABELS.tolist(), strict=True):
        judged -= (math.log(softmax(v)[y]) + math.log(softmax(z)[3])) / 2
        fooled -= math.log(softmax(z)[y])
    assert modality_judging_loss(real, made, LABELS).item() == pytest.approx(judged / 4, rel=1e-12)
    assert modality_fooling_loss(made, LABELS).item() == pytest.approx(fooled / 4, rel=1e-12)


def test_the_critics_best_answer_where_both_features_are_alike():
    """Even odds between the class and "made up": ln 2 for the critic, ln 2 for the fooler."""
    logits = torch.full((4, 4), -1e4)
    logits[torch.arange(4), LABELS], logits[:, 3] = 0.0, 0.0
    both = modality_judging_loss(logits, logits, LABELS), modality_fooling_loss(logits, LABELS)
    assert [value.item() for value in both] == pytest.approx([math.log(2)] * 2)
    other = logits.double().requires_grad_()
    (gradient,) = torch.autograd.grad(modality_judging_loss(other, other, LABELS), other)
    assert gradient.abs().max() < 1e-12


def test_they_pull_the_made_up_features_apart():
    made = draw_wide(4, 4).requires_grad_()
    (judge,) = torch.autograd.grad(
        modality_judging_loss(draw_wide(4, 4, seed=1), made, LABELS), made
    )
    (fool,) = torch.autograd.grad(modality_fooling_loss(made, LABELS), made)
    assert (judge[:, 3] < 0).all() and (fool[:, 3] > 0).all()
    place = torch.arange(4)
    assert (judge[place, LABELS] > 0).all() and (fool[place, LABELS] < 0).all()


def test_the_class_of_made_up_features_is_no_label():
    logits = torch.zeros(2, 4)
    with pytest.raises(ValueError, match="labels must lie in 0 to 2 for 3 classes; got 0 to 3"):
        modality_fooling_loss(logits, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match=r"\(2, 4\) and hallucinated_logits \(2, 5\)"):
        modality_judging_loss(logits, torch.zeros(2, 5), torch.tensor([0, 1]))
