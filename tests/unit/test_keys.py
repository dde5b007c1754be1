"""API keys: shown once, stored hashed, refused at once when revoked."""

from __future__ import annotations

import ast
import inspect
import json
import stat
import threading
from pathlib import Path

import pytest

from domicile.adapters import keys
from domicile.adapters.keys import KeyFile
from domicile.errors import ConfigError, UsageError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "keys.json"


def test_a_key_opens_its_tenant_and_groups(file: Path) -> None:
    made = KeyFile(file).create("acme", frozenset({"hr", "it"}), 2.5)
    principal = KeyFile(file).authenticate(made.key)
    assert principal is not None
    assert (principal.name, principal.tenant, principal.groups, principal.budget) == (
        made.id,
        "acme",
        {"hr", "it"},
        2.5,
    )


def test_only_a_key_that_was_made_for_it_may_ingest(file: Path) -> None:
    reader = KeyFile(file).create("acme", frozenset(), None)
    writer = KeyFile(file).create("acme", frozenset(), None, may_ingest=True)
    rights = [
        principal and principal.may_ingest for principal in map(KeyFile(file).authenticate, (reader.key, writer.key))
    ]
    assert rights == [False, True]
    for odd in (1, "true", None):
        entries = json.loads(file.read_text())
        entries[writer.id]["may_ingest"] = odd
        file.write_text(json.dumps(entries))
        principal = KeyFile(file).authenticate(writer.key)
        assert principal is not None
        assert not principal.may_ingest


def test_the_file_is_for_its_owner_and_holds_only_the_hash(file: Path) -> None:
    made = KeyFile(file).create("acme", frozenset(), None)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    secret = made.key.rpartition(made.id + "_")[2]
    assert len(secret) >= 43
    everything = b"".join(path.read_bytes() for path in file.parent.iterdir())
    assert secret.encode() not in everything
    assert made.id.encode() in everything


def test_a_revoked_key_is_refused_at_once_by_a_running_service(file: Path) -> None:
    service = KeyFile(file)
    made, other = (KeyFile(file).create("acme", frozenset(), None) for _ in range(2))
    assert service.authenticate(made.key) is not None
    KeyFile(file).revoke(made.id)
    assert service.authenticate(made.key) is None
    assert service.authenticate(other.key) is not None


def test_without_any_key_none_is_required_and_after_the_last_one_is_revoked_one_still_is(file: Path) -> None:
    service = KeyFile(file)
    assert not service.required()
    assert service.authenticate("dk_x_y") is None
    made = KeyFile(file).create("acme", frozenset(), None)
    assert service.required()
    KeyFile(file).revoke(made.id)
    assert service.required()
    assert service.authenticate(made.key) is None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_revoking_what_is_not_there_says_so(file: Path) -> None:
    with pytest.raises(UsageError, match="no key 'x'"):
        KeyFile(file).revoke("x")
    KeyFile(file).create("acme", frozenset(), None)
    with pytest.raises(UsageError, match="no key 'x'"):
        KeyFile(file).revoke("x")


def test_garbage_is_no_key(file: Path) -> None:
    made = KeyFile(file).create("acme", frozenset(), None)
    prefix, identifier, secret = made.key.split("_", 2)
    garbage = ["", "_", "__", "dk", "dk_", "dk__", f"dk_{identifier}", f"dk_{identifier}_",
    f"{prefix}_{identifier}_{secret}x", f"xx_{identifier}_{secret}",
               f"dk_{identifier}_{secret[:-1]}", f"dk_{'0' * 12}_{secret}", f" {made.key}", f"{made.key}\n",
               made.key.upper(), "\ud800", "é" * 9, "x" * 10**6,
               f"dk_{identifier}_\ud800", f"dk_{identifier}_\x00"]  # fmt: skip
    assert [text for text in garbage if KeyFile(file).authenticate(text) is not None] == []
    assert KeyFile(file).authenticate(made.key) is not None


def test_secrets_are_compared_in_constant_time() -> None:
    source = inspect.getsource(keys.KeyFile.authenticate)
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(source.strip())) if isinstance(node, ast.Call)}
    assert "hmac.compare_digest" in called
    assert not any(isinstance(node, ast.Eq) for node in ast.walk(ast.parse(source.strip())))


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]x", b"\xff", b"[1]", b'{"a": 1}', b'{"a": {}}', b"3",
    b'{"a": {"sha256": "x", "tenant": "t", "groups": [], "budget": null}}',
])  # fmt: skip
def test_a_damaged_file_opens_to_nobody_and_says_what_to_do(file: Path, content: bytes) -> None:
    made = KeyFile(file).create("acme", frozenset(), None)
    file.write_bytes(content)
    service = KeyFile(file)
    assert service.required()
    with pytest.raises(ConfigError, match="create new keys"):
        service.authenticate(made.key)


def test_a_revocation_is_never_lost_between_threads_that_read_the_file(file: Path) -> None:
    """A thread that read the older file must not put its keys back under the newer file's stamp."""
    service = KeyFile(file)
    stop = threading.Event()
    made = KeyFile(file).create("acme", frozenset(), None)

    def read_on() -> None:
        while not stop.is_set():
            service.authenticate("dk_x_y")

    threads = [threading.Thread(target=read_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            assert service.authenticate(made.key) is not None
            KeyFile(file).revoke(made.id)
            assert service.authenticate(made.key) is None
            made = KeyFile(file).create("acme", frozenset(), None)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(json.loads(file.read_text())) == 1


def test_a_key_is_known_until_it_is_revoked(file: Path) -> None:
    made = KeyFile(file).create("acme", frozenset(), None)
    keys = KeyFile(file)
    assert (keys.knows(made.id), keys.knows("owner"), keys.knows("")) == (True, False, False)
    KeyFile(file).revoke(made.id)
    assert not keys.knows(made.id)
