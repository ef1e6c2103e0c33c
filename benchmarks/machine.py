"""What the numbers were measured on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil
import torch


def machine() -> dict[str, object]:
    """The machine and the versions, without names of hosts or folders."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
    }


def _cpu() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            fields = dict(
                line.split(":", 1)
                for line in file.read().split("\n\n")[0].splitlines()
                if ":" in line
            )
        return {name.strip(): value.strip() for name, value in fields.items()}[
            "model name"
        ]
    except (OSError, KeyError):
        return platform.processor() or platform.machine()
