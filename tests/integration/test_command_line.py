"""The real command, in its own process, with the real models: what a user and a script see."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DOMICILE = Path(sys.executable).with_name("domicile")
LEAVE = "Parental leave lasts 26 weeks and is paid in full."


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object that stdout holds."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs ``domicile`` in an environment of its own."""

    home: Path

    def __call__(self, *arguments: str | Path, **environment: str) -> Done:
        clean = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HF_HUB_OFFLINE": "1", **environment}
        command = [str(DOMICILE), "--home", str(self.home), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=clean, check=False, timeout=120, cwd="/")
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def shell(tmp_path: Path, models_dir: Path) -> Shell:
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").symlink_to(models_dir)
    return Shell(home)


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    return write_documents(tmp_path / "documents")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Shell:
    """A home that holds the documents already, for tests that change nothing."""
    home = tmp_path_factory.mktemp("ready") / "home"
    home.mkdir()
    (home / "models").symlink_to(models_dir)
    shell = Shell(home)
    assert shell("ingest", "run", write_documents(home.parent / "documents"), "--collection", "docs").code == 0
    return shell


def write_documents(folder: Path) -> Path:
    (folder / "board").mkdir(parents=True)
    (folder / "leave.md").write_text(f"# Leave\n\n{LEAVE} Apply eight weeks ahead.\n", encoding="utf-8")
    (folder / "pumps.html").write_text(
        "<html><nav>Home</nav><h1>Pumps</h1><p>Pump P-40 is checked every 12 weeks.</p>", encoding="utf-8"
    )
    (folder / "prices.csv").write_text("part,price\nP-40 pump,1200 EUR\nV-2 valve,310 EUR\n", encoding="utf-8")
    (folder / "board" / "minutes.txt").write_text(
        "The board approved the Alder project with a budget of 4 million euros.\n", encoding="utf-8"
    )
    (folder / "board" / "minutes.txt.label.toml").write_text(
        'sensitivity = "restricted"\ngroups = ["board"]\n', encoding="utf-8"
    )
    return folder


def test_from_a_folder_to_a_cited_answer(shell: Shell, documents: Path) -> None:
    ran = shell("ingest", "run", documents, "--collection", "docs", "--json")
    assert ran.code == 0, ran.err
    report = ran.json
    assert (report["collection"], report["generation"], report["previous"]) == ("docs", 1, None)
    assert report["documents"] == {"added": 4, "changed": 0, "unchanged": 0, "deleted": 0, "failed": 0}
    assert report["embedded"] == report["chunks"] > 0

    again = shell("ingest", "run", documents, "--collection", "docs", "--json").json
    assert (again["generation"], again["embedded"], again["documents"]["unchanged"]) == (1, 0, 4)

    found = shell("search", "how long is parental leave", "--collection", "docs", "--json").json
    assert found["hits"][0]["document"] == "leave.md"
    hit = found["hits"][0]
    assert hit["label"]["sensitivity"] == "restricted"  # nobody said otherwise

    asked = shell("--json", "ask", "How long does parental leave last?", "--collection", "docs")
    assert asked.code == 0, asked.err
    answer = asked.json
    assert "26 weeks" in answer["answer"]
    assert answer["decision"]["route"] == "local"
    assert answer["grounded"] in ("kept", "replaced")
    assert answer["usage"]["prompt_tokens"] > 50
    assert answer["citations"][0]["quote"] == LEAVE
    assert answer["citations"][0]["verified"] is True
    assert (documents / "leave.md").read_text(encoding="utf-8")[answer["citations"][0]["start"] :][
        : len(LEAVE)
    ] == LEAVE


def test_every_format_answers_and_groups_hold(ready: Shell) -> None:
    for question, words in (
        ("How often is pump P-40 checked?", "every 12 weeks"),
        ("What does the V-2 valve cost?", "310 EUR"),
        ("Which budget did the board approve for the Alder project?", "4 million euros"),
    ):
        answer = ready("ask", question, "--collection", "docs", "--mode", "extractive", "--json").json
        assert words in answer["answer"], question
        assert (answer["decision"]["route"], answer["decision"]["sink"]) == ("extractive", None)
    question = "Which budget did the board approve for the Alder project?"
    assert "4 million" not in ready("ask", question, "--collection", "docs", "--groups", "staff").out
    assert "4 million" in ready("ask", question, "--collection", "docs", "--groups", "staff,board").out


def test_a_follow_up_takes_up_what_was_asked_before(ready: Shell) -> None:
    flags = ("--collection", "docs", "--mode", "extractive", "--json")
    before = ("--after", "Hello!", "--after", "Where is pump P-40?")
    answer = ready("ask", "How often is it checked?", *before, *flags).json
    assert answer["asked"] == "How often is it checked? (P-40)"
    assert "every 12 weeks" in answer["answer"]
    assert "asked" not in ready("ask", "How often is it checked?", *flags).json


def test_failures_are_listed_and_the_rest_goes_on(shell: Shell, documents: Path) -> None:
    (documents / "empty.md").touch()
    (documents / "image.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20)
    (documents / "torn.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type /Cat")
    ran = shell("ingest", "run", documents, "--collection", "docs", "--json")
    assert ran.code == 3
    assert {failure["document"] for failure in ran.json["failures"]} == {"empty.md", "image.txt", "torn.pdf"}
    assert all(failure["kind"] and failure["reason"] for failure in ran.json["failures"])
    assert ran.json["documents"]["added"] == 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("search", "x", "--collection", "nowhere"), "no collection 'nowhere'"),
        (("ask", "x", "--collection", "no/where"), "collection:"),
        (("ask", "  ", "--collection", "docs"), "is empty"),
        (("ask", "word " * 400, "--collection", "docs"), "word pieces"),
        (("search", "x", "--collection", "docs", "--top", "0"), "top_k"),
        (("ask", "x", "--collection", "docs", "--regions", "EU"), "regions"),
        (("ingest", "run", "nothing-here", "--collection", "docs"), "o such file or"),
        (("generations", "rollback", "--collection", "docs", "--to", "9"), "no generation 9"),
        (("keys", "revoke", "nobody"), "there is no key"),
        (("search", "x"), "--collection"),
        (("search", "x", "--collection", "docs", "--mode", "magic"), "hybrid"),
        (("generations",), "list|verify|rollback"),
        (("serve", "--host", "0.0.0.0"), "without keys"),
        (("serve", "--port", "99999"), "--port"),
        (("frobnicate",), "no command 'frobnicate'"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(ready: Shell, arguments: tuple[str, ...], says: str) -> None:
    done = ready(*arguments, "--json")
    assert done.code == 2
    assert says in done.json["error"]["message"]
    assert len(done.err.strip().splitlines()) == 1
    assert says in done.err


def test_without_json_a_failure_leaves_stdout_empty(ready: Shell) -> None:
    for arguments in (("search", "x"), ("search", "x", "--collection", "nowhere"), ("frobnicate",)):
        done = ready(*arguments)
        assert (done.code, done.out) == (2, "")


def test_odd_outputs_are_no_crash(ready: Shell) -> None:
    """Closed, full, left by its reader, or of an encoding that lacks the letters."""
    base = f"{DOMICILE} --home {ready.home}"

    def bash(script: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "PYTHONIOENCODING": "ascii"}
        return subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60, env=environment
        )

    assert bash(f"{base} collections >&-").returncode == 0
    for flags in ("", "--json"):
        full = bash(f"{base} collections {flags} >/dev/full")
        assert (full.returncode, len(full.stderr.splitlines())) == (1, 1)
        assert "standard output" in full.stderr
    for flags in ("collections", "--help", "collections --help"):
        left = bash(f"{base} {flags} | true; exit ${{PIPESTATUS[0]}}")
        assert (left.returncode, left.stderr) == (0, "")
    unknown = bash(f"{base} keys revoke \u00e9\u4e00 --json")
    assert unknown.returncode == 2
    assert "\u00e9\u4e00" in json.loads(unknown.stdout)["error"]["message"]
    found = bash(f"{base} search 'parental leave' --collection docs")
    assert (found.returncode, found.stderr) == (0, "")
    assert "leave.md \\xb7 Leave" in found.stdout


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[modles]\n", "unknown key 'modles'"),
        ("[answering]\nqueue = 0\n", "answering.queue"),
        ("[models]\nllm = 7\n", "models.llm"),
        ("x", "domicile.toml"),
        ('[collections."A B"]\n', "collections.A B"),
        ("[collections.docs.label]\nregions = ['EU']\n", "collections.docs.label.regions"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_key(shell: Shell, toml: str, says: str) -> None:
    (shell.home / "domicile.toml").write_text(toml, encoding="utf-8")
    done = shell("collections")
    assert (done.code, len(done.err.strip().splitlines())) == (2, 1)
    assert says in done.err


def test_a_taken_port_and_an_unwritable_home_say_what_to_do(shell: Shell, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = shell("serve", "--port", str(taken.getsockname()[1]))
    assert done.code == 2
    assert "--port" in done.err
    (tmp_path / "file").touch()
    done = Shell(tmp_path / "file" / "home")("keys", "create")
    assert done.code == 2
    assert "--home" in done.err


def test_a_damaged_embedder_is_exit_6_and_names_the_file(tmp_path: Path, models_dir: Path, documents: Path) -> None:
    shell = Shell(tmp_path / "home")
    shutil.copytree(models_dir / "all-minilm-l6-v2", shell.home / "models" / "all-minilm-l6-v2")
    shutil.copytree(models_dir / "smollm2-135m", shell.home / "models" / "smollm2-135m")
    assert shell("models", "verify", "--json").json["ok"] is True
    assert shell("ingest", "run", documents, "--collection", "docs").code == 0
    graph = shell.home / "models" / "all-minilm-l6-v2" / "model.onnx"
    with graph.open("r+b") as stream:
        stream.seek(5_000_000)
        stream.write(b"\xff\xfe\xfd")
    for arguments in (
        ("ask", "x", "--collection", "docs"),
        ("serve", "--port", "0"),
        ("ingest", "run", documents, "--collection", "docs"),
    ):
        done = shell(*arguments)
        assert done.code == 6
        assert "model.onnx" in done.err
    verified = shell("models", "verify", "--json")
    assert verified.code == 6
    assert [model["sha256_ok"] for model in verified.json["models"]] == [False, True]


def test_a_damaged_language_model_answers_with_quotes(tmp_path: Path, models_dir: Path, documents: Path) -> None:
    shell = Shell(tmp_path / "home")
    shutil.copytree(models_dir, shell.home / "models")
    shell("ingest", "run", documents, "--collection", "docs")
    weights = shell.home / "models" / "smollm2-135m" / "model.onnx.data"
    weights.write_bytes(weights.read_bytes()[:-7])
    done = shell("ask", "How long does parental leave last?", "--collection", "docs", "--json")
    assert done.code == 0
    assert (done.json["degraded"], done.json["decision"]["route"]) == ("model", "extractive")
    assert LEAVE in done.json["answer"]
    assert "model.onnx.data" in done.err


def test_rollback_brings_back_what_was(shell: Shell, documents: Path) -> None:
    shell("ingest", "run", documents, "--collection", "docs")
    (documents / "leave.md").write_text("# Leave\n\nParental leave lasts 13 weeks.\n", encoding="utf-8")
    second = shell("ingest", "run", documents, "--collection", "docs", "--json").json
    assert (
        second["generation"],
        second["previous"],
        second["documents"]["changed"],
        second["documents"]["unchanged"],
    ) == (2, 1, 1, 3)
    question = ("ask", "How long does parental leave last?", "--collection", "docs", "--mode", "extractive")
    assert "13 weeks" in shell(*question).out
    assert "26 weeks" not in shell(*question).out
    assert shell("generations", "rollback", "--collection", "docs", "--to", "1").code == 0
    assert "26 weeks" in shell(*question).out
    third = shell("ingest", "run", documents, "--collection", "docs", "--json").json
    assert (third["generation"], third["previous"]) == (3, 1)
    assert shell("generations", "verify", "--collection", "docs").code == 0
    rows = shell("generations", "list", "--collection", "docs", "--json").json["generations"]
    assert [(row["generation"], row["parent"], row["current"]) for row in rows] == [
        (1, None, False),
        (2, 1, False),
        (3, 1, True),
    ]


def test_a_key_is_shown_once_and_stored_hashed(shell: Shell) -> None:
    made = shell("keys", "create", "--tenant", "acme", "--groups", "hr,board", "--json").json
    stored = (shell.home / "state" / "keys.json").read_text(encoding="utf-8")
    assert made["key"].removeprefix("dk_")[-20:] not in stored
    assert made["id"] in stored
    assert (shell.home / "state" / "keys.json").stat().st_mode & 0o777 == 0o600


def test_help_shows_examples_for_every_command(shell: Shell) -> None:
    assert shell("--help").code == 0
    for command in ("ask", "search", "serve", "collections"):
        assert "examples:" in shell(command, "--help").out
    assert shell().code == 2
