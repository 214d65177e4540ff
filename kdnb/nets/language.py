"""Small networks for text: a recurrent language model, and classifiers of sentences."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdnb.nets._shared import check_counts
from kdnb.nets.transformer import PADDING


class RecurrentLM(nn.Module):
    """A language model: embedded tokens, gated recurrent layers (GRU), logits of the next token.

    Args:
        vocabulary: number of tokens; 0 is padding, at the end of sequences.
        width: width of embeddings and states.
        layers: number of recurrent layers.
        dropout: on embeddings and states, in train mode.
    """

    def __init__(self, vocabulary: int, width: int = 64, layers: int = 1, dropout: float = 0.0):
        super().__init__()
        check_counts(vocabulary=vocabulary, width=width, layers=layers)
        self.words = nn.Embedding(vocabulary, width)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = nn.GRU(width, width, layers, batch_first=True)
        self.next = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) to logits (batch, length, vocabulary) of the token after each prefix."""
        states, _ = self.recurrent(self.dropout(self.words(tokens)))
        return self.next(self.dropout(states))

    def step(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Continue from a state: (batch, length) to the last logits (batch, vocabulary), and a new state."""
        states, state = self.recurrent(self.dropout(self.words(tokens)), state)
        return self.next(self.dropout(states[:, -1])), state


class SentenceLSTM(nn.Module):
    """A bidirectional classifier of sentences, as in Tang et al. 2019.

    Args:
        vocabulary: number of tokens; 0 is padding, at the end of sentences.
        width: width of embeddings.
        hidden: width of each direction's state.
        between: units of the layer before the logits.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        num_classes: int = 2,
        width: int = 50,
        hidden: int = 50,
        between: int = 64,
        dropout: float = 0.0,
    ):
        super().__init__()
        check_counts(vocabulary=vocabulary, width=width, hidden=hidden, between=between)
        self.words = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.between = nn.Linear(2 * hidden, between)
        self.classifier = nn.Linear(between, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) to (batch, classes): the last states of both directions are classified."""
        lengths = (tokens != PADDING).sum(1).clamp_min(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            self.dropout(self.words(tokens)), lengths, batch_first=True, enforce_sorted=False
        )
        _, (last, _) = self.recurrent(packed)
        both = torch.cat([last[0], last[1]], 1)
        return self.classifier(self.dropout(torch.relu(self.between(both))))


class BagOfWords(nn.Module):
    """A classifier that sees the words of a sentence but not their order: linear on the mean embedding."""

    def __init__(self, vocabulary: int, *, num_classes: int = 2, width: int = 50):
        super().__init__()
        check_counts(vocabulary=vocabulary, width=width)
        self.words = nn.EmbeddingBag(vocabulary, width, mode="mean", padding_idx=PADDING)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) to (batch, classes)."""
        return self.classifier(self.words(tokens))
