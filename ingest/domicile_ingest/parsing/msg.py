"""Outlook's mails (.msg): the MAPI properties that a reader sees, from the streams that hold them."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import format_datetime

from domicile.errors import DocumentError
from domicile_ingest.parsing.attachments import MAX_ATTACHMENTS, name_of_mail
from domicile_ingest.parsing.html import source_of
from domicile_ingest.parsing.mail import Body, Mail, better, html_body, sealed_by
from domicile_ingest.parsing.ole import Compound, Place, opened
from domicile_ingest.parsing.parsed import Parsed, clean
from domicile_ingest.parsing.rtf import rtf_text
from domicile_ingest.parsing.rtf_compressed import decompress
from domicile_ingest.parsing.text import decode, decode_as

_SUBJECT, _BODY, _RTF, _HTML = 0x0037, 0x1000, 0x1009, 0x1013
_SENDER_NAME, _SENDER_ADDRESS, _SENDER_SMTP = 0x0C1A, 0x0C1F, 0x5D01
_ON_BEHALF_NAME, _ON_BEHALF_ADDRESS = 0x0042, 0x0065
_SUBMITTED, _DELIVERED = 0x0039, 0x0E06
_NAME, _ADDRESS, _SMTP_ADDRESS, _RECIPIENT_TYPE = 0x3001, 0x3003, 0x39FE, 0x0C15
_LONG_FILE_NAME, _FILE_NAME, _MIME_TYPE, _DATA = 0x3707, 0x3704, 0x370E, 0x3701
_CODE_PAGE, _HTML_CODE_PAGE = 0x3FFD, 0x3FDE
_UNICODE, _NARROW, _BINARY, _STORAGE = "001F", "001E", "0102", "000D"
_PROPERTIES = "__properties_version1.0"
_TO, _CC = 1, 2
_MAX_NESTING = 10
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


def parse_msg(name: str, data: bytes) -> Parsed:
    """A mail: its headers of interest, its better body, and its attachments; a mail inside becomes an .eml file.

    Raises:
        DocumentError: ``encrypted``, ``too_large`` or ``broken``.
    """
    with opened(data) as compound:
        return _read_mail(_Storage(compound, (), 32), 0).to_parsed(name)


class _Storage:
    """The properties of a mail, a recipient or an attachment.

    Args:
        header: the bytes before the first fixed property; their number tells a mail from what is inside it.
    """

    def __init__(self, compound: Compound, place: Place, header: int) -> None:
        self._compound = compound
        self._place = place
        fixed = compound.read((*place, _PROPERTIES)) or b""
        self._fixed: dict[int, bytes] = {}
        for start in range(header, len(fixed) - 15, 16):
            tag, value = struct.unpack_from("<I4x8s", fixed, start)
            self._fixed.setdefault(tag >> 16, value)
        page = self.number(_CODE_PAGE)
        self._charset = f"cp{page}" if page and page not in (1200, 65001) else None

    def number(self, identity: int) -> int:
        return int.from_bytes(self._fixed.get(identity, b"")[:4], "little")

    def time(self, identity: int) -> str:
        """A moment as mails write it; empty where there is none that a calendar knows."""
        ticks = int.from_bytes(self._fixed.get(identity, b""), "little")
        try:
            return format_datetime(_EPOCH + timedelta(microseconds=ticks // 10)) if ticks else ""
        except (OverflowError, ValueError):
            return ""

    def binary(self, identity: int) -> bytes | None:
        return self._stream(identity, _BINARY)

    def text(self, identity: int) -> str:
        """A property of words; empty where there is none."""
        wide = self._stream(identity, _UNICODE)
        if wide is not None:
            return wide.decode("utf-16-le", "replace").rstrip("\x00")
        narrow = (self._stream(identity, _NARROW) or b"").rstrip(b"\x00")
        said = decode_as(narrow, self._charset) if self._charset else None
        return decode(narrow) if said is None and narrow else said or ""

    def inside(self, prefix: str, header: int) -> list[_Storage]:
        """The storages right inside this one whose names begin so, in order."""
        names = sorted(name for name in self._compound.children.get(self._place, ()) if name.startswith(prefix))
        if len(names) > MAX_ATTACHMENTS:
            raise DocumentError("too_large", f"the mail has more than {MAX_ATTACHMENTS:,} recipients or attachments")
        return [_Storage(self._compound, (*self._place, name), header) for name in names]

    def _stream(self, identity: int, form: str) -> bytes | None:
        return self._compound.read((*self._place, f"__substg1.0_{identity:04X}{form}"))


def _read_mail(storage: _Storage, depth: int) -> Mail:
    if depth > _MAX_NESTING:
        raise DocumentError("broken", f"the mail nests more than {_MAX_NESTING} mails")
    mail = Mail(subject=storage.text(_SUBJECT))
    recipients = storage.inside("__recip_version1.0_", 8)
    mail.headers = [
        ("From", _sender(storage)),
        ("To", _recipients(recipients, _TO)),
        ("Cc", _recipients(recipients, _CC)),
        ("Date", storage.time(_SUBMITTED) or storage.time(_DELIVERED)),
    ]
    body = _body(storage)
    if body is not None:
        mail.bodies.append(body)
    for attached in storage.inside("__attach_version1.0_", 8):
        _attach(mail, attached, depth)
    return mail


def _sender(storage: _Storage) -> str:
    name = storage.text(_SENDER_NAME) or storage.text(_ON_BEHALF_NAME)
    address = storage.text(_SENDER_SMTP) or storage.text(_SENDER_ADDRESS) or storage.text(_ON_BEHALF_ADDRESS)
    return _shown(name, address)


def _recipients(recipients: list[_Storage], kind: int) -> str:
    wanted = (recipient for recipient in recipients if recipient.number(_RECIPIENT_TYPE) == kind)
    return ", ".join(
        _shown(recipient.text(_NAME), recipient.text(_SMTP_ADDRESS) or recipient.text(_ADDRESS)) for recipient in wanted
    )


def _shown(name: str, address: str) -> str:
    """Name and address; the paths by which Exchange knows its own people say nothing."""
    if "@" not in address or address == name:
        return name or address
    return f"{name} <{address}>" if name else address


def _body(storage: _Storage) -> Body | None:
    plain = clean(storage.text(_BODY))
    source = storage.binary(_HTML)
    page = storage.number(_HTML_CODE_PAGE)
    html = source_of(source, f"cp{page}" if page else None) if source else storage.text(_HTML)
    best = better(Body(plain, markdown=False) if plain else None, html_body(html) if html.strip() else None)
    if best is not None and best.text:
        return best
    rich = storage.binary(_RTF)
    return Body(clean(rtf_text(decompress(rich))), markdown=True) if rich else None


def _attach(mail: Mail, attached: _Storage, depth: int) -> None:
    name = attached.text(_LONG_FILE_NAME) or attached.text(_FILE_NAME) or attached.text(_NAME)
    kind = attached.text(_MIME_TYPE).lower()
    if kind == "multipart/signed":  # Outlook keeps a signed mail as the file that it came as
        name, kind = "signed.eml", "message/rfc822"
    embedded = attached.inside(f"__substg1.0_{_DATA:04X}{_STORAGE}", 24)
    data = attached.binary(_DATA)
    if data is not None:
        sealed = sealed_by(kind, data)
        if sealed is None:
            mail.attachments.add(name, kind, data)
        else:
            mail.sealed = sealed
    for inner in embedded:
        inside = _read_mail(inner, depth + 1)
        mail.attachments.add(name_of_mail(inside.subject), "message/rfc822", _as_eml(inside))


def _as_eml(mail: Mail) -> bytes:
    """A mail as a file of its own: its storage cannot be cut out of the container."""
    message = MIMEMultipart()
    for body in mail.bodies:
        message.attach(MIMEText(body.text, "markdown" if body.markdown else "plain", "utf-8"))
    for attachment in mail.attachments.taken():
        part = MIMEApplication(attachment.data)
        part.add_header("Content-Disposition", "attachment", filename=("utf-8", "", attachment.name))
        message.attach(part)
    return "".join(f"{line}\n" for line in mail.lines()).encode() + message.as_bytes()
