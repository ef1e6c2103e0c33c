"""The site's size, and that every drawing in it is a vector drawing."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.site

MEGABYTE = 1_000_000
FONTS_AND_MATHEMATICS = ("_static/mathjax/", "_static/vendor/")


def test_the_site_has_at_most_ten_megabytes_beside_fonts_and_mathematics(site):
    files = {path.relative_to(site).as_posix(): path.stat().st_size for path in site.rglob("*") if path.is_file()}
    assert sum(size for name, size in files.items() if not name.startswith(FONTS_AND_MATHEMATICS)) <= 10 * MEGABYTE


def test_no_page_with_its_images_has_more_than_a_megabyte_and_a_half(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        images = {page.parent / source for source in re.findall(r'<img[^>]* src="([^":]+)"', text)}
        size = len(text.encode()) + sum(image.stat().st_size for image in images)
        assert size <= 1.5 * MEGABYTE, f"{page.name}: {size:,} bytes"


def test_figures_stay_vectors(site, source_figures):
    for figure in source_figures:
        drawing = (site / "_images" / figure.name).read_text(encoding="utf-8")
        assert "<path" in drawing and "<image" not in drawing


@pytest.fixture
def source_figures(site) -> list[Path]:
    return sorted((site.parent / "source" / "figures").glob("*.svg"))
