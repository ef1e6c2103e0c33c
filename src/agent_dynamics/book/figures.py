"""Figures that carry their data, parameters and seed, drawn for a light and for a dark
page.
"""

from __future__ import annotations

import base64
import csv
import html
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython.display import display
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from .. import _checks
from . import build

# One colour an agent throughout the book, each at least 3:1 against both pages.
COLOURS = {
    "W": "#3c82d6",
    "U": "#d0691d",
    "main": "#3c82d6",
    "helper": "#d0691d",
    "third": "#2f9467",
    "fourth": "#9a66cc",
    "muted": "#808891",
}
INK = {"light": "#1f2328", "dark": "#e6e9ee"}
SHORTEST_ALT = 40  # characters: a figure's content in words does not fit into fewer

Drawing = Callable[[Mapping[str, np.ndarray]], Figure]


def ink() -> str:
    """The colour of text, axes and predictions; the dark page's drawing has its own in
    its place.
    """
    return matplotlib.rcParams["text.color"]


def save_figure(
    name: str,
    draw: Drawing,
    data: Mapping[str, ArrayLike],
    *,
    caption: str,
    alt: str,
    seed: int,
    parameters: Mapping[str, object] | None = None,
) -> None:
    """Draw a figure on both themes and for print, store it with what made it, and show
    it.

    Files go to figures/ of the build, or of the working directory outside one:
    NAME.light.svg, NAME.dark.svg and, for print, NAME.pdf; NAME.csv, or NAME.npz where
    the arrays are not columns of one length; NAME.json with the caption, alt text,
    parameters, seed, profile and package version.

    Args:
        name: file name and, as fig-NAME, the label to refer to.
        draw: makes a Matplotlib figure from the data and nothing else.
        data: named arrays or tensors, all that the figure shows.
        caption: the claim that the figure makes, in MyST Markdown.
        alt: what the figure shows, in words, for who cannot see it.
        seed: of the random draws behind the data.
        parameters: other settings behind the data.

    Raises:
        ValueError: an empty caption, an alt text that is too short to describe anything
            or repeats the caption, no data or data that is not finite.
    """
    if not caption.strip():
        raise _checks.bad("caption", "empty", "the claim that the figure makes")
    if len(alt.strip()) < SHORTEST_ALT or alt.strip() == caption.strip():
        raise _checks.bad(
            "alt",
            repr(alt),
            f"a description of at least {SHORTEST_ALT} characters, "
            "other than the caption",
        )
    if not data:
        raise _checks.bad("data", "empty", "the named arrays that the figure shows")
    arrays = {key: np.asarray(value) for key, value in data.items()}
    for key, array in arrays.items():
        if np.issubdtype(array.dtype, np.number) and not np.isfinite(array).all():
            raise _checks.bad(
                f"data[{key!r}]", "not finite (NaN or infinity)", "finite"
            )
    folder = (build.build_directory() or Path.cwd()) / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    _draw(draw, arrays, folder / name)
    data_file = _save_data(arrays, folder / name)
    provenance = {
        "figure": name,
        "caption": caption,
        "alt": alt,
        "seed": seed,
        "parameters": dict(parameters or {}),
        "profile": build.profile(),
        "version": build.package_version(),
        "data": data_file.name,
    }
    (folder / f"{name}.json").write_text(
        json.dumps(provenance, indent=1, default=str), encoding="utf-8"
    )
    _show(folder, provenance)


def _draw(draw: Drawing, arrays: Mapping[str, np.ndarray], stem: Path) -> None:
    """Draw once, in the ink of the light page and of paper; the dark page's drawing is
    that one in its own ink.
    """
    colour = INK["light"]
    style: dict[Any, Any] = {
        "figure.figsize": (6.4, 3.8),
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "text.color": colour,
        "axes.edgecolor": colour,
        "axes.labelcolor": colour,
        "xtick.color": colour,
        "ytick.color": colour,
        "axes.titlesize": "medium",
        "grid.color": COLOURS["muted"],
        "grid.alpha": 0.3,
        "axes.grid": True,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
        "savefig.dpi": 150,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 11,
        "svg.hashsalt": stem.name,  # the same figure gives the same file
        "pdf.fonttype": 42,  # fonts as fonts, not as drawings of their letters
    }
    with sns.axes_style("ticks", style), matplotlib.rc_context(style):
        figure = draw(arrays)
        light = stem.with_name(f"{stem.name}.light.svg")
        figure.savefig(light, metadata={"Date": None})
        # What is rasterized, dense scatters and heat maps, is finer on paper.
        figure.savefig(
            stem.with_name(f"{stem.name}.pdf"), dpi=300, metadata={"CreationDate": None}
        )
        plt.close(figure)
    dark = light.read_text(encoding="utf-8").replace(INK["light"], INK["dark"])
    stem.with_name(f"{stem.name}.dark.svg").write_text(dark, encoding="utf-8")


def _save_data(arrays: Mapping[str, np.ndarray], stem: Path) -> Path:
    for suffix in (".csv", ".npz"):  # another run may have had the other kind
        stem.with_name(stem.name + suffix).unlink(missing_ok=True)
    lengths = {array.shape for array in arrays.values()}
    if len(lengths) == 1 and len(next(iter(lengths))) == 1:
        path = stem.with_name(stem.name + ".csv")
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(arrays)
            writer.writerows(
                zip(*(array.tolist() for array in arrays.values()), strict=True)
            )
    else:
        path = stem.with_name(stem.name + ".npz")
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path


def _show(folder: Path, provenance: Mapping[str, Any]) -> None:
    """Show the figure: as a numbered figure on the book's page, as an image in a
    notebook.
    """
    name, alt, caption = provenance["figure"], provenance["alt"], provenance["caption"]
    alt = " ".join(alt.split())
    image = base64.b64encode((folder / f"{name}.light.svg").read_bytes()).decode()
    page = (
        f"```{{figure}} /figures/{name}.light.svg\n"
        f":name: fig-{name}\n"
        f":alt: {alt}\n\n"
        f"{caption}\n\n"
        f"{{download}}`Data </figures/{provenance['data']}>` · "
        f"{{download}}`parameters </figures/{name}.json>` · "
        f"seed {provenance['seed']} · {provenance['profile']} profile · "
        f"version {provenance['version']}\n```\n"
    )
    notebook = (
        f'<figure><img style="background:white" alt="{html.escape(alt, quote=True)}" '
        f'src="data:image/svg+xml;base64,{image}"><figcaption>{html.escape(caption)}'
        f" Data: figures/{provenance['data']}; "
        f"seed {provenance['seed']}.</figcaption></figure>"
    )
    display(
        {
            "text/markdown": page,
            "text/html": notebook,
            "text/plain": f"Figure {name}: {alt}",
        },
        raw=True,
    )
