"""Text of documents, questions and models, made fit to be shown: it is hostile until then."""

from __future__ import annotations

import re

_UNSHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters; XML forbids most of them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # they turn the direction of what follows, and so what it says
    "\ud800-\udfff\ufffe\uffff]"  # no characters: neither UTF-8 nor XML can hold them
)


def shown(text: str, limit: int) -> str:
    """The text without what a page or an XML file cannot hold, or what changes how its neighbours read.

    Args:
        limit: characters; what is beyond is cut, and an ellipsis says so.
    """
    cut = text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"
    return _UNSHOWN.sub("\ufffd", cut.replace("\r\n", "\n"))


def in_a_line(text: str, limit: int) -> str:
    """As ``shown``, with every run of white space as one space."""
    return shown(" ".join(text[: 4 * limit].split()), limit)
