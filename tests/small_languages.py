"""Small language models for tests."""

import itertools

import torch
from torch import nn

from kdnb.nets.language import RecurrentLM

END = 1


def model(seed, vocabulary=6, width=8):
    """A recurrent language model with large random weights, so that its distributions are not flat."""
    torch.manual_seed(seed)
    made = RecurrentLM(vocabulary, width)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2.5)
    return made


class Whole(nn.Module):
    """The same model without `step`."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, tokens):
        return self.inner(tokens)


def distribution(of, prompt, longest, vocabulary=6):
    """The probability of every response, cut at `longest` tokens, by enumeration; padding is excluded."""
    found, open_ones = {}, {(): 1.0}
    for _ in range(longest):
        grown = {}
        for response, chance in open_ones.items():
            tokens = torch.tensor([[*prompt, *response]])
            logits = of(tokens)[0, -1].detach().clone()
            logits[0] = -torch.inf
            for token, p in enumerate(logits.softmax(0).tolist()):
                if token == 0:
                    continue
                (found if token == END else grown)[(*response, token)] = chance * p
        open_ones = grown
    return {**found, **open_ones}


def sentences(count=64, vocabulary=6, longest=5, seed=0):
    """Random sequences: a start (2), words, an end (1), padding."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.zeros(count, longest + 2, dtype=torch.int64)
    for row in tokens:
        n = int(torch.randint(2, longest + 1, (), generator=generator))
        words = torch.randint(3, vocabulary, (n,), generator=generator)
        row[: n + 2] = torch.tensor([2, *words.tolist(), END])
    return tokens


def shares(rows, prompt):
    """How often each response stands among rows of tokens."""
    counts = {}
    for row in rows[:, prompt:].tolist():
        key = tuple(itertools.takewhile(lambda token: token != 0, row))
        counts[key] = counts.get(key, 0) + 1
    return {key: count / len(rows) for key, count in counts.items()}
