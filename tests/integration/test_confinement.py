"""Each wall around a parsing process alone, and all of them: what native or Python code tries there is refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from planted_parser import SCRIPT

from domicile.errors import DocumentError
from domicile_ingest.parsing.sandbox import Sandbox

BEHIND = """
import sys
from planted_parser import plant
from domicile_ingest.parsing import confinement
paths = [path for path in sys.path if path] + list(confinement._LIBRARIES)
{wall}
print(plant({name!r})({data!r}))
"""
NO_PRIVILEGES = "confinement._prctl(confinement._PR_SET_NO_NEW_PRIVS, 1)\n"
WALLS = {
    "none": "",
    "seccomp": NO_PRIVILEGES + "confinement.allow_only_parsing()",
    "Landlock": NO_PRIVILEGES + "confinement.read_only(paths)",
    "network namespace": "confinement._leave_network()",
    "audit hook": "confinement._guard(paths)",
    "resource limits": "confinement._limit_resources(1 << 28)",
}


def behind(wall: str, name: str, data: bytes) -> str:
    """What a plant says behind one wall: its result, or the last line of its error."""
    script = BEHIND.format(wall=WALLS[wall], name=name, data=data)
    environment = {"PYTHONPATH": os.path.dirname(SCRIPT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=30, check=False
    )
    return (done.stdout or done.stderr).strip().splitlines()[-1]


@pytest.fixture(scope="module")
def walls() -> dict[str, str | None]:
    with Sandbox(1) as sandbox:
        return dict(sandbox.confinement)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def data_for(name: str, tmp_path: Path, server: socket.socket) -> bytes:
    """Something that a plant can do where nothing stops it."""
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    if name == "connect":
        return str(server.getsockname()[1]).encode()
    if name == "native_signal":
        return str(os.getpid()).encode()
    return os.fsencode(tmp_path / "new" if name.endswith("write") else secret)


TRIED = {
    "seccomp": (
        "native_socket", "native_unix_socket", "native_write", "native_fork", "native_program", "native_trace",
        "native_signal", "native_remove", "native_more_memory", "connect", "fork", "write",
    ),
    "Landlock": ("native_read", "native_write", "native_remove", "read", "write"),
    "network namespace": ("connect",),
    "audit hook": ("connect", "read", "write", "fork"),
    "resource limits": ("write",),
}  # fmt: skip


@pytest.mark.parametrize(("wall", "name"), [(wall, name) for wall, names in TRIED.items() for name in names])
def test_a_wall_alone_stops_what_it_is_for(
    wall: str, name: str, walls: dict[str, str | None], tmp_path: Path, server: socket.socket
) -> None:
    if (reason := walls[wall]) is not None:
        pytest.skip(f"{wall} is not to be had here: {reason}")
    data = data_for(name, tmp_path, server)
    assert "Error" in behind(wall, name, data)
    assert (tmp_path / "secret").read_text() == "the secret"
    assert not (tmp_path / "new").exists() or (tmp_path / "new").read_bytes() == b""
    with pytest.raises(BlockingIOError):
        server.accept()


@pytest.mark.parametrize("name", sorted({name for names in TRIED.values() for name in names}))
def test_without_a_wall_all_of_it_succeeds_and_behind_all_of_them_nothing(
    name: str, tmp_path: Path, server: socket.socket
) -> None:
    data = data_for(name, tmp_path, server)
    with Sandbox(1, child=(SCRIPT,)) as sandbox, pytest.raises(DocumentError) as caught:
        sandbox.parse(name, data)
    assert caught.value.kind == "broken"
    assert not (tmp_path / "new").exists()
    with pytest.raises(BlockingIOError):
        server.accept()
    said = behind("none", name, data)
    assert "Error" not in said, said


def test_libraries_can_be_loaded_behind_all_walls() -> None:
    with Sandbox(1, child=(SCRIPT,)) as sandbox:
        assert "lxml" in sandbox.parse("load", b"lxml.etree,openpyxl,pypdfium2,docx,decimal").text
