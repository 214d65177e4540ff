"""Generalised distillation with any networks: its step by hand, and which view is asked where."""

import copy

import pytest
import torch
from torch import nn

import kdnb
from kdnb.data import DataError
from kdnb.data.sounds import load_sounds
from kdnb.data.spectra import log_mel
from kdnb.losses import generalised_distillation
from kdnb.methods.cross_modal import distil_privileged, narrow_band, noisy_at
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=30, lr=0.1, momentum=0.0, schedule="constant", precision="32")


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


CLEAN = draw(30, 16)
DATA = {"noisy": noisy_at(CLEAN, 0), "clean": CLEAN}, torch.arange(30) % 4


def linear(inputs, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(inputs, 4)


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_its_step_by_hand(variant):
    student, teacher = linear(16), linear(16, seed=1)
    before = copy.deepcopy(student)
    found = distil_privileged(
        student, teacher, DATA, STEP, views=("noisy", "clean"), teacher_share=0.3, temperature=4.0,
        variant=variant,
    )  # fmt: skip
    views, labels = DATA
    loss = generalised_distillation(
        before(views["noisy"]), teacher(views["clean"]).detach(), labels, 0.3, 4.0, variant
    )
    gradient = torch.autograd.grad(loss, before.weight)[0]
    torch.testing.assert_close(student.weight, before.weight - 0.1 * gradient, rtol=1e-4, atol=1e-6)
    assert found.history.filter(like="loss").iloc[-1].item() == pytest.approx(loss.item(), rel=1e-4)
    assert set(found.networks) == {"student"}


def test_without_the_teachers_share_the_clean_view_is_of_no_account():
    moved = []
    for seed in (1, 2):
        student = linear(16)
        distil_privileged(
            student, linear(16, seed=seed), DATA, STEP, views=("noisy", "clean"), teacher_share=0.0
        )
        moved.append(student.weight.detach())
    torch.testing.assert_close(*moved)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"teacher_share must lie in \[0, 1\]; got 2"):
        distil_privileged(
            linear(16), linear(16), DATA, STEP, views=("noisy", "clean"), teacher_share=2
        )
    with pytest.raises(ValueError, match="no view 'cleen'"):
        distil_privileged(linear(16), linear(16), DATA, STEP, views=("noisy", "cleen"))


def spoken(part):
    """Views of spoken digits: clean, in noise at 0 dB, and half of the band, as spectra in rows."""
    sounds = load_sounds("fsdd", offline=True)[part]
    waves = sounds.padded(0.6)[:, :4608]
    views = {"clean": waves, "noisy": noisy_at(waves, 0.0)}
    rows = {name: log_mel(one, 8000, bands=16, window=512, hop=512) for name, one in views.items()}
    rows["narrow"] = log_mel(narrow_band(waves, 2), 4000, bands=16, window=256, hop=256)
    return {name: one.flatten(1) / 5 for name, one in rows.items()}, sounds.labels


@pytest.mark.parametrize("view", ["noisy", "narrow"])
def test_a_student_of_spoken_digits_learns_from_answers_to_the_clean_view(view):
    """No label: 600 recordings in noise or from half the band, and what is said of the clean ones."""
    try:
        (seen, labels), (unseen, others) = spoken("train"), spoken("validation")
    except DataError as reason:
        pytest.skip(str(reason))
    recipe = Recipe(
        epochs=15, batch_size=50, optimiser="adam", lr=0.01, schedule="constant", precision="32"
    )

    def linear_of(name):
        torch.manual_seed(0)
        return nn.Linear(seen[name].shape[1], 10)

    teacher, student = linear_of("clean"), linear_of(view)
    kdnb.train(teacher, (seen["clean"][:600], labels[:600]), recipe)
    pairs = {name: rows[600:1200] for name, rows in seen.items()}
    distil_privileged(
        student, teacher, (pairs, labels[600:1200] * 0), recipe, views=(view, "clean"),
        teacher_share=1.0,
    )  # fmt: skip
    right = (student(unseen[view]).argmax(1) == others).float().mean()
    untrained = (linear_of(view)(unseen[view]).argmax(1) == others).float().mean()
    assert right > untrained + 0.2
