"""Merging trained networks (Chou et al. 2018): two networks with common weight codebooks.

Layers of one kind are aligned; their kernels are cut into short vectors over the input channels,
one for each position of the kernel; a joint k-means gives one codebook per layer, from which both
networks read their weights. A short training of the codebooks then repairs both.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.data.loaders import LoaderBatches
from kdnb.losses.checks import check_number
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.names import brief
from kdnb.nets import features
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.answers import logits_of
from kdnb.training.first import check_module
from kdnb.training.inputs import batches_for
from kdnb.training.targets import label_loss
from kdnb.training.watching import watching

KINDS = (nn.Conv2d, nn.Linear)


def pieces(weight: Tensor, length: int) -> Tensor:
    """Cut a layer's weight into vectors over its input channels, padded with zeros.

    Args:
        weight: (out, in) or (out, in, height, width).
        length: length of a vector.

    Returns:
        (pieces, length): of each output, then of each position of the kernel, ceil(in / length).
    """
    flat = weight.flatten(2) if weight.ndim > 2 else weight[..., None]
    rows = flat.transpose(1, 2)  # (out, positions, in)
    spare = -rows.shape[2] % length
    return F.pad(rows, (0, spare)).reshape(-1, length)


def joined(cut: Tensor, shape: Sequence[int]) -> Tensor:
    """Join the pieces of a weight cut by :func:`pieces`."""
    out, inputs, *kernel = shape
    positions = math.prod(kernel)
    rows = cut.reshape(out, positions, -1)[..., :inputs]
    return rows.transpose(1, 2).reshape(out, inputs, *kernel)


class Coded(nn.Module):
    """A convolution or linear layer whose weight is looked up in a codebook.

    Args:
        layer: the layer to replace; its bias is reused.
        codebook: (words, length), shared with other layers.
        codes: (pieces,) the index of the word for each piece of the weight.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, codebook: nn.Parameter, codes: Tensor):
        super().__init__()
        self.codebook, self.shape = codebook, tuple(layer.weight.shape)
        self.register_buffer("codes", codes)
        bias = layer.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.how = (
            {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
            if isinstance(layer, nn.Conv2d)
            else None
        )

    @property
    def weight(self) -> Tensor:
        """The weight of the replaced layer; gradients flow into the codebook."""
        return joined(self.codebook[self.codes], self.shape)

    def forward(self, value: Tensor) -> Tensor:
        if self.how is None:
            return F.linear(value, self.weight, self.bias)
        return F.conv2d(value, self.weight, self.bias, **self.how)


class Merged(nn.Module):
    """Two networks with common codebooks; `merged.networks[0]` is the first one.

    Args:
        networks: whose layers are :class:`Coded`.
        paths: paths of these layers.
    """

    def __init__(self, networks: Sequence[nn.Module], paths: Sequence[str]):
        super().__init__()
        self.networks, self.paths = nn.ModuleList(networks), tuple(paths)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of the first network for its images, and of the second for its own."""
        return self.networks[0](first), self.networks[1](second)

    def bits(self) -> int:
        """The storage of the merged layers' weights: codebooks in 32 bits, shortest codes.

        Biases and unmerged layers do not count.
        """
        total = 0
        for path in self.paths:
            layers = [network.get_submodule(path) for network in self.networks]
            words = len(layers[0].codebook)
            total += 32 * layers[0].codebook.numel()
            total += sum(layer.codes.numel() for layer in layers) * max(
                1, math.ceil(math.log2(words))
            )
        return total


@torch.no_grad()
def merge(
    one: nn.Module, other: nn.Module, *, words: int = 64, length: int = 8, seed: int = 0,
    paths: Sequence[str] | None = None,
) -> Merged:  # fmt: skip
    """Merge two trained networks with common codebooks, one per pair of aligned layers (Chou 2018).

    Args:
        one, other: left unchanged. They may differ in widths and classes.
        words: the words of each codebook; a layer with fewer pieces has one word per piece, without
            loss.
        length: length of a word, in input channels.
        seed: for k-means.
        paths: paths of the layers, the same in both; if left out, all convolutions and linear
            layers with the same path and kind in both.

    Returns:
        `Merged`, in eval mode.

    Raises:
        TypeError: for anything but modules, or paths in one string.
        ValueError: for no layer in common, a path that is not a convolution or linear layer in
            both, or weights that are not finite.

    Departures: alignment, the 1x1 cut and the joint k-means are from the abstract and a summary. A
    free word length, and padding short pieces with zeros, are ours.
    """
    from scipy.cluster.vq import kmeans2

    for name, network in (("one", one), ("other", other)):
        check_module(name, network, learns=False)
    if isinstance(paths, str):
        raise TypeError(f"paths must be a list of module paths; got the string: [{paths!r}].")
    check_number(least=2, whole=True, words=words)
    check_number(least=1, whole=True, length=length)
    kinds = [
        {p: type(m) for p, m in net.named_modules() if type(m) in KINDS} for net in (one, other)
    ]
    common = [path for path, kind in kinds[0].items() if kinds[1].get(path) is kind]
    chosen = common if paths is None else list(paths)
    if not chosen or (wrong := [path for path in chosen if path not in common]):
        got = f"{wrong[0]!r} is none" if chosen else "they have none"
        raise ValueError(f"merged are convolutions and linear layers of both networks; {got}.")
    copies = [copy.deepcopy(net).eval() for net in (one, other)]
    for place, path in enumerate(chosen):
        layers = [net.get_submodule(path) for net in copies]
        cut = [pieces(layer.weight, length) for layer in layers]
        together = torch.cat(cut).double().cpu()
        if not bool(torch.isfinite(together).all()):
            raise ValueError(f"the weights of {path!r} must be finite to be merged.")
        distinct = torch.unique(together, dim=0)
        if len(distinct) <= words:
            book, codes = torch.unique(together, dim=0, return_inverse=True)
        else:
            found = kmeans2(
                together.numpy(), words, minit="++", iter=30, missing="warn", seed=seed + place
            )
            book, codes = torch.as_tensor(found[0]), torch.as_tensor(found[1]).long()
        shared = nn.Parameter(book.to(cut[0]))
        parts = codes.to(cut[0].device).split([len(part) for part in cut])
        for net, layer, own in zip(copies, layers, parts, strict=True):
            outer, _, name = path.rpartition(".")
            setattr(net.get_submodule(outer), name, Coded(layer, shared, own))
    return Merged(copies, chosen)


class Pairs(LoaderBatches):
    """Two data sets side by side: a batch is (images of one, images of the other), labels (B, 2).

    An epoch is as long as that of the shorter data set.
    """

    def __init__(self, one: Any, other: Any, *, seed: int = 0):
        super().__init__(one, getattr(one, "device", "cpu"), seed=seed)
        self.other = other

    @property
    def examples(self) -> int:
        """The number of pairs in an epoch."""
        return min(self.loader.examples, self.other.examples)

    def __len__(self) -> int:
        return min(len(self.loader), len(self.other))

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch."""
        for a, b in zip(self.loader.epoch(number), self.other.epoch(number), strict=False):
            size = min(a.size, b.size)
            labels = torch.stack([a.labels[:size], b.labels[:size]], 1)
            yield Batch((a.images[:size], b.images[:size]), labels)


def calibrate(
    merged: Merged,
    originals: tuple[nn.Module, nn.Module],
    data: tuple[Any, Any],
    recipe: Recipe | None = None,
    *,
    layer_weight: float = 1.0,
    label_weight: float = 1.0,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Train the common codebooks on a little data of both tasks (Chou et al. 2018).

    .. math:: L = w_h \big( H(y_A, z_A) + H(y_B, z_B) \big)
        + w_l \sum_l \sum_{n \in A, B} \frac{1}{E_{nl}}
        \lVert O^{merged}_{nl} - O^{original}_{nl} \rVert_1

    with the outputs O of every merged layer, E numbers each.

    Args:
        merged: trained in place: codebooks, biases and all other parameters of both networks.
        originals: the two networks that were merged, frozen.
        data: of the first and of the second task, as in `kdnb.distil`.
        recipe, seed, checkpoint, fields: as in `kdnb.distil`.
        evaluate: a function of the networks, or data of the first and of the second task, whose
            measures join the history as `one.<measure>` and `other.<measure>`.
        layer_weight, label_weight: w_l and w_h.

    Returns:
        The history, with `layers`, `hard1` and `hard2`, and the network "merged".

    Raises:
        TypeError: for what is not `Merged`, or no pair of networks or of data.
        ValueError: for originals with other layers, or as `kdnb.distil`.

    Departures: the absolute errors, their mean over a layer and their sum over layers are those of
    the authors' code (ivclab/NeuralMerger, `Fine-tuning/loss.py`). In that code the logits count as
    a layer, labels have 10 times the weight of a layer, and each network's loss has its own
    optimiser.
    """
    recipe = recipe_of(calibrate, recipe, fields)
    check_weights_of_terms(layer_weight=layer_weight, label_weight=label_weight)
    _check_originals(merged, originals)
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise TypeError(
            f"data must be a pair, of the first and of the second task; got {brief(data)}."
        )
    both = [batches_for(one, recipe, seed, given=fields) for one in data]
    pairs = Pairs(*both, seed=seed)
    names = ("one", "other")
    networks = {"merged": merged, **dict(zip(names, originals, strict=True))}

    def terms(trained: Any, batch: Batch) -> dict[str, Tensor]:
        images, labels = batch.images, batch.labels.unbind(1)
        seen: list[dict[str, Tensor]] = []
        for name, network, own in zip(names, originals, images, strict=True):
            with torch.no_grad(), features(network, merged.paths) as maps:
                trained[name](own)
                seen.append({path: maps[path].float() for path in merged.paths})
        with (
            features(merged.networks[0], merged.paths) as first,
            features(merged.networks[1], merged.paths) as second,
        ):
            answers = [logits_of(one) for one in trained["merged"](*images)]
            ours = [{p: m[p].float() for p in merged.paths} for m in (first, second)]
        errors = [
            (ours[n][path] - seen[n][path]).abs().mean() for n in (0, 1) for path in merged.paths
        ]
        hard = [label_weight * label_loss(z, y) for z, y in zip(answers, labels, strict=True)]
        return {"layers": layer_weight * sum(errors), "hard1": hard[0], "hard2": hard[1]}

    history = fit(
        networks, pairs, Update(("merged",), terms), recipe, seed=seed, checkpoint=checkpoint,
        evaluate=_watching_both(evaluate, merged, names),
        identity={"method": {"verb": "calibrate", "weights": [layer_weight, label_weight]}},
    )  # fmt: skip
    return Fit.of(history, {"merged": merged})


def _check_originals(merged: Any, originals: Any) -> None:
    if not isinstance(merged, Merged):
        raise TypeError(f"merged must be what `merge` returns; got {brief(merged)}.")
    if not isinstance(originals, (tuple, list)) or len(originals) != 2:
        raise TypeError(
            f"originals must be the two networks that were merged; got {brief(originals)}."
        )
    for place, (network, own) in enumerate(zip(originals, merged.networks, strict=True)):
        check_module(f"original {place + 1}", network, learns=False)
        parts = dict(network.named_modules())
        for path in merged.paths:
            shape = tuple(getattr(getattr(parts.get(path), "weight", None), "shape", ()))
            if shape != own.get_submodule(path).shape:
                raise ValueError(
                    f"original {place + 1} is another network than was merged: its {path!r} has weights "
                    f"{shape or 'nowhere'}, the merged one's {own.get_submodule(path).shape}."
                )


def _watching_both(evaluate: Any, merged: Merged, names: Sequence[str]) -> Any:
    if evaluate is None or callable(evaluate):
        return evaluate
    if not isinstance(evaluate, (tuple, list)) or len(evaluate) != 2:
        raise TypeError("evaluate of calibrate must be a function, or a pair of data, one a task.")
    looks = {
        name: watching(one, {name: network})
        for name, network, one in zip(names, merged.networks, evaluate, strict=True)
    }
    return lambda networks: {
        f"{name}.{key}": value
        for name, look in looks.items()
        for key, value in look(networks).items()
    }
