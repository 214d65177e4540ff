"""Batches of one sample, such as an epoch's last: what some networks cannot take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from operator import length_hint
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kdnb.data import Batches
from kdnb.data.forms import first_of, rows_of, tensors_in
from kdnb.data.loaders import TensorBatches
from kdnb.progress import note
from kdnb.training.answers import Output, ask, logits_of
from kdnb.training.borrowed import evaluating, needs_company
from kdnb.training.randomness import own_random_state


def ends_alone(batches: Any) -> bool:
    """Whether an epoch's last batch has one sample, as far as sizes tell beforehand."""
    loader = getattr(batches, "loader", batches)
    if isinstance(loader, DataLoader):
        samples = length_hint(loader.sampler)
    elif isinstance(loader, (Batches, TensorBatches)):
        samples = loader.examples
    else:
        return False
    return samples == (len(batches) - 1) * (loader.batch_size or 0) + 1


def left_out(
    networks: Mapping[str, nn.Module],
    answers: Mapping[str, Callable[[Any], Tensor]],
    inputs: Any,
) -> bool:
    """Whether batches of one sample are left out, since a batch normalisation needs two.

    Args:
        answers: what is made of some networks' answers, by name.
        inputs: of any batch.

    Raises:
        ValueError: if none is left out, and an answer to one sample loses the axis of the batch.
    """
    one = first_of(inputs, 1)
    if any(needs_company(network, one) for network in networks.values()):
        note("a batch of one sample is left out: batch normalisation needs two.")
        return True
    for name, network in networks.items():
        if name in answers:
            _check_axes(name, network, inputs, answers[name])
    return False


def check_takes_one(name: str, network: nn.Module, inputs: Any, output: Output = None) -> None:
    """Require logits for one sample to have as many axes as those for several.

    A batch normalisation that needs two samples speaks for itself.

    Args:
        name: the network's role, for the message.
        inputs: a batch, on the network's device.

    Raises:
        ValueError: with both shapes.
    """
    if not needs_company(network, first_of(inputs, 1)):
        _check_axes(name, network, inputs, partial(logits_of, output=output))


def _check_axes(
    name: str, network: nn.Module, inputs: Any, answer: Callable[[Any], Tensor]
) -> None:
    def asked(rows: list[int]) -> Tensor:
        found = ask(network, rows_of(inputs, rows))
        try:
            return answer(found)
        except TypeError:
            if isinstance(found, Tensor) and not found.ndim:  # one logit without its axes
                return found
            raise

    device = next((one.device for one in tensors_in(inputs)), None)
    with evaluating(network), torch.no_grad(), own_random_state(device):
        try:
            two = asked([0, 0])
        except Exception:  # noqa: BLE001 - inputs that cannot be cut, such as a graph, and the like
            return
        try:
            one = asked([0])
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            words = (str(error).strip().splitlines() or [""])[0].rstrip(".")
            raise ValueError(
                f"the {name} answers {tuple(two.shape)} to two samples and fails for one "
                f"({type(error).__name__}, {words}): let it take a batch of one, or leave such "
                "batches out (drop_last=True)."
            ) from error
    if one.ndim != two.ndim:
        raise ValueError(
            f"the {name} answers {tuple(two.shape)} to two samples and {tuple(one.shape)} to one: "
            "let it keep the axis of the batch, by squeeze(dim) or flatten(1) in place of squeeze()."
        )
