"""A judge with one opinion for each kind of question that RAGAS asks: two statements in three are true, canteens are junk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from domicile.domain import Message

QUESTION = "How long is parental leave?"
LEAVE = "Parental leave lasts 26 weeks and is paid in full."
APPLY = "Apply to your manager eight weeks ahead."
CANTEEN = "The canteen opens at eleven thirty every working day."
REPLIES: dict[str, dict[str, Any]] = {
    "StatementGeneratorOutput": {"statements": [LEAVE, APPLY]},
    "AnswerRelevanceOutput": {"question": QUESTION, "noncommittal": 0},
    "ContextPrecisionOutput": {"reason": "useful", "verdict": 1},
    "ContextRecallOutput": {
        "classifications": [{"statement": word, "reason": "stated", "attributed": n} for n, word in enumerate("ab")]
        + [{"statement": "c", "reason": "not stated", "attributed": 0}]
    },
    "ClaimDecompositionOutput": {"claims": [LEAVE]},
    "NLIStatementOutput": {
        "statements": [
            {"statement": LEAVE, "reason": "stated", "verdict": 1},
            {"statement": APPLY, "reason": "not stated", "verdict": 0},
        ]
    },
}


def kind_of(messages: Sequence[Message]) -> str:
    """The name of the model that the prompt asks for."""
    schema = next(message.content for message in messages if message.role == "user")
    return next(kind for kind in REPLIES if f'"title": "{kind}"' in schema)


def verdict(messages: Sequence[Message]) -> str:
    reply = dict(REPLIES[kind_of(messages)])
    if "canteen" in messages[-1].content.partition("Now perform the same")[2] and "verdict" in reply:
        reply["verdict"] = 0
    return json.dumps(reply)
