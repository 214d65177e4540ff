"""Checks on a first batch before any training: reproducible data, and valid outputs."""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from kdnb.data import Batch
from kdnb.data.batches import Batches
from kdnb.data.forms import first_of, moved, samples_in, tensors_in
from kdnb.names import brief
from kdnb.progress import note
from kdnb.training.answers import Output, ask, logits_of, not_taken
from kdnb.training.borrowed import evaluating
from kdnb.training.randomness import mix, own_random_state, seed_everything
from kdnb.training.views import Layers, View, viewing


def first_batch(batches: Any, seed: int = 0) -> Batch:
    """The first batch of the first epoch; the caller's random state does not change.

    Args:
        seed: the seed of the run, which then sees this batch first.

    Raises:
        ValueError: if there is none.
    """
    with own_random_state():
        seed_everything(mix(seed, 0))
        batch = next(iter(batches.epoch(0)), None)
    if batch is None:
        raise ValueError("this data gives no batch.")
    return batch


def check_module(name: str, network: Any, learns: bool = True) -> None:
    """Require a torch module whose weights are numbers.

    Args:
        name: its role, or the caller, for the message.
        learns: whether it will be trained or used as a teacher.

    Raises:
        TypeError: for anything else; for a string it explains how to build a network by name.
        ValueError: see `check_weights`.
    """
    if isinstance(network, nn.Module):
        check_weights(name, network, learns)
        return
    if isinstance(network, str):
        got = f"the string {brief(network)}: build it by kdnb.nets.build or kdnb.nets.pretrained"
    else:
        got = f"a {type(network).__name__}"
        if isinstance(network, type) and issubclass(network, nn.Module):
            got = f"the class {network.__name__}: give an object, {network.__name__}(...)"
    raise TypeError(f"{name} must be a torch module; got {got}.")


def check_weights(name: str, network: nn.Module, learns: bool = True) -> None:
    """Raise `ValueError` for weights without numbers, or that cannot be trained or frozen."""
    if any("eval" in vars(part) for part in network.modules()):  # torch.export's, which raises
        raise ValueError(
            f"{name} is a graph of torch.export, which has no eval mode: give the module that it was "
            "made of; as a teacher, a function such as lambda x: network(x)."
        )
    for value in (*network.parameters(), *network.buffers()):
        if nn.parameter.is_lazy(value):  # it gets its shape and numbers with the first batch
            continue
        if value.device.type == "meta":
            raise ValueError(
                f"{name} has weights on the meta device, which holds no numbers: load them, or make "
                "room by network.to_empty(device=...) and initialise them."
            )
        if learns and value.is_inference():
            raise ValueError(
                f"{name} was made under torch.inference_mode(), so that its weights can be neither "
                "trained nor frozen: make it outside."
            )


def check_finite_weights(name: str, network: nn.Module) -> None:
    """Raise `ValueError` for a weight that is NaN or infinite, naming where it is."""
    for path, value in network.named_parameters():
        if nn.parameter.is_lazy(value) or not value.is_floating_point():
            continue
        if not bool(value.isfinite().all()):
            raise ValueError(
                f"{name} has weights that are NaN or infinite, in {path!r}: load or initialise it anew."
            )


def tried(
    name: str, network: nn.Module, batch: Batch, output: Output = None, learns: bool = True
) -> Tensor:
    """A network's logits for a first batch, in eval mode, on the network's device.

    Args:
        name: its name in error messages.
        learns: whether it will be trained.

    Raises:
        ValueError: for inputs that it cannot take, naming their shapes; for weights that are not
            finite, or a teacher that answers with NaN; or, if it is to learn, if it has no trainable
            parameters.
        TypeError: if its output holds no logits.
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    inputs = batch.to(device).images
    before = versions(inputs)
    with evaluating(network), torch.no_grad(), own_random_state(device):
        try:
            answer = ask(network, inputs)
        except Exception as error:
            if str(error).startswith("module "):  # raised by the code that looks inside it
                raise
            why = not_taken(network, inputs)
            raise ValueError(cannot_take(name, batch.images, error, why)) from error
    if name != "network" and versions(inputs) != before:
        raise ValueError(
            f"the {name} changes its inputs in place, and another network is given the same ones: "
            "let it begin with a copy, such as x = x.clone()."
        )
    if learns:
        check_learns(name, network)
    logits = logits_of(answer, output)
    if _unclear(logits, batch.size):
        fewer = _of_fewer(network, batch)
        if fewer is not None and len(found := logits_of(fewer, output)) == len(logits):
            raise ValueError(f"{_not_first(f'the {name}', logits, found)}: transpose its answer.")
    _check_no_nan(name, network, logits)
    if are_probabilities(logits):
        note(
            f"the {name} answers with probabilities (each row sums to 1), and losses take logits: "
            "leave its last softmax out."
        )
    return logits


def _check_no_nan(name: str, network: nn.Module, logits: Tensor) -> None:
    """Refuse NaN that training would spread; in dense answers it may stand where nothing counts.

    A network that learns may answer otherwise in train mode: its weights alone are looked at.
    """
    if logits.ndim > 2 or not bool(logits.isnan().any()):
        return
    try:
        check_finite_weights(f"the {name}", network)
    except ValueError as error:
        raise ValueError(f"the {name} answers with NaN: {error}") from None
    if name.startswith("teacher"):
        raise ValueError(f"the {name} answers with NaN: look at the inputs and at its layers.")


def check_samples_first(network: nn.Module, batch: Batch, layers: Layers, view: View) -> bool:
    """Require layers whose outputs have samples first, even if there are as many tokens as samples.

    In that case only a batch of another length distinguishes (B, T, C) from (T, B, C).

    Args:
        view: the view of the whole batch.

    Returns:
        Whether the network was called again, so that `view` now shows another batch.

    Raises:
        ValueError: naming the layer and its shapes.
    """
    unclear = {path: one for path, one in view.ran().items() if _unclear(one, batch.size)}
    if not unclear:
        return False
    with viewing(network, layers) as seen:
        fewer = {} if _of_fewer(network, batch) is None else seen(view.logits).ran()
    for path, whole in unclear.items():
        if path in fewer and len(fewer[path]) == len(whole):
            raise ValueError(
                f"{_not_first(repr(path), whole, fewer[path])}: name a layer whose output has the "
                "batch as its first axis."
            )
    return True


def versions(inputs: Any) -> list[int | None]:
    """The number of in-place writes to each tensor."""
    return [None if one.is_inference() else one._version for one in tensors_in(inputs)]


def _unclear(value: Tensor, samples: int) -> bool:
    return value.ndim == 3 and value.shape[0] == value.shape[1] == samples > 1


def _of_fewer(network: nn.Module, batch: Batch) -> Any:
    """A network's output for a first batch without its last sample; None if it fails."""
    inputs = first_of(batch.images, batch.size - 1)
    if samples_in(inputs) == batch.size:
        return None
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    with evaluating(network), torch.no_grad(), own_random_state(device):
        try:
            return ask(network, moved(inputs, device))
        except (RuntimeError, TypeError, ValueError, IndexError):
            return None


def _not_first(what: str, one: Tensor, other: Tensor) -> str:
    return (
        f"{what} gives {tuple(one.shape)} for {one.shape[1]} samples and {tuple(other.shape)} for "
        "one fewer, so that its samples do not come first"
    )


def check_learns(name: str, *modules: nn.Module) -> None:
    """Raise `ValueError` unless a network, or a module trained with it, has trainable parameters."""
    if not any(p.requires_grad for module in modules for p in module.parameters()):
        raise ValueError(
            f"the {name} has nothing to learn: none of its parameters has requires_grad=True."
        )


def are_probabilities(logits: Tensor) -> bool:
    """Whether an output (batch, classes) looks like that of a softmax."""
    if logits.ndim != 2 or min(logits.shape) < 2 or bool((logits < 0).any()):
        return False
    return bool(((logits.float().sum(1) - 1).abs() < 1e-3).all())


def cannot_take(name: str, inputs: Any, error: Exception, why: str = "") -> str:
    """The error message for a network that fails on some inputs, with a possible reason."""
    shapes = ", ".join(f"{str(one.dtype)[6:]} {tuple(one.shape)}" for one in tensors_in(inputs))
    words = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    if not why and "omplex" in words and any(one.is_complex() for one in tensors_in(inputs)):
        why = "real weights take real numbers, such as torch.view_as_real(inputs)"
    return (
        f"the {name} cannot take these inputs ({shapes}): {type(error).__name__}, {words}. "
        + (f"{why[:1].upper()}{why[1:]}. " if why else "")
        + "Where it wants another size or normalisation, give a module that brings the inputs to it "
        "first."
    )


def check_repeats(batches: Any) -> Batch | None:
    """Require that an epoch can be drawn again, which resuming from a checkpoint needs.

    Returns:
        Its first batch, if that had to be drawn.

    Raises:
        ValueError: if its first batch differs between two draws.
    """
    if isinstance(batches, Batches):  # repeatable by construction
        return None
    batch = first_batch(batches)
    one, two = (list(tensors_in(list(drawn[:2]))) for drawn in (batch, first_batch(batches)))
    if len(one) != len(two) or not all(_same(a, b) for a, b in zip(one, two, strict=True)):
        raise ValueError(
            "these batches differ each time an epoch is drawn, so that a run which goes on from a "
            "checkpoint could not equal the uninterrupted one: give no checkpoint, or let the data "
            "draw from torch, numpy or random, or from a generator that loader, sampler or data "
            "set holds."
        )
    return batch


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.nan_to_num(), other.nan_to_num())


@contextlib.contextmanager
def no_spreading(*given: Any) -> Iterator[None]:
    """Refuse a loss between tensors of different shapes, which torch would broadcast.

    Args:
        given: what the loss is given, answers and labels.

    Raises:
        ValueError: (32, 1) beside (32,) gives (32, 32): torch warns at most, and training would go
            wrong.
    """
    with warnings.catch_warnings(), _Spreading(tensors_in(given)):
        warnings.filterwarnings("error", message="Using a target size")
        try:
            yield
        except UserWarning as error:
            shapes = re.findall(r"\[([\d, ]*)\]", str(error))
            raise ValueError(_spread(*(f"({one})" for one in shapes))) from error


class _Spreading(TorchFunctionMode):
    """Refuses arithmetic between two tensors of the given shapes that differ in an axis of length 1.

    What a loss has reshaped itself, such as z[:, None] - z of all pairs, has another shape than
    what it was given.
    """

    def __init__(self, given: Iterable[Tensor]) -> None:
        super().__init__()
        self.shapes = {tuple(one.shape) for one in given}

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        pair = [tuple(one.shape) for one in args if isinstance(one, Tensor)]
        if len(pair) == 2 and len(pair[0]) != len(pair[1]) and self.shapes.issuperset(pair):
            one, other = ([length for length in shape if length != 1] for shape in pair)
            if one == other and isinstance(result, Tensor) and result.numel() > math.prod(one):
                raise ValueError(_spread(*map(str, pair)))
        return result


def _spread(*shapes: str) -> str:
    return (
        f"the loss compares tensors of the shapes {' and '.join(shapes)}: give labels the shape of "
        "the answer, such as labels[:, None]."
    )


def check_scalar(terms: Mapping[str, Any], answers: Iterable[Tensor] = ()) -> None:
    """Require terms that can be minimised, by name: tensors of one number each.

    Args:
        answers: to a first batch; where all of them are finite, no term may be NaN.

    Raises:
        TypeError: for another type.
        ValueError: for another shape, or for no number.
    """
    answers = list(answers)
    known = bool(answers) and all(bool(one.isfinite().all()) for one in answers)
    for name, value in terms.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name} must return a tensor of one number; got a {type(value).__name__}."
            )
        if value.ndim or not value.is_floating_point():
            raise ValueError(
                f"{name} must return one floating-point number, shape (); got {value.dtype} of "
                f"shape {tuple(value.shape)}: take its mean over the batch."
            )
        if known and bool(value.isnan()):
            raise ValueError(
                f"{name} must return a number; got nan for finite answers to a first batch. It is given "
                "logits: take their (log-)softmax where it wants probabilities, and look at its constants."
            )
