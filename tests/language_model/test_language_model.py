"""Language-model agents against a real HTTP server on loopback: the stand-in, with
faults.
"""

import json
import lzma
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import jupytext
import pytest
import torch
from exchange import HERE, KEY, PAIRS, agent, entries

from agent_dynamics.agents import GradientAgent
from agent_dynamics.book.claims import MIME
from agent_dynamics.equilibrium import equilibrium
from agent_dynamics.language_model import (
    VARIANTS,
    BudgetReached,
    Endpoint,
    LanguageModelAgent,
    NoAnswer,
    Rejected,
    Settings,
    Transcript,
    effective_step,
    experiment,
    fits,
    habits,
    local,
    predicted_plateaus,
    replay,
    run,
    speakers,
    transcripts,
)
from agent_dynamics.language_model.question import parse, question
from agent_dynamics.language_model.stand_in import _Handler
from agent_dynamics.language_model.transcript import ATTEMPTS

PAIRS_OF_THE_CHAPTER = experiment(6)


def test_an_answer_is_the_stand_ins_gradient_step_and_the_transcript_holds_the_exchange(
    serve, tmp_path
):
    _, endpoint = serve(digits=5)
    reply = agent(tmp_path / "t.jsonl", endpoint)(HERE)
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
    _, endpoint = serve(
        Settings(timeout=0.3 if fault == "delay" else 30.0), faults=(fault,), delay=1.0
    )
    reply = agent(tmp_path / "t.jsonl", endpoint)(HERE)
    failed, answered = entries(tmp_path / "t.jsonl")
    assert failed["kind"] == kind and failed["weights"] is None
    assert answered["kind"] == "ok" and answered["weights"] == reply.tolist()


def test_a_late_answer_is_an_answer(serve, tmp_path):
    _, endpoint = serve(faults=("delay",), delay=0.2)
    agent(tmp_path / "t.jsonl", endpoint)(HERE)
    assert [entry["kind"] for entry in entries(tmp_path / "t.jsonl")] == ["ok"]


def test_after_the_last_attempt_the_pair_ends_and_nothing_stands_in_for_the_answer(
    serve, tmp_path
):
    path = tmp_path / "t.jsonl"
    _server, endpoint = serve(faults=("", "", *["malformed"] * ATTEMPTS))
    ended = run(PAIRS[:1], 5, Transcript(path), endpoint, wait=0.001)[PAIRS[0].name]
    assert len(ended) == 1 + 2
    assert [entry["kind"] for entry in entries(path)] == ["ok"] * 2 + [
        "malformed"
    ] * ATTEMPTS
    # The end is part of the transcript: another run asks nothing more.
    assert Transcript(path).ended() == {PAIRS[0].name}
    assert torch.equal(
        run(PAIRS[:1], 5, Transcript(path), endpoint)[PAIRS[0].name], ended
    )
    assert len(entries(path)) == 2 + ATTEMPTS


def waits(server, endpoint, path, monkeypatch):
    """How long an agent waits between the attempts at one turn."""
    waited = []
    monkeypatch.setattr("agent_dynamics.language_model.agent.LONGEST_WAIT", 5.0)
    server.faults.extend(("429",) * (ATTEMPTS - 1))
    LanguageModelAgent(
        PAIRS[0].prompt_w, "W", Transcript(path), endpoint, sleep=waited.append
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
    _, endpoint = serve(faults=(status,))
    with pytest.raises(Rejected, match=f"pair/W/1: Error code: {status}"):
        agent(tmp_path / "t", endpoint)(HERE)
    assert [entry["kind"] for entry in entries(tmp_path / "t")] == ["rejected"]


@pytest.mark.parametrize("fault", ["429", "500", "cut"])
def test_a_pair_that_the_endpoint_failed_goes_on_when_the_run_is_resumed(
    serve, tmp_path, fault
):
    path = tmp_path / "t"
    _, endpoint = serve(faults=("", "malformed", *[fault] * (ATTEMPTS - 1)))
    assert (
        len(run(PAIRS[:1], 3, Transcript(path), endpoint, wait=0.001)[PAIRS[0].name])
        == 2
    )
    assert Transcript(path).ended() == set()
    whole = run(PAIRS[:1], 3, Transcript(path), endpoint, wait=0.001)[PAIRS[0].name]
    assert len(whole) == 7
    assert torch.equal(
        whole,
        run(PAIRS[:1], 3, Transcript(tmp_path / "untroubled"), endpoint)[PAIRS[0].name],
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
        ('{"weights": [1, 2, 1e154]}', "not-finite"),
        ('{"weights": [1, 2, 1' + "0" * 400 + "]}", "not-finite"),
    ],
)
def test_parsing_is_strict(text, kind):
    assert parse(text, 3) == (kind, None)
    assert parse(' {"weights": [1, -2.5, 3e-1]}\n', 3) == ("ok", [1.0, -2.5, 0.3])


def test_pairs_run_at_once_within_the_bound_and_give_what_they_give_one_by_one(
    serve, tmp_path
):
    alone = run(PAIRS, 4, Transcript(tmp_path / "1"), serve()[1])
    server, endpoint = serve(faults=("delay",) * 12, delay=0.05)
    together = run(PAIRS, 4, Transcript(tmp_path / "2"), endpoint, workers=2)
    assert server.most_at_once == 2
    assert all(torch.equal(together[name], alone[name]) for name in alone)
    assert len(entries(tmp_path / "2")) == 6 * 4 * 2


def test_the_budget_is_never_exceeded_and_more_of_it_goes_on(serve, tmp_path):
    path = tmp_path / "t"
    _, endpoint = serve()
    with pytest.raises(BudgetReached, match="tokens are spent"):
        run(PAIRS, 4, Transcript(path, budget=6_000), endpoint, workers=3)
    spent = sum(entry["tokens_in"] + entry["tokens_out"] for entry in entries(path))
    assert 0 < spent <= 6_000
    run(PAIRS, 4, Transcript(path), endpoint)
    assert (
        len({entry["turn"] for entry in entries(path)})
        == len(entries(path))
        == 6 * 4 * 2
    )


def test_a_replay_needs_no_endpoint_and_gives_the_same_messages(serve, tmp_path):
    path = tmp_path / "t"
    _, endpoint = serve(slips=0.2, garbled=0.2)
    asked = run(PAIRS, 4, Transcript(path), endpoint, workers=2, wait=0.001)
    before = path.read_bytes()
    replayed = run(PAIRS, 6, Transcript(path))  # ends where the transcript does
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
    _, endpoint = serve()
    reply = agent(path, endpoint)(HERE)
    whole = path.read_bytes()
    for left in (whole[:-1], whole + whole[:40]):
        path.write_bytes(left)
        replaying = agent(path, None)
        assert torch.equal(replaying(HERE), reply) and path.read_bytes() == left
        again = agent(path, endpoint)
        again(again(HERE))
        assert [entry["turn"] for entry in entries(path)] == ["pair/W/1", "pair/W/2"]
    path.write_bytes(whole + whole[:40])
    here, there = agent(path, endpoint), agent(path, endpoint)
    there(there(HERE))
    with pytest.raises(RuntimeError, match="another run writes to"):
        here(here(HERE))
    assert len(entries(path)) == 2
    path.write_bytes(b'{"a": 1}')
    with pytest.raises(ValueError, match="whose line 1 is no attempt"):
        Transcript(path)
    assert path.read_bytes() == b'{"a": 1}'


def test_an_endpoint_that_nobody_is_at_is_named_at_once_and_costs_nothing(
    serve, tmp_path
):
    server, endpoint = serve()
    server.__exit__()
    asking = agent(tmp_path / "t", endpoint)
    with pytest.raises(Rejected, match=f"nobody answers at {server.url}"):
        asking(HERE)
    assert asking.transcript.tokens == 0 and not (tmp_path / "t").exists()
    process = command(tmp_path / "c", server.url)
    process.wait()
    assert process.returncode == 1 and "nobody answers at" in log_of(tmp_path / "c")


def test_an_endpoint_that_goes_away_is_asked_again_and_costs_nothing(
    serve, tmp_path, monkeypatch
):
    monkeypatch.setattr(_Handler, "protocol_version", "HTTP/1.0")  # no connection stays
    server, endpoint = serve()
    asking = agent(tmp_path / "t", endpoint)
    reply = asking(HERE)
    spent = asking.transcript.tokens
    server.__exit__()
    with pytest.raises(NoAnswer, match="connection"):
        asking(reply)
    assert asking.transcript.kinds() == {"ok": 1, "connection": ATTEMPTS}
    assert asking.transcript.tokens == spent


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


def test_a_run_killed_five_times_ends_with_every_exchange_once(serve, tmp_path):
    path = tmp_path / "t.jsonl"
    server, _ = serve(garbled=0.02)
    kept = b""
    for lines in sorted(random.Random(5).sample(range(1_100), 5)):
        killed = command(path, server.url)
        reaches(killed, path, lines)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        with path.open("ab") as file:
            file.write(b'{"turn": "11-0')  # what a kill within a write leaves
        assert path.read_bytes().startswith(kept)
        kept = path.read_bytes().rpartition(b"\n")[0]
    assert kept.count(b"\n") < 1_200
    last = command(path, server.url)
    last.wait()
    log = log_of(path)
    assert last.returncode == 0, log[-2000:]
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
    server, endpoint = serve(faults=(status,) * ATTEMPTS)
    with pytest.raises(Rejected if status == "401" else NoAnswer) as caught:
        agent(tmp_path / "t", endpoint)(HERE)
    assert "[key]" in entries(tmp_path / "t")[0]["answer"]
    assert KEY not in (tmp_path / "t").read_text(encoding="utf-8") + repr(caught.value)
    # A request that was rejected counts as no attempt: with the right key the turn is
    # asked again.
    server.faults.clear()
    if status == "401":
        agent(tmp_path / "t", endpoint)(HERE)


def test_the_command_reports_a_rejected_key_without_showing_it(serve, tmp_path):
    server, _ = serve(faults=("401",) * 50)
    process = command(tmp_path / "t", server.url)
    process.wait()
    log = log_of(tmp_path / "t")
    assert (
        process.returncode == 1
        and "The endpoint takes no such request" in log
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
    server, endpoint = serve(faults=("500",) * 10**4)
    waiting = command(tmp_path / "w", server.url)
    waiting.wait()
    assert waiting.returncode == 1 and "20 of 20 pairs wait for the endpoint" in log_of(
        tmp_path / "w"
    )
    server.faults.clear()
    agent(tmp_path / "t", endpoint)(HERE)
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
    _, endpoint = serve(reports="some-model-of-today")
    resumed = agent(path, endpoint)
    with pytest.raises(
        Rejected,
        match="some-model-of-today answers, and the transcript has .* {'stand-in'}",
    ):
        resumed(resumed(HERE))
    assert not Transcript(path).of_a_model
    agent(tmp_path / "model", endpoint)(HERE)
    assert Transcript(tmp_path / "model").of_a_model


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
        Endpoint("some-model")
    prompt = PAIRS[0].prompt_w
    with pytest.raises(ValueError, match="prompt was a batch"):
        LanguageModelAgent(
            type(prompt)(prompt.inputs[None], prompt.target),
            "W",
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


def test_habits_are_told_apart():
    pair = experiment(2, 1, VARIANTS["worked-1"])[1]
    ((other, start),) = pair.worked
    shown = GradientAgent(other, 0.4)(start)
    ones = torch.ones(3, dtype=torch.float64)
    # W: one number, a repetition of U, the worked answer; U: a repetition, twice else.
    messages = torch.stack([0 * ones, ones, ones, ones, HERE, shown, 2 * HERE])
    w, u = habits(pair, messages)
    assert w == pytest.approx((1 / 3, 2 / 3, 1 / 3))
    assert u == pytest.approx((1 / 3, 1 / 3, 0))
    assert habits(PAIRS[1], messages)[0][2] == 0


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


def test_every_variant_shows_the_same_pairs_and_worked_ones_are_gradient_steps():
    for variant in VARIANTS.values():
        pair = experiment(3, 1, variant)[2]
        assert torch.equal(pair.prompt_u.inputs, PAIRS[2].prompt_u.inputs)
        asked = question(pair.prompt_u, HERE, variant, pair.worked)
        assert len(asked) == 2 + 2 * variant.worked
        last = json.loads(asked[-1]["content"])
        assert ("error" in last["examples"][0]) == variant.residuals
        assert ("gradient descent" in asked[0]["content"]) == variant.explained
        for k, (prompt, start) in enumerate(pair.worked):
            told = json.loads(asked[2 + 2 * k]["content"])["weights"]
            step = GradientAgent(prompt, 0.4)(start)
            assert torch.allclose(torch.tensor(told).to(step), step, rtol=1e-5)
    given = [
        example["error"]
        for example in json.loads(
            question(PAIRS[0].prompt_w, HERE, VARIANTS["residuals"])[-1]["content"]
        )["examples"]
    ]
    residuals = PAIRS[0].prompt_w.inputs @ HERE - PAIRS[0].prompt_w.labels
    assert torch.allclose(torch.tensor(given).to(residuals), residuals, rtol=1e-5)


def test_the_command_asks_the_variants_that_it_is_told(serve, tmp_path):
    path = tmp_path / "t.jsonl"
    server, _ = serve()
    names = [name for name in VARIANTS if name != "residuals"]
    process = command(path, server.url, "--pairs", "2", "--variants", *names)
    process.wait()
    assert process.returncode == 0, log_of(path)
    (heard,), left_out = speakers([path])
    assert not left_out and not heard.of_a_model
    for name, variant in VARIANTS.items():
        rounds = {"plain": 30, "residuals": None}.get(name, 5)
        sizes = {len(heard.messages[pair.name]) for pair in heard.whole(variant)}
        assert sizes == ({2 * rounds + 1} if rounds else set())
    # The stand-in reads numbers, not words: it takes its step in all of them.
    pair = heard.whole(VARIANTS["worked-4"])[1]
    assert all(r2 > 0.9 for _, r2 in fits(pair, heard.messages[pair.name]))


def test_settings_are_kept_and_those_that_change_answers_must_stay(serve, tmp_path):
    path = tmp_path / "t.jsonl"
    server, _ = serve()
    short = ("--pairs", "1", "--turns", "1", "--temperature", "0")
    for options, code in (((), 0), (("--cap", "99"), 0), (("--lenient",), 1)):
        process = command(path, server.url, *short, *options)
        process.wait()
        assert process.returncode == code, log_of(path)
    kept = Transcript(path).settings
    assert [settings["cap"] for settings in kept] == [4_000, 99]
    assert {settings["temperature"] for settings in kept} == {0}
    assert "LENIENT was True, while" in log_of(path)


def test_answers_that_are_never_usable_end_in_the_reason_and_an_error(serve, tmp_path):
    path = tmp_path / "t.jsonl"
    server, _ = serve(garbled=1.0)
    process = command(path, server.url, "--pairs", "2")
    process.wait()
    log = log_of(path)
    assert process.returncode == 1
    assert "2 of 2 pairs ended early" in log and "LENIENT=1 reads it" in log
    assert "Most often: malformed (10 times), as in 'The weights are about" in log


def test_a_disk_that_takes_nothing_is_this_machines_fault(serve, tmp_path):
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    server, _ = serve()
    path = tmp_path / "t"
    options = ("--pairs", "1", "--transcript", str(tmp_path / "file" / "t"))
    process = command(path, server.url, *options)
    process.wait()
    assert process.returncode == 1
    assert "This machine does not write" in log_of(path)
    assert "Traceback" not in log_of(path)


@pytest.mark.parametrize("fault", ["401", "", "429"])
def test_a_transcript_with_no_whole_round_is_left_out_with_the_reason(
    serve, tmp_path, fault
):
    _, endpoint = serve(faults=(fault,))
    path = tmp_path / "t.jsonl"
    asking = LanguageModelAgent(
        PAIRS[0].prompt_w, "1-000/W", Transcript(path), endpoint, wait=0.001
    )
    with suppress(Rejected):
        asking(torch.zeros_like(HERE))
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n', encoding="utf-8")
    heard, left_out = speakers([path, tmp_path / "bad.jsonl"])
    assert heard == [] and "no pair has a whole round yet" in left_out[0]
    assert "bad.jsonl is left out: path was" in left_out[1]


def test_a_run_that_stopped_within_a_round_shows_the_whole_ones(serve, tmp_path):
    path = tmp_path / "t.jsonl"
    _, endpoint = serve(faults=("", "", "", "401"))
    with pytest.raises(Rejected):
        run(PAIRS[:1], 5, Transcript(path), endpoint)
    (heard,), left_out = speakers([path])
    assert not left_out and len(heard.messages[PAIRS[0].name]) == 3


def test_a_folder_gets_a_file_by_the_models_name(serve, tmp_path):
    server, _ = serve()
    (tmp_path / "own").mkdir()
    model = 'org/my "model": 1'
    options = ("--pairs", "1", "--turns", "1", "--transcript", str(tmp_path / "own"))
    process = command(tmp_path / "t", server.url, *options, model=model)
    process.wait()
    assert process.returncode == 0, log_of(tmp_path / "t")
    assert Transcript(tmp_path / "own" / "org-my-model-1.jsonl").models() == {model}


def test_two_transcripts_of_one_model_are_told_apart(serve, tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        _, endpoint = serve(reports="some-model-of-today")
        run(PAIRS[:1], 1, Transcript(tmp_path / name), endpoint)
    heard, _ = speakers([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert [speaker.label for speaker in heard] == [
        "some-model-of-today",
        "some-model-of-today, b.jsonl",
    ]


def test_a_compressed_transcript_is_read_and_never_written(serve, tmp_path):
    _, endpoint = serve()
    said = run(PAIRS[:1], 2, Transcript(tmp_path / "t"), endpoint)
    packed = tmp_path / "t.jsonl.xz"
    packed.write_bytes(lzma.compress((tmp_path / "t").read_bytes()))
    _, again = replay(Transcript(packed))
    assert torch.equal(again[PAIRS[0].name], said[PAIRS[0].name])
    with pytest.raises(ValueError, match="compressed"):
        run(PAIRS[:1], 3, Transcript(packed), endpoint)


def test_the_transcript_of_the_book_is_whole():
    (path,) = (path for path in transcripts() if path.suffix == ".xz")
    assert path.stat().st_size < 500_000
    transcript = Transcript(path)
    assert transcript.of_a_model
    for settings in transcript.settings:
        assert settings["temperature"] == 0 and len(settings["sha256"]) == 64
        assert settings["server"] and settings["model"] in transcript.models()
    ((speaker,), left_out) = speakers([path])
    assert not left_out and len(speaker.whole()) >= 24
    assert all(len(speaker.messages[p.name]) >= 31 for p in speaker.whole())
    for variant in VARIANTS.values():
        assert len(speaker.whole(variant)) >= 6
    answered = Counter(e.turn for e in transcript.entries() if e.kind == "ok")
    assert set(answered.values()) == {1}


@pytest.mark.parametrize("content", [None, b"", b"GIF89a", b"GGU"])
def test_a_model_file_that_is_none_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "model.gguf").write_bytes(content)
    with (
        pytest.raises(ValueError, match="MODEL_FILE was .*model.gguf"),
        local.serve(tmp_path / "model.gguf", 1),
    ):
        pass


def test_the_chapter_shows_the_model_of_a_given_transcript_and_no_key(serve, tmp_path):
    _, endpoint = serve(reports="some-model-of-today", slips=0.1)
    run(
        PAIRS_OF_THE_CHAPTER,
        6,
        Transcript(tmp_path / "own" / "t.jsonl"),
        endpoint,
        workers=2,
    )
    (tmp_path / "own" / "broken.jsonl").write_text("{}\n", encoding="utf-8")
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
            "AGENT_DYNAMICS_TRANSCRIPTS": str(tmp_path / "own"),
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
    assert "some-model-of-today" in glued["11-who"]
    assert "broken.jsonl is left out" in glued["11-left-out"]
    assert (
        "some-model-of-today, 6 of 6 pairs went through all 6 rounds."
        in (glued["11-complete"])
    )
    found = [
        output["data"][MIME] for output in outputs if MIME in output.get("data", {})
    ]
    of_it = {v["id"] for v in found if v["model"] == "some-model-of-today"}
    assert {"language-model-linear", "language-model-plateau"} <= of_it
    assert "stand-in-rounding" in {verdict["id"] for verdict in found}
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    for name in ("11-exchange", "11-plateau", "11-linear"):
        drawn = json.loads(
            (tmp_path / "figures" / f"{name}.json").read_text(encoding="utf-8")
        )
        assert "some-model-of-today" in drawn["parameters"]["answers_from"]
