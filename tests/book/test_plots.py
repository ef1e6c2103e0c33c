"""What the book's figures draw alike: the line, its look, its entry in the legend, and
the axes left as they were.
"""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from agent_dynamics.book.figures import COLOURS, INK
from agent_dynamics.book.plots import plot_curve, plot_marks, plot_reference

X = np.arange(1, 5)
Y = 0.5 ** torch.arange(4, dtype=torch.float64)


@pytest.fixture
def axes():
    """Empty axes in the ink of the light page."""
    with plt.rc_context({"text.color": INK["light"]}):
        figure, axes = plt.subplots()
        yield axes
        plt.close(figure)


def only_line(axes):
    (line,) = axes.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), X)
    np.testing.assert_array_equal(line.get_ydata(), Y)
    return line


@pytest.mark.parametrize("draw", [plot_curve, plot_marks])
@pytest.mark.parametrize(
    ("colour", "drawn"),
    [("W", COLOURS["W"]), ("third", COLOURS["third"]), ("#123456", "#123456")],
)
def test_a_colour_is_one_of_the_book_by_name_or_any_other(axes, draw, colour, drawn):
    draw(axes, X, Y, colour)
    assert to_hex(only_line(axes).get_color()) == drawn


def test_a_curve_is_a_broad_line_without_marks(axes):
    plot_curve(axes, X, Y, "W", "error of W")
    line = only_line(axes)
    assert (line.get_linestyle(), line.get_linewidth()) == ("-", 2)
    assert line.get_marker() == "None"
    assert line.get_label() == "error of W"


def test_marks_are_dots_that_nothing_joins(axes):
    plot_marks(axes, X, Y, "W", "trained agents")
    line = only_line(axes)
    assert (line.get_marker(), line.get_markersize()) == ("o", 6)
    assert line.get_linestyle() == "None"
    assert line.get_label() == "trained agents"


def test_marks_have_the_style_and_size_asked_for(axes):
    plot_marks(axes, X, Y, "W", style="s-", size=4)
    line = only_line(axes)
    assert (line.get_marker(), line.get_markersize()) == ("s", 4)
    assert line.get_linestyle() == "-"


@pytest.mark.parametrize(
    ("options", "style"),
    [({}, "--"), ({"style": "-"}, "-"), ({"style": ":"}, ":")],
    ids=["dashed", "solid", "dotted"],
)
def test_a_reference_is_a_thin_line_in_ink(axes, options, style):
    plot_reference(axes, X, Y, "predicted", **options)
    line = only_line(axes)
    assert (line.get_linestyle(), line.get_linewidth()) == (style, 1)
    assert to_hex(line.get_color()) == INK["light"]
    assert line.get_label() == "predicted"


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_scales_and_ticks_stay_and_only_what_is_labelled_enters_the_legend(axes, scale):
    axes.set(xscale=scale, yscale=scale, xticks=[1, 4])
    plot_curve(axes, X, Y, "U", "U")
    plot_curve(axes, X, Y, "W")
    plot_marks(axes, X, Y, "W")
    plot_reference(axes, X, Y)
    assert (axes.get_xscale(), axes.get_yscale()) == (scale, scale)
    assert axes.get_xticks().tolist() == [1, 4]
    assert axes.get_legend_handles_labels()[1] == ["U"]
