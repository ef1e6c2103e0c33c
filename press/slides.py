"""A deck for each chapter: python slides.py SITE SLIDES, from the built site.

What stands apart on a page becomes a slide: what the chapter teaches, how it opens,
each definition and result, each figure under its claim, tables, the summary, the
exercises. The prose that leads there, and the proof of a result, is what the speaker
reads (key s). Slides are reveal.js; a deck needs nothing outside its folder.
"""

import math
import re
import shutil
import sys
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from string import Template

from bs4 import BeautifulSoup, Tag

HERE = Path(__file__).parent
MATH = HERE.parent / "book" / "_static" / "math.css"  # formulas, as on a page
DECK = Template((HERE / "slides.html").read_text(encoding="utf-8"))
REVEAL = ("dist/reveal.js", "dist/reveal.css", "plugin/notes/notes.js", "LICENSE")
# Of a page only: marks of links, definitions on hover, tests, and where data lies.
PAGE_ALONE = ".headerlink, .definition, .checked-by, .legend, .caption-number"
BULLETS = 3  # of a summary on one slide, at most
WORDS = 40  # of prose on one slide, at most
# Signs of a slide with room to spare, of a full one, and what a formula counts a line.
ROOMY, FULL, LINE = 330, 750, 100
ROWS = 9  # of a table on one slide, its head included
TALL = 1.2  # a drawing that is less wide for its height has its claim on its left
STOP = re.compile(r"[.?!](?:</\w+>)*(?=\s|$)")
CHAPTER = re.compile(r"^(\d\d)-[\w-]+\.html#ch-")


@dataclass
class Slide:
    """One slide: its title and body are HTML, its notes the elements that are said."""

    title: str
    body: str
    kind: str = "text"
    above: str = ""
    notes: list[Tag] = field(default_factory=list)

    def html(self) -> str:
        said = "\n".join(map(plain, self.notes))
        return (
            f'<section class="{self.kind}">\n<p class="above">{self.above}</p>\n'
            f'<h2>{self.title}</h2>\n<div class="body">{self.body}</div>\n'
            f'<aside class="notes">{said}</aside>\n</section>\n'
        )


def plain(element: Tag, *, inside: bool = False) -> str:
    """The HTML of an element, or of what is in it, without what belongs to a page."""
    element = copy(element)
    for part in element.select(PAGE_ALONE):
        part.decompose()
    # The name of another chapter would read as a part of the sentence.
    for link in element.select("a[href]"):
        if chapter := CHAPTER.match(link["href"]):
            link.string = f"chapter {int(chapter[1])}"
    # A section within a slide would be one more slide.
    for part in element.select("a, .term, section"):
        part.unwrap()
    for part in [element, *element.find_all(True)]:
        for name in ("id", "aria-describedby", "tabindex", "data-toggle"):
            part.attrs.pop(name, None)
    return element.decode_contents() if inside else str(element)


def sentences(html: str) -> list[str]:
    """None ends within an element, as in a formula or in brackets of emphasis."""
    found, start = [], 0
    for stop in STOP.finditer(html):
        piece = html[start : stop.end()]
        if len(re.findall(r"<\w", piece)) == piece.count("</"):
            found.append(piece.strip())
            start = stop.end()
    rest = html[start:].strip()
    return [*found, rest] if rest else found


def words(html: str) -> int:
    return len(BeautifulSoup(html, "html.parser").get_text().split())


def brief(paragraph: Tag, *, end: bool = False) -> str:
    """As many sentences of its beginning, or of its end, as a slide holds. One without
    a stop leads to what is not on the slide, and is no beginning.
    """
    kept, said = [], sentences(plain(paragraph, inside=True))
    if not end:
        said = [sentence for sentence in said if STOP.search(sentence)]
    for sentence in reversed(said) if end else said:
        if kept and words(" ".join([*kept, sentence])) > WORDS:
            break
        kept.append(sentence)
    return f"<p>{' '.join(reversed(kept) if end else kept)}</p>"


def drawing(figure: Tag, above: str, site: Path) -> Slide:
    first, *rest = sentences(plain(figure.select_one(".caption-text"), inside=True))
    images = figure.select("img")
    notes = BeautifulSoup(f"<p>{' '.join(rest)}</p>", "html.parser")
    svg = (site / images[0]["src"].split("#")[0]).read_text(encoding="utf-8")
    width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', svg).groups())
    return Slide(
        re.sub(r"\.((?:</\w+>)*)$", r"\1", first),
        "".join(map(plain, images)),
        "figure tall" if width < TALL * height else "figure",
        above,
        notes.select("p") if rest else [],
    )


def result(box: Tag, above: str) -> Slide:
    heading = box.select_one(".admonition-title")
    body = copy(box)
    for part in body.select(".admonition-title, .bibtex-citation"):
        part.decompose()
    shown = plain(body, inside=True)
    signs = len(BeautifulSoup(shown, "html.parser").get_text())
    size = signs + LINE * len(body.select("div.math, mtr"))
    kind = "result long" if size > FULL else "result"
    title = heading.get_text(" ", strip=True)
    return Slide(title, shown, f"{kind} roomy" if size < ROOMY else kind, above)


def prose(above: str, said: list[Tag]) -> list[Slide]:
    """Of a section of prose alone: its first formula with the words that lead there, or
    its first words.
    """
    for before, formula in zip([None, *said], said, strict=False):
        if "math" in formula.get("class", []):
            lead = brief(before, end=True) if before and before.name == "p" else ""
            return [Slide(above, lead + plain(formula), "text", "", said)]
    shown = brief(said[0])
    return [Slide(above, shown, "text roomy", "", said)] if words(shown) else []


def section(part: Tag, site: Path) -> list[Slide]:
    """The slides of a section. What is said before a slide is its notes, and what
    follows the last one is said there.
    """
    heading = part.find(["h2", "h3"], recursive=False)
    above, said = plain(heading, inside=True), []
    made: list[Slide] = []
    for child in part.find_all(recursive=False):
        new: list[Slide] = []
        classes = child.get("class", [])
        if child.name == "section":
            new = section(child, site)
        elif classes == ["proof", "admonition"] and made:
            made[-1].notes.append(child)
        elif "proof" in classes:
            new = [result(child, above)]
        elif figures := [child] if child.name == "figure" else child.select("figure"):
            new = [drawing(figure, above, site) for figure in figures]
        elif child.name == "table" and len(child.select("tr")) <= ROWS:
            new = [Slide(above, plain(child), "table")]
        elif child.name in {"p", "ul", "ol"} or "math" in classes:
            said.append(child)
        if new:
            new[0].notes[:0] = said
            said = []
            made += new
    if made:
        made[-1].notes += said
    elif said:
        made = prose(above, said)
    return made


def opening(article: Tag) -> Slide:
    """The first words of the chapter after what it teaches."""
    first = article.select_one(
        ".admonition-what-you-will-learn ~ p, section section > p"
    )
    heading = first.parent.find(["h1", "h2"], recursive=False)
    return Slide(plain(heading, inside=True), brief(first), "text roomy", "", [first])


def bullets(part: Tag) -> Iterator[Slide]:
    items = part.select("ul > li")
    each = math.ceil(len(items) / math.ceil(len(items) / BULLETS))
    for start in range(0, len(items), each):
        some = items[start : start + each]
        yield Slide("Summary", f"<ul>{''.join(map(plain, some))}</ul>")


def tasks(part: Tag) -> Slide:
    """The exercises with their minutes; the speaker has how each begins."""
    lines, notes = [], []
    for task in part.select("div.exercise"):
        title = task.select_one(".admonition-title")
        effort = task.find(string=re.compile(r"^\w+, \d+ minutes\.$")) or ""
        name = title.get_text(" ", strip=True)
        lines.append(f"<li>{name} <small>{effort}</small></li>")
        notes.append(BeautifulSoup(f"<p><b>{name}</b></p>", "html.parser").p)
        notes += task.select("section > p")[:1]
    return Slide("Exercises", f"<ul>{''.join(lines)}</ul>", "text", "", notes)


def slides(page: BeautifulSoup, site: Path) -> list[Slide]:
    """Of a chapter's page, its figures in the site."""
    article = page.select_one("article")
    taught = article.select_one(".admonition-what-you-will-learn")
    first = Slide(
        plain(article.h1, inside=True),
        plain(taught.select_one("ul")),
        "first",
        "When two agents disagree",
        taught.find_all("p", class_=None, recursive=False),
    )
    made = [
        drawing(figure, "", site)
        for figure in article.select("section:has(> h1) > :not(section) figure")
    ]
    for part in article.select("section:has(> h1) > section"):
        if part["id"] == "summary":
            made += bullets(part)
        elif part["id"] == "exercises":
            made.append(tasks(part))
        else:
            made += section(part, site)
    second = opening(article)
    if second.body == made[0].body:
        return [first, *made]
    return [first, second, *made]


def main(site: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "_images").mkdir(parents=True)
    (folder / "reveal").mkdir()
    (revealjs,) = find_spec("sphinx_revealjs").submodule_search_locations
    for path in REVEAL:
        shutil.copy(Path(revealjs) / "_static" / "revealjs" / path, folder / "reveal")
    for path in (HERE / "slides.css", HERE / "slides.js", MATH):
        shutil.copy(path, folder)
    shutil.copy(site / "_static" / "math.woff", folder)
    titles = {}
    for path in sorted(site.glob("[0-9][0-9]-*.html")):
        page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        titles[path.name] = title = page.select_one("h1").get_text(strip=True)
        made = "".join(slide.html() for slide in slides(page, site))
        for image in set(re.findall(r'src="(_images/[^"#]+)', made)):
            shutil.copy(site / image, folder / image)
        (folder / path.name).write_text(
            DECK.substitute(title=title, slides=made), encoding="utf-8"
        )
    listed = "".join(
        f'<li><a href="{name}">{title}</a></li>' for name, title in titles.items()
    )
    first = Slide("When two agents disagree", f"<ol>{listed}</ol>", "list")
    (folder / "index.html").write_text(
        DECK.substitute(title=first.title, slides=first.html()), encoding="utf-8"
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
