"""The ledger of claims: what the paper or this book says, checked with a tolerance at
every build.

`claims.toml` lists every claim. A chapter records what it predicted and measured.
"""

from __future__ import annotations

import json
import tomllib
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
            Such a claim may be missing.
        about_models: whether it is recorded of each language model. As it says what a
            given model does, it may fail without stopping the build.
    """

    id: str
    statement: str
    source: str
    chapter: str
    theorem: str = ""
    figure: str = ""
    needs: str = ""
    about_models: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a chapter recorded for a claim; for batches, the worst of `cases`.

    Attributes:
        id: the claim's.
        predicted, measured: the values where they differ most; of a claim that bounds,
            the bound and what is largest beside it.
        difference: their distance, divided by |predicted| where `relative`; of a claim
            that bounds, the share of the bound.
        tolerance: the largest difference at which the claim holds.
        relative: whether the distance is relative.
        cases: how many pairs of values were compared.
        holds: whether every one lies within the tolerance.
        bounds: whether the claim is that `predicted` is a bound.
        model: of which the claim was recorded, or empty.
    """

    id: str
    predicted: float
    measured: float
    difference: float
    tolerance: float
    relative: bool
    cases: int
    holds: bool
    bounds: bool = False
    model: str = ""

    def _ipython_display_(self) -> None:
        """Nothing: `record` has shown the claim."""


class ClaimFailed(AssertionError):
    """A claim that does not hold within its tolerance, in a build of the book."""


def ledger() -> dict[str, Claim]:
    """Every claim by id, in the order of `claims.toml`."""
    text = files(__package__).joinpath("claims.toml").read_text(encoding="utf-8")
    return {key: Claim(key, **entry) for key, entry in tomllib.loads(text).items()}


def record(
    claim: str,
    *,
    measured: ArrayLike,
    predicted: ArrayLike | None = None,
    tolerance: float | None = None,
    relative: bool = False,
    at_most: ArrayLike | None = None,
    model: str = "",
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
        at_most: in place of a prediction and its tolerance, what `measured` must not
            exceed; greater than zero.
        model: of which the claim is recorded, where the ledger has it of each.

    Raises:
        ValueError: an id that the ledger does not have, values that are not finite,
            nothing to compare, a tolerance or a bound that is not positive, a relative
            distance to a prediction of zero, a prediction and a bound or neither, a
            model that is missing or too many.
        ClaimFailed: in a build of the book, a claim that does not hold.
    """
    claims = ledger()
    if claim not in claims:
        raise _checks.bad("claim", repr(claim), "an id in claims.toml")
    if bool(model) != claims[claim].about_models:
        must = "a model's name" if claims[claim].about_models else "left out"
        raise _checks.bad("model", repr(model), f"{must} for the claim {claim}")
    if (at_most is None) != (predicted is not None and tolerance is not None):
        raise _checks.bad(
            "at_most",
            "left out" if at_most is None else "given",
            "given, or a prediction with its tolerance",
        )
    if at_most is None:
        tolerance = _checks.finite_number("tolerance", tolerance, above=0)
        p, m = _pairs("predicted", predicted, measured)
        if relative and (p == 0).any():
            raise _checks.bad(
                "predicted", "0", "other than 0 where the distance is relative"
            )
        distance = np.abs(m - p) / (np.abs(p) if relative else 1.0)
    else:
        p, m = _pairs("at_most", at_most, measured)
        if not (p > 0).all():
            raise _checks.bad("at_most", f"{p.min():g}", "greater than 0")
        tolerance, distance = 1.0, m / p
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
        at_most is not None,
        model,
    )
    _show(claims[claim], verdict)
    if not (verdict.holds or model) and build.build_directory() is not None:
        raise ClaimFailed(f"claim {claim} does not hold: {comparison(verdict)}")
    return verdict


def _pairs(
    name: str, predicted: ArrayLike | None, measured: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Both as finite arrays of one shape that is not empty."""
    p, m = np.asarray(predicted, float), np.asarray(measured, float)
    try:
        p, m = np.broadcast_arrays(p, m)
    except ValueError as error:
        raise _checks.bad(
            f"{name} and measured",
            f"of shapes {p.shape} and {m.shape}",
            "shapes that broadcast together",
        ) from error
    if p.size == 0:
        raise _checks.bad("measured", "empty", "at least one value")
    for argument, values in ((name, p), ("measured", m)):
        if not np.isfinite(values).all():
            raise _checks.bad(argument, "not finite (NaN or infinity)", "finite")
    return p, m


def recorded(directory: Path) -> dict[str, list[Verdict]]:
    """The verdicts in the executed notebooks of the ledger's chapters in a folder, by
    claim id: one, or one of each model.
    """
    verdicts: dict[str, dict[str, Verdict]] = {}
    chapters = {claim.chapter for claim in ledger().values()}
    for path in (directory / f"{chapter}.ipynb" for chapter in sorted(chapters)):
        if not path.exists():
            continue
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if entry := output.get("data", {}).get(MIME):
                    verdict = Verdict(**entry)
                    verdicts.setdefault(verdict.id, {})[verdict.model] = verdict
    return {claim: list(entries.values()) for claim, entries in verdicts.items()}


def word(verdict: Verdict | None) -> str:
    """Of one verdict, or of none."""
    return (
        "not run" if verdict is None else "holds" if verdict.holds else "does not hold"
    )


def values(verdict: Verdict) -> dict[str, str]:
    """What there is to say of a verdict, by name."""
    cases = f", the worst of {verdict.cases:,} values" if verdict.cases > 1 else ""
    if verdict.bounds:
        return {
            "bound": readable(verdict.predicted, ".4g"),
            "measured": readable(verdict.measured, ".4g"),
            "share of the bound": readable(verdict.difference) + cases,
        }
    return {
        "predicted": readable(verdict.predicted, ".4g"),
        "measured": readable(verdict.measured, ".4g"),
        "relative distance" if verdict.relative else "distance": readable(
            verdict.difference
        )
        + cases,
        "tolerance": readable(verdict.tolerance),
    }


def comparison(verdict: Verdict) -> str:
    """The verdict's values in one line."""
    return ", ".join(f"{name} {value}" for name, value in values(verdict).items())


def _show(claim: Claim, verdict: Verdict) -> None:
    of_whom = f" of {verdict.model}" if verdict.model else ""
    plain = f"Claim {claim.id} {word(verdict)}{of_whom}: {comparison(verdict)}."
    kind = "holds" if verdict.holds else "does-not-hold"
    page = (
        f"::::{{dropdown}} {word(verdict).capitalize()}{of_whom}: {claim.statement}\n"
        f":class-container: claim-line {kind}\n\n"
        f"{comparison(verdict).capitalize()}. *Source: {claim.source}.* "
        f"`{claim.id}`\n::::\n"
    )
    # A notebook of one's own does not know the page's directive.
    shown = page if build.build_directory() else f"{claim.statement} {plain}"
    display(
        {MIME: asdict(verdict), "text/markdown": shown, "text/plain": plain}, raw=True
    )
