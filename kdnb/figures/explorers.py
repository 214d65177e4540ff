"""Explorers: figures with sliders and choices, which work with and without a kernel.

Without a kernel, frames are drawn in advance and embedded in the page with a ten-line slider.
matplotlib's own `HTMLWriter` plays frames as a film: it has one slider, without names or values,
and takes four times the bytes. With a kernel, ipywidgets draw on demand.
"""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image

from kdnb.figures.saving import display_caption, display_png, keep

MOST = 40  # frames in a page, about 15 kB each

PAGE = """<div id="{id}" style="max-width:{width}px">
<small>The controls need scripts: trust this notebook in JupyterLab, or open it on the site.</small>
</div>
<script>
(() => {{
  const root = document.getElementById("{id}");
  const frames = {frames}, controls = {description}, alt = {alt}, still = {still};
  root.innerHTML = {markup};
  const picture = root.querySelector("img");
  const inputs = [...root.querySelectorAll("input, select")];
  const draw = () => {{
    const at = inputs.map(input => Number(input.value));
    const shown = at.map((place, i) => controls[i].name + " = " + controls[i].values[place]);
    root.querySelectorAll("output").forEach((output, i) => {{
      output.textContent = controls[i].values[at[i]];
    }});
    const place = at.reduce((sum, one, i) => sum * controls[i].values.length + one, 0);
    picture.src = "data:image/png;base64," + frames[place];
    picture.alt = alt + " (" + shown.join(", ") + ")";
  }};
  inputs.forEach(input => input.addEventListener("input", draw));
  draw();
  // The still picture above is for pages that run no scripts, such as GitHub's.
  const first = picture.src, hide = () => {{
    document.querySelectorAll("img").forEach(one => {{
      if (!root.contains(one) && (one.src === first || one.alt === still))
        one.style.display = "none";
    }});
  }};
  hide();
  setTimeout(hide, 500);
}})();
</script>"""


def explorer(
    draw: Callable[..., Figure],
    *,
    name: str,
    alt: str,
    caption: str = "",
    start: Mapping[str, Any] | None = None,
    live: bool = False,
    dpi: int = 80,
    **controls: Sequence[Any],
) -> None:
    """Display a figure with a slider or a list for each of its arguments.

        def draw(temperature):
            return figures.lines(...)

        figures.explorer(draw, name="2-1-explorer", alt="…", temperature=[1, 2, 4, 8, 20])

    The frames of all values are drawn at once and embedded in the notebook: the sliders work in
    JupyterLab, in exported HTML and on the site without a kernel. Where scripts do not run, as on
    GitHub, the figure of the starting values is shown as a still picture. With `live=True` the
    kernel draws on demand with ipywidgets. The runner, which makes the committed notebooks, always
    renders frames, because GitHub does not render a notebook with widget state.

    Args:
        draw: a function from one value of each control to a figure.
        name, alt, caption: as in `save`; the still picture is saved under this name.
        start: control -> the value shown first; by default the first of each.
        live: let the kernel draw on demand.
        dpi: resolution of the frames; 80 shows a figure at its size.
        **controls: argument of `draw` -> its values. Numbers make a slider, anything else a list.

    Raises:
        ValueError: without controls or alt text, for more than 40 frames, or for a start that is
            not among the values.
        TypeError: if `draw` does not return a figure.
    """
    if not alt.strip():
        raise ValueError(f"explorer {name!r} needs an alt text that says what comes out.")
    first = _start(controls, start)
    if live and not os.environ.get("KDNB_FIGURES"):
        display(widget(draw, controls, first))
    else:
        count = int(np.prod([len(values) for values in controls.values()]))
        if count > MOST:
            raise ValueError(
                f"explorer {name!r} would hold {count} frames: give at most {MOST} (fewer values), "
                "or live=True, which draws on demand."
            )
        pictures = frames(draw, controls, dpi)
        page, still = _page(pictures, controls, first, alt, name)
        keep(name, still)
        display_png(still, _said(alt, first))
        if get_ipython() is not None:
            display({"text/html": page, "text/plain": f"explorer: {', '.join(controls)}"}, raw=True)
    display_caption(name, caption)


def frames(
    draw: Callable[..., Figure], controls: Mapping[str, Sequence[Any]], dpi: int = 80
) -> list[bytes]:
    """A PNG for every combination of values; the last control changes fastest."""
    return [
        _png(draw, dict(zip(controls, values, strict=True)), dpi)
        for values in itertools.product(*controls.values())
    ]


def widget(
    draw: Callable[..., Figure], controls: Mapping[str, Sequence[Any]], start: Mapping[str, Any]
) -> ipywidgets.Widget:
    """The same with ipywidgets: the kernel draws on demand."""
    inputs = {}
    for control, values in controls.items():
        kind = ipywidgets.SelectionSlider if _is_range(values) else ipywidgets.Dropdown
        inputs[control] = kind(
            options=[(_written(value), value) for value in values], value=start[control],
            description=control.replace("_", " "), style={"description_width": "initial"},
            **({"continuous_update": False} if kind is ipywidgets.SelectionSlider else {}),
        )  # fmt: skip
    picture = ipywidgets.Image(format="png", value=_png(draw, dict(start), 110))

    def changed(_: object) -> None:
        picture.value = _png(draw, {key: one.value for key, one in inputs.items()}, 110)

    for one in inputs.values():
        one.observe(changed, "value")
    return ipywidgets.VBox([ipywidgets.HBox(list(inputs.values())), picture])


def _start(
    controls: Mapping[str, Sequence[Any]], start: Mapping[str, Any] | None
) -> dict[str, Any]:
    if not controls:
        raise ValueError("an explorer needs a control, such as temperature=[1, 2, 4].")
    for control, values in controls.items():
        if isinstance(values, str) or not len(values):
            raise ValueError(f"{control} needs a list of values; got {values!r}.")
    first = {control: values[0] for control, values in controls.items()}
    for control, value in (start or {}).items():
        if control not in controls or value not in list(controls[control]):
            raise ValueError(f"start has {control}={value!r}, which no control offers.")
        first[control] = value
    return first


def _page(
    pictures: Sequence[bytes], controls: Mapping[str, Sequence[Any]], first: Mapping[str, Any],
    alt: str, name: str,
) -> tuple[str, bytes]:  # fmt: skip
    """The HTML with all frames, and the PNG that is shown first."""
    places = {control: list(values).index(first[control]) for control, values in controls.items()}
    at = 0
    for control, values in controls.items():
        at = at * len(values) + places[control]
    rows = []
    for control, values in controls.items():
        title = escape(control.replace("_", " "))
        if _is_range(values):
            entry = (f'<input type="range" min="0" max="{len(values) - 1}" step="1" '
                     f'value="{places[control]}" aria-label="{title}" '
                     'style="vertical-align:middle;width:16em"> '
                     "<output></output>")  # fmt: skip
        else:
            chosen = ["", " selected"]
            options = "".join(
                f'<option value="{i}"{chosen[i == places[control]]}>{escape(_written(value))}</option>'
                for i, value in enumerate(values)
            )
            entry = f'<select aria-label="{title}">{options}</select><output hidden></output>'
        rows.append(
            f'<label style="display:inline-block;margin:0 1.5em .4em 0">{title} {entry}</label>'
        )
    encoded = [base64.b64encode(png).decode() for png in pictures]
    description = [
        {"name": control.replace("_", " "), "values": [_written(value) for value in values]}
        for control, values in controls.items()
    ]
    digest = hashlib.sha256("".join([name, *encoded]).encode()).hexdigest()[:12]
    page = PAGE.format(
        id=f"kdnb-{digest}", frames=json.dumps(encoded), description=_script(description),
        markup=_script(f'<div>{"".join(rows)}</div><img style="max-width:100%">'),
        alt=_script(alt), still=_script(_said(alt, first)),
        width=max(Image.open(io.BytesIO(png)).width for png in pictures),
    )  # fmt: skip
    return page, pictures[at]


def _png(draw: Callable[..., Figure], values: dict[str, Any], dpi: int) -> bytes:
    figure = draw(**values)
    if not isinstance(figure, Figure):
        raise TypeError(f"draw must return a figure; for {values} it returned {figure!r}.")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    plt.close(figure)
    small = io.BytesIO()  # 256 colours are enough for a chart, at a third of the size
    Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        small, format="png", optimize=True
    )
    return small.getvalue()


def _said(alt: str, values: Mapping[str, Any]) -> str:
    shown = (
        f"{control.replace('_', ' ')} = {_written(value)}" for control, value in values.items()
    )
    return f"{alt} ({', '.join(shown)})"


def _is_range(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in values)


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def _script(value: Any) -> str:
    """JSON that cannot end the enclosing script."""
    return json.dumps(value).replace("<", "\\u003c")
