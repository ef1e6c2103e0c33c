"""The cache: where it lies, and that it is another one when the package's source is."""

from pathlib import Path

from agent_dynamics import cache
from agent_dynamics.cache import cache_folder


def test_the_cache_lies_where_the_environment_says_or_in_the_working_directory(monkeypatch, tmp_path):
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
