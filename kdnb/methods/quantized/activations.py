"""Quantised activations during training, applied to the outputs of ReLU modules."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from torch import Tensor, nn

from kdnb.losses.checks import check_number
from kdnb.methods.quantized.quantisers import straight_through
from kdnb.progress import note

# Other activations that may replace a ReLU.
OTHERS = (nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Mish)


class Rounded(nn.Module):
    r"""Activations rounded to :math:`2^b` evenly spaced points from 0 to the batch's largest.

    The gradient is straight-through. Nothing is learnt.

    >>> import torch
    >>> Rounded(bits=1)(torch.tensor([0.0, 0.4, 0.6, 1.0]))
    tensor([0., 0., 1., 1.])
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        check_number(least=1, most=16, whole=True, bits=bits)
        self.bits = bits

    def forward(self, values: Tensor) -> Tensor:
        """The quantised activations."""
        found, steps = values.detach(), 2**self.bits - 1
        most = found.amax().clamp_min(1e-8)
        return straight_through(values, (found / most * steps).round() / steps * most)

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


@contextlib.contextmanager
def rounded_activations(
    network: nn.Module, make: Callable[[], nn.Module]
) -> Iterator[dict[str, nn.Module]]:
    """A context in which a new module follows each ReLU module and learns with the network.

    Other activations stay in full precision, and a note says so.

    Args:
        make: called once for each ReLU: `lambda: Rounded(8)`, or a `LearntStep`.

    Yields:
        The new modules, by the ReLU's path. To keep them, copy the network inside the context.

    Raises:
        ValueError: for a network without a ReLU module.
    """
    places = [
        (parent, name, child, f"{path}.{name}".lstrip("."))
        for path, parent in network.named_modules()
        for name, child in parent.named_children()
        if isinstance(child, (nn.ReLU, nn.ReLU6))
    ]
    if not places:
        raise ValueError(
            "activations are quantised after ReLU modules (torch.nn.ReLU), and this network has none."
        )
    if others := sorted(
        {type(one).__name__ for one in network.modules() if isinstance(one, OTHERS)}
    ):
        note(f"activations are quantised after ReLU modules alone, not after {', '.join(others)}.")
    made: dict[str, nn.Module] = {}
    pairs: dict[int, nn.Module] = {}  # a ReLU used in several places stays shared
    try:
        for parent, name, relu, path in places:
            if id(relu) not in pairs:
                made[path] = make()
                pairs[id(relu)] = nn.Sequential(relu, made[path])
            setattr(parent, name, pairs[id(relu)])
        yield made
    finally:
        for parent, name, relu, _ in places:
            setattr(parent, name, relu)
