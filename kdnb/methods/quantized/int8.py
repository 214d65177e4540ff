"""Distillation with the library's quantisation-aware training, down to int8 arithmetic.

`prepared` inserts fake quantisers between the layers of a network. The network then learns like any
other, from labels or a teacher, and is converted to one that computes in 8-bit integers on the CPU.
Files of
`save_int8` are safetensors: numbers alone, no code. `kdnb.export` writes the same network as
TorchScript, which runs without the network's code; for a network in full precision it measures the
ranges after training, which is enough if rounding costs little.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from safetensors.torch import save as bytes_of
from torch import Tensor, nn

from kdnb.losses.checks import check_number
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.methods.quantized.common import check_first, imitate, kd_terms
from kdnb.methods.quantized.packing import read_tensors
from kdnb.methods.teachers import check_pair
from kdnb.paths import atomic_write
from kdnb.training import Fit, Recipe
from kdnb.training.borrowed import evaluating
from kdnb.training.inputs import batches_for
from kdnb.training.int8 import converted, layers_of, prepared, quietly

WEIGHT = ("ints", "scales", "zero_points")


def int8_distillation(
    student: nn.Module,
    teacher: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    temperature: float = 2.0,
    soft_weight: float = 0.7,
    label_weight: float = 0.3,
    engine: str | None = None,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Distil into a network that computes in int8: :math:`L = w_s T^2\,\mathrm{KL} + w_h H(y, q)`.

    Args:
        student: in full precision, trained or untrained; a copy is trained, the original stays
            unchanged.
        teacher: frozen, in full precision.
        data, recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`.
        temperature, soft_weight, label_weight: T, w_s and w_h. With a soft weight of 0 it is
            quantisation-aware training on labels.
        engine: as in :func:`prepared`.

    Returns:
        The history; and the networks "student", the trained copy with fake quantisers, and "int8",
        for the CPU. `save_int8` and `kdnb.export` write the latter.

    Raises:
        ValueError: for a network that :func:`prepared` rejects, or as `kdnb.distil`.
    """
    recipe = recipe_of(int8_distillation, recipe, fields)
    check_pair(student, teacher)
    check_weights_of_terms(soft_weight=soft_weight, label_weight=label_weight)
    batches = batches_for(data, recipe, seed, "any" if label_weight else "none", given=fields)
    heard = teacher if soft_weight else None
    first = check_first(batches, seed, student, heard, labels=bool(label_weight))
    learner = prepared(student, first.images, engine)
    with quietly():
        history = imitate(
            learner, teacher, batches, recipe, kd_terms(soft_weight, label_weight, temperature),
            seed=seed, checkpoint=checkpoint, evaluate=evaluate,
            about={"verb": "int8", "terms": [temperature, soft_weight, label_weight]},
        )  # fmt: skip
    return Fit.of(history, {"student": learner, "int8": converted(learner)})


def save_int8(network: nn.Module, path: Path | str) -> Path:
    """Write a network made by `converted` as safetensors: 8-bit weights, their scales, biases.

    Raises:
        ValueError: for a network without int8 computation.
    """
    tensors: dict[str, Tensor] = {}
    for name, part in layers_of(network):
        weight, bias = part.weight(), part.bias()
        tensors[f"{name}:ints"] = weight.int_repr().contiguous()
        tensors[f"{name}:scales"] = weight.q_per_channel_scales()
        tensors[f"{name}:zero_points"] = weight.q_per_channel_zero_points()
        tensors[f"{name}:output"] = torch.tensor([part.scale, part.zero_point], dtype=torch.float64)
        if bias is not None:
            tensors[f"{name}:bias"] = bias.detach()
    if not tensors:
        raise ValueError("this network computes nothing in int8: give what `converted` returns.")
    tensors |= {f"buffer:{name}": value.clone() for name, value in network.named_buffers()}
    about = {"int8": json.dumps({"engine": torch.backends.quantized.engine})}
    atomic_write(Path(path), bytes_of(tensors, about))
    return Path(path)


def load_int8(network: nn.Module, example: Tensor, path: Path | str) -> nn.Module:
    """The int8 network of a file of `save_int8`, in eval mode.

    No code is loaded; the structure comes from a network in full precision.

    Args:
        network: of the same kind; its own weights do not matter, and it is left unchanged.
        example: a batch of inputs.

    Raises:
        ValueError: for an invalid file, or one of a different network.
    """
    tensors, about = read_tensors(path)
    if "int8" not in about:
        raise ValueError(f"{path} holds no int8 network.")
    with quietly():
        made = converted(prepared(network, example))
    try:
        for name, part in layers_of(made):
            ints, scales, zeros = (tensors.pop(f"{name}:{one}") for one in WEIGHT)
            shape = [-1] + [1] * (ints.ndim - 1)
            numbers = (ints.double() - zeros.view(shape)) * scales.view(shape)
            weight = torch.quantize_per_channel(numbers.float(), scales, zeros, 0, torch.qint8)
            if tuple(weight.shape) != tuple(part.weight().shape):
                raise ValueError(
                    f"{path} is of another network: {name!r} has {tuple(weight.shape)}."
                )
            part.set_weight_bias(weight, tensors.pop(f"{name}:bias", None))
            scale, zero = tensors.pop(f"{name}:output").tolist()
            part.scale, part.zero_point = scale, int(zero)
        for name, value in made.named_buffers():
            value.copy_(tensors.pop(f"buffer:{name}"))
    except KeyError as error:
        raise ValueError(f"{path} is of another network: it has no {error}.") from None
    if tensors:
        raise ValueError(f"{path} is of another network: it has {min(tensors)!r} besides.")
    return made.eval()


@torch.inference_mode()
def latency(network: nn.Module, inputs: Tensor, repeats: int = 20) -> float:
    """The median time of a pass in milliseconds, with torch's current number of threads.

    Args:
        inputs: a batch on the network's device, the CPU.
        repeats: the number of timed passes, after two passes that are not timed.
    """
    check_number(least=1, whole=True, repeats=repeats)
    with evaluating(network):
        times = []
        for _ in range(repeats + 2):
            started = perf_counter()
            network(inputs)
            times.append(1e3 * (perf_counter() - started))
    return float(torch.tensor(times[2:], dtype=torch.float64).median())


def processor() -> str:
    """This processor's instructions relevant to int8, such as "x86_64, avx2"."""
    path = Path("/proc/cpuinfo")
    flags = path.read_text().split() if path.exists() else []
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
    return ", ".join([platform.machine(), *(flag for flag in wanted if flag in flags)])
