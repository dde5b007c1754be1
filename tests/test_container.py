"""The image and the compose file, as far as they can be judged without building; `make image-check` builds it."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from domicile.bootstrap import Home
from domicile.config import Models, Settings
from domicile.errors import Forbidden

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = ROOT / "docker-compose.yml"
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))


# --- linters


def hadolint(dockerfile: str) -> subprocess.CompletedProcess[str]:
    # style is the lowest threshold: every finding counts
    command = [BIN / "hadolint", "--no-color", "--failure-threshold", "style", "-"]
    return subprocess.run(command, input=dockerfile, cwd=ROOT, capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing() -> None:
    done = hadolint(DOCKERFILE.read_text())
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("FROM python:3.11-slim-bookworm AS python", "FROM python AS python", "DL3006"),
        ("WORKDIR /build", "WORKDIR build", "DL3000"),
        ("USER 10001:10001", "USER root", "DL3002"),
    ],
)
def test_hadolint_finds_a_planted_error(old: str, new: str, rule: str) -> None:
    text = DOCKERFILE.read_text()
    assert old in text
    done = hadolint(text.replace(old, new))
    assert done.returncode
    assert rule in done.stdout


def compose_schema(path: Path) -> subprocess.CompletedProcess[str]:
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", path]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_compose_file_fits_its_schema() -> None:
    done = compose_schema(COMPOSE)
    assert done.returncode == 0, done.stdout


def test_the_compose_schema_finds_a_planted_error(tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(COMPOSE.read_text().replace("    ports:", "    prots:"))
    done = compose_schema(broken)
    assert done.returncode
    assert "prots" in done.stdout


@pytest.mark.parametrize(("shell", "script"), [("sh", "start-api"), ("bash", "image-check")])
def test_the_scripts_are_executable_and_parse(shell: str, script: str) -> None:
    path = ROOT / "deploy" / script
    assert path.stat().st_mode & stat.S_IXUSR
    subprocess.run([shell, "-n", path], check=True)


# --- the compose file


def weaknesses(compose: dict[str, Any]) -> list[str]:
    """What in a compose file gives a container more than it needs."""
    found = []
    for name, service in compose["services"].items():
        reasons = chain(_privileges(service), _ports(service), _folders(service, compose["volumes"]), _secrets(service))
        found += [f"{name}: {reason}" for reason in reasons]
    return found


def _privileges(service: dict[str, Any]) -> Iterator[str]:
    for key in ("network_mode", "pid", "ipc", "userns_mode", "uts"):
        if str(service.get(key, "")).startswith(("host", "service:", "container:")):
            yield f"{key} of the host or of another container"
    unwanted = ("privileged", "cap_add", "devices", "device_cgroup_rules", "volumes_from", "user", "env_file")
    yield from (key for key in unwanted if service.get(key))
    required = {"cap_drop": ["ALL"], "read_only": True, "security_opt": ["no-new-privileges:true"]}
    yield from (f"{key} is not {value}" for key, value in required.items() if service.get(key) != value)
    yield from (f"no {key}" for key in ("mem_limit", "memswap_limit", "cpus", "pids_limit") if not service.get(key))


def _ports(service: dict[str, Any]) -> Iterator[str]:
    ports = map(str, service.get("ports", []))
    yield from (f"{port} on every address" for port in ports if not port.startswith("127.0.0.1:"))


def _folders(service: dict[str, Any], named: dict[str, Any]) -> Iterator[str]:
    for volume in service.get("volumes", []):
        if isinstance(volume, dict):
            source, read_only = volume["source"], bool(volume.get("read_only"))
        else:
            source, read_only = volume.split(":")[0], volume.endswith(":ro")
        if "docker.sock" in source:
            yield "the engine's socket"
        if source not in named and not read_only:
            yield f"a folder of the host to write in: {source}"


def _secrets(service: dict[str, Any]) -> Iterator[str]:
    for entry in service.get("environment", {}):
        if re.search(r"(?i)key|token|secret|passw|credential", entry.split("=")[0]):
            yield f"a secret in the environment: {entry}"


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def test_the_containers_get_no_more_than_they_need(compose: dict[str, Any]) -> None:
    assert weaknesses(compose) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("privileged", True),
        ("network_mode", "host"),
        ("pid", "host"),
        ("ipc", "service:api"),
        ("cap_add", ["NET_ADMIN"]),
        ("cap_drop", ["NET_RAW"]),
        ("read_only", False),
        ("security_opt", ["no-new-privileges:true", "seccomp:unconfined"]),
        ("user", "0:0"),
        ("mem_limit", None),
        ("ports", ["8000:8000"]),
        ("ports", ["0.0.0.0:8000:8000"]),
        ("volumes", ["/var/run/docker.sock:/var/run/docker.sock:ro"]),
        ("volumes", ["./data:/var/lib/domicile"]),
        ("volumes", [{"type": "bind", "source": "./data", "target": "/data"}]),
        ("environment", {"ACME_API_KEY": "x"}),
        ("environment", ["DB_PASSWORD=x"]),
    ],
)
def test_a_planted_weakness_is_found(compose: dict[str, Any], key: str, value: object) -> None:
    weakened = copy.deepcopy(compose)
    weakened["services"]["api"][key] = value
    assert weaknesses(weakened)


def test_the_services_share_one_volume_and_one_image(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services.keys() == {"api", "worker", "ingest"}
    for service in services.values():
        assert "home:/var/lib/domicile" in service["volumes"]
        assert service["image"] == services["api"]["image"]
    for name in ("worker", "ingest"):
        service = services[name]
        assert service["network_mode"] == "none", "it needs no network, and documents must find no way out"
        source = next(volume for volume in service["volumes"] if isinstance(volume, dict))
        default = source["source"].removeprefix("${DOMICILE_SOURCE:-").removesuffix("}")
        assert (ROOT / default).is_dir()


def test_the_service_and_the_worker_restart_and_what_submits_does_not(compose: dict[str, Any]) -> None:
    restarts = {name: service["restart"] for name, service in compose["services"].items()}
    assert restarts == {"api": "unless-stopped", "worker": "unless-stopped", "ingest": "no"}


def test_what_is_submitted_is_what_the_worker_mounts_and_keys_may_name(compose: dict[str, Any], tmp_path: Path) -> None:
    services = compose["services"]
    mounted = {volume["target"] for volume in services["worker"]["volumes"] if isinstance(volume, dict)}
    environment = {key: str(value) for key, value in services["api"]["environment"].items()}
    environment["DOMICILE_MODELS__THREADS"] = "2"
    home = Home.open(tmp_path, environment)
    for command in (services["worker"]["command"], services["ingest"]["command"]):
        assert command[:1] == ["ingest"]
    assert services["ingest"]["command"][2] in mounted
    assert {str(home.source_for_key("handbook", place)) for place in mounted} == mounted
    with pytest.raises(Forbidden):
        home.source_for_key("handbook", "/var/lib/domicile")


def test_compose_and_image_ask_the_same_question_of_health(compose: dict[str, Any]) -> None:
    check = next(arguments for word, arguments in instructions() if word == "HEALTHCHECK")
    command = json.loads(check[check.index("CMD") + 3 :])
    assert compose["services"]["api"]["healthcheck"]["test"][1:] == command
    compile(command[-1], "healthcheck", "exec")
    assert "/readyz" in command[-1]


# --- the Dockerfile


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    parted = (line.partition(" ") for line in text.splitlines() if line.strip())
    return [(word, rest.strip()) for word, _, rest in parted]


def admitted(path: str) -> bool:
    """Whether ``.dockerignore`` lets a path into the build: the last line that fits it or a folder above it decides."""
    kept = True
    candidates = [path, *map(str, Path(path).parents)]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!")
        if pattern and not pattern.startswith("#") and any(fnmatch(c, pattern) for c in candidates if c != "."):
            kept = line.startswith("!")
    return kept


def test_every_source_of_a_copy_exists_and_is_admitted() -> None:
    sources = []
    for word, arguments in instructions():
        if word in ("COPY", "ADD") and "--from=" not in arguments:
            *found, _target = [a for a in shlex.split(arguments) if not a.startswith("--")]
            sources += found
    assert "requirements/runtime.lock" in sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert admitted(source), f".dockerignore keeps {source} out"


@pytest.mark.parametrize("path", [".git/config", ".env", ".domicile/state/keys.json", "examples/handbook/hr/x.md"])
def test_the_build_sees_no_history_home_or_document(path: str) -> None:
    assert not admitted(path)


def test_every_stage_that_is_copied_from_comes_before() -> None:
    stages: set[str] = set()
    for word, arguments in instructions():
        for name in re.findall(r"(?:--|,)from=([\w-]+)", arguments):
            assert name in stages, name
        if word == "FROM":
            stages.add(arguments.split(" AS ")[1])


def test_every_lock_is_installed_with_its_hashes_and_as_wheels() -> None:
    installs = [
        part for word, text in instructions() if word == "RUN" for part in text.split("&&") if " install" in part
    ]
    installs = [part.replace("$LOCK", "runtime.lock") for part in installs]
    locked = [part for part in installs if ".lock" in part]
    assert len(locked) == 3
    for part in locked:
        assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(part.split()), part
    for part in installs:
        assert ".lock" in part or "torch.txt" in part or "--no-index" in part or "install -d" in part, part


def test_the_last_stage_is_no_root_and_has_no_models_toolchain() -> None:
    last: list[tuple[str, str]] = []
    for word, arguments in instructions():
        last = [] if word == "FROM" else [*last, (word, arguments)]
    assert [arguments for word, arguments in last if word == "USER"] == ["10001:10001"]
    words = [word for word, _ in last]
    assert not {"RUN", "COPY", "ADD"} & set(words[words.index("USER") :]), "these would not run as root"
    assert not [text for _, text in last if re.search(r"torch|build\.lock|dev\.lock|apt-get", text)]
    assert ("ENTRYPOINT", '["domicile"]') in last
    assert next(json.loads(text) for word, text in last if word == "CMD")[0] == "serve"


def test_no_secret_is_an_argument_or_a_variable_of_the_image() -> None:
    names = " ".join(arguments for word, arguments in instructions() if word in ("ARG", "ENV", "LABEL"))
    assert not re.search(r"(?i)\b\w*(?:password|token|secret_key|api_key|credential)\w*=", names)


def test_the_images_settings_are_settings_and_name_its_models(tmp_path: Path) -> None:
    variables: dict[str, str] = {}
    for word, arguments in instructions():
        if word == "ENV":
            variables |= dict(pair.split("=", 1) for pair in shlex.split(arguments))
    models = Settings.load(tmp_path, variables).models
    defaults = Models()
    assert models.embedder == f"/opt/domicile/models/{defaults.embedder}"
    assert models.llm == f"/opt/domicile/models/{defaults.llm}"
    assert variables["HF_HUB_OFFLINE"] == "1"
    assert variables["ORT_DISABLE_TELEMETRY"] == "1"


# --- what is locked


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)", lock.read_text(), re.MULTILINE))


def test_the_locks_are_there() -> None:
    assert {"build.lock", "dev.lock", "hosted.lock", "runtime.lock", "tools.lock"} <= {lock.name for lock in LOCKS}


def test_what_serves_has_no_torch_no_provider_and_no_evaluation() -> None:
    names = set(pins(ROOT / "requirements" / "runtime.lock"))
    assert {"onnxruntime", "faiss-cpu", "fastapi"} <= names
    unwanted = {"torch", "litellm", "ragas", "transformers", "sentence-transformers", "langchain-core", "pytest"}
    assert not names & unwanted
    assert not [name for name in names if name.startswith("nvidia-")]


def test_an_image_for_providers_has_what_the_other_has_and_litellm_without_its_proxy() -> None:
    hosted, runtime = (pins(ROOT / "requirements" / f"{name}.lock") for name in ("hosted", "runtime"))
    assert runtime.items() <= hosted.items()
    assert "litellm" in hosted
    assert not hosted.keys() & {"litellm-proxy-extras", "litellm-enterprise", "gunicorn", "torch", "ragas"}


def test_the_models_are_built_with_the_versions_that_are_tested() -> None:
    build, dev = pins(ROOT / "requirements" / "build.lock"), pins(ROOT / "requirements" / "dev.lock")
    assert {"transformers", "onnxscript"} <= set(build)
    assert not build.keys() & {"litellm", "ragas", "torch"}
    assert {name: dev.get(name) for name in build} == build, "run `make lock`"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_versions_and_hashes_and_no_place(lock: Path) -> None:
    assert not misplaced(lock.read_text())


def misplaced(text: str) -> list[str]:
    """Lines of a lock that are neither a pinned name nor a hash: an index, an address, a path, an option."""
    pin = r"[a-z0-9][a-z0-9._-]*(?:\[[a-z0-9,_-]+\])?==[A-Za-z0-9.!]+(?: ; [^\\@/]+)? \\"
    digest = r" {4}--hash=sha256:[0-9a-f]{64}(?: \\)?"
    return [line for line in text.splitlines() if not re.fullmatch(f"{pin}|{digest}", line)]


@pytest.mark.parametrize(
    "line",
    [
        "--extra-index-url https://example.org/simple",
        "--find-links /srv/wheels",
        "torch @ file:///srv/wheels/torch.whl",
        "./torch.whl",
        "torch==2.13.0+cpu \\",
        "numpy>=2",
        "numpy==2.4.6",
        "    # from https://example.org/simple",
    ],
)
def test_a_planted_place_in_a_lock_is_found(line: str) -> None:
    assert misplaced(line) == [line]


# --- the start of the service


@pytest.fixture
def start(tmp_path: Path) -> Callable[[], subprocess.CompletedProcess[str]]:
    """Runs deploy/start-api in a home, with a `domicile` that records its calls instead of serving."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "home").mkdir()
    stub = tmp_path / "bin" / "domicile"
    stub.write_text(
        '#!/bin/sh\necho "$*" >> "$DOMICILE_HOME/../calls"\n'
        'if [ "$1" = keys ]; then mkdir -p "$DOMICILE_HOME/state"; echo {} > "$DOMICILE_HOME/state/keys.json"\n'
        '  echo \'{"id": "abc", "key": "the-key"}\'; fi\n'
    )
    stub.chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "DOMICILE_HOME": str(tmp_path / "home")}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "deploy" / "start-api", "--port", "8001"],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip

    return run


def test_the_first_start_makes_a_private_key_and_does_not_show_it(
    start: Callable[[], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = start()
    kept = tmp_path / "home" / "first-key.json"
    assert json.loads(kept.read_text())["key"] == "the-key"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert str(kept) in done.stderr
    assert "the-key" not in done.stdout + done.stderr
    assert (tmp_path / "calls").read_text().splitlines() == [
        "keys create --json", "serve --host 0.0.0.0 --port 8000 --port 8001",
    ]  # fmt: skip


def test_a_later_start_makes_no_key(start: Callable[[], subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    start()
    (tmp_path / "home" / "first-key.json").unlink()
    done = start()
    assert not (tmp_path / "home" / "first-key.json").exists()
    assert done.stderr == ""
    assert (tmp_path / "calls").read_text().count("keys create") == 1


def test_a_key_that_was_made_just_before_a_kill_is_kept(
    start: Callable[[], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / "state").mkdir()
    (home / "state" / "keys.json").write_text("{}")
    (home / "first-key.json.new").write_text('{"key": "made"}')
    start()
    assert (home / "first-key.json").read_text() == '{"key": "made"}'
