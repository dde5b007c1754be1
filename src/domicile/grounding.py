"""Tying what a model says to what the documents say. Pure.

A generated sentence is kept only if the best quote holds every content word and number of it, and it adds something to
the question. This is lexical support and not entailment: a kept sentence can still join true words wrongly,
which is why the quote that supports it is always shown beside it.
"""

from __future__ import annotations

import re
from domicile.domain import Citation, Evidence

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


def supports(evidence: Evidence, sentence: str, question: str) -> bool:
    """Whether the evidence holds every content word of the sentence.

    The sentence must also say something that the question did not, and must not lose or gain a negation.
    """
    said = set(words(sentence))
    quoted = set(words(evidence.text))
    adds = said & quoted - set(words(question))
    return bool(adds) and said <= quoted and _negated(sentence) == _negated(evidence.text)


def _negated(text: str) -> bool:
    return re.search(r"\b(?:no|not|never|none|neither|nor|without|cannot)\b|n't\b", text.lower()) is not None


def next_sentence(buffer: str) -> tuple[str, str] | None:
    """Split the first complete sentence off a growing buffer; ``None`` while there is none."""
    match = _SENTENCE_END.search(buffer)
    return (buffer[:match.end()].strip(), buffer[match.end():]) if match else None


def tidy(sentence: str) -> str:
    """A generated sentence as it may be shown: one line, without citation marks, links or markup of the model's own."""
    plain = re.sub(r"!?\[[^\]]*\](?:\([^)]*\))?|<[^>]*>|\w+://\S+|[*_`#<>|\[\]]", "", sentence)
    return re.sub(r"\s+([.,;:!?])", r"\1", " ".join(plain.split()))


def cite(evidence: Evidence, document_text: str) -> Citation:
    """A citation; ``verified`` says whether the quote stands at its place in the document as it is stored."""
    verified = bool(evidence.text) and document_text[evidence.start:evidence.end] == evidence.text
    chunk = evidence.chunk
    return Citation(evidence.n, chunk.document, chunk.title, chunk.page, evidence.text, evidence.start, evidence.end, verified)
