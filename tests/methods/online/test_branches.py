"""Networks with several heads: ONE, OKDDip, FFL, cheap convolutions, Rocket Launching."""

import draws
import pytest
import torch
from small_networks import assert_same, batches, linear, state
from torch import nn
from torch.nn import functional as F

from kdnb import nets
from kdnb.data import Batches, Images
from kdnb.losses import soft_targets
from kdnb.methods import online
from kdnb.methods.offline.distil import train
from kdnb.training import Recipe, predict

QUICK = Recipe(epochs=2, batch_size=8, lr=0.05, precision="32")
STEP = Recipe(epochs=1, batch_size=8, lr=0.1, momentum=0.0, schedule="constant", precision="32")


def pictures(count=16, size=8):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, size, size), generator=generator, dtype=torch.uint8)
    return Images(images, torch.arange(count) % 3)


def large(count=16):
    return Batches(pictures(count), 8, mean=(0.5,), sd=(0.3,))


def example():
    return next(iter(large())).images


def resnets(count, name="resnet8"):
    torch.manual_seed(0)
    return [nets.build(name, num_classes=3, image_size=8) for _ in range(count)]


def branched(count=3, at="stage3"):
    return online.Branches.split(resnets(count), at, example())


def tiny(count=3):
    """Linear heads on a shared linear stem, whose gradients are easily derived."""
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Flatten(), nn.Linear(36, 6), nn.Tanh())
    heads = [nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)) for _ in range(count)]
    return online.Branches(stem, *heads)


# --- branches -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet8", "wrn-10-1"])
def test_a_branch_is_the_network_it_was_made_of(name):
    networks = resnets(2, name)
    whole = [network.eval()(example()) for network in networks]
    branches = online.Branches.split(networks, "stage3", example()).eval()
    said = branches(example())
    assert said.logits.shape == (8, 2, 3)
    torch.testing.assert_close(said.logits[:, 0], whole[0])
    assert (said.logits[:, 1] - whole[1]).abs().max() > 1e-4  # whose stem is another
    torch.testing.assert_close(branches.deployed(0)(example()), whole[0])
    fresh = resnets(1, name)[0]
    fresh.load_state_dict(branches.deployed(1).state_dict())
    torch.testing.assert_close(fresh.eval()(example()), said.logits[:, 1])


def test_maps_and_features_are_those_before_pool_and_classifier():
    branches = branched(2).eval()
    said = branches(example())
    assert said.maps[1].shape == (8, 64, 2, 2)
    torch.testing.assert_close(said.maps[1].mean((2, 3)), said.features[1])
    assert said.shared.shape == (8, 32, 4, 4)
    flat = tiny()(next(iter(batches())).images)
    assert flat.maps[0] is flat.features[0]


def test_splitting_at_the_first_child_shares_nothing():
    networks = resnets(2)
    expected = [network.eval()(example()) for network in networks]
    said = online.Branches.split(networks, "stem", example()).eval()(example())
    for k in range(2):
        torch.testing.assert_close(said.logits[:, k], expected[k])


def test_networks_that_are_no_chain_are_refused():
    class Twisted(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Flatten(), nn.Linear(64, 3)

        def forward(self, images):
            return -self.second(self.first(images))

    with pytest.raises(ValueError, match="no chain of its children"):
        online.Branches.split([Twisted()], "second", example())
    with pytest.raises(ValueError, match="'stage9' is no child of this network: it has stem"):
        online.Branches.split(resnets(1), "stage9", example())
    with pytest.raises(ValueError, match="at least one network"):
        online.Branches.split([], "stage3", example())
    with pytest.raises(TypeError, match="nn.Sequential; got Linear"):
        online.Branches(nn.Sequential(), nn.Linear(2, 2))


# --- ONE ------------------------------------------------------------------------------------


def test_the_gate_weighs_the_branches():
    gate = online.Gate(5, 3)
    weights = gate(draws.draw(7, 5, 4, 4).float())
    torch.testing.assert_close(weights.sum(1), torch.ones(7))
    torch.testing.assert_close(
        online.Gate(5, 3).eval()(torch.ones(2, 5, 3, 3)).sum(1), torch.ones(2)
    )
    logits = draws.draw(7, 3, 4).float()
    expected = sum(weights[:, [i]] * logits[:, i] for i in range(3))
    torch.testing.assert_close(online.gated(logits, weights), expected)


def test_the_gate_by_hand():
    gate = online.Gate(5, 3).eval()
    with torch.no_grad():
        gate.linear.bias.copy_(torch.tensor([-30.0, 0.5, -20.0]))
    maps = draws.draw(2, 5, 4, 4).float()
    z = maps.mean((2, 3)) @ gate.linear.weight.T + gate.linear.bias
    expected = (z / (1 + gate.bn.eps) ** 0.5).clamp_min(0).softmax(1)
    torch.testing.assert_close(gate(maps), expected)
    assert expected.min() > 0.1  # the ReLU lets no branch fall far


def one_step(weight):
    branches, gate = tiny(), online.Gate(6, 3)
    with torch.no_grad():
        gate.linear.weight.copy_(draws.draw(3, 6, seed=5))
        gate.linear.bias.zero_()
    online.one(branches, gate, batches(count=8), STEP, weight=weight)
    return branches, gate


def test_the_gate_learns_from_the_labels_alone():
    """Its step is that of the ensemble's cross-entropy, by hand, and no divergence moves it."""
    gate = online.Gate(6, 3)
    with torch.no_grad():
        gate.linear.weight.copy_(draws.draw(3, 6, seed=5))
        gate.linear.bias.zero_()
    start = gate.linear.weight.clone()
    batch = next(iter(batches(count=8)))
    said = tiny()(batch.images)
    loss = F.cross_entropy(online.gated(said.logits, gate(said.shared)), batch.labels)
    (gradient,) = torch.autograd.grad(loss, gate.linear.weight)
    assert gradient.abs().max() > 1e-4
    for weight in (0.0, 5.0):
        _, moved = one_step(weight)
        torch.testing.assert_close(moved.linear.weight, start - 0.1 * gradient)


def test_one_by_a_bare_step():
    ours, _ = one_step(2.0)
    branches, gate = tiny(), online.Gate(6, 3)
    with torch.no_grad():
        gate.linear.weight.copy_(draws.draw(3, 6, seed=5))
        gate.linear.bias.zero_()
    batch = next(iter(batches(count=8)))
    said = branches(batch.images)
    teacher = online.gated(said.logits, gate(said.shared))
    loss = F.cross_entropy(teacher, batch.labels)
    for z in said.logits.unbind(1):
        p, q = (teacher.detach() / 3).softmax(1), (z / 3).softmax(1)
        loss = loss + F.cross_entropy(z, batch.labels)
        loss = loss + 2 * 9 * (p * (p / q).log()).sum(1).mean()
    gradients = torch.autograd.grad(loss, list(branches.parameters()))
    for ours_, start, gradient in zip(
        ours.parameters(), branches.parameters(), gradients, strict=True
    ):
        torch.testing.assert_close(ours_, start - 0.1 * gradient, rtol=1e-4, atol=1e-6)


def test_one_on_a_resnet_and_what_is_deployed():
    branches, gate = branched(), online.Gate(32, 3)
    history = online.one(branches, gate, large(), QUICK, ramp_up=4)
    assert 0 < history[0]["soft"] < history[1]["soft"]  # the weight climbs
    ensemble = predict(online.GatedBranches(branches, gate), large())
    assert ensemble.shape == (16, 3)
    assert sum(p.numel() for p in branches.deployed(2).parameters()) == sum(
        p.numel() for p in resnets(1)[0].parameters()
    )


def test_ramp_up():
    assert online.ramp_up(40, 80) == pytest.approx(torch.tensor(-1.25).exp().item())
    assert online.ramp_up(200, 80) == 1.0
    with pytest.raises(ValueError, match="at least 0; got -1"):
        online.one(tiny(), online.Gate(6, 3), batches(), QUICK, ramp_up=-1)


# --- OKDDip ---------------------------------------------------------------------------------


def test_attention_by_hand():
    attention = online.PeerAttention(16)
    features = draws.draw(2, 3, 16).float()
    shares = attention(features)
    assert attention.left.out_features == 2
    for a in range(3):
        energies = [
            attention.left(features[1, a]) @ attention.right(features[1, b]) for b in range(3)
        ]
        torch.testing.assert_close(shares[1, a], torch.stack(energies).softmax(0))


def test_own_targets_by_hand():
    logits, shares = draws.draw(4, 3, 5), draws.draw(4, 3, 3, seed=1).softmax(2)
    targets = online.own_targets(logits, shares, 2.0)
    for a in range(3):
        mixed = sum(shares[:, a, [b]] * (logits[:, b] / 2).softmax(1) for b in range(3))
        torch.testing.assert_close((targets[:, a] / 2).softmax(1), mixed)
    authors = online.own_targets(logits, shares, 2.0, "authors")
    torch.testing.assert_close(
        authors[:, 1], sum(shares[:, 1, [b]] * logits[:, b] for b in (0, 1, 2))
    )
    mean = (logits / 2).softmax(2).mean(1)
    torch.testing.assert_close((online.leaders_target(logits, 2.0) / 2).softmax(1), mean)
    torch.testing.assert_close(online.leaders_target(logits, 2.0, "authors"), logits.mean(1))


def test_the_targets_gradient_reaches_the_attention_alone():
    for variant, leaks in (("paper", False), ("authors", True)):
        logits, shares = draws.draw(4, 3, 5).requires_grad_(), draws.draw(4, 3, 3, seed=1)
        shares = shares.softmax(2).requires_grad_()
        targets = online.own_targets(logits, shares, 2.0, variant)
        soft_targets(draws.draw(4, 5, seed=2), targets[:, 0], 2.0).backward()
        assert shares.grad.abs().max() > 0
        assert (logits.grad is not None) == leaks


def test_nobody_learns_from_the_leader():
    """Another leader changes no peer; without the peers' terms the leader would learn no more."""
    ends = []
    for shift in (0.0, 3.0):
        branches, attention = tiny(4), online.PeerAttention(4)
        with torch.no_grad():
            attention.left.weight.copy_(draws.draw(1, 4, seed=1))
            attention.right.weight.copy_(draws.draw(1, 4, seed=2))
            branches.stem.requires_grad_(False)  # the one thing that leader and peers share
            branches.heads[3][2].weight.add_(shift)
        history = online.okddip(branches, attention, batches(), QUICK)
        assert history[0]["leader"] > 0
        ends.append(branches)
    for a in range(3):
        assert_same(state(ends[0].heads[a]), state(ends[1].heads[a]))


def test_okddip_trains_its_attention():
    attention = online.PeerAttention(64)
    before = attention.left.weight.clone()
    history = online.okddip(branched(3), attention, large(), QUICK, variant="authors")
    assert history[0]["peers"] > 0
    assert (attention.left.weight - before).abs().max() > 0
    with pytest.raises(ValueError, match="2 peers and a leader; got 2"):
        online.okddip(tiny(2), attention, batches(), QUICK)
    with pytest.raises(ValueError, match="variant must be"):
        online.okddip(tiny(3), attention, batches(), QUICK, variant="mine")


# --- fused teachers -------------------------------------------------------------------------


def test_maps_of_different_sizes_are_fused():
    fusion = online.FeatureFusion([4, 6], 3)
    assert fusion.layers[0].groups == 10
    assert fusion.layers[3].out_channels == 4
    logits = fusion([draws.draw(2, 4, 8, 8).float(), draws.draw(2, 6, 4, 4).float()])
    assert logits.shape == (2, 3)
    with pytest.raises(ValueError, match="maps are 4-dimensional"):
        fusion([torch.zeros(2, 4), torch.zeros(2, 6)])


def test_fusion_teaches_both_ways_without_gradients_in_its_targets():
    """With the labels' terms taken away, students follow the fused one and it follows them."""
    branches = branched(2, at="stem")
    fusion = online.FeatureFusion([64, 64], 3)
    start, fused = state(branches), state(fusion)
    online.feature_fusion(branches, fusion, large(8), STEP, weight=0.0)
    plain, plain_fused = state(branches), state(fusion)
    branches.load_state_dict(start)
    fusion.load_state_dict(fused)
    history = online.feature_fusion(branches, fusion, large(8), STEP, weight=1.0)
    assert history[0]["to_fused"] > 0
    assert history[0]["to_students"] > 0
    # The step is the sum of the labels' step and the divergences', by hand.
    torch.manual_seed(0)
    twin = branched(2, at="stem")
    twin_fusion = online.FeatureFusion([64, 64], 3)
    twin.load_state_dict(start)
    twin_fusion.load_state_dict(fused)
    batch = next(iter(large(8)))
    said = twin(batch.images)
    z_fused = twin_fusion(said.maps)
    to_fused = soft_targets(z_fused, said.logits.mean(1).detach(), 3.0)
    to_students = sum(soft_targets(z, z_fused.detach(), 3.0) for z in said.logits.unbind(1))
    weight = twin_fusion.head.weight
    (gradient,) = torch.autograd.grad(to_fused, weight, retain_graph=True)
    moved = fusion.head.weight - plain_fused["head.weight"]
    torch.testing.assert_close(moved, -0.1 * gradient, rtol=1e-3, atol=1e-6)
    head = twin.heads[1][-1].weight
    (gradient,) = torch.autograd.grad(to_students, head)
    moved = branches.heads[1][-1].weight - plain["heads.1.head.weight"]
    torch.testing.assert_close(moved, -0.1 * gradient, rtol=1e-3, atol=1e-6)


def test_cheap_convolutions_are_cheap_and_fit():
    dense = resnets(1)[0]
    cheap = online.cheap_convolutions(dense)
    assert cheap.stage2[0].conv1[0].groups == 16
    assert cheap.stage2[0].conv1[0].stride == (2, 2)
    assert isinstance(cheap.stem.conv, nn.Conv2d)  # on the image itself
    assert cheap(example()).shape == (8, 3)
    convolution = sum(p.numel() for p in dense.stage3[0].conv2.parameters())
    assert convolution == 64 * 64 * 9
    assert sum(p.numel() for p in cheap.stage3[0].conv2.parameters()) == 64 * 9 + 64 * 64
    grouped = online.cheap_convolutions(dense, groups=4)
    assert sum(p.numel() for p in grouped.stage3[0].conv2[0].parameters()) == 64 * 16 * 9
    assert isinstance(dense.stage2[0].conv1, nn.Conv2d)  # the original stays


def test_cheap_students_make_their_teacher():
    students = [online.cheap_convolutions(network) for network in resnets(2)]
    branches = online.Branches.split(students, "stem", example())
    teacher = online.ConcatenatedTeacher([64, 64], 3)
    said = branches.train()(example())
    maps = torch.cat(said.maps, 1)
    expected = teacher.head(F.relu(F.batch_norm(maps, None, None, training=True)).mean((2, 3)))
    torch.testing.assert_close(teacher(said.maps), expected, rtol=1e-4, atol=1e-5)
    history = online.cheap_online(branches, teacher, large(), QUICK)
    assert set(history[0]) >= {"teacher", "students", "soft"}
    assert history[0]["soft"] > 0


def test_cheap_students_follow_their_teacher_not_it_them():
    ends = []
    for weight in (0.0, 2.0):
        branches = online.Branches.split(resnets(2), "stem", example())
        torch.manual_seed(1)
        teacher = online.ConcatenatedTeacher([64, 64], 3)
        online.cheap_online(branches, teacher, large(8), STEP, weight=weight)
        ends.append((branches, teacher))
    assert_same(state(ends[0][1]), state(ends[1][1]))
    branches = online.Branches.split(resnets(2), "stem", example())
    torch.manual_seed(1)
    teacher = online.ConcatenatedTeacher([64, 64], 3)
    said = branches(next(iter(large(8))).images)
    taught = teacher(said.maps).detach()
    head = branches.heads[1][-1].weight
    (gradient,) = torch.autograd.grad(soft_targets(said.logits[:, 1], taught, 3.0), head)
    moved = ends[1][0].heads[1][-1].weight - ends[0][0].heads[1][-1].weight
    torch.testing.assert_close(moved, -0.1 * 2 * gradient, rtol=1e-3, atol=1e-6)


# --- Rocket Launching -----------------------------------------------------------------------


def rockets(hint_weight, gradient_block=True):
    branches = tiny(2)
    data = batches(count=8)
    online.rocket(branches, data, STEP, hint_weight=hint_weight, gradient_block=gradient_block)
    return branches


def test_the_booster_gets_no_gradient_from_the_hint():
    without, hinted, open_ = rockets(0.0), rockets(1.0), rockets(1.0, gradient_block=False)
    booster = [state(branches.heads[1]) for branches in (without, hinted, open_)]
    assert_same(booster[0], booster[1])
    assert (booster[0]["2.weight"] - booster[2]["2.weight"]).abs().max() > 1e-4
    for part in ("heads.0.2.weight", "stem.1.weight"):  # the light head and the shared stem do
        assert (state(without)[part] - state(hinted)[part]).abs().max() > 1e-4


def test_the_hint_reaches_the_stem_through_the_light_head_alone():
    batch = next(iter(batches(count=8)))
    branches = tiny(2)
    light, booster = branches(batch.images).logits.unbind(1)
    hint = (light - booster.detach()).square().sum() / 8
    (gradient,) = torch.autograd.grad(hint, branches.stem[1].weight)
    moved = rockets(1.0).stem[1].weight - rockets(0.0).stem[1].weight
    torch.testing.assert_close(moved, -0.1 * gradient, rtol=1e-3, atol=1e-6)


def test_rocket_of_unequal_heads():
    deep = nets.build("resnet14", num_classes=3, image_size=8)
    branches = online.Branches.split([resnets(1)[0], deep], "stage3", example())
    history = online.rocket(branches, large(), QUICK)
    assert history[0]["hint"] > 0
    count = [sum(p.numel() for p in branches.deployed(k).parameters()) for k in (0, 1)]
    assert count[0] < count[1]
    with pytest.raises(ValueError, match="a light head and a booster; got 3"):
        online.rocket(tiny(3), batches(), QUICK)


def test_a_single_branch_learns_as_the_network_alone():
    alone, one = linear(4), linear(4)
    head = nn.Sequential(one[1])
    branches = online.Branches(nn.Sequential(one[0]), head, nn.Sequential(linear(5)[1]))
    online.rocket(branches, batches(), QUICK, hint_weight=0.0)
    train(alone, batches(), QUICK)
    torch.testing.assert_close(branches.deployed(0).head[0].weight, alone[1].weight)
