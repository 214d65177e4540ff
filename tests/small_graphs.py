"""A citation graph of a few papers, as text and as arrays: nothing is downloaded."""

import hashlib
import io
import tarfile

import numpy as np
import torch

from kdnb.data import Graph

CARD = """
title = "Tiny"
about = "papers of two subjects"
classes = ["Art", "Bees"]
nodes = 6
words = 4
edges = 5
licence = "CC0"
cite = "hinton2015"
content = "tiny.content"
cites = "tiny.cites"
folders = ["tiny", "graphs/tiny"]
archive = "https://example.org/lbc/tiny.tgz"
copy_address = "https://example.org/copies/tiny.npz"

[sha256]
graph = "{digest}"
"""
# Names sort as text: "10" comes before "9".
PAPERS = {
    "9": ("0101", "Bees"), "10": ("1000", "Art"), "a1": ("0000", "Bees"), "33": ("1110", "Art"),
    "b": ("0001", "Art"), "2": ("0100", "Bees"),
}  # fmt: skip
NAMES = ["10", "2", "33", "9", "a1", "b"]
# Cited in both directions, twice, by itself, and a paper that is not there.
CITES = [("10", "33"), ("33", "10"), ("9", "2"), ("9", "2"), ("a1", "9"), ("33", "2"), ("b", "b"),
         ("b", "missing"), ("10", "2")]  # fmt: skip
EDGES = [[0, 1], [0, 2], [1, 2], [1, 3], [3, 4]]
LABELS = [0, 1, 0, 1, 1, 0]


def text_files():
    content = [f"{name}\t" + "\t".join(words) + f"\t{subject}" for name, (words, subject) in PAPERS.items()]  # fmt: skip
    cites = ["\t".join(pair) for pair in CITES]
    return {"tiny.content": "\n".join(content) + "\n", "tiny.cites": "\n".join(cites) + "\n"}


def archive():
    """The text files as the authors' archive, in a folder of it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in text_files().items():
            member = tarfile.TarInfo(f"tiny/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def npz(**changed):
    """The graph as sparse matrices by rows; classes in another order."""
    words = [[i for i, bit in enumerate(PAPERS[name][0]) if bit == "1"] for name in NAMES]
    place = {name: number for number, name in enumerate(NAMES)}
    near = [sorted({place[b] for a, b in CITES if a == name and b in place}) for name in NAMES]
    arrays = {
        "adj_indices": np.concatenate(near).astype(np.int32),
        "adj_indptr": np.cumsum([0, *map(len, near)]),
        "attr_data": np.ones(sum(map(len, words)), np.float32),
        "attr_indices": np.concatenate([one[::-1] for one in words]).astype(np.int32),
        "attr_indptr": np.cumsum([0, *map(len, words)]),
        "labels": np.array([1 - label for label in LABELS], np.int8),
        "node_names": np.array(NAMES),
        "class_names": np.array(["Bees", "Art"]),
        **changed,
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def digest():
    """As the documentation defines it: names, labels, starts, words, edges."""
    words = [[i for i, bit in enumerate(PAPERS[name][0]) if bit == "1"] for name in NAMES]
    parts = [LABELS, np.cumsum([0, *map(len, words)]), np.concatenate(words), np.array(EDGES).T]
    whole = "\n".join(NAMES).encode()
    whole += b"".join(np.array(part, dtype="<i8").tobytes() for part in parts)
    return hashlib.sha256(whole).hexdigest()


def two_villages(size=30, words=20, seed=0):
    """A graph of two classes that hardly cite each other; words say little about the class."""
    stream = torch.Generator().manual_seed(seed)
    labels = torch.arange(2 * size) % 2
    start, end = torch.randint(2 * size, (2, 16 * size), generator=stream)
    kept = (labels[start] == labels[end]) | (torch.rand(len(start), generator=stream) < 0.05)
    pairs = torch.stack([start, end])[:, kept & (start != end)]
    edges = torch.stack([pairs.min(0).values, pairs.max(0).values]).unique(dim=1)
    odds = 0.15 + 0.1 * (torch.arange(words)[None] % 2 == labels[:, None])
    features = (torch.rand(2 * size, words, generator=stream) < odds).float()
    return Graph(features.to_sparse().coalesce(), edges, labels)
