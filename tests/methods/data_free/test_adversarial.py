"""ZSKT and DFAD: whose step is whose, belief matching, the toy in two dimensions."""

import data_free_workshop as workshop
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdnb import losses
from kdnb.losses import discrepancy
from kdnb.methods.data_free import (
    Generator,
    NoiseBatches,
    belief_matching,
    belief_matching_toy,
    dfad,
    mean_transition_error,
    transition_curves,
    zskt,
)
from kdnb.methods.data_free.synthesis import resting
from kdnb.runs.functions.data_free import adversarial_trial
from kdnb.training import Recipe

ONE = Recipe(epochs=1, batch_size=8, lr=0.1, optimiser="sgd", momentum=0.0, schedule="constant",
             precision="32")  # fmt: skip
ADAM = ONE.model_copy(update={"optimiser": "adam", "lr": 0.01})


def small(seed=0, name="zskt"):
    torch.manual_seed(seed)
    return Generator(name, width=4, image_size=8, latent=5)


def test_an_update_that_rests_moves_nothing():
    weight = nn.Parameter(torch.ones(2))
    optimiser = torch.optim.Adam([weight], lr=0.1)
    weight.square().sum().backward()
    optimiser.step()
    before, memory = weight.clone(), optimiser.state[weight]["exp_avg"].clone()
    optimiser.zero_grad(set_to_none=True)
    loss = resting(torch.tensor(3.0))
    loss.backward()
    optimiser.step()
    assert loss.item() == 3
    assert torch.equal(weight, before)
    assert torch.equal(optimiser.state[weight]["exp_avg"], memory)


def test_zskts_first_round_is_what_the_equations_say():
    """The generator climbs the divergence, then the student descends on what it makes now."""
    teacher = workshop.small_net(1).eval()
    student, generator = workshop.small_net(2), small()
    noise = next(iter(NoiseBatches(1, 8, (5,), seed=3))).images
    twin, other = small().train(), workshop.small_net(2)
    images = twin(noise)
    height = losses.soft_targets(other(images), teacher(images), 1.0)
    slopes = torch.autograd.grad(height, list(twin.parameters()))
    with torch.no_grad():
        for parameter, slope in zip(twin.parameters(), slopes, strict=True):
            parameter += 0.1 * slope
        images = twin(noise)
    gap = losses.soft_targets(other(images), teacher(images).detach(), 1.0)
    pulls = torch.autograd.grad(gap, list(other.parameters()))
    history = zskt(student, teacher, generator, ONE, generator_recipe=ONE, steps=1,
                   student_steps=1, seed=3)  # fmt: skip
    for moved, climbed in zip(generator.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(moved, climbed, rtol=1e-4, atol=1e-5)
    for moved, start, pull in zip(student.parameters(), other.parameters(), pulls, strict=True):
        torch.testing.assert_close(moved, start - 0.1 * pull, rtol=1e-4, atol=1e-5)
    assert history[0]["adversarial"] == pytest.approx(-height.item(), rel=1e-4)
    assert history[0]["soft"] == pytest.approx(gap.item(), rel=1e-4)


def test_zskt_steps_the_generator_once_for_each_round_of_the_student():
    student = workshop.Recorder(workshop.small_net(2))
    generator = small()
    weights = []
    generator.register_forward_hook(lambda part, *_: weights.append(part.last.weight.clone()))
    zskt(student, workshop.small_net(1), generator, ADAM, generator_recipe=ADAM, steps=6,
         student_steps=3)  # fmt: skip
    # Per round: once by the generator's step, three times by the student's own, on one batch.
    assert len(student.seen) == 8
    for start in (0, 4):
        same = student.seen[start + 1]
        assert all(torch.equal(same, seen) for seen in student.seen[start + 1 : start + 4])
        assert not torch.equal(student.seen[start], same)
    assert len(weights) == 4
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])


def test_zskts_attention_is_attention_transfer():
    teacher, student = workshop.small_net(1).eval(), workshop.small_net(2)
    seen = workshop.Recorder(student)
    history = zskt(
        seen, teacher, small(), ONE, generator_recipe=ONE, steps=1, student_steps=1,
        attention={"network.0": "0"}, attention_weight=7.0,
    )  # fmt: skip
    images = seen.seen[-1]
    expected = losses.attention_transfer(
        workshop.small_net(2)[0](images), teacher[0](images), variant="authors"
    )
    assert history[0]["attention"] == pytest.approx(7 * expected.item(), rel=1e-4)


def test_dfads_student_sees_new_images_and_the_generator_moves_last():
    student, generator = workshop.Recorder(workshop.small_net(2)), small(name="dfad")
    steps = []
    generator.register_forward_hook(lambda part, *_: steps.append(part.last.weight.clone()))
    history = dfad(student, workshop.small_net(1), generator, ADAM, generator_recipe=ADAM,
                   steps=4, student_steps=2)  # fmt: skip
    assert len(student.seen) == 6
    assert len({float(images.abs().sum()) for images in student.seen}) == 6
    assert all(torch.equal(steps[0], weight) for weight in steps[:3])
    assert not torch.equal(steps[2], steps[3])
    assert history[0]["adversarial"] < 0 < history[0]["discrepancy"]


def test_dfad_climbs_the_discrepancy():
    teacher, student = workshop.small_net(1), workshop.small_net(2)
    generator = small(name="dfad")
    noise = torch.randn(64, 5)

    def gap():
        with torch.no_grad():
            images = generator.train()(noise)
            return float(discrepancy(workshop.small_net(2)(images), teacher(images)))

    before = gap()
    still = ONE.model_copy(update={"lr": 1e-9})  # a student that hardly moves
    dfad(student, teacher, generator, still, generator_recipe=ADAM, steps=20, student_steps=1)
    assert gap() > 1.1 * before


@pytest.mark.parametrize("game", [zskt, dfad])
def test_rounds_must_fit_an_epoch(game):
    with pytest.raises(ValueError, match="multiple of student_steps; got 4 and 3"):
        game(workshop.small_net(2), workshop.small_net(1), small(), ONE, generator_recipe=ONE,
             steps=4, student_steps=3)  # fmt: skip


def linear(weight):
    network = nn.Linear(2, 3, bias=False)
    network.weight.data = torch.tensor(weight)
    return network


def test_transition_curves_against_a_walk_by_hand():
    student = linear([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])
    teacher = linear([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    point, label = torch.tensor([1.0, 0.2]), 0
    ours, theirs = transition_curves(student, teacher, point[None], torch.tensor([label]),
                                     steps=3, lr=0.5)  # fmt: skip
    assert ours.shape == theirs.shape == (1, 2, 3)
    for shift in (1, 2):
        x = point.clone()
        for step in range(3):
            q, p = (F.softmax(net.weight.detach() @ x, 0) for net in (student, teacher))
            assert ours[0, shift - 1, step].item() == pytest.approx(q[shift].item(), abs=1e-5)
            assert theirs[0, shift - 1, step].item() == pytest.approx(p[shift].item(), abs=1e-5)
            wrong = q - F.one_hot(torch.tensor(shift), 3)
            x = x - 0.5 * (student.weight.detach().T @ wrong)


def test_walks_in_several_batches_are_the_same_walks(monkeypatch):
    student = linear([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])
    teacher = linear([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    points, labels = torch.tensor([[1.0, 0.2], [0.0, 1.0], [-2.0, 0.1]]), torch.tensor([0, 1, 2])
    once = transition_curves(student, teacher, points, labels, steps=3)
    monkeypatch.setattr(belief_matching, "TOGETHER", 4)
    for whole, parts in zip(
        once, transition_curves(student, teacher, points, labels, steps=3), strict=True
    ):
        torch.testing.assert_close(whole, parts)
    alone = transition_curves(student, teacher, points[1:2], labels[1:2], steps=3)
    torch.testing.assert_close(once[0][1:2], alone[0])


def test_the_transition_error_is_zero_for_a_perfect_match_and_grows_with_the_gap():
    teacher = linear([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])
    points = torch.tensor([[1.0, 0.2], [0.0, 1.0], [0.1, -3.0]])
    labels = teacher(points).argmax(1)
    options = {"steps": 4, "lr": 0.5}
    assert mean_transition_error(teacher, teacher, points, labels, **options) == 0
    assert teacher.training  # looked at, and left as it was
    near, far = (linear((teacher.weight.data * scale).tolist()) for scale in (1.1, 3.0))
    errors = [mean_transition_error(net, teacher, points, labels, **options) for net in (near, far)]
    assert 0 < errors[0] < errors[1] < 1
    with pytest.raises(ValueError, match="no image that both networks classify right"):
        mean_transition_error(teacher, teacher, points, (labels + 1) % 3, **options)


def test_the_toys_points_hunt_for_disagreement_within_reach():
    teacher, student = linear([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.5]]), linear([[0.0, 0.0]] * 3)
    twin = linear([[0.0, 0.0]] * 3)
    start = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    begun = 3 * (2 * start.sigmoid() - 1)
    points, history = belief_matching_toy(
        student, teacher, start, rounds=1, point_steps=10, student_steps=2, lr=0.05
    )
    assert points.abs().max() < 3
    assert not torch.equal(student.weight, twin.weight)

    def gap(x):
        return losses.soft_targets(twin(x), teacher(x), 1.0).item()

    assert gap(points) > gap(begun)
    assert set(history[0]) >= {"adversarial", "soft"}
    belief_matching_toy(twin, teacher, start, rounds=10, point_steps=1, student_steps=20, lr=0.05)
    grid = torch.cartesian_prod(torch.linspace(-3, 3, 7), torch.linspace(-3, 3, 7))
    assert (twin(grid).argmax(1) == teacher(grid).argmax(1)).float().mean() > 0.85


@pytest.mark.parametrize(
    ("method", "options"),
    [("zskt", {"student_steps": 2, "attention": {"stage1": "stage1"}}), ("dfad", {})],
)
def test_the_trials_never_touch_the_training_set(monkeypatch, tmp_path, method, options):
    source = workshop.guarded_mnist(monkeypatch)
    options = {"student_steps": 1} | options
    outcome = adversarial_trial(
        workshop.context(tmp_path), 0, data={"name": "mnist", "evaluated": 20},
        network={"name": "lenet5_half_dafl"}, teacher=workshop.teacher_trial(source),
        generator={"name": method, "width": 2}, method=method, iterations=4, batch_size=4,
        every=2, student_recipe={"optimiser": "adam", "lr": 1e-3},
        generator_recipe={"optimiser": "adam", "lr": 1e-3}, precision="32", **options,
    )  # fmt: skip
    assert "adversarial" in outcome.series
    assert len(outcome.series["test_errors"]) == 2
    assert outcome.tensors["bank.images"].shape == (100, 1, 32, 32)
    with pytest.raises(ValueError, match="method must be one of zskt, dfad; got 'gan'"):
        adversarial_trial(
            workshop.context(tmp_path), 0, data={"name": "mnist"}, network={}, teacher=None,
            generator={}, method="gan", iterations=1, batch_size=1, every=1, student_recipe={},
            generator_recipe={},
        )  # fmt: skip
