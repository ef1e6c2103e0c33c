"""Figures: what is stored with each, and that the same call stores the same bytes."""

import csv
import html
import json
import re
from importlib.metadata import version
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from agent_dynamics.book import figures
from agent_dynamics.book.figures import COLOURS, INK, ink, save_figure

CAPTION = "The error halves every turn, so it is linear on this axis."
ALT = "A straight line that falls from one at turn zero to one sixteenth at turn four."
COLUMNS = {"turn": np.arange(5), "error": 0.5 ** torch.arange(5, dtype=torch.float64)}
GRID = {
    "angle": np.linspace(0, np.pi, 3),
    "plateau": torch.tensor([[0.0, 0.1, 0.3], [0.0, 0.2, 1 / 3]]),
}


def draw(data):
    figure, axes = plt.subplots()
    axes.plot(*(np.ravel(array)[:3] for array in data.values()), color=ink())
    return figure


@pytest.fixture
def save(tmp_path, monkeypatch):
    """Saves a figure outside a build, into tmp_path/figures, and returns what the
    notebook shows of it.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AGENT_DYNAMICS_BUILD", raising=False)
    monkeypatch.delenv("AGENT_DYNAMICS_PROFILE", raising=False)
    shown = []
    monkeypatch.setattr(figures, "display", lambda data, raw: shown.append(data))

    def save(data=COLUMNS, **changes):
        save_figure(
            "error",
            draw,
            data,
            **{"caption": CAPTION, "alt": ALT, "seed": 3, **changes},
        )
        return shown[-1]

    return save


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_theme_is_a_drawing_in_its_own_ink(save, tmp_path, theme):
    save()
    drawing = (tmp_path / f"figures/error.{theme}.svg").read_text(encoding="utf-8")
    (other,) = set(INK) - {theme}
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert INK[theme] in drawing and INK[other] not in drawing


def test_print_has_its_drawing_with_its_fonts(save, tmp_path):
    save()
    drawing = (tmp_path / "figures/error.pdf").read_bytes()
    assert drawing.startswith(b"%PDF") and b"/FontFile2" in drawing
    assert b"/Type3" not in drawing and b"/Subtype /Image" not in drawing


def test_columns_of_one_length_are_stored_as_csv_without_loss(save, tmp_path):
    save(COLUMNS)
    with (tmp_path / "figures/error.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    for name, array in COLUMNS.items():
        np.testing.assert_array_equal(
            [float(row[name]) for row in rows], np.asarray(array)
        )


def test_arrays_of_other_shapes_are_stored_as_npz_without_loss(save, tmp_path):
    save(GRID)
    with np.load(tmp_path / "figures/error.npz") as stored:
        assert list(stored) == list(GRID)
        for name, array in GRID.items():
            np.testing.assert_array_equal(stored[name], np.asarray(array), strict=True)


def test_provenance_says_what_made_the_figure(save, tmp_path):
    save(parameters={"step_size": 0.5})
    assert json.loads(
        (tmp_path / "figures/error.json").read_text(encoding="utf-8")
    ) == {
        "figure": "error",
        "caption": CAPTION,
        "alt": ALT,
        "seed": 3,
        "parameters": {"step_size": 0.5},
        "profile": "own run",
        "version": version("agent-dynamics"),
        "data": "error.csv",
    }


@pytest.mark.parametrize("data", [COLUMNS, GRID], ids=["csv", "npz"])
def test_the_same_call_gives_the_same_bytes(save, tmp_path, data):
    def stored():
        return {
            path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()
        }

    save(data)
    first = stored()
    save(data)
    assert len(first) == 5 and stored() == first


def test_a_build_collects_the_figures_and_names_its_profile(
    save, tmp_path, monkeypatch
):
    monkeypatch.setenv("AGENT_DYNAMICS_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("AGENT_DYNAMICS_PROFILE", "fast")
    save()
    provenance = json.loads(
        (tmp_path / "build/figures/error.json").read_text(encoding="utf-8")
    )
    assert provenance["profile"] == "fast"
    assert not (tmp_path / "figures").exists()


def test_page_numbers_the_figure_links_its_data_and_says_the_seed(save):
    page = save()["text/markdown"]
    for part in (
        "/figures/error.light.svg",
        ":name: fig-error",
        f":alt: {ALT}",
        CAPTION,
        "</figures/error.csv>",
        "</figures/error.json>",
        "seed 3",
    ):
        assert part in page


def test_notebook_shows_the_drawing_with_its_alt_text(save):
    alt = f'{ALT} It is the "main" agent, turns < 5.'
    image = re.search(
        r'<img [^>]*alt="([^"]*)" src="([^"]*)">', save(alt=alt)["text/html"]
    )
    assert html.unescape(image[1]) == alt
    assert image[2].startswith("data:image/svg+xml;base64,")


def test_no_drawing_stays_open(save):
    save()
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"caption": " "}, "caption was empty; it must be the claim"),
        ({"alt": ""}, "alt was ''; it must be a description"),
        (
            {"alt": "A line."},
            "alt was 'A line.'; it must be a description of at least 40 characters",
        ),
        (
            {"alt": CAPTION},
            "it must be a description of at least 40 characters, other than the "
            "caption",
        ),
        ({"data": {}}, "data was empty; it must be the named arrays"),
    ],
)
def test_bad_input_is_named_and_nothing_is_stored(save, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        save(**changes)
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize("page", ["#ffffff", "#121212"], ids=["light", "dark"])
@pytest.mark.parametrize("colour", COLOURS)
def test_colours_stand_out_from_both_pages(colour, page):
    def luminance(code):
        channels = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
            for c in channels
        ]
        return np.dot([0.2126, 0.7152, 0.0722], linear)

    low, high = sorted([luminance(COLOURS[colour]), luminance(page)])
    assert (high + 0.05) / (low + 0.05) >= 3


def test_data_that_is_not_finite_is_named(save):
    with pytest.raises(ValueError, match=r"data\['y'\] was not finite"):
        save({"x": [0.0, 1.0], "y": [1.0, np.nan]})
