"""A citation graph of a few papers, as text and as arrays: nothing is downloaded."""

import hashlib
import io
import pickle
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
files = ["tiny.content", "tiny.cites"]
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


def archive(files=None):
    """The text files (or others) as the authors' archive, in a folder of it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in (files or text_files()).items():
            content = text.encode() if isinstance(text, str) else text
            member = tarfile.TarInfo(f"tiny/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
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


def py2(value):
    """The operations by which Python 2 pickles a value (protocol 2), without its frame."""
    if isinstance(value, bool) or value is None:
        return {True: pickle.NEWTRUE, False: pickle.NEWFALSE, None: pickle.NONE}[value]
    if isinstance(value, int):
        return pickle.BININT + value.to_bytes(4, "little", signed=True)
    if isinstance(value, str):
        raw = value.encode("latin-1")
        return pickle.BINSTRING + len(raw).to_bytes(4, "little") + raw
    if isinstance(value, tuple):
        return pickle.MARK + b"".join(map(py2, value)) + pickle.TUPLE
    if isinstance(value, list):
        return pickle.EMPTY_LIST + pickle.MARK + b"".join(map(py2, value)) + pickle.APPENDS
    if isinstance(value, dict):
        return pickle.EMPTY_DICT + items_of(value)
    order = {"i": "<", "f": "<"}[value.dtype.kind]
    code = f"{value.dtype.kind}{value.dtype.itemsize}"
    kind = named("numpy", "dtype") + py2((code, 0, 1)) + pickle.REDUCE
    kind += py2((3, order, None, None, None, -1, -1, 0)) + pickle.BUILD
    start = named("numpy.core.multiarray", "_reconstruct") + pickle.MARK + named("numpy", "ndarray")
    start += py2((0,)) + py2("b") + pickle.TUPLE + pickle.REDUCE
    raw = value.tobytes().decode("latin-1")
    state = pickle.MARK + py2(1) + py2(value.shape) + kind + py2(False) + py2(raw) + pickle.TUPLE
    return start + state + pickle.BUILD


def named(module, name):
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def items_of(value):
    pairs = b"".join(py2(key) + py2(item) for key, item in value.items())
    return pickle.MARK + pairs + pickle.SETITEMS


def pickled(operations):
    return pickle.PROTO + b"\x02" + operations + pickle.STOP


def py2_matrix(dense):
    """A sparse matrix by rows, its columns in descending order."""
    dense = np.asarray(dense, np.float32)
    columns = [np.flatnonzero(row)[::-1] for row in dense]
    state = {
        "_shape": dense.shape,
        "data": np.concatenate([row[c] for row, c in zip(dense, columns, strict=True)]),
        "indices": np.concatenate(columns).astype(np.int32),
        "indptr": np.cumsum([0, *map(len, columns)]).astype(np.int32),
    }
    made = named("scipy.sparse.csr", "csr_matrix") + pickle.EMPTY_TUPLE + pickle.NEWOBJ
    return made + py2(state) + pickle.BUILD


def planetoid():
    """The graph as Planetoid's files: four first nodes, and two test nodes in the order 5, 4."""
    bits = np.array([[int(bit) for bit in PAPERS[name][0]] for name in NAMES]) * WEIGHT
    labels = np.eye(2, dtype=np.int32)[LABELS]
    near = {node: [b for a, b in EDGES if a == node] for node in range(6)}
    graph = named("collections", "defaultdict") + pickle.MARK + named("__builtin__", "list")
    graph += pickle.TUPLE + pickle.REDUCE + items_of(near)
    parts = {
        "allx": py2_matrix(bits[:4]), "ally": py2(labels[:4]), "tx": py2_matrix(bits[[5, 4]]),
        "ty": py2(labels[[5, 4]]), "graph": graph,
    }  # fmt: skip
    found = {f"ind.tiny.{part}": pickled(operations) for part, operations in parts.items()}
    return {**found, "ind.tiny.test.index": b"5\n4\n"}


WEIGHT = 0.25
PLANETOID_CARD = CARD.replace('files = ["tiny.content", "tiny.cites"]', """form = "planetoid"
files = [
    "ind.tiny.allx", "ind.tiny.ally", "ind.tiny.tx", "ind.tiny.ty", "ind.tiny.graph",
    "ind.tiny.test.index",
]""").replace('copy_address = "https://example.org/copies/tiny.npz"\n', "")  # fmt: skip


def planetoid_digest():
    """Names are numbers, and weights come last."""
    words = [[i for i, bit in enumerate(PAPERS[name][0]) if bit == "1"] for name in NAMES]
    parts = [LABELS, np.cumsum([0, *map(len, words)]), np.concatenate(words), np.array(EDGES).T]
    whole = b"0\n1\n2\n3\n4\n5" + b"".join(np.array(p, dtype="<i8").tobytes() for p in parts)
    return hashlib.sha256(whole + np.full(8, WEIGHT, "<f4").tobytes()).hexdigest()


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
