"""KDGAN: concrete samples, the game's value and its equilibrium, three players who do not leak."""

import copy
import importlib
import math

import pytest
import torch
from draws import draw
from torch import nn
from torch.autograd import gradcheck

from kdnb import losses
from kdnb.data import Batches, Images
from kdnb.methods.adversarial import (
    best_scores,
    concrete,
    game_value,
    gumbel_noise,
    kdgan,
    pair_scores,
)
from kdnb.methods.offline.distil import train
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=40, lr=0.1, momentum=0.0, schedule="constant", precision="32")
STILL = STEP.model_copy(update={"lr": 1e-12})


def batches(size=8):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Batches(Images(images, torch.arange(40) % 3), size, mean=(0.5,), sd=(0.3,))


def linear(seed, norm=False):
    torch.manual_seed(seed)
    layers = [nn.BatchNorm1d(36)] if norm else []
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(36, 3))


# --- concrete samples ----------------------------------------------------------------------------


def test_gumbel_noise():
    torch.manual_seed(0)
    noise = gumbel_noise(torch.zeros(200, 200, dtype=torch.bfloat16))
    assert noise.dtype == torch.float32
    assert torch.isfinite(noise).all()
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.03)  # Euler's constant
    assert float(noise.var()) == pytest.approx(math.pi**2 / 6, rel=0.05)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
def test_the_largest_entry_follows_the_softmax(temperature):
    torch.manual_seed(1)
    logits = torch.tensor([[1.0, 0.0, -1.5]]).expand(20000, 3)
    sample = concrete(logits, gumbel_noise(logits), temperature)
    torch.testing.assert_close(sample.sum(1), torch.ones(20000))
    shares = torch.bincount(sample.argmax(1), minlength=3) / 20000
    assert torch.allclose(shares, logits[0].softmax(0), atol=0.015)


def test_the_temperature_sharpens():
    logits, noise = draw(200, 4), draw(200, 4, seed=1)
    sharp, soft, hot = (concrete(logits, noise, t).amax(1).mean() for t in (0.01, 1.0, 100.0))
    assert sharp > 0.98 > soft > hot
    assert float(hot) == pytest.approx(0.25, abs=0.02)


def test_gradients_flow_through_samples():
    logits, noise, table = draw(3, 4).requires_grad_(), draw(3, 4, seed=1), draw(3, 4, seed=2)
    assert gradcheck(lambda z: concrete(z, noise, 0.7), (logits,))
    score = pair_scores(table, concrete(logits, noise, 0.7)).sum()
    (gradient,) = torch.autograd.grad(score, logits)
    assert (gradient.abs().sum(1) > 1e-4).all()
    # One step along it makes labels with high scores likelier.
    better = (logits + 0.5 * gradient).softmax(1)
    assert (better * table).sum() > (logits.softmax(1) * table).sum()
    with pytest.raises(ValueError, match="temperature"):
        concrete(logits, noise, 0.0)
    with pytest.raises(ValueError, match="same shape"):
        concrete(logits, noise[:, :2], 1.0)


def test_scores_of_pairs():
    table, labels = draw(4, 3), torch.tensor([2, 0, 1, 1])
    expected = torch.stack([table[i, k] for i, k in enumerate(labels)])
    torch.testing.assert_close(pair_scores(table, labels), expected)
    one_hot = nn.functional.one_hot(labels, 3).double()
    torch.testing.assert_close(pair_scores(table, one_hot), expected)
    with pytest.raises(ValueError, match="labels must be integers"):
        pair_scores(table, labels[:2])
    with pytest.raises(ValueError, match="same shape"):
        pair_scores(table, one_hot[:, :2])


# --- the game ------------------------------------------------------------------------------------


def value_by_hand(table, truth, c, t, share):
    total = 0.0
    for h, u, pc, pt in zip(table, truth, c.softmax(1), t.softmax(1), strict=True):
        for k in range(len(h)):
            p_d = 1 / (1 + math.exp(-float(h[k])))
            total += float(u[k]) * math.log(p_d)
            total += (share * float(pc[k]) + (1 - share) * float(pt[k])) * math.log(1 - p_d)
    return total / len(table)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_value_and_its_best_discriminator(share):
    truth = draw(5, 4).softmax(1)
    c, t, table = (draw(5, 4, seed=seed) for seed in (1, 2, 3))
    found = game_value(table, truth, c, t, share)
    assert float(found) == pytest.approx(value_by_hand(table, truth, c, t, share))
    best = best_scores(truth, c, t, share).requires_grad_()
    value = game_value(best, truth, c, t, share)
    (gradient,) = torch.autograd.grad(value, best)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)
    assert value > found
    mixture = share * c.softmax(1) + (1 - share) * t.softmax(1)
    middle = (mixture + truth) / 2
    twice_js = (truth * (truth / middle).log() + mixture * (mixture / middle).log()).sum(1)
    assert value.item() == pytest.approx(float(twice_js.mean()) - math.log(4))


def test_the_equilibrium_is_the_truth():
    """At p_c = p_t = p_u the value is -log 4 and the critic guesses; nowhere else is it less."""
    truth = draw(1, 4).softmax(1)
    at = truth.log()
    table = best_scores(truth, at, at, 0.4)
    assert table.abs().max() < 1e-12
    least = float(game_value(table, truth, at, at, 0.4))
    assert least == pytest.approx(-math.log(4))
    for seed in range(20):
        c, t = at + draw(1, 4, seed=seed), at + draw(1, 4, seed=100 + seed)
        assert float(game_value(best_scores(truth, c, t, 0.4), truth, c, t, 0.4)) > least + 1e-4


def test_labels_that_never_occur_stay_finite():
    truth = torch.tensor([[1.0, 0.0]])
    z = torch.zeros(1, 2)
    value = game_value(best_scores(truth, z, z, 0.5), truth, z, z, 0.5)
    # Scores are log 2 and -inf: log(2/3) + log(1/3)/2.
    assert float(value) == pytest.approx(math.log(2 / 3) + math.log(1 / 3) / 2)
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]; got 1.5"):
        game_value(z, truth, z, z, 1.5)


def test_the_players_find_the_truth():
    """One image, three labels of chances 0.6, 0.3 and 0.1: nobody is told, all must find out."""
    labels = torch.tensor([0] * 180 + [1] * 90 + [2] * 30)
    blank = Images(torch.full((300, 1, 1, 1), 255, dtype=torch.uint8), labels)
    data = Batches(blank, 50, mean=(0.0,), sd=(1.0,))

    def player(start):
        net = nn.Sequential(nn.Flatten(), nn.Linear(1, 3))
        with torch.no_grad():
            net[1].weight.zero_()
            net[1].bias.copy_(torch.tensor(start))
        return net

    classifier, teacher = player([-1.0, 0.0, 1.0]), player([0.0, 1.5, 0.0])
    critic = player([0.0, 0.0, 0.0])
    recipe = Recipe(epochs=35, batch_size=50, lr=0.5, momentum=0.0, precision="32")
    kdgan(
        classifier, teacher, critic, data, recipe,
        classifier_weight=0.1, teacher_weight=0.1, critic_recipe=recipe, label_epochs=0,
        temperature=1.0,
    )  # fmt: skip
    one = torch.ones(1, 1, 1, 1)
    with torch.no_grad():
        for net in (classifier, teacher):
            truth = torch.tensor([[0.6, 0.3, 0.1]])
            torch.testing.assert_close(net(one).softmax(1), truth, atol=0.1, rtol=0)
        odds = critic(one)
    assert odds.abs().max() < 0.5  # next to a guess for every label


# --- the training --------------------------------------------------------------------------------


def run(parts, data, recipe=STEP, **options):
    return kdgan(*parts, data, recipe, **{"label_epochs": 0, **options})


def test_every_player_moves_and_the_history_tells():
    parts = linear(0), linear(1), linear(2)
    before = copy.deepcopy(parts)
    history = run(parts, batches())
    for part, old in zip(parts, before, strict=True):
        assert not torch.equal(part[1].weight, old[1].weight)
    names = {f"{name}.{term}" for name in ("classifier", "teacher") for term in ("fooling", "soft")}
    assert names | {"judging"} <= set(history[0])


@pytest.mark.parametrize("learner", ["classifier", "teacher"])
def test_what_they_learn_from_each_other_by_hand(learner):
    """With its share of the game 0 a player takes one step of its distillation loss alone."""
    parts = classifier, teacher, _ = linear(0), linear(1), linear(2)
    c, t, _ = copy.deepcopy(parts)
    recipes = {"critic_recipe": STILL, "classifier_weight": 0.3, "teacher_weight": 0.2}
    if learner == "classifier":
        run(parts, batches(40), classifier_share=0.0, teacher_recipe=STILL, **recipes)
        new, old, other, weight = classifier, c, t, 0.3
    else:
        run(parts, batches(40), STILL, classifier_share=1.0, teacher_recipe=STEP, **recipes)
        new, old, other, weight = teacher, t, c, 0.2
    images = next(iter(batches(40))).images
    loss = weight * losses.logit_regression(old(images), other(images).detach())
    gradients = torch.autograd.grad(loss, list(old.parameters()))
    for a, b, gradient in zip(new.parameters(), old.parameters(), gradients, strict=True):
        torch.testing.assert_close(a, b - 0.1 * gradient, rtol=1e-3, atol=1e-6)


def test_without_a_teacher_it_is_the_game_of_two():
    classifier, critic = linear(0), linear(2)
    before = copy.deepcopy((classifier, critic))
    for parameter in critic.parameters():
        parameter.data.zero_()
    history = run((classifier, None, critic), batches(40), classifier_share=0.3)
    assert {name for name in history[0] if "ing" in name} == {"judging", "classifier.fooling"}
    assert not any("soft" in name for name in history[0])
    # A critic that only guesses loses log 2 by the truth and log 2 by the labels drawn, which are
    # all the classifier's: its share of the proposals is the whole.
    assert history[0]["judging"] == pytest.approx(2 * math.log(2))
    for part, old in zip((classifier, critic), before, strict=True):
        assert not torch.equal(part[1].weight, old[1].weight)


def test_without_a_critic_both_learn_from_the_labels_and_each_other():
    """One step by hand; the teacher goes first, and shares of the game are not read."""
    classifier, teacher = linear(0), linear(1)
    c, t = copy.deepcopy((classifier, teacher))
    weights = {"classifier_weight": 0.3, "teacher_weight": 0.2, "classifier_share": 0.9}
    history = run((classifier, teacher, None), batches(40), **weights)
    batch = next(iter(batches(40)))
    for new, old, other, weight in ((teacher, t, c, 0.2), (classifier, c, teacher, 0.3)):
        z = old(batch.images)
        loss = nn.functional.cross_entropy(z, batch.labels)
        loss = loss + weight * losses.logit_regression(z, other(batch.images).detach())
        gradients = torch.autograd.grad(loss, list(old.parameters()))
        for a, b, gradient in zip(new.parameters(), old.parameters(), gradients, strict=True):
            torch.testing.assert_close(a, b - 0.1 * gradient, rtol=1e-3, atol=1e-6)
    names = {f"{name}.{term}" for name in ("classifier", "teacher") for term in ("hard", "soft")}
    assert names <= set(history[0])
    assert not any("ing" in name for name in history[0])


def test_no_gradient_leaks_to_another_player():
    """Each of the three updates builds a graph through one network only."""
    parts = linear(0), linear(1), linear(2)
    wanting, others = {0: [], 1: [], 2: []}, []
    for i, part in enumerate(parts):
        part.register_forward_hook(lambda _, __, z, i=i: wanting[i].append(z.requires_grad))

    def loss(own, other):
        others.append((own.requires_grad, other.requires_grad))
        return losses.logit_regression(own, other)

    run(parts, batches(40), loss=loss)
    # In the order critic, teacher, classifier.
    assert wanting == {
        0: [False, False, True],
        1: [False, True, False],
        2: [True, False, False],
    }
    assert others == [(True, False)] * 2


@pytest.mark.parametrize("label_epochs", [None, 0, 2])
def test_the_classifier_learns_from_the_labels_before_the_game(label_epochs):
    """As many epochs as the game has, unless it is said; in the game nobody moves here."""
    classifier, alone = linear(0), linear(0)
    recipe = STEP.model_copy(update={"epochs": 3, "lr": 0.05})
    parts = {"critic_recipe": STILL, "teacher_recipe": STILL, "classifier_weight": 0.0}
    kdgan(classifier, linear(1), linear(2), batches(), recipe, label_epochs=label_epochs,
          classifier_share=0.0, **parts)  # fmt: skip
    epochs = 3 if label_epochs is None else label_epochs
    if epochs:
        train(alone, batches(), recipe.model_copy(update={"epochs": epochs}))
    torch.testing.assert_close(classifier[1].weight, alone[1].weight)
    assert torch.equal(classifier[1].weight, linear(0)[1].weight) == (epochs == 0)


def test_a_run_that_was_stopped_goes_on_through_both_of_its_parts(tmp_path):
    def go(file, stop=False):
        parts = linear(0), linear(1), linear(2)

        def look(networks):
            if stop:
                raise KeyboardInterrupt
            return {}

        recipe = STEP.model_copy(update={"epochs": 2})
        try:
            kdgan(*parts, batches(), recipe, checkpoint=file, evaluate=look)
        except KeyboardInterrupt:
            return None
        return parts

    go(tmp_path / "stopped", stop=True)
    for once, again in zip(go(tmp_path / "whole"), go(tmp_path / "stopped"), strict=True):
        assert torch.equal(once[1].weight, again[1].weight)


def test_the_examples_may_come_from_a_loader():
    images = torch.randn(12, 1, 6, 6)
    pairs = torch.utils.data.TensorDataset(images, torch.arange(12) % 3)
    loader = torch.utils.data.DataLoader(pairs, batch_size=4)
    history = kdgan(linear(0), linear(1), linear(2), loader, STEP)
    assert math.isfinite(history[0]["judging"])


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [((8.0, 0.5), [8.0, 2.0, 0.5]), (0.7, [0.7, 0.7, 0.7]), (None, [10.0, 1.0, 0.1])],
)
def test_the_temperature_falls_by_the_same_factor_in_every_epoch(
    temperature, expected, monkeypatch
):
    found = []

    def spied(logits, noise, tau):
        found.append(tau)
        return concrete(logits, noise, tau)

    monkeypatch.setattr(
        importlib.import_module("kdnb.methods.adversarial.kdgan"), "concrete", spied
    )
    recipe = STEP.model_copy(update={"epochs": 3})
    given = {} if temperature is None else {"temperature": temperature}
    run((linear(0), linear(1), linear(2)), batches(40), recipe, **given)
    assert found[::2] == found[1::2] == pytest.approx(expected)  # teacher, then classifier


def test_running_statistics_count_a_batch_once():
    parts = linear(0, norm=True), linear(1, norm=True), linear(2, norm=True)
    run(parts, batches())
    assert [int(part[1].num_batches_tracked) for part in parts] == [5, 5, 5]


def test_wrong_arguments_are_refused():
    parts = linear(0), linear(1), linear(2)
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]; got -0.1"):
        run(parts, batches(), classifier_share=-0.1)
    with pytest.raises(ValueError, match="temperature must be"):
        run(parts, batches(), temperature=0.0)
    with pytest.raises(ValueError, match="nobody to play with"):
        run((linear(0), None, None), batches())
    with pytest.raises(ValueError, match="one number or two"):
        run(parts, batches(), temperature=(3.0, 2.0, 1.0))
    with pytest.raises(ValueError, match="label_epochs must be at least 0; got -1"):
        run(parts, batches(), label_epochs=-1)
