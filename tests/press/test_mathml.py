"""Mathematics set when the book is built."""

from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from fontTools.ttLib import TTFont
from math_core import LatexError

from mathml import as_html, in_line, pieces, to_mathml, write_font


def texts(latex: str) -> list[str]:
    return ["".join(part.itertext()) for part in pieces(to_mathml(latex))]


def test_a_formula_of_a_line_breaks_after_its_relations():
    assert texts(r"w_\infty = A B u + b + c \le 1") == ["w∞=", "ABu+b+c≤", "1"]


def test_a_short_formula_does_not_break():
    assert texts("p = q = 1") == ["p=q=1"]


def test_it_does_not_break_within_brackets_or_norms():
    assert texts(r"f(x = 1, y = 2, z = 3)") == ["f(x=1,y=2,z=3)"]
    assert texts(r"\lVert x - y + u = z \rVert^2 \ge 0") == ["‖x−y+u=z‖2≥", "0"]


def test_a_long_sum_breaks_before_a_sign_and_a_short_one_does_not():
    assert texts("a + b") == ["a+b"]
    assert texts("a b c d e f g h i j k l + m") == ["abcdefghijkl", "+m"]


def test_the_pieces_are_the_formula():
    latex = r"\rho(AB) < 1, \quad \Delta = u^* - w^*"
    whole = "".join(to_mathml(latex).itertext())
    assert "".join(texts(latex)) == whole


def test_no_element_has_a_style_of_its_own():
    latex = r"\begin{aligned} a &= b, \\ c &= \mathrm{d}\, e \end{aligned}"
    math = to_mathml(latex, display=True)
    assert [element for element in math.iter() if element.get("style")] == []
    cells = [cell.get("class") for cell in math.iter("mtd")]
    assert cells == ["right", "left"] * 2


def test_lines_without_an_environment_are_set_below_each_other():
    assert len(list(to_mathml(r"a = b \\ c = d", display=True).iter("mtr"))) == 2


def test_room_after_a_line_is_not_taken_for_text():
    latex = r"\begin{aligned} a &= b \\[1ex] c &= d \end{aligned}"
    assert "".join(to_mathml(latex, display=True).itertext()) == "a=bc=d"


def test_what_is_not_mathematics_is_refused():
    with pytest.raises(LatexError, match="unknown"):
        to_mathml(r"\unknown{x}")


def test_a_space_at_the_end_of_a_line_is_a_space():
    assert ElementTree.tostring(to_mathml("a\\\nb")) == ElementTree.tostring(
        to_mathml("a\\ b")
    )


def test_the_font_has_what_is_drawn_the_sign_of_a_root_too(tmp_path):
    (tmp_path / "_static").mkdir()
    page = as_html(to_mathml(r"\sqrt{2 \mu} \le \hat t"))
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    write_font(
        SimpleNamespace(builder=SimpleNamespace(format="html"), outdir=tmp_path), None
    )
    with TTFont(tmp_path / "_static" / "math.woff") as font:
        has = font.getBestCmap()
    assert set(map(ord, "√2≤")) <= set(has) and ord("ξ") not in has


def test_roots_are_as_high_as_each_other():
    low, high = (to_mathml(rf"\sqrt{{{letter}}}").find("msqrt") for letter in "xd")
    assert low[0].tag == high[0].tag == "mspace"
    assert low[0].attrib == high[0].attrib


def test_punctuation_stays_on_both_sides_of_a_formula_short_or_long():
    assert in_line(to_mathml("x"), "", "") == "<math><mi>x</mi></math>"
    short = in_line(to_mathml("x"), "(", ").")
    assert short == '<span class="formula">(<math><mi>x</mi></math>).</span>'
    long = in_line(to_mathml(r"a + b + c = d + e + f \ge 0"), "(", ")")
    assert long.startswith('<span class="formula">(<math>')
    assert long.endswith("</math>)</span>") and long.count("<span") == 3
