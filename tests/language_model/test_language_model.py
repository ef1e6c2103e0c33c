"""Language-model agents against a real HTTP server on loopback: the stand-in, with
faults.
"""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import pytest
import torch

from agent_dynamics.agents import GradientAgent
from agent_dynamics.book.claims import MIME
from agent_dynamics.equilibrium import equilibrium
from agent_dynamics.language_model import (
    BudgetReached,
    LanguageModelAgent,
    NoAnswer,
    Rejected,
    Transcript,
    connect,
    effective_step,
    experiment,
    given_transcript,
    predicted_plateaus,
    replay,
    run,
)
from agent_dynamics.language_model.question import parse
from agent_dynamics.language_model.stand_in import StandIn
from agent_dynamics.language_model.transcript import ATTEMPTS

KEY = "sk-a-key-that-must-stay-secret"
PAIRS = experiment(6, 1)
PAIRS_OF_THE_CHAPTER = experiment(6)
HERE = torch.tensor([0.5, -0.25, 1.0], dtype=torch.float64)


@pytest.fixture
def serve(monkeypatch):
    """Start a stand-in and connect to it by the environment; both end with the test."""
    opened = []

    def start(timeout=30.0, **options):
        server = StandIn(**options).__enter__()
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        client = connect(timeout=timeout)
        opened.append((server, client))
        return server, client

    yield start
    for server, client in opened:
        client.close()
        server.__exit__()


def agent(path, client, **options):
    transcript = Transcript(path, **options)
    return LanguageModelAgent(
        PAIRS[1].prompt_w, "pair/W", "some-model", transcript, client, 0.001
    )


def entries(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_answer_is_the_stand_ins_gradient_step_and_the_transcript_holds_the_exchange(
    serve, tmp_path
):
    _, client = serve(digits=5)
    reply = agent(tmp_path / "t.jsonl", client)(HERE)
    step = GradientAgent(PAIRS[1].prompt_w, 0.4)(HERE)
    # Half a unit of the fifth decimal, and examples of six digits.
    assert (reply - step).abs().max() < 1.5e-5
    (entry,) = entries(tmp_path / "t.jsonl")
    assert (entry["turn"], entry["kind"], entry["answered_by"]) == (
        "pair/W/1",
        "ok",
        "stand-in",
    )
    assert (
        entry["weights"] == reply.tolist()
        and entry["tokens_in"] > entry["tokens_out"] > 0
    )


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("429", "rate-limited"),
        ("500", "server-error"),
        ("503", "server-error"),
        ("408", "server-error"),
        ("409", "server-error"),
        ("cut", "connection"),
        ("length", "cut-off"),
        ("malformed", "malformed"),
        ("empty", "server-error"),
        ("nan", "not-finite"),
        ("short", "wrong-length"),
        ("refusal", "refused"),
        ("delay", "timeout"),
    ],
)
def test_a_failed_attempt_is_recorded_with_its_kind_and_made_again(
    serve, tmp_path, fault, kind
):
    _, client = serve(
        timeout=0.3 if fault == "delay" else 30.0, faults=(fault,), delay=1.0
    )
    reply = agent(tmp_path / "t.jsonl", client)(HERE)
    failed, answered = entries(tmp_path / "t.jsonl")
    assert failed["kind"] == kind and failed["weights"] is None
    assert answered["kind"] == "ok" and answered["weights"] == reply.tolist()


def test_a_late_answer_is_an_answer(serve, tmp_path):
    _, client = serve(faults=("delay",), delay=0.2)
    agent(tmp_path / "t.jsonl", client)(HERE)
    assert [entry["kind"] for entry in entries(tmp_path / "t.jsonl")] == ["ok"]


def test_after_the_last_attempt_the_pair_ends_and_nothing_stands_in_for_the_answer(
    serve, tmp_path
):
    path = tmp_path / "t.jsonl"
    _server, client = serve(faults=("", "", *["malformed"] * ATTEMPTS))
    ended = run(PAIRS[:1], 5, "some-model", Transcript(path), client, wait=0.001)[
        PAIRS[0].name
    ]
    assert len(ended) == 1 + 2
    assert [entry["kind"] for entry in entries(path)] == ["ok"] * 2 + [
        "malformed"
    ] * ATTEMPTS
    # The end is part of the transcript: another run asks nothing more.
    assert Transcript(path).ended() == {PAIRS[0].name}
    assert torch.equal(
        run(PAIRS[:1], 5, "some-model", Transcript(path), client)[PAIRS[0].name], ended
    )
    assert len(entries(path)) == 2 + ATTEMPTS


def waits(server, client, path, monkeypatch):
    """How long an agent waits between the attempts at one turn."""
    waited = []
    monkeypatch.setattr("agent_dynamics.language_model.agent.LONGEST_WAIT", 5.0)
    server.faults.extend(("429",) * (ATTEMPTS - 1))
    LanguageModelAgent(
        PAIRS[0].prompt_w, "W", "m", Transcript(path), client, 1.0, waited.append
    )(HERE)
    return waited


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", [1, 2, 4, 5]),
        ("2.5", [2.5, 2.5, 4, 5]),
        ("600", [5, 5, 5, 5]),
        ("-3", [1, 2, 4, 5]),
        ("soon", [1, 2, 4, 5]),
        ("Fri, 01 Jan 2100 00:00:00 GMT", [5, 5, 5, 5]),
        ("Fri, 01 Jan 2010 00:00:00 GMT", [1, 2, 4, 5]),
    ],
)
def test_waits_double_or_are_what_the_endpoint_asks_up_to_the_longest(
    serve, tmp_path, monkeypatch, header, expected
):
    assert waits(*serve(retry_after=header), tmp_path / "t", monkeypatch) == expected


@pytest.mark.parametrize("status", ["400", "401", "403", "404"])
def test_a_request_that_cannot_succeed_is_made_once(serve, tmp_path, status):
    _, client = serve(faults=(status,))
    with pytest.raises(Rejected, match=f"pair/W/1: Error code: {status}"):
        agent(tmp_path / "t", client)(HERE)
    assert [entry["kind"] for entry in entries(tmp_path / "t")] == ["rejected"]


@pytest.mark.parametrize("fault", ["429", "500", "cut"])
def test_a_pair_that_the_endpoint_failed_goes_on_when_the_run_is_resumed(
    serve, tmp_path, fault
):
    path = tmp_path / "t"
    _, client = serve(faults=("", "malformed", *[fault] * (ATTEMPTS - 1)))
    assert (
        len(run(PAIRS[:1], 3, "m", Transcript(path), client, wait=0.001)[PAIRS[0].name])
        == 2
    )
    assert Transcript(path).ended() == set()
    whole = run(PAIRS[:1], 3, "m", Transcript(path), client, wait=0.001)[PAIRS[0].name]
    assert len(whole) == 7
    assert torch.equal(
        whole,
        run(PAIRS[:1], 3, "m", Transcript(tmp_path / "untroubled"), client)[
            PAIRS[0].name
        ],
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (None, "malformed"),
        ("", "malformed"),
        ("[1, 2, 3]", "malformed"),
        ('{"weights": 1}', "malformed"),
        ('{"weights": [1, 2, "3"]}', "malformed"),
        ('{"weights": [1, 2, true]}', "malformed"),
        ('{"weights": [1, 2, 3], "note": ""}', "malformed"),
        ('```{"weights": [1, 2, 3]}```', "malformed"),
        ('{"weights": [1, 2, 3, 4]}', "wrong-length"),
        ('{"weights": []}', "wrong-length"),
        ('{"weights": [1, 2, 1e999]}', "not-finite"),
        ('{"weights": [1, 2, -Infinity]}', "not-finite"),
        ('{"weights": [1, 2, 1' + "0" * 400 + "]}", "not-finite"),
    ],
)
def test_parsing_is_strict(text, kind):
    assert parse(text, 3) == (kind, None)
    assert parse(' {"weights": [1, -2.5, 3e-1]}\n', 3) == ("ok", [1.0, -2.5, 0.3])


def test_pairs_run_at_once_within_the_bound_and_give_what_they_give_one_by_one(
    serve, tmp_path
):
    alone = run(PAIRS, 4, "m", Transcript(tmp_path / "1"), serve()[1])
    server, client = serve(faults=("delay",) * 12, delay=0.05)
    together = run(PAIRS, 4, "m", Transcript(tmp_path / "2"), client, workers=2)
    assert server.most_at_once == 2
    assert all(torch.equal(together[name], alone[name]) for name in alone)
    assert len(entries(tmp_path / "2")) == 6 * 4 * 2


def test_the_budget_is_never_exceeded_and_more_of_it_goes_on(serve, tmp_path):
    path = tmp_path / "t"
    _, client = serve()
    with pytest.raises(BudgetReached, match="tokens are spent"):
        run(PAIRS, 4, "m", Transcript(path, budget=6_000), client, workers=3)
    spent = sum(entry["tokens_in"] + entry["tokens_out"] for entry in entries(path))
    assert 0 < spent <= 6_000
    run(PAIRS, 4, "m", Transcript(path), client)
    assert (
        len({entry["turn"] for entry in entries(path)})
        == len(entries(path))
        == 6 * 4 * 2
    )


def test_a_replay_needs_no_endpoint_and_gives_the_same_messages(serve, tmp_path):
    path = tmp_path / "t"
    _, client = serve(slips=0.2, garbled=0.2)
    asked = run(PAIRS, 4, "m", Transcript(path), client, workers=2, wait=0.001)
    before = path.read_bytes()
    replayed = run(PAIRS, 6, "m", Transcript(path))  # ends where the transcript does
    assert all(torch.equal(replayed[name], asked[name]) for name in asked)
    assert path.read_bytes() == before
    pairs, messages = replay(Transcript(path))
    assert all(
        torch.equal(pair.prompt_w.inputs, PAIRS[i].prompt_w.inputs)
        for i, pair in enumerate(pairs)
    )
    assert all(torch.equal(messages[name], asked[name]) for name in asked)


def test_a_transcript_of_something_else_is_no_answer(serve, tmp_path):
    agent(tmp_path / "t", serve()[1])(HERE)
    with pytest.raises(
        ValueError,
        match="transcript was one with another question or model at pair/W/1",
    ):
        agent(tmp_path / "t", None)(2 * HERE)
    replaying = agent(tmp_path / "t", None)
    answer = replaying(HERE)
    with pytest.raises(NoAnswer, match="the transcript ends here"):
        replaying(answer)
    with pytest.raises(ValueError, match="transcript was of 1 pairs and 1 models"):
        replay(Transcript(tmp_path / "t"))
    (tmp_path / "bad").write_text("{}\n[1]\n", encoding="utf-8")
    with pytest.raises(ValueError, match="whose line 1 is no attempt"):
        Transcript(tmp_path / "bad")


def test_reading_a_transcript_changes_nothing_and_a_last_line_counts_without_its_end(
    serve, tmp_path
):
    path = tmp_path / "t"
    _, client = serve()
    reply = agent(path, client)(HERE)
    whole = path.read_bytes()
    for left in (whole[:-1], whole + whole[:40]):
        path.write_bytes(left)
        replaying = agent(path, None)
        assert torch.equal(replaying(HERE), reply) and path.read_bytes() == left
        again = agent(path, client)
        again(again(HERE))
        assert [entry["turn"] for entry in entries(path)] == ["pair/W/1", "pair/W/2"]
    path.write_bytes(whole + whole[:40])
    here, there = agent(path, client), agent(path, client)
    there(there(HERE))
    with pytest.raises(RuntimeError, match="another run writes to"):
        here(here(HERE))
    assert len(entries(path)) == 2
    path.write_bytes(b'{"a": 1}')
    with pytest.raises(ValueError, match="whose line 1 is no attempt"):
        Transcript(path)
    assert path.read_bytes() == b'{"a": 1}'


def test_an_endpoint_that_nobody_is_at_costs_no_tokens(serve, tmp_path):
    server, client = serve()
    server.__exit__()
    asking = agent(tmp_path / "t", client)
    with pytest.raises(NoAnswer, match="connection"):
        asking(HERE)
    assert (
        asking.transcript.kinds() == {"connection": ATTEMPTS}
        and asking.transcript.tokens == 0
    )


def command(path, url, *options, model="stand-in"):
    """Start the command, which logs beside the transcript: a pipe that nobody reads
    would fill and stop it.
    """
    with path.with_suffix(".log").open("a", encoding="utf-8") as log:
        return subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                "-m",
                "agent_dynamics.language_model",
                "--model",
                model,
                "--pairs",
                "20",
                "--turns",
                "30",
                "--transcript",
                str(path),
                "--wait",
                "0.001",
                *options,
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "OPENAI_BASE_URL": url,
                "OPENAI_API_KEY": KEY,
                "OPENAI_LOG": "debug",
                "OMP_NUM_THREADS": "1",
            },
            # A shell's background job ignores interrupts, and so would what it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def log_of(path):
    return path.with_suffix(".log").read_text(encoding="utf-8")


def reaches(process, path, lines):
    """Wait until the transcript has so many lines."""
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_bytes().count(b"\n") > lines):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_killed_halfway_resumes_and_every_exchange_is_there_once(serve, tmp_path):
    path = tmp_path / "t.jsonl"
    server, _ = serve(garbled=0.02)
    first = command(path, server.url)
    reaches(first, path, 500)
    first.send_signal(signal.SIGKILL)
    first.wait()
    with path.open("a", encoding="utf-8") as file:
        file.write('{"turn": "11-0')  # what a kill within a write leaves
    kept = path.read_bytes().rpartition(b"\n")[0]
    assert kept.count(b"\n") < 1_200
    second = command(path, server.url)
    second.wait()
    log = log_of(path)
    assert second.returncode == 0, log[-2000:]
    assert path.read_bytes().startswith(kept)
    answered = [entry["turn"] for entry in entries(path) if entry["kind"] == "ok"]
    assert len(answered) == len(set(answered)) == 20 * 30 * 2
    assert (
        "1,200 requests, 0 of them answered" in log
        and "The stand-in answered, no language model" in log
    )
    assert KEY not in log and KEY not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("status", ["429", "401"])
def test_the_key_is_in_no_transcript_and_no_error(serve, tmp_path, status):
    server, client = serve(faults=(status,) * ATTEMPTS)
    with pytest.raises(Rejected if status == "401" else NoAnswer) as caught:
        agent(tmp_path / "t", client)(HERE)
    assert "[key]" in entries(tmp_path / "t")[0]["answer"]
    assert KEY not in (tmp_path / "t").read_text(encoding="utf-8") + repr(caught.value)
    # A request that was rejected counts as no attempt: with the right key the turn is
    # asked again.
    server.faults.clear()
    if status == "401":
        agent(tmp_path / "t", client)(HERE)


def test_the_command_reports_a_rejected_key_without_showing_it(serve, tmp_path):
    server, _ = serve(faults=("401",) * 50)
    process = command(tmp_path / "t", server.url)
    process.wait()
    log = log_of(tmp_path / "t")
    assert (
        process.returncode == 1
        and "The endpoint rejects the request" in log
        and "[key]" in log
    )
    assert KEY not in log and "Traceback" not in log


def test_an_interrupted_command_says_so_and_the_next_one_estimates_the_rest(
    serve, tmp_path
):
    path = tmp_path / "t"
    server, _ = serve()
    first = command(path, server.url, "--prices", "1000", "2000")
    reaches(first, path, 100)
    first.send_signal(signal.SIGINT)
    first.wait()
    log = log_of(path)
    assert (
        first.returncode == 130
        and "the same command goes on" in log
        and "Traceback" not in log
    )
    answered = len(entries(path))
    second = command(path, server.url, "--budget", "1")
    second.wait()
    assert second.returncode == 1 and f"{answered} of them answered" in log_of(path)
    assert "larger BUDGET goes on" in log_of(path)
    assert re.search(r"each and 30 for the answer: [\d,]+ tokens, cost \d+\.\d\d", log)


def test_the_command_says_what_to_do_with_another_models_transcript_and_after_failures(
    serve, tmp_path
):
    server, client = serve(faults=("500",) * 10**4)
    waiting = command(tmp_path / "w", server.url)
    waiting.wait()
    assert waiting.returncode == 1 and "20 of 20 pairs wait for the endpoint" in log_of(
        tmp_path / "w"
    )
    server.faults.clear()
    agent(tmp_path / "t", client)(HERE)
    other = command(tmp_path / "t", server.url, model="another")
    other.wait()
    assert other.returncode == 1
    assert "it must be some-model, to go on with it; or move that file away" in log_of(
        tmp_path / "t"
    )


def test_the_stand_in_is_never_taken_for_a_model_nor_mixed_with_one(serve, tmp_path):
    path = tmp_path / "t"
    agent(path, serve()[1])(HERE)
    assert (
        Transcript(path).models() == {"some-model"} and not Transcript(path).of_a_model
    )
    _, client = serve(reports="some-model-of-today")
    resumed = agent(path, client)
    with pytest.raises(
        Rejected,
        match="some-model-of-today answers, and the transcript has .* {'stand-in'}",
    ):
        resumed(resumed(HERE))
    assert not Transcript(path).of_a_model
    agent(tmp_path / "model", client)(HERE)
    assert Transcript(tmp_path / "model").of_a_model


def test_the_given_transcript_is_one_with_answers(serve, tmp_path, monkeypatch):
    monkeypatch.delenv("AGENT_DYNAMICS_TRANSCRIPT", raising=False)
    assert given_transcript() is None
    monkeypatch.setenv("AGENT_DYNAMICS_TRANSCRIPT", str(tmp_path / "t"))
    assert given_transcript() is None
    _server, client = serve(faults=("401",))
    with pytest.raises(Rejected):
        agent(tmp_path / "t", client)(HERE)
    assert given_transcript() is None
    agent(tmp_path / "t", client)(HERE)
    assert given_transcript().kinds() == {"rejected": 1, "ok": 1}


def test_a_proxy_of_the_environment_does_not_stand_before_this_machine(
    serve, tmp_path, monkeypatch
):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    agent(tmp_path / "t", serve()[1])(HERE)
    assert [entry["kind"] for entry in entries(tmp_path / "t")] == ["ok"]


def test_no_key_and_a_batch_of_prompts_are_errors(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match="OPENAI_API_KEY was not set"):
        connect()
    prompt = PAIRS[0].prompt_w
    with pytest.raises(ValueError, match="prompt was a batch"):
        LanguageModelAgent(
            type(prompt)(prompt.inputs[None], prompt.target),
            "W",
            "m",
            Transcript(tmp_path / "t"),
        )


def test_the_experiment_has_every_kind_and_its_one_sided_pairs_have_a_winner():
    assert [pair.kind for pair in PAIRS] == ["aligned"] + ["misaligned"] * 4 + [
        "one-sided"
    ]
    for pair in PAIRS:
        limit = equilibrium(
            GradientAgent(pair.prompt_w, 0.4), GradientAgent(pair.prompt_u, 0.4)
        )
        assert (limit.error_w.norm() < 1e-12) == (pair.kind != "misaligned")
        assert (limit.error_u.norm() < 1e-12) == (pair.kind == "aligned")
    # More pairs leave the first ones as they are.
    assert torch.equal(experiment(7, 1)[0].prompt_w.inputs, PAIRS[0].prompt_w.inputs)


def test_the_effective_step_of_a_gradient_agent_is_its_step():
    prompt = PAIRS[1].prompt_w
    received = torch.randn(
        20, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    eta, linear = effective_step(prompt, received, GradientAgent(prompt, 0.3)(received))
    assert eta == pytest.approx(0.3, rel=1e-12) and linear == pytest.approx(
        1, rel=1e-12
    )
    eta, linear = effective_step(prompt, received, received + HERE)
    assert linear < 0.5
    assert effective_step(prompt, received, received) == (0.0, 0.0)
    there = prompt.target.expand(4, 3)
    assert all(math.isnan(value) for value in effective_step(prompt, there, there))


def test_plateaus_are_predicted_where_the_steps_are_stable():
    limit = equilibrium(
        GradientAgent(PAIRS[1].prompt_w, 0.3), GradientAgent(PAIRS[1].prompt_u, 0.5)
    )
    assert predicted_plateaus(PAIRS[1], 0.3, 0.5) == (
        limit.error_w.norm(),
        limit.error_u.norm(),
    )
    for step in (-0.1, 0.0, 1.6, math.nan):
        assert all(
            math.isnan(value) for value in predicted_plateaus(PAIRS[1], step, 1.6)
        )


def test_the_chapter_shows_the_model_of_a_given_transcript_and_no_key(serve, tmp_path):
    _, client = serve(reports="some-model-of-today", slips=0.1)
    run(
        PAIRS_OF_THE_CHAPTER,
        6,
        "some-model",
        Transcript(tmp_path / "t"),
        client,
        workers=2,
    )
    chapter = Path(__file__).parents[2] / "book" / "11-language-models.md"
    notebook, executed = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    jupytext.write(jupytext.read(chapter), notebook)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "papermill",
            str(notebook),
            str(executed),
            "--cwd",
            str(tmp_path),
            "-p",
            "pairs",
            "6",
            "-p",
            "turns",
            "6",
            "-p",
            "rounds",
            "25",
        ],
        check=True,
        capture_output=True,
        env={
            **os.environ,
            "AGENT_DYNAMICS_TRANSCRIPT": str(tmp_path / "t"),
            "OMP_NUM_THREADS": "1",
        },
    )
    text = executed.read_text(encoding="utf-8")
    assert KEY not in text
    outputs = [
        output
        for cell in json.loads(text)["cells"]
        for output in cell.get("outputs", [])
    ]
    text_of = "application/papermill.record/text/plain"
    glued = {
        output["metadata"]["scrapbook"]["name"]: output["data"][text_of]
        for output in outputs
        if "scrapbook" in output.get("metadata", {})
    }
    assert glued["11-who"] == "'the language model some-model-of-today'"
    assert glued["11-complete"] == "'6 of 6 pairs went through all 6 rounds.'"
    claims = [
        output["data"][MIME]["id"]
        for output in outputs
        if MIME in output.get("data", {})
    ]
    assert {
        "language-model-linear",
        "language-model-plateau",
        "stand-in-rounding",
    } <= set(claims)
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    for name in ("11-plateau", "11-linear"):
        drawn = json.loads(
            (tmp_path / "figures" / f"{name}.json").read_text(encoding="utf-8")
        )
        assert drawn["parameters"]["answered_by"] == "some-model-of-today"
        assert (
            "some-model-of-today" in drawn["caption"]
            and "stand-in" not in drawn["caption"]
        )
