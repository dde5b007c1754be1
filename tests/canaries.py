"""Words that nobody else writes, to be planted in documents, and the search for them in any bytes."""

from __future__ import annotations

import base64
import random
import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_plus

LETTERS = 10
_CONSONANTS, _VOWELS, _UMLAUTS = "bdfgklmnprstvz", "aeiou", str.maketrans("aou", "äöü")
_LONG_WORD = re.compile(rf"[^\W\d_]{{{LETTERS},}}")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}")
_HEX = re.compile(r"[0-9a-fA-F]{20,}")


class Mint:
    """Makes names that sound like names, each once; every fourth canary has a letter that is not ASCII."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._made: set[str] = set()

    def canary(self) -> str:
        word = self._new(LETTERS // 2)
        return word.translate(_UMLAUTS) if len(self._made) % 4 == 0 else word

    def name(self) -> str:
        """A name that is no canary."""
        return self._new(3)

    def _new(self, syllables: int) -> str:
        while (word := self._word(syllables)) in self._made:
            pass
        self._made.add(word)
        return word

    def _word(self, syllables: int) -> str:
        pick = self._chance.choice
        return "".join(pick(_CONSONANTS) + pick(_VOWELS) for _ in range(syllables)).capitalize()


def found_in(data: bytes, canaries: Iterable[str]) -> set[str]:
    """Which canaries stand in these bytes: as they are, in any case, without their dots, inside of longer words, percent-encoded,
    escaped as JSON, in base64 or in hexadecimal."""
    wanted = {_folded(word): word for word in canaries}
    met: set[str] = set()
    for view in _views(data):
        for run in set(_LONG_WORD.findall(_folded(view))):
            met |= {run[i : i + LETTERS] for i in range(len(run) - LETTERS + 1)} & wanted.keys()
    return {wanted[word] for word in met}


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    return "".join(c for c in unicodedata.normalize("NFKD", text).casefold() if not unicodedata.combining(c))


def _views(data: bytes) -> Iterator[str]:
    text = data.decode("utf-8", "replace")
    yield text
    if "%" in text:
        yield unquote_plus(text)
    if "\\u" in text:
        yield _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    for run in set(_BASE64.findall(text)):
        usual = run.translate(str.maketrans("-_", "+/"))
        for at in range(4):  # a run may begin in the middle of a group of four
            rest = usual[at:] if len(usual[at:]) % 4 != 1 else usual[at:-1]
            yield base64.b64decode(rest + "=" * (-len(rest) % 4)).decode("utf-8", "replace")
    for run in set(_HEX.findall(text)):
        for at in range(2):
            yield bytes.fromhex(run[at : at + (len(run) - at) // 2 * 2]).decode("utf-8", "replace")
