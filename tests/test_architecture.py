"""The rules that keep the house in order, as far as `import-linter` (see pyproject.toml) does not hold them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "domicile": ROOT / "src" / "domicile",
    "domicile_ingest": ROOT / "ingest" / "domicile_ingest",
    "domicile_eval": ROOT / "eval" / "domicile_eval",
}
FILES = sorted(file for folder in PACKAGES.values() for file in folder.rglob("*.py"))
HOMES = {
    "faiss": {"adapters/faiss.py"},
    "tantivy": {"adapters/tantivy.py"},
    "sqlite3": {"adapters/database_file.py", "adapters/sqlite.py"},
    "cryptography": {"adapters/audit_lines.py", "audit_verifier.py"},
    "onnxruntime": {"models/runtime.py"},
    "onnxruntime_genai": {"models/runtime.py"},
    "openvino": {"models/runtime.py"},
    "tokenizers": {"adapters/tokenizing.py", "models/minilm.py"},
    "sentencex": {"adapters/sentencex.py"},
    "uvicorn": {"commands/serve.py"},
    "prometheus_client": {"observability.py"},
    "pypdfium2": {"parsing/pdf.py"},
    "docx": {"parsing/docx.py", "parsing/docx_apart.py", "parsing/docx_hidden.py", "parsing/docx_lists.py"},
    "openpyxl": {"parsing/xlsx.py"},
    "pptx": {"parsing/pptx.py", "parsing/pptx_text.py"},
    "striprtf": {"parsing/rtf.py"},
    "olefile": {"parsing/ole.py"},
    "lxml": {"parsing/archive.py"},
    "ir_measures": {"metrics.py"},
    "ragas": {"ragas_suite.py"},
    "scipy": {"statistics.py"},
    "jinja2": {"reports/html.py"},
    "litellm": {"adapters/hosted.py"},
    "openai": {"adapters/hosted.py"},
    "pybreaker": {"adapters/hosted.py"},
    "httpx": {"adapters/egress.py"},
    "httpcore": {"adapters/egress.py", "adapters/egress_sockets.py"},
    "certifi": {"adapters/egress.py"},
}
"""The one home of each vendor."""
EXECUTABLE = {"pickle", "marshal", "shelve", "joblib", "dill", "cloudpickle"}
SOCKETS = {
    "aiohttp", "ftplib", "http.client", "httpcore", "httpx", "imaplib", "poplib", "requests", "smtplib", "socket", "ssl",
    "urllib.request", "urllib3", "xmlrpc.client",
}  # fmt: skip
CONNECTING = {"create_connection", "create_datagram_endpoint", "open_connection", "sock_connect", "urlopen"}
OPENERS = {
    "adapters/egress.py": "the broker: requests and certificates",
    "adapters/egress_sockets.py": "the broker: connections",
    "commands/serve.py": "the socket that it listens on",
}
"""The files that may open a socket, and for what."""


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
    return found


def name_of(file: Path) -> str:
    folder = next(folder for folder in PACKAGES.values() if file.is_relative_to(folder))
    return file.relative_to(folder).as_posix()


@pytest.mark.parametrize("vendor", HOMES)
def test_a_vendor_has_one_home(vendor: str) -> None:
    found = {name_of(file) for file in FILES if any(module.split(".")[0] == vendor for module in imports(file))}
    assert found, f"nothing imports {vendor}: remove it from the list"
    assert found <= HOMES[vendor]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_executable_is_loaded_from_data(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not {module.split(".")[0] for module in imports(file)} & EXECUTABLE
    assert "trust_remote_code" not in text
    assert "yaml.load(" not in text or "SafeLoader" in text
    assert "torch.load(" not in text


def test_only_the_broker_opens_connections() -> None:
    assert {name_of(file) for file in FILES if imports(file) & SOCKETS} == OPENERS.keys()
    for file in FILES:
        used = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
        assert not used & CONNECTING, file
        assert not used & {"connect_tcp", "getaddrinfo"} or name_of(file) in OPENERS, file


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_is_about_one_concept_and_no_grab_bag(file: Path) -> None:
    assert file.stem not in {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_module_says_what_it_is(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))


def test_importing_everything_that_serves_loads_no_model_library() -> None:
    models = ("torch", "transformers", "sentence_transformers", "onnxruntime", "openvino")
    heavy = (*models, "litellm", "ragas", "faiss", "tantivy")
    script = (
        "import sys, domicile.cli, domicile.bootstrap, domicile.commands.serve, domicile.api.app\n"
        "import domicile_ingest.cli, domicile_eval.cli\n"
        f"print(sorted(set({heavy!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[]"


def test_tests_mock_none_of_our_code() -> None:
    for file in sorted((ROOT / "tests").rglob("*.py")):
        modules = imports(file)
        assert not any(module.startswith(("unittest.mock", "mock", "pytest_mock")) for module in modules), file
