"""Tf-KD: the virtual teacher and label smoothing, self-training; labels the network softens itself."""

import draws
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.nn import functional as F

from kdnb.data import Batches, Images
from kdnb.losses import label_smoothing
from kdnb.methods import self_distillation as own
from kdnb.training import Recipe

QUICK = Recipe(epochs=2, batch_size=8, lr=0.05, precision="32")


def batches(**options):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Batches(Images(images, torch.arange(40) % 3), 8, mean=(0.5,), sd=(0.3,), **options)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.ReLU())
        self.head = nn.Linear(5, 3)

    def forward(self, images):
        return self.head(self.body(images))


def small(seed=0):
    torch.manual_seed(seed)
    return Small()


# --- the virtual teacher --------------------------------------------------------------------------


def test_the_virtual_teacher_by_hand():
    teacher = own.virtual_teacher(torch.tensor([2, 0]), 5, 0.9)
    assert teacher[0].tolist() == pytest.approx([0.025, 0.025, 0.9, 0.025, 0.025])
    assert teacher[1].argmax() == 0
    for wrong in (0.2, 1.0, 0.1):
        with pytest.raises(ValueError, match="correct must lie between 1 / 5 and 1"):
            own.virtual_teacher(torch.tensor([0]), 5, wrong)
    with pytest.raises(ValueError, match="at least 2"):
        own.virtual_teacher(torch.tensor([0]), 1)


def test_the_paper_and_the_released_code_against_naive_loops():
    logits, labels = draws.draw(4, 6, scale=2), torch.tensor([0, 5, 2, 2])
    tau, a = 20.0, 0.95
    naive = {"paper": 0.0, "authors": 0.0}
    for b in range(4):
        p = torch.full((6,), (1 - a) / 5, dtype=torch.float64)
        p[labels[b]] = a
        soft = p ** (1 / tau) / (p ** (1 / tau)).sum()
        q = (logits[b] / tau).softmax(0)
        naive["paper"] += tau**2 * float((soft * (soft / q).log()).sum()) / 4
        soft, q = (p / tau).softmax(0), logits[b].softmax(0)
        naive["authors"] += float((soft * (soft / q).log()).sum()) / 4
    for variant, expected in naive.items():
        found = own.teacher_free_regularisation(logits, labels, tau, a, variant)
        assert found.item() == pytest.approx(expected, rel=1e-9)


def test_the_released_code_is_nearly_uniform():
    """The trap: 0.1045 for the true class of ten, where a softened 0.99 is 0.135."""
    assert own.softened_correct(10, 20.0, variant="authors") == pytest.approx(0.10453, abs=1e-5)
    assert own.softened_correct(10, 20.0) == pytest.approx(
        0.99**0.05 / (0.99**0.05 + 9 * (0.01 / 9) ** 0.05)
    )
    assert own.softened_correct(10, 20.0, correct=0.999) == pytest.approx(0.15, abs=0.002)


def test_tf_kd_is_label_smoothing_exactly():
    worst, tolerance = own.virtual_teacher_identity()
    assert worst < tolerance
    logits = draws.draw(6, 7, scale=2).requires_grad_()
    labels = torch.arange(6)
    gradients = {}
    for epsilon_factor in (1.0, 1.1):  # and not with another amount of smoothing
        epsilon = epsilon_factor * own.equivalent_smoothing(0.4, 7, 20.0, 0.9)
        smoothed = label_smoothing(logits, labels, epsilon)
        (gradients[epsilon_factor],) = torch.autograd.grad(smoothed, logits)
    soft = own.teacher_free_regularisation(logits, labels, 20.0, 0.9, "authors")
    loss = 0.6 * F.cross_entropy(logits, labels) + 0.4 * soft
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient - gradients[1.0]).abs().max() < 1e-12
    assert (gradient - gradients[1.1]).abs().max() > 1e-3


def test_a_softened_student_is_no_label_smoothing():
    with pytest.raises(ValueError, match="temperature 1 alone; got 20"):
        own.equivalent_smoothing(0.5, 10, 20.0, variant="paper")
    logits, labels = draws.draw(8, 5, scale=2).requires_grad_(), torch.arange(8) % 5
    soft = own.teacher_free_regularisation(logits, labels, 20.0)
    (gradient,) = torch.autograd.grad(soft, logits)
    # Were it cross-entropy with any fixed targets u, softmax(z) - 8 * gradient would be u: the
    # same for all samples of a class, which it is not.
    targets = logits.detach().softmax(1) - 8 * gradient
    assert (targets[0] - targets[5]).abs().max() > 0.01


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_gradients_extremes_and_errors(variant):
    labels = torch.tensor([0, 1, 2])

    def loss(z):
        return own.teacher_free_regularisation(z, labels, 20.0, variant=variant)

    assert gradcheck(loss, (draws.draw(3, 4).requires_grad_(),))
    extreme = (1e3 * torch.eye(3, 4)).bfloat16().requires_grad_()
    value = loss(extreme)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(extreme.grad).all()
    with pytest.raises(ValueError, match="temperature must be"):
        own.teacher_free_regularisation(torch.zeros(3, 4), labels, 0.0, variant=variant)
    with pytest.raises(ValueError, match="got 'author'"):
        own.teacher_free_regularisation(torch.zeros(3, 4), labels, variant="author")
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        own.teacher_free_regularisation(torch.zeros(2, 4), labels)


def test_training_with_the_virtual_teacher_is_training_with_smoothed_labels():
    from kdnb.methods.offline import distil

    one, two = small(), small()
    own.virtually_taught(one, batches(), QUICK, soft_weight=0.3, hard_weight=0.7, variant="authors")
    epsilon = own.equivalent_smoothing(0.3, 3, 20.0)
    distil.train(two, batches(), QUICK, label_smoothing=epsilon)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_self_training_is_one_tempered_generation():
    found = own.self_taught(
        Small, batches(), QUICK, temperature=4.0, soft_weight=0.8, hard_weight=0.2, seed=1
    )
    line = own.born_again(
        Small, batches(), QUICK, generations=1, temperature=4.0, weight=0.8, label_weight=0.2,
        seed=1,
    )  # fmt: skip
    for name, network in line.networks.items():
        assert torch.equal(network.head.weight, found.networks[name].head.weight)
    assert found.history[["soft", "hard"]][found.history.generation == 1].notna().all(axis=None)


# --- tolerant teachers ----------------------------------------------------------------------------


def test_top_score_difference_against_a_loop():
    logits = draws.draw(5, 8, scale=2)
    for kept in (2, 4, 8):
        naive = 0.0
        for row in logits:
            top = sorted(row.softmax(0).tolist(), reverse=True)
            naive += (top[0] - sum(top[1:kept]) / (kept - 1)) / 5
        assert own.top_score_difference(logits, kept).item() == pytest.approx(naive)
    assert gradcheck(lambda z: own.top_score_difference(z, 3), (logits.requires_grad_(),))
    for kept in (1, 9):
        with pytest.raises(ValueError, match=r"kept must lie in \[2, 8\]"):
            own.top_score_difference(logits, kept)


def test_a_tolerant_teacher_is_less_sure():
    plan = QUICK.model_copy(update={"epochs": 15})
    strict, tolerant = small(), small()
    for network, weight in ((strict, 0.0), (tolerant, 0.9)):
        own.tolerant_teacher(
            network, batches(), plan, kept=3, hard_weight=0.6, tolerance_weight=weight
        )
    images = next(iter(batches(shuffle=False))).images
    sure = [n(images).softmax(1).amax(1).mean().item() for n in (strict, tolerant)]
    assert sure[1] < sure[0] - 0.02


# --- embeddings -----------------------------------------------------------------------------------


def test_embedding_targets_against_a_loop():
    embeddings, labels = draws.draw(4, 3), torch.tensor([1, 3])
    targets = own.embedding_targets(embeddings, labels, 0.7)
    for b, label in enumerate(labels):
        scores = torch.tensor(
            [-float(((embeddings[label] - e) ** 2).sum()) / (2 * 0.49) for e in embeddings]
        )
        torch.testing.assert_close(targets[b].float(), scores.softmax(0))
        assert targets[b].argmax() == label
    assert not targets.requires_grad
    with pytest.raises(ValueError, match="width must be above 0"):
        own.embedding_targets(embeddings, labels, 0.0)
    with pytest.raises(ValueError, match="classes, features"):
        own.embedding_targets(embeddings[0], labels)
    with pytest.raises(ValueError, match="labels must be integers"):
        own.embedding_targets(embeddings, labels.float())


def test_classes_with_close_embeddings_share_the_target():
    embeddings = torch.tensor([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0]])
    targets = own.embedding_targets(embeddings, torch.tensor([0]))
    assert targets[0, 1] > 0.49
    assert targets[0, 2] < 1e-5


def test_embedding_training():
    history = own.embedding_distil(small(), batches(), QUICK)
    assert {"hard", "soft"} <= set(history[0])
    with pytest.raises(TypeError, match="'body' must be a linear layer"):
        own.embedding_distil(small(), batches(), QUICK, head="body")


# --- Beta smoothing -------------------------------------------------------------------------------


def test_beta_targets_rank_by_confidence():
    torch.manual_seed(0)
    confidence, labels = torch.tensor([0.2, 0.9, 0.5, 0.7]), torch.tensor([0, 1, 2, 0])
    for _ in range(10):
        targets = own.beta_targets(confidence, labels, 3, 2.0)
        at = targets[torch.arange(4), labels]
        assert at.argsort().tolist() == confidence.argsort().tolist()
        torch.testing.assert_close(targets.sum(1), torch.ones(4))
        rest = targets.sort(1).values
        for row, label in zip(targets, labels, strict=True):
            others = [float(v) for k, v in enumerate(row) if k != label]
            assert others[0] == pytest.approx(others[1])
        assert rest.min() >= 0


def test_beta_targets_have_the_moments_of_a_beta_distribution():
    torch.manual_seed(0)
    n, a = 40000, 3.0
    drawn = own.beta_targets(torch.rand(n), torch.zeros(n, dtype=torch.int64), 2, a)[:, 0]
    assert drawn.mean().item() == pytest.approx(a / (a + 1), abs=0.004)
    assert drawn.var().item() == pytest.approx(a / ((a + 1) ** 2 * (a + 2)), rel=0.03)


def test_wrong_beta_targets():
    half, labels = torch.tensor([0.5]), torch.tensor([0])
    with pytest.raises(ValueError, match="concentration must be above 0"):
        own.beta_targets(half, labels, 3, 0.0)
    with pytest.raises(ValueError, match="at least 2 classes"):
        own.beta_targets(half, labels, 1)
    with pytest.raises(ValueError, match=r"\(2,\), \(1,\)"):
        own.beta_targets(torch.zeros(2), labels, 3)


def test_the_running_mean_follows_and_is_not_trained():
    network = own.WithAverage(small(), decay=0.9)
    start = network.average.head.weight.clone()
    with torch.no_grad():
        network.network.head.weight += 1.0
    network.follow()
    # The first step's decay is 1 - 1/2.
    torch.testing.assert_close(network.average.head.weight, start + 0.5)
    for _ in range(200):
        network.follow()
    torch.testing.assert_close(network.average.head.weight, start + 1.0)
    assert not any(p.requires_grad for p in network.average.parameters())


def test_beta_smoothing_trains_and_resumes(tmp_path):
    plan = QUICK.model_copy(update={"epochs": 3})

    def run(model, **options):
        own.beta_smoothed(model, batches(), plan, **options)
        return model

    class Killed(Exception):
        pass

    def die(networks):
        if (tmp_path / "state").exists():
            raise Killed
        return {}

    straight = run(own.WithAverage(small(), 0.9))
    with pytest.raises(Killed):
        run(own.WithAverage(small(), 0.9), checkpoint=tmp_path / "state", evaluate=die)
    resumed = run(own.WithAverage(small(), 0.9), checkpoint=tmp_path / "state")
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    assert straight.steps == 15
    assert not torch.equal(straight.average.head.weight, straight.network.head.weight)
