"""Several teachers as one target, through the front door and by the label."""

import pytest
import torch
from several_teachers import QUICK, STEP, digits, mlp, state, teachers, unchanged
from torch.nn import functional as F

import kdnb
from kdnb import losses
from kdnb.methods import multi_teacher as mt
from kdnb.training.answers import Ensemble


def soft_by_hand(student, target, temperature):
    images, _ = digits()
    with torch.no_grad():
        q = (student(images) / temperature).log_softmax(1)
    return temperature**2 * float((target * (target.log() - q)).sum(1).mean())


def answers(members, temperature):
    images, _ = digits()
    with torch.no_grad():
        return torch.stack([(m(images) / temperature).softmax(1) for m in members])


def test_an_ensemble_is_one_teacher_of_the_front_door():
    """Its answers are averaged after the temperature that the method has."""
    members, student = teachers("mlp", "lenet", "mlp"), mlp()
    before = [state(one) for one in members]
    fit = kdnb.distil(student, Ensemble(members), digits(), STEP, temperature=3.0, batch_size=120)
    expected = soft_by_hand(mlp(), answers(members, 3.0).mean(0), 3.0)
    assert fit.rows[0]["kd"] == pytest.approx(expected, rel=1e-4)
    listed = kdnb.distil(mlp(), members, digits(), STEP, temperature=3.0, batch_size=120)
    assert listed.rows[0]["kd"] == pytest.approx(expected, rel=1e-5)
    assert all(unchanged(*pair) for pair in zip(members, before, strict=True))


def test_weights_and_the_geometric_mean_through_the_front_door():
    members, weights = teachers("mlp", "lenet"), [3.0, 1.0]
    p = answers(members, 2.0)
    arithmetic = 0.75 * p[0] + 0.25 * p[1]
    geometric = p[0] ** 0.75 * p[1] ** 0.25
    geometric = geometric / geometric.sum(1, keepdim=True)
    for mean, target in (("arithmetic", arithmetic), ("geometric", geometric)):
        teacher = Ensemble(members, weights=weights, mean=mean)
        fit = kdnb.distil(mlp(), teacher, digits(), STEP, temperature=2.0, batch_size=120)
        assert fit.rows[0]["kd"] == pytest.approx(soft_by_hand(mlp(), target, 2.0), rel=1e-4)


def test_weights_of_each_sample_without_labels():
    members = teachers("mlp", "lenet")
    teacher = Ensemble(members, weights=losses.certainty_weights)
    fit = kdnb.distil(mlp(), teacher, digits(), STEP, temperature=2.0, batch_size=120)
    p = answers(members, 2.0)
    entropy = -(p * p.log()).sum(2)
    weights = (-entropy).softmax(0)
    expected = soft_by_hand(mlp(), (weights[..., None] * p).sum(0), 2.0)
    assert fit.rows[0]["kd"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("weigh", [losses.oracle_weights, losses.confidence_weights])
def test_weights_that_look_at_the_label(weigh):
    members, (images, labels) = teachers("mlp", "lenet"), digits()
    student = mlp()
    fit = mt.learn_from_ensemble(
        student, members, digits(), STEP, weigh=weigh, temperature=2.0, soft_weight=0.5,
        label_weight=0.25, batch_size=120,
    )  # fmt: skip
    p = answers(members, 2.0)
    with torch.no_grad():
        weights = weigh([member(images) for member in members], labels)
    target = (weights[..., None] * p).sum(0) / weights.sum(0)[:, None]
    assert fit.rows[0]["soft"] == pytest.approx(0.5 * soft_by_hand(mlp(), target, 2.0), rel=1e-4)
    with torch.no_grad():
        hard = F.cross_entropy(mlp()(images), labels)
    assert fit.rows[0]["hard"] == pytest.approx(0.25 * float(hard), rel=1e-4)
    assert fit.networks["student"] is student


def test_the_oracle_is_right_where_one_teacher_is():
    """And beyond these only where the mean of three wrong answers happens to be right."""
    members, (images, labels) = teachers("mlp", "lenet", "mlp"), digits(400)
    with torch.no_grad():
        logits = [member(images) for member in members]
    oracle = losses.ensemble_log_probabilities(logits, losses.oracle_weights(logits, labels))
    known = torch.stack([z.argmax(1) == labels for z in logits]).any(0)
    right = oracle.argmax(1) == labels
    mean = losses.ensemble_log_probabilities(logits).argmax(1) == labels
    assert right[known].all() and torch.equal(right[~known], mean[~known])
    assert mean.double().mean() < known.double().mean()


def test_several_temperatures_leave_none_for_the_ensemble():
    both = {"kd": 4.0, "dkd": 2.0}
    with pytest.raises(ValueError, match="averaged at one temperature"):
        kdnb.distil(mlp(), Ensemble([mlp(1), mlp(2)]), digits(), QUICK, method=["kd", "dkd"],
                    temperature=both)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "words"),
    [({"weights": [1.0]}, r"weights must be \(2,\)"), ({"mean": "median"}, "mean must be"),
     ({"weights": [0.0, 0.0]}, "above 0"), ({"temperature": 0.0}, "temperature")],
)  # fmt: skip
def test_an_ensemble_of_nonsense(given, words):
    with pytest.raises(ValueError, match=words):
        Ensemble([mlp(1), mlp(2)], **given)


def test_what_is_no_group_of_teachers():
    with pytest.raises(ValueError, match="at least one member"):
        Ensemble([])
    with pytest.raises(ValueError, match="needs at least one teacher"):
        mt.learn_from_ensemble(mlp(), [], digits(), QUICK)
    with pytest.raises(TypeError, match="takes a list of teachers"):
        mt.learn_from_ensemble(mlp(), mlp(1), digits(), QUICK)
    student = mlp()
    with pytest.raises(ValueError, match="student and teacher 2 share parameters"):
        mt.learn_from_ensemble(student, [mlp(1), student], digits(), QUICK)
    with pytest.raises(ValueError, match="nothing would be learnt"):
        mt.learn_from_ensemble(mlp(), [mlp(1)], digits(), QUICK, soft_weight=0, label_weight=0)
