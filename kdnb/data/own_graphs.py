"""Your own graphs: from a list of edges, or from nearest neighbours if there are no edges."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.data.graphs import Graph, _sorted_edges

BLOCK = 1024  # points whose distances to all others are in memory at once


def own_graph(features: Tensor, edges: Tensor, labels: Tensor) -> Graph:
    """A graph in the form that `kdnb.methods.graph` takes.

    Args:
        features: (nodes, size), floating, dense or sparse.
        edges: (2, edges) integers, such as PyTorch Geometric's `edge_index`. Directions, duplicates and
            self-loops are dropped.
        labels: (nodes,) integers from 0; -1 for an unknown label.

    Raises:
        ValueError: for wrong shapes or types, a node that does not exist, a label below -1, or
            features that are not finite.

    >>> graph = own_graph(torch.eye(3), torch.tensor([[0, 1, 2], [1, 0, 2]]), torch.tensor([0, 1, -1]))
    >>> graph.edges.tolist(), graph.classes
    ([[0], [1]], 2)
    """
    _check_rows("features", features)
    if not isinstance(labels, Tensor) or labels.dim() != 1 or not _whole(labels):
        raise ValueError(f"labels must be integers of shape (nodes,); got {_seen(labels)}.")
    if len(labels) != len(features):
        raise ValueError(f"there are {len(features)} rows of features and {len(labels)} labels.")
    if labels.numel() and int(labels.min()) < -1:
        raise ValueError(f"labels count from 0, and -1 is unknown; got {int(labels.min())}.")
    if not isinstance(edges, Tensor) or edges.dim() != 2 or len(edges) != 2 or not _whole(edges):
        raise ValueError(f"edges must be integers of shape (2, edges); got {_seen(edges)}.")
    if edges.numel() and not 0 <= int(edges.min()) <= int(edges.max()) < len(labels):
        raise ValueError(
            f"edges join nodes 0 to {len(labels) - 1}; got {int(edges.min())} to {int(edges.max())}."
        )
    if features.layout == torch.sparse_coo:
        features = features.coalesce()
    return Graph(features, _sorted_edges(edges.long(), len(labels)), labels.long())


def nearest_graph(
    points: Tensor, labels: Tensor, neighbours: int = 5, features: Tensor | None = None
) -> Graph:
    """A graph whose edges join each point to its nearest others, by Euclidean distance.

    Args:
        points: (nodes, ...), flattened; distances are measured between these.
        labels: as for `own_graph`.
        neighbours: number for each point. Two points are joined if one is among the other's nearest,
            so most nodes have more.
        features: the nodes' inputs to networks, (nodes, size); the points themselves if None.

    Raises:
        ValueError: see `own_graph`; for no neighbours, or as many as there are points.

    >>> nearest_graph(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([0, 0, 1]), 1).edges.tolist()
    [[0, 1], [1, 2]]
    """
    if not isinstance(points, Tensor) or points.dim() < 2:
        raise ValueError(f"points must have shape (nodes, ...); got {_seen(points)}.")
    rows = points.flatten(1)
    _check_rows("points", rows)
    if isinstance(neighbours, bool) or not 1 <= neighbours < len(rows):
        raise ValueError(
            f"neighbours must lie between 1 and {len(rows) - 1}, one fewer than the points; got "
            f"{neighbours}."
        )
    near = []
    for start in range(0, len(rows), BLOCK):
        apart = torch.cdist(rows[start : start + BLOCK], rows)
        own = torch.arange(len(apart))
        apart[own, start + own] = torch.inf
        near.append(apart.topk(neighbours, largest=False).indices)
    centre = torch.arange(len(rows)).repeat_interleave(neighbours)
    edges = torch.stack([centre, torch.cat(near).flatten()])
    return own_graph(rows if features is None else features, edges, labels)


def _check_rows(name: str, rows: Tensor) -> None:
    if not isinstance(rows, Tensor) or rows.dim() != 2 or not rows.is_floating_point():
        raise ValueError(f"{name} must be floating and of shape (nodes, size); got {_seen(rows)}.")
    values = rows.coalesce().values() if rows.layout == torch.sparse_coo else rows
    if not torch.isfinite(values).all():
        raise ValueError(f"{name} must be finite.")


def _whole(tensor: Tensor) -> bool:
    return tensor.dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def _seen(given: object) -> str:
    if isinstance(given, Tensor):
        return f"{given.dtype} of shape {tuple(given.shape)}"
    return type(given).__name__
