"""The cache: where it lies, that it is another one when the package's source is, and
files that are whole or not there.
"""

from pathlib import Path

import pytest

from agent_dynamics import cache
from agent_dynamics.cache import cache_folder, written_whole


def test_the_cache_lies_where_the_environment_says_or_in_the_working_directory(
    monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AGENT_DYNAMICS_CACHE", raising=False)
    assert cache_folder().parent == tmp_path / "cache"
    monkeypatch.setenv("AGENT_DYNAMICS_CACHE", "elsewhere")
    assert cache_folder().parent == tmp_path / "elsewhere"
    assert not list(tmp_path.iterdir())


def test_another_source_has_another_cache(monkeypatch, tmp_path):
    def digest() -> str:
        return cache._source_digest()

    assert digest() == cache_folder().name
    for path in Path(cache.__file__).parent.glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "cache.py"))
    assert digest() == cache_folder().name
    with (tmp_path / "training.py").open("a") as file:
        file.write("# changed\n")
    assert digest() != cache_folder().name


def test_a_file_is_whole_or_not_there_whoever_else_writes_it(tmp_path):
    path = tmp_path / "file"
    with written_whole(path) as first, written_whole(path) as second:
        first.write_text("first")
        second.write_text("second")
        assert not path.exists()
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(KeyboardInterrupt), written_whole(path) as partial:  # noqa: PT012
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]
