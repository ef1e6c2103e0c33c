"""Run a command as the only build of a folder: python alone.py FOLDER COMMAND...

A second one waits until the first has ended. The command takes the place of this
process and hands the lock to what it starts: it is free once all of that is gone, also
where something was killed.
"""

import fcntl
import os
import sys
from pathlib import Path


def main(folder: Path, *command: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_CREAT | os.O_WRONLY)
    os.set_inheritable(lock, True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for the build that is at work in {folder}", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    os.execvp(command[0], command)


if __name__ == "__main__":
    folder, *command = sys.argv[1:]
    main(Path(folder), *command)
