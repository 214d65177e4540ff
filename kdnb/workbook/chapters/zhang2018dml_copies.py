"""Codistillation for chapter 3-2: two copies, each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from torch import nn

from kdnb.data import Batches, Images
from kdnb.methods import online
from kdnb.runs.pool import kept
from kdnb.training import Recipe
from kdnb.workbook.chapters.zhang2018dml_live import Workshop


def codistilled(w: Workshop, every: int) -> dict[str, pd.DataFrame]:
    """Two copies, each in its own process and with its own half of the images.

    Args:
        every: steps between two exchanges.

    Returns:
        The history of each copy, one row an epoch.
    """
    halves = {name: slice(i, None, 2) for i, name in enumerate(("copy 1", "copy 2"))}
    processes, work = kept(2), {}
    with TemporaryDirectory() as folder:
        for number, (name, half) in enumerate(halves.items()):
            # The data set is read in this process only; a copy gets the images that it needs.
            part = w.lessons.select(half)
            images = part.images.numpy(), part.labels.numpy()
            scale = {"mean": w.source.mean, "sd": w.source.sd}
            work[name] = processes.submit(
                _copy, name, [n for n in halves if n != name], folder, w.network(number), images,
                scale, w.recipe, every,
            )  # fmt: skip
        return {
            name: pd.DataFrame(future.result()).set_index("epoch") for name, future in work.items()
        }


def _copy(
    name: str, peers: list[str], folder: str, network: nn.Module,
    images: tuple[np.ndarray, np.ndarray], scale: Mapping, recipe: Recipe, every: int,
) -> list[dict[str, float]]:  # fmt: skip
    here = Path(folder)
    (here / f"{name}.ready").touch()
    until = time.monotonic() + 60  # the copies start together; from then on, nobody waits
    while time.monotonic() < until and not all((here / f"{n}.ready").exists() for n in peers):
        time.sleep(0.02)
    lessons = Images(*map(torch.from_numpy, images))
    batches = Batches(lessons, recipe.batch_size, flip=recipe.flip, **scale)
    return online.codistil(
        network, batches, recipe, name=name, peers=peers, folder=here, every=every
    )
