# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: kdnb
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kdnb:
#     papers:
#     - zhang2022glnn
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5.4 Graph-based distillation
#
# A graph shows what belongs together: which papers cite each other, which images look alike. In distillation
# a graph has two uses. It can be the *data*, where a network that sees edges teaches one that does not; or it
# can be the *message*, where the teacher passes on how its samples are related. Here a graph network teaches
# a perceptron that sees one node at a time. On citation graphs the student becomes about as good as its
# teacher on all nodes for which the teacher gave answers. You see what the gain consists of, when it shrinks,
# and how graphs serve as messages between networks for images.
#
# The chapter belongs to section 5.4 of the survey ([Gou et al.
# 2021](https://doi.org/10.1007/s11263-021-01453-z), [arXiv](https://arxiv.org/abs/2006.05525)). Its main
# paper is *Graph-less Neural Networks* ([Zhang et al. 2022](https://arxiv.org/abs/2110.08727)), called GLNN,
# which is newer than the survey. Related methods follow, with links at the end.
#
# **Before you start:** soft targets ([chapter 2.1](2-1-response-based-knowledge.ipynb)) and relations between
# samples ([chapter 2.3](2-3-relation-based-knowledge.ipynb)).
# **Time:** about two minutes on two CPU cores.
#
# The next cell holds every parameter of the live part. Change them here, or with `kdnb run 5-4 --set side=7`.

# %% tags=["parameters"]
nodes = 2000  # images in a graph
side = 4  # pixels of what networks see of a node, in height and width: 2, 4, 7 or 14
neighbours = 5  # that each image is joined with
labelled = 10  # nodes of each class whose label is known
width = 64  # hidden units
steps = 200  # of every training on a graph
lr = 0.01
seeds = 5  # paired repetitions
images = 100  # with labels, for the relatives
relatives_seeds = 3  # of the relatives

# %%
import copy

import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

import kdnb
from kdnb import data, figures, losses, nets, papers, workbook
from kdnb.methods import graph as graphs
from kdnb.workbook.chapter import show_verdicts

workbook.check(
    globals(),
    nodes=(800, 6000),
    side={2, 4, 7, 14},
    neighbours=(1, 50),
    labelled=(1, 30),
    width=(4, 512),
    steps=(20, 2000),
    lr=(0.0001, 0.1),
    seeds=(2, 30),
    images=(50, 2000),
    relatives_seeds=(2, 20),
)
figures.use()

# %% [markdown]
# ## The idea
#
# A *graph network* looks at a node and at its neighbours. Where edges join nodes of the same class, this
# helps a lot: a paper whose words are ambiguous may cite ten papers that are not. But it has a cost. To
# answer for one node, two layers must fetch the neighbours' neighbours, and a new node without edges cannot
# benefit at all.
#
# GLNN trains a graph network on the few nodes that have labels. Then it computes the graph network's answers
# for *every* node, and trains a perceptron to give the same answers. The perceptron sees the features of one
# node and no edges, neither in training nor afterwards. Everything it gets from the graph comes through the
# answers.

# %%
scheme = figures.schematic(
    {
        "own": ("features of the node", 0, 1),
        "others": ("features of its neighbours", 0, 0),
        "teacher": ("graph network", 1, 0, "teacher"),
        "p": ("answers $p$ for every node", 2, 0, "teacher"),
        "student": ("perceptron", 1, 1, "student"),
        "q": ("answers $q$", 2, 1, "student"),
        "loss": ("loss $L$", 3, 0.5, "method"),
    },
    [("others", "teacher", "edges"), ("own", "teacher"), ("teacher", "p"), ("own", "student"), ("student", "q"),
     ("p", "loss"), ("q", "loss")],
)  # fmt: skip
figures.save(
    scheme,
    "5-4-idea",
    alt="The features of a node and of its neighbours go to the graph network, which answers for every node. The features of the node "
    "alone go to the perceptron. The loss compares both answers.",
    caption="GLNN. The teacher (blue) sees edges, the student (orange) does not. Few nodes have labels; the teacher answers for all.",
)

# %% [markdown]
# ## The mathematics
#
# Symbols are those of [the workbook's notation](../docs/notation.md). A graph has $n$ nodes. Node $i$ has features
# $x_i$ and the neighbours $N(i)$, among which it counts itself; nodes in $V_L$ have a known label $y_i$. A layer of GraphSAGE with means
# (each node counts in its own mean, as in the GLNN authors' networks), and one of a graph convolution (GCN), compute
#
# $$h_i=\sigma\Big(\frac1{|N(i)|}\sum_{j\in N(i)}(Wx_j+b)\Big)\qquad\text{and}\qquad
#   h_i=\sigma\Big(\sum_{j\in N(i)}\frac{Wx_j+b}{\sqrt{|N(i)|\,|N(j)|}}\Big).$$
#
# Both are $\sigma\big(M(XW^\top+b)\big)$ with a sparse matrix $M$, the *mixing matrix*. With $M=I$ it is a layer of a
# perceptron. $W$ and $b$ are weights and biases; $\sigma$ is the ReLU, which the last layer does not have. The teacher has logits $v_i$
# and probabilities $p_i$, the student $z_i=z(x_i)$ and $q_i$. GLNN
# minimises
#
# $$L=\frac{\lambda}{|V_L|}\sum_{i\in V_L}H(\mathbf 1_{y_i},q_i)
#   +\frac{1-\lambda}{|V|}\sum_{i\in V}\mathrm{KL}(p_i\,\|\,q_i),$$
#
# where $V$ contains every node whose features are known while the student learns, and $\lambda\in[0,1]$ is
# the share of the labels. The authors' code has $\lambda=0$ and the temperature 1. Four facts follow.
#
# 1. *The networks differ only in $M$.* Teacher and student can have the same weights.
# 2. *Every node teaches.* The gradient of the second term at $z_i$ is $(1-\lambda)(q_i-p_i)/|V|$, whether node $i$
#    has a label or not. That of the first vanishes outside $V_L$.
# 3. *Two layers see two steps.* A trained teacher's answer for a node depends only on the features of nodes
#   that are at most two edges away.
# 4. *Edges are privileged information.* Nodes with the same features get the same answer from the student, whatever
#    their neighbours are. The best that it can learn is the mean of $p$ over such nodes,
#    $\mathrm E[p\mid x]$, as in [chapter 5.3](5-3-cross-modal.ipynb).
#
# The next cell checks all four on a random graph.

# %%
generator = torch.Generator().manual_seed(0)
x = torch.randn(30, 4, generator=generator)
small = data.own_graph(x, torch.randint(30, (2, 40), generator=generator), torch.arange(30) % 3)
around = [{i, *small.edges[1, small.edges[0] == i].tolist(), *small.edges[0, small.edges[1] == i].tolist()} for i in range(30)]
network, M = graphs.NodeNetwork(4, 8, 3), graphs.mixing_matrix(small, "mean")


def mean_around(rows):
    return torch.stack([sum(rows[j] for j in around[i]) / len(around[i]) for i in range(30)])


by_hand = mean_around(network.last(mean_around(network.first(x)).relu()))
torch.testing.assert_close(network(x, M).logits, by_hand)
torch.testing.assert_close(network(x).logits, network.last(network.first(x).relu()))  # 1

z, v = torch.randn(2, 30, 3, generator=generator, dtype=torch.float64)
z.requires_grad_()
soft = losses.soft_targets(z, v, 1.0)
torch.testing.assert_close(torch.autograd.grad(soft, z)[0], ((z.softmax(1) - v.softmax(1)) / 30).detach())  # 2

moving = x.clone().requires_grad_()
moved = torch.autograd.grad(network(moving, M).logits[0].sum(), moving)[0].abs().sum(1).nonzero()[:, 0].tolist()
assert set(moved) <= set().union(*(around[j] for j in around[0])) and len(moved) < 30  # 3

twins = z[:1].expand(30, 3)  # 30 nodes with the same features: one answer
gradient = torch.autograd.grad(losses.soft_targets(twins, v, 1.0), z)[0][0]
torch.testing.assert_close(gradient, (z[0].softmax(0) - v.softmax(1).mean(0)).detach())  # 4
print("layers, gradients, the reach of two layers and the answer to equal features are as the formulas say")

# %% [markdown]
# ## A graph of images
#
# The paper's graphs, such as citations between papers, do not come with this workbook. So the live part uses
# a graph that anyone can build: its nodes are digits, and each digit is joined to the five others that are
# nearest to it in all 28 x 28 pixels. The networks see only a thumbnail of 4 x 4 pixels for each node. So the
# edges contain information that the features lack, just as citations say more than words. Ten nodes of each
# class have a label. One in five of the other nodes, the *new nodes*, is left out until the networks have
# learnt. Citation graphs follow [below](#The-same-on-Cora), and in [the
# record](#The-reproduction:-Zhang-et-al.-2022).

# %% tags=["nbval-ignore-output"]
source = data.load("mnist")
FIRST_SEED = 5400  # no pilot has these seeds


def image_graph(seed):
    """Images of a seed, and the graph of them."""
    order = torch.randperm(len(source.train), generator=torch.Generator().manual_seed(FIRST_SEED + seed))
    chosen = source.train.select(order[:nodes])
    pixels = chosen.images.float() / 255
    thumbnails = F.avg_pool2d(pixels, 28 // side).flatten(1)
    return chosen, data.nearest_graph(pixels, chosen.labels, neighbours, thumbnails)


pictures, whole = image_graph(0)
split = data.split_nodes(whole.labels, FIRST_SEED, train=labelled, validation=0, hidden=0.2)
graph = whole.select(split.observed)  # what there is while networks learn
known = torch.searchsorted(split.observed, split.train)
same = (whole.labels[whole.edges[0]] == whole.labels[whole.edges[1]]).float().mean()
print(f"{len(whole)} nodes, {whole.edges.shape[1]} edges, {100 * same:.0f}% of them between digits of one class; "
      f"{len(known)} labels; {len(split.hidden)} new nodes")  # fmt: skip

# %% [markdown]
# ## The method as a training loop
#
# Here is the whole method. A `Network` with a mixing matrix is GraphSAGE; without one it is a perceptron.


# %%
class Network(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, classes)

    def forward(self, x, M=None):
        h = self.first(x)
        h = (h if M is None else M @ h).relu()  # each node takes the mean of its neighbourhood
        z = self.last(h)
        return z if M is None else M @ z


def fit(network, loss, steps=steps):
    optimiser = torch.optim.Adam(network.parameters(), lr=lr, weight_decay=5e-4)
    for _ in range(steps):  # a step takes all nodes
        optimiser.zero_grad()
        loss(network).backward()
        optimiser.step()
    return network


def glnn(teacher, student, x, M, y, known, steps=steps):
    fit(teacher, lambda net: F.cross_entropy(net(x, M)[known], y[known]), steps)  # 1. it learns the labels
    with torch.no_grad():
        p = teacher(x, M).softmax(1)  # 2. it answers for every node
    return fit(student, lambda net: F.kl_div(net(x).log_softmax(1), p, reduction="batchmean"), steps)  # 3.


def percent(logits, of=graph, among=None):
    """Accuracy on nodes that have no known label."""
    right = (logits.argmax(1) == of.labels).float()
    return 100 * float(right[among].mean())


# %% tags=["nbval-ignore-output"]
torch.manual_seed(0)
teacher, student = Network(side**2, graph.classes), Network(side**2, graph.classes)
alone = copy.deepcopy(student)
starts = copy.deepcopy((teacher, student))
x, y, M = graph.features, graph.labels, graphs.mixing_matrix(graph, "mean")
glnn(teacher, student, x, M, y, known)
fit(alone, lambda net: F.cross_entropy(net(x[known]), y[known]))
rest = torch.ones(len(graph), dtype=torch.bool)
rest[known] = False
for name, logits in {"graph network": teacher(x, M), "perceptron of labels": alone(x), "perceptron, taught": student(x)}.items():
    print(f"{name}: {percent(logits, among=rest):.1f}% of the nodes without a label")

# %% [markdown]
# Without any edge, the taught perceptron (69.9%) lies between the one of labels (65.8%) and its teacher (75.3%). The package has the
# same as `graphs.learn_labels` and `graphs.glnn`:

# %%
recipe = kdnb.Recipe(epochs=20, optimiser="adam", lr=lr, weight_decay=5e-4, schedule="constant")
by_loop = copy.deepcopy(starts)
glnn(*by_loop, x, M, y, known, steps=20)
by_package = [graphs.NodeNetwork(side**2, width, graph.classes) for _ in starts]
for ours, theirs in zip(by_package, starts, strict=True):
    ours.load_state_dict(theirs.state_dict())
graphs.learn_labels(by_package[0], x, y, known, recipe, 0, mixing=M)
answers = graphs.node_answer(by_package[0], x, M).logits
graphs.glnn(by_package[1], x, answers, recipe, 0)
torch.testing.assert_close(graphs.node_answer(by_package[1], x).logits, by_loop[1](x), rtol=1e-3, atol=1e-3)
print("the loop above and graphs.glnn give the same logits")

# %% [markdown]
# ## The experiment: what does the student get from the graph?
#
# Every seed draws images, labels, new nodes and initial weights. All perceptrons of a seed
# start from the same weights and take the same number of steps.
#
# - **labels alone**: the nodes with a label, the control;
# - **taught (GLNN)**: the teacher's answers to all nodes;
# - **answers to labelled nodes**: the same answers, but only to the nodes with a label;
# - **first choices**: for each node the class that the teacher finds likeliest, as a label;
# - **taught by label propagation**: the teacher is not a network. Labels flow along the edges: in each step a
#   node takes the mean of its neighbours' scores, and the known labels are mixed in ([Zhou et al.
#   2004](https://papers.nips.cc/paper_files/paper/2003/hash/87682805257e619d49b8e0dfdc14affa-Abstract.html));
# - **taught on rewired edges**: the teacher learns and answers on a graph in which each node has about as
#   many edges as before, but to nodes drawn at random.
#
# There are two premises: the teacher is better than labels alone by 5 points or more, and both fit their
# labelled nodes.

# %%
plan = recipe.model_copy(update={"epochs": steps})
accuracies, networks = [], {}


def node_network(seed, place):
    torch.manual_seed(100 * seed + place)
    return graphs.NodeNetwork(side**2, width, len(source.classes))


def score(seed, name, old, new, task):
    """Accuracies on old nodes without a known label, on new nodes, and on labelled ones."""
    graph, whole, split, known = task
    free = torch.searchsorted(split.observed, split.test)
    found = {"old nodes": percent(old, graph, free), "new nodes": percent(new, whole, split.hidden),
             "labelled nodes": percent(old, graph, known)}  # fmt: skip
    accuracies.extend({"seed": seed, "condition": name, "nodes": where, "accuracy": a} for where, a in found.items())


# %%
def experiment(seed):
    _, whole = image_graph(seed)
    split = data.split_nodes(whole.labels, FIRST_SEED + seed, train=labelled, validation=0, hidden=0.2)
    graph = whole.select(split.observed)
    known = torch.searchsorted(split.observed, split.train)
    task, x, y = (graph, whole, split, known), graph.features, graph.labels

    def taught_by(of):
        """A graph network that learns on a graph, and its answers for the nodes of it."""
        M = graphs.mixing_matrix(of, "mean")
        network = graphs.learn_labels(node_network(seed, 0), x, y, known, plan, 0, mixing=M)
        return network, graphs.node_answer(network, x, M).logits

    teacher, answers = taught_by(graph)
    new = graphs.node_answer(teacher, whole.features, graphs.mixing_matrix(whole, "mean")).logits
    score(seed, "teacher", answers, new, task)
    lessons = {
        "taught (GLNN)": answers,
        "first choices": 1e4 * F.one_hot(answers.argmax(1), answers.shape[1]).float(),
        "taught by label propagation": graphs.propagated_labels(graph, y, known).log(),
        "taught on rewired edges": taught_by(graph.rewired(FIRST_SEED + seed))[1],
    }
    students = {"labels alone": graphs.learn_labels(node_network(seed, 1), x, y, known, plan, 0)}
    students |= {name: graphs.glnn(node_network(seed, 1), x, lesson, plan, 0) for name, lesson in lessons.items()}
    students["answers to labelled nodes"] = graphs.glnn(node_network(seed, 1), x, answers, plan, 0, nodes=known)
    for name, network in students.items():
        score(seed, name, graphs.node_answer(network, x).logits, graphs.node_answer(network, whole.features).logits, task)
    networks[seed] = {"teacher": teacher, **students}


for seed in range(seeds):
    experiment(seed)

# %%
live = pd.DataFrame(accuracies)
ORDER = ["teacher", "labels alone", "taught (GLNN)", "answers to labelled nodes", "first choices",
         "taught by label propagation", "taught on rewired edges"]  # fmt: skip


def wide(where):
    return live[live.nodes == where].pivot(index="seed", columns="condition", values="accuracy")[ORDER]


def minus(where, name, control):
    """A mean paired difference with its 95% interval, in percentage points, as text."""
    gap = wide(where)[name] - wide(where)[control]
    low, high = figures.interval(gap)
    return f"{gap.mean():+.1f} points ({low:+.1f} to {high:+.1f})"


means = wide("old nodes").mean()
fitted = wide("labelled nodes").mean()
print("premise, the teacher is better than labels alone by 5 points or more:", bool(means["teacher"] - means["labels alone"] >= 5))
print("premise, both know 95% of their labelled nodes or more:", bool(fitted[["teacher", "labels alone"]].min() >= 95))

# %% tags=["nbval-ignore-output"]
roles = {"teacher": "teacher", "taught (GLNN)": "method"} | dict.fromkeys(ORDER[3:], "other")
figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 4.4), sharex=True, sharey=True)
for axes, where in ((left, "old nodes"), (right, "new nodes")):
    figures.points(
        live[live.nodes == where], "accuracy", "accuracy, %", order=ORDER, baseline="labels alone", roles=roles, axes=axes,
    )  # fmt: skip
    axes.set_title(where)
figures.save(
    figure,
    "5-4-effect",
    alt="Mean accuracies on old nodes: " + ", ".join(f"{name} {value:.1f}%" for name, value in means.items())
    + ". On new nodes: " + ", ".join(f"{name} {value:.1f}%" for name, value in wide("new nodes").mean().items()),
    caption=f"The taught perceptron gains {minus('old nodes', 'taught (GLNN)', 'labels alone')} on nodes that the teacher answered for, and "
    f"{minus('new nodes', 'taught (GLNN)', 'labels alone')} on new ones, where the teacher is {minus('new nodes', 'teacher', 'taught (GLNN)')} better. "
    f"Mean and 95% interval over {seeds} seeds.",
)  # fmt: skip


# %% tags=["nbval-ignore-output"]
def against(frame, control):
    """Mean accuracies, and paired differences from a control in points."""
    gaps = frame.sub(frame[control], axis=0)
    rows = {
        name: {"accuracy, %": frame[name].mean(), "difference": gap.mean(), "from": figures.interval(gap)[0],
               "to": figures.interval(gap)[1], "above 0": f"{(gap > 0).sum()} of {len(gap)}"}
        for name, gap in gaps.items() if name != control
    }  # fmt: skip
    return pd.DataFrame(rows).T.infer_objects()


caption = "Accuracy on {}, and paired differences from the taught perceptron in percentage points with 95% intervals."
figures.table(against(wide("old nodes"), "taught (GLNN)"), decimals=1, caption=caption.format("old nodes"))

# %% tags=["nbval-ignore-output"]
figures.table(against(wide("new nodes"), "taught (GLNN)"), decimals=1, caption=caption.format("new nodes"))

# %% [markdown]
# **What the numbers say.** The teacher classifies 74.6% of the old nodes correctly, labels alone 62.9%: a gap of 11.8 points before rounding.
#
# - *About half of it is passed on.* The taught perceptron has 68.5%, which is 5.6 points more than labels
#   alone (95% interval 4.0 to 7.2), in all five seeds. The other 6.2 points (4.7 to 7.6) are lost, most
#   likely because 16 pixels do not contain what the edges show (fact 4). On the citation graphs below nothing
#   is lost on old nodes.
# - *On new nodes* the taught perceptron has 4.6 points more than labels alone, in all five seeds (0.1 to
#   9.2). The graph network, which gets the new nodes' edges, is 9.0 points better (5.9 to 12.1).
# - *The nodes without labels matter.* Answers to the labelled nodes only are worth 3.8 points less (2.3 to 5.2): 64.7%.
# - *First choices do as well*: here they are 0.5 points better than soft answers on average (0.3 less to 1.4
#   more). On Cora, with ten seeds, soft answers are better.
# - *Label propagation teaches better* than the graph network, by 5.0 points (2.2 to 7.7). It uses only edges
#   and labels, and these edges come from all 784 pixels. A likely reason is that the thumbnails help the
#   graph network little. On Cora the graph network is the better teacher.
# - *The edges matter:* taught on rewired edges the perceptron has 50.2%, less than with labels alone. A
#   student follows even a bad teacher.

# %% [markdown]
# ### Explorer: a node and its neighbours
#
# Below are nodes of seed 0 without a label. Choose one. Its neighbours are drawn as the teacher sees them: as
# thumbnails. In the first example the perceptron of labels alone says two; all five neighbours are fours, and
# the teacher says four. So does the taught perceptron, though less surely; it has learnt this from answers to
# similar nodes, or to this node itself. The examples in which teacher and student are wrong are nodes that
# labels alone get right: there the teacher misleads.

# %% tags=["nbval-ignore-output"]
pictures, whole = image_graph(0)
M = graphs.mixing_matrix(whole, "mean")
said = {
    name: graphs.node_answer(networks[0][name], whole.features, M if name == "teacher" else None).logits.softmax(1)
    for name in ("teacher", "labels alone", "taught (GLNN)")
}
free = torch.ones(len(whole), dtype=torch.bool)
free[split.train] = False
right = {name: (p.argmax(1) == whole.labels) & free for name, p in said.items()}
kinds = {
    "the teacher is right, labels alone are wrong": right["teacher"] & right["taught (GLNN)"] & ~right["labels alone"],
    "the teacher is wrong, and so is the taught one": free & ~right["teacher"] & ~right["taught (GLNN)"] & right["labels alone"],
    "the teacher is right, the taught one is not": right["teacher"] & ~right["taught (GLNN)"],
}
choices = {f"{kind}, {'first' if n == 0 else 'second'} example": int(i) for kind, where in kinds.items() for n, i in enumerate(where.nonzero()[:2, 0])}


# %% tags=["nbval-ignore-output"]
def show_node(node):
    i = choices[node]
    near = torch.cat([whole.edges[1, whole.edges[0] == i], whole.edges[0, whole.edges[1] == i]])[:8].tolist()
    figure = plt.figure(figsize=(9.8, 4.1), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1.6])
    for place, (j, axes) in enumerate(zip([i, *near], top.subplots(1, 9), strict=False)):
        figures.image(axes, (255 * whole.features[j]).byte().view(1, side, side))
        axes.set_title(f"the node:\na {source.classes[whole.labels[j]]}" if place == 0 else f"neighbour:\na {source.classes[whole.labels[j]]}", fontsize=9)
    for axes in top.axes[1 + len(near) :]:
        axes.axis("off")
    for axes, (name, p) in zip(bottom.subplots(1, 3), said.items(), strict=True):
        figures.bars(axes, p[i], source.classes)
        axes.set(title=name, xlabel="class", ylabel="probability", ylim=(0, 1))
    return figure


figures.explorer(
    show_node,
    name="5-4-explorer",
    alt="The thumbnail of a node, those of its neighbours with their classes, and the class probabilities of the teacher, of labels alone and of "
    "the taught perceptron",
    caption="What the networks of seed 0 say about a node without a label, with at most eight of its neighbours. Networks get no "
    "class of a neighbour; it stands here for you. Dark: the most probable class.",
    node=list(choices),
)

# %% [markdown]
# ## The same on Cora
#
# [Cora](https://doi.org/10.1609/aimag.v29i3.2157) is a graph of papers on machine learning. Features are the
# words that occur in a paper, edges are citations, and classes are seven subjects; 20 papers of each have a
# label. `data.load_graph` reads the graph from the folders in `KDNB_DATA_DIRS`, or fetches it from its
# authors or from a public copy. Without a connection the next cell says where to find it, and the rest of the
# chapter runs without it. Networks and recipes are those of the record.

# %% tags=["nbval-ignore-output"]
try:
    cora = data.load_graph("cora").largest_component()
except data.DataError as error:
    cora = None
    print(f"Cora is not on this machine, and this cell is left out. {error}")
if cora is not None:
    parts = data.split_nodes(cora.labels, FIRST_SEED)
    M, free = graphs.mixing_matrix(cora, "mean"), parts.test
    rates = {"optimiser": "adam", "lr": 0.01, "schedule": "constant", "epochs": 200}
    torch.manual_seed(0)
    sage, perceptron = graphs.NodeNetwork(1433, 128, 7), graphs.NodeNetwork(1433, 128, 7, dropout=0.6)
    control = copy.deepcopy(perceptron)
    graphs.learn_labels(sage, cora.features, cora.labels, parts.train, kdnb.Recipe(weight_decay=5e-4, **rates), 0, mixing=M)
    answers = graphs.node_answer(sage, cora.features, M).logits
    slow = kdnb.Recipe(weight_decay=5e-3, **rates)
    graphs.glnn(perceptron, cora.features, answers, slow, 0)
    graphs.learn_labels(control, cora.features, cora.labels, parts.train, slow, 0)
    print(f"{len(cora)} papers, {cora.edges.shape[1]} citations, {len(parts.train)} labels")
    for name, network in {"labels alone": control, "taught": perceptron}.items():
        print(f"perceptron, {name}: {percent(graphs.node_answer(network, cora.features).logits, cora, free):.1f}% of the other papers")
    print(f"graph network: {percent(answers, cora, free):.1f}%")

# %% [markdown]
# On this one split the taught perceptron rises from 57.7% with labels alone to 80.6%, as much as the graph
# network. Unlike the 16 pixels above, the words of a paper (1,433 are possible) indicate its subject well,
# once enough papers are labelled. The record has ten splits.

# %% [markdown]
# ## The relatives
#
# In LSP the data are still a graph, and both networks see its edges. In the other four methods a graph is the
# *message*, and the data can be images or anything else. They differ in what the vertices are (samples,
# layers or teachers) and in how the edges are defined. RKD, SP and CC of [chapter
# 2.3](2-3-relation-based-knowledge.ipynb) are special cases whose graph joins all pairs. Graphs between
# *modalities* are in [chapter 5.3](5-3-cross-modal.ipynb). Open a method for its formula.
#
# <details><summary><b>LSP</b>: local structure preservation</summary>
#
# [Yang et al. (2020)](https://arxiv.org/abs/2003.10477) distil a large graph network into a small one. The
# similarities of a node $i$ to its neighbours form a distribution, which the student should reproduce:
#
# $$LS_{ij}=\frac{\exp\mathrm{SIM}(h_i,h_j)}{\sum_{k\in N(i)}\exp\mathrm{SIM}(h_i,h_k)},\qquad
#   L=H(\mathbf 1_y,q)+\frac wn\sum_i\mathrm{KL}(LS^S_i\,\|\,LS^T_i).$$
#
# *What characterises it:* only neighbours are compared, so its cost grows with the number of edges and not of
# pairs, and both layers may have any width. Here $h$ is a hidden layer, $w$ a weight, and SIM a similarity,
# such as $\exp(-\lVert h_i-h_j\rVert^2/2\sigma^2)$ of width $\sigma$. This one lies between 0 and 1, so no
# neighbour can get more than $e$ times the share of another. The authors' code takes absolute differences in
# the exponent and the divergence the other way round (`variant="authors"`).
# `graphs.preserve_structure(student, …, weight=…)`, `losses.local_structure_preservation`.
#
# </details>
#
# <details><summary><b>GKD</b>: the similarity graph of a batch</summary>
#
# [Lassance et al. (2020)](https://arxiv.org/abs/1911.03080) join all samples of a batch. $S$ holds the cosines of their features, with a diagonal of 0,
# and $D$ the sums of its rows:
#
# $$A=D^{-1/2}SD^{-1/2},\qquad L=H(\mathbf 1_y,q)+\frac w3\sum_{l=1}^3\lVert A_{T,l}^{\,m}-A_{S,l}^{\,m}\rVert_F^2$$
#
# over the ends of three blocks.
#
# *What characterises it:* edges are weighted by degrees as in a graph convolution, so a sample that resembles
# all others does not dominate. Edges may be limited to the teacher's nearest neighbours, and a power $m>1$
# compares paths of $m$ edges. In SP the rows are normalised one by one. `method="gkd"`, with `neighbours=`
# and `power=`.
#
# </details>
#
# <details><summary><b>IRG</b>: vertices, edges, and how they change</summary>
#
# [Liu et al.
# (2019)](https://openaccess.thecvf.com/content_CVPR_2019/html/Liu_Knowledge_Distillation_via_Instance_Relationship_Graph_CVPR_2019_paper.html)
# make a graph of every layer. Vertices are the features $f_b$ of the samples, edges are their distances, and
# the *transformation* is how far each sample moves from one layer to the next:
#
# $$A_{bc}=\lVert f_b-f_c\rVert_2^2,\quad \Lambda_b=\lVert f^{l+1}_b-f^l_b\rVert_2^2,\qquad
#   L=H(\mathbf 1_y,q)+\ell_\text{logits}+w_1\,\ell_\text{vertices}+w_2\,(\ell_A+\ell_\Lambda),$$
#
# each $\ell$ a squared distance between teacher and student. *What characterises it:* logits and features are
# matched in addition to the graph. In the package vertices and edges are those of the embedding, and
# $\ell_\Lambda$ is used only between neighbouring layers of the same width. `method="irg"`,
# `losses.irg_edges`, `losses.irg_transformation`.
#
# </details>
#
# <details><summary><b>MHGD</b>: the graph is learnt</summary>
#
# [Lee and Song (2019)](https://arxiv.org/abs/1907.02226) let an attention network find the edges. It learns to rebuild each sample's later features
# from the batch's earlier ones; its attention maps, one for each head $h$, are the teacher's graphs.
#
# $$L=H(\mathbf 1_y,q)+\sum_{l,h,b}\mathrm{KL}(A^T_{lhb}\,\|\,A^S_{lhb}).$$
#
# *What characterises it:* the definition of an edge is learnt. The authors clip the gradient of the second
# term to at most the length of the first's, and so do we. `method="mhgd"` ([chapter
# 2.3](2-3-relation-based-knowledge.ipynb)).
#
# </details>
#
# <details><summary><b>Zhang and Peng</b>: graphs of several teachers</summary>
#
# [Zhang and Peng (2018)](https://arxiv.org/abs/1804.10069) have several video networks as teachers, each
# trained on its own self-supervised task. In the *logits graph* vertices are softened answers; in the
# *representation graph* they are pairs of teachers, whose features are multiplied by compact bilinear pooling
# (CBP):
#
# $$L=H(\mathbf 1_y,q)+\sum_m w_m\,\mathrm{EMD}(q,p_m)+w\sum_{m<n}\mathrm{MMD}^2\big(f_S,\mathrm{CBP}(f_m,f_n)\big).$$
#
# *What characterises it:* the second graph passes on what two teachers see *together*. The loss is our
# version: we could not read how the paper combines its teachers. $f_S$ and $f_m$ are features of the student
# and of teacher $m$, MMD the maximum mean discrepancy. Where moving probability between any two classes costs
# the same, the earth mover's distance EMD is half the sum of absolute differences. `losses.logit_graph`,
# `losses.representation_graph`.
#
# </details>

# %% [markdown]
# ### A check of each
#
# *LSP:* no neighbour has more than $e$ times the share of another. *GKD:* the length of a feature vector does
# not matter, and the largest eigenvalue of $A$ is 1. *IRG:* moving all features by the same amount changes no
# edge. *CBP:* on average over its random draws, the inner product of two pooled vectors is the product of the
# inner products. *EMD:* for one teacher of weight 1 the logits graph is the total variation.

# %%
s, t = torch.randn(2, 12, 6, generator=torch.Generator().manual_seed(3)).abs()
arcs = small.arcs[:, (small.arcs < 12).all(0)]
shares = losses.local_structure(10 * s, arcs).exp()
for i in range(12):
    own = shares[arcs[0] == i]
    torch.testing.assert_close(own.sum(), torch.tensor(1.0))
    assert own.max() <= 2.7183 * own.min()

A = losses.similarity_graph(t)
torch.testing.assert_close(A, losses.similarity_graph(t * torch.arange(1.0, 13)[:, None]))
torch.testing.assert_close(torch.linalg.eigvalsh(A).max(), torch.tensor(1.0))
torch.testing.assert_close(losses.irg_edges(s, t, "paper"), losses.irg_edges(s + 5, t, "paper"), rtol=1e-3, atol=1e-3)

drawn = [losses.compact_bilinear(s[:2], t[:2], 64, seed) for seed in range(400)]
product = sum(float(one[0] @ one[1]) for one in drawn) / 400
assert abs(product / float((s[0] @ s[1]) * (t[0] @ t[1])) - 1) < 0.1
half = (s.softmax(1) - t.softmax(1)).abs().sum(1).mean() / 2
torch.testing.assert_close(losses.logit_graph(s, [t], torch.ones(1)), half)
print("LSP, GKD, IRG, pooling and distance are what the formulas say")


# %% [markdown]
# ### LSP between two graph networks
#
# The teacher is a graph convolutional network with 64 hidden units; the students have 8. They learn from
# labels and from the teacher's local structures with weight 0, 1 or 100, on the graphs of images.


# %%
def kept(seed):
    _, graph = image_graph(seed)
    known = data.split_nodes(graph.labels, FIRST_SEED + seed, train=labelled, validation=0).train
    free = torch.ones(len(graph), dtype=torch.bool)
    free[known] = False
    x, y, M = graph.features, graph.labels, graphs.mixing_matrix(graph, "symmetric")
    teacher = graphs.learn_labels(node_network(seed, 0), x, y, known, plan, 0, mixing=M)
    theirs = graphs.node_answer(teacher, x, M)
    rows = [{"condition": "teacher", "seed": seed, "accuracy": percent(theirs.logits, graph, free)}]
    for name, weight in (("labels alone", 0.0), ("LSP, weight 1", 1.0), ("LSP, weight 100", 100.0)):
        torch.manual_seed(100 * seed + 7)
        student = graphs.NodeNetwork(side**2, 8, len(source.classes))
        graphs.preserve_structure(student, x, M, y, known, theirs.hidden, graph.arcs, plan, 0, weight=weight)
        ours = graphs.node_answer(student, x, M)
        apart = losses.local_structure_preservation(ours.hidden, theirs.hidden, graph.arcs)
        rows.append({"condition": name, "seed": seed, "accuracy": percent(ours.logits, graph, free), "divergence": 1000 * float(apart)})
    return rows


structures = pd.DataFrame([row for seed in range(relatives_seeds) for row in kept(seed)])

# %% tags=["nbval-ignore-output"]
figures.table(
    structures.groupby("condition", sort=False)[["accuracy", "divergence"]].mean().rename(
        columns={"accuracy": "accuracy, %", "divergence": "divergence of structures, thousandths of a nat"}),
    decimals=2, caption=f"Local structure preservation between graph convolutions. Means of {relatives_seeds} seeds.",
)  # fmt: skip

# %% [markdown]
# The structures move closer to the teacher's, from 1.11 thousandths of a nat with labels alone to 0.99 and
# 0.39. Accuracy does not follow: the narrow network of labels (75.9%) is as good as the wide one (75.9%), so
# there is nothing to gain. With weight 100 it has 75.4%. These are means of three seeds without intervals.
# The record below shows the same on Cora. LSP needs a setting where the small graph network falls behind.

# %% [markdown]
# ### Graphs as messages between networks for images
#
# The teacher is the LeNet-5 that comes with the workbook; students are the `tiny` networks of [chapter
# 2.3](2-3-relation-based-knowledge.ipynb), with 100 labelled images. GKD and MHGD have their published
# weights; IRG, whose published weight belongs to a different form of its terms, is weighted so that its loss
# starts at $\ln10$, the cross-entropy of a random guess. Controls are labels alone, soft targets, and GKD
# with a teacher that has learnt nothing. Zhang and Peng's two graphs get two teachers, the LeNet-5 and a
# perceptron.

# %%
from dataclasses import replace
from math import log

from kdnb.methods import method
from kdnb.methods.offline.distil import first_value
from kdnb.training.layers import layers_of, look

setting = kdnb.toy("mnist", images=images)
setting = replace(setting, recipe=setting.recipe.model_copy(update={"precision": "32"}))
usual = {"mean": source.mean, "sd": source.sd}


def first_weight(name):
    """The weight with which a method starts at ln 10."""
    student, batches = setting.student(0), data.Batches(setting.train, setting.recipe.batch_size, **usual)
    looking_at = layers_of(student), layers_of(setting.teacher)
    return log(10) / float(first_value(method(name), student, setting.teacher, batches, looking_at))


def untrained(seed):
    """GKD with the graphs of a network that has learnt nothing."""
    torch.manual_seed(seed)
    student, nobody = setting.student(seed), nets.build("lenet5")
    kdnb.distil(student, nobody, setting.train, setting.recipe, method="gkd", seed=seed)
    return kdnb.evaluate(student, setting.held_out)


# %%
def two_graphs(seed):
    """Zhang and Peng's graphs of two teachers; each term starts at ln 10."""
    torch.manual_seed(seed)
    student, recipe = setting.student(seed), setting.recipe
    teachers = [setting.teacher, nets.pretrained("mlp", "mnist")]
    batches = data.Batches(setting.train, recipe.batch_size, seed=seed, **usual)
    features, mapped, weights = nn.Sequential(*list(student.children())[:-1]), nn.Linear(64, 64), None
    optimiser, done = recipe.optimiser_for([*student.parameters(), *mapped.parameters()]), 0
    for epoch in range(recipe.epochs):
        for batch in batches.epoch(epoch):
            views = [look(one, layers_of(one), batch.images) for one in teachers]  # no gradients
            ours = features(batch.images)
            logits = student.head(ours)
            terms = (losses.logit_graph(logits, [one.logits for one in views], torch.ones(2), temperature=4.0),
                     losses.representation_graph(mapped(ours), [one.embedding for one in views]))  # fmt: skip
            weights = weights or [log(10) / term.item() for term in terms]
            loss = F.cross_entropy(logits, batch.labels) + weights[0] * terms[0] + weights[1] * terms[1]
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate(done, recipe.epochs * len(batches))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            done += 1
    return kdnb.evaluate(student, setting.held_out)


# %%
conditions = {
    "labels alone": None,
    "soft targets": {"method": "kd"},
    "GKD": {"method": "gkd"},
    "GKD, untrained teacher": untrained,
    "IRG": {"method": "irg", "weight": first_weight("irg")},
    "MHGD": {"method": "mhgd"},
    "graphs of two teachers": two_graphs,
}  # fmt: skip
messages = kdnb.compare(conditions, setting=setting, seeds=relatives_seeds)

# %% tags=["nbval-ignore-output"]
found = messages.against("labels alone")[["errors", "difference", "low", "high"]] / 100  # of 10,000 images
found.loc["labels alone", "difference"] = float("nan")
figures.table(
    found.rename(columns={"errors": "test error, %", "low": "from", "high": "to"}), decimals=1,
    caption=f"Students of {images} labelled images. Means of {relatives_seeds} seeds, and paired differences from labels alone in percentage points "
    "with 95% intervals.",
)  # fmt: skip

# %% tags=["nbval-ignore-output"]
some = next(iter(data.Batches(source.test.select(slice(60)), 60, shuffle=False, **usual).epoch(0)))
order = some.labels.argsort(stable=True)
learnt = setting.student(0)
kdnb.distil(learnt, setting.teacher, setting.train, setting.recipe, method="gkd")
seen = {"teacher": setting.teacher, "student before": setting.student(0), "student after GKD": learnt}
drawn = {
    name: losses.similarity_graph(look(network, layers_of(network), some.images[order]).embedding) for name, network in seen.items()
}
figure, panels = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
for axes, (name, A) in zip(panels, drawn.items(), strict=True):
    found = axes.imshow(A, cmap="viridis", vmin=0, vmax=float(drawn["teacher"].max()))
    axes.set(title=name, xticks=[], yticks=[], xlabel="60 test images, sorted by class")
figure.colorbar(found, ax=panels, label="edge weight")
apart = {name: float((A - drawn["teacher"]).square().sum()) for name, A in drawn.items()}
figures.save(
    figure,
    "5-4-graphs",
    alt="Edge weights between 60 test images in the teacher, and in a student before and after GKD. Squared distances from the teacher's graph: "
    f"{apart['student before']:.2f} before, {apart['student after GKD']:.2f} after.",
    caption=f"The similarity graphs that GKD compares, on images that no network has seen. The squared distance from the teacher's falls from "
    f"{apart['student before']:.2f} to {apart['student after GKD']:.2f} (seed 0, embeddings).",
)  # fmt: skip

# %% [markdown]
# With 100 labels, GKD makes 4.2 points fewer errors than labels alone (1.9 to 6.6), and soft targets save as
# many (1.0 to 7.4). GKD needs a teacher that has learnt something: with the graphs of an untrained network
# the student makes 8.2 points *more* errors (5.5 to 10.9). IRG (1.7 fewer; 7.4 fewer to 3.9 more), the graphs
# of two teachers (0.2 fewer; 2.6 fewer to 2.3 more) and MHGD (0.8 fewer; 2.9 fewer to 1.3 more) are undecided
# with three seeds. IRG has no transformation here, as neighbouring layers of these networks differ in width.
# MHGD's stages, of 160 steps, are much shorter than the authors'. This table is not a ranking: no weight was
# tuned for any method.
#
# Figure 4 shows what GKD compares. Before training all images look alike to the student. Afterwards the
# blocks of the classes are visible on the diagonal, fainter than in the teacher's graph.

# %% [markdown]
# ## The reproduction: Zhang et al. 2022
#
# The record holds Cora, Citeseer and Pubmed with 10 seeds (`kdnb reproduce zhang2022glnn`, about 35 CPU
# minutes; it needs the three graphs, see [`data/README.md`](../data/README.md)). Published values are from
# the table in the authors' repository; we did not have the paper's text.
#
# | | published | ours |
# |---|---|---|
# | graphs | Cora, Citeseer, Pubmed and others, largest component | Cora (2,485 nodes), Citeseer (2,110) and Pubmed (19,717; with TF-IDF weights of 500 words, the others with the words that occur) |
# | split | 20 nodes of each class for training, 30 for validation, drawn again for each seed | the same; validation nodes are set apart and not used |
# | inductive | a fifth of the test nodes absent while networks learn and teach | the same |
# | teacher | GraphSAGE, two layers of 128, five drawn neighbours in training | the same, all neighbours |
# | student | perceptron, two layers of 128 | the same |
# | training | Adam, up to 500 epochs, the best epoch by validation nodes | Adam, 200 steps on all nodes, the last one |
# | seeds | 10 | 10 |
#
# Claims are in `papers/zhang2022glnn/claims.toml` and were registered before the first recorded run on their
# graph. But pilots on validation nodes had shown the outcome of nearly every claim on Cora, and, in one split
# each, of the claims on Citeseer and on Pubmed. The claims on Pubmed were registered later, when the record
# of the two other graphs was known. Claims marked *our own question* have no published counterpart. Pilots
# and setting: [`setting.md`](../papers/zhang2022glnn/setting.md). [How a claim is
# judged](../docs/verdicts.md) explains the words.

# %%
show_verdicts(papers.verdicts("zhang2022glnn", "laptop"), "laptop", grouped=True)

# %%
trials = {
    "transductive": "Cora", "inductive": "Cora, a fifth away", "citeseer": "Citeseer", "citeseer_inductive": "Citeseer, a fifth away",
    "pubmed": "Pubmed", "pubmed_inductive": "Pubmed, a fifth away",
}  # fmt: skip
arms = {
    "sage": "GraphSAGE", "gcn": "GCN", "labels": "labels alone", "glnn": "taught (GLNN)", "smoothed": "smoothed labels",
    "few": "answers to labelled nodes", "from_gcn": "taught by a GCN", "hard": "first choices", "from_self": "taught by itself",
    "from_untrained": "taught by an untrained network", "shuffled": "answers of any other node", "shuffled_within": "answers shuffled",
    "propagation": "label propagation", "from_propagation": "taught by label propagation", "rewired": "GraphSAGE on rewired edges",
    "from_rewired": "taught on rewired edges",
}  # fmt: skip
names = {f"{trial}_{arm}": f"{title}: {name}" for trial, title in trials.items() for arm, name in arms.items()}
names |= {
    "structure_teacher": "wide GCN", "structure_labels": "narrow GCN of labels", "structure_kept": "LSP, weight 1",
    "structure_kept_strongly": "LSP, weight 100", "structure_as_coded": "LSP as coded", "transductive": "Cora",
}  # fmt: skip
figures.published_and_ours(papers.show_frame("zhang2022glnn", "laptop"), names)

# %% [markdown]
# Numbers are accuracies in percent, and divergences in thousandths of a nat. *Asked for* is our own criterion.

# %%
record = papers.read_record("zhang2022glnn", "laptop").table()


def mean_of(arm, metric="accuracy"):
    return f"{record[arm, metric].mean():.1f}"


def compare(first, second, metric="accuracy"):
    difference = record[first, metric] - record[second, metric]
    low, high = figures.interval(difference)
    return f"{difference.mean():+.1f} points ({low:+.1f} to {high:+.1f})"


# %%
published = {  # the authors' README: GraphSAGE, labels alone, taught
    "Cora, old nodes": (78.78, 58.95, 79.39), "Cora, new nodes": (81.33, 59.09, 73.82),
    "Citeseer, old nodes": (68.04, 59.75, 69.28), "Citeseer, new nodes": (69.75, 60.06, 69.25),
    "Pubmed, old nodes": (74.78, 66.79, 74.81), "Pubmed, new nodes": (75.26, 66.85, 74.30),
}  # fmt: skip
where = {
    "Cora, old nodes": ("transductive", "accuracy"), "Cora, new nodes": ("inductive", "hidden_accuracy"),
    "Citeseer, old nodes": ("citeseer", "accuracy"), "Citeseer, new nodes": ("citeseer_inductive", "hidden_accuracy"),
    "Pubmed, old nodes": ("pubmed", "accuracy"), "Pubmed, new nodes": ("pubmed_inductive", "hidden_accuracy"),
}  # fmt: skip
who = {"sage": "GraphSAGE", "labels": "perceptron, labels alone", "glnn": "perceptron, taught"}
everyone = pd.concat(
    figures.tidy(record, metric, {f"{trial}_{arm}": title}).rename(columns={metric: "accuracy"}).assign(network=name)
    for arm, name in who.items() for title, (trial, metric) in where.items()
)  # fmt: skip
figure = figures.points(
    everyone, "accuracy", "accuracy, %", group="network",
    roles={"GraphSAGE": "teacher", "perceptron, labels alone": "student", "perceptron, taught": "method"},
)  # fmt: skip
for place, values in enumerate(published.values()):
    figure.axes[0].scatter(values, [place - 0.24, place, place + 0.24], s=46, marker="D", facecolors="none", edgecolors="black", zorder=5)
figures.save(
    figure,
    "5-4-recorded",
    alt="Accuracies of the record. " + " ".join(
        f"{title}: " + ", ".join(f"{name} {mean_of(f'{trial}_{arm}', metric)}%" for arm, name in who.items()) + "."
        for title, (trial, metric) in where.items()),
    caption="GLNN in the record; hollow diamonds are published. Gains of the taught perceptron over labels alone: " + "; ".join(
        f"{title} {compare(f'{trial}_glnn', f'{trial}_labels', metric)}" for title, (trial, metric) in where.items())
    + ". Mean and 95% interval over 10 seeds.",
)  # fmt: skip

# %%
shown = ["glnn", "from_gcn", "hard", "shuffled_within", "from_propagation", "few", "smoothed", "from_self", "from_rewired", "from_untrained", "shuffled"]
controls = figures.tidy(record, "accuracy", {f"transductive_{arm}": arms[arm] for arm in ["labels", *shown]})
roles = {arms["glnn"]: "method"} | {arms[arm]: "other" for arm in shown[1:]}
figure = figures.paired(controls, "accuracy", "accuracy on Cora, points", against="labels alone", roles=roles)
figures.save(
    figure,
    "5-4-recorded-controls",
    alt="Differences from labels alone on Cora. " + " ".join(
        f"{arms[arm]}: {compare(f'transductive_{arm}', 'transductive_labels')}." for arm in shown),
    caption=f"What the gain on Cora consists of. First choices alone gain {compare('transductive_hard', 'transductive_labels')}, label propagation without any network "
    f"{compare('transductive_from_propagation', 'transductive_labels')}, the teacher's answers to labelled nodes {compare('transductive_few', 'transductive_labels')}. "
    "Mean and 95% interval over 10 seeds.",
)  # fmt: skip

# %%
for first, second in (
    ("glnn", "labels"), ("glnn", "sage"), ("glnn", "hard"), ("glnn", "shuffled_within"), ("from_propagation", "labels"), ("from_propagation", "propagation"),
    ("glnn", "from_propagation"), ("few", "labels"), ("smoothed", "labels"), ("from_self", "labels"), ("from_gcn", "glnn"), ("from_rewired", "labels"),
    ("rewired", "sage"), ("from_rewired", "rewired"),
):  # fmt: skip
    print(f"Cora, {arms[first]} - {arms[second]}: {compare(f'transductive_{first}', f'transductive_{second}')}")
for trial in ("inductive", "citeseer_inductive", "pubmed_inductive"):
    for metric, nodes_of in (("hidden_accuracy", "new nodes"), ("production", "old and new nodes")):
        for second in ("labels", "sage"):
            print(f"{trials[trial]}, {nodes_of}, taught - {arms[second]}: {compare(f'{trial}_glnn', f'{trial}_{second}', metric)}")
for trial in ("citeseer", "pubmed"):
    print(f"{trials[trial]}, taught - GraphSAGE:", compare(f"{trial}_glnn", f"{trial}_sage"), "| taught - labels alone:", compare(f"{trial}_glnn", f"{trial}_labels"))
for arm in ("teacher", "labels", "kept", "kept_strongly", "as_coded"):
    print(f"{names[f'structure_{arm}']}: {mean_of(f'structure_{arm}')}% of the test nodes", end="")
    print("" if arm == "teacher" else f", divergence {record[f'structure_{arm}', 'divergence'].mean():.3f} millinats")

# %% [markdown]
# **What holds.** All 18 claims are reproduced: ten of the paper, and eight questions of our own. In detail:
#
# - *Cora.* The taught perceptron is right on 80.2% of the test nodes, labels alone on 57.7%: a gain of 22.5
#   points (95% interval 20.5 to 24.5; published 20.4). It is even better than its teacher, by 1.0 (0.5 to
#   1.4), which is within the two points of *matches-gnn*.
# - *New nodes.* On Cora's new nodes it keeps 14.8 points of gain (13.0 to 16.6; published 14.7), and is 7.3
#   worse than the graph network (6.2 to 8.3; published 7.5), which gets their edges. Over old and new nodes
#   together it is 0.6 points behind (0.3 to 0.9).
# - *Citeseer.* The gain is 7.7 points (6.3 to 9.1; published 9.5), and on new nodes 5.9 (4.5 to 7.4;
#   published 9.2). The directions agree, but both published gains lie above our intervals: our perceptron of
#   labels is better than theirs (62.5 and 61.4%; published 59.8 and 60.1%), and on new nodes our taught one
#   is worse (67.4%; published 69.3%). On new nodes the published student is 0.5 points worse than its
#   teacher, ours 2.6 (1.4 to 3.8).
# - *Pubmed.* The gain is 10.0 points (7.8 to 12.3; published 8.0), and 8.3 on new nodes (6.2 to 10.3;
#   published 7.5). The student is better than its teacher by 1.6 points (1.3 to 2.0; published 0.0). On new
#   nodes it is as good, as far as the record can show (0.3 points more, 0.1 less to 0.8 more; published 1.0
#   less): on this graph the words alone say nearly as much as words and edges together.
#
# **What the gain consists of.** The table in the repository has no controls; these are ours, on Cora.
#
# - *The nodes without labels matter.* The teacher's answers to the 140 labelled nodes alone, learnt together
#   with their labels, gain nothing ($-0.6$ to 0.4; *unlabelled-nodes*). Smoothed labels lose 0.6 points (0.1
#   to 1.1). A perceptron that learns from its own answers to all nodes gains 1.8 points (1.3 to 2.4).
# - *Most of the gain comes from the teacher's first choices.* Learnt as labels, they gain 21.6 of the 22.5
#   points. Soft answers are worth 1.0 more (0.5 to 1.4; *soft-answers*), and 1.2 more than answers shuffled
#   among nodes of the same first choice (0.8 to 1.7; *own-answers*). Both differences are small, and both
#   intervals are above 0. On Cora GLNN is mostly pseudo-labelling by a good teacher.
# - *The teacher need not be a network.* Label propagation is right about 71.3% of the nodes. A perceptron that it teaches has 76.1%, a gain of 18.4 points (15.2 to
#   21.7; *no-network-teacher*). GraphSAGE as the teacher is worth 4.1 points more (2.4 to 5.8).
# - *The edges matter.* On rewired edges the graph network falls to 29.2%, and its student to 36.8%, 20.9
#   points below labels alone (*the-edges-teach*). The student ends 7.6 points above this bad teacher, but
#   would do better without it.
# - *The kind of graph network* hardly matters: with a GCN as the teacher the student is 0.3 points worse (1.1
#   worse to 0.5 better; *another-teacher*).
#
# **LSP** does what it promises: the divergence from the teacher's structures is 0.291 thousandths of a nat
# with labels alone, 0.259 with weight 1 and 0.125 with weight 100 (*structures-agree*). This does not help:
# the narrow network of labels has 79.7%, the wide teacher 79.2%, so there is nothing to gain. With weight 100
# it loses 2.4 points (0.5 to 4.3). With the kernel of the authors' code hardly anything changes: accuracy by
# 0.0 points, and the divergence, which is measured with the other kernel, rises by 0.01 thousandths. The
# published gain is for a different graph and deeper networks.
#
# **What this says about the paper.** The claims that we tested hold on Cora, Citeseer and Pubmed, even with a
# fixed number of steps, where no validation labels choose the epoch. The controls show how to interpret them:
# for nodes for which the teacher gave answers, a perceptron needs no edges at test. On new nodes it still
# lacks the edges, which costs a lot on Cora, less on Citeseer, and nothing measurable on Pubmed.

# %% [markdown]
# ## What you need, what it buys, when to choose it
#
# | method | what you need | what it buys | choose it when |
# |---|---|---|---|
# | GLNN | a graph, a few labels, features of many nodes without a label; a graph network | answers without edges: no neighbours to fetch; on Cora 22.5 points, 14.8 on new nodes; on Citeseer 7.7, on Pubmed 10.0 (record) | answers must be fast, or new nodes have no edges yet |
# | the same, taught by label propagation | the same, but no graph network | on Cora 18.4 points (record), here 5.0 more than the graph network's answers | always, as a first try: it needs no training of a teacher, and is the control that GLNN must beat |
# | LSP | a graph; a large and a small graph network | the large one's local structures, whatever the widths | edges are also available at test, and you need a smaller graph network |
# | GKD | a batch, any features of both networks | relations, widths may differ; here 4.2 points fewer errors with 100 labels, as many as soft targets save | images and other data without edges; few labels |
# | IRG | the same, and layers of one width for the transformation | logits, features and relations in one loss | teacher and student are built alike |
# | MHGD | the same, and a first stage for the attention | edges need not be defined by hand | there is time for the first stage |
# | graphs of several teachers | two teachers or more | what teachers see together | teachers were trained for different tasks |
#
# Where the table says "here" or "record", this workbook measured it. The rest is what the methods require, or
# what their papers argue.
#
# **It fails, or is not worth its cost, when**
#
# - *edges do not join nodes of the same class*: with edges drawn at random the student was 20.9 points worse
#   than labels alone on Cora;
# - *nodes are new* and their features alone do not determine the class: there the student was worse than the
#   graph network by 7.3 points on Cora, by 2.6 on Citeseer, by 9.0 on the graph of images, but not on Pubmed;
# - *there are no nodes without labels*: the answers to labelled nodes alone gained nothing in the record;
# - *two nodes with the same features have different classes*: the student must give them the same answer
#   (fact 4);
# - *label propagation does as well*: compare before you train a graph network.

# %% [markdown]
# ## With your own graph
#
# `data.own_graph` takes features, edges (such as PyTorch Geometric's `edge_index`) and labels, with -1 where
# a label is not known. If you have no edges, `data.nearest_graph` joins each point to its nearest neighbours.
# The teacher may be any model, as only its logits for all nodes are needed, and the student any module that
# maps features to logits. Replace the first lines with your own. The two controls, labels alone and label
# propagation, belong in every report. The last line counts nodes whose label is known but was not used.

# %% tags=["nbval-ignore-output"]
from kdnb import Recipe, data
from kdnb.methods.graph import NodeNetwork, glnn, learn_labels, mixing_matrix, node_answer, propagated_labels

my_graph = data.nearest_graph(source.validation.images[:1500].float() / 255, source.validation.labels[:1500], neighbours=5)
my_known = torch.arange(80)  # nodes whose label may be used
my_recipe = Recipe(epochs=100, optimiser="adam", lr=0.01, weight_decay=5e-4, schedule="constant")
sizes = my_graph.features.shape[1], 64, my_graph.classes

torch.manual_seed(0)
my_mixing = mixing_matrix(my_graph, "mean")
my_teacher = learn_labels(NodeNetwork(*sizes), my_graph.features, my_graph.labels, my_known, my_recipe, 0, mixing=my_mixing)
my_logits = node_answer(my_teacher, my_graph.features, my_mixing).logits  # or those of a model of yours
flowing = propagated_labels(my_graph, my_graph.labels, my_known).log()

blank = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))  # any module
taught, by_flow, labels_alone = (copy.deepcopy(blank) for _ in range(3))
glnn(taught, my_graph.features, my_logits, my_recipe, seed=0)
glnn(by_flow, my_graph.features, flowing, my_recipe, seed=0)
learn_labels(labels_alone, my_graph.features, my_graph.labels, my_known, my_recipe, 0)
for name, logits in {
    "graph network": my_logits, "taught": taught(my_graph.features), "taught by label propagation": by_flow(my_graph.features),
    "labels alone": labels_alone(my_graph.features),
}.items():  # fmt: skip
    print(f"{name}: {100 * float((logits.argmax(1) == my_graph.labels)[80:].float().mean()):.1f}% of the other nodes")

# %% [markdown]
# The taught perceptron (76.8%) is as good as the graph network (76.7%), labels alone give 68.8%, and label propagation as the
# teacher 74.1%. This is one graph and one seed, with all pixels as
# features; repeat it with several before you believe it.
#
# ## Exercises
#
# **1. Equal features.** Derive the fourth fact. What does the student answer for a paper without any words?
#
# <details><summary>Solution</summary>
#
# The sum over nodes with the same $x$ is
# $\sum_i\mathrm{KL}(p_i\,\|\,q)=\text{const}-\sum_i\sum_kp_{ik}\log q_k$, linear in the $p_i$. So it is
# smallest where $q$ is their mean. For all papers without words the student gives the teacher's mean answer
# to those papers, though their neighbours may reveal their subjects.
#
# </details>
#
# **2. No label at all.** With $\lambda=0$ the student sees no label. Why does it know the labels of the training nodes nearly as well as the teacher?
#
# <details><summary>Solution</summary>
#
# The teacher has fitted them, and its answers to them are among those that the student learns. In the record
# the student is right about 98.1% of them, the teacher about all.
#
# </details>
#
# **3. Larger thumbnails.** Set `side=7`. What happens to the teacher, to the taught perceptron and to their distance?
#
# <details><summary>Solution</summary>
#
# All are better, and the distance vanishes. In a pilot with five labels of each class and two seeds
# (validation nodes), the teacher had 71.3% with 4 x 4 pixels and 79.1% with 7 x 7; the taught perceptron 66.1
# and 79.6%; labels alone 57.0 and 69.6%. With 7 x 7 pixels the features contain what the edges show. But with
# five labels the teacher is not always better than labels alone, so look at several seeds.
#
# </details>
#
# **4. Is it distillation?** A colleague says that GLNN is pseudo-labelling. Which conditions of the record
# would you point to?
#
# <details><summary>Solution</summary>
#
# First choices alone gain 21.6 of 22.5 points, which supports the claim; so do the answers to labelled nodes,
# which gain nothing. Evidence against it comes from the 1.0 points that soft answers bring beyond first
# choices, and the 1.2 points that are lost when answers are shuffled within a first choice. Both intervals
# are above 0. So it is mostly pseudo-labelling; the soft answers add about one of the 22.5 points.
#
# </details>
#
# **5. Uniform by construction.** In LSP with a kernel between 0 and 1 and $d$ neighbours, how far can a node's structure be from the uniform one?
#
# <details><summary>Solution</summary>
#
# Scores lie between 0 and 1, so every share lies between $1/(1+(d-1)e)$ and $e/(e+d-1)$. With $d=5$ that is
# between 0.08 and 0.40, where the uniform share is 0.20. The divergence of two such distributions is small,
# and so is its gradient. This is why the record uses thousandths of a nat.
#
# </details>
#
# ## References
#
# The survey: Gou, Yu, Maybank and Tao, *Knowledge Distillation: A Survey*, IJCV 2021
# ([DOI](https://doi.org/10.1007/s11263-021-01453-z), [arXiv](https://arxiv.org/abs/2006.05525)).
#
# - Zhang, Liu, Sun and Shah, *Graph-less Neural Networks: Teaching Old MLPs New Tricks via Distillation*, ICLR 2022
#   ([arXiv](https://arxiv.org/abs/2110.08727)).
# - Yang, Qiu, Song, Tao and Wang, *Distilling Knowledge from Graph Convolutional Networks*, CVPR 2020
#   ([arXiv](https://arxiv.org/abs/2003.10477)).
# - Lassance, Bontonou, Hacene, Gripon, Tang and Ortega, *Deep Geometric Knowledge Distillation with Graphs*, ICASSP 2020
#   ([arXiv](https://arxiv.org/abs/1911.03080)).
# - Liu, Cao, Li, Yuan, Hu, Li and Duan, *Knowledge Distillation via Instance Relationship Graph*, CVPR 2019
#   ([open access](https://openaccess.thecvf.com/content_CVPR_2019/html/Liu_Knowledge_Distillation_via_Instance_Relationship_Graph_CVPR_2019_paper.html)).
# - Lee and Song, *Graph-based Knowledge Distillation by Multi-head Attention Network*, BMVC 2019
#   ([arXiv](https://arxiv.org/abs/1907.02226)).
# - Zhang and Peng, *Better and Faster: Knowledge Transfer from Multiple Self-supervised Learning Tasks via Graph Distillation for Video
#   Classification*, IJCAI 2018 ([arXiv](https://arxiv.org/abs/1804.10069)).
# - Kipf and Welling, *Semi-Supervised Classification with Graph Convolutional Networks*, ICLR 2017
#   ([arXiv](https://arxiv.org/abs/1609.02907)); Hamilton, Ying and Leskovec, *Inductive Representation Learning on Large Graphs*, NeurIPS 2017
#   ([arXiv](https://arxiv.org/abs/1706.02216)).
# - Zhou, Bousquet, Lal, Weston and Schölkopf, *Learning with Local and Global Consistency*, NeurIPS 2003.
# - Sen, Namata, Bilgic, Getoor, Gallagher and Eliassi-Rad, *Collective Classification in Network Data*, AI Magazine 2008
#   ([DOI](https://doi.org/10.1609/aimag.v29i3.2157)); Shchur, Mumme, Bojchevski and Günnemann, *Pitfalls of Graph Neural Network Evaluation*, 2018
#   ([arXiv](https://arxiv.org/abs/1811.05868)).
#
# ## How to cite
#
# The next cell prints the paper, the survey and this workbook in BibTeX, with our recorded results.
# `kdnb cite zhang2022glnn` does the same, also in other formats.

# %%
print(papers.cite("zhang2022glnn", "laptop", "beats-mlp"))

# %% [markdown]
# <details><summary><b>Protocol notes and departures</b></summary>
#
# - **Why a graph of images.** Cora, Citeseer and Pubmed state no licence (their authors ask to be cited), so
#   they are not part of this workbook, and a chapter must run without a connection. The record has all three.
#   MNIST: CC BY-SA 3.0. Licences and sources are in the cards of [`data/`](../data/README.md).
# - **Setting of the live part.** It was chosen in pilots by the premise that the teacher is better than
#   labels alone by 5 points, on training images of MNIST with seeds from 100 on, scored on nodes set apart as
#   validation; these images may occur in the graphs of this chapter, too. The first had 2,000 nodes and two
#   seeds, and compared 7 x 7 pixels with 5 labels of a class, and 4 x 4 pixels with 5, 10 and 20 (teacher
#   79.1, 71.3, 77.5, 83.5%; labels alone 69.6, 57.0, 63.3, 69.7%; taught 79.6, 66.1, 69.9, 74.5%). The second
#   had 1,500 nodes of 7 x 7 pixels, 5 labels, 64 hidden units and three seeds: teacher 74.8, labels alone
#   65.7, taught 75.9, answers to labelled nodes 67.3, first choices 75.4, shuffled 75.2, label propagation
#   73.9 and its student 74.4, rewired 31.1 and its student 47.9, taught by itself 65.8. To save time we then
#   took 1,200 such nodes, and ran the chapter's experiment: the premise was not met (teacher 72.6% of the
#   test nodes, labels alone 68.3, taught 72.6). With 2,000 nodes the teacher was worse than labels alone in
#   one of six seeds. So we chose 4 x 4 pixels and 10 labels of a class, where the teacher was better in all
#   six seeds (75.6 and 63.1% of the validation nodes). In the first three of these pilots we saw outcomes of
#   the taught perceptron, so the effects are examples, not estimates of how often they occur.
# - **What the intervals cover.** Images, labels, new nodes and initial weights. Tables with several conditions are not corrected for their number.
# - **Relatives.** GKD's published weight of 25 is for other networks. A pilot of 200 images and two seeds
#   used 3,000 held-out training images: errors of labels alone 15.2%, soft targets 12.3, GKD 10.5, GKD with
#   five neighbours 13.2, GKD with an untrained teacher 22.3, IRG 14.0. It was used only to choose the form of
#   IRG's weight: at weight 1 its loss is not finite. Zhang and Peng have teachers of self-supervised tasks on
#   videos; here both teachers are classifiers of digits.
# - **Departures of the record.** The last of 200 steps instead of the epoch with the best validation score; a
#   step on all nodes; all neighbours instead of five drawn ones; in the authors' graph every node is its own
#   neighbour twice. All are in [`setting.md`](../papers/zhang2022glnn/setting.md).
# - **Not recorded here.** The relatives have no records, except for LSP's divergence. The docstrings list
#   under *Departures* what is recalled of a paper and not confirmed.
#
# </details>
