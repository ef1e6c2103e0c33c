"""Glued numbers: MyST-NB finds them by name, and they read as a person would write
them.
"""

import nbformat.v4
import pytest
from myst_nb.ext.glue import extract_glue_data_cell

from agent_dynamics.book import glue as module
from agent_dynamics.book.glue import glue, readable


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (3.2e-8, ".2g", "3.2 × 10⁻⁸"),
        (0.1234, ".2g", "0.12"),
        (41.7, ".0f", "42"),
        ("ten", ".2g", "ten"),
    ],
)
def test_myst_nb_finds_the_value_and_the_page_shows_no_output(
    monkeypatch, value, spec, text
):
    shown = []
    monkeypatch.setattr(
        module, "display", lambda data, raw, metadata: shown.append((data, metadata))
    )
    glue("share", value, spec)
    ((data, metadata),) = shown
    cell = nbformat.v4.new_code_cell(
        outputs=[nbformat.v4.new_output("display_data", data, metadata=metadata)]
    )
    ((name, output),) = extract_glue_data_cell(cell)
    assert (name, output["data"]) == ("share", {"text/plain": repr(text)})
    assert cell.outputs == []


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (3.2e-8, ".2g", "3.2 × 10⁻⁸"),
        (-1.5e12, ".2g", "−1.5 × 10¹²"),
        (1e-10, ".2g", "10⁻¹⁰"),
        (-0.25, ".2g", "−0.25"),
        (0.0, ".2g", "0"),
        (1234.5, ".1f", "1234.5"),
        (20_000, ",.0f", "20,000"),
    ],
)
def test_readable_sets_powers_of_ten_and_minus_signs(value, spec, text):
    assert readable(value, spec) == text


def test_a_number_that_is_not_finite_never_reaches_the_prose():
    with pytest.raises(ValueError, match="value was nan; it must be finite"):
        glue("share", float("nan"))


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (3.21e-8, ".0e", "4 × 10⁻⁸"),
        (9.6e-8, ".0e", "10⁻⁷"),
        (9.4e-8, ".0e", "10⁻⁷"),
        (0.551, ".2f", "0.56"),
        (0.25, ".2f", "0.25"),
        (1999.2, ",.0f", "2,000"),
    ],
)
def test_a_bound_is_rounded_up(monkeypatch, value, spec, text):
    shown = []
    monkeypatch.setattr(
        module, "display", lambda data, raw, metadata: shown.append(data)
    )
    glue("at most", value, spec, bound=True)
    assert list(shown[0].values()) == [repr(text)]
