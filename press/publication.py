"""Where the site will be published, which a build may be told."""

import os


def address() -> str:
    """BOOK_URL with a slash at its end; empty where it is not set."""
    url = os.environ.get("BOOK_URL", "")
    return url and url.rstrip("/") + "/"
