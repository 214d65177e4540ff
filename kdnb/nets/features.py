"""Feature maps of any module, collected by module path with forward hooks; the model is not changed."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction


def module_paths(module: nn.Module) -> list[str]:
    """The dotted paths of all modules inside a module, for use with `features`, outermost first.

    >>> module_paths(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU())))
    ['0', '1', '1.0']
    """
    return [path for path, _ in module.named_modules(remove_duplicate=False) if path]


@contextmanager
def features(
    module: nn.Module, paths: Sequence[str], *, first: bool = False
) -> Iterator[Mapping[str, Tensor]]:
    """Collect the outputs of the modules at these paths while the block runs.

    Each call of `module` refills the mapping; if a part runs several times in a call, its last output
    is kept. The tensors carry gradients as usual. They stay readable after the block,
    when the hooks are removed, even after an exception.

        with features(net, ["stage1", "stage2.0"]) as maps:
            logits = net(images)
        hint = maps["stage1"]

    Args:
        module: any module, including those of timm, torchvision or your own. Compile it inside the
            block or not at all: a module compiled before does not see the hooks.
        paths: some of `module_paths(module)`.
        first: if a module returns a tuple, such as a transformer block, keep the first
            entry; without this a tuple is refused.

    Yields:
        A mapping path -> Tensor.

    Raises:
        ValueError: if there is no module at a path; names the nearest paths.
        TypeError: if `paths` is a string, or (in the forward) an output is not a tensor.
        LookupError: on reading a path whose module has not run, or that was not requested.
        RuntimeError: on reading an output that a later module has overwritten in place, or that has
            lost its gradient to activation checkpointing.
    """
    if isinstance(paths, str):
        raise TypeError(f"paths must be a list of module paths; got the string: use [{paths!r}].")
    parts = dict(module.named_modules(remove_duplicate=False))
    for path in paths:
        if path not in parts or not path:
            raise ValueError(_unknown(path, module))
    maps = _Maps(paths)
    handles = [module.register_forward_pre_hook(lambda *_: maps.clear())]
    try:
        handles += [parts[path].register_forward_hook(_keeper(maps, path, first)) for path in paths]
        yield maps
    finally:
        for handle in handles:
            handle.remove()


class _Maps(Mapping[str, Tensor]):
    """The captured outputs, checked when read."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = tuple(paths)
        self._kept: dict[str, tuple[Tensor, int | None]] = {}
        self._lost: set[str] = set()  # without the gradients that the network is run with
        self._graded = False

    def clear(self) -> None:
        self._kept.clear()
        self._lost.clear()
        self._graded = torch.is_grad_enabled()

    def keep(self, path: str, output: Tensor) -> None:
        self._kept[path] = (output, _version(output))
        self.look(path)

    def look(self, path: str) -> None:
        """Note whether a path, or what is given to its module, is being run without gradients."""
        if self._graded and not torch.is_grad_enabled() and _is_checkpointed():
            self._lost.add(path)

    def check(self, path: str, value: Tensor) -> None:
        """Raise `RuntimeError` for what was run without gradients and has not got any since."""
        if path in self._lost and not value.requires_grad:
            raise RuntimeError(
                f"{path!r} is run under activation checkpointing with use_reentrant=True, where it has "
                "no gradient: say use_reentrant=False, or take a module outside."
            )

    def __getitem__(self, path: str) -> Tensor:
        if path not in self._paths:
            raise LookupError(
                f"{path!r} was not asked for; the paths are {', '.join(self._paths)}."
            )
        if path not in self._kept:
            raise LookupError(
                f"module {path!r} has not run: call the network inside the `with features(...)` "
                "block, and check that its forward uses this module (a module that was compiled "
                "before the block does not see the hooks)."
            )
        output, version = self._kept[path]
        self.check(path, output)
        if version != _version(output):
            raise RuntimeError(
                f"the output of module {path!r} was overwritten in place by a later one, such as "
                "ReLU(inplace=True): take that module's path instead, or set its inplace to False."
            )
        return output

    def __contains__(self, path: object) -> bool:
        return path in self._kept

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def _is_checkpointed() -> bool:
    """Whether this is called inside `torch.utils.checkpoint` of the reentrant kind."""
    frame = sys._getframe()
    while frame is not None and frame.f_code is not CheckpointFunction.forward.__code__:
        frame = frame.f_back
    return frame is not None


def _version(output: Tensor) -> int | None:
    return None if output.is_inference() else output._version


def _keeper(maps: _Maps, path: str, first: bool) -> Callable[[nn.Module, object, object], None]:
    def keep(module: nn.Module, _: object, output: object) -> None:
        if first and isinstance(output, (tuple, list)) and output:
            output = output[0]
        if not isinstance(output, Tensor):
            inner = [f"{path}.{name}" for name in module_paths(module)[:5]]
            hint = f"take a module inside it ({', '.join(inner)})" if inner else "take another path"
            raise TypeError(
                f"module {path!r} returns a {type(output).__name__}, not a tensor: {hint}."
            )
        maps.keep(path, output)

    return keep


def _unknown(path: str, module: nn.Module) -> str:
    known = module_paths(module)
    nearest = difflib.get_close_matches(path, known, n=5, cutoff=0.4) or known[:5]
    hint = f"the nearest paths are {', '.join(nearest)}" if nearest else "it has no modules inside"
    return f"{type(module).__name__} has no module {path!r}: {hint} (see module_paths)."
