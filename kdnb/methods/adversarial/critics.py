"""A small discriminator for the methods of this section; its losses are in `kdnb.losses.gan`.

Its score is a logit: the odds for "real" are exp(score).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from kdnb.nets._shared import check_counts


class Critic(nn.Module):
    """A small discriminator of vectors: linear layers with leaky ReLU, scores without a sigmoid.

    The discriminators of adversarial distillation see logits or features, so a few linear layers
    are enough. `kdnb.methods.online.Discriminator` reads maps without averaging them and returns
    probabilities.

    Args:
        inputs: numbers in a vector, or channels of maps, which are averaged over their positions.
        outputs: 1 for a score (batch,); more give (batch, outputs).
        widths: widths of the hidden layers.

    Raises:
        ValueError: for counts below 1, or (in the call) inputs of a wrong size.

    >>> Critic(10)(torch.zeros(4, 10)).shape, Critic(8, 3)(torch.zeros(4, 8, 5, 5)).shape
    (torch.Size([4]), torch.Size([4, 3]))
    """

    def __init__(self, inputs: int, outputs: int = 1, *, widths: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        check_counts(inputs=inputs, outputs=outputs)
        self.inputs = inputs
        layers: list[nn.Module] = []
        for before, after in pairwise([inputs, *widths]):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear([inputs, *widths][-1], outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Scores (batch,), or (batch, outputs) where there are several."""
        if features.ndim == 4:
            features = features.mean((2, 3))
        if features.ndim != 2 or features.shape[1] != self.inputs:
            raise ValueError(
                f"this critic judges vectors of {self.inputs} numbers, or maps of so many "
                f"channels; got {tuple(features.shape)}."
            )
        return self.head(self.layers(features)).squeeze(1)
