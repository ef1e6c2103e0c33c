"""The ledger as a page of the book: every claim with its verdicts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from IPython.display import display

from . import build
from .claims import (
    Claim,
    ClaimFailed,
    Verdict,
    comparison,
    ledger,
    recorded,
    values,
    word,
)

Entry = tuple[Claim, Verdict | None]


def show_ledger() -> None:
    """Show the ledger with the verdicts of the build; outside one, the claims alone.

    Raises:
        ClaimFailed: in a full build, a claim of the ledger that no chapter recorded.
    """
    directory, claims = build.build_directory(), ledger()
    verdicts = recorded(directory) if directory is not None else {}
    missing = [
        key for key, claim in claims.items() if key not in verdicts and not claim.needs
    ]
    if missing and build.profile() == "full":
        raise ClaimFailed(f"no chapter recorded the claims {', '.join(missing)}")
    entries: list[Entry] = [
        (claim, verdict)
        for claim in claims.values()
        for verdict in (*verdicts.get(claim.id, ()),) or (None,)
    ]
    summary = _summary(entries)
    _display(
        summary, f":::{{div}} ledger-summary\n{summary}\n:::" if directory else summary
    )
    for chapter in dict.fromkeys(claim.chapter for claim in claims.values()):
        listed = [entry for entry in entries if entry[0].chapter == chapter]
        plain = "\n".join([f"**{chapter}**", "", *(_line(*entry) for entry in listed)])
        cards = [
            f"::::{{div}} ledger-chapter\n**[](/{chapter})**\n",
            *(_card(*entry) for entry in listed),
            "::::",
        ]
        _display(plain, "\n".join(cards) if directory else plain)


def _display(plain: str, page: str) -> None:
    display({"text/markdown": page, "text/plain": plain}, raw=True)


def _summary(entries: Sequence[Entry]) -> str:
    claims = {claim.id: claim for claim, _ in entries}
    paper = sum(claim.source == "paper" for claim in claims.values())
    words = Counter(word(verdict) for _, verdict in entries)
    return (
        f"{len(claims)} claims: {paper} from the paper, {len(claims) - paper} added "
        f"here; {words['holds']} hold, {words['does not hold']} do not hold, "
        f"{words['not run']} not run. A claim about language models counts once for "
        "each."
    )


def _line(claim: Claim, verdict: Verdict | None) -> str:
    result = f"{word(verdict)}: {comparison(verdict)}" if verdict else _not_run(claim)
    whose = f", {verdict.model}" if verdict and verdict.model else ""
    return (
        f"- `{claim.id}` ({claim.source}{whose}): {claim.statement}\\\n"
        f"  {_sentence(result)}"
    )


def _card(claim: Claim, verdict: Verdict | None) -> str:
    """The claim as an item of a list on the book's page; book.css and ledger.js know
    its classes.
    """
    about = [f"*{claim.source.capitalize()}*", f"`{claim.id}`"]
    about += [f"{{prf:ref}}`{claim.theorem}`"] if claim.theorem else []
    about += [f"{{numref}}`Figure %s <fig-{claim.figure}>`"] if claim.figure else []
    found, name = word(verdict), f"claim-{claim.id}"
    if verdict and verdict.model:
        about.append(verdict.model)
        name += "-" + re.sub(r"[^a-z0-9]+", "-", verdict.model.lower())
    kinds = f"{claim.source.split()[0]} {found.replace(' ', '-')}"
    lines = [
        f":::{{div}} claim {kinds}",
        f":name: {name}",
        "",
        claim.statement,
        "",
        f"**{found.capitalize()}**",
        "",
        " · ".join(about),
        "",
    ]
    if verdict:
        lines += [
            f"{key.capitalize()}\n: {value}\n" for key, value in values(verdict).items()
        ]
    else:
        lines += [_sentence(_not_run(claim)), ""]
    return "- " + "\n".join([*lines, ":::"]).replace("\n", "\n  ") + "\n"


def _not_run(claim: Claim) -> str:
    return f"not run: it needs {claim.needs}" if claim.needs else "not run"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
