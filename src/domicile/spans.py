"""The runs of words of a quote that a small model may say as its answer. Pure.

A model of 135 million parameters that writes freely mixes up, repeats the question or recites its examples. It can point,
though: of all runs that say nothing wrong when they stand alone, it chooses one, and says it word for word. So a run
neither begins behind a word that limits or denies what follows ("at most", "not", "if"), nor ends before one. These words
are English: of text in another language there are no runs.
"""

from __future__ import annotations

import re

from domicile import grounding
from domicile.domain import Evidence

MAX_WORDS = 40
"""Of a run: a longer one is hardly shorter than its quote."""
MAX_STARTS = 60
_WORD = re.compile(r"\S+")
_LIST_NUMBER = re.compile(r"^\s*\d{1,3}(?:\.\d{1,3})*[.)]\s+")
_COMMA_ROW = re.compile(r",(?=[^\s\d])")
_LIMITS = frozenset(
    "a an the about above after almost approximately around at because before below between each every except few fewer "
    "least less maximum minimum more most nearly neither never no nor not of only or over per than to twice under until up "
    "usually with within without".split()
)
_TOGETHER = re.compile(
    r"(?:although|between|if|instead|provided|though|unless|when|whenever|whether|while)\b", re.IGNORECASE
)
_JOINS = frozenset("and but means that which".split())
_OPENERS = frozenset(
    "about after approximately around at because before between by during each every for from in less more never on only "
    "over since through twice under until up via when where with within without".split()
)
_LINKS = frozenset("and but nor of or than that which who whose".split())
_VERBS = frozenset("are can does do has have is may must shall should was were will".split())
_NUMERAL = re.compile(
    r"\W?\d|(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|\w+ty|hundred|thousand|half)$",
    re.IGNORECASE,
)
_ENGLISH = frozenset(
    "and are been from has have if its may must not our shall should that the their this were when which who with you "
    "your".split()
)
_BREAK = re.compile(r"[,;:.!?)]$")
_JOINT = re.compile(r"(?:and|as|by|during|for|from|in|instead|so|such|that|which|who|whose)\b", re.IGNORECASE)
_GOES_ON = re.compile(r"(?:or|nor|but|except|if|not|only|provided|unless|when|without)\b", re.IGNORECASE)


def runs(evidence: Evidence, question: str) -> tuple[str, ...]:
    """What may be said of a quote, as it is shown, in the order of the text; none where only the quote itself tells.

    Each is supported by the quote (``grounding.supports``) and adds something to the question. A row of a table with more
    than a name and a value is left to its reader: which cell answers is told by a header far away.
    """
    if not _is_english(evidence):
        return ()
    words = _WORD.findall(_LIST_NUMBER.sub("", _prose(evidence.text)))
    found: dict[str, None] = {}
    for first in _starts(words):
        for end in _ends(words, first):
            said = _shown(words[first:end])
            if said not in found and _sayable(said) and grounding.supports(evidence, said, question):
                found[said] = None
    return tuple(found)


def _is_english(evidence: Evidence) -> bool:
    """Whether a passage is held together by words that only English has."""
    words = [word.lower() for word in re.findall(r"[^\W\d_]+", evidence.chunk.text)]
    joints = sum(word in _ENGLISH for word in words)
    return joints > 0 and joints >= 0.05 * len(words)


def _prose(text: str) -> str:
    """The text; of a row with two cells the second ("at least | 30 months": neither), of a wider one nothing."""
    cells = [cell.strip() for cell in text.split("|") if cell.strip()]
    if "|" in text:
        return cells[1] if len(cells) == 2 and cells[0].split()[-1].lower() not in _LIMITS else ""
    return "" if len(_COMMA_ROW.findall(text)) > 1 else text


def _starts(words: list[str]) -> list[int]:
    """Where a clause begins, a number, or what says when, where, how or how much; but not behind a number or a limit, nor
    inside what holds together until a mark: a condition, a range."""
    found, inside = [], False
    for place, word in enumerate(words):
        before = words[place - 1] if place else "."
        fresh = _BREAK.search(before) is not None
        inside = inside and not fresh
        begins = fresh or before.lower() in _JOINS or word.lower() in _OPENERS or _NUMERAL.match(word) is not None
        closed = _NUMERAL.match(before) is not None or before.lower() in _LIMITS or (place > 1 and before[0].isupper())
        if begins and not (inside or (closed and not fresh) or word.lower() in _LINKS | _VERBS):
            found.append(place)
        inside = inside or _TOGETHER.match(word) is not None
    return found[:MAX_STARTS]


def _ends(words: list[str], first: int) -> list[int]:
    """At a mark, or before a word that opens something new; not before a limit, not at a small word, and not behind a second
    verb of a subject that was left out ("26 weeks and is paid")."""
    found = []
    whole = first == 0 or _BREAK.search(words[first - 1]) is not None
    for end in range(first + 1, min(len(words), first + MAX_WORDS) + 1):
        last, following = words[end - 1], words[end] if end < len(words) else ""
        if not whole and last.lower() in _LINKS and following.lower() in _VERBS:
            break
        if _GOES_ON.match(following) or not (_BREAK.search(last) or _JOINT.match(following) or not following):
            continue
        if following and (not grounding.words(last) or (following == "and" and "between" in words[first:end])):
            continue
        found.append(end)
    return found


def _shown(words: list[str]) -> str:
    said = " ".join(words).rstrip(",;:.")
    if words[0].isalpha() and words[0].islower():
        said = said[:1].upper() + said[1:]
    return said if said.endswith(("!", "?")) else f"{said}."


def _sayable(said: str) -> bool:
    """One sentence that is more than a scrap, without markup that would be taken off, and with both of its brackets."""
    whole = said.count("(") == said.count(")") and grounding.next_sentence(said) is None
    return whole and (said[0].isalnum() or said[0] in "€$£\"'+") and grounding.tidy(said) == said
