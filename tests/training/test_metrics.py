"""What `kdnb.evaluate` measures, against naive counts."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

import kdnb
from kdnb.data import Batches, Images
from kdnb.training.metrics import calibration_error, ranking_area


class Fixed(nn.Module):
    """Answers what its inputs say: the logits are the inputs."""

    def forward(self, logits):
        return logits


def data(count=200, classes=4):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, classes, generator=generator)
    return logits, torch.randint(classes, (count,), generator=generator)


def test_counts_cross_entropy_and_agreement():
    logits, labels = data()
    found = kdnb.evaluate(Fixed(), (logits, labels), teacher=lambda x: -x)
    assert found["images"] == 200
    assert found["errors"] == (logits.argmax(1) != labels).sum()
    assert found["accuracy"] == pytest.approx(1 - found["errors"] / 200)
    assert found["cross_entropy"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert found["agreement"] == 0
    assert kdnb.evaluate(Fixed(), (logits, labels), teacher=Fixed())["agreement"] == 1
    assert "agreement" not in kdnb.evaluate(Fixed(), (logits, labels))


def test_the_calibration_error_is_the_textbooks():
    logits, labels = data()
    confidence, said = logits.softmax(1).max(1)
    expected = 0.0
    for m in range(15):
        here = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if here.any():
            gap = (said == labels)[here].double().mean() - confidence[here].double().mean()
            expected += float(here.sum() / 200 * gap.abs())
    assert kdnb.evaluate(Fixed(), data())["calibration"] == pytest.approx(expected, rel=1e-5)


def test_a_calibration_error_of_any_answers():
    """Of 10 bins, one of which has an answer on its upper edge, and without a network."""
    confidence = torch.tensor([0.1, 0.05, 0.55, 0.6, 1.0, 0.999], dtype=torch.float64)
    right = torch.tensor([False, True, True, False, True, True])
    bins = [(0.15, 1, 2), (1.15, 1, 2), (1.999, 2, 2)]  # summed confidence, right ones, answers
    expected = sum(abs(sure - hits) for sure, hits, _ in bins) / 6
    assert calibration_error(confidence, right, bins=10) == pytest.approx(expected, rel=1e-6)


def test_areas_against_all_pairs():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 9, (60,), generator=generator).float()
    positive = torch.randint(0, 2, (60,), generator=generator)
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a in scores[positive == 1].tolist() for b in scores[positive == 0].tolist()
    ]  # fmt: skip
    assert ranking_area(scores, positive) == pytest.approx(sum(wins) / len(wins))
    assert ranking_area(-scores, positive) == pytest.approx(1 - sum(wins) / len(wins))
    with pytest.raises(ValueError, match="0 and 1, and both of them"):
        ranking_area(scores, torch.ones(60, dtype=torch.int64))


def test_a_sure_and_right_network_is_calibrated():
    labels = torch.arange(30) % 3
    sure = 50 * F.one_hot(labels, 3).float()
    assert kdnb.evaluate(Fixed(), (sure, labels))["calibration"] == pytest.approx(0, abs=1e-6)
    wrong = kdnb.evaluate(Fixed(), (sure, (labels + 1) % 3))
    assert wrong["calibration"] == pytest.approx(1) and wrong["errors"] == 30


def test_images_are_looked_at_without_augmentation_and_modes_stay():
    pictures = torch.randint(0, 256, (20, 1, 4, 4), dtype=torch.uint8)
    images = Images(pictures, torch.arange(20) % 2)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 2))
    network[1].eval()
    before = [part.training for part in network.modules()]
    plain = Batches(images, 7, mean=(0.5,), sd=(0.3,))
    shaken = Batches(images, 7, mean=(0.5,), sd=(0.3,), crop_padding=2, flip=True, jitter=0.3)
    one, two = kdnb.evaluate(network, plain), kdnb.evaluate(network, shaken)
    assert one.equals(two)
    assert [part.training for part in network.modules()] == before


class Again:
    """Batches that can be read again, and are not counted."""

    def __iter__(self):
        logits, labels = data()
        yield from zip(logits.split(64), labels.split(64), strict=True)


class Stream(IterableDataset):
    """Samples that can be read again, and are not counted."""

    def __iter__(self):
        yield from zip(*data(), strict=True)


@pytest.mark.parametrize("make", [Again, Stream, lambda: DataLoader(Stream(), 64)])
def test_data_without_a_length_is_measured(make, monkeypatch):
    for disable in "01":
        monkeypatch.setenv("TQDM_DISABLE", disable)
        found = kdnb.evaluate(Fixed(), make())
        assert found.to_dict() == pytest.approx(kdnb.evaluate(Fixed(), data()).to_dict())
    fit = kdnb.train(nn.Linear(4, 4), data(), evaluate=make(), epochs=2, batch_size=50, lr=0.01)
    assert list(fit.history.images) == [200, 200]
    with pytest.raises(TypeError, match="has no length, which learning-rate schedules need"):
        kdnb.train(nn.Linear(4, 4), make(), epochs=1)
    with pytest.raises(TypeError, match="read again in every epoch, which the generator given"):
        kdnb.evaluate(Fixed(), (batch for batch in Again()))


def test_a_full_memory_stays_an_error_of_its_own():
    class Full(Fixed):
        def forward(self, inputs):
            raise torch.OutOfMemoryError("no memory is left")

    with pytest.raises(torch.OutOfMemoryError):
        kdnb.evaluate(Full(), data())


def test_data_without_labels_is_refused():
    with pytest.raises((TypeError, ValueError), match="has none"):
        kdnb.evaluate(Fixed(), data()[0])


@pytest.mark.parametrize("label", [4, -1, -100])
def test_labels_that_are_no_class_are_refused(label):
    logits, labels = data()
    labels[7] = label
    ignored = 255 if label == -100 else kdnb.training.targets.NOTHING
    with pytest.raises(ValueError, match=f"labels must lie in 0 to 3 for 4 classes; got .*{label}"):
        kdnb.evaluate(Fixed(), (logits, labels), ignore_index=ignored)
