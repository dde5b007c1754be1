"""Writers of an audit log that run in a process of their own, so that they can be killed, limited or refused there."""

from __future__ import annotations

import errno
import os
import resource
import secrets
import threading
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

from faults import Operation, intercept
from victims import Fault

from domicile.adapters.audit import FileAuditLog
from domicile.errors import AuditUnavailable

FILE_BYTES = 8_000
"""Small, so that new files are begun all the time."""


def open_log(home: Path) -> FileAuditLog:
    return FileAuditLog(
        home / "audit", home / "state", lambda: datetime.now(UTC), secrets.token_hex, file_bytes=FILE_BYTES
    )


def append_forever(place: Path, to_test: Connection) -> None:
    """Two threads append; each record is told once it is acknowledged."""
    log, telling = open_log(place), threading.Lock()

    def work(thread: int) -> None:
        while True:
            record = log.append("egress", {"thread": thread, "x": "x" * secrets.randbelow(2_000)})
            with telling:
                to_test.send((record.seq, record.id, record.hash))

    other = threading.Thread(target=work, args=(1,), daemon=True)
    other.start()
    work(0)


def append_many(place: Path, to_test: Connection) -> None:
    """Append that many when told; tells their ids."""
    log = open_log(place)
    to_test.send("ready")
    count = to_test.recv()
    to_test.send([log.append("answer", {"number": number}).id for number in range(count)])


def append_with_faults(place: Path, to_test: Connection) -> None:
    """Append once for each fault that is sent; tells the id, or what went wrong, and which operation it hit."""
    log = open_log(place)
    armed: Fault | None = None
    number, hit = 0, ""

    def fail(operation: Operation) -> None:
        nonlocal number, hit
        number += 1
        if armed is not None and (number == armed.at or (armed.lasting and number > armed.at)):
            hit = hit or operation.name
            code = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES)[number % 4]
            raise OSError(code, os.strerror(code), str(operation.path))

    intercept(place, fail)
    while True:
        armed = to_test.recv()
        number, hit = 0, ""
        try:
            said = log.append("egress", {"x": "x" * 500}).id
        except AuditUnavailable as error:
            said = f"refused: {error}"
        armed = None
        to_test.send((said, hit))


def append_with_small_files(place: Path, to_test: Connection) -> None:
    """Append when told how large files may get; tells the id, or what went wrong."""
    log = open_log(place)
    while True:
        resource.setrlimit(resource.RLIMIT_FSIZE, (to_test.recv(), resource.RLIM_INFINITY))
        try:
            to_test.send(log.append("egress", {"x": "x" * 500}).id)
        except AuditUnavailable as error:
            to_test.send(f"refused: {error}")
