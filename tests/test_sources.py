"""The book's sources: claims are recorded and drawn where they say, chapters complete
and self-contained.
"""

import ast
import importlib
import inspect
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import jupytext
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pybtex.database import parse_file

from agent_dynamics.book.claims import ledger
from agent_dynamics.book.exercises import exercises

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
PAGES = {
    path.stem: path.read_text(encoding="utf-8") for path in sorted(BOOK.glob("*.md"))
}
EXTRAS = ("sweeps", "language-models")  # those that chapters may need
CHAPTERS = [stem for stem in PAGES if re.match(r"\d\d-", stem)]


@cache
def cells(page: str) -> list:
    return [
        cell
        for cell in jupytext.reads(PAGES[page], fmt="md:myst").cells
        if cell.cell_type == "code"
    ]


def nodes(page: str, kind: type) -> list:
    return [
        node
        for cell in cells(page)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, kind)
    ]


def recorded_ids(page: str) -> list[str]:
    """The ids in the page's calls of record(), as patterns: what an f-string fills in
    can be anything.
    """
    ids = [
        call.args[0]
        for call in nodes(page, ast.Call)
        if isinstance(call.func, ast.Name) and call.func.id == "record"
    ]
    return [
        "".join(
            re.escape(part.value) if isinstance(part, ast.Constant) else ".+"
            for part in getattr(written, "values", [written])
        )
        for written in ids
    ]


def gated(page: str) -> tuple[dict[str, str], dict[str, str]]:
    """The page's exercises and its solutions, by the exercise's label, in order."""
    asked = re.findall(
        r"\{exercise-start\}[^\n]*\n:label: (\S+)\n(.*?)\{exercise-end\}",
        PAGES[page],
        re.DOTALL,
    )
    solved = re.findall(
        r"\{solution-start\} (\S+)\n(.*?)\{solution-end\}", PAGES[page], re.DOTALL
    )
    return dict(asked), dict(solved)


def code(text: str, tag: str = "") -> list[ast.Module]:
    """The code cells of a piece of a page, those with the tag."""
    found = re.findall(
        r"^```\{code-cell\}[^\n]*\n(:tags:[^\n]*\n)?(.*?)^```$",
        text,
        re.DOTALL | re.MULTILINE,
    )
    return [ast.parse(source) for tags, source in found if tag in tags]


def assigned(cell: ast.Module) -> dict[str, ast.stmt]:
    """The names that a cell defines or assigns, each with its statement."""
    return {
        target: node
        for node in cell.body
        for target in (
            [node.name]
            if isinstance(node, ast.FunctionDef)
            else [ast.unparse(name) for name in node.targets]
            if isinstance(node, ast.Assign)
            else []
        )
    }


def parameters(page: str) -> dict[str, ast.expr]:
    """What the cell tagged `parameters` assigns."""
    (cell,) = (
        cell for cell in cells(page) if "parameters" in cell.metadata.get("tags", [])
    )
    return {
        statement.targets[0].id: statement.value
        for statement in ast.parse(cell.source).body
        if isinstance(statement, ast.Assign)
    }


@pytest.mark.parametrize("claim", ledger().values(), ids=lambda claim: claim.id)
def test_every_claim_is_recorded_by_its_chapter(claim):
    assert any(
        re.fullmatch(pattern, claim.id) for pattern in recorded_ids(claim.chapter)
    )


@pytest.mark.parametrize(
    "claim",
    [claim for claim in ledger().values() if claim.figure],
    ids=lambda claim: claim.id,
)
def test_the_figure_of_a_claim_is_drawn_in_its_chapter(claim):
    drawn = [
        ast.literal_eval(call.args[0])
        for call in nodes(claim.chapter, ast.Call)
        if isinstance(call.func, ast.Name) and call.func.id == "save_figure"
    ]
    assert claim.figure in drawn


@pytest.mark.parametrize("page", PAGES)
def test_every_recorded_claim_is_in_the_ledger_under_its_chapter(page):
    claims = [claim.id for claim in ledger().values() if claim.chapter == page]
    for pattern in recorded_ids(page):
        assert any(re.fullmatch(pattern, claim) for claim in claims), pattern


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_says_what_it_teaches_sums_up_and_sets_code_exercises_with_solutions(
    chapter,
):
    text = PAGES[chapter]
    assert re.search(
        r"^[`:]{3,}\{admonition\} What you will learn$", text, re.MULTILINE
    )
    assert re.search(r"^## Summary$", text, re.MULTILINE)
    asked, solved = gated(chapter)
    assert set(solved) == set(asked)
    assert sum("{code-cell}" in solution for solution in solved.values()) >= 2


LADDER = ["By hand", "Code", "Proof", "Open"]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_exercises_go_from_paper_and_code_to_proofs_and_an_open_question(chapter):
    found = re.findall(r"\{exercise-start\} (.+?): ", PAGES[chapter])
    assert len(found) == len(gated(chapter)[0]) >= 5
    assert set(found) == set(LADDER)
    assert found == sorted(found, key=LADDER.index)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_exercise_is_listed_and_has_one_to_three_hints_in_steps(chapter):
    asked, _ = gated(chapter)
    listed = [entry.id for entry in exercises().values() if entry.chapter == chapter]
    assert list(asked) == listed
    for label, text in asked.items():
        hints = re.findall(
            r"^:::\{admonition\} Hint (\d)\n:class: hint dropdown\n.+?\n:::$",
            text,
            re.DOTALL | re.MULTILINE,
        )
        assert hints in (["1"], ["1", "2"], ["1", "2", "3"]), label
        before, _, _ = text.partition("exercise-stub")
        assert before.count("{admonition} Hint") == len(hints), label


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_code_exercise_has_a_stub_a_check_and_a_solution_that_is_checked(chapter):
    asked, solved = gated(chapter)
    graded = [
        label
        for label in asked
        if "{code-cell}" in asked[label] + solved.get(label, "")
    ]
    assert graded == [
        entry.id
        for entry in exercises().values()
        if entry.chapter == chapter and entry.tolerance is not None
    ]
    for label in graded:
        (stub,) = code(asked[label], "exercise-stub")
        (check,) = code(asked[label], "exercise-check")
        (answer,) = assigned(stub)
        assert any(
            isinstance(node, ast.Constant) and node.value is ...
            for node in ast.walk(stub)
        )
        (grade,) = (
            name
            for name, node in assigned(check).items()
            if f"{name} = grader('{label}'" in ast.unparse(node)
        )
        assert answer in assigned(code(solved[label])[-1])
        for cell in (check, code(solved[label])[-1]):
            assert ast.unparse(cell.body[-1]) == f"{grade}({answer})"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_has_a_parameters_cell_with_a_seed(chapter):
    assert isinstance(ast.literal_eval(parameters(chapter)["seed"]), int)


@pytest.mark.parametrize(
    "path", sorted(BOOK.glob("*.fast.yml")), ids=lambda path: path.name
)
def test_fast_profile_sets_only_parameters_of_its_chapter(path):
    fast = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert fast
    assert set(fast) <= set(parameters(path.name.removesuffix(".fast.yml")))


@pytest.mark.parametrize("page", PAGES)
def test_page_needs_only_the_package_and_what_it_depends_on(page):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    declared = {
        canonicalize_name(Requirement(line).name)
        for lines in (
            project["dependencies"],
            *(project["optional-dependencies"][extra] for extra in EXTRAS),
        )
        for line in lines
    }
    importable = {
        module
        for module, owners in packages_distributions().items()
        if declared & {canonicalize_name(owner) for owner in owners}
    }
    imported = {alias.name for node in nodes(page, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes(page, ast.ImportFrom)}
    top = {name.partition(".")[0] for name in imported}
    assert top <= importable | sys.stdlib_module_names | {"agent_dynamics"}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_instructors_find_what_a_chapter_needs_and_a_plan_that_has_it(chapter):
    """Their page reads the first from the chapter; the second it says, or says why
    not.
    """
    page = PAGES["instructors"]
    (opening,) = re.findall(r'^OPENING = r"(.*)"$', page, re.MULTILINE)
    first_cell = PAGES[chapter].partition("```{code-cell}")[0]
    label, needs, _ = re.search(opening, first_cell, re.DOTALL).groups()
    text = "\n".join(PAGES.values())
    known = set(re.findall(r"^\((ch-\S+)\)=$", text, re.MULTILINE))
    assert set(re.findall(r"\{ref\}`(ch-[^`]+)`", needs)) <= known
    plan = page.partition("## Three weeks")[2].partition("\n## ")[0]
    assert re.search(rf"\{{ref\}}`(?:[^`<]*<)?{label}>?`", plan)


def test_contents_list_every_page_once():
    def entries(tree):
        if isinstance(tree, dict):
            return [tree[key] for key in ("root", "file") if key in tree] + entries(
                list(tree.values())
            )
        return (
            [entry for branch in tree for entry in entries(branch)]
            if isinstance(tree, list)
            else []
        )

    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    package = ROOT / "src" / "agent_dynamics"
    modules = [
        ".".join(path.relative_to(package).with_suffix("").parts)
        for path in package.rglob("[!_]*.py")
    ]
    assert sorted(entries(contents)) == sorted(
        [*PAGES, *(f"api/{module}" for module in modules)]
    )


def test_every_source_can_be_found_and_is_cited():
    text = "\n".join(PAGES.values())
    roles = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
    cited = [key.strip() for role in roles for key in role.split(",")]
    sources = parse_file(BOOK / "references.bib").entries
    assert len(sources) >= 40
    assert set(cited) == set(sources)
    for key, source in sources.items():
        assert {"title", "year"} <= set(source.fields), key
        assert source.persons["author"], key
        doi, number = (source.fields.get(name, "") for name in ("doi", "eprint"))
        assert re.fullmatch(r"10\.\d{4,}/\S+", doi) or re.fullmatch(
            r"\d{4}\.\d{4,5}", number
        ), key


def test_every_claim_of_the_paper_stands_behind_one_of_its_statements():
    listed = re.findall(r"<claim-([\w-]+)>", PAGES["field"])
    paper = [claim.id for claim in ledger().values() if claim.source == "paper"]
    assert sorted(listed) == sorted(paper)


def test_docstrings_cite_results_and_equations_that_the_book_has():
    text = "\n".join(PAGES.values())
    labels = {
        "prf:ref": set(re.findall(r"^:label: (\S+)$", text, re.MULTILINE)),
        "eq": set(re.findall(r"^\$\$ \((eq-[\w-]+)\)$", text, re.MULTILINE)),
    }
    cited = [
        found
        for path in (ROOT / "src").rglob("*.py")
        for found in re.findall(r":(prf:ref|eq):`([^`]+)`", path.read_text("utf-8"))
    ]
    assert cited
    assert [name for role, name in cited if name not in labels[role]] == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "src").rglob("*.py")), ids=lambda path: path.name
)
def test_every_module_is_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_every_annotation_of_the_package_can_be_checked():
    unreadable = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        parts = path.relative_to(ROOT / "src").with_suffix("").parts
        module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
        things = [thing for _, thing in inspect.getmembers(module)]
        classes = [thing for thing in things if inspect.isclass(thing)]
        for thing in [*things, *(x for c in classes for x in vars(c).values())]:
            own = getattr(thing, "fget", thing)
            if getattr(own, "__pydantic_complete__", False):
                continue  # pydantic has read its annotations
            if (
                inspect.isfunction(own) or inspect.isclass(own)
            ) and own.__module__ == module.__name__:
                try:
                    inspect.get_annotations(own, eval_str=True)
                except Exception as error:
                    unreadable.append(f"{own}: {error}")
    assert unreadable == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_code_that_is_open_has_at_most_fifteen_lines(chapter):
    text = re.sub(
        r"\{(exercise|solution)-start\}.*?\{\1-end\}", "", PAGES[chapter], flags=re.S
    )
    for cell in jupytext.reads(text, fmt="md:myst").cells:
        tags = set(cell.metadata.get("tags", []))
        if cell.cell_type == "code" and not tags & {"parameters", "hide-input"}:
            assert len(cell.source.splitlines()) <= 15, cell.source
