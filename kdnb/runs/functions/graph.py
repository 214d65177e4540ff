"""Perceptrons taught by graph networks, and preservation of local structure, as trials."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.data import Graph, NodeSplit, graph_card, load_graph, split_nodes
from kdnb.methods.graph import (
    NodeNetwork,
    glnn,
    learn_labels,
    local_structure_preservation,
    mixing_matrix,
    node_answer,
    preserve_structure,
    propagated_labels,
)
from kdnb.runs.trials import Context, Outcome
from kdnb.training import Recipe
from kdnb.training.randomness import mix

MIXINGS = {"sage": "mean", "gcn": "symmetric"}
KINDS = ("sage", "gcn", "mlp", "narrow")


def graph_spec(name: str, *, hidden: float = 0.0, scored: str = "test") -> dict[str, Any]:
    """The `data` argument of a trial on a graph, with its digest.

    Args:
        hidden: the share of the test nodes that is not seen in training.
        scored: the nodes on which accuracies are measured: "test", or "validation" for pilots,
            in which no test label is read.
    """
    digest = graph_card(name).sha256["graph"]
    return {"name": name, "sha256": digest, "hidden": hidden, "scored": scored}


class _Task:
    """A graph, its split and its networks, in one trial.

    Attributes:
        graph: the largest component of the whole graph.
        split: nodes of `graph`.
        observed: the graph seen in training; `labelled`, its nodes whose labels are learnt.
    """

    def __init__(self, seed: int, data: dict[str, Any], networks: dict[str, dict[str, Any]]):
        self.seed, self.networks, self.scored = seed, networks, data["scored"]
        self.graph = load_graph(data["name"]).largest_component()
        self.split: NodeSplit = split_nodes(self.graph.labels, seed, hidden=data["hidden"])
        self.observed: Graph = self.graph.select(self.split.observed)
        self.labelled = torch.searchsorted(self.split.observed, self.split.train)

    def network(self, kind: str) -> NodeNetwork:
        """A network before its training: the same weights for the same kind and seed."""
        about = self.networks[kind]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix(self.seed, 0, KINDS.index(kind)))
            return NodeNetwork(
                self.graph.features.shape[1], about["width"], self.graph.classes, about["dropout"]
            )

    def plan(self, kind: str) -> tuple[Recipe, int]:
        """Recipe and seed of its training."""
        return Recipe(**self.networks[kind]["recipe"]), mix(self.seed, 1)

    def teacher(self, kind: str, graph: Graph | None = None) -> NodeNetwork:
        """A graph network trained on the labels of the training nodes."""
        graph = graph or self.observed
        mixing = mixing_matrix(graph, MIXINGS[kind])
        return learn_labels(
            self.network(kind), graph.features, graph.labels, self.labelled, *self.plan(kind),
            mixing=mixing,
        )  # fmt: skip

    def answers(self, network: NodeNetwork, graph: Graph, kind: str | None = None) -> Tensor:
        """Its logits for the nodes of a graph."""
        mixing = mixing_matrix(graph, MIXINGS[kind]) if kind else None
        return node_answer(network, graph.features, mixing).logits

    def scores(self, observed: Tensor, whole: Tensor | None = None) -> dict[str, float]:
        """Accuracies in percent.

        Args:
            observed: (observed nodes, classes) logits on the observed graph.
            whole: (nodes, classes) logits on the whole graph; those for hidden nodes are used.
        """
        everywhere = torch.zeros(len(self.graph), self.graph.classes)
        if whole is not None:
            everywhere.copy_(whole)
        everywhere[self.split.observed] = observed
        right = (everywhere.argmax(1) == self.graph.labels).double()
        found = {"train": right[self.split.train].mean()}
        if self.scored == "validation":
            found["test"] = right[self.split.validation].mean()
        else:
            found["test"] = right[self.split.test].mean()
            if len(self.split.hidden) and whole is not None:
                found["hidden"] = right[self.split.hidden].mean()
                found["production"] = right[torch.cat([self.split.test, self.split.hidden])].mean()
        return {name: 100 * float(share) for name, share in found.items()}


class _Answers:
    """The possible targets of students, computed on first use."""

    def __init__(self, task: _Task):
        self.task = task
        self.rewired_graph = task.observed.rewired(mix(task.seed, 2))
        self.stream = torch.Generator().manual_seed(mix(task.seed, 3))

    @cached_property
    def sage_network(self) -> NodeNetwork:
        return self.task.teacher("sage")

    @cached_property
    def sage(self) -> Tensor:
        return self.task.answers(self.sage_network, self.task.observed, "sage")

    @cached_property
    def gcn(self) -> Tensor:
        return self.task.answers(self.task.teacher("gcn"), self.task.observed, "gcn")

    @cached_property
    def rewired(self) -> Tensor:
        trained = self.task.teacher("sage", self.rewired_graph)
        return self.task.answers(trained, self.rewired_graph, "sage")

    @cached_property
    def propagation(self) -> Tensor:
        task = self.task
        return propagated_labels(task.observed, task.observed.labels, task.labelled).log()

    @cached_property
    def labels(self) -> Tensor:
        return self.task.answers(_of_labels(self.task), self.task.observed)

    def hard(self) -> Tensor:
        """Only the teacher's predicted classes."""
        return 1e4 * F.one_hot(self.sage.argmax(1), self.sage.shape[1]).float()

    def untrained(self) -> Tensor:
        """The outputs of a graph network with its initial weights."""
        return self.task.answers(self.task.network("sage"), self.task.observed, "sage")

    def shuffled(self) -> Tensor:
        """The teacher's outputs, randomly permuted over nodes."""
        return self.sage[torch.randperm(len(self.sage), generator=self.stream)]

    def shuffled_within(self) -> Tensor:
        """The teacher's outputs, permuted among nodes with the same predicted class."""
        made, choice = self.sage.clone(), self.sage.argmax(1)
        for number in choice.unique():
            nodes = (choice == number).nonzero()[:, 0]
            made[nodes] = self.sage[nodes[torch.randperm(len(nodes), generator=self.stream)]]
        return made


def _of_labels(task: _Task, smoothing: float = 0.0) -> NodeNetwork:
    observed = task.observed
    return learn_labels(
        task.network("mlp"), observed.features, observed.labels, task.labelled, *task.plan("mlp"),
        smoothing=smoothing,
    )  # fmt: skip


# Name of the student -> its targets, as a function of the available outputs.
TAUGHT: dict[str, Callable[[_Answers], Tensor]] = {
    "glnn": lambda made: made.sage,
    "from_gcn": lambda made: made.gcn,
    "hard": _Answers.hard,
    "from_self": lambda made: made.labels,
    "from_untrained": _Answers.untrained,
    "shuffled": _Answers.shuffled,
    "shuffled_within": _Answers.shuffled_within,
    "from_propagation": lambda made: made.propagation,
    "from_rewired": lambda made: made.rewired,
}
LEARNT = ("labels", "smoothed", "few")  # the students that see only training nodes


def glnn_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    networks: dict[str, dict[str, Any]],
    students: list[str],
) -> Outcome:
    """Perceptrons on the nodes of a citation graph, and their teachers, on one random split.

    All perceptrons of a seed start from the same weights.

    Args:
        data: from `graph_spec`. If nodes are hidden, networks learn and teach on the graph without
            them; then all are evaluated on hidden nodes, graph networks with all edges.
        networks: of "sage", "gcn" and "mlp": `width`, `dropout` and `recipe`.
        students: "labels"; "smoothed", labels smoothed by 0.1; "few", taught by SAGE and labels in
            equal shares, only on the training nodes; or a key of `TAUGHT`.

    Returns:
        Accuracies in percent, `<name>_train`, `<name>_test` and, if nodes are hidden,
        `<name>_hidden` and `<name>_production` (both kinds of test nodes), of every student, `sage`,
        and of those of `gcn`, `rewired` and `propagation` that taught one; with `nodes` and `edges`.

    Raises:
        ValueError: for an unknown student.
    """
    if unknown := [name for name in students if name not in (*TAUGHT, *LEARNT)]:
        raise ValueError(f"there is no student {unknown[0]!r}: {', '.join((*LEARNT, *TAUGHT))}.")
    task = _Task(seed, data, networks)
    made, observed = _Answers(task), task.observed
    found = {"sage": task.scores(made.sage, task.answers(made.sage_network, task.graph, "sage"))}
    for name in students:
        if name in TAUGHT:
            goal = TAUGHT[name](made)
            pupil = glnn(task.network("mlp"), observed.features, goal, *task.plan("mlp"))
        elif name == "few":
            pupil = glnn(
                task.network("mlp"), observed.features, made.sage, *task.plan("mlp"),
                nodes=task.labelled, labels=observed.labels, labelled=task.labelled,
                labels_share=0.5,
            )  # fmt: skip
        else:
            pupil = _of_labels(task, 0.1 if name == "smoothed" else 0.0)
        found[name] = task.scores(task.answers(pupil, observed), task.answers(pupil, task.graph))
    for name in ("gcn", "rewired", "propagation"):
        if name in vars(made):
            found[name] = task.scores(getattr(made, name))
    metrics = {f"{name}_{on}": value for name, part in found.items() for on, value in part.items()}
    return Outcome({**metrics, "nodes": len(task.graph), "edges": task.graph.edges.shape[1]})


def structure_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    networks: dict[str, dict[str, Any]],
    students: dict[str, dict[str, Any]],
) -> Outcome:
    """Narrow graph convolutions that learn labels, without and with the local structure of a wide one.

    Args:
        data: from `graph_spec`.
        networks: of "gcn", the teacher, and "narrow", its students: `width`, `dropout`, `recipe`.
        students: by name, options of `preserve_structure`; with weight 0 a student learns labels alone.

    Returns:
        `<name>_train` and `<name>_test` of the teacher and every student, accuracies in percent; and
        `<name>_divergence`, 1,000 times the loss of LSP ("rbf", paper) in nats after training.
    """
    task = _Task(seed, data, networks)
    graph, mixing = task.observed, mixing_matrix(task.observed, "symmetric")
    teacher = node_answer(task.teacher("gcn"), graph.features, mixing)
    found = {"teacher": task.scores(teacher.logits)}
    for name, options in students.items():
        pupil = preserve_structure(
            task.network("narrow"), graph.features, mixing, graph.labels, task.labelled,
            teacher.hidden, graph.arcs, *task.plan("narrow"), **options,
        )  # fmt: skip
        answer = node_answer(pupil, graph.features, mixing)
        apart = local_structure_preservation(answer.hidden, teacher.hidden, graph.arcs)
        found[name] = {**task.scores(answer.logits), "divergence": 1000 * float(apart)}
    metrics = {f"{name}_{on}": value for name, part in found.items() for on, value in part.items()}
    return Outcome(metrics)
