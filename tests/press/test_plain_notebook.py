"""A notebook that a reader takes along: plain Markdown, a first cell that installs the
package, solutions apart.
"""

import importlib.util
import re
from functools import cache
from pathlib import Path

import jupytext
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from extras import extras, imports
from install_cell import install_cell
from plain_markdown import Plain, targets
from plain_notebook import RECORD, download
from requirements import pins

BOOK = Path(__file__).parents[2] / "book"
PAGES = sorted(
    path.stem
    for path in BOOK.glob("*.md")
    if "```{code-cell}" in path.read_text(encoding="utf-8")
)
CHAPTERS = [page for page in PAGES if re.match(r"\d\d-", page)]
LEFT = re.compile(r"^[`:]{3,}\{.*|\{[a-z:-]+\}`.*|^\([\w-]+\)=|^:\w+:.*", re.MULTILINE)
ABOUT = {
    "kernelspec": {"name": "python3", "display_name": "Python 3"},
    "language_info": {"name": "python"},
}
WHEEL = "agent_dynamics-0.1.0-py3-none-any.whl"


@cache
def page(name: str) -> NotebookNode:
    """A page as it is executed, here without outputs."""
    text = (BOOK / f"{name}.md").read_text(encoding="utf-8")
    cells = jupytext.reads(text, fmt="md:myst").cells
    return new_notebook(cells=cells, metadata=ABOUT)


@cache
def taken(name: str) -> list[NotebookNode]:
    return download(page(name), Plain(targets(), lambda page: None), WHEEL).cells


def plain(address: str | None = None) -> Plain:
    return Plain(targets(), lambda page: address and f"{address}/{page}.html")


@pytest.mark.parametrize("name", PAGES)
def test_no_role_or_directive_is_left_in_text_or_code(name):
    for cell in taken(name):
        if cell.cell_type == "markdown":
            assert LEFT.findall(cell.source) == []
        else:
            assert "{prf:ref}" not in cell.source and "{eq}`" not in cell.source


@pytest.mark.parametrize("name", PAGES)
def test_the_first_cell_installs_and_the_page_follows_whole(name):
    first, *rest = taken(name)
    assert first.metadata.tags == ["install"]
    code = [cell for cell in page(name).cells if cell.cell_type == "code"]
    assert len([cell for cell in rest if cell.cell_type == "code"]) == len(code)
    assert rest[0].source.startswith("# ")


@pytest.mark.parametrize("name", CHAPTERS)
def test_solutions_stand_folded_at_the_end(name):
    sources = [cell.source for cell in taken(name)]
    end = sources.index("## Solutions")
    assert not any("**Solution" in source for source in sources)
    exercises = re.findall(
        r"^### (Exercise [\d.]+): ", "\n".join(sources), re.MULTILINE
    )
    solved = re.findall(r"<summary>Solution to (.*)</summary>", "\n".join(sources))
    assert solved == exercises and len(solved) >= 2
    for cell in taken(name)[end + 1 :]:
        if cell.cell_type == "code":
            assert cell.metadata.jupyter.source_hidden and "solution" in (
                cell.metadata.tags
            )
        else:
            assert cell.source.startswith("<details>\n<summary>")
            assert cell.source.endswith("\n\n</details>")
    assert not any(
        "solution" in cell.metadata.get("tags", []) for cell in taken(name)[:end]
    )


def test_references_are_named_as_on_the_page_and_lead_to_it_where_it_is_known():
    text = "{prf:ref}`thm-equilibrium`, {ref}`ch-aligned`, {ref}`four <ch-misaligned>`"
    assert plain().roles(text, {}) == "Theorem 4.1, *Aligned agents*, four"
    assert plain("https://example.org").roles(text, {}) == (
        "Theorem 4.1, [Aligned agents](https://example.org/03-aligned.html), "
        "[four](https://example.org/04-misaligned.html)"
    )


def test_works_are_named_by_authors_and_year_one_or_several():
    assert plain().roles("{cite}`friedkin1990social,degroot1974reaching`", {}) == (
        "Friedkin, Johnsen (1990); DeGroot (1974)"
    )
    assert plain().roles("{cite:t}`akyurek2023what`", {}) == "Akyürek et al. (2023)"


def test_numbers_of_the_run_are_in_the_text_and_figures_are_left_to_the_run():
    outputs = [
        new_output(
            "display_data",
            {RECORD: "'2.0'"},
            metadata={"scrapbook": {"name": "n", "mime_prefix": ""}},
        ),
        new_output(
            "display_data",
            {
                "text/markdown": "```{figure}",
                "text/html": "big",
                "text/plain": "Figure",
            },
        ),
        new_output("stream", text="printed"),
    ]
    notebook = new_notebook(
        cells=[
            new_markdown_cell("It is {glue:text}`n`."),
            new_code_cell("'{eq}`eq-turn`'", outputs=outputs),
        ],
        metadata=ABOUT,
    )
    _, text, code = download(notebook, plain(), WHEEL).cells
    assert text.source == "It is 2.0." and code.source == "'(1.2)'"
    assert [output.get("data", output.get("text")) for output in code.outputs] == [
        {"text/plain": "Figure"},
        "printed",
    ]


@pytest.fixture
def run_install(tmp_path, monkeypatch):
    """Runs an install cell in an empty folder, where the package is missing or not;
    returns what it hands to pip.
    """
    monkeypatch.chdir(tmp_path)

    class Shell:
        def run_line_magic(self, name, line):
            assert name == "pip"
            asked.append(line.format(**names))

    asked, names = [], {}

    def no(name: str) -> None:
        return None

    def run(name: str, missing: bool, torch: bool = False) -> list[str]:
        if missing:
            monkeypatch.setattr(
                importlib.util, "find_spec", {"torch": "there"}.get if torch else no
            )
        source = TransformerManager().transform_cell(
            install_cell(page(name), WHEEL).source
        )
        names["get_ipython"] = Shell
        exec(compile(source, "cell", "exec"), names)
        return asked

    return run


@pytest.mark.parametrize("name", CHAPTERS)
def test_where_the_package_is_installed_the_first_cell_does_nothing(
    run_install, capsys, name
):
    assert run_install(name, missing=False) == []
    assert capsys.readouterr() == ("", "")


def test_the_wheel_beside_the_notebook_is_installed_first(
    run_install, tmp_path, monkeypatch
):
    monkeypatch.setenv("BOOK_URL", "https://example.org/book")
    (tmp_path / WHEEL).touch()
    (line,) = run_install("08-grid", missing=True)
    wheel = (tmp_path / WHEEL).as_uri()
    assert line.endswith(f'"agent-dynamics[sweeps] @ {wheel}"')


def test_without_a_wheel_it_comes_from_the_published_site(run_install, monkeypatch):
    monkeypatch.setenv("BOOK_URL", "https://example.org/book")
    (line,) = run_install("01-setting", missing=True)
    address = f"https://example.org/book/files/{WHEEL}"
    assert line.endswith(f'"agent-dynamics @ {address}"')


def test_a_torch_that_is_there_stays_and_else_a_build_for_cpus_is_asked_for(
    run_install, tmp_path
):
    (tmp_path / WHEEL).touch()
    run_install("01-setting", missing=True, torch=True)
    there, absent = run_install("01-setting", missing=True)
    index = "--extra-index-url https://download.pytorch.org/whl/cpu "
    assert index not in there and "--upgrade" not in there
    assert index in absent


def test_without_either_the_reader_is_told_what_to_do(run_install, monkeypatch):
    monkeypatch.delenv("BOOK_URL", raising=False)
    with pytest.raises(FileNotFoundError, match=f"Download its wheel, {WHEEL}"):
        run_install("01-setting", missing=True)


def test_a_notebook_asks_for_the_extras_that_its_imports_need():
    needed = {name: list(extras(page(name))) for name in PAGES}
    assert {name: listed for name, listed in needed.items() if listed} == {
        "08-grid": ["sweeps"],
        "11-language-models": ["language-models"],
    }
    for name in ("08-grid", "11-language-models"):
        for modules in extras(page(name)).values():
            assert all(map(importlib.util.find_spec, modules))


def test_imports_are_read_with_what_is_relative_to_a_package():
    code = "%pip install x\nfrom .. import b\nfrom .c import d\nimport e.f"
    assert imports(code, "p.q") == {"p", "p.b", "p.q.c", "p.q.c.d", "e.f"}


def test_pins_are_the_lock_files_for_what_is_asked_and_its_dependencies():
    lock = "# Exact\njinja2==3\nMarkupSafe==2\nsphinx==7\n"
    assert pins(lock, ["Jinja2>=2"]) == ["jinja2==3", "MarkupSafe==2"]
