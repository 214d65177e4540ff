"""SPEQ (Boo et al. 2021): a network at random activation precisions is its own teacher."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import cosine_targets, hard_loss
from kdnb.losses.checks import check_lists, check_number, check_temperature
from kdnb.methods.online.common import running_statistics_kept
from kdnb.methods.options import recipe_of
from kdnb.methods.quantized.activations import Rounded, rounded_activations
from kdnb.methods.quantized.common import check_first
from kdnb.methods.quantized.quantisers import uniform
from kdnb.methods.quantized.weights import quantised
from kdnb.nets import constrain
from kdnb.training import Fit, Networks, Recipe, Update, fit
from kdnb.training.answers import logits_of
from kdnb.training.borrowed import twin_of
from kdnb.training.first import check_module
from kdnb.training.inputs import batches_for
from kdnb.training.watching import watching


class _Switched(Rounded):
    """Activations at a fixed precision or, while the teacher answers, at a random one."""

    drawn: int | None = None

    def forward(self, values: Tensor) -> Tensor:
        own, self.bits = self.bits, self.drawn or self.bits
        try:
            return super().forward(values)
        finally:
            self.bits = own


def speq(
    student: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    bits: int = 2,
    bucket: int | None = 256,
    activation_bits: int = 2,
    teacher_bits: Sequence[int] = (2, 4, 8),
    keep: Collection[str] | str = "ends",
    temperature: float = 2.0,
    soft_weight: float = 1.0,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Stochastic precision ensemble training (Boo et al. 2021), without a second network.

    .. math:: L = H(y, q) + w T^2 \big(1 - \cos(p, q)\big)

    with q the answer at the precision to be deployed, and p that of the same quantised weights with
    a random precision for each layer's activations in every step.

    Args:
        student: with ReLU modules; changed in place.
        data, recipe, evaluate, seed, checkpoint, fields: as in `kdnb.train`.
        bits, bucket, keep: of the weights, by `uniform`.
        activation_bits: of the student's activations.
        teacher_bits: the bits from which each layer's are drawn uniformly while the network
            teaches.
        temperature, soft_weight: T and w, of :func:`kdnb.losses.cosine_targets`.

    Returns:
        The history, with `hard` and `soft`; the network "student", whose activations are in full
        precision again; and "deployed": the student with quantised ones.

    Raises:
        ValueError: for a network without a ReLU module, or as `kdnb.train`.

    Departures: the shared weights, the random precisions of each layer and the cosine are from the
    abstract. The set of precisions, the uniform quantisers and the weight are ours.
    """
    recipe = recipe_of(speq, recipe, fields)
    check_module("student", student)
    check_temperature(temperature)
    check_number(least=0, soft_weight=soft_weight)
    check_lists(teacher_bits=list(teacher_bits))
    for choice in teacher_bits:
        check_number(least=1, most=16, whole=True, teacher_bits=choice)
    batches = batches_for(data, recipe, seed, given=fields)
    check_first(batches, seed, student)
    chosen = partial(uniform, bits=bits, bucket=bucket)
    networks = {"student": student}
    with rounded_activations(student, lambda: _Switched(activation_bits)) as switches:
        with quantised(student, chosen, keep=keep):

            def losses(trained: Networks, batch: Batch) -> dict[str, Tensor]:
                network = trained["student"]
                draws = torch.randint(len(teacher_bits), (len(switches),)).tolist()
                for switch, draw in zip(switches.values(), draws, strict=True):
                    switch.drawn = teacher_bits[draw]
                try:
                    with torch.no_grad(), running_statistics_kept(student):
                        theirs = network(batch.images)
                finally:
                    for switch in switches.values():
                        switch.drawn = None
                ours = network(batch.images)
                soft = cosine_targets(ours, theirs, temperature)
                return {"hard": hard_loss(ours, batch.labels), "soft": soft_weight * soft}

            update = Update(("student",), losses, after=lambda: constrain(student))
            history = fit(
                {"student": student}, batches, update, recipe, seed=seed, checkpoint=checkpoint,
                answers={"student": logits_of}, evaluate=watching(evaluate, {"student": student}),
                identity={"method": {"verb": "speq", "bits": [bits, activation_bits, *teacher_bits],
                                     "bucket": bucket, "terms": [temperature, soft_weight]}},
            )  # fmt: skip
        networks["deployed"] = twin_of(student)
    return Fit.of(history, networks)
