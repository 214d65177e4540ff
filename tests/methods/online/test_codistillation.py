"""Codistillation: stale peers in processes of their own."""

import multiprocessing

import pytest
import torch
from killed_runs import QUICK, STEP, Killed, killed_after
from small_networks import assert_same, batches, linear, small, state
from torch.nn import functional as F

from kdnb.methods import online
from kdnb.methods.offline.distil import train


def _copy(seed, name, peer, folder, queue):
    history = online.codistil(
        linear(seed), batches(seed=seed), QUICK, name=name, peers=[peer], folder=folder, every=2
    )
    queue.put((name, history))


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


def test_a_changed_file_of_a_peer_is_passed_over_and_a_strangers_is_not_overwritten(tmp_path):
    file = tmp_path / "b.safetensors"
    online.publish(linear(1), file, 7)
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    peer = online.StalePeer(linear(5), file)
    peer.refresh()
    assert peer.step is None
    torch_file = tmp_path / "a.safetensors"
    torch_file.write_bytes(b"weights of somebody else")
    with pytest.raises(ValueError, match=r"a.safetensors is there and is none of our files"):
        online.codistil(linear(), batches(), QUICK, name="a", peers=["b"], folder=tmp_path, every=1)
    assert torch_file.read_bytes() == b"weights of somebody else"
