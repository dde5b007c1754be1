"""Answers as JSON and back, exactly: what the answer cache keeps of one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from domicile import labels
from domicile.domain import Answer, Citation, Cost, Decision, Usage


def to_record(answer: Answer) -> dict[str, object]:
    """The answer as JSON; of an equal answer it is equal."""
    record: dict[str, object] = {field.name: getattr(answer, field.name) for field in fields(answer)}
    decision, label = answer.decision, answer.decision.label
    return record | {
        "citations": [asdict(citation) for citation in answer.citations],
        "decision": {field.name: getattr(decision, field.name) for field in fields(decision)}
        | {"label": None if label is None else labels.to_record(label)},
        "usage": asdict(answer.usage),
        "cost": asdict(answer.cost),
    }


def from_record(record: Mapping[str, Any]) -> Answer:
    """The inverse of ``to_record``, also after a way through JSON.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    decision, label = record["decision"], record["decision"]["label"]
    return Answer(
        **{
            **record,
            "citations": tuple(Citation(**citation) for citation in record["citations"]),
            "decision": Decision(
                **{
                    **decision,
                    "label": None if label is None else labels.from_record(label),
                    "denied": tuple((sink, tuple(reasons)) for sink, reasons in decision["denied"]),
                }
            ),
            "usage": Usage(**record["usage"]),
            "cost": Cost(**record["cost"]),
            "notes": tuple(record["notes"]),
        }
    )
