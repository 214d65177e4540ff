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
#     - bashivan2019tgsa
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5.9 NAS-based distillation
#
# In every other chapter the student's architecture is chosen by hand. Here it is searched for: *neural architecture
# search* (NAS) trains many small networks and keeps the best. A teacher can help in four ways: it can be the search
# space, it can grade candidates early, it can supervise parts of them, or its answers can decide which channels stay.
# You see each of these on small images of clothes. Every search is compared with random search at the same cost: as
# many trained networks, or as many training steps.
#
# The chapter belongs to section 5.9 of the survey
# ([Gou et al. 2021](https://doi.org/10.1007/s11263-021-01453-z), [arXiv](https://arxiv.org/abs/2006.05525)).
# Its main papers are *N2N Learning* ([Ashok et al. 2018](https://arxiv.org/abs/1709.06030)), whose loop is written out below, and *Teacher Guided
# Architecture Search* ([Bashivan et al. 2019](https://arxiv.org/abs/1808.01405)), which has the record. Their relatives follow, with links at the end.
#
# **Before you start:** soft targets ([chapter 2.1](2-1-response-based-knowledge.ipynb)) and architectures
# ([chapter 4](4-teacher-student-architecture.ipynb)).
# **Time:** about two minutes on two free CPU cores, several when they are busy.
#
# The next cell holds every parameter of the live part. Change them here, or by
# `kdnb run 5-9 --set epochs=10`.

# %% tags=["parameters"]
images = 1000  # labelled training images of students and candidates
teacher_images = 4000  # training images of the teacher, including those of the students
side = 14  # height and width of an image in pixels: 7, 14 or 28
epochs = 6  # epochs of a full training
short = 3  # epochs of a student that N2N grades
policies = 10  # repetitions of each search of N2N
candidates = 12  # networks that TGSA grades
walks = 12  # networks on which DNA's ratings are tested
seeds = 3  # repetitions of guided search
width_seeds = 8  # repetitions of the search for widths

# %%
import copy
from itertools import combinations, product

import matplotlib.pyplot as plt
import pandas as pd
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

import kdnb
from kdnb import data, figures, losses, papers, workbook
from kdnb.methods import nas
from kdnb.methods.architecture import multiply_adds, parameters
from kdnb.methods.nas import Layer
from kdnb.workbook.chapter import show_verdicts

workbook.check(
    globals(),
    images=(200, 10000),
    teacher_images=(500, 30000),
    side={7, 14, 28},
    epochs=(2, 100),
    short=(1, 50),
    policies=(2, 100),
    candidates=(4, 100),
    walks=(4, 81),
    seeds=(2, 20),
    width_seeds=(2, 20),
)
figures.use()

# %% [markdown]
# ## The idea
#
# The usual search is a loop: choose an architecture, train it, grade it, choose again. The training is the expensive
# part. The first method, N2N, uses the teacher as the *search space*: a student is the teacher with some layers removed
# and the others made thinner. A small recurrent network, the *policy*, reads the teacher's layers one by one and
# decides for each whether it stays; a second policy decides how thin it becomes. The resulting student is distilled for
# a short time, and its reward, which is high for a small and accurate network, trains the policy.

# %%
scheme = figures.schematic(
    {
        "space": ("layers of the teacher", 0, 0, "teacher"),
        "policy": ("policy", 1, 0, "method"),
        "student": ("smaller student", 2, 0, "student"),
        "teacher": ("teacher's answers", 3, 0, "teacher"),
        "reward": ("reward: accuracy, size", 2, 1, "method"),
    },
    [("space", "policy"), ("policy", "student", "keep or remove"), ("teacher", "student", "distilled"),
     ("student", "reward"), ("reward", "policy", "policy gradient", "--")],
)  # fmt: skip
figures.save(
    scheme,
    "5-9-idea",
    alt="The policy reads the layers of the teacher and removes some, which gives a smaller student. The student is distilled and "
    "rewarded for its accuracy and size. The reward trains the policy.",
    caption="In N2N the teacher (blue) is the search space, and it also teaches every student (orange) that the policy (green) proposes.",
)

# %% [markdown]
# ## The mathematics
#
# Symbols are those of [the workbook's notation](../docs/notation.md). A policy $\pi_\phi$ draws a choice
# $a=(a_1,\dots,a_L)$, with 1 for each of the teacher's $L$ layers that stays and 0 for the others. With the numbers of
# parameters $n_S$, $n_T$ and the accuracies $A_S$, $A_T$ of student and teacher, the reward and the gradient that
# trains the policy (REINFORCE) are
#
# $$R(a)=C(2-C)\,\frac{A_S}{A_T},\quad C=1-\frac{n_S}{n_T},\qquad\qquad
#   \nabla_\phi\,\mathrm E[R]=\mathrm E\big[(R(a)-b)\,\nabla_\phi\log\pi_\phi(a)\big].$$
#
# The baseline $b$ is the mean of earlier rewards; in the first round, where there are none, it is the mean of that
# round. The second method, TGSA, compares *representations* by their dissimilarity matrices. We take, for $n$ probe
# images with features $f_1,\dots,f_n$ of a layer and Pearson's correlation $\rho$,
#
# $$\mathrm{RDM}_{ij}=1-\rho(f_i,f_j),\qquad \mathrm{TG}=\rho\big(\mathrm{RDM}^S_{i<j},\ \mathrm{RDM}^T_{i<j}\big).$$
#
# RDM means *representational dissimilarity matrix*. Two networks have a high TG when the same images look alike to both. Five facts follow.
#
# 1. *Removing the last parameters earns nothing.* The factor $C(2-C)$ has the slope $2-2C$: 2 for the first parameters
#   removed, 0 for the last.
# 2. *The baseline does not matter on average.* $\mathrm E[\nabla\log\pi]=0$, so any $b$ that does not depend on $a$
#    leaves the gradient as it is in expectation. It changes the noise. (In the first round our $b$ does depend on it;
#    with five choices this shrinks the gradient by the factor 4/5 on average.)
# 3. *An RDM forgets what a network's features mean.* The order of features does not matter, nor do the offset and the
#    (positive) scale of an image's features. The matrix is $n\times n$, however many features there are. So any two
#    networks can be compared, whatever their shapes.
# 4. *Random search has an exact value.* If the grades of all $N$ choices are known, in rising order $s_{(1)},\dots,s_{(N)}$, the best of $m$
#    different random ones is on average $\sum_k s_{(k)}\binom{k-1}{m-1}/\binom Nm$.
# 5. *Independent pieces are chosen one by one.* If a network's error is a sum over blocks, the best network is that of the best blocks: for
#    two blocks of 9 candidates 18 errors decide among 81 networks.
#
# The next cell checks all five.

# %%
generator = torch.Generator().manual_seed(0)
C = torch.linspace(0, 1, 5, dtype=torch.float64, requires_grad=True)
slope = torch.autograd.grad(losses.compression_reward(torch.ones(5), C, 1.0).sum(), C)[0]
torch.testing.assert_close(slope, 2 - 2 * C.detach())  # fact 1

scores = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)
R, logs = torch.rand(4, generator=generator, dtype=torch.float64), scores.log_softmax(0)
for b in (0.0, 5.0):  # the mean over all choices, weighted by their probabilities
    parts = [p * torch.autograd.grad(losses.policy_gradient(logs[i : i + 1], R[i : i + 1], b), scores, retain_graph=True)[0]
             for i, p in enumerate(logs.detach().exp())]  # fmt: skip
    torch.testing.assert_close(-sum(parts), torch.autograd.grad((logs.exp() * R).sum(), scores, retain_graph=True)[0])  # fact 2

f, g = torch.randn(2, 20, 6, generator=generator)
moved = torch.rand(20, 1, generator=generator) * f[:, [3, 0, 5, 1, 4, 2]] + 7
torch.testing.assert_close(losses.representation_similarity(moved, g), losses.representation_similarity(f, g))  # fact 3

known = torch.rand(50, generator=generator).tolist()
drawn = [max(known[i] for i in torch.randperm(50, generator=generator)[:5]) for _ in range(4000)]
assert abs(nas.expected_best(known, 5) - sum(drawn) / 4000) < 0.01  # fact 4

errors = torch.rand(2, 9, generator=generator)
both = (errors[0][:, None] + errors[1]).flatten().argmin()
assert (int(both) // 9, int(both) % 9) == tuple(errors.argmin(1).tolist())  # fact 5
print("reward, policy gradient, representations, random search and blocks agree with the formulas")

# %% [markdown]
# ## Images, a teacher, and how networks are written down
#
# The data are Fashion-MNIST, shrunk to 14 x 14 pixels so that hundreds of networks can be trained. An architecture is a
# tuple of `Layer`s, convolutions with a ReLU: channels, kernel size, the size of the max-pooling behind it (1 for
# none), and whether there is batch normalisation. `nas.build` turns it into a network, which ends with the mean over
# all places and a linear classifier. `nas.spelt` writes it as text: `16@5x5 plain pool2` has 16 channels, a kernel of 5
# x 5, no batch normalisation (`plain`) and pooling by 2. The teacher has five layers and learns from 4,000 images; its
# students learn from 1,000 of them.
#
# There are two recipes. A full training (`plan`) has 6 epochs; the short one (`brief`), for students that are only
# graded, has 3, in smaller batches and with a higher rate. So both take 96 steps; the short one sees half as many
# images.

# %% tags=["nbval-ignore-output"]
source = data.load("fashion_mnist")
FIRST_SEED = 5900  # no pilot uses these seeds


def shrunk_images(chosen):
    """Shrink and normalise images; return them with their labels."""
    pixels = F.avg_pool2d(chosen.images.float() / 255, 28 // side)
    return (pixels - 0.286) / 0.33, chosen.labels


order = torch.randperm(len(source.train), generator=torch.Generator().manual_seed(FIRST_SEED))
seen, taught = (shrunk_images(source.train.select(order[:count])) for count in (images, max(images, teacher_images)))
held_out = shrunk_images(source.validation.select(slice(1500)))  # for grades; the test set is only for final accuracies
test = shrunk_images(source.test.select(slice(4000)))
plan = kdnb.Recipe(epochs=epochs, batch_size=64, optimiser="adam", lr=0.01, precision="32")
brief = plan.model_copy(update={"epochs": short, "lr": 0.02, "batch_size": 32})  # for students that are only graded


def percent(network, on=test):
    return 100 * float(kdnb.evaluate(network, on).accuracy)


SHAPE = (Layer(8, pool=2), Layer(12), Layer(16), Layer(20, pool=2), Layer(24))
teacher = nas.build(SHAPE, FIRST_SEED)
kdnb.train(teacher, taught, plan)
print(f"the teacher: {nas.spelt(SHAPE)}; {parameters(teacher)} parameters, right on {percent(teacher):.1f}% of the test images")

# %% [markdown]
# ## N2N as a training loop
#
# Here is the first stage of N2N in plain PyTorch: the policy, and the loop in which it learns. A *budget* counts
# trained students. A choice that is repeated is not trained again and costs nothing. The policy's size and the five
# choices per round are those of the [authors' code](https://github.com/anubhavashok/N2N), and the baseline is close to
# its running mean of rewards. We give each choice its own reward; that code gives all choices of a round the same
# (exercise 2).


# %%
class Policy(nn.Module):
    """Read the layers in both directions, and decide for each whether it stays."""

    def __init__(self, hidden=30):
        super().__init__()
        self.lstm = nn.LSTM(5, hidden, 2, bidirectional=True)
        self.decide = nn.Linear(2 * hidden, 2)

    def forward(self, layers, count, generator):
        logs = self.decide(self.lstm(layers)[0]).log_softmax(1)
        drawn = torch.multinomial(logs.exp(), count, replacement=True, generator=generator).T
        return drawn, logs.expand(count, -1, -1).gather(2, drawn[:, :, None])[:, :, 0].sum(1)


def n2n(policy, layers, reward, budget, lr, rounds=100, samples=5, seed=0):
    optimiser = torch.optim.Adam(policy.parameters(), lr=lr)
    generator = torch.Generator().manual_seed(seed)
    tried, means = {}, []
    for _ in range(rounds):
        drawn, logs = policy(layers, samples, generator)
        choices = [tuple(keep) for keep in drawn.tolist()]
        for keep in choices:
            if keep not in tried and len(tried) < budget:
                tried[keep] = reward(keep)  # trains a student
        if not all(keep in tried for keep in choices):
            break  # the budget is spent
        R = torch.tensor([tried[keep] for keep in choices])
        b = sum(means) / len(means) if means else R.mean()
        means.append(R.mean().item())
        optimiser.zero_grad()
        (-((R - b) * logs).mean()).backward()  # towards choices with higher rewards
        optimiser.step()
    return tried


# %% [markdown]
# Five layers have $2^5=32$ choices, few enough to grade them all: 31 students are distilled, with squared differences
# of the logits and with labels, and the choice without any layer gets the reward $-1$, as in the authors' code. Then
# every search can be repeated for free, and compared with the best choice of the table.

# %%
worth = nas.reward_of(teacher, seen, held_out, brief, seed=0)
table = {keep: worth(nas.removed(SHAPE, keep)) for keep in product((0, 1), repeat=len(SHAPE))}
best = max(table, key=table.get)

# %% tags=["nbval-ignore-output"]
print(f"the best of {len(table)} choices: layers {[n + 1 for n, kept in enumerate(best) if kept]} stay, reward {table[best]:.3f}; "
      f"mean reward {pd.Series(table).mean():.3f}")  # fmt: skip
torch.manual_seed(0)
ours = Policy()
theirs = copy.deepcopy(ours)
layers = nas.described(SHAPE)
by_loop = n2n(ours, layers, table.get, budget=16, lr=0.02)
for count, reward in enumerate(pd.Series(list(by_loop.values())).cummax(), 1):
    if count in (1, 5, 10, len(by_loop)):
        print(f"best reward after {count} students: {reward:.3f}; random search: {nas.expected_best(list(table.values()), count):.3f} on average")

# %% [markdown]
# In the package, `nas.reinforce` takes any policy, and `nas.compress` runs both stages.

# %%
log = nas.reinforce(theirs, layers, table.get, 16, lr=0.02)
assert log.choices == list(by_loop) and log.scores == list(by_loop.values())
torch.testing.assert_close(theirs.decide.weight, ours.decide.weight)
print("the loop above and nas.reinforce try the same students")

# %% [markdown]
# ### The experiment: is the policy better than random search?
#
# Each search is repeated with new policies, with the learning rate of the authors' code for this stage (0.003) and with
# a larger one. The control draws students at random, none twice. Its mean is exact (fact 4).

# %%
BUDGET, RATES = 20, {"policy, rate 0.003": 0.003, "policy, rate 0.02": 0.02}
rows = []
for name, rate in RATES.items():
    for seed in range(policies):
        torch.manual_seed(seed)
        found = nas.reinforce(nas.RemovalPolicy(), layers, table.get, BUDGET, lr=rate, seed=seed)
        curve = found.best_so_far + [found.best_score] * (BUDGET - len(found.scores))  # a search may stop earlier
        rows += [{"condition": name, "seed": seed, "students": n, "reward": r, "trained": len(found.scores)} for n, r in enumerate(curve, 1)]
searches = pd.DataFrame(rows)
exact = [nas.expected_best(list(table.values()), n) for n in range(1, BUDGET + 1)]

# %% tags=["nbval-ignore-output"]
figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 4), layout="constrained")
sizes = [parameters(nas.build(nas.removed(SHAPE, keep), 0)) if any(keep) else 0 for keep in table]
left.scatter([s for s in sizes if s], [r for s, r in zip(sizes, table.values(), strict=True) if s], color=figures.ORANGE)
left.scatter(parameters(nas.build(nas.removed(SHAPE, best), 0)), table[best], s=120, facecolors="none", edgecolors=figures.GREEN, linewidths=2)
left.set(xlabel="parameters of the student", ylabel="reward $R$", title="all students except the one without layers")
figures.lines(searches, "reward", "best reward so far", over="students", over_label="students trained", axes=right)
right.plot(range(1, BUDGET + 1), exact, color=figures.GREY, ls="--", label="random search, exact mean")
right.axhline(table[best], color=figures.LIGHT, zorder=0)
right.legend(loc="lower right")
gaps = {name: searches[(searches.condition == name) & (searches.students == 10)].reward - exact[9] for name in RATES}
figures.save(
    figure,
    "5-9-policies",
    alt="Left: rewards of all students against their parameters; students of medium size have the highest rewards. Right: best reward against students trained. The policies soon do no better than random search. "
    + " ".join(f"{name}: {gap.mean():+.3f} against random search after 10 students." for name, gap in gaps.items()),
    caption="After 10 students, policies have found no better students than random search (right, dashed). Differences from random search: "
    + "; ".join(f"{name} {gap.mean():+.3f} ({figures.interval(gap)[0]:+.3f} to {figures.interval(gap)[1]:+.3f})" for name, gap in gaps.items())
    + f". Lines show the mean and 95% interval over {policies} policies. The circle (left) and the grey line (right) mark the best student of the whole search space.",
)  # fmt: skip
for name in RATES:
    trained = searches[searches.condition == name].groupby("seed").trained.first()
    hit = searches[(searches.condition == name) & (searches.students == BUDGET)].reward >= table[best]
    print(f"{name}: {trained.mean():.1f} students trained on average; {hit.sum()} of {policies} policies found the best one")

# %% [markdown]
# **What the numbers say.** The best students have about 3,000 to 5,000 parameters. Down to 1,000 parameters the
# reward falls little, since a smaller student gains in the factor for size what it loses in accuracy; below that it
# loses too much accuracy. Above 5,000 the factor for size falls, to 0 for the whole teacher. The policies find good
# students no sooner than random search: after 10 students the policy with rate 0.003 is 0.002 behind it ($-0.016$ to
# 0.012), the one with rate 0.02 is 0.001 behind ($-0.015$ to 0.013). With 20 students, 7 and 6 of 10 policies have
# found the best one; random search does so with probability $20/32=0.63$. A likely reason is the budget. Twenty
# students make four rounds of five, or a few more since repeated choices cost nothing: hardly enough steps for a
# policy to learn. Twenty of 32 choices are also most of the space. The authors' code takes 100 rounds. So this
# experiment does not show that N2N fails on large spaces; it shows that a search on a small space needs this control.
#
# ### Both stages
#
# The second stage makes the remaining layers thinner. Its policy reads the layers in order, together with its previous
# decision, and chooses what share of its channels each layer keeps: 0.25, 0.5, 0.75 or 1. The budget of each stage is 8
# students; students of the first stage are taken from the table. The next cell checks that the second stage trains no
# more than 8.

# %%
rewards = {nas.removed(SHAPE, keep): r for keep, r in table.items()}


def remembered(architecture):
    if architecture not in rewards:
        rewards[architecture] = worth(architecture)
    return rewards[architecture]


before = len(rewards)
found = nas.compress(SHAPE, remembered, removal_budget=8, shrinkage_budget=8, lr=0.02, seed=0)
print("the second stage trained at most 8 students:", len(rewards) - before <= 8)

# %% tags=["nbval-ignore-output"]
shorter = nas.removed(SHAPE, found.removal.best)
rival = nas.random_search(
    lambda g: nas.shrunk(shorter, [nas.RATIOS[i] for i in torch.randint(len(nas.RATIOS), (len(shorter),), generator=g)]),
    remembered, 8,
)  # fmt: skip
print(f"after the first stage: {nas.spelt(shorter)}, reward {found.removal.best_score:.3f}; "
      f"random search with 8 students: {nas.expected_best(list(table.values()), 8):.3f} on average")  # fmt: skip
print(f"after the second stage: {nas.spelt(found.architecture)}, reward {found.reward:.3f}")
print(f"random ratios instead of the second stage: {nas.spelt(rival.best)}, reward {rival.best_score:.3f}")
for name, architecture in {"N2N": found.architecture, "random ratios": rival.best, "all layers of the teacher": SHAPE}.items():
    student = nas.build(architecture, FIRST_SEED)
    kdnb.distil(student, teacher, seen, plan, method="logit_regression", weight=1.0)
    print(f"fully distilled, {name}: {parameters(student)} parameters, right on {percent(student):.1f}% of the test images")

# %% [markdown]
# In neither stage is the policy clearly better than random search at the same cost. Eight students of the first stage
# reach a reward of 0.475, eight random ones 0.483 on average. The second stage adds little (0.481); the best of eight
# random ratios leaves the layers as they were (0.475). This is one run of each. Fully distilled, the student of N2N
# reaches 36.9% of the test images, that of the random ratios 34.4%. The student of N2N has 12% of the parameters of
# the teacher. The teacher's own architecture, distilled in the same way on the same 1,000 images, reaches 70.7%. A
# reward that puts so much weight on size costs accuracy.
#
# ### Explorer: what a choice is worth
#
# Select one of eight choices of layers that stay. The bars show what the reward is made of: how much of the teacher's
# accuracy the student keeps after its short training, and the factor for its size. The reward is their product.

# %% tags=["nbval-ignore-output"]
shown = sorted((keep for keep in table if any(keep) and not all(keep)), key=table.get, reverse=True)[::4]
names = {"layers " + " ".join(str(n + 1) for n, kept in enumerate(keep) if kept): keep for keep in shown}


def show_choice(stay):
    keep = names[stay]
    C = 1 - parameters(nas.build(nas.removed(SHAPE, keep), 0)) / parameters(teacher)
    factor = C * (2 - C)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.4), layout="constrained")
    bars = {"accuracy kept,\n$A_S/A_T$": table[keep] / factor, "factor for size,\n$C(2-C)$": factor, "reward $R$": table[keep]}
    left.bar(list(bars), list(bars.values()), color=[figures.ORANGE, figures.SKY, figures.GREEN])
    left.set(ylim=(0, 1.1), title=nas.spelt(nas.removed(SHAPE, keep)))
    right.scatter(sizes, list(table.values()), color=figures.LIGHT)
    right.scatter(parameters(nas.build(nas.removed(SHAPE, keep), 0)), table[keep], color=figures.GREEN, s=90)
    right.set(xlabel="parameters", ylabel="reward $R$", ylim=(0, 1.1), title="among all students")
    return figure


figures.explorer(
    show_choice,
    name="5-9-explorer",
    alt="The reward of a student as the product of the accuracy that it keeps and a factor for its size, and its place among all students. Students of medium size have the highest rewards",
    caption="Each student is the teacher without some of its layers. The list goes from high to low rewards; grey points are all students.",
    stay=list(names),
)

# %% [markdown]
# ## TGSA: a teacher grades candidates early
#
# The reward above needs a student that has been trained for a while. *Teacher guided architecture search* asks how to
# grade a candidate that has hardly been trained. Its answer: check whether the same images look alike to it and to
# a good network. `nas.representations` gives a network's features of probe images, `nas.teacher_guidance` the
# similarity TG. Candidates are drawn from a space of chains of one to four layers, of at most 400,000 multiply-adds.
# Each is trained on labels, and graded before training and after one epoch. The probes are held out: on training
# images, two networks could be alike because both have memorised the labels.

# %%
space = nas.Space(depths=(1, 2, 3, 4), channels=(4, 8, 16), kernels=(1, 3, 5), pools=(1, 2), norms=(True, False))
probes = held_out[0][:300]
guide = nas.representations(teacher, probes)
image = probes[0]


def affordable(architecture):
    return multiply_adds(nas.build(architecture, 0), image) <= 400_000


grades, kept_networks = [], {}
for number, architecture in enumerate(nas.draw_distinct(space.draw, candidates, FIRST_SEED, affordable)):
    network = nas.build(architecture, FIRST_SEED + number)
    row = {"architecture": nas.spelt(architecture), "parameters": parameters(network)}
    row["TG before training"] = nas.teacher_guidance(nas.representations(network, probes), guide)
    kdnb.train(network, seen, plan.model_copy(update={"epochs": 1}), seed=number)
    row["TG after one epoch"] = nas.teacher_guidance(nas.representations(network, probes), guide)
    row["accuracy after one epoch"] = percent(network, held_out)
    kdnb.train(network, seen, plan, seed=number)
    grades.append(row | {"final accuracy": percent(network)})
    kept_networks[row["architecture"]] = network
grades = pd.DataFrame(grades).set_index("architecture").sort_values("final accuracy", ascending=False)

# %% tags=["nbval-ignore-output"]
predictors = ["TG before training", "TG after one epoch", "accuracy after one epoch", "parameters"]
ranks = {name: stats.spearmanr(grades[name], grades["final accuracy"]).statistic for name in predictors}
figure, panels = plt.subplots(1, 3, figsize=(10.6, 3.6), layout="constrained", sharey=True)
for axes, name in zip(panels, predictors, strict=False):
    axes.scatter(grades[name], grades["final accuracy"], color=figures.GREEN if "TG" in name else figures.ORANGE)
    axes.set(xlabel=name + (", %" if "accuracy" in name else ""), title=f"rank correlation {ranks[name]:.2f}")
panels[0].set_ylabel("final accuracy, %")
figures.save(
    figure,
    "5-9-early",
    alt=f"Final accuracy of {candidates} candidates against early grades. TG after one epoch ranks them better than accuracy does. Rank correlations: " + ", ".join(f"{name} {r:.2f}" for name, r in ranks.items()) + ".",
    caption=f"In this draw of {candidates} random networks, TG after one epoch predicts the final accuracy better than early accuracy does. Rank correlations with the final accuracy: "
    + ", ".join(f"{name} {r:.2f}" for name, r in ranks.items()) + ". One seed.",
)  # fmt: skip
figures.table(grades, decimals={name: 2 if "TG" in name else 1 for name in grades if name != "parameters"},
              caption="The candidates, sorted by their final accuracy. Accuracies are in percent.")  # fmt: skip

# %% [markdown]
# After one epoch, that is, 16 steps, TG has a rank correlation of 0.78 with the final accuracy, and early accuracy
# 0.44; before training TG has 0.19. After this epoch ten of twelve candidates classify only 5 to 20% of the held-out
# images correctly (chance is 10%), and among these ten the early accuracy says little about the final one. But the
# number of parameters has a rank correlation of 0.71, without any training. This is one draw of twelve networks. The
# [record](#The-reproduction:-Bashivan-et-al.-2019) has ten draws of sixteen; there TG and accuracy are much closer.
#
# The next figure shows what is compared: which of 60 held-out images look alike to the teacher, to the best candidate and to the worst, after a full training. A dark square on the diagonal is a class whose images look
# alike. The teacher has one for most classes. The best candidate has dark squares beside the diagonal as well: images of some different classes look alike to it. To the worst candidate nearly all images look alike.

# %% tags=["nbval-ignore-output"]
sorted_probes = held_out[0][:60][held_out[1][:60].argsort(stable=True)]
compared = {"the teacher": teacher, "the best candidate": kept_networks[grades.index[0]], "the worst candidate": kept_networks[grades.index[-1]]}
looks = {name: nas.representations(network, sorted_probes) for name, network in compared.items()}
figure, panels = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
for axes, (name, look) in zip(panels, looks.items(), strict=True):
    drawn = axes.imshow(losses.dissimilarity_matrix(look["embedding"][0]), cmap="viridis", vmin=0, vmax=2)
    axes.set(title=name, xticks=[], yticks=[], xlabel="60 held-out images, sorted by class")
figure.colorbar(drawn, ax=panels, label="dissimilarity")
alike = {name: nas.teacher_guidance(look, looks["the teacher"]) for name, look in looks.items()}
figures.save(
    figure,
    "5-9-rdm",
    alt="Dissimilarity matrices of the teacher, the best and the worst candidate. To the worst candidate nearly all images look alike. Similarity of both candidates to the teacher: "
    f"{alike['the best candidate']:.2f} and {alike['the worst candidate']:.2f}.",
    caption="After training, the best candidate's representational dissimilarity matrix is much more similar to the teacher's than the worst one's. TG on these images: best candidate "
    f"{alike['the best candidate']:.2f}, worst candidate {alike['the worst candidate']:.2f}.",
)  # fmt: skip

# %% [markdown]
# ### A search that is guided
#
# A progressive search grows networks layer by layer: it grades every network of one layer, keeps the best, grades its
# extensions by one layer, and so on. `nas.guided_search` does this with any grade; `nas.early_grade` is the accuracy
# after a short training plus TG (we could not check whether the paper combines them in this way). The controls are the
# same search by accuracy alone, and random search. All train 12 networks for one epoch, and then the winner in full.

# %%
CHOICES = [Layer(4, pool=2), Layer(8, 1), Layer(16, 3, pool=2), Layer(8, 5)]
one = plan.model_copy(update={"epochs": 1})
outcomes = []
for seed in range(seeds):

    def make(architecture, seed=seed):
        return nas.build(architecture, 100 * FIRST_SEED + seed)

    def graded(weight, seed=seed, make=make):
        return nas.early_grade(make, teacher, seen, held_out, probes, one, weight=weight, seed=seed)

    def anything(generator):
        depth = int(torch.randint(1, 4, (1,), generator=generator))
        return tuple(CHOICES[i] for i in torch.randint(4, (depth,), generator=generator))

    found = {
        "guided by accuracy and TG": nas.guided_search(CHOICES, graded(1.0), steps=3, beam=1),
        "guided by accuracy": nas.guided_search(CHOICES, graded(0.0), steps=3, beam=1),
        "random search by accuracy": nas.random_search(anything, graded(0.0), 12, seed=seed),
    }
    for name, search in found.items():
        winner = make(search.best)
        kdnb.train(winner, seen, plan, seed=seed)
        outcomes.append({"search": name, "seed": seed, "networks": len(search.choices), "accuracy": percent(winner)})
outcomes = pd.DataFrame(outcomes)
print("every search trained 12 networks:", bool((outcomes.networks == 12).all()))

# %% tags=["nbval-ignore-output"]
wide = outcomes.pivot(index="seed", columns="search", values="accuracy")
control = wide["random search by accuracy"]
figures.table(
    pd.DataFrame({"final accuracy, %": wide.mean(), "difference from random search": (wide.sub(control, axis=0)).mean(),
                  "from": {n: figures.interval(wide[n] - control)[0] for n in wide}, "to": {n: figures.interval(wide[n] - control)[1] for n in wide}}),
    decimals=1, caption=f"The winner of each search after a full training. Means of {seeds} seeds, and paired differences in points with 95% intervals.",
)  # fmt: skip

# %% [markdown]
# Grown layer by layer and graded by accuracy and TG, the winner ends at 71.3%, which is 15.7 points above that of
# random search (9.6 to 21.8). By accuracy alone the same search reaches 70.7% (15.2 points above; 7.6 below to 37.9
# above). So on average most of the gain comes from the progressive search, and three seeds cannot show what TG adds.
#
# ## The relatives
#
# They differ in what the teacher does during the search, and in which network is the teacher. Open a method for its
# idea, and for its formula if it has one of its own.
#
# <details><summary><b>DNA</b>: the teacher supervises blocks</summary>
#
# [Li et al. (2020)](https://arxiv.org/abs/1911.13053) cut teacher and search space into blocks. A *supernet* holds all
# candidates for block $i$, which share weights; each step trains one path through it, drawn at random. It gets the
# teacher's maps $Y_{i-1}$ in front of the block and learns the maps $Y_i$ behind it, by mean squared differences:
#
# $$\min_{W_i}\ \frac1K\big\lVert Y_i-\hat Y_i(W_i,A_i;\,Y_{i-1})\big\rVert_2^2,\qquad
#   \text{rating of a path: }\ \frac{\lVert Y_i-\hat Y_i\rVert_1}{K\,\sigma(Y_i)},$$
#
# with $K$ the number of entries of the maps and $\sigma(Y_i)$ their standard deviation, which makes errors of different
# blocks comparable (we use this rating).
#
# *What sets it apart:* blocks learn independently of one another, as each is given the teacher's maps and not those of
# its predecessor. So few candidates share weights, all of them can be rated, and by fact 5 the best network is easy to
# find. No label is read. `nas.cut`, `nas.SuperBlock`, `nas.supervise_block`, `nas.rate_paths`, `nas.choose`.
#
# </details>
#
# <details><summary><b>Gu and Tresp</b>: widths by gradient descent</summary>
#
# [Gu and Tresp (2020)](https://arxiv.org/abs/2001.11612) choose a part of the teacher's own graph as the student, by an
# L1 norm beside the divergence from the teacher's answers. Our version has a gate $\beta_{lc}$ for each channel $c$ of
# layer $l$, and a channel's cost $c_l$ in parameters:
#
# $$L=H(\mathbf 1_y,q)+T^2\,\mathrm{KL}(p\,\|\,q)+\gamma\,\frac{\sum_l c_l\lVert\beta_l\rVert_1}{\sum_l c_lC_l}.$$
#
# *What sets it apart:* one training of weights and gates is the whole search. No other search here trains so few
# networks. `nas.search_widths`, `nas.narrowed`.
#
# </details>
#
# <details><summary><b>AKD</b>: the reward is the distilled accuracy</summary>
#
# [Liu et al. (2020)](https://arxiv.org/abs/1911.09074) argue that the best student depends on the teacher, and that the
# best architecture for labels is not the best one for distillation. So a search by reinforcement learning is rewarded
# for the accuracy *under distillation*, together with the latency. *What sets it apart:* the search looks for a student
# that suits this teacher. N2N's reward above does so, too, with size instead of latency.
#
# </details>
#
# <details><summary><b>Oracle distillation</b>: the teacher is whoever is right</summary>
#
# [Kang et al. (2020)](https://arxiv.org/abs/1911.13019) have an ensemble as the teacher, and a search that adds
# operations to the student. For each sample they average the members that are right, or all if none is:
#
# $$\bar p(x)=\frac{\sum_m u_m(x)\,p_m(x)}{\sum_m u_m(x)},\qquad u_m(x)=1\ \text{if member $m$ is right about $x$, else }0.$$
#
# *What sets it apart:* this teacher is better than the mean of the ensemble, so it needs a student that can follow it.
# `losses.oracle_weights` ([chapter 5.2](5-2-multi-teacher.ipynb)).
#
# </details>
#
# <details><summary><b>Cream of the crop</b>: candidates teach one another</summary>
#
# [Peng et al. (2020)](https://arxiv.org/abs/2010.15821) need no external teacher. In a supernet, the paths that have
# done best so far teach the path that is being trained. *What sets it apart:* the board of these *prioritized paths*
# changes while the supernet learns, and its best path at the end is the result of the search.
#
# </details>
#
# <details><summary><b>AdaNAS</b>: the former ensemble teaches the next member</summary>
#
# [Macko et al. (2019)](https://arxiv.org/abs/1903.06236) build an ensemble of small networks, which are found one after
# the other. Each is taught by the ensemble of those before. *What sets it apart:* search, ensembles and born-again
# training ([chapter 3.3](3-3-self-distillation.ipynb)) in one loop.
#
# </details>

# %% [markdown]
# ### Three checks
#
# *DNA:* scaling the maps of teacher and student changes the squared error but not the rating. *Gates:* fully open gates
# cost 1, and the gradient of the cost does not depend on how open a gate is. *Oracle:* where some members are right,
# the others have no weight.

# %%
a, b = torch.randn(2, 4, 3, 5, 5, generator=generator)
torch.testing.assert_close(losses.block_distillation(10 * a, 10 * b), 100 * losses.block_distillation(a, b))
torch.testing.assert_close(losses.relative_block_error(10 * a, 10 * b), losses.relative_block_error(a, b))
gates = [torch.tensor([1.0, 1.0, 0.3], requires_grad=True), torch.ones(2, requires_grad=True)]
assert losses.gate_penalty([torch.ones(3), torch.ones(2)], (2.0, 5.0)) == 1
prices = torch.autograd.grad(losses.gate_penalty(gates, (2.0, 5.0)), gates)
torch.testing.assert_close(torch.cat(prices), torch.tensor([2.0, 2.0, 2.0, 5.0, 5.0]) / 16)
members = [torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 3.0]])]
assert losses.oracle_weights(members, torch.tensor([1])).flatten().tolist() == [0.0, 1.0]
print("block errors, gates and oracle weights agree with the formulas")

# %% [markdown]
# ### DNA: 18 candidates, 81 networks, two trainings
#
# The teacher is cut behind its second and its fourth layer. The candidates for each of these two blocks have two layers
# of the teacher's widths, with kernels of side 1, 3 or 5: nine paths. Two supernets are trained without labels. Do the
# sums of their ratings predict anything? To find out, we train some of the 81 networks, with the teacher's fifth layer
# behind both blocks, on their own: on labels, from new weights, with the short recipe. So is the network that DNA
# chooses among all 81.
#
# The control has the same cost: a supernet takes 96 steps, and so does one of these trainings. Instead of two
# supernets, random search trains two of these networks and keeps the one that is better on held-out images. Its
# expected result is exact: the mean over all pairs of them.

# %%
KERNELS = (1, 3, 5)


def operation(inputs, outputs, kernel, pool=1):
    return nas.ConvNet((Layer(outputs, kernel, pool),), in_channels=inputs).stage1


def super_block(channels, pools):
    """Two layers, each with a choice of kernels."""
    steps = zip(channels[:-1], channels[1:], pools, strict=True)
    return nas.SuperBlock([[operation(inputs, outputs, k, pool) for k in KERNELS] for inputs, outputs, pool in steps])


torch.manual_seed(FIRST_SEED)
parts = nas.cut(teacher, ["stage2", "stage4"], seen[0][:2])
blocks = [super_block((1, 8, 12), (2, 1)), super_block((12, 16, 20), (1, 2))]
fits = [nas.supervise_block(block, parts, place, seen[0], plan) for place, block in enumerate(blocks)]
ratings = [nas.rate_paths(block, parts, place, probes) for place, block in enumerate(blocks)]
chosen = nas.choose(blocks, ratings)
print("the errors of both blocks fell during training:", all(fit.history.block.iloc[-1] < fit.history.block.iloc[0] for fit in fits))

# %%
pairs = list(product(blocks[0].paths(), blocks[1].paths()))
drawn = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(FIRST_SEED))[:walks].tolist()


def trained_alone(first, second):
    """Train the network of two paths on its own; return its rating and its accuracies."""
    kernels = [KERNELS[i] for i in (*first, *second)]
    alone = tuple(Layer(c, k, p) for c, k, p in zip((8, 12, 16, 20), kernels, (2, 1, 1, 2), strict=True)) + SHAPE[4:]
    network = nas.build(alone, FIRST_SEED)
    kdnb.train(network, seen, brief)
    return {"kernels": kernels, "rating": ratings[0][first] + ratings[1][second], "parameters": parameters(network),
            "accuracy": percent(network, held_out), "test accuracy": percent(network)}  # fmt: skip


standing = pd.DataFrame([trained_alone(*pairs[i]) for i in drawn])
by_dna = trained_alone(*chosen)
by_chance = pd.Series([  # for every pair, the network that is better on held-out images
    max(two, key=lambda one: one["accuracy"])["test accuracy"] for two in combinations(standing.to_dict("records"), 2)
])  # fmt: skip

# %% tags=["nbval-ignore-output"]
agreement = -stats.spearmanr(standing.rating, standing.accuracy).statistic
by_size = stats.spearmanr(standing.parameters, standing.accuracy).statistic
figure, panels = plt.subplots(1, 2, figsize=(9.4, 3.8), layout="constrained")
for axes, place in zip(panels, (0, 1), strict=True):
    grid = pd.DataFrame([[ratings[place][i, j] for j in range(3)] for i in range(3)],
                        pd.Index(KERNELS, name="kernel of the first layer"), pd.Index(KERNELS, name="kernel of the second layer"))  # fmt: skip
    figures.heat(grid, "relative error", axes=axes, decimals=2)
    axes.set_title(f"block {place + 1}")
figures.save(
    figure,
    "5-9-blocks",
    alt="Relative errors of the nine paths of two blocks. Paths of 1x1 kernels alone have the largest errors. The smallest errors: " + " and ".join(f"{min(r.values()):.2f}" for r in ratings) + ".",
    caption=f"DNA chooses the path with the lowest relative error in each block, here the kernels {[KERNELS[i] for path in chosen for i in path]}. But the sums of errors do not rank {walks} networks trained "
    f"on their own: the rank correlation of low errors with high accuracy is {agreement:.2f}, that of parameters with accuracy {by_size:.2f}.",
)  # fmt: skip
figures.table(standing.sort_values("rating"), decimals={"rating": 2, "accuracy": 1, "test accuracy": 1},
              caption=f"{walks} of the 81 networks, sorted by rating, with accuracies on held-out and on test images in percent.")  # fmt: skip

# %% tags=["nbval-ignore-output"]
print(f"DNA's choice among all 81, with kernels {by_dna['kernels']}: right on {by_dna['test accuracy']:.1f}% of the test images")
print(f"random search that trains two networks: {by_chance.mean():.1f}% on average, from {by_chance.quantile(0.05):.1f} to {by_chance.quantile(0.95):.1f} in 90% of the pairs; "
      f"one network at random: {standing['test accuracy'].mean():.1f}%")  # fmt: skip

# %% [markdown]
# Within a block the ratings make sense: paths of 1x1 kernels alone are the worst, as they see neighbours only through
# pooling, and a larger kernel in the second layer nearly always has a lower error. In the first layer 5x5 is often no
# better than 3x3. The path of the teacher's own kernels, 3x3 twice, is not the best in either block. But the sums do
# *not* rank networks that are trained on their own: the rank correlation of low errors with high accuracy has the
# wrong sign ($-0.28$, twelve networks, one seed), and that of the parameters with accuracy is $-0.16$. Nor do the
# ratings beat random search at the same cost: the network that DNA chooses among all 81 reaches 68.0% of the test
# images, as many as one random network on average; random search that trains two reaches 69.0% (66.5 to 70.3% in 90%
# of the pairs). For its choice random search reads held-out labels, which DNA does not need. These networks differ by
# only 6 points (63.9 to 70.3%), after short trainings with one seed each, so there is little to rank. The rating
# measures how well a block imitates this teacher, not how well the network learns from 1,000 labels.
#
# ### Widths that are learnt
#
# A network with three layers of 16 channels and a gate on each channel is trained once, with the teacher and a penalty
# on gates. Then the channels with the smallest gates are removed until a third of the parameters is left. The search
# yields the widths, not the weights: each student is trained anew with soft targets, for as long as the search took.
#
# Controls, with the same limit on parameters: gates that learn from labels alone, the same width in every layer, and
# random widths. The decisive control is *random search at the cost of the gates*: as many steps as train the network
# with gates go into short trainings of several random widths, with the same teacher, images and recipe. The best of
# these on held-out images is trained anew like the others. The first draw, without any search, is the condition *one at
# random*.

# %%
WIDE = (Layer(16, pool=2), Layer(16, pool=2), Layer(16))
LIMIT = parameters(nas.build(WIDE, 0)) // 3
pressed = plan.model_copy(update={"lr": 0.02})


def of_widths(widths):
    return tuple(Layer(w, 3, layer.pool) for w, layer in zip(widths, WIDE, strict=True))


def size(widths):
    return parameters(nas.build(of_widths(widths), 0))


equal = max(w for w in range(1, 17) if size((w, w, w)) <= LIMIT)
TRIES = max(n for n in (1, 2, 3) if epochs % n == 0)  # short trainings that cost as much as one search by gates
quick = pressed.model_copy(update={"epochs": epochs // TRIES})


def random_widths(seed):
    """Draw networks that have nearly as many parameters as allowed."""
    return nas.draw_distinct(
        lambda g: of_widths(torch.randint(1, 17, (3,), generator=g).tolist()), TRIES, seed,
        lambda one: 0.85 * LIMIT <= size([layer.channels for layer in one]) <= LIMIT,
    )  # fmt: skip


def early(architecture, seed):
    """Held-out accuracy after a short training."""
    student = nas.build(architecture, seed)
    kdnb.distil(student, teacher, seen, quick, method="kd", seed=seed)
    return percent(student, held_out)


# %%
students = []
for seed in range(width_seeds):
    found = {}
    for name, weight in {"gates, taught": 1.0, "gates, labels alone": 0.0}.items():
        torch.manual_seed(seed)
        gated = nas.ConvNet(WIDE, gates=True)
        nas.search_widths(gated, teacher, seen, pressed, penalty=2.0, soft_weight=weight, seed=seed)
        found[name] = nas.narrowed(gated, LIMIT)
    drawn = random_widths(seed)
    found["random search, same cost"] = max(drawn, key=lambda one, seed=seed: early(one, seed))
    found["one at random"] = drawn[0]
    found["the same in every layer"] = of_widths((equal,) * 3)
    for name, architecture in found.items():
        student = nas.build(architecture, seed)
        kdnb.distil(student, teacher, seen, plan, method="kd", seed=seed)
        students.append({"widths": name, "seed": seed, "channels": [layer.channels for layer in architecture],
                         "parameters": parameters(student), "accuracy": percent(student)})  # fmt: skip
students = pd.DataFrame(students)
print("no student has more parameters than the limit:", bool((students.parameters <= LIMIT).all()))
print("both searches train for the same number of epochs on the same images:", pressed.epochs == TRIES * quick.epochs)

# %% tags=["nbval-ignore-output"]
conditions = list(dict.fromkeys(students.widths))
wide = students.pivot(index="seed", columns="widths", values="accuracy")[conditions]
control = wide["random search, same cost"]
for first, second in (("gates, taught", "random search, same cost"), ("gates, taught", "gates, labels alone"), ("gates, taught", "the same in every layer"), ("random search, same cost", "one at random")):  # fmt: skip
    gap = wide[first] - wide[second]
    low, high = figures.interval(gap)
    print(f"{first} - {second}: {gap.mean():+.1f} points ({low:+.1f} to {high:+.1f})")
figures.table(
    pd.DataFrame({"mean channels": {n: ", ".join(f"{w:.1f}" for w in pd.DataFrame(list(students[students.widths == n].channels)).mean()) for n in conditions},
                  "parameters": students.groupby("widths").parameters.mean().round().astype(int), "accuracy, %": wide.mean(), "standard deviation": wide.std(),
                  "difference from random search": wide.sub(control, axis=0).mean(),
                  "from": {n: figures.interval(wide[n] - control)[0] for n in wide}, "to": {n: figures.interval(wide[n] - control)[1] for n in wide}}).loc[conditions],
    decimals=1, caption=f"Students with at most {LIMIT} parameters. Means of {width_seeds} seeds, and paired differences in points with 95% intervals.",
)  # fmt: skip

# %% [markdown]
# The gates make the second layer narrow and keep all 16 channels of the last one, with and without the teacher. *They
# are not shown to be better than random search at the same cost*: taught gates are 0.8 points ahead, and the interval
# of eight seeds contains 0 (4.5 less to 6.1 more). At the cost of the gates random search gets three short trainings
# of two epochs. Its choice is better than one random draw by 7.7 points on average, but this interval contains 0, too
# (3.4 less to 18.7 more); single draws vary most (standard deviation 11.6 points). Equal steps are not equal work:
# those of the gates train a network with three times as many parameters. On the other hand random search reads the
# labels of 1,500 held-out images, which the gates do not need.
#
# Against the same width in every layer, taught gates gain 5.1 points, but this interval contains 0 (2.8 less to 13.0
# more). On another processor it lay above 0, so eight seeds are too few to decide. The comparison also favours the
# gates a little: the largest equal width within the limit is 8, which makes 1,362 parameters, while the networks
# chosen by taught gates have on average 1,584 of the 1,672 allowed. Gates that learn from labels alone reach 2.8
# points more than taught gates (0.3 less to 6.0 more), so we see no help of the teacher in choosing widths.

# %% [markdown]
# ## The reproduction: Bashivan et al. 2019
#
# The record tests whether early similarity predicts which networks will be good (`kdnb reproduce bashivan2019tgsa`,
# about 16 CPU minutes). Each of ten seeds draws its own 16 networks. The paper's text was not at hand. Its abstract
# makes relative claims, so there are no published values beside ours.
#
# | | published | ours |
# |---|---|---|
# | candidates | convolutional cells, among others | chains of 1 to 4 convolutions, drawn at random |
# | data | ImageNet (the errors in the abstract) | Fashion-MNIST, 28 x 28 pixels, 2,000 training images |
# | teacher | a high performing network, or measurements from a primate's visual system | the LeNet-5 that comes with the workbook |
# | similarity | of internal activations, by dissimilarity matrices | of what the classifiers read, on 300 held-out images |
# | early | limited training | one of eight epochs |
# | controls | early accuracy | the same, size, an untrained teacher, images in another order, random search |
#
# The claims are in `papers/bashivan2019tgsa/claims.toml` and were registered before the first recorded run. One name in
# them was changed afterwards: *beats-size* named its arm by a word that the claims file uses for something else, so it
# could not be judged. Its outcome was known when the name was changed; its criteria stayed. The claims from
# *beats-random-search* on are our own questions and not in the abstract. Earlier pilots with another seed had shown an
# outcome for every claim; the setting was chosen by the premises. Pilots and setting:
# [`setting.md`](../papers/bashivan2019tgsa/setting.md). [How a claim is judged](../docs/verdicts.md) explains the
# words.

# %%
show_verdicts(papers.verdicts("bashivan2019tgsa", "laptop"), "laptop", grouped=True)

# %%
arms = {
    "guidance0": "TG before training", "guidance1": "TG after one epoch", "guidance2": "TG after two epochs", "accuracy1": "accuracy after one epoch",
    "accuracy2": "accuracy after two epochs", "both1": "accuracy and TG after one epoch", "both2": "accuracy and TG after two epochs", "layers1": "TG, most similar layers",
    "logits1": "TG of logits", "untrained1": "TG with an untrained teacher", "shuffled1": "TG, images in another order", "size": "parameters",
    "multiply_adds": "multiply-adds", "random1": "random search with as many epochs", "candidates": "all candidates", "teacher": "the teacher",
}  # fmt: skip
figures.published_and_ours(papers.show_frame("bashivan2019tgsa", "laptop"), arms)

# %% [markdown]
# Numbers are rank correlations with the final accuracy, and final accuracies in percent. *Asked for* is our own criterion.

# %%
record = papers.read_record("bashivan2019tgsa", "laptop").table()


def compare(first, second=None, metric="rank", decimals=2):
    difference = record[first, metric] - (record[second, metric] if second else 0)
    low, high = figures.interval(difference)
    return f"{difference.mean():+.{decimals}f} ({low:+.{decimals}f} to {high:+.{decimals}f})"


order = ["guidance0", "guidance1", "accuracy1", "both1", "guidance2", "accuracy2", "both2", "logits1", "layers1", "untrained1", "shuffled1", "size", "multiply_adds"]
ranked = figures.tidy(record, "rank", {arm: arms[arm] for arm in order})
roles = dict.fromkeys([arms[arm] for arm in order], "other") | {
    arms["guidance1"]: "method", arms["both1"]: "method", arms["accuracy1"]: "student", arms["accuracy2"]: "student"}  # fmt: skip
figure = figures.points(ranked, "rank", "rank correlation with the final accuracy", baseline=arms["accuracy1"], roles=roles)
figures.save(
    figure,
    "5-9-recorded",
    alt="After one epoch, TG and accuracy rank networks about equally well; before training or with an untrained teacher, TG does not rank them. Rank correlations with the final accuracy. " + " ".join(f"{arms[arm]}: {compare(arm)}." for arm in order),
    caption=f"After one epoch, TG and accuracy predict a network's final accuracy about equally well. Rank correlations: TG {compare('guidance1')}, accuracy {compare('accuracy1')}, both {compare('both1')}. "
    "Points show the mean and 95% interval over 10 seeds of 16 networks each.",
)  # fmt: skip

# %%
for first, second in (
    ("both1", "accuracy1"), ("both1", "accuracy2"), ("guidance1", "accuracy1"), ("guidance1", "untrained1"), ("guidance1", "size"),
    ("guidance1", "multiply_adds"), ("guidance1", "layers1"), ("accuracy1", "multiply_adds"),
):  # fmt: skip
    print(f"rank correlation, {arms[first]} - {arms[second]}: {compare(first, second)}")
print(f"partial rank correlation of TG given accuracy, after one epoch: {compare('guidance1', metric='partial')}")
for first in ("guidance1", "accuracy1", "both1"):
    print(f"final accuracy of the preferred candidate, {arms[first]} - random search: {compare(first, 'random1', 'pick', 1)} points")
print(f"the same, accuracy and TG - accuracy alone: {compare('both1', 'accuracy1', 'pick', 1)} points")
for metric in ("best", "mean", "early", "spread"):
    print(f"candidates, {metric}: {record['candidates', metric].mean():.1f}")
print(f"the teacher: {record['teacher', 'accuracy'].mean():.1f}%")

# %% [markdown]
# **What holds.** The premises are met: the teacher is better than the best candidate (92.2% and 76.2%), candidates
# differ (standard deviation 16.0 points) and still gain after the first epoch (28.0% to 50.3% on average), and both
# halves of the test images rank them alike. Of the paper's four claims two are reproduced and two are inconclusive. Of
# our own seven claims four are reproduced and three inconclusive. In detail:
#
# - *Similarity ranks networks.* After one of eight epochs, TG has a rank correlation of 0.78 with the final accuracy (95% interval 0.73 to 0.82;
#   *similarity-ranks*). That of accuracy is 0.75 (0.68 to 0.83); the difference may be 0 (0.05 less to 0.09 more).
# - *It knows something that accuracy does not.* Given the accuracy after one epoch, the partial rank correlation of TG
#   is 0.45 (0.25 to 0.66; *knows-more*). The sum of both has 0.82, that is, 0.06 more than accuracy alone, but the
#   interval contains 0 (0.01 less to 0.13 more; *ranks-better*).
# - *It is not shown to save training.* After one epoch the rank correlation of the sum is 0.06 lower than that of
#   accuracy after two (0.00 to 0.12 lower), where we allowed at most 0.05 (*saves-training*). After two epochs the sum
#   is no better than accuracy (0.87 and 0.88).
# - *It beats random search.* The candidate with the highest TG ends 7.8 points above what random search finds in as
#   many epochs (0.6 to 15.0; *beats-random-search*). So do the one with the highest early accuracy, by 9.9 points (5.4
#   to 14.5), and the one with the highest sum, by 10.2 (6.1 to 14.4). The sum picks hardly better than accuracy alone:
#   0.3 points (0.4 less to 1.0 more; *picks-better*).
#
# **What it rests on.** These are our controls.
#
# - *The teacher must be trained.* Similarity to a teacher of random weights has a rank correlation of $-0.15$ ($-0.26$ to $-0.04$), 0.93 lower (0.81 to 1.04; *teacher-must-know*).
# - *The images must match.* With the teacher's images in another order the rank correlation is 0.07 ($-0.08$ to 0.22; *images-must-match*).
# - *Before training there is no sign of a ranking.* With initial weights the rank correlation of TG is 0.02 ($-0.11$ to
#   0.16; *before-training*).
# - *The last layers count.* If each of the teacher's layers is compared with the candidate's most similar layer, the
#   mean has 0.56, 0.22 less than the features that the classifiers read (0.13 to 0.31; *last-layers*).
# - *Similarity is not shown to beat size.* The number of parameters, which costs no training, has a rank correlation of
#   0.80 (0.74 to 0.87). TG is 0.03 lower (0.10 lower to 0.04 higher; *beats-size*), though TG ranks better than
#   multiply-adds, by 0.19 (0.07 to 0.31).
#
# **What this tells about the paper.** Early similarity to a trained teacher does predict final accuracies, and it adds
# something to early accuracy. A gain in efficiency, which the abstract puts at up to an order of magnitude, is not
# shown at this scale, where one epoch is 63 steps: our claim required only a factor of two, and we did not find it. Our
# candidates differ a lot in size, so counting parameters is a strong competitor. Candidates of one size would be a
# harder test.

# %% [markdown]
# ## What you need, what it buys, when to choose it
#
# | method | what you need | what it buys | choose it when |
# |---|---|---|---|
# | random search | a space, a budget | the control | always, before any other search |
# | N2N | a teacher whose layers are the space; time to distil tens or hundreds of students | a student that is a smaller version of the teacher, chosen for size and accuracy | the space is too large to try every choice, and students are cheap to grade |
# | TGSA | a trained teacher, a few hundred probe images | a grade of candidates that are hardly trained, whatever their shape | there are many candidates and a full training is expensive |
# | DNA | a teacher that can be cut into blocks, candidates whose maps fit | ratings of all candidates from one training for each block, without labels | the space is a product of blocks |
# | gates | a wide network | widths from a single training; here not shown to be better than random search at the same cost | only the widths are open |
# | AKD | a teacher, a search by rewards | a student that suits this teacher | all students will be distilled from one teacher |
# | oracle distillation | an ensemble | a better teacher for a larger student | there is an ensemble anyway |
# | Cream, AdaNAS | no teacher | candidates or earlier members teach | there is no teacher |
#
# **It fails, or is not worth its cost, when**
#
# - *candidates differ in size*: in the record the number of parameters had a rank correlation of 0.80, accuracy and TG after an epoch of training 0.75 and 0.78. Count first;
# - *the space is small*: a policy needs many rounds to learn, and by then random search has seen most of it;
# - *nothing is trained yet*, or the teacher is not: similarity did not rank candidates then (0.02 and $-0.15$ in the record);
# - *each layer of the teacher is compared with the most similar one*: that ranked worse than the last layers (0.56 and 0.78 in the record);
# - *the winner is measured on the images that chose it*, or with more networks trained than its rival had.

# %% [markdown]
# ## With your own model and data
#
# `nas.teacher_guidance` compares any two networks whose layers kdnb knows (its own, torchvision's, timm's). So it can
# grade your candidates after one epoch, before you spend more on them. Replace the first lines. Every report should
# include a random choice among the candidates.

# %% tags=["nbval-ignore-output"]
import kdnb
from kdnb import nets
from kdnb.methods import nas

my_teacher = nets.pretrained("lenet5", "fashion_mnist")
my_images, my_labels = source.train.select(slice(600)).tensors()
my_held_out = source.validation.select(slice(600)).tensors()
my_candidates = {name: nets.build(name) for name in ("tiny", "lenet5_half_dafl", "plain2")}

theirs = nas.representations(my_teacher, my_held_out[0][:200])
for name, candidate in my_candidates.items():
    kdnb.train(candidate, (my_images, my_labels), epochs=1, batch_size=32)
    guidance = nas.teacher_guidance(nas.representations(candidate, my_held_out[0][:200]), theirs)
    accuracy = float(kdnb.evaluate(candidate, my_held_out).accuracy)
    print(f"{name}: accuracy {100 * accuracy:.1f}% after one epoch, similarity to the teacher {guidance:.2f}")

# %% [markdown]
# In this run similarity and early accuracy both put *plain2* first. The two others differ by only 0.01 in similarity,
# and accuracy puts them in the opposite order. This is one seed with 600 images: an example of the calls, not a
# comparison.
#
# ## Exercises
#
# **1. A larger student.** What is the reward $C(2-C)A_S/A_T$ of a student with more parameters than its teacher?
#
# <details><summary>Solution</summary>
#
# $C$ is then negative, and so is $C(2-C)$. The reward is negative, the more so the *more accurate* the student is:
# among networks that are too large, the policy is pushed towards bad ones. Here this cannot happen: the teacher's
# layers become wider with depth, so removing a layer always removes parameters. With a bottleneck it can: without the
# narrow layer, two wide ones meet.
#
# </details>
#
# **2. All rewards alike.** The authors' code gives every choice of a round the mean reward of all five
# (`variant="authors"` of `losses.policy_gradient`). Why can a policy still learn from this?
#
# <details><summary>Solution</summary>
#
# Within a round, good and bad choices are pushed equally. But rounds differ: in a round with more good choices than
# usual, the mean lies above the baseline, and all its choices become likelier, the good ones among them. In expectation
# over rounds the gradient is the same, apart from a factor: each choice's own reward has weight $1/5$ in the mean, and
# the other four are independent of it. The noise is larger.
#
# </details>
#
# **3. How many networks decide?** In one run, a search finds an architecture with a reward 0.01 above random search.
# What should you know before you believe that the search is better?
#
# <details><summary>Solution</summary>
#
# How many networks each side trained; what random search finds on average with as many (fact 4), and how much that
# varies; how much the reward of one architecture varies with the seed of its training; and on which images it was
# graded. The best of many grades is too high on the images that chose it, so the winner must be measured on others.
#
# </details>
#
# **4. Why independent blocks?** In DNA, what would change if block 2 were given the maps of the supernet's block 1
# instead of the teacher's?
#
# <details><summary>Solution</summary>
#
# The error of block 2 would depend on which path block 1 takes, so nine candidates would have 81 errors. The sum of
# errors could not be minimised block by block, and all networks would again share all weights of the supernet.
#
# </details>
#
# **5. The best student for this teacher.** Train the twelve candidates of TGSA with soft targets as well
# (`kdnb.distil(..., method="kd")`). Is the ranking the same as with labels? What does AKD expect?
#
# <details><summary>Solution</summary>
#
# AKD expects that the rankings differ. Compute Spearman's correlation between the two rankings, and compare it with the
# one between two seeds of the same training: only a correlation below that is an effect of the teacher.
#
# </details>
#
# ## References
#
# The survey: Gou, Yu, Maybank and Tao, *Knowledge Distillation: A Survey*, IJCV 2021
# ([DOI](https://doi.org/10.1007/s11263-021-01453-z), [arXiv](https://arxiv.org/abs/2006.05525)).
#
# - Ashok, Rhinehart, Beainy and Kitani, *N2N Learning: Network to Network Compression via Policy Gradient Reinforcement Learning*, ICLR 2018
#   ([arXiv](https://arxiv.org/abs/1709.06030)).
# - Bashivan, Tensen and DiCarlo, *Teacher Guided Architecture Search*, ICCV 2019 ([arXiv](https://arxiv.org/abs/1808.01405)).
# - Li, Peng, Yuan, Wang, Liang, Lin and Chang, *Block-Wisely Supervised Neural Architecture Search with Knowledge Distillation*, CVPR 2020
#   ([arXiv](https://arxiv.org/abs/1911.13053)).
# - Gu and Tresp, *Search for Better Students to Learn Distilled Knowledge*, ECAI 2020 ([arXiv](https://arxiv.org/abs/2001.11612)).
# - Liu, Jia, Tan, Vemulapalli, Zhu, Green and Wang, *Search to Distill: Pearls Are Everywhere but Not the Eyes*, CVPR 2020
#   ([arXiv](https://arxiv.org/abs/1911.09074)).
# - Kang, Mun and Han, *Towards Oracle Knowledge Distillation with Neural Architecture Search*, AAAI 2020 ([arXiv](https://arxiv.org/abs/1911.13019)).
# - Peng, Du, Yu, Li, Liao and Fu, *Cream of the Crop: Distilling Prioritized Paths for One-Shot Neural Architecture Search*, NeurIPS 2020
#   ([arXiv](https://arxiv.org/abs/2010.15821)).
# - Macko, Weill, Mazzawi and Gonzalvo, *Improving Neural Architecture Search Image Classifiers via Ensemble Learning*, 2019
#   ([arXiv](https://arxiv.org/abs/1903.06236)).
# - Li and Talwalkar, *Random Search and Reproducibility for Neural Architecture Search*, UAI 2019 ([arXiv](https://arxiv.org/abs/1902.07638)).
#
# ## How to cite
#
# The next cell prints the paper, the survey and this workbook in BibTeX, with our recorded results.
# `kdnb cite bashivan2019tgsa` does the same, also in other formats.

# %%
print(papers.cite("bashivan2019tgsa", "laptop", "similarity-ranks"))

# %% [markdown]
# <details><summary><b>Protocol notes and departures</b></summary>
#
# - **Live part.** Settings are the first that were tried, with these exceptions: rates, batch sizes, the teacher's
#   widths and pooling were changed until the best students that are graded after a short training kept more than half
#   of the teacher's accuracy (a first version had students of equal layers, some of which were the same network, and
#   the rate 0.005). Outcomes of N2N's searches were in view while this was done. Rewards, early accuracies and ratings
#   are on held-out training images, final accuracies on 4,000 test images. In N2N's table every student is trained with
#   one seed; a policy and random search see the same table, so its noise is the same for both.
# - **What the intervals cover.** For N2N, the policies and their draws, not the training of students or the choice of
#   images. For guided search and widths, initial weights and the order of batches.
# - **N2N.** A layer is a convolution with its normalisation and pooling. The authors' code removes layers of every kind, and shrinks kernels and more besides channels.
# - **TGSA.** The space and the form of the search are ours; the sum of both grades, with the weight 1, was not checked
#   against the paper. In this chapter a candidate's first epoch is a separate training, so a full training has one
#   epoch more; in the record the first epoch is part of the full training.
# - **DNA.** Candidates have the teacher's widths. The authors leave the teacher in train mode while blocks learn; here it is in eval mode.
# - **Not recorded here.** Only TGSA has a record. The docstrings say what was written from memory and not confirmed in
#   a paper.
#
# </details>
