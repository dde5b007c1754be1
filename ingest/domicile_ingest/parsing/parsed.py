"""What every parser yields, and the one place where text is normalised."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from domicile.domain import Layout, Page
from domicile.errors import DocumentError
from domicile.metadata import NOTHING, Metadata

MAX_CHARACTERS = 20_000_000
"""Longer texts are refused: the index is made for documents, not for dumps."""

_TITLE_CHARACTERS = 300
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# Other control characters, halves of surrogate pairs (they cannot be stored) and code points that are no characters.
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file inside a file, such as what a mail carries. Its name is data: whatever its author wrote, as one line."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Parsed:
    """The text of a document, fixed for ever: offsets into it are stored, quoted and verified.

    Attributes:
        title: one line, never empty for a file.
        text: normalised by ``clean``; nothing after the parser may change it.
        markdown: whether headings, lists, tables and code are to be read as Markdown.
        pages: in order; empty where the format has none.
        label: the residency label that the document declares, not yet checked; a value that cannot be
            read is ``{"malformed": reason}``, so that the label becomes the most restrictive one.
        table: whether every line is a row of one table, the first its header (CSV and TSV keep their own notation,
            so that a quote of a row is found in the file).
        attachments: files that lie inside this one, in order, to be parsed as documents of their own.
        metadata: what filters can ask for, beside title and label.
    """

    title: str
    text: str
    markdown: bool
    pages: tuple[Page, ...] = ()
    label: Mapping[str, object] | None = None
    table: bool = False
    attachments: tuple[Attachment, ...] = ()
    metadata: Metadata = NOTHING

    @property
    def layout(self) -> Layout:
        """What must be stored so that the text can be cut into passages again."""
        return Layout(self.markdown, self.table, self.pages)


def clean(text: str) -> str:
    """Normalise a text: line ends, control characters, trailing blanks, blank lines at both ends.

    Control characters become blanks rather than vanish, so that offsets stay what they were. Composed and decomposed
    letters are left as the author wrote them: a quote is verbatim, and folding is the business of an index.

    Raises:
        DocumentError: the text is too long.
    """
    if len(text) > MAX_CHARACTERS:
        raise DocumentError(
            "too_large", f"the text has {len(text):,} characters; {MAX_CHARACTERS:,} are allowed: split it"
        )
    text = _LINE_ENDS.sub("\n", text.removeprefix("\ufeff"))
    text = _SURROGATES.sub("\ufffd", _CONTROLS.sub(" ", text))
    lines = [line.rstrip() for line in text.split("\n")]
    first = next((number for number, line in enumerate(lines) if line), len(lines))
    return "\n".join(lines[first:]).rstrip("\n")


def one_line(text: str) -> str:
    """A title: white space folded, cut at a bounded length."""
    folded = " ".join(clean(text[: 4 * _TITLE_CHARACTERS]).split())
    return folded if len(folded) <= _TITLE_CHARACTERS else folded[: _TITLE_CHARACTERS - 1].rstrip() + "…"


def stem(name: str) -> str:
    """The title of last resort: a file's name without folders and suffix."""
    base = re.split(r"[/\\]", name)[-1]
    head, dot, _ = base.rpartition(".")
    return one_line(head if dot and head else base) or "untitled"


def hidden_text(characters: int) -> Metadata:
    """The remark that so much was left out because no reader of the document sees it."""
    return Metadata(remarks=(f"{characters:,} characters of hidden text were left out",)) if characters else NOTHING


def require_text(parsed: Parsed) -> Parsed:
    """The document itself, where it has any text.

    Raises:
        DocumentError: it has none.
    """
    if not parsed.text.strip():
        raise DocumentError("empty", "the document holds no text")
    return parsed
