"""No credential stands in the repository: every file that git tracks, or would, is read for what looks like one."""

from __future__ import annotations

import gzip
import io
import math
import re
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Tokens that say themselves what they are
_ISSUED = {
    "private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d",
    "AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "OpenAI or Anthropic key": r"\bsk-(?:[a-z]+-)*[A-Za-z0-9_]{20,}",
    "GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{22,}",
    "GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "Google key": r"\bAIza[0-9A-Za-z_-]{35}",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "package registry token": r"\bnpm_[A-Za-z0-9]{36}|\bpypi-AgE[A-Za-z0-9_-]{20,}",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*",
    "key of this service": r"\bdk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}",
    "password in an address": r"\b[a-z][a-z0-9+.-]*://[^/\s:@\"'<>{}$]+:[^/\s:@\"'<>{}$]{3,}@[\w.\[]",
}
# A name that ends in such a word, and a literal: quoted anywhere, or bare as the whole rest of a line of settings.
# The end counts: `tokenizer = "…"`, `max_tokens: 48` and `token_hex(6)` are none.
_SECRET_WORD = (
    r"(?:passw(?:or)?d|passphrase|pwd|secret|token|(?:api|access|private|signing|secret|auth)[_-]?key"
    r"|credentials?|authorization)"
)
_QUOTED = re.compile(rf"(?i){_SECRET_WORD}[\"']?\s*(?::\s*\w+\s*)?(?:[:=]|:=|=>)\s*[rbf]?[\"']([^\"'\s]{{6,}})[\"']")
_BARE = re.compile(
    rf"(?im)^[ \t]*(?:export[ \t]+|ENV[ \t]+|ARG[ \t]+|-[ \t]+)?[\w.-]*{_SECRET_WORD}[ \t]*[:=][ \t]*"
    r"([^\s\"'#]{6,})[ \t]*$"
)
_SETTINGS = {".toml", ".yaml", ".yml", ".ini", ".cfg", ".conf", ".env", ".properties", ".sh", ""}
# What stands where a credential would: a reference, a template, an ellipsis
_REFERENCE = re.compile(r"[$<{(%…*]|\.\.\.|^(?:https?://|/|\./|os\.environ|env[:.])|^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+$")
# Random text under a name that only might be a secret's
_MAYBE = re.compile(
    r"(?i)(?:key|token|secret|auth|pass|cred|salt|signature|bearer)[\w.-]*[\"']?\s*[:=]\s*"
    r"[\"']?([A-Za-z0-9+/=_-]{20,})(?![\w.])"
)
_BEARER = re.compile(r"(?i)\bbearer\s+([A-Za-z0-9+/=_.-]{20,})")


class Finding(NamedTuple):
    path: str
    line: int
    kind: str
    start: str
    """The first characters only: a report is read by more people than the file."""


# (path, kind, start of what was found) → why it is none. Short: a fake in a test is better made at run time.
ALLOWED: dict[tuple[str, str, str], str] = {}


def looks_random(text: str) -> bool:
    """Whether letters and digits are mixed as in random text; words and identifiers repeat themselves more."""
    counts = Counter(text)
    bits = -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
    if re.fullmatch(r"[0-9a-fA-F-]+", text):
        return len(text) >= 32 and bits > 3.0 and any(c.isdigit() for c in text)
    cases = any(c.islower() for c in text) + any(c.isupper() for c in text) + any(c.isdigit() for c in text)
    return bits > 3.7 and cases == 3


def scan(path: str, text: str) -> Iterator[Finding]:
    """What looks like a credential in a text."""

    def finding(kind: str, start: int, shown: str) -> Finding:
        return Finding(path, text.count("\n", 0, start) + 1, kind, shown)

    for kind, pattern in _ISSUED.items():
        for found in re.finditer(pattern, text):
            yield finding(kind, found.start(), found[0][:12])
    for literals in (_QUOTED, _BARE) if Path(path).suffix in _SETTINGS else (_QUOTED,):
        for found in literals.finditer(text):
            if not _REFERENCE.search(found[1]):
                yield finding("literal secret", found.start(1), found[1][:4])
    for values in (_MAYBE, _BEARER):
        for found in values.finditer(text):
            if looks_random(found[1]):
                yield finding("random text", found.start(1), found[1][:4])


def readable(path: Path) -> Iterator[str]:
    """The text of a file; of an archive, such as an office document, that of its members."""
    data = path.read_bytes()
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                yield archive.read(member).decode("utf-8", errors="replace")
    elif data.startswith(b"\x1f\x8b"):
        yield gzip.decompress(data).decode("utf-8", errors="replace")
    else:
        yield data.decode("utf-8", errors="replace")


def repository_files() -> list[Path]:
    """Tracked files, and those that the next `git add` would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file() and not path.is_symlink()]


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    found: list[Finding] = []
    seen: set[str] = set()
    for path in repository_files():
        for text in readable(path):
            # Every office document carries the same template parts
            if text not in seen:
                seen.add(text)
                found += scan(path.relative_to(ROOT).as_posix(), text)
    return found


def test_the_repository_holds_no_credential(findings: list[Finding]) -> None:
    unknown = [f for f in findings if (f.path, f.kind, f.start) not in ALLOWED]
    assert not unknown, "\n".join(f"{f.path}:{f.line}: {f.kind}: {f.start}…" for f in unknown)


def test_every_exception_is_still_needed(findings: list[Finding]) -> None:
    assert set(ALLOWED) <= {(f.path, f.kind, f.start) for f in findings}


def test_the_scan_reads_the_repository() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in repository_files()}
    assert {"pyproject.toml", "src/domicile/cli.py", "Dockerfile", "docker-compose.yml"} <= names


# Put together here, so that this file holds none itself
_RANDOM = "q7Zt2mXv9Kp4Rw8s" + "Lb3Nc6Yd1Hf5Jg0T" + "uEaQiWoPzSx"
PLANTED = {
    "private key": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "encrypted private key": "-----BEGIN ENCRYPTED " + "PRIVATE KEY-----",
    "AWS key": "AKIA" + "Z7XK3QPLM2N4R8TV",
    "OpenAI key": "sk-" + "proj-" + _RANDOM,
    "Anthropic key": "sk-" + "ant-api-" + _RANDOM,
    "GitHub": "ghp_" + _RANDOM[:36],
    "GitHub, fine-grained": "github_pat_" + _RANDOM,
    "GitLab": "glpat-" + _RANDOM[:20],
    "Slack": "xoxb-" + "123456789012-" + _RANDOM[:12],
    "Google key": "AIza" + _RANDOM[:35],
    "Hugging Face": "hf_" + _RANDOM[:34],
    "npm": "npm_" + _RANDOM[:36],
    "JWT": "eyJ" + _RANDOM[:20] + ".eyJ" + _RANDOM[:20] + "." + _RANDOM[:10],
    "key of this service": "dk_" + "3f2a9c41b7d0" + "_" + _RANDOM,
    "password in an address": "postgres" + "://admin:" + "hunter2@db.internal/x",
    "quoted password": "pass" + 'word = "correct-horse"',
    "password in a mapping": '{"db_pass' + 'word": "hunter22"}',
    "typed assignment": "API_" + 'KEY: str = "abcdef123456"',
    "keyword argument": "connect(user='me', pass" + "wd='hunter22')",
    "bare setting": "SEC" + "RET=hunter22",
    "setting of an image": "ENV ADMIN_PASS" + "WORD=hunter22",
    "environment list of compose": "  - DB_PASS" + "WORD=hunter22",
    "YAML setting": "  auth_to" + "ken: hunter22",
    "random text, key-like name": "signing_ke" + f'y_v2 = "{_RANDOM}"',
    "random hex, key-like name": "hmac_ke" + 'y_material = "' + "9f86d081884c7d659a2feaa0c55ad015" + '"',
    "header": "curl -H 'Authorization: Bear" + f"er {_RANDOM}'",
}
HARMLESS = [
    'api_key = { env = "ACME_KEY" }',
    'password = "${DB_PASSWORD}"',
    "TOKEN=$(cat /run/secrets/token)",
    'token = "<your token>"',
    'api_key="ACME_KEY"',
    'tokenizer = "tokenizer.json"',
    "max_tokens: 4800000",
    "secrets.token_urlsafe(32)",
    "Authorization: Bearer …",
    "Authorization: Bearer $KEY",
    "    --hash=sha256:" + "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    '"sha256": "' + "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" + '"',
    "key=lambda entry: entry.name_of_the_collection",
    "see http://127.0.0.1:8000/v1 and ops@example.org",
]


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_credential_is_found(kind: str) -> None:
    found = list(scan("deploy/settings.toml", f"first line\n{PLANTED[kind]}\n"))
    assert found
    assert found[0].line == 2
    assert all(_RANDOM not in f.start for f in found), "the report repeats the secret"


@pytest.mark.parametrize("text", HARMLESS)
def test_a_reference_to_a_credential_is_none(text: str) -> None:
    assert not list(scan("deploy/settings.toml", text))


def test_archives_are_opened(tmp_path: Path) -> None:
    document = tmp_path / "letter.docx"
    with zipfile.ZipFile(document, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", PLANTED["GitHub"])
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(PLANTED["Slack"].encode()))
    assert [f.kind for path in (document, packed) for text in readable(path) for f in scan(path.name, text)] == [
        "GitHub token", "Slack token",
    ]  # fmt: skip
