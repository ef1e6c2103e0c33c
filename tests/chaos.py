"""Disturb the fast build and see that the next one is as if nothing had been.

Run by make chaos, not collected by pytest. Each trial makes some chapters stale, starts
make book and disturbs it: kills it, fills the disk, edits a chapter, starts a second
build. All the while the old site must be readable, and after the next make book the
data of all figures must be those of the undisturbed build, to the last bit. So must
those of a build in another clone.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
SITE = ROOT / "_build" / "fast" / "html"
FIGURES = "_build/fast/source/figures"
MAKE = ["make", "--no-print-directory", "book", "PROFILE=fast"]
# Chapters whose execution takes seconds, so that a trial takes about a minute.
QUICK = ("01-setting", "03-aligned", "05-angle", "07-helper", "13-why-talk")
GAP = 0.1  # seconds; longer than the renaming of two folders


def build(root: Path = ROOT) -> subprocess.Popen:
    """make book in a process group of its own, which can be killed whole."""
    return subprocess.Popen(
        MAKE,
        cwd=root,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def data(root: Path = ROOT) -> dict[str, str]:
    """The digest of every figure's data."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((root / FIGURES).glob("*"))
        if path.suffix in {".npz", ".csv"}
    }


class Reader(threading.Thread):
    """Reads the old site again and again, and notes when a page is not there whole."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self.chance = random.Random(chance.random())
        self.pages = sorted(
            page
            for page in (path.relative_to(SITE) for path in SITE.rglob("*.html"))
            if page.parts[0] != "_static"  # templates of the theme
        )
        self.done, self.amiss = threading.Event(), []

    def whole(self, page: Path) -> bool:
        try:
            text = (SITE / page).read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return text.rstrip().endswith("</html>")

    def run(self) -> None:
        while not self.done.wait(GAP):
            page = self.chance.choice(self.pages)
            if not (self.whole(page) or self.done.wait(GAP) or self.whole(page)):
                self.amiss.append(str(page))

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.join()

    def __enter__(self) -> "Reader":
        self.start()
        return self


Disturbance = Callable[[random.Random, float], None]


def killed(chance: random.Random, seconds: float) -> None:
    running = build()
    time.sleep(chance.uniform(0.5, seconds))
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def on_a_full_disk(chance: random.Random, seconds: float) -> None:
    """The figures' folder is a file system without room, for a while; where none can
    be mounted, files may not grow.
    """
    figures = str(ROOT / FIGURES)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", figures]
    if subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode == 0:
        assert build().wait() != 0, "a build without room for figures passed"
        subprocess.run(["umount", "--lazy", figures], check=True)
    else:
        limited = ["bash", "-c", "ulimit -f 64; exec " + " ".join(MAKE)]
        ended = subprocess.run(limited, cwd=ROOT, check=False, capture_output=True)
        assert ended.returncode != 0, "a build whose files may not grow passed"


def edited(chance: random.Random, seconds: float) -> None:
    """A chapter is broken while it is executed, and put right again before the end."""
    chapter = ROOT / "book" / f"{QUICK[0]}.md"
    text = chapter.read_text(encoding="utf-8")
    running = build()
    try:
        time.sleep(2)
        chapter.write_text(text + "\nEdited.\n", encoding="utf-8")
        time.sleep(2)
    finally:
        chapter.write_text(text, encoding="utf-8")
    running.wait()


def twice(chance: random.Random, seconds: float) -> None:
    first = build()
    time.sleep(chance.uniform(0, seconds / 2))
    second = build()
    assert first.wait() == second.wait() == 0, "two builds at once: one failed"


def trial(
    disturb: Disturbance, chance: random.Random, expected: dict, seconds: float
) -> None:
    stale = chance.sample(QUICK[1:], 2)
    for chapter in (QUICK[0], *stale):
        os.utime(ROOT / "book" / f"{chapter}.md")
    with Reader(chance) as reader:
        disturb(chance, seconds)
        assert build().wait() == 0, "the next make book failed"
    assert reader.amiss == [], f"not readable: {reader.amiss}"
    compare(data(), expected)


def compare(found: dict[str, str], expected: dict[str, str]) -> None:
    differ = {
        name for name in found | expected if found.get(name) != expected.get(name)
    }
    assert not differ, f"other data in {sorted(differ)}"


def in_another_clone(expected: dict[str, str]) -> None:
    """What is committed, built with this folder's environment."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "book"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        (clone / ".venv").symlink_to(ROOT / ".venv")
        for name in ("requirements.lock", "pyproject.toml"):
            os.utime(clone / name, (0, 0))  # older than the environment
        assert build(clone).wait() == 0
        compare(data(clone), expected)


def main(kills: int, seed: int) -> None:
    chance = random.Random(seed)
    print("building once, undisturbed", flush=True)
    assert build().wait() == 0
    expected = data()
    for chapter in QUICK[:3]:
        os.utime(ROOT / "book" / f"{chapter}.md")
    begun = time.monotonic()
    assert build().wait() == 0
    seconds = time.monotonic() - begun
    compare(data(), expected)
    print("building in another clone", flush=True)
    in_another_clone(expected)
    disturbances = [killed] * kills + [on_a_full_disk, edited, twice]
    for number, disturb in enumerate(disturbances, start=1):
        print(f"{number} of {len(disturbances)}: {disturb.__name__}", flush=True)
        trial(disturb, chance, expected, seconds)
    print(f"{len(disturbances)} disturbances, {len(expected)} files of data the same")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    main(**vars(parser.parse_args()))
