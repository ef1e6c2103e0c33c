"""The site's size, and what its drawings keep when they are made smaller."""

import re
from pathlib import Path

import pytest
from pygments.styles import get_style_by_name
from pygments.token import Token

pytestmark = pytest.mark.site

MEGABYTE = 1_000_000
# The book on paper is there only where it was set, and no page loads it.
NOT_COUNTED = ("_static/vendor/", "files/book.pdf")
PACKAGE = ("api/", "_modules/", "files/")  # what is there to look up and to take along


def size(site: Path, *, package: bool) -> int:
    """Bytes of the files that belong to the package, or of those that do not."""
    files = {
        path.relative_to(site).as_posix(): path.stat().st_size
        for path in site.rglob("*")
        if path.is_file()
    }
    return sum(
        size
        for name, size in files.items()
        if name.startswith(PACKAGE) == package and not name.startswith(NOT_COUNTED)
    )


def test_the_book_has_at_most_ten_megabytes_beside_icons_and_pdf(site):
    assert size(site, package=False) <= 10 * MEGABYTE


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_names_and_brackets_without_an_element_have_their_colour_all_the_same(
    site, theme
):
    (sheet,) = site.glob("_static/page-*.css")
    shown = re.findall(
        rf'html\[data-theme="{theme}"\] \.highlight\{{[^}}]*[ ;]color: (#\w+)',
        sheet.read_text(encoding="utf-8"),
    )
    style = get_style_by_name(f"a11y-high-contrast-{theme}")  # the theme's
    own = [
        f"#{style.style_for_token(kind)['color']}".lower()
        for kind in (Token.Name, Token.Punctuation)
    ]
    assert [colour.lower() for colour in shown] * 2 == own


def test_the_package_its_reference_and_its_files_have_at_most_four_megabytes(site):
    assert size(site, package=True) <= 4 * MEGABYTE


def test_no_page_with_its_images_has_more_than_a_megabyte_and_a_half(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        images = {
            page.parent / source
            for source in re.findall(r'<img[^>]* src="([^":#]+)["#]', text)
        }
        total = len(text.encode()) + sum(image.stat().st_size for image in images)
        assert total <= 1.5 * MEGABYTE, f"{page.name}: {total:,} bytes"


def test_drawings_stay_as_they_were_drawn(site):
    """No curve becomes a raster image; heat maps are images from the start."""
    for drawn in (site.parent / "source" / "figures").glob("*.light.svg"):
        short = (site / "_images" / drawn.name.replace(".light.", ".")).read_text(
            encoding="utf-8"
        )
        assert "<path" in short and short.count("<image") == drawn.read_text(
            encoding="utf-8"
        ).count("<image")
