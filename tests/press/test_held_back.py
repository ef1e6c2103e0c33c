"""Exercises held back: complete and in their form, run with their solutions, and in the
instructor's zip alone.
"""

import re
import zipfile
from pathlib import Path

import nbformat
import pytest
from test_course import COURSE, EXECUTED, tagged, verdicts

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / "press/held_back.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "book").glob("*.md"))
ASKED = re.findall(
    r"\{exercise-start\} ([^\n]+)\n:label: (\S+)\n```\n(.*?)```\{exercise-end\}",
    SOURCE,
    re.DOTALL,
)
SOLVED = re.findall(
    r"\{solution-start\} (\S+)\n(.*?)````\{solution-end\}", SOURCE, re.DOTALL
)
EFFORT = re.compile(r"^\*(Easy|Medium|Hard), (\d+) minutes\.\* ")
ENTRY = re.compile(r'Exercise\("(\S+)", "(\S+)", (\d+), "(\w+)", \S+\)')


def test_most_chapters_have_one_and_the_instructors_are_told_which_do_not():
    from_chapters = re.findall(r"^## \{ref\}`(ch-\w+)`$", SOURCE, re.MULTILINE)
    assert len(from_chapters) == len(ASKED) >= 8
    said = (ROOT / "book/instructors.md").read_text(encoding="utf-8")
    (without,) = re.findall(r"one more exercise for each chapter but (.*?)\. ", said)
    chapters = [path for path in PAGES if re.match(r"\d\d-", path.stem)]
    labels = [
        re.search(r"^\((ch-\w+)\)=", p.read_text("utf-8"), re.M)[1] for p in chapters
    ]
    assert from_chapters == [name for name in labels if f"`{name}`" not in without]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked[1])
def test_each_says_its_effort_has_hints_and_is_solved(asked):
    title, label, text = asked
    assert re.match("(By hand|Code|Proof|Open): ", title)
    assert label in [solved for solved, _ in SOLVED]
    difficulty, minutes = EFFORT.match(text).groups()
    assert 1 <= text.count("{admonition} Hint ") <= 3
    if "{code-cell}" in text:
        name, _, said_minutes, said_difficulty = ENTRY.search(text).groups()
        assert (name, said_minutes, said_difficulty) == (
            label,
            minutes,
            difficulty.lower(),
        )


def instructors(name: str) -> nbformat.NotebookNode:
    return nbformat.read(COURSE / "instructor" / f"{name}.ipynb", 4)


@pytest.mark.course
def test_solutions_pass_their_checks_in_the_build():
    graded = [label for _, label, text in ASKED if "{code-cell}" in text]
    shown = verdicts(instructors("held-back").cells)
    assert [(name, verdict) for name, verdict, _ in shown] == [
        (label, verdict) for label in graded for verdict in ("unanswered", "right")
    ]


@pytest.mark.course
def test_what_is_handed_out_has_stubs_and_checks_and_no_solution():
    cells = instructors("held-back-to-hand-out").cells
    text = "\n".join(cell.source for cell in cells)
    assert "**Solution" not in text and not any(cell.get("outputs") for cell in cells)
    for _, solution in SOLVED:
        for code in re.findall(r"```\{code-cell\}.*?\n(.*?)```", solution, re.DOTALL):
            assert code.strip() not in text
    stubs, checks = (
        sum(tagged(cell, tag) for cell in cells)
        for tag in ("exercise-stub", "exercise-check")
    )
    assert stubs == checks == SOURCE.count(":tags: [exercise-stub]")


def sentences(text: str) -> list[str]:
    """Those that stand in a notebook as they are, long enough to be known by."""
    prose = re.sub(
        r"```\{code-cell\}.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE
    )
    parts = re.split(r"(?<=[.?])\s", prose)
    return [
        part for part in parts if len(part) > 40 and not re.search(r'[\\\n"`{]', part)
    ]


@pytest.mark.course
def test_neither_the_sites_sources_nor_the_student_edition_has_any_of_it():
    known = [label for _, label, _ in ASKED]
    for text in (*(text for _, _, text in ASKED), *(text for _, text in SOLVED)):
        known += sentences(text)
    assert len(known) > 4 * len(ASKED)
    with zipfile.ZipFile(COURSE / "student.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files |= {
        str(path): path.read_bytes()
        for path in [*PAGES, *EXECUTED.rglob("*")]
        if path.is_file()
    }
    assert any(name.endswith("01-setting.ipynb") for name in files)
    for name, content in files.items():
        found = [words for words in known if words.encode() in content]
        assert found == [], name
