"""GLNN (Zhang et al. 2022): teach a graph network's answers to a perceptron without edges.

All trainings here take one step per epoch, on all the nodes that they use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from kdnb.data import Graph
from kdnb.losses import hard_loss, label_smoothing, soft_targets
from kdnb.losses.checks import check_number
from kdnb.methods.graph.checks import (
    check_features,
    check_finite_at,
    check_graph,
    check_nodes_of,
    check_training,
    chosen,
    known_labels,
)
from kdnb.methods.graph.networks import NodeAnswer, mixing_matrix
from kdnb.training import Recipe
from kdnb.training.answers import ask, logits_of
from kdnb.training.borrowed import evaluating, modes_kept
from kdnb.training.first import cannot_take, check_module
from kdnb.training.randomness import own_random_state, seed_everything
from kdnb.training.reporting import NonFiniteLoss

Network = TypeVar("Network", bound=nn.Module)


def fit_nodes(
    network: Network,
    features: Tensor,
    loss: Callable[[NodeAnswer], Tensor],
    recipe: Recipe,
    seed: int,
    mixing: Tensor | None = None,
) -> Network:
    """Train on a loss of the answers for all nodes, for `recipe.epochs` steps.

    Args:
        network: trained in place, with its mode restored. A `NodeNetwork`; without `mixing`, any
            module that maps (nodes, words) to logits.
        features: (nodes, words), sparse or dense, on the network's device.
        loss: a scalar of the answer.
        recipe: optimiser and learning rate; its settings for batches and images are ignored.
        seed: for dropout.
        mixing: from `mixing_matrix`, or None for a perceptron.

    Raises:
        TypeError, ValueError: before the first step, for arguments that do not match or features
            that are not finite.
        NonFiniteLoss: an ArithmeticError, if the loss becomes NaN or infinite.
    """
    check_training(network, features, recipe, seed, mixing)
    on_cpu = features.device.type == "cpu"  # elsewhere reading a number forces a sync
    optimiser = recipe.optimiser_for(list(network.parameters()))
    with modes_kept(network), own_random_state():
        network.train()
        seed_everything(seed)
        for step in range(recipe.epochs):
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate(step, recipe.epochs)
            optimiser.zero_grad()
            value = loss(_answered(network, features, mixing))
            if (on_cpu or step + 1 == recipe.epochs) and not torch.isfinite(value):
                raise NonFiniteLoss(
                    f"the loss of the nodes is {value.item()} in step {step + 1}: lower the "
                    "learning rate or look at the inputs."
                )
            value.backward()
            optimiser.step()
    return network


@torch.no_grad()
def node_answer(network: nn.Module, features: Tensor, mixing: Tensor | None = None) -> NodeAnswer:
    """The answer of a network for all nodes, in eval mode, without gradients."""
    check_module("network", network)
    check_features(features)
    with evaluating(network):
        try:
            return _answered(network, features, mixing)
        except (RuntimeError, TypeError) as error:
            given = features if mixing is None else (features, mixing)
            raise ValueError(cannot_take("network", given, error)) from error


def _answered(network: nn.Module, features: Tensor, mixing: Tensor | None) -> NodeAnswer:
    answer = ask(network, features if mixing is None else (features, mixing))
    return answer if isinstance(answer, NodeAnswer) else NodeAnswer(logits_of(answer), None)


def learn_labels(
    network: Network,
    features: Tensor,
    labels: Tensor,
    nodes: Tensor,
    recipe: Recipe,
    seed: int,
    *,
    mixing: Tensor | None = None,
    smoothing: float = 0.0,
) -> Network:
    """Train on the labels of some nodes.

    Args:
        labels: (all nodes,) integers, of which those of `nodes` alone are read.
        nodes: their indices, or a mask (all nodes,).
        smoothing: the share of each label that is spread evenly over all classes.
        network, features, recipe, seed, mixing: as in `fit_nodes`. A perceptron sees the features
            of `nodes` alone, a graph network those of all nodes.

    Raises:
        ValueError: for no node, an invalid node or label, and as `fit_nodes`.
    """
    check_features(features)
    check_number(least=0, most=1, smoothing=smoothing)
    nodes = chosen("nodes", nodes, len(features))
    known = known_labels(labels, nodes, len(features))
    if mixing is None:
        features = features.index_select(0, nodes)
        nodes = torch.arange(len(nodes), device=features.device)

    def loss(answer: NodeAnswer) -> Tensor:
        own = answer.logits[nodes]
        return label_smoothing(own, known, smoothing) if smoothing else hard_loss(own, known)

    return fit_nodes(network, features, loss, recipe, seed, mixing)


def glnn(
    student: Network,
    features: Tensor,
    teacher_logits: Tensor,
    recipe: Recipe,
    seed: int,
    *,
    nodes: Tensor | None = None,
    labels: Tensor | None = None,
    labelled: Tensor | None = None,
    labels_share: float = 0.0,
) -> Network:
    r"""Teach a perceptron a graph network's answers (Zhang 2022, GLNN).

    .. math:: L = \frac{\lambda}{|V_L|} \sum_{i \in V_L} \mathrm{CE}(y_i, z_i)
        + \frac{1 - \lambda}{|V|} \sum_{i \in V} \mathrm{KL}(p^T_i \,\|\, p^S_i)

    with temperature 1. V holds every node whose features are known in training. In the transductive
    setting this includes test nodes: their labels are not used, but the teacher's answers to them
    are.

    Args:
        student: changed in place; a `NodeNetwork`, which is called without a mixing matrix, or any
            module that maps (nodes, words) to logits.
        features: (nodes, words).
        teacher_logits: (nodes, classes); only the rows of `nodes` are used.
        recipe, seed: for `fit_nodes`.
        nodes: V, numbers or a mask (all nodes,); all if None.
        labels, labelled: of the first term: (all nodes,) integers, and V_L, numbers or a mask.
        labels_share: lambda, in [0, 1]; 0 in the authors' runs.

    Raises:
        ValueError: for a share outside [0, 1], or one above 0 without labels; for no node, an
            invalid node, or answers that are not finite; and as `fit_nodes`.

    Departures: the authors' code (snap-research/graphless-neural-networks) takes two steps per
    epoch, first on the labels, then on the answers, in batches of 512; here both terms are added
    and a step uses all nodes.
    """
    check_number(least=0, most=1, labels_share=labels_share)
    if labels_share and (labels is None or labelled is None):
        raise ValueError(
            "labels_share above 0 needs labels and labelled, the nodes that have them."
        )
    check_features(features)
    total = len(features)
    check_nodes_of("teacher_logits", teacher_logits, total)
    everything = torch.arange(total, device=features.device)
    nodes = everything if nodes is None else chosen("nodes", nodes, total)
    goal, count = teacher_logits[nodes].detach(), len(nodes)
    check_finite_at("teacher_logits", goal, "those of nodes that are taught")
    seen = features.index_select(0, nodes)
    known = None
    if labels_share:
        labelled = chosen("labelled", labelled, total)
        seen = torch.cat([seen, features.index_select(0, labelled)])
        known = known_labels(labels, labelled, total)

    def loss(answer: NodeAnswer) -> Tensor:
        soft = soft_targets(answer.logits[:count], goal, 1.0)
        if known is None:
            return soft
        hard = hard_loss(answer.logits[count:], known)
        return labels_share * hard + (1 - labels_share) * soft

    return fit_nodes(student, seen, loss, recipe, seed)


def propagated_labels(
    graph: Graph, labels: Tensor, nodes: Tensor, *, keep: float = 0.1, steps: int = 50
) -> Tensor:
    """Label propagation (Zhou et al. 2004): labels that flow along the edges, without a network.

    In every step a node takes the mean of its neighbours' and its own scores; then `keep` of the
    known labels is mixed in (Zhou et al. 2004).

    Args:
        graph: its features are ignored.
        labels: (nodes,), of which those of `nodes` alone are read.
        nodes: the nodes whose labels are known, as indices or a mask (nodes,).
        keep: between 0 and 1.

    Returns:
        (nodes, classes) probabilities; uniform where no label arrives.

    Raises:
        TypeError: for anything but a graph.
        ValueError: for no node, a node or label that is not there, or a number that is too small.
    """
    check_number(least=0, most=1, keep=keep)
    check_number(least=1, whole=True, steps=steps)
    check_graph(graph)
    nodes = chosen("nodes", nodes, len(graph))
    theirs = known_labels(labels, nodes, len(graph), graph.classes)
    mixing = mixing_matrix(graph, "mean")
    known = torch.zeros(len(graph), graph.classes, device=mixing.device)
    known[nodes, theirs] = 1
    flowing = known
    for _ in range(steps):
        flowing = (1 - keep) * (mixing @ flowing) + keep * known
    flowing = flowing + 1e-6
    return flowing / flowing.sum(1, keepdim=True)
