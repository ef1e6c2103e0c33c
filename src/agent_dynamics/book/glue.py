"""Numbers that the prose takes from the run: glued in, never typed."""

from __future__ import annotations

import math
from decimal import Decimal

from IPython.display import display

from .. import _checks

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def glue(
    name: str, value: str | float, spec: str = ".2g", *, bound: bool = False
) -> None:
    """Make a value available to the page as {glue:text}`name`.

    Writes the output that MyST-NB's own glue writes, without needing Sphinx in the
    kernel; outside the book it shows nothing.

    Args:
        name: the key, unique in the book.
        value: a number, or text that is glued as it is.
        spec: format specification of a number; powers of ten are set as such.
        bound: whether the page says "at most": a number is then rounded up.

    Raises:
        ValueError: a number that is not finite, or what is no number.
    """
    if isinstance(value, str):
        text = value
    else:
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise _checks.bad("value", repr(value), "a number or text") from error
        if not math.isfinite(number):
            raise _checks.bad("value", number, "finite")
        text = readable(_rounded_up(number, spec) if bound else number, spec)
    # Quoted, since the page would read 2,000 as a pair of numbers and 2.00 as 2.0.
    display(
        {"application/papermill.record/text/plain": repr(text)},
        raw=True,
        metadata={
            "scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}
        },
    )


def readable(value: float, spec: str = ".2g") -> str:
    """A number as a reader would write it: 3.2e-08 becomes 3.2 × 10⁻⁸."""
    mantissa, _, exponent = format(value, spec).partition("e")
    mantissa = mantissa.replace("-", "−")
    if not exponent:
        return mantissa
    power = f"10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    return power if mantissa == "1" else f"{mantissa} × {power}"


def _rounded_up(value: float, spec: str) -> float:
    """The least number with the digits of `spec` that is not below the value."""
    near = Decimal(format(value, spec).replace(",", ""))
    unit = Decimal((0, (1,), int(near.as_tuple().exponent)))
    return float(near if near >= Decimal(value) else near + unit)
