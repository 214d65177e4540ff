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
#     papers: []
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6 Performance comparison
#
# Which distillation method is best? The survey answers with two tables of published accuracies, one for CIFAR-10 and
# one for CIFAR-100. In this chapter you load both tables, find out what can and cannot be read from them, see four ways
# in which a published gain grows without a better method, and set up a comparison in which everything but the method is
# equal. The second half is our own comparison of all losses of section 2 (and of GKD, a loss on graphs of section 5.4),
# with what each costs, and a way to compare a loss of your own with them.
#
# The chapter belongs to section 6 of the survey
# ([Gou et al. 2021](https://doi.org/10.1007/s11263-021-01453-z), [arXiv](https://arxiv.org/abs/2006.05525)).
# The comparison follows the benchmark of *Contrastive Representation Distillation*
# ([Tian et al. 2020](https://arxiv.org/abs/1910.10699)).
#
# **Before you start:** soft targets ([chapter 2.1](2-1-response-based-knowledge.ipynb)), and
# [what a verdict is](../docs/verdicts.md).
# **Time:** about three minutes on one CPU core.
#
# The next cell holds every parameter of the live part. Change them here, or by
# `kdnb run 6 --set seeds=20`.

# %% tags=["parameters"]
images = 100  # labelled digits of MNIST that train the students of the live comparison
test_images = 2000  # from the start of the test set
epochs = 40
batch_size = 25
lr = 0.003
seeds = 12  # paired repetitions
resamples = 1000  # random draws for each interval and each permutation test
newcomer_seeds = 2  # recorded seeds with which our own loss is trained

# %%
import copy
import itertools
import json
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy import integrate, stats
from torch.nn import functional as F

import kdnb
from kdnb import data, figures, nets, papers, paths, workbook
from kdnb.methods import METHODS, architecture
from kdnb.papers.statistics import bca
from kdnb.workbook.chapter import show_verdicts

workbook.check(
    globals(),
    images=(50, 2000),
    test_images=(500, 10000),
    epochs=(2, 400),
    batch_size=(5, 500),
    lr=(0.0001, 0.1),
    seeds=(3, 30),
    resamples=(100, 20000),
    newcomer_seeds=(2, 6),
)
figures.use()
random = np.random.default_rng(0)

# %% [markdown]
# ## The idea
#
# A method gains when its student is more accurate than the same student without it. "The same" is the difficult word.
# In a fair comparison both students have the same initial weights, images in the same order, the same number of steps
# and the same teacher, their settings are tuned with the same effort on held-out images, and both are scored once,
# after the last epoch. Each seed then gives one *paired difference*, and several seeds give an interval.

# %%
scheme = figures.schematic(
    {
        "seed": ("one seed: weights, order of images", 0, 0.5, "other"),
        "alone": ("student on labels alone", 1, 0, "student"),
        "taught": ("student with a teacher", 1, 1, "student"),
        "teacher": ("one teacher", 1, 2, "teacher"),
        "test": ("one test", 2, 0.5, "other"),
        "difference": ("paired difference", 3, 0.5, "method"),
        "interval": ("interval over seeds", 4, 0.5, "method"),
    },
    [("seed", "alone"), ("seed", "taught"), ("teacher", "taught", "method"), ("alone", "test"), ("taught", "test"),
     ("test", "difference"), ("difference", "interval")],
)  # fmt: skip
figures.save(
    scheme,
    "6-idea",
    alt="One seed fixes the initial weights and the order of the images of two students. One learns from labels alone, the other also from a teacher. Both are scored once on the "
    "test images. The differences over several seeds give an interval.",
    caption="In a fair comparison the two students of a seed (orange) differ only in the method, so that the difference between their scores is due to the method.",
)

# %% [markdown]
# ## The mathematics
#
# Let $a$ be the accuracy of the student alone and $d$ that of the distilled one; the *gain* is
#
# $$g=d-a.$$
#
# Four facts are used below.
#
# 1. *Pairing.* Write $a_s=\mu_a+u_s+\varepsilon_s$ and $d_s=\mu_d+u_s+\eta_s$, where $u_s$ is the effect of seed $s$ on
#    both, with standard deviation $\sigma_u$, and $\varepsilon_s,\eta_s$ are the rest, each with standard deviation
#    $\sigma_\varepsilon$. The mean difference over $n$ seeds has the variance $2\sigma_\varepsilon^2/n$ when seeds are
#    paired and $2(\sigma_u^2+\sigma_\varepsilon^2)/n$ when they are not.
# 2. *A bad baseline.* A gain contains its baseline, with a minus sign:
#    $\mathrm{Cov}(g,a)=\mathrm{Cov}(d,a)-\mathrm{Var}(a)$. Where $d$ and $a$ are independent and equally spread, the
#    correlation of gain and baseline is $-1/\sqrt2$, although there is no effect to find. The correlation of the gain
#    with the *mean* $(a+d)/2$ does not have this flaw:
#    $\mathrm{Cov}(g,\tfrac{a+d}2)=\tfrac12(\mathrm{Var}(d)-\mathrm{Var}(a))$, which is then 0.
# 3. *The winner's curse.* Of $k$ methods with the same gain $\delta$ and measurements that scatter by $\sigma$, the best measurement is on average
#    $\delta+\sigma e_k$ with
#
#    $$e_k=\int x\,k\,\Phi(x)^{k-1}\varphi(x)\,dx,$$
#
#    the mean of the largest of $k$ standard normal numbers. $\Phi$ and $\varphi$ are their distribution function and density.
# 4. *The best epoch.* This is the same curse: the best of the late epochs, chosen on test images, is reported in place
#   of the last one.
#
# The next cell checks the formulas on a hundred thousand draws.


# %%
def expected_best(k):
    """Mean of the largest of k standard normal numbers."""
    return integrate.quad(lambda x: x * k * stats.norm.cdf(x) ** (k - 1) * stats.norm.pdf(x), -10, 10)[0]


draws = 100_000
shared, first, second = random.normal(size=(3, draws))
common, rest = 0.5, 0.2
a, d = 70 + common * shared + rest * first, 71 + common * shared + rest * second
assert math.isclose((d - a).var(), 2 * rest**2, rel_tol=0.05)  # fact 1: paired
assert math.isclose((np.roll(d, 1) - a).var(), 2 * (common**2 + rest**2), rel_tol=0.05)  # fact 1: not paired
a, d = 70 + first, 71 + second
assert math.isclose(np.corrcoef(d - a, a)[0, 1], -1 / math.sqrt(2), abs_tol=0.02)  # fact 2
assert abs(np.corrcoef(d - a, (a + d) / 2)[0, 1]) < 0.02
best = random.normal(0.5, 0.25, (draws // 20, 20)).max(1).mean()
assert math.isclose(best, 0.5 + 0.25 * expected_best(20), abs_tol=0.02)  # fact 3
print(f"the formulas hold; if 20 methods all gain 0.50 and the measurements have a spread of 0.25, the best measured gain is {0.5 + 0.25 * expected_best(20):.2f} on average")

# %% [markdown]
# ## The survey's two tables as data
#
# `papers.survey_table(5)` is the survey's Table 5 and `papers.survey_table(6)` its Table 6. The survey took the numbers
# from the papers that it cites. We add two columns: the gain, recomputed, and the gap between the teacher and the
# student alone.

# %%
tables = {name: papers.survey_table(number) for number, name in ((5, "CIFAR-10"), (6, "CIFAR-100"))}
both = pd.concat(tables.values(), ignore_index=True)
shown = ["data", "scheme", "method", "paper", "knowledge", "teacher", "student", "alone", "distilled", "printed_gain"]
figures.table(both.loc[[0, 15, 29, 61], shown].set_index(["data", "method"]), decimals=2, caption=f"4 of the {len(both)} rows in the survey's tables.")

# %%
figures.table(
    both[both["slip"] != ""].set_index(["data", "method", "student"])[["alone", "distilled", "gain", "slip"]],
    decimals=2, caption="Rows of the survey that contain a misprint.",
)  # fmt: skip

# %% [markdown]
# Three of the 73 printed gains are not the difference of the two accuracies beside them: 0.84 should be 0.94, 10.07 should be 10.70, and 8.11 should be
# 2.11. The last one matters: taken as printed, it alone raises the mean gain of the 13 online rows of CIFAR-100 by 0.46 points. (`papers/gou2021survey/source.md` lists smaller misprints, too.)
#
# ## What the rows say
#
# The survey draws six conclusions from its tables. Each can be checked against the data. Rows of one paper are not
# independent: they share networks, code and tuning. So we compare means of *papers*, and permute the papers' schemes to
# see what chance alone would give.


# %%
def by_paper(table, one, other):
    """Mean gains of two schemes over papers, and how often they differ at least as much after a permutation."""
    means = table.groupby("paper").agg(scheme=("scheme", "first"), gain=("gain", "mean"))
    means = means[means["scheme"].isin([one, other])]
    labels, gains = (means["scheme"] == one).to_numpy(), means["gain"].to_numpy()

    def difference(labels):
        return gains[labels].mean() - gains[~labels].mean()

    chance = np.abs([difference(random.permutation(labels)) for _ in range(resamples)])
    return gains[labels].mean(), gains[~labels].mean(), np.mean(chance >= abs(difference(labels)) - 1e-9)


rows = []
for name, table in tables.items():
    for one, other in (("online", "offline"), ("offline", "self"), ("online", "self")):
        mine, theirs, p = by_paper(table, one, other)
        rows.append((name, f"{one}, {other}", mine, theirs, p))
columns = ["data", "schemes", "mean gain of the first", "mean gain of the second", "p"]
figures.table(pd.DataFrame(rows, columns=columns).set_index(["data", "schemes"]), decimals=2,
              caption="Mean gains over papers, in points. The p value comes from permuting the schemes of the papers.")  # fmt: skip


# %%
def correlated(table, of):
    """Spearman's correlation of the gain with a column, and a 95% interval from resampled papers."""
    known = table.assign(mean=(table["alone"] + table["distilled"]) / 2).dropna(subset=[of])
    papers_of = [part[["gain", of]].to_numpy() for _, part in known.groupby("paper")]
    drawn = random.integers(len(papers_of), size=(resamples, len(papers_of)))
    again = [stats.spearmanr(np.concatenate([papers_of[i] for i in one])).statistic for one in drawn]
    low, high = np.nanpercentile(again, [2.5, 97.5])
    return f"{stats.spearmanr(known['gain'], known[of]).statistic:+.2f} ({low:+.2f} to {high:+.2f}), {len(known)} rows"


against = {"gap": "gap between teacher and student", "alone": "accuracy of the student alone", "mean": "mean of both accuracies"}
found = {said: {name: correlated(table, of) for name, table in tables.items()} for of, said in against.items()}
figures.table(pd.DataFrame(found).T.rename_axis("gain against"), caption="Rank correlation of the gain with three quantities, and 95% intervals from resampled papers.")

# %%
offline = both[both["scheme"] == "offline"].dropna(subset=["teacher_accuracy"])
above = (offline["distilled"] > offline["teacher_accuracy"]).groupby(offline["data"]).agg(["sum", "size"])
features = both["knowledge"].str.contains("FeaK|RelK").groupby([both["data"], both["scheme"]]).agg(["sum", "size"])
print(f"the student gains in {(both['gain'] > 0).sum()} of {len(both)} rows")
for name in tables:
    print(f"{name}: the student is more accurate than its teacher in {above.loc[name, 'sum']} of {above.loc[name, 'size']} offline rows")
    for scheme in ("offline", "online"):
        print(f"{name}: {features.loc[(name, scheme), 'sum']} of {features.loc[(name, scheme), 'size']} {scheme} rows transfer features or relations")

# %% [markdown]
# | the survey's conclusion | what the tables allow |
# |---|---|
# | distillation works for many networks | every one of the 73 rows gains. But a row without a gain is hardly ever published, so this is no evidence of how often it fails |
# | it compresses | taught students come closer to their teachers. In 0 of 12 (CIFAR-10) and 5 of 21 (CIFAR-100) offline rows they end above them |
# | online distillation helps significantly | papers on it gain as much as offline ones on CIFAR-10 and 1.2 points more on CIFAR-100, a difference that chance reaches in about one of five permutations. Their baseline is a single network, at half the computing time |
# | self-distillation helps | it gains in all eight rows. It gains less than the others, but four papers are too few to tell |
# | offline methods transfer features, online ones responses | yes, without exception offline and with one exception in each table online. So the effects of scheme and knowledge cannot be separated in these tables |
# | a light student gains more from a large teacher | open on CIFAR-10 (rank correlation 0.07, interval -0.59 to 0.80); moderately on CIFAR-100 (0.41). But the gap, like the gain, contains the student's baseline with a minus sign, so part of this correlation is fact 2 again |
#
# The strongest pattern is not among the six: *gains are large where the student alone is weak*. Part of it is fact 2.
# Against the mean of both accuracies the correlation is smaller in both tables, and on CIFAR-100 its interval
# contains 0. Another part is the ceiling: a student with 95% has only 5 points left to gain.

# %%
colour = {"offline": figures.BLUE, "online": figures.ORANGE, "self": figures.GREEN}
figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for axes, (name, table) in zip(panels, tables.items(), strict=True):
    for scheme_name, part in table.groupby("scheme"):
        axes.plot(part["alone"], part["gain"], "o", ms=6, color=colour[scheme_name], label=scheme_name, alpha=0.85)
    axes.set(title=name, xlabel="accuracy of the student alone, %", ylabel="published gain, percentage points", ylim=(0, None))
panels[0].legend(title="scheme")
figures.save(
    figure,
    "6-survey",
    alt="Published gain against the accuracy of the student alone. In both tables weak students tend to gain most. On CIFAR-10 a student with 73 percent gains 5.3 points; "
    "above 91 percent all rows but one gain at most 1.4 points. On CIFAR-100 the rows below 60 percent gain 4.7 to 10.7 points.",
    caption="In both tables of the survey, weak students tend to gain most. Each point is a row; we recomputed its gain from the two accuracies.",
)

# %% [markdown]
# ## Why the rows cannot be compared
#
# **One student, many baselines.** The first way to a large gain is a low baseline: papers print different accuracies
# for the same student trained alone.

# %%
spread = both.groupby(["data", "student"])["alone"].agg(["size", "min", "max"]).query("size > 1")
spread["range"] = spread["max"] - spread["min"]
gains = both.groupby(["data", "student"])["gain"].agg(["min", "max"]).add_prefix("gain, ")
spread = spread.join(gains).query("range > 0.5").sort_values("range", ascending=False)
figures.table(spread.rename(columns={"size": "rows", "min": "lowest", "max": "highest"}), decimals=2,
              caption="Students whose accuracy alone (in %) differs by more than half a point between rows, and their gains (in points).")  # fmt: skip

# %% [markdown]
# MobileNetV2 on CIFAR-10 has 75.97% in one paper and 90.43% in another, ResNet-56 on CIFAR-100 71.96% and 81.73%.
# Recipes differ, and networks of the same name may also differ in width. For five of these twelve students the
# baselines lie further apart than the largest gain printed for that student. So a row says how its student improved in
# its own setting, and a ranking of rows ranks settings as well as methods.
#
# **The best epoch.** The second way is to print the best test accuracy of all epochs, as some repositories do. The next
# cell measures the effect in 39 public logs of 240 or 480 epochs: all complete logs of three methods in the repository
# of logit standardisation ([Sun et al. 2024](https://arxiv.org/abs/2403.01427)).

# %%
logs = papers.best_epochs()
inflation, late = logs["inflation"], logs["late_sd"].mean()
low, high = figures.interval(inflation)
print(f"best epoch minus last epoch, mean of {len(logs)} logs: {inflation.mean():.2f} points (95% interval {low:.2f} to {high:.2f}), "
      f"single logs from {inflation.min():.2f} to {inflation.max():.2f}")  # fmt: skip
print(f"spread of the last 20 epochs: {late:.2f} points; fact 3 predicts {late * expected_best(30):.2f} points for 30 independent epochs")

# %% [markdown]
# The best epoch is 0.31 points above the last one on average, and above it in every log. The last 20 epochs scatter by
# 0.11 points. If we count the last thirty epochs as late ones, fact 3 puts the best of thirty independent numbers with
# this spread 0.23 above their mean. Consecutive epochs are not independent, so this is a rough model; it attributes
# most of the inflation to picking the maximum of noise on the test images. A method that is printed with its best
# epoch, beside others with their last, gains about 0.3 points by this alone. (The logs come from one repository and
# share its recipes; the interval holds for these logs, not for those of other repositories.)
#
# **The best of many.** The third way is to try many seeds, weights or variants and print the best result. The explorer
# draws methods that all truly gain 0.5 points.


# %%
def best_of_many(methods, spread):
    trials = np.random.default_rng(1).normal(0.5, spread, (4000, methods))
    expected = 0.5 + spread * expected_best(methods)
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    bins = np.linspace(-1, 2.5, 71)
    axes.hist(trials[:, 0], bins, color=figures.LIGHT, label="one method", density=True)
    axes.hist(trials.max(1), bins, histtype="step", color=figures.ORANGE, lw=2, label=f"the best of {methods}", density=True)
    axes.axvline(0.5, color=figures.GREY, ls="--", label="true gain of every method")
    axes.set(xlabel="measured gain, percentage points", ylabel="density", title=f"mean of the best: {expected:.2f}", xlim=(-1, 2.5))
    axes.legend()
    return figure


figures.explorer(
    best_of_many,
    name="6-explorer",
    alt="Histograms of the measured gain of one method and of the best of several, which all truly gain 0.5 points. With more methods or a larger spread, the best lies further above 0.5",
    caption="The winner's curse: the more methods are tried and the larger the spread, the further the best measurement lies above the true gain.",
    methods=[1, 2, 5, 10, 20, 40], spread=[0.1, 0.25, 0.5], start={"methods": 20, "spread": 0.25},
)  # fmt: skip

# %% [markdown]
# **Unequal effort.** The fourth way needs no cell: a method with a tuned weight is compared with others at their
# published weights, a taught student gets twice the epochs, or an online method trains two networks and its baseline
# one. No table shows this; only the protocol does.
#
# ## The method as a training loop
#
# A fair comparison is a loop. This one trains two students per seed on 100 digits, one on labels and one on labels and
# soft targets. It also records the test error after every epoch, which a fair comparison must *not* use. The teacher is
# the LeNet-5 that comes with the workbook.

# %%
few = replace(
    kdnb.toy("mnist", images=images),
    recipe=kdnb.Recipe(epochs=epochs, batch_size=batch_size, optimiser="adam", lr=lr, schedule="constant", precision="32"),
)
source = data.load("mnist")
few = replace(few, held_out=source.test.select(slice(test_images)))
scale = {"mean": source.mean, "sd": source.sd}
test = list(data.Batches(few.held_out, 250, shuffle=False, channels_last=True, **scale).epoch(0))


def fair(methods, seeds, T=4.0):
    """Test error in percent after each epoch, with one row for each seed, method and epoch."""
    rows = []
    for seed, (name, weight) in itertools.product(seeds, methods.items()):
        student = few.student(seed)  # the same initial weights for all methods of a seed
        batches = data.Batches(few.train, batch_size, seed=seed, **scale)  # the same images in the same order
        optimiser = torch.optim.Adam(student.parameters(), lr=lr)
        for epoch in range(epochs):  # the same number of steps
            student.train()
            for batch in batches.epoch(epoch):
                z = student(batch.images)
                loss = F.cross_entropy(z, batch.labels)
                if weight:
                    with torch.no_grad():
                        p = (few.teacher(batch.images) / T).softmax(1)
                    log_q = (z / T).log_softmax(1)
                    loss = loss + weight * T**2 * F.kl_div(log_q, p, reduction="batchmean")
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            scored = copy.deepcopy(student).eval().to(memory_format=torch.channels_last)  # a faster layout on a CPU
            with torch.no_grad():
                wrong = sum((scored(batch.images).argmax(1) != batch.labels).sum().item() for batch in test)
            rows.append((seed, name, epoch + 1, 100 * wrong / test_images))
    return pd.DataFrame(rows, columns=["seed", "condition", "epoch", "error"])


# %%
course = fair({"labels alone": 0.0, "soft targets": 1.0}, range(seeds))
last = course[course["epoch"] == epochs].pivot(index="seed", columns="condition", values="error")
best = course.groupby(["condition", "seed"])["error"].min().unstack(0)
gain = last["labels alone"] - last["soft targets"]

# %% tags=["nbval-ignore-output"]
low, high = figures.interval(gain)
alone, taught = last["labels alone"], last["soft targets"]
unpaired = stats.ttest_ind(alone, taught).confidence_interval()
print(f"gain of soft targets, paired by seed: {gain.mean():.2f} points (95% interval {low:.2f} to {high:.2f})")
print(f"95% interval without pairing: {unpaired.low:.2f} to {unpaired.high:.2f}; correlation of the two errors over seeds: {np.corrcoef(alone, taught)[0, 1]:.2f}")
for name in best:
    print(f"{name}: the error of the best epoch is {(last[name] - best[name]).mean():.2f} points lower than that of the last")
print(f"largest gain of a seed: {gain.max():.2f}; smallest: {gain.min():.2f}")

# %% tags=["nbval-ignore-output"]
figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", width_ratios=[1.4, 1])
figures.lines(course, "error", "test error, %", axes=panels[0], roles={"labels alone": "student", "soft targets": "method"})
panels[0].set(ylim=(15, 45))
for seed in last.index:
    panels[1].plot([0, 1], last.loc[seed, ["labels alone", "soft targets"]], "o-", color=figures.GREY, lw=1.2, ms=5)
panels[1].set_xticks([0, 1], ["labels alone", "soft targets"])
panels[1].set(xlim=(-0.4, 1.4), ylabel="test error after the last epoch, %")
figures.save(
    figure,
    "6-effect",
    alt=f"Left: test error over epochs, with bands over seeds. After the last epoch the mean error is {alone.mean():.1f} percent with labels alone and {taught.mean():.1f} percent with soft targets. "
    f"Right: soft targets lower the error in {(gain > 0).sum()} of {seeds} seeds.",
    caption=f"Soft targets lower the test error in {(gain > 0).sum()} of {seeds} seeds, with {images} training digits. Each line on the right joins the two students of a seed.",
)  # fmt: skip

# %% [markdown]
# In this loop soft targets gain 1.1 points (95% interval -0.2 to 2.4); the interval contains 0, so the result is
# undecided. Pairing narrows the interval: without it, it reaches from -0.6 to 2.8. A single seed may give anything from
# -1.4 to +5.9. The printed lines also show a temptation: with the best of the 40 epochs on both sides the gain would be
# 1.7 points (1.09 + 0.95 - 0.37), although no student is better.
#
# In the package, `kdnb.compare` does the same for any number of methods, with Holm's correction for their number. A
# condition is a method's name, a loss of your own, or a dict of keyword arguments for `kdnb.distil`.


# %% tags=["nbval-ignore-output"]
def squared_logits(student_logits, teacher_logits):
    """A loss of our own: the mean squared difference of the centred logits."""
    return ((student_logits - student_logits.mean(1, keepdim=True) - teacher_logits + teacher_logits.mean(1, keepdim=True)) ** 2).mean()


live = kdnb.compare({"labels alone": None, "soft targets": "kd", "our loss": squared_logits}, setting=few, seeds=seeds)
live

# %%
one_epoch = replace(few, recipe=few.recipe.model_copy(update={"epochs": 1}))  # many steps of Adam would amplify rounding differences
theirs = kdnb.compare({"labels alone": None, "soft targets": "kd"}, setting=one_epoch, seeds=seeds).errors
ours = course[course["epoch"] == 1].pivot(index="seed", columns="condition", values="error") * test_images / 100
assert (theirs - ours).abs().to_numpy().max() <= 0.005 * test_images, (theirs, ours)
print("after one epoch the numbers of test errors in the loop above and in kdnb.compare differ by at most 0.5% of the test images")

# %% tags=["nbval-ignore-output"]
apart = (live.errors[last.columns] - last * test_images / 100).abs()
for name in apart:
    print(f"{name}, after {epochs} epochs: the same number of errors in {(apart[name] < 0.5).sum()} of {seeds} seeds; the largest difference is {apart[name].max():.0f} of {test_images:,} images")

# %% [markdown]
# The table counts errors among 2,000 test images; 20 of them are one point. Soft targets are 1.1 points better than
# labels, which is undecided, as in the loop. Our loss, with its untuned weight, is 2.9 points better. The students
# trained on labels alone make the same number of errors in the loop and in the package. Those trained with soft targets
# differ by up to 11 images, since the package computes the divergence by another formula: the last digits are rounded
# differently, and 160 steps of Adam amplify this. Eleven images are 0.55 points, so the decimals of a single seed's gain
# say little. Soft targets gain about one point, but their gain varies so much between seeds that twelve of them cannot
# distinguish it from 0.
#
# ## Our comparison: every loss of section 2 under one protocol
#
# The live comparison has one data set, one student and three conditions. The recorded one has every loss of section 2
# and GKD, two students of different architecture, six seeds and a tuned weight for each method and student;
# [chapter 2.3](2-3-relation-based-knowledge.ipynb) discusses its verdicts on the paper. Here we look at ranks, cost and
# choice.

# %%
from kdnb.reproductions import tian2020crd as comparison

record = papers.read_record("tian2020crd", "laptop")
recorded = record.table()
setting = comparison.Parameters(**record.parameters)
titles = {method: METHODS[method].title for method in comparison.COMPARED} | {"student": "labels alone"}
student_names = {"resnet": "thin ResNet-8", "vgg": "thin VGG-8"}
teacher_accuracy = recorded["teacher", "accuracy"].mean()
protocol = {
    "teacher": f"{comparison.TEACHER}, right on {teacher_accuracy:.1f}% of the test images, the same for all students",
    "students": ", ".join(student_names.values()),
    "images": f"{setting.train_images:,} of CIFAR-10, the same for all seeds",
    "steps": f"{setting.epochs} epochs in batches of {setting.batch_size}, SGD with a one-cycle schedule, peak rate {setting.lr:g}",
    "weights": "for each method and student the best of four on held-out training images",
    "scored": f"once, on {setting.test_images:,} test images, after the last epoch",
    "seeds": str(setting.seeds),
}
figures.table(pd.DataFrame({"our comparison": protocol}))

# %%
show_verdicts(papers.verdicts("tian2020crd", "laptop"), "laptop", grouped=True)

# %%
standings = {
    student: {control: comparison.against(recorded, student, control).set_index("method") for control in ("student", "kd")}
    for student in comparison.STUDENTS
}
words = {"above": " above", "below": " below", "no difference shown": ""}
columns = {}
for student, against_of in standings.items():
    columns[f"{student_names[student]}, accuracy, %"] = against_of["student"]["accuracy"].map("{:.1f}".format)
    for control, frame in against_of.items():
        said = f"{student_names[student]} \N{MINUS SIGN} {'alone' if control == 'student' else 'KD'}"
        columns[said] = frame["difference"].map("{:+.1f}".format) + frame["verdict"].map(words)
overall = sum(of["student"]["accuracy"] for of in standings.values()).sort_values(ascending=False)
figures.table(
    pd.DataFrame(columns).loc[overall.index].rename(titles).fillna("").rename_axis("method"),
    caption="Test accuracy, and mean paired differences in points. 'Above' and 'below' mark differences with p < 0.05 after Holm's correction over a column.",
)

# %% [markdown]
# For the thin ResNet-8 twelve of the 40 losses are marked as above labels alone and seven as above soft targets (KD in
# the table); for the thin VGG-8 eight and four. None is shown to be below labels alone. CRD, DarkRank and KD-SVD are
# below soft targets for the ResNet, IFM and MHGD for the VGG. ReviewKD, OFD and SemCKD lead for both students, with
# gains of 14 to 19 and of 7 to 11 points; soft targets gain 2.3 and 1.7. All three copy the teacher's feature maps, and so does FitNet, fourth for
# the ResNet and seventh for the VGG. But not every loss on features helps: KR and ALP-KD show no gain. In the table of
# Tian et al., with all images of CIFAR-100, FitNet is below soft targets in 12 of 13 pairs. That is the main lesson of
# this comparison: *a ranking of methods holds only for its setting*. A possible reason: here students see 500 images,
# and a teacher that has seen 40,000 has much to say about each.
#
# The verdicts above and this table can differ. A claim of the record was registered before the run and is tested alone;
# a mark in the table has to pass Holm's correction for 40 comparisons. So two verdicts have no mark in the table: that
# soft targets help the ResNet, and that CRD is below soft targets for the VGG. No mark means "not shown", not "no
# difference".
#
# The choice of weights is a limitation: where the best weight is the smallest or largest of those tried, one further
# out may be better still. The next cell lists these cases (`papers/tian2020crd/weights.json` has all weights).

# %%
placed = comparison.places().assign(method=lambda of: of["method"].map(titles), student=lambda of: of["student"].map(student_names))
ends = placed[placed["place"] != "within"]
figures.table(
    ends.groupby(["place", "student"], sort=False)["method"].agg(cases="size", methods=", ".join).rename_axis(index={"place": "the best weight is the"}),
    caption=f"In {len(ends)} of {len(placed)} cases the best weight is the smallest or the largest of the four that were tried.",
)

# %% [markdown]
# Mostly it is the smallest, for six methods with both students: a still smaller weight might suit these losses, so they
# may be better than they look. So may ReviewKD, whose best weight is the largest for both students: its lead could be
# larger still.
#
# **Ranks with uncertainty.** A rank hides how little may separate neighbours. For the next figure we resample the six
# seeds with replacement, a thousand times, and rank the methods each time. With six seeds such intervals tend to be too
# short, and they ignore the choice of images, teacher and weights.


# %%
compared = ["student", *comparison.COMPARED]
accuracy = recorded.xs("accuracy", axis=1, level="metric")
scores = {student: accuracy[[comparison.arm_of(m, student) for m in compared]].to_numpy() for student in comparison.STUDENTS}


def ranks(scores):
    """The rank of each method's mean accuracy, and its 95% interval over resampled seeds."""
    drawn = random.integers(len(scores), size=(resamples, len(scores)))
    again = stats.rankdata(-scores[drawn].mean(1), axis=1)
    low, high = np.percentile(again, [2.5, 97.5], axis=0)
    frame = pd.DataFrame({"mean": stats.rankdata(-scores.mean(0)), "low": low, "high": high}, index=[titles[m] for m in compared])
    return frame.assign(width=high - low)


ranked = {student: ranks(of) for student, of in scores.items()}
order = sum(frame["mean"] for frame in ranked.values()).sort_values().index
marked = {titles["kd"]: figures.GREEN, titles["student"]: figures.ORANGE}
figure, panels = plt.subplots(1, 2, figsize=(10, 8.6), sharey=True, layout="constrained")
for axes, (student, frame) in zip(panels, ranked.items(), strict=True):
    part = frame.loc[order]
    axes.hlines(range(len(part)), part["low"], part["high"], color=figures.LIGHT, lw=5, label="95% interval over resampled seeds")
    colours = np.array([marked.get(name, figures.BLUE) for name in order])
    faces = np.where(part["width"] > 0, colours, "white")
    axes.scatter(part["mean"], range(len(part)), s=32, c=faces, edgecolors=colours, linewidths=1.4, zorder=3)
    for name, colour in marked.items():
        axes.axvline(part.loc[name, "mean"], color=colour, lw=1.2, ls="--", zorder=1, label=f"rank of {name}")
    axes.set(title=student_names[student], xlabel="rank (1: most accurate)")
for face, what in ((figures.BLUE, "a method"), ("white", "the same rank in 95% of the draws")):
    axes.scatter([], [], s=32, c=face, edgecolors=figures.BLUE, linewidths=1.4, label=what)
panels[0].set_yticks(range(len(order)), order)
panels[0].set_ylim(len(order) - 0.4, -0.6)
figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
figures.save(
    figure,
    "6-ranks",
    alt=f"Ranks of all methods for two students, with intervals over resampled seeds. By the mean of both ranks {', '.join(order[:3])} come first and {', '.join(order[-3:])} last. "
    f"KD has rank {ranked['resnet'].loc['KD', 'mean']:.0f} for the ResNet and {ranked['vgg'].loc['KD', 'mean']:.0f} for the VGG. "
    f"The median width of an interval is {ranked['resnet']['width'].median():.0f} ranks for the ResNet and {ranked['vgg']['width'].median():.0f} for the VGG.",
    caption="Ranks of the mean accuracy. The first three ranks are the same for both students and hardly depend on the seeds; most ranks below them are uncertain.",
)

# %%
one, other = np.triu_indices(len(compared), 1)


def kendall(seeds):
    """Kendall's correlation of both students' orders of all pairs of methods, from positions of seeds (..., n)."""
    orders = [np.sign((of := scores[student][seeds].mean(-2))[..., one] - of[..., other]) for student in scores]
    first, second = orders
    return (first * second).sum(-1) / np.sqrt((first**2).sum(-1) * (second**2).sum(-1))


means = [of.mean(0) for of in scores.values()]
agreement = stats.kendalltau(*means).statistic
assert math.isclose(agreement, kendall(np.arange(setting.seeds)))
over_methods = stats.bootstrap(means, lambda x, y: stats.kendalltau(x, y).statistic, paired=True, vectorized=False,
                               n_resamples=resamples, rng=random).confidence_interval  # fmt: skip
over_seeds = bca(kendall, setting.seeds)
print(f"Kendall's correlation of the two students' rankings: {agreement:.2f}; 95% BCa intervals: {over_methods.low:.2f} to {over_methods.high:.2f} "
      f"over resampled methods, {over_seeds[0]:.2f} to {over_seeds[1]:.2f} over resampled seeds")  # fmt: skip
for student, of in scores.items():
    ahead = np.sign(of.mean(0)[one] - of.mean(0)[other])
    flips = ((of[:, one] - of[:, other]) * ahead < 0).mean()
    print(f"{student_names[student]}: a single seed reverses the order of two methods' means in {100 * flips:.0f}% of the pairs; "
          f"the median interval of a rank is {ranked[student]['width'].median():.0f} of {len(compared)} ranks wide")  # fmt: skip

# %% [markdown]
# The first three ranks are the same for both students, in at least 95% of the draws (open circles). In the middle a
# rank says little: the median interval spans nine of 41 ranks for the ResNet and eight for the VGG. KD has rank 14 for
# the ResNet and 26 for the VGG, although it is 1.7 to 2.3 points better than labels alone for both: many methods lie in
# the few points between KD and labels alone.
#
# The two students agree in part: Kendall's correlation is 0.51 (1 would mean the same order, 0 unrelated orders). Its
# 95% interval is 0.32 to 0.67 when the 41 conditions are resampled, as if they were a sample of possible methods, and
# 0.46 to 0.58 when the seeds are. So other seeds would hardly change it, but other methods might. A single seed
# reverses the order of two methods' means in 12 and 13% of the pairs.
#
# **What it costs.** `kdnb bench` has timed a step of every method against a step with soft targets, on this pair of
# networks (`docs/benchmarks.md` names the machine). A step includes the teacher's forward pass; a first stage on the
# teacher alone, as in FT and MHGD, is not counted. AB and FSP were trained in two stages, and the timed step is that of
# the first. The memory is what the loss keeps besides both networks: adapters, projections, and CRD's memory of all
# images. The next cell counts it.

# %%
measured = json.loads((paths.root() / "docs" / "benchmarks.json").read_text())["methods"]
timed = pd.DataFrame(measured["rows"]).assign(method=lambda of: of["name"].str.split(":").str[0]).set_index("method")[["value", "low", "high"]]
timed.loc["kd"] = 1.0
cifar = data.load("cifar10")
batch = next(data.Batches(cifar.train.select(slice(8)), 8, mean=cifar.mean, sd=cifar.sd).epoch(0))
small = dict(comparison.STUDENTS["resnet"]["network"])
student = nets.build(small.pop("name"), in_channels=3, image_size=32, **small)
wide = nets.build(comparison.TEACHER, in_channels=3, image_size=32)


def kept(method):
    """How many numbers the loss keeps besides both networks."""
    criterion = kdnb.Criterion(method, student, wide, (batch.images, batch.labels), images=setting.train_images, weight=1.0)
    return sum(tensor.numel() for tensor in criterion.state_dict().values())


gained = standings["resnet"]["student"]
cost = pd.DataFrame(
    {
        "time of a step, relative to KD": timed["value"],
        "numbers kept, in thousands": pd.Series({method: kept(method) / 1000 for method in comparison.COMPARED}),
        "accuracy, %": gained["accuracy"],
        "gain, points": gained["difference"],
    }
).loc[comparison.COMPARED]  # fmt: skip
time, memory, *_ = cost
front = architecture.pareto(cost, smaller=[time], larger=["accuracy, %"])
figures.table(cost[front].sort_values("accuracy, %", ascending=False).rename(titles).rename_axis("method"), decimals=2,
              caption=f"The methods for the {student_names['resnet']} that no other method beats in both accuracy and time of a step.")  # fmt: skip

# %%
costly = cost[(cost.rank(ascending=False)[[time, memory]] <= 7).any(axis=1) | (cost.index == "kd")].sort_values(time, ascending=False)
spans = costly.index.map(lambda method: f"{timed.low[method]:.2f} to {timed.high[method]:.2f}")
costly.insert(1, "range of five timings", spans.where(costly.index != "kd", ""))
figures.table(costly.rename(titles).rename_axis("method"), decimals=2,
              caption=f"KD and the losses that are among the seven costliest in time or in memory, for the {student_names['resnet']}.")  # fmt: skip



# %%
sections = {"2.1": ("responses", figures.BLUE), "2.2": ("features", figures.GREEN), "2.3": ("relations", figures.ORANGE), "5.4": ("graphs", figures.PURPLE)}
line = cost[front].sort_values(time)


def gains_and_costs(axes, title, ticks, **limits):
    """Draw every method with both of its intervals, and the front as steps."""
    for section, of in cost.groupby([METHODS[method].section for method in cost.index]):
        name, colour = sections[section]
        across = [(of[time] - timed["low"]).loc[of.index], (timed["high"] - of[time]).loc[of.index]]
        up = (gained["high"] - of["gain, points"]).loc[of.index]  # t intervals are symmetric
        axes.errorbar(of[time], of["gain, points"], up, across, fmt="o", ms=5, color=colour, ecolor=(colour, 0.3), elinewidth=1, label=name)
    heights = [-9, *line["gain, points"], line["gain, points"].iloc[-1]]
    axes.plot([line[time].iloc[0], *line[time], 9], heights, color=figures.GREY, lw=1.2, drawstyle="steps-post", zorder=1,
              label="no method is better in both")  # fmt: skip
    axes.axhline(0, color=figures.GREY, lw=1, ls="--", zorder=1, label="labels alone")
    axes.set(xscale="log", title=title, xlabel="time of a step, relative to KD (log scale)", **limits)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


# %%
figure, panels = plt.subplots(1, 2, figsize=(12, 5.8), layout="constrained", width_ratios=[1, 1.25])
(left, right), (bottom, top) = (0.925, 1.2), (-2.2, 5.3)
gains_and_costs(panels[0], "all methods", [0.8, 1, 1.5, 2, 3, 4], xlim=(0.77, 4.4), ylim=(-4, 21.5), ylabel="gain over labels alone, percentage points")
gains_and_costs(panels[1], "enlarged: the rectangle on the left", [0.95, 1, 1.05, 1.1, 1.15, 1.2], xlim=(left, right), ylim=(bottom, top))
panels[0].add_patch(plt.Rectangle((left, bottom), right - left, top - bottom, fill=False, color=figures.GREY, lw=1))
at = {titles[method]: (row[time], row["gain, points"]) for method, row in cost.iterrows()}
within = {name: (x, y) for name, (x, y) in at.items() if left < x < right and bottom < y < top}
treads = [(x, y) for x, y in zip(line[time], line["gain, points"], strict=True) for x in np.geomspace(x, 2 * x, 40)]
figures.label(panels[0], {name: point for name, point in at.items() if name not in within}, avoid=[*within.values(), *treads])
figures.label(panels[1], within)
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
figures.save(
    figure,
    "6-pareto",
    alt=f"Gain over labels alone against the time of a step. No method beats {', '.join(titles[m] for m in line.index)} in both. "
    f"{len(within)} of {len(cost)} methods take at most 1.2 times as long as KD and gain less than 5.3 points.",
    caption=f"Gain and cost for the {student_names['resnet']}. Most losses take about as long as KD and gain no more than a few points; three losses on features form the front. "
    f"Bars show the 95% interval of the gain over {setting.seeds} seeds and the range of five timings.",
)

# %% [markdown]
# Three losses on features form the front, drawn as steps: for a given time budget the best method is the last one that
# fits into it. FitNet's hint costs no more than soft targets; whether it costs less is unclear (0.92, but 0.80 to 1.12
# in five timings). OFD takes 1.6 times as long and ReviewKD 2.2 times, each for more accuracy. Most losses are not on
# the front because they gain little: 27 of the 40, KD among them, lie in the rectangle, with gains from -0.8 to 4.1
# points.
#
# Time and memory are different costs. SemCKD, the slowest at 3.6 times the time of KD, also keeps the most, 1.6 million
# numbers: more than both networks hold (0.7 million and 20,000). Yet it gains less than OFD. KD-SVD and MHGD take 3.1
# times as long as KD; MHGD keeps 0.3 million numbers, KD-SVD only 6,000. FT keeps 0.6 million but takes only 1.13 times
# as long as KD. CRD keeps 0.15 million, most of it for the 500 images; this grows with their number.
#
# ## Which method wins when?
#
# One comparison holds for one setting. The workbook's other records have other settings, each with its controls. The
# next cell lists for each situation the measured difference and the verdict on its claim.

# %%
situations = {
    "few images": [("tian2020crd", "soft-targets-help-resnet", "soft targets \N{MINUS SIGN} labels, 500 images of CIFAR-10"),
                   ("hinton2015", "few-data", "soft targets \N{MINUS SIGN} labels, few images of MNIST")],
    "another architecture": [("tian2020crd", "soft-targets-help-vgg", "soft targets \N{MINUS SIGN} labels, VGG taught by WRN")],
    "a large gap": [("mirzadeh2020takd", "assistant", "through an assistant \N{MINUS SIGN} directly"),
                    ("mirzadeh2020takd", "smaller-teacher-or-assistant", "by a trained teacher of the assistant's size \N{MINUS SIGN} through the assistant")],
    "no teacher": [("zhang2018dml", "both-improve", "with a peer \N{MINUS SIGN} alone"),
                   ("yuan2020tfkd", "virtual-helps", "with a virtual teacher \N{MINUS SIGN} alone")],
    "the teacher sees more": [("lopezpaz2016generalised", "mnist-gain-300", "soft targets \N{MINUS SIGN} labels, 300 images")],
    "teachers of other classes": [("vongkulbhisal2019uhc", "naive-fails", "loss over each teacher's own classes \N{MINUS SIGN} answers padded with zeros")],
    "no data": [("chen2019dafl", "beyond-noise", "generated images \N{MINUS SIGN} noise")],
    "a graph": [("zhang2022glnn", "beats-mlp", "taught by a graph network \N{MINUS SIGN} labels")],
    "the embedding is the product": [("passalis2018pkt", "pkt-beats-hints", "PKT \N{MINUS SIGN} hint"),
                                     ("passalis2018pkt", "soft-targets-against-more-training", "soft targets \N{MINUS SIGN} more training")],
}  # fmt: skip
# Some records count test errors, others give percent. 100 fewer errors of 10,000 are one point of accuracy more.
units = {"accuracy, %": (1, "accuracy"), "percent": (1, "accuracy"), "errors of 10,000": (0.01, "accuracy"), "mean average precision, %": (1, "mAP")}
rows = []
for situation, entries in situations.items():
    for key, claim, said in entries:
        row = papers.show_frame(key, "laptop", only=[claim]).query("kind == 'direction'").iloc[0]
        size, quantity = units[row.unit]
        rows.append((situation, said, f"{size * row.ours:+.1f} ({size * row.low:+.1f} to {size * row.high:+.1f})", f"points of {quantity}", row.verdict, key))
columns = ["situation", "difference", "measured, 95% interval", "unit", "verdict on the claim", "record"]
figures.table(pd.DataFrame(rows, columns=columns).set_index(["situation", "difference"]),
              caption="Differences in our records, by situation. Above 0 the first of the two conditions is better.")  # fmt: skip

# %% [markdown]
# Each difference is between a method and its control; sizes in different rows cannot be compared, since data, networks
# and controls differ. *With few images* soft targets help, by 2.3 points on CIFAR-10 and by 4.2 on MNIST. *A large gap*
# is bridged by an assistant, and better still by a trained teacher of the assistant's size. *Without a teacher* two
# peers help each other, while a virtual teacher hurt in our setting. *A teacher that sees more* than the student helps
# a lot when labels are few. Where *classes differ between teachers*, padding their answers with zeros is 24.5 points
# worse than a loss over the classes that each teacher knows. *Without data*, generated images are far better than
# noise. On *a graph*, an MLP learns a lot from a graph network. Where *the embedding* is the product, PKT beats a hint,
# while soft targets do not beat more training. With 500 images of CIFAR-10 soft targets help a student of *another
# architecture* (1.7 points), as they help one of the teacher's kind (2.3), and the best losses on features gain far
# more for both.
#
# ## The relatives: comparisons that others have made
#
# | comparison | what it is | what it buys | when to choose it |
# |---|---|---|---|
# | [RepDistiller](https://github.com/HobbitLong/RepDistiller) (Tian et al. 2020) | a dozen methods, 13 pairs on CIFAR-100, 240 epochs | the table that most papers copy; the last epoch is printed | to place a number beside the literature |
# | [mdistiller](https://github.com/megvii-research/mdistiller) | newer methods on the same pairs | recipes of DKD, ReviewKD and others; the best epoch is printed | to run these methods as published |
# | [torchdistill](https://github.com/yoshitomo-matsubara/torchdistill) | configurations for ImageNet, COCO, GLUE | training beyond CIFAR | large data |
# | [Knowledge-Distillation-Zoo](https://github.com/AberHu/Knowledge-Distillation-Zoo) | twenty losses, one file each, one seed | short code | to read |
# | the survey's tables | 73 rows from 30 papers | an overview | to find papers, not to rank them |
# | this workbook's record | all losses of section 2, two thin students, few images, tuned weights, six seeds | intervals, controls, a place for your loss | a fast test of an idea |
#
# A repository is not a protocol: the same name of a method, network or score may mean different things in two
# repositories, as the next section shows.
#
# ## When it fails, and when to choose it
#
# A comparison misleads when
#
# - *the baseline is weak*: look at the student alone in other papers first (see *One student, many baselines*);
# - *"KD" is one number*: with ResNet-32x4 teaching ResNet-8x4 on CIFAR-100 plain soft targets are printed as 73.33 (labels weighed 0.1, soft targets 0.9), 74.42
#   (1 and 1) and 76.62 (standardised logits, weight 9) in public repositories;
# - *budgets differ*: one method is printed after 480 epochs with strong augmentation beside others with 240;
# - *the number of seeds is small*: with six seeds, 40 methods and Holm's correction no exact sign-flip test can be
#   significant (exercise 3), so the marks in our table of accuracies come from t-tests, which assume normally
#   distributed differences;
# - *the setting is small*: ours has 500 images and students of 20,000 (ResNet) and 62,000 (VGG) weights. It shows which
#   losses help such students, not which help a ResNet-50. Its teacher was chosen because its soft targets helped in
#   pilots ([`setting.md`](../papers/tian2020crd/setting.md)), which favours soft targets, if anything.
#
# ## With your own loss
#
# One call adds a loss of your own to the recorded comparison: it is trained in the same setting, with the recorded
# seeds, and listed beside all recorded conditions. `kdnb compare my_module:my_loss --setting tian2020crd` does the same
# from a terminal. Two seeds take about half a minute; take all six, and tune the weight on held-out images as
# `tools/tune_comparison.py` does, before you believe a difference.

# %% tags=["nbval-ignore-output"]
mine = kdnb.compare({"our loss": squared_logits}, setting="tian2020crd", student="vgg", seeds=newcomer_seeds)
print(mine)

# %% [markdown]
# Look for the row of our loss: it stands beside the recorded conditions of the same two seeds (`undistilled` is the
# student on labels alone). Two seeds decide nothing.
#
# With your own model and data, the setting is a `kdnb.Toy`: images, held-out images, a function from a seed to a student, a teacher and a recipe.

# %% tags=["nbval-ignore-output"]
my_setting = kdnb.Toy(
    train=source.train.select(slice(60)),  # or a Dataset, a DataLoader, a pair of tensors
    held_out=source.validation.select(slice(500)),
    student=lambda seed: (torch.manual_seed(seed), nets.build("tiny"))[1],  # any module
    teacher=few.teacher,  # any module
    recipe=kdnb.Recipe(epochs=10, batch_size=20, optimiser="adam", lr=0.003),
)
kdnb.compare({"labels": None, "kd": "kd"}, setting=my_setting, seeds=3)

# %% [markdown]
# ## Exercises
#
# **1. The printed slip.** How large is the mean gain of the online rows of CIFAR-100 as printed, and how large is it recomputed?
#
# <details><summary>Solution</summary>
#
# `table = tables["CIFAR-100"].query("scheme == 'online'")`, then `table[["printed_gain", "gain"]].mean()`: 4.61 and
# 4.20. One misprint among the 13 rows raises the mean by 0.46, another lowers it by 0.05.
#
# </details>
#
# **2. A null model.** Simulate a table of 30 rows in which every method gains 2 points, and baselines and distilled accuracies scatter by 1 point independently. What
# rank correlation of gain and baseline do you find?
#
# <details><summary>Solution</summary>
#
# About $-0.69$: `a, d = random.normal(70, 1, 30), random.normal(72, 1, 30); stats.spearmanr(d - a, a)`. (Spearman's
# correlation of normal variables with correlation $\rho$ is $\tfrac6\pi\arcsin\tfrac\rho2$, here $-0.69$.) The tables'
# $-0.57$ and $-0.44$ are no stronger than that, so they alone prove nothing about weak students.
#
# </details>
#
# **3. Too few seeds.** An exact sign-flip test of $n$ pairs has a smallest two-sided p of $2/2^n$. How many seeds are needed so that one of 40 methods can be
# significant at 5% after Holm's correction?
#
# <details><summary>Solution</summary>
#
# The smallest p is multiplied by 40: $40\cdot2^{1-n}<0.05$ gives $n\ge11$. With six seeds the smallest adjusted p is 1.
#
# </details>
#
# **4. Best epoch, both sides.** If both the baseline and the method are printed with their best epoch, does the inflation cancel?
#
# <details><summary>Solution</summary>
#
# In expectation it does, if both scatter alike over equally many epochs. It does not when one has more epochs or more
# noise (in the live part picking the best epoch lowers the error by 0.4 points for labels and by 1.0 for soft targets).
# And the absolute accuracies remain inflated, so they cannot be compared with those of papers that print the last
# epoch.
#
# </details>
#
# **5. Two networks for one.** An online row trains two networks and prints the gain of one. Which two baselines would you ask for?
#
# <details><summary>Solution</summary>
#
# The single network with twice the steps, and the ensemble of two networks trained alone, or one network distilled from it.
# [Chapter 3.2](3-2-online-distillation.ipynb) has both kinds of control.
#
# </details>
#
# ## References
#
# The survey: Gou, Yu, Maybank and Tao, *Knowledge Distillation: A Survey*, IJCV 2021
# ([DOI](https://doi.org/10.1007/s11263-021-01453-z), [arXiv](https://arxiv.org/abs/2006.05525)).
#
# - Tian, Krishnan and Isola, *Contrastive Representation Distillation*, ICLR 2020 ([arXiv](https://arxiv.org/abs/1910.10699)).
# - Sun, Ren, Li, Wang and Cao, *Logit Standardization in Knowledge Distillation*, CVPR 2024 ([arXiv](https://arxiv.org/abs/2403.01427)).
# - Oldham, *A Note on the Analysis of Repeated Measurements of the Same Subjects*, Journal of Chronic Diseases 1962
#   ([DOI](https://doi.org/10.1016/0021-9681(62)90116-9)), for fact 2.
# - Holm, *A Simple Sequentially Rejective Multiple Test Procedure*, Scandinavian Journal of Statistics 1979.
#
# ## How to cite
#
# The next cell prints the paper of the comparison, the survey and this workbook in BibTeX, with our recorded results.
# `kdnb cite tian2020crd` does the same, also in other formats.

# %%
print(papers.cite("tian2020crd", "laptop", "soft-targets-beat-older-resnet"))

# %% [markdown]
# <details><summary><b>Protocol notes and departures</b></summary>
#
# - **The tables** were typed from the survey's full text (version 7 on arXiv); `papers/gou2021survey/source.md` says
#   what was corrected. No claim about the survey is registered in this workbook: its conclusions were checked after the
#   tables were known, so the p values here describe the tables and are not tests.
# - **The public logs.** Two methods have all of their logs in one form (KD and DKD, 240 epochs); of the third (MLKD,
#   480 epochs) one file of twelve, with 960 epochs, was left out. CTKD's logs have another form. All logs come from one
#   repository, whose authors published the logs of their own method.
# - **Live part.** 100 images, fixed in advance; no setting was chosen for its outcome. Our own loss has weight 1,
#   untuned.
# - **The record**: [`papers/tian2020crd/setting.md`](../papers/tian2020crd/setting.md).
# - **Time of a step** is measured on one machine, in float32 and batches of 64, with the teacher computed in every
#   step: three steps of a method alternate with three of KD, five times. The value is the median of the five ratios.
#
# </details>
