"""Tying what a model says to what the documents say. Pure.

A generated sentence is kept only if one piece of evidence supports all of it: every number and nearly every content word
of the sentence stands in that evidence (or in the question), and it says something that the question did not. This is
lexical support and not entailment: a kept sentence can still join true words wrongly, which is why the quote that
supports it is always shown beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from domicile.domain import Citation, Evidence

MIN_SUPPORT = 0.9
"""Share of the content words of a sentence that its evidence must hold."""

_WORD = re.compile(r"\d+(?:[.,:/-]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)?")
_STOP = frozenset(
    "a an and are as at be been but by can could did do does for from had has have he her his how i if in into is it its may "
    "must no not of on or our shall she should so such that the their them then there these they this to was we were what "
    "when where which who whom why will with would you your s".split())
_SENTENCE_END = re.compile(r"(?<=[.!?])[\s\"')\]]*\s")


def words(text: str) -> list[str]:
    """Content words and numbers, folded and crudely stemmed so that plural and tense do not count as different."""
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP]


def _stem(word: str) -> str:
    if word[0].isdigit():
        return word.rstrip(".,")
    for suffix in ("ing", "ed", "es", "s"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word.removesuffix(suffix).rstrip("e")
    return word.rstrip("e") if len(word) > 3 else word


def support(sentence: str, evidence: Evidence, question: str) -> float:
    """The share of the sentence's content words that the evidence holds, 0 where it does not support it at all.

    Numbers and negations are all or nothing, and the sentence must add a word to the question.
    """
    said = words(sentence)
    quoted = set(words(f"{evidence.context} {evidence.text}"))
    asked = set(words(question))
    if not said or not set(said) - asked:
        return 0.0
    numbers = [word for word in said if word[0].isdigit()]
    if any(number not in quoted for number in numbers) or _negated(sentence) != _negated(evidence.text):
        return 0.0
    if not any(word in quoted for word in said if word not in asked):
        return 0.0
    return sum(word in quoted or word in asked for word in said) / len(said)


def _negated(text: str) -> bool:
    return re.search(r"\b(?:no|not|never|none|neither|nor|without|cannot)\b|n't\b", text.lower()) is not None


def ground(sentence: str, evidence: Sequence[Evidence], question: str) -> Evidence | None:
    """The evidence that supports a generated sentence best, or ``None`` where none supports it."""
    scored = [(support(sentence, item, question), -item.n, item) for item in evidence]
    best = max(scored, key=lambda entry: entry[:2], default=None)
    return best[2] if best is not None and best[0] >= MIN_SUPPORT else None


def next_sentence(buffer: str) -> tuple[str, str] | None:
    """Split the first complete sentence off a growing buffer; ``None`` while there is none."""
    match = _SENTENCE_END.search(buffer)
    return (buffer[:match.end()].strip(), buffer[match.end():]) if match else None


def tidy(sentence: str) -> str:
    """A generated sentence as it may be shown: one line, without citation marks, links or markup of the model's own."""
    plain = re.sub(r"\[[^\]]*\](?:\([^)]*\))?|<[^>]*>|!\[|https?://\S+|[*_`#>|]", "", sentence)
    return " ".join(plain.split())


def cite(evidence: Evidence, document_text: str) -> Citation:
    """A citation; ``verified`` says whether the quote stands at its place in the document as it is stored."""
    verified = bool(evidence.text) and document_text[evidence.start:evidence.end] == evidence.text
    chunk = evidence.chunk
    return Citation(evidence.n, chunk.document, chunk.title, chunk.page, evidence.text, evidence.start, evidence.end, verified)
