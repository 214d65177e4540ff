"""Lines of digits: images joined into one line that is read from left to right.

They replace connected speech if none is available: columns are frames in time, digits are
words, and it is known exactly where one ends and the next begins.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Strings(NamedTuple):
    """Lines of images.

    Attributes:
        frames: (lines, frames, features) float32; 0 after a line's end.
        lengths: (lines,) int64, the number of frames of each.
        tokens: (lines, most) int64, the label of each image plus 1, then -1: 0 is left for a blank.
        states: (lines, frames) int64, the token that a frame belongs to, 0 between images, and
            -100 after the end.
    """

    frames: Tensor
    lengths: Tensor
    tokens: Tensor
    states: Tensor

    @property
    def inputs(self) -> tuple[Tensor, Tensor]:
        """The inputs of acoustic models: frames and lengths."""
        return self.frames, self.lengths

    def select(self, chosen: slice | Tensor) -> Strings:
        """Some of the lines."""
        return Strings(*(part[chosen] for part in self))


def digit_strings(
    images: Tensor,
    labels: Tensor,
    lines: int,
    *,
    digits: tuple[int, int] = (3, 5),
    gaps: tuple[int, int] = (0, 4),
    columns: int = 1,
    noise: float = 0.0,
    seed: int = 0,
) -> Strings:
    """Join images, drawn with replacement, into lines.

    Args:
        images: (images, height, width) floating-point numbers, 0 for the background.
        labels: (images,) integers from 0.
        lines: number of lines.
        digits: the smallest and the largest number of images in a line.
        gaps: the smallest and the largest number of empty columns before, between and after images.
        columns: columns of the line per frame, so that a frame has columns * height features. Its
            token is that of its first column.
        noise: standard deviation of the noise added to every number of a line.
        seed: for everything that is drawn.

    Raises:
        ValueError: for wrong shapes, or a range that is empty or negative.
    """
    if images.ndim != 3 or not images.is_floating_point() or 0 in images.shape:
        raise ValueError(
            "images must be floating-point numbers (images, height, width); got "
            f"{images.dtype} {tuple(images.shape)}."
        )
    if labels.shape != images.shape[:1] or labels.is_floating_point() or bool((labels < 0).any()):
        raise ValueError(
            f"labels must be integers from 0, ({len(images)},); got {labels.dtype} "
            f"{tuple(labels.shape)}."
        )
    for name, value in (("lines", lines), ("columns", columns)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}.")
    if not 0 <= noise < float("inf"):
        raise ValueError(f"noise must be at least 0 and finite; got {noise}.")
    for name, (least, most), floor in (("digits", digits, 1), ("gaps", gaps, 0)):
        if not floor <= least <= most:
            raise ValueError(
                f"{name} must be a range from {floor} or more up; got {least} to {most}."
            )
    draw = torch.Generator().manual_seed(seed)

    def drawn(least: int, most: int, count: int) -> list[int]:
        return torch.randint(least, most + 1, (count,), generator=draw).tolist()

    height, width = images.shape[1:]
    longest = digits[1] * width + (digits[1] + 1) * gaps[1]
    longest += -longest % columns
    made = images.new_zeros(lines, longest, height)
    states = torch.full((lines, longest), -100)
    tokens = torch.full((lines, digits[1]), -1)
    lengths = torch.zeros(lines, dtype=torch.int64)
    for line, count in enumerate(drawn(*digits, lines)):
        chosen, spaces, place = drawn(0, len(images) - 1, count), drawn(*gaps, count + 1), 0
        for number, one in enumerate(chosen):
            states[line, place : place + spaces[number]] = 0
            place += spaces[number]
            made[line, place : place + width] = images[one].T
            states[line, place : place + width] = tokens[line, number] = int(labels[one]) + 1
            place += width
        end = place + spaces[count]
        states[line, place:end] = 0
        if noise:
            made[line, :end] += noise * torch.randn(end, height, generator=draw)
        lengths[line] = -(-end // columns)
    frames = made.reshape(lines, longest // columns, columns * height)
    return Strings(frames, lengths, tokens, states[:, ::columns].clone())
