"""Data as strangers have it: endless, sparse, words for labels, samples that make no batch."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

import kdnb
from kdnb.data import as_batches

QUICK = {"epochs": 2, "batch_size": 8, "lr": 0.05, "momentum": 0.0, "precision": "32"}
WORDS = ["cat", "dog", "owl"] * 8


def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(24, 6, generator=generator), torch.arange(24) % 3


def train(data, **options):
    torch.manual_seed(0)
    own = {**QUICK, **options}
    if isinstance(data, list):  # of batches
        del own["batch_size"]
    return kdnb.train(nn.Linear(6, 3), data, **own)


class Made(Dataset):
    """Samples by a function of their number."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return 24

    def __getitem__(self, index):
        inputs, labels = pair()
        return self.make(inputs[index], int(labels[index]), index)


class Endless(IterableDataset):
    """As streams are: it says how long an epoch is, and goes on."""

    def __iter__(self):
        inputs, labels = pair()
        while True:
            yield from zip(inputs, labels, strict=True)

    def __len__(self):
        return 24


class Told:
    """Batches whose owner does something after the last of them."""

    ended = 0

    def __len__(self):
        return 3

    def __iter__(self):
        inputs, labels = pair()
        yield from zip(inputs.split(8), labels.split(8), strict=True)
        self.ended += 1


def test_endless_data_ends_where_its_length_says_so():
    batches = as_batches(Endless(), 8)
    assert len(list(batches.epoch(0))) == len(batches) == 3
    assert len(train(Endless()).history) == 2


def test_batches_are_read_to_their_end():
    told = Told()
    assert len(list(as_batches(told, 8).epoch(0))) == 3
    assert told.ended == 1


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "make",
    [
        lambda x, y, index: None if index == 20 else (x, y),
        lambda x, y, index: (x[: 6 - (index == 20)], y),
        lambda x, y, index: (object(), y),
    ],
    ids=["none", "sizes", "objects"],
)
def test_samples_that_make_no_batch_are_told_in_whatever_batch(make, workers):
    if workers and make(torch.zeros(6), 0, 0) is None:
        pytest.skip("one kind is enough in a worker")
    loader = DataLoader(Made(make), 8, num_workers=workers, multiprocessing_context=None)
    with pytest.raises(ValueError, match="the samples of this data make no batch"):
        train(loader, batch_size=8)


def test_an_error_of_the_users_own_stays_as_it_is():
    def make(x, y, index):
        raise TypeError("mine")

    with pytest.raises(TypeError, match=r"^mine$"):
        train(Made(make))


class Short(Dataset):
    def __getitem__(self, index):
        return pair()[0][index], 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((pair()[0], WORDS), "got a list of str: number the classes from 0"),
        ((pair()[0], np.array(WORDS)), "number the classes from 0"),
        ((pair()[0], np.array(WORDS, dtype=object)), "number the classes from 0"),
        ((pair()[0], pair()[1].numpy().astype(object)), r"or give array.astype\(int\)"),
        ((pair()[0].numpy().astype(object), pair()[1]), r"an array of object: .*array.astype\(float\)"),
        ((np.array(WORDS), pair()[1]), r"holds an array of <U3: give tensors or arrays"),
        ((np.ma.masked_less(pair()[0].numpy(), 0), pair()[1]), r"a masked array.*array.filled"),
        (Made(lambda x, y, index: (x.numpy()[::-1], y)), "make no batch: At least one stride"),
        (Made(lambda x, y, index: (x, WORDS[y])), "of str: number the classes from 0"),
        (Made(lambda x, y, index: ("a.png", y)), "without a tensor in it: load them"),
        (Short(), "the Short has no length"),
        ((torch.eye(24).to_sparse(), pair()[1]), r"give tensor.to_dense\(\)"),
        ((list(pair()[0]), pair()[1]), "A list of tensors is several inputs"),
        ((pair()[0], pair()[1].float()), r"give labels.long\(\)"),
        ((pair()[0], pair()[1] * 1j), "labels must be real numbers; got torch.complex64: give labels.real"),
        ((pair()[0].numpy(), pair()[1].numpy() * 1j), "must be real numbers; got torch.complex128"),
        ((pair()[0], [1j] * 24), "must be real numbers; got torch.complex64"),
        ({"input": pair()[0], "labels": pair()[1] * 1j}, "must be real numbers; got torch.complex64"),
        (Made(lambda x, y, index: (x, torch.tensor(y * 1j))), "must be real numbers; got torch.complex"),
        ((pair()[0] + 0j, pair()[1]), "the network cannot take .*complex64.*Real weights take real numbers"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_on_says_why(data, message):
    with pytest.raises((TypeError, ValueError), match=message):
        train(data)


def test_complex_numbers_are_refused_outside_of_training():
    (inputs, labels), network = pair(), nn.Linear(6, 3)
    with pytest.raises(TypeError, match="labels must be real numbers"):
        kdnb.evaluate(network, (inputs, labels * 1j))
    with pytest.raises(ValueError, match="the network cannot take .*Real weights take real"):
        kdnb.evaluate(network, (inputs + 0j, labels))
    with pytest.raises(ValueError, match="the teacher cannot take .*Real weights take real"):
        kdnb.evaluate(Real(), (inputs + 0j, labels), teacher=network)
    criterion = kdnb.Criterion("kd", network, nn.Linear(6, 3), inputs)
    with pytest.raises(TypeError, match="labels must be real numbers"):
        criterion(inputs, labels * 1j)
    with pytest.raises(ValueError, match="the teacher cannot take .*Real weights take real"):
        criterion(inputs + 0j, labels)
    fit = kdnb.train(Real(), (inputs + 0j, labels), **QUICK)  # which takes them
    assert len(fit.history) == 2


class Real(nn.Linear):
    """A network of complex inputs."""

    def __init__(self):
        super().__init__(6, 3)

    def forward(self, inputs):
        return super().forward(inputs.real)


UNREAD = [WORDS, np.array(WORDS), pair()[1] * 1j, pair()[1].numpy() * 1j, [1j] * len(WORDS)]


@pytest.mark.parametrize("labels", UNREAD)
def test_labels_that_nobody_reads_are_left_out(labels):
    torch.manual_seed(0)
    student, teacher = nn.Linear(6, 3), nn.Linear(6, 3)
    fit = kdnb.distil(student, teacher, (pair()[0], labels), label_weight=0, **QUICK)
    assert len(fit.history) == 2


def turned(array):
    """The same array with a negative stride."""
    return np.ascontiguousarray(array[::-1])[::-1]


def batches(x, y):
    return zip(x.split(8), y.split(8), strict=True)


@pytest.mark.parametrize(
    "form",
    [
        lambda x, y: (x, y.tolist()),
        lambda x, y: (x, tuple(y.tolist())),
        lambda x, y: (x, list(y)),
        lambda x, y: (x, y.to(torch.uint16)),
        lambda x, y: (x.numpy(), y.numpy().astype(np.uint32)),
        lambda x, y: {"input": x.numpy(), "labels": y.numpy()},
        lambda x, y: (x.clone().requires_grad_(), y),
        lambda x, y: (turned(x.numpy()), turned(y.numpy())),
        lambda x, y: (x.numpy().astype(">f8"), y.numpy().astype(">i4")),
        lambda x, y: [(turned(a.numpy()), turned(b.numpy())) for a, b in batches(x, y)],
    ],
)
def test_labels_and_inputs_of_other_types_are_the_same_data(form):
    data = form(*pair())
    plain = list(batches(*pair())) if isinstance(data, list) else pair()
    assert train(data).history.hard.equals(train(plain).history.hard)
    if not isinstance(data, dict) and isinstance(data[0], torch.Tensor):
        assert data[0].grad is None


def test_a_dict_with_more_than_the_network_takes_names_it():
    inputs, labels = pair()
    samples = [
        {"input": x, "labels": y, "id": n}
        for n, (x, y) in enumerate(zip(inputs, labels, strict=True))
    ]
    with pytest.raises(ValueError, match="as several it does not fit: .*'id'"):
        train(samples_of(samples))


def samples_of(samples):
    return DataLoader(samples, 8)
