"""Find a transformer's queries, keys, values and states, and read them for a batch.

They are outputs of linear layers, which forward hooks read without changing the network. The
network need not return its attention, nor compute it explicitly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdnb.losses import attention_scores
from kdnb.losses.checks import check_number, check_present
from kdnb.nets import features
from kdnb.training.answers import ask
from kdnb.training.first import cannot_take, check_module

# Names of the linear layers of queries, keys and values in one module, and of its number of heads.
SEPARATE = (("query", "key", "value"), ("q_proj", "k_proj", "v_proj"), ("q_lin", "k_lin", "v_lin"))
COUNTS = ("num_attention_heads", "num_heads", "n_heads", "heads")
FUSED = ("qkv", "in_proj")


class AttentionLayer(NamedTuple):
    """The modules that compute one layer's queries, keys and values.

    Attributes:
        queries, keys, values: paths of modules; three times the same path if one module computes
            all three.
        heads: the number of heads.
        block: the path of the block around it, whose output is the layer's states.
    """

    queries: str
    keys: str
    values: str
    heads: int
    block: str


class Heads(NamedTuple):
    """Queries, keys and values of one layer, each (batch, heads, tokens, d_k)."""

    queries: Tensor
    keys: Tensor
    values: Tensor


def attention_layers(network: nn.Module) -> list[AttentionLayer]:
    """The self-attention of a transformer, first layer first.

    It finds kdnb's encoders, timm's vision transformers (`qkv`), and BERT, DistilBERT and similar
    models of transformers: modules that have linear layers of these names and an attribute for the
    number of heads. `torch.nn.MultiheadAttention` has no such layers.

    Raises:
        TypeError: for anything but a module.
        ValueError: if there is none.

    >>> from kdnb.nets.transformer import PatchEncoder
    >>> attention_layers(PatchEncoder(layers=1))
    [AttentionLayer(queries='blocks.0.query', keys='blocks.0.key', values='blocks.0.value', heads=4, block='blocks.0')]
    """
    check_module("network", network)
    found = []
    for path, module in network.named_modules():
        count = next((getattr(module, name) for name in COUNTS if hasattr(module, name)), None)
        parts = dict(module.named_children())
        names = next((one for one in SEPARATE if set(one) <= set(parts)), None)
        fused = next((one for one in FUSED if isinstance(parts.get(one), nn.Linear)), None)
        if not isinstance(count, int) or not (names or fused):
            continue
        start = f"{path}." if path else ""
        paths = [start + name for name in names or (fused,) * 3]
        found.append(AttentionLayer(*paths, heads=count, block=_block(path)))
    if not found:
        raise ValueError(
            f"{type(network).__name__} has no self-attention whose queries, keys and values are "
            "modules of their own (query, key and value; q_proj, k_proj and v_proj; or qkv)."
        )
    return found


def _block(path: str) -> str:
    """The path up to its last number: the block around a module, in a list of blocks."""
    parts = path.split(".")
    last = max((place for place, part in enumerate(parts) if part.isdigit()), default=None)
    return path if last is None else ".".join(parts[: last + 1])


def layer_at(layers: Sequence[AttentionLayer], place: int, whose: str) -> AttentionLayer:
    """One of the layers; a negative place counts from the last.

    Raises:
        ValueError: if there are too few layers, or the place is not an integer.
    """
    check_number(whole=True, layer=place)
    if not -len(layers) <= place < len(layers):
        raise ValueError(f"the {whose} has {len(layers)} layers of self-attention; got {place}.")
    return layers[place]


@contextlib.contextmanager
def watched(network: nn.Module, layers: Sequence[AttentionLayer], *more: str) -> Iterator[Mapping]:
    """A context that keeps the outputs of these layers, their blocks and other modules."""
    paths = [path for one in layers for path in (*one[:3], one.block) if path] + list(more)
    with features(network, list(dict.fromkeys(paths)), first=True) as seen:
        yield seen


def heads_in(seen: Mapping[str, Tensor], layer: AttentionLayer) -> Heads:
    """The heads of a layer, from what `watched` kept.

    Raises:
        ValueError: if keys or values differ in width from the queries (grouped heads).
    """
    if layer.queries == layer.keys:
        whole = seen[layer.queries]
        parts = whole.chunk(3, dim=-1)
    else:
        parts = tuple(seen[path] for path in layer[:3])
    if len({one.shape for one in parts}) > 1 or parts[0].ndim != 3:
        raise ValueError(
            "queries, keys and values must be (batch, tokens, width) of one shape; got "
            f"{[tuple(one.shape) for one in parts]} from {layer.queries!r}."
        )
    return Heads(*(one.unflatten(2, (layer.heads, -1)).transpose(1, 2) for one in parts))


@torch.no_grad()
def attention_of(network: nn.Module, inputs: Any, place: int = -1) -> Tensor:
    """The attention of each token of a layer: (batch, heads, tokens, tokens), rows sum to 1.

    Args:
        inputs: the network's inputs; padding, marked by tokens of 0 or an `attention_mask`, is not
            a key.
        place: index of the layer; -1 is the last.

    Raises:
        ValueError: for a network without self-attention, a layer that does not exist, or a sequence
            of only padding.
    """
    layer = layer_at(attention_layers(network), place, "network")
    with watched(network, [layer]) as seen:
        try:
            ask(network, inputs)
        except (RuntimeError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(cannot_take("network", inputs, error)) from error
        heads = heads_in(seen, layer)
    scores = attention_scores(heads.queries, heads.keys)
    there = present_in(inputs)
    if there is not None:
        there = there[:, : scores.shape[-1]]
        check_present(there, len(scores), scores.shape[-1], scores=scores)
        absent = ~there[:, None, None]
        scores = scores.masked_fill(absent, -torch.inf)
    return scores.softmax(-1)


def present_in(inputs: Any) -> Tensor | None:
    """Which tokens are not padding, (batch, tokens); None if this is unknown.

    For a dict this is the entry `attention_mask`; for integers (batch, tokens), those that are not
    0.
    """
    if isinstance(inputs, Mapping):
        mask = inputs.get("attention_mask")
        return None if mask is None else mask.bool()
    plain = isinstance(inputs, Tensor) and inputs.ndim == 2
    return inputs != 0 if plain and not inputs.is_floating_point() else None
