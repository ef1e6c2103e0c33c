"""Sphinx: beside every NAME.light.svg put its NAME.dark.svg, each shown on its own
theme.

The theme's own classes only-light and only-dark hide a caption that stands beside such
an image, so the two have classes of the book's, with their rules in book.css.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class DarkTwins(SphinxTransform):
    default_priority = 400  # before images are collected

    def apply(self) -> None:
        for image in list(self.document.findall(nodes.image)):
            if not image["uri"].endswith(".light.svg"):
                continue
            if self.app.builder.format == "latex":
                image["uri"] = image["uri"].removesuffix(".light.svg") + ".pdf"
                image["scale"] = 72  # letters as large as a caption's
            else:
                image["classes"].append("theme-light")
                twin = image.deepcopy()
                twin["ids"] = []
                twin["uri"] = image["uri"].removesuffix(".light.svg") + ".dark.svg"
                twin["classes"][-1] = "theme-dark"
                image.parent.insert(image.parent.index(image) + 1, twin)


def setup(app: Sphinx) -> dict:
    app.add_transform(DarkTwins)
    return {"parallel_read_safe": True}
