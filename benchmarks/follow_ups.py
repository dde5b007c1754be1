"""Conversations made of squad-dev's questions, for ``conversation.py``.

Real conversations over documents with known answers are not at hand, so follow-ups are made: a name that the earlier question
also holds gives way to a pronoun, or a question shrinks to "What about NAME?" after the same question about another name. The
question as it was written is then the oracle. Natural ones are taken as they are.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

Kind = Literal["pronoun", "pronoun, same paragraph", "elliptical", "natural", "moved on", "vague", "self-contained"]

FIRST = frozenset(
    "a along among an besides by during for from how if in on the to under what when where which who whom whose why".split()
)
BEFORE_NAME = frozenset(
    "about against and are as at between by called could did do does during for from had has have in is must near of on or "
    "than that through to under was were when where who will with would".split()
)  # fmt: skip
AFTER_NAME = frozenset(
    "and are as at be been begin by come did do does during for from had has have in is leave on or play take that to use was "
    "were when where which who win with".split()
)  # fmt: skip
_NAME = re.compile(r"(?:[A-Z][\w'’.-]*)(?:\s+(?:(?:of|the|de|von)\s+)?[A-Z][\w'’.-]*)*")
_NUMBER = re.compile(r"\d")
_POINTS = re.compile(r"\b(?:it|its|he|him|his|she|her|they|them|their|this|these)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Turn:
    """One question of the set, with its paragraph."""

    text: str
    paragraph: str
    article: str
    answers: tuple[str, ...]
    held_out: bool


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A question after others, and what it would be with all that it lacks."""

    kind: Kind
    text: str
    history: tuple[str, ...]
    oracle: str
    turn: Turn


def turns(data: Path) -> list[Turn]:
    """The answerable questions; those of articles that only xquad-en brought are held out."""
    with gzip.open(data / "squad-dev" / "qa.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["answers"]]
    seen = {row["article"] for row in rows if "v2.0" in row["origin"]}
    return [
        Turn(r["question"].strip(), r["doc_id"], r["article"], tuple(r["answers"]), r["article"] not in seen)
        for r in rows
        if r["article"] not in seen or "v2.0" in r["origin"]
    ]


def follow_ups(given: Sequence[Turn]) -> dict[Kind, list[FollowUp]]:
    """Every follow-up that can be made of these questions, by kind."""
    chance = random.Random(1)
    found: dict[Kind, list[FollowUp]] = defaultdict(list)
    articles: dict[str, list[Turn]] = defaultdict(list)
    for turn in given:
        articles[turn.article].append(turn)
    earlier: dict[str, list[str]] = defaultdict(list)
    for turn in given:
        elsewhere = [other for other in articles[turn.article] if other.paragraph != turn.paragraph]
        away = chance.choice([other for name in articles if name != turn.article for other in articles[name]])
        for made in _of(turn, earlier[turn.paragraph][-3:], elsewhere, away, chance):
            found[made.kind].append(made)
        earlier[turn.paragraph].append(turn.text)
    return found


def _of(
    turn: Turn, before: Sequence[str], elsewhere: Sequence[Turn], away: Turn, chance: random.Random
) -> Iterator[FollowUp]:
    held = names(turn.text)
    nameless = not held and not _NUMBER.search(turn.text)
    points = _POINTS.search(turn.text) is not None
    as_it_is = FollowUp("natural", turn.text, tuple(before), f"{turn.text} {turn.article.replace('_', ' ')}", turn)
    if nameless and points and before:
        yield as_it_is
        yield replace(as_it_is, kind="moved on", history=(away.text,))
    if nameless and not points and elsewhere:
        yield replace(as_it_is, kind="vague", history=(chance.choice(elsewhere).text,))
    if points or not held:
        return
    yield FollowUp("self-contained", turn.text, (away.text,), turn.text, turn)
    name = max(held, key=len)
    others = [other for t in elsewhere for other in names(t.text) if other not in turn.text]
    if others:
        earlier = turn.text.replace(name, chance.choice(others))
        yield FollowUp(
            "elliptical", chance.choice(("And {}?", "What about {}?")).format(name), (earlier,), turn.text, turn
        )
    if before and (text := without(turn.text, shared := _shared(held, before[-1]), chance)):
        yield FollowUp("pronoun, same paragraph", text, tuple(before), turn.text, turn)
    for shared in held:
        about = [other.text for other in elsewhere if shared in names(other.text)]
        if about and (text := without(turn.text, shared, chance)):
            yield FollowUp("pronoun", text, (chance.choice(about),), turn.text, turn)
            break


def _shared(held: Sequence[str], other: str) -> str:
    return next((name for name in held if name in names(other)), "")


def names(text: str) -> list[str]:
    """Runs of capitalised words, without the question's first word."""
    found = []
    for run in _NAME.findall(text):
        words = run.split()
        if text.startswith(run) and words[0].lower() in FIRST:
            words = words[1:]
        found.append(re.sub(r"['’]s?$", "", " ".join(words).rstrip(".")))
    return [name for name in found if len(name) > 2]


def without(text: str, name: str, chance: random.Random) -> str:
    """The question with a pronoun for a name; empty where that would be no English."""
    place = re.search(rf"(?:\b[Tt]he )?(?<!\w){re.escape(name)}(['’]s?)?(?!\w)", text) if name else None
    if place is None:
        return ""
    before, after = re.findall(r"\w+", text[: place.start()]), re.match(r"\s+(\w+)", text[place.end() :])
    if before and before[-1].lower() not in BEFORE_NAME:
        return ""
    owns = place[1] or (after and not after[1].endswith("ed") and after[1].lower() not in AFTER_NAME)
    pronoun = chance.choice(("its", "their") if owns else ("it", "they"))
    made = text[: place.start()] + pronoun + text[place.end() :]
    return made[0].upper() + made[1:]
