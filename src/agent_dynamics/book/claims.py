"""The ledger of claims: what the paper or this book says, checked with a tolerance at
every build.

`claims.toml` lists every claim. A chapter records what it predicted and measured; the
book's last page shows all of them and fails the full build when one is missing.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from IPython.display import display
from numpy.typing import ArrayLike

from .. import _checks
from . import build
from .glue import readable

MIME = "application/vnd.agent-dynamics.claim+json"


@dataclass(frozen=True)
class Claim:
    """One line of the ledger.

    Attributes:
        id: its name.
        statement: what is claimed, in MyST Markdown.
        source: "paper", or "added here".
        chapter: stem of the chapter that records it.
        theorem: label of the theorem behind it, or empty.
        figure: name of the figure that shows it, or empty.
        needs: what a build has to be given before it can record the claim, or empty.
            Such a claim may be missing, and as it says what a given model does, it may
            fail without stopping the build.
    """

    id: str
    statement: str
    source: str
    chapter: str
    theorem: str = ""
    figure: str = ""
    needs: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a chapter recorded for a claim; for batches, the worst of `cases`.

    Attributes:
        id: the claim's.
        predicted, measured: the values where they differ most.
        difference: their distance, divided by |predicted| where `relative`.
        tolerance: the largest distance at which the claim holds.
        relative: whether the distance is relative.
        cases: how many pairs of values were compared.
        holds: whether every one lies within the tolerance.
    """

    id: str
    predicted: float
    measured: float
    difference: float
    tolerance: float
    relative: bool
    cases: int
    holds: bool


class ClaimFailed(AssertionError):
    """A claim that does not hold within its tolerance, in a build of the book."""


def ledger() -> dict[str, Claim]:
    """Every claim by id, in the order of `claims.toml`."""
    text = files(__package__).joinpath("claims.toml").read_text(encoding="utf-8")
    return {key: Claim(key, **entry) for key, entry in tomllib.loads(text).items()}


def record(
    claim: str,
    *,
    predicted: ArrayLike,
    measured: ArrayLike,
    tolerance: float,
    relative: bool = False,
) -> Verdict:
    """Compare a prediction with what was measured, show the verdict and, in a build,
    enter it in the ledger.

    Args:
        claim: an id of the ledger.
        predicted, measured: numbers or arrays that broadcast together; the worst case
            decides.
        tolerance: the largest |measured - predicted| (divided by |predicted| where
            `relative`).
        relative: measure the distance relative to the prediction.

    Raises:
        ValueError: an id that the ledger does not have, values that are not finite,
            nothing to compare, a tolerance that is not positive, a relative distance to
            a prediction of zero.
        ClaimFailed: in a build of the book, a claim that does not hold.
    """
    claims = ledger()
    if claim not in claims:
        raise _checks.bad("claim", repr(claim), "an id in claims.toml")
    tolerance = _checks.finite_number("tolerance", tolerance, above=0)
    p, m = np.asarray(predicted, float), np.asarray(measured, float)
    try:
        p, m = np.broadcast_arrays(p, m)
    except ValueError as error:
        raise _checks.bad(
            "predicted and measured",
            f"of shapes {p.shape} and {m.shape}",
            "shapes that broadcast together",
        ) from error
    if p.size == 0:
        raise _checks.bad("measured", "empty", "at least one value")
    for name, values in (("predicted", p), ("measured", m)):
        if not np.isfinite(values).all():
            raise _checks.bad(name, "not finite (NaN or infinity)", "finite")
    if relative and (p == 0).any():
        raise _checks.bad(
            "predicted", "0", "other than 0 where the distance is relative"
        )
    distance = np.abs(m - p) / (np.abs(p) if relative else 1.0)
    worst = np.unravel_index(distance.argmax(), distance.shape)
    verdict = Verdict(
        claim,
        float(p[worst]),
        float(m[worst]),
        float(distance[worst]),
        tolerance,
        relative,
        p.size,
        bool(distance[worst] <= tolerance),
    )
    _show(claims[claim], verdict)
    if (
        not (verdict.holds or claims[claim].needs)
        and build.build_directory() is not None
    ):
        raise ClaimFailed(f"claim {claim} does not hold: {_comparison(verdict)}")
    return verdict


def recorded(directory: Path) -> dict[str, Verdict]:
    """The verdicts in the executed notebooks of the ledger's chapters in a folder, by
    claim id.
    """
    verdicts = {}
    chapters = {claim.chapter for claim in ledger().values()}
    for path in (directory / f"{chapter}.ipynb" for chapter in sorted(chapters)):
        if not path.exists():
            continue
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if entry := output.get("data", {}).get(MIME):
                    verdicts[entry["id"]] = Verdict(**entry)
    return verdicts


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
    summary = _summary(claims, verdicts)
    _display(
        summary, f":::{{div}} ledger-summary\n{summary}\n:::" if directory else summary
    )
    for chapter in dict.fromkeys(claim.chapter for claim in claims.values()):
        listed = [
            (claim, verdicts.get(claim.id))
            for claim in claims.values()
            if claim.chapter == chapter
        ]
        plain = "\n".join([f"**{chapter}**", "", *(_line(*entry) for entry in listed)])
        cards = [
            f"::::{{div}} ledger-chapter\n**[](/{chapter})**\n",
            *(_card(*entry) for entry in listed),
            "::::",
        ]
        _display(plain, "\n".join(cards) if directory else plain)


def _display(plain: str, page: str) -> None:
    display({"text/markdown": page, "text/plain": plain}, raw=True)


def _summary(claims: Mapping[str, Claim], verdicts: Mapping[str, Verdict]) -> str:
    paper = sum(claim.source == "paper" for claim in claims.values())
    words = Counter(_word(verdicts.get(claim)) for claim in claims)
    return (
        f"{len(claims)} claims: {paper} from the paper, {len(claims) - paper} added "
        "here; "
        f"{words['holds']} hold, {words['does not hold']} do not hold, "
        f"{words['not run']} not run."
    )


def _line(claim: Claim, verdict: Verdict | None) -> str:
    result = f"{_word(verdict)}: {_comparison(verdict)}" if verdict else _not_run(claim)
    return (
        f"- `{claim.id}` ({claim.source}): {claim.statement}\\\n  {_sentence(result)}"
    )


def _card(claim: Claim, verdict: Verdict | None) -> str:
    """The claim as an item of a list on the book's page; book.css and ledger.js know
    its classes.
    """
    about = [f"*{claim.source.capitalize()}*", f"`{claim.id}`"]
    about += [f"{{prf:ref}}`{claim.theorem}`"] if claim.theorem else []
    about += [f"{{numref}}`Figure %s <fig-{claim.figure}>`"] if claim.figure else []
    word = _word(verdict)
    kinds = f"{claim.source.split()[0]} {word.replace(' ', '-')}"
    lines = [
        f":::{{div}} claim {kinds}",
        f":name: claim-{claim.id}",
        "",
        claim.statement,
        "",
        f"**{word.capitalize()}**",
        "",
        " · ".join(about),
        "",
    ]
    if verdict:
        lines += [
            f"{name.capitalize()}\n: {value}\n"
            for name, value in _values(verdict).items()
        ]
    else:
        lines += [_sentence(_not_run(claim)), ""]
    return "- " + "\n".join([*lines, ":::"]).replace("\n", "\n  ") + "\n"


def _not_run(claim: Claim) -> str:
    return f"not run: it needs {claim.needs}" if claim.needs else "not run"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _word(verdict: Verdict | None) -> str:
    return (
        "not run" if verdict is None else "holds" if verdict.holds else "does not hold"
    )


def _values(verdict: Verdict) -> dict[str, str]:
    cases = f", the worst of {verdict.cases:,} values" if verdict.cases > 1 else ""
    return {
        "predicted": readable(verdict.predicted, ".4g"),
        "measured": readable(verdict.measured, ".4g"),
        "relative distance" if verdict.relative else "distance": readable(
            verdict.difference
        )
        + cases,
        "tolerance": readable(verdict.tolerance),
    }


def _comparison(verdict: Verdict) -> str:
    return ", ".join(f"{name} {value}" for name, value in _values(verdict).items())


def _show(claim: Claim, verdict: Verdict) -> None:
    plain = f"Claim {claim.id} {_word(verdict)}: {_comparison(verdict)}."
    page = (
        f"```{{admonition}} Claim {claim.id}: {_word(verdict)}\n"
        f":class: {'tip' if verdict.holds else 'error'}\n"
        f"{claim.statement} *Source: "
        f"{claim.source}.*\n\n{_comparison(verdict).capitalize()}.\n```\n"
    )
    # A notebook of one's own does not know the page's directive.
    shown = page if build.build_directory() else f"{claim.statement} {plain}"
    display(
        {MIME: asdict(verdict), "text/markdown": shown, "text/plain": plain}, raw=True
    )
