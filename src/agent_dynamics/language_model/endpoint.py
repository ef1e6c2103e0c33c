"""The endpoint: how to reach it, and what its errors mean."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import openai

from .. import _checks


def connect(
    url: str | None = None, key: str | None = None, timeout: float = 120.0
) -> openai.OpenAI:
    """The official client, without retries of its own.

    Args:
        url, key: of the endpoint; by default OPENAI_BASE_URL and OPENAI_API_KEY of the
            environment.
        timeout: seconds.

    Raises:
        ValueError: no key.
    """
    if not (key or os.environ.get("OPENAI_API_KEY")):
        raise _checks.bad("OPENAI_API_KEY", "not set", "the endpoint's key")
    host = urlsplit(url or os.environ.get("OPENAI_BASE_URL", "")).hostname
    # A proxy of the environment would not find this machine's own servers.
    http = openai.DefaultHttpxClient(
        trust_env=host not in ("127.0.0.1", "localhost", "::1")
    )
    return openai.OpenAI(
        base_url=url, api_key=key, max_retries=0, timeout=timeout, http_client=http
    )


def kind_of(error: openai.APIStatusError) -> str:
    """What kind of failure a status is: the endpoint's for now, or the request's."""
    # An empty account is reported as a rate limit, and no waiting helps.
    if error.status_code == 429 and error.code != "insufficient_quota":
        return "rate-limited"
    return (
        "server-error"
        if error.status_code in (408, 409) or error.status_code >= 500
        else "rejected"
    )


def asked_to_wait(error: openai.APIStatusError) -> float:
    """Seconds of a Retry-After header, which is a number or a date; 0 without one."""
    header = error.response.headers.get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(header))
    with suppress(ValueError, TypeError):
        return max(
            0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        )
    return 0.0
