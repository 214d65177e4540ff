"""Small language models and encoders of sentences for tests, and how one step of them is checked."""

import itertools

import torch
from torch import nn

from kdnb.nets.language import RecurrentLM
from kdnb.nets.transformer import TextEncoder

END = 1
STEP = {
    "epochs": 1,
    "optimiser": "sgd",
    "momentum": 0.0,
    "lr": 0.1,
    "schedule": "constant",
    "precision": "32",
}  # with all samples in one batch, one step of gradient descent


def assert_stepped(student, start, loss_of, atol=1e-6, rtol=1e-4):
    """Whether a student is where one step of `STEP` on a loss leads from the start."""
    loss_of(start).backward()
    for ours, theirs in zip(student.parameters(), start.parameters(), strict=True):
        gone = theirs if theirs.grad is None else theirs - STEP["lr"] * theirs.grad
        torch.testing.assert_close(ours, gone, atol=atol, rtol=rtol)


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


def encoder(layers, seed=0, classes=3):
    """A transformer that classifies sentences, with large random weights."""
    torch.manual_seed(seed)
    made = TextEncoder(
        12,
        layers=layers,
        width=8,
        heads=2,
        hidden=16,
        positions=7,
        dropout=0.0,
        num_classes=classes,
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(3)
    return made


def classified(count=16):
    """Random sentences of an encoder's vocabulary, every second one padded, and labels."""
    tokens = torch.randint(2, 12, (count, 6), generator=torch.Generator().manual_seed(0))
    tokens[::2, 4:] = 0
    return tokens, torch.arange(count) % 3
