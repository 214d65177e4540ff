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
#     experiment: kdnb.reproductions.romero2015fitnets
#     papers:
#     - romero2015fitnets
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2.2 Feature-based knowledge
#
# **A teacher's last word is not all it knows: what its inner layers make of an image can guide a
# student's inner layers, too.**
#
# This chapter reproduces Romero and others, *FitNets: Hints for Thin Deep Nets* (2015), on MNIST, and
# lays open what its successors look at: attention, selectivity, factors, activation boundaries. It
# belongs to section 2.2 of the survey by Gou, Yu, Maybank and Tao (2021).
#
# | part | where its numbers come from |
# |---|---|
# | *Live experiment*, *What each method looks at* | computed in this notebook, on a part of the data (`quick` profile) |
# | *Recorded results* | 10,000 training images, all test images, 7 seeds (`laptop` profile), raw values in `papers/` |

# %% [markdown]
# ## What you will learn
#
# - what a *hint* is, why it takes a *regressor*, and why FitNets train in two stages;
# - why thin deep nets were hard to train in 2014, and how to tell help with *learning* from help
#   with a *bad start*;
# - what AT, NST, FT, AB, OFD and VID compare, as equations, as code and as pictures of real maps;
# - which loss of section 2.2 is which function of `kdnb`, and where each is put to the test.
#
# **Before you start**: chapter 2.1 (soft targets), convolutions and their feature maps.
# **Time**: about a minute on two CPU cores.
#
# The next cell holds every parameter of this chapter. Change them here, by
# `kdnb run 2-2 --set student_epochs=20`, or by `papermill -p student_epochs 20`.

# %% tags=["parameters"]
train_images = 1000  # training images of the students, at most 50000
test_images = 1000  # test images looked at, at most 10000
seeds = 2  # paired repetitions of every student
teacher_images = 2000
teacher_epochs = 5
hint_epochs = 2  # of the first stage
student_epochs = 8  # in all, both stages together
precision = "32"  # or "bf16", faster where the hardware has it
arms = ["teacher", "backprop_he", "kd_he", "hints_he"]  # all when empty

# %%
import torch
from torch.nn import functional as F

from kdnb import data, figures, losses, nets, papers
from kdnb.papers.claims import judge_all
from kdnb.reproductions import reproduce, romero2015fitnets
from kdnb.runs import trials
from kdnb.runs.task import network_of
from kdnb.training import Recipe
from kdnb.training.layers import layers_of, look
from kdnb.workbook.chapter import badges, check, profile_of, show_verdicts
from kdnb.workbook.chapters import romero2015fitnets_figures as pictures
from kdnb.workbook.chapters import romero2015fitnets_live

figures.style()
parameters = check(romero2015fitnets.Parameters, globals())
profile = profile_of(parameters, romero2015fitnets.PROFILES)

# %%
badges({"romero2015fitnets": papers.verdicts("romero2015fitnets", "laptop")}, "laptop")

# %% [markdown]
# ## The idea
#
# Soft targets tell the student what the teacher *concludes*. They say nothing of how it got there. In
# between lie the **feature maps**: what a layer makes of the image. A trained middle layer has found
# strokes, loops and corners that are worth looking for. Why let the student find them again?
#
# The survey writes every method of this kind as one loss (its equation 4),
#
# $$L_\text{FeaD}\big(f_t(x), f_s(x)\big) = \mathcal L_F\big(\Phi_t(f_t(x)),\, \Phi_s(f_s(x))\big),$$
#
# where $f_t$ and $f_s$ are maps of teacher and student. The two networks rarely have layers of the same
# shape, so something has to make them comparable: that is what the transformations $\Phi$ are for. **A
# method of section 2.2 is a choice of $\Phi$, of $\mathcal L_F$, and of the layers.**
#
# FitNets, the first of them, has the plainest choice. Take a layer in the middle of the teacher, the
# **hint** layer. Take a layer in the middle of the student, the **guided** layer. Put a small
# convolution on top of the guided layer, the **regressor**, so that its output has the hint's shape.
# Ask for the two to be equal. That is stage 1; it trains the student's lower half only. In stage 2 the
# regressor is dropped, and the whole student is trained on soft targets and labels.

# %%
figures.show(
    pictures.two_stages(),
    "2-2-scheme",
    "Schematic: above, the frozen teacher's three layers, the second marked as hint layer. Below, the "
    "student's six thin layers, the fourth marked as guided. A regressor on the guided layer meets the "
    "hint in the hint loss, stage 1; soft targets and labels train the whole student in stage 2.",
)

# %% [markdown]
# ### Why thin deep nets are hard
#
# FitNets' student is *deeper* than its teacher and a twelfth of its size: depth is cheap where layers
# are thin. But in 2014 deep nets without tricks were hard to train, and the reason can be seen before
# training begins. The paper draws initial weights uniformly from $\pm 0.005$. A layer with $n$ inputs
# then multiplies the signal by about $0.0029\sqrt n$, here by a few hundredths, and six layers multiply
# six such factors. What comes out hardly depends on the image any more. On the way back the gradient
# suffers the same fate.
#
# He and others (2015) draw weights with variance $2/n$, so that each layer hands the signal on at about
# its size. Both starts, on the same images:

# %%
source = data.load("mnist")
some = source.test.select(slice(256))
inputs = (some.images.float() / 255 - source.mean[0]) / source.sd[0]
figures.show(
    pictures.signal(pictures.signal_by_depth(inputs, some.labels)),
    "2-2-signal",
    "Two panels with logarithmic axes by layer, 1 to 6. Left: the spread of the maps over images falls "
    "by orders of magnitude from layer to layer for weights uniform in plus or minus 0.005, and stays "
    "level for He's. Right: the gradients, with the optimiser's two epsilons as horizontal lines.",
)

# %% [markdown]
# RMSProp divides the gradient by its size, so it can undo the right-hand picture, but only as far as the
# $\epsilon$ in the denominator lets it: gradients far below $\epsilon$ stay small. The horizontal lines are the
# authors' 1e-5 and our 1e-8. From $\pm0.005$ the first gradients lie below both; with ours, the first steps are
# a thousand times longer than with theirs, and still short. Keep this in mind for the question that the paper
# could not ask yet: **do hints teach something, or do they repair a bad start?** We run everything from both.

# %% [markdown]
# ## The mathematics
#
# Let $u_h(x; W_\text{Hint})$ be the teacher up to its hint layer, $v_g(x; W_\text{Guided})$ the student up
# to its guided layer, and $r(\cdot\,; W_r)$ the regressor.
#
# **Stage 1** (the paper's equation 3) moves $W_\text{Guided}$ and $W_r$:
#
# $$L_{HT} = \tfrac12 \big\lVert u_h(x; W_\text{Hint}) - r\big(v_g(x; W_\text{Guided}); W_r\big) \big\rVert^2 .$$
#
# The regressor is a convolution without padding, with the kernel that turns the student's height and
# width into the teacher's, and with the teacher layer's own activation (maxout here). Fully connected, it
# would have more parameters than the student. And the hint should not sit too high: a hint is a
# constraint, and the higher it sits the less freedom it leaves.
#
# **Stage 2** (equation 2) moves the whole student:
#
# $$L_{KD} = H(y, P_S) + \lambda\, H(P_T^\tau, P_S^\tau), \qquad \tau = 3,\quad \lambda: 4 \to 1 .$$
#
# $\lambda$ falls linearly in the course of training: first the teacher is trusted, then the labels.
#
# *In our units.* $H(p, q)$ and $\mathrm{KL}(p\,\|\,q)$ differ by a constant, so they have one gradient. The
# paper has no factor $T^2$, `losses.soft_targets` has it (chapter 2.1). Hence our `soft_weight` is
# $\lambda/\tau^2$, falling from 4/9 to 1/9.
#
# ## The losses from scratch

# %%
def hint(regressed, teacher_maps):
    half_squares = (teacher_maps - regressed).square() / 2
    return half_squares.sum(dim=(1, 2, 3)).mean()  # of an image; averaged over the batch


def paper_kd(student_logits, teacher_logits, labels, decay, tau=3.0):
    soft = F.softmax(teacher_logits / tau, dim=1)
    return F.cross_entropy(student_logits, labels) + decay * F.cross_entropy(
        student_logits / tau, soft
    )


# %%
maps = torch.randn(8, 16, 6, 6), torch.randn(8, 48, 4, 4)
regressor = losses.adapters.ConvolutionalRegressor(maps[0].shape, maps[1].shape)
torch.testing.assert_close(hint(regressor(maps[0]), maps[1]),
                           losses.hint(regressor(maps[0]), maps[1]))  # fmt: skip
z, v, y = torch.randn(8, 10, requires_grad=True), torch.randn(8, 10), torch.arange(8)
for decay in (4.0, 1.0):
    ours = F.cross_entropy(z, y) + decay / 3**2 * losses.soft_targets(z, v, 3.0)
    pair = [torch.autograd.grad(loss, z)[0] for loss in (paper_kd(z, v, y, decay), ours)]
    torch.testing.assert_close(*pair)
kernel = regressor.convolution.kernel_size
print(f"losses agree; from 6x6 to 4x4 the regressor's kernel is {kernel[0]}x{kernel[1]}")

# %% [markdown]
# ## Live experiment
#
# Teacher and student are the paper's maxout networks. Students of one seed start from the same
# weights, see the same images in the same order, and are trained for the **same number of epochs in
# all**: what the hints' first stage takes, its second stage lacks.
#
# | arm | learns from |
# |---|---|
# | `teacher` | labels; 48-48-24 channels; one teacher for all students |
# | `backprop_he` | labels; 16-16-16-16-12-12 channels, He's start |
# | `kd_he` | soft targets and labels, $\lambda$ from 4 to 1 |
# | `hints_he` | the teacher's second layer first, then as `kd_he` |
#
# (`arms = []` runs all: the same three from the paper's start, and `one_stage_...`, hint and labels at
# once.) All report the last epoch.

# %%
record = reproduce(romero2015fitnets.REPRODUCTION, parameters, profile=profile, arms=arms)
table = record.table()
errors = table.xs("test_errors", axis=1, level="metric")

# %% tags=["nbval-ignore-output"]
errors.agg(["mean", "min", "max"]).T.rename_axis(f"errors of {test_images}").round(0)

# %% [markdown]
# Two pairs, and a student that takes 64 steps in all, 16 of which go to the hints: this shows how the
# experiment works, not what it finds. The verdict on it says so in its own way. What counts is the
# recorded run below.

# %%
live = {v.claim.id: v for v in judge_all(papers.claims_of("romero2015fitnets"), table)}
show_verdicts([live["initialisation"]], profile)

# %% [markdown]
# ## Recorded results
#
# 10,000 training images, all 10,000 test images, 7 paired seeds, 10 epochs for every student, 3 of them
# for the hints; a teacher of 50,000 images. (`kdnb reproduce romero2015fitnets` makes them anew.)
# *Published* are the paper's numbers; it trains on 50,000 images until validation errors have not fallen
# for 100 epochs. The claims and tolerances were written down in `papers/romero2015fitnets/claims.toml`
# before the first run.

# %%
recorded = papers.show_frame("romero2015fitnets", "laptop")
figures.published_and_ours(recorded)

# %%
show_verdicts(papers.verdicts("romero2015fitnets", "laptop"), "laptop")

# %% [markdown]
# All arms, from both starts. Published values exist for the paper's own start only.

# %%
laptop = papers.read_record("romero2015fitnets", "laptop").table()
figures.show(
    pictures.all_arms(laptop),
    "2-2-recorded",
    "Mean test errors with 95% intervals of the teacher and of students trained by labels, soft "
    "targets, hints first, and hints at once, from uniform and from He's weights, beside the "
    "published values for uniform weights.",
)

# %% [markdown]
# **What holds, what does not.** For all four published claims the *premise is not met*: the undistilled student still
# errs on 6.7% of its training images, where at most 5% are asked for. So this record says nothing for or against the
# paper; a setting where the premise holds is to come. What was measured:
# - *Soft targets*: 46 errors fewer than labels in the mean, but between 71 more and 163 fewer (95%), with three
#   pairs of seven in favour. The paper has 125 fewer.
# - *Hints* cost 583 errors (416 to 750) where the paper gains 14.
# - *The teacher* (63 errors, the paper's 55) is far out of the student's reach.
# - *Two stages or one*: no difference from the paper's start (26 errors in favour of one, from 225 against to 276
#   for it).
#
# The reason can be read off the cross-entropies below. From $\pm0.005$ the students have not been trained when
# their 10 epochs are over: they get 6.5 to 12.4% of their *training* images wrong. An arm that is still falling is
# judged by how fast it learns, not by how far it would get; and of the hinted student's epochs, the three of
# stage 1 leave the upper half as flat as it was.
#
# **How much was the start?** Here, nearly everything. With labels alone, He's start makes 198 errors where the
# paper's makes 691: 493 fewer (388 to 598), for one line of code. No teacher comes close to that: from the paper's
# start, the best student it has makes 645. A fifth of the data, 10 epochs and no teacher thus bring the *baseline* to
# about where the paper has it (190).
#
# From He's start the picture is calmer, and smaller. Soft targets help in every pair, by 29 errors (22 to 36): 15% of the
# baseline's errors, where the paper's soft targets removed two thirds. Hints do not add to that: 19 errors
# *more* than soft targets alone (44 more to 6 fewer), for three of ten epochs. Whether hints help from this start is our own
# question: its premise holds (0.25% of the training images are wrong), and the answer is *inconclusive*, since the
# interval allows both. One thing of the paper does show: hint and labels
# at once are the worst way to use a hint, 102 errors behind hints first (73 to 130), and behind the student that
# nobody taught. That was not among the claims, which are about the paper's start.
#
# What we have **not** shown: that hints are useless when everybody trains to the end. Our runs are a fifth of
# the paper's data and a fiftieth of its longest training.

# %% tags=["nbval-ignore-output"]
laptop.xs("final_loss", axis=1, level="metric").mean().round(4).rename("final cross-entropy")

# %% [markdown]
# ## What each method looks at
#
# Elementwise equality is a strong demand: the student's fourth channel has to be *this* and no other,
# up to the regressor. FitNets' successors ask for less, each for something else. To see what, we train
# one small student six times, each time with cross-entropy and **one** method at its published weight,
# for two epochs on 1,000 images. Then we draw, for a test image, what the method compares: the teacher's
# side, the student's before, the student's after.
#
# The three places are those behind each pooling, where both networks have maps of 10x10, 4x4 and 3x3.
# (Responses "in front of the ReLU", which AB and OFD want, do not exist in a maxout network. We take
# those of the second and third convolutions in front of the max; they have signs, too.)

# %%
teacher = network_of(trials.run(romero2015fitnets.arms(parameters)["teacher"](0)))
torch.manual_seed(0)
student = nets.build("fitnet_mnist", irange=None)
recipe = Recipe(epochs=2, batch_size=32, optimiser="adam", lr=0.003, schedule="one_cycle",
                precision=precision)  # fmt: skip
seen = romero2015fitnets_live.train_and_look(student, teacher, source, recipe=recipe)

# %% [markdown]
# ### AT: where a network looks
#
# *Attention transfer* (Zagoruyko and Komodakis 2017; survey, section 2.2 and 5.5). Sum the squares of all
# channels at each position: what remains is one picture of where the layer's energy lies. Divide it by its
# length and compare:
#
# $$L = \Big\lVert \frac{Q_S}{\lVert Q_S\rVert_2} - \frac{Q_T}{\lVert Q_T\rVert_2} \Big\rVert_2, \qquad
#   Q = \mathrm{vec}\Big(\sum_c |A_c|^2\Big).$$
#
# The channels are gone, so widths may differ and no adapter is needed. Where the student looks is
# prescribed; what it sees there is not. The authors' code averages *squared* differences over the
# positions instead, with a weight of 1000: both forms are in `kdnb`, the second one is trained here.

# %%
def attention_transfer(student_maps, teacher_maps):
    q_s, q_t = (maps.square().sum(dim=1).flatten(1) for maps in (student_maps, teacher_maps))
    return (F.normalize(q_s) - F.normalize(q_t)).norm(dim=1).mean()


ours, theirs = torch.randn(8, 16, 10, 10), torch.randn(8, 48, 10, 10)
torch.testing.assert_close(
    attention_transfer(ours, theirs), losses.attention_transfer(ours, theirs)
)

# %% [markdown]
# ### NST: what single channels fire for
#
# *Neuron selectivity transfer* (Huang and Wang 2017; section 2.2). Each channel is a pattern over the
# positions, of length 1. A layer is a *set* of such patterns, and two sets are compared as samples of two
# distributions, by the maximum mean discrepancy with the kernel $k(x,y) = (x^\top y)^2$:
#
# $$L = \frac{1}{C_T^2}\sum_{i,i'} k(t_i, t_{i'}) + \frac{1}{C_S^2}\sum_{j,j'} k(s_j, s_{j'})
#   - \frac{2}{C_T C_S}\sum_{i,j} k(t_i, s_j) .$$
#
# The order and number of channels play no part. With this kernel the same number can be had otherwise:
# it is the squared distance of the two matrices $\frac1C\sum_c f_c f_c^\top$, which say **which positions
# respond together**. That matrix is what our picture shows.

# %%
def neuron_selectivity(student_maps, teacher_maps):
    together = []
    for maps in (student_maps, teacher_maps):
        patterns = F.normalize(maps.flatten(2), dim=2)  # (batch, channels, positions)
        together.append(patterns.mT @ patterns / maps.shape[1])  # positions x positions
    return (together[0] - together[1]).square().sum(dim=(1, 2)).mean()


torch.testing.assert_close(
    neuron_selectivity(ours, theirs), losses.neuron_selectivity(ours, theirs)
)

# %% [markdown]
# ### FT: a code of the teacher's maps
#
# *Factor transfer* (Kim, Park and Kwak 2018; section 2.2). Maps of another network are hard to read, so
# they are paraphrased first. An auto-encoder, the *paraphraser*, learns to compress the teacher's last
# maps into fewer channels, the *factor* $F_T$, without any label. The student gets a *translator* that
# turns its own maps into a factor $F_S$, and the two are compared:
#
# $$L = \Big\lVert \frac{F_T}{\lVert F_T\rVert_2} - \frac{F_S}{\lVert F_S\rVert_2} \Big\rVert_1 .$$
#
# See `losses.Paraphraser`, `losses.Translator` and `losses.factor_transfer`. The picture shows the twelve
# factors of 3x3, side by side.
#
# ### AB: which side of the boundary
#
# *Activation boundaries* (Heo and others 2019a; section 2.2). A ReLU unit cuts its input space in two, and
# all such cuts together make the network's decision. A squared error on the responses cares most for
# large ones; whether a unit fires at all, decided near 0, is drowned. So match the *side* alone, with a
# hinge of margin $\mu$ ($\rho(T)=1$ where $T>0$, $\sigma$ the ReLU):
#
# $$L = \big\lVert \rho(T)\odot\sigma(\mu - S) + (1-\rho(T))\odot\sigma(\mu + S) \big\rVert_2^2 .$$
#
# $S$ has passed a *connector*, a 1x1 convolution to the teacher's width. The paper uses the loss for a
# first stage, as FitNets does; most code adds it to the cross-entropy, and so do we here.

# %%
def activation_boundary(student_responses, teacher_responses, margin=1.0):
    on = (teacher_responses > 0).float()
    off_by = on * F.relu(margin - student_responses)
    off_by = off_by + (1 - on) * F.relu(margin + student_responses)
    return off_by.square().sum(dim=(1, 2, 3)).mean()


connected = torch.randn(8, 48, 10, 10)
torch.testing.assert_close(
    activation_boundary(connected, theirs), losses.activation_boundary(connected, theirs)
)

# %% [markdown]
# ### OFD: negative responses are ceilings
#
# The *overhaul of feature distillation* (Heo and others 2019b; section 2.2, "margin ReLU"). Positive
# responses carry the information, so those are matched. Of a negative response only one thing matters:
# that it stays negative. The teacher's target is $t=\max(T, m_c)$, where the *margin* $m_c<0$ is the mean
# of the channel's negative responses, and where the student already lies below a negative target, nothing
# is asked:
#
# $$L = \sum_i \begin{cases} 0 & s_i \le t_i \le 0\\ (t_i - s_i)^2 & \text{otherwise.}\end{cases}$$
#
# See `losses.overhaul`, and `losses.overhaul_margin` for the margin out of a batch normalisation. The
# picture draws a response below a negative target as if it were on it.
#
# ### VID: what can be predicted
#
# *Variational information distillation* (Ahn and others 2019; section 2.2). Maximise the mutual information
# of the two layers. A bound on it is how well the student predicts the teacher's maps, as a Gaussian with
# mean $\mu(s)$ and one variance for each channel:
#
# $$L = \sum_{c,h,w} \log\sigma_c + \frac{\big(t_{chw} - \mu_{chw}(s)\big)^2}{2\sigma_c^2} .$$
#
# With all $\sigma_c$ fixed this is the hint again. Learnt, they let the student off: a channel that it
# cannot predict gets a large variance and then hardly counts. See `losses.variational_information` and
# `losses.VariationalRegressor`.
#
# ### Side by side
#
# One test image. For AB, OFD and VID, one channel out of many is drawn, chosen by the teacher's side alone.
# On the right, a number over 200 test images: the correlation of the two sides, after the mean over the
# images has been taken off. It asks whether the student follows the teacher in what *differs from image to
# image*. *Adapter alone* is the control: the student stays as it was before training, and only the
# method's adapter learns, for as long. What it reaches is no merit of the student's.

# %% tags=["nbval-ignore-output"]
figures.show(
    romero2015fitnets_live.side_by_side(seen, source.test.images[0], image=0),
    "2-2-what-each-sees",
    "Six rows, one for each of AT, NST, FT, AB, OFD and VID: a test digit, the teacher's attention map, "
    "matrix of positions, factors, signs, margin ReLU or channel, the student's before and after "
    "training, and bars of the agreement before, with the adapter alone, and after.",
)

# %% tags=["nbval-ignore-output"]
romero2015fitnets_live.agreement_table(seen)

# %% [markdown]
# How to read it:
#
# - **AT** and **NST** agree well before any training. Both networks respond where the ink is, trained or not. So
#   high an agreement at the start is a warning that the quantity says little about digits; on photographs it
#   says more.
# - **NST**'s matrix has one row and one column for each of the 100 positions, line after line of the map: a
#   block of ten by ten compares two lines.
# - **FT**, **AB**, **OFD** and **VID** have adapters. Compare *after* with *adapter alone*, not with *before*: an
#   adapter on an untrained student already imitates a part of the teacher, sometimes the larger part. This is
#   the general weakness of feature losses with adapters: they can be satisfied outside the student.
# - Pictures flatter. A factor or a sign map may look right and its correlation still be near 0: then the student
#   has learnt the *mean* over all digits, and little of what this digit adds to it.
# - Agreement is not accuracy. Whether any of this makes a better *classifier* is another question, and
#   chapter 2.3 puts it to all losses of section 2 in one fair comparison.
#
# VID says on its own account which channels it trusts. At the optimum a channel's variance is its mean
# squared error (set the derivative of $L$ in $\sigma_c$ to 0). So short a training hardly moves the variances
# from 5, where they start: read off the dashed line where each channel's would end. Channels far to the left
# are those that the student predicts, and that would come to dominate the loss.

# %% tags=["nbval-ignore-output"]
figures.show(
    romero2015fitnets_live.variances(seen["variational_information"], teacher, source),
    "2-2-variances",
    "Scatter of the log-variance of each teacher channel that VID has learnt against the logarithm of its "
    "mean squared error on test images, with the line of the optimum and the value before training.",
)

# %% [markdown]
# ## The rest of the section
#
# **KR** (Liu and others 2019) compares no maps at all, but *parameters*: the distribution of the weights in a
# group of layers, as a histogram of which the largest bins are kept, by cross-entropy. No data is needed to
# compute it. `losses.parameter_distribution`.
#
# **SemCKD** (Chen and others 2021) does not want to be told which layers to pair. Every pair counts, by an
# attention that is learnt: $L=\sum_s\sum_t a_{st}\,\mathrm{MSE}(P_{st}(F_s), F_t)$ with $\sum_t a_{st}=1$.
# The attention is computed from how similar the images of a batch look to each layer.
# `losses.semantic_calibration`.
#
# **ALP-KD** (Passban and others 2021) has the same wish for language models: each student layer meets a
# mixture of *all* the teacher's layers, $h_i \approx \sum_j \epsilon_{ij} h_j^T$ with $\epsilon_{ij}$ the
# softmax of $h_i\cdot h^T_j$. `losses.layer_projection`.
#
# **ReviewKD** (Chen and others 2021) lets a shallow layer of the teacher be met by what the student knows at
# that depth *and deeper*: maps are fused from deep to shallow, weighted at each position, and compared at
# several scales. `losses.ReviewFusion`, `losses.hierarchical_context`.
#
# **SimKD** (Chen and others 2022) asks why a student should learn a classifier of its own. It takes over the
# teacher's last layer as it is, and one loss remains: $\lVert F_t - P(F_s)\rVert^2$ on the maps in front of
# it. The projector $P$ is deployed, too. `losses.reused_classifier`.
#
# **CAT-KD** (Guo and others 2023) is attention with the classes put back: one map for each class, the
# channels weighted by the classifier, pooled to 2x2, normalised, compared. `losses.class_attention`.
#
# **AdaIN statistics** (Yang and others 2020) keep of each channel its mean and standard deviation, the
# "style" of a map, and compare these: $\lVert\mu_S-\mu_T\rVert^2+\lVert\sigma_S-\sigma_T\rVert^2$.
# `losses.feature_statistics`; and `losses.restyle` gives the teacher's map the student's statistics.
#
# **RCO** (Jin and others 2019) is about *when*, not *what*. The teacher's final weights may be out of reach
# for a small student; the way there may not be. The student learns from the teacher's checkpoints
# $C_1\to C_2\to\dots\to C_n$, one after the other. `kdnb.methods.offline.rco.follow_route`.
#
# All of them, and where each is judged:

# %%
pictures.method_table()

# %% [markdown]
# ## Easy, hard, different
#
# **Easy.** The losses; two stages, each a trial that starts from the other's weights.
#
# **Hard.** *RMSProp's epsilon.* RMSProp divides the gradient by the root of its mean square. In the authors'
# code this root is not taken below 1e-5. From $\pm0.005$ the first gradients are smaller than that (see the
# picture of the signal), so steps are smaller than the learning rate says, and with this floor the student
# does not leave the plateau within our short runs: 8 epochs on 10,000 images stayed at chance on held-out
# images. We add 1e-8 instead. The paper trains for up to 500 epochs.
#
# **Different from the paper.**
# - *Kernel sizes* are not printed in it. The student's are those of the authors' configuration, the
#   teacher's the only ones that give the paper's number of parameters.
# - *Data*: students learn from 10,000 images, not 50,000. *Time*: 10 epochs, not hundreds; and **equal
#   epochs for all students**, both stages together. The paper's stages are stopped by
#   validation errors, so its hinted student may have had more training than the others.
# - *Teacher*: one for all seeds, trained from He's start, on shifted images, for 8 epochs. Intervals
#   therefore do not cover another teacher.
# - *Optimiser*: RMSProp with a one-cycle schedule that peaks at 0.001, where the paper's learning rate is
#   0.0005. No early stopping, no choice of an epoch: the last one counts.
# - `one_stage` is cross-entropy plus 100 times the mean squared error through a 1x1 convolution, which public
#   code calls FitNet. The paper's own joint training, which it says failed, is not specified.
# - Training runs in bfloat16 autocast; losses and all evaluations in float32.
#
# ## Try it
#
# Attention depends on the layer and on the power $p$ in $\sum_c|A_c|^p$. The higher $p$, the more the
# strongest channel decides alone. Choose a test image and move $p$; the layers are the student's that was
# trained with AT. (Without a running kernel, look at the figure below.)

# %% tags=["nbval-ignore-output"]
attentive = seen["attention_transfer"].student
view = look(attentive, layers_of(attentive), inputs[:10])
pictures.attention_slider(view, source.test.images[:10])

# %% tags=["nbval-ignore-output"]
figures.show(
    pictures.attention_grid(view, source.test.images[0], 0, (1.0, 2.0, 4.0)),
    "2-2-attention-by-layer",
    "Attention maps of one digit in the student's six layers, from fine to coarse, for the powers 1, 2 "
    "and 4: the higher the power, the fewer positions are bright.",
)

# %% [markdown]
# ## Exercises
#
# 1. Run `arms = []`. Which of the `uniform` arms leave chance level in so few steps, and why those?
# 2. Give all epochs to stage 2 (`hint_epochs = 1`), then nearly all to stage 1. Where is the best split?
# 3. Show that NST with the linear kernel compares the *mean* pattern of the channels. What does AT compare that
#    it does not?
# 4. Shuffle the channels of the teacher's maps. For which of the six methods does the loss stay as it is?
#    For which does it after the adapter has been trained again?
# 5. Derive VID's best $\sigma_c$, and what the loss becomes when it is put in. Which channels then matter?
# 6. Put the hint on the teacher's *third* layer and guide the student's sixth (`GUIDED`, `HINT` in
#    `kdnb/reproductions/romero2015fitnets.py`). The paper says that this is too much. Is it?
#
# ## Take-aways
#
# - A feature loss is a choice of layers, of a transformation and of a distance; the transformation decides
#   what the student is free to do otherwise.
# - FitNets: hint first, soft targets afterwards. The "FitNet" of most public code is another method.
# - A start from which a net hardly trains outweighs everything else. Try a modern one before you believe a gap,
#   and look whether training was over when you measured it.
# - Agreement may be the adapter's doing. Train the adapter alone, and compare.
#
# ## References and how to cite

# %%
print(papers.cite("romero2015fitnets", "laptop"))
