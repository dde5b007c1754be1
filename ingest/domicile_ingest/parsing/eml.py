"""Mails as files (.eml): the standard library's parser, made to forgive what real mails get wrong."""

from __future__ import annotations

import base64
import email
import functools
import re
from collections.abc import Iterable
from email.errors import InvalidBase64LengthDefect
from email.message import Message
from email.policy import EmailPolicy, default
from typing import Any

from domicile.errors import DocumentError
from domicile_ingest.parsing.attachments import name_of_mail
from domicile_ingest.parsing.html import source_of
from domicile_ingest.parsing.mail import Body, Mail, better, html_body, joined, sealed_by
from domicile_ingest.parsing.parsed import Parsed, clean
from domicile_ingest.parsing.text import decode, decode_as, parse_text

_MAX_HEADER = 20_000
_MAX_PARAMETERS = 2000  # reading them takes quadratic time
_MAX_NESTING = 50
_SHOWN = ("From", "To", "Cc", "Date")
_KNOWN = re.compile(
    r"(?:from|to|cc|subject|date|sender|received|message-id|mime-version|content-type|return-path|delivered-to)$",
    re.IGNORECASE,
)
# Charsets whose bytes are valid UTF-8 and mean something else in it.
_ESCAPED = re.compile(r"(?:iso-?2022|hz|utf-?(?:7|16|32))", re.IGNORECASE)


class _Forgiving(EmailPolicy):
    """Reads headers in any encoding and of bounded length, and takes as they are those that it cannot make out."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        value = value[: _MAX_PARAMETERS if name.lower().startswith("content-") else _MAX_HEADER]
        if not value.isascii():
            raw = value.encode("utf-8", "surrogateescape")
            try:
                value = decode(raw)
            except DocumentError:  # no writing at all
                value = raw.decode("ascii", "replace")
        return name, value

    def header_fetch_parse(self, name: str, value: str) -> Any:
        if name.lower() == "date":  # as its sender wrote it
            return " ".join(value.split())
        return _header(name, value)


@functools.lru_cache(maxsize=32)
def _header(name: str, value: str) -> Any:
    """A header and its parameters; the standard library asks for the type of each part many times."""
    try:
        return default.header_fetch_parse(name, value)
    except Exception:  # its parser lets out what its lookups raise
        return " ".join(value.split())


_POLICY = _Forgiving(refold_source="none", utf8=True)


def parse_eml(name: str, data: bytes) -> Parsed:
    """A mail: its headers of interest, its better body, and its attachments.

    Raises:
        DocumentError: ``encrypted``, ``too_large``, or ``broken`` where parts nest beyond reason.
    """
    if b"\x00" in data[:1024]:  # saved as UTF-16
        data = decode(data).encode("utf-8")
    try:
        message = email.message_from_bytes(data.lstrip(b"\xef\xbb\xbf \t\r\n"), policy=_POLICY)
        if not any(_KNOWN.match(header) for header in message.keys()):
            return parse_text(name, data)
        return _read(message).to_parsed(name)
    except (DocumentError, MemoryError, RecursionError):
        raise
    except Exception as error:  # the standard library's parser lets out what its lookups raise
        raise DocumentError("broken", f"the mail cannot be read: {type(error).__name__}") from error


def _read(message: Message) -> Mail:
    mail = Mail(subject=_value(message, "Subject"))
    mail.headers = [(header, _value(message, header)) for header in _SHOWN]
    mail.bodies = _Reader(mail).bodies(message, 0)
    return mail


def _value(message: Message, header: str) -> str:
    return str(message.get(header, ""))


class _Reader:
    """Walks the parts of a mail; attachments and seals go to the mail, bodies are returned."""

    def __init__(self, mail: Mail) -> None:
        self._mail = mail

    def bodies(self, part: Message, depth: int) -> list[Body]:
        """The bodies of a part in order."""
        if depth > _MAX_NESTING:
            raise DocumentError("broken", f"the mail nests more than {_MAX_NESTING} parts")
        kind = part.get_content_type()
        if kind == "message/rfc822" or kind == "message/global":
            self._attach_mail(part)
            return []
        children = _children(part)
        if kind == "message/delivery-status":
            return [
                Body(clean("\n".join(f"{key}: {value}" for child in children for key, value in child.items())), False)
            ]
        if kind == "multipart/encrypted":
            self._mail.sealed = DocumentError("encrypted", "the mail is encrypted")
            return []
        if kind == "multipart/alternative" and children:
            return self._best(children, depth)
        if children:
            # What follows the first part of these belongs to it: its pictures, its signature.
            return [body for child in children for body in self.bodies(child, depth + 1)]
        # One that does not say where its parts begin is read as the words that it is.
        return self._leaf(part, "text/plain" if kind.startswith("multipart/") else kind)

    def _best(self, children: Iterable[Message], depth: int) -> list[Body]:
        """Of several ways to say the same, the better one."""
        plain: Body | None = None
        rich: Body | None = None
        problem: DocumentError | None = None
        for child in children:
            try:
                bodies = self.bodies(child, depth + 1)
            except DocumentError as error:
                if error.kind != "broken":
                    raise
                problem = error
                continue
            said = joined(bodies)
            if said.text and said.markdown:
                rich = rich or said
            elif said.text:
                plain = plain or said
        best = better(plain, rich)
        if best is None and problem is not None:
            raise problem
        return [best] if best is not None else []

    def _leaf(self, part: Message, kind: str) -> list[Body]:
        data = _content(part)
        name = part.get_filename() or ""
        sealed = sealed_by(kind, data)
        if sealed is not None:
            self._mail.sealed = sealed
            return []
        if kind.startswith("text/") and not name and part.get_content_disposition() != "attachment":
            try:
                text = _text(part, kind, data)
            except DocumentError as error:
                if error.kind != "binary":
                    raise
            else:
                return [html_body(text) if kind == "text/html" else Body(clean(text), markdown=kind == "text/markdown")]
        self._mail.attachments.add(name, kind, data)
        return []

    def _attach_mail(self, part: Message) -> None:
        children = _children(part)
        if children:
            name = part.get_filename() or name_of_mail(_value(children[0], "Subject"))
            self._mail.attachments.add(name, "message/rfc822", children[0].as_bytes(policy=_POLICY))
        else:
            self._mail.attachments.add(part.get_filename() or "", "message/rfc822", _content(part))


def _children(part: Message) -> list[Message]:
    payload = part.get_payload()
    return [child for child in payload if isinstance(child, Message)] if isinstance(payload, list) else []


def _content(part: Message) -> bytes:
    """The bytes of a part, as far as its transfer encoding can be undone."""
    content = part.get_payload(decode=True)
    if any(isinstance(defect, InvalidBase64LengthDefect) for defect in part.defects):
        letters = re.sub("[^A-Za-z0-9+/]", "", str(part.get_payload()))
        return base64.b64decode(letters[: len(letters) // 4 * 4])
    return content if isinstance(content, bytes) else b""


def _text(part: Message, kind: str, data: bytes) -> str:
    declared = part.get_param("charset")
    charset = declared if isinstance(declared, str) else ""
    if _ESCAPED.match(charset) and (text := decode_as(data, charset)) is not None:
        return text
    return source_of(data, charset or None) if kind == "text/html" else decode(data, charset or None)
