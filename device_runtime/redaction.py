"""Credentials in the addresses of cameras, which no message may show."""

from __future__ import annotations

import re

HIDDEN = "***"

# With one slash too: that is what becomes of a URL that is taken for a path. What is before the colon need not be read.
_URL = re.compile(r"(?<=[a-zA-Z0-9+.-]:)(/+)(\S*)")


def redact(text: str) -> str:
    """`text` with every user, password, query and fragment of the URLs in it hidden.

    A password may hold any character but white space, also those that should have been escaped. Where it cannot be
    told from the rest of the address, all of that is hidden.
    """
    return _URL.sub(_redacted, text)


def _redacted(url: re.Match[str]) -> str:
    slashes, rest = url.groups()
    end = min((at for at in (rest.find("?"), rest.find("#")) if at >= 0), default=len(rest))
    address, query = rest[:end], rest[end:]
    if "@" in query:
        return slashes + HIDDEN
    if "@" in address:
        address = f"{HIDDEN}@{address.rpartition('@')[2]}"
    return slashes + address + (f"{query[0]}{HIDDEN}" if query else "")
