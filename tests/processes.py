"""The installed ``domicile`` as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from services import until

DOMICILE = Path(sys.executable).with_name("domicile")


def command(home: Path, *arguments: str | Path) -> dict[str, Any]:
    """The one JSON object of a command that ends well."""
    done = subprocess.run([DOMICILE, "--home", home, "--json", *arguments], check=True, capture_output=True, text=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@contextmanager
def serving(home: Path, log: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """``domicile serve`` with its language model loaded, at an address; the log is its stderr. It has to end well."""
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [DOMICILE, "--home", home, "serve", "--port", "0"],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, **environment},
        ) as started,
    ):
        try:
            until(lambda: "http://" in log.read_text(), 60)
            url = f"http://{log.read_text().split('http://')[1].split('/')[0]}"
            with httpx.Client(base_url=url, trust_env=False) as client:
                until(lambda: client.get("/readyz").json()["models"]["smollm2-135m"]["state"] == "ready", 60)
            yield url
        finally:
            started.send_signal(signal.SIGTERM)
            assert started.wait(30) == 0
