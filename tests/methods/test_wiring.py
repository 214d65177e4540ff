"""How losses are joined: warm-ups, margins, fixed maps, weights from a first value, revisions."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from kdnb import losses, nets
from kdnb.data import Batch
from kdnb.methods.catalogue import METHODS, check_revision, revised
from kdnb.methods.wiring import Setting
from kdnb.training.borrowed import by_batch_statistics
from kdnb.training.layers import Layers, layers_of, look


def resnet(seed, width=0.25, depth=8):
    torch.manual_seed(seed)
    network = nets.build(f"resnet{depth}", num_classes=3, in_channels=3, image_size=16, width=width)
    for part in network.modules():  # as if it had been trained
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.bias, 0.5)
            nn.init.uniform_(part.weight, -1.5, 1.5)
    return network


def pair(widths=(0.25, 0.5), count=12):
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    networks = [resnet(seed, width) for seed, width in enumerate(widths)]
    return [look(network, layers_of(network), images) for network in networks], networks


LABELS = torch.arange(12) % 3
BATCH = Batch(None, LABELS, torch.arange(12))


@pytest.mark.parametrize(("name", "options"), [("dkd", {}), ("reviewkd", {})])
def test_a_weight_warms_up_step_by_step_over_a_twelfth_of_the_training(name, options):
    views, _ = pair()
    torch.manual_seed(0)
    term = METHODS[name].build(*views, Setting(images=48, batch_size=12), **options)
    whole = term(*views, BATCH)
    assert whole > 0  # nobody has begun: no warm-up
    shares = []
    for epoch in range(24):
        term.begin(epoch, 24)
        shares += [(term(*views, BATCH) / whole).item() for _ in range(4)]
    expected = [min(1.0, step / 4 / (24 * 20 / 240)) for step in range(96)]
    assert shares == pytest.approx(expected, rel=1e-4)
    torch.manual_seed(0)
    at_once = METHODS[name].build(*views, Setting(48, 12), warm_up=0.0)
    at_once.begin(0, 24)
    torch.testing.assert_close(at_once(*views, BATCH), whole)


def test_reviewkd_compares_the_pooled_features_too():
    views, _ = pair()
    torch.manual_seed(0)
    term = METHODS["reviewkd"].build(*views, Setting(48, 12)).eval()
    outputs = term.term.fusion([*views[0].maps, views[0].maps[-1].mean((2, 3), keepdim=True)])
    assert [tuple(maps.shape[1:]) for maps in outputs][-1] == (32, 1, 1)
    goals = [*views[1].maps, views[1].embedding[..., None, None]]
    terms = [losses.hierarchical_context(s, t) for s, t in zip(outputs, goals, strict=True)]
    torch.testing.assert_close(term(*views, BATCH), torch.stack(terms).sum())


def test_ofds_margins_come_from_the_norm_in_front_of_the_relu():
    """Not from one batch's responses, of which there may be no negative ones."""
    views, networks = pair()
    term = METHODS["ofd"].build(*views, Setting(48, 12))
    stages = (networks[1].stage1, networks[1].stage2, networks[1].stage3)
    for level, stage in enumerate(stages):
        norm = stage[-1].bn2
        assert views[1].norms[level] is norm
        margin = getattr(term, f"margin{level}")
        torch.testing.assert_close(margin, losses.overhaul_margin(norm.weight, norm.bias))
        assert (margin < 0).all()


def test_a_norm_is_found_in_blocks_and_chains_or_not_at_all():
    vgg = nets.build("vgg8", num_classes=3, in_channels=3, image_size=32, width=0.125)
    images = torch.randn(4, 3, 32, 32)
    at = layers_of(vgg, ["stage1.relu1", "stage5"])
    assert look(vgg, at, images).norms == [vgg.stage1.bn1, vgg.stage5.bn1]
    chain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3),
                          nn.ReLU(), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(3920, 3))  # fmt: skip
    at = Layers(("2", "4"), ("2:input", "4:input"), head="7")
    assert look(chain, at, images).norms == [chain[1], None]
    plain = [look(chain, at, images) for _ in "st"]
    term = METHODS["ofd"].build(*plain, Setting(48, 4))
    responses = plain[1].before[1].transpose(0, 1).flatten(1)
    scale, shift = responses.std(1, correction=0), responses.mean(1)
    torch.testing.assert_close(term.margin1, losses.overhaul_margin(scale, shift))


def test_by_batch_statistics_is_the_training_mode_without_its_traces():
    network, images = resnet(0).eval(), torch.randn(6, 3, 16, 16)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad(), by_batch_statistics(network):
        got = network(images)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert not any(part.training for part in network.modules())
    with torch.no_grad():
        torch.testing.assert_close(got, network.train()(images))
    assert METHODS["ofd"].wire.batch_statistics


def test_fsp_learns_nothing_but_the_student():
    """A learnt map of the student could lower the loss by itself."""
    for widths in ((0.25, 0.5), (0.5, 0.25), (0.25, 0.25)):
        views, _ = pair(widths)
        torch.manual_seed(0)
        term = METHODS["fsp"].build(*views, Setting(48, 12))
        assert not list(term.parameters())
        weight = term.map0
        torch.testing.assert_close(weight @ weight.T, torch.eye(len(weight)))
        sides = []
        for view in views:
            wide = view.maps[0].shape[1] > weight.shape[0]
            maps = [
                torch.einsum("nc,bchw->bnhw", getattr(term, f"map{i}"), m) if wide else m
                for i, m in enumerate(view.maps)
            ]
            sides.append(maps)
        (a, b, c), (d, e, f) = sides
        expected = losses.fsp(a, b, d, e) + losses.fsp(b, c, e, f)
        torch.testing.assert_close(term(*views, BATCH), expected)


def test_cc_starts_at_a_uniform_guess_beside_its_soft_targets():
    torch.manual_seed(0)
    views = [
        SimpleNamespace(embedding=torch.randn(12, width), logits=torch.randn(12, 3))
        for width in (5, 7)
    ]
    term = METHODS["cc"].build(*views, Setting(48, 12), soft_weight=0.0)
    assert float(term(*views, BATCH)) == pytest.approx(math.log(3), rel=1e-5)
    both = METHODS["cc"].build(*views, Setting(48, 12), soft_weight=0.5, temperature=2.0)
    soft = losses.soft_targets(views[0].logits, views[1].logits, 2.0)
    assert float(both(*views, BATCH)) == pytest.approx(math.log(3) + 0.5 * float(soft), rel=1e-5)
    named = METHODS["cc"].build(*views, Setting(48, 12), soft_weight=0.0, congruence_weight=7.0)
    value = losses.correlation_congruence(views[0].embedding, views[1].embedding)
    torch.testing.assert_close(named(*views, BATCH), 7 * value)
    same = METHODS["cc"].build(views[0], views[0], Setting(48, 12))
    assert same(views[0], views[0], BATCH) == pytest.approx(0, abs=1e-5)


def test_crd_is_told_classes_and_places():
    views, _ = pair()
    term = METHODS["crd"].build(*views, Setting(48, 12))
    seen = []
    term.crd.forward = lambda s, t, labels, index: seen.append((labels, index)) or s.sum()
    term(*views, BATCH)
    soft = Batch(None, torch.eye(3)[LABELS], None)
    term(*views, soft)
    assert torch.equal(seen[0][0], LABELS) and torch.equal(seen[0][1], torch.arange(12))
    assert torch.equal(seen[1][0], LABELS) and seen[1][1] is None
    assert term.crd.negatives == 16384 and term.crd.momentum == 0.5


@pytest.mark.parametrize("name", ["ab_stage1", "fsp_stage1", "fitnets_stage1"])
def test_a_first_stage_has_no_labels(name):
    assert METHODS[name].alone and METHODS[name].weight == 1.0


def test_a_run_of_an_earlier_revision_is_refused():
    assert revised("kd") == {} and revised("crd") == {"revision": 2}
    check_revision("crd", 2)
    check_revision(SimpleNamespace(), 1)  # a loss of one's own
    with pytest.raises(ValueError, match="revision 1 of CRD, which is at revision 2 today"):
        check_revision("crd", 1)


def test_irg_joins_logits_vertices_edges_and_moves():
    """The edges alone were called IRG before; a student that has the teacher's edges still pays."""
    views, _ = pair()
    torch.manual_seed(0)
    term = METHODS["irg"].build(
        *views, Setting(48, 12), logits_weight=2.0, vertex_weight=3.0, edge_weight=5.0
    )
    ours, theirs = (view.embedding for view in views)
    parts = [
        2 * (views[0].logits - views[1].logits).square().sum(1).mean(),
        3 * (term.map(ours) - theirs).square().sum(1).mean(),
        5 * losses.irg_edges(ours, theirs, "paper"),
    ]
    assert term.moves == []  # every stage of a ResNet has a width of its own
    torch.testing.assert_close(term(*views, BATCH), sum(parts))
    torch.manual_seed(0)
    deep = [nets.build("resnet14", num_classes=3, in_channels=3, image_size=16) for _ in "st"]
    at = [layers_of(net, ["stage2.0", "stage2.1", "stage3.1"]) for net in deep]
    views = [look(*both, torch.randn(12, 3, 16, 16)) for both in zip(deep, at, strict=True)]
    term = METHODS["irg"].build(*views, Setting(48, 12), vertex_weight=0.0, logits_weight=0.0)
    assert term.moves == [0]
    moves = losses.irg_transformation(*views[0].maps[:2], *views[1].maps[:2], "paper")
    edges = losses.irg_edges(views[0].embedding, views[1].embedding, "paper")
    torch.testing.assert_close(term(*views, BATCH), edges + moves)


def test_ifms_critical_period_falls_with_the_budget():
    """0.7 an epoch of the authors' 50: after half of any training, the 25th power is left."""
    views, _ = pair()
    term = METHODS["ifm"].build(*views, Setting(48, 12))
    layers = [view.maps for view in views]
    for epoch, epochs, power in ((0, 4, 0), (2, 4, 25), (25, 50, 25), (3, 4, 37.5)):
        term.begin(epoch, epochs)
        expected = losses.information_flow(*layers, power)
        torch.testing.assert_close(term(*views, BATCH), expected)
