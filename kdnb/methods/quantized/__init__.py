"""Quantized distillation (section 5.7): students whose weights have few bits.

`quantisers` has functions that map weights to few points; `weights.quantised` applies one to a
network during any training. `polino` has quantized distillation and differentiable quantization,
`apprentice` the three schemes of Mishra and Marr, `qkd` Kim's three phases, `speq` a network that
teaches itself at random precisions; the loss of Wei's quantization mimic is
`kdnb.losses.quantization_mimic`. `packing` writes weights of 1 to 8 bits into small files, and
`int8` joins distillation to torch's own quantisation, down to arithmetic in 8-bit integers.
"""

from kdnb.losses import apprenticeship, cosine_targets, quantization_mimic
from kdnb.methods.quantized.activations import Rounded, rounded_activations
from kdnb.methods.quantized.apprentice import apprentice
from kdnb.methods.quantized.int8 import (
    converted,
    int8_distillation,
    latency,
    load_int8,
    prepared,
    processor,
    save_int8,
)
from kdnb.methods.quantized.packing import load_packed, pack, save_packed, unpack
from kdnb.methods.quantized.polino import differentiable_quantization, quantized_distillation
from kdnb.methods.quantized.qkd import qkd
from kdnb.methods.quantized.quantisers import (
    LearntStep,
    Points,
    buckets,
    signs,
    ternary,
    uniform,
)
from kdnb.methods.quantized.speq import speq
from kdnb.methods.quantized.weights import quantised, rounded, stored_bytes, weights_of

__all__ = [
    "LearntStep",
    "Points",
    "Rounded",
    "apprentice",
    "apprenticeship",
    "buckets",
    "converted",
    "cosine_targets",
    "differentiable_quantization",
    "int8_distillation",
    "latency",
    "load_int8",
    "load_packed",
    "pack",
    "prepared",
    "processor",
    "qkd",
    "quantised",
    "quantization_mimic",
    "quantized_distillation",
    "rounded",
    "rounded_activations",
    "save_int8",
    "save_packed",
    "signs",
    "speq",
    "stored_bytes",
    "ternary",
    "uniform",
    "unpack",
    "weights_of",
]
