"""GLNN (Zhang et al. 2022): a graph network's answers taught to a perceptron that sees no edge.

All trainings here take one step an epoch, on all the nodes that they look at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from kdnb.data import Graph
from kdnb.losses import hard_loss, label_smoothing, soft_targets
from kdnb.losses.checks import check_number
from kdnb.methods.graph.networks import NodeAnswer, mixing_matrix
from kdnb.training import Recipe
from kdnb.training.borrowed import evaluating, modes_kept
from kdnb.training.randomness import own_random_state, seed_everything

Network = TypeVar("Network", bound=nn.Module)


def fit_nodes(
    network: Network,
    features: Tensor,
    loss: Callable[[NodeAnswer], Tensor],
    recipe: Recipe,
    seed: int,
    mixing: Tensor | None = None,
) -> Network:
    """Train on a loss of the answers for all nodes, `recipe.epochs` steps; the last step's weights.

    Args:
        network: its weights are changed in place. A `NodeNetwork`; without `mixing`, any module that
            maps (nodes, words) to logits.
        features: (nodes, words), sparse or dense.
        loss: a scalar of the answer.
        recipe: optimiser and learning rate; what it says of batches and images is not looked at.
        seed: of dropout.
        mixing: of `mixing_matrix`, or None for a perceptron.

    Raises:
        ArithmeticError: when the loss is no number any more.
    """
    optimiser = recipe.optimiser_for(list(network.parameters()))
    with modes_kept(network), own_random_state():
        network.train()
        seed_everything(seed)
        for step in range(recipe.epochs):
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate(step, recipe.epochs)
            optimiser.zero_grad()
            value = loss(_answered(network, features, mixing))
            value.backward()
            optimiser.step()
    if not torch.isfinite(value):
        raise ArithmeticError(f"the loss of the nodes is {value.item()} in the last step.")
    return network


@torch.no_grad()
def node_answer(network: nn.Module, features: Tensor, mixing: Tensor | None = None) -> NodeAnswer:
    """The answer of a network for all nodes, in eval mode and without gradients."""
    with evaluating(network):
        return _answered(network, features, mixing)


def _answered(network: nn.Module, features: Tensor, mixing: Tensor | None) -> NodeAnswer:
    answer = network(features) if mixing is None else network(features, mixing)
    return answer if isinstance(answer, NodeAnswer) else NodeAnswer(answer, None)


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
        labels: (all nodes,) int64, of which those of `nodes` alone are read.
        nodes: int64.
        smoothing: share of each label that goes to all classes alike.
        network, features, recipe, seed, mixing: of `fit_nodes`. A perceptron sees the features of
            `nodes` alone, a graph network those of all nodes.
    """
    known = labels[nodes]
    if mixing is None:
        features, nodes = features.index_select(0, nodes), torch.arange(len(nodes))

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

    with the temperature 1. V holds every node whose words are known while training, test nodes
    included in the transductive setting: their labels are not used, but the teacher's answers to
    them are.

    Args:
        student: changed in place; a `NodeNetwork`, which is called without a mixing matrix, or any
            module that maps (nodes, words) to logits.
        features: (nodes, words).
        teacher_logits: (nodes, classes); rows of `nodes` alone are read.
        recipe, seed: of `fit_nodes`.
        nodes: V; all when None.
        labels, labelled: of the first term: (all nodes,) and V_L, nodes.
        labels_share: lambda, in [0, 1]; 0 in the authors' runs.

    Raises:
        ValueError: for a share outside [0, 1], or one above 0 without labels.

    Departures: the authors' code (snap-research/graphless-neural-networks) takes two steps an
    epoch, first on the labels, then on the answers, in batches of 512; here both terms are added and
    a step takes all nodes.
    """
    check_number(least=0, most=1, labels_share=labels_share)
    if labels_share and (labels is None or labelled is None):
        raise ValueError(
            "labels_share above 0 needs labels and labelled, the nodes that have them."
        )
    nodes = torch.arange(len(teacher_logits)) if nodes is None else nodes
    goal, count = teacher_logits[nodes].detach(), len(nodes)
    seen = features.index_select(0, nodes)
    known = None
    if labels_share:
        seen = torch.cat([seen, features.index_select(0, labelled)])
        known = labels[labelled]

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
    """What neighbours say of each node's class: labels that flow along the edges, without a network.

    In every step a node takes the mean of its neighbours' and its own scores; then `keep` of the
    known labels is mixed in (Zhou et al. 2004).

    Args:
        graph: its features are not looked at.
        labels: (nodes,), of which those of `nodes` alone are read.
        nodes: whose labels are known.
        keep: between 0 and 1.

    Returns:
        (nodes, classes) probabilities; uniform where no label arrives.
    """
    check_number(least=0, most=1, keep=keep)
    check_number(least=1, whole=True, steps=steps)
    mixing = mixing_matrix(graph, "mean")
    known = torch.zeros(len(graph), graph.classes)
    known[nodes, labels[nodes]] = 1
    flowing = known
    for _ in range(steps):
        flowing = (1 - keep) * (mixing @ flowing) + keep * known
    flowing = flowing + 1e-6
    return flowing / flowing.sum(1, keepdim=True)
