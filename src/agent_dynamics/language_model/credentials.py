"""The key and the address of an endpoint: checked on the way in, and the key kept out
of every text.
"""

from __future__ import annotations

import re
from html.entities import html5
from urllib.parse import urlsplit

from .. import _checks


def checked_key(key: str) -> str:
    """The key, where a header can carry it as it stands.

    Raises:
        ValueError: no key, or one with white space, control or non-ASCII characters
            (a .env file with Windows line ends adds a carriage return). The error does
            not show it.
    """
    if not key:
        raise _checks.bad("OPENAI_API_KEY", "not set", "the endpoint's key")
    for place, character in enumerate(key, start=1):
        if not (character.isascii() and character.isprintable() and character != " "):
            what = {
                "\r": "a carriage return, as of a file with Windows line ends",
                "\n": "a line end",
                " ": "a space",
            }.get(character, "a character that no key has")
            where = "last character" if place == len(key) else f"character {place}"
            raise _checks.bad(
                "OPENAI_API_KEY",
                f"one whose {where} is {what}",
                "of printable ASCII characters without white space",
            )
    return key


def checked_url(url: str | None) -> str | None:
    """An address that a request can be made to; errors do not repeat it whole, as it
    may hold a password.
    """
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise _checks.bad(
            "OPENAI_BASE_URL", f"no address ({error})", "https://HOST/v1 or the like"
        ) from None
    must = "https://HOST/v1 or the like, without a user, a query or white space"
    if parts.scheme not in ("http", "https") or not host:
        was = f"without http:// or https:// ({_without_secrets(url)})"
        raise _checks.bad("OPENAI_BASE_URL", was, must)
    if parts.username is not None or parts.query or parts.fragment:
        was = f"one with a user, a query or a fragment, at {host}"
        raise _checks.bad("OPENAI_BASE_URL", was, must)
    if not url.isascii() or any(c.isspace() or not c.isprintable() for c in url):
        raise _checks.bad("OPENAI_BASE_URL", "with a character that none has", must)
    return url


def _without_secrets(url: str) -> str:
    """The part of a wrong address that can be shown: nothing before an @ or after a
    question mark.
    """
    return ascii(re.split(r"[?#]", url.rsplit("@", 1)[-1])[0])


def without(key: str, text: str) -> str:
    """The text with every occurrence of the key replaced, in whatever escaping."""
    # A run of backslashes is looked at once, from its beginning.
    begin = "" if key.startswith("\\") else r"(?<!\\)"
    pattern = begin + "".join(map(_escapes, key))
    return re.sub(pattern, "[key]", text, flags=re.IGNORECASE)


def is_placeholder(key: str) -> bool:
    """Whether a key is a short word, as servers take that want none; such a word may be
    part of what a model says.
    """
    return len(key) < 8 and key.isalnum()


def _escapes(character: str) -> str:
    """A pattern of one character as it stands, or as JSON, Python, URLs, HTML and mail
    write it, escaped any number of times.
    """
    code = ord(character)
    forms = [
        re.escape(character),
        rf"x{code:02x}",
        rf"u00{code:02x}",
        rf"%(?:25)*{code:02x}",
        rf"={code:02x}",
        rf"&(?:amp;)*#0*{code};",
        rf"&(?:amp;)*#x0*{code:x};",
    ]
    names = [name for name, stands_for in html5.items() if stands_for == character]
    forms += [rf"&(?:amp;)*{re.escape(name)}" for name in names]
    return rf"\\*(?:{'|'.join(forms)})"
