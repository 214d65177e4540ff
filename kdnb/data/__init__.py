"""Data sets in memory: where they come from, how they are checked, and batches made of them.

>>> from kdnb import data
>>> mnist = data.load("mnist")
>>> mnist.train.images.shape
torch.Size([50000, 1, 28, 28])
"""

from kdnb.data.batches import Batch, Batches, in_order
from kdnb.data.cards import Card, DataError, card, names
from kdnb.data.graphs import Graph, NodeSplit, graph_card, graph_names, load_graph, split_nodes
from kdnb.data.images import Images
from kdnb.data.loaders import LoaderBatches, TensorBatches, as_batches
from kdnb.data.own_graphs import nearest_graph, own_graph
from kdnb.data.own_images import OwnImages, own_images
from kdnb.data.own_table import OwnTable, own_table
from kdnb.data.sources import ImageData, load

__all__ = [
    "Batch",
    "Batches",
    "Card",
    "DataError",
    "Graph",
    "ImageData",
    "Images",
    "LoaderBatches",
    "NodeSplit",
    "OwnImages",
    "OwnTable",
    "TensorBatches",
    "as_batches",
    "card",
    "graph_card",
    "graph_names",
    "in_order",
    "load",
    "load_graph",
    "names",
    "nearest_graph",
    "own_graph",
    "own_images",
    "own_table",
    "split_nodes",
]
