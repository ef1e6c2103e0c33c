"""The built PDF: whole and in order, links that lead somewhere, figures that are
drawings, solutions last.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pypdf import PdfReader

from agent_dynamics.book.claims import ledger

pytestmark = pytest.mark.pdf

ROOT = Path(__file__).parents[2]
SOURCES = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "book").glob("*.md"))
}
CONTENTS = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
A4 = (595.28, 841.89)
MARKUP = (
    r"\?\?|`{3}|:{3}|\{(?:ref|eq|cite|download|glue:text|prf:\w+)\}"
    r"|\\(?:begin|sphinx)\w*"
)


@pytest.fixture(scope="session")
def file() -> Path:
    path = Path(os.environ.get("BOOK_PDF", ""))
    if not path.is_file():
        pytest.fail(
            f"BOOK_PDF was '{os.environ.get('BOOK_PDF', '')}'; it must be the built "
            "PDF. "
            "make test-pdf builds it and sets it.",
            pytrace=False,
        )
    return path


@pytest.fixture(scope="session")
def pdf(file) -> PdfReader:
    return PdfReader(file)


@pytest.fixture(scope="session")
def texts(pdf) -> list[str]:
    """The text of each page."""
    return [page.extract_text() for page in pdf.pages]


@pytest.fixture(scope="session")
def outline(pdf) -> list[tuple[str, int]]:
    """Title and page index of each part and chapter, in order."""
    parts = {part["caption"] for part in CONTENTS["parts"]}

    def entries(tree):
        for entry, below in zip(tree, [*tree[1:], None], strict=True):
            if not isinstance(entry, list):
                yield entry.title, pdf.get_destination_page_number(entry)
                if entry.title in parts:
                    yield from entries(below)

    return list(entries(pdf.outline))


def resources(holder) -> Iterator[tuple[str, object]]:
    """Every font and external object of a page, with those that its objects use in
    turn, each with its kind.
    """
    found = holder.get("/Resources", {})
    for font in found.get("/Font", {}).values():
        yield "/Font", font.get_object()
    for item in found.get("/XObject", {}).values():
        item = item.get_object()
        yield item["/Subtype"], item
        if item["/Subtype"] == "/Form":
            yield from resources(item)


def title(page: str) -> str:
    return re.search(r"^# (.+)$", SOURCES[page], re.MULTILINE)[1]


def test_parts_and_chapters_are_all_there_in_the_order_of_the_contents(outline):
    expected = ["Introduction"]
    for part in CONTENTS["parts"]:
        if part["caption"] == "The package":  # for the screen
            continue
        expected += [part["caption"]] if part.get("numbered") else []
        expected += [title(chapter["file"]) for chapter in part["chapters"]]
    expected.append("Solutions")
    found = [entry for entry in outline if entry[0] in expected]
    assert [name for name, _ in found] == expected
    assert [page for _, page in found] == sorted(page for _, page in found)


def test_every_page_is_a4_and_says_something(pdf, texts):
    for page, text in zip(pdf.pages, texts, strict=True):
        assert (page.mediabox.width, page.mediabox.height) == pytest.approx(A4, abs=0.1)
        assert text.strip()


def test_no_markup_and_no_open_reference_is_left(texts):
    for number, text in enumerate(texts, 1):
        assert not re.findall(MARKUP, text), f"page {number}"


def test_every_link_leads_somewhere(pdf):
    links = [
        note.get_object()["/A"]
        for page in pdf.pages
        for note in page.get("/Annots", [])
    ]
    inside = [link["/D"] for link in links if link["/S"] == "/GoTo"]
    outside = [link["/URI"] for link in links if link["/S"] == "/URI"]
    assert len(inside) > len(SOURCES) and len(inside) + len(outside) == len(links)
    assert set(inside) <= set(pdf.named_destinations)
    assert all(address.startswith("https://") for address in outside)


def test_every_figure_is_a_numbered_drawing_with_letters_that_are_text(
    file, pdf, texts
):
    cells = [
        cell
        for path in (file.parent / "source").glob("*.ipynb")
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
    ]
    pieces = [
        "".join(output.get("data", {}).get("text/markdown", ""))
        for cell in cells
        for output in cell.get("outputs", [])
    ]
    shown = sum(piece.startswith("```{figure} /figures/") for piece in pieces)
    drawings = [
        item.get_object()
        for page in pdf.pages
        for item in page["/Resources"].get("/XObject", {}).values()
    ]
    assert shown and len(drawings) == shown
    for drawing in drawings:
        assert drawing["/Subtype"] == "/Form" and drawing["/Resources"]["/Font"]
    numbers = re.findall(r"\bFig\. ?([\d.]+): ", "\n".join(texts))
    assert len(numbers) == len(set(numbers)) == shown


def test_all_fonts_are_embedded_as_outlines(pdf):
    fonts = [
        item for page in pdf.pages for kind, item in resources(page) if kind == "/Font"
    ]
    assert fonts
    for font in fonts:
        assert font["/Subtype"] != "/Type3"
        for face in (
            part.get_object() for part in font.get("/DescendantFonts", [font])
        ):
            assert {"/FontFile", "/FontFile2", "/FontFile3"} & set(
                face["/FontDescriptor"]
            ), face["/BaseFont"]


def test_solutions_stand_at_the_end_and_lead_to_their_exercises_and_back(
    texts, outline
):
    start = dict(outline)["Solutions"]
    written = sum(
        len(re.findall(r"\{solution-start\}", text)) for text in SOURCES.values()
    )
    heading = re.compile(
        r"^Solution to Exercise ([\d.]+)(?: \(.*\))? \(page (\d+)\)$", re.MULTILINE
    )
    solved = {
        exercise: (page, int(back))
        for page, text in enumerate(texts, 1)
        for exercise, back in heading.findall(text)
    }
    assert len(solved) == written
    assert all(page > start for page, _ in solved.values())
    for exercise, (page, back) in solved.items():
        # An exercise with a stub can go on over the page.
        set_exercise = re.search(
            rf"^Exercise {re.escape(exercise)} .*?^Solution on page (\d+)$",
            "\n".join(texts[back - 1 : back + 1]),
            re.MULTILINE | re.DOTALL,
        )
        assert set_exercise and int(set_exercise[1]) == page


def test_nothing_sticks_out_of_the_text_no_glyph_is_missing_no_reference_open(file):
    log = (file.parent / "print/_build/latex/book.log").read_text(
        encoding="utf-8", errors="replace"
    )
    assert "Output written on book" in log
    assert not re.findall(
        r"^(?:Overfull \\hbox|Missing character|LaTeX Warning: .*undefined)",
        log,
        re.MULTILINE,
    )


def test_title_page_and_properties_say_what_the_book_is(file, pdf, texts):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    paper = citation["references"][0]
    first = " ".join(texts[0].split())
    for part in (
        citation["title"],
        citation["authors"][0]["name"],
        f"Version {citation['version']}",
        f"{file.parent.name} profile, revision",
        paper["title"],
        paper["identifiers"][0]["value"],
        *(author["family-names"] for author in paper["authors"]),
    ):
        assert part in first
    assert pdf.metadata.title == citation["title"]
    assert pdf.metadata.author == citation["authors"][0]["name"]


def test_each_claim_of_the_ledger_says_verdict_and_source_together_then_its_values(
    texts,
):
    # Without head and foot: pages break anywhere,.
    pages = ("\n".join(text.splitlines()[1:-1]) for text in texts)
    text = re.sub(r"[\s-]+", "", "".join(pages))  # and so do lines
    for claim in ledger().values():
        about = f"·{claim.source.capitalize()}·{claim.id}".replace(" ", "").replace(
            "-", ""
        )
        values = "(Predicted|Bound)[^,]{1,30},measured"
        values = values if not claim.needs else "Notrun"
        assert re.search(
            rf"(Holds|Doesnothold|Notrun){re.escape(about)}.{{0,90}}?{values}", text
        ), claim.id
