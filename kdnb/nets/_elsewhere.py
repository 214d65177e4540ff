"""Networks of timm and torchvision, by name and without weights. Both are imported on demand."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from kdnb.names import brief

LIBRARIES = ("timm", "torchvision")
# options that would download or unpickle weights
WEIGHTS = ("pretrained", "weights", "weights_backbone", "checkpoint_path", "pretrained_cfg")


def builder(
    name: str, own_names: Sequence[str], data: dict[str, Any], options: dict[str, Any]
) -> Callable[[], nn.Module]:
    """The builder of `library:name`, or from the first library that knows the bare name."""
    library, _, rest = name.partition(":")
    if library not in LIBRARIES or not rest:
        library = next((library for library in LIBRARIES if name in known(library)), "")
        rest = name
    if library == "timm" and not find_spec("timm"):
        raise ValueError(f"{name} is a network of timm, which is not installed: pip install timm.")
    if not library or rest not in known(library):
        raise ValueError(_unknown(rest, library, own_names))
    if loading := [key for key in options if key in WEIGHTS]:
        raise ValueError(
            f"networks are built untrained, so {', '.join(loading)} is refused: build {name} "
            "without it, then load the weights yourself (load_state_dict)."
        )
    arguments = _timm_arguments if library == "timm" else _torchvision_arguments
    keywords = {**arguments(rest, **data), **options}

    def build() -> nn.Module:
        try:
            return _create(library, rest, keywords)
        except Exception as error:
            raise ValueError(_failure(library, rest, keywords, options, error)) from error

    return build


def known(library: str) -> list[str]:
    """The names of a library's image classifiers; empty if it is not installed."""
    if library == "timm":
        if not find_spec("timm"):
            return []
        import timm

        return timm.list_models()
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


def _create(library: str, name: str, keywords: dict[str, Any]) -> nn.Module:
    if library == "timm":
        import timm

        return timm.create_model(name, pretrained=False, **keywords)
    import torchvision

    return torchvision.models.get_model(name, weights=None, **keywords)


def _timm_arguments(
    name: str, *, num_classes: int, in_channels: int, image_size: tuple[int, int]
) -> dict[str, Any]:
    import timm

    arguments: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_channels}
    settings = timm.get_pretrained_cfg(name)
    if settings is not None and settings.fixed_input_size:
        arguments["img_size"] = image_size
    return arguments


def _torchvision_arguments(
    name: str, *, num_classes: int, in_channels: int, image_size: tuple[int, int]
) -> dict[str, Any]:
    if in_channels != 3:
        raise ValueError(
            f"torchvision's {name} takes images with 3 channels, not {in_channels}: take a network "
            "of timm, which builds its own for any number, or repeat the channel."
        )
    arguments: dict[str, Any] = {"num_classes": num_classes}
    if name.startswith("vit_"):
        if image_size[0] != image_size[1]:
            raise ValueError(f"torchvision's {name} takes square images; got {image_size}.")
        arguments["image_size"] = image_size[0]
    return arguments


def _unknown(name: str, library: str, own_names: Sequence[str]) -> str:
    candidates = known(library) if library else [*own_names, *known("timm"), *known("torchvision")]
    where = library or "kdnb, timm or torchvision"
    unique = list(dict.fromkeys(candidates))
    nearest = difflib.get_close_matches(name[:200], unique, n=5, cutoff=0.5)
    hint = f"the nearest names are {', '.join(nearest)}" if nearest else "no name is near it"
    own = "" if library else f" kdnb's own: {', '.join(own_names)}."
    return f"there is no network {brief(name)} in {where}: {hint}.{own}"


def _failure(
    library: str, name: str, keywords: dict[str, Any], options: dict[str, Any], error: Exception
) -> str:
    if options and "unexpected keyword argument" in str(error):
        plain = {key: value for key, value in keywords.items() if key not in options}
        with torch.device("meta"):
            network = type(_create(library, name, plain))
        accepted = [key for key in inspect.signature(network).parameters if key not in plain]
        return (
            f"{library}'s {name} does not take one of the options {', '.join(options)} ({error}); "
            f"its class {network.__name__} takes {', '.join(accepted)}."
        )
    return f"{library} cannot build {name} with {brief(keywords, 200)}: {' '.join(str(error).split())[:300]}"
