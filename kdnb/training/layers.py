"""The layers to use in a network: found for networks of kdnb, torchvision and timm, or named by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from torch import nn

from kdnb.names import nearest
from kdnb.nets.wrn import WideResNet
from kdnb.progress import note
from kdnb.training.views import INPUT, Layers, View, look, viewing

__all__ = ["Layers", "View", "layers_of", "look", "matched", "viewing"]

BLOCKS = 4  # layers to take from a network whose blocks all have maps of one size


def layers_of(network: nn.Module, maps: Sequence[str] = ()) -> Layers:
    """The layers of a classifier of kdnb, torchvision or timm, or of one built like kdnb's.

    kdnb's have `stage1`, `stage2`, ... (or `layers`, or the layers of `hidden`), an embedding and a
    `head`; for a WRN the last maps are those after its final ReLU. In torchvision's
    networks the stages end where the resolution drops, in timm's they are those of `feature_info`;
    networks of equal blocks, such as ViTs, are divided into four parts of equal depth.

    Args:
        maps: module paths to take instead of all stages, shallow to deep.

    Raises:
        ValueError: if its layers are not known: name them with `Layers(...)`.

    >>> from kdnb import nets
    >>> layers_of(nets.build("resnet8")).before
    ('stage1.0.preactivation', 'stage2.0.preactivation', 'stage3.0.preactivation')
    """
    paths = dict(network.named_modules())
    if unknown := [path for path in maps if path.removesuffix(INPUT) not in paths]:
        raise ValueError(
            f"{type(network).__name__} has no module {unknown[0]!r} ({nearest(unknown[0], paths)})."
        )
    if _is_of(network, "timm"):
        return _timm(network, maps)
    if _is_of(network, "torchvision"):
        return _torchvision(network, maps)
    return _own(network, list(paths), maps)


def matched(ours: Layers, theirs: Layers, student: View, teacher: View) -> tuple[Layers, Layers]:
    """Match equally many layers of both networks: the last with the last, the others by resolution.

    Resolutions are relative to that of the network's own last layer, so that networks which
    downsample differently are still matched from the end.
    """
    sizes = [[math.prod(maps.shape[2:]) for maps in view.maps] for view in (student, teacher)]
    few, many = sorted(sizes, key=len)
    if not few or len(few) == len(many):
        return ours, theirs
    last = len(many) - 1

    def cost(chosen: tuple[int, ...]) -> float:
        shrunk = zip(few, (*chosen, last), strict=True)
        return sum(abs(math.log(a / few[-1]) - math.log(many[i] / many[-1])) for a, i in shrunk)

    # Among equally good choices, take the deeper one.
    choices = sorted(combinations(range(last), len(few) - 1), reverse=True)
    best = (*min(choices, key=cost), last)
    if len(ours.maps) > len(theirs.maps):
        ours = _some(ours, best)
    else:
        theirs = _some(theirs, best)
    pairs = ", ".join(f"{s} with {t}" for s, t in zip(ours.maps, theirs.maps, strict=True))
    note(f"layers matched from the end by resolution: {pairs}")
    return ours, theirs


def _some(layers: Layers, chosen: Sequence[int]) -> Layers:
    maps, before = (tuple(each[i] for i in chosen) for each in (layers.maps, layers.before))
    return replace(layers, maps=maps, before=before)


def _is_of(network: nn.Module, library: str) -> bool:
    return any(kind.__module__.split(".")[0] == library for kind in type(network).__mro__)


def _refused(network: nn.Module, lacks: str) -> ValueError:
    return ValueError(
        f"{type(network).__name__} {lacks} by which kdnb could know its layers: name them, "
        'kdnb.training.layers.Layers(maps=("path.of.a.stage", ...), head="path.of.the.classifier"), '
        "with paths of kdnb.nets.module_paths(network)."
    )


# --- kdnb ----------------------------------------------------------------------------------------


def _own(network: nn.Module, paths: list[str], maps: Sequence[str]) -> Layers:
    if isinstance(network, WideResNet):
        return _wide(network, maps)
    found = list(maps) or [p for p in paths if p.startswith("stage") and "." not in p]
    for outer in ("layers.", "hidden."):
        found = found or [p for p in paths if p.startswith(outer) and p.count(".") == 1]
    embedding = next((p for p in ("embedding", "hidden", "pool") if p in paths), None)
    if not found or embedding is None or "head" not in paths:
        raise _refused(network, "has no stages, embedding and head")
    before = tuple(_before_relu(network, path) for path in found)
    return Layers(tuple(found), before, embedding, "head")


def _wide(network: nn.Module, maps: Sequence[str]) -> Layers:
    """For pre-activation blocks: a stage's ReLU is in the next stage, after its first norm."""
    norms = {"stage1": "stage2.0.bn1", "stage2": "stage3.0.bn1", "stage3": "final.bn"}
    norms["final.relu"] = norms["stage3"]
    found = list(maps) or ["stage1", "stage2", "final.relu"]
    return Layers(tuple(found), tuple(norms.get(path, path) for path in found), "final", "head")


def _before_relu(network: nn.Module, path: str) -> str:
    """The module whose output enters the last ReLU of a stage; the stage itself if there is none."""
    stage, _, _ = path.rpartition(".")
    root = stage if isinstance(network.get_submodule(path), nn.ReLU) else path
    leaves = [
        f"{root}.{name}"
        for name, module in network.get_submodule(root).named_modules()
        if name and not list(module.children())
    ]
    if root != path:
        leaves = leaves[: leaves.index(path) + 1]
    relus = [i for i, leaf in enumerate(leaves) if isinstance(network.get_submodule(leaf), nn.ReLU)]
    return leaves[relus[-1] - 1] if relus and relus[-1] > 0 else path


# --- torchvision and timm ------------------------------------------------------------------------


def _torchvision(network: nn.Module, maps: Sequence[str]) -> Layers:
    head = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    found = list(maps) or _stages(network)
    if not found or not head:
        raise _refused(network, "has no stages and no linear classifier")
    more: dict[str, Any] = {}
    if hasattr(network, "encoder"):  # ViT: a class token, then the patches row by row
        more["prefix_tokens"] = 1
    if hasattr(network, "permute"):  # Swin
        more["channels_last"] = True
    before = tuple(_in_front(network, path) for path in found)
    return Layers(tuple(found), before, head=head[-1], **more)


def _stages(network: nn.Module) -> list[str]:
    """The ends of the stages of a torchvision network."""
    names = [name for name, _ in network.named_children()]
    if numbered := [
        name for name in names if name.startswith(("layer", "stage")) and name[-1:].isdigit()
    ]:
        return numbered + ["conv5"] * ("conv5" in names)
    outers = ("trunk_output", "blocks", "features", "layers")
    outer = next((name for name in outers if name in names), None)
    if hasattr(network, "encoder") and hasattr(network.encoder, "layers"):
        return _quarters(
            [f"encoder.layers.{n}" for n, _ in network.encoder.layers.named_children()]
        )
    if outer is None:
        return []
    parts = dict(getattr(network, outer).named_children())
    if dense := [f"{outer}.{name}" for name in parts if name.startswith("denseblock")]:
        return dense
    if outer in ("trunk_output", "blocks"):
        return [f"{outer}.{name}" for name in parts]
    ends, former = [], ""
    for name, part in parts.items():
        if former and _shrinks(part):
            ends.append(former)
        former = "" if isinstance(part, nn.MaxPool2d | nn.AvgPool2d) else f"{outer}.{name}"
    return [*ends, former] if former else ends


def _shrinks(module: nn.Module) -> bool:
    """Whether a part of a network lowers the resolution."""
    for part in module.modules():
        stride = getattr(part, "stride", 1)
        if max(stride if isinstance(stride, tuple) else (stride,)) > 1:
            return True
        if type(part).__name__.startswith("PatchMerging"):
            return True
    return False


def _timm(network: nn.Module, maps: Sequence[str]) -> Layers:
    classifier = network.get_classifier() if hasattr(network, "get_classifier") else None
    paths = {module: path for path, module in network.named_modules()}
    head = paths.get(classifier, "") if isinstance(classifier, nn.Module) else ""
    about = [dict(one) for one in getattr(network, "feature_info", None) or []]
    found = list(maps) or [one["module"] for one in about if one["module"] in paths.values()]
    if not maps and len({one.get("reduction") for one in about}) == 1:
        found = _quarters(found)
    if not found or not isinstance(classifier, nn.Linear | nn.Conv2d):
        raise _refused(network, "has no feature_info and no linear classifier")
    return Layers(
        tuple(found),
        tuple(_in_front(network, path) for path in found),
        head=head,
        channels_last=getattr(network, "output_fmt", "NCHW") == "NHWC",
        prefix_tokens=getattr(network, "num_prefix_tokens", 0),
        grid=getattr(getattr(network, "patch_embed", None), "grid_size", None),
    )


def _quarters(blocks: list[str]) -> list[str]:
    """The ends of the quarters of a list of equal blocks."""
    count = min(BLOCKS, len(blocks))
    return [blocks[len(blocks) * (i + 1) // count - 1] for i in range(count)]


def _in_front(network: nn.Module, path: str) -> str:
    """The input of the ReLU that ends a stage; the stage itself if no ReLU ends it."""
    if path.endswith(INPUT):
        return path
    module, last = network.get_submodule(path), path
    while (inner := list(module.named_children())) and _in_turn(module):
        name, module = inner[-1]
        last = f"{last}.{name}"
    if isinstance(module, nn.ReLU):
        return f"{last}{INPUT}"
    if type(module).__name__.startswith(("NormFree", "PreAct")):
        return path  # their ReLUs come first in a block, and none ends it
    for name in ("act3", "act2", "relu", "activation"):
        if isinstance(getattr(module, name, None), nn.ReLU):
            return f"{last}.{name}{INPUT}"
    return path


def _in_turn(module: nn.Module) -> bool:
    """Whether a module runs its parts one after the other."""
    return isinstance(module, nn.Sequential) or type(module).__name__.endswith("Stage")
