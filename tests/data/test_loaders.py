"""Data in the forms in which strangers have it: understood, or refused with a remedy."""

import numpy as np
import pytest
import torch
from torch import nn

import kdnb
from kdnb.data import as_batches

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6) % 3


def only(data, **options):
    (batch,) = as_batches(data, 6, shuffle=False, **options).epoch(0)
    return batch


@pytest.mark.parametrize(
    "data",
    [
        (X.numpy(), Y.numpy()),
        [X.numpy(), Y.numpy()],
        (X.numpy(), Y),
        (X, Y.numpy()),
        (X, Y.tolist()),
        (X.double().numpy(), Y.numpy().astype(np.int32)),
    ],
)
def test_arrays_and_lists_of_labels_are_tensors(data):
    batch = only(data)
    assert torch.equal(batch.images, X) and torch.equal(batch.labels, Y)
    assert batch.images.dtype == torch.float32 and batch.labels.dtype == torch.int64


def test_arrays_within_a_dict_and_alone():
    batch = only(({"x": X.numpy()}, Y.numpy()))
    assert torch.equal(batch.images["x"], X) and torch.equal(batch.labels, Y)
    assert torch.equal(only(X.numpy(), labels="none").images, X)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X, X, Y), r"a tuple of 3: give .*several inputs as \(\(first, second\), labels\)"),
        ((X, Y, Y, 0.3), r"a tuple of 4: .* mixed labels in a list of batches"),
        ([(X, Y, Y)], r"not a tuple of 3: give several inputs .* and mixed labels as \(inputs, fi"),
        ([(x, int(y)) for x, y in zip(X, Y, strict=True)], "single samples .*DataLoader"),
        ((X[:0], Y[:0]), "these tensors hold no sample"),
        (None, "the data is None: give tensors"),
        ("mnist", r"the data is 'mnist': .*kdnb.data.load\(name\)"),
        ((torch.zeros(6, 3, 4, 4, dtype=torch.uint8), Y), "gives torch.uint8 images"),
    ],
)
def test_other_forms_are_refused_with_the_remedy(data, message):
    with pytest.raises((TypeError, ValueError), match=message):
        kdnb.train(nn.Linear(4, 3), data, epochs=1)
