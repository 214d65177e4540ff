"""Specialists of verticals and their generalist."""

import pytest
import torch
from several_teachers import QUICK, STEP, digits, mlp, state, unchanged

import kdnb
from kdnb import losses
from kdnb.methods import multi_teacher as mt
from kdnb.methods.multi_teacher.concentration import pace

VERTICALS = [[0, 3, 6, 9], [1, 4, 7], [8, 2, 5]]


def specialist(seed, group, trained=True):
    network = mlp(seed, num_classes=len(group))
    if trained:
        images, labels = digits(400)
        own = torch.isin(labels, torch.tensor(group))
        places = torch.tensor([group.index(int(label)) for label in labels[own]])
        kdnb.train(network, (images[own], places), QUICK, epochs=6, lr=1e-2)
    return network


def specialists():
    return [specialist(seed, group) for seed, group in enumerate(VERTICALS)]


@pytest.mark.parametrize("form", ["probabilities", "logits"])
def test_every_specialist_teaches_its_own_images_and_classes(form):
    images, labels = digits()
    members = [specialist(seed, group, False) for seed, group in enumerate(VERTICALS)]
    before = [state(one) for one in members]
    fit = mt.concentrate(
        mlp(5), members, VERTICALS, digits(), STEP, form=form, temperature=2.0,
        specialist_weight=0.5, label_weight=0.25, start=1.0, batch_size=120,
    )  # fmt: skip
    total = 0.0
    with torch.no_grad():
        z = mlp(5)(images)
        for member, group in zip(members, VERTICALS, strict=True):
            v = member(images)
            for b in range(len(images)):
                if int(labels[b]) not in group:
                    continue
                ours, theirs = z[b : b + 1, group], v[b : b + 1]
                one = (
                    losses.logit_regression(ours, theirs)
                    if form == "logits"
                    else losses.soft_targets(ours, theirs, 2.0)
                )
                total += float(one) / len(images)
    assert fit.rows[0]["specialists"] == pytest.approx(0.5 * total, rel=1e-3)
    assert fit.rows[0]["hard"] == pytest.approx(0.25 * float(losses.hard_loss(z, labels)), rel=1e-3)
    assert fit.rows[0]["followed"] == 3
    assert all(unchanged(*pair) for pair in zip(members, before, strict=True))


def test_the_easiest_specialists_are_followed_first():
    """The one that the generalist already imitates counts from the start, the others later."""
    student = mlp(5)
    members = [specialist(seed, group, False) for seed, group in enumerate(VERTICALS)]
    easy = members[1]
    easy.load_state_dict(
        {k: v[VERTICALS[1]] if "head" in k else v for k, v in student.state_dict().items()}
    )
    fit = mt.concentrate(
        mlp(5), members, VERTICALS, digits(), STEP, start=0.3, batch_size=120, epochs=4
    )
    assert [row["followed"] for row in fit.rows] == [1, 2, 3, 3]
    assert fit.rows[0]["specialists"] == pytest.approx(0, abs=1e-6)
    assert fit.rows[2]["specialists"] > fit.rows[1]["specialists"] > 1e-3


def test_a_generalist_learns_all_verticals():
    fit = mt.concentrate(mlp(5), specialists(), VERTICALS, digits(400), QUICK, epochs=8, lr=1e-2)
    images, labels = digits(400)
    with torch.no_grad():
        said = fit.networks["student"](images).argmax(1)
    assert (said == labels).double().mean() > 0.8


def test_the_pace():
    assert [pace(epoch, 8, 5, 0.2) for epoch in range(8)] == [1, 2, 3, 4, 5, 5, 5, 5]
    assert pace(0, 1, 3, 1.0) == 3
    assert pace(0, 10, 4, 0.01) == 1


def test_a_structured_head_wires_classes_by_verticals():
    torch.manual_seed(0)
    head = mt.StructuredHead(12, VERTICALS, own=3)
    x = torch.randn(5, 12)
    logits = head(x)
    hidden = head.hidden(x).relu()
    for place, group in enumerate(VERTICALS):
        own = head.groups[place](hidden[:, 3 * place : 3 * place + 3])
        torch.testing.assert_close(logits[:, group], own)
    # A class reads its own vertical's units alone.
    (gradient,) = torch.autograd.grad(logits[:, 4].sum(), head.hidden.weight)
    touched = gradient.abs().sum(1).view(3, 3).sum(1) > 0
    assert touched.tolist() == [False, True, False]
    assert sum(p.numel() for p in head.parameters()) == 9 * 13 + 10 * 4


def test_a_structured_student_learns():
    images, labels = digits(400)
    student = mlp(5)
    torch.manual_seed(1)
    student.head = mt.StructuredHead(24, VERTICALS, own=6)
    fit = mt.concentrate(student, specialists(), VERTICALS, (images, labels), QUICK, lr=1e-2)
    assert fit.rows[-1]["hard"] < fit.rows[0]["hard"]


@pytest.mark.parametrize(
    ("groups", "words"),
    [([[0, 1], [1, 2]], "every class from 0 on once"), ([[0], []], "none of them empty"),
     ([[0, 1]], "one vertical a specialist; got 1 for 2"),
     ([[0, 1], [2]], "the student has 10 classes, the verticals 3")],
)  # fmt: skip
def test_verticals_that_do_not_fit(groups, words):
    members = [specialist(0, [0, 1], False), specialist(1, [2], False)]
    with pytest.raises(ValueError, match=words):
        mt.concentrate(mlp(5), members, groups, digits(), QUICK)
