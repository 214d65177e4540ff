"""MiniLLM (Gu et al. 2024): the reverse divergence of sequences by a policy gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import nan_from
from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_flags,
    check_number,
    check_present,
    check_samples,
    check_together,
    check_variant,
)
from kdnb.losses.token_divergence import token_divergences


def minillm(
    student_logits: Tensor,
    teacher_logits: Tensor,
    tokens: Tensor,
    present: Tensor,
    weights: Tensor | None = None,
    clip: float | None = 0.2,
    length_normalised: bool = True,
    variant: Variant = "paper",
) -> Tensor:
    r"""MiniLLM's surrogate loss (Gu 2024), with the gradient of KL(q ‖ p) over sequences.

    .. math:: L = \frac{1}{N} \sum_{b,t} w_{bt}\, \mathrm{KL}(q_{bt} \| p_{bt})
        - \min\big(\rho_{bt} R_{b,t+1},\, \mathrm{clip}(\rho_{bt}, 1 - \epsilon, 1 + \epsilon)
        R_{b,t+1}\big),
        \quad R_{t+1} = \frac{1}{|y| - t} \sum_{t' > t} \log \frac{p(y_{t'})}{q(y_{t'})}

    The first term, the *single step*, is the token's own divergence, summed exactly over the
    vocabulary; the second trains a token by what follows it. Only the gradient of this loss is
    meaningful, not its value. :math:`\rho = w\, q / \bar q`, where the bar stops the gradient, and
    :math:`w = q(y_t) / \tilde p(y_t)` where the sequence was drawn from a mixture :math:`\tilde p`
    of teacher and student.

    Args:
        student_logits, teacher_logits: (batch, tokens, vocabulary), of the next token after each
            prefix.
        tokens: (batch, tokens) int64, the next tokens that were drawn.
        present: (batch, tokens) booleans, False for the prompt and padding.
        weights: (batch, tokens), w; None means all 1, for the student's own sequences.
        clip: epsilon; None clips nothing.
        length_normalised: if False, R is the sum over the following tokens.
        variant: "authors" gives the first term weight 1 at every token, and normalises R over all
            present tokens to mean 0 and deviation 1; "paper" does neither.

    Returns:
        A scalar without unit; N is the number of present tokens.

    Raises:
        ValueError: for wrong shapes, a sequence without a present token, negative weights, or a
            clip that is not above 0.

    Departures: the paper's abstract and the authors' loss were read; the weights w of single tokens
    (instead of their product over the prefix) and the clip of 0.2 are recalled.

    >>> logits = torch.zeros(1, 2, 3, requires_grad=True)
    >>> drawn, there = torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.bool)
    >>> minillm(logits, torch.zeros(1, 2, 3), drawn, there).abs()
    tensor(0., grad_fn=<AbsBackward0>)
    """
    check_variant(variant)
    each = token_divergences(student_logits, teacher_logits, "reverse")
    batch, length = each.shape
    check_present(present, batch, length, student_logits=student_logits)
    if not isinstance(tokens, Tensor) or tokens.shape != each.shape or tokens.dtype != torch.int64:
        raise ValueError(
            f"tokens must be integers (int64) of shape ({batch}, {length}); got "
            f"{getattr(tokens, 'dtype', type(tokens).__name__)} {tuple(getattr(tokens, 'shape', ()))}."
        )
    words = student_logits.shape[2]
    if tokens.device.type == "cpu" and not 0 <= int(tokens.min()) <= int(tokens.max()) < words:
        raise ValueError(
            f"tokens must lie in [0, {words - 1}]; got {int(tokens.min())} to {int(tokens.max())}."
        )
    check_together(student_logits=student_logits, tokens=tokens)
    if weights is not None:
        check_samples(minimum=1, weights=weights)
        if weights.shape != each.shape:
            raise ValueError(
                f"weights must be of shape ({batch}, {length}); got {tuple(weights.shape)}."
            )
        check_together(student_logits=student_logits, weights=weights)
        if weights.device.type == "cpu" and bool((weights < 0).any()):
            raise ValueError(f"weights must be at least 0; got {float(weights.min()):g}.")
    check_flags(length_normalised=length_normalised)
    if clip is not None:
        check_number(above=0, clip=clip)
    log_q, log_p = (
        at_least_float32(logits).log_softmax(2).gather(2, tokens[..., None])[..., 0]
        for logits in (student_logits, teacher_logits)
    )
    gains = (log_p - log_q).detach().masked_fill(~present, 0)
    after = gains.flip(1).cumsum(1).flip(1) - gains  # over the following tokens
    follow = present.flip(1).cumsum(1).flip(1) - present.long()
    if length_normalised:
        after = after / follow.clamp_min(1)
    count = present.sum()
    if variant == "authors":
        mean = after.masked_fill(~present, 0).sum() / count
        spread = ((after - mean).square().masked_fill(~present, 0).sum() / count).sqrt()
        after = (after - mean) / (spread + 1e-8)
    w = torch.ones_like(each) if weights is None else weights.detach().to(each.dtype)
    ratio = w * (log_q - log_q.detach()).exp()
    second = ratio * after
    if clip is not None:
        second = torch.minimum(second, ratio.clamp(1 - clip, 1 + clip) * after)
    first = each if variant == "authors" else w * each
    value = (first - second).masked_fill(~present, 0).sum() / count
    sources = [student_logits, teacher_logits] + ([] if weights is None else [weights])
    return nan_from(value, *sources)
