"""UHC (Vongkulbhisal et al. 2019): unify classifiers that each know some of the classes.

Classifier i knows the classes :math:`L_i` and predicts :math:`p_i(l)`, the probability of l given
that the label lies in :math:`L_i`. A distribution q over all classes implies
:math:`\\hat q_i(l) = q(l) / \\sum_{k \\in L_i} q(k)` for it. The estimates look for a q whose
:math:`\\hat q_i` match the classifiers' predictions; :func:`restricted_cross_entropy` uses the
student's answer as q. The other functions are baselines that do not use this relation.

Every function takes

- `classifier_logits`: a list of tensors (batch, classes of this classifier);
- `class_sets`: for each classifier, the indices of its classes, in the order of its logits;
- `classes`: the number of classes; each must be known to some classifier;

and raises `ValueError` if they do not match. The relation, the cross-entropy and the factorisation
are in the paper's abstract; the formulas are recalled, as its text was not available.
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
    """Split the classes into connected parts, whose class sets are linked by shared classes.

    If there is one part and the classifiers agree, they determine the probabilities of all classes.
    No classifier compares two parts, so the share of each part is arbitrary.

    Args:
        class_sets: for each classifier, the indices of its classes.
        classes: the number of classes; each must be in some set.

    Returns:
        Sorted lists of class indices, ordered by their first entry.

    Raises:
        ValueError: for empty sets, duplicate or invalid classes, or a class in no set.

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
    r"""A naive baseline: the mean of the answers, with 0 for classes a classifier does not know.

    .. math:: q(l) = \frac1M \sum_{i:\, l \in L_i} p_i(l)

    It minimises the cross-entropy of all answers with a q that is not renormalised over
    :math:`L_i`: plain distillation from every classifier. A class that few classifiers know gets
    little probability, however confident they are.

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
    r"""A baseline: each class's mean over the classifiers that know it, renormalised.

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
    """A baseline: the answer of the classifier with the largest maximum probability.

    Returns:
        (batch, classes) probabilities, 0 for the classes that this classifier does not know.

    >>> confident = torch.tensor([[5.0, 0.0]])
    >>> most_confident_classifier([torch.zeros(1, 2), confident], [[0, 1], [1, 2]], 3)
    tensor([[0.0000, 0.9933, 0.0067]])
    """
    log_p, known = _answers(classifier_logits, class_sets, classes)
    padded = log_p.exp() * known
    surest = padded.amax(2).argmax(1)
    # A classifier whose answer is NaN is not skipped.
    spoilt = padded.sum(dim=(1, 2), keepdim=True).squeeze(2) * 0
    return padded[torch.arange(len(padded), device=padded.device), surest] + spoilt


def mean_raw_logits(
    classifier_logits: Sequence[Tensor], class_sets: Sequence[Sequence[int]], classes: int
) -> Tensor:
    """A baseline: the softmax of each class's mean logit over the classifiers that know it.

    For disjoint sets these are the concatenated logits, which released code for knowledge
    amalgamation distils. Adding a constant to all logits of one classifier leaves its answer
    unchanged but changes this target.

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

    The answers are the columns of a matrix with missing entries, which would have rank one if the
    classifiers agreed; in logarithms, a rank-one product becomes a sum. Substituting the best
    :math:`c_i` leaves a linear system in u whose matrix depends only on the class sets.
    Probabilities near 0 count as much as any, so a classifier that is wrong and overconfident has a
    large influence.

    Returns:
        (batch, classes) probabilities. If the sets are not connected, each part gets probability in
        proportion to its number of classes (see :func:`connected_classes`).

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

    Each half step is solved exactly and lowers the sum. The answers are not negative, so u and v
    are not negative either. The start is the estimate in log space, which is the solution if all
    classifiers agree. No gradient flows into the classifiers.

    Args:
        steps: the number of steps, each of both halves.

    Returns:
        (batch, classes) probabilities. Sets that are not connected: as in
        :func:`log_space_estimate`.

    Departures: we do not know the paper's regularisation, starting point or number of steps; there
    is no regularisation here. The sum may have several local minima.

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
    r"""The q whose restrictions have the smallest cross-entropy with the classifiers' answers.

    .. math:: \min_q - \sum_i \sum_{l \in L_i} p_i(l) \log \frac{q(l)}{\sum_{k \in L_i} q(k)}

    The objective is convex in log q. It is the negative log-likelihood of Luce's choice model, in
    which each classifier reports how often each class is chosen from its set. The minimum is unique
    if the class sets are connected. If all classifiers agree with one q, that q is the minimum. No
    gradient flows into the classifiers.

    Returns:
        (batch, classes) probabilities. Sets that are not connected: as in
        :func:`log_space_estimate`.

    Departures: solved by Newton's method, starting from the estimate in log space. A step whose
    entries differ by d is shortened by log(1 + d) / d, with which the loss falls from any start.
    Hunter's (2004) iteration
    :math:`q_l \leftarrow \sum_i p_i(l) / \sum_{i \ni l} (1 / \sum_{k \in L_i} q_k)` has the same
    limit, but the number of steps it needs is about the inverse of the smallest probability of a
    shared class.

    >>> q = torch.tensor([0.5, 0.3, 0.2])
    >>> cross_entropy_estimate([q[None, :2].log(), q[None, 1:].log()], [[0, 1], [1, 2]], 3)
    tensor([[0.5000, 0.3000, 0.2000]])
    """
    log_p, known = _answers(classifier_logits, class_sets, classes)
    parts = connected_classes(class_sets, classes)
    with torch.no_grad():
        wide = in_double(log_p)
        u, p = log_space(wide, known), wide.exp() * known
        # Float32 sums differ from 1 by more than the tolerance of the gradient, which sums to 0.
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
    r"""Back-propagated cross-entropy: restrict the student's answer to each classifier's classes.

    .. math:: L = \frac1B \sum_b \sum_i H\big(p_i(x_b),\; \mathrm{softmax}(z_{L_i}(x_b))\big)

    No estimate of q is needed: the student's answer takes its place, for all images together.

    Args:
        student_logits: (batch, classes).

    Returns:
        A scalar in nats, summed over classifiers. Its minimum, where the student's restrictions
        equal their answers, is the sum of their entropies.

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


# --- internals -----------------------------------------------------------------------------------


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
    """Log-probabilities (batch, classifiers, classes), 0 where unknown, and a mask of the known."""
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
