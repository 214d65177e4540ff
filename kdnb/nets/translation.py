"""A small translator: a recurrent encoder and decoder with attention (Luong et al. 2015).

It has the interface of a language model: the source comes first, as a prompt. So the methods for language
models (`kdnb.methods.applications.language_models`) work for translators too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.nets._shared import check_counts

State = tuple[Tensor, Tensor, Tensor]  # the decoder's state, the encoded source, and its mask


class Translator(nn.Module):
    r"""A bidirectional GRU that reads the source, and a GRU that writes the target with attention to it.

    .. math:: a_{tj} = \mathrm{softmax}_j\, h_t^\top W_a s_j, \quad
        \tilde h_t = \tanh W_c [\textstyle\sum_j a_{tj} s_j;\, h_t], \quad q(\cdot \mid y_{<t}, x) = \mathrm{softmax}\, W \tilde h_t

    with the encoder's states s and the decoder's h ("general" global attention, without input feeding).

    A row of tokens is a prompt followed by the target. The prompt has `source` positions, padded after the
    sentence by `end`, and a token that starts the target. Source and target have separate vocabularies.

    Args:
        source_vocabulary, vocabulary: numbers of tokens; 0 is padding.
        source: positions of the source in a prompt.
        width: width of words and states; for the encoder, in each direction.
        end: the token that pads the source.
        dropout: on words and on the input of the output layer, in train mode.

    Departures: the attention is recalled from memory. The decoder starts from the mean of the encoder's
    states, and layers are gated recurrent units where the authors have LSTMs.
    """

    def __init__(
        self,
        source_vocabulary: int,
        vocabulary: int,
        *,
        source: int,
        width: int = 64,
        end: int = 1,
        dropout: float = 0.0,
    ):
        super().__init__()
        check_counts(source_vocabulary=source_vocabulary, vocabulary=vocabulary, source=source, width=width)  # fmt: skip
        self.source, self.end = source, end
        self.source_words = nn.Embedding(source_vocabulary, width)
        self.words = nn.Embedding(vocabulary, width)
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.first = nn.Linear(2 * width, width)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.attention = nn.Linear(2 * width, width, bias=False)
        self.joined = nn.Linear(3 * width, width)
        self.next = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) to logits (batch, length, vocabulary) of the token after each prefix.

        Logits after parts of the source are 0, since no token follows there.

        Raises:
            ValueError: for rows that are shorter than the prompt.
        """
        logits, _ = self._read(tokens[:, self.source :], self._encoded(tokens))
        return F.pad(logits, (0, 0, self.source, 0))

    def step(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Continue from a state: (batch, length) to the last logits (batch, vocabulary), and the new state.

        Without a state, tokens begin with the source.
        """
        if state is None:
            state, tokens = self._encoded(tokens), tokens[:, self.source :]
        logits, state = self._read(tokens, state)
        return logits[:, -1], state

    def _encoded(self, tokens: Tensor) -> State:
        """The state before the target; the second axis of every part is the batch."""
        if tokens.shape[1] <= self.source:
            raise ValueError(
                f"rows must hold {self.source} places of the source and a start; got {tokens.shape[1]} tokens."
            )
        source = tokens[:, : self.source]
        present = source != self.end
        read, _ = self.encoder(self.dropout(self.source_words(source)))
        weights = present.to(read.dtype)[..., None]
        mean = (read * weights).sum(1) / weights.sum(1).clamp_min(1)
        return torch.tanh(self.first(mean))[None], read[None], present[None]

    def _read(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (batch, length, vocabulary) after each token of the target, and the new state."""
        hidden, (read,), (present,) = state
        said, hidden = self.decoder(self.dropout(self.words(tokens)), hidden)
        scores = said @ self.attention(read).transpose(1, 2)
        scores = scores.masked_fill(~present[:, None], torch.finfo(scores.dtype).min)
        found = scores.softmax(2) @ read
        joined = torch.tanh(self.joined(torch.cat([found, said], 2)))
        return self.next(self.dropout(joined)), (hidden, read[None], present[None])
