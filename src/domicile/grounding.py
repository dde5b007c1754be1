"""Tying what a model says to what the documents say. Pure.

A generated sentence is kept only if the best quote holds every content word and number of it, and it adds something to
the question. This is lexical support and not entailment: a kept sentence can still join true words wrongly,
which is why the quote that supports it is always shown beside it.
"""

from __future__ import annotations

import re
import unicodedata

from domicile.domain import Citation, Document, Evidence

_WORD = re.compile(r"\d+(?:[.,:/-]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)?")
_STOP = frozenset(
    "a an and are as at be been but by can could did do does for from had has have he her his how i if in into is it its may "
    "must no not of on or our shall she should so such that the their them then there these they this to was we were what "
    "when where which who whom why will with would you your s".split()
)
_CLAUSE_END = re.compile(r"[;:,.!?()](?=\s|$)")
_DENIAL = re.compile(r"\b(?:no|not|never|none|neither|nor|without|cannot|unless|except)\b|n't\b")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\s\"')\]]*\s")


def words(text: str) -> list[str]:
    """Content words and numbers, folded and crudely stemmed so that plural and tense do not count as different."""
    return [_stem(word) for word in _WORD.findall(_folded(text)) if word not in _STOP]


def _folded(text: str) -> str:
    """In lower case, and with the plain apostrophe that typing gives for the one that is printed."""
    return text.lower().replace("’", "'").replace("ʼ", "'")


def _stem(word: str) -> str:
    if word[0].isdigit():
        return word.rstrip(".,")
    for suffix in ("ing", "ed", "es", "s"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word.removesuffix(suffix).rstrip("e")
    return word.rstrip("e") if len(word) > 3 else word


def supports(evidence: Evidence, sentence: str, question: str) -> bool:
    """Whether the evidence holds every content word of the sentence, and the sentence adds something to the question.

    Names and numbers of the question that stand in the document's title or headings may be repeated ("the Corrant 8").
    Whether something is denied must be the same in the sentence and in the clauses of the evidence that it draws on.
    """
    said = set(words(sentence))
    quoted = set(words(evidence.text))
    around = set(words(" ".join((evidence.chunk.title, *evidence.chunk.heading))))
    adds = said & quoted - set(words(question))
    if not adds or not said <= quoted | (_names(question) & around):
        return False
    return _denies(sentence) == _denies(_stretch(evidence.text, said & quoted))


def _names(text: str) -> set[str]:
    """Capitalised words and numbers."""
    return {_stem(word.lower()) for word in _WORD.findall(text) if not word[0].islower()}


def _stretch(text: str, wanted: set[str]) -> str:
    """The shortest stretch of the text that holds all these words, out to the ends of its clauses."""
    places = [(match.start(), match.end(), _stem(match[0].lower())) for match in _WORD.finditer(text)]
    best = (0, len(text))
    for first, (start, _, word) in enumerate(places):
        missing = set(wanted)
        for _, end, found in places[first:] if word in wanted else ():
            missing.discard(found)
            if not missing:
                best = min(best, (start, end), key=lambda span: span[1] - span[0])
                break
    before = max((match.end() for match in _CLAUSE_END.finditer(text, 0, best[0])), default=0)
    after = _CLAUSE_END.search(text, best[1])
    return text[before : after.start() if after else len(text)]


def _denies(text: str) -> bool:
    return _DENIAL.search(_folded(text)) is not None


def next_sentence(buffer: str) -> tuple[str, str] | None:
    """Split the first complete sentence off a growing buffer; ``None`` while there is none."""
    match = _SENTENCE_END.search(buffer)
    return (buffer[: match.end()].strip(), buffer[match.end() :]) if match else None


def tidy(sentence: str) -> str:
    """A generated sentence as it may be shown: one line, without citation marks, links or markup of the model's own, and
    without characters that steer a terminal or turn the direction of writing."""
    plain = re.sub(r"!?\[[^\]]*\](?:\([^)]*\))?|<[^>]*>|\w{1,40}://\S+|[*_`#<>|\[\]]", "", sentence)
    visible = "".join(c for c in " ".join(plain.split()) if unicodedata.category(c)[0] != "C")
    return re.sub(r"\s+([.,;:!?])", r"\1", visible)


def cite(evidence: Evidence, document: Document | None) -> Citation:
    """A citation, with the page on which the quote begins.

    ``verified`` says whether the quote stands at its place in the document as it is stored; ``None`` is one that is not.
    """
    chunk, stored = evidence.chunk, "" if document is None else document.text
    verified = bool(evidence.text) and stored[evidence.start : evidence.end] == evidence.text
    pages = () if document is None else document.layout.pages
    page = next((page.number for page in pages if page.start <= evidence.start < page.end), chunk.page)
    return Citation(
        evidence.n, chunk.document, chunk.title, page, evidence.text, evidence.start, evidence.end, verified
    )
