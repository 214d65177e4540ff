"""Graph distillation between modalities (Luo et al. 2018): a learnt graph says who teaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import graph_prior_penalty, hard_loss, modality_prior, weighted_imitation
from kdnb.losses.checks import check_number
from kdnb.methods.cross_modal.views import Seeing
from kdnb.methods.teachers import check_pair
from kdnb.nets import constrain, features
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.borrowed import borrowed
from kdnb.training.first import first_batch, tried
from kdnb.training.inputs import batches_for
from kdnb.training.recipe import recipe_for
from kdnb.training.watching import watching

SIZE, SCALE = 32, 1 / 8  # numbers in each half of a node, and alpha, in the authors' code


class ModalityGraph(nn.Module):
    r"""How much each other modality teaches one modality, for each sample (Luo 2018).

    .. math:: n_j = [W_1 v_j ; W_2 r_j], \qquad e_{j \to k} = \langle w, [n_k ; n_j] \rangle + b,
        \qquad
        G_{k \cdot} = \mathrm{softmax}_j(e_{j \to k} / 8)

    with the logits v and the representation r of each modality.

    Args:
        classes: number of classes of the logits.
        features: width of the representations, the same for all modalities.
        size: the number of features to which logits and representation are each mapped.
    """

    def __init__(self, classes: int, features: int, size: int = SIZE) -> None:
        super().__init__()
        self.logits = nn.Linear(classes, size)
        self.representation = nn.Linear(features, size)
        self.edge = nn.Linear(4 * size, 1)

    def forward(
        self, logits: Sequence[Tensor], representations: Sequence[Tensor], target: int = 0
    ) -> Tensor:
        """Weights (batch, others) in the order of the other modalities; each row sums to 1.

        Args:
            logits: (batch, classes) of each modality, including the learning one.
            representations: (batch, features) of each.
            target: the index of the learning modality.
        """
        nodes = [
            torch.cat([self.logits(v), self.representation(r)], 1)
            for v, r in zip(logits, representations, strict=True)
        ]
        scores = [
            self.edge(torch.cat([nodes[target], node], 1))
            for place, node in enumerate(nodes)
            if place != target
        ]
        return (torch.cat(scores, 1) * SCALE).softmax(1)


def distil_by_graph(
    networks: Mapping[str, nn.Module],
    target: str,
    data: Any,
    recipe: Recipe,
    *,
    paths: Mapping[str, str],
    trust: Mapping[str, float] | None = None,
    logit_weight: float = 10.0,
    representation_weight: float = 1.0,
    prior_weight: float = 10.0,
    learn_graph: bool = True,
    evaluate: Any = None,
    seed: int = 0,
    **options: Any,
) -> Fit:
    r"""Train one modality's network on labels and other modalities, by a learnt graph (Luo 2018).

    .. math:: L = H(y, q_k) + w_v L_v + w_r L_r + w_c \sum_j \big(\bar G_{kj} - c_j\big)^2

    with :func:`~kdnb.losses.weighted_imitation` of logits and of representations, and
    :func:`~kdnb.losses.graph_prior_penalty`.

    Args:
        networks: a dict by the key of the view in the inputs; each network takes only its view. The
            target is trained in place; the others are already trained and frozen.
        target: the learning modality, which is available at test.
        data: labelled data whose inputs are a dict of views by these keys.
        paths: a dict by the same keys: the layers whose outputs (batch, features) are the
            representations, all of the same width.
        trust: the weights of the prior, a dict by the keys of the others; 1 for all if None.
        logit_weight, representation_weight, prior_weight: the authors' 10, 1 and 10.
        learn_graph: False keeps the graph at its prior: the control.
        evaluate: a function of the networks, or data of these views, on which the target is
            measured after every epoch.
        options: passed to `training.fit`.

    Returns:
        The history: `hard`, `logits`, `representation`, and `prior` where the graph learns; the
        target, and the `ModalityGraph` (None where it is not learnt).

    Raises:
        TypeError: for networks or paths that are not a dict.
        ValueError: for an unknown target, no other modality, mismatched keys, networks that share a
            part or have different classes, or representations of different widths.

    The graph's weights are learnt through the loss that they weight, so they favour modalities that
    are easy to imitate, which need not be the best ones. `prior_weight` and `trust` counteract
    this.

    Departures: follows the authors' code, for one target. Their penalty is part of one sum over all
    targets. The paper's second step, for a domain with fewer modalities, is left out.
    """
    check_number(
        least=0, logit_weight=logit_weight, representation_weight=representation_weight,
        prior_weight=prior_weight,
    )  # fmt: skip
    if not isinstance(networks, Mapping) or not isinstance(paths, Mapping):
        raise TypeError("networks and paths are dicts, by the keys of the views in the inputs.")
    recipe = recipe_for(recipe, {})
    others = [name for name in networks if name != target]
    if target not in networks or not others:
        raise ValueError(
            f"the target must be one of two modalities or more; got {target!r} of {list(networks)}."
        )
    trust = dict.fromkeys(others, 1.0) if trust is None else trust
    if set(paths) != set(networks) or set(trust) != set(others):
        raise ValueError(
            f"paths are for each of {list(networks)}, and trust for each of {others}; got "
            f"{list(paths)} and {list(trust)}."
        )
    for name in others:
        check_number(least=0, **{f"trust of {name}": trust[name]})
        check_pair(networks[target], networks[name], (f"target {target!r}", repr(name)))
    batches = batches_for(data, recipe, seed)
    ordered = [target, *others]  # the target comes first in the graph
    seeing: dict[str, nn.Module] = {name: Seeing(networks[name], name) for name in ordered}
    prior = modality_prior(torch.tensor([float(trust[name]) for name in others]))
    with ExitStack() as stack:
        stack.enter_context(borrowed(*networks.values()))
        seen = {
            name: stack.enter_context(features(networks[name], [paths[name]])) for name in ordered
        }
        first = first_batch(batches, seed)
        classes = [tried(name, seeing[name], first, learns=name == target) for name in ordered]
        if len(shapes := {tuple(one.shape) for one in classes}) > 1:
            raise ValueError(
                f"all networks must answer for the same classes; got {sorted(shapes)}."
            )
        widths = {name: tuple(seen[name][paths[name]].shape[1:]) for name in ordered}
        if len(set(widths.values())) > 1 or len(widths[target]) != 1:
            raise ValueError(
                f"representations must be (batch, features) of one width; got {widths}."
            )
        graph = None
        if learn_graph:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                graph = ModalityGraph(classes[0].shape[1], *widths[target])
            seeing["graph"] = graph

        def terms(networks, batch: Batch) -> dict[str, Tensor]:
            logits = []
            for name in ordered:
                with torch.set_grad_enabled(name == target):
                    logits.append(networks[name](batch.images))
            inner = [seen[name][paths[name]].float() for name in ordered]
            c = prior.to(logits[0].device)
            if graph is None:
                edges = c.expand(len(logits[0]), -1)
            else:
                edges = networks["graph"](logits, inner)
            found = {
                "hard": hard_loss(logits[0], batch.labels),
                "logits": logit_weight * weighted_imitation(logits[0], logits[1:], edges, c),
                "representation": representation_weight
                * weighted_imitation(inner[0], inner[1:], edges, c),
            }
            if graph is not None:
                found["prior"] = prior_weight * graph_prior_penalty(edges, c)
            return found

        moved = (target,) if graph is None else (target, "graph")
        update = Update(moved, terms, after=lambda: constrain(networks[target]))
        watch = watching(evaluate, {target: seeing[target]})
        history = fit(seeing, batches, update, recipe, seed=seed, evaluate=watch, **options)
    return Fit.of(history, {target: networks[target]}, graph)
