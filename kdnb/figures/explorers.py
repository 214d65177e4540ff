"""The workbook's widgets. Each has a figure beside it that says the same without a kernel."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from torch import Tensor
from torch.nn import functional as F

from kdnb import figures


def temperature_slider(
    pictures: Tensor, logits: Tensor, classes: Sequence[str], temperature: float = 4.0
) -> ipywidgets.Widget:
    """A slider for T over one picture's soft targets; the picture is chosen from a list.

    Args:
        pictures: (N, C, H, W) uint8.
        logits: (N, K), the teacher's answers to them.
        temperature: where the slider starts, between 0.5 and 40.
    """
    names = [f"{classes[int(row.argmax())]} (no. {i})" for i, row in enumerate(logits)]
    choice = ipywidgets.Dropdown(options=[(n, i) for i, n in enumerate(names)], description="image")
    slider = ipywidgets.FloatLogSlider(
        value=temperature, base=10, min=np.log10(0.5), max=np.log10(40), step=0.02,
        description="T", readout_format=".1f", continuous_update=False,
    )  # fmt: skip

    def draw(index: int, value: float) -> None:
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.5, 2.4), width_ratios=[1, 2.4])
        figures.image(left, pictures[index])
        shares = F.softmax(logits[index] / value, 0).numpy()
        figures.bars(right, shares, classes)
        entropy = float(-(shares * np.log2(np.maximum(shares, 1e-30))).sum())
        right.set(xlabel="class", ylabel="probability", ylim=(0, 1),
                  title=f"T = {value:.1f}: entropy {entropy:.2f} bits")  # fmt: skip
        display(figure)
        plt.close(figure)

    output = ipywidgets.interactive_output(draw, {"index": choice, "value": slider})
    return ipywidgets.VBox([ipywidgets.HBox([choice, slider]), output])
