"""The book's own Sphinx extensions, on books of one page."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from sphinx.environment import BuildEnvironment
from sphinx.testing.util import SphinxTestApp

from agent_dynamics.book.exercises import exercises
from folded_parameters import fold

EXTENSIONS = Path(__file__).parents[2] / "press" / "extensions"
TESTED = (
    "tests/press/test_extensions.py::test_a_result_that_names_its_test_gives_no_warning"
)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Builds pages with one extension and returns the warnings; the site lies in
    tmp_path/_build/html.
    """
    monkeypatch.setattr(sys, "path", [str(EXTENSIONS), *sys.path])

    def build(extension: str, builder: str = "html", **pages: str) -> str:
        (tmp_path / "conf.py").write_text(
            f"extensions = ['myst_parser', 'sphinx_proof', '{extension}']\nroot_doc "
            "= 'page'\nnumfig = True\n",
            encoding="utf-8",
        )
        for name, text in pages.items():
            (tmp_path / f"{name}.md").write_text(text, encoding="utf-8")
        app = SphinxTestApp(builder, srcdir=tmp_path)
        app.build()
        app.cleanup()
        return app.warning.getvalue()

    return build


def theorem(last_line: str) -> str:
    return (
        f"# Page\n\n```{{prf:lemma}} Halving\n:label: lem-half\n\nIt "
        f"halves.\n\n{last_line}\n```\n"
    )


def test_a_result_that_names_its_test_gives_no_warning(build, tmp_path):
    assert (
        build("checked_by", page=theorem(f"*Checked numerically by* `{TESTED}`.")) == ""
    )
    file, _, name = TESTED.partition("::")
    source = file.removesuffix(".py") + ".html"
    assert f'href="{source}#{name}"' in (tmp_path / "_build/html/page.html").read_text(
        encoding="utf-8"
    )
    cited = (tmp_path / "_build/html" / source).read_text(encoding="utf-8")
    assert f'id="{name}"' in cited and "SphinxTestApp" in cited
    assert 'def</span> <span class="nf">test_a_test_that_does_not_exist' not in cited


@pytest.mark.parametrize(
    "line", ["", "*Checked numerically by* nobody.", f"See `{TESTED}`."]
)
def test_a_result_that_names_no_test_is_a_warning(build, line):
    assert "lem-half names no test" in build("checked_by", page=theorem(line))


def test_a_test_that_does_not_exist_is_a_warning(build):
    warnings = build(
        "checked_by",
        page=theorem(
            "*Checked numerically by* `tests/press/test_extensions.py::test_gone`."
        ),
    )
    assert (
        "tests/press/test_extensions.py::test_gone is cited and does not exist"
        in warnings
    )


def test_a_result_shows_its_tests_by_what_they_say(build, tmp_path):
    build("checked_by", page=theorem(f"*Checked numerically by* `{TESTED}`."))
    html = (tmp_path / "_build/html/page.html").read_text(encoding="utf-8")
    line = re.search(r'<p class="checked-by">.*?</p>', html, re.DOTALL)[0]
    assert "a result that names its test gives no warning" in line
    assert TESTED not in line


def test_a_listed_exercise_says_how_hard_it_is(build, tmp_path):
    entry = exercises()["ex-both-off"]
    page = "# Page\n\n" + "".join(
        f"```{{exercise}} {label}\n:label: {label}\n\nWhat?\n```\n\n"
        for label in (entry.id, "ex-none")
    )
    assert build("exercise_effort", page=page) == ""
    html = (tmp_path / "_build/html/page.html").read_text(encoding="utf-8")
    said = re.findall(r"<p><em>(.*?)</em></p>", html)
    assert said == [f"{entry.difficulty.capitalize()}, {entry.minutes} minutes."]


NOTATION = "# Notation\n\n```{glossary}\nPlateau\n  Where an error *stays*.\n```\n"
PAGE = """# The plateau

```{toctree}
notation
```

The plateau, [the plateau](notation.md) and `plateau`. Two plateaus.

## Another plateau

*Plateaus* again.
"""


def test_the_first_use_of_a_term_in_a_section_carries_its_definition(build, tmp_path):
    assert build("terms", page=PAGE, notation=NOTATION) == ""
    html = (tmp_path / "_build/html/page.html").read_text(encoding="utf-8")
    marked = re.findall(
        r'class="term"[^>]*describedby="([^"]*)">(\w+)<span[^>]* id="([^"]*)">([^<]*)<',
        html,
    )
    assert marked == [
        ("definition-1", "plateau", "definition-1", "Where an error stays."),
        ("definition-2", "Plateaus", "definition-2", "Where an error stays."),
    ]
    assert 'class="term"' not in (tmp_path / "_build/html/notation.html").read_text(
        encoding="utf-8"
    )


def test_other_formats_keep_the_text(build, tmp_path):
    assert build("terms", "text", page=PAGE, notation=NOTATION) == ""
    assert "Two plateaus." in (tmp_path / "_build/text/page.txt").read_text(
        encoding="utf-8"
    )


def test_parameters_and_those_of_a_fast_build_are_folded():
    cells = [
        {"metadata": {"tags": tags}}
        for tags in (["parameters"], ["injected-parameters"], ["hide-output"], [])
    ]
    source = [json.dumps({"cells": cells})]
    env = SimpleNamespace(doc2path=lambda page: f"{page}.ipynb")
    fold(SimpleNamespace(env=env), "page", source)
    folded = [
        "hide-input" in cell["metadata"]["tags"]
        for cell in json.loads(source[0])["cells"]
    ]
    assert folded == [True, True, False, False]


def test_references_with_a_number_read_their_page_once_and_say_its_number(
    build, tmp_path, monkeypatch
):
    read = []
    get_doctree = BuildEnvironment.get_doctree
    monkeypatch.setattr(
        BuildEnvironment,
        "get_doctree",
        lambda env, name: read.append(name) or get_doctree(env, name),
    )
    figures = "# Figures\n\n```{figure} a.svg\n:name: fig-a\n\nA\n```\n"
    (tmp_path / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")

    def reads(references: int) -> int:
        read.clear()
        page = (
            "# Page\n\n```{toctree}\nfigures\n```\n\n"
            + "{numref}`fig-a`, " * references
        )
        assert build("numbered_once", page=page, figures=figures) == ""
        return read.count("figures")

    assert reads(7) == reads(1)
    html = (tmp_path / "_build/html/page.html").read_text(encoding="utf-8")
    assert (
        'href="figures.html#fig-a"><span class="std std-numref">Fig. 1</span>' in html
    )
