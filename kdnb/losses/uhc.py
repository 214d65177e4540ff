"""UHC (Vongkulbhisal et al. 2019): one answer over all classes from classifiers that know some each.

Classifier i knows the classes :math:`L_i` and says :math:`p_i(l)`, the probability of l given that
the label lies in :math:`L_i`. A distribution q over all classes implies
:math:`\\hat q_i(l) = q(l) / \\sum_{k \\in L_i} q(k)` for it. The estimates look for a q whose
:math:`\\hat q_i` are what the classifiers say; :func:`restricted_cross_entropy` puts the student's
answer in place of q. The other functions are what one does without that relation.

Every function takes

- `classifier_logits`: a list of tensors (batch, classes of this classifier);
- `class_sets`: for each classifier the numbers of its classes, in the order of its logits;
- `classes`: how many classes there are; each must be known to some classifier;

and raises `ValueError` where they do not fit. The relation, the cross-entropy and the factorisation
are in the paper's abstract; formulas are recalled, its text was not available.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import cross_entropy_of, in_double
from kdnb.losses._estimates import half_step, least_cross_entropy, log_space
from kdnb.losses.checks import (
    at_least_float32,
    check_lists,
    check_logits,
    check_number,
    check_samples,
    check_together,
)

MOST_CLASSES = 100_000


def connected_classes(class_sets: Sequence[Sequence[int]], classes: int) -> list[list[int]]:
    """The parts into which the classes fall: within one they are linked by shared classes.

    With one part, classifiers that agree determine all classes' probabilities. Between two parts
    no classifier compares anything, and the share of each is arbitrary.

    Args:
        class_sets: for each classifier the numbers of its classes.
        classes: how many there are; each must be in some set.

    Returns:
        Sorted lists of class numbers, by their first.

    Raises:
        ValueError: for sets that are empty, hold a class twice or one that is out of range, or
            leave a class out.

    >>> connected_classes([[0, 1], [1, 2], [3, 4]], 5)
    [[0, 1, 2], [3, 4]]
    """
    check_number(least=1, most=MOST_CLASSES, whole=True, classes=classes)
    check_lists(class_sets=class_sets)
    parts: list[set[int]] = []
    for place, members in enumerate(class_sets):
        name = f"class_sets[{place}]"
        check_lists(**{name: members})
        for number in members:
            check_number(least=0, most=classes - 1, whole=True, **{name: number})
        own = {int(number) for number in members}
        if len(own) < len(members):
            raise ValueError(f"{name} must hold every class once; got {list(members)}.")
        touched = [part for part in parts if part & own]
        parts = [part for part in parts if not part & own] + [own.union(*touched)]
    if missing := sorted(set(range(classes)).difference(*parts)):
        raise ValueError(
            f"class_sets must cover all {classes} classes; got none with {missing[0]}."
        )
    return sorted(sorted(part) for part in parts)


def zero_padded_mean(
    classifier_logits: Sequence[Tensor], class_sets: Sequence[Sequence[int]], classes: int
) -> Tensor:
    r"""The naive target: the mean of the answers, 0 where a classifier does not know the class.

    .. math:: q(l) = \frac1M \sum_{i:\, l \in L_i} p_i(l)

    It minimises the cross-entropy of all answers with a q that is not renormalised over
    :math:`L_i`: plain distillation from every classifier. A class that few classifiers know gets
    little, however sure they are.

    Returns:
        (batch, classes) probabilities.

    >>> zero_padded_mean([torch.zeros(1, 2), torch.zeros(1, 2)], [[0, 1], [1, 2]], 3)
    tensor([[0.2500, 0.5000, 0.2500]])
    """
    log_p, known = _answers(classifier_logits, class_sets, classes)
    return (log_p.exp() * known).mean(1)


def mean_of_those_that_know(
    classifier_logits: Sequence[Tensor], class_sets: Sequence[Sequence[int]], classes: int
) -> Tensor:
    r"""A control: each class's mean over the classifiers that know it, divided by their sum.

    .. math:: q(l) \propto \frac{1}{|\{i : l \in L_i\}|} \sum_{i:\, l \in L_i} p_i(l)

    Returns:
        (batch, classes) probabilities.

    >>> mean_of_those_that_know([torch.zeros(1, 2), torch.zeros(1, 2)], [[0, 1], [1, 2]], 3)
    tensor([[0.3333, 0.3333, 0.3333]])
    """
    log_p, known = _answers(classifier_logits, class_sets, classes)
    means = (log_p.exp() * known).sum(1) / known.sum(0)
    return means / means.sum(1, keepdim=True)


def most_confident_classifier(
    classifier_logits: Sequence[Tensor], class_sets: Sequence[Sequence[int]], classes: int
) -> Tensor:
    """A control: the answer of the classifier whose largest probability is the largest.

    Returns:
        (batch, classes) probabilities, 0 for the classes that this classifier does not know.

    >>> confident = torch.tensor([[5.0, 0.0]])
    >>> most_confident_classifier([torch.zeros(1, 2), confident], [[0, 1], [1, 2]], 3)
    tensor([[0.0000, 0.9933, 0.0067]])
    """
    log_p, known = _answers(classifier_logits, class_sets, classes)
    padded = log_p.exp() * known
    surest = padded.amax(2).argmax(1)
    # A classifier that says NaN is not passed over.
    spoilt = padded.sum(dim=(1, 2), keepdim=True).squeeze(2) * 0
    return padded[torch.arange(len(padded), device=padded.device), surest] + spoilt


def mean_raw_logits(
    classifier_logits: Sequence[Tensor], class_sets: Sequence[Sequence[int]], classes: int
) -> Tensor:
    """A control: the softmax of each class's mean logit over the classifiers that know it.

    Of disjoint sets these are the concatenated logits, which released code of knowledge
    amalgamation distils. A constant added to all logits of one classifier, which changes nothing of
    what it says, changes this target.

    Returns:
        (batch, classes) probabilities.

    >>> mean_raw_logits([torch.zeros(1, 2), torch.zeros(1, 1)], [[0, 1], [2]], 3)
    tensor([[0.3333, 0.3333, 0.3333]])
    """
    _check(classifier_logits, class_sets, classes)
    raw = [at_least_float32(logits) for logits in classifier_logits]
    placed, known = _placed(raw, class_sets, classes)
    return (placed.sum(1) / known.sum(0)).softmax(1)


def log_space_estimate(
    classifier_logits: Sequence[Tensor], class_sets: Sequence[Sequence[int]], classes: int
) -> Tensor:
    r"""Matrix factorisation in log space: least squares, solved by one pseudo-inverse.

    .. math:: \min_{u, c} \sum_i \sum_{l \in L_i} (\log p_i(l) - u_l - c_i)^2, \quad
        q = \mathrm{softmax}(u)

    The answers are the columns of a matrix with holes, which would be of rank one if the
    classifiers agreed; in logarithms rank one is a sum. Putting the best :math:`c_i` in leaves a
    linear system in u whose matrix depends on the class sets alone. Probabilities near 0 weigh as
    much as any: a classifier that is wrong and over-confident pulls far.

    Returns:
        (batch, classes) probabilities. Sets that are not connected: each part has the share that
        its number of classes has of all (see :func:`connected_classes`).

    >>> q = torch.tensor([0.5, 0.3, 0.2])
    >>> log_space_estimate([q[None, :2].log(), q[None, 1:].log() + 4], [[0, 1], [1, 2]], 3)
    tensor([[0.5000, 0.3000, 0.2000]])
    """
    log_p, known = _answers(classifier_logits, class_sets, classes)
    u = log_space(in_double(log_p), known)
    return _with_shares(u, connected_classes(class_sets, classes)).to(log_p.dtype)


def factorised_estimate(
    classifier_logits: Sequence[Tensor],
    class_sets: Sequence[Sequence[int]],
    classes: int,
    steps: int = 100,
) -> Tensor:
    r"""Matrix factorisation of the probabilities themselves, by alternating least squares.

    .. math:: \min_{u, v \ge 0} \sum_i \sum_{l \in L_i} (p_i(l) - u_l v_i)^2, \quad
        q = u / \textstyle\sum_k u_k

    Each half step is solved exactly and lowers the sum; the answers are not negative, so that u and
    v are not either. It starts at the estimate in log space, which is the solution where all
    classifiers agree. No gradient flows into the classifiers.

    Args:
        steps: of both halves.

    Returns:
        (batch, classes) probabilities. Sets that are not connected: as in
        :func:`log_space_estimate`.

    Departures: the paper's regularisation, its start and its number of steps are not known to us;
    nothing is regularised here. The sum may have several local minima.

    >>> q = torch.tensor([0.5, 0.3, 0.2])
    >>> factorised_estimate([q[None, :2].log(), q[None, 1:].log()], [[0, 1], [1, 2]], 3)
    tensor([[0.5000, 0.3000, 0.2000]])
    """
    log_p, known = _answers(classifier_logits, class_sets, classes)
    check_number(least=1, most=10**6, whole=True, steps=steps)
    with torch.no_grad():
        wide = in_double(log_p)
        p, u = wide.exp() * known, log_space(wide, known).softmax(1)
        for _ in range(steps):
            v = half_step(p.mT, u, known.T)
            u = half_step(p, v, known)
        found = torch.empty_like(u)
        for part in connected_classes(class_sets, classes):
            inside = u[:, part]
            found[:, part] = inside / inside.sum(1, keepdim=True) * (len(part) / classes)
    return found.to(log_p.dtype)


def cross_entropy_estimate(
    classifier_logits: Sequence[Tensor], class_sets: Sequence[Sequence[int]], classes: int
) -> Tensor:
    r"""The q whose restrictions have the least cross-entropy with what the classifiers say.

    .. math:: \min_q - \sum_i \sum_{l \in L_i} p_i(l) \log \frac{q(l)}{\sum_{k \in L_i} q(k)}

    It is convex in log q, and the likelihood of Luce's choice model: each classifier reports how
    often each class is chosen out of its set. Its minimum is unique where the class sets are
    connected. Where all classifiers agree with one q, that q is it. No gradient flows into the
    classifiers.

    Returns:
        (batch, classes) probabilities. Sets that are not connected: as in
        :func:`log_space_estimate`.

    Departures: solved by Newton's method from the estimate in log space, each step shortened by
    log(1 + d) / d for a step whose entries differ by d, with which the loss falls from any start.
    Hunter's (2004) iteration
    :math:`q_l \leftarrow \sum_i p_i(l) / \sum_{i \ni l} (1 / \sum_{k \in L_i} q_k)` has the same
    limit, but takes about as many steps as the smallest probability of a shared class is smaller
    than one.

    >>> q = torch.tensor([0.5, 0.3, 0.2])
    >>> cross_entropy_estimate([q[None, :2].log(), q[None, 1:].log()], [[0, 1], [1, 2]], 3)
    tensor([[0.5000, 0.3000, 0.2000]])
    """
    log_p, known = _answers(classifier_logits, class_sets, classes)
    parts = connected_classes(class_sets, classes)
    with torch.no_grad():
        wide = in_double(log_p)
        u, p = log_space(wide, known), wide.exp() * known
        # Sums of float32 miss 1 by more than is asked of the gradient, which sums to 0.
        p = p / p.sum(2, keepdim=True)
        for part in parts:
            knowing = known[:, part].any(1)
            inside = p[:, knowing][:, :, part]
            u[:, part] = least_cross_entropy(u[:, part], inside, known[knowing][:, part])
        return _with_shares(u, parts).to(log_p.dtype)


def restricted_cross_entropy(
    student_logits: Tensor,
    classifier_logits: Sequence[Tensor],
    class_sets: Sequence[Sequence[int]],
) -> Tensor:
    r"""Back-propagated cross-entropy: the student's answer, restricted to each classifier's classes.

    .. math:: L = \frac1B \sum_b \sum_i H\big(p_i(x_b),\; \mathrm{softmax}(z_{L_i}(x_b))\big)

    No estimate of q is needed: the student itself is it, for all images together.

    Args:
        student_logits: (batch, classes).

    Returns:
        A scalar in nats, summed over classifiers; at least the sum of their entropies, which it
        is where the student's restrictions are their answers.

    >>> classifiers = [torch.zeros(1, 2), torch.zeros(1, 2)]
    >>> restricted_cross_entropy(torch.zeros(1, 3), classifiers, [[0, 1], [1, 2]])
    tensor(1.3863)
    """
    check_logits(student_logits=student_logits)
    _check(classifier_logits, class_sets, student_logits.shape[1])
    named = {f"classifier_logits[{i}]": logits for i, logits in enumerate(classifier_logits)}
    check_samples(minimum=1, student_logits=student_logits, **named)
    ours = at_least_float32(student_logits)
    values = [
        cross_entropy_of(at_least_float32(theirs).softmax(1), ours[:, list(members)])
        for theirs, members in zip(classifier_logits, class_sets, strict=True)
    ]
    return sum(values).mean()


# --- what is asked for ---------------------------------------------------------------------------


def _check(
    classifier_logits: Sequence[Tensor], class_sets: Sequence[Sequence[int]], classes: int
) -> None:
    check_lists(classifier_logits=classifier_logits, class_sets=class_sets)
    connected_classes(class_sets, classes)
    for place, (logits, members) in enumerate(zip(classifier_logits, class_sets, strict=True)):
        check_logits(**{f"classifier_logits[{place}]": logits})
        if logits.shape[1] != len(members):
            raise ValueError(
                f"classifier_logits[{place}] must have a column for each of the {len(members)} "
                f"classes of class_sets[{place}]; got {tuple(logits.shape)}."
            )
    named = {f"classifier_logits[{i}]": logits for i, logits in enumerate(classifier_logits)}
    check_samples(minimum=1, **named)
    check_together(**named)


def _answers(
    classifier_logits: Sequence[Tensor], class_sets: Sequence[Sequence[int]], classes: int
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (batch, classifiers, classes), 0 where unknown, and what is known."""
    _check(classifier_logits, class_sets, classes)
    said = [F.log_softmax(at_least_float32(logits), 1) for logits in classifier_logits]
    return _placed(said, class_sets, classes)


def _placed(
    values: Sequence[Tensor], class_sets: Sequence[Sequence[int]], classes: int
) -> tuple[Tensor, Tensor]:
    rows, known = [], []
    for own, members in zip(values, class_sets, strict=True):
        places = torch.tensor([int(number) for number in members], device=own.device)
        rows.append(own.new_zeros(len(own), classes).index_copy(1, places, own))
        mask = torch.zeros(classes, dtype=torch.bool, device=own.device)
        known.append(mask.index_fill(0, places, True))
    widest = max((row.dtype for row in rows), key=lambda dtype: torch.finfo(dtype).bits)
    return torch.stack([row.to(widest) for row in rows], 1), torch.stack(known)


def _with_shares(u: Tensor, parts: list[list[int]]) -> Tensor:
    """The softmax within each part, times the part's share of the classes."""
    found = torch.zeros_like(u)
    for part in parts:
        places = torch.tensor(part, device=u.device)
        shares = u[:, part].softmax(1) * (len(part) / u.shape[1])
        found = found.index_copy(1, places, shares)
    return found
