"""A parser taken over by its documents: the name says what it does, and the bytes with what.

``python planted_parser.py MEMORY CPU OUTPUT PARENT`` is a process of the sandbox, and
``python planted_parser.py --free NAME DATA`` does the same thing without any wall, for the control.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from domicile.domain import Page
from domicile_ingest.parsing.parsed import Attachment, Parsed
from domicile_ingest.parsing.sandbox_child import main
from domicile_ingest.parsing.sandbox_frames import frame

SCRIPT = str(Path(__file__).resolve())
LIBC = ctypes.CDLL(None, use_errno=True)
KEPT: list[bytearray] = []
EVERYTHING = Parsed("title", "one\ntwo", True, (Page(1, 0, 3), Page(2, 4, 7)), {"groups": ["hr"]}, True, (
    Attachment("a.pdf", b"\x00\xff"), Attachment("b", b""))
)  # fmt: skip


def allocate(data: bytes) -> str:
    return str(len(bytearray(int(data))))


def hoard(data: bytes) -> str:
    kept = [b"x" * 1_000_000 for _ in range(int(data) // 1_000_000)]
    return str(len(kept))


def keep(data: bytes) -> str:
    KEPT.append(bytearray(int(data)))
    return "kept"


def compute(data: bytes) -> str:
    until = time.process_time() + float(data)
    while time.process_time() < until:
        pass
    return "computed"


def rest(data: bytes) -> str:
    time.sleep(float(data))
    return "rested"


def shout(data: bytes) -> str:
    return "x" * int(data)


def echo(data: bytes) -> str:
    return data.decode()


def pid(data: bytes) -> str:
    return str(os.getpid())


def fail(data: bytes) -> str:
    raise ValueError(data.decode())


def crash(data: bytes) -> str:
    ctypes.string_at(0)
    return "survived"


def abort(data: bytes) -> str:
    os.abort()


def leave(data: bytes) -> str:
    os._exit(int(data))


def connect(data: bytes) -> str:
    with socket.create_connection(("127.0.0.1", int(data)), timeout=2):
        return "connected"


def read(data: bytes) -> str:
    return Path(os.fsdecode(data)).read_text()


def write(data: bytes) -> str:
    return str(Path(os.fsdecode(data)).write_text("written"))


def fork(data: bytes) -> str:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "forked"


def load(data: bytes) -> str:
    return " ".join(importlib.import_module(name).__name__ for name in data.decode().split(","))


def entity(data: bytes) -> str:
    from lxml import etree

    tree = etree.fromstring(data, etree.XMLParser(resolve_entities=True, load_dtd=True, no_network=False))
    return "".join(tree.itertext())


# What native code would do: Python's audit hook does not see these.
def native_socket(data: bytes) -> str:
    return _kernel(LIBC.socket(socket.AF_INET, socket.SOCK_STREAM, 0))


def native_unix_socket(data: bytes) -> str:
    return _kernel(LIBC.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))


def native_read(data: bytes) -> str:
    return _kernel(LIBC.open(data, os.O_RDONLY))


def native_write(data: bytes) -> str:
    return _kernel(LIBC.open(data, os.O_WRONLY | os.O_CREAT, 0o600))


def native_fork(data: bytes) -> str:
    if (child := LIBC.fork()) == 0:
        os._exit(0)
    return _kernel(child)


def native_program(data: bytes) -> str:
    return _kernel(LIBC.execv(b"/bin/echo", (ctypes.c_char_p * 3)(b"echo", b"done", None)))


def native_trace(data: bytes) -> str:
    return _kernel(LIBC.ptrace(0, 0, 0, 0))


def native_signal(data: bytes) -> str:
    return _kernel(LIBC.kill(int(data), 0))


def native_more_memory(data: bytes) -> str:
    unlimited = (ctypes.c_ulong * 2)(1 << 40, 1 << 40)
    return _kernel(LIBC.prlimit(0, 9, unlimited, None))


def native_remove(data: bytes) -> str:
    return _kernel(LIBC.unlink(data))


def noise(data: bytes) -> str:
    """Put bytes where the answer belongs, and wait."""
    _speak(data)
    time.sleep(60)
    return "quiet"


def two_answers(data: bytes) -> str:
    """An answer for this document, and one for the next."""
    _speak(b"".join(frame({"ticket": "guessed", "refused": "empty", "reason": "not true"})))
    return "one"


def _kernel(result: int) -> str:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "done"


def _speak(data: bytes) -> None:
    for descriptor in range(3, 10):
        try:
            os.write(descriptor, data)
        except OSError:
            continue
        return


def plant(name: str) -> Callable[[bytes], str]:
    found: Callable[[bytes], str] = globals()[name]
    return found


def parse(name: str, data: bytes) -> Parsed:
    return EVERYTHING if name == "everything" else Parsed("planted", plant(name)(data), markdown=False)


if __name__ == "__main__":
    if sys.argv[1] == "--free":
        print(plant(sys.argv[2])(os.fsencode(sys.argv[3])))
    else:
        sys.exit(main(parse))
