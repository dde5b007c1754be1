"""Runs where there is no network, and counts every attempt to leave: to be started in a network namespace of its own.

    unshare -rnm python local_only.py suite HOME SOURCE       # the product, command by command
    unshare -rnm python local_only.py questions HOME SOURCE   # only the command that may send anything
    unshare -rnm python local_only.py plant tcp               # an attempt, which the witness has to see

With the loopback interface alone, the kernel has no route for any other address, and counts each packet and each
connection that wanted one: for Python, for native code and for look-ups of names alike. ``/etc/resolv.conf`` names a server
out there, so that a look-up has to leave. Prints one JSON object: what each step answered, and the attempts after it.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Step = tuple[str, dict[str, Any]]
DOMICILE = Path(sys.executable).with_name("domicile")
OUTSIDE = "192.0.2.1"
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def attempts() -> int:
    """Packets and connections for which the kernel found no route, since the namespace was made."""
    names, values = (line.split()[1:] for line in Path("/proc/net/snmp").read_text().splitlines() if line[:3] == "Ip:")
    found = int(dict(zip(names, values, strict=True))["OutNoRoutes"])
    sixth = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return found + int(sixth["Ip6OutNoRoutes"])


def alone() -> None:
    """Bring the loopback interface up, which a new namespace has not, and send look-ups out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as resolver:
        resolver.write(f"nameserver {OUTSIDE}\noptions timeout:1 attempts:1\n")
        resolver.flush()
        subprocess.run(["mount", "--bind", resolver.name, os.path.realpath("/etc/resolv.conf")], check=True)


def suite(home: Path, source: Path) -> Iterator[Step]:
    """What a user of the command line does with a home that never leaves the machine."""
    yield _command(home, "models", "verify")
    yield from questions(home, source)
    yield _command(home, "ingest", "run", source / "suite" / "corpus.jsonl", "--collection", "small")
    yield _command(home, "search", "when does the canteen open", "--collection", "handbook")
    yield from _served(home)
    yield _command(home, "generations", "verify", "--collection", "handbook")
    yield _command(home, "policy", "check")
    yield _command(home, "eval", "run", "--suite", source / "suite", "--collection", "small")
    yield _command(home, "cost", "report")
    yield _command(home, "audit", "verify")


def questions(home: Path, source: Path) -> Iterator[Step]:
    yield _command(home, "ingest", "run", source / "documents", "--collection", "handbook")
    yield _command(home, "ask", "When does the canteen open?", "--collection", "handbook")


def _command(home: Path, *arguments: str | Path) -> Step:
    done = subprocess.run(
        [DOMICILE, "--home", home, "--json", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    told = json.loads(done.stdout) if done.stdout else {"stderr": done.stderr}
    return " ".join(map(str, arguments[:2])), {"exit": done.returncode, "told": told}


def _served(home: Path) -> Iterator[Step]:
    with subprocess.Popen(
        [DOMICILE, "--home", home, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True
    ) as started:
        assert started.stderr is not None
        url = f"http://{started.stderr.readline().split('http://')[1].split('/')[0]}"
        while (ready := _request(f"{url}/readyz"))["models"]["smollm2-135m"]["state"] == "loading":
            time.sleep(0.1)
        body = {"model": "handbook", "messages": [{"role": "user", "content": "How long does the pump warranty last?"}]}
        yield "serve /v1/chat/completions", {"exit": 0, "told": _request(f"{url}/v1/chat/completions", body)}
        started.terminate()
        started.stderr.read()
        yield "serve", {"exit": started.wait(30), "told": ready}


def _request(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    sent = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(url, sent, {"Content-Type": "application/json"}), timeout=60
    ) as response:
        told: dict[str, Any] = json.load(response)
        return told


def _tcp() -> None:
    socket.create_connection((OUTSIDE, 443), 1)


def _tcp6() -> None:
    socket.create_connection(("2001:db8::1", 443), 1)


def _udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        any_socket.sendto(b"hello", (OUTSIDE, 53))


def _name() -> None:
    socket.getaddrinfo("planted.example", 443)


def _native() -> None:
    """Past Python, whose audit hooks do not see it."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    address = struct.pack("=H", socket.AF_INET) + struct.pack("!H", 443) + socket.inet_aton(OUTSIDE) + bytes(8)
    if libc.connect(descriptor, address, len(address)):
        raise OSError(ctypes.get_errno(), "connect")


def _child() -> None:
    subprocess.run([sys.executable, __file__, "try", "tcp"], check=True, stderr=subprocess.DEVNULL)


def _loopback() -> None:
    """No attempt to leave: what must not be counted."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), 1).close()
    socket.getaddrinfo("localhost", 80)


PLANTS: dict[str, Callable[[], None]] = {
    "tcp": _tcp, "tcp6": _tcp6, "udp": _udp, "name": _name, "native": _native, "child": _child, "loopback": _loopback,
}  # fmt: skip


def planted(name: str) -> dict[str, Any]:
    try:
        PLANTS[name]()
    except (OSError, subprocess.CalledProcessError) as error:
        return {"exit": 1, "told": {"error": str(error)}}
    return {"exit": 0, "told": {}}


def main(what: str, arguments: list[str]) -> None:
    if what == "try":
        PLANTS[arguments[0]]()
        return
    if what == "--traced":  # on the network of this machine, for another witness
        what, *arguments = arguments
    else:
        alone()
    started = attempts()
    steps = {}
    if what == "plant":
        done = iter([(arguments[0], planted(arguments[0]))])
    else:
        done = {"suite": suite, "questions": questions}[what](*map(Path, arguments))
    for name, outcome in done:
        steps[name] = {**outcome, "attempts": attempts() - started}
    print(json.dumps(steps))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
