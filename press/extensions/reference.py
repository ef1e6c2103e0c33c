"""Sphinx: the reference of the package, one page a module, made from its docstrings.

A page is one automodule directive; they are written beside the chapters and listed in
_toc.yml. Docstrings are written to be read in help(): mathematics in plain text, a
formula on lines of its own, names in single backticks. Here the first is shielded from
being read as markup, the second is kept as it stands, and the third become links where
the package has such a name.

The reference is for the screen: a PDF leaves it out.
"""

import ast
import inspect
import re
import sys
from functools import cache
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging
from sphinx.util.inspect import stringify_signature

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).parents[2] / "src" / "agent_dynamics"
PART = "The package"
PAGES = "api"
PAGE = """# {title}

```{{raw}} html
<p class="module-name"><code>{module}</code>
<a href="{source}">source of the module</a></p>
```

```{{eval-rst}}
.. automodule:: {module}
   :members:
```
"""
SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):$")
# What keeps its form: roles, names and code between backticks; shapes and quoted words.
MARKED = re.compile(
    r"""(:[\w:]+:`[^`]+` | \{\w+:\w+\}`\w+` | `[^`]+`
    | \(\.{3}(?:,[^()]*)?\) | \(\*shape,[^()]*\) | \(\w+,\)
    | "[^\s"]*(?:[ ][^\s"]+)?")""",
    re.DOTALL | re.VERBOSE,
)
# A prime of mathematics, not an apostrophe: after a bracket, a digit, a letter's name.
PRIME = re.compile(r"([\])\dA-Z]|(?<![A-Za-z])[a-z]|phi|Delta)('+)(?!s\b)")
# Where Sphinx writes a signature with a parameter a line.
PARAMETERS = re.compile(
    r'(?<=<span class="sig-paren">\(</span>)\s*<dl>.*?</dl>', re.DOTALL
)


@cache
def modules() -> dict[str, Path]:
    """The public modules by their names, packages without their own `__init__`."""
    paths = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    return {
        name: path
        for name, path in paths.items()
        if not any(part.startswith("_") for part in name.split("."))
    }


def page_of(module: str) -> str:
    return f"{PAGES}/{module.removeprefix(PACKAGE.name + '.')}"


@cache
def names() -> frozenset[str]:
    """Whatever has an entry: modules, their public classes and functions, methods."""
    found = set(modules())
    for module, path in modules().items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(f"{module}.{node.name}")
                found |= {
                    f"{module}.{node.name}.{inner.name}"
                    for inner in getattr(node, "body", [])
                    if isinstance(node, ast.ClassDef)
                    and isinstance(inner, ast.FunctionDef)
                }
    return frozenset(
        name for name in found if not re.search(r"\._(?!_(call|getitem)__$)", name)
    )


def write_pages(app: Sphinx, config: Config) -> None:
    for module in modules():
        page = Path(app.srcdir, f"{page_of(module)}.md")
        text = PAGE.format(
            title=module.removeprefix(PACKAGE.name + "."),
            module=module,
            source=f"../_modules/{module.replace('.', '/')}.html",
        )
        # A page that is written again would be read again.
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.parent.mkdir(exist_ok=True)
            page.write_text(text, encoding="utf-8")


def let_go(app: Sphinx, doctree: nodes.document) -> None:
    """MyST-Parser reads the directive into a document of its own, which holds the whole
    environment: 17 MB that Sphinx would store, and read again, with each page.
    """
    for node in doctree.findall():
        node.document = doctree


def leave_out_of_print(app: Sphinx) -> None:
    if app.builder.format == "latex":
        root = app.config.external_site_map.root
        root.subtrees = [part for part in root.subtrees if part.caption != PART]
        app.config.exclude_patterns += ["package.md", f"{PAGES}/*"]


def target(name: str, within: str) -> str | None:
    """The entry that a docstring means by a name, looked for from the inside out."""
    while within:
        if f"{within}.{name}" in names():
            return f"{within}.{name}"
        within = within.rpartition(".")[0]
    return None


def marked(text: str, within: str) -> str:
    """A name between backticks is a link where it names an entry, code otherwise."""
    if text.startswith(":"):
        return text
    text = " ".join(text.split())
    if not text.startswith("`"):
        return f"``{text}``"
    text = text.strip("`")
    entry = target(text.removesuffix("()").removeprefix("."), within)
    return f":py:obj:`{text} <{entry}>`" if entry else f"``{text}``"


def plain(text: str) -> str:
    """Text in which nothing is markup."""
    text = PRIME.sub(lambda found: found[1] + "′" * len(found[2]), text)
    return re.sub(r"(?!^\* )([\\*|]|_(?=\W|$))", r"\\\1", text, flags=re.MULTILINE)


def convert(lines: list[str], within: str) -> list[str]:
    """A docstring as reStructuredText, with Google's sections left to napoleon."""
    paragraphs, in_section = [], False
    text = re.sub(r"\((:eq:`[^`]+`)\)", r"\1", "\n".join(lines).strip("\n"))
    for paragraph in re.split(r"\n{2,}", text):
        first = paragraph.partition("\n")[0]
        if not first.startswith(" "):
            in_section = bool(SECTION.match(first))
        if first.startswith("    ") and not in_section:
            paragraphs.append(".. code-block:: none\n\n" + paragraph)
            continue
        paragraphs.append(
            "".join(
                marked(part, within) if i % 2 else plain(part)
                for i, part in enumerate(MARKED.split(paragraph))
            )
        )
    return "\n\n".join(paragraphs).split("\n")


def read_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    lines[:] = [*convert(lines, name), ""]


def qualified(annotation: object, module: str) -> object:
    """An annotation as it is written, with the package's names in full, for links."""

    def full(found: re.Match) -> str:
        meant = getattr(sys.modules[module], found[0], None)
        home = getattr(meant, "__module__", None) or ""
        own = isinstance(meant, type) and home.partition(".")[0] == PACKAGE.name
        return f"{home}.{meant.__name__}" if own else found[0]

    if not isinstance(annotation, str):
        return annotation
    names = re.sub(r"""(?<![\w."'])[A-Za-z]\w*(?![^"]*"\])""", full, annotation)
    return names.replace('" ', '"')


def read_signature(
    app: Sphinx,
    what: str,
    name: str,
    obj: object,
    options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str, str | None] | None:
    """Annotations as they are written: ArrayLike and Float[Tensor, "*batch d"], not
    what they stand for.
    """
    if not signature:
        return None
    if getattr(obj, "_is_protocol", False):
        return "", None
    read = inspect.signature(obj)
    parameters = list(read.parameters.values())
    if what == "method" and parameters and parameters[0].name == "self":
        del parameters[0]
    module = obj.__module__
    read = read.replace(
        parameters=[
            parameter.replace(annotation=qualified(parameter.annotation, module))
            for parameter in parameters
        ],
        return_annotation=qualified(read.return_annotation, module),
    )
    text, arrow, returns = stringify_signature(read).rpartition(" -> ")
    if not arrow:
        return returns, None
    return text, None if what == "class" else returns


def own_source(app: Sphinx, module: str, name: str) -> str:
    """A property does not say of what module it is."""
    return module


def mend(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    """Sphinx sets the parameters of a long signature as a list of definitions without
    terms, and the theme the fold of a part's pages without a name.
    """
    if doctree is not None:
        context["body"] = PARAMETERS.sub(
            lambda found: re.sub("(</?)d[ld]>", r"\1span>", found[0]), context["body"]
        )
    if navigation := context.get("generate_toctree_html"):

        def named(**options: object) -> object:
            tree = navigation(**options)
            for fold in tree.find_all("summary"):
                fold["aria-label"] = "Pages of this part"
            return tree

        context["generate_toctree_html"] = named


def refuse_silence(
    app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object
) -> None:
    """A public name without documentation, which autodoc would leave out, is a warning,
    and the build takes warnings for errors.
    """
    code = getattr(obj, "fget", obj)
    listed = getattr(code, "__module__", None) in modules()
    if skip and listed and not name.startswith("_") and not inspect.getdoc(obj):
        logger.warning(f"{code.__module__}.{code.__qualname__} has no docstring")


def setup(app: Sphinx) -> dict:
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.napoleon")
    app.setup_extension("sphinx.ext.viewcode")
    app.connect("config-inited", write_pages, priority=100)
    app.connect("builder-inited", leave_out_of_print)
    app.connect("doctree-read", let_go)
    app.connect("viewcode-follow-imported", own_source)
    app.connect("autodoc-process-signature", read_signature)
    app.connect("autodoc-skip-member", refuse_silence)
    app.connect("html-page-context", mend, priority=900)
    app.connect("autodoc-process-docstring", read_docstring, priority=100)
    return {"parallel_read_safe": True}
