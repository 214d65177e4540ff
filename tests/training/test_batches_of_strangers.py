"""The contract of batches: the last one, those that a method needs, and loaders of any kind."""

import math
import random

import numpy as np
import pytest
import torch
from strange_data import QUICK, N, draw, images, labels, linear
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import kdnb
from kdnb import nets
from kdnb.data.loaders import LoaderBatches
from kdnb.training.alone import ends_alone


class Normed(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.norm, self.head = nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, inputs):
        return self.head(self.norm(self.first(inputs.flatten(1))))


def test_a_last_batch_of_one_is_left_out_where_batch_norm_cannot_take_it():
    data, options = (images()[:17], labels()[:17]), {"epochs": 1, "lr": 0.05, "precision": "32"}
    options |= {"seed": 3, "schedule": "constant"}
    batches = list(kdnb.data.as_batches(data, 8, seed=3).epoch(0))
    assert [batch.size for batch in batches] == [8, 8, 1]
    found, expected = Normed(), Normed()
    kdnb.train(found, data, batch_size=8, **options)
    kdnb.train(expected, batches[:2], **options)
    for key, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[key], value), key
    kdnb.distil(Normed(0), Normed(1), data, **QUICK)
    kdnb.mutual([Normed(0), Normed(1)], data, **QUICK)
    kdnb.born_again(Normed, data, generations=1, **QUICK)
    untracked = Normed(1)  # in eval mode, too, it normalises by the batch
    untracked.norm = nn.BatchNorm1d(8, track_running_stats=False)
    kdnb.distil(linear(0), untracked, data, **QUICK)
    kept = kdnb.distil(linear(0), linear(1), data, **QUICK)  # without a batch norm it counts
    assert math.isfinite(kept.history.kd[0])
    frozen = Normed().train()
    frozen.norm.eval()
    kdnb.train(frozen, data, **{**QUICK, "batch_size": 1})
    with pytest.raises(ValueError, match="every batch has one sample, and batch norm"):
        kdnb.train(Normed(), data, **{**QUICK, "batch_size": 1})


class Squeezing(nn.Module):
    """A network whose answer to a single sample has no axis of the batch."""

    def __init__(self, seed=0, classes=3, inside=False):
        super().__init__()
        self.body, self.inside, self.asked = linear(seed, classes), inside, 0

    def forward(self, inputs):
        self.asked += self.training
        if self.inside:
            return self.body(inputs.squeeze())
        return self.body(inputs).squeeze()


ONE_OF = {"classes": (3, r"\(3,\) to one"), "one logit": (1, r"\(\) to one")}


@pytest.mark.parametrize("kind", ONE_OF)
def test_an_answer_that_loses_the_axis_of_a_batch_of_one_is_named(kind):
    classes, words = ONE_OF[kind]
    data = images()[:17], labels()[:17] % max(2, classes)
    loader = DataLoader(TensorDataset(*data), 8)

    def refused(name, call, *arguments, **options):
        with pytest.raises(ValueError, match=f"the {name} answers .* to two samples and {words}"):
            call(*arguments, **options)

    for given, options in ((data, QUICK), (loader, {"epochs": 1})):
        network = Squeezing(0, classes)
        refused("network", kdnb.train, network, given, **options)
        assert not network.asked  # the first batch tells that of the epoch's last
    pair = Squeezing(0, classes), Squeezing(1, classes)
    refused("student", kdnb.distil, *pair, data, label_weight=0, **QUICK)
    refused("teacher", kdnb.distil, linear(0, classes), pair[1], data, **QUICK)
    refused("peer0", kdnb.mutual, pair, data, **QUICK)
    refused("network", kdnb.evaluate, pair[0], loader)
    refused("teacher", kdnb.evaluate, linear(0, classes), loader, teacher=pair[0])
    refused("network", kdnb.training.predict, pair[0], LoaderBatches(loader))
    criterion = kdnb.Criterion("kd", *pair, data)
    refused("student", criterion, images()[:1], labels()[:1])
    kdnb.train(pair[0], (images()[:16], data[1][:16]), **QUICK)  # whose batches have 8 each


def test_an_output_may_restore_the_axis_of_a_batch_of_one():
    data, network = (images()[:17], labels()[:17]), Squeezing()
    output = lambda logits: logits.reshape(-1, 3)
    kdnb.train(network, data, output=output, **QUICK)
    expected = kdnb.evaluate(network.body, data)
    assert kdnb.evaluate(network, data, output=output).to_dict() == expected.to_dict()


def test_batches_that_cannot_be_cut_are_judged_when_they_come():
    """A scale for all samples has a length of its own, as the edges of a graph have."""

    class Scaled(Normed):
        def forward(self, x, scale):
            return super().forward(x * scale)

    def collated(samples):
        x, y = (torch.stack(one) for one in zip(*samples, strict=True))
        return {"x": x, "scale": torch.ones(1)}, y

    data = TensorDataset(images()[:17], labels()[:17])
    network = Scaled()
    kdnb.train(network, DataLoader(data, 8, collate_fn=collated), epochs=1)
    assert network.norm.num_batches_tracked == 2  # the batch of one is left out


def test_epochs_that_end_with_one_sample_are_foreseen():
    data = TensorDataset(images()[:9], labels()[:9])
    repeated = RandomSampler(data, replacement=True, num_samples=16)
    cases = {
        True: [DataLoader(data, 8), DataLoader(data, 8, sampler=range(9)), DataLoader(data, 1)],
        False: [
            DataLoader(data, 8, drop_last=True), DataLoader(data, 8, sampler=repeated),
            DataLoader(data, 9), [(images()[:8], labels()[:8]), (images()[:1], labels()[:1])],
        ],
    }  # fmt: skip
    for expected, loaders in cases.items():
        assert [ends_alone(LoaderBatches(one)) for one in loaders] == [expected] * len(loaders)
    assert ends_alone(kdnb.data.as_batches((images()[:9], labels()[:9]), 8))
    assert not ends_alone(kdnb.data.as_batches((images()[:9], labels()[:9]), 9))


def test_a_network_that_fails_for_a_batch_of_one_is_named():
    network = Squeezing(inside=True)
    words = r"answers \(2, 3\) to two samples and fails for one \(RuntimeError, .* a batch of one"
    with pytest.raises(ValueError, match=words):
        kdnb.train(network, (images()[:17], labels()[:17]), **QUICK)
    assert not network.asked


def test_data_without_a_batch_is_refused():
    few = TensorDataset(images()[:4], labels()[:4])
    with pytest.raises(ValueError, match="gives no batch"):
        kdnb.train(linear(), DataLoader(few, 8, drop_last=True), epochs=1)
    with pytest.raises(ValueError, match="is empty"):
        kdnb.train(linear(), TensorDataset(images()[:0], labels()[:0]), epochs=1)


@pytest.mark.parametrize("method", ["triplet", "crd"])
def test_what_a_method_needs_of_classes_is_checked_first(method):
    def resnet(seed):
        torch.manual_seed(seed)
        size = {"num_classes": 3, "in_channels": 3, "image_size": 16, "width": 0.25}
        return nets.build("resnet8", **size)

    data = draw(8, 3, 16, 16), torch.zeros(8, dtype=torch.long)
    with pytest.raises(ValueError, match="needs 2 classes in a batch; the first one has 1"):
        kdnb.distil(resnet(0), resnet(1), data, method=method, weight=1.0, **QUICK)


class Own(Sampler):
    """A sampler with a random state of its own."""

    def __init__(self):
        self.random = np.random.RandomState(0)

    def __len__(self):
        return N

    def __iter__(self):
        return iter(self.random.permutation(N).tolist())


class Noisy(Dataset):
    """Draws from a generator of its own, and from all others."""

    def __init__(self):
        self.own = np.random.default_rng(1)

    def __len__(self):
        return N

    def __getitem__(self, i):
        noise = self.own.normal() + float(torch.rand(())) + np.random.rand() + random.random()
        return images()[i] + noise, int(labels()[i])


class Listed:
    """A batch sampler over a part."""

    def __len__(self):
        return 2

    def __iter__(self):
        return iter([[0, 1, 2], [3, 4, 5, 6]])


class Counting:
    """Other batches each time that they are read."""

    def __init__(self):
        self.times = 0

    def __len__(self):
        return 1

    def __iter__(self):
        self.times += 1
        yield images() + self.times, labels()


def generator():
    return torch.Generator().manual_seed(3)


PAIRS = TensorDataset(images(), labels())
LOADERS = {
    "shuffled": lambda: DataLoader(PAIRS, 8, shuffle=True),
    "generator": lambda: DataLoader(PAIRS, 8, shuffle=True, generator=generator()),
    "sampler": lambda: DataLoader(PAIRS, 8, sampler=RandomSampler(PAIRS, generator=generator())),
    "weighted": lambda: DataLoader(
        PAIRS, 8, sampler=WeightedRandomSampler([1.0] * N, 99, generator=generator())
    ),
    "part": lambda: DataLoader(PAIRS, 8, sampler=SubsetRandomSampler(range(10))),
    "own sampler": lambda: DataLoader(PAIRS, 8, sampler=Own()),
    "listed": lambda: DataLoader(PAIRS, batch_sampler=Listed()),
    "noisy": lambda: DataLoader(Noisy(), 8, shuffle=True),
    "persistent workers": lambda: DataLoader(
        Noisy(), 8, shuffle=True, num_workers=1, persistent_workers=True, generator=generator()
    ),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_a_resumed_run_equals_the_uninterrupted_one(kind, tmp_path):
    def run(file, stop_after=99):
        student, epochs = linear(), []

        def stop(_):
            epochs.append(1)
            if len(epochs) == stop_after:
                raise InterruptedError

        options = {"epochs": 3, "lr": 0.05, "precision": "32", "checkpoint": tmp_path / file}
        try:
            kdnb.distil(student, linear(1), LOADERS[kind](), evaluate=stop, **options)
        except InterruptedError:
            torch.rand(5)  # whoever comes next has another random state
        return student[1].weight.detach()

    whole = run("whole")
    run("cut", stop_after=2)
    assert torch.equal(run("cut"), whole)


def test_batches_that_cannot_be_drawn_again_take_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="these batches differ each time an epoch is drawn"):
        kdnb.train(linear(), Counting(), epochs=1, checkpoint=tmp_path / "c")
    kdnb.train(linear(), Counting(), epochs=1)


def test_samples_are_counted_as_the_sampler_gives_them():
    counts = {kind: LoaderBatches(LOADERS[kind]()).examples for kind in LOADERS}
    assert counts["part"] == 10 and counts["listed"] == 7
    assert counts["weighted"] == N  # drawn with replacement: no more different ones than there are
    assert counts["shuffled"] == counts["own sampler"] == N


def test_the_callers_random_state_stays():
    student, teacher = linear(0), linear(1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    kdnb.distil(student, teacher, LOADERS["shuffled"](), epochs=1, lr=0.05)
    kdnb.train(student, LOADERS["noisy"](), epochs=1, lr=0.05)
    assert torch.equal(torch.rand(3), expected)
