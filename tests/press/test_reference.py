"""The reference of the package: it has every public name, and docstrings become the
text that they mean.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from sphinx.testing.util import SphinxTestApp

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "press" / "extensions"))
reference = import_module("reference")
sys.path.pop(0)


def public(module: ModuleType) -> Iterator[str]:
    """The module, its classes and functions, and what the classes can be asked for."""
    yield module.__name__
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        if name.startswith("_") or not (own or name in getattr(module, "__all__", [])):
            continue
        if inspect.isroutine(value):
            yield f"{module.__name__}.{name}"
        elif inspect.isclass(value):
            yield f"{module.__name__}.{name}"
            for home in value.__mro__:
                if home.__module__.startswith("agent_dynamics"):
                    for member, what in vars(home).items():
                        if not member.startswith("_") and (
                            inspect.isroutine(what) or hasattr(what, "__get__")
                        ):
                            yield f"{module.__name__}.{name}.{member}"


@pytest.fixture(scope="module")
def entries(tmp_path_factory) -> set[str]:
    """What a site of the reference alone has an entry for."""
    folder = tmp_path_factory.mktemp("reference")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    wanted = {
        name: value
        for name, value in config["sphinx"]["config"].items()
        if name.startswith(("autodoc", "napoleon"))
    }
    (folder / "conf.py").write_text(
        "extensions = ['myst_parser', 'sphinx_proof', 'reference']\n"
        "root_doc = 'page'\n"
        + "".join(f"{name} = {value!r}\n" for name, value in wanted.items()),
        encoding="utf-8",
    )
    (folder / "page.md").write_text(
        "# Page\n\n```{toctree}\n:glob:\n\napi/*\n```\n", encoding="utf-8"
    )
    app = SphinxTestApp("dummy", srcdir=folder)
    app.build()
    app.cleanup()
    # The theorems and equations that docstrings cite are in the chapters.
    elsewhere = re.compile(
        r"label '(thm|prop|lem|cor)-\S+' not found|equation not found"
    )
    warnings = app.warning.getvalue().splitlines()
    assert [line for line in warnings if not elsewhere.search(line)] == []
    return set(app.env.domains["py"].objects)


@pytest.mark.parametrize("module", reference.modules())
def test_every_public_name_has_an_entry(module, entries):
    assert set(public(import_module(module))) - entries == set()


def test_a_public_name_without_a_docstring_is_a_warning(tmp_path, monkeypatch):
    module = import_module("agent_dynamics.limits")
    monkeypatch.setattr(module.ring_equilibrium, "__doc__", None)
    monkeypatch.setattr(module.Limits, "__doc__", None)
    (tmp_path / "conf.py").write_text(
        "extensions = ['myst_parser', 'sphinx_proof', 'reference']\nroot_doc = 'page'\n"
    )
    (tmp_path / "page.md").write_text("# Page\n\n```{toctree}\napi/limits\n```\n")
    app = SphinxTestApp("dummy", srcdir=tmp_path)
    app.build()
    app.cleanup()
    silent = re.findall(r"(\S+) has no docstring", app.warning.getvalue())
    assert {name.rpartition(".")[2] for name in silent} == {
        "Limits",
        "ring_equilibrium",
    }


def test_every_name_that_docstrings_may_link_to_has_an_entry(entries):
    assert reference.names() - entries == set()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("||x|| and w* - u*", r"\|\|x\|\| and w\* - u\*"),
        ("S_W' A B, x_i'w, phi''_i", "S_W′ A B, x_i′w, phi′′_i"),
        ("(A g)'(u_t - u), [X y]'y", "(A g)′(u_t - u), [X y]′y"),
        ("W's, the agents' and an agent's", "W's, the agents' and an agent's"),
        ("shape (..., d)", "shape ``(..., d)``"),
        ('"w" or "own run"', '``"w"`` or ``"own run"``'),
        ("as `tolerance` says", "as ``tolerance`` says"),
        ("on `plateau_`", "on ``plateau_``"),
        (
            "as `interact`",
            "as :py:obj:`interact <agent_dynamics.interaction.interact>`",
        ),
        (
            "by `agents.batch_of`",
            "by :py:obj:`agents.batch_of <agent_dynamics.agents.batch_of>`",
        ),
        ("a turn (:eq:`eq-turn`)", "a turn :eq:`eq-turn`"),
        ("see :prf:ref:`thm-noise`", "see :prf:ref:`thm-noise`"),
        (
            "It is\n\n    a* = b,\n\nso",
            "It is\n\n.. code-block:: none\n\n    a* = b,\n\nso",
        ),
        ("Args:\n    w: w*.", "Args:\n    w: w\\*."),
        ("* one\n* w*", "* one\n* w\\*"),
    ],
)
def test_a_docstring_becomes_the_text_that_it_means(written, read):
    within = "agent_dynamics.interaction.Protocol.players"
    assert "\n".join(reference.convert(written.split("\n"), within)) == read


@pytest.mark.parametrize(
    ("annotation", "read"),
    [
        ('Float[Tensor, "*#batch d"]', 'Float[Tensor, "*#batch d"]'),
        ('Float[Tensor, " turns"] | None', 'Float[Tensor, "turns"] | None'),
        ("list[Agent]", "list[agent_dynamics.agents.Agent]"),
    ],
)
def test_a_signature_keeps_its_annotations_and_names_the_packages_own(annotation, read):
    import_module("agent_dynamics.interaction")
    assert reference.qualified(annotation, "agent_dynamics.interaction") == read
