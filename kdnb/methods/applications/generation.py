"""Generation by language models: sampling, beam search, and text by student and teacher.

A sequence is a row of integers: a prompt, then a response that ends with a token `end`, then
padding (0). All prompts of a batch have the same length. A model maps (batch, length) integers to
the logits (batch, length, vocabulary) of the next token after each prefix; one with a method
`step`, such as `kdnb.nets.language.RecurrentLM`, is called token by token. Padding is never drawn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses.checks import check_number
from kdnb.nets.transformer import PADDING
from kdnb.training import answers
from kdnb.training.borrowed import evaluating

Model = Callable[[Tensor], Any]


class Continuations(NamedTuple):
    """Sampled sequences.

    Attributes:
        tokens: (batch, prompt + longest) int64, the prompts included.
        weights: (batch, longest), the student's probability of each drawn token divided by the
            probability with which it was drawn; 1 if the student drew alone.
    """

    tokens: Tensor
    weights: Tensor


def logits_of(model: Model, tokens: Tensor) -> Tensor:
    """The logits (batch, length, vocabulary) in a model's answer, found by `answers.logits_of`."""
    return answers.logits_of(model(tokens))


@contextlib.contextmanager
def reading(*models: Model | None) -> Iterator[None]:
    """A context with models in eval mode and without gradients; modes are restored after it."""
    modules = [model for model in models if isinstance(model, nn.Module)]
    with torch.no_grad(), evaluating(*modules):
        yield


def responses(tokens: Tensor, prompt: int) -> Tensor:
    """(batch, length - 1) booleans: true where the next token belongs to the response.

    >>> responses(torch.tensor([[5, 6, 7, 1, 0]]), prompt=2)
    tensor([[False,  True,  True, False]])
    """
    check_number(least=1, most=tokens.shape[1] - 1, whole=True, prompt=prompt)
    present = tokens[:, 1:] != PADDING
    present[:, : prompt - 1] = False
    return present


def without_padding(tokens: Tensor) -> Tensor:
    """(batch, length) without the last columns, which are padding in every row."""
    return tokens[:, : int((tokens != PADDING).any(0).sum())]


def words_of(row: Sequence[int], prompt: int, end: int) -> list[int]:
    """A row's response without its end and padding.

    >>> words_of([5, 6, 7, 1, 0], prompt=2, end=1)
    [7]
    """
    return [token for token in row[prompt:] if token not in (PADDING, end)]


class Reader:
    """Computes next-token probabilities step by step as sequences grow.

    Args:
        model: a language model. If it has `step`, its state is reused; else whole prefixes are
            processed. A state is a tensor or a tuple of tensors, each with the batch as its second
            axis.
    """

    def __init__(self, model: Model):
        self.model, self.state, self.read = model, None, None

    def __call__(self, tokens: Tensor) -> Tensor:
        """Read (batch, length); return log-probabilities (batch, vocabulary), without padding."""
        if hasattr(self.model, "step"):
            logits, self.state = self.model.step(tokens, self.state)
        else:
            self.read = tokens if self.read is None else torch.cat([self.read, tokens], 1)
            logits = logits_of(self.model, self.read)[:, -1]
        logits = logits.float().clone()
        logits[:, PADDING] = -torch.inf
        return logits.log_softmax(1)

    def keep(self, rows: Tensor) -> None:
        """Continue with only these sequences."""
        if isinstance(self.state, tuple):
            self.state = tuple(part[:, rows].contiguous() for part in self.state)
        elif self.state is not None:
            self.state = self.state[:, rows].contiguous()
        if self.read is not None:
            self.read = self.read[rows]


def continuations(
    model: Model,
    prompts: Tensor,
    *,
    longest: int,
    end: int,
    greedy: bool = False,
    temperature: float = 1.0,
    mixed: Model | None = None,
    share: float = 0.2,
    generator: torch.Generator | None = None,
) -> Continuations:
    r"""Continue prompts with a model, token by token.

    With `mixed`, tokens are drawn from :math:`\tilde p = \alpha p + (1 - \alpha) q` of the
    teacher's p and the model's q (MiniLLM's teacher-mixed sampling, Gu et al. 2024).

    Args:
        model: the student; in eval mode while it writes.
        prompts: (batch, prompt) int64, without padding.
        longest: the most tokens of a response, its end included; longer responses are cut.
        end: the token that ends a response.
        greedy: take the likeliest token instead of sampling.
        temperature: temperature of the drawn distribution.
        mixed, share: the teacher, and alpha. The weights assume temperature 1.
        generator: torch's own if None.

    Raises:
        ValueError: for numbers outside their ranges, or `mixed` with another temperature or
            `greedy`.
    """
    check_number(least=1, whole=True, longest=longest)
    check_number(above=0, temperature=temperature)
    if mixed is not None and (greedy or temperature != 1):
        raise ValueError(
            "mixed draws at temperature 1, for which its weights hold, and is not greedy."
        )
    check_number(least=0, most=1, share=share)
    with reading(model, mixed):
        ours, theirs = Reader(model), None if mixed is None else Reader(mixed)
        new, drawn, weights = prompts, [prompts], []
        open_ones = torch.ones(len(prompts), dtype=torch.bool, device=prompts.device)
        for _ in range(longest):
            log_q = ours(new)
            logs = log_q
            if theirs is not None:
                logs = _mixed(log_q, theirs(new), share)
            if greedy:
                new = logs.argmax(1, keepdim=True)
            else:
                new = torch.multinomial((logs / temperature).softmax(1), 1, generator=generator)
            ratio = (log_q - logs).gather(1, new)[:, 0].exp()
            new = torch.where(open_ones[:, None], new, PADDING)
            weights.append(torch.where(open_ones, ratio, 1.0))
            drawn.append(new)
            open_ones = open_ones & (new[:, 0] != end)
            if not open_ones.any():
                break
    rest = longest - len(weights)
    tokens = torch.cat([*drawn, prompts.new_zeros(len(prompts), rest)], 1)
    return Continuations(
        tokens, torch.stack([*weights, *[weights[0].new_ones(len(prompts))] * rest], 1)
    )


def _mixed(log_q: Tensor, log_p: Tensor, share: float) -> Tensor:
    """log(alpha p + (1 - alpha) q)."""
    return (share * log_p.exp() + (1 - share) * log_q.exp()).log()


def interleaved(
    student: Model,
    teacher: Model,
    prompts: Tensor,
    *,
    longest: int,
    end: int,
    top: int = 25,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Text for speculative KD (Xu et al. 2025): student proposals with teacher corrections.

    Each token is drawn from the student. If it is not among the teacher's `top` likeliest tokens,
    it is replaced by a draw from the teacher.

    Args:
        student, teacher: in eval mode while they write.
        prompts, longest, end, generator: as in `continuations`.
        top: 1 always gives the teacher's likeliest token; the vocabulary size always gives the
            student's draw.

    Returns:
        (batch, prompt + longest) int64.

    Departures: the paper's abstract was read. There the student proposes several tokens before the
    teacher checks them; the text has the same distribution.
    """
    check_number(least=1, whole=True, longest=longest, top=top)
    with reading(student, teacher):
        ours, theirs = Reader(student), Reader(teacher)
        new, drawn = prompts, [prompts]
        open_ones = torch.ones(len(prompts), dtype=torch.bool, device=prompts.device)
        for _ in range(longest):
            log_q, log_p = ours(new), theirs(new)
            proposed = torch.multinomial(log_q.exp(), 1, generator=generator)
            instead = torch.multinomial(log_p.exp(), 1, generator=generator)
            best = log_p.topk(min(top, log_p.shape[1]), 1).indices
            accepted = (best == proposed).any(1, keepdim=True)
            new = torch.where(accepted, proposed, instead)
            new = torch.where(open_ones[:, None], new, PADDING)
            drawn.append(new)
            open_ones = open_ones & (new[:, 0] != end)
            if not open_ones.any():
                break
    tokens = torch.cat(drawn, 1)
    return F.pad(tokens, (0, prompts.shape[1] + longest - tokens.shape[1]))


def beam_continuations(
    model: Model,
    prompts: Tensor,
    *,
    longest: int,
    end: int,
    beam: int = 4,
    length_power: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The likeliest responses found by beam search, for all prompts at once.

    :func:`kdnb.methods.multi_teacher.beam_search` does the same for one prompt and several models.

    Args:
        model, prompts, longest, end: as in `continuations`.
        beam: the number of sequences kept for each prompt, including finished ones.
        length_power: sequences are ranked by log p / length^power, at every step; 0 ranks by log p,
            which favours short ones.

    Returns:
        (batch, beam, prompt + longest) int64, best first, and log-probabilities (batch, beam) in
        nats.
    """
    check_number(least=1, whole=True, longest=longest, beam=beam)
    check_number(least=0, length_power=length_power)
    batch, given = prompts.shape
    with reading(model):
        reader = Reader(model)
        logs = reader(prompts)
        vocabulary = logs.shape[1]
        kept = min(beam, vocabulary)
        totals, new = logs.topk(kept, 1)
        rows = torch.arange(batch, device=prompts.device).repeat_interleave(kept)
        reader.keep(rows)
        tokens = torch.cat([prompts[rows], new.reshape(-1, 1)], 1)
        for _ in range(longest - 1):
            done = (tokens[:, given:] == end).any(1)
            if done.all():
                break
            logs = reader(tokens[:, -1:])
            stays = torch.full_like(logs, -torch.inf)
            stays[:, PADDING] = 0.0
            logs = torch.where(done[:, None], stays, logs)
            grown = (totals.reshape(-1, 1) + logs).view(batch, -1)
            count = min(beam, grown.shape[1])
            lengths = (tokens[:, given:] != PADDING).sum(1) + (~done).long()
            ranks = (grown.view(len(tokens), -1) / lengths[:, None] ** length_power).view(batch, -1)
            places = ranks.topk(count, 1).indices
            totals = grown.gather(1, places)
            rows = (
                places // vocabulary
                + (len(tokens) // batch) * torch.arange(batch, device=prompts.device)[:, None]
            )
            rows = rows.reshape(-1)
            reader.keep(rows)
            tokens = torch.cat([tokens[rows], (places % vocabulary).reshape(-1, 1)], 1)
    missing = given + longest - tokens.shape[1]
    tokens = torch.cat([tokens, tokens.new_zeros(len(tokens), missing)], 1)
    return tokens.view(batch, -1, given + longest), totals
