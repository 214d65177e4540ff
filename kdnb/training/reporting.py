"""Reports after every epoch: measurements as plain numbers, and TensorBoard logs."""

from __future__ import annotations

import math
import os
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdnb.names import brief
from kdnb.paths import check_writable
from kdnb.training.first import first_batch


class NonFiniteLoss(ArithmeticError):
    """A loss term became NaN or infinite; the message names the term and the step."""


Rows = Sequence[list[float] | Tensor]  # the loss terms (terms,) of each step


def _read(rows: Rows) -> list[list[float]]:
    """Rows as numbers, read from their device at once."""
    if any(isinstance(row, Tensor) for row in rows):
        return torch.stack(list(rows)).tolist()
    return list(rows)


def check_finite(rows: Rows, names: Sequence[str], last_step: int) -> None:
    """Raise `NonFiniteLoss` for the first NaN or infinite number in the rows up to a step."""
    for step, row in enumerate(_read(rows), last_step - len(rows) + 1):
        for name, value in zip(names, row, strict=True):
            if not math.isfinite(value):
                raise NonFiniteLoss(
                    f"the loss term {name!r} became {value} at step {step}: lower the learning rate "
                    "or look at the inputs."
                )


def means_of(rows: Rows, weights: Sequence[int]) -> Tensor:
    """The mean of each term over weighted steps, (terms,) float64 on the CPU."""
    weigh = torch.tensor(weights, dtype=torch.float64)
    values = torch.tensor(_read(rows), dtype=torch.float64)
    return (values * weigh[:, None]).sum(0) / weigh.sum()


def numbers(found: Any, taken: Container[str] = ()) -> dict[str, float]:
    """The results of `evaluate` as plain numbers by name; a name already in use gets the prefix `evaluate.`.

    Raises:
        TypeError: for a value that is not a number.
    """
    if found is None:
        return {}
    if not hasattr(found, "items") or isinstance(found, Tensor):
        found = {"evaluate": found}
    plain: dict[str, float] = {}
    for name, value in found.items():
        key = f"evaluate.{name}" if name in taken else str(name)
        try:
            value_of = value.item() if hasattr(value, "item") else value
            number = float(value_of)
            plain[key] = value_of if isinstance(value_of, (int, float)) else number
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            shape = getattr(value, "shape", ())
            several = (
                f" of shape {tuple(shape)}: give its mean, or each number its name" if shape else ""
            )
            raise TypeError(
                f"evaluate must give numbers by name; {name!r} is a {type(value).__name__}{several}."
            ) from error
    return plain


def writer_for(log_dir: Path | str | None, batches: Any, epoch: int) -> Any:
    """A TensorBoard writer that continues after `epoch`, with the images of the first batch."""
    if log_dir is None:
        return None
    if not isinstance(log_dir, (str, os.PathLike)) or not str(log_dir):
        raise TypeError(f"log_dir is the path of a folder; got {brief(log_dir)}.")
    check_writable(Path(log_dir))
    from torch.utils.tensorboard import SummaryWriter  # slow to import, rarely needed
    from torchvision.utils import make_grid

    writer = SummaryWriter(str(log_dir), purge_step=epoch + 1)
    if epoch == 0:
        images = first_batch(batches).images
        if isinstance(images, Tensor) and images.ndim == 4 and images.shape[1] in (1, 3):
            grid = make_grid(images[:64].float().cpu(), normalize=True)
            writer.add_image("images", grid, 0)
    return writer
