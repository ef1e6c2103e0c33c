"""What endpoints do differently, each against a server on loopback that does it."""

import json
import threading
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, quote_plus

import pytest
from exchange import HERE, KEY, PAIRS, agent, entries

from agent_dynamics.language_model import (
    Endpoint,
    NoAnswer,
    Rejected,
    Settings,
    Transcript,
    run,
)
from agent_dynamics.language_model.credentials import without
from agent_dynamics.language_model.question import inner_json
from agent_dynamics.language_model.transcript import ATTEMPTS

GOOD = '{"weights": [1, 2, 3]}'


def with_message(**message):
    """An edit that changes the message of an answer."""

    def edit(body):
        body["choices"][0]["message"] |= message
        return body

    return edit


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        (None, None),
        ({}, None),
        ({"prompt_tokens": 7, "completion_tokens": None}, None),
        ({"prompt_tokens": None, "completion_tokens": 5}, None),
        ({"prompt_tokens": -1, "completion_tokens": 5}, None),
        ({"prompt_tokens": "7", "completion_tokens": "5"}, None),
        ({"prompt_tokens": 7.5, "completion_tokens": 5}, None),
        ({"prompt_tokens": True, "completion_tokens": 5}, None),
        ({"input_tokens": 7, "output_tokens": 5}, (7, 5)),
        ({"prompt_tokens": 7, "completion_tokens": 5}, (7, 5)),
        ("many", None),
        ([], None),
    ],
)
def test_tokens_that_are_not_said_count_as_the_most_and_can_be_read_again(
    serve, tmp_path, usage, told
):
    _, endpoint = serve(edit=lambda body: body | {"usage": usage})
    asking = agent(tmp_path / "t", endpoint)
    asking(HERE)
    (entry,) = Transcript(tmp_path / "t").entries()
    assert entry.kind == "ok" and entry.estimated == (told is None)
    if told:
        assert (entry.tokens_in, entry.tokens_out) == told
    else:
        assert entry.tokens_out == endpoint.settings.cap
        asked = sum(len(part["content"]) for part in entry.asked)
        assert entry.tokens_in >= asked


@pytest.mark.parametrize(
    "strange",
    [
        {"model": None},
        {"model": 3},
        {"model": ["a"]},
        {"choices": None},
        {"choices": [None]},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": {"0": 1}},
        {"id": None, "created": "now", "object": 1},
    ],
)
def test_whatever_comes_back_the_transcript_can_be_read(serve, tmp_path, strange):
    _, endpoint = serve(edit=lambda body: body | strange)
    asking = agent(tmp_path / "t", endpoint)
    try:
        asking(HERE)
    except NoAnswer:
        assert asking.transcript.kinds() == {"server-error": ATTEMPTS}
    assert Transcript(tmp_path / "t").kinds() == asking.transcript.kinds()


@pytest.mark.parametrize(
    "content",
    [
        "\ud800",
        "\x00",
        "x" * 100_000,
        "[" * 100_000,
        ["a", "b"],
        [{"type": "text", "text": "some"}],
        {"weights": [1, 2, 3]},
        3,
        "",
        None,
    ],
)
def test_whatever_a_model_says_the_transcript_can_be_read(serve, tmp_path, content):
    _, endpoint = serve(edit=with_message(content=content))
    asking = agent(tmp_path / "t", endpoint)
    with pytest.raises(NoAnswer):
        asking(HERE)
    read = Transcript(tmp_path / "t")
    assert read.kinds() == asking.transcript.kinds()
    assert set(read.kinds()) <= {"malformed", "server-error"}
    for entry in read.entries():  # as a page shows it
        (entry.answer or "").encode()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "upstream failed", "code": 502}, "server-error"),
        ({"message": "slow down", "code": 429}, "rate-limited"),
        ("something failed", "server-error"),
    ],
)
@pytest.mark.parametrize("beside", [True, False])
def test_an_error_within_an_answer_is_the_endpoints_and_tried_again(
    serve, tmp_path, error, kind, beside
):
    failing = [error, error]

    def edit(body):
        if not failing:
            return body
        return {"error": failing.pop()} | (body if beside else {})

    _, endpoint = serve(edit=edit)
    asking = agent(tmp_path / "t", endpoint)
    asking(HERE)
    assert [entry.kind for entry in asking.transcript.entries()] == [kind, kind, "ok"]


@pytest.mark.parametrize(
    ("refuses", "form"),
    [
        ((), "schema"),
        (("minItems",), "plain-schema"),
        (("json_schema",), "object"),
        (("json_schema", "json_object"), "text"),
        (("response_format",), "text"),
        (("max_completion_tokens",), "schema"),
        (("max_completion_tokens", "response_format"), "text"),
    ],
)
def test_a_request_comes_down_to_what_the_endpoint_supports(
    serve, tmp_path, refuses, form
):
    _, endpoint = serve(refuses=refuses)
    said = run(PAIRS[:2], 2, Transcript(tmp_path / "t"), endpoint, wait=0.001)
    assert all(len(messages) == 5 for messages in said.values())
    read = Transcript(tmp_path / "t")
    assert {entry.form for entry in read.entries() if entry.kind == "ok"} == {form}
    assert set(read.kinds()) <= {"ok", "unsupported"}
    assert read.tokens > 0  # and what was not supported cost nothing
    assert all(e.tokens_in == 0 for e in read.entries() if e.kind == "unsupported")


def test_a_form_is_tried_from_the_one_that_was_asked_for(serve, tmp_path):
    _, endpoint = serve(Settings(form="object"))
    agent(tmp_path / "t", endpoint)(HERE)
    assert [entry["form"] for entry in entries(tmp_path / "t")] == ["object"]


def test_an_option_that_the_endpoint_refuses_is_named(serve, tmp_path):
    _, endpoint = serve(Settings(temperature=0.5), refuses=("temperature",))
    with pytest.raises(Rejected, match="temperature is not supported"):
        agent(tmp_path / "t", endpoint)(HERE)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("400 json_validate_failed", "malformed"),
        ("400 content_filter", "refused"),
        ("400 content_policy_violation", "refused"),
        ("400", "refused"),
        ("422", "refused"),
    ],
)
def test_a_refusal_now_and_then_is_an_unusable_answer_of_this_turn(
    serve, tmp_path, fault, kind
):
    _, endpoint = serve(faults=("", fault))
    asking = agent(tmp_path / "t", endpoint)
    asking(asking(HERE))
    assert [entry.kind for entry in asking.transcript.entries()] == ["ok", kind, "ok"]


@pytest.mark.parametrize("fault", ["400 content_filter", "400 json_validate_failed"])
def test_it_is_so_of_the_first_turn_too(serve, tmp_path, fault):
    _, endpoint = serve(faults=(fault,))
    agent(tmp_path / "t", endpoint)(HERE)


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "reasoning_content": f"I think so. {GOOD}"},
        {"content": f"<think>{{}} perhaps [1]?</think>\n{GOOD}"},
        {"content": f"```json\n{GOOD}\n```"},
        {"content": f'First {{"weights": [9, 9, 9]}}, no: {GOOD}.'},
    ],
)
def test_text_around_an_answer_is_read_where_that_is_asked_for(
    serve, tmp_path, message
):
    _, strict = serve(edit=with_message(**message))
    with pytest.raises(NoAnswer, match="malformed"):
        agent(tmp_path / "strict", strict)(HERE)
    _, lenient = serve(Settings(lenient=True), edit=with_message(**message))
    assert agent(tmp_path / "lenient", lenient)(HERE).tolist() == [1, 2, 3]


@pytest.mark.parametrize("text", ["", "no", "{", "{" * 3_000, '{"a": [}'])
def test_a_text_without_an_object_stays_as_it_is(text):
    assert inner_json(text) == text


def test_an_endpoint_that_ignores_the_cap_is_not_asked_again(serve, tmp_path):
    def edit(body):
        return body | {"usage": {"prompt_tokens": 9, "completion_tokens": 5_001}}

    _, endpoint = serve(Settings(cap=5_000), edit=edit)
    with pytest.raises(Rejected, match="took 5,001 tokens, and was to take at"):
        agent(tmp_path / "t", endpoint)(HERE)
    (entry,) = entries(tmp_path / "t")
    assert entry["tokens_out"] == 5_001
    # The next run asks by the name that such endpoints know.
    _, again = serve(Settings(cap=5_000), refuses=("max_completion_tokens",))
    again.recall(Transcript(tmp_path / "t").entries())
    agent(tmp_path / "other", again)(HERE)
    assert Transcript(tmp_path / "other").kinds() == {"ok": 1}


def test_a_web_page_is_no_endpoint_and_costs_nothing(tmp_path):
    class Page(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>Sign in</html>")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    with (
        Endpoint("some-model", url, KEY) as endpoint,
        pytest.raises(Rejected, match="is /v1 missing in the address. <html>Sign in"),
    ):
        agent(tmp_path / "t", endpoint)(HERE)
    server.shutdown()
    server.server_close()
    assert Transcript(tmp_path / "t").tokens == 0


def test_a_providers_failure_within_a_choice_is_not_the_models(serve, tmp_path):
    failing = [{"error": {"code": "429"}}, {"error": {"code": 502}}, {}]

    def edit(body):
        if failing:
            body["choices"][0] |= {"finish_reason": "error", **failing.pop(0)}
        return body

    _, endpoint = serve(edit=edit)
    asking = agent(tmp_path / "t", endpoint)
    asking(HERE)
    assert asking.transcript.kinds() == {"rate-limited": 1, "server-error": 2, "ok": 1}


@pytest.mark.parametrize("key", ["1", "none", "stand-in"])
def test_a_placeholder_for_a_key_changes_no_answer(serve, tmp_path, key):
    server, _ = serve()
    with Endpoint("model-1", server.url, key) as endpoint:
        agent(tmp_path / "t", endpoint)(HERE)
    (entry,) = entries(tmp_path / "t")
    assert entry["answered_by"] == "stand-in" and json.loads(entry["answer"])


def test_after_a_good_answer_of_an_earlier_run_a_400_is_of_this_turn(serve, tmp_path):
    _, endpoint = serve()
    reply = agent(tmp_path / "t", endpoint)(HERE)
    _, later = serve(faults=("400",))
    asking = agent(tmp_path / "t", later)
    later.recall(asking.transcript.entries())
    asking(asking(HERE))
    assert asking.transcript.kinds() == {"ok": 2, "refused": 1}
    assert reply.isfinite().all()


@pytest.mark.parametrize(
    ("name", "value"),
    [("SSL_CERT_FILE", "/missing.pem"), ("HTTPS_PROXY", "p:port")],
)
def test_settings_of_the_environment_that_fail_are_named(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"it must be usable ones .*{name}"):
        Endpoint("some-model", "https://host/v1", KEY)


def test_an_empty_address_is_the_usual_one(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    with Endpoint("some-model", key=KEY) as endpoint:
        assert endpoint._client.base_url.host == "api.openai.com"


def test_two_runs_do_not_write_one_transcript(serve, tmp_path):
    _, endpoint = serve()
    here, there = (agent(tmp_path / "t", endpoint) for _ in range(2))
    here(HERE)
    with pytest.raises(RuntimeError, match="another run writes to"):
        there(HERE)
    assert Transcript(tmp_path / "t").kinds() == {"ok": 1}


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000/v1",
        "localhost/v1",
        "ftp://host/v1",
        "https://",
        "//host/v1",
        "https://host:port/v1",
        "https://user:secret@host/v1",
        "https://host/v1?key=secret",
        "https://host/v1#secret",
        "https://host/v1\r",
        " https://host/v1",
        "https://[host/v1",
    ],
)
def test_an_address_that_is_none_is_named_before_anything_is_asked(url):
    with pytest.raises(ValueError, match="OPENAI_BASE_URL was") as caught:
        Endpoint("some-model", url, KEY)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "end", ["\r", "\n", " ", "\t", "\x00", "\x7f", "é", "’", "\u200b", "\ud800"]
)
@pytest.mark.parametrize("place", ["start", "middle", "end"])
def test_a_key_that_no_header_carries_is_refused_by_name_and_not_shown(end, place):
    key = {"start": end + KEY, "middle": "sk-a" + end + KEY, "end": KEY + end}[place]
    with pytest.raises(ValueError, match="OPENAI_API_KEY was one whose") as caught:
        Endpoint("some-model", "https://host/v1", key)
    assert KEY[3:] not in str(caught.value)


ODD = 'sk-"quoted"\'\\back/<&>%$[{(*+?.)}]^|~`#=@;:,!'


@pytest.mark.parametrize("key", [ODD, KEY, "\\\\", "&amp;&quot;", "%41%", "a.c"])
def test_a_key_is_found_in_whatever_escaping(key):
    forms = {
        key,
        repr(key)[1:-1],
        repr(repr(key)),
        json.dumps(key)[1:-1],
        json.dumps(json.dumps(key)),
        json.dumps(json.dumps(json.dumps(key))),
        quote(key, safe=""),
        quote(quote(key, safe=""), safe=""),
        quote_plus(key),
        escape(key),
        escape(escape(key)),
        repr(key.encode()),
        "".join(f"\\u{ord(c):04x}" for c in key),
        "".join(f"\\x{ord(c):02X}" for c in key),
        "".join(f"&#{ord(c)};" for c in key),
        "".join(f"%{ord(c):02x}" for c in key),
    }
    for form in forms:
        cleaned = without(key, f"before {form} after")
        assert "[key]" in cleaned and form.strip("'\"b") not in cleaned, form
        assert cleaned.startswith("before ") and cleaned.endswith(" after")
    assert without("a.c", "abc") == "abc"


@pytest.mark.parametrize("key", [ODD, "\\" * 12, '"' * 12])
def test_an_odd_key_reaches_no_file(serve, tmp_path, monkeypatch, key):
    server, _ = serve(faults=("500", "429", "401"))
    with (
        Endpoint("some-model", server.url, key) as endpoint,
        pytest.raises(Rejected) as caught,
    ):
        agent(tmp_path / "t", endpoint)(HERE)
    text = (tmp_path / "t").read_text(encoding="utf-8") + str(caught.value)
    assert text.count("[key]") == 4
    assert key not in text and json.dumps(key)[1:-1] not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cap", 0),
        ("timeout", 0.0),
        ("temperature", -0.1),
        ("form", "xml"),
    ],
)
def test_a_setting_that_is_none_is_an_error(name, value):
    with pytest.raises(ValueError, match=f"{name} was"):
        Settings(**{name: value})


def test_a_transcript_that_cannot_be_written_is_left_as_it_was(
    serve, tmp_path, monkeypatch
):
    path = tmp_path / "t"
    _, endpoint = serve()
    asking = agent(path, endpoint)
    reply = asking(HERE)
    before = path.read_bytes()

    def full(_):
        with path.open("ab") as file:
            file.write(b'{"turn": "pair/W/2", "mod')  # what a full disk took
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        asking(reply)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert Transcript(path).kinds() == {"ok": 1}
