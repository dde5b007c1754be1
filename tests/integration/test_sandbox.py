"""The sandbox: what goes in comes out as without it, and whatever a parser does costs its own document alone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from planted_parser import EVERYTHING, SCRIPT

from domicile.errors import DocumentError, SandboxUnavailable
from domicile_ingest.parsing import parse
from domicile_ingest.parsing.sandbox import Limits, Sandbox
from domicile_ingest.parsing.sandbox_frames import MAX_HEADER, frame

MIB = 1 << 20
SHORT = Limits(memory=256 * MIB, cpu_seconds=1, wall_seconds=2.0, output=100_000)


@contextmanager
def planted(limits: Limits = SHORT, children: int = 1) -> Iterator[Sandbox]:
    with Sandbox(children, limits, child=(SCRIPT,)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with planted() as started:
        yield started


def pid(sandbox: Sandbox) -> int:
    return int(sandbox.parse("pid", b"").text)


def refusal(sandbox: Sandbox, name: str, data: bytes = b"") -> DocumentError:
    """Why a document was refused; the one after it must come through."""
    with pytest.raises(DocumentError) as caught:
        sandbox.parse(name, data)
    assert sandbox.parse("echo", b"the next").text == "the next"
    return caught.value


def free(name: str, data: str = "", seconds: float = 20.0) -> subprocess.CompletedProcess[str]:
    """The same without any wall."""
    command = [sys.executable, SCRIPT, "--free", name, data]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


def gone(process: int) -> bool:
    try:
        return re.search(r"\) [ZX] ", Path(f"/proc/{process}/stat").read_text()) is not None
    except (FileNotFoundError, ProcessLookupError):
        return True


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def test_all_that_a_parser_gives_comes_through(sandbox: Sandbox) -> None:
    assert sandbox.parse("everything", b"") == EVERYTHING
    for text in ("", "x", "äöü 😀\n\ttab", "y" * 90_000):
        assert sandbox.parse("echo", text.encode()).text == text


def test_the_walls_stand_or_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with planted() as sandbox:
        walls = sandbox.confinement
    assert walls["resource limits"] is walls["no new privileges"] is walls["audit hook"] is None
    assert {"seccomp", "Landlock", "network namespace", "death with the parent"} <= walls.keys()
    missing = [wall for wall, reason in walls.items() if reason is not None]
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == missing


def test_a_wall_that_the_kernel_refuses_is_named_once_and_the_others_stand(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    old_kernel = (
        "from domicile_ingest.parsing import sandbox_landlock; sandbox_landlock._CREATE_RULESET = 9999\n"
        f"import runpy; runpy.run_path({SCRIPT!r}, run_name='__main__')"
    )
    with Sandbox(1, Limits(documents=1), child=("-c", old_kernel)) as sandbox:
        walls = sandbox.confinement
        assert [sandbox.parse("echo", b"x").text for _ in range(2)] == ["x", "x"]
        with pytest.raises(DocumentError):
            sandbox.parse("write", os.fsencode(tmp_path / "new"))
    assert walls["Landlock"] == "Function not implemented"
    assert [record.args for record in caplog.records].count(("Landlock", "Function not implemented")) == 1
    assert not (tmp_path / "new").exists()


def test_the_process_has_nothing_of_ours(sandbox: Sandbox, tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(lock, True)
    try:
        with planted() as fresh:
            process = Path(f"/proc/{pid(fresh)}")
            assert (process / "environ").read_bytes() == b""
            assert os.readlink(process / "cwd") == "/"
            opened = {os.readlink(link) for link in (process / "fd").iterdir()}
            assert all(target == "/dev/null" or target.startswith("pipe:") for target in opened), opened
            limits = (process / "limits").read_text()
            assert re.search(rf"Max address space +{SHORT.memory} +{SHORT.memory} ", limits)
            assert re.search(r"Max file size +0 +0 ", limits)
            assert re.search(r"Max core file size +0 +0 ", limits)
            assert os.getsid(int(process.name)) == int(process.name)
    finally:
        os.close(lock)


@pytest.mark.parametrize("name", ["allocate", "hoard"])
def test_memory_is_bounded(sandbox: Sandbox, name: str) -> None:
    error = refusal(sandbox, name, b"600000000")
    assert (error.kind, "memory" in error.reason) == ("too_large", True)
    assert free(name, "600000000").returncode == 0


def test_computing_is_bounded_document_by_document() -> None:
    with planted(Limits(cpu_seconds=1)) as sandbox:
        for _ in range(3):  # together more than one document may have
            assert sandbox.parse("compute", b"0.7").text == "computed"
        error = refusal(sandbox, "compute", b"60")
    assert (error.kind, "1 s of computing" in error.reason) == ("too_slow", True)
    assert free("compute", "1.2").stdout == "computed\n"


def test_waiting_is_bounded(sandbox: Sandbox) -> None:
    started = time.monotonic()
    error = refusal(sandbox, "rest", b"60")
    assert (error.kind, "2 s" in error.reason) == ("too_slow", True)
    assert 2 <= time.monotonic() - started < 8
    assert free("rest", "2.1").stdout == "rested\n"


def test_a_stopped_process_is_too_slow(sandbox: Sandbox) -> None:
    stopped = pid(sandbox)
    os.kill(stopped, signal.SIGSTOP)
    assert refusal(sandbox, "echo", b"never read").kind == "too_slow"
    assert gone(stopped)


def test_what_is_given_back_is_bounded(sandbox: Sandbox) -> None:
    assert sandbox.parse("shout", b"90000").text == "x" * 90_000
    assert refusal(sandbox, "shout", b"110000").kind == "too_large"


@pytest.mark.parametrize(
    ("name", "data", "how"),
    [("crash", b"", "SIGSEGV"), ("abort", b"", "SIGABRT"), ("leave", b"7", "status 7"), ("leave", b"0", "status 0")],
)
def test_a_crash_costs_one_document(sandbox: Sandbox, name: str, data: bytes, how: str) -> None:
    error = refusal(sandbox, name, data)
    assert error.kind == "broken"
    assert how in error.reason
    assert "survived" not in free(name, data.decode()).stdout


def test_a_process_killed_at_work_costs_one_document_and_an_idle_one_none(sandbox: Sandbox) -> None:
    at_work = pid(sandbox)
    timer = threading.Timer(0.5, os.kill, (at_work, signal.SIGKILL))
    timer.start()
    error = refusal(sandbox, "rest", b"60")
    assert (error.kind, "SIGKILL" in error.reason) == ("broken", True)
    os.kill(idle := pid(sandbox), signal.SIGKILL)
    assert eventually(lambda: gone(idle), 2)
    assert sandbox.parse("echo", b"as ever").text == "as ever"


def test_the_message_of_an_unforeseen_error_stays_inside(sandbox: Sandbox) -> None:
    error = refusal(sandbox, "fail", b"the secret of the document")
    assert (error.kind, error.reason) == ("broken", "cannot be parsed: ValueError")


PREFIX = b"".join(frame({"ready": {}}))[:4]


@pytest.mark.parametrize(
    "noise",
    [
        b"not a frame at all, and long enough to be taken for one",
        PREFIX + (MAX_HEADER + 1).to_bytes(4) + bytes(8),
        PREFIX + (2).to_bytes(4) + (1 << 60).to_bytes(8) + b"{}",
        PREFIX + (2).to_bytes(4) + (SHORT.output + 1).to_bytes(8) + b"{}",
        PREFIX + (4).to_bytes(4) + bytes(8) + b"nope",
        PREFIX + (2).to_bytes(4) + bytes(8) + b"[]",
        PREFIX + (200_000).to_bytes(4) + bytes(8) + b"[" * 200_000,
        b"".join(frame({"ready": {}})),
    ],
    ids=["garbage", "long header", "absurd body", "long body", "no JSON", "no object", "deep", "no answer"],
)
def test_what_is_no_answer_is_not_taken_for_one(sandbox: Sandbox, noise: bytes) -> None:
    error = refusal(sandbox, "noise", noise)
    assert (error.kind, "no proper answer" in error.reason) == ("broken", True)


def test_half_an_answer_is_too_slow(sandbox: Sandbox) -> None:
    assert refusal(sandbox, "noise", PREFIX).kind == "too_slow"


def test_an_answer_in_advance_is_not_taken_for_that_of_the_next_document(sandbox: Sandbox) -> None:
    assert refusal(sandbox, "two_answers").kind == "broken"


def test_a_process_is_replaced_after_some_documents() -> None:
    with planted(Limits(documents=3)) as sandbox:
        pids = [pid(sandbox) for _ in range(7)]
    assert [len(set(pids[:3])), len(set(pids[3:6])), len(set(pids))] == [1, 1, 3]


def test_a_process_that_has_grown_is_replaced_so_that_the_next_document_has_all_the_memory(sandbox: Sandbox) -> None:
    before = pid(sandbox)
    assert sandbox.parse("keep", str(10 * MIB).encode()).text == "kept"
    assert pid(sandbox) == before
    assert sandbox.parse("keep", str(120 * MIB).encode()).text == "kept"
    assert pid(sandbox) != before


def test_it_does_not_matter_which_thread_starts_a_process() -> None:
    with planted() as sandbox:
        with ThreadPoolExecutor(1) as short_lived:
            first = short_lived.submit(pid, sandbox).result()
        time.sleep(0.1)
        assert pid(sandbox) == first


def test_threads_share_the_processes() -> None:
    with planted(children=2) as sandbox, ThreadPoolExecutor(8) as threads:
        texts = [str(number) * 5000 for number in range(200)]
        answers = [threads.submit(sandbox.parse, "echo", text.encode()) for text in texts]
        pids = {pid(sandbox) for _ in range(3)}
        assert [answer.result().text for answer in answers] == texts
        assert len(pids) <= 2


def test_ctrl_c_is_for_the_worker(sandbox: Sandbox) -> None:
    before = pid(sandbox)
    os.kill(before, signal.SIGINT)
    assert pid(sandbox) == before


def test_a_machine_that_starts_no_process_is_no_trouble_of_a_document(caplog: pytest.LogCaptureFixture) -> None:
    with Sandbox(1, child=("-c", "raise SystemExit('no parser on this machine')")) as sandbox:
        for _ in range(2):
            with pytest.raises(SandboxUnavailable, match="no parser on this machine"):
                sandbox.parse("a.md", b"a")
    with Sandbox(1, child=("-c", "print('nonsense' * 9)")) as sandbox, pytest.raises(SandboxUnavailable):
        sandbox.parse("a.md", b"a")


def test_closing_ends_what_is_under_way() -> None:
    sandbox = Sandbox(1, child=(SCRIPT,))
    running = pid(sandbox)
    with ThreadPoolExecutor(2) as threads:
        under_way = [threads.submit(sandbox.parse, "rest", b"60") for _ in range(2)]
        time.sleep(0.3)
        started = time.monotonic()
        sandbox.close()
        assert time.monotonic() - started < 6
        for future in under_way:
            with pytest.raises(SandboxUnavailable, match="closed"):
                future.result()
    assert gone(running)
    sandbox.close()


@pytest.mark.parametrize("name", ["rest", "compute"])
def test_no_process_outlives_a_killed_worker(name: str) -> None:
    script = (
        "import sys; from domicile_ingest.parsing.sandbox import Sandbox\n"
        f"sandbox = Sandbox(1, child=({SCRIPT!r},))\n"
        "print(sandbox.parse('pid', b'').text, flush=True)\n"
        f"sandbox.parse({name!r}, b'9')"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        child = int(worker.stdout.readline())
        time.sleep(0.3)
        assert not gone(child)
        worker.kill()
        worker.wait()
        assert eventually(lambda: gone(child), 2)


@pytest.mark.parametrize(
    "name",
    [
        "a\nb\r\n.md",
        "../../etc/passwd",
        "/",
        "",
        "nul\x00byte.md",
        "half \udcff pair.txt",
        "x" * 10_000 + ".md",
        "{}\\\"'.md",
    ],
)
def test_a_name_is_data(name: str) -> None:
    with Sandbox(1) as sandbox:
        assert sandbox.parse(name, b"some words") == parse(name, b"some words")


def test_small_documents_are_not_slowed_down_and_big_ones_not_much(sandbox: Sandbox) -> None:
    times = []
    for _ in range(50):
        started = time.perf_counter()
        sandbox.parse("echo", b"x")
        times.append(time.perf_counter() - started)
    assert sorted(times)[10] < 0.001
    with planted(Limits(memory=400 * MIB)) as roomy:
        started = time.perf_counter()
        roomy.parse("pid", bytes(50_000_000))
        assert time.perf_counter() - started < 5
