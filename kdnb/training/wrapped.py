"""Networks as the loop runs them: their precision, memory format, and what is made of their answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kdnb.progress import note
from kdnb.training import devices
from kdnb.training.answers import ask, in_float32, precision_of
from kdnb.training.borrowed import takes_channels_last
from kdnb.training.folded import folded
from kdnb.training.identity import of_network
from kdnb.training.recipe import Recipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def precision_for(networks: Mapping[str, nn.Module], recipe: Recipe) -> str:
    """The recipe's; networks whose weights are not float32 compute as they are."""
    others = {name: kind for name, n in networks.items() if (kind := precision_of(n))}
    if not others:
        return recipe.precision
    if recipe.precision == "bf16":
        name, kind = next(iter(others.items()))
        raise ValueError(
            f"precision='bf16' is autocast, for networks in float32; {name!r} holds {kind}: leave "
            "precision out, or give network.float()."
        )
    return "32"


def lay_channels_last(network: nn.Module, example: Callable[[], Any], trained: bool) -> None:
    """The format in which half precision is fast, for networks that answer in it."""
    known = type(network).__module__.startswith("kdnb.")
    if known or takes_channels_last(network, example(), trained):
        network.to(memory_format=torch.channels_last)


def convolutional(network: nn.Module) -> bool:
    """Whether a network has two-dimensional convolutions, which are faster channels last."""
    return any(isinstance(module, nn.Conv2d) for module in network.modules())


def tell_of_shares(
    fabric: Fabric, networks: Collection[nn.Module], still: Collection[nn.Module]
) -> None:
    """Say where a batch normalisation that trains sees one process's share of each batch.

    Args:
        still: parts that stay in eval mode.
    """
    if fabric.world_size == 1 or not fabric.is_global_zero:
        return
    kept = {id(part) for part in still}
    parts = (part for network in networks for part in network.modules() if id(part) not in kept)
    norms = (part for part in parts if isinstance(part, nn.modules.batchnorm._BatchNorm))
    if any(not isinstance(part, nn.SyncBatchNorm) for part in norms):
        note(
            f"{fabric.world_size} processes share each batch: batch normalisations are not "
            "synchronised, and see their process's share of it."
        )


@contextmanager
def gradients_asked_for() -> Iterator[None]:
    """Gradients without `fabric.backward`, on which Fabric insists in half precision.

    bf16 scales no loss, so gradients taken directly are the right ones; Fabric has no public way
    to say so.
    """
    from lightning_fabric import wrappers

    before, wrappers._in_fabric_backward = wrappers._in_fabric_backward, True
    try:
        yield
    finally:
        wrappers._in_fabric_backward = before


# Folding and compiling take time, so that copies of the teachers used last are kept, by name.
KEPT = 4
_copies: dict[str, nn.Module] = {}


def _settled(network: nn.Module, name: str) -> nn.Module:
    """A frozen network, folded and compiled; the copy of an earlier run if it has the same name."""
    # The weights alone do not tell networks apart whose code or settings differ.
    name += f" {of_network(network)} {next((one.device for one in network.parameters()), '')}"
    if name in _copies:
        _copies[name] = made = _copies.pop(name)
        return made
    own = folded(network)
    made = devices.compiled(own, trained=False, constant=True)
    if own is not network:
        _copies[name] = made
        if len(_copies) > KEPT:
            del _copies[next(iter(_copies))]
    return made


class Frozen(nn.Module):
    """A network that no update moves, at the run's precision.

    Not `fabric.setup_module`: several processes would refuse a module without gradients.
    """

    def __init__(self, network: nn.Module, fabric: Fabric):
        super().__init__()
        self.network, self.fabric = devices.compiled(network, trained=False), fabric
        self.plain: list[nn.Module] | None = [network]  # in a list: its parameters count once
        self.eval()

    def settle(self, name: str) -> None:
        """Answer faster from here on, since the weights never change again.

        Args:
            name: different for different weights, structure or arithmetic.
        """
        if self.plain:
            self.network = _settled(self.plain[0], name)
            self.plain = None

    def forward(self, *inputs: Any, **named: Any) -> Any:
        with self.fabric.autocast():
            return in_float32(self.network(*inputs, **named))


class Answered(nn.Module):
    """A network as the terms see it: asked as its inputs want it, something made of its answer."""

    def __init__(self, network: nn.Module, plain: nn.Module, answer: Callable[[Any], Tensor]):
        super().__init__()
        self.network, self.answer = network, answer
        self.plain = [plain]  # in a list: its parameters are not counted twice
        self.usual = precision_of(plain) is None

    def __getattr__(self, name: str) -> Any:
        """What `evaluate` is given shows the parts and settings of the user's network."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "plain" not in self.__dict__:
                raise
            return getattr(self.plain[0], name)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """That of the user's network, by its own names."""
        return self.plain[0].state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Into the user's network, by its own names."""
        return self.plain[0].load_state_dict(*args, **kwargs)

    def forward(self, inputs: Any) -> Tensor:
        if self.usual and isinstance(inputs, Tensor):  # what `ask` comes to, without its questions
            return self.answer(self.network(inputs))
        return self.answer(ask(self.network, inputs, self.plain[0]))


def settled(model: nn.Module, name: str) -> nn.Module:
    """A network as the terms of a loss see it; if no update moves it, its weights never change again.

    Args:
        name: see `Frozen.settle`.
    """
    inner = model.network if isinstance(model, Answered) else model
    if isinstance(inner, Frozen):
        inner.settle(name)
    return model


class Compiled(nn.Module):
    """A network that its owner compiled, as it is: Fabric would compile it anew, or refuse it.

    Fabric knows how a network was compiled only where it was imported before `torch.compile` ran.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.network(*inputs, **named)


def is_compiled(network: nn.Module) -> bool:
    """Whether `torch.compile` made a network."""
    return isinstance(network, torch._dynamo.OptimizedModule)
