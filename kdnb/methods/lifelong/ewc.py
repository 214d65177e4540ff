"""Elastic weight consolidation (Kirkpatrick et al. 2017): a control without a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from kdnb.data import Batch
from kdnb.losses import elastic_penalty
from kdnb.losses.checks import check_number
from kdnb.methods.lifelong.contexts import Contexts, gathered
from kdnb.methods.lifelong.exemplars import check_stored
from kdnb.methods.lifelong.sequence import (
    LifelongFit,
    Stage,
    Terms,
    check_network,
    in_sequence,
    label_term,
)
from kdnb.methods.options import recipe_of
from kdnb.training import Networks, Recipe
from kdnb.training.answers import Output, logits_of, precision_of
from kdnb.training.borrowed import evaluating
from kdnb.training.first import first_batch
from kdnb.training.inputs import batches_for
from kdnb.training.randomness import mix

PIECE = 32  # samples whose gradients are held at once


def fisher_information(
    network: nn.Module, inputs: Tensor, columns: slice, output: Output = None
) -> dict[str, Tensor]:
    r"""The diagonal of a classifier's Fisher information, by parameter name.

    .. math:: F_i = \frac1N \sum_n \sum_y q_y(x_n)
        \Big(\frac{\partial \log q_y(x_n)}{\partial \theta_i}\Big)^2

    with the softmax q over some columns. The sum runs over all labels, weighted by the network's
    own probabilities; labels of the data are not used.

    Args:
        network: in any mode; it is run in eval mode.
        inputs: (N, ...).
        columns: the columns that compete for these inputs.

    Returns:
        Tensors of the parameters' shapes, in float32.

    Raises:
        RuntimeError: raised by torch, for a network that `torch.func` cannot trace.
    """
    values = {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}
    rest = {
        **{name: p.detach() for name, p in network.named_parameters() if not p.requires_grad},
        **dict(network.named_buffers()),
    }

    def log_share(
        parameters: dict[str, Tensor], one: Tensor, label: Tensor
    ) -> tuple[Tensor, Tensor]:
        answer = functional_call(network, {**parameters, **rest}, (one[None],))
        shares = logits_of(answer, output)[0, columns].float().log_softmax(0)
        value = shares.gather(0, label[None])[0]
        return value, value.detach()

    each = vmap(grad(log_share, has_aux=True), in_dims=(None, 0, None))
    found = {name: torch.zeros_like(value, dtype=torch.float32) for name, value in values.items()}
    inputs = inputs.to(precision_of(network) or inputs.dtype)
    with evaluating(network):
        for piece in inputs.split(PIECE):
            for label in range(columns.stop - columns.start):
                slopes, logs = each(values, piece, torch.tensor(label, device=piece.device))
                weights = logs.exp() / len(inputs)
                for name, slope in slopes.items():
                    found[name] += torch.einsum("n,n...->...", weights, slope.float().square())
    return found


class Springs:
    """The penalties of all contexts so far, as one.

    Up to a constant, the sum of quadratics around several anchors is one quadratic around their
    mean, weighted by importance.
    """

    def __init__(self) -> None:
        self.importances: dict[str, Tensor] = {}
        self.anchors: dict[str, Tensor] = {}

    def add(self, network: nn.Module, importances: dict[str, Tensor]) -> None:
        """Add a penalty that holds the network at its current weights."""
        for name, parameter in network.named_parameters():
            if name not in importances:
                continue
            here, new = parameter.detach().clone(), importances[name]
            before = self.importances.get(name, torch.zeros_like(new))
            total, there = before + new, self.anchors.get(name, here)
            share = torch.where(total > 0, new / total.where(total > 0, 1.0), 1.0)
            self.anchors[name] = there + share * (here - there)
            self.importances[name] = total

    def penalty(self, network: nn.Module) -> Tensor:
        """`elastic_penalty` of the network's weights."""
        named = [(p, name) for name, p in network.named_parameters() if name in self.anchors]
        names = [name for _, name in named]
        return elastic_penalty(
            [p for p, _ in named],
            [self.anchors[n] for n in names],
            [self.importances[n] for n in names],
        )


def ewc(
    network: nn.Module,
    contexts: Contexts,
    recipe: Recipe | None = None,
    *,
    strength: float,
    samples: int = 500,
    transfer: bool = False,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    output: Output = None,
    **fields: Any,
) -> LifelongFit:
    r"""EWC (Kirkpatrick 2017): learn contexts in turn, holding weights that earlier ones need.

    .. math:: L = L(y, z) + \frac{\lambda}{2} \sum_{k' < k} \sum_i F_{k'i}
        (\theta_i - \theta^*_{k'i})^2

    Args:
        network: a logit for each column; trained in place.
        strength: lambda. Useful values differ by many orders of magnitude between data sets; choose
            it on held-out data.
        samples: inputs of each context from which its Fisher information is taken, drawn at random.
        contexts, transfer, recipe, seed, checkpoint, output, fields: as in `lwf`.

    Returns:
        The history, with the terms `hard` and `held` (the penalty, up to a constant); the network;
        the accuracy matrix.

    Raises:
        TypeError: for inputs that are not a single tensor.
        ValueError: for a strength below 0, a network that `torch.func` cannot trace, or as
            `in_sequence`.

    Departures: the penalty is quoted from summaries of the paper. The Fisher information sums over
    all labels as in the code of van de Ven (GMvandeVen/continual-learning), from `samples` inputs
    in place of all. The penalties of earlier contexts are kept as one sum, which changes no
    gradient.
    """
    recipe = recipe_of(ewc, recipe, fields)
    check_number(least=0, strength=strength)
    check_number(least=1, whole=True, samples=samples)
    check_network(network, contexts, recipe, output=output)
    check_stored(contexts)
    _check_followed(network, contexts, recipe, output)
    springs = Springs()

    def plan(stage: Stage) -> Terms:
        rivals = contexts.rivals(stage.number)

        def terms(networks: Networks, batch: Batch) -> dict[str, Tensor]:
            logits = networks["network"](batch.images)
            found = {"hard": label_term(logits, batch.labels, rivals)}
            if springs.anchors:
                found["held"] = strength * springs.penalty(network)
            return found

        return terms

    def hold(stage: Stage) -> None:
        inputs, _ = gathered(contexts.train[stage.number])
        generator = torch.Generator().manual_seed(mix(seed, stage.number, 2))
        chosen = inputs[torch.randperm(len(inputs), generator=generator)[:samples]]
        columns = contexts.asked(stage.number, stage.number)
        device = next(network.parameters()).device
        springs.add(network, fisher_information(network, chosen.to(device), columns, output))

    about = {"verb": "ewc", "strength": strength, "samples": samples}
    return in_sequence(
        network, contexts, recipe, plan, about=about, after=hold, seed=seed,
        checkpoint=checkpoint, transfer=transfer, output=output, given=fields,
    )  # fmt: skip


def _check_followed(network: nn.Module, contexts: Contexts, recipe: Recipe, output: Output) -> None:
    """Take the Fisher information of one input, before any training."""
    device = next(network.parameters()).device
    one = first_batch(batches_for(contexts.train[0], recipe, 0)).images[:1].to(device)
    try:
        fisher_information(network, one, slice(0, 1), output)
    except RuntimeError as error:
        words = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        raise ValueError(
            f"the Fisher information needs a network that torch.func can follow: {words}."
        ) from error
