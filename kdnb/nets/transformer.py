"""Small transformer encoders of sentences and of images, after BERT and ViT.

Both have embeddings, blocks of self-attention and a linear classifier on the mean of the tokens.
Queries, keys and values are separate layers (`blocks.0.query`), so that their outputs can be
used by name, see `kdnb.methods.attention`.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.nets._shared import check_counts

PADDING = 0  # the token that pads short sentences


class Block(nn.Module):
    """Self-attention and two layers on every token, each added and normalised (BERT's order).

    Args:
        width: width of a token, a multiple of `heads`.
        hidden: units between the two layers.
        dropout: on what is added to a token. Attention itself, which may be distilled, has none.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, dropout: float = 0.0, epsilon: float = 1e-12
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} must be a multiple of the number of heads {heads}.")
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.joined = nn.Linear(width, width)
        self.first_norm = nn.LayerNorm(width, eps=epsilon)
        self.widened, self.narrowed = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.second_norm = nn.LayerNorm(width, eps=epsilon)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """(batch, tokens, width) to the same; `present` (batch, tokens) are not padding."""
        batch, count, width = tokens.shape
        shape = (batch, count, self.heads, width // self.heads)
        q, k, v = (
            layer(tokens).view(shape).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mask = None if present is None else present[:, None, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        mixed = self.joined(mixed.transpose(1, 2).reshape(batch, count, width))
        tokens = self.first_norm(tokens + self.dropout(mixed))
        added = self.narrowed(F.gelu(self.widened(tokens)))
        return self.second_norm(tokens + self.dropout(added))


class TextEncoder(nn.Module):
    """A classifier of sentences: BERT's encoder, and the mean of its last layer's tokens.

    Args:
        vocabulary: number of tokens; 0 is padding.
        layers, width, heads, hidden: of the blocks.
        positions: the length of the longest sentence in tokens.
        num_classes: 0 returns the mean of the last tokens itself, the sentence's vector.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        layers: int = 2,
        width: int = 96,
        heads: int = 12,
        hidden: int = 384,
        positions: int = 64,
        dropout: float = 0.1,
        num_classes: int = 0,
    ):
        super().__init__()
        check_counts(vocabulary=vocabulary, layers=layers, width=width, positions=positions)
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(positions, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, hidden, dropout) for _ in range(layers))
        self.classifier = nn.Linear(width, num_classes) if num_classes else nn.Identity()
        self.apply(_as_bert)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) integers to (batch, classes) logits; or to (batch, width).

        Sentences are filled up at their end; what is padding in all of them is left out, and the
        blocks see as many tokens as the longest sentence has.
        """
        present = tokens != PADDING
        longest = int(present.any(0).sum())
        tokens, present = tokens[:, :longest], present[:, :longest]
        x = self.words(tokens) + self.places.weight[: tokens.shape[1]]
        x = self.dropout(self.norm(x))
        for block in self.blocks:
            x = block(x, present)
        weights = present.to(x.dtype)[..., None]
        return self.classifier((x * weights).sum(1) / weights.sum(1).clamp_min(1))


def with_vocabulary(encoder: TextEncoder, used: Tensor) -> TextEncoder:
    """A copy of an encoder with only some of its words, numbered by their positions in `used`.

    Args:
        used: (words,) the encoder's tokens to keep; the first is 0, padding.
    """
    if int(used[0]) != PADDING:
        raise ValueError(f"the first of the used words must be padding, 0; got {int(used[0])}.")
    made = copy.deepcopy(encoder)
    made.words = nn.Embedding.from_pretrained(encoder.words.weight[used].detach(), freeze=False)
    return made


class PatchEncoder(nn.Module):
    """A classifier of images, cut into square patches that are its tokens (as in ViT, without CLS).

    Args:
        patch: side of a patch in pixels; it divides the side of the image.
        layers, width, heads, hidden: of the blocks.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int | tuple[int, int] = 28,
        patch: int = 7,
        layers: int = 2,
        width: int = 48,
        heads: int = 4,
        hidden: int = 96,
        dropout: float = 0.0,
    ):
        super().__init__()
        size = image_size if isinstance(image_size, tuple) else (image_size, image_size)
        check_counts(patch=patch, layers=layers, width=width, num_classes=num_classes)
        if any(side % patch for side in size):
            raise ValueError(f"patches of {patch} pixels must divide the image's {size}.")
        self.grid = (size[0] // patch, size[1] // patch)
        self.patches = nn.Conv2d(in_channels, width, patch, stride=patch)
        self.places = nn.Parameter(torch.zeros(self.grid[0] * self.grid[1], width))
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden, dropout, 1e-6) for _ in range(layers)
        )
        self.classifier = nn.Linear(width, num_classes)
        self.blocks.apply(_as_bert)
        nn.init.normal_(self.places, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, classes) logits."""
        x = self.norm(self.patches(images).flatten(2).transpose(1, 2) + self.places)
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.mean(1))


def _as_bert(module: nn.Module) -> None:
    """BERT's initial weights: normal with deviation 0.02, biases 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
