"""What strangers give the trainings on nodes: masks are taken, and errors come before the first step."""

import re

import pytest
import torch
from small_graphs import two_villages
from torch import nn

from kdnb import Recipe
from kdnb.data import Graph
from kdnb.methods import graph as graphs
from kdnb.training.reporting import NonFiniteLoss

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
NODES, CLASSES = 60, 2
RECIPE = Recipe(epochs=3, optimiser="adam", lr=0.01, schedule="constant")
GRAPH = two_villages()
X, Y = GRAPH.features.to_dense(), GRAPH.labels
MIXING = graphs.mixing_matrix(GRAPH, "mean")
SOME = torch.arange(0, 20)
MASK = torch.zeros(NODES, dtype=torch.bool).index_fill(0, SOME, True)
LOGITS = torch.randn(NODES, CLASSES, generator=torch.Generator().manual_seed(0))


def net(seed=0):
    torch.manual_seed(seed)
    return graphs.NodeNetwork(X.shape[1], 4, CLASSES)


def weights(network):
    return nn.utils.parameters_to_vector(network.parameters())


def labels(features=X, known=Y, nodes=SOME, network=None, recipe=RECIPE, seed=0, **options):
    network = net() if network is None else network
    return graphs.learn_labels(network, features, known, nodes, recipe, seed, **options)


def answers(logits=LOGITS, student=None, features=X, **options):
    return graphs.glnn(student or net(), features, logits, RECIPE, 0, **options)


def structure(hidden=LOGITS, arcs=GRAPH.arcs, student=None, nodes=SOME, **options):
    student = student or net()
    return graphs.preserve_structure(
        student, X, MIXING, Y, nodes, hidden, arcs, RECIPE, 0, **options
    )


def propagated(known=Y, nodes=SOME, graph=GRAPH):
    return graphs.propagated_labels(graph, known, nodes)


NO_CALLS = {
    "no node": (lambda: labels(nodes=SOME[:0]), "nodes must hold at least one node; got none"),
    "an empty mask": (lambda: labels(nodes=MASK & False), "nodes must hold at least one node"),
    "a node too far": (lambda: labels(nodes=SOME + 50), "nodes must lie in 0 to 59 for 60 nodes; got 50 to 69"),
    "a negative node": (lambda: labels(nodes=SOME - 1, mixing=MIXING), "nodes must lie in 0 to 59"),
    "a short mask": (lambda: labels(nodes=MASK[:9]), r"node numbers (some nodes,) or truth values (60,)"),
    "nodes in a list": (lambda: labels(nodes=[1, 2]), "got a list"),
    "real nodes": (lambda: labels(nodes=SOME.float()), "got torch.float32 of shape (20,)"),
    "labels of fewer": (lambda: labels(known=Y[:20]), "labels must be integers (60,), one for each node"),
    "real labels": (lambda: labels(known=Y.float()), "got torch.float32"),
    "labels in a list": (lambda: labels(known=Y.tolist()), "got a list"),
    "a label too high": (lambda: labels(known=Y + 1), "labels must lie in 0 to 1 for 2 classes; got 1 to 2"),
    "whole features": (lambda: labels(features=X.long()), "the network cannot take these inputs (int64"),
    "double features": (lambda: labels(features=X.double()), "the network cannot take these inputs (float64"),
    "features without rows": (lambda: labels(features=X[0]), "features must be a tensor (nodes, words)"),
    "features by rows": (lambda: labels(features=X.to_sparse_csr()), "features.to_sparse_coo()"),
    "features that are no numbers": (lambda: labels(features=X * torch.nan), "features must be finite numbers"),
    "infinite answers": (lambda: answers(LOGITS / 0), "teacher_logits must be finite numbers"),
    "words that it does not know": (lambda: labels(features=X[:, :5]), "the network cannot take these inputs"),
    "a mixing of another graph": (lambda: labels(mixing=torch.eye(5)), "mixing must be (60, 60)"),
    "a mixing by its name": (lambda: labels(mixing="mean"), "mixing must be (60, 60)"),
    "a mixing elsewhere": (lambda: labels(mixing=torch.empty(60, 60, device="meta")), "meta"),
    "nothing that learns": (lambda: labels(network=net().requires_grad_(False)), "has nothing to learn"),
    "no edges taken": (lambda: labels(network=nn.Linear(20, 2), mixing=MIXING), "the network cannot take"),
    "a seed in words": (lambda: labels(seed="one"), "seed must be a whole number"),
    "much smoothing": (lambda: labels(smoothing=2), "smoothing must lie in [0, 1]"),
    "a whole answer": (
        lambda: answers(graphs.node_answer(net(), X, MIXING)),
        "teacher_logits must be a tensor; got a NodeAnswer: give .logits or .hidden",
    ),
    "answers for fewer": (lambda: answers(LOGITS[:9]), "a row for each of 60 nodes, as the features; got 9"),
    "other classes": (lambda: answers(torch.randn(60, 3)), "logits must have the same shape"),
    "nobody labelled": (lambda: answers(labels_share=0.5, labels=Y, labelled=SOME[:0]), "labelled must hold"),
    "hidden units of fewer": (lambda: structure(LOGITS[:9]), "a row for each of 60 nodes"),
    "hidden units without numbers": (lambda: structure(LOGITS * torch.nan), "must be finite"),
    "arcs to nowhere": (lambda: structure(arcs=GRAPH.arcs + 9), "arcs must be integers from 0 to 59"),
    "no arcs": (lambda: structure(arcs=GRAPH.arcs[:, :0]), "at least one"),
    "another kernel": (lambda: structure(kernel="gauss"), "kernel must be"),
    "a negative weight": (lambda: structure(weight=-1), "weight must be at least 0"),
    "a label that flows": (lambda: propagated(Y - 1), "labels of the chosen nodes must lie in 0 to 1"),
    "nodes that are not there": (lambda: propagated(nodes=SOME + 99), "nodes must lie in 0 to 59"),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_CALLS)
def test_wrong_input_is_told_before_the_first_step(case, no_step):
    call, words = NO_CALLS[case]
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: labels(network="gcn"), "network must be a torch module; got the string"),
        (lambda: labels(network=graphs.NodeNetwork), "network must be a torch module; got the class"),
        (lambda: labels(recipe={"epochs": 3}), "recipe must be a kdnb.Recipe"),
        (lambda: structure(student=nn.Linear(20, 2)), "student must be a NodeNetwork"),
        (lambda: graphs.mixing_matrix("cora", "mean"), "graph must be a kdnb.data.Graph"),
        (lambda: propagated(graph=(X, Y)), "kdnb.data.own_graph"),
        (lambda: graphs.node_answer("gcn", X), "network must be a torch module"),
    ],
)  # fmt: skip
def test_what_is_no_network_graph_or_recipe(call, words):
    with pytest.raises(TypeError, match=words):
        call()


def test_a_mask_is_its_nodes():
    assert weights(labels(nodes=MASK)).equal(weights(labels()))
    assert weights(labels(nodes=MASK, mixing=MIXING)).equal(weights(labels(mixing=MIXING)))
    assert weights(labels(nodes=SOME.int())).equal(weights(labels()))
    assert weights(answers(nodes=MASK)).equal(weights(answers(nodes=SOME)))
    both = {"labels_share": 0.5, "labels": Y}
    assert weights(answers(labelled=MASK, **both)).equal(weights(answers(labelled=SOME, **both)))
    assert weights(structure(nodes=MASK)).equal(weights(structure()))
    assert propagated(nodes=MASK).equal(propagated())


def test_what_is_not_read_may_be_anything():
    far = X.index_fill(0, torch.tensor([50]), torch.nan)
    assert weights(labels(features=far)).equal(weights(labels()))
    unknown = Y.index_fill(0, torch.tensor([50]), -1)
    assert weights(labels(known=unknown)).equal(weights(labels()))
    assert propagated(unknown).equal(propagated())
    silent = LOGITS.index_fill(0, torch.tensor([50]), torch.nan)
    assert weights(answers(silent, nodes=SOME)).equal(weights(answers(nodes=SOME)))


def test_a_training_that_diverges_stops_at_once():
    network, wild = net(), Recipe(epochs=1000, optimiser="sgd", lr=1e30, schedule="constant")
    with pytest.raises(NonFiniteLoss, match=r"the loss of the nodes is nan in step \d\b"):
        labels(network=network, recipe=wild)


def test_networks_in_another_precision_answer_in_it():
    double = labels(network=net().double())
    assert graphs.node_answer(double, X).logits.dtype == torch.float64
    torch.testing.assert_close(weights(double).float(), weights(labels()), rtol=1e-3, atol=1e-4)


def test_asking_a_network_leaves_its_mode():
    network = net().train()
    graphs.node_answer(network, X, MIXING)
    assert network.training


def test_lonely_nodes_and_graphs_without_edges():
    lonely = Graph(X, GRAPH.edges[:, :0], Y)
    mixing = graphs.mixing_matrix(lonely, "symmetric")
    assert mixing.to_dense().equal(torch.eye(NODES))
    network = labels(mixing=mixing)
    alone = graphs.node_answer(network, X).logits
    torch.testing.assert_close(graphs.node_answer(network, X, mixing).logits, alone)
    assert propagated(graph=lonely)[SOME].argmax(1).equal(Y[SOME])
    assert structure(arcs=lonely.arcs) is not None


@pytest.mark.parametrize(
    ("edges", "words"),
    [
        ([[0, 0], [0, 1]], "each edge once, the smaller node above"),  # a self-loop
        ([[0, 0], [1, 1]], "each edge once"),
        ([[0, 1], [1, 0]], "the smaller node above"),
        ([[0, 58], [1, 60]], "edges must join nodes 0 to 59"),
        ([[-1], [1]], "edges must join nodes 0 to 59"),
        ([[0.0], [1.0]], "edges must be int64"),
        ([[0, 1], [2, 3], [4, 5]], "edges must be int64 of shape"),
    ],
)
def test_a_graph_made_by_hand_is_looked_at(edges, words):
    with pytest.raises(ValueError, match=words):
        Graph(X, torch.tensor(edges), Y)
