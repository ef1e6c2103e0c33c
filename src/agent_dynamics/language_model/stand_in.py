"""A stand-in for a language model: a local OpenAI-compatible server that no model is
behind.

Its answer is a gradient step on the examples it is shown, written with few decimals and
with occasional slips. The same question asked for the same time gets the same answer,
in whatever order questions come.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from .transcript import STAND_IN

SLIP = 0.1  # a slip changes the first decimal of one weight by one
TEXTS = {
    "malformed": "The weights are about 1 and 2.",
    "nan": '{"weights": [NaN, 0, 0]}',
    "short": '{"weights": [0.5]}',
    "length": '{"weights": [0.5, ',
}


class StandIn(ThreadingHTTPServer):
    """The server, on a loopback port of its own choice; use it as a context manager.

    Args:
        step_size: eta of the gradient step.
        digits: decimals of the written weights.
        slips: share of the answers with one weight off by SLIP, up or down.
        garbled: share of the answers that are prose instead of JSON.
        seed: of slips and garbled answers.
        faults: what the first requests get instead of an answer, in order: "429",
            "500", "401", "400 CODE", "delay" (by `delay` seconds, then an answer),
            "cut" (the connection breaks within the body), "empty" (a body without
            choices), "malformed", "nan", "short", "length", "refusal", or "" for an
            answer.
        delay: seconds.
        retry_after: header of the errors, where it is not empty.
        reports: the name of the model that it says it is, to test what is done with a
            model's answers.
        refuses: words; a request with one of them in it gets a 400 that names it.
        edit: changes the body of what is otherwise an answer.
        port: 0 for a free one.
    """

    daemon_threads = True

    def __init__(
        self,
        step_size: float = 0.4,
        digits: int = 2,
        slips: float = 0.0,
        garbled: float = 0.0,
        seed: int = 0,
        faults: tuple[str, ...] = (),
        delay: float = 0.0,
        retry_after: str = "",
        reports: str = STAND_IN,
        refuses: tuple[str, ...] = (),
        edit: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        port: int = 0,
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.step_size, self.digits, self.slips, self.garbled = (
            step_size,
            digits,
            slips,
            garbled,
        )
        self.seed, self.faults, self.delay = seed, list(faults), delay
        self.retry_after, self.reports = retry_after, reports
        self.refuses, self.edit = refuses, edit
        self.lock, self.busy, self.most_at_once = threading.Lock(), 0, 0
        self.times: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """The base URL for a client."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> StandIn:
        threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def answer(self, asked: str) -> str:
        """The text of the answer to a user's message of `question.question`."""
        with self.lock:
            self.times[asked] += 1
            times = self.times[asked]
        key = f"{self.seed} {times} {asked}"
        draw = random.Random(hashlib.sha256(key.encode()).digest())
        if draw.random() < self.garbled:
            return TEXTS["malformed"]
        shown = json.loads(asked)
        x = np.array([example["x"] for example in shown["examples"]])
        y = np.array([example["y"] for example in shown["examples"]])
        w = np.array(shown["estimate"])
        w = w - self.step_size * x.T @ (x @ w - y) / len(y)
        if draw.random() < self.slips:
            w[draw.randrange(len(w))] += draw.choice((-SLIP, SLIP))
        return json.dumps(
            {"weights": [round(value, self.digits) for value in w.tolist()]}
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: StandIn

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        body = json.loads(text)
        server = self.server
        refused = next((word for word in server.refuses if f'"{word}"' in text), "")
        with server.lock:
            fault = server.faults.pop(0) if server.faults and not refused else ""
            server.busy += 1
            server.most_at_once = max(server.most_at_once, server.busy)
        try:
            if refused:
                self._send(400, {"error": {"message": f"{refused} is not supported"}})
            else:
                self._reply(body, fault)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has stopped waiting
        finally:
            with server.lock:
                server.busy -= 1

    def _reply(self, body: dict[str, Any], fault: str) -> None:
        status, _, code = fault.partition(" ")
        if status.isdigit():
            # As endpoints do, the error repeats the key.
            said = f"{fault} for {self.headers['Authorization']}"
            self._send(int(status), {"error": {"message": said, "code": code or None}})
            return
        if fault == "delay":
            time.sleep(self.server.delay)
        asked = body["messages"][-1]["content"]
        text: str | None = None
        if fault != "refusal":
            text = TEXTS[fault] if fault in TEXTS else self.server.answer(asked)
        choice = {
            "index": 0,
            "finish_reason": "length" if fault == "length" else "stop",
            "message": {
                "role": "assistant",
                "content": text,
                "refusal": "I cannot." if fault == "refusal" else None,
            },
        }
        words_in, words_out = (
            sum(len(part["content"]) for part in body["messages"]) // 2,
            len(text or "") // 2,
        )
        reply = {
            "id": "0",
            "object": "chat.completion",
            "created": 0,
            "model": self.server.reports,
            "choices": [] if fault == "empty" else [choice],
            "usage": {
                "prompt_tokens": words_in,
                "completion_tokens": words_out,
                "total_tokens": words_in + words_out,
            },
        }
        self._send(200, self.server.edit(reply), cut=fault == "cut")

    def _send(self, status: int, content: dict[str, Any], cut: bool = False) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status != 200 and self.server.retry_after:
            self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut

    def log_message(self, *_: object) -> None:
        """Nothing: requests carry the key."""


def main() -> None:
    """Serve the stand-in on loopback until interrupted."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=8011)
    parser.add_argument("--slips", type=float, default=0.0)
    parser.add_argument("--garbled", type=float, default=0.02)
    given = parser.parse_args()
    with StandIn(slips=given.slips, garbled=given.garbled, port=given.port) as server:
        print(f"export OPENAI_BASE_URL={server.url} OPENAI_API_KEY=none", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
