"""The lines of the audit log: how a record is written, hashed, signed and read back.

A line is ``<sha256> <signature> <JSON>\\n``, both in lower-case hexadecimal of full length. The hash is of the JSON's exact
bytes and the signature of the hash, so no other bytes mean the same. ``domicile.audit_verifier`` reads the same lines with
code of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from domicile.ports import Record, RecordKind

GENESIS = "0" * 64
"""What the first record holds as the hash of the one before."""
MAX_BODY = 1 << 20
"""Bytes of what one record holds."""
MAX_LINE = MAX_BODY + 1_000
"""With hash, signature and header."""
HEADER = ("seq", "id", "at", "kind", "prev")
LOG_NAME = re.compile(r"[0-9]{12}\.log")
_LINE = re.compile(rb"([0-9a-f]{64}) ([0-9a-f]{128}) (\{[^\n]*\})\n")
_PURPOSES: dict[str, bytes] = {"record": b"domicile audit record\n", "head": b"domicile audit head\n"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RANDOM_DIGITS = 20

Purpose = Literal["record", "head"]


class BadLine(Exception):
    """What is wrong with a line, in a few words."""


@dataclass(frozen=True, slots=True)
class Seal:
    """The key of a log; without its private half it can only check."""

    public: Ed25519PublicKey
    private: Ed25519PrivateKey | None = None

    @classmethod
    def make(cls) -> Seal:
        private = Ed25519PrivateKey.generate()
        return cls(private.public_key(), private)

    @classmethod
    def of_pem(cls, data: bytes) -> Seal:
        """
        Raises:
            ValueError: this is no private key of the kind.
        """
        try:
            private = load_pem_private_key(data, None)
        except TypeError as error:  # it has a password
            raise ValueError(str(error)) from None
        if not isinstance(private, Ed25519PrivateKey):
            raise ValueError("another kind of key")
        return cls(private.public_key(), private)

    @classmethod
    def of_public(cls, key: str) -> Seal:
        """
        Raises:
            ValueError: this is no public key in lower-case hexadecimal.
        """
        if re.fullmatch("[0-9a-f]{64}", key) is None:
            raise ValueError("no public key")
        return cls(Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)))

    def pem(self) -> bytes:
        assert self.private is not None
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def key(self) -> str:
        """The public key in hexadecimal; it is its own fingerprint."""
        return self.public.public_bytes_raw().hex()

    def sign(self, digest: bytes, purpose: Purpose) -> str:
        assert self.private is not None
        return self.private.sign(_PURPOSES[purpose] + digest).hex()

    def signed(self, digest: bytes, signature: str, purpose: Purpose) -> bool:
        if self.private is not None:
            # Ed25519 is deterministic, and signing takes a third of the time that verifying does
            return self.sign(digest, purpose) == signature
        try:
            self.public.verify(bytes.fromhex(signature), _PURPOSES[purpose] + digest)
        except InvalidSignature:
            return False
        return True

    def line(self, text: str, purpose: Purpose) -> tuple[bytes, str, str]:
        """The line of this JSON, with its hash and its signature."""
        data = text.encode("ascii")
        digest = hashlib.sha256(data)
        signature = self.sign(digest.digest(), purpose)
        return f"{digest.hexdigest()} {signature} ".encode("ascii") + data + b"\n", digest.hexdigest(), signature

    def opened(self, raw: bytes, purpose: Purpose) -> tuple[str, str, dict[str, object]]:
        """Hash, signature and JSON of a line.

        Raises:
            BadLine: these are not the bytes that were written.
        """
        if (parts := _LINE.fullmatch(raw)) is None:
            raise BadLine("is no complete line of this log")
        wanted, signature, data = parts[1].decode("ascii"), parts[2].decode("ascii"), parts[3]
        digest = hashlib.sha256(data)
        if digest.hexdigest() != wanted:
            raise BadLine("its bytes do not have its hash")
        if not self.signed(digest.digest(), signature, purpose):
            raise BadLine("its signature is not by the key of this log")
        fields: dict[str, object] = json.loads(data)
        return wanted, signature, fields


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as it stands in the log: ``prev`` is the hash of the one before, ``raw`` the line."""

    record: Record
    prev: str
    raw: bytes

    def receipt(self, key: str) -> dict[str, object]:
        """The record as people take it along: its line and the public key let it be checked without the log."""
        return {
            "id": self.record.id,
            "at": self.record.at,
            "seq": self.record.seq,
            "kind": self.record.kind,
            "hash": self.record.hash,
            "signature": self.record.signature,
            "key": key,
            "record": json.loads(self.raw.split(b" ", 2)[2]),
            "line": self.raw.decode("ascii").rstrip("\n"),
        }


def read_entry(seal: Seal, raw: bytes) -> Entry:
    """
    Raises:
        BadLine: these are not the bytes that were written.
    """
    digest, signature, fields = seal.opened(raw, "record")
    header = {name: fields.pop(name, None) for name in HEADER}
    match header:
        case {"seq": int(seq), "id": str(identifier), "at": str(at), "kind": str(kind), "prev": str(prev)}:
            record = Record(identifier, seq, at, kind, fields, digest, signature)  # type: ignore[arg-type]
            return Entry(record, prev, raw)
    raise BadLine("is no record")


def write_entry(seal: Seal, seq: int, identifier: str, at: str, kind: RecordKind, prev: str, body: str) -> Entry:
    """Make the entry whose body is this JSON object."""
    header = json.dumps({"seq": seq, "id": identifier, "at": at, "kind": kind, "prev": prev}, separators=(",", ":"))
    text = header if body == "{}" else f"{header[:-1]},{body[1:]}"
    raw, digest, signature = seal.line(text, "record")
    return Entry(Record(identifier, seq, at, kind, json.loads(body), digest, signature), prev, raw)


def body_text(body: Mapping[str, object]) -> str:
    """The JSON of a body: sorted, without spaces, ASCII.

    Raises:
        ValueError, TypeError: it is no JSON, or has a field that the log sets.
    """
    if taken := body.keys() & set(HEADER):
        raise ValueError(f"the log itself sets {', '.join(sorted(taken))}")
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


@dataclass(frozen=True, slots=True)
class Head:
    """The signed newest record: ``file`` holds it and is ``size`` bytes long after it."""

    seq: int = 0
    hash: str = GENESIS
    file: str = ""
    size: int = 0

    def raw(self, seal: Seal) -> bytes:
        text = json.dumps(
            {"seq": self.seq, "hash": self.hash, "file": self.file, "size": self.size}, separators=(",", ":")
        )
        return seal.line(text, "head")[0]

    @classmethod
    def read(cls, seal: Seal, raw: bytes) -> Head:
        """
        Raises:
            BadLine: these are not the bytes that were written.
        """
        match seal.opened(raw, "head")[2]:
            case {"seq": int(seq), "hash": str(digest), "file": str(file), "size": int(size)}:
                return cls(seq, digest, file, size)
        raise BadLine("is no head")


def name_from(seq: int) -> str:
    """The file that begins with this record."""
    return f"{seq:012d}.log"


def milliseconds(moment: datetime) -> int:
    """Since 1970; the moment has its time zone."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def moment_of(since_1970: int) -> str:
    """ISO 8601 in UTC, of one length, so that texts sort as moments do."""
    return (_EPOCH + timedelta(milliseconds=since_1970)).isoformat(timespec="milliseconds")


def identifier_of(kind: RecordKind, since_1970: int, random: str) -> str:
    """An id that holds when the record was made, so that it is found without an index; 80 bits cannot be guessed."""
    return f"{ {'answer': 'r', 'egress': 'e'}.get(kind, 's') }_{since_1970:011x}{random:.{_RANDOM_DIGITS}}"


def moment_in(identifier: str) -> str | None:
    """When the record of this id was made; ``None`` for what is no id."""
    if re.fullmatch(r"[rse]_[0-9a-f]{31,32}", identifier) is None:
        return None
    try:
        return moment_of(int(identifier[2:-_RANDOM_DIGITS], 16))
    except OverflowError:
        return None
