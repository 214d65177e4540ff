"""Citation graphs: a card, the first source that has the files, and one order for all sources.

Every node is a paper, with the words that occur in it and its subject; every edge joins two papers
if one cites the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from kdnb.data import graph_files
from kdnb.data.cards import Below, Count, DataError, Sha256, card_in, names_in
from kdnb.data.fetch import from_first_source, unpacked
from kdnb.paths import data_cache, data_folders, temporary_folder

Address = Annotated[str, Field(pattern=r"^https://[^/]+/.*[^/]$")]


class GraphCard(BaseModel):
    """A citation graph.

    Attributes:
        name: of the card, and of an .npz that holds the graph.
        classes: the subjects, sorted.
        nodes, words, edges: their numbers; edges are undirected, without self-citations.
        sha256: digest of names, labels, words and edges (and of the words' weights, if there are any),
            the same for every source.
        form: the format of the official files, a reader of `graph_files`.
        files: the official files.
        folders: where the files may be inside a data folder.
        archive: the address of the official archive of them.
        copy_address: the address of a public copy as .npz, if there is one.
        cite: key in papers/references.bib.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    title: str
    about: str
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    nodes: Count
    words: Count
    edges: Count
    sha256: dict[Literal["graph"], Sha256]
    licence: str
    cite: str
    form: Literal["text", "planetoid"] = "text"
    files: Annotated[tuple[Below, ...], Field(min_length=2)]
    folders: Annotated[tuple[Below, ...], Field(min_length=1)]
    archive: Address
    copy_address: Address | None = None


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph whose nodes have words and a label.

    Attributes:
        features: (nodes, words) float32. For a citation graph it is sparse, with a 1 where a word
            occurs, or with the word's weight; your own graph may have any numbers, sparse or
            dense.
        edges: (2, edges) int64: each edge once, the smaller node in the first row, sorted, no self-loops.
        labels: (nodes,) int64.

    Raises:
        ValueError: for wrong shapes, types or nodes; `own_graph` puts edges in this order.
    """

    features: Tensor
    edges: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        _check_parts(self.features, self.edges, self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """The number of classes, one above the largest label."""
        return int(self.labels.max()) + 1

    @property
    def arcs(self) -> Tensor:
        """(2, 2 edges + nodes): a node in the first row, each neighbour or itself in the second."""
        own = torch.arange(len(self), device=self.edges.device).expand(2, -1)
        return torch.cat([self.edges, self.edges.flip(0), own], 1)

    def select(self, nodes: Tensor) -> Graph:
        """The graph of some nodes (int64, in any order) and the edges between them."""
        place = torch.full((len(self),), -1)
        place[nodes] = torch.arange(len(nodes))
        kept = place[self.edges]
        kept = kept[:, (kept >= 0).all(0)]
        features = self.features.index_select(0, nodes)
        features = features.coalesce() if features.is_sparse else features
        return Graph(features, _sorted_edges(kept, len(nodes)), self.labels[nodes])

    def largest_component(self) -> Graph:
        """The largest connected component; nodes keep their order."""
        start, end = self.edges.numpy()
        matrix = coo_array((np.ones(len(start)), (start, end)), shape=(len(self), len(self)))
        _, part = connected_components(matrix, directed=False)
        return self.select(torch.from_numpy(np.flatnonzero(part == np.bincount(part).argmax())))

    def rewired(self, seed: int) -> Graph:
        """The same nodes with random edges that nearly preserve the degree of each node.

        The ends of all edges are paired anew; self-loops and duplicates are dropped.
        """
        ends = self.edges.flatten()
        mixed = ends[torch.randperm(len(ends), generator=torch.Generator().manual_seed(seed))]
        return Graph(self.features, _sorted_edges(mixed.view(2, -1), len(self)), self.labels)


class NodeSplit(NamedTuple):
    """Nodes (int64) by purpose; `hidden` are test nodes that are not seen in training.

    Attributes:
        train: their labels are learnt.
        validation: their labels may be used to choose settings.
        test, hidden: their labels are used once, at the end.
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    hidden: Tensor

    @property
    def observed(self) -> Tensor:
        """All nodes but the hidden ones, in ascending order."""
        return torch.cat([self.train, self.validation, self.test]).sort().values


def split_nodes(
    labels: Tensor, seed: int, *, train: int = 20, validation: int = 30, hidden: float = 0.0
) -> NodeSplit:
    """A random split: a fixed number of nodes of every class, and the rest for the test.

    Args:
        labels: (nodes,) int64.
        train, validation: number of nodes of each class.
        hidden: share of the test nodes that are hidden, rounded down.

    Raises:
        ValueError: if a class has too few nodes, or the share is not in [0, 1).
    """
    if not 0 <= hidden < 1:
        raise ValueError(f"hidden must lie in [0, 1); got {hidden}.")
    stream = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=stream)
    parts: list[list[Tensor]] = [[], [], []]
    for number in labels.unique():
        own = order[labels[order] == number]
        if len(own) < train + validation:
            raise ValueError(
                f"class {int(number)} has {len(own)} nodes, fewer than train={train} and "
                f"validation={validation} need."
            )
        for part, nodes in zip(parts, own.tensor_split([train, train + validation]), strict=True):
            part.append(nodes)
    first, second, rest = (torch.cat(part) for part in parts)
    rest = rest[torch.randperm(len(rest), generator=stream)]
    away = int(len(rest) * hidden)
    return NodeSplit(*(nodes.sort().values for nodes in (first, second, rest[away:], rest[:away])))


def _check_parts(features: Tensor, edges: Tensor, labels: Tensor) -> None:
    nodes = len(labels)
    if len(features) != nodes or features.ndim != 2 or labels.ndim != 1:
        raise ValueError(
            "a graph has features (nodes, words) and labels (nodes,); got "
            f"{tuple(features.shape)} and {tuple(labels.shape)}."
        )
    if edges.dtype != torch.int64 or edges.ndim != 2 or len(edges) != 2:
        raise ValueError(
            f"edges must be int64 of shape (2, edges); got {edges.dtype} of shape {tuple(edges.shape)}."
        )
    low, high = edges
    inside = not edges.numel() or (int(low.min()) >= 0 and int(high.max()) < nodes)
    ordered = inside and bool((low < high).all()) and bool((low * nodes + high).diff().gt(0).all())
    if not ordered:
        raise ValueError(
            f"edges must join nodes 0 to {nodes - 1}, each edge once, the smaller node above, sorted: "
            "kdnb.data.own_graph(features, edges, labels) makes such a graph of any."
        )


def graph_names() -> tuple[str, ...]:
    """The graphs that have a card."""
    return names_in("graphs")


def graph_card(name: str) -> GraphCard:
    """The card of a graph.

    Raises:
        DataError: if there is no card of this name, or it is malformed.
    """
    return card_in("graphs", GraphCard, name, "there is no graph")


def load_graph(name: str, *, offline: bool = False) -> Graph:
    """Load a citation graph, its nodes in the order of their names.

    Sources are the cache, the folders of KDNB_DATA_DIRS (`<name>.npz`, the official archive, or its
    files in one of the card's folders), the official archive, and a public copy; downloads are
    kept in the cache. Nothing is unpickled.

    Args:
        offline: use only sources on this machine.

    Raises:
        DataError: if the name is unknown, no source has the graph, or the graph does not match its card.
    """
    return find_graph(graph_card(name), data_cache(), data_folders(), offline=offline)


def find_graph(
    card: GraphCard, cache: Path, folders: Iterable[Path], *, offline: bool = False
) -> Graph:
    """The verified graph from the first source that has it, see `load_graph`."""
    kept = cache / f"{card.name}.npz"
    return from_first_source(
        kept, partial(_in_folders, card, folders),
        list(filter(None, [card.archive, card.copy_address])), partial(_read, card=card, kept=kept),
        title=card.title, lock=cache / f".{card.name}.lock", ways=_ways(card), offline=offline,
    )  # fmt: skip


def _in_folders(card: GraphCard, folders: Iterable[Path]) -> Graph | None:
    archive = card.archive.rpartition("/")[2]
    for path in (folder / f"{card.name}.npz" for folder in folders):
        if path.is_file():
            return _verified(_from_npz(path.read_bytes(), card, str(path)), card, str(path))
    for folder in folders:
        if (folder / archive).is_file():
            return _verified(_from_archive(folder / archive, card), card, str(folder / archive))
        for inner in card.folders:
            if (folder / inner / card.files[0]).is_file():
                return _verified(_from_files(folder / inner, card), card, str(folder / inner))
    return None


def _verified(raw: graph_files.Raw, card: GraphCard, place: str) -> Graph:
    edges = _sorted_edges(torch.from_numpy(raw.pairs.astype(np.int64)).T, len(raw.names))
    found = _digest(raw, edges)
    if found != card.sha256["graph"]:
        raise DataError(
            f"{place} is not {card.title}: {len(raw.names)} papers and {edges.shape[1]} edges of "
            f"SHA-256 {found}, expected {card.nodes} and {card.edges} of {card.sha256['graph']}. "
            f"{_ways(card)}"
        )
    row = np.repeat(np.arange(card.nodes), np.diff(raw.starts))
    features = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([row, raw.words]).astype(np.int64)),
        torch.ones(len(row)) if raw.weights is None else torch.from_numpy(raw.weights),
        (card.nodes, card.words), check_invariants=True,
    ).coalesce()  # fmt: skip
    return Graph(features, edges, torch.from_numpy(raw.labels.astype(np.int64)))


def _digest(raw: graph_files.Raw, edges: Tensor) -> str:
    """SHA-256 of the content of a graph, little-endian, the same for every source."""
    whole = hashlib.sha256("\n".join(raw.names).encode())
    for array in (raw.labels, raw.starts, raw.words, edges.numpy()):
        whole.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    if raw.weights is not None:
        whole.update(np.ascontiguousarray(raw.weights, dtype="<f4").tobytes())
    return whole.hexdigest()


def _sorted_edges(pairs: Tensor, nodes: int) -> Tensor:
    """(2, edges): each edge once, the smaller node in the first row, sorted, without self-loops."""
    low, high = pairs.min(0).values, pairs.max(0).values
    keys = (low * nodes + high)[low != high].unique()
    return torch.stack([keys // max(nodes, 1), keys % max(nodes, 1)])


def _from_files(folder: Path, card: GraphCard) -> graph_files.Raw:
    read = {"text": graph_files.from_text, "planetoid": graph_files.from_planetoid}[card.form]
    try:
        return read([folder / name for name in card.files], card.classes)
    except (OSError, ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder} does not hold {card.title} ({error!s:.120}). {_ways(card)}"
        ) from error


def _from_archive(archive: Path, card: GraphCard) -> graph_files.Raw:
    with temporary_folder("kdnb-") as into:
        return _from_files(unpacked(archive, card.files, into), card)


def _from_npz(content: bytes, card: GraphCard, place: str) -> graph_files.Raw:
    try:
        return graph_files.from_npz(content, card.classes)
    except MemoryError:
        raise
    except Exception as error:  # a damaged zip archive fails in a dozen ways
        raise DataError(
            f"{place} is no readable {card.title} ({error!s:.120}). {_ways(card)}"
        ) from error


def _read(content: bytes, place: str, card: GraphCard, kept: Path) -> tuple[Graph, bytes]:
    """The verified graph from an archive or from arrays, and the arrays to keep."""
    if place.endswith(".npz"):
        raw = _from_npz(content, card, place)
    else:
        with temporary_folder("kdnb-") as into:
            archive = into / place.rpartition("/")[2]
            archive.write_bytes(content)
            raw = _from_archive(archive, card)
    graph = _verified(raw, card, place)
    return graph, content if place == str(kept) else graph_files.as_npz(raw, card.classes)


def _ways(card: GraphCard) -> str:
    copy = f", or {card.copy_address} as {card.name}.npz" if card.copy_address else ""
    files = f"{', '.join(card.files[:-1])} and {card.files[-1]}"
    return (
        f"Put {files} of {card.archive} into {card.folders[0]}/ of a folder that KDNB_DATA_DIRS "
        f"names, or the archive itself{copy}."
    )
