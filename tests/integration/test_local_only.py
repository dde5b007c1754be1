"""The product as it is used on one machine, in a network namespace with loopback alone: nothing so much as tries to leave.

The witness is the kernel, which counts what it has no route for (see ``local_only``), so native code and look-ups of names
are seen, too. Where a machine refuses namespaces, ``strace`` is the witness; where it has neither, nothing is proved, and
the tests are skipped with the reason.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import local_only
import pytest
from local_only import PLANTS
from residency import CANTEEN, DOCUMENTS, PARKING, REACTOR, WARRANTY, routed, sink

NAMESPACE = ("unshare", "--map-root-user", "--net", "--mount")
STRACE = ("strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg")
ASKED = "ask When does the canteen open?"
SECRET_LABEL = "---\ndomicile:\n  label: {regions: [eu, local], sensitivity: confidential, hosted: false}\n---\n"
OUT_THERE = {"api_base": '"https://192.0.2.7/v1"', "api_key": '{ env = "PATH" }'}  # some secret that is there
_ADDRESS = re.compile(r'(?:inet_addr\("|inet_pton\(AF_INET6, ")([0-9a-f:.]+)"')


@functools.cache
def refused(witness: str) -> str | None:
    """Why a witness is not to be had on this machine."""
    command = (*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt") if witness == "namespace" else (*STRACE, "true")
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip()


def observed(witness: str, trace: Path, *arguments: str | Path) -> dict[str, Any]:
    """The steps of ``local_only`` under a witness; each with the attempts until its end, as far as that one can tell."""
    if (reason := refused(witness)) is not None:
        pytest.skip(f"NOT PROVED HERE: no {witness}: {reason}")
    runner = [sys.executable, local_only.__file__]
    if witness == "namespace":
        done = subprocess.run([*NAMESPACE, *runner, *arguments], capture_output=True, text=True, check=True)
        told: dict[str, Any] = json.loads(done.stdout)
        return told
    command = [*STRACE, "-o", trace, *runner, "--traced", *arguments]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    reached = [address for address in _ADDRESS.findall(trace.read_text()) if not re.match(r"127\.|::1$|::$", address)]
    return {name: {**step, "attempts": len(reached)} for name, step in told.items()}


def best_witness() -> str:
    return "namespace" if refused("namespace") is None else "strace"


@pytest.mark.parametrize("witness", ["namespace", "strace"])
@pytest.mark.parametrize("plant", PLANTS)
def test_the_witness_sees_whatever_tries_to_leave(witness: str, plant: str, tmp_path: Path) -> None:
    step = observed(witness, tmp_path / "trace", "plant", plant)[plant]
    assert (step["attempts"] > 0) is (plant != "loopback"), step


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents, and a small suite over them."""
    path = tmp_path_factory.mktemp("source")
    (path / "documents").mkdir()
    (path / "suite" / "qrels").mkdir(parents=True)
    rows = {"canteen": CANTEEN, "reactor": REACTOR, "parking": PARKING, "warranty": WARRANTY}
    for name, text in rows.items():
        (path / "documents" / f"{name}.md").write_text(f"{SECRET_LABEL}# {name.title()}\n\n{text}\n")
    corpus = [json.dumps({"_id": name, "title": name.title(), "text": text}) for name, text in rows.items()]
    queries = [json.dumps({"_id": f"q-{name}", "text": f"What of the {name}?"}) for name in rows]
    judgements = ["query-id\tcorpus-id\tscore", *(f"q-{name}\t{name}\t1" for name in rows)]
    for file, lines in (("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels/test.tsv", judgements)):
        (path / "suite" / file).write_text("\n".join([*lines, ""]))
    return path


def test_what_runs_here_never_tries_to_leave(source: Path, models_dir: Path, tmp_path: Path) -> None:
    steps = observed(best_witness(), tmp_path / "trace", "suite", made(tmp_path, models_dir), source)
    assert {name: step for name, step in steps.items() if step["exit"] != 0} == {}
    assert {name: step["attempts"] for name, step in steps.items() if step["attempts"]} == {}
    asked, served = steps[ASKED]["told"], steps["serve /v1/chat/completions"]["told"]["domicile"]
    assert (asked["decision"]["route"], served["decision"]["route"]) == ("local", "local")
    assert CANTEEN in asked["answer"]
    assert WARRANTY in served["answer"]
    assert steps["serve"]["told"]["ready"] is True
    assert steps["eval run"]["told"]["n"] == 4
    assert steps["audit verify"]["told"]["entries"] >= 3


@pytest.mark.parametrize("cleared", [False, True])
def test_with_a_sink_only_what_is_cleared_tries(cleared: bool, source: Path, models_dir: Path, tmp_path: Path) -> None:
    """The broker's own attempt is what the witness sees, and the answer is right without its success."""
    documents = shutil.copytree(source, tmp_path / "source") / "documents"
    if cleared:
        (documents / "canteen.md").write_text(DOCUMENTS["canteen.md"])
    home = made(tmp_path, models_dir, sink("acme-eu", "", **OUT_THERE) + routed("acme-eu", "local"))
    step = observed(best_witness(), tmp_path / "trace", "questions", home, documents.parent)[ASKED]
    told = step["told"]
    assert (step["attempts"] > 0) is cleared
    assert told["degraded"] == ("provider" if cleared else None)
    assert told["decision"]["route"] == "local"
    assert [denied["sink"] for denied in told["decision"]["denied"]] == ["acme-eu"]
    assert CANTEEN in told["answer"]


def made(path: Path, models: Path, settings: str = "") -> Path:
    home = path / "home"
    home.mkdir()
    (home / "models").symlink_to(models)
    (home / "domicile.toml").write_text(settings)
    return home
