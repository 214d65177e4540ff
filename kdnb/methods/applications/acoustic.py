"""Acoustic models: networks that classify every frame of a sequence, and their evaluation.

They take frames (batch, frames, features) and lengths (batch,), and give logits (batch, frames,
classes). Padding after the end of a sequence does not change the logits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kdnb.losses.checks import check_flags, check_number
from kdnb.training.borrowed import evaluating

Inputs = tuple[Tensor, Tensor]


class RecurrentModel(nn.Module):
    """Gated recurrent units over the frames, and a linear classifier of each.

    Args:
        features: numbers of a frame.
        classes: logits of a frame.
        hidden: units in each direction.
        layers: the number of stacked layers.
        bidirectional: whether a frame's answer depends on later frames, which is impossible for a
            recogniser that works while somebody is speaking.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        hidden: int = 48,
        layers: int = 1,
        bidirectional: bool = True,
    ) -> None:
        check_number(least=1, whole=True, features=features, classes=classes)
        check_number(least=1, whole=True, hidden=hidden, layers=layers)
        check_flags(bidirectional=bidirectional)
        super().__init__()
        self.units = nn.GRU(features, hidden, layers, batch_first=True, bidirectional=bidirectional)
        self.classify = nn.Linear(hidden * (1 + bidirectional), classes)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Logits of every frame."""
        packed = pack_padded_sequence(frames, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states = pad_packed_sequence(
            self.units(packed)[0], batch_first=True, total_length=frames.shape[1]
        )[0]
        return self.classify(states)


class WindowModel(nn.Module):
    """A feed-forward network that sees a window of frames: the hybrid recogniser's DNN.

    Args:
        features: numbers of a frame.
        classes: logits of a frame.
        hidden: units of each hidden layer.
        before, behind: frames in the window before and after the classified one; `behind=0` works
            without delay.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        hidden: tuple[int, ...] = (32,),
        before: int = 5,
        behind: int = 5,
    ) -> None:
        check_number(least=1, whole=True, features=features, classes=classes)
        check_number(least=0, whole=True, before=before, behind=behind)
        super().__init__()
        self.before, self.behind = before, behind
        layers: list[nn.Module] = []
        # The first layer's matrix product over a window is a convolution over time.
        inputs, width = features, before + 1 + behind
        for units in hidden:
            layers += [nn.Conv1d(inputs, units, width), nn.ReLU()]
            inputs, width = units, 1
        self.layers = nn.Sequential(*layers, nn.Conv1d(inputs, classes, width))

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Logits of every frame."""
        there = torch.arange(frames.shape[1], device=frames.device) < lengths[:, None]
        padded = nn.functional.pad(
            (frames * there[..., None]).transpose(1, 2), (self.before, self.behind)
        )
        return self.layers(padded).transpose(1, 2)


@torch.no_grad()
def frame_logits(model: nn.Module, inputs: Inputs, batch_size: int = 250) -> Tensor:
    """The logits of a model for many sequences, (sequences, frames, classes), in eval mode.

    Args:
        inputs: frames and lengths.
    """
    frames, lengths = inputs
    with evaluating(model):
        parts = zip(frames.split(batch_size), lengths.split(batch_size), strict=True)
        return torch.cat([model(*part) for part in parts])


def teachers_logits(teacher: Any, inputs: Inputs) -> Tensor:
    """A teacher's logits for all sequences: computed by a model, or passed through if given.

    Raises:
        ValueError: for logits whose number of sequences or frames differs.
    """
    if not isinstance(teacher, Tensor):
        return frame_logits(teacher, inputs)
    if teacher.ndim != 3 or teacher.shape[:2] != inputs[0].shape[:2]:
        raise ValueError(
            f"the teacher's logits must be (sequences, frames, classes) for frames "
            f"{tuple(inputs[0].shape)}; got {tuple(teacher.shape)}."
        )
    return teacher.detach()
