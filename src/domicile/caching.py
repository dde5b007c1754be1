"""Which answers are the same: the key of the answer cache. Pure.

Everything that an answer depends on is in the key, so that a new generation, policy, prompt or model is another answer.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata

from domicile import policy, prompts
from domicile.domain import Condition, Principal
from domicile.labels import FIELDS, PartialLabel


def key(
    question: str,
    context: str | None,
    collection: str,
    tenant: str,
    generation: int,
    principal: Principal,
    conditions: tuple[Condition, ...],
    label: PartialLabel,
    policy_version: str,
    models: tuple[str, ...],
) -> str:
    """sha256 in hexadecimal.

    Args:
        question: as it was written; white space at its ends and runs of it do not count.
        context: what an earlier turn made of it, where one did.
        principal: of whom only what may be seen counts.
        label: of the question and its history: the constraint on the route.
        models: that could answer, with the settings that shape what they write.
    """
    parts: list[object] = [
        _normal(question),
        context and _normal(context),
        collection,
        tenant,
        generation,
        None if principal.groups is None else sorted(principal.groups),
        [[condition.field, condition.operator, list(condition.values)] for condition in conditions],
        _words(label),
        policy.VERSION,
        policy_version,
        prompts.VERSION,
        list(models),
    ]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _words(label: PartialLabel) -> list[object]:
    values = [getattr(label, field) for field in FIELDS]
    return [sorted(value) if isinstance(value, frozenset) else value for value in values]
