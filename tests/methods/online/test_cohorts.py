"""Cohorts with targets, adversaries and memories of their own: KDCL, AFD, ACNs, CTSL-MKT."""

import draws
import pytest
import torch
from small_networks import assert_same, batches, linear, small, state
from torch import nn
from torch.nn import functional as F

from kdnb.losses import soft_targets
from kdnb.methods import online
from kdnb.training import Recipe

QUICK = Recipe(epochs=2, batch_size=8, lr=0.05, precision="32")
STEP = Recipe(epochs=1, batch_size=8, lr=0.1, momentum=0.0, schedule="constant", precision="32")


def losses_of(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


# --- KDCL -----------------------------------------------------------------------------------


def students(count=3):
    return draws.draw(count, 50, 4, scale=2.0), torch.arange(50) % 4


def test_naive_takes_the_best_student_of_each_image():
    logits, labels = students()
    target = online.naive_target(logits, labels)
    each = torch.stack([losses_of(z, labels) for z in logits])
    torch.testing.assert_close(losses_of(target, labels), each.min(0).values)
    assert {int(k) for k in each.argmin(0)} == {0, 1, 2}


def test_min_logit_is_at_least_as_good_as_every_student():
    logits, labels = students()
    target = online.min_logit_target(logits, labels)
    assert (target[torch.arange(50), labels] == 0).all()
    for i in range(50):
        for c in range(4):
            margins = [float(z[i, c] - z[i, labels[i]]) for z in logits]
            assert float(target[i, c]) == pytest.approx(min(margins))
    for z in logits:
        assert (losses_of(target, labels) <= losses_of(z, labels) + 1e-9).all()


def test_linear_is_the_best_convex_combination_of_two():
    logits, labels = students(2)
    found = losses_of(online.linear_target(logits, labels), labels)
    grid = torch.stack(
        [losses_of(a * logits[0] + (1 - a) * logits[1], labels) for a in torch.linspace(0, 1, 501)]
    )
    assert (found <= grid.min(0).values + 1e-6).all()
    assert (found >= grid.min(0).values - 1e-3).all()


def test_linear_is_near_the_best_of_three():
    logits, labels = students(3)
    found = losses_of(online.linear_target(logits, labels), labels)
    best = torch.full((50,), torch.inf, dtype=torch.float64)
    for i in range(41):
        for j in range(41 - i):
            a = torch.tensor([i, j, 40 - i - j]) / 40
            mixed = (a.view(3, 1, 1) * logits).sum(0)
            best = torch.minimum(best, losses_of(mixed, labels))
    assert (found <= best + 1e-3).all()


def test_general_weights_are_the_best_on_a_grid():
    p, labels = draws.draw(2, 60, 4, scale=2.0).softmax(2), torch.arange(60) % 4
    p[1] = (p[1] + 2 * F.one_hot(labels, 4)) / 3
    truth = F.one_hot(labels, 4)
    weights = online.general_weights(p, labels)
    assert float(weights.sum()) == pytest.approx(1.0)

    def error(w):
        return float((w * p[0] + (1 - w) * p[1] - truth).square().sum())

    best = min((k / 1000 for k in range(-1000, 2001)), key=error)
    assert float(weights[0]) == pytest.approx(best, abs=2e-3)
    same = online.general_weights(torch.stack([p[0], p[0]]), labels)
    torch.testing.assert_close(same, torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize("aggregate", ["naive", "min_logit", "linear"])
def test_kdcl_by_a_bare_step(aggregate):
    ours, bare = [linear(s) for s in range(3)], [linear(s) for s in range(3)]
    online.kdcl(
        {str(i): n for i, n in enumerate(ours)}, batches(count=8), STEP, aggregate=aggregate,
        weight=0.5,
    )  # fmt: skip
    batch = next(iter(batches(count=8)))
    logits = [network(batch.images) for network in bare]
    stacked = torch.stack(logits).detach()
    target = getattr(online, f"{aggregate}_target")(stacked, batch.labels)
    for one, other, z in zip(ours, bare, logits, strict=True):
        loss = F.cross_entropy(z, batch.labels) + 0.5 * soft_targets(z, target, 2.0)
        (gradient,) = torch.autograd.grad(loss, other[1].weight)
        torch.testing.assert_close(one[1].weight, other[1].weight - 0.1 * gradient)


def test_every_student_sees_a_view_of_its_own():
    seen = []

    def view(images):
        seen.append(images + torch.randn_like(images))
        return seen[-1]

    online.kdcl({"a": linear(0), "b": linear(1)}, batches(count=8), STEP, view=view)
    assert len(seen) == 2
    assert not torch.equal(*seen)


def test_general_asks_held_out_images_before_every_epoch(monkeypatch):
    from kdnb.methods.online import kdcl

    asked = []
    real = kdcl.general_weights

    def recorded(probabilities, labels):
        asked.append(probabilities.shape)
        return real(probabilities, labels)

    monkeypatch.setattr(kdcl, "general_weights", recorded)
    held_out = batches(count=24, shuffle=False)
    networks = {"a": small(0), "b": small(1)}
    history = online.kdcl(networks, batches(), QUICK, aggregate="general", validation=held_out)
    assert asked == [(2, 24, 3)] * 2
    assert history[0]["a.soft"] > 0
    with pytest.raises(ValueError, match="validation images go with"):
        online.kdcl(networks, batches(), QUICK, aggregate="general")
    with pytest.raises(ValueError, match="got 'best'"):
        online.kdcl(networks, batches(), QUICK, aggregate="best")
    with pytest.raises(ValueError, match=r"\(students, batch, classes\)"):
        online.min_logit_target(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))


# --- AFD ------------------------------------------------------------------------------------


def convolutional(seed, channels):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, channels, 3), nn.BatchNorm2d(channels), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3),
    )  # fmt: skip


def cohort(count=2):
    widths = [4, 6, 5][:count]
    networks = {f"n{i}": convolutional(i, width) for i, width in enumerate(widths)}
    following = widths[1:] + widths[:1]
    torch.manual_seed(9)
    transfers = {
        name: online.Transfer(width, goal)
        for name, width, goal in zip(networks, widths, following, strict=True)
    }
    critics = {
        name: online.Discriminator(goal, 8) for name, goal in zip(networks, following, strict=True)
    }
    return networks, transfers, critics


def afd(parts, data, recipe=STEP, adversarial=STEP, **options):
    return online.adversarial_maps(
        *parts, data, recipe, maps="2", adversarial_recipe=adversarial, **options
    )


def test_the_adversaries_losses_by_hand():
    own, other = torch.tensor([0.2, 0.6]), torch.tensor([0.9, 0.5])
    assert float(online.map_fooling_loss(own)) == pytest.approx((0.64 + 0.16) / 2)
    expected = (0.01 + 0.25) / 2 + (0.04 + 0.36) / 2
    assert float(online.map_judging_loss(other, own)) == pytest.approx(expected)
    assert float(online.map_judging_loss(torch.ones(3), torch.zeros(3))) == 0


@pytest.mark.parametrize("count", [2, 3])
def test_afd_moves_networks_transfers_and_critics(count):
    parts = cohort(count)
    before = [[state(part) for part in group.values()] for group in parts]
    history = afd(parts, batches(count=8))
    for group, old in zip(parts, before, strict=True):
        for part, was in zip(group.values(), old, strict=True):
            assert any(not torch.equal(v, was[k]) for k, v in state(part).items())
    terms = ("hard", "soft", "fooling", "judging")
    assert {f"n{i}.{term}" for i in range(count) for term in terms} <= set(history[0])


def test_only_the_critics_step_is_a_critics_and_the_classifier_fools_nobody():
    """Against two runs that differ in the adversary's rate alone: what moved came from it."""
    still = STEP.model_copy(update={"lr": 1e-12})
    ends = {}
    for name, adversarial in (("still", still), ("moving", STEP)):
        parts = cohort()
        afd(parts, batches(count=8), adversarial=adversarial)
        ends[name] = parts
    quiet, loud = (state(ends[name][0]["n0"]) for name in ("still", "moving"))
    assert (quiet["0.weight"] - loud["0.weight"]).abs().max() > 1e-5  # the feature extractor
    assert torch.equal(quiet["5.weight"], loud["5.weight"])  # not the classifier
    assert_same(
        {k: v for k, v in quiet.items() if "running" in k or "tracked" in k},
        {k: v for k, v in loud.items() if "running" in k or "tracked" in k},
    )
    assert int(loud["1.num_batches_tracked"]) == 1


def test_the_critics_step_by_hand():
    """It is that of the losses on the maps between the second and the third update."""
    frozen = STEP.model_copy(update={"lr": 1e-12})
    networks, transfers, critics = cohort()
    afd((networks, transfers, critics), batches(count=8), recipe=frozen)
    n, t, c = cohort()
    batch = next(iter(batches(count=8)))
    maps = {name: net.train()[:3](batch.images) for name, net in n.items()}
    critic = c["n0"]
    own = t["n0"].train()(maps["n0"]).detach()
    loss = (1 - critic(maps["n1"].detach())).square().mean() + critic(own).square().mean()
    (gradient,) = torch.autograd.grad(loss, critic.head.weight)
    moved = critics["n0"].head.weight - critic.head.weight
    torch.testing.assert_close(moved, -0.1 * gradient, rtol=1e-3, atol=1e-7)


def test_afd_refuses_names_that_do_not_agree():
    networks, transfers, critics = cohort()
    with pytest.raises(ValueError, match="a transfer and a critic of its name"):
        afd((networks, dict(list(transfers.items())[:1]), critics), batches())


# --- ACNs -----------------------------------------------------------------------------------


def test_divergent_examples_stay_near():
    generator = online.DivergentExamples(1, reach=0.2)
    images = draws.draw(5, 1, 6, 6, scale=3.0).float()
    made = generator(images)
    assert 0 < (made - images).abs().max() <= 0.2 + 1e-6
    with pytest.raises(ValueError, match="reach must be above 0"):
        online.DivergentExamples(1, reach=0.0)


def test_the_generator_drives_the_classifiers_apart():
    """Classifiers whose rate is next to 0 disagree more and more on what is generated."""
    torch.manual_seed(0)
    generator, critic = online.DivergentExamples(1, reach=1.0), online.Discriminator(1, 4)
    networks = {"a": linear(0), "b": linear(1)}
    before = state(networks["a"])
    history = online.adversarial_codistillation(
        networks, generator, critic, batches(),
        Recipe(epochs=6, batch_size=8, lr=1e-12, momentum=0.0, precision="32"),
        generator_recipe=Recipe(epochs=6, batch_size=8, lr=0.01, optimiser="adam", precision="32"),
        realism_weight=0.0,
    )  # fmt: skip
    assert history[-1]["divergence"] < history[0]["divergence"] < 0
    torch.testing.assert_close(state(networks["a"])["1.weight"], before["1.weight"])


def test_classifiers_learn_from_real_and_generated_images():
    generator, critic = online.DivergentExamples(1), online.Discriminator(1, 4)
    networks = {"a": small(0), "b": small(1), "c": small(2, hidden=5)}
    history = online.adversarial_codistillation(
        networks, generator, critic, batches(), QUICK, generator_recipe=QUICK
    )
    assert {"divergence", "realism", "critic", "a.hard", "c.soft"} <= set(history[0])
    assert int(networks["a"][2].num_batches_tracked) == 10  # once a step


# --- CTSL-MKT -------------------------------------------------------------------------------


def test_the_earlier_self_is_the_last_epochs():
    student, other = online.Remembering(linear(0)), online.Remembering(linear(1))
    ends = []

    def evaluate(networks):
        ends.append(state(student.network))
        return {}

    history = online.multiple_knowledge(
        {"a": student, "b": other}, batches(), QUICK, evaluate=evaluate
    )
    assert_same(state(student.earlier), ends[0])  # epoch 2 learnt from the end of epoch 1
    assert history[0]["a.self"] == 0
    assert history[1]["a.self"] > 0
    assert history[0]["a.relations"] > 0
    assert student.earlier[1].weight.grad is None


def test_its_weights_take_the_terms_away():
    networks = {"a": online.Remembering(linear(0)), "b": online.Remembering(linear(1))}
    nothing = {"self_weight": 0.0, "distance_weight": 0.0, "angle_weight": 0.0}
    online.multiple_knowledge(networks, batches(), QUICK, temperature=1.0, **nothing)
    mutual = {"a": linear(0), "b": linear(1)}
    online.mutual(mutual, batches(), QUICK, order="simultaneous")
    for name, network in mutual.items():
        torch.testing.assert_close(networks[name].network[1].weight, network[1].weight)
    with pytest.raises(ValueError, match="2 networks or more"):
        online.multiple_knowledge({"a": networks["a"]}, batches(), QUICK)
