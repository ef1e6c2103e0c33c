"""What many figures draw alike: curves and marks in an agent's colour, and in thin ink
what they are held against. Whether the axes are logarithmic is the figure's own matter.
"""

from __future__ import annotations

from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from .figures import COLOURS, ink


def plot_curve(
    axes: Axes, x: ArrayLike, y: ArrayLike, colour: str, label: str | None = None
) -> None:
    """Draw a broad line in colour, as of an agent's error turn by turn.

    Args:
        axes: where to draw.
        x: places from left to right.
        y: heights there.
        colour: a name in COLOURS, such as "W", or a colour.
        label: its entry in the legend.
    """
    axes.plot(x, y, color=COLOURS.get(colour, colour), lw=2, label=label)


def plot_marks(
    axes: Axes,
    x: ArrayLike,
    y: ArrayLike,
    colour: str,
    label: str | None = None,
    *,
    style: str = "o",
    size: float = 6,
) -> None:
    """Draw a mark in colour for each thing measured.

    Args:
        axes: where to draw.
        x: places from left to right.
        y: heights there.
        colour: a name in COLOURS, such as "W", or a colour.
        label: their entry in the legend.
        style: Matplotlib's letter for the mark, and "-" after it to join the marks.
        size: of a mark, in points.
    """
    axes.plot(x, y, style, color=COLOURS.get(colour, colour), ms=size, label=label)


def plot_reference(
    axes: Axes,
    x: ArrayLike,
    y: ArrayLike,
    label: str | None = None,
    *,
    style: str = "--",
) -> None:
    """Draw a thin line in ink: a prediction, a bound, what marks are held against.

    Args:
        axes: where to draw.
        x: places from left to right.
        y: heights there.
        label: its entry in the legend.
        style: Matplotlib's "-", "--" or ":".
    """
    axes.plot(x, y, style, color=ink(), lw=1, label=label)
