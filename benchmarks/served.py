"""A service in a process of its own on loopback, and what a process uses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

START_SECONDS = 300
DOMICILE = Path(sys.executable).with_name("domicile")


@dataclass(frozen=True, slots=True)
class Served:
    """A service that answers.

    Attributes:
        ready_seconds: from the start of the process until it said that it was ready.
    """

    url: str
    pid: int
    ready_seconds: float


@contextmanager
def service(home: Path) -> Iterator[Served]:
    """``domicile serve`` on a free port, once ``/readyz`` answers 200.

    Raises:
        RuntimeError: see ``running``.
    """
    with running([DOMICILE, "--home", home, "serve", "--port", "0"], r"http://\S+?:\d+", "/readyz") as served:
        yield served


@contextmanager
def running(
    command: Sequence[str | Path], address: str, ready: str, environment: dict[str, str] | None = None
) -> Iterator[Served]:
    """A server that writes its address, which the pattern finds, to the standard error.

    Raises:
        RuntimeError: it ended, or it was not ready in time; says what it said.
    """
    with tempfile.NamedTemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=said, env=os.environ | (environment or {})
        )
        try:
            url = None
            while url is None or httpx.get(url[0] + ready, timeout=START_SECONDS, trust_env=False).status_code != 200:
                text = Path(said.name).read_text(encoding="utf-8")
                if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                    raise RuntimeError(text)
                url = url or re.search(address, text)
                time.sleep(0.005)
            yield Served(url[0], process.pid, time.perf_counter() - began)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def memory_mb(pid: int) -> dict[str, int]:
    """Resident memory, apart what is the process's own and what is pages of files that the kernel can drop."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    rss, anonymous = (int(re.findall(rf"^{field}:\s+(\d+)", rollup, re.MULTILINE)[0]) for field in ("Rss", "Anonymous"))
    return {"anonymous": round(anonymous / 1024), "of_files": round((rss - anonymous) / 1024)}


def cpu_seconds(pid: int) -> float:
    """Of the process so far, with its threads and without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
