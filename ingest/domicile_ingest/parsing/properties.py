"""What files say about themselves: who wrote them, and when they were made and last changed."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from typing import Any

from domicile.metadata import NOTHING, Metadata, read

_CORE = "http://schemas.openxmlformats.org/package/2006/relationships/metadata/core-properties"
_PDF_DATE = re.compile(
    r"(?:D:)?([0-9]{4})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})([0-9]{2})?(?:Z|([+-])([0-9]{2})'?([0-9]{2})?)?)?"
)


def said(author: str, created: date | None, modified: date | None) -> Metadata:
    """As metadata: ``author``, one value for each, ``created`` and ``modified``."""
    authors = [name for part in author.split(";") if (name := " ".join(part.split()))]
    return read({"author": authors, "created": created, "modified": modified})


def of_office(package: Any) -> Metadata:
    """The core properties of an office document; none where it has no such part, for which the libraries invent some.

    Args:
        package: as python-docx and python-pptx give it; whatever they raise is no reason to refuse a document.
    """
    try:
        part = package.part_related_by(_CORE)
        core = getattr(part, "core_properties", part)
        return said(core.author or "", core.created, core.modified)
    except Exception:
        return NOTHING


def pdf_date(text: str) -> date | None:
    """A date of a PDF, ``D:20240501120000+02'00'``: a moment, or a day where no time is given."""
    match = _PDF_DATE.match(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, sign, hours, minutes = match.groups("0")
    try:
        if match[4] is None:
            return date(int(year), int(month), int(day))
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        zone = timezone(-offset if sign == "-" else offset)
        return datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=zone)
    except ValueError:
        return None
