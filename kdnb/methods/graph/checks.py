"""Input checks for training on nodes: convert masks to nodes, and fail before the first step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch, Graph
from kdnb.names import brief
from kdnb.training import Recipe
from kdnb.training.first import check_module, tried
from kdnb.training.randomness import check_seed


def check_graph(graph: Any) -> None:
    """Raise `TypeError` for anything but a `kdnb.data.Graph`."""
    if not isinstance(graph, Graph):
        raise TypeError(
            f"graph must be a kdnb.data.Graph; got {brief(graph)}: "
            "kdnb.data.own_graph(features, edges, labels) makes one."
        )


def chosen(name: str, nodes: Any, total: int) -> Tensor:
    """The indices of some nodes, int64, given as indices or as a mask.

    Args:
        name: name of the caller's argument.
        nodes: (some nodes,) integers from 0 to `total` - 1, or booleans (total,).

    Raises:
        ValueError: for anything else, or no node.
    """
    if isinstance(nodes, Tensor) and nodes.dtype == torch.bool and nodes.shape == (total,):
        nodes = nodes.nonzero().squeeze(1)
    if not _holds_integers(nodes) or nodes.ndim != 1:
        raise ValueError(
            f"{name} must be node numbers (some nodes,) or truth values ({total},); got {_seen(nodes)}."
        )
    if not len(nodes):
        raise ValueError(f"{name} must hold at least one node; got none.")
    lowest, highest = map(int, nodes.aminmax())
    if not 0 <= lowest <= highest < total:
        raise ValueError(
            f"{name} must lie in 0 to {total - 1} for {total} nodes; got {lowest} to {highest}."
        )
    return nodes.long()


def known_labels(labels: Any, nodes: Tensor, total: int, classes: int | None = None) -> Tensor:
    """The labels of some nodes (some nodes,) int64; those of other nodes are ignored.

    Args:
        labels: (total,) integers.
        nodes: from :func:`chosen`.
        classes: labels must be below it; None leaves this check to the loss.

    Raises:
        ValueError: for labels of a wrong shape, or a label of these nodes that is no class.
    """
    if not _holds_integers(labels) or labels.shape != (total,):
        raise ValueError(
            f"labels must be integers ({total},), one for each node, of which those of the chosen "
            f"nodes are read; got {_seen(labels)}."
        )
    known = labels[nodes].long()
    if classes is not None and not 0 <= int(known.min()) <= int(known.max()) < classes:
        raise ValueError(
            f"labels of the chosen nodes must lie in 0 to {classes - 1} for {classes} classes; got "
            f"{int(known.min())} to {int(known.max())}."
        )
    return known


def check_nodes_of(name: str, values: Any, total: int) -> None:
    """Require floating-point numbers (total, ...), such as a teacher's logits or hidden units.

    Raises:
        ValueError: for anything else; for a whole answer it names the parts.
    """
    if isinstance(values, tuple) and hasattr(values, "_fields"):
        parts = " or ".join(f".{field}" for field in values._fields)
        raise ValueError(f"{name} must be a tensor; got a {type(values).__name__}: give {parts}.")
    if not isinstance(values, Tensor) or values.ndim != 2 or not values.is_floating_point():
        raise ValueError(
            f"{name} must be floating-point numbers ({total}, size); got {_seen(values)}."
        )
    if len(values) != total:
        raise ValueError(
            f"{name} must have a row for each of {total} nodes, as the features; got {len(values)}."
        )


def check_features(features: Any) -> None:
    """Raise `ValueError` for anything but a tensor (nodes, words), dense or sparse COO."""
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise ValueError(f"features must be a tensor (nodes, words); got {_seen(features)}.")
    if features.layout not in (torch.strided, torch.sparse_coo):
        raise ValueError(
            f"features must be dense or sparse in coordinates; got {features.layout}: "
            "features.to_sparse_coo()."
        )


def check_finite_at(name: str, values: Tensor, what: str) -> None:
    """Raise `ValueError` unless all numbers of a tensor, dense or sparse, are finite."""
    numbers = values.coalesce().values() if values.layout == torch.sparse_coo else values
    if not bool(torch.isfinite(numbers).all()):
        raise ValueError(f"{name} must be finite numbers; {what} hold NaN or infinity.")


def check_training(
    network: nn.Module, features: Tensor, recipe: Any, seed: Any, mixing: Tensor | None
) -> None:
    """Check everything about a training on nodes that can be checked before its first step.

    Raises:
        TypeError: for an invalid network or recipe.
        ValueError: for features or a mixing matrix that do not match, are not finite or lie
            elsewhere than the network; a network that cannot take them or has nothing to learn; a
            bad seed.
    """
    check_module("network", network)
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe must be a kdnb.Recipe, such as kdnb.Recipe(epochs=100); got {brief(recipe)}.")  # fmt: skip
    check_seed(seed)
    check_features(features)
    nodes = len(features)
    given = {"features": features}
    if mixing is not None:
        if not isinstance(mixing, Tensor) or mixing.shape != (nodes, nodes):
            got = tuple(mixing.shape) if isinstance(mixing, Tensor) else brief(mixing)
            raise ValueError(
                f"mixing must be ({nodes}, {nodes}), a row for each row of features, such as "
                f"mixing_matrix gives it; got {got}."
            )
        given["mixing"] = mixing
    home = next((p.device for p in network.parameters()), features.device)
    for name, value in given.items():
        if value.device != home:
            raise ValueError(
                f"the network and {name} must be on one device; got {home} and {value.device}."
            )
        check_finite_at(name, value, "those of nodes that are seen")
    tried("network", network, Batch(features if mixing is None else (features, mixing), None))


def _holds_integers(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.dtype != torch.bool
        and not (value.is_floating_point() or value.is_complex())
    )


def _seen(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
