"""The page for instructors: its numbers are those that the chapters' pages show."""

import re
from html import unescape
from pathlib import Path

import pytest

from agent_dynamics.book.exercises import exercises

pytestmark = pytest.mark.site


def text(site: Path, page: str) -> str:
    html = (site / f"{page}.html").read_text(encoding="utf-8")
    return unescape(re.sub(r"<[^>]+>", "", html))


def test_minutes_of_a_chapters_exercises_are_the_sum_of_what_each_says(site):
    page = (site / "instructors.html").read_text(encoding="utf-8")
    rows = re.findall(r"<tr.*?</tr>", page, re.DOTALL)
    listed = {}
    for row in rows:
        cells = re.findall(r"<td.*?>(.*?)</td>", row, re.DOTALL)
        plain = [re.sub(r"<[^>]+>|\s+", " ", cell).strip() for cell in cells]
        if len(plain) == 5 and plain[3].endswith("min"):
            count, minutes = re.findall(r"\d+", plain[3])
            listed[plain[0].partition(".")[0]] = (int(count), int(minutes))
    chapters = sorted({entry.chapter for entry in exercises().values()})
    for chapter in chapters:
        efforts = re.findall(
            r"^(?:Easy|Medium|Hard), (\d+) minutes\.$",
            text(site, chapter),
            re.MULTILINE,
        )
        said = (len(efforts), sum(map(int, efforts)))
        assert listed.pop(str(int(chapter[:2]))) == said, chapter
    total = (len(exercises()), sum(entry.minutes for entry in exercises().values()))
    assert listed == {"all": total}
    table = text(site, "instructors").rpartition("Exercises by difficulty")[2]
    assert re.search(rf"\ball\s+{total[0]} exercises\s+{total[1]}\b", table)


def test_every_chapter_has_further_reading(site):
    page = (site / "instructors.html").read_text(encoding="utf-8")
    table = page.partition("Further reading")[2].partition("</table>")[0]
    rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
    assert len(rows) == len({entry.chapter for entry in exercises().values()})
    assert all('href="bibliography.html#' in row for row in rows)
