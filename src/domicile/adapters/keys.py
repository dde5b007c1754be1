"""API keys in one file, each stored as a hash.

A key holds 256 random bits, so one round of sha256 is as good as a slow hash: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domicile.domain import Principal
from domicile.errors import ConfigError, UsageError
from domicile.files import replace_durably, writer_lock

PREFIX = "dk"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key at the one moment when it can be read."""

    id: str
    key: str


class KeyFile:
    """The keys of a home.

    Args:
        path: ``state/keys.json``; made at the first key, for its owner only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loaded: tuple[tuple[int, int, int], dict[str, dict[str, Any]]] | None = None

    def create(
        self,
        tenant: str,
        groups: frozenset[str],
        budget: float | None,
        *,
        budget_month: float | None = None,
        may_ingest: bool = False,
    ) -> NewKey:
        """Make a key; the secret is returned and never stored."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with writer_lock(self._path.with_suffix(".lock"), "the keys"):
            identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
            entry = {"sha256": _digest(secret), "tenant": tenant, "groups": sorted(groups), "budget": budget}
            entry |= {"budget_month": budget_month, "may_ingest": may_ingest}
            self._write({**self._read(), identifier: entry})
        return NewKey(identifier, f"{PREFIX}_{identifier}_{secret}")

    def revoke(self, identifier: str) -> None:
        """Remove a key; a running service refuses it from the next request on.

        Raises:
            UsageError: there is no such key.
        """
        if not self._path.exists():
            raise UsageError(f"there is no key {identifier!r}")
        with writer_lock(self._path.with_suffix(".lock"), "the keys"):
            keys = dict(self._read())
            if keys.pop(identifier, None) is None:
                raise UsageError(
                    f"there is no key {identifier!r}: the id is the part between the underscores of the key"
                )
            # an emptied file stays: a service whose last key was revoked must not fall back to serving without keys
            self._write(keys)

    def required(self) -> bool:
        """Whether a caller must show a key: from the first one ever made."""
        return self._path.exists()

    def knows(self, identifier: str) -> bool:
        """Whether there is a key of this id, which was not revoked."""
        return identifier in self._read()

    def authenticate(self, key: str) -> Principal | None:
        """Who this key is; ``None`` for any other text."""
        prefix, _, rest = key.partition("_")
        identifier, _, secret = rest.partition("_")
        entry = self._read().get(identifier)
        expected = entry["sha256"] if entry else _digest("")
        if not hmac.compare_digest(_digest(secret), expected) or entry is None or prefix != PREFIX:
            return None
        return Principal(
            identifier,
            entry["tenant"],
            frozenset(entry["groups"]),
            entry["budget"],
            entry["may_ingest"],
            entry["budget_month"],
        )

    def _read(self) -> dict[str, dict[str, Any]]:
        """The keys, read again whenever the file was replaced."""
        loaded = self._loaded
        try:
            status = self._path.stat()
            stamp = status.st_ino, status.st_mtime_ns, status.st_size
            if loaded is None or loaded[0] != stamp:
                # one assignment of both: a thread that read the older file must not put its keys under the newer stamp
                self._loaded = loaded = stamp, _checked(json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self._path}: unreadable ({type(error).__name__}): restore it, or remove it and create new keys"
            ) from None
        return loaded[1]

    def _write(self, keys: dict[str, dict[str, Any]]) -> None:
        replace_durably(self._path, json.dumps(keys, indent=1).encode(), mode=0o600)
        os.chmod(self._path, 0o600)


def _checked(raw: Any) -> dict[str, dict[str, Any]]:
    """The keys of the file, each with all that ``authenticate`` needs."""
    return {
        str(identifier): {
            "sha256": bytes.fromhex(entry["sha256"]).hex(),
            "tenant": str(entry["tenant"]),
            "groups": [str(group) for group in entry["groups"]],
            "budget": None if entry["budget"] is None else float(entry["budget"]),
            "budget_month": None if entry.get("budget_month") is None else float(entry["budget_month"]),
            "may_ingest": entry.get("may_ingest") is True,  # keys from before there was such a right have none
        }
        for identifier, entry in dict(raw).items()
    }


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
