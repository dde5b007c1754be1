"""Making a follow-up question self-contained before anything is retrieved. Pure, and without a model.

"When did it open?" finds nothing by itself. Two kinds of follow-up are known by their words: one that *refers* ("it",
"their", "this church", with nothing before it that it could stand for) lacks what it is about, and gets the names in the
earlier question; one that is *elliptical* ("And in Spain?", "Why?") lacks what is asked, and gets that question's content
words. Everything else is asked as it was written, also where it is vague ("Who led the revolt?"): words added to such
questions did harm whenever the talk had moved on. ``benchmarks/conversation.py`` measures all of this.

Only what the user said is used, never an answer, so no text of a document comes into a question this way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FollowUp = Literal["refers", "elliptical"]

MAX_TURNS = 4
"""Earlier turns that are looked at, the latest ones."""
MAX_TURN_CHARACTERS = 500
"""Of each of them that are read."""
MAX_ADDED_WORDS = 12
MAX_FOLLOW_UP_CHARACTERS = 200
"""A question longer than this is taken to say all it needs."""
MAX_ELLIPSIS_WORDS = 3
"""Content words of a question that is elliptical for its first word, as "And" or "What about"."""
MAX_WORDS_BEFORE = 3
"""Content words before a pronoun; after more of them it stands for something in the question itself."""
LANGUAGES = frozenset({"en"})
"""Of collections: in others a question stays as it is."""

_WORD = re.compile(r"[^\W_]+(?:['’./-][^\W_]+)*")
_OPENING = re.compile(r"\W*(?:and|but|or|so|also|then|what about|how about|what of)\b", re.IGNORECASE)
_ASKING = frozenset("how what what's when where which who who's whom whose why".split())
_PERSONAL = frozenset(
    "he her hers herself him himself his it it's its itself she their theirs them themselves they".split()
)
_BE = frozenset("are been can could did do does had has have is was were will would".split())
_BEFORE_THAT = _BE | frozenset("about after at before by during for from in into of on than to under with".split())
_IMPERSONAL = frozenset("called important known mean means necessary possible said take taken takes that took".split())
_TIMES = frozenset(
    "afternoon century day decade evening month morning night quarter season time week weekend year".split()
)
"""After "this" they are the calendar's."""
_SPEAKERS = frozenset("i me my you your we us our".split())
"""A question to one of them, such as "Who are you?", is whole."""
_SUBORDINATE = frozenset("because before after if once since that unless until when whenever where while".split())
"""A pronoun behind one of them stands for what the question named before."""
_COURTESY = frozenset("bye good great hello hey hi morning no ok okay please sure thank thanks very yes".split())
_DEGREE = frozenset("far long many much often old".split())
"""With "how" they say what is asked, so that "How old is it?" lacks no more than what it is about."""
_OTHER = frozenset(
    "a also an and any as be between but else here i if may me might more most must my not one "
    "ones or our over s shall she should so some such that the then there these this those too us we you your".split()
)
_FUNCTION = _ASKING | _PERSONAL | _BEFORE_THAT | _COURTESY | _DEGREE | _OTHER


@dataclass(frozen=True, slots=True)
class Standalone:
    """A question that needs no conversation to be understood.

    Attributes:
        text: what is asked of the index; the question as it was written where it lacks nothing.
        wanted: what a sentence must speak of to answer it. Words that only say what a question is about are not in it: they
            would draw the sentence that answers the earlier question.
        turns: positions in the history of the turns whose words are in ``text``.
    """

    text: str
    wanted: str
    turns: tuple[int, ...] = ()


def standalone(question: str, history: Sequence[str], language: str = "en") -> Standalone:
    """The question, with what it lacks from the latest earlier turn that stands alone.

    Args:
        history: what the user said before, oldest first.
        language: of the collection.
    """
    kind = follow_up(question) if history and language in LANGUAGES else None
    turn = None if kind is None else _subject(history)
    if turn is None:
        return Standalone(question, question)
    said = _words(_read(history[turn]))
    own = {word.lower() for word in _words(question)}
    found = _content(said) if kind == "elliptical" else _names(said) or _content(said)
    added = [word for word in dict.fromkeys(found) if word.lower() not in own][:MAX_ADDED_WORDS]
    if not added:
        return Standalone(question, question)
    text = f"{question.strip()} ({' '.join(added)})"
    return Standalone(text, text if kind == "elliptical" else question, (turn,))


def follow_up(question: str) -> FollowUp | None:
    """How a question leans on an earlier one, if it does."""
    if len(question) > MAX_FOLLOW_UP_CHARACTERS:
        return None
    words = _words(question)
    content = _content(words)
    folded = {_folded(word) for word in words}
    if _refers(words):
        return "refers" if content or folded & _DEGREE else "elliptical"
    if not content:
        return "elliptical" if folded & _ASKING and not folded & _SPEAKERS else None
    return "elliptical" if len(content) <= MAX_ELLIPSIS_WORDS and _OPENING.match(question) else None


def _refers(words: Sequence[str]) -> bool:
    """Whether a pronoun comes before anything in the question that it could stand for."""
    folded = ["", *(_folded(word) for word in words), ""]
    before = 0
    for i, word in enumerate(words, 1):
        if _stands_for_something(*folded[i - 1 : i + 2]):
            return not (before and folded[i - 1] in _SUBORDINATE)
        if folded[i] not in _FUNCTION:
            before += 1
            if before > MAX_WORDS_BEFORE or (i > 1 and _is_name(word)):
                return False
    return False


def _stands_for_something(previous: str, word: str, following: str) -> bool:
    """Not the "it" of "is it possible", the "that" of "a bill that passed", nor the "there" of "are there"."""
    if word in ("it", "it's"):
        return following not in _IMPERSONAL
    if word in ("that", "those"):
        return previous in _BEFORE_THAT
    if word == "there":
        return previous not in _BE | {""} and following not in _BE
    if word in ("this", "these"):
        return following.removesuffix("'s").removesuffix("’s") not in _TIMES
    return word in _PERSONAL


def _subject(history: Sequence[str]) -> int | None:
    """The latest turn that stands alone; where none does, the latest that says anything."""
    read = {i: _read(history[i]) for i in range(len(history))[-MAX_TURNS:]}
    telling = [i for i in reversed(read) if _content(_words(read[i]))]
    return next((i for i in telling if follow_up(read[i]) is None), telling[0] if telling else None)


def _read(turn: str) -> str:
    """As much of a turn as is read; a word at its end is not cut in two."""
    return turn if len(turn) <= MAX_TURN_CHARACTERS else turn[:MAX_TURN_CHARACTERS].rsplit(" ", 1)[0]


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _folded(word: str) -> str:
    """In lower case, except "IT" and "US", which are no pronouns."""
    return word if len(word) > 1 and word.isupper() else word.lower().replace("’", "'")


def _content(words: Sequence[str]) -> list[str]:
    return [word for word in words if _folded(word) not in _FUNCTION]


def _names(words: Sequence[str]) -> list[str]:
    """Capitalised words, numbers and codes; the first word only if more than its first letter says so.

    Numbers alone name nothing: "at -20" says little of what it was about.
    """
    capitals = [word for i, word in enumerate(words) if _is_name(word if i else word[1:])]
    return _content(capitals) if any(c.isalpha() for word in capitals for c in word) else []


def _is_name(word: str) -> bool:
    return any(c.isupper() or c.isdigit() for c in word)
