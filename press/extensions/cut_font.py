"""A font cut to the signs in use, as WOFF, which needs nothing beside fontTools."""

import logging
from collections.abc import Iterable
from pathlib import Path

from fontTools import subset

logging.getLogger("fontTools").setLevel(logging.WARNING)


def cut_font(
    font: Path, target: Path, signs: Iterable[int], features: tuple[str, ...] = ()
) -> None:
    """`signs` are code points, `features` the OpenType features that are kept."""
    options = subset.Options(
        flavor="woff", layout_features=list(features), hinting=False
    )
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=signs)
    with subset.load_font(font, options) as whole:
        cutter.subset(whole)
        subset.save_font(whole, target, options)
