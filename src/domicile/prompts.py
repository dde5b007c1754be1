"""What a generator receives, and how to read what it writes. Pure.

The shipped model has 135 million parameters, so the prompt is short: a rule, two worked examples and three numbered
facts. System rule and examples are the same for every question, so their part of the attention cache is reused.
"""

from __future__ import annotations

from collections.abc import Sequence

from domicile.domain import Evidence, Message, Prompt

VERSION = "1"
"""Changes whenever the bytes of a prompt do; caches and evaluations carry it."""

MAX_FACTS = 3
MAX_FACT_CHARACTERS = 600
SECOND_QUOTE_MARGIN = 0.05

_RULE = "Answer the question in one short sentence. Use only words from the facts."
_EXAMPLES: tuple[tuple[str, str], ...] = (
    ("Facts:\n1. The depot in Arvik opened in 1987 and employs 40 people.\n2. Parcels over 30 kg go by rail.\n\n"
     "Question: When did the depot in Arvik open?",
     "The depot in Arvik opened in 1987."),
    ("Facts:\n1. Visitors sign in at the north gate.\n2. The pump must be checked every 12 weeks by a technician.\n\n"
     "Question: How often is the pump checked?",
     "The pump must be checked every 12 weeks."),
)


def build(question: str, evidence: Sequence[Evidence]) -> Prompt:
    """The prompt for a question and its best evidence, at most ``MAX_FACTS`` sentences of it."""
    packed = tuple(evidence[:MAX_FACTS])
    facts = "\n".join(f"{item.n}. {_one_line(item)}" for item in packed)
    examples = [message for asked, said in _EXAMPLES for message in (Message("user", asked), Message("assistant", said))]
    asked = f"Facts:\n{facts}\n\nQuestion: {_squeeze(question)}"
    return Prompt(question, packed, (Message("system", _RULE), *examples, Message("user", asked)))


def _one_line(item: Evidence) -> str:
    text = f"{item.context}: {item.text}" if item.context else item.text
    return _squeeze(text)[:MAX_FACT_CHARACTERS]


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def quote_block(evidence: Evidence) -> str:
    """A piece of evidence as a Markdown quotation with its number."""
    lines = evidence.text.split("\n")
    return "\n".join(f"> {line}" for line in lines) + f" [{evidence.n}]"


def best_quotes(evidence: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """What an answer made of quotes alone shows: the best sentence, and the next one where it is nearly as good."""
    return tuple(item for item in evidence[:2] if item.score >= evidence[0].score - SECOND_QUOTE_MARGIN)
