"""The endpoint: how to reach it, what it can do, and what its errors mean."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai

from .. import _checks
from .credentials import checked_key, checked_url, is_placeholder, without
from .question import FORMS, answer_format, inner_json, parse
from .reply import Reply, asked_to_wait, usage
from .transcript import STAND_IN, Attempt

# Words of an error that is about one turn's answer.
REFUSES = ("content_filter", "content_policy", "content management", "moderation")
GARBLES = ("json_validate_failed", "failed_generation", "failed to generate json")
# Words of an error about the form of the answer, or about the cap.
ABOUT_FORM = re.compile(
    r"response_format|json_?.?schema|json_object|json mode|minitems|maxitems|"
    r"structured.output|grammar|additionalproperties",
    re.IGNORECASE,
)
ABOUT_CAP = re.compile(r"max_completion_tokens", re.IGNORECASE)
OPENAI = "https://api.openai.com/v1"  # where no other address is given
NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
    httpx2.InvalidURL,
    httpx2.LocalProtocolError,
)


class Rejected(RuntimeError):
    """The endpoint does not accept the request at all, or no endpoint is there: no
    later request can succeed.
    """


@dataclass(frozen=True)
class Settings:
    """How an endpoint is asked.

    Attributes:
        temperature: of the answers; None leaves it to the endpoint.
        cap: the most tokens that one answer may take, a model's reasoning included.
        timeout: seconds to wait for an answer.
        form: of the answer, the strictest that is tried: one of FORMS.
        lenient: also read the last JSON object of an answer with other text around it.

    Raises:
        ValueError: a form that is none, a cap or a timeout that is not positive, a
            negative temperature.
    """

    temperature: float | None = None
    cap: int = 4_000
    timeout: float = 120.0
    form: str = FORMS[0]
    lenient: bool = False

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise _checks.bad("form", repr(self.form), f"one of {', '.join(FORMS)}")
        _checks.count("cap", self.cap)
        _checks.finite_number("timeout", self.timeout, above=0)
        if self.temperature is not None and not (
            _checks.finite_number("temperature", self.temperature) >= 0
        ):
            raise _checks.bad("temperature", repr(self.temperature), "0 or more")


class Endpoint:
    """A model at an OpenAI-compatible endpoint; use it as a context manager.

    What an endpoint cannot do is found out by asking: where it refuses the schema of
    the answer, a plainer one is tried, then none; where it does not know
    `max_completion_tokens`, it is asked by the older name.

    Args:
        model: the endpoint's name of it.
        url, key: of the endpoint; by default OPENAI_BASE_URL and OPENAI_API_KEY of the
            environment.
        settings: how to ask.

    Raises:
        ValueError: a key or an address that cannot be one.
    """

    def __init__(
        self,
        model: str,
        url: str | None = None,
        key: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.model, self.settings = model, settings or Settings()
        self.form = self.settings.form
        self._cap_name = "max_completion_tokens"
        self._reached = False  # ever
        self._answered = False  # in the present form
        self._key = checked_key(key or os.environ.get("OPENAI_API_KEY", ""))
        url = checked_url(url or os.environ.get("OPENAI_BASE_URL") or OPENAI)
        host = urlsplit(url).hostname
        # A proxy of the environment would not find this machine's own servers.
        try:
            http = openai.DefaultHttpxClient(
                trust_env=host not in ("127.0.0.1", "localhost", "::1")
            )
        except (OSError, httpx2.InvalidURL) as error:
            must = (
                "usable ones of proxies (HTTPS_PROXY) and certificates (SSL_CERT_FILE)"
            )
            raise _checks.bad("the environment's settings", error, must) from None
        self._client = openai.OpenAI(
            base_url=url,
            api_key=self._key,
            max_retries=0,
            timeout=self.settings.timeout,
            http_client=http,
        )

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def recall(self, attempts: Iterable[Attempt]) -> None:
        """Take from earlier attempts what was found out about the endpoint."""
        for attempt in attempts:
            if attempt.tokens_out > self.settings.cap and not attempt.estimated:
                self._cap_name = "max_tokens"  # it did not heed the other name
            if attempt.kind == "ok" and attempt.form == self.form:
                self._answered = True

    def ask(self, messages: Sequence[dict[str, str]], d: int) -> Reply:
        """Make one request for `d` weights, and read what comes of it. No text of the
        reply has the key in it.

        Raises:
            Rejected: nobody is at the endpoint's address.
        """
        form, cap_name = self.form, self._cap_name
        options: dict[str, Any] = {cap_name: self.settings.cap}
        if self.settings.temperature is not None:
            options["temperature"] = self.settings.temperature
        if form != "text":
            options["response_format"] = answer_format(d, form)
        try:
            answer = self._client.chat.completions.create(
                model=self.model,
                messages=list(messages),  # type: ignore[arg-type]
                **options,
            )
            reply = self._read(answer, d, form)
        except openai.APIStatusError as error:
            reply = self._failed(error, form, cap_name)
        except openai.APIConnectionError as error:
            reply = self._unreached(error, form)
        except (
            openai.OpenAIError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            RecursionError,
        ) as error:
            text = f"no chat completion: {type(error).__name__}: {error}"
            said = self._clean(text, failed=True)
            reply = Reply("server-error", said, form, tokens=None)
        self._reached = True
        self._answered = self._answered or reply.kind == "ok"
        return reply

    def _clean(self, text: object, failed: bool = False) -> str | None:
        """Text as it may be kept: without the key, and as UTF-8 can have it."""
        if text is None:
            return None
        said = text if isinstance(text, str) else json.dumps(text, default=str)
        if failed or not is_placeholder(self._key):
            said = without(self._key, said)
        return said.encode("utf-8", "replace").decode()

    def _read(self, answer: Any, d: int, form: str) -> Reply:
        if isinstance(answer, str) and not self._answered:  # a web page, a stream
            said = f"no chat completion; is /v1 missing in the address? {answer[:200]}"
            return Reply("rejected", self._clean(said, failed=True), form)
        tokens, name = usage(answer), str(answer.model or "")
        if name not in (self.model, STAND_IN):
            name = self._clean(name) or ""
        # Some routers answer 200 and say in it what failed.
        choice = (answer.choices or [None])[0]
        error = getattr(answer, "error", None) or getattr(choice, "error", None)
        if error or getattr(choice, "finish_reason", "") == "error":
            code = error.get("code") if isinstance(error, dict) else None
            kind = "rate-limited" if str(code) == "429" else "server-error"
            return Reply(
                kind, self._clean(error, failed=True), form, None, name, tokens
            )
        message, text = choice.message, choice.message.content
        if isinstance(text, list):  # parts, as in questions
            text = "".join(part.get("text", "") for part in text)
        kind, weights = "cut-off", None
        if message.refusal or choice.finish_reason == "content_filter":
            text, kind = message.refusal or text, "refused"
        elif choice.finish_reason != "length":
            if self.settings.lenient:
                thought = getattr(message, "reasoning_content", None)
                text = text or thought
                kind, weights = parse(inner_json(text or ""), d)
            else:
                kind, weights = parse(text, d)
        return Reply(kind, self._clean(text), form, weights, name, tokens)

    def _failed(self, error: openai.APIStatusError, form: str, cap_name: str) -> Reply:
        status, text = error.status_code, self._clean(str(error), failed=True) or ""
        said = f"{error.code} {text}".lower()
        kind = "rejected"
        # An empty account is reported as a rate limit, and no waiting helps.
        if status == 429 and error.code != "insufficient_quota":
            kind = "rate-limited"
        elif any(word in said for word in GARBLES):
            kind = "malformed"
        elif any(word in said for word in REFUSES):
            kind = "refused"
        elif status in (401, 402, 403, 404, 429):
            pass
        elif ABOUT_CAP.search(said) and cap_name == "max_completion_tokens":
            self._cap_name, kind = "max_tokens", "unsupported"
        elif ABOUT_FORM.search(said) and form != FORMS[-1]:
            kind = "unsupported"
            if self.form == form:  # another request may have come down already
                self.form = FORMS[FORMS.index(form) + 1]
                self._answered = False
        elif status in (408, 409, 425) or status >= 500:
            kind = "server-error"
        elif self._answered:  # it takes such requests, but not this one
            kind = "refused"
        return Reply(kind, text, form, wait=asked_to_wait(error))

    def _unreached(self, error: openai.APIConnectionError, form: str) -> Reply:
        cause = error.__cause__
        text = self._clean(f"{error} {cause or ''}".strip(), failed=True)
        if isinstance(cause, NEVER_SENT):
            if not self._reached:
                raise Rejected(
                    f"nobody answers at {self._client.base_url}: {text}"
                ) from None
            return Reply("connection", text, form)
        kind = "timeout" if isinstance(error, openai.APITimeoutError) else "connection"
        return Reply(kind, text, form, tokens=None)
