"""A style sheet without the rules that a site cannot use.

A theme styles what any site may hold. A rule goes where each of its selectors asks for
a class or an id that no page and no script of this one names.
"""

import re
from collections.abc import Iterator

import tinycss2
from tinycss2.ast import HashToken, IdentToken, Node

WORD = re.compile(r"[\w-]+")
# At-rules that hold rules; the others are kept as they are.
HOLDING = {"media", "supports"}


def asked_for(selector: list[Node]) -> Iterator[str]:
    """Its classes and ids; what stands in brackets, as in :not(.a), is an alternative
    and asks for nothing.
    """
    for before, node in zip([None, *selector], selector, strict=False):
        if isinstance(node, HashToken):
            yield node.value
        if isinstance(node, IdentToken) and before == ".":
            yield node.value


def named(name: str, words: frozenset[str]) -> bool:
    """Whole, or by a beginning that a script completes, as in "kind-" + kind."""
    starts = (name[: dash.end()] for dash in re.finditer(r"\w-", name))
    return name in words or any(start in words for start in starts)


def selectors(prelude: list[Node]) -> list[list[Node]]:
    found: list[list[Node]] = [[]]
    for node in prelude:
        if node == ",":
            found.append([])
        else:
            found[-1].append(node)
    return found


def rules_of(text: str | list[Node]) -> list[Node]:
    return tinycss2.parse_rule_list(text, skip_comments=True, skip_whitespace=True)


def kept(rules: list[Node], words: frozenset[str]) -> str:
    lines = []
    for rule in rules:
        if rule.type == "qualified-rule":
            used = [
                tinycss2.serialize(selector).strip()
                for selector in selectors(rule.prelude)
                if all(named(name, words) for name in asked_for(selector))
            ]
            if used:
                body = tinycss2.serialize(rule.content).strip()
                lines.append(f"{','.join(used)}{{{body}}}")
        elif rule.type == "at-rule" and rule.lower_at_keyword in HOLDING:
            if text := kept(rules_of(rule.content), words):
                head = tinycss2.serialize(rule.prelude).strip()
                lines.append(f"@{rule.at_keyword} {head}{{\n{text}\n}}")
        else:
            lines.append(rule.serialize())
    return "\n".join(lines)


def used_rules(sheet: str, words: frozenset[str]) -> str:
    """The sheet with the rules that some of the words name, without comments."""
    return kept(rules_of(sheet), words)
