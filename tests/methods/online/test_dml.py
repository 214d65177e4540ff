"""Mutual learning: its two orders by naive loops, what a step costs, trials."""

import pytest
import torch
from small_networks import assert_same, batches, linear, small, state
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb.data import Batches
from kdnb.methods import online
from kdnb.methods.offline import distil
from kdnb.methods.online.common import in_passing
from kdnb.runs.functions.online import peer_of, peer_seed
from kdnb.runs.task import data_spec
from kdnb.runs.trials import Trial, run
from kdnb.training import Recipe, predict

QUICK = Recipe(epochs=2, batch_size=8, lr=0.1, weight_decay=0.01, precision="32")

PLAIN = Recipe(epochs=1, batch_size=8, lr=0.1, momentum=0.0, schedule="constant", precision="32")


def naive(networks, order, weight=1.0, target="peers"):
    """The two orders as bare loops with all predictions made afresh where they are needed."""
    rate = PLAIN.lr
    for batch in batches().epoch(0):
        before = [network(batch.images).detach() for network in networks]
        for k, network in enumerate(networks):
            if order == "sequential":
                others = [n(batch.images).detach() for i, n in enumerate(networks) if i != k]
            else:
                others = [z for i, z in enumerate(before) if i != k]
            z = network(batch.images)
            q = z.log_softmax(1)
            loss = F.cross_entropy(z, batch.labels)
            for other in others:
                p = other.log_softmax(1)
                loss = loss + weight * (p.exp() * (p - q)).sum(1).mean() / len(others)
            for parameter, gradient in zip(
                network.parameters(),
                torch.autograd.grad(loss, list(network.parameters())),
                strict=True,
            ):
                parameter.data -= rate * gradient


def _test_batches():
    source = datasets.load("mnist")
    return Batches(source.test, 1000, mean=source.mean, sd=source.sd, shuffle=False)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("order", ["sequential", "simultaneous"])
def test_each_order_equals_its_bare_loop(order, count):
    ours, bare = [linear(s) for s in range(count)], [linear(s) for s in range(count)]
    online.mutual({str(i): n for i, n in enumerate(ours)}, batches(), PLAIN, order=order)
    naive(bare, order)
    for one, other in zip(ours, bare, strict=True):
        torch.testing.assert_close(one[1].weight, other[1].weight, rtol=1e-5, atol=1e-6)


def test_the_orders_differ_from_the_second_network_on():
    first, second = [linear(0), linear(1)], [linear(0), linear(1)]
    one_step = batches(count=8)
    online.mutual(dict(zip("ab", first, strict=True)), one_step, PLAIN, order="sequential")
    online.mutual(dict(zip("ab", second, strict=True)), one_step, PLAIN, order="simultaneous")
    assert torch.equal(first[0][1].weight, second[0][1].weight)
    assert (first[1][1].weight - second[1][1].weight).abs().max() > 1e-5


@pytest.mark.parametrize("order", ["sequential", "simultaneous"])
def test_weight_0_is_independent_training_bit_for_bit(order):
    together = {"a": small(0), "b": small(1, hidden=7)}
    online.mutual(together, batches(seed=3), QUICK, weight=0.0, order=order, seed=3)
    for network, alone in zip(together.values(), (small(0), small(1, hidden=7)), strict=True):
        distil.train(alone, batches(seed=3), QUICK, seed=3)
        assert_same(state(network), state(alone))


def test_unequal_peers_of_every_number_and_target():
    for count, target in ((2, "peers"), (3, "ensemble"), (5, "mean_logits")):
        networks = {str(i): small(i, hidden=4 + 3 * i) for i in range(count)}
        history = online.mutual(networks, batches(), QUICK, target=target).rows
        assert {f"{i}.{term}" for i in range(count) for term in ("hard", "soft")} <= set(history[0])
        assert all(row["0.soft"] > 0 for row in history)


def test_asking_a_peer_does_not_count_the_batch_twice():
    network = small().train()
    images = next(iter(batches())).images
    before = state(network)
    said = in_passing(network, images)
    assert_same(state(network), before)
    assert not said.requires_grad
    torch.testing.assert_close(said, network(images))  # which does count it
    assert int(network[2].num_batches_tracked) == 1


def test_running_statistics_are_those_of_one_pass_a_step():
    networks = {"a": small(0), "b": small(1)}
    online.mutual(networks, batches(), QUICK)
    steps = QUICK.epochs * len(batches())
    assert [int(network[2].num_batches_tracked) for network in networks.values()] == [steps] * 2


@pytest.mark.parametrize("order, passes", [("sequential", [2, 2, 1]), ("simultaneous", [1, 1, 1])])
def test_what_a_step_costs(order, passes):
    """Answers are made again for those that have moved, and only for them."""
    networks, calls = [linear(s) for s in range(3)], [0, 0, 0]
    for k, network in enumerate(networks):

        def count(module, _, k=k):
            calls[k] += module.training  # not the trial before the first step

        network.register_forward_pre_hook(count)
    online.mutual(dict(zip("abc", networks, strict=True)), batches(count=8), PLAIN, order=order)
    assert calls == passes


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path):
    whole = {"a": small(0), "b": small(1)}
    expected = online.mutual(whole, batches(), QUICK).rows

    class Killed(Exception):
        pass

    def stop(networks):
        if len(stopped) == 1:
            raise Killed
        stopped.append(1)
        return {}

    stopped = []
    file = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        online.mutual(
            {"a": small(0), "b": small(1)}, batches(), QUICK, checkpoint=file, evaluate=stop
        )
    resumed = {"a": small(0), "b": small(1)}
    history = online.mutual(resumed, batches(), QUICK, checkpoint=file).rows
    for name, network in whole.items():
        assert_same(state(network), state(resumed[name]))
    assert history[-1]["b.soft"] == expected[-1]["b.soft"]


def test_wrong_arguments():
    net = linear()
    with pytest.raises(ValueError, match="2 networks or more; got 1"):
        online.mutual({"a": net}, batches(), PLAIN)
    with pytest.raises(ValueError, match="'a' and 'b' share parameters"):
        online.mutual({"a": net, "b": net}, batches(), PLAIN)
    with pytest.raises(ValueError, match="got 'random', 'peers'"):
        online.mutual({"a": net, "b": linear(1)}, batches(), PLAIN, order="random")
    with pytest.raises(
        ValueError, match="target must be .peers., .ensemble. or .mean_logits.; got .all."
    ):
        online.mutual_loss(torch.zeros(1, 2), [torch.zeros(1, 2)], "all")
    with pytest.raises(ValueError, match="peers must be a list of at least 1; got 0"):
        online.mutual_loss(torch.zeros(1, 2), [])


def test_a_trial_measures_every_peer(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    arguments = {
        "data": data_spec("mnist", limit=64),
        "networks": [{"name": "mlp", "widths": [8]}, {"name": "mlp", "widths": [12]}],
        "recipe": Recipe(epochs=1, batch_size=32, lr=0.05, precision="32").model_dump(mode="json"),
        "noise": [0.05],
    }
    result = run(Trial("mutual", arguments, seed=3))
    metrics = result.metrics
    mean = (metrics["peer0_test_errors"] + metrics["peer1_test_errors"]) / 2
    assert metrics["mean_test_errors"] == mean
    for key in ("test_entropy", "train_entropy", "loss_rise_0.05", "test_cross_entropy"):
        assert {f"peer0_{key}", f"peer1_{key}", f"mean_{key}"} <= set(metrics)
    assert 0 < metrics["ensemble_test_errors"] < 10000
    logits = result.tensors()["logits.peer1.test"]
    assert float(online.posterior_entropy(logits)) == pytest.approx(metrics["peer1_test_entropy"])
    peer = peer_of(result, 1)
    assert peer.hidden[0].linear.out_features == 12
    assert peer_seed(3, 0) == 3  # the first peer starts as the network trained alone
    assert peer_seed(3, 1) != 3
    expected = predict(peer, _test_batches())
    torch.testing.assert_close(expected, logits)
