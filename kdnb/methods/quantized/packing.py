"""Files of quantised weights: b bits per weight, so that a small network is a small file.

Computing still needs the numbers themselves, which `load_packed` restores: no processor here has
kernels for 1, 2 or 4 bits. For arithmetic in 8 bits see `kdnb.methods.quantized.int8`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as bytes_of
from torch import Tensor, nn

from kdnb.losses.checks import check_choice
from kdnb.methods.quantized.quantisers import buckets
from kdnb.methods.quantized.weights import weights_of
from kdnb.paths import atomic_write

WIDTHS = (1, 2, 4, 8)
PARTS = ("codes", "lows", "spans")


def pack(values: Tensor, bits: int, bucket: int | None = 256) -> dict[str, Tensor]:
    """Encode numbers on uniform points: b bits per number, and the buckets' scales.

    Args:
        values: as `uniform` gives them; others are rounded to the nearest point.
        bits: b: 1, 2, 4 or 8.
        bucket: numbers that share a scale; all if None.

    Returns:
        `codes` (uint8), and `lows` and `spans` (float32), one per bucket.

    >>> packed = pack(torch.tensor([0.0, 1.0, 0.0, 3.0]), bits=2)
    >>> packed["codes"], unpack(packed, (4,), bits=2)
    (tensor([196], dtype=torch.uint8), tensor([0., 1., 0., 3.]))
    """
    check_choice(WIDTHS, bits=bits)
    found, many = buckets(values.detach().float(), bucket), 8 // bits
    codes = (found.scaled * (2**bits - 1)).round().flatten()[: values.numel()].int()
    codes = torch.cat([codes, codes.new_zeros(-len(codes) % many)]).view(-1, many)
    whole = (codes << (bits * torch.arange(many, dtype=torch.int32))).sum(1).to(torch.uint8)
    return {"codes": whole, "lows": found.lows[:, 0], "spans": found.spans[:, 0]}


def unpack(
    packed: dict[str, Tensor], shape: Collection[int], bits: int, bucket: int | None = 256
) -> Tensor:
    """The numbers of `pack`, in float32.

    Raises:
        ValueError: if codes and scales do not match the number of values.
    """
    check_choice(WIDTHS, bits=bits)
    numbers = int(torch.tensor(tuple(shape)).prod())
    size = bucket or numbers
    whole, groups = -(-numbers * bits // 8), -(-numbers // size)
    if len(packed["codes"]) != whole or len(packed["lows"]) != groups:
        raise ValueError(
            f"{numbers} numbers of {bits} bits have {whole} bytes and {groups} buckets; got "
            f"{len(packed['codes'])} and {len(packed['lows'])}."
        )
    steps, shifts = 2**bits - 1, bits * torch.arange(8 // bits, dtype=torch.int32)
    codes = ((packed["codes"].int()[:, None] >> shifts) & steps).flatten()[:numbers].float()
    which = torch.arange(numbers) // size
    restored = codes / steps * packed["spans"][which] + packed["lows"][which]
    return restored.view(tuple(shape))


def save_packed(
    network: nn.Module,
    path: Path | str,
    bits: int,
    bucket: int | None = 256,
    *,
    keep: Collection[str] | str = (),
) -> Path:
    """Write a network whose weights lie on uniform points; everything else as float32.

    Args:
        network: after `quantized_distillation`, or `rounded`.
        path: path of a safetensors file, which holds numbers and no code.
        bits, bucket, keep: as it was quantised.
    """
    path, packed = Path(path), weights_of(network, keep)
    tensors: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        owner, _, last = name.rpartition(".")
        if last == "weight" and owner in packed:
            parts = pack(value, bits, bucket)
            tensors |= {f"{name}:{part}": parts[part] for part in PARTS}
        else:
            tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    about = {"bits": json.dumps(bits), "bucket": json.dumps(bucket)}
    atomic_write(path, bytes_of(tensors, about))
    return path


def load_packed(network: nn.Module, path: Path | str) -> nn.Module:
    """A copy of a network with the weights of a file of `save_packed`, in eval mode.

    Args:
        network: of the same kind; its own weights do not matter.

    Raises:
        ValueError: for an invalid file, or one of a different network.
    """
    tensors, about = read_tensors(path)
    if not {"bits", "bucket"} <= set(about):
        raise ValueError(f"{path} holds no packed network.")
    bits, bucket = json.loads(about["bits"]), json.loads(about["bucket"])
    made = copy.deepcopy(network)
    state = made.state_dict()
    for name, value in state.items():
        if f"{name}:codes" in tensors:
            parts = {part: tensors.pop(f"{name}:{part}") for part in PARTS}
            tensors[name] = unpack(parts, value.shape, bits, bucket)
    try:
        made.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path} is of another network: {error}") from error
    return made.eval()


def read_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and metadata of a safetensors file, which cannot hold code.

    Raises:
        ValueError: for an invalid file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no safetensors file ({error}).") from error
