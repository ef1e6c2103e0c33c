"""The build's rules: what is executed again after a change, and what a failing cell
leaves behind.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.site

ROOT = Path(__file__).parents[2]


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    # A make that runs these tests must not hand its own settings on.
    own = {
        name: value
        for name, value in os.environ.items()
        if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )


def executed_if_changed(site: Path, *changed: str) -> set[str]:
    """The chapters that make would execute if these files had changed."""
    profile = site.parent.name
    changes = [argument for file in changed for argument in ("-W", file)]
    plan = make(
        ROOT, "-n", f"_build/{profile}/html/index.html", f"PROFILE={profile}", *changes
    )
    assert plan.returncode == 0, plan.stderr
    return set(re.findall(r'echo "executing (\S+)"', plan.stdout))


@pytest.fixture(scope="module")
def site() -> Path:
    folder = Path(os.environ["BOOK_SITE"]).resolve()
    if folder != ROOT / "_build" / folder.parent.name / "html":
        pytest.skip("the site was not built in this folder")
    return folder


def chapters() -> set[str]:
    return {
        path.stem
        for path in (ROOT / "book").glob("*.md")
        if "```{code-cell}" in path.read_text(encoding="utf-8")
    }


def test_nothing_is_executed_when_nothing_changed(site):
    assert executed_if_changed(site) == set()


def test_a_changed_chapter_is_executed_with_the_pages_that_read_its_results(site):
    assert executed_if_changed(site, "book/03-aligned.md") == {
        "03-aligned",
        "claims",
        "how-built",
        "instructors",
    }


@pytest.mark.parametrize(
    "file",
    [
        "src/agent_dynamics/lsa.py",
        "src/agent_dynamics/book/claims.toml",
        "requirements.lock",
    ],
)
def test_a_changed_package_or_lock_file_executes_every_chapter(site, file):
    assert executed_if_changed(site, file) == chapters()


@pytest.fixture
def broken(tmp_path) -> Path:
    """A book of a good chapter and a broken one, whose site was built before."""
    for name in (
        "Makefile",
        "_config.yml",
        "_toc.yml",
        "requirements.lock",
        "pyproject.toml",
    ):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "press").mkdir()
    shutil.copy(ROOT / "press" / "alone.py", tmp_path / "press")
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    # Newer than the copies, so that nothing is installed.
    os.utime(ROOT / ".venv" / ".ready")
    (tmp_path / "book").mkdir()
    front = (ROOT / "book" / "index.md").read_text(encoding="utf-8").split("\n# ")[0]
    cell = "\n# Title\n\n```{{code-cell}} ipython3\n{}\n```\n"
    (tmp_path / "book" / "01-good.md").write_text(
        front + cell.format("print('fine')"), encoding="utf-8"
    )
    (tmp_path / "book" / "02-bad.md").write_text(
        front + cell.format("1 / 0"), encoding="utf-8"
    )
    site = tmp_path / "_build" / "full" / "html"
    site.mkdir(parents=True)
    (site / "index.html").write_text("the site before", encoding="utf-8")
    os.utime(site / "index.html", (0, 0))
    return tmp_path


# GNU make 3.81, as macOS has it, knows no .SHELLFLAGS: each recipe stops by itself.
SHELLS = pytest.mark.parametrize(
    "shell", [".SHELLFLAGS=-eu -o pipefail -c", ".SHELLFLAGS=-c"]
)


@SHELLS
def test_a_broken_cell_fails_its_chapter_and_shows_no_page_of_an_older_run(
    broken, shell
):
    old = broken / "_build/full/source/02-bad.ipynb"
    old.parent.mkdir(parents=True)
    shutil.copy(broken / "book" / "02-bad.md", old)
    os.utime(old, (0, 0))

    build = make(broken, shell, "chapter", "CHAPTER=02")

    assert build.returncode != 0 and "book/02-bad.md failed" in build.stdout
    assert "02-bad.html" not in build.stdout
    assert not (broken / "_build/full/chapter-02-bad").exists()


@SHELLS
def test_a_failing_cell_stops_the_build_and_leaves_what_was_finished(broken, shell):
    build = make(broken, shell, "-k", "_build/full/html/index.html", "PROFILE=full")

    output = build.stdout + build.stderr
    assert build.returncode != 0
    assert (
        "book/02-bad.md failed" in output
        and "In [1]" in output
        and "ZeroDivisionError" in output
    )
    assert (broken / "_build/full/source/01-good.ipynb").exists()
    assert not (broken / "_build/full/source/02-bad.ipynb").exists()
    site = broken / "_build" / "full" / "html"
    assert (site / "index.html").read_text(encoding="utf-8") == "the site before"
