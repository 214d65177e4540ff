"""MEAL (Shen et al. 2019): distil an ensemble into one network, one random teacher at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import fooling_loss, judging_loss, soft_targets
from kdnb.losses.gan import Kind
from kdnb.nets import constrain, features
from kdnb.training import Recipe, Update, fit
from kdnb.training.inputs import batches_for


def aligned(maps: Tensor, size: int) -> Tensor:
    """MEAL's alignment: features of any shape as vectors of `size` numbers, without parameters.

    Maps are flattened over their positions, pooled to `size` positions (adaptive average pooling)
    and averaged over the channels; vectors are pooled directly.

    Args:
        maps: (batch, channels, height, width) or (batch, numbers).
        size: size of the vectors.

    Returns:
        (batch, size).

    Raises:
        ValueError: for wrong shapes, or a size below 1.

    Departures: none; confirmed in the authors' public code, which also stretches a map with fewer
    positions than `size`.

    >>> aligned(torch.tensor([[1.0, 3.0, 5.0, 7.0]]), 2)
    tensor([[2., 6.]])
    """
    if maps.ndim not in (2, 4) or size < 1:
        raise ValueError(
            "alignment takes maps (batch, channels, height, width) or vectors (batch, numbers) and "
            f"a size of at least 1; got {tuple(maps.shape)} and {size}."
        )
    rows = maps.flatten(2) if maps.ndim == 4 else maps[:, None]
    # The mean over the channels and the pooling are both linear, so the cheaper one comes first.
    return F.adaptive_avg_pool1d(rows.mean(1, keepdim=True).float(), size)[:, 0]


def meal(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    critics: Mapping[str, nn.Module],
    examples: Any,
    recipe: Recipe,
    *,
    paths: Mapping[str, tuple[str, Sequence[str]]],
    sizes: Mapping[str, int],
    critic_recipe: Recipe,
    similarity_weights: Mapping[str, float] | None = None,
    adversarial_weight: float = 1.0,
    kind: Kind = "non_saturating",
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""MEAL: multi-model ensemble via adversarial learning (Shen, He and Xue 2019).

    .. math:: L = L_{Sim} + w\, L_{GAN}, \qquad L_{Sim} = \sum_k w_k\,
        \mathrm{KL}\big(\mathrm{softmax}(t_k) \,\|\, \mathrm{softmax}(s_k)\big)

    In every step one teacher is drawn uniformly at random. At several blocks, the features of
    student and teacher are aligned to vectors, compared as distributions, and judged by a
    discriminator of that block. The logits are compared in the same way. Labels are not used: the
    drawn teacher's soft answers take their place.

    Args:
        student: images -> logits; trained in place.
        teachers: images -> logits, at least two; frozen.
        critics: for each block, by name: vectors -> scores (batch,), such as `Critic(size)`, and
            `"logits"` for the last one; trained in place.
        paths: for each block, by name: the module path in the student, and in each teacher.
        sizes: sizes of the aligned vectors, by the name of the block.
        critic_recipe: for the discriminators' update.
        similarity_weights: by the name of the block, and `"logits"`; 1 each if None.
        adversarial_weight: weight of `fooling_loss`, summed over the blocks.
        kind: form of the adversarial loss.
        options: passed to `training.fit`.

    Returns:
        The history: `similarity`, `fooling` and `judging`.

    Raises:
        ValueError: for one teacher, or names that do not agree.

    Departures: the random teacher, the alignment, the use of soft labels alone and the similarity
    by cross-entropy follow the authors' public code (whose block weights are 0.001, 0.01, 0.05, 0.1
    and 1, from the first block to the logits); our divergence differs from the cross-entropy by a
    constant. The code minimises over student and discriminators jointly, so unless its flag for
    gradient reversal is set, the student helps the discriminators. Here they are adversaries, as in
    the paper. Its discriminators have two outputs after a ReLU; ours have one plain score.
    """
    places = [*paths, "logits"]
    weights = dict(similarity_weights or dict.fromkeys(places, 1.0))
    if len(teachers) < 2 or any(len(there) != len(teachers) for _, there in paths.values()):
        raise ValueError(
            f"meal takes 2 teachers or more and, for every block, one path in each; got "
            f"{len(teachers)} teachers and paths {dict(paths)}."
        )
    if set(critics) != set(places) or set(weights) != set(places) or set(sizes) != set(paths):
        raise ValueError(
            f"critics and similarity_weights need the names {places}, and sizes {list(paths)}; "
            f"got {list(critics)}, {list(weights)} and {list(sizes)}."
        )
    batches = batches_for(examples, recipe, seed)
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    with ExitStack() as stack:
        own = stack.enter_context(features(student, [here for here, _ in paths.values()]))
        others = [
            stack.enter_context(features(teacher, [there[i] for _, there in paths.values()]))
            for i, teacher in enumerate(teachers)
        ]

        def mimic(networks, batch: Batch) -> dict[str, Tensor]:
            chosen = int(torch.randint(len(teachers), ()))
            z = networks["student"](batch.images)
            with torch.no_grad():
                v = networks[f"teacher{chosen}"](batch.images)
            pairs = {"logits": (v, z.float())}
            for name, (here, there) in paths.items():
                taken = others[chosen][there[chosen]], own[here]
                pairs[name] = tuple(aligned(maps, sizes[name]) for maps in taken)
            seen.update({name: (real, fake.detach()) for name, (real, fake) in pairs.items()})
            similarity, fooled = 0, 0
            for name, (real, fake) in pairs.items():
                similarity = similarity + weights[name] * soft_targets(fake, real, 1.0)
                fooled = fooled + fooling_loss(networks[f"{name}.critic"](fake), kind)
            return {"similarity": similarity, "fooling": adversarial_weight * fooled}

        def judge(networks, _: Batch) -> dict[str, Tensor]:
            scores = (
                (networks[f"{name}.critic"](real), networks[f"{name}.critic"](fake))
                for name, (real, fake) in seen.items()
            )
            return {"judging": sum(judging_loss(real, fake, kind) for real, fake in scores)}

        updates = [
            Update(("student",), mimic, after=lambda: constrain(student)),
            Update(tuple(f"{name}.critic" for name in places), judge, recipe=critic_recipe),
        ]
        networks = {
            "student": student,
            **{f"teacher{i}": teacher for i, teacher in enumerate(teachers)},
            **{f"{name}.critic": critics[name] for name in places},
        }
        return fit(networks, batches, updates, recipe, seed=seed, **options)
