"""``domicile serve`` as a process with the real models, asked by the official OpenAI client."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from services import DOCUMENTS, LEAVE, PUMP, until

DOMICILE = Path(sys.executable).with_name("domicile")
QUESTION = "How long does parental leave last?"
KANTINE = "Die Kantine in Arvik ist mindestens 12 Wochen im Jahr geschlossen."


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Path:
    home = tmp_path_factory.mktemp("serve") / "home"
    source = home.parent / "source"
    for name, text in (DOCUMENTS | {"kantine.md": f"# Kantine\n\n{KANTINE}\n"}).items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text, encoding="utf-8")
    home.mkdir()
    (home / "models").symlink_to(models_dir)
    subprocess.run(
        [DOMICILE, "--home", home, "ingest", "run", source, "--collection", "handbook"], check=True, capture_output=True
    )
    return home


def start(home: Path) -> tuple[subprocess.Popen[str], str]:
    """A service and its address; who calls reads its stderr, or does not."""
    started = subprocess.Popen(
        [DOMICILE, "--home", home, "serve", "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert started.stderr is not None
    line = started.stderr.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found, line
    return started, found[0]


@pytest.fixture(scope="module")
def process(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running service and its address."""
    started, address = start(home)
    assert started.stderr is not None
    assert started.stdout is not None
    drain = threading.Thread(target=started.stderr.read, daemon=True)
    drain.start()
    try:
        with httpx.Client(base_url=address, trust_env=False) as client:
            until(lambda: client.get("/readyz").json()["models"]["smollm2-135m"]["state"] == "ready", seconds=60)
        yield started, address
    finally:
        started.send_signal(signal.SIGTERM)
        assert started.wait(30) == 0
        drain.join(5)
        started.stderr.close()
        started.stdout.close()


@pytest.fixture
def client(process: tuple[subprocess.Popen[str], str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{process[1]}/v1", api_key="none", max_retries=0, http_client=httpx.Client(trust_env=False)
    ) as made:
        yield made


def ask(client: openai.OpenAI, question: str) -> dict[str, Any]:
    reply = client.chat.completions.create(model="handbook", messages=[{"role": "user", "content": question}])
    assert reply.model_extra is not None
    told: dict[str, Any] = reply.model_extra["domicile"]
    return told


def test_the_official_client_lists_the_collection_and_gets_a_cited_answer(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["handbook"]
    reply = client.chat.completions.create(model="handbook", messages=[{"role": "user", "content": QUESTION}])
    content = reply.choices[0].message.content
    assert content is not None
    assert reply.model_extra is not None
    given = reply.model_extra["domicile"]
    assert LEAVE in content
    assert given["decision"]["route"] == "local"
    assert given["decision"]["model"] == "smollm2-135m"
    assert given["citations"][0]["verified"] is True
    assert reply.usage is not None
    assert reply.usage.completion_tokens > 0
    assert reply.choices[0].message.annotations


@pytest.mark.parametrize(
    ("question", "quote", "said"),
    [
        ("For how many weeks is parental leave?", LEAVE, "26 weeks."),
        ("How often must the pump P-40 be checked?", PUMP, "Every 12 weeks."),
    ],
)
def test_the_model_says_words_of_the_quote(client: openai.OpenAI, question: str, quote: str, said: str) -> None:
    given = ask(client, question)
    assert (given["grounded"], given["decision"]["route"]) == ("kept", "local")
    assert given["answer"].startswith(f"{said} [1]")
    assert given["citations"][0]["quote"] == quote


def test_where_nothing_stands_alone_the_model_is_asked_all_the_same(client: openai.OpenAI) -> None:
    given = ask(client, "Wann ist die Kantine in Arvik geschlossen?")
    assert given["citations"][0]["quote"] == KANTINE
    assert given["decision"]["route"] == "local"
    assert given["usage"]["completion_tokens"] > 0
    assert not given["answer"].startswith("12 Wochen")  # at least 12 weeks, says the quote


def test_streamed_and_whole_answers_are_the_same_bytes(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="handbook", messages=[{"role": "user", "content": QUESTION}])
    stream = client.chat.completions.create(
        model="handbook", messages=[{"role": "user", "content": QUESTION}], stream=True
    )
    chunks = [chunk for chunk in stream if chunk.choices]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_errors_reach_the_client_as_openais(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no collection"):
        client.chat.completions.create(model="nowhere", messages=[{"role": "user", "content": QUESTION}])
    with pytest.raises(openai.BadRequestError, match="messages"):
        client.chat.completions.create(model="handbook", messages=[{"role": "user", "content": ""}])


def test_it_opens_no_connection_but_its_own_port(
    process: tuple[subprocess.Popen[str], str], client: openai.OpenAI
) -> None:
    """Every socket of the service and its children, as the kernel lists them, while it answers."""
    client.chat.completions.create(model="handbook", messages=[{"role": "user", "content": QUESTION}])
    port = int(process[1].rsplit(":", 1)[1])
    ends = {end for pid in _family(process[0].pid) for end in _connections(pid)}
    assert ends  # the witness sees the listening socket at least
    assert {local_port for local_port, _ in ends} == {port}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_ends_the_answer_under_way_and_then_the_service(home: Path, number: signal.Signals) -> None:
    """Before it, clients talk nonsense, which must not fill a stderr that nobody reads."""
    started, address = start(home)
    port = int(address.rsplit(":", 1)[1])
    body = {"model": "handbook", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    try:
        for _ in range(2_000 if number == signal.SIGTERM else 0):  # a pipe takes 64 KiB
            with socket.create_connection(("127.0.0.1", port), timeout=5) as nonsense:
                nonsense.sendall(b"\0\r\n\r\n")
                assert nonsense.recv(100).startswith(b"HTTP/1.1 400")
        with httpx.Client(base_url=address, trust_env=False, timeout=20) as client:
            until(lambda: client.get("/readyz").json()["models"]["smollm2-135m"]["state"] == "ready", seconds=60)
            [child] = _family(started.pid)[1:]
            with client.stream("POST", "/v1/chat/completions", json=body) as reply:
                lines = reply.iter_lines()
                assert next(lines).startswith("data: ")
                started.send_signal(number)
                assert [line for line in lines if line][-1] == "data: [DONE]"
        out, err = started.communicate(timeout=30)
    finally:
        started.kill()
        started.communicate()
    assert (started.returncode, json.loads(out), err) == (0, {"stopped": True}, "")
    assert not Path(f"/proc/{child}").exists()


def _family(pid: int) -> list[int]:
    """A process and its children, whichever of its threads started them."""
    lists = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
    return [pid, *(int(child) for children in lists for child in children.read_text(encoding="ascii").split())]


def _connections(pid: int) -> Iterator[tuple[int, str]]:
    """(local port, remote address) of the inet sockets that a process holds."""
    held = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in held:
                yield int(fields[1].rsplit(":", 1)[1], 16), fields[2]
