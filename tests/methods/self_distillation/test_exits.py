"""Networks with exits: their costs and savings."""

import draws
import pytest
import torch
from exit_networks import exits, resnet
from torch import nn

from kdnb import nets
from kdnb.methods import architecture
from kdnb.methods import self_distillation as own
from kdnb.nets import features


def mlp_exits():
    torch.manual_seed(0)
    network = nets.build("mlp", num_classes=3, in_channels=1, image_size=8, widths=[16, 12, 10])
    return own.MultiExit(network, ["hidden.0", "hidden.1"], "hidden.2", torch.zeros(2, 1, 8, 8))


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
