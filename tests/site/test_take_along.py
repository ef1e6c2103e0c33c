"""What a reader of the site alone can take along: the box of every page, the book's
files, and notebooks that read as plain Markdown with the book's numbers.
"""

import io
import json
import re
import zipfile
from functools import cache
from html import unescape
from pathlib import Path

import pytest

pytestmark = pytest.mark.site

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.stem for path in (ROOT / "book").glob("*.md"))
CHAPTERS = [page for page in PAGES if re.match(r"\d\d-", page)]


@cache
def html(site: Path, page: str) -> str:
    return (site / f"{page}.html").read_text(encoding="utf-8")


def box(site: Path, page: str) -> str:
    (found,) = re.findall(
        r'<details class="chapter-box">.*?</details>', html(site, page), re.DOTALL
    )
    return found


def markdown(text: str) -> str:
    cells = json.loads(text)["cells"]
    return "\n\n".join(
        "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
    )


def downloaded(site: Path, page: str) -> str:
    return markdown((site / "_sources" / f"{page}.ipynb").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PAGES)
def test_the_box_of_every_page_links_files_that_are_there_and_cites(site, name):
    text = box(site, name)
    links = [unescape(link) for link in re.findall(r'href="([^"]+)"', text)]
    assert all((site / link).is_file() for link in links)
    files = {link for link in links if link.startswith("files/")}
    assert files == {f"files/{path.name}" for path in (site / "files").iterdir()}
    kinds = {Path(link).suffix for link in files}
    assert {".whl", ".zip"} <= kinds <= {".whl", ".zip", ".pdf"}
    has_code = (site / "_sources" / f"{name}.ipynb").exists()
    assert (f"_sources/{name}.ipynb" in links) == has_code
    assert ("make chapter" in text) == has_code
    assert "@misc{agentdynamics" in text


def test_the_wheel_of_the_site_is_that_of_the_students_zip(site):
    (wheel,) = (site / "files").glob("agent_dynamics-*.whl")
    with zipfile.ZipFile(site / "files" / "student.zip") as archive:
        assert archive.read(f"student/{wheel.name}") == wheel.read_bytes()
        assert archive.read("student/README.md")
    with zipfile.ZipFile(io.BytesIO(wheel.read_bytes())) as package:
        assert "agent_dynamics/__init__.py" in package.namelist()
        assert not [name for name in package.namelist() if "__pycache__" in name]


def test_every_downloaded_notebook_is_plain_markdown(site):
    notebooks = sorted((site / "_sources").glob("*.ipynb"))
    assert len(notebooks) >= len(CHAPTERS)
    for path in notebooks:
        assert (
            re.findall(
                r"^[`:]{3,}\{.*|\{[a-z:-]+\}`.*|^\([\w-]+\)=|^:\w+:.*",
                downloaded(site, path.stem),
                re.MULTILINE,
            )
            == []
        ), path.name
        first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
        assert first["metadata"]["tags"] == ["install"], path.name


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_results_exercises_and_equations_have_the_pages_numbers(site, chapter):
    """In the downloaded notebook, and exercises in the student's too."""
    page, text = html(site, chapter), downloaded(site, chapter)
    numbered = re.findall(
        r'<span class="caption-number">(\w+ \d+\.\d+) </span> *\(', page
    )
    exercises = [name for name in numbered if name.startswith("Exercise")]
    results = [name for name in numbered if not name.startswith("Exercise")]
    equations = re.findall(r'class="eqno">\(([\d.]+)\)', page)
    assert exercises
    assert exercises_of(text) == exercises
    assert re.findall(r"^\*\*(\w+ \d+\.\d+) \(", text, re.MULTILINE) == results
    assert re.findall(r"\\tag\{([\d.]+)\}", text) == equations
    with zipfile.ZipFile(site / "files" / "student.zip") as archive:
        student = archive.read(f"student/{chapter}.ipynb").decode()
    assert exercises_of(markdown(student)) == exercises


def exercises_of(text: str) -> list[str]:
    return re.findall(r"^### (Exercise [\d.]+): ", text, re.MULTILINE)
