"""What a reader downloads: notebooks that run alone and give the page's data again, and
the data itself.
"""

import csv
import json
import re
from pathlib import Path
from urllib.parse import urljoin
from urllib.request import urlopen

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.site


def load(path: Path) -> dict[str, np.ndarray]:
    """A figure's data by name."""
    if path.suffix == ".npz":
        with np.load(path) as stored:
            return dict(stored)
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return {name: column(values) for name, *values in zip(header, *rows, strict=True)}


def column(values: list[str]) -> np.ndarray:
    """Numbers, or labels such as the kinds of pairs."""
    try:
        return np.array(values, dtype=float)
    except ValueError:
        return np.array(values)


def links(address: str, page: str) -> list[str]:
    with urlopen(f"{address}/{page}.html") as response:
        html = response.read().decode()
    return [
        urljoin(f"{address}/", link) for link in re.findall(r'href="([^"#]+)"', html)
    ]


@pytest.fixture(scope="session")
def source(site) -> Path:
    """The executed chapters that the site was built from."""
    return site.parent / "source"


@pytest.fixture(scope="session")
def figures(source) -> list[dict]:
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((source / "figures").glob("*.json"))
    ]


def test_notebook_of_the_page_runs_alone_and_gives_the_same_data(
    notebook, address, source, tmp_path, monkeypatch
):
    (link,) = {link for link in links(address, notebook) if link.endswith(".ipynb")}
    with urlopen(link) as response:
        downloaded = nbformat.reads(response.read().decode(), as_version=4)
    for name in ("AGENT_DYNAMICS_BUILD", "AGENT_DYNAMICS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    # What make bench measured, which the page on costs reads, lies beside the notebook
    # of a reader who ran it.
    monkeypatch.setenv(
        "AGENT_DYNAMICS_BENCH",
        str(Path(__file__).parents[2] / "benchmarks" / "results.json"),
    )
    # As in the build: sums in the same order.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    NotebookClient(
        downloaded, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    written = sorted((tmp_path / "figures").glob("*.json"))
    linked = {
        link.rpartition("/")[2]
        for link in links(address, notebook)
        if "/_downloads/" in link
    }
    assert {path.name for path in written} == {
        name for name in linked if name.endswith(".json")
    }
    for path in written:
        name = json.loads(path.read_text(encoding="utf-8"))["data"]
        page, own = load(source / "figures" / name), load(path.with_name(name))
        assert list(own) == list(page)
        for key in own:
            if np.issubdtype(page[key].dtype, np.number):
                np.testing.assert_allclose(
                    own[key], page[key], rtol=1e-9, atol=1e-12, err_msg=f"{name}: {key}"
                )
            else:  # labels, such as the kinds of pairs in chapter 12
                np.testing.assert_array_equal(
                    own[key], page[key], err_msg=f"{name}: {key}"
                )


def test_every_figure_has_finite_data_that_a_page_links(figures, source, site, address):
    linked = {
        link.rpartition("/")[2]: link
        for path in site.glob("*.html")
        for link in links(address, path.stem)
        if "/_downloads/" in link
    }
    assert figures
    for figure in figures:
        stored = source / "figures" / figure["data"]
        for name, array in load(stored).items():
            assert array.size, f"{figure['data']}: {name}"
            if np.issubdtype(array.dtype, np.number):
                assert np.isfinite(array).all(), f"{figure['data']}: {name}"
        for name in (figure["data"], f"{figure['figure']}.json"):
            with urlopen(linked[name]) as response:
                assert response.read() == (source / "figures" / name).read_bytes()


def test_no_two_figures_of_the_book_share_an_alt_text_or_a_caption(figures):
    for said in ("alt", "caption"):
        assert len({figure[said] for figure in figures}) == len(figures)
