"""Attentive knowledge distillation (Song et al. 2018): rules teach, weighted by attention."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.checks import check_choice, check_flags, check_number
from kdnb.methods.options import recipe_of
from kdnb.names import brief
from kdnb.nets import constrain
from kdnb.training import Fit, Networks, Recipe, Update, fit
from kdnb.training.answers import ask, logits_of
from kdnb.training.borrowed import borrowed
from kdnb.training.first import check_module, first_batch
from kdnb.training.identity import of_function
from kdnb.training.inputs import batches_for
from kdnb.training.layers import Layers, layers_of, look, viewing
from kdnb.training.randomness import own_random_state
from kdnb.training.targets import label_loss
from kdnb.training.watching import watching

# inputs (batch, ...) -> (batch, rules, classes): how well each class satisfies each rule
Rules = Callable[[Any], Tensor]


def distil_rules(
    student: nn.Module,
    rules: Rules,
    data: Any,
    recipe: Recipe | None = None,
    *,
    strength: float = 3.0,
    decay: float = 0.95,
    width: int = 32,
    attend: bool = True,
    variant: Literal["paper", "authors"] = "paper",
    layers: Layers | None = None,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Train a student on labels and on its own answers moved by rules (Song et al. 2018).

    .. math:: L = (1 - \rho_t)\, H(y, p) + \rho_t\, H(q, p), \quad
        q \propto p\, e^{C \sum_l \lambda_l f_l}, \quad \rho_t = 1 - d^{\,t}

    with :func:`kdnb.losses.rule_teacher`, the shares :math:`\lambda` of
    :class:`kdnb.losses.RuleAttention` and the number t of finished epochs. The attention learns
    from the second term, which is smallest where q is confident in the student's own first choice,
    so a rule gains weight where it agrees with what the student has learnt from the labels. (The
    divergence of q and p would teach the opposite: it is smallest where the rules have no effect.)

    Args:
        student: trained in place.
        rules: a function of a batch of inputs that gives :math:`f`, (batch, rules, classes), from 0
            to 1. A rule that does not apply to a sample gives all classes the same value.
        data, recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`. Labels of -100 mean
            "no label"; such samples are learnt by the rules alone.
        strength: C; 3 in the authors' code.
        decay: d, from 0 to 1; the authors' 0.95. With 1 the rules teach nothing.
        width: width of the attention.
        attend: False gives all rules that apply to a sample equal shares: the control.
        variant: where C is applied: "paper" in q; "authors" in the attention's softmax, as in their
            code, so that the exponent in q is at most 1.
        layers: the layers whose embedding the attention reads; found by `layers_of` if left out.

    Returns:
        The history, with `hard`, `rules` and the mean shares `share1`, `share2`, ..., which are
        measured and carry no gradient; the network "student"; and the `RuleAttention` as `learnt`
        (None without attention).

    Raises:
        ValueError: for rules of a wrong shape, or as `kdnb.distil`.

    The authors' code (hanxjing/AKD-DBPR) and equations 4.5 to 4.7 of their book were read.

    Departures: the paper ranks pairs of garments by Bayesian personalised ranking; here there are
    classes and the cross-entropy. Gradients reach q only through the attention; the authors' code
    also differentiates it through the student, while their equation 4.5 has the q of the last step.
    Their :math:`\rho` grows with every batch, ours with every epoch.
    """
    recipe = recipe_of(distil_rules, recipe, fields)
    check_number(least=0, strength=strength)
    check_number(above=0, most=1, decay=decay)
    check_choice(("paper", "authors"), variant=variant)
    check_number(least=1, whole=True, width=width)
    check_flags(attend=attend)
    check_module("student", student)
    if not callable(rules):
        raise TypeError(f"rules must be a function of a batch of inputs; got {brief(rules)}.")
    batches = batches_for(data, recipe, seed, given=fields)
    at = layers_of(student) if layers is None else layers
    first = first_batch(batches, seed).images
    view = look(student, at, first)
    asked = _asked(rules, first, view.logits)
    in_softmax = variant == "authors" and strength > 0
    sharpness, power = (strength, 1.0) if in_softmax else (1.0, strength)
    attention = None
    if attend:
        with own_random_state():
            torch.manual_seed(seed)
            attention = losses.RuleAttention(
                view.embedding.shape[1], asked.shape[1], width, sharpness
            )
    share = 0.0

    def begin(epoch: int) -> None:
        nonlocal share
        share = 1 - decay**epoch

    with borrowed(student), viewing(student, at) as seen:

        def terms(trained: Networks, batch: Batch) -> dict[str, Tensor]:
            own = seen(logits_of(ask(trained["student"], batch.images)))
            logits, inner = own.logits, own.embedding.detach()
            fulfilled = _asked(rules, batch.images, logits)
            if attention is None:
                applies = (fulfilled.amax(2) > fulfilled.amin(2)).float()
                trust = applies / applies.sum(1, keepdim=True).clamp_min(1)
            else:
                trust = trained["attention"](inner, fulfilled)
            teacher = losses.rule_teacher(logits.detach(), fulfilled, trust, power)
            shown = {f"share{k}": one for k, one in enumerate(trust.detach().mean(0), 1)}
            return {
                "hard": (1 - share) * label_loss(logits, batch.labels),
                "rules": share * losses.cross_entropy_with(logits, teacher.softmax(1)),
                **shown,
            }

        networks = {"student": student}
        if attention is not None:
            networks["attention"] = attention
        history = fit(
            networks, batches,
            Update(tuple(networks), terms, after=lambda: constrain(student), begin=begin), recipe,
            seed=seed, checkpoint=checkpoint, evaluate=watching(evaluate, {"student": student}),
            identity={"method": {"verb": "distil_rules", "rules": of_function(rules),
                                 "strength": strength, "decay": decay, "width": width,
                                 "attend": attend, "variant": variant,
                                 "embedding": at.embedding}},
        )  # fmt: skip
    return Fit.of(history, {"student": student}, attention)


def _asked(rules: Rules, inputs: Any, logits: Tensor) -> Tensor:
    """The rules' values for a batch, (batch, rules, classes), without a gradient."""
    with torch.no_grad():
        found = rules(inputs)
    batch, classes = logits.shape
    fits = isinstance(found, Tensor) and found.ndim == 3
    if not fits or (found.shape[0], found.shape[2]) != (batch, classes) or not found.shape[1]:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"rules must give (batch, rules, classes), here ({batch}, rules, {classes}); got {shape}."
        )
    found = found.to(logits.device, torch.float32)
    lowest, highest = map(float, found.aminmax())
    if not 0 <= lowest <= highest <= 1:  # also rejects NaN
        raise ValueError(f"rules must give numbers from 0 to 1; got {lowest:g} to {highest:g}.")
    return found
