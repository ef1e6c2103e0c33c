"""The book's Markdown as any notebook shows it: plain, with mathematics, and without
the roles and directives that are the page's.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

BOOK = Path(__file__).parents[1] / "book"
HELD_BACK = Path(__file__).with_name("held_back.md")

DIRECTIVE = re.compile(
    r"^(`{3,}|:{3,})\{([\w:-]+)\} *(.*)\n((?::[\w-]+:.*\n)*)((?:.*\n)*?)\1$\n?",
    re.MULTILINE,
)
ROLE = re.compile(r"\{(glue:text|ref|prf:ref|eq|cite(?::t)?)\}`([^`]+)`")
EQUATION = re.compile(r"^\$\$ \((eq-[\w-]+)\)$", re.MULTILINE)
HEADING = re.compile(r"^\(([\w-]+)\)=\n#+ (.*)$", re.MULTILINE)
WORK = re.compile(
    r"^@\w+\{([\w-]+),.*?^  author = \{(.*?)\}.*?^  year = \{(\d+)\}",
    re.DOTALL | re.MULTILINE,
)
PAGES_ALONE = ("raw", "explorable", "image")


@dataclass(frozen=True)
class Target:
    """What a reference may lead to: its name, and its page where it is a heading."""

    name: str
    page: str | None = None


def kind_of(directive: str) -> str:
    """Theorem for prf:theorem, Exercise for exercise-start."""
    return directive.removeprefix("prf:").removesuffix("-start").capitalize()


def targets(book: Path = BOOK) -> dict[str, Target]:
    """Every label of the book. Results and exercises are numbered as on its pages:
    each kind on its own, from 1 in each chapter. H stands for what is held back.
    """
    found = {}
    for page in [*sorted(book.glob("*.md")), HELD_BACK]:
        text = page.read_text(encoding="utf-8")
        for label, title in HEADING.findall(text):
            found[label] = Target(title, page.stem)
        if page == HELD_BACK:
            chapter = "H"
        elif re.match(r"\d\d-", page.stem):
            chapter = str(int(page.stem[:2]))
        else:
            continue
        counts = Counter()
        for _, directive, _, options, _ in DIRECTIVE.findall(text):
            counts[directive] += 1
            if label := re.search(r"^:label: (\S+)$", options, re.MULTILINE):
                number = f"{chapter}.{counts[directive]}"
                found[label[1]] = Target(f"{kind_of(directive)} {number}")
        for number, label in enumerate(EQUATION.findall(text), start=1):
            found[label] = Target(f"({chapter}.{number})")
    works = (book / "references.bib").read_text(encoding="utf-8")
    for key, authors, year in WORK.findall(works):
        names = [author.split(",")[0] for author in authors.split(" and ")]
        said = ", ".join(names) if len(names) <= 3 else f"{names[0]} et al."
        found[key] = Target(f"{said} ({year})")
    return found


@dataclass(frozen=True)
class Plain:
    """Makes the book's Markdown plain.

    Attributes:
        targets: what references name.
        address: where a page of the book is, or None where that is not known.
    """

    targets: Mapping[str, Target]
    address: Callable[[str], str | None]

    def markdown(self, text: str, glued: Mapping[str, str]) -> str:
        """Without directives and roles; `glued` has the numbers of the run."""
        text = DIRECTIVE.sub(self._directive, text)
        text = EQUATION.sub(
            lambda match: f"\\tag{{{self.targets[match[1]].name[1:-1]}}}\n$$", text
        )
        text = self.roles(text, glued)
        return re.sub(r"^\([\w-]+\)=\n", "", text, flags=re.MULTILINE).strip()

    def roles(self, text: str, glued: Mapping[str, str]) -> str:
        """With words in the place of roles, also where they stand in code."""

        def words(match: re.Match) -> str:
            role, content = match.groups()
            if role == "glue:text":
                return glued.get(content, "(run to see)")
            if role.startswith("cite"):
                return "; ".join(self.targets[key].name for key in content.split(","))
            said, _, label = content.removesuffix(">").rpartition("<")
            target = self.targets[label]
            address = target.page and self.address(target.page)
            if address:
                return f"[{said.strip() or target.name}]({address})"
            return said.strip() or (f"*{target.name}*" if target.page else target.name)

        return ROLE.sub(words, text)

    def _directive(self, match: re.Match) -> str:
        _, kind, title, options, body = match.groups()
        label = re.search(r"^:label: (\S+)$", options, re.MULTILINE)
        name = self.targets[label[1]].name if label else kind_of(kind)
        if kind == "exercise-start":  # what it encloses follows
            return f"### {name}: {title}\n\n"
        if kind == "solution-start":
            return f"**Solution to {self.targets[title.strip()].name}.** "
        if kind.endswith("-end") or kind in PAGES_ALONE:
            return ""
        if kind == "admonition" and "hint" in options:
            summary = f"<summary>{title}</summary>"
            return f"<details>\n{summary}\n\n{body.strip()}\n\n</details>\n"
        if kind == "admonition":
            lines = (f"**{title}**", "", *body.strip().splitlines())
            return "".join(f"> {line}\n" for line in lines)
        if kind == "prf:proof":
            return f"*Proof.* {body.strip()} $\\square$\n"
        if kind.startswith("prf:"):
            heading = f"{name} ({title})" if title else name
            return f"**{heading}**\n\n{body.strip()}\n"
        return body
