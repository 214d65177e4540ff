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
#     - lopezpaz2016generalised
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5.3 Cross-modal distillation
#
# More information is often available while a model is trained than when it is used: a depth camera beside the
# video, a clean recording beside the noisy one, a radiologist's report beside the scan. In cross-modal
# distillation a teacher learns from this richer view, and a student that will only ever have the poorer view
# learns from the teacher's answers. In this chapter a student of 4 x 4 pixels learns from a teacher of 28 x
# 28 pixels, and you see when this helps it, when it does not, and what a published gain consists of.
#
# The chapter belongs to section 5.3 of the survey ([Gou et al.
# 2021](https://doi.org/10.1007/s11263-021-01453-z), [arXiv](https://arxiv.org/abs/2006.05525)). Its main
# paper is *Unifying Distillation and Privileged Information* ([Lopez-Paz et al.
# 2016](https://arxiv.org/abs/1511.03643)), which unifies Hinton's distillation and Vapnik's learning with
# privileged information. Related methods follow, with links at the end.
#
# **Before you start:** soft targets and the temperature
# ([chapter 2.1](2-1-response-based-knowledge.ipynb)).
# **Time:** about two minutes on two CPU cores.
#
# The next cell holds every parameter of the live part. Change them here, or with `kdnb run 5-3 --set side=7`.

# %% tags=["parameters"]
dataset = "mnist"  # or "fashion_mnist"
side = 4  # pixels of the student's images in height and width: 2, 4, 7 or 14
labelled = 300  # images with labels, for the teacher and for the student
pairs = 3000  # more images in both views, without labels
temperature = 2.0  # of the teacher's answers
steps = 1500  # of every student
batch_size = 50
lr = 0.003
seeds = 6  # paired repetitions
test_images = 5000  # the first ones of the test set
relatives_seeds = 3  # of the relatives

# %%
import copy
from functools import partial

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
from torch import nn
from torch.nn import functional as F

import kdnb
from kdnb import data, figures, papers, workbook
from kdnb.losses import generalised_distillation
from kdnb.methods import cross_modal
from kdnb.methods.adversarial import Critic
from kdnb.workbook.chapter import show_verdicts

workbook.check(
    globals(),
    dataset=("mnist", "fashion_mnist"),
    side={2, 4, 7, 14},
    labelled=(50, 5000),
    pairs=(500, 20000),
    temperature=(0.5, 50.0),
    steps=(50, 20000),
    batch_size=(10, 500),
    lr=(0.0001, 0.1),
    seeds=(2, 30),
    test_images=(200, 10000),
    relatives_seeds=(2, 20),
)
figures.use()

# %% [markdown]
# ## The idea
#
# A *view* is what a network sees of an object. The student has the view $x$. The teacher has the view $x^*$,
# which exists while the networks are trained and is missing when the student is used. Vapnik calls it
# *privileged information*: the teacher may explain, but the pupil takes the examination alone. The two views
# may be two sensors (colour and depth), two languages, sound and picture, or, as here, a large and a small
# image of one digit.
#
# The scheme has three steps. *First* the teacher learns from pairs of $x^*$ and label. *Then* it answers for
# every training sample, and its answers are softened by a temperature. *Last* the student learns from $x$,
# with labels and these answers as targets. Two things are required: each sample in both views (the *pairs*),
# and a reason why answers about $x^*$ should say something about $x$. The second is the subject of this
# chapter.

# %%
scheme = figures.schematic(
    {
        "rich": ("privileged view $x^*$\n(training only)", 0, 0),
        "poor": ("the student's view $x$", 0, 1),
        "teacher": ("teacher", 1, 0, "teacher"),
        "s": ("soft answers $p$", 2, 0, "teacher"),
        "student": ("student", 1, 1, "student"),
        "q": ("answers $q$", 2, 1, "student"),
        "loss": ("loss $L$", 3, 0.5, "method"),
        "y": ("labels $y$", 4, 0.5),
    },
    [("rich", "teacher"), ("teacher", "s", "temperature"), ("rich", "poor", "the same thing", "--"),
     ("poor", "student"), ("student", "q"), ("s", "loss"), ("q", "loss"), ("y", "loss")],
)  # fmt: skip
(same,) = [line for line in scheme.axes[0].patches if line.get_linestyle() not in ("-", "solid")]
same.set_arrowstyle("-")  # a pair has no direction
figures.save(
    scheme,
    "5-3-idea",
    alt="The privileged view goes to the teacher, whose answers are softened. The student's view of the same "
    "thing goes to the student. The loss compares the student's answers with the teacher's and with the labels.",
    caption="Distillation across views. Teacher (blue) and student (orange) never see the same input, but "
    "inputs of the same thing. At test the upper row is gone.",
)

# %% [markdown]
# ## The mathematics
#
# Symbols are those of [the workbook's notation](../docs/notation.md). Sample $b$ of a batch of $B$ has the views
# $x_b$ and $x_b^*$ and the label $y_b$, one of $K$ classes. The teacher's logits are $v_b$, a function of $x_b^*$;
# the student's are $z_b$, a function of $x_b$. With $p_b=\mathrm{softmax}(v_b/T)$ and $q_b=\mathrm{softmax}(z_b)$
# (here without a temperature) the student minimises (Lopez-Paz et al., equations 4 and 5)
#
# $$L=\frac1B\sum_{b=1}^B\big[(1-\lambda)\,H(\mathbf 1_{y_b},q_b)+\lambda\,H(p_b,q_b)\big],\qquad
#   0\le\lambda\le1,$$
#
# where $H$ is the cross-entropy and $\lambda$ the teacher's share, the *imitation parameter*. Two special cases
# have names. If $x^*=x$ and the teacher is larger, it is distillation. If $x^*$ is the richer view and the
# teacher no larger, it is learning with privileged information. Four facts follow.
#
# 1. *It is one cross-entropy.* $H$ is linear in its first argument, so
#    $L=\frac1B\sum_b H(t_b,q_b)$ with the mixed targets $t_b=(1-\lambda)\mathbf 1_{y_b}+\lambda p_b$, and the
#    gradient at the logits of a sample is $(q_b-t_b)/B$.
# 2. *The student is not softened.* The minimum is at $q_b=t_b$: with $T>1$ the student learns to be as unsure
#    as the softened teacher. In Hinton's form $T^2\,\mathrm{KL}(p\,\|\,\mathrm{softmax}(z/T))$ the student's
#    own answers are softened too; its gradient is $T\,(\mathrm{softmax}(z/T)-p)$. A student that has just
#    started, with $z\approx0$, has the same gradient in both forms, up to the factor $T$.
# 3. *Code and paper differ.* The authors' code multiplies the teacher's term by $T^2$. At $T=10$ and
#    $\lambda=\frac12$ the teacher then counts a hundred times as much as the label.
# 4. *Only what both views share can be taught.* The student knows $x$ and not $x^*$. Since $L$ is linear in
#    $p$, what it minimises on average is the loss with $\mathrm{E}[p\mid x,y]$ instead of $p$. If $x$ and
#    $x^*$ have nothing in common beyond the label, this is the mean answer for the class,
#    $\mathrm{E}[p\mid y]$: a smoothed label, which needs no second view. An example is pairing a spoken three
#    with the picture of *any* three.
#
# The next cell checks all four. For the last, the answers within each class are paired with the samples in
# every possible cyclic order.

# %%
generator = torch.Generator().manual_seed(0)
z, v = 3 * torch.randn(2, 60, 10, generator=generator, dtype=torch.float64)
y, T, share = torch.arange(60) % 10, 4.0, 0.3
z.requires_grad_()
p, one_hot = (v / T).softmax(1), F.one_hot(y, 10).double()


def gradient(loss):
    return torch.autograd.grad(loss, z)[0]


by_hand = sum(
    (1 - share) * -z[b].log_softmax(0)[y[b]] + share * -(p[b] * z[b].log_softmax(0)).sum() for b in range(60)
) / 60  # fmt: skip
loss = generalised_distillation(z, v, y, share, T)
torch.testing.assert_close(loss, by_hand)
mixed = cross_modal.mixed_targets(v, y, share, T)
torch.testing.assert_close(gradient(loss), ((z.softmax(1) - mixed) / 60).detach())
hinton = T**2 * F.kl_div((z / T).log_softmax(1), p, reduction="batchmean")
torch.testing.assert_close(gradient(hinton), (T * ((z / T).softmax(1) - p) / 60).detach())
authors = generalised_distillation(z, v, y, share, T, variant="authors")
torch.testing.assert_close(authors - (1 - share) * F.cross_entropy(z, y), T**2 * (loss - (1 - share) * F.cross_entropy(z, y)))

orders = []  # six answers a class: each sample gets each of them once
for turn in range(6):
    places = torch.arange(60).view(6, 10).roll(turn, 0).flatten()  # column c holds the samples of class c
    orders.append(gradient(generalised_distillation(z, v[places], y, 1.0, T)))
means = cross_modal.class_means(p, y)
torch.testing.assert_close(torch.stack(orders).mean(0), ((z.softmax(1) - means) / 60).detach())
print("the loss, its gradient, Hinton's form, the authors' factor and the class means agree with automatic differentiation")

# %% [markdown]
# ## When can privileged information help?
#
# Lopez-Paz et al. answer with four small problems. A point $x$ has 50 normal features, a random plane with
# the normal vector $\alpha$ decides its label, and teacher and student are logistic regressions with 200
# training points. Each problem gives the teacher a different $x^*$:
#
# | problem | the student sees | the teacher sees | what $x^*$ adds |
# |---|---|---|---|
# | 1 clean labels | $x$, and labels with noise | the distance $\langle\alpha,x\rangle$ without noise | how sure each label is |
# | 2 clean features | $x$ with noise | $x$ without noise | the noise of *this* sample |
# | 3 relevant features | all 50 features | the three that decide | which features matter |
# | 4 features that change | all 50 features | the three that decide; at test three others do | which features matter in training, and not at test |
#
# The fourth is drawn as in the authors' code; their text has another version (see the reproduction below).
# The regressions here are solved to their optimum, with a weak penalty on the weights, so the outcome does
# not depend on a learning rate or a number of epochs. `privileged_problem` draws many data sets at once, and
# `exact_logistic` solves them all.

# %%
problems = {
    "1 clean labels": "clean_labels",
    "2 clean features": "clean_features",
    "3 relevant features": "relevant_features",
    "4 features that change": "dependent_features",
}
repeats, rows = 20, []
for title, problem in problems.items():
    seen, unseen = cross_modal.standardised(
        *cross_modal.privileged_problem(problem, repeats=repeats, train=200, test=2000, seed=5300)
    )

    def solved(view, targets, seen=seen, unseen=unseen):
        """Answers for the training points, and accuracies in percent on the others."""
        w = cross_modal.exact_logistic(getattr(seen, view), targets)
        scores = [torch.einsum("rnd,rd->rn", getattr(part, view).double(), w[:, :-1]) + w[:, -1:] for part in (seen, unseen)]
        right = (scores[1] > 0) == (unseen.labels == 1)
        return scores[0].sigmoid(), 100 * right.double().mean(1)

    answers, teacher = solved("privileged", seen.labels)
    _, alone = solved("regular", seen.labels)
    _, taught = solved("regular", answers)  # lambda = 1, T = 1
    for name, values in {"teacher, on x*": teacher, "labels alone": alone, "taught": taught}.items():
        rows += [
            {"problem": title, "network": name, "seed": r, "accuracy": a} for r, a in enumerate(values.tolist())
        ]
synthetic = pd.DataFrame(rows)

# %% tags=["nbval-ignore-output"]
def one_legend(figure, renamed=None, **more):
    """One legend below the figure in place of those that it has, with some names changed and marks added."""
    old = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    marks = {text.get_text(): mark for one in old for mark, text in zip(one.legend_handles, one.get_texts(), strict=True)}
    marks = {(renamed or {}).get(name, name): mark for name, mark in marks.items()} | more
    for one in old:
        one.remove()
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=len(marks), handletextpad=0.5)


wide = synthetic.pivot(index=["problem", "seed"], columns="network", values="accuracy")
gain = (wide["taught"] - wide["labels alone"]).groupby("problem")
gains = {title: (part.mean(), *figures.interval(part)) for title, part in gain}
figure = figures.points(
    synthetic, "accuracy", "accuracy on 2,000 other points, %", condition="problem", group="network",
    roles={"teacher, on x*": "teacher", "labels alone": "student", "taught": "method"},
)  # fmt: skip
one_legend(figure, {"one seed": "one data set"})
figures.save(
    figure,
    "5-3-problems",
    alt="Accuracies of teacher, labels alone and taught student. " + " ".join(
        f"{title}: {', '.join(f'{value:.1f}' for value in part.groupby('network', sort=False)['accuracy'].mean())}."
        for title, part in synthetic.groupby("problem")),
    caption="A good teacher is not enough. Gains of the taught student in points: " + "; ".join(
        f"{title} {mean:+.1f} ({low:+.1f} to {high:+.1f})" for title, (mean, low, high) in gains.items())
    + f". Mean and 95% interval over {repeats} data sets.",
)  # fmt: skip

# %% [markdown]
# **What the numbers say.** In all four problems the teacher is far better than labels alone. In problems 1 and 3
# this helps the student by 6.6 and 6.9 points, in problem 4 not at all, in problem 2 by half a point.
#
# - In 1 and 3 the teacher knows something about the *rule*: how near a point lies to the plane, or which
#   features count. The student can express the same rule in its own view.
# - In 2 it knows the noise in *this* sample, which the next sample does not share. Cleaner answers cannot
#   make the student's test inputs cleaner.
# - In 4 it knows which three features decide in training. At test three others do, so the student's rule is
#   useless there, and it guesses (50%), with or without a teacher.
#
# So ask about a richer view: does it say more about the rule, or more about the sample?

# %% [markdown]
# ## The method as a training loop
#
# Now the same with digits. The student sees means of blocks of pixels, the teacher sees every pixel. Here is
# the whole method for one seed: the teacher learns from labels, answers, and the student learns from both. The
# two views of an image have the same row in `x` and `x_star`.


# %%
def learn(network, x, y, soft=None, share=0.0, *, steps=steps, batch_size=batch_size, seed=0):
    """Train on labels, and on soft answers in the given share."""
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    order, done = torch.Generator().manual_seed(seed), 0
    while done < steps:
        for rows in torch.randperm(len(x), generator=order).split(batch_size):
            log_q = network(x[rows]).log_softmax(1)
            loss = (1 - share) * F.nll_loss(log_q, y[rows])  # H(label, q)
            if soft is not None:
                loss = loss + share * -(soft[rows] * log_q).sum(1).mean()  # H(p, q)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            done += 1
    return network


def distil_across(teacher, student, x, x_star, y, *, share=1.0, T=temperature, **options):
    learn(teacher, x_star, y, **options)  # 1. the teacher learns on its view
    with torch.no_grad():
        soft = (teacher(x_star) / T).softmax(1)  # 2. it answers for the same things
    return learn(student, x, y, soft, share, **options)  # 3. the student learns on its own


# %% tags=["nbval-ignore-output"]
source = data.load(dataset)
FIRST_SEED = 5300  # no record and no pilot has these seeds


def view(images, side):
    """Pixels as rows from 0 to 1, each the mean of a block."""
    return F.avg_pool2d(images.images.float() / 255, 28 // side).flatten(1)


def draw(seed, count=labelled + pairs):
    """The training images of a seed; the first ones have labels."""
    order = torch.randperm(len(source.train), generator=torch.Generator().manual_seed(FIRST_SEED + seed))
    return source.train.select(order[:count])


def perceptron(inputs, seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 10))


images = draw(0)
test = source.test.select(slice(test_images))
few, few_star, few_y = view(images, side)[:labelled], view(images, 28)[:labelled], images.labels[:labelled]
one_teacher, one_student = perceptron(784, 0), perceptron(side**2, 1)
distil_across(one_teacher, one_student, few, few_star, few_y)
for name, network, size in (("teacher", one_teacher, 28), ("student", one_student, side)):
    right = (network(view(test, size)).argmax(1) == test.labels).float().mean()
    print(f"{name} of {size} x {size} pixels: {100 * right:.0f}% of the test images")

# %% [markdown]
# The package has the same as `cross_modal.distil_privileged`, for any networks and inputs that are
# dictionaries of views. With all 300 images in one batch, so that the order of the images does not matter,
# both give the same student:

# %%
one_soft = (one_teacher(few_star) / temperature).softmax(1).detach()
by_loop = learn(perceptron(side**2, 1), few, few_y, one_soft, 0.7, steps=20, batch_size=labelled)
by_package = perceptron(side**2, 1)
cross_modal.distil_privileged(
    by_package, one_teacher, ({"poor": few, "rich": few_star}, few_y), views=("poor", "rich"),
    teacher_share=0.7, temperature=temperature, batch_size=labelled, epochs=20, optimiser="adam", lr=lr,
    schedule="constant", precision="32",
)  # fmt: skip
torch.testing.assert_close(by_package(few), by_loop(few), rtol=1e-3, atol=1e-3)
print("the loop above and distil_privileged give the same logits")

# %% [markdown]
# ## The experiment: what is a richer view worth?
#
# Networks of 20 hidden units are so small that many of them fit into one batched matrix product. `fit_stack`
# trains a *stack* of networks, each with its own inputs and targets, exactly as if each were trained alone.
# One stack holds the students of one condition for all seeds. Every seed draws 300 images with labels and
# 3,000 more without labels, in both views. The conditions share initial weights and take about as many steps
# (1,500 with 300 images, 1,518 with 3,300):
#
# - **labels alone**: 300 images and their labels, the control;
# - **smoothed labels**: the same, smoothed to the mean entropy of the teacher's answers;
# - **teacher's answers**: its answers to these 300 images;
# - **answers to pairs**: its answers to all 3,300 images. The 3,000 have no label, but the teacher sees them
#   at full size and can say much about them;
# - **own answers to pairs**: the same with a teacher that sees 4 x 4 pixels itself. This control has the same
#   number of images, but no richer view;
# - **pairs shuffled**: each image gets the answer to *another* image that the teacher puts into the same
#   class. This keeps the teacher's decision, and loses what it says about the image;
# - **all labels**: the labels of all 3,300 images, an upper bound.
#
# There are two premises: the teacher is better than labels alone by 5 points or more, and students of labels
# alone have learnt all that they can from their images (see below).


# %%
all_images = [draw(seed) for seed in range(seeds)]
poor, rich = (torch.stack([view(one, size) for one in all_images]) for size in (side, 28))
y = torch.stack([one.labels for one in all_images])
hard = F.one_hot(y, len(source.classes)).float()
poor_test, rich_test = view(test, side), view(test, 28)


def stack(x, targets, place, steps=steps):
    """One network for each seed; those of one place start alike."""
    networks = cross_modal.glorot_stack((x.shape[-1], 20, 20, targets.shape[-1]), seeds, FIRST_SEED + place, alike=False)
    epochs = round(steps / -(-x.shape[1] // batch_size))
    return cross_modal.fit_stack(
        networks, x, targets, optimiser="adam", lr=lr, epochs=epochs, batch_size=batch_size, seed=FIRST_SEED
    )  # fmt: skip


def answers(networks, x, T=temperature):
    return (cross_modal.stack_logits(networks, x).detach() / T).softmax(-1)


def by_seed(change, targets):
    """A function of targets and labels, for every seed."""
    return torch.stack([change(*one) for one in zip(targets, y, strict=True)])


def shuffled(soft, seed):
    return soft[cross_modal.shuffled_within(soft.argmax(1), FIRST_SEED + seed)]

# %%
first = slice(labelled)
teachers = stack(rich[:, first], hard[:, first], 0, steps // 2)
own_view = stack(poor[:, first], hard[:, first], 1)
soft, own = answers(teachers, rich), answers(own_view, poor)
smooth = torch.stack([cross_modal.smoothed_like(p[first], one[first]) for p, one in zip(soft, y, strict=True)])
shuffle = torch.stack([shuffled(p, seed) for seed, p in enumerate(soft)])
conditions = {  # name -> inputs and targets
    "labels alone": (poor[:, first], hard[:, first]),
    "smoothed labels": (poor[:, first], smooth),
    "teacher's answers": (poor[:, first], soft[:, first]),
    "answers to pairs": (poor, soft),
    "own answers to pairs": (poor, own),
    "pairs shuffled": (poor, shuffle),
    "all labels": (poor, hard),
}
students = {name: stack(*lesson, 2) for name, lesson in conditions.items()}


# %%
def percent(networks, inputs=poor_test, labels=test.labels):
    return (100 * cross_modal.correct_of(networks, inputs, labels)).tolist()


def tidied(found):
    """Lists by seed as the charts take them."""
    rows = [(name, seed, value) for name, values in found.items() for seed, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["condition", "seed", "accuracy"])


measured = {"teacher, 28 x 28": percent(teachers, rich_test), **{name: percent(one) for name, one in students.items()}}
live = tidied(measured)


def minus(frame, name, control):
    """A mean paired difference with its 95% interval, in percentage points, as text."""
    wide = frame.pivot(index="seed", columns="condition", values="accuracy")
    low, high = figures.interval(wide[name] - wide[control])
    return f"{(wide[name] - wide[control]).mean():+.1f} points ({low:+.1f} to {high:+.1f})"


means = live.groupby("condition", sort=False)["accuracy"].mean()
print("premise, the teacher is better than labels alone by 5 points or more:",
      bool(means["teacher, 28 x 28"] - means["labels alone"] >= 5))  # fmt: skip

# %% tags=["nbval-ignore-output"]
in_training = percent(students["labels alone"], poor[:, first], y[:, first])
longer = percent(stack(poor[:, first], hard[:, first], 2, 2 * steps))
print(f"labels alone know {sum(in_training) / seeds:.0f}% of their training images; trained twice as long they reach "
      f"{sum(longer) / seeds:.1f}% of the test images in place of {means['labels alone']:.1f}%")  # fmt: skip

# %% tags=["nbval-ignore-output"]
roles = {"teacher, 28 x 28": "teacher", "answers to pairs": "method", "teacher's answers": "method"}
roles |= {name: "other" for name in ("smoothed labels", "own answers to pairs", "pairs shuffled", "all labels")}
figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 4.2), width_ratios=[1.15, 1])
figures.points(live, "accuracy", "test accuracy, %", baseline="labels alone", roles=roles, axes=left)
own_images = "teacher's answers"
no_teacher = live[live.condition != "teacher, 28 x 28"]
figures.paired(no_teacher, "accuracy", "", against="labels alone", roles=roles, axes=right)
right.set_xlabel("test accuracy minus that of labels alone,\npercentage points")
figures.save(
    figure,
    "5-3-effect",
    alt="Mean test accuracies: " + ", ".join(f"{name} {mean:.1f}%" for name, mean in means.items()),
    caption=f"The teacher's answers to the labelled images change the student by {minus(live, own_images, 'labels alone')}, "
    f"its answers to {pairs:,} unlabelled pairs by {minus(live, 'answers to pairs', 'labels alone')}, and those of a teacher "
    f"without the richer view by {minus(live, 'own answers to pairs', 'labels alone')}. Mean and 95% interval over {seeds} "
    "seeds, which differ in images and initial weights.",
)


# %% tags=["nbval-ignore-output"]
def against(frame, control):
    """Mean accuracies, and paired differences from a control in points."""
    wide = frame.pivot(index="seed", columns="condition", values="accuracy")[list(dict.fromkeys(frame.condition))]
    gaps = wide.sub(wide[control], axis=0)
    rows = {
        name: {"accuracy, %": wide[name].mean(), "difference": gap.mean(), "from": figures.interval(gap)[0],
               "to": figures.interval(gap)[1], "above 0": f"{(gap > 0).sum()} of {len(gap)}"}
        for name, gap in gaps.items() if name != control
    }  # fmt: skip
    return pd.DataFrame(rows).T.infer_objects()


caption = "Test accuracy, and paired differences from {} in percentage points with 95% intervals."
figures.table(against(live, "labels alone"), decimals=1, caption=caption.format("labels alone"))

# %% tags=["nbval-ignore-output"]
controls = ["answers to pairs", "own answers to pairs", "pairs shuffled", "all labels"]
figures.table(
    against(live[live.condition.isin(controls)], "answers to pairs"), decimals=1, caption=caption.format("answers to pairs"),
)  # fmt: skip

# %% [markdown]
# **What the numbers say.** The teacher is right about 82.2% of the test images, labels alone about 70.1%: a
# gap of 12.1 points. More training does not help labels alone: with twice as many steps their students reach
# 69.2%.
#
# - *Answers to the labelled images hardly help.* They bring 0.4 points (95% interval 0.1 to 0.8). Smoothed labels,
#   which no teacher made, bring 0.7 (0.2 to 1.2). It looks like problem 2: a sharper picture of a training image
#   does not make the student's next image sharper.
# - *Answers to unlabelled pairs help.* They bring 2.5 points (0.9 to 4.1), in all six seeds. With the labels
#   of these 3,000 images instead of the answers the gain would be 6.3 (4.5 to 8.1).
# - *It takes the richer view.* A teacher of 4 x 4 pixels that answers for the same 3,000 images brings nothing (0.0,
#   1.2 less to 1.2 more), 2.5 points less than the teacher of 28 x 28 pixels (1.9 to 3.2).
# - *The teacher's decision helps.* Answers shuffled among images with the same decision do as well:
#   0.4 points more (0.1 less to 0.9 more). What the teacher says about *this* image beyond its class shows
#   no benefit for a student of 16 pixels. Hard decisions may do as well; the second of the relatives uses
#   only these.
#
# In short, the teacher here replaces missing labels, and gains less than half of what these would (2.5 of 6.3
# points). Where labels exist already it is worth no more than smoothing.

# %% [markdown]
# ### Explorer: two views of one digit
#
# Below are three images of seed 0 whose labels none of these networks has seen. The teacher is right about
# all three, the student of labels alone about none. The student of answers to pairs is right about the first
# two, and wrong about the third. Among all such images, these are the ones on which the student of labels
# alone disagrees most with the teacher. Choose one and move the temperature.

# %%
unlabelled = slice(labelled, labelled + 1000)
said = {
    "teacher": cross_modal.stack_logits(teachers, rich)[0, unlabelled].detach(),
    "student, labels alone": cross_modal.stack_logits(students["labels alone"], poor)[0, unlabelled].detach(),
    "student, answers to pairs": cross_modal.stack_logits(students["answers to pairs"], poor)[0, unlabelled].detach(),
}
p, q = said["teacher"].softmax(1), said["student, labels alone"].softmax(1)
apart = (p * (p.clamp_min(1e-9) / q.clamp_min(1e-9)).log()).sum(1)
truth = y[0, unlabelled]
right = {name: logits.argmax(1) == truth for name, logits in said.items()}
taken = right["teacher"] & ~right["student, labels alone"]
groups = taken & right["student, answers to pairs"], taken & ~right["student, answers to pairs"]
most = [i for group, count in zip(groups, (2, 1), strict=True) for i in torch.where(group, apart, -1).topk(count).indices.tolist()]
choices = {f"{number}. class {source.classes[int(truth[i])]}": i for number, i in enumerate(most, 1)}


# %% tags=["nbval-ignore-output"]
def show_answers(image, T):
    i = choices[image]
    figure, axes = plt.subplots(1, 5, figsize=(9.8, 2.5), width_ratios=[0.9, 0.9, *[1.5] * 3], layout="constrained")
    for place, size, title in ((axes[0], 28, "teacher's view"), (axes[1], side, "student's view")):
        picture = F.avg_pool2d(all_images[0].images[labelled + i].float(), 28 // size)
        figures.image(place, picture)
        place.set_title(title, fontsize=10)
    for place, (name, logits) in zip(axes[2:], said.items(), strict=True):
        figures.bars(place, (logits[i] / T).softmax(0), source.classes)
        place.set_title(name.replace(", ", ",\n"), fontsize=10)
        place.set(xlabel="class", ylim=(0, 1))
        place.tick_params(labelleft=place is axes[2])
    axes[2].set_ylabel("probability")
    return figure


figures.explorer(
    show_answers,
    name="5-3-explorer",
    alt="One digit of 28 x 28 and of 4 x 4 pixels, and the class probabilities of the teacher and of two students. The teacher is "
    "right, the student of labels alone says another class; the student of answers to pairs is right about the first two images "
    "and wrong about the third",
    caption="What the networks of seed 0 say about an image that none of them had a label of. Dark: the most probable class.",
    start={"image": next(iter(choices)), "T": 2},
    image=list(choices),
    T=[1, 2, 5, 10],
)

# %% [markdown]
# ## The relatives
#
# They differ in *what* is passed on from the richer view, in *whether* the pairs need labels, and in what is
# available at test. All of them run below on real pairs: the left and the right half of one digit, a digit
# and its noisy copy, a digit in few and in many pixels. With halves, the student has the left one and the
# teacher the right one, and neither contains the other. Open a method for its formula and for what
# characterises it. The modules are those of `kdnb.methods.cross_modal`; their docstrings say which parts of a
# paper we have read, and where our code departs from it.
#
# <details><summary><b>Supervision transfer</b>: features in place of answers</summary>
#
# [Gupta et al. (2016)](https://arxiv.org/abs/1507.00448) have many labelled colour images, and depth images
# that come in pairs with colour but without labels. The depth network's middle layer $\phi$ is trained to
# match the colour network's, $\psi$; afterwards the depth network is fine-tuned on a few labels of its own.
#
# $$\min_{\phi,\,t}\ \frac1{2B}\sum_b\big\lVert\psi(x_b^*)-t(\phi(x_b))\big\rVert_2^2,\qquad
#   \text{then}\ \min H(\mathbf 1_y,q)\ \text{on few labels.}$$
#
# *What characterises it:* the first step uses neither labels nor the teacher's logits. The map $t$ is learnt
# and makes the widths equal; where they are equal it may be left out.
# `transfer_supervision(student, teacher, pairs, recipe, views=…, paths=…)`.
#
# </details>
#
# <details><summary><b>Cross-modal action recognition</b>: hard decisions, and students that help each other</summary>
#
# [Thoker and Gall (2019)](https://arxiv.org/abs/1910.04641) train networks that see skeletons on the
# decisions of a network that sees videos. $A$ students learn together:
#
# $$L_a=H(\mathbf 1_{\hat y},q_a)+\frac{w}{A-1}\sum_{b\ne a}\mathrm{KL}(q_b\,\|\,q_a),\qquad
#   \hat y=\arg\max_k v_k(x^*).$$
#
# *What characterises it:* the teacher's soft answers are thrown away. Instead, each student learns what the
# others are unsure about ([chapter 3.2](3-2-online-distillation.ipynb)).
# `cross_action(students, teacher, inputs, recipe, views=…)`.
#
# </details>
#
# <details><summary><b>Hallucination</b>: made-up features of the missing sensor</summary>
#
# [Hoffman et al. (2016)](https://doi.org/10.1109/CVPR.2016.96) add a second network to the student's own. It
# reads the same input, and makes up the features $f^*$ that the missing sensor would have given. Both answer
# together at test.
#
# $$L=H(\mathbf 1_y,q_\text{made up})+H(\mathbf 1_y,q_\text{beside})+H(\mathbf 1_y,q_\text{joint})
#   +w\,\lVert\sigma(f_\text{made up})-\sigma(f^*)\rVert_2^2$$
#
# with the sigmoid $\sigma$: a large activation counts as "on". *What characterises it:* at test there are two
# networks of one view. So the control is two networks of this view that learn from labels. `hallucinate(…)`,
# and `Streams` for the joint answer.
#
# </details>
#
# <details><summary><b>ADMD</b>: a critic instead of a distance</summary>
#
# [Garcia et al. (2020)](https://arxiv.org/abs/1810.08437) let a critic $D$ with $K+1$ classes judge features:
# real ones have their class, made-up ones the last class.
#
# $$L_D=\tfrac12\big[H(\mathbf 1_y,D(f^*))+H(\mathbf 1_{K+1},D(f_\text{made up}))\big],\qquad
#   L_\text{made up}=H(\mathbf 1_y,D(f_\text{made up})).$$
#
# *What characterises it:* no distance between features is minimised. Features may differ from the missing
# ones as long as the critic takes them for real ones of the right class. `admd(…)`.
#
# </details>
#
# <details><summary><b>Graph distillation</b>: several modalities, and a graph that says who teaches</summary>
#
# [Luo et al. (2018)](https://arxiv.org/abs/1712.00108) have several modalities. The learning one has logits
# $z$ and a representation $r$; it imitates the logits $v_j$ and representations $r_j$ of the others with
# weights $G_j$ that are learnt, sample by sample:
#
# $$L=H(\mathbf 1_y,q)+\sum_j(G_j+c_j)\big[w_v\,(1-\cos(z,v_j))+w_r\,(1-\cos(r,r_j))\big]
#   +w_c\sum_j(\bar G_j-c_j)^2.$$
#
# $G$ sums to 1 over the others, $\bar G$ is its mean over the batch, $c$ is a prior. *What characterises it:*
# the graph is trained to lower the loss that it weights, so it moves towards the modality that is *easiest to
# imitate*; only $c$ limits this. `distil_by_graph(…)`; `learn_graph=False` is the control.
#
# </details>
#
# <details><summary><b>Rank transfer</b>: margins from the richer view</summary>
#
# [Sharmanska et al. (2013)](https://doi.org/10.1109/ICCV.2013.107) rank samples by a linear function. A
# ranking SVM on $x^*$ is trained first. The distance that it puts between a pair $(i,j)$, of which $i$ ranks
# above $j$, is the margin required of the student's weights $w$:
#
# $$\rho_{ij}=\langle w^*,x_i^*-x_j^*\rangle,\qquad
#   \min_w\ \tfrac12\lVert w\rVert^2+C\sum_{i,j}\max\big(0,\ \rho_{ij}-\langle w,x_i-x_j\rangle\big).$$
#
# *What characterises it:* pairs that are easy to order in $x^*$ must be far apart, hard ones need not. With
# the same margin for all pairs it is the ordinary ranking SVM. `rank_transfer(inputs, privileged, scores)`.
#
# </details>
#
# <details><summary><b>Noisy and narrow-band speech</b>: a clean copy is the richer view</summary>
#
# [Markov and Matsui (2016)](https://doi.org/10.21437/Interspeech.2016-852) recognise speech in noise, with a
# teacher of the clean recording; [Fukuda et al. (2017)](https://doi.org/10.21437/Interspeech.2017-614) also use
# a broadband teacher for narrow-band students. The loss is that of this chapter, with
#
# $$x=x^*+n\,\sqrt{\frac{\sum (x^*)^2}{10^{d/10}\sum n^2}}\quad\text{(noise at $d$ decibels)}
#   \qquad\text{or}\quad x=\text{the lower part of the band of }x^*.$$
#
# *What characterises it:* pairs cost nothing, since the poor view is computed from the rich one. `noisy_at`,
# `narrow_band`, `distil_privileged`.
#
# </details>

# %% [markdown]
# ### A check of each
#
# *Rank transfer.* If all margins are 1 it must equal the ordinary ranking SVM, and a pair that is far apart
# in $x^*$ must also be placed further apart in $x$.
#
# *Graph.* Without a learnt graph the weights are the prior; with one, they add up to 1 for each sample.
#
# *Noise.* At $d$ decibels the power of what was added is $10^{-d/10}$ of the signal's. The lower half of the
# band is unchanged by `narrow_band`.

# %%
waves = torch.randn(50, 400, generator=torch.Generator().manual_seed(0))
added = cross_modal.noisy_at(waves, 5.0) - waves
torch.testing.assert_close(added.square().sum(1) / waves.square().sum(1), torch.full((50,), 10**-0.5))
halved = torch.fft.rfft(cross_modal.narrow_band(waves, 2))[:, :100]
torch.testing.assert_close(2 * halved, torch.fft.rfft(waves)[:, :100], rtol=1e-4, atol=1e-3)

line = torch.arange(12.0)[:, None]  # x* ranks as the scores do, one apart
noisy_line = line + torch.randn(12, 1, generator=torch.Generator().manual_seed(1))
ranked = cross_modal.ordered_pairs(line[:, 0])
taught, guide = cross_modal.rank_transfer(noisy_line, line, line[:, 0], cost=10.0)
margins = (line[ranked[:, 0]] - line[ranked[:, 1]])[:, 0] * guide.weights
same = cross_modal.ranking_svm(noisy_line, ranked, margins, 10.0)
torch.testing.assert_close(taught.weights, same.weights, rtol=1e-3, atol=1e-3)

graph = cross_modal.ModalityGraph(10, 32)
weights = graph([torch.randn(7, 10) for _ in range(3)], [torch.randn(7, 32) for _ in range(3)])
torch.testing.assert_close(weights.sum(1), torch.ones(7))
print("noise, band, margins and graph are what the formulas say")

# %% [markdown]
# ### Pairs without labels
#
# The first group of relatives needs no labels for the pairs. For each seed the teacher learns from 2,000
# labelled images of right halves; there are 100 labelled left halves, and 2,000 other digits in both views
# without labels. All networks have one hidden layer of 32 units.

# %%
def cut(images):
    """The left and the right half of 14 x 14 pixels, as rows."""
    left, right = cross_modal.halves(F.avg_pool2d(images.images.float() / 255, 2))
    return {"left": left.flatten(1), "right": right.flatten(1)}


def small(place, seed, inputs=98):
    torch.manual_seed(100 * seed + place)
    return nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, 10))


adam = partial(kdnb.Recipe, optimiser="adam", lr=0.01, schedule="cosine", precision="32")
on_many, on_few = adam(epochs=8, batch_size=100), adam(epochs=60, batch_size=50)
across = {"views": ("left", "right"), "paths": ("1", "1")}
halved_test = cut(test)


def errors(network, view="left"):
    """Of the test images, in percent."""
    with torch.no_grad():
        answers = network(halved_test[view] if view else halved_test)
    return 100 * float((answers.argmax(1) != test.labels).float().mean())


def lessons(seed):
    """Labelled images of the teacher, pairs without labels, and the student's labelled images."""
    images = draw(seed, 4100)
    parts = [images.select(slice(*ends)) for ends in ((0, 2000), (2000, 4000), (4000, 4100))]
    return [(cut(part), part.labels) for part in parts]


def guide(seed):
    teacher, ((views, labels), *_) = small(0, seed), lessons(seed)
    kdnb.train(teacher, (views["right"], labels), on_many)
    return teacher


guides = {FIRST_SEED + n: guide(n) for n in range(relatives_seeds)}


# %%
def unlabelled_pairs(how):
    """A condition: a student learns from pairs, then from few labels."""

    def run(seed):
        number, student = seed - FIRST_SEED, small(1, seed - FIRST_SEED)
        _, (both, _), (own, labels) = lessons(number)
        nothing = torch.zeros(len(both["left"]), dtype=torch.int64)
        if how in ("transfer", "untrained"):
            teacher = guides[seed] if how == "transfer" else small(9, number)
            cross_modal.transfer_supervision(student, teacher, both, on_many, **across)
        elif how == "soft":
            cross_modal.distil_privileged(
                student, guides[seed], (both, nothing), on_many, views=across["views"], teacher_share=1.0
            )
        elif how != "labels":
            others = [small(2, number)] if how == "together" else []
            cross_modal.cross_action([student, *others], guides[seed], both, on_many, views=across["views"])
        if how in ("labels", "transfer", "untrained"):
            kdnb.train(student, (own["left"], labels), on_few)
        return errors(student)

    return run


group = {
    "labels alone": "labels", "supervision transfer, then labels": "transfer",
    "transfer from an untrained teacher, then labels": "untrained", "soft answers, no label": "soft",
    "hard decisions, no label": "hard", "hard decisions, two students together, no label": "together",
}  # fmt: skip
without_labels = kdnb.compare({name: unlabelled_pairs(how) for name, how in group.items()}, seeds=list(guides))


# %% tags=["nbval-ignore-output"]
def table(comparison, control, title):
    found = comparison.against(control)[["errors", "difference", "low", "high"]]
    found.loc[control, "difference"] = float("nan")
    found = found.rename(columns={"errors": "test error, %", "low": "from", "high": "to"})
    return figures.table(found, decimals=1, caption=f"{title} Means of {relatives_seeds} seeds, and paired differences from "
                         f"{control} in percentage points with 95% intervals.")  # fmt: skip


right_half = sum(errors(one, "right") for one in guides.values()) / relatives_seeds
table(without_labels, "labels alone", f"Students of left halves. The teachers of right halves err on {right_half:.1f}%.")

# %% [markdown]
# A student that never sees a label errs on 25.5% of the left halves with soft answers, and on 25.3% with hard
# decisions. With 100 labels alone it is 33.9%: 8 to 9 points more, in both cases with an interval above 0.
# Three seeds show no difference between soft and hard answers, or between one student and two. On its own
# data the paper reports that hard decisions and students together do better than the KL divergence.
# Supervision transfer saves 2.8 points, which is undecided (6.7 less to 1.2 more), and the untrained teacher
# shows no gain, as it should. The students of answers have 2,000 decisions, right or wrong; the others have
# the same 100 labels as the control. So the two groups differ in their data, not only in the method.

# %% [markdown]
# ### Pairs with labels, and one sensor that is missing at test
#
# Here 300 pairs have labels. The student's answers come from two networks that see the left half. The control
# is two such networks trained on labels; the upper bound has the right half at test. For the graph there is
# one network, a third modality (the whole digit at 4 x 4 pixels), and the graph's prior as control.

# %%
on_pairs, SEES = adam(epochs=30, batch_size=50), {"left": 98, "right": 98, "small": 16}


def sensors(number):
    """300 labelled images in three views, and trained networks of two of them."""
    images = draw(number, 300)
    views = cut(images) | {"small": view(images, 4)}
    nets = {name: small(place, number, SEES[name]) for place, name in enumerate(SEES)}
    for name in ("right", "small"):
        kdnb.train(nets[name], (views[name], images.labels), on_pairs)
    return (views, images.labels), nets


trained = {FIRST_SEED + n: sensors(n) for n in range(relatives_seeds)}


def missing_sensor(how):
    def run(seed):
        pairs, nets = trained[seed][0], copy.deepcopy(trained[seed][1])
        left, beside = (pairs[0]["left"], pairs[1]), small(5, seed - FIRST_SEED)
        made_up = copy.deepcopy(nets["right"]) if how == "admd" else nets["left"]
        if how in ("one", "two"):
            kdnb.train(made_up, left, on_pairs)
        elif "graph" in how:
            graphs[seed, how] = cross_modal.distil_by_graph(
                nets, "left", pairs, on_pairs, paths=dict.fromkeys(SEES, "1"), learn_graph=how == "graph", logit_weight=1.0,
                representation_weight=0.1, prior_weight=1.0,
            ).learnt, nets  # fmt: skip
        if how in ("one", "graph", "graph at its prior"):
            return errors(made_up)
        if how == "hallucination":
            cross_modal.hallucinate(made_up, nets["right"], pairs, on_pairs, beside=beside, **across)
        else:
            kdnb.train(beside, left, on_pairs)
        if how == "admd":
            cross_modal.admd(made_up, nets["right"], Critic(32, 11), pairs, on_pairs, critic_recipe=on_pairs, **across)
        joined = (nets["right"], "right") if how == "both" else (made_up, "left")
        return errors(cross_modal.Streams([cross_modal.Seeing(beside, "left"), cross_modal.Seeing(*joined)]), None)

    return run


# %%
graphs = {}
group = {
    "two networks of labels": "two", "hallucination": "hallucination", "ADMD": "admd",
    "both halves at test": "both", "one network of labels": "one", "graph distillation": "graph",
    "graph distillation, graph kept at its prior": "graph at its prior",
}  # fmt: skip
with_labels = kdnb.compare({name: missing_sensor(how) for name, how in group.items()}, seeds=list(guides))

# %% tags=["nbval-ignore-output"]
table(with_labels, "two networks of labels", "Left halves at test.")

# %% tags=["nbval-ignore-output"]
table(
    kdnb.compare(
        {name: lambda seed, name=name: with_labels.errors.loc[seed, name] for name in list(group)[4:]}, seeds=list(guides)
    ),
    "one network of labels", "The last three conditions again.",
)  # fmt: skip


# %% tags=["nbval-ignore-output"]
def learnt_weights(seed):
    """The mean weights of right half and small image, and how far each is from the left half's logits."""
    (learnt, nets), (views, _) = graphs[seed, "graph"], trained[seed][0]
    order = ("left", "right", "small")
    with torch.no_grad():
        inner = [nets[name][:2](views[name]) for name in order]
        logits = [nets[name](views[name]) for name in order]
        far = [1 - F.cosine_similarity(logits[0], one).mean() for one in logits[1:]]
        return [*learnt(logits, inner).mean(0).tolist(), *map(float, far)]


mean = torch.tensor([learnt_weights(seed) for seed in trained]).mean(0)
for place, name in enumerate(("right half", "small image")):
    print(f"{name}: weight {mean[place]:.2f}, cosine distance from the logits of the left half {mean[place + 2]:.3f}")

# %% [markdown]
# At this size no method replaces the missing half better than a second network trained on labels.
#
# - *Hallucination* errs on 25.6%, two networks of labels on 24.9%: 0.8 points more, undecided (1.3 less to
#   2.8 more). One network of labels errs on 25.2%, so the made-up features show no gain over that either.
# - *ADMD* does harm: 11.3 points more (2.3 to 20.2). Its features must only deceive the critic, and its head,
#   taken from the network of the other half, gets no gradient. We do not know whether longer training would
#   help.
# - *Graph distillation* shows no gain over one network of labels (1.5 points more, 0.4 less to 3.4 more), and
#   neither does the same with a fixed graph. The learnt weights are near the prior of one half each, and the
#   larger one, 0.52, goes to the closer modality: the small image, which contains part of the left half.
#
# Having the right half at test would save 9.4 points (6.3 to 12.4). We see problem 2 again here: what only
# the missing half shows cannot be inferred from the half that is there.

# %% [markdown]
# ### Noise and ranking
#
# A digit in white noise, at 14 x 14 pixels, stands in for a recording in noise. As before, 100 of the
# student's images have labels, and the 2,000 pairs have none. The control's teacher learns from the same
# 2,000 labelled images in the student's own view. In addition, rank transfer orders fours before nines by 4 x
# 4 pixels, with 28 x 28 as the richer view and 12 images of each.

# %%
def noisy(images):
    pixels = F.avg_pool2d(images.images.float() / 255, 2)
    return cross_modal.noisy_at(pixels, -6.0, seed=len(images)).flatten(1)


def heard(teacher_sees):
    """A student of the noisy view; its teacher sees the clean one, the noisy one, or does not exist."""
    bad_test = noisy(test)

    def run(seed):
        images = draw(seed - FIRST_SEED, 4100)
        parts = [images.select(slice(*ends)) for ends in ((0, 2000), (2000, 4000), (4000, 4100))]
        clean, bad = [view(part, 14) for part in parts], [noisy(part) for part in parts]
        student = small(1, seed, bad[0].shape[1])
        if teacher_sees is None:
            kdnb.train(student, (bad[2], parts[2].labels), on_few)
        else:
            rich = clean if teacher_sees == "clean" else bad
            teacher = small(0, seed, rich[0].shape[1])
            kdnb.train(teacher, (rich[0], parts[0].labels), on_many)
            both = {"bad": bad[1], "rich": rich[1]}, torch.zeros(2000, dtype=torch.int64)
            cross_modal.distil_privileged(student, teacher, both, on_many, views=("bad", "rich"), teacher_share=1.0)
        with torch.no_grad():
            return 100 * float((student(bad_test).argmax(1) != test.labels).float().mean())

    return run


group = {"labels alone": None, "teacher of the same view": "bad", "teacher of the clean view": "clean"}
spoken = kdnb.compare({name: heard(sees) for name, sees in group.items()}, seeds=list(guides))

# %% tags=["nbval-ignore-output"]
table(spoken, "teacher of the same view", "Noise at \N{MINUS SIGN}6 decibels.")


# %%
def ranked_by(how):
    def run(seed):
        images = draw(seed - FIRST_SEED, 2000)
        rows = torch.cat([(images.labels == c).nonzero()[:12, 0] for c in (4, 9)])
        few, scores = images.select(rows), torch.tensor([0.0] * 12 + [1.0] * 12)
        low, high = view(few, 4), view(few, 28)
        if how == "plain":
            found = cross_modal.ranking_svm(low, cross_modal.ordered_pairs(scores))
        else:
            found, teacher = cross_modal.rank_transfer(low, high, scores)
        size = 28 if how == "privileged" else 4
        chosen = test.select((test.labels == 4) | (test.labels == 9))
        better = teacher if how == "privileged" else found
        return 100 - 100 * cross_modal.ordered_rightly(better, view(chosen, size), (chosen.labels == 9).float())

    return run


ranks = {"ranking SVM": "plain", "rank transfer": "transfer", "ranking SVM of the richer view": "privileged"}
ranking = kdnb.compare(
    {name: ranked_by(how) for name, how in ranks.items()}, seeds=[FIRST_SEED + n for n in range(2 * relatives_seeds)]
)

# %% tags=["nbval-ignore-output"]
found = ranking.against("ranking SVM")[["errors", "difference", "low", "high"]]
found.loc["ranking SVM", "difference"] = float("nan")
figures.table(
    found.rename(columns={"errors": "pairs ordered wrongly, %", "low": "from", "high": "to"}), decimals=1,
    caption=f"Fours before nines. Means of {2 * relatives_seeds} seeds, and paired differences in percentage points with 95% intervals.",
)  # fmt: skip

# %% [markdown]
# In noise the 2,000 pairs help greatly: students of labels alone err on 70.3%, students of pairs on 41.5 and
# 42.5%. Only 1.0 points of this come from the teacher's clean view, and this difference is undecided (3.2
# points fewer errors to 1.3 more). Look for this control whenever a paper reports the gain from a clean
# teacher.
#
# Rank transfer orders as many pairs wrongly as the ordinary ranking SVM (0.1 points less; 0.7 less to 0.6
# more), though an SVM on the richer view does better by 8.0 points (3.1 to 12.8). A likely reason: pairs that
# are easy in 28 x 28 pixels are not easy in 4 x 4.

# %% [markdown]
# ## The reproduction: Lopez-Paz et al. 2016
#
# The record holds both parts of the paper's section 5, with 16 seeds (`kdnb reproduce lopezpaz2016generalised`,
# 14 CPU minutes). The paper gives its MNIST results as a figure; the published values below are means of the
# authors' own result files.
#
# | | published | ours |
# |---|---|---|
# | synthetic data | 100 data sets | 6 data sets a seed, 96 in all |
# | images, students | MNIST, shrunk to 7 x 7 pixels; 300 or 500 with labels | the same, as means of blocks |
# | teachers | 28 x 28 pixels, the same images | the same |
# | networks | two hidden layers of 20 | the same |
# | training on MNIST | RMSprop, 50 epochs in batches of 128: 150 steps on 300 images | the same; also trained out |
# | test of the synthetic problems | 1,000 points in the code, 10,000 in the text | 10,000; on MNIST the 10,000 test images |
#
# Claims are in `papers/lopezpaz2016generalised/claims.toml`, and were registered before the first recorded
# run. But pilots with other seeds had shown the outcome of most of them, and the setting of the trained-out
# trials (*trained out*: trained until the students of labels have learnt their images) was chosen with
# outcomes known. Claims marked *our own question* have no published counterpart. Pilots and setting:
# [`setting.md`](../papers/lopezpaz2016generalised/setting.md). [How a claim is judged](../docs/verdicts.md)
# explains the words.

# %%
show_verdicts(papers.verdicts("lopezpaz2016generalised", "laptop"), "laptop", grouped=True)

# %%
who = {"teacher": "teacher", "regular": "labels alone", "distilled": "taught"}
titles = {
    "clean_labels": "1 clean labels", "clean_features": "2 clean features", "relevant": "3 relevant features",
    "dependent": "4 features that change, as coded", "dependent_text": "4 as written",
    "dependent_boxes": "4 in their places (ours)",
}  # fmt: skip
names = {f"{trial}_{one}": f"{title}: {name}" for trial, title in titles.items() for one, name in who.items()}
names |= {f"{trial}_exact_{one}": f"{title}, at the optimum: {name}" for trial, title in titles.items() for one, name in who.items()}
trials = {
    "n300": "300 images", "n500": "500 images", "n2000": "2,000 images", "long": "trained out",
    "clean": "4 x 4, clean labels", "noisy": "4 x 4, random labels",
}  # fmt: skip
arms = {
    "teacher": "teacher", "own_view": "teacher of the student's view", "labels": "labels alone",
    **{f"t{T}": f"T = {T}" for T in (1, 2, 5, 10, 20, 50)}, "pure": "teacher's answers alone",
    "smoothed": "smoothed labels", "class_means": "mean answer for the class", "shuffled": "shuffled in the class",
    "from_own_view": "taught by its own view", "tempered": "student softened too", "equation": "as equation 4",
}  # fmt: skip
names |= {f"{trial}_{arm}": f"{title}: {name}" for trial, title in trials.items() for arm, name in arms.items()}
figures.published_and_ours(papers.show_frame("lopezpaz2016generalised", "laptop"), names)

# %% [markdown]
# Numbers are test accuracies in percent; "taught" is with $\lambda=1$ and $T=1$ in the synthetic problems.
# With 7 x 7 pixels and the paper's recipe "T = 10" is the mean over $\lambda=0.1,\dots,1$, as in the
# published means, and "teacher's answers alone" is $\lambda=1$ at $T=10$; all use the factor $T^2$ of the
# code, except "as equation 4". *Asked for* is our own criterion.

# %%
record = papers.read_record("lopezpaz2016generalised", "laptop").table()


def recorded(trial, chosen=arms):
    """Test accuracies of one trial of the record, by readable names."""
    return figures.tidy(record, "accuracy", {f"{trial}_{arm}": arms[arm] for arm in chosen})


def mean_of(arm):
    return f"{record[arm, 'accuracy'].mean():.1f}"


def compare(first, second, metric="accuracy"):
    difference = record[first, metric] - record[second, metric]
    low, high = figures.interval(difference)
    return f"{difference.mean():+.1f} points ({low:+.1f} to {high:+.1f})"

# %%
parts = [
    figures.tidy(record, "accuracy", {f"{trial}_{one}": title for trial, title in titles.items()}).assign(network=name)
    for one, name in who.items()
]
everyone = pd.concat(parts)
published = {
    "1 clean labels": (96, 88, 95), "2 clean features": (90, 68, 70), "3 relevant features": (98, 89, 97),
    "4 features that change, as coded": (96, 55, 56),
}  # fmt: skip
figure = figures.points(
    everyone, "accuracy", "test accuracy, %", group="network",
    roles={"teacher": "teacher", "labels alone": "student", "taught": "method"},
)  # fmt: skip
axes = figure.axes[0]
for place, values in enumerate(published.values()):
    diamonds = axes.scatter(
        values, [place - 0.24, place, place + 0.24], s=46, marker="D", facecolors="none", edgecolors="black", zorder=5
    )
one_legend(figure, {"one seed": "one seed: 6 data sets"}, published=diamonds)
figures.save(
    figure,
    "5-3-recorded-problems",
    alt="Test accuracies of the record, and published ones. " + " ".join(
        f"{title}: " + ", ".join(f"{name} {mean_of(trial + '_' + one)}" for one, name in who.items()) + "."
        for trial, title in titles.items()),
    caption="The synthetic problems in the record; hollow diamonds are published. Gains of the taught student: "
    + "; ".join(f"{title} {compare(f'{trial}_distilled', f'{trial}_regular')}" for trial, title in titles.items())
    + ". Mean and 95% interval over 16 seeds.",
)  # fmt: skip

# %%
published = {300: (47.0, 47.1, 49.2, 57.2, 62.3, 62.9, 55.2), 500: (58.9, 59.5, 61.8, 68.7, 72.9, 72.7, 68.7)}
temperatures = (1, 2, 5, 10, 20, 50)
figure, panels = plt.subplots(1, 2, figsize=(10, 3.9), sharey=True, layout="constrained")
for axes, count in zip(panels, published, strict=True):
    swept = figures.tidy(record, "accuracy", {f"n{count}_t{T}": str(T) for T in temperatures})
    swept = swept.assign(T=swept["condition"].astype(float), condition="taught, ours")
    alone = record[f"n{count}_labels", "accuracy"].mean()
    figures.lines(
        swept, "accuracy", "test accuracy, %", over="T", over_label="temperature $T$", bars=True, log="x",
        baseline=alone, baseline_label="labels alone, ours", roles={"taught, ours": "method"}, axes=axes,
    )  # fmt: skip
    alone, *values = published[count]
    axes.scatter(temperatures, values, s=46, marker="D", facecolors="none", edgecolors="black", zorder=5, label="taught, published")
    axes.axhline(alone, color="black", lw=1, ls=(0, (5, 3)), label="labels alone, published")
    smooth = record[f"n{count}_smoothed", "accuracy"].mean()
    axes.axhline(smooth, color=figures.PURPLE, lw=1.2, ls="-.", label="smoothed labels, ours")
    axes.set_title(f"{count} images, 150 steps" if count == 300 else f"{count} images, 200 steps")
    axes.legend(fontsize=8, loc="lower center")
figures.save(
    figure,
    "5-3-recorded-temperature",
    alt="Test accuracy by temperature. With 300 images: " + ", ".join(
        f"T = {T} {mean_of(f'n300_t{T}')}%" for T in temperatures)
    + f"; labels alone {mean_of('n300_labels')}%, smoothed labels {mean_of('n300_smoothed')}%.",
    caption=f"The published rise and fall with the temperature comes out: at $T=10$ {compare('n300_t10', 'n300_labels')} with 300 images and "
    f"{compare('n500_t10', 'n500_labels')} with 500. But smoothed labels of the same entropy, without a teacher, gain {compare('n300_smoothed', 'n300_labels')} "
    "with 300. Mean and 95% interval over 16 seeds.",
)  # fmt: skip

# %%
shown = ["labels", "pure", "smoothed", "class_means", "shuffled", "from_own_view", "tempered", "equation"]
roles = {arms[arm]: "other" for arm in shown[2:]} | {arms["pure"]: "method"}
figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 4.4), sharex=True)
for axes, trial in ((left, "n300"), (right, "long")):
    figures.paired(recorded(trial, shown), "accuracy", "", against="labels alone", roles=roles, axes=axes)
    axes.set(xlabel="accuracy minus that of labels alone, points", title={"n300": "150 steps", "long": "trained out"}[trial])
right.set_yticklabels([])
one_legend(figure)
figures.save(
    figure,
    "5-3-recorded-controls",
    alt="Differences from labels alone after 150 steps, and trained out. " + " ".join(
        f"{arms[arm]}: {compare(f'n300_{arm}', 'n300_labels')}, trained out {compare(f'long_{arm}', 'long_labels')}." for arm in shown[1:]),
    caption=f"The gain is there only while training is short (300 images, 7 x 7 pixels, $T=10$). After 150 steps the teacher's answers bring "
    f"{compare('n300_pure', 'n300_labels')}, smoothed labels {compare('n300_smoothed', 'n300_labels')}. Trained out they change accuracy by "
    f"{compare('long_pure', 'long_labels')} and {compare('long_smoothed', 'long_labels')}. Mean and 95% interval over 16 seeds.",
)  # fmt: skip

# %%
shown = ["teacher", "labels", "t1", "t2", "t5", "t10", "t20", "tempered", "smoothed", "class_means", "shuffled", "from_own_view"]
ramp = sns.light_palette(figures.GREEN, 8).as_hex()[3:]  # light: not softened
roles = {arms[arm]: colour for arm, colour in zip(shown[2:7], ramp, strict=True)}
roles |= {arms[arm]: "other" for arm in shown[7:]} | {"teacher": "teacher"}
figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 5.0))
for axes, trial in ((left, "clean"), (right, "noisy")):
    figures.points(recorded(trial, shown), "accuracy", "test accuracy, %", baseline="labels alone", roles=roles, axes=axes)
    axes.set_title(trials[trial].replace("4 x 4, ", ""))
right.set_yticklabels([])
one_legend(figure)
figures.save(
    figure,
    "5-3-recorded-views",
    alt="Test accuracies of students of 4 x 4 pixels. " + " ".join(
        f"{arms[arm]}: {mean_of(f'clean_{arm}')}% with clean labels, {mean_of(f'noisy_{arm}')}% with "
        "random ones." for arm in shown),
    caption=f"Students of 4 x 4 pixels, trained out. Clean labels: the teacher is better by {compare('clean_teacher', 'clean_labels')}, its answers at $T=2$ bring "
    f"{compare('clean_t2', 'clean_labels')}. With 40% random labels: teacher {compare('noisy_teacher', 'noisy_labels')}, $T=2$ "
    f"{compare('noisy_t2', 'noisy_labels')}; with a student softened too {compare('noisy_tempered', 'noisy_labels')}. That student and other temperatures "
    "were not part of a claim. The panels have different scales. Mean and 95% interval over 16 seeds.",
)  # fmt: skip

# %%
for first, second in (
    ("n300_pure", "n300_smoothed"), ("n300_pure", "n300_class_means"), ("n300_pure", "n300_shuffled"),
    ("n300_smoothed", "n300_labels"), ("n300_from_own_view", "n300_labels"), ("n300_tempered", "n300_labels"),
    ("n300_equation", "n300_labels"), ("n2000_t10", "n2000_labels"), ("long_teacher", "long_labels"),
    ("long_pure", "long_labels"), ("long_smoothed", "long_labels"), ("long_shuffled", "long_labels"), ("long_class_means", "long_labels"),
    ("clean_t5", "clean_labels"), ("clean_t10", "clean_labels"), ("noisy_t5", "noisy_labels"),
    ("noisy_from_own_view", "noisy_labels"), ("noisy_smoothed", "noisy_labels"),
    ("clean_tempered", "clean_labels"), ("noisy_tempered", "noisy_labels"),
):  # fmt: skip
    print(f"{names[first]} - {names[second].split(': ')[1]}: {compare(first, second)}")
told = "n300_labels", "n300_pure", "n300_smoothed", "n500_labels", "long_labels", "clean_labels", "noisy_labels", "noisy_teacher"
fitted = {arm: record[arm, "train_accuracy"].mean() for arm in told}
print("training accuracy, %:", ", ".join(f"{names[arm]} {value:.0f}" for arm, value in fitted.items()))

# %% [markdown]
# **What holds, and what does not.** We go through the claims one by one.
#
# - *Synthetic problems.* Problems 1 and 3 come out as published, and in problem 4 the teacher again gives its
#   student nothing (*clean-labels*, *relevant-features*, *dependent-features*: reproduced). But there labels
#   alone have 50.8% and the taught student 50.9%, where 55 and 56 were published; for these two levels no
#   criterion was registered. At the optimum, where training length plays no part, problems 1 and 3 still gain
#   7.1 and 6.9 points (*at-the-optimum*). In problem 2 the gain is 0.2 points (0.2 to 0.3), as small as
#   claimed. The verdict on *clean-features* is *inconclusive* for one reason only: the taught student has
#   67.9% (67.6 to 68.2), and our criterion was 68 to 72.
# - *A wrong word in a registered claim.* The statement of *dependent-features* says that a linear student
#   cannot single out the three features. In the problem as coded it can: they are the same for all training
#   points. Only at test do three others decide. The criterion does test the coded problem. A registered claim
#   is not changed afterwards, so the statement stands
#   ([`setting.md`](../papers/lopezpaz2016generalised/setting.md)).
# - *Problem 4 as the text describes it* is contradicted: with positions drawn for each sample, and
#   coefficients that belong to the positions, the teacher sees three values and cannot know which
#   coefficients to use. It reaches 53%, not 96%, and its student loses 1.9 points (1.7 to 2.1). The published
#   number belongs to the problem as coded. In our reading, where the values stay in their positions
#   (*boxes*), the teacher is good. Its student gains 0.1 points (0.0 to 0.2): significant, but of no
#   practical use.
# - *MNIST by the paper's recipe* is reproduced throughout: with 300 images the teacher brings 11.1 points (8.2
#   to 14.0; published 15.3), with 500 images 10.3 (8.3 to 12.3; published 14.0). The gain rises and falls with
#   the temperature, vanishes at $T=1$, and is 9.9 points smaller with 2,000 images (*mnist-gain-300*,
#   *mnist-gain-500*, *mnist-temperature*, *mnist-cold*, *more-data*).
#
# **What the gain consists of.** The controls are ours, with 300 images.
#
# - *It needs no teacher.* Labels smoothed to the same mean entropy gain 12.8 points (9.2 to 16.3), 2.2 *more*
#   than the teacher's answers alone (*more-than-smoothing*: contradicted). The teacher's answers do beat its
#   mean answer for the class, by 4.6 points, and its answers to other images of the class, by 8.4. So they do
#   say something about the image; but in total they help less than smoothing.
# - *As far as we can tell, it is faster learning.* After 150 steps students of labels alone are right on 57%
#   of their training images, students of the teacher's answers on 70%, of smoothed labels on 73%. Without the
#   code's factor $T^2$, as in equation 4 with $\lambda=\frac12$, the gain is 3.9 points (2.7 to 5.0), so "5
#   or more" is undecided (*as-the-equation*). A student that is also softened trains so slowly that it
#   *loses* 25.5.
# - *Trained out, nothing is left.* After 1,000 epochs the students of labels are right on all of their
#   images. The teacher's answers change accuracy by $-0.5$ points ($-1.4$ to 0.4), smoothing costs 2.2
#   (*trained-out-anything*: inconclusive). By then the teacher is only 0.5 points better than labels alone:
#   with 300 images and networks of this size 7 x 7 pixels are nearly as good as 28 x 28. The paper's theory
#   requires a teacher that is much better, so *trained-out* ends as *premise not met*.
#
# **A view with a real gap.** With 4 x 4 pixels the teacher is better by 11.9 points, even trained out.
#
# - *Clean labels.* Its answers at $T=2$ are worth 0.3 points (0.2 to 0.5), which is within the one point of
#   our criterion (*clean-view*: reproduced). It looks like problem 2 with images. But it depends on our
#   choice of temperature: at $T=5$ the gain is 1.7 points (1.2 to 2.3). No claim was registered for that
#   temperature.
# - *Random labels.* Pilots with six seeds had promised 3.7 points at $T=2$. The record shows 0.3, and the
#   interval contains 0 (*noisy-labels*, *worse-teacher*, *noisy-more-than-smoothing*: inconclusive). The
#   teacher memorises the random labels, and at $T=2$, we suppose, its answers are still close to them. A
#   teacher that sees 4 x 4 pixels cannot do that: its answers gain 1.4 points, 1.1 more than those of the
#   richer view (*noisy-needs-the-view*: contradicted). At $T=5$ the richer view gains 2.4 points (1.5 to
#   3.4). There is also an effect at $T=2$: a student that is softened too, Hinton's form, gains 2.2 points
#   there (1.5 to 2.8, in all 16 seeds), but 0.2 with clean labels ($-0.1$ to 0.4). None of this was part of a
#   claim, and picking the best of many arms afterwards overstates the effect.
#
# **What this says about the paper.** In its synthetic problems both the gains and their absence are
# confirmed, except for problem 4 as written in the text. The rates of its theory were not tested. Its MNIST
# experiment can be repeated, but it does not show what it is meant to show: a control without a teacher gains
# more, nothing is left once students are trained out, and within 150 steps it seems to measure how fast a
# network starts. For a student of 4 x 4 pixels on the *labelled* images the richer view adds little. On
# *unlabelled* pairs, where the teacher's answers replace labels, it adds more (Figure 3).

# %% [markdown]
# ## What you need, what it buys, when to choose it
#
# | method | what you need | what it buys | choose it when |
# |---|---|---|---|
# | generalised distillation | pairs; a teacher's logits | one loss, any networks; here 0.4 points on labelled pairs, 2.5 on unlabelled ones | first of all, and with all unlabelled pairs that you have |
# | supervision transfer | pairs without labels; a middle layer of the teacher; few labels | a start for networks of the new sensor | the classes of the two modalities differ, or the student is to serve several tasks |
# | decisions, students together | pairs without labels; the teacher's decisions alone | no access to its logits is needed | the teacher is a service that gives a class but no probabilities |
# | hallucination | labelled pairs; two networks at test | an ensemble with a part that imitates the missing sensor | the sensor was available in training, and you can afford two networks; compare with two networks of labels |
# | ADMD | the same, and a critic | no distance has to be chosen | the features of both sensors do not match point by point |
# | graph distillation | three modalities or more, labelled | weights for each teacher and sample | there are several teachers of unequal quality, and a prior |
# | rank transfer | samples with an order; few of them | margins, by a convex problem | some tens of samples, linear models |
# | noise, narrow band | clean data alone: the poor view is computed | as many pairs as there are recordings | the poor view can be simulated |
#
# Where the table says "here", this chapter measured it. The rest is what the methods require, or what their
# papers argue.
#
# **It fails, or is not worth its cost, when**
#
# - *the richer view says more about the sample than about the rule* (problem 2, and 4 x 4 pixels with clean
#   labels);
# - *the two views are paired by label only*: then nothing but class means can be taught on average (fact 4), and in
#   the record such answers do worse than class means (exercise 2);
# - *the student sees as much as it needs*: with 7 x 7 pixels, trained out, the teacher is hardly better than
#   the student;
# - *a regulariser does as well*: compare with smoothed labels of the same entropy, and with a teacher of the
#   student's own view. These two were our most informative controls;
# - *training is too short to judge*: a gain after 150 steps may be faster learning and nothing else.

# %% [markdown]
# ## With your own model and data
#
# Inputs are dictionaries (or tuples) of views. `Seeing(network, "rgb")` wraps any network so that it takes
# such inputs and picks its view. Then every verb of the package works across views: `kdnb.train`,
# `kdnb.distil` with any method of the catalogue, `kdnb.evaluate`. Replace the first lines with your own:
# every view is a tensor (or what your network takes) with the same thing in the same row. The second student
# is the control that every report should have; it takes about as many steps as the first.

# %% tags=["nbval-ignore-output"]
from kdnb.methods.cross_modal import Seeing, distil_privileged

my_views = {"rich": view(all_images[0], 28), "poor": view(all_images[0], 4)}  # the same things, row by row
my_labels = all_images[0].labels
my_test = {"rich": view(test, 28), "poor": view(test, 4)}, test.labels
torch.manual_seed(0)
my_teacher = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
my_student = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10))
my_control = copy.deepcopy(my_student)

options = {"batch_size": 50, "optimiser": "adam", "lr": 0.003, "precision": "32"}
some = slice(labelled)  # the teacher's labels, and the control's
kdnb.train(my_teacher, (my_views["rich"][some], my_labels[some]), epochs=100, **options)
kdnb.train(my_control, (my_views["poor"][some], my_labels[some]), epochs=250, **options)
no_labels = torch.zeros(len(my_labels), dtype=torch.int64)  # not read: the teacher's share is 1
both = {"views": ("poor", "rich"), "teacher_share": 1.0}
distil_privileged(my_student, my_teacher, (my_views, no_labels), epochs=25, **both, **options)
found = {"teacher": Seeing(my_teacher, "rich"), "labels alone": Seeing(my_control, "poor"), "taught": Seeing(my_student, "poor")}
found = {name: kdnb.evaluate(network, my_test) for name, network in found.items()}
figures.table(pd.DataFrame(found).T[["errors", "accuracy", "cross_entropy"]])

# %% [markdown]
# The taught student makes 1,456 errors, the control 1,578, the teacher 785. A gain requires a view that adds
# something: with 7 x 7 pixels there is hardly anything to gain, since a teacher that is trained out is little
# better than labels alone (see the record). It also requires long enough training: in a trial on 5,000
# held-out images with 20 epochs in batches of 128 three seeds showed no consistent gain (1,787, 1,697 and
# 1,723 errors against 1,782, 1,899 and 1,679). One seed with 1,650 steps in batches of 50, as here, showed
# one (1,549 against 1,678). But one seed is no evidence: repeat it with several before you believe it.
# `distil_privileged` takes labels as well (`teacher_share` below 1), networks of any kind, and the options of
# `kdnb.distil`. Where the poor view can be computed from the rich one, `noisy_at` and `narrow_band` make
# pairs of any signal.
#
# ## Exercises
#
# **1. What cannot be taught.** Derive the fourth fact: which target does the student minimise on average, if it
# sees $x$ and $y$ but not $x^*$? What is left of it if the views are independent given the label?
#
# <details><summary>Solution</summary>
#
# For a fixed $x$ and $y$ the student's $q$ is fixed, and $p$ varies with $x^*$. As $H(p,q)=-\sum_kp_k\log q_k$
# is linear in $p$, $\mathrm{E}[H(p,q)\mid x,y]=H(\mathrm{E}[p\mid x,y],q)$. If $x^*$ is independent of $x$ given
# $y$, then $\mathrm{E}[p\mid x,y]=\mathrm{E}[p\mid y]$, one smoothed label for each class.
#
# </details>
#
# **2. Made-up pairs.** Suppose each small image is paired with the large image of *another* digit of the same
# class. What does your answer to exercise 1 predict? Look for the condition of the record that does this.
#
# <details><summary>Solution</summary>
#
# At best the class means. The record has both with 300 images, 7 x 7 pixels and $T=10$: after 150 steps the
# shuffled answers gain 2.1 points ($-0.2$ to 4.5), the class means 6.0 (3.2 to 8.8), the right pairs 10.6
# (7.6 to 13.5). Trained out, shuffled answers *cost* 8.1 points (6.9 to 9.3) and class means 3.2 (2.6 to
# 3.9). With a finite set the student does not learn the average: it memorises every wrong answer.
#
# </details>
#
# **3. The temperature.** With $T=1$ the teacher nearly repeats the labels of images that it has memorised. Is
# this as bad for unlabelled pairs? Vary `temperature`, and judge by held-out training images
# (`source.validation`).
#
# <details><summary>Solution</summary>
#
# Hardly. In our pilot (six draws, 3,000 steps) labels alone had 70.0% of the held-out images. With answers to
# the 300 labelled images it was 69.7% at $T=1$, 70.5% at 2 and 70.7% at 5; with answers to all 3,300 it was
# 72.5, 72.4 and 71.5%. So $T=1$ and $T=2$ do equally well on pairs. A likely reason: on images that it has
# not learnt the teacher is unsure already at $T=1$, and its decision does not depend on $T$.
#
# </details>
#
# **4. A student that is softened, too.** In the record it loses 25.5 points at $T=10$ after 150 steps (22.6 to
# 28.4). Trained out it is as good as the others (+0.2 points, $-0.6$ to 1.0). Why does it need more steps?
#
# <details><summary>Solution</summary>
#
# To reach $q=p$ without softening, its logits must be $v/T$, up to a constant. With softening they must be $v$,
# ten times as large. A network that starts with logits near 0 has further to go, and RMSprop's steps have nearly
# the same size whatever the loss.
#
# </details>
#
# **5. Problem 4 as the text describes it.** Three positions are drawn for each sample, the label is the sign
# of $\langle\alpha_J,x_J\rangle$, and the teacher sees the three values $x_J$, without the positions. Why can
# it not reach 96%?
#
# <details><summary>Solution</summary>
#
# The same three values at other positions have other coefficients, with either sign. A linear teacher has one
# coefficient for each of its three inputs, so the best that it can learn is the mean of the possible
# coefficients. The record gives 53.4% (52.6 to 54.2). As coded, the coefficients are the same for all
# samples, and the teacher has 97.1%.
#
# </details>
#
# **6. Smoothing, or a teacher?** You read of a method whose students gain 10 points from a second sensor. Which
# three controls would you ask for?
#
# <details><summary>Solution</summary>
#
# (i) Labels smoothed to the same entropy: they gained *more* than the teacher in the record (12.8 against 10.6
# points). (ii) A teacher of the student's own view: it shows what the second sensor is worth. (iii) Training until
# the student of labels no longer improves: 10.6 points became $-0.5$.
#
# </details>
#
# ## References
#
# The survey: Gou, Yu, Maybank and Tao, *Knowledge Distillation: A Survey*, IJCV 2021
# ([DOI](https://doi.org/10.1007/s11263-021-01453-z), [arXiv](https://arxiv.org/abs/2006.05525)).
#
# - Lopez-Paz, Bottou, Schölkopf and Vapnik, *Unifying Distillation and Privileged Information*, ICLR 2016
#   ([arXiv](https://arxiv.org/abs/1511.03643)).
# - Vapnik and Vashist, *A New Learning Paradigm: Learning Using Privileged Information*, Neural Networks 2009
#   ([DOI](https://doi.org/10.1016/j.neunet.2009.06.042)).
# - Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network*, 2015
#   ([arXiv](https://arxiv.org/abs/1503.02531)).
# - Gupta, Hoffman and Malik, *Cross Modal Distillation for Supervision Transfer*, CVPR 2016
#   ([arXiv](https://arxiv.org/abs/1507.00448)).
# - Thoker and Gall, *Cross-Modal Knowledge Distillation for Action Recognition*, ICIP 2019
#   ([arXiv](https://arxiv.org/abs/1910.04641)).
# - Hoffman, Gupta and Darrell, *Learning with Side Information through Modality Hallucination*, CVPR 2016
#   ([DOI](https://doi.org/10.1109/CVPR.2016.96)).
# - Garcia, Morerio and Murino, *Learning with Privileged Information via Adversarial Discriminative Modality
#   Distillation*, TPAMI 2020 ([arXiv](https://arxiv.org/abs/1810.08437)).
# - Luo, Hsieh, Jiang, Niebles and Fei-Fei, *Graph Distillation for Action Detection with Privileged Modalities*,
#   ECCV 2018 ([arXiv](https://arxiv.org/abs/1712.00108)).
# - Sharmanska, Quadrianto and Lampert, *Learning to Rank Using Privileged Information*, ICCV 2013
#   ([DOI](https://doi.org/10.1109/ICCV.2013.107)).
# - Markov and Matsui, *Robust Speech Recognition Using Generalized Distillation Framework*, Interspeech 2016
#   ([DOI](https://doi.org/10.21437/Interspeech.2016-852)).
# - Fukuda et al., *Efficient Knowledge Distillation from an Ensemble of Teachers*, Interspeech 2017
#   ([DOI](https://doi.org/10.21437/Interspeech.2017-614)).
# - Tian, Krishnan and Isola, *Contrastive Representation Distillation*, ICLR 2020, which also transfers from
#   colour to depth ([arXiv](https://arxiv.org/abs/1910.10699); [chapter 2.3](2-3-relation-based-knowledge.ipynb)).
#
# ## How to cite
#
# The next cell prints the paper, the survey and this workbook in BibTeX, with our recorded results.
# `kdnb cite lopezpaz2016generalised` does the same, also in other formats.

# %%
print(papers.cite("lopezpaz2016generalised", "laptop", "mnist-gain-300"))

# %% [markdown]
# <details><summary><b>Protocol notes and departures</b></summary>
#
# - **Setting of the live part.** It was chosen by one pilot, on 5,000 held-out training images (the
#   validation split) with six draws of images that no other part uses, and 3,000 steps. We saw its outcomes,
#   so the effects are examples, not estimates of how often they occur. In percent: teacher 80.5, its own 4 x
#   4 view 69.4; labels alone 70.0; answers to the 300 images 69.7, 70.5 and 70.7 at $T=1$, 2 and 5; answers
#   to all 3,300 images 72.5, 72.4 and 71.5; own answers to all 69.0; all labels 77.1. We took $T=2$, for
#   which the record has its claims, and 2,000 steps and then 1,500, for time. Trial executions used the same
#   held-out images.
# - **What the intervals cover.** Images and initial weights. In a stack all networks of a condition share the
#   order of batches. Tables with several conditions are not corrected for their number.
# - **Relatives.** Lengths of training were shortened for time before outcomes were seen. A first execution
#   then showed the test images with labels alone trained for 40 steps, which is too short (47.1% errors);
#   since then it is 120 steps, 180 with labelled pairs (before: 120), and 160 on 2,000 images (before: 100).
#   Nothing else was changed. In that first execution three differences came out otherwise: ADMD's harm was
#   undecided (17.0 points, 1.8 less to 35.7), graph distillation was worse than two networks of labels by 3.6
#   (0.7 to 6.5), and the clean teacher was better than the noisy one by 0.9 (0.5 to 1.3). The teacher of
#   right halves, the 100 labels and the 2,000 pairs come from disjoint images. The weights of the graph are a
#   tenth of the authors', because logits of such a small network differ in size. Our critics are smaller than
#   the papers'.
# - **Departures of the record.** Block means instead of SciPy's `imresize`; training images from the 50,000
#   that are not held out; students of one seed start alike. Rates and lengths of the trained-out trials are
#   ours.
# - **Licence of the data.** MNIST: CC BY-SA 3.0, stated with its source in its card ([`data/`](../data/README.md)).
# - **Not recorded here.** The relatives have no records. The live part shows that they run and gives one
#   result of each, but tests no claim of their papers. The docstrings list under *Departures* what is
#   recalled of a paper and not confirmed.
#
# </details>
