"""Speculative decoding (Leviathan et al. 2023): a student drafts and its teacher decides."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kdnb.losses.checks import check_number
from kdnb.methods.applications.generation import Model, logits_of, reading
from kdnb.nets.transformer import PADDING


class Drafted(NamedTuple):
    """One written sequence and its cost.

    Attributes:
        tokens: (length,) int64, the prompt included.
        proposed, accepted: numbers of draft tokens.
        calls: the number of calls of the teacher.
    """

    tokens: Tensor
    proposed: int
    accepted: int
    calls: int


def acceptance(teacher_probabilities: Tensor, draft_probabilities: Tensor) -> Tensor:
    r"""The probability that a drafted token is accepted, :math:`\sum_k \min(p_k, q_k)`.

    It is 1 minus the total variation.

    Args:
        teacher_probabilities, draft_probabilities: (..., vocabulary).

    >>> acceptance(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))
    tensor(0.5000)
    """
    return torch.minimum(teacher_probabilities, draft_probabilities).sum(-1)


def speculative_decoding(
    draft: Model,
    teacher: Model,
    prompt: Tensor,
    *,
    longest: int,
    end: int,
    ahead: int = 4,
    generator: torch.Generator | None = None,
) -> Drafted:
    r"""Sample from the teacher's distribution with fewer than one teacher call per token.

    The draft model proposes `ahead` tokens; the teacher judges all of them in one call. Token k is
    accepted with the probability :math:`\min(1, p_k / q_k)`. The first rejected token is drawn
    again from :math:`(p - q)_+`, normalised. If all are accepted, one more token is drawn from the
    teacher's next distribution.

    Args:
        draft, teacher: language models of one vocabulary, in eval mode while they write.
        prompt: (length,) int64.
        longest: tokens of the response, its end included.
        end: the token that ends it.
        ahead: the number of tokens drafted at once.
        generator: torch's own if None.

    Departures: the algorithm is recalled; an exact test shows that the text has the teacher's
    distribution. Models process whole prefixes here, so the saving is counted in calls.
    """
    check_number(least=1, whole=True, longest=longest, ahead=ahead)
    tokens, given = prompt, len(prompt)
    proposed = accepted = calls = 0
    with reading(draft, teacher):
        while len(tokens) - given < longest and (len(tokens) == given or int(tokens[-1]) != end):
            room = min(ahead, longest - (len(tokens) - given) - 1)
            guesses, beliefs = tokens, []
            for _ in range(room):
                beliefs.append(_probabilities(draft, guesses)[-1])
                new = torch.multinomial(beliefs[-1], 1, generator=generator)
                guesses = torch.cat([guesses, new])
                if int(new) == end:
                    break
            truths = _probabilities(teacher, guesses)[len(tokens) - 1 :]
            calls += 1
            drafted = guesses[len(tokens) :]
            proposed += len(drafted)
            for place, guess in enumerate(drafted):
                p, q = truths[place], beliefs[place]
                if float(torch.rand((), generator=generator)) * float(q[guess]) < float(p[guess]):
                    tokens = torch.cat([tokens, guess[None]])
                    accepted += 1
                    continue
                rest = (p - q).clamp_min(0)
                tokens = torch.cat([tokens, torch.multinomial(rest, 1, generator=generator)])
                break
            else:
                if not len(drafted) or int(drafted[-1]) != end:
                    tokens = torch.cat(
                        [tokens, torch.multinomial(truths[-1], 1, generator=generator)]
                    )
    return Drafted(tokens, proposed, accepted, calls)


def _probabilities(model: Model, tokens: Tensor) -> Tensor:
    """(length, vocabulary), of the next token after each prefix, padding excluded."""
    logits = logits_of(model, tokens[None])[0].float().clone()
    logits[:, PADDING] = -torch.inf
    return logits.softmax(1)
