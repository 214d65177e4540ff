"""Banks of images: saved, told, read once an epoch."""

import data_free_workshop as workshop
import pytest
import torch

from kdnb.methods.data_free import (
    Bank,
    bank_of,
)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bank(count=12):
    return bank_of(noise(count, 1, 8, 8), workshop.small_net(0), {"method": "test"})


def test_a_bank_comes_back_as_it_was(tmp_path):
    kept = bank()
    kept.save(tmp_path / "bank")
    again = Bank.load(tmp_path / "bank")
    assert torch.equal(kept.images, again.images)
    assert torch.equal(kept.logits, again.logits)
    assert again.origin == {"method": "test"}
    (tmp_path / "bank").write_bytes(b"no bank")
    with pytest.raises(ValueError, match="is no bank of images"):
        Bank.load(tmp_path / "bank")


def test_a_bank_tells_what_it_holds():
    kept = bank()
    network = workshop.small_net(0).eval()
    labels = network(kept.images).argmax(1)
    assert kept.histogram().tolist() == [int((labels == k).sum()) for k in range(3)]
    assert kept.summary()["images"] == 12
    for label, shown in enumerate(kept.examples(2)):
        assert len(shown) == min(2, int((labels == label).sum()))
        assert (network(shown).argmax(1) == label).all() if len(shown) else True
    with pytest.raises(ValueError, match="a bank needs images"):
        Bank(torch.zeros(2, 1, 4, 4), torch.zeros(3, 2))


def test_every_image_of_a_bank_comes_once_an_epoch():
    kept = bank()
    batches = kept.batches(5, seed=2)
    seen = list(batches.epoch(0))
    assert len(batches) == len(seen) == 3
    index = torch.cat([batch.index for batch in seen])
    assert sorted(index.tolist()) == list(range(12))
    assert index.tolist() != torch.cat([batch.index for batch in batches.epoch(1)]).tolist()
    assert torch.equal(torch.cat([batch.images for batch in seen]), kept.images[index])
    assert torch.equal(torch.cat([batch.labels for batch in seen]), kept.labels[index])


def test_a_bank_that_was_changed_is_refused_and_another_file_is_not_overwritten(tmp_path):
    file = tmp_path / "bank"
    bank().save(file)
    bank(6).save(file)  # a bank of ours may be replaced
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is no bank of images, or damaged: its content"):
        Bank.load(file)
    file.write_text("my notes")
    with pytest.raises(ValueError, match="is there and is none of our files"):
        bank().save(file)
    assert file.read_text() == "my notes"
