"""The rules of a style sheet that a site can use."""

import pytest

from used_rules import used_rules


@pytest.mark.parametrize(
    ("sheet", "left"),
    [
        ("a{x:y} .b{x:y} .no{x:y} #c{x:y} #no{x:y}", "a{x:y}\n.b{x:y}\n#c{x:y}"),
        ("a, .no, .b > i, .b .no {x:y}", "a,.b > i{x:y}"),
        (".b:not(.no), [y='.no'] {x: 1}", '.b:not(.no),[y=".no"]{x: 1}'),
        ("@media print {.no{x:y} .b{x:y}}", "@media print{\n.b{x:y}\n}"),
        ("@media print {.no{x:y}}", ""),
        ("@supports (x: y) {@media print {.b{x:y}}}",) * 2,
        ("@font-face {x:y}", "@font-face {x:y}"),
        ("@keyframes no {from {x:y}}", "@keyframes no {from {x:y}}"),
        (".b{x:y; &.no{x:y}}", ".b{x:y; &.no{x:y}}"),
        (".kind-no{x:y} .kindly{x:y}", ".kind-no{x:y}"),
        (".\\62 {x:1.5em}/* .b */", ".b{x:1.5em}"),
    ],
)
def test_what_a_page_or_a_script_may_hold_is_kept(sheet, left):
    found = used_rules(sheet, frozenset(["b", "c", "kind-"]))
    assert "".join(found.split()) == "".join(left.split())
