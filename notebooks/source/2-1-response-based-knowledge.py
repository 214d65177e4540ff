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
#     experiment: kdnb.reproductions.hinton2015
#     papers:
#     - hinton2015
#     - muller2019
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2.1 Response-based knowledge
#
# **A trained network's mistakes are worth more than its answers: a student that imitates the
# teacher's whole output distribution learns what labels alone do not tell it.**
#
# This chapter reproduces Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network*
# (2015), on MNIST, and Müller, Kornblith and Hinton's finding (2019) that label smoothing spoils a
# teacher. It belongs to section 2.1 of the survey by Gou, Yu, Maybank and Tao (2021).
#
# | part | where its numbers come from |
# |---|---|
# | *Live experiment* | computed in this notebook, on a part of the data (`quick` profile) |
# | *Recorded results* | all of MNIST, 7 seeds of every arm (`laptop` profile), raw values in `papers/` |

# %% [markdown]
# ## What you will learn
#
# - what *dark knowledge* is, and how a *temperature* makes it visible;
# - the distillation loss, why it carries a factor $T^2$, and how it turns into plain regression of
#   the logits when $T$ is large;
# - to distil a network yourself, with the undistilled student trained fairly beside it;
# - which of the paper's claims about MNIST hold in our hands, and by how much.
#
# **Before you start**: softmax, cross-entropy, and how a small network is trained in PyTorch.
# **Time**: under a minute on two CPU cores.
#
# The next cell holds every parameter of this chapter. Change them here, by
# `kdnb run 2-1 --set temperature=4`, or by `papermill -p temperature 4`.

# %% tags=["parameters"]
dataset = "mnist"  # or "fashion_mnist"
train_images = 3000  # training images used, at most 60000
seeds = 2  # paired repetitions of every arm
teacher_width = 1200  # units in each of the two hidden layers
teacher_epochs = 25
student_width = 800
student_epochs = 20
temperature = 20.0
soft_weight = 0.3  # of the soft-target term
hard_weight = 0.1  # of the true labels
precision = "32"  # or "bf16", faster where the hardware has it
arms = ["teacher", "student", "distilled", "no_3"]  # all when empty

# %%
import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from kdnb import data, figures, losses, papers
from kdnb.papers.claims import judge_all
from kdnb.reproductions import hinton2015, reproduce
from kdnb.runs import trials
from kdnb.runs.task import network_of
from kdnb.training.inputs import logits_on
from kdnb.workbook.chapter import badges, check, profile_of, show_verdicts
from kdnb.workbook.chapters import hinton2015_figures as pictures

figures.style()
parameters = check(hinton2015.Parameters, globals())
profile = profile_of(parameters, hinton2015.PROFILES)

# %%
badges({key: papers.verdicts(key, "laptop") for key in ("hinton2015", "muller2019")}, "laptop")

# %% [markdown]
# ## The idea
#
# A classifier that sees a carelessly written 2 may answer: *2 with probability 0.99, 3 with
# 0.009, 7 with 0.0009, dog-eared rest*. The label keeps only the first word of that sentence. The
# rest says which digits this one resembles, and by how much. It is knowledge about the *structure*
# of the problem, different for every image, and the trained network gives it away for nothing.
# Hinton called it **dark knowledge**.
#
# Distillation hands it on. A large *teacher* is trained first, at any cost. Then a small *student*
# is trained to give the same output distribution as the teacher, on the same images. The student
# is what gets deployed.

# %%
figures.show(
    figures.teacher_student(),
    "2-1-scheme",
    "Schematic: images go to a frozen teacher and to a student. The divergence of their softened "
    "outputs is the distillation loss; the student's plain output and the label give the student loss.",
)

# %% [markdown]
# ## The mathematics
#
# Let $z$ be the student's logits, $v$ the teacher's. A softmax with **temperature** $T$ turns them
# into *softened* probabilities,
#
# $$q_i = \frac{\exp(z_i/T)}{\sum_j \exp(z_j/T)}, \qquad p_i = \frac{\exp(v_i/T)}{\sum_j \exp(v_j/T)}.$$
#
# At $T=1$ this is the ordinary softmax. The higher $T$, the flatter the distribution, and the more
# weight falls on the small probabilities where the dark knowledge hides. The student minimises
#
# $$L = \underbrace{w_\text{soft}\, T^2\, \mathrm{KL}(p \,\|\, q)}_{\text{distillation loss}}
#   \;+\; \underbrace{w_\text{hard}\, H\big(y, \mathrm{softmax}(z)\big)}_{\text{student loss}} .$$
#
# Three facts about it are exact, and each is checked below:
#
# 1. **Gradient.** The cross-entropy $C$ of $q$ against $p$ has $\partial C/\partial z_i = (q_i-p_i)/T$.
# 2. **High temperature.** For zero-mean logits and $T$ large against them, that tends to
#    $(z_i-v_i)/(N T^2)$ with $N$ classes: distillation becomes regression of the logits, which
#    Ba and Caruana (2014) had proposed on its own.
# 3. **Balance.** Both say that the gradient shrinks as $1/T^2$. The factor $T^2$ undoes it, so
#    that $w_\text{soft} : w_\text{hard}$ keeps its meaning when $T$ is changed. Forgetting it is the
#    most common mistake in public code: at $T=20$ the soft term is then 400 times too weak.

# %% [markdown]
# ## A teacher
#
# The teacher is the paper's: 784-1200-1200-10 with ReLU, dropout on the hidden units, a bound on the
# length of each unit's incoming weights, and training images shifted by up to two pixels. Training is a *trial*: it is kept on disk under the digest of its description, so that
# the second time this cell takes no time at all.

# %%
arm = hinton2015.arms(parameters)
teacher_trial = trials.run(arm["teacher"](0))
teacher = network_of(teacher_trial)
source = data.load(dataset)
test_logits = logits_on(teacher, source.test, source)
wrong = int((test_logits.argmax(1) != source.test.labels).sum())
print(f"{len(source.train_all)} training images, {len(source.test)} test images")

# %% tags=["nbval-ignore-output"]
print(f"the teacher of seed 0 makes {wrong} errors of {len(source.test)}")

# %% [markdown]
# ## Dark knowledge, seen
#
# Below is one test image each of five classes. The teacher is right about all of them, and *sure*: at
# $T=1$ there is one bar and nothing else. At $T=4$ it turns out that it had something else in mind,
# and for every image something different. At $T=20$ (mind the scale) the whole ranking of the
# classes lies open.

# %% tags=["nbval-ignore-output"]
sure = F.softmax(test_logits, 1).max(1).values > 0.95
right = test_logits.argmax(1) == source.test.labels
second = F.softmax(test_logits / 4, 1).topk(2).values[:, 1]  # the runner-up's share at T = 4
telling = torch.where(sure & right, second, -1.0).argsort(descending=True)
chosen = [int(next(i for i in telling if source.test.labels[i] == c)) for c in (1, 3, 4, 5, 7)]
figures.show(
    figures.softened(source.test.images[chosen], test_logits[chosen], (1, 4, 20), source.classes),
    "2-1-dark-knowledge",
    "Five test images and the teacher's softmax of each at temperatures 1, 4 and 20: one tall bar at "
    "1, a visible second class at 4, a graded ranking of all classes at 20.",
)

# %% [markdown]
# Averaged over all test images of a class, the same numbers show what the teacher has found out
# about the classes themselves: which ones look alike. Nobody told it; labels treat all wrong
# answers as equally wrong.

# %% tags=["nbval-ignore-output"]
likeness = torch.stack(
    [F.softmax(test_logits[source.test.labels == c] / 4, 1).mean(0) for c in range(10)]
)
figures.show(
    figures.class_likeness(likeness, source.classes),
    "2-1-class-likeness",
    "Matrix of the teacher's mean softened output at temperature 4 by true class, diagonal left out: "
    "pairs such as 4 and 9, 3 and 5, 7 and 9 stand out.",
)

# %% [markdown]
# ## The loss from scratch
#
# Four lines. Working with logarithms from the start is not cosmetic: the logarithm of a softmax
# that has underflowed to 0 is $-\infty$, and half precision underflows soon.

# %%
def soft_targets(student_logits, teacher_logits, temperature):
    log_q = torch.log_softmax(student_logits / temperature, dim=1)
    log_p = torch.log_softmax(teacher_logits / temperature, dim=1)
    divergence = (log_p.exp() * (log_p - log_q)).sum(dim=1)  # summed over the classes,
    return temperature**2 * divergence.mean()  # averaged over the batch


# %% [markdown]
# The package's function does the same, with checked shapes and in float32 whatever the precision
# of training. The two must agree:

# %%
z, v = torch.randn(64, 10) * 5, torch.randn(64, 10) * 5
for T in (1.0, 4.0, 20.0):
    torch.testing.assert_close(soft_targets(z, v, T), losses.soft_targets(z, v, T))
print("the cell above and kdnb.losses.soft_targets agree")

# %% [markdown]
# `torch.nn.KLDivLoss()` with its default reduction also divides by the number of classes. Ten
# times too weak here, a hundred times on CIFAR-100: the second most common mistake.
#
# ### The three exact facts
#
# They are claims like any other, judged by a function that returns how far off we are.

# %%
exact = [c for c in papers.claims_of("hinton2015") if c.criteria[0].kind == "exact"]
nothing = pd.DataFrame(columns=pd.MultiIndex.from_tuples([], names=["arm", "metric"]))
show_verdicts(judge_all(exact, nothing), "exact")

# %% [markdown]
# The picture behind facts 2 and 3: the length of the gradient of the soft term, with and without
# $T^2$, and the angle between it and the gradient of logit regression.

# %%
figures.show(
    pictures.temperature_and_gradient(np.geomspace(0.5, 100, 40)),
    "2-1-gradient",
    "Left: without T squared the gradient's length falls as one over T squared, with it it levels off. "
    "Right: the angle to the gradient of logit regression falls towards 0 degrees as T grows.",
)

# %% [markdown]
# ## Live experiment
#
# Four arms, each repeated over seeds. Teacher, student and distilled student of one seed belong
# together: student and distilled student start from the *same weights* and see the same images in
# the same order for the same number of epochs. Only what they imitate differs.
#
# | arm | learns from |
# |---|---|
# | `teacher` | labels; large, with dropout, max-norm and shifted images |
# | `student` | labels; small, nothing else |
# | `distilled` | the teacher's soft targets at $T$, and a little of the labels |
# | `no_3` | the same, but **no image of a 3** is ever shown to the student |
#
# (More arms wait for you: `arms = []` runs all, such as `only_7_8`, whose student is shown nothing but
# 7s and 8s.)
#
# All report the last epoch. No number here was chosen on test images.

# %%
record = reproduce(hinton2015.REPRODUCTION, parameters, profile=profile, arms=arms)
table = record.table()
errors = table.xs("test_errors", axis=1, level="metric")

# %% tags=["nbval-ignore-output"]
errors.agg(["mean", "min", "max"]).T.rename_axis("test errors").round(0)

# %% [markdown]
# How our small run fares against the paper's claims. Fewer than six pairs can never be
# significant in an exact test, so the most that can be said here is *direction only*:

# %%
live = {v.claim.id: v for v in judge_all(papers.claims_of("hinton2015"), table)}
show_verdicts([live[name] for name in ("order", "unseen-class")], profile)

# %% [markdown]
# ### A digit it has never seen
#
# The strangest result of the paper. The student of `no_3` has never been shown a 3, in any form.
# All it knows about 3s is how much the teacher was reminded of them by 2s, 5s and 8s. Yet it
# recognises most of them, and what it lacks is mainly *confidence*: its bias for class 3 was learnt
# on images that never were one. Raise that one number, and the 3s come back.
#
# How much to raise it is tuned on held-out **training** images (the paper tuned it on test images).

# %% tags=["nbval-ignore-output"]
figures.show(
    pictures.bias_shift(
        {a: trials.run(arm[a](0)) for a in ("no_3", "only_7_8") if a in record.arms}, source
    ),
    "2-1-bias-shift",
    "Errors against the shift of the biases of the missing or the only classes, on validation and "
    "test images: both curves have a clear minimum at nearly the same shift.",
)

# %% [markdown]
# ## Recorded results
#
# The same code on all of MNIST: 60,000 images, 7 paired seeds, students trained until an
# undistilled one makes no error on its training set. (`kdnb run 2-1 --profile laptop` makes them
# anew.) Where biases are tuned, students learn from 50,000 images and the other 10,000 serve the
# tuning.
#
# *Published* are the paper's numbers. *Ours* are means over seeds with 95% intervals. The claims
# and their tolerances were written down in `papers/hinton2015/claims.toml` before the first run.

# %%
recorded = papers.show_frame("hinton2015", "laptop")
figures.published_and_ours(recorded[recorded["kind"] != "exact"])

# %%
show_verdicts(papers.verdicts("hinton2015", "laptop"), "laptop")

# %%
figures.show(
    figures.forest(figures.forest_rows(recorded, ["teacher", "distilled", "student", "no_3", "no_3_shifted"]),
                   "test errors of 10,000"),
    "2-1-recorded",
    "Our mean test errors with 95% intervals beside the published values, for teacher, distilled "
    "student, student, and the student that never saw a 3, before and after the shift of its bias.",
)

# %% [markdown]
# **What holds, what does not.** The order teacher < distilled student < student holds in every one of
# the seven pairs, and the undistilled student is where the paper has it. But our distilled student
# closes a little more than half of the gap, where the paper's closes nine tenths of it: short of the
# 0.6 that we had asked for, so the verdict is *direction only*. Our teacher is weaker too. Whether the
# longer training of both, which the paper does not describe, is what is missing, remains open.
#
# The student that never saw a 3 gets nine of ten right, as in the paper, and after the shift 97%. Its
# *total* errors fall by less than the 30% we had asked for: our bias was not as wrong to begin with
# (fewer errors before the shift than the paper has), so there is less to repair.
#
# Two classes that teach ten, the temperatures, and the few data come out as the paper says.
#
# ### Which temperature?
#
# The paper: tiny students (30 units a layer) do best at low temperatures, 2.5 to 4; wide ones (300
# and more) do not care, as long as $T$ is above 8. The reading: at a high temperature the student
# must match all logits, even the very negative ones that hardly matter. A wide student can afford
# it, a tiny one spends capacity it does not have.

# %%
laptop = papers.read_record("hinton2015", "laptop").table()
figures.show(
    pictures.temperatures(laptop),
    "2-1-temperature",
    "Test errors against temperature with 95% intervals, left for students of 30 units a layer, right "
    "for students of 800 units.",
)

# %% [markdown]
# ### Few data
#
# Soft targets carry more bits an image than labels do, so fewer images should be enough. The paper
# shows it on speech, with 3% of the data: 44.5% frame accuracy with labels and early stopping, 57.0%
# with soft targets and none. Here both students see the same 1,800 MNIST images.

# %%
few = laptop[["few_hard", "few_soft"]].agg(["mean", "std"]).T.unstack("arm")
few.loc[["test_errors", "validation_errors", "best_validation_errors", "overfit"]].round(2)

# %% [markdown]
# *Overfit* is by how much the validation cross-entropy has risen from its lowest value when training ends.
# With soft targets the student makes half the errors, and there is nothing to stop early for.
#
# ## Relatives
#
# **Logit regression** (Ba and Caruana 2014) drops the softmax: $L=\tfrac12\lVert z-v\rVert^2$. By
# fact 2 it is what soft targets become at high temperature.
#
# **Label smoothing** (Szegedy and others 2016) trains on $(1-\epsilon)\,\mathrm{onehot}(y)+\epsilon/K$:
# it is distillation from a *virtual teacher* that always gives the right answer and finds all wrong
# ones equally wrong. It has the regularising half of distillation, without the dark knowledge.

# %%
logits, labels = torch.randn(32, 10, requires_grad=True), torch.randint(10, (32,))
virtual = torch.log(0.9 * F.one_hot(labels, 10) + 0.1 / 10)  # logits of the virtual teacher
smooth = torch.autograd.grad(losses.label_smoothing(logits, labels, 0.1), logits)[0]
distil = torch.autograd.grad(losses.soft_targets(logits, virtual, 1.0), logits)[0]
torch.testing.assert_close(smooth, distil)
print("label smoothing and its virtual teacher have the same gradient")

# %% [markdown]
# **A smoothed teacher teaches worse.** Smoothing asks the teacher to find all wrong classes equally
# wrong, which is to say: to forget the dark knowledge. Müller, Kornblith and Hinton (2019) report
# on MNIST that the smoothed teacher is the better classifier (59 errors against 67) and its student the
# worse (91 against 74). Ours, recorded:

# %%
figures.published_and_ours(papers.show_frame("muller2019", "laptop"))

# %%
show_verdicts(papers.verdicts("muller2019", "laptop"), "laptop")

# %%
names = ["student", "smoothed_student", "distilled", "regressed", "distilled_from_smoothed",
         "teacher", "smoothed_teacher"]  # fmt: skip
figures.show(
    figures.forest(pictures.arm_rows(laptop, names), "test errors of 10,000"),
    "2-1-relatives",
    "Mean test errors with 95% intervals of the student, the label-smoothed student, students of "
    "soft targets and of logit regression, the student of the smoothed teacher, and both teachers.",
)

# %% [markdown]
# The two teachers are equally good; their students are not. The smoothed teacher's student is worse
# even than the student that nobody taught. Logit regression does as well as soft targets at
# $T=20$: for a wide student, that is already a high temperature.

# %% [markdown]
# ## Easy, hard, different
#
# **Easy.** The losses; the order of the arms; the class that was never seen.
#
# **Hard.** The paper gives neither optimiser nor learning rate, epochs, dropout or weights. We
# chose them on 10,000 held-out training images, never on test images. *Student*: SGD with momentum
# 0.9, one-cycle schedule with peak 0.1, batches of 250. *Weights*: 0.3 (soft) and 0.1 (hard); with 1 and
# 0.1, validation errors were 144 against 138, and under a cosine schedule, which starts at its peak,
# training diverged: the gradient of the soft term is largest in the very first steps. *Teacher*: after
# 15 epochs, dropout of 0.5 on the hidden units gave 167 validation errors, 0.3 gave 140, 0.2 gave 123.
# A pair of 0.2 on the inputs and 0.5 on the hidden units, usual since 2012, wants hundreds of epochs.
# (A first recorded run used that pair, and 20 epochs for the students. It was stopped when its first
# teachers were seen to underfit, at about 130 test errors; the choice above was then made on
# held-out images and everything was run anew. The claims stayed as they were.)
#
# **Different from the paper.**
# - Our teacher is trained for 30 epochs with dropout of 0.2; the paper's probably for far longer
#   and with more.
# - Biases are tuned on held-out training images, for which students of `no_3` and `only_7_8` learn
#   from 50,000 images. The paper tuned them on test images.
# - The few-data claim is about speech; on MNIST we test its direction only.
# - In Müller's comparison both of our teachers use dropout and differ in their targets alone.
# - Training runs in bfloat16 autocast; losses, soft targets and all evaluations in float32.

# %% [markdown]
# ## Try it
#
# Choose an image and move the temperature. (Without a running kernel, look at the figure below: the
# same, at fixed temperatures.)

# %% tags=["nbval-ignore-output"]
from kdnb.figures.explorers import temperature_slider

temperature_slider(source.test.images[chosen], test_logits[chosen], source.classes)

# %% tags=["nbval-ignore-output"]
figures.show(
    figures.softened(source.test.images[chosen[:2]], test_logits[chosen[:2]], (1, 2, 4, 8, 20),
                     source.classes),
    "2-1-slider",
    "Two of the images and the teacher's softmax at temperatures 1, 2, 4, 8 and 20.",
)

# %% [markdown]
# ## Exercises
#
# 1. Set `hard_weight = 0`. The student then never reads a label. How many errors more does it make?
# 2. Set `dataset = "fashion_mnist"`. Which classes light up in the likeness matrix? Does leaving out
#    class 3 (dresses) still work?
# 3. Derive $\partial C/\partial z_i=(q_i-p_i)/T$, then the limit $(z_i-v_i)/(NT^2)$. Where is the
#    zero mean of the logits needed?
# 4. Make the teacher worse (`teacher_epochs = 1`). From which quality on does it do harm?
# 5. In `only_7_8`, tune one shift for 7 and another for 8. Is it worth it?
# 6. Give the student the teacher's soft targets for *noise* instead of digits. What is learnt?
#
# ## Take-aways
#
# - Soft targets say how an image resembles the *other* classes; that is what the student gains.
# - Multiply by $T^2$, sum over classes, average over the batch, work with log-softmax.
# - Students can learn a class they have never seen; a wrong bias is what stands in the way.
# - A teacher must keep its dark knowledge: do not smooth its labels.
#
# ## References and how to cite

# %%
print(papers.cite("hinton2015", "laptop"))
