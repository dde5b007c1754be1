"""What a payload is made of, and the label that follows from it. Pure.

Everything that becomes bytes of a prompt, or that stood before it in the conversation, is a part with a label; the label
of the payload is the join of them all. Parts that say nothing of a field restrict nothing by it, and documents always say
everything: see ``labels.complete``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from domicile import detectors, labels
from domicile.conversation import MAX_TURNS
from domicile.detectors import Detector
from domicile.domain import Label, Turn
from domicile.errors import FlagWidens, TenantsMixed
from domicile.labels import MALFORMED, PartialLabel

MAX_READ_CHARACTERS = 100_000
"""Of what the user and the system said before; a longer history is the most restrictive, unread."""
MIN_STATEMENT_CHARACTERS = 24
MAX_STATEMENTS = 500
"""Of one text; each costs a look into a file."""
_BETWEEN = re.compile(r"\n|(?<=[.!?])\s|(?<=[.!?])(?=[\"'”»])|(?:^|\s)>\s|\s?\[\d{1,2}\]|[\"“”«»]|(?:^|\s)['‘]")

PartKind = Literal["ceiling", "flags", "question", "history", "document", "answer"]
"""``answer`` is one from the cache, with the label of the payload that it was made from."""


@dataclass(frozen=True, slots=True)
class Part:
    """One source of a payload's label.

    Attributes:
        tenant: whose it is; parts of two tenants never become one payload.
        name: the URI of a document; else empty.
    """

    kind: PartKind
    tenant: str
    label: PartialLabel
    name: str = ""


def question_parts(
    tenant: str,
    question: str,
    history: Sequence[Turn],
    *,
    ceiling: PartialLabel,
    flags: PartialLabel,
    made_from: Callable[[str], PartialLabel | None],
    stated_from: Callable[[str], PartialLabel | None],
    known: Sequence[Detector],
) -> tuple[Part, ...]:
    """What the question and all that came before it say: they can only narrow.

    What the user and the system said is read by the detectors, and what stands in it of an earlier answer, sentence by
    sentence, keeps that one's label. What an assistant said has the label of the payload that it was made from; where that
    is unknown, and for every other speaker, it is the most restrictive one.

    Args:
        made_from: the label of an answer's payload by the answer's text.
        stated_from: the label of the documents behind an answer by one of its ``statements``.
        known: the detectors.

    Raises:
        FlagWidens: a flag allows more than the ceiling.
    """
    if field := labels.beyond(flags, ceiling):
        raise FlagWidens(field, "a flag only narrows, and this one allows more than the ceiling of the tenant")
    spoken = [turn.text for turn in history if turn.role in ("user", "system")]
    if sum(map(len, spoken)) > MAX_READ_CHARACTERS:
        spoken = []
        history = (*history, Turn("other", "more than is read"))
    said = [turn for turn in history if turn.role not in ("user", "system") and turn.text.strip()]
    # of earlier turns only the user's latest can lend words to the question
    latest = [turn.text for turn in history if turn.role == "user"][-MAX_TURNS:]
    stated = [stated_from(each) for text in (question, *latest) for each in statements(text)]
    known_before = (
        labels.join_partial(read(text, known) for text in spoken),
        *(_of_turn(turn, made_from) for turn in said),
        *(label for label in (*map(made_from, (question, *spoken)), *stated) if label is not None),
    )
    before = (Part("history", tenant, label) for label in known_before if label != PartialLabel())
    return (
        Part("ceiling", tenant, ceiling),
        Part("flags", tenant, flags),
        Part("question", tenant, read(question, known)),
        *dict.fromkeys(before),  # a thousand turns that nobody knows say the same
    )


def read(text: str, known: Sequence[Detector]) -> PartialLabel:
    """What the detectors say of a text."""
    return detectors.label_of(detectors.detect(text, known))


def statements(text: str) -> tuple[str, ...]:
    """The sentences of a text without marks of quotation and citation, by which it is known when a part of it comes back.

    Short ones are left out: anybody may say "Yes, it does." What is put in other words is not known again.
    """
    found = dict.fromkeys(" ".join(piece.split()).lstrip("> ") for piece in _BETWEEN.split(text))
    return tuple(piece for piece in found if len(piece) >= MIN_STATEMENT_CHARACTERS)[:MAX_STATEMENTS]


def _of_turn(turn: Turn, made_from: Callable[[str], PartialLabel | None]) -> PartialLabel:
    known = made_from(turn.text) if turn.role == "assistant" else None
    return MALFORMED if known is None else known


def joined(parts: Iterable[Part]) -> PartialLabel:
    """The most restrictive of all that the parts say.

    Raises:
        TenantsMixed: they are not of one tenant.
    """
    parts = tuple(parts)
    if len({part.tenant for part in parts}) > 1:
        raise TenantsMixed("a payload must not mix the text of two tenants")
    return labels.join_partial(part.label for part in parts)


def label_of(parts: Iterable[Part]) -> Label:
    """The label of a payload.

    Raises:
        TenantsMixed: the parts are not of one tenant.
    """
    return labels.complete(joined(parts), groups=None)
