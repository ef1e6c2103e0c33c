"""Sphinx: set the book as one PDF with LaTeX. How it looks is said in
print_edition.sty.

Paper has neither folds nor downloads: code that is folded on the site is left out,
solutions stand together at the end, a download is named by its file. Figures,
equations, results and exercises have the numbers that they have on the site.
"""

import os
import re
from pathlib import Path

import yaml
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.texescape import escape
from sphinx.writers.latex import LaTeXTranslator
from sphinx_exercise.nodes import exercise_enumerable_node, exercise_node, solution_node
from sphinx_proof.nodes import NODE_TYPES, proof_node, unenumerable_node

HERE = Path(__file__).parent
RESULTS = (*NODE_TYPES.values(), unenumerable_node)
EXERCISES = (exercise_enumerable_node, exercise_node)
SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "−0123456789")
# By the class that a claim has where it holds or does not.
BOXES = {"tip": "bookclaim", "error": "bookfailure"}


class page_content(nodes.Element):
    """What was moved away from the page `docname`, and whose labels are still that
    page's.
    """


def open_page(self: LaTeXTranslator, node: page_content) -> None:
    self.curfilestack.append(node["docname"])


def close_page(self: LaTeXTranslator, node: page_content) -> None:
    self.curfilestack.pop()


def latex(code: str) -> nodes.raw:
    return nodes.raw("", code, format="latex")


def label(docname: str, name: str) -> str:
    return rf"\detokenize{{{docname}:{name}}}"


def docname(node: nodes.Node) -> str:
    while not isinstance(node, (addnodes.start_of_file, nodes.document)):
        node = node.parent
    return node["docname"]


def body(children: list[nodes.Node]) -> list[nodes.Node]:
    """The children, with those of wrapping sections in their place."""
    return [
        inner
        for child in children
        for inner in (child.children if isinstance(child, nodes.section) else [child])
    ]


def environment(
    name: str, heading: list[nodes.Node], content: list[nodes.Node], anchors: str = ""
) -> list[nodes.Node]:
    """LaTeX's environment `name` with its heading as the argument, then labels to refer
    to, then the content.
    """
    opening = nodes.inline(
        "", "", latex(rf"\begin{{{name}}}{{"), *heading, latex("}" + anchors)
    )
    return [opening, *content, latex(rf"\end{{{name}}}")]


class PrintEdition(SphinxPostTransform):
    formats = ("latex",)
    default_priority = 800  # references, numbers and the bibliography are resolved

    def run(self) -> None:
        self.document["docname"] = self.config.root_doc
        for page in self.document.findall(addnodes.start_of_file):
            for child in page:
                # The builder that put the pages together left them their old parents.
                page.setup_child(child)
        self.leave_out_cover()
        self.leave_out_folded_code()
        self.name_downloads()
        self.set_claims_in_few_lines()
        self.number_named_chapters()
        self.raise_superscripts()
        self.number_as_the_site_does()
        self.set_results_and_exercises()
        self.arrange()
        self.collect_solutions()

    def leave_out_cover(self) -> None:
        """The title page has its place."""
        for image in list(self.document.findall(nodes.image)):
            if "cover" in image["classes"]:
                image.parent.remove(image)

    def leave_out_folded_code(self) -> None:
        for cell in list(self.document.findall(nodes.container)):
            if {"tag_hide-input", "tag_hide-cell"} & set(cell["classes"]):
                for child in list(cell.children):
                    if (
                        "cell_input" in child.get("classes", ())
                        or "tag_hide-cell" in cell["classes"]
                    ):
                        cell.remove(child)

    def name_downloads(self) -> None:
        for link in list(self.document.findall(addnodes.download_reference)):
            file = nodes.literal("", Path(link["reftarget"]).name)
            link.replace_self([nodes.Text(f"{link.astext()} "), file])

    def set_claims_in_few_lines(self) -> None:
        """Cards with a line for each value would fill many pages. A link leads to no
        container in LaTeX, but to a target within.
        """
        for card in list(self.document.findall(nodes.container)):
            if "claim" in card["classes"]:
                statement, verdict, about, *rest = card.children
                statement.insert(0, nodes.target("", "", ids=card["ids"]))
                card.remove(about)
                verdict += [nodes.Text(" · "), *about.children]
                for values in rest:
                    if isinstance(values, nodes.definition_list):
                        parts = [
                            f"{term.astext()} {value.astext()}"
                            for term, value in values
                        ]
                        values.replace_self(
                            nodes.paragraph("", f"{', '.join(parts).capitalize()}.")
                        )

    def number_named_chapters(self) -> None:
        """A link that names a chapter by its title says its number too: titles are hard
        to find on paper.
        """
        for link in list(self.document.findall(nodes.reference)):
            page = link.get("refuri", "").removeprefix("%").partition("#")[0]
            number = self.chapter_number(page)
            if number and link.astext() == self.env.titles[page].astext():
                link += nodes.Text(f" (chapter {number})")

    def chapter_number(self, page: str) -> int | None:
        number = self.env.toc_secnumbers.get(page, {}).get("")
        return number[0] if number else None

    def raise_superscripts(self) -> None:
        """The font of text has no glyphs for these; the font of code has."""
        for text in list(self.document.findall(nodes.Text)):
            parts = re.split(r"([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", text)
            if len(parts) > 1 and not isinstance(
                text.parent, (nodes.literal, nodes.math, nodes.FixedTextElement)
            ):
                text.parent.replace(
                    text,
                    [
                        nodes.superscript("", part.translate(SUPERSCRIPTS))
                        if i % 2
                        else nodes.Text(part.replace(" × 10", "\xa0×\xa010"))
                        for i, part in enumerate(parts)
                    ],
                )

    def number_as_the_site_does(self) -> None:
        for kind, counter, found in (
            ("figure", "figure", self.document.findall(nodes.figure)),
            ("displaymath", "equation", self.document.findall(nodes.math_block)),
        ):
            for node in list(found):
                numbers = self.env.toc_fignumbers.get(docname(node), {}).get(kind, {})
                for name in node["ids"]:
                    if name in numbers:
                        number = ".".join(map(str, numbers[name]))
                        setting = latex(
                            rf"\renewcommand{{\the{counter}}}{{{number}}}"
                            rf"\renewcommand{{\theH{counter}}}{{{name}}}"
                        )
                        before = node.previous_sibling()
                        while isinstance(before, nodes.target):
                            before = before.previous_sibling()
                        if kind == "displaymath" and isinstance(
                            before, nodes.paragraph
                        ):
                            before += setting  # between them it would tear them apart
                        else:
                            node.parent.insert(node.parent.index(node), setting)

    def set_results_and_exercises(self) -> None:
        for node in list(self.document.findall(lambda node: isinstance(node, RESULTS))):
            kind, name = node["realtype"].title(), node["label"]
            number = (
                self.env.toc_fignumbers.get(docname(node), {})
                .get(node["countertype"], {})
                .get(name, ())
            )
            heading = [
                nodes.Text(" ".join([kind, ".".join(map(str, number))]).strip()),
                *node[0].children,
            ]
            anchors = rf"\phantomsection\label{{{label(docname(node), name)}}}"
            node.replace_self(
                environment("bookresult", heading, body(node.children[1:]), anchors)
            )
        for node in list(self.document.findall(proof_node)):
            first = next(node.findall(nodes.Text))
            first.parent.replace(first, nodes.Text(first.removeprefix("Proof. ")))
            if isinstance(node[0][-1], nodes.paragraph):
                node[0][-1] += latex(r"\qedhere")  # on the last line, not below it
            node.replace_self(
                [latex(r"\begin{proof}"), *node[0].children, latex(r"\end{proof}")]
            )
        solved = {
            solution["target_label"]: solution["label"]
            for solution in self.document.findall(solution_node)
        }
        for node in list(
            self.document.findall(lambda node: isinstance(node, EXERCISES))
        ):
            page, name = docname(node), node["label"]
            anchors = (
                rf"\phantomsection\label{{{label(page, name)}}}"
                rf"\label{{exercise:{name}}}"
            )
            content = body(node.children[1:])
            if name in solved:
                content.append(latex(rf"\booksolvedon{{{label(page, solved[name])}}}"))
            node.replace_self(
                environment("bookexercise", node[0].children, content, anchors)
            )
        for node in list(self.document.findall(nodes.admonition)):
            box = next(
                (BOXES[name] for name in node["classes"] if name in BOXES), "bookaside"
            )
            node.replace_self(environment(box, node[0].children, node.children[1:]))

    def arrange(self) -> None:
        """The front page becomes an introduction, the parts of the contents parts of
        the book.
        """
        book = next(self.document.findall(nodes.section))
        title, *rest = book.children
        wrappers = [
            node for node in rest if "toctree-wrapper" in node.get("classes", ())
        ]
        toctrees = self.env.get_doctree(self.document["docname"]).findall(
            addnodes.toctree
        )
        front = nodes.section("", nodes.title("", "Introduction"), ids=["introduction"])
        front += [node for node in rest if node not in wrappers]
        book.children = []
        book += [title, latex(r"\bookunnumbered"), front]
        numbered = False
        for wrapper, toctree in zip(wrappers, toctrees, strict=True):
            if toctree["numbered"]:
                book += latex(rf"\bookpart{{{toctree['caption']}}}")
            elif numbered:
                book += latex(r"\bookback")
            numbered = bool(toctree["numbered"])
            book += wrapper
        for references in [
            node for node in self.document.children if node.tagname == "thebibliography"
        ]:
            page = next(
                node
                for node in self.document.findall(addnodes.start_of_file)
                if node["docname"] == references[0]["docname"]
            )
            self.document.remove(references)
            page[0] += references

    def collect_solutions(self) -> None:
        chapter = nodes.section("", nodes.title("", "Solutions"), ids=["solutions"])
        for solution in list(self.document.findall(solution_node)):
            page = solution["docname"]
            if chapter[-1].get("docname") != page:
                number = self.chapter_number(page)
                chapter_title = self.env.titles[page].deepcopy().children
                heading = nodes.title(
                    "", f"Chapter {number}: " if number else "", *chapter_title
                )
                chapter += page_content(
                    "", nodes.section("", heading, ids=["solutions"]), docname=page
                )
            solution.parent.remove(solution)
            exercise = label(page, solution["target_label"])
            to, link = solution[0].children
            heading = [to, nodes.Text(" "), link, latex(rf"\booksolves{{{exercise}}}")]
            anchors = rf"\phantomsection\label{{{label(page, solution['label'])}}}"
            chapter[-1][0] += environment(
                "booksolution", heading, body(solution.children[1:]), anchors
            )
        if len(chapter) > 1:
            next(self.document.findall(nodes.section)).append(chapter)


def configure(app: Sphinx, config: Config) -> None:
    citation = yaml.safe_load(
        (HERE.parents[1] / "CITATION.cff").read_text(encoding="utf-8")
    )
    paper = citation["references"][0]
    authors = ", ".join(
        f"{author['given-names']} {author['family-names']}"
        for author in paper["authors"]
    )
    facts = {
        "title": citation["title"],
        "author": config.author,
        "version": citation["version"],
        "licence": citation["license"],
        "edition": os.environ["EDITION"],
        "papertitle": paper["title"],
        "paperauthors": authors,
        "paperyear": paper["year"],
        "paperid": paper["identifiers"][0]["value"],
        "paperurl": paper["url"],
    }
    commands = [
        rf"\newcommand{{\book{name}}}{{{escape(str(value), 'xelatex')}}}"
        for name, value in facts.items()
    ]
    config.latex_engine = "xelatex"
    config.latex_documents = [
        (config.master_doc, "book.tex", citation["title"], config.author, "manual")
    ]
    config.latex_docclass = {"manual": "book"}
    config.latex_additional_files = [str(HERE / "print_edition.sty")]
    config.latex_domain_indices = False
    config.latex_elements = {
        "papersize": "a4paper",
        "pointsize": "10pt",
        "extraclassoptions": "openany,oneside",
        "fontpkg": "",
        "fncychap": "",
        "figure_align": "htbp",
        "makeindex": "",
        "printindex": "",
        "sphinxsetup": "hmargin=2.6cm, vmargin={2.6cm,2.8cm}, "
        "verbatimwithframe=false, VerbatimColor={RGB}{246,247,249}",
        "preamble": "\n".join([*commands, r"\usepackage{print_edition}"]),
        "maketitle": r"\booktitlepage",
        "tableofcontents": r"\bookcontents",
    }


def setup(app: Sphinx) -> dict:
    app.add_node(page_content, latex=(open_page, close_page))
    app.add_post_transform(PrintEdition)
    app.connect("config-inited", configure, priority=900)
    return {"parallel_read_safe": True}
