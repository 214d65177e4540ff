"""N2N (Ashok et al. 2018): two policies shrink a teacher, rewarded by compression and accuracy.

The first policy decides for each layer whether it stays; the second decides how much thinner the
remaining layers become. A policy is a small recurrent network that reads the layers in turn. It
learns by REINFORCE from the rewards of the networks that it chose, each distilled for a short time.

Sources: the paper's abstract and the authors' code (anubhavashok/N2N) were read; the paper's
equations are recalled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.losses import compression_reward, policy_gradient
from kdnb.losses.checks import Variant, check_number, check_variant
from kdnb.methods.architecture.design import parameters
from kdnb.methods.nas.random_search import Grade, Grading, Search
from kdnb.methods.nas.space import Architecture, Layer, build
from kdnb.methods.offline.distil import distil
from kdnb.training import Recipe, evaluate
from kdnb.training.first import check_module, first_batch, tried
from kdnb.training.inputs import batches_for

RATIOS = (0.25, 0.5, 0.75, 1.0)  # of the channels of a layer
DEGENERATE = -1.0  # the reward of no network at all, as in the authors' code
DESCRIBED = 5  # the number of features of a layer


def described(architecture: Sequence[Layer]) -> Tensor:
    """The input of a policy, (layers, 5): channels, kernel, pooling, norm, position of each layer.

    Raises:
        ValueError: for no layer.
    """
    if not architecture:
        raise ValueError("an architecture needs at least one layer; got none.")
    widest = max(layer.channels for layer in architecture)
    rows = [
        [layer.channels / widest, layer.kernel / 5, layer.pool / 2, float(layer.norm), n / len(architecture)]
        for n, layer in enumerate(architecture)
    ]  # fmt: skip
    return torch.tensor(rows)


def removed(architecture: Architecture, keep: Sequence[int]) -> Architecture:
    """Remove layers from an architecture.

    The pooling of a removed layer passes to the last remaining layer before it, or to the first
    after it, so that the last map keeps its size.

    Args:
        keep: for each layer 1 or 0.

    >>> removed((Layer(8, pool=2), Layer(16), Layer(32, pool=2)), (0, 1, 0))
    (Layer(channels=16, kernel=3, pool=4, norm=True),)
    """
    if len(keep) != len(architecture) or not set(map(int, keep)) <= {0, 1}:
        raise ValueError(f"keep must hold 1 or 0 for each of {len(architecture)} layers; got {tuple(keep)}.")  # fmt: skip
    left: list[Layer] = []
    waiting = 1
    for stays, layer in zip(keep, architecture, strict=True):
        if stays:
            left.append(replace(layer, pool=layer.pool * waiting))
            waiting = 1
        elif left:
            left[-1] = replace(left[-1], pool=left[-1].pool * layer.pool)
        else:
            waiting *= layer.pool
    return tuple(left)


def shrunk(architecture: Architecture, ratios: Sequence[float]) -> Architecture:
    """The same layers with a share of their channels each, rounded, at least 1.

    >>> shrunk((Layer(8), Layer(16)), (1.0, 0.25))
    (Layer(channels=8, kernel=3, pool=1, norm=True), Layer(channels=4, kernel=3, pool=1, norm=True))
    """
    if len(ratios) != len(architecture):
        raise ValueError(f"ratios must be one for each of {len(architecture)} layers; got {len(ratios)}.")  # fmt: skip
    for ratio in ratios:
        check_number(above=0, most=1, ratios=ratio)
    return tuple(
        replace(layer, channels=max(1, round(layer.channels * ratio)))
        for layer, ratio in zip(architecture, ratios, strict=True)
    )


class RemovalPolicy(nn.Module):
    """A policy that reads all layers in both directions and decides independently for each.

    Args:
        hidden, depth: of the LSTM; 30 and 2 in the authors' code.
    """

    def __init__(self, hidden: int = 30, depth: int = 2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(DESCRIBED, hidden, depth, bidirectional=True)
        self.decide = nn.Linear(2 * hidden, 2)

    def forward(
        self, layers: Tensor, count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Drawn choices, (count, layers) of 1 and 0, and the log-probability of each."""
        logs = self.decide(self.lstm(layers)[0]).log_softmax(1)
        drawn = torch.multinomial(logs.exp(), count, replacement=True, generator=generator).T
        return drawn, logs.expand(count, -1, -1).gather(2, drawn[:, :, None])[:, :, 0].sum(1)


class ShrinkagePolicy(nn.Module):
    """A policy that reads the layers and its own last decision in order, and chooses ratios.

    Args:
        ratios: the number of ratios to choose from.
        hidden: of the LSTM.
    """

    def __init__(self, ratios: int = len(RATIOS), hidden: int = 30) -> None:
        super().__init__()
        self.ratios = ratios
        self.cell = nn.LSTMCell(DESCRIBED + ratios, hidden)
        self.decide = nn.Linear(hidden, ratios)

    def forward(
        self, layers: Tensor, count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Drawn choices, (count, layers) of ratio indices, and their log-probabilities."""
        last, state, chosen, total = torch.zeros(count, self.ratios), None, [], torch.zeros(count)
        for layer in layers:
            state = self.cell(torch.cat([layer.expand(count, -1), last], 1), state)
            logs = self.decide(state[0]).log_softmax(1)
            drawn = torch.multinomial(logs.exp(), 1, generator=generator)
            total = total + logs.gather(1, drawn)[:, 0]
            last = nn.functional.one_hot(drawn[:, 0], self.ratios).float()
            chosen.append(drawn[:, 0])
        return torch.stack(chosen, 1), total


def reinforce(
    policy: nn.Module,
    layers: Tensor,
    grade: Grade,
    budget: int,
    *,
    rounds: int = 100,
    samples: int = 5,
    lr: float = 0.003,
    variant: Variant = "paper",
    seed: int = 0,
) -> Search:
    """Train a policy by REINFORCE: draw choices, grade them, and make good ones likelier.

    Each round draws some choices and takes one step of Adam on :func:`kdnb.losses.policy_gradient`.
    The baseline is the mean reward of all earlier rounds, or of the round itself in the first
    round.

    Args:
        policy: trained in place; such as :class:`RemovalPolicy`.
        layers: (layers, 5), of :func:`described`.
        grade: the reward of a choice, a tuple of integers.
        budget: the number of different choices to grade. The search ends when the budget is spent
            and a new choice is drawn, or after all rounds: a converged policy draws nothing new.
        rounds, samples: 100 and 5 in the authors' code.
        lr: 0.003 for removal and 0.1 for shrinkage in the authors' code.
        variant: variant of the policy gradient.
        seed: for what the policy draws.

    Returns:
        The graded choices, in order.

    Departures: the authors' code takes a step for each choice of a round, and its baseline is the
    sum of earlier rounds' means divided by one more than their number: 0 in the first round.
    """
    check_variant(variant)
    check_number(least=1, whole=True, rounds=rounds, samples=samples)
    check_number(above=0, lr=lr)
    grading, generator = Grading(grade, budget), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(policy.parameters(), lr=lr)
    means: list[float] = []
    for _ in range(rounds):
        drawn, logs = policy(layers, samples, generator)
        scores = [grading(tuple(one)) for one in drawn.tolist()]
        if any(score is None for score in scores):
            break
        rewards = torch.tensor(scores)
        baseline = sum(means) / len(means) if means else float(rewards.mean())
        means.append(float(rewards.mean()))
        optimiser.zero_grad()
        policy_gradient(logs, rewards, baseline, variant).backward()
        optimiser.step()
    return grading.log


def reward_of(
    teacher: nn.Module,
    data: Any,
    held_out: Any,
    recipe: Recipe,
    *,
    method: Any = "logit_regression",
    weight: Any = 1.0,
    seed: int = 0,
    **options: Any,
) -> Callable[[Architecture], float]:
    """The reward of a student, by distilling it for a short time.

    Args:
        teacher: any trained classifier of images; left unchanged. Students have the same number of
            classes.
        data: to distil on, images (batch, channels, height, width).
        held_out: labelled data for the accuracies. Do not use the test set, since the search
            selects on it.
        recipe: short.
        method, weight, options: passed to `kdnb.distil`; by default squared differences of the
            logits, plus the labels.
        seed: for the initial weights and the order of the data.

    Returns:
        architecture -> R = C(2 - C) A_S / A_T; -1 for an architecture without layers.

    Raises:
        ValueError: for a teacher that cannot take the data, has no parameters or classifies no
            held-out image correctly, or for data that are not images.
    """
    check_module("teacher", teacher, learns=False)
    batch = first_batch(batches_for(data, recipe, seed, "any"), seed)
    logits = tried("teacher", teacher, batch, learns=False)
    if not isinstance(batch.images, Tensor) or batch.images.ndim != 4 or logits.ndim != 2:
        raise ValueError(
            "students are convolutional networks: data must be images (batch, channels, height, width), "
            f"and the teacher's logits (batch, classes); it gives {tuple(logits.shape)}."
        )
    shape = {"num_classes": logits.shape[1], "in_channels": batch.images.shape[1]}
    best, whole = float(evaluate(teacher, held_out).accuracy), parameters(teacher)
    if not best or not whole:
        raise ValueError(
            f"a teacher of {whole} parameters and accuracy {best:g} on held_out is no measure of students."
        )

    def reward(architecture: Architecture) -> float:
        if not architecture:
            return DEGENERATE
        student = build(architecture, seed, **shape)
        distil(student, teacher, data, recipe, method=method, weight=weight, seed=seed, **options)
        right = torch.tensor([float(evaluate(student, held_out).accuracy)])
        smaller = torch.tensor([1 - parameters(student) / whole])
        return float(compression_reward(right, smaller, best))

    return reward


@dataclass(frozen=True)
class Compression:
    """The result of both stages.

    Attributes:
        architecture: of the best student.
        reward: the reward of the best student.
        removal, shrinkage: the searches; their choices are 1 or 0 for each layer of the teacher,
            and ratio indices for each remaining layer.
    """

    architecture: Architecture
    reward: float
    removal: Search
    shrinkage: Search


def compress(
    architecture: Architecture,
    reward: Callable[[Architecture], float],
    *,
    removal_budget: int,
    shrinkage_budget: int,
    ratios: Sequence[float] = RATIOS,
    lr: float = 0.003,
    shrinkage_lr: float = 0.1,
    rounds: int = 100,
    samples: int = 5,
    seed: int = 0,
) -> Compression:
    """Run both stages of N2N: remove layers, then make the best result thinner.

    Args:
        architecture: of the teacher.
        reward: reward of an architecture, such as :func:`reward_of`.
        removal_budget, shrinkage_budget: the number of students that each stage may train.
        ratios: ratios of channels, of which 1 should be one.
        lr, shrinkage_lr, rounds, samples, seed: for :func:`reinforce`.

    Departures: a layer is a convolution with everything that belongs to it, and a ratio applies
    only to its channels. The authors' code removes layers of every kind, and also shrinks kernels
    and more.
    """
    if not ratios:
        raise ValueError("ratios must hold at least one ratio; got none.")
    for ratio in ratios:
        check_number(above=0, most=1, ratios=ratio)
    check_number(least=1, whole=True, removal_budget=removal_budget, shrinkage_budget=shrinkage_budget)  # fmt: skip
    check_number(above=0, lr=lr, shrinkage_lr=shrinkage_lr)
    architecture = tuple(architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, second = RemovalPolicy(), ShrinkagePolicy(len(ratios))
    how = {"rounds": rounds, "samples": samples, "seed": seed}

    def without(keep: tuple[int, ...]) -> float:
        return reward(removed(architecture, keep))

    stage1 = reinforce(first, described(architecture), without, removal_budget, lr=lr, **how)
    shorter = removed(architecture, stage1.best) or architecture

    def thinner(numbers: tuple[int, ...]) -> float:
        return reward(shrunk(shorter, [ratios[n] for n in numbers]))

    stage2 = reinforce(
        second, described(shorter), thinner, shrinkage_budget, lr=shrinkage_lr, **how
    )
    found = shrunk(shorter, [ratios[n] for n in stage2.best])
    if stage2.best_score < stage1.best_score:
        return Compression(shorter, stage1.best_score, stage1, stage2)
    return Compression(found, stage2.best_score, stage1, stage2)
