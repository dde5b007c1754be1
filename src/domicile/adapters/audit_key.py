"""The key of the audit log: the private half in ``state/``, the public one beside the log. Both are made with the log."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from domicile.adapters.audit_chain import damaged
from domicile.adapters.audit_lines import Head, Seal
from domicile.errors import AuditUnavailable
from domicile.files import fsync_path, make_folders, replace_durably

_MADE_FIRST = {"HEAD", "key.pub"}
"""What a process leaves of a log that dies before it made the private key."""


class LogKey:
    """
    Args:
        folder: ``audit/`` of a home.
        state: ``state/`` of the home, on the same file system.
    """

    def __init__(self, folder: Path, state: Path) -> None:
        self._folder, self._state = folder, state
        self._seal: Seal | None = None

    def opened(self) -> Seal:
        """The private key; key and log are made where there is neither.

        Raises:
            AuditUnavailable: one of them is missing.
            AuditDamaged: the public key is not that of the private one.
        """
        if self._seal is not None:
            return self._seal
        seal, there = self._private_seal(), self._there()
        if seal is None:
            if there - _MADE_FIRST:
                raise AuditUnavailable(
                    f"{self._key_path} is missing, and audit/ was signed with it: restore it from a backup, "
                    "or move audit/ away to begin a new log"
                )
            seal = self._begin()
        elif not there:
            raise AuditUnavailable(
                f"{self._folder} is gone, and {self._key_path} has signed it: restore it from a backup, "
                "or move the key away to begin a new log"
            )
        elif self._public_key() != seal.key:
            raise damaged("key.pub", f"is missing, or not the key in {self._key_path}")
        self._seal = seal
        return seal

    def _begin(self) -> Seal:
        """Make the log and its key; the private key comes last, so that there is none without a log."""
        seal = Seal.make()
        make_folders(self._folder, mode=0o700)
        self.place("HEAD", Head().raw(seal))
        self.place("key.pub", f"{seal.key}\n".encode("ascii"))
        fsync_path(self._folder)
        replace_durably(self._key_path, seal.pem(), mode=0o600)
        return seal

    def reading(self) -> Seal | None:
        """What checks the log: the private key, else the public one beside it; ``None`` where there is no log.

        Raises:
            AuditUnavailable, AuditDamaged: a key is none.
        """
        seal = self._seal or self._private_seal()
        if seal is None and self._there() - _MADE_FIRST:
            if not (key := self._public_key()):
                raise damaged("key.pub", "is missing, or no key")
            seal = Seal.of_public(key)
        return seal

    def own(self) -> str | None:
        """The public half of the private key, where there is one."""
        seal = self._seal or self._private_seal()
        return None if seal is None else seal.key

    def _there(self) -> set[str]:
        return set(os.listdir(self._folder)) if self._folder.exists() else set()

    @property
    def _key_path(self) -> Path:
        return self._state / "audit.key"

    def _private_seal(self) -> Seal | None:
        try:
            return Seal.of_pem(self._key_path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            raise AuditUnavailable(f"{self._key_path} is no Ed25519 key: restore it from a backup") from None

    def _public_key(self) -> str:
        with suppress(FileNotFoundError):
            text = (self._folder / "key.pub").read_bytes()
            if re.fullmatch(rb"[0-9a-f]{64}\n", text):
                return text[:64].decode("ascii")
        return ""

    def place(self, name: str, data: bytes) -> None:
        """Give a file of the log these bytes, the old or the new ones at any instant."""
        fresh = self._state / "audit.new"  # not in audit/, where every file is accounted for
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.rename(self._folder / name)


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
