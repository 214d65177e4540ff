"""Other images and other views as teachers: pairs, CS-KD, SLA, DDGSD; and earlier snapshots."""

import draws
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.nn import functional as F

from kdnb.data import Batches, Images, LoaderBatches
from kdnb.methods import self_distillation as own
from kdnb.methods.self_distillation import common, snapshot
from kdnb.training import Recipe

QUICK = Recipe(epochs=2, batch_size=8, lr=0.05, precision="32")


def pictures(count=40, side=6):
    """Every image's first pixel is its number, so that it can be told after a shuffle."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, side, side), generator=generator, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count)
    return Images(images, torch.arange(count) % 3)


def batches(**options):
    return Batches(pictures(), 8, mean=(0.0,), sd=(1.0,), **options)


class Small(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.pool = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.ReLU())
        self.head = nn.Linear(5, classes)

    def forward(self, images):
        return self.head(self.pool(images))


def small(seed=0):
    torch.manual_seed(seed)
    return Small()


# --- pairs ----------------------------------------------------------------------------------------


def test_partners_are_others_of_the_same_class_all_alike():
    labels = torch.tensor([0, 1, 0, 0, 1, 2, 0])
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(7, 7)
    for _ in range(3000):
        partners = own.class_partners(labels, generator)
        counts[torch.arange(7), partners] += 1
    assert (labels[:, None] == labels)[counts > 0].all()
    assert counts[5, 5] == 3000  # alone in its class
    others = counts.clone()
    others[5] = 0
    assert others.diagonal().sum() == 0
    assert counts[0, [2, 3, 6]].min() > 900


def test_paired_batches_hold_images_and_their_partners():
    plain = batches(seed=3)
    paired = own.PairedBatches(plain, lambda epoch: (torch.arange(40) + epoch + 1) % 40)
    assert len(paired) == len(plain) == 5
    for epoch in (0, 1):
        for one, two in zip(plain.epoch(epoch), paired.epoch(epoch), strict=True):
            images, others = two.images.chunk(2)
            assert torch.equal(images, one.images)
            first, second = two.index.chunk(2)
            assert torch.equal(first, one.index)
            assert torch.equal(second, (first + epoch + 1) % 40)
            assert torch.equal((others[:, 0, 0, 0] * 255).round().long(), second)
            assert torch.equal(two.labels.chunk(2)[1], second % 3)


def test_partners_are_augmented_on_their_own_and_reproducibly():
    paired = own.PairedBatches(batches(flip=True, crop_padding=1), lambda _: torch.arange(40))
    first, again = next(paired.epoch(0)), next(paired.epoch(0))
    assert torch.equal(first.images, again.images)
    images, others = first.images.chunk(2)
    differ = [not torch.equal(a, b) for a, b in zip(images, others, strict=True)]
    assert sum(differ) > len(differ) // 2
    assert not torch.equal(next(paired.epoch(1)).images, first.images)


def test_flips_of_partners_are_drawn_anew_in_every_step_and_epoch():
    paired = own.PairedBatches(batches(flip=True), lambda _: torch.arange(40))
    source = pictures().images.float() / 255
    patterns = set()
    for epoch in (0, 1):
        for batch in paired.epoch(epoch):
            plain = source[batch.index]
            flipped = [not torch.allclose(a, b) for a, b in zip(batch.images, plain, strict=True)]
            patterns |= {tuple(flipped[:8]), tuple(flipped[8:])}
    assert len(patterns) >= 18  # of 20 patterns of 8 coins; one seed for all gives 11


def test_pairs_need_images_in_memory():
    loader = LoaderBatches([(torch.zeros(2, 1, 6, 6), torch.tensor([0, 1]))])
    with pytest.raises(TypeError, match="give Batches, not a LoaderBatches"):
        own.PairedBatches(loader, lambda _: torch.arange(2))


# --- CS-KD ----------------------------------------------------------------------------------------


def test_class_wise_against_a_loop():
    student, partner = draws.draw(4, 5, scale=3), draws.draw(4, 5, scale=3, seed=1)
    naive = 0.0
    for z, v in zip(student / 4, partner / 4, strict=True):
        p, q = v.softmax(0), z.softmax(0)
        naive += 16 * float((p * (p / q).log()).sum()) / 4
    assert own.class_wise(student, partner).item() == pytest.approx(naive)
    partner.requires_grad_()
    assert gradcheck(lambda z: own.class_wise(z, partner.detach()), (student.requires_grad_(),))
    own.class_wise(student, partner).backward()
    assert partner.grad is None
    with pytest.raises(ValueError, match="same shape"):
        own.class_wise(student, partner[:, :2])


def test_cskd_shows_the_network_pairs_of_one_class():
    shown = []
    network = small()
    network.register_forward_pre_hook(
        lambda _, x: shown.append(
            ((x[0][:, 0, 0, 0] * 255).round().long(), torch.is_grad_enabled())
        )
    )
    history = own.class_wise_distil(network, batches(), QUICK)
    assert len(shown) == 2 * 2 * 5
    pairs = set()
    for (images, learns), (others, taught) in zip(shown[::2], shown[1::2], strict=True):
        assert learns
        assert not taught
        assert torch.equal(images % 3, others % 3)
        assert (images != others).all()
        pairs |= set(zip(images.tolist(), others.tolist(), strict=True))
    assert len(pairs) > 60  # of 80: another partner in the next epoch
    assert {"hard", "soft"} <= set(history[0])


def test_cskd_makes_answers_within_a_class_alike():
    plan = QUICK.model_copy(update={"epochs": 15})
    spread = []
    for weight in (0.0, 5.0):
        network = small()
        own.class_wise_distil(network, batches(), plan, soft_weight=weight)
        images = torch.cat([b.images for b in batches(shuffle=False)])
        q = network(images).detach().softmax(1)
        spread.append(sum(float(q[c::3].var(0).sum()) for c in range(3)))
    assert spread[1] < 0.7 * spread[0]


# --- SLA ------------------------------------------------------------------------------------------


def test_rotations():
    images = torch.arange(8.0).view(2, 1, 2, 2)
    views = own.rotations(images)
    assert views.shape == (4, 2, 1, 2, 2)
    assert views[1, 0, 0].tolist() == [[1.0, 3.0], [0.0, 2.0]]
    assert torch.equal(views[2], images.flip(2, 3))
    with pytest.raises(ValueError, match=r"square, .* got \(1, 1, 2, 3\)"):
        own.rotations(torch.zeros(1, 1, 2, 3))


def test_joint_loss_and_aggregate_against_loops():
    joint, labels = draws.draw(4, 3, 5, 4), torch.tensor([0, 4, 2])
    naive = 0.0
    for view in range(4):
        for b in range(3):
            flat = joint[view, b].flatten()
            naive -= float(flat.log_softmax(0)[labels[b] * 4 + view]) / 12
    assert own.joint_loss(joint, labels).item() == pytest.approx(naive)
    mean = own.aggregated(joint)
    for b in range(3):
        for k in range(5):
            assert mean[b, k].item() == pytest.approx(
                sum(float(joint[j, b, k, j]) for j in range(4)) / 4
            )
    assert gradcheck(lambda s: own.joint_loss(s, labels), (joint.requires_grad_(),))
    for wrong in (torch.zeros(4, 3, 5), torch.zeros(4, 3, 5, 3)):
        with pytest.raises(ValueError, match=r"\(views, batch, classes, views\)"):
            own.aggregated(wrong)


def test_sla_leaves_the_network_alone_to_answer():
    network = small()
    classifier = own.JointClassifier(network)
    images = torch.randn(3, 1, 6, 6)
    logits, joint = classifier(images)
    assert joint.shape == (3, 3, 4)
    assert torch.equal(logits, network(images))
    torch.testing.assert_close(joint.flatten(1), classifier.joint(network.pool(images)))
    history = own.augmentation_distil(classifier, batches(), QUICK)
    assert {"joint", "soft", "hard"} <= set(history[0])
    with pytest.raises(TypeError, match="'pool' must be a linear layer"):
        own.JointClassifier(network, head="pool")


def test_the_aggregate_is_not_taught():
    """Where only the soft term trains, the joint classifier stays."""
    classifier = own.JointClassifier(small())
    before = classifier.joint.weight.detach().clone()
    logits, joint = classifier(own.rotations(torch.randn(2, 1, 6, 6)).flatten(0, 1))
    teacher = own.aggregated(joint.unflatten(0, (4, 2))).detach()
    loss = F.kl_div(logits[:2].log_softmax(1), teacher.softmax(1), reduction="batchmean")
    loss.backward()
    assert classifier.joint.weight.grad is None
    assert torch.equal(before, classifier.joint.weight)
    plan = QUICK.model_copy(update={"epochs": 12})
    history = own.augmentation_distil(classifier, batches(), plan)
    assert history[-1]["hard"] < history[0]["hard"]


# --- DDGSD ----------------------------------------------------------------------------------------


def test_mean_discrepancy_is_the_linear_kernels():
    one, other = draws.draw(5, 4), draws.draw(5, 4, seed=1)
    kernel = sum(
        float(a @ b) * sign
        for x, y, sign in ((one, one, 1), (other, other, 1), (one, other, -2))
        for a in x
        for b in y
    )
    assert own.mean_discrepancy(one, other).item() == pytest.approx(kernel / 25)
    shuffled = other[[3, 1, 4, 0, 2]]
    assert own.mean_discrepancy(one, shuffled).item() == pytest.approx(kernel / 25)
    assert gradcheck(own.mean_discrepancy, (one.requires_grad_(), other.requires_grad_()))
    with pytest.raises(ValueError, match=r"\(5, 4\) and \(4, 4\)"):
        own.mean_discrepancy(one, other[:4])


def test_ddgsd_shows_two_views_of_the_same_images():
    shown = []
    network = small()
    network.register_forward_pre_hook(lambda _, x: shown.append(x[0].clone()))
    history = own.distorted_views(network, batches(flip=True), QUICK)
    assert {"hard", "soft", "discrepancy"} <= set(history[0])
    flipped = 0
    for images in shown:
        for one, other in zip(*images.chunk(2), strict=True):
            same, mirrored = torch.equal(one, other), torch.equal(one, other.flip(-1))
            assert same or mirrored
            flipped += mirrored and not same
    assert 20 < flipped < 60  # of 80, half are expected
    with pytest.raises(ValueError, match="two views need an augmentation"):
        own.distorted_views(small(), batches(), QUICK)


# --- snapshots ------------------------------------------------------------------------------------


def test_the_snapshot_is_the_last_cycles_end(monkeypatch):
    """Its age, its weights, and that the first cycle has none."""
    runs = []
    fit_one = common.fit_one

    def watched(network, examples, recipe, terms, **options):
        teacher = (options.get("frozen") or {}).get("teacher")
        taught = teacher and {k: v.clone() for k, v in teacher.state_dict().items()}
        start = {k: v.clone() for k, v in network.state_dict().items()}
        rows = fit_one(network, examples, recipe, terms, **options)
        left = teacher and {k: v.clone() for k, v in teacher.state_dict().items()}
        runs.append((taught, left, start, [row["lr"] for row in rows]))
        return rows

    monkeypatch.setattr(snapshot, "fit_one", watched)
    plan = QUICK.model_copy(update={"epochs": 6, "schedule": "cosine"})
    history = own.snapshot_distil(small(), batches(), plan, cycles=3)
    assert [row["teacher_age"] for row in history] == [0, 0, 1, 2, 1, 2]
    assert [row["cycle"] for row in history] == [0, 0, 1, 1, 2, 2]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert ["soft" in row for row in history] == [False, False, True, True, True, True]
    assert runs[0][0] is None
    for taught, left, start, rates in runs[1:]:
        for key, value in taught.items():
            assert torch.equal(value, start[key])  # as the former cycle left the network
            assert torch.equal(value, left[key])  # and it does not move
        assert rates == runs[0][3]  # the learning rate begins again


def test_only_the_teacher_is_softened():
    plan = QUICK.model_copy(update={"epochs": 2, "batch_size": 40, "lr": 1e-9})
    network = small()
    whole = Batches(pictures(), 40, mean=(0.0,), sd=(1.0,), shuffle=False)
    history = own.snapshot_distil(network, whole, plan, teacher_temperature=3.0, soft_weight=2.0)
    z = network(next(iter(whole)).images).detach().double()
    p, q = (z / 3).softmax(1), z.softmax(1)
    expected = 2 * float((p * (p / q).log()).sum(1).mean())
    assert history[1]["soft"] == pytest.approx(expected, rel=1e-4)


def test_cycles_go_on_through_the_data_and_resume(tmp_path):
    plan = QUICK.model_copy(update={"epochs": 4})
    orders = []

    class Watched(Batches):
        def epoch(self, number):
            orders.append(number)
            return super().epoch(number)

    watched = Watched(pictures(), 8, mean=(0.0,), sd=(1.0,))
    straight, first, second = small(), small(), small()
    own.snapshot_distil(straight, watched, plan)
    assert orders == [0, 1, 2, 3]
    own.snapshot_distil(first, batches(), plan, checkpoint=tmp_path / "state")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["state.0", "state.1"]
    (tmp_path / "state.1").unlink()
    own.snapshot_distil(second, batches(), plan, checkpoint=tmp_path / "state")
    for a, b, c in zip(straight.parameters(), first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_wrong_cycles():
    with pytest.raises(ValueError, match="from the second cycle on"):
        own.snapshot_distil(small(), batches(), QUICK, cycles=1)
    with pytest.raises(ValueError, match="2 epochs cannot be shared out evenly over 3"):
        own.snapshot_distil(small(), batches(), QUICK, cycles=3)
