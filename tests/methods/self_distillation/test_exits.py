"""Networks with exits: their costs and savings, BYOT, multi-exit distillation, SAD."""

import draws
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.nn import functional as F

from kdnb import nets
from kdnb.data import Batches, Images
from kdnb.methods import architecture
from kdnb.methods import self_distillation as own
from kdnb.nets import features
from kdnb.training import Recipe

QUICK = Recipe(epochs=2, batch_size=8, lr=0.02, precision="32")


def pictures(count=24, size=8):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, size, size), generator=generator, dtype=torch.uint8)
    return Images(images, torch.arange(count) % 3)


def batches(**options):
    return Batches(pictures(), 8, mean=(0.5,), sd=(0.3,), **options)


def resnet(seed=0):
    torch.manual_seed(seed)
    return nets.build("resnet8", num_classes=3, in_channels=1, image_size=8)


def exits(seed=0):
    network = resnet(seed)
    return own.MultiExit(network, ["stage1", "stage2"], "stage3", torch.zeros(2, 1, 8, 8))


def mlp_exits():
    torch.manual_seed(0)
    network = nets.build("mlp", num_classes=3, in_channels=1, image_size=8, widths=[16, 12, 10])
    return own.MultiExit(network, ["hidden.0", "hidden.1"], "hidden.2", torch.zeros(2, 1, 8, 8))


# --- the networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [exits, mlp_exits])
def test_the_last_exit_is_the_network_itself(build):
    network, images = build().eval(), torch.randn(5, 1, 8, 8)
    logits = network(images)
    assert logits.shape == (5, 3, 3)
    assert torch.equal(logits[:, -1], network.network(images))
    with features(network, network.feature_paths) as seen:
        network(images)
    assert len({tuple(seen[path].shape) for path in network.feature_paths}) == 1


def test_an_early_exit_reads_what_its_path_gives():
    network, images = exits().eval(), torch.randn(2, 1, 8, 8)
    before = network(images)
    with torch.no_grad():
        for parameter in network.network.stage3.parameters():
            parameter.zero_()
    after = network(images)
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.equal(before[:, 2], after[:, 2])


def test_wrong_exits():
    example = torch.zeros(2, 1, 8, 8)
    with pytest.raises(ValueError, match="at least one module path"):
        own.MultiExit(resnet(), [], "stage3", example)
    with pytest.raises(ValueError, match="no module 'stage9'"):
        own.MultiExit(resnet(), ["stage9"], "stage3", example)
    with pytest.raises(ValueError, match="cannot be adapted"):
        own.MultiExit(resnet(), ["stage3"], "stage1", example)


# --- costs and savings ----------------------------------------------------------------------------


def test_multiply_adds_by_hand():
    """An MLP 64-16-12-10-3 with exits after 16 and 12, each adapted to 10 features."""
    network = mlp_exits()
    costs = own.exit_costs(network, torch.zeros(1, 1, 8, 8))
    first, second = 16 * 10 + 10 * 3, 12 * 10 + 10 * 3
    assert costs[0] == 64 * 16 + first
    assert costs[1] == 64 * 16 + 16 * 12 + first + second
    whole = 64 * 16 + 16 * 12 + 12 * 10 + 10 * 3
    assert costs[2] == whole + first + second
    assert architecture.multiply_adds(network.network, torch.zeros(1, 8, 8)) == whole


def test_multiply_adds_of_convolutions_by_hand():
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    network = own.MultiExit(body, ["1"], "3", torch.zeros(1, 1, 8, 8))
    stem, deep, head = 64 * 9 * 4, 16 * 9 * 4 * 8, 8 * 3
    inner = 2
    leave = 64 * 4 * inner + 16 * (inner * 4) * inner + 16 * inner * 8 + 8 * 3
    costs = own.exit_costs(network, torch.zeros(1, 1, 8, 8))
    assert costs == [stem + leave, stem + deep + head + leave]
    with pytest.raises(ValueError, match="batch of 2"):
        own.exit_costs(network, torch.zeros(2, 1, 8, 8))


def test_exit_taken_against_a_loop():
    logits = draws.draw(50, 4, 3, scale=2)
    for threshold in (0.0, 0.5, 0.8, 0.95, 1.1):
        taken = own.exit_taken(logits, threshold)
        for b in range(50):
            expected = 3
            for number in range(4):
                if logits[b, number].softmax(0).max() >= threshold:
                    expected = number
                    break
            assert taken[b] == expected


def test_savings_against_a_loop_and_at_the_ends():
    logits, labels = draws.draw(60, 3, 4, scale=2), torch.arange(60) % 4
    costs = [10, 25, 70]
    found = own.savings(logits, labels, costs, 0.7)
    taken = own.exit_taken(logits, 0.7).tolist()
    assert found.multiply_adds == pytest.approx(sum(costs[t] for t in taken) / 60)
    assert found.saved == pytest.approx(1 - found.multiply_adds / 70)
    assert found.errors == sum(int(logits[b, t].argmax() != labels[b]) for b, t in enumerate(taken))
    assert sum(found.taken) == pytest.approx(1)
    first, last = (own.savings(logits, labels, costs, t) for t in (0.0, 1.1))
    assert (first.multiply_adds, first.taken) == (10, [1, 0, 0])
    assert (last.multiply_adds, last.taken, last.saved) == (70, [0, 0, 1], 0)
    assert last.errors == int((logits[:, -1].argmax(1) != labels).sum())
    assert own.savings(logits, labels, costs, 1.1, full=50).saved == pytest.approx(-0.4)
    with pytest.raises(ValueError, match="got 2 costs for 3 exits"):
        own.savings(logits, labels, costs[:2], 0.7)
    with pytest.raises(ValueError, match=r"\(batch, exits, classes\)"):
        own.savings(logits[:, 0], labels, costs, 0.7)


def test_stopping_early_computes_no_further_and_answers_the_same():
    network, images = exits().eval(), torch.randn(12, 1, 8, 8)
    with torch.no_grad():
        logits = network(images)
    sure = logits.softmax(2).amax(2)
    threshold = float(sure[:, 0].median())
    taken, deep = own.exit_taken(logits, threshold), []
    network.network.stage3.register_forward_hook(lambda *_: deep.append(1))
    for b in range(12):
        deep.clear()
        answer, number = network.stop_early(images[b : b + 1], threshold)
        assert number == taken[b]
        torch.testing.assert_close(answer[0], logits[b, number], rtol=1e-4, atol=1e-5)
        assert len(deep) == (number == 2)
    assert {0} < set(taken.tolist())  # some left, some did not
    network(images)  # the hooks are gone
    with pytest.raises(ValueError, match="batch of 12"):
        network.stop_early(images, 0.5)


# --- training -------------------------------------------------------------------------------------


def test_exit_terms_by_hand_and_the_deepest_is_not_taught():
    logits, labels = draws.draw(6, 3, 4).requires_grad_(), torch.arange(6) % 4
    terms = own.exit_terms(logits, labels, temperature=2.0, soft_weight=0.3, hard_weight=0.7)
    cross = [F.cross_entropy(logits[:, e], labels) for e in range(3)]
    assert terms["hard"].item() == pytest.approx((0.7 * (cross[0] + cross[1]) + cross[2]).item())
    p = (logits[:, 2] / 2).softmax(1)
    soft = sum(
        (p * (p.log() - (logits[:, e] / 2).log_softmax(1))).sum(1).mean() * 4 for e in (0, 1)
    )
    assert terms["soft"].item() == pytest.approx(0.3 * soft.item())
    (gradient,) = torch.autograd.grad(terms["soft"], logits)
    assert gradient[:, 2].abs().max() == 0
    assert gradient[:, :2].abs().min() > 0
    teacher = draws.draw(6, 1, 4, seed=9)

    def loss(early):
        full = torch.cat([early, teacher], 1)
        return sum(
            own.exit_terms(full, labels, temperature=2.0, soft_weight=1.0, hard_weight=1.0).values()
        )

    assert gradcheck(loss, (draws.draw(6, 2, 4, seed=3).requires_grad_(),))
    with pytest.raises(ValueError, match="only where there are two"):
        own.exit_terms(logits[:, :1], labels, temperature=1.0, soft_weight=1.0, hard_weight=1.0)


def test_byot_trains_every_exit_and_its_hint_pulls_features_together():
    def apart(network):
        images = next(iter(batches(shuffle=False))).images
        with torch.no_grad(), features(network.eval(), network.feature_paths) as seen:
            network(images)
        *early, last = (seen[path] for path in network.feature_paths)
        return [float((one - last).square().mean() / last.square().mean()) for one in early]

    plan = QUICK.model_copy(update={"epochs": 6})
    with_hint, without = exits(), exits()
    history = own.be_your_own_teacher(with_hint, batches(), plan, hint_weight=1e-3)
    assert {"hard", "soft", "hint"} <= set(history[0])
    assert history[-1]["hard"] < history[0]["hard"]
    assert "hint" not in own.be_your_own_teacher(without, batches(), plan, hint_weight=0.0)[0]
    assert sum(apart(with_hint)) < sum(apart(without))
    start = exits()
    for one, two in zip(start.exits.parameters(), with_hint.exits.parameters(), strict=True):
        assert not torch.equal(one, two)


def test_byots_hint_does_not_move_the_deepest_features():
    """One step with and without the hint: stage3 moves alike, the shared stage1 does not."""
    one_step = QUICK.model_copy(update={"epochs": 1, "batch_size": 24})
    whole = Batches(pictures(), 24, mean=(0.5,), sd=(0.3,))
    first, second = exits(), exits()
    for model, weight in ((first, 1.0), (second, 0.0)):
        own.be_your_own_teacher(
            model, whole, one_step, soft_weight=0.0, hard_weight=0.0, hint_weight=weight
        )
    pairs = zip(first.network.stage3.parameters(), second.network.stage3.parameters(), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    one, two = first.network.stage1[0].conv1, second.network.stage1[0].conv1
    assert not torch.equal(one.weight, two.weight)


def test_the_temperature_rises_while_the_teacher_is_too_sure():
    sharp, flat = torch.tensor([[9.0, 0.0, 0.0]]), torch.zeros(1, 3)
    one = torch.tensor(2.0)
    assert own.annealed_temperature(one, sharp).item() == pytest.approx(2.1)
    assert own.annealed_temperature(one, flat).item() == 2.0
    # At the temperature where the confidence falls to one half it stops.
    temperature = torch.tensor(1.0)
    for _ in range(500):
        temperature = own.annealed_temperature(temperature, sharp)
    assert 0.45 < (sharp / temperature).softmax(1).max() <= 0.5


def test_multi_exit_distillation_anneals_and_resumes(tmp_path):
    class Killed(Exception):
        pass

    def die(networks):
        if (tmp_path / "state").exists():
            raise Killed
        return {}

    plan = QUICK.model_copy(update={"epochs": 4, "lr": 0.1})
    straight, broken = exits(), exits()
    history = own.multi_exit_distil(straight, batches(), plan, confidence=0.34)
    assert straight.temperature > 1
    with pytest.raises(Killed):
        own.multi_exit_distil(
            broken, batches(), plan, confidence=0.34, checkpoint=tmp_path / "state", evaluate=die
        )
    resumed = exits()
    own.multi_exit_distil(resumed, batches(), plan, confidence=0.34, checkpoint=tmp_path / "state")
    assert torch.equal(resumed.temperature, straight.temperature)
    for one, two in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)
    assert {"hard", "soft"} <= set(history[0])
    constant = exits()
    own.multi_exit_distil(constant, batches(), QUICK, temperature=4.0)
    assert constant.temperature == 1
    with pytest.raises(ValueError, match="temperature must be"):
        own.multi_exit_distil(constant, batches(), QUICK, temperature=0.0)


# --- self-attention -------------------------------------------------------------------------------


def test_spatial_attention_against_a_loop():
    maps = draws.draw(2, 3, 4, 5, scale=0.5)
    found = own.spatial_attention(maps)
    for b in range(2):
        energy = [
            float(sum(maps[b, c, i, j] ** 2 for c in range(3))) for i in range(4) for j in range(5)
        ]
        expected = torch.tensor(energy, dtype=torch.float64).softmax(0).view(4, 5)
        torch.testing.assert_close(found[b], expected)
    larger = own.spatial_attention(maps, (8, 10))
    assert larger.shape == (2, 8, 10)
    torch.testing.assert_close(larger.sum((1, 2)), torch.ones(2, dtype=torch.float64))


def test_self_attention_imitates_downwards():
    shallow, middle, deep = (
        draws.draw(2, 3, side, side, seed=side, scale=0.5).requires_grad_() for side in (4, 2, 1)
    )
    loss = own.self_attention([shallow, middle, deep])
    size = (4, 4)
    first = own.spatial_attention(shallow) - own.spatial_attention(middle, size)
    second = own.spatial_attention(middle) - 0.25  # the deepest map of one position is uniform
    expected = first.square().sum((1, 2)).mean() + second.square().sum((1, 2)).mean()
    assert loss.item() == pytest.approx(expected.item())
    gradients = torch.autograd.grad(loss, (shallow, middle, deep), allow_unused=True)
    assert gradients[0].abs().max() > 0
    assert gradients[1].abs().max() > 0
    assert gradients[2] is None
    (target,) = torch.autograd.grad(
        own.self_attention([shallow, middle]), (middle,), allow_unused=True
    )
    assert target is None
    target = middle.detach()
    assert gradcheck(lambda x: own.self_attention([x, target]), (shallow,))
    with pytest.raises(ValueError, match="two maps are needed; got 1"):
        own.self_attention([shallow])
    with pytest.raises(ValueError, match="batch size"):
        own.self_attention([shallow, torch.zeros(3, 3, 2, 2)])


def test_sad_begins_late():
    plan = QUICK.model_copy(update={"epochs": 3})
    history = own.self_attention_distil(
        resnet(), batches(), plan, paths=["stage1", "stage2", "stage3"], start=2 / 3
    )
    assert [row["attention"] > 0 for row in history] == [False, False, True]
    now = own.self_attention_distil(
        resnet(), batches(), QUICK, paths=["stage1", "stage2"], start=0.0
    )
    assert all(row["attention"] > 0 for row in now)


def test_stopping_early_costs_what_the_table_says():
    """The multiply-adds of real early stops, counted while they happen, are those of `savings`."""
    from torch.utils.flop_counter import FlopCounterMode

    network, images = exits().eval(), torch.randn(10, 1, 8, 8)
    with torch.no_grad():
        logits = network(images)
    threshold = float(logits.softmax(2).amax(2)[:, 0].median())
    costs = own.exit_costs(network, images[:1])
    with FlopCounterMode(display=False) as counter:
        for image in images:
            network.stop_early(image[None], threshold)
    measured = counter.get_total_flops() / 2 / 10
    found = own.savings(logits, torch.zeros(10, dtype=torch.int64), costs, threshold)
    assert measured == found.multiply_adds
    assert costs[0] < costs[1] < costs[2]
    assert 0 < found.saved < 1
