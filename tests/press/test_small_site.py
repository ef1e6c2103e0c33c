"""Drawings are made shorter once."""

import pytest
from scour import scour

from small_site import shorten_drawing

DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg"><!-- said --><path d="M 1.00000 2 L 3 4"/>'
    "</svg>\n"
)


def test_a_drawing_is_shortened_and_taken_from_what_is_kept_the_next_time(
    tmp_path, monkeypatch
):
    first, again, other = (tmp_path / f"{name}.svg" for name in ("a", "b", "c"))
    for path in (first, again, other):
        path.write_text(DRAWING, encoding="utf-8")
    other.write_text(DRAWING.replace("3 4", "5 6"), encoding="utf-8")
    kept = tmp_path / "kept"
    kept.mkdir()
    shorten_drawing(first, kept)
    assert "said" not in first.read_text() and len(first.read_text()) < len(DRAWING)

    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(scour, "scourString", refuse)
    shorten_drawing(again, kept)
    assert again.read_bytes() == first.read_bytes()
    with pytest.raises(AssertionError):  # another drawing is not taken for it
        shorten_drawing(other, kept)
