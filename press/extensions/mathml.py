r"""Sphinx: mathematics is MathML, set when the book is built.

A page needs no script for its formulas: they are there at once, in print, under any
content security policy, and for screen readers. math-core turns TeX into MathML Core.
STIX Two Math, cut to the signs in use, draws it alike in every browser. A formula in a
line can break after a relation and keeps the punctuation beside it; one that stands
alone and is too wide scrolls within its box (math.css has the sign of it).
"""

import re
from collections.abc import Iterator
from html import unescape
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

from cut_font import cut_font

# Found without being imported: only its font is used.
(ZIAMATH,) = find_spec("ziamath").submodule_search_locations
FONT = Path(ZIAMATH) / "fonts" / "STIXTwoMath-Regular.ttf"
# A line may break after these, where no bracket is open, and before these.
RELATIONS = set("=<>≤≥≪≫≈∼≠∈∉→⟶←↦≺≻⪯⪰⊆,;")
SUMS = set("+−±")
SHORT = 12  # a formula, or a piece before a sum, of fewer signs does not break
ENTITY = re.compile(r"&(?!lt;|gt;|amp;)\w+;")  # what XML does not know by name
SKIP = re.compile(r"\\\\\[[\w.]+\]")  # more room after a line: math-core has none
BEFORE, AFTER = re.compile(r"[(\[“]$"), re.compile(r"^[.,;:!?)\]”’-]+")

log = logging.getLogger(__name__)
converter = LatexToMathML(fancy_error=False)


def to_mathml(latex: str, display: bool = False) -> ElementTree.Element:
    """The MathML of a formula in TeX; raises LatexError where math-core has none."""
    latex = latex.strip().replace("\\\n", "\\ ")  # TeX takes both for a space
    latex = SKIP.sub(r"\\\\", latex)
    if display and r"\\" in latex and not latex.startswith(r"\begin"):
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    text = converter.convert_with_local_state(latex, displaystyle=display)
    math = ElementTree.fromstring(ENTITY.sub(lambda found: unescape(found[0]), text))
    # A strict policy forbids the style of a single element; math.css has it by class.
    for cell in math.iter("mtd"):
        side = re.match("text-align: (left|right)", cell.attrib.pop("style", ""))
        if side:
            cell.set("class", side[1])
    for padded in math.iter("mpadded"):
        padded.attrib.pop("style", None)
    # The sign of a root hangs from its bar, and would sink with that of a low letter.
    for root in math.iter("msqrt"):
        root.insert(0, ElementTree.Element("mspace", height="0.76em", depth="0.18em"))
    return math


def depth(element: ElementTree.Element) -> int:
    """By how much an element of a row opens (1) or closes (-1) brackets."""
    while element.tag in {"msup", "msub", "msubsup"}:
        element = element[0]
    if element.tag != "mo":
        return 0
    form, sign = element.get("form"), element.text or ""
    opens = form == "prefix" if form else sign in "([{⟨"
    return 1 if opens else -1 if form == "postfix" or sign in ")]}⟩" else 0


def length(element: ElementTree.Element) -> int:
    return len("".join(element.itertext()))


def pieces(math: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """A formula of a line in the parts between which the line may break."""
    if length(math) < SHORT:
        yield math
        return
    row, level = ElementTree.Element("math"), 0
    for element in math:
        level += depth(element)
        sign = element.text if element.tag == "mo" and not level else None
        if sign in SUMS and length(row) >= SHORT:
            yield row
            row = ElementTree.Element("math")
            element.set("form", "infix")
        row.append(element)
        if sign in RELATIONS and len(row) > 1:
            element.set("form", "infix")
            yield row
            row = ElementTree.Element("math")
    if len(row):
        yield row


def as_html(math: ElementTree.Element) -> str:
    return ElementTree.tostring(math, encoding="unicode")


def in_line(math: ElementTree.Element, before: str, after: str) -> str:
    """The HTML of a formula of a line, with the punctuation that must not leave it."""
    parts = [as_html(part) for part in pieces(math)]
    parts[0] = before + parts[0]
    parts[-1] += after
    if len(parts) == 1 and not before + after:
        return parts[0]
    return "".join(f'<span class="formula">{part}</span>' for part in parts)


class KeepPunctuation(SphinxPostTransform):
    """A formula takes the signs that must not leave it: no line begins with a stop."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        for node in list(self.document.findall(nodes.math)):
            for key, step, sign in (("before", -1, BEFORE), ("after", 1, AFTER)):
                place = node.parent.index(node) + step
                text = node.parent[place] if 0 <= place < len(node.parent) else None
                if isinstance(text, nodes.Text) and (found := sign.search(text)):
                    node[key] = found[0]
                    node.parent[place] = nodes.Text(sign.sub("", text))


def converted(node: nodes.Element, display: bool) -> ElementTree.Element:
    """The MathML of a node; a warning and nothing where its TeX is not understood."""
    try:
        return to_mathml(node.astext(), display)
    except LatexError as error:
        log.warning("%s: %s", node.astext(), error, location=node)
        raise nodes.SkipNode from error


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    before, after = (self.encode(node.get(key, "")) for key in ("before", "after"))
    self.body.append(in_line(converted(node, display=False), before, after))
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    math = converted(node, display=True)
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    self.body.append(f'<div class="scrolls">{as_html(math)}</div>')
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise nodes.SkipNode


def write_font(app: Sphinx, failure: Exception | None) -> None:
    if failure or app.builder.format != "html":
        return
    signs = {"√"}  # msqrt draws it, so it stands in no page's text
    for page in Path(app.outdir).rglob("*.html"):
        for math in re.findall("<math.*?</math>", page.read_text(encoding="utf-8")):
            signs.update(math)
    target = Path(app.outdir) / "_static" / "math.woff"
    cut_font(FONT, target, map(ord, signs), ("ssty", "dtls", "flac"))


def setup(app: Sphinx) -> dict:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.add_post_transform(KeepPunctuation)
    app.connect("build-finished", write_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
