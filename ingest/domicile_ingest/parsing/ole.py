"""Compound binary files, the containers of old Office files and Outlook's mails. The only home of ``olefile``."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from domicile.errors import DocumentError

if TYPE_CHECKING:
    from olefile import OleFileIO

Place = tuple[str, ...]
"""The names of storages from the root, and that of a stream."""


class Compound:
    """The streams of a compound file.

    Attributes:
        streams: the place of each.
        children: the names right inside each storage.
    """

    def __init__(self, ole: OleFileIO) -> None:
        self._ole = ole
        self.streams: frozenset[Place] = frozenset(tuple(place) for place in ole.listdir(streams=True, storages=False))
        self.children: dict[Place, set[str]] = {}
        for place in self.streams:
            for depth, name in enumerate(place):
                self.children.setdefault(place[:depth], set()).add(name)

    def read(self, place: Place) -> bytes | None:
        """The content of a stream; None where there is none.

        Raises:
            DocumentError: ``broken``, it is damaged.
        """
        if place not in self.streams:
            return None
        try:
            content: bytes = self._ole.openstream(list(place)).read()
        except MemoryError:
            raise
        except Exception as error:  # olefile lets out what its lookups raise
            raise DocumentError("broken", "the file is a damaged compound file") from error
        return content


@contextmanager
def opened(data: bytes) -> Iterator[Compound]:
    """A compound file in memory.

    Raises:
        DocumentError: ``broken``.
    """
    import olefile

    try:
        ole = olefile.OleFileIO(io.BytesIO(data))
        compound = Compound(ole)
    except MemoryError:
        raise
    except Exception as error:  # olefile lets out what its lookups raise
        raise DocumentError("broken", "the file is a damaged compound file") from error
    with ole:
        yield compound
