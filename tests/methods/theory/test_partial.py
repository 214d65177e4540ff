"""The three levels of a teacher's knowledge, against loops."""

import pytest
import torch

from kdnb.methods.theory import class_relations, confidence_only, smoothing_only

ANSWERS = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)).softmax(1)
LABELS = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3])
ALL = (smoothing_only, class_relations, confidence_only)


def test_by_hand():
    mean = sum(float(ANSWERS[i, y]) for i, y in enumerate(LABELS)) / 8
    for i, y in enumerate(LABELS.tolist()):
        own = float(ANSWERS[i, y])
        members = [j for j, other in enumerate(LABELS) if other == y]
        for k in range(4):
            smooth = mean if k == y else (1 - mean) / 3
            alone = own if k == y else (1 - own) / 3
            relation = sum(float(ANSWERS[j, k]) for j in members) / len(members)
            assert float(smoothing_only(ANSWERS, LABELS)[i, k]) == pytest.approx(smooth, abs=1e-6)
            assert float(confidence_only(ANSWERS, LABELS)[i, k]) == pytest.approx(alone, abs=1e-6)
            assert float(class_relations(ANSWERS, LABELS)[i, k]) == pytest.approx(
                relation, abs=1e-6
            )


@pytest.mark.parametrize("level", ALL)
def test_all_are_distributions_of_the_teachers_mean_confidence(level):
    found = level(ANSWERS, LABELS)
    assert torch.allclose(found.sum(1), torch.ones(8))
    own = found.gather(1, LABELS[:, None]).mean()
    assert own == pytest.approx(float(ANSWERS.gather(1, LABELS[:, None]).mean()), abs=1e-6)


def test_what_each_takes_away():
    order = torch.tensor([1, 0, 4, 3, 2, 6, 5, 7])  # samples change places within their class
    moved = ANSWERS[order]
    assert torch.allclose(class_relations(moved, LABELS), class_relations(ANSWERS, LABELS))
    assert not torch.allclose(confidence_only(moved, LABELS), confidence_only(ANSWERS, LABELS))
    assert smoothing_only(ANSWERS, LABELS)[LABELS == 1].unique(dim=0).shape[0] == 1


@pytest.mark.parametrize("level", ALL)
def test_wrong_shapes(level):
    with pytest.raises(ValueError, match="labels"):
        level(ANSWERS, LABELS[:3])
    with pytest.raises(ValueError, match="NaN|finite"):
        level(ANSWERS * float("nan"), LABELS)
