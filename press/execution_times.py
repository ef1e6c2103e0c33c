"""Print how long each executed chapter took: python execution_times.py FOLDER."""

import json
import sys
from pathlib import Path

for path in sorted(Path(sys.argv[1]).glob("*.ipynb")):
    seconds = json.loads(path.read_text(encoding="utf-8"))["metadata"]["papermill"][
        "duration"
    ]
    print(f"  {path.stem:24} {seconds:7.1f} s")
