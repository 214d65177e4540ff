"""The verb for generator and student: it is the method's own function, and refuses what is wrong."""

import data_free_workshop as workshop
import pytest
import torch
from torch import nn

import kdnb
from kdnb import nets
from kdnb.methods.data_free import CollapseDetector, Generator, NoiseBatches, dafl, zskt
from kdnb.methods.offline.distil import distil
from kdnb.training import Recipe

FIELDS = {"epochs": 2, "batch_size": 8, "lr": 0.01, "optimiser": "adam", "precision": "32"}


def small(seed=0, kind="dafl"):
    torch.manual_seed(seed)
    return Generator(kind, width=4, image_size=8, latent=5)


def run(student, *, generator=None, method="dafl", **options):
    options = {"steps": 4, "detector": False} | FIELDS | options
    if method == "dafl":
        options = {"features": "0"} | options
    return kdnb.data_free(
        student, workshop.small_net(1), method=method, generator=generator or small(), **options
    )


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))


def test_it_is_the_methods_own_function():
    first, second, one, other = (workshop.small_net(2), workshop.small_net(2), small(), small())
    fit = run(first, generator=one, generator_lr=0.02, seed=3, weights={"one_hot": 1, "entropy": 2})
    recipe = Recipe(**FIELDS)
    rows = dafl(
        second, workshop.small_net(1), other, recipe, steps=4, seed=3, features="0",
        generator_recipe=recipe.model_copy(update={"lr": 0.02}),
        weights={"one_hot": 1, "entropy": 2},
    )  # fmt: skip
    assert equal(first, second) and equal(one, other)
    assert fit.history.soft.tolist() == [row["soft"] for row in rows]
    assert fit.networks == {"student": first, "generator": one}


def test_options_reach_the_method():
    first, second = workshop.small_net(2), workshop.small_net(2)
    run(first, method="zskt", generator=small(kind="zskt"), student_steps=2)
    recipe = Recipe(**FIELDS)
    zskt(second, workshop.small_net(1), small(kind="zskt"), recipe, steps=4, student_steps=2,
         generator_recipe=recipe.model_copy(update={"lr": 1e-3}))  # fmt: skip
    assert equal(first, second)
    assert "discrepancy" in run(workshop.small_net(2), method="dfad", student_steps=2).history


def test_noise_is_the_control():
    first, second = workshop.small_net(2), workshop.small_net(2)
    teacher = workshop.small_net(1)
    fit = kdnb.data_free(first, teacher, method="noise", shape=(1, 8, 8), steps=4, seed=5, **FIELDS)
    noise = NoiseBatches(4, 8, (1, 8, 8), seed=5)
    distil(second, teacher, noise, Recipe(**FIELDS), method="kd", temperature=1, label_weight=0,
           weight=1, seed=5)  # fmt: skip
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert list(fit.networks) == ["student"]


def test_a_generator_is_built_and_its_collapse_is_watched(caplog):
    student, teacher = nets.build("lenet5_half_dafl"), nets.build("lenet5")
    state = torch.get_rng_state()
    fit = kdnb.data_free(student, teacher, width=4, steps=1, seed=7, **FIELDS)
    assert torch.equal(state, torch.get_rng_state())
    assert {"class_balance", "diversity", "confidence"} <= set(fit.history)
    made = fit.networks["generator"]
    assert (made.width, made.image_size) == (4, 32)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        start = Generator("dafl", width=4)
    moved = [(a - b).abs().max() for a, b in zip(made.parameters(), start.parameters())]
    assert 0 < max(moved) < 0.1  # two steps of Adam at 0.01
    own = CollapseDetector(10)
    kdnb.data_free(student, teacher, width=4, steps=1, detector=own, **FIELDS)
    assert own.counts.sum() == 8


def test_any_module_that_says_its_latent_numbers_is_a_generator():
    maker = nn.Sequential(nn.Linear(5, 64), nn.Unflatten(1, (1, 8, 8)))
    with pytest.raises(ValueError, match="generator.latent"):
        run(workshop.small_net(2), generator=maker)
    maker.latent = 5
    assert (
        run(workshop.small_net(2), generator=maker, detector=True).history.confidence.notna().all()
    )


def test_a_student_is_measured_and_left_as_it_came():
    student = workshop.small_net(2).eval()
    held = torch.randn(12, 1, 8, 8), torch.arange(12) % 3
    fit = run(student, evaluate=held)
    assert not student.training and all(p.requires_grad for p in student.parameters())
    assert fit.history.errors.iloc[-1] == kdnb.evaluate(student, held)["errors"]


def test_what_it_cannot_do_is_refused():
    student = workshop.small_net(2)
    with pytest.raises(ValueError, match=r"no method 'dalf' .*nearest: dafl"):
        run(student, method="dalf", features="0")
    with pytest.raises(ValueError, match="no option 'student_step'"):
        run(student, method="zskt", student_step=2)
    with pytest.raises(ValueError, match="no option 'weights'"):
        run(student, method="noise", weights={})
    with pytest.raises(ValueError, match="square images"):
        kdnb.data_free(student, workshop.small_net(1), shape=(1, 8, 16), features="0", **FIELDS)
    with pytest.raises(ValueError, match=r"shape is of an image.*got \(8, 8\)"):
        kdnb.data_free(student, workshop.small_net(1), shape=(8, 8), features="0", **FIELDS)
    with pytest.raises(TypeError, match="teacher"):
        kdnb.data_free(student, "lenet5", **FIELDS)
    with pytest.raises(ValueError, match="layers"):  # features cannot be found
        kdnb.data_free(student, workshop.small_net(1), generator=small(), **FIELDS)
    with pytest.raises(
        ValueError, match=r"the student cannot take .* images are \(3, 8, 8\): shape="
    ):
        kdnb.data_free(student, workshop.small_net(1), shape=(3, 8, 8), features="0", **FIELDS)


@pytest.mark.parametrize("method", ["dafl", "zskt", "dfad"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, t: (s, s), "the student is its own teacher"),
        (lambda s, t: (s.requires_grad_(False), t), "the student has nothing to learn"),
        (lambda s, t: (s, t.half()), "the teacher holds torch.float16: give network.float()"),
        (lambda s, t: (s.double(), t), "the student holds torch.float64: give network.float()"),
        (
            lambda s, t: (s, nn.Sequential(t, nn.Linear(3, 4))),
            r"answers \(2, 3\) and the teacher \(2, 4",
        ),
        (
            lambda s, t: (nn.Sequential(s, nn.Linear(3, 1)), nn.Sequential(t, nn.Linear(3, 1))),
            r"two or more; the student answers \(2, 1\)",
        ),
    ],
)
def test_networks_that_do_not_fit_are_refused(method, change, message):
    pair = change(workshop.small_net(1), workshop.small_net(2))
    with pytest.raises(ValueError, match=message):
        kdnb.data_free(*pair, method=method, generator=small(), **FIELDS)
