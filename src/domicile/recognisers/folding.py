"""One plain form of a text for patterns to look at, and the way back to where each of its characters stood. Pure.

Full-width and other digits, letters of another script that look Latin, ligatures, dashes, exotic spaces and invisible
characters all hide a number from a pattern, and from nobody else who reads it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

_ODD = re.compile(r"[^\t\n\r -~]")
_LOOKALIKES = str.maketrans(
    "АВЕКМНОРСТУХЅІЈԚԜаеорсухѕіјΑΒΕΖΗΙΚΜΝΟΡΤΥΧο。",
    "ABEKMHOPCTYXSIJQWaeopcyxsijABEZHIKMNOPTYXo.",
)


@dataclass(frozen=True, slots=True)
class Folded:
    """A folded text.

    Attributes:
        origins: for each of its characters, the position in the original of the one that it came from.
        invisible: whether the original has characters that take no place on paper.
    """

    text: str
    origins: Sequence[int]
    invisible: bool


def fold(text: str, invisible: str = "") -> Folded:
    """The text in NFKC, character by character, with ASCII digits, dashes and spaces, and look-alikes as Latin letters.

    Args:
        invisible: what stands for a zero-width or control character. It can hide inside of a number, and it can
            stand between a number and a word: to see both, a text must be folded with ``""`` and with ``" "``.
    """
    parts: list[str] = []
    origins: list[int] = []
    at, hidden = 0, False
    for odd in _ODD.finditer(text):
        start = odd.start()
        parts.append(text[at:start])
        origins.extend(range(at, start))
        at = start + 1
        plain = _fold(text[start])
        if plain is None:
            hidden, plain = True, invisible
        parts.append(plain)
        origins.extend([start] * len(plain))
    if not parts:
        return Folded(text, range(len(text)), False)
    parts.append(text[at:])
    origins.extend(range(at, len(text)))
    return Folded("".join(parts), origins, hidden)


@lru_cache(maxsize=8_192)
def _fold(character: str) -> str | None:
    """``None`` is invisible."""
    category = unicodedata.category(character)
    if category in ("Cf", "Cc"):
        return None
    if category in ("Mn", "Me"):
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Pd" or character == "−":
        return "-"
    if category == "Zs":
        return " "
    plain = unicodedata.normalize("NFKC", character)
    return "".join(mark for mark in plain if unicodedata.category(mark) not in ("Mn", "Me")).translate(_LOOKALIKES)
