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
#     experiment: kdnb.reproductions.zhang2018dml
#     papers:
#     - zhang2018dml
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3.2 Online distillation
#
# **Nobody has to be trained first: networks that learn together can teach each other, although none
# of them knows anything when they begin.**
#
# This chapter reproduces Zhang, Xiang, Hospedales and Lu, *Deep Mutual Learning* (2018), on a part
# of CIFAR-10. It then runs the relatives: copies on several machines, heads of one network,
# adversaries, and networks taught by their own past. It belongs to section 3.2 of the survey by
# Gou, Yu, Maybank and Tao (2021).
#
# | part | where its numbers come from |
# |---|---|
# | *Live experiment*, *The relatives* | computed in this notebook, on few images (`quick` profile) |
# | *Recorded results* | 4,096 images of CIFAR-10, 6 seeds of every arm (`laptop` profile), raw values in `papers/` |

# %% [markdown]
# ## What you will learn
#
# - how two networks that both know nothing can help each other, and what it costs;
# - why a target made of *mean probabilities* changes nothing, while one of mean logits does;
# - to measure what mutual learning changes besides errors: certainty, and the flatness of the
#   minimum;
# - a dozen relatives, told apart by one question: *who teaches whom?*
#
# **Before you start**: chapter 2.1 (soft targets, KL divergence). **Time**: about a minute on two
# CPU cores.
#
# The next cell holds every parameter of this chapter. Change them here, by
# `kdnb run 3-2 --set network=resnet14`, or by `papermill -p network resnet14`.

# %% tags=["parameters"]
dataset = "cifar10"  # or "cifar100"
network = "resnet8"  # every peer of the equal cohorts
larger = "resnet14"  # the second peer of the unequal pair
train_images = 256
test_images = 500
seeds = 2  # paired repetitions of every arm
epochs = 2
precision = "32"  # or "bf16", faster where the hardware has it
arms = ["independent", "mutual"]  # all when empty

# %%
import pandas as pd
import torch

from kdnb import data, figures, papers
from kdnb.methods import online
from kdnb.reproductions import reproduce, zhang2018dml
from kdnb.runs import trials
from kdnb.runs.functions.online import peer_of
from kdnb.workbook.chapter import badges, check, profile_of, show_verdicts
from kdnb.workbook.chapters import zhang2018dml_figures as pictures
from kdnb.workbook.chapters import zhang2018dml_live as live
from kdnb.workbook.chapters import zhang2018dml_methods as methods

figures.style()
pd.set_option("display.max_colwidth", None)
parameters = check(zhang2018dml.Parameters, globals())
profile = profile_of(parameters, zhang2018dml.PROFILES)

# %%
badges({"zhang2018dml": papers.verdicts("zhang2018dml", "laptop")}, "laptop")

# %% [markdown]
# ## The idea
#
# Offline distillation needs a teacher: large, trained first, then frozen. What if there is none?
# Deep mutual learning answers: take two untrained students. Both learn from the labels, as always;
# and at every step each also imitates what the other says of the same images *right now*.
#
# That looks like the blind leading the blind. But the labels pull both in the right direction from
# the first step. What they lack is told by labels to neither: which *other* classes an image
# resembles. Two networks that start from different weights make different guesses about that. Where
# both guesses agree there is probably something in them. Where they do not, each is told to be less
# sure.
#
# Everything in this chapter is a variation of *who teaches whom*. Some are peers, some share a
# trunk, some meet a target that is made on the spot, and some have only themselves, at an earlier
# time.

# %%
figures.show(
    pictures.schematic(),
    "3-2-scheme",
    "Eight panels of who teaches whom: DML's three peers each teach the others; codistillation's copies "
    "are taught by old copies; KDCL makes one target of all; ONE's heads are taught by their gated sum; "
    "OKDDip's peers teach each other and a leader; FFL fuses maps; Rocket's booster teaches the light head; "
    "a network is taught by its own past.",
)

# %% [markdown]
# ## The mathematics
#
# Let $p_k=\mathrm{softmax}(z_k)$ be what network $k$ of $K$ says of an image. Each minimises its
# own loss (the paper's equations 4 to 7),
#
# $$L_k=\underbrace{H(y,p_k)}_{\text{labels}}\;+\;\frac1{K-1}\sum_{l\ne k}\mathrm{KL}(p_l\,\|\,p_k),$$
#
# in which $p_l$ is a target: no gradient flows into it. There is no temperature: a network in
# training is not as sure as a trained teacher.
#
# **In turn or at once.** In the paper network 1 takes its step, then says *anew* what it thinks of
# the batch; network 2 learns from that, and so on (*sequential*). Public code mostly takes all
# answers from before the step (*simultaneous*). That saves $K-1$ forward passes; every network but
# the first then hears a peer that is one step old.
#
# From scratch:

# %%
def mutual_loss(logits, peers):
    log_q = torch.log_softmax(logits, dim=1)
    divergences = []
    for peer in peers:
        log_p = torch.log_softmax(peer.detach(), dim=1)  # a target, not a partner in the gradient
        divergences.append((log_p.exp() * (log_p - log_q)).sum(dim=1).mean())
    return sum(divergences) / len(divergences)


z, *peers = (3 * torch.randn(64, 10) for _ in range(4))
torch.testing.assert_close(mutual_loss(z, peers), online.mutual_loss(z, peers))
print("the function above and kdnb.losses.mutual_loss agree")

# %% [markdown]
# ### Peers one by one, or their ensemble?
#
# With three networks or more there is a choice. Why not average the peers first and imitate the
# average? An ensemble knows more than its members. The paper tries this (DML$_e$) and finds it
# *worse*.
#
# A short calculation shows that this cannot be about averaging probabilities. With
# $\bar p=\frac1{K-1}\sum_l p_l$,
#
# $$\frac1{K-1}\sum_{l\ne k}\mathrm{KL}(p_l\,\|\,p_k)=\mathrm{KL}(\bar p\,\|\,p_k)+
#   \underbrace{H(\bar p)-\frac1{K-1}\sum_{l\ne k}H(p_l)}_{\text{does not contain }p_k}.$$
#
# The two losses differ by a number that $p_k$ cannot change: they have *the same gradient*. The
# paper's own explanation is that the average is more peaked and so tells less about the other
# classes. A mean of probabilities is never more peaked than its members are on average, since
# $H(\bar p)\ge\frac1{K-1}\sum_l H(p_l)$. A mean of *logits* may be. So our arm `ensemble_target`
# averages logits.

# %%
gradients = {}
for target in ("peers", "ensemble", "mean_logits"):
    own = z.clone().requires_grad_()
    (gradients[target],) = torch.autograd.grad(online.mutual_loss(own, peers, target), own)
torch.testing.assert_close(gradients["ensemble"], gradients["peers"])
assert (gradients["mean_logits"] - gradients["peers"]).abs().max() > 1e-4
print("a target of mean probabilities has DML's gradient; one of mean logits has another")

# %% [markdown]
# ## Live experiment
#
# Two arms, repeated over seeds. Pairs start from the same weights, see the same images in the same
# order, and take the same number of steps.
#
# | arm | what learns, and from whom |
# |---|---|
# | `independent` | two networks trained side by side that do not see one another: the control |
# | `mutual` | the same two, each learning from the other too, in turn |
#
# `arms = []` runs five more: `three_peers`, `five_peers`, `ensemble_target` (three, mean logits),
# `unequal_mutual` with `unequal_independent` (a ResNet-8 and a ResNet-14).
#
# The control matters. Mutual learning trains *two* networks; it is not fair to compare it with one.
# And who has trained two networks may as well use both: their **ensemble**, which needs no method
# at all, stands in the next table too.

# %%
record = reproduce(zhang2018dml.REPRODUCTION, parameters, profile=profile, arms=arms)
table = record.table()

# %% tags=["nbval-ignore-output"]
table.mean().unstack("metric").loc[list(record.arms)].round(2)

# %% [markdown]
# Errors are of the test images looked at; *first* and *second* are the two networks, *test errors*
# the mean over the cohort. *Entropy* is the mean uncertainty on the training images and *loss rise*
# what weight noise costs, both explained below. A few steps on 256 images leave networks
# that are hardly trained: read this table for what is measured. What the method does stands under
# *Recorded results*.
#
# ### What it changes: certainty
#
# Whoever listens to a peer should become less certain. The paper measures the **posterior entropy**
# $-\sum_i p_i\log p_i$, averaged over the training images: 0.26 nats for an independent ResNet-32
# on CIFAR-100, 1.71 after mutual learning. Its explanation: a label says 1 for one class and 0 for
# all others, and a network trained long enough says the same; a peer's opinion keeps the second and
# third most likely classes alive. Below, every *test* image of the live pair.

# %% tags=["nbval-ignore-output"]
arm = zhang2018dml.arms(parameters)
found = {name: trials.run(arm[name](0)) for name in ("independent", "mutual")}
said = {name: result.tensors()["logits.peer0.test"] for name, result in found.items()}
source = data.load(dataset)
figures.show(
    pictures.entropies(said, len(source.classes)),
    "3-2-entropy",
    "Histograms of the entropy of the answers on test images, for a network trained independently and "
    "one trained mutually; a dotted line marks the entropy of pure chance.",
)

# %% [markdown]
# ### What it changes: flatness
#
# Among all weights that fit the training images, some lie in a narrow ravine of the loss and some
# on a wide plain. The second kind is believed to generalise better: test images shift the landscape
# a little, which hurts less on a plain. The test is simple. Add Gaussian noise to *every* weight,
# and see how far the training loss rises:
#
# $$\frac1D\sum_{d=1}^{D}L(\theta+\sigma\epsilon_d)-L(\theta),\qquad\epsilon_d\sim N(0,1).$$
#
# The two belong together. A network that is never quite sure has smaller logits; and who promises
# less, loses less when shaken.

# %% tags=["nbval-ignore-output"]
workshop = live.Workshop(dataset)
sds = [0.0, 0.01, 0.02, 0.03, 0.04]
shaken = workshop.plain(source.train_all.select(slice(256)))
rises = {
    name: online.loss_rise(peer_of(result, 0), shaken, sds, draws=2)
    for name, result in found.items()
}
figures.show(
    pictures.noise_curves(sds, rises),
    "3-2-noise",
    "Rise of the training loss against the standard deviation of the noise on all weights, for a network "
    "trained independently and one trained mutually.",
)

# %% [markdown]
# ## Recorded results
#
# The same code on 4,096 images, 8 epochs, all 10,000 test images and 6 seeds.
# (`kdnb run 3-2 --profile laptop` makes them anew; the `full` profile has the paper's scale:
# CIFAR-100, ResNet-32 and WRN-28-10, 200 epochs. A test runs its arms for one epoch on a few
# images, with a thin WRN; it is not recorded.) *Published* are errors of 10,000 on CIFAR-100,
# *ours* means over seeds with 95% intervals: compare directions, not numbers. The claims were
# written down in `papers/zhang2018dml/claims.toml` before the first run.

# %%
recorded = papers.show_frame("zhang2018dml", "laptop")
figures.published_and_ours(recorded)

# %%
verdicts = papers.verdicts("zhang2018dml", "laptop")
show_verdicts(verdicts, "laptop")

# %% [markdown]
# ### How many peers, and what about an ensemble?
#
# Left: the errors of *one* network when one, two, three or five learn together. Right: every arm,
# its single networks in blue, and the ensemble of all its networks in orange. Ensembles have as
# many members as there are peers, so compare *2 independent* with *2 mutual*.

# %%
laptop = papers.read_record("zhang2018dml", "laptop").table()
figures.show(
    pictures.cohorts(laptop),
    "3-2-cohorts",
    "Left: mean test errors of one network with 95% intervals for cohorts of one, two, three and five. "
    "Right: for every arm the test errors of its single networks and of their ensemble.",
)

# %% [markdown]
# All that was measured, and two differences over the seeds in errors of 10,000: below 0, one
# network of a mutual pair is better than one trained alone, or than the ensemble of two trained
# alone.

# %%
laptop.agg(["mean", "std"]).T.unstack("metric").round(2)

# %%
single, ensemble = (laptop["independent"][m] for m in ("test_errors", "ensemble_errors"))
mutual = laptop["mutual"]["test_errors"]
gaps = pd.DataFrame({"mutual - independent": mutual - single,
                     "mutual - ensemble of 2 independent": mutual - ensemble})  # fmt: skip
gaps.describe().loc[["mean", "std", "min", "max"]].round(1)

# %% [markdown]
# **What holds, what does not.** The central claim is not reproduced: at this budget mutual learning *costs*
# errors. A network of a mutual pair makes 175 more of 10,000 than one trained alone (95% interval 130 to
# 221), in all six pairs of seeds. And it is 266 behind the ensemble of two independent networks.
#
# The answers do become less certain, but little: 1.34 nats against 1.25, a factor of 1.07 where the paper's is
# 6.6. Weight noise costs the mutual network less, 0.085 nats against 0.107, which six pairs do not show to be more
# than chance. Three and five peers make 29 and 41 errors fewer than two; both intervals contain zero.
# Peers one by one against their mean logits: no difference shown (8 errors).
#
# One verdict says *reproduced*, and needs care. The smaller network of the unequal pair does come off better
# than the larger one, as claimed; but neither gains. The ResNet-8 loses 53 errors, the ResNet-14 loses 330.
#
# Why? The independent networks still err on 44% of their *training* images. They have nothing to unlearn, no
# certainty that a peer could temper: the entropy is 1.25 nats before anybody teaches, five times the paper's. What is left
# of mutual learning is a pull towards a beginner's guesses, and that slows both down.
#
# **What limits the reading.** Eight epochs on 4,096 images end long before a network fits its
# training set, while the paper is about networks that do: this is evidence about short training, not about the paper's 200
# epochs. And one-way distillation
# from a good teacher is not among our arms: the paper has it at 69.48% (WRN-28-10 to ResNet-32)
# against 70.73% for the same pair in mutual learning.

# %% [markdown]
# ## The relatives
#
# The rest of the chapter runs the relatives on 384 real images with a tiny network of 15,050
# parameters, for two epochs. That shows *how they work*. It is no evidence about which is better,
# and the tables say so: **illustrated, not judged**.
#
# ### KDCL: one target of all
#
# **KDCL** (Guo and others 2020) has peers of different strength in mind: a weak one should not
# teach a strong one. From all students' logits $z_k$, and *the label*, one target is made for
# everybody:
#
# $$L=\sum_k H(y,p_k)+w\,T^2\,\mathrm{KL}(\tilde p_z\,\|\,\tilde p_k).$$
#
# *Naive* takes the student with the smallest cross-entropy on this image. *Linear* mixes the logits
# so that the cross-entropy of the mixture is least, a convex problem. *Min-logit* takes for each
# class the smallest margin to the true one, $z_c=\min_k(z_{kc}-z_{ky})$, which is at least as good
# as every student. *General* weighs students once an epoch by the covariance $C$ of their errors on
# held-out images, $w=C^{-1}1/(1^\top C^{-1}1)$. In the paper every student also sees a distorted
# view of its own.
#
# Below: the live independent pair on the test image about which it disagrees most, and what each
# recipe makes of it.

# %% tags=["nbval-ignore-output"]
tensors = found["independent"].tensors()
pair = torch.stack([tensors[f"logits.peer{k}.test"] for k in (0, 1)])
held_out = torch.stack([tensors[f"logits.peer{k}.validation"] for k in (0, 1)])
labels = source.validation.labels[: held_out.shape[1]]
weights = online.general_weights(held_out.softmax(2), labels)
p, q = pair.softmax(2)
which = int(((p - q) * (p / q).log()).sum(1).argmax())
image, label = source.test.images[which], int(source.test.labels[which])
figures.show(
    pictures.targets(image, pair[:, which], label, weights, source.classes),
    "3-2-kdcl",
    "One test image, the probabilities two students give it, and KDCL's naive, linear, min-logit and "
    "general targets.",
)

# %% [markdown]
# Run it: `online.kdcl(networks, batches, recipe, aggregate="min_logit")`.
#
# ### Codistillation: stale copies on several machines
#
# **Codistillation** (Anil and others 2018) begins where one machine ends. More machines on the same
# network help up to a point; then start a *second* copy on other machines, with other data, and let
# each copy learn from the other's predictions:
#
# $$L_i=H(y,F(\theta_i))+w\,[t\ge t_0]\;\mathrm{KL}\Big(\tfrac1{N-1}\sum_{j\ne i}F(\theta_j^{old})\,\Big\|\,F(\theta_i)\Big).$$
#
# Weights travel through a common folder every $n$ steps, and *nobody waits*: what a copy hears is
# the peer as it was when it last wrote. That works since predictions change far more slowly than
# weights: an old copy's answers are still good ones, while old gradients would be useless. $t_0$ is
# a burn-in, until the answers are worth hearing.
#
# Below, two copies run in two processes, each with its own half of the images, exchanging every
# other step. *Taught* is the share of an epoch's steps with a peer, *age* how many steps old its
# weights were (negative: the peer was ahead).

# %% tags=["nbval-ignore-output"]
from kdnb.workbook.chapters import zhang2018dml_copies as copies

histories = copies.codistilled(live.Workshop(dataset, epochs=4), every=2)
columns = ["hard", "soft", "taught.copy 2", "age.copy 2"]
histories["copy 1"][columns].round(2)

# %% [markdown]
# A second reason to codistil is **churn**. Train the same network again with another seed, and it
# answers differently on many images, right or wrong; a product built on its answers notices. Anil
# and others report that codistilled models churn less. Here: the share of test images on which two
# runs (seeds 0 and 1) of the first network disagree.

# %% tags=["nbval-ignore-output"]
again = {name: trials.run(arm[name](1)).tensors()["logits.peer0.test"] for name in said}
{name: f"churn {100 * online.churn(said[name], again[name]):.0f}%" for name in said}

# %% [markdown]
# ### ONE: a teacher made of heads
#
# Two networks learn nearly the same first layers. **ONE** (Lan, Zhu and Gong 2018) shares them: one
# stem, then $m$ heads. A *gate*, a small layer on the stem's output, weighs the heads for every
# image; the gated sum $e$ is the teacher of all of them:
#
# $$z_e=\sum_i g_i z_i,\qquad L=\sum_i H(y,p_i)+H(y,p_e)+T^2\sum_i\mathrm{KL}(\tilde p_e\,\|\,\tilde p_i),\qquad T=3 .$$
#
# The gate learns from the labels alone, through $H(y,p_e)$; no divergence moves it (tested).
# Afterwards one head on its stem is the network to deploy, at no extra cost; or all, as an ensemble
# on one stem.
#
# ### OKDDip: peers that stay different
#
# When all heads imitate one target they become alike, and an ensemble of equals is no teacher.
# **OKDDip** (Chen and others 2020) gives each peer a target *of its own*:
# $t_a=\sum_b a_{ab}\,\tilde p_b$, where $a_{ab}$, by attention on the features, says how much $a$
# listens to $b$. A **leader** learns from the mean of all, teaches nobody, and is deployed:
# $T^2\,\mathrm{KL}(t_m\|\tilde p_m)$ with $t_m=\frac1{m-1}\sum_{a<m}\tilde p_a$.

# %% tags=["nbval-ignore-output"]
branches, gate = live.gated(workshop)  # online.one(branches, gate, batches, recipe)
peers, attention = live.led(workshop)  # online.okddip(branches, attention, batches, recipe)
labels = workshop.test.labels
with torch.no_grad():
    images = torch.cat([batch.images for batch in workshop.plain(workshop.test).epoch(0)])
    shares = gate(branches(images).shared).cpu()
    gates = torch.stack([shares[labels == c].mean(0) for c in range(10)])
    heard = attention(torch.stack(peers(images).features[:-1], 1)).mean(0)
figures.show(
    pictures.listening(gates, heard, source.classes[:10]), "3-2-listening",
    "Left: mean weight the gate of ONE gives each of three branches, by class. Right: OKDDip's mean "
    "attention of three peers to each other.",
)  # fmt: skip

# %% [markdown]
# A third is indifference. The gate's ReLU keeps every branch in play, so that its weights stay near
# that. On the diagonal stands how much each peer listens to itself, and so learns nothing new.
#
# ### FFL and cheap convolutions: a teacher that sees the maps
#
# An ensemble of answers has lost what the layers below knew. **FFL** (Kim and others 2019)
# concatenates the last *maps* of all students and puts a small classifier $f$ on them. Teaching
# goes in a circle: the students' ensemble teaches $f$, and $f$ teaches each student,
#
# $$L=\sum_k H(y,p_k)+H(y,p_f)+T^2\Big(\mathrm{KL}(\tilde p_e\,\|\,\tilde p_f)+\sum_k\mathrm{KL}(\tilde p_f\,\|\,\tilde p_k)\Big).$$
#
# **Xie and others (2019)** build students of *cheap convolutions*: a $k\times k$ convolution within
# each channel (or group), then a $1\times1$ one that mixes channels. The teacher is made on the fly
# from the students' concatenated maps; it learns from the labels and teaches: half of FFL's circle.
# What the change saves:

# %%
dense = live.Workshop(dataset).network(name="resnet8")
sizes = {"dense": dense, "4 groups": online.cheap_convolutions(dense, groups=4),
         "depthwise": online.cheap_convolutions(dense)}  # fmt: skip
pd.Series({name: sum(p.numel() for p in net.parameters()) for name, net in sizes.items()},
          name="parameters of a thin ResNet-8").to_frame()  # fmt: skip

# %% [markdown]
# ### Rocket Launching: the booster falls off
#
# **Rocket Launching** (Zhou and others 2018) has one stem and two heads: a *light* one, to be
# deployed, and a *booster*, larger, that is thrown away after the start. Both learn from labels; a
# hint draws the light head's logits $l$ to the booster's $z$ all the way up:
#
# $$L=H(y,p_l)+H(y,p_b)+w_h\,\lVert l(x)-z(x)\rVert_2^2 .$$
#
# Without care the booster would be drawn down to the light head as well. The **gradient block**
# cuts that path. It is one call of `detach`, and it can be seen in the gradients:

# %%
light, booster = torch.randn(8, 10, requires_grad=True), torch.randn(8, 10, requires_grad=True)
for block in (True, False):
    loss = online.rocket_hint(light, booster, gradient_block=block)
    reached = torch.autograd.grad(loss, [light, booster], allow_unused=True)
    names = [name for name, g in zip(("light", "booster"), reached, strict=True) if g is not None]
    print(f"gradient block {'on ' if block else 'off'}: the hint moves {' and '.join(names)}")

# %% [markdown]
# ### With an adversary: AFD and ACNs
#
# **AFD** (Chung and others 2020) passes on *maps* without saying which number should equal which.
# Each network gets a critic $D_k$ that tells another network's maps from its own, brought to that
# network's width by a layer $T_k$; the network learns to fool it,
#
# $$\min_{G_k,T_k}\,[1-D_k(T_k(G_k(x)))]^2,\qquad\min_{D_k}\,[1-D_k(G_l(x))]^2+[D_k(T_k(G_k(x)))]^2,$$
#
# beside mutual learning of the answers. With more than two networks each imitates the next one, in
# a circle.
#
# **ACNs** (Zhang and others 2021) ask for better *examples*. A generator moves each image a little,
# to where the two classifiers disagree most and which a critic still takes for real; the
# classifiers then learn from both kinds of images to agree again:
#
# $$\max_G\;\sum_k D(p_k,\text{peers})-[1-C(G(x))]^2,\qquad\min_{1,2}\;\text{cross-entropy}+\text{mutual divergence}.$$

# %% tags=["nbval-ignore-output"]
classifiers, generator = live.divergent(workshop)  # online.adversarial_codistillation(…)
figures.show(
    pictures.moved(workshop.test, *live.disagreement(workshop, classifiers, generator)),
    "3-2-divergent",
    "Left: six test images, the same after ACNs' generator, and five times the change. Right: "
    "histogram of the change of the two classifiers' disagreement by the move.",
)

# %% [markdown]
# Right of the grey line are images on which the two disagree more after the move. Both sides learn at
# the same time: what the generator finds, the classifiers agree on soon after.
#
# ### One's own past
#
# A single network can be its own peer, if it keeps something of earlier days. **Temporal
# ensembling** (Laine and Aila 2017) remembers what it has said of each training image; **mean
# teacher** (Tarvainen and Valpola 2017) averages its *weights* instead, so that the target improves
# with every step and not once an epoch:
#
# $$Z\leftarrow mZ+(1-m)\,p,\quad\tilde z=\frac{Z}{1-m^t},\qquad\theta'\leftarrow m\,\theta'+(1-m)\,\theta,\qquad
#   L=H(y,p)+w(t)\,\tfrac1C\lVert p-\text{target}\rVert^2 .$$
#
# The second term reads no label, so both are used where most images have none. $w(t)$ climbs
# slowly, as nobody should trust a beginner's past. Here 128 of 384 images have a label; shown is
# the accuracy on 256 held-out images, of which one is 0.4%.

# %% tags=["nbval-ignore-output"]
figures.show(
    pictures.over_epochs(live.past(workshop), "accuracy, %"),
    "3-2-past",
    "Held-out accuracy over five epochs with 128 labels: the mean teacher and its student, temporal "
    "ensembling, and the same network on labels only.",
)

# %% [markdown]
# **Online distilling from checkpoints** (Wei and others 2019, for translation) keeps the *best*
# checkpoint so far by a held-out score, and lets it teach only while the network is worse than it
# has been, $L=H(y,p)+[s<s_{best}]\,T^2\,\mathrm{KL}(\tilde p_{best}\|\tilde p)$: a seat belt, of no
# weight while all goes well.
#
# **CTSL-MKT** (Sun, Gou, Du and Tao 2021), with two of the survey's authors, joins online and
# self-distillation. Each student learns from labels, from its own last epoch, from its peers'
# answers, and from how the peers relate the images of a batch (distances and angles, chapter 2.3):
#
# $$L_k=H(y,p_k)+w_sT^2\,\mathrm{KL}(\tilde p_k^{earlier}\|\tilde p_k)+w_pT^2\,\mathrm{KL}(\tilde p_l\|\tilde p_k)+w_dL_{RD}+w_aL_{RA} .$$
#
# ### All of them, live
#
# One short run each, on the same 384 images for two epochs. The accuracy is that of what one would
# deploy, averaged over peers where there are several; chance is 10%. The time is measured on
# networks so tiny that the overhead of Python counts, and includes building them.

# %% tags=["nbval-ignore-output"]
methods.live_table(methods.ran(workshop))

# %% [markdown]
# With 384 test images one standard error is about two points, and nothing was tuned: **this table
# ranks nothing.** It shows that every call works on real data, and roughly what it costs.
#
# ### What it really costs
#
# Honest costs are measured in one run, turn by turn, against the thing one would do otherwise:
#
#     python tests/benchmarks/online.py
#
# Two equal ResNet-20 peers took 1.00 times as long as two independent trainings when they moved at once, and 1.15
# times in turn, where the first peer answers every batch a second time. ONE with three heads took 0.55 times as long as
# three networks, since the stem runs once. (On one core, medians of three pairs of runs.)
#
# ### Every method of this chapter
#
# Calls are of `kdnb.methods.online`; *answer* is one forward pass without a gradient. The verdicts
# of DML are those of the record above; there the peers move in turn.

# %%
methods.table(verdicts)

# %% [markdown]
# Two relatives in the survey's tables are not built here: peer collaborative learning (Wu and Gong
# 2021), which joins a multi-head network with a mean teacher, and dense cross-layer mutual
# distillation (Yao and Sun 2020), which lets auxiliary classifiers at many depths teach each other.
#
# ## Easy, hard, different
#
# **Easy.** The losses: soft targets, with targets that move. Fair pairs: peer $k$ of seed $s$
# starts from the same weights in every arm.
#
# **Hard.** To keep a second pass through a network from leaving traces: when a peer answers again,
# batch normalisation must use the batch but not count it twice in its running statistics. To find
# out what the papers compute: DML$_e$'s equation, KDCL's four targets and the layers of AFD and
# ACNs are recalled rather than confirmed; every docstring says so under `Departures`.
#
# And weights do not travel. CTSL-MKT's relations, as sums over all pairs and triples of a batch, grow with
# the square and the cube of its size; at one and the same weight a small batch
# hardly notices them and a large one diverges. Here they are means.
#
# **Different from the paper.**
# - ResNet-8 (and 14) on 4,096 CIFAR-10 images for 8 epochs with a one-cycle schedule; in the paper
#   ResNet-32, MobileNet, InceptionV1 and WRN-28-10 on CIFAR-100 for 200 epochs, steps of the rate
#   every 60 epochs, and Market-1501.
# - Which images the entropy was measured on, and how many draws of noise, is not certain; ours are
#   training images and three draws of sd 0.02.
# - Our ensemble target averages logits, for the reason above.
# - All arms train on all listed training images; there was nothing to tune.

# %% [markdown]
# ## Try it
#
# Choose a test image, and see what the live networks say: two that never met, and two that learnt
# together. (Without a running kernel, look at the figure below: the same for one image.)

# %% tags=["nbval-ignore-output"]
shown = {
    f"{name} {k + 1}": result.tensors()[f"logits.peer{k}.test"]
    for name, result in found.items()
    for k in (0, 1)
}
pictures.explorer(source.test.select(slice(100)), shown, source.classes)

# %% tags=["nbval-ignore-output"]
one_image = {name: logits[which] for name, logits in shown.items()}
figures.show(
    pictures.answers(image, one_image, label, source.classes),
    "3-2-explorer",
    "One test image and the probabilities that two independently trained and two mutually trained "
    "networks give to each class.",
)

# %% [markdown]
# ## What to choose
#
# Online methods trade *time before* for *memory during*: no teacher has to exist, but all that
# teach are in memory at once.

# %%
methods.choice()

# %% [markdown]
# ## Exercises
#
# 1. Set `arms = []` and `epochs = 8`. Do three peers beat two live as well? How large is the spread
#    between seeds?
# 2. Write the KL the other way round, $\mathrm{KL}(p_k\|p_l)$. What happens to the entropy, and
#    why?
# 3. Prove the identity under *Peers one by one*. Where does it need that no gradient flows into the
#    peers?
# 4. Start both peers from the *same* weights. What is left of mutual learning, in turn and at once?
# 5. Plot the loss rise against the length of the logits. Is the mutual network flatter, or only
#    less sure? (Divide its logits by a number that makes the entropies equal.)
# 6. In codistillation, give both copies the *same* half of the images. What does each then learn
#    from the other?
# 7. Mutual learning and an ensemble of independent networks cost the same to train. What does each
#    cost to *use*?
#
# ## Take-aways
#
# - Nobody has to know anything first: labels pull all peers, and peers add what labels leave out. In training as
#   short as ours that cost errors; the paper's gains are those of networks that fit their training set.
# - Compare with as many networks for as many steps, and put the ensemble beside it.
# - Mean probabilities as a target are DML itself; only another mean is another method.
# - Ask of each method who teaches whom, what has to be in memory at once, and what is deployed.
#
# ## References and how to cite

# %%
print(papers.cite("zhang2018dml", "laptop"))
