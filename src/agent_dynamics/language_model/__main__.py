"""The command: run the experiment on an endpoint, or go on with it (make llm)."""

from __future__ import annotations

import argparse
import operator
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from .. import _checks
from . import local
from ._options import parser
from .endpoint import Endpoint, Rejected, Settings
from .experiment import VARIANT_PAIRS, VARIANT_TURNS, Pair, experiment, run
from .question import FORMS, PLAIN, VARIANTS, question
from .transcript import (
    ATTEMPTS,
    UNUSABLE,
    BudgetReached,
    Kept,
    NotWritten,
    Transcript,
)

SHORT_ANSWER = 30  # tokens of an answer without reasoning, about


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment on an endpoint, or go on with it."""
    given = parser().parse_args(arguments)
    try:
        with _endpoint(given) as (endpoint, settings):
            _go_on(given, endpoint, settings)
    except BudgetReached as error:
        raise SystemExit(
            f"The budget is reached: {error}. The same command with a larger BUDGET "
            "goes on."
        ) from None
    except Rejected as error:
        raise SystemExit(
            f"The endpoint takes no such request: {error}.\nCheck OPENAI_BASE_URL, "
            "OPENAI_API_KEY and MODEL, and the options that it may not take: CAP, "
            "TEMPERATURE, FORM. The same command goes on."
        ) from None
    except NotWritten as error:
        raise SystemExit(
            f"This machine does not write {error.filename}: {error.strerror}. What "
            "was answered before is in it; the same command goes on."
        ) from None
    except (ValueError, ImportError, RuntimeError, OSError) as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        print(
            "Stopped. Every answer so far is kept; the same command goes on.",
            flush=True,
        )
        raise SystemExit(130) from None


@contextmanager
def _endpoint(
    given: argparse.Namespace,
) -> Iterator[tuple[Endpoint, Kept]]:
    """The endpoint to ask, and what the transcript keeps of how it is asked."""
    temperature = given.temperature
    if given.local is not None and temperature is None:
        temperature = 0.0
    settings = Settings(
        temperature, given.cap, given.timeout, given.form, given.lenient
    )
    kept: Kept = {**vars(settings)}
    if given.local is None:
        with Endpoint(given.model, settings=settings) as endpoint:
            yield endpoint, {"model": given.model} | kept
        return
    file = Path(given.local) if given.local else local.bundled_model()
    with (
        local.serve(file, given.threads) as served,
        Endpoint(served.name, served.url, local.KEY, settings) as endpoint,
    ):
        yield endpoint, {"model": served.name, **served.settings} | kept


def _go_on(given: argparse.Namespace, endpoint: Endpoint, settings: Kept) -> None:
    model = endpoint.model
    path = given.transcript
    if path.is_dir():
        path /= re.sub(r"[^A-Za-z0-9._-]+", "-", model) + ".jsonl"
    transcript = Transcript(path, given.budget)
    endpoint.recall(transcript.entries())
    others = ", ".join(transcript.models() - {model})
    if others:
        raise _checks.bad(
            "MODEL",
            f"{model}, while {transcript.path} is of {others}",
            f"{others}, to go on with it; or move that file away to start anew",
        )
    answered = any(entry.kind in ("ok", *UNUSABLE) for entry in transcript.entries())
    for before in transcript.settings if answered else []:
        for name in ("temperature", "sha256", "lenient"):
            if before.get(name) != settings.get(name):
                raise _checks.bad(
                    name.upper() if name != "sha256" else "MODEL_FILE",
                    f"{settings.get(name)}, while {transcript.path} was made with "
                    f"{before.get(name)}",
                    "the same; or move that file away to start anew",
                )
    parts = _parts(given)
    print(_estimate(parts, endpoint, transcript, given.prices), flush=True)
    transcript.note(settings)
    whole: dict[str, bool] = {}
    total = sum(2 * len(pairs) * turns for pairs, turns in parts)
    with tqdm(total=total, unit="reply") as bar:

        def progress() -> None:
            bar.set_postfix_str(_spent(transcript, given.prices), refresh=False)
            bar.update()

        for pairs, turns in parts:
            said = run(
                pairs,
                turns,
                transcript,
                endpoint,
                given.workers,
                given.wait,
                progress,
            )
            whole |= {name: len(v) > 2 * turns for name, v in said.items()}
    _report(transcript, whole, given.prices)


def _parts(given: argparse.Namespace) -> list[tuple[list[Pair], int]]:
    """The pairs of each variant, and their rounds."""
    _checks.count("turns", given.turns)
    names = list(VARIANTS) if "all" in given.variants else given.variants
    few = min(given.pairs, VARIANT_PAIRS), min(given.turns, VARIANT_TURNS)
    parts = []
    for variant in (VARIANTS[name] for name in dict.fromkeys(names)):
        pairs, turns = (given.pairs, given.turns) if variant is PLAIN else few
        parts.append((experiment(pairs, variant=variant), turns))
    return parts


def _report(
    transcript: Transcript, whole: dict[str, bool], prices: Sequence[float] | None
) -> None:
    """Say how it went; SystemExit where something is left, or nothing came of it."""
    kinds = ", ".join(
        f"{count} {kind}" for kind, count in sorted(transcript.kinds().items())
    )
    print(f"{transcript.path}: {kinds}; {_spent(transcript, prices)}.")
    entries = transcript.entries()
    if unsaid := sum(entry.estimated for entry in entries):
        print(
            f"Of {unsaid} requests the endpoint did not say the tokens; they count as "
            "the most that they can have taken."
        )
    forms = Counter(entry.form for entry in entries if entry.kind == "ok")
    if set(forms) - {FORMS[0]}:
        print(f"The answers were asked for as: {', '.join(sorted(forms))}.")
    if not transcript.of_a_model:
        print("The stand-in answered, no language model.")
    short = {name for name, complete in whole.items() if not complete}
    ended = transcript.ended() & short
    if ended:
        print(
            f"{len(ended)} of {len(whole)} pairs ended early: {ATTEMPTS} unusable "
            f"answers in one turn. {_most_frequent(transcript, UNUSABLE)}"
        )
    if short - ended:
        failed = ("rate-limited", "server-error", "timeout", "connection")
        raise SystemExit(
            f"{len(short - ended)} of {len(whole)} pairs wait for the endpoint, "
            f"which failed in a turn of each. {_most_frequent(transcript, failed)} "
            "The same command tries them again."
        )
    if ended and len(ended) == len(whole):
        raise SystemExit(
            "No pair came to its end. If the answer stands in that text, among others, "
            "LENIENT=1 reads it, in a transcript of its own."
        )


def _most_frequent(transcript: Transcript, kinds: Sequence[str]) -> str:
    """The most frequent of some kinds of failure, with one example."""
    failed = [entry for entry in transcript.entries() if entry.kind in kinds]
    if not failed:
        return ""
    ((kind, count),) = Counter(entry.kind for entry in failed).most_common(1)
    example = next(entry.answer for entry in reversed(failed) if entry.kind == kind)
    text = "no text" if example is None else ascii(example[:200])
    return f"Most often: {kind} ({count} times), as in {text}."


def _estimate(
    parts: Sequence[tuple[Sequence[Pair], int]],
    endpoint: Endpoint,
    transcript: Transcript,
    prices: Sequence[float] | None,
) -> str:
    answered = [e for e in transcript.entries() if e.kind == "ok"]
    requests, each_in = 0, 0
    for pairs, turns in parts:
        asked = question(
            pairs[0].prompt_w,
            pairs[0].prompt_w.target,
            pairs[0].variant,
            pairs[0].worked,
        )
        # Numbers take about a token for two characters.
        each = sum(len(part["content"]) for part in asked) // 2
        each_in += 2 * len(pairs) * turns * each
        requests += 2 * len(pairs) * turns
    left = max(requests - len(answered), 0)
    each_in, each_out = each_in // requests, SHORT_ANSWER
    if answered:
        each_in, each_out = (
            sum(values) // len(answered)
            for values in zip(
                *((e.tokens_in, e.tokens_out) for e in answered), strict=True
            )
        )
    cap = endpoint.settings.cap
    likely, most = ((left * each_in, left * out) for out in (each_out, cap))
    return (
        f"{sum(len(pairs) for pairs, _ in parts)} pairs: {requests:,} requests, "
        f"{len(answered):,} of them answered.\n"
        f"The others take about {each_in} tokens each and {each_out} for the answer: "
        f"{_tokens(likely, prices)}.\n"
        f"Where a model reasons at length it is up to {_tokens(most, prices)}.\n"
        f"Spent so far: {_spent(transcript, prices)}; the budget is "
        f"{transcript.budget:,} tokens."
    )


def _spent(transcript: Transcript, prices: Sequence[float] | None) -> str:
    return _tokens((transcript.tokens_in, transcript.tokens_out), prices)


def _tokens(tokens: Sequence[int], prices: Sequence[float] | None) -> str:
    cost = (
        f", cost {sum(map(operator.mul, tokens, prices)) / 1e6:.2f}" if prices else ""
    )
    return f"{sum(tokens):,} tokens{cost}"


if __name__ == "__main__":
    main()
