"""Draw the book's cover from the data of its first figure: python cover.py HERO.npz
FOLDER.

cover.svg is the cover that the first page shows, cover.png the same for previews of the
site (1200 x 630).
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from scour import scour

from agent_dynamics.book.figures import COLOURS
from small_site import SHORT

PAGE, INK, SOFT = "#141a22", "#f3f1ea", "#aab3bf"
# Contours, and what stands before them.
AGENTS = ((COLOURS["W"], "#6ba6ea"), (COLOURS["U"], "#ee8d47"))


def picture(
    axes: Axes,
    hero: dict[str, np.ndarray],
    x: tuple[float, float],
    y: tuple[float, float],
) -> None:
    """Both targets in the contours of their objectives, and the messages between."""
    grid = np.stack(np.meshgrid(np.linspace(*x, 120), np.linspace(*y, 120)), axis=-1)
    for agent, (faint, bright) in enumerate(AGENTS):
        gap = grid - hero["targets"][agent]
        loss = np.einsum("...i,ij,...j", gap, hero["geometries"][agent], gap) / 2
        axes.contour(
            grid[..., 0],
            grid[..., 1],
            loss,
            levels=np.linspace(0.2, 2, 7) ** 2,
            colors=faint,
            alpha=0.35,
            linewidths=1.1,
        )
        axes.plot(*hero["targets"][agent], "*", ms=26, color=bright, mec=PAGE)
    axes.plot(*hero["messages"].T, "-", lw=1.6, color=INK)
    for agent, (_, bright) in enumerate(AGENTS):
        axes.plot(
            *hero["messages"][1 + agent :: 2].T, "o", ms=8, color=bright, mec=PAGE
        )
    axes.set(xlim=x, ylim=y, aspect="equal")
    axes.axis("off")


def words(figure: Figure, left: float, top: float, bottom: float, size: float) -> None:
    figure.text(
        left,
        top,
        "When\ntwo agents\ndisagree",
        size=size,
        weight="bold",
        color=INK,
        va="top",
        linespacing=1.1,
    )
    figure.text(
        left,
        bottom,
        "An executable book on agents with\nmisaligned objectives, arXiv 2511.08710",
        size=size * 0.36,
        color=SOFT,
        va="bottom",
        linespacing=1.5,
    )


def main(data: Path, folder: Path) -> None:
    with np.load(data) as stored:
        hero = dict(stored)
    plt.rcParams["svg.hashsalt"] = "cover"

    book = plt.figure(figsize=(6, 8), facecolor=PAGE)
    picture(book.add_axes((0, 0, 1, 1)), hero, (-1.5, 1.5), (-2.15, 1.85))
    words(book, 0.08, 0.95, 0.05, 44)
    drawing = folder / "cover.svg"
    book.savefig(drawing, metadata={"Date": None})
    drawing.write_text(
        scour.scourString(drawing.read_text(encoding="utf-8"), SHORT), encoding="utf-8"
    )

    preview = plt.figure(figsize=(12, 6.3), facecolor=PAGE)
    picture(preview.add_axes((0, 0, 1, 1)), hero, (-4.4, 1.65), (-1.95, 1.22625))
    words(preview, 0.05, 0.87, 0.1, 56)
    preview.savefig(folder / "cover.png", dpi=100)
    Image.open(folder / "cover.png").quantize(64).save(
        folder / "cover.png", optimize=True
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
