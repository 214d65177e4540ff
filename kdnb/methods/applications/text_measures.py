"""Measures of a language model's text: by its teacher, by itself, and by references."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdnb.losses.checks import check_number
from kdnb.losses.token_divergence import token_divergences
from kdnb.methods.applications.generation import (
    Model,
    continuations,
    logits_of,
    reading,
    responses,
    words_of,
)
from kdnb.methods.multi_teacher.sequences import ngrams
from kdnb.nets.transformer import PADDING


class Written(NamedTuple):
    """Measures of sequences drawn from a student, in nats per token.

    Attributes:
        own: the student's negative log-likelihood, an estimate of its entropy.
        teachers: the teacher's.
        reverse: KL(q ‖ p), estimated as the difference of both.
    """

    own: float
    teachers: float

    @property
    def reverse(self) -> float:
        return self.teachers - self.own


def likelihood(model: Model, tokens: Tensor, prompt: int = 1, batch: int = 256) -> float:
    """Negative log-likelihood in nats per token, over all of them: the log of the perplexity."""
    total, count = 0.0, 0
    with reading(model):
        for rows in tokens.split(batch):
            logs = logits_of(model, rows)[:, prompt - 1 : -1].float().log_softmax(2)
            present = responses(rows, prompt)[:, prompt - 1 :]
            said = logs.gather(2, rows[:, prompt:, None])[..., 0]
            total -= float(said[present].double().sum())
            count += int(present.sum())
    return total / count


def written(student: Model, teacher: Model, sequences: Tensor, prompt: int = 1) -> Written:
    """The likelihood of a student's sequences under student and teacher."""
    return Written(likelihood(student, sequences, prompt), likelihood(teacher, sequences, prompt))


def place_divergences(
    student: Model, teacher: Model, sequences: Tensor, prompt: int = 1, batch: int = 256
) -> Tensor:
    """KL(p ‖ q) at each position of responses, averaged over sequences: (longest,), in nats.

    The mean is over the sequences that reach the position; NaN if there are none.
    """
    total = torch.zeros(sequences.shape[1] - prompt, dtype=torch.float64)
    count = torch.zeros_like(total)
    with reading(student, teacher):
        for rows in sequences.split(batch):
            said, aim = (logits_of(one, rows)[:, :-1] for one in (student, teacher))
            present = responses(rows, prompt)
            each = token_divergences(said, aim).masked_fill(~present, 0)
            total += each.double().sum(0)[prompt - 1 :]
            count += present.sum(0)[prompt - 1 :]
    return total / count


def excess_error(
    student: nn.Module,
    teacher: nn.Module,
    prompts: Tensor,
    *,
    longest: int,
    end: int,
    generator: torch.Generator | None = None,
) -> float:
    r"""Exposure bias (Arora et al. 2022): excess error after a student's own prefixes, in percent.

    .. math:: 100\, \frac{R - \epsilon}{\epsilon}, \quad
        R = \sum_t \mathrm E_{y_{<t} \sim q}\, \mathrm{KL}(p \| q), \quad
        \epsilon = \sum_t \mathrm E_{y_{<t} \sim p}\, \mathrm{KL}(p \| q)

    It compares the error after the student's own prefixes with that after the teacher's, and is 0
    if errors do not accumulate. Sums run over the positions that a tenth of both kinds of sequences
    reach.

    Args:
        student, teacher: language models.
        prompts, longest, end, generator: as in `continuations`.

    Departures: the definition was read in a public summary of the paper. It has l epsilon(l), with
    epsilon(l) the mean over positions up to l, instead of our sum; both are equal.
    """
    prompt = prompts.shape[1]
    kinds, reached = [], torch.ones(longest, dtype=torch.bool)
    for who in (student, teacher):
        drawn = continuations(who, prompts, longest=longest, end=end, generator=generator).tokens
        reached &= (drawn[:, prompt:] != PADDING).double().mean(0).cpu() >= 0.1
        kinds.append(place_divergences(student, teacher, drawn, prompt))
    own, teachers = (float(each[reached].sum()) for each in kinds)
    return 100 * (own - teachers) / teachers


def distinct(sequences: Tensor, prompt: int, n: int = 2) -> float:
    """Diversity (Li et al. 2016): the share of distinct n-grams. Compare equally many sequences."""
    check_number(least=1, whole=True, n=n)
    found: Counter = Counter()
    for row in sequences[:, prompt:].tolist():
        found += ngrams([token for token in row if token != PADDING], n)
    return len(found) / max(1, found.total())


def rouge_l(hypothesis: Sequence, reference: Sequence) -> float:
    """ROUGE-L: the F1 of the longest common subsequence (Lin 2004).

    >>> round(rouge_l("a dog runs".split(), "a black dog runs fast".split()), 3)
    0.75
    """
    if not hypothesis or not reference:
        return float(len(hypothesis) == len(reference))
    row = [0] * (len(reference) + 1)
    for ours in hypothesis:
        before = 0
        for j, theirs in enumerate(reference, 1):
            kept = row[j]
            row[j] = before + 1 if ours == theirs else max(row[j], row[j - 1])
            before = kept
    return 2 * row[-1] / (len(hypothesis) + len(reference))


def mean_rouge_l(sequences: Tensor, references: Tensor, prompt: int, end: int) -> float:
    """The mean ROUGE-L of responses, without ends and padding."""
    found = [rouge_l(*pair) for pair in _pairs(sequences, references, prompt, end)]
    return sum(found) / len(found)


def corpus_bleu(
    hypotheses: Sequence[Sequence], references: Sequence[Sequence], longest: int = 4
) -> float:
    r"""Unsmoothed corpus BLEU with one reference each (Papineni et al. 2002), from 0 to 1.

    .. math:: \min\big(1, e^{1 - r/h}\big) \prod_{n=1}^N \Big(\frac{m_n}{c_n}\Big)^{1/N}

    with h tokens of hypotheses and r of references in the corpus, and m_n matches, clipped per
    sentence, among c_n n-grams. Values are comparable only for the same tokenisation.

    Raises:
        ValueError: for no hypothesis, or a different number of references.

    >>> round(corpus_bleu(["a dog runs on grass".split()], ["a dog runs on the grass".split()]), 3)
    0.579
    """
    check_number(least=1, whole=True, longest=longest)
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            f"there must be one reference for each hypothesis; got {len(references)} for {len(hypotheses)}."
        )
    matches, counts = [0] * longest, [0] * longest
    for ours, theirs in zip(hypotheses, references, strict=True):
        for n in range(1, longest + 1):
            said, given = ngrams(ours, n), ngrams(theirs, n)
            matches[n - 1] += (said & given).total()
            counts[n - 1] += said.total()
    if not all(matches):
        return 0.0
    ours, theirs = (sum(map(len, texts)) for texts in (hypotheses, references))
    precision = sum(math.log(m / c) for m, c in zip(matches, counts, strict=True)) / longest
    return math.exp(precision + min(0.0, 1 - theirs / ours))


def bleu(sequences: Tensor, references: Tensor, prompt: int, end: int) -> float:
    """The corpus BLEU of responses, without ends and padding."""
    return corpus_bleu(*zip(*_pairs(sequences, references, prompt, end), strict=True))


def _pairs(
    sequences: Tensor, references: Tensor, prompt: int, end: int
) -> list[tuple[list[int], list[int]]]:
    rows = zip(sequences.tolist(), references.tolist(), strict=True)
    return [(words_of(ours, prompt, end), words_of(theirs, prompt, end)) for ours, theirs in rows]
