"""A page's style sheets as one."""

from light_pages import join_sheets, whole


def test_a_sheet_keeps_what_it_imports_and_its_addresses(tmp_path):
    (tmp_path / "styles").mkdir()
    (tmp_path / "basic.css").write_text("a { color: red }")
    sheet = tmp_path / "styles" / "theme.css"
    sheet.write_text(
        '@import "../basic.css";\nb { background: url(../fonts/x.woff) }\n'
        "c { background: url(data:image/png;base64,AA) }"
    )
    text = whole(sheet, tmp_path)
    assert "a { color: red }" in text and "@import" not in text
    assert 'url("fonts/x.woff")' in text and "url(data:image/png;base64,AA)" in text


def test_a_page_asks_for_one_sheet_in_the_place_of_the_first(tmp_path):
    static = tmp_path / "_static"
    (tmp_path / "api").mkdir()
    static.mkdir()
    for name in "ab":
        (static / f"{name}.css").write_text(f".{name} {{}} .other {{}}")
    page = tmp_path / "api" / "page.html"
    page.write_text(
        '<head><link rel="stylesheet" href="../_static/a.css?v=1" />\n<title>t</title>'
        '<link rel="preload" as="font" href="../_static/f.woff2">'
        '<link rel="stylesheet" type="text/css" href="../_static/b.css"></head>'
    )
    named = frozenset("ab")
    assert join_sheets(page, static, named) == {static / "a.css", static / "b.css"}
    (joined,) = static.glob("page-*.css")
    assert joined.read_text() == ".a{}\n.b{}"
    link = f'<link rel="stylesheet" href="../_static/{joined.name}">'
    assert page.read_text() == f"<head>{link}\n<title>t</title></head>"


def test_a_page_without_sheets_or_with_those_of_a_host_stays_as_it_is(tmp_path):
    for text in ("<head></head>", '<link rel="stylesheet" href="/book/_static/a.css">'):
        page = tmp_path / "page.html"
        page.write_text(text)
        assert join_sheets(page, tmp_path / "_static", frozenset()) == set()
        assert page.read_text() == text
