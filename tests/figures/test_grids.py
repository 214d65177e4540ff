"""Grids of images, and images beside answers."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from scipy.special import softmax

from kdnb import figures

PICTURES = (np.arange(2 * 3 * 1 * 4 * 4) * 2 % 256).astype("uint8").reshape(2, 3, 1, 4, 4)


def drawn(figure) -> list[np.ndarray]:
    return [axes.images[0].get_array().data for axes in figure.axes if axes.images]


def test_images_are_drawn_row_by_row_with_titles():
    figure = figures.images(
        PICTURES,
        rows=["real", "made"],
        columns=["0", "1", "2"],
        captions=[["a", "b", "c"], ["d", "e", "f"]],
    )
    for shown, picture in zip(drawn(figure), PICTURES.reshape(6, 4, 4), strict=True):
        np.testing.assert_allclose(shown, picture / 255)
    assert [axes.get_title() for axes in figure.axes] == ["0", "1", "2", "", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["real", "", "", "made", "", ""]
    assert [axes.get_xlabel() for axes in figure.axes] == list("abcdef")
    assert all(axes.images[0].get_clim() == (0, 1) for axes in figure.axes)  # one scale for all


def test_images_in_one_row_may_be_wrapped():
    figure = figures.images(PICTURES.reshape(6, 1, 4, 4), per_row=4)
    assert len(figure.axes) == 8 and len(drawn(figure)) == 6
    colours = figures.images(np.random.rand(2, 3, 5, 6))
    assert [picture.shape for picture in drawn(colours)] == [(5, 6, 3)] * 2


def test_maps_have_a_scale_around_zero_and_a_bar():
    figure = figures.images(np.random.randn(2, 1, 4, 4), limits=(-3, 3), label="change")
    assert figure.axes[0].images[0].get_clim() == (-3, 3)
    assert figure.axes[-1].get_ylabel() == "change"


@pytest.mark.parametrize("limits", [None, (0, 1)])
@pytest.mark.parametrize("title", ["a", "labels alone", "soft targets\n+ hint"])
def test_titles_of_rows_are_not_cut(title, limits):
    pictures = np.random.rand(3, 6, 1, 5, 5)
    figure = figures.images(pictures, rows=["teacher", title, "x"], limits=limits, size=0.8)
    figure.canvas.draw()
    for axes in figure.axes[:18:6]:
        assert axes.yaxis.label.get_window_extent().x0 >= 0


def test_titles_must_fit():
    with pytest.raises(ValueError, match="2 titles of columns for 3 columns"):
        figures.images(PICTURES, columns=["a", "b"])
    with pytest.raises(ValueError, match="per_row is for images in one row"):
        figures.images(PICTURES, per_row=2)


def test_softened_draws_the_softmax_at_each_temperature():
    logits = np.random.default_rng(0).normal(size=(2, 10)) * 5
    figure = figures.softened(PICTURES[:, 0], logits, (1, 4), [str(i) for i in range(10)])
    grid = np.array(figure.axes).reshape(2, 3)
    for column, temperature in ((1, 1), (2, 4)):
        for row in range(2):
            bars = sorted(grid[row, column].patches, key=lambda bar: bar.get_x())
            heights = [bar.get_height() for bar in bars if bar.get_height() > 0]
            np.testing.assert_allclose(heights, softmax(logits[row] / temperature))


def test_class_likeness_leaves_the_diagonal_out():
    shares = np.full((3, 3), 0.25)
    figure = figures.class_likeness(shares, ["cat", "dog", "cow"])
    array = figure.axes[0].collections[0].get_array()
    assert np.diag(array.mask).all() and array.max() == 25
    assert shares[0, 0] == 0.25  # the caller's is as it was
    assert figure.axes[0].get_xlabel() == "class that gets the probability"


def test_frames_say_which_images_are_right():
    framed = [[None, True, False], [True, None, False]]
    figure = figures.images(PICTURES, rows=["a", "b"], framed=framed)
    for axes, right in zip(figure.axes, [*framed[0], *framed[1]], strict=True):
        spine = axes.spines["left"]
        assert spine.get_visible() == (right is not None)
        if right is not None:
            assert spine.get_edgecolor()[:3] == to_rgb(figures.BLUE if right else figures.ORANGE)
            assert (spine.get_linestyle() == "-") == right  # told apart without colour, too
