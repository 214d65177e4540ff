"""Sequence-level distillation from several teachers, for any next-token models.

Freitag, Al-Onaizan and Sankaran 2017: the beam of an ensemble provides the student's corpus, its
best hypothesis or the one most similar to the reference (the oracle), without pairs that are too
far from it. Tan et al. 2019: bilingual teachers teach one multilingual student, each only while it
is better than the student.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from kdnb.losses import ensemble_log_probabilities
from kdnb.losses.checks import check_choice, check_number
from kdnb.losses.ensemble import Mean
from kdnb.methods.teachers import check_no_nan
from kdnb.names import brief

Token = Hashable
NextToken = Callable[
    [Tensor], Tensor
]  # prefixes (hypotheses, length) -> logits (hypotheses, vocab)
Score = Callable[[Sequence[Token], Sequence[Token]], float]  # (hypothesis, reference)


class Hypothesis(NamedTuple):
    """A sequence of a beam.

    Attributes:
        tokens: without start and end.
        log_probability: of the sequence and its end, in nats.
    """

    tokens: tuple[int, ...]
    log_probability: float


@torch.no_grad()
def beam_search(
    members: Sequence[NextToken],
    *,
    start: int,
    end: int,
    beam: int = 4,
    longest: int = 50,
    mean: Mean = "arithmetic",
    length_power: float = 0.0,
) -> list[Hypothesis]:
    r"""The likeliest sequences by the mean of several models' next-token probabilities.

    .. math:: \log p(y) = \sum_t \log \frac1M \sum_m p_m(y_t \mid y_{<t})

    Args:
        members: one or more functions of prefixes (hypotheses, length) int64, which begin with
            `start`, to logits of the next token (hypotheses, vocabulary); each knows its source.
        start, end: tokens that open and close a sequence.
        beam: hypotheses kept at every step, and returned at most.
        longest: tokens of a sequence, its end included.
        mean: type of mean of the members' probabilities, "arithmetic" or "geometric".
        length_power: sequences are ranked by log p / length^power; 0 ranks by log p.

    Returns:
        Finished hypotheses, best first; unfinished ones only if none ended within `longest`.

    Raises:
        TypeError: for a single model instead of a list.
        ValueError: for no member, a beam or length below 1, or answers of a wrong shape, without
            the end among their tokens, or with NaN.
    """
    if callable(members):
        raise TypeError("members must be a list of models; got one: [model].")
    members = list(members)
    if not members:
        raise ValueError("a beam is searched with at least one model; got none.")
    check_number(least=1, whole=True, beam=beam, longest=longest)
    check_number(least=0, whole=True, start=start, end=end)
    check_number(least=0, length_power=length_power)
    check_choice(("arithmetic", "geometric"), mean=mean)

    def rank(one: Hypothesis) -> float:
        return one.log_probability / (len(one.tokens) + 1) ** length_power

    open_ones, done = [Hypothesis((), 0.0)], []
    for _ in range(longest):
        prefixes = torch.tensor([[start, *one.tokens] for one in open_ones])
        logits = [member(prefixes) for member in members]
        _check_next(logits, len(prefixes), end)
        said = ensemble_log_probabilities(logits, mean=mean)
        totals = said.double() + torch.tensor([[one.log_probability] for one in open_ones]).double()
        values, places = totals.flatten().topk(min(2 * beam, totals.numel()))
        grown = []
        for number, (value, place) in enumerate(zip(values.tolist(), places.tolist(), strict=True)):
            row, token = divmod(place, said.shape[1])
            if value == -math.inf:
                continue
            if token == end:
                if number < beam:  # a beam of 1 is greedy
                    done.append(Hypothesis(open_ones[row].tokens, value))
            elif len(grown) < beam:
                grown.append(Hypothesis((*open_ones[row].tokens, token), value))
        open_ones = grown
        best_done = sorted(done, key=rank, reverse=True)[:beam]
        # Longer sequences only lose probability, so without a length power the beam is final.
        settled = len(best_done) == beam and length_power == 0
        if not open_ones or (settled and rank(best_done[-1]) >= rank(open_ones[0])):
            break
    return sorted(done or open_ones, key=rank, reverse=True)[:beam]


def _check_next(logits: Sequence[Tensor], hypotheses: int, end: int) -> None:
    for number, one in enumerate(logits):
        if not isinstance(one, Tensor) or one.ndim != 2 or len(one) != hypotheses:
            got = tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__
            raise ValueError(
                f"member {number} must answer logits ({hypotheses}, vocabulary), a row for each prefix; "
                f"got {got}."
            )
        if end >= one.shape[1]:
            raise ValueError(
                f"end must be a token of the vocabulary of {one.shape[1]}; got {end}: no sequence would end."
            )
        check_no_nan(f"member {number}", one)


def sentence_bleu(
    hypothesis: Sequence[Token], reference: Sequence[Token], longest: int = 4
) -> float:
    r"""BLEU of one sentence, smoothed by 1 beyond single tokens (Lin and Och 2004).

    .. math:: \min\big(1, e^{1 - r/h}\big) \prod_{n=1}^N P_n^{1/N}, \quad
        P_1 = \frac{m_1}{c_1},\; P_n = \frac{m_n + 1}{c_n + 1}

    with m_n matches, clipped, among c_n n-grams. It is meant for choosing among hypotheses; measure
    corpora by a library.

    >>> sentence_bleu("the cat sat".split(), "the cat sat".split())
    1.0
    """
    check_number(least=1, whole=True, longest=longest)
    if not hypothesis or not reference:
        return float(len(hypothesis) == len(reference))
    total = 0.0
    for n in range(1, longest + 1):
        ours, theirs = ngrams(hypothesis, n), ngrams(reference, n)
        matches, count = (ours & theirs).total(), ours.total()
        share = matches / count if n == 1 else (matches + 1) / (count + 1)
        if not share:
            return 0.0
        total += math.log(share) / longest
    return math.exp(total + min(0.0, 1 - len(reference) / len(hypothesis)))


def ngrams(tokens: Sequence[Token], n: int) -> Counter[tuple[Token, ...]]:
    """Count each sequence of n tokens in a longer one.

    >>> ngrams("abab", 2)
    Counter({('a', 'b'): 2, ('b', 'a'): 1})
    """
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def edit_rate(hypothesis: Sequence[Token], reference: Sequence[Token]) -> float:
    """Insertions, deletions and substitutions that lead to the reference, divided by its length.

    This is TER without phrase shifts, which count once there, so it is never below TER.

    >>> edit_rate("a b d".split(), "a b c".split())
    0.3333333333333333
    """
    row = list(range(len(reference) + 1))
    for i, ours in enumerate(hypothesis, 1):
        before, row[0] = row[0], i
        for j, theirs in enumerate(reference, 1):
            cost = min(before + (ours != theirs), row[j] + 1, row[j - 1] + 1)
            before, row[j] = row[j], cost
    return row[-1] / max(1, len(reference))


def choose(
    beam: Sequence[Sequence[Token]],
    reference: Sequence[Token] | None = None,
    by: Literal["model", "oracle"] = "model",
    score: Score = sentence_bleu,
) -> Sequence[Token]:
    """Choose a hypothesis: the model's best, or the one most similar to the reference.

    Args:
        beam: the model's best first.
        reference: the reference sequence, which the oracle needs.
        by: "model", or "oracle" (the oracle-BLEU teacher).
        score: of a hypothesis and the reference; larger is better. Ties go to the one preferred by
            the model.

    Raises:
        ValueError: for an empty beam, or an oracle without a reference.
    """
    check_choice(("model", "oracle"), by=by)
    if not beam:
        raise ValueError("a beam must hold at least one hypothesis; got none.")
    if by == "model":
        return beam[0]
    if reference is None:
        raise ValueError("the oracle needs a reference.")
    return max(beam, key=lambda one: score(one, reference))


def distilled_corpus(
    sources: Sequence[Sequence[Token]],
    beams: Sequence[Sequence[Sequence[Token]]],
    references: Sequence[Sequence[Token]],
    *,
    by: Literal["model", "oracle"] = "model",
    largest_edit_rate: float | None = 0.8,
    union: bool = True,
    score: Score = sentence_bleu,
) -> list[tuple[Sequence[Token], Sequence[Token]]]:
    r"""The corpus for training a student by plain likelihood (Freitag et al. 2017).

    .. math:: L = -\sum_{(x, \hat y)} \log p_s(\hat y \mid x) \;\Big( - \sum_{(x, y)}
        \log p_s(y \mid x) \Big)

    Args:
        sources: x.
        beams: for each source the teacher's hypotheses, the best first, such as
            :func:`beam_search` of an ensemble gives them.
        references: y, one for each source.
        by, score: as in :func:`choose`.
        largest_edit_rate: pairs whose chosen hypothesis is farther from the reference than this, by
            :func:`edit_rate`, are dropped, and so is the reference's pair; None keeps all.
        union: also include the pairs with the references.

    Returns:
        Pairs (source, target).

    Raises:
        ValueError: for lists of different lengths, an empty beam or a negative rate.

    Departures: teachers, oracle and filter are in the abstract. The threshold 0.8, and that the
    filter also drops the reference's pair, are recalled with little certainty. TER's shifts are
    left out.
    """
    if not len(sources) == len(beams) == len(references):
        raise ValueError(
            "sources, beams and references must be of one length; got "
            f"{len(sources)}, {len(beams)} and {len(references)}."
        )
    if largest_edit_rate is not None:
        check_number(least=0, largest_edit_rate=largest_edit_rate)
    pairs: list[tuple[Sequence[Token], Sequence[Token]]] = []
    for source, beam, reference in zip(sources, beams, references, strict=True):
        chosen = choose(beam, reference, by, score)
        if largest_edit_rate is not None and edit_rate(chosen, reference) > largest_edit_rate:
            continue
        pairs.append((source, chosen))
        if union:
            pairs.append((source, reference))
    return pairs


class Selective:
    r"""Select teachers: follow each as long as the student is not better (Tan et al. 2019).

    .. math:: L_l = (1 - \lambda_l)\, \mathrm{NLL}(y \mid x) + \lambda_l L_{KD}, \quad
        \lambda_l = \lambda\, \big[ s_l < t_l + \tau \big]

    with :func:`kdnb.losses.top_cross_entropy` for L_KD, and scores s of the student and t of the
    teacher of each language (or task) l, checked from time to time.

    Args:
        teachers: the teachers' scores by language.
        weight: lambda; 0.9 in the authors' code. Ours is 0.5.
        threshold: tau, in units of the scores; 1 BLEU in the authors' code.

    Departures: the paper's text was not available. The rule is one of three in the authors' code
    (RayeRen/multilingual-kd-pytorch, `get_alpha`, the strategy "threshold"); by default it keeps
    lambda fixed. The code smooths the labels.
    """

    def __init__(
        self, teachers: dict[Hashable, float], weight: float = 0.5, threshold: float = 1.0
    ) -> None:
        check_number(least=0, most=1, weight=weight)
        check_number(threshold=threshold)
        if not isinstance(teachers, Mapping) or not teachers:
            raise ValueError(
                f"teachers must be scores by language, at least one; got {brief(teachers)}."
            )
        check_number(**{f"score of {language}": score for language, score in teachers.items()})
        self.teachers, self.weight, self.threshold = dict(teachers), weight, threshold
        self.followed = dict.fromkeys(self.teachers, True)

    def check(self, students: dict[Hashable, float]) -> None:
        """Update with the student's scores by language; a teacher may be followed again later.

        Raises:
            KeyError: for a language without a teacher.
        """
        for language, score in students.items():
            self._check(language)
            self.followed[language] = score < self.teachers[language] + self.threshold

    def loss(self, language: Hashable, likelihood: Tensor, distillation: Tensor) -> Tensor:
        """The two terms of a batch of one language, with the current weights."""
        self._check(language)
        if not self.followed[language]:
            return likelihood
        return (1 - self.weight) * likelihood + self.weight * distillation

    def _check(self, language: Hashable) -> None:
        if language not in self.teachers:
            raise KeyError(
                f"there is no teacher of {language!r}; there is one of {list(self.teachers)}."
            )
