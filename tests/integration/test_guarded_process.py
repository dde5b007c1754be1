"""The real ``domicile`` with code of somebody else in its process: it gets no connection to another machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from processes import DOMICILE, command, serving
from residency import ASK_CANTEEN, DOCUMENTS
from services import until

STOPPED, LET = "ConnectionStopped", "let"
PLUGIN = """
import json, os, socket, threading, time, sys

def attempt(work):
    try:
        work()
        return "let"
    except Exception as error:
        return type(error).__name__

def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        any_socket.sendto(b"hello", ("192.0.2.1", 53))

def report():
    port = int(os.environ["LISTENING"])
    tried = {
        "tcp": attempt(lambda: socket.create_connection(("192.0.2.1", 443), 0.2).close()),
        "udp": attempt(udp),
        "name": attempt(lambda: socket.getaddrinfo("planted.invalid", 443)),
        "here": attempt(lambda: socket.create_connection(("127.0.0.1", port), 5).close()),
    }
    with open(os.environ["REPORT"] + ".part", "w") as file:
        json.dump(tried, file)
    os.rename(os.environ["REPORT"] + ".part", os.environ["REPORT"])

def main(argv):
    report()
    return 0

def wait():
    while os.environ["WHEN"] not in sys.modules:
        time.sleep(0.05)
    report()
"""
IN_EVERY_PROCESS = (
    "import os, threading, planted\nif os.environ.get('WHEN'):\n    threading.Thread(target=planted.wait).start()\n"
)


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def environment(tmp_path: Path, listening: int) -> dict[str, str]:
    """Of a process that finds the plugin, an installed package like any other."""
    site = tmp_path / "site"
    (site / "planted-1.0.dist-info").mkdir(parents=True)
    (site / "planted-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    (site / "planted-1.0.dist-info" / "entry_points.txt").write_text("[domicile.commands]\nplanted = planted:main\n")
    (site / "planted.py").write_text(PLUGIN)
    (site / "sitecustomize.py").write_text(IN_EVERY_PROCESS)
    report = {"REPORT": str(tmp_path / "report"), "LISTENING": str(listening)}
    return {**os.environ, **report, "PYTHONPATH": str(site)}


@pytest.fixture
def home(tmp_path: Path, models_dir: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    for name, text in DOCUMENTS.items():
        (source / name).write_text(text)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "models").symlink_to(models_dir)
    command(tmp_path / "home", "ingest", "run", source, "--collection", "handbook")
    return tmp_path / "home"


def tried(environment: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = json.loads(Path(environment["REPORT"]).read_text())
    return found


def test_a_command_of_a_plugin_cannot_leave(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [DOMICILE, "--home", tmp_path, "planted"], env=environment, capture_output=True, text=True, check=True
    )
    assert tried(environment) == {"tcp": STOPPED, "udp": STOPPED, "name": STOPPED, "here": LET}
    assert done.stderr.count("was stopped") == 1


def test_without_the_product_around_it_nothing_stops_it(environment: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-c", "import planted; planted.main([])"], env=environment, check=True)
    found = tried(environment)
    assert STOPPED not in found.values()
    assert found["here"] == LET


def test_a_thread_in_ask_cannot_leave(environment: dict[str, str], home: Path) -> None:
    ask = [DOMICILE, "--home", home, "--json", "ask", ASK_CANTEEN, "--collection", "handbook"]
    done = subprocess.run(
        ask, env={**environment, "WHEN": "domicile.answering"}, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["decision"]["route"] == "local"
    assert tried(environment) == {"tcp": STOPPED, "udp": STOPPED, "name": STOPPED, "here": LET}


def test_a_thread_in_serve_cannot_leave(environment: dict[str, str], home: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(home, log, {**environment, "WHEN": "uvicorn.server"}) as url:
        until(Path(environment["REPORT"]).exists, 20)
        assert httpx.get(f"{url}/livez", trust_env=False).status_code == 200
    assert tried(environment) == {"tcp": STOPPED, "udp": STOPPED, "name": STOPPED, "here": LET}
    assert log.read_text().count("was stopped") == 1
