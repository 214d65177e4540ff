"""The theme: colours with a fixed meaning, told apart with any colour vision, despined."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from kdnb import figures
from kdnb.figures import theme

# Linear RGB as people without the red, green or blue cones see it (Viénot and others 1999; the
# last from Brettel and others 1997).
VISION = {
    "all cones": np.eye(3),
    "no red": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    "no green": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
}


def lightness_and_hue(colour: str, matrix: np.ndarray) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722],
                        [0.0193, 0.1192, 0.9505]]) @ np.clip(matrix @ linear, 0, 1)  # fmt: skip
    f = np.cbrt([x / 0.9505, y, z / 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_roles_differ_with_any_common_colour_vision(vision):
    seen = [lightness_and_hue(colour, VISION[vision]) for colour in figures.ROLES.values()]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15


def test_a_role_has_its_colour_and_methods_differ():
    names = ["teacher", "student", "KD", "DKD", "CRD", "noise"]
    roles = {"teacher": "teacher", "student": "student", "noise": "other"}
    chosen = figures.colours(names, roles)
    assert [chosen[name] for name in ("teacher", "student", "KD", "noise")] == [
        figures.BLUE, figures.ORANGE, figures.GREEN, figures.GREY,
    ]  # fmt: skip
    assert len(set(chosen.values())) == 6


def test_a_role_may_be_a_colour_and_takes_none_of_the_methods():
    ramp = {"T = 1": "#66c2a5", "T = 2": "#009e73"}
    assert figures.colours([*ramp, "KD"], ramp) == ramp | {"KD": figures.GREEN}


def test_use_despines_and_takes_the_style_file():
    with plt.rc_context():
        figures.use()
        assert not plt.rcParams["axes.spines.top"] and not plt.rcParams["axes.spines.right"]
        assert plt.rcParams["font.size"] >= 11 and plt.rcParams["xtick.labelsize"] >= 10
        assert plt.rcParams["figure.constrained_layout.use"]
        assert theme.STYLE.is_file()


def test_the_room_rests_on_no_other():
    code = (
        "import sys, kdnb.figures; "
        "print(sorted({name.split('.')[1] for name in sys.modules if name.startswith('kdnb.')}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(eval(done.stdout))
    assert not loaded & {
        "training",
        "runs",
        "papers",
        "methods",
        "losses",
        "nets",
        "reproductions",
        "workbook",
    }
