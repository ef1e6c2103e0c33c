"""Two builds of one folder take turns."""

import subprocess
import sys
from pathlib import Path

ALONE = Path(__file__).parents[2] / "press" / "alone.py"


def start(folder: Path, code: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(ALONE), str(folder), sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_second_build_waits_for_the_first_and_says_so(tmp_path):
    first = start(tmp_path, "print('first begins', flush=True); input()")
    assert first.stdout.readline() == "first begins\n"
    second = start(tmp_path, "print('second')")
    assert second.stdout.readline().startswith("waiting for the build")
    assert first.poll() is None
    assert first.communicate("\n") == ("", None) and first.returncode == 0
    assert second.communicate()[0] == "second\n"


def test_the_lock_goes_with_a_build_that_is_killed(tmp_path):
    first = start(tmp_path, "print('first begins', flush=True); input()")
    first.stdout.readline()
    first.kill()
    first.communicate()
    assert start(tmp_path, "print('second')").communicate()[0] == "second\n"


def test_the_lock_stays_while_something_of_the_build_goes_on(tmp_path):
    child = "subprocess.Popen([sys.executable, '-c', 'input()'], close_fds=False)"
    first = start(
        tmp_path, f"import subprocess, sys; {child}; print('begun', flush=True)"
    )
    assert first.stdout.readline() == "begun\n"
    first.wait()
    second = start(tmp_path, "print('second')")
    assert second.stdout.readline().startswith("waiting for the build")
    first.stdin.write("\n")
    first.stdin.close()
    first.stdout.close()
    assert second.communicate()[0] == "second\n"


def test_what_the_command_ends_with_is_what_it_ends_with(tmp_path):
    build = start(tmp_path, "raise SystemExit(3)")
    build.communicate()
    assert build.returncode == 3
