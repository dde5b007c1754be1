"""Documents that are zip archives of XML (OpenDocument, EPUB): members by name, and XML without its traps.

The only home of ``lxml``. Nothing is ever unfolded onto the disk, so a member's name is a key and not a path.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

from domicile.errors import DocumentError


class Archive:
    """A zip archive in memory; ``detect`` has bounded what it unfolds to."""

    def __init__(self, data: bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            self._names = frozenset(self._zip.namelist())
        except Exception as error:  # zipfile lets out what struct and codecs raise
            raise DocumentError("broken", "the file is a damaged zip archive") from error

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises:
            DocumentError: ``broken``, it is missing or damaged; ``encrypted``.
        """
        if name not in self._names:
            raise DocumentError("broken", f"the file lacks its part {name[:100]!r}")
        if self._zip.getinfo(name).flag_bits & 1:
            raise DocumentError("encrypted", "the file is protected by a password")
        try:
            return self._zip.read(name)
        except MemoryError:
            raise
        except Exception as error:  # zipfile lets out what zlib, struct and codecs raise
            raise DocumentError("broken", f"the part {name[:100]!r} of the file is damaged") from error

    def xml(self, name: str) -> Any:
        """The root element of a member."""
        return parse_xml(self.read(name))


def parse_xml(data: bytes) -> Any:
    """The root element; entities are not resolved, no DTD is loaded, and nothing is fetched.

    Raises:
        DocumentError: ``broken``, it is no XML, or beyond the bounds of libxml2 (256 levels, 10 MB a text).
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise DocumentError("broken", "a part of the file is damaged XML") from error
    if root is None:
        raise DocumentError("broken", "a part of the file is empty")
    return root
