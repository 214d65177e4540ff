"""Losses of relations between samples: how their time grows with the features, and their memory.

Embeddings of student and teacher, one forward and backward pass into the student, float32. Eight
times the width may cost ten times the time: pairs of samples are compared in one matrix product.
Memory is the peak beyond the inputs, by the allocator's record.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

from torch import Tensor

from benchmarks import Measured, ratio
from benchmarks.losses import allocations, draw, peak, step
from kdnb import losses

WIDTHS, BATCHES = (128, 1024), (64, 256)
ROUNDS, MOST = 7, 10.0
RELATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rkd_distance": losses.rkd_distance,
    "rkd_angle": losses.rkd_angle,
    "similarity_preserving": losses.similarity_preserving,
    "correlation_congruence": losses.correlation_congruence,
    "locality_preserving": losses.locality_preserving,
    "irg_edges": losses.irg_edges,
    "probabilistic_transfer": losses.probabilistic_transfer,
    "hybrid_transfer": losses.hybrid_transfer,
    "darkrank": losses.darkrank,
    "relative_dissimilarity": lambda s, t: losses.relative_dissimilarity(s, [t]),
    "crd": partial(losses.crd, dataset_size=50_000),
}


def embeddings(batch: int, width: int) -> tuple[Tensor, Tensor]:
    return draw(batch, width, seed=0).requires_grad_(), draw(batch, width, seed=1)


def with_features(rounds: int = ROUNDS) -> list[Measured]:
    """Each loss: its time on wide embeddings over that on narrow ones, in turns."""
    rows, (narrow, wide) = [], WIDTHS
    few, many = (embeddings(BATCHES[0], width) for width in WIDTHS)
    for name, loss in RELATIONS.items():
        step(loss, *few), step(loss, *many)
        pairs = [(step(loss, *few), step(loss, *many)) for _ in range(rounds)]
        short, long = (list(times) for times in zip(*pairs, strict=True))
        shown = ", ".join(f"{1e3 * statistics.median(times):.2g}" for times in (short, long))
        title = f"`{name}`: {narrow} to {wide:,} features ({shown} ms)"
        rows.append(ratio(title, long, short, at_most=MOST))
    return rows


def memory() -> list[Measured]:
    """Each loss: its peak memory at the smaller batch, and at the larger one in the name."""
    rows = []
    for name, loss in RELATIONS.items():
        found = []
        for batch in BATCHES:
            pair = embeddings(batch, WIDTHS[0])
            step(loss, *pair)
            found.append(peak(allocations(loss, *pair)))
        small, large = found
        title = f"`{name}`: memory at batch {BATCHES[0]} ({large:.3g} MiB at {BATCHES[1]})"
        rows.append(Measured(title, small, small, small, "MiB"))
    return rows


def measured() -> list[Measured]:
    """The table's rows about losses of relations."""
    return with_features() + memory()
