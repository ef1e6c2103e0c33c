"""The command: run the experiment on an endpoint, or go on with it (make llm)."""

from __future__ import annotations

import argparse
import operator
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from .. import _checks
from .agent import ANSWER_TOKENS, Rejected
from .endpoint import connect
from .experiment import Pair, experiment, run
from .question import question
from .transcript import ATTEMPTS, BudgetReached, Transcript

SHORT_ANSWER = 30  # tokens of an answer without reasoning, about


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment on an endpoint, or go on with it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--turns", type=int, required=True)
    parser.add_argument("--transcript", type=Path, required=True)
    parser.add_argument(
        "--budget",
        type=int,
        default=3_000_000,
        help="tokens, those in the transcript included",
    )
    parser.add_argument(
        "--workers", type=int, default=4, help="the most requests at one time"
    )
    parser.add_argument(
        "--wait", type=float, default=1.0, help="seconds before the second attempt"
    )
    parser.add_argument(
        "--prices",
        type=float,
        nargs=2,
        metavar=("IN", "OUT"),
        help="of a million tokens asked and answered, to show the cost",
    )
    given = parser.parse_args(arguments)
    try:
        _go_on(
            given, experiment(given.pairs), Transcript(given.transcript, given.budget)
        )
    except BudgetReached as error:
        raise SystemExit(
            f"The budget is reached: {error}. The same command with a larger BUDGET "
            "goes on."
        ) from None
    except Rejected as error:
        raise SystemExit(
            f"The endpoint rejects the request: {error}\nCheck OPENAI_BASE_URL, "
            "OPENAI_API_KEY and "
            "MODEL; the endpoint must know structured output. The same command goes on."
        ) from None
    except ValueError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        print(
            f"Stopped. Every answer so far is in {given.transcript}; the same "
            "command goes on.",
            flush=True,
        )
        raise SystemExit(130) from None


def _go_on(
    given: argparse.Namespace, pairs: list[Pair], transcript: Transcript
) -> None:
    others = ", ".join(transcript.models() - {given.model})
    if others:
        raise _checks.bad(
            "MODEL",
            f"{given.model}, while {transcript.path} is of {others}",
            f"{others}, to go on with it; or move that file away to start anew",
        )
    print(_estimate(pairs, given.turns, transcript, given.prices), flush=True)
    with (
        connect() as client,
        tqdm(total=2 * len(pairs) * given.turns, unit="reply") as bar,
    ):

        def progress() -> None:
            bar.set_postfix_str(_spent(transcript, given.prices), refresh=False)
            bar.update()

        messages = run(
            pairs,
            given.turns,
            given.model,
            transcript,
            client,
            given.workers,
            given.wait,
            progress,
        )
    kinds = ", ".join(
        f"{count} {kind}" for kind, count in sorted(transcript.kinds().items())
    )
    print(f"{transcript.path}: {kinds}; {_spent(transcript, given.prices)}.")
    if not transcript.of_a_model:
        print("The stand-in answered, no language model.")
    short = {name for name, said in messages.items() if len(said) <= 2 * given.turns}
    ended = transcript.ended() & short
    if ended:
        print(
            f"{len(ended)} of {len(pairs)} pairs ended early: {ATTEMPTS} unusable "
            "answers in one turn."
        )
    if short - ended:
        raise SystemExit(
            f"{len(short - ended)} of {len(pairs)} pairs wait for the endpoint, "
            "which failed in a "
            "turn of each. The same command tries them again."
        )


def _estimate(
    pairs: Sequence[Pair],
    turns: int,
    transcript: Transcript,
    prices: Sequence[float] | None,
) -> str:
    requests, answered = (
        2 * len(pairs) * turns,
        [e for e in transcript.entries() if e["kind"] == "ok"],
    )
    if answered:
        each_in, each_out = (
            sum(e[key] for e in answered) // len(answered)
            for key in ("tokens_in", "tokens_out")
        )
    else:  # numbers take about a token for two characters
        asked = question(pairs[0].prompt_w, pairs[0].prompt_w.target)
        each_in, each_out = (
            sum(len(part["content"]) for part in asked) // 2,
            SHORT_ANSWER,
        )
    left = max(requests - len(answered), 0)
    likely, most = ((left * each_in, left * out) for out in (each_out, ANSWER_TOKENS))
    return (
        f"{len(pairs)} pairs x {turns} turns: {requests:,} requests, "
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
