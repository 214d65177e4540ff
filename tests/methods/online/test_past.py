"""Taught by one's own past, and by stale peers: consistency, checkpoints, codistillation."""

import copy
import multiprocessing

import draws
import pytest
import torch
from small_networks import assert_same, batches, linear, pictures, small, state
from torch.nn import functional as F

from kdnb.data import Batches, Images
from kdnb.methods import online
from kdnb.methods.offline.distil import train
from kdnb.training import Recipe

QUICK = Recipe(epochs=3, batch_size=8, lr=0.05, precision="32")
STEP = Recipe(epochs=1, batch_size=8, lr=0.1, momentum=0.0, schedule="constant", precision="32")


class Killed(Exception):
    pass


def killed_after(epochs):
    done = []

    def evaluate(networks):
        done.append(1)
        if len(done) > epochs:
            raise Killed
        return {}

    return evaluate


def test_the_cost_and_the_labels_by_hand():
    logits, target = draws.draw(4, 3), draws.draw(4, 3, seed=1).softmax(1)
    expected = float((logits.softmax(1) - target).square().sum() / 12)
    assert float(online.consistency_cost(logits, target)) == pytest.approx(expected)
    labels = torch.tensor([1, -1, 0, -1])
    known = F.cross_entropy(logits[[0, 2]], labels[[0, 2]], reduction="sum") / 4
    torch.testing.assert_close(online.labelled_cross_entropy(logits, labels), known.float())
    assert float(online.labelled_cross_entropy(logits, torch.full((4,), -1))) == 0


# --- temporal ensembling --------------------------------------------------------------------


def test_targets_are_the_corrected_average_of_the_epochs():
    ensemble = online.TemporalEnsemble(linear(), 40, 3)
    said = []

    def evaluate(networks):
        said.append(ensemble.latest.clone())
        return {}

    online.temporal_ensembling(ensemble, batches(), QUICK, ramp_up=0, evaluate=evaluate)
    z = [0.6 * 0.4 * said[0] + 0.4 * said[1], 0.4 * said[0]]  # after epoch 2 and 1
    torch.testing.assert_close(ensemble.target, z[0] / (1 - 0.6**2))  # that epoch 3 aimed at
    assert (said[0].sum(1) - 1).abs().max() < 1e-5
    first = online.TemporalEnsemble(linear(), 4, 3)
    first.latest.copy_(draws.draw(4, 3).softmax(1))
    first.fold(1)
    torch.testing.assert_close(first.target, first.latest)  # one epoch: no shrinking towards 0


def test_the_first_epoch_knows_labels_alone():
    ensemble, alone = online.TemporalEnsemble(linear(), 40, 3), linear()
    history = online.temporal_ensembling(ensemble, batches(), STEP, weight=9.0, ramp_up=0)
    train(alone, batches(), STEP)
    torch.testing.assert_close(ensemble.network[1].weight, alone[1].weight)
    assert history[0]["consistency"] == 0


def test_unlabelled_images_teach_too():
    labels = pictures().labels.clone()
    labels[10:] = -1
    some = Batches(Images(pictures().images, labels), 8, mean=(0.5,), sd=(0.3,))
    ensemble = online.TemporalEnsemble(linear(), 40, 3)
    history = online.temporal_ensembling(ensemble, some, QUICK, ramp_up=0)
    assert history[1]["consistency"] > 0
    assert history[0]["hard"] < 0.5 * torch.tensor(3.0).log()


def test_temporal_ensembling_resumes_bit_for_bit(tmp_path):
    whole = online.TemporalEnsemble(linear(), 40, 3)
    online.temporal_ensembling(whole, batches(), QUICK, ramp_up=2)
    file = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        online.temporal_ensembling(
            online.TemporalEnsemble(linear(), 40, 3), batches(), QUICK, ramp_up=2,
            checkpoint=file, evaluate=killed_after(2),
        )  # fmt: skip
    resumed = online.TemporalEnsemble(linear(), 40, 3)
    online.temporal_ensembling(resumed, batches(), QUICK, ramp_up=2, checkpoint=file)
    assert_same(state(whole), state(resumed))


def test_temporal_ensembling_needs_to_know_the_images():
    loader = [(batch.images, batch.labels) for batch in batches()]
    with pytest.raises(ValueError, match="needs `Batches`"):
        online.temporal_ensembling(online.TemporalEnsemble(linear(), 40, 3), loader, QUICK)
    with pytest.raises(ValueError, match="momentum must lie"):
        online.TemporalEnsemble(linear(), 40, 3, momentum=1.0)


# --- mean teacher ---------------------------------------------------------------------------


def test_the_moving_average_by_hand():
    pair = online.MeanTeacher(linear(0), ema_decay=0.6)
    start = pair.student[1].weight.detach().clone()
    path, mean = [], start.clone()
    for step, decay in enumerate((1 / 2, 0.6, 0.6), start=1):  # 1 - 1/2, then 2/3 and 3/4 capped
        with torch.no_grad():
            pair.student[1].weight.add_(step)
        path.append(pair.student[1].weight.detach().clone())
        pair.average()
        mean = decay * mean + (1 - decay) * path[-1]
        torch.testing.assert_close(pair.teacher[1].weight, mean)
    assert int(pair.step) == 3


def test_the_teacher_follows_after_every_step():
    pair = online.MeanTeacher(linear(0), ema_decay=0.9)
    start = pair.student[1].weight.detach().clone()
    online.mean_teacher(pair, batches(count=8), STEP, weight=0.0)
    torch.testing.assert_close(pair.teacher[1].weight, (start + pair.student[1].weight) / 2)
    assert pair.teacher[1].weight.grad is None
    assert (pair.student[1].weight - start).abs().max() > 1e-4


def test_the_teacher_holds_the_student_back():
    """One step's pull is the gradient of the squared difference for the student alone."""
    ends = []
    for weight in (0.0, 10.0):
        pair = online.MeanTeacher(linear(0))
        pair.teacher[1].weight.data.add_(draws.draw(3, 36, seed=1, scale=0.1).float())
        teacher = copy.deepcopy(pair.teacher)
        online.mean_teacher(pair, batches(count=8), STEP, weight=weight, ramp_up=0)
        ends.append(pair.student[1].weight.detach())
    fresh, batch = linear(0), next(iter(batches(count=8)))
    cost = (fresh(batch.images).softmax(1) - teacher(batch.images).softmax(1)).square().mean()
    (gradient,) = torch.autograd.grad(cost, fresh[1].weight)
    torch.testing.assert_close(ends[1] - ends[0], -0.1 * 10 * gradient, rtol=1e-3, atol=1e-6)


def test_student_and_teacher_see_views_of_their_own():
    seen = []

    def view(images):
        seen.append(images + torch.randn_like(images))
        return seen[-1]

    online.mean_teacher(online.MeanTeacher(small()), batches(count=8), STEP, view=view)
    assert len(seen) == 2
    assert not torch.equal(*seen)


def test_mean_teacher_resumes_bit_for_bit(tmp_path):
    whole = online.MeanTeacher(small())
    online.mean_teacher(whole, batches(), QUICK, ramp_up=2)
    file = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        online.mean_teacher(
            online.MeanTeacher(small()), batches(), QUICK, ramp_up=2,
            checkpoint=file, evaluate=killed_after(1),
        )  # fmt: skip
    resumed = online.MeanTeacher(small())
    online.mean_teacher(resumed, batches(), QUICK, ramp_up=2, checkpoint=file)
    assert_same(state(whole), state(resumed))
    assert int(resumed.step) == 15
    with pytest.raises(ValueError, match="ema_decay must lie"):
        online.MeanTeacher(small(), 1.0)


# --- the best checkpoint --------------------------------------------------------------------


def test_the_best_checkpoint_teaches_only_when_the_score_falls():
    scores = iter([1.0, 3.0, 2.0, 4.0])
    kept, seen = online.BestSoFar(linear()), []

    def score(network):
        seen.append(state(network))
        return next(scores)

    history = online.from_checkpoints(kept, batches(), QUICK, score=score)
    assert [row["soft"] > 0 for row in history] == [False, False, True]
    assert len(seen) == 4  # before every epoch, and the last one's end
    assert_same(state(kept.best), seen[3])
    assert_same(state(kept.best), state(kept.network))


def test_a_record_is_kept_and_a_worse_score_is_not():
    kept = online.BestSoFar(linear(0))
    assert not kept.teaches(0.5)
    best = state(kept.network)
    kept.network.load_state_dict(linear(1).state_dict())
    assert kept.teaches(0.4)
    assert_same(state(kept.best), best)
    assert not kept.teaches(0.5)  # as good: the younger one counts
    assert_same(state(kept.best), state(kept.network))


# --- codistillation -------------------------------------------------------------------------


def test_the_age_of_a_stale_peer(tmp_path):
    """A file of step 3, read at step 0 and 4 of 5: its age at step t is t - 3."""
    online.publish(linear(1), tmp_path / "b.safetensors", 3)
    history = online.codistil(
        linear(0), batches(), STEP, name="a", peers=["b"], folder=tmp_path, every=4
    )
    assert history[0]["age.b"] == pytest.approx(sum(t - 3 for t in range(5)) / 5)
    assert history[0]["taught.b"] == 1.0
    assert history[0]["soft"] > 0


def test_a_missing_peer_teaches_nothing(tmp_path):
    ours, alone = linear(0), linear(0)
    history = online.codistil(
        ours, batches(), QUICK, name="a", peers=["b"], folder=tmp_path, every=2
    )
    train(alone, batches(), QUICK)
    assert torch.equal(ours[1].weight, alone[1].weight)
    assert [(row["taught.b"], row["age.b"], row["soft"]) for row in history] == [(0, 0, 0)] * 3


def test_a_peer_that_comes_late_and_burn_in(tmp_path):
    """It is met at the first exchange after it has written, and heard after the burn-in."""
    file = tmp_path / "b.safetensors"

    def evaluate(networks):
        if not file.exists():
            online.publish(linear(1), file, 2)
        return {}

    def run(burn_in):
        file.unlink(missing_ok=True)
        history = online.codistil(
            linear(0), batches(), QUICK, name="a", peers=["b"], folder=tmp_path, every=4,
            burn_in=burn_in, evaluate=evaluate,
        )  # fmt: skip
        return [row["taught.b"] for row in history], [row["age.b"] for row in history]

    taught, ages = run(0)
    assert taught == [0.0, pytest.approx(2 / 5), 1.0]  # written after step 5, read at step 8
    assert ages[1:] == [pytest.approx((8 + 9) / 2 - 2), pytest.approx(12 - 2)]
    assert run(14)[0] == [0.0, 0.0, pytest.approx(1 / 5)]


def test_codistillation_by_a_bare_step(tmp_path):
    online.publish(linear(1), tmp_path / "b.safetensors", 0)
    online.publish(linear(2), tmp_path / "c.safetensors", 0)
    ours, bare = linear(0), linear(0)
    online.codistil(
        ours, batches(count=8), STEP, name="a", peers=["b", "c"], folder=tmp_path, every=1,
        weight=2.0,
    )  # fmt: skip
    batch = next(iter(batches(count=8)))
    z = bare(batch.images)
    mean = sum(linear(s)(batch.images).softmax(1) for s in (1, 2)).detach() / 2
    loss = F.cross_entropy(z, batch.labels) - 2 * (mean * z.log_softmax(1)).sum(1).mean()
    (gradient,) = torch.autograd.grad(loss, bare[1].weight)
    torch.testing.assert_close(ours[1].weight, bare[1].weight - 0.1 * gradient)


def test_what_is_published_can_be_read_and_what_is_damaged_is_passed_over(tmp_path):
    file = tmp_path / "b.safetensors"
    peer = online.StalePeer(small(5), file)
    peer.refresh()
    assert peer.step is None
    online.publish(small(1), file, 7)
    peer.refresh()
    assert peer.step == 7
    assert_same(state(peer.network), state(small(1)))
    file.write_bytes(b"half a file")
    peer.refresh()
    assert peer.step == 7
    assert_same(state(peer.network), state(small(1)))
    online.publish(small(1, hidden=4), file, 8)
    with pytest.raises(RuntimeError, match="size mismatch"):
        peer.refresh()


def test_a_resumed_copy_counts_its_steps_on(tmp_path):
    online.publish(linear(1), tmp_path / "b.safetensors", 0)
    options = {"name": "a", "peers": ["b"], "folder": tmp_path, "every": 100}
    file = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        online.codistil(
            linear(), batches(), QUICK, checkpoint=file, evaluate=killed_after(1), **options
        )
    history = online.codistil(linear(), batches(), QUICK, checkpoint=file, **options)
    assert [row["age.b"] for row in history] == [2.0, 7.0, 12.0]
    assert all(row["taught.b"] == 1.0 for row in history)


def _copy(seed, name, peer, folder, queue):
    history = online.codistil(
        linear(seed), batches(seed=seed), QUICK, name=name, peers=[peer], folder=folder, every=2
    )
    queue.put((name, history))


def test_two_processes_teach_each_other(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    jobs = [
        context.Process(target=_copy, args=(seed, *names, tmp_path, queue))
        for seed, names in ((0, "ab"), (1, "ba"))
    ]
    for job in jobs:
        job.start()
    histories = dict(queue.get(timeout=240) for _ in jobs)
    for job in jobs:
        job.join(timeout=240)
    assert [job.exitcode for job in jobs] == [0, 0]
    assert set(histories) == {"a", "b"}
    # Whoever was first may have finished alone; the later one has met it.
    assert max(histories["a"][-1]["taught.b"], histories["b"][-1]["taught.a"]) > 0
    for name in "ab":
        peer = online.StalePeer(linear(5), tmp_path / f"{name}.safetensors")
        peer.refresh()
        assert peer.step == 15


def test_wrong_arguments(tmp_path):
    options = {"folder": tmp_path, "every": 2}
    with pytest.raises(ValueError, match="'a' needs peers of other names"):
        online.codistil(linear(), batches(), QUICK, name="a", peers=["a"], **options)
    with pytest.raises(ValueError, match="needs peers"):
        online.codistil(linear(), batches(), QUICK, name="a", peers=[], **options)
    with pytest.raises(ValueError, match="every must be at least 1"):
        online.codistil(linear(), batches(), QUICK, name="a", peers=["b"], folder=tmp_path, every=0)
