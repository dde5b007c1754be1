"""Documented means true: the reference is what the code says, and every link leads somewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"```text\n.*?```", re.DOTALL)


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_says(generator: ModuleType) -> None:
    written, made = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8"), generator.reference()
    # help texts are laid out differently by other versions of Python, so of those only the flags are compared
    assert BLOCK.sub("", written) == BLOCK.sub("", made), "run: .venv/bin/python docs/generate.py"
    assert flags(written) == flags(made)
    assert len(flags(made)) > 10


def flags(page: str) -> set[str]:
    return set(re.findall(r"--[a-z-]+", page))


def test_every_command_is_in_the_reference(generator: ModuleType) -> None:
    from domicile.cli import BUILT_IN, plugged_in

    assert set(generator.COMMANDS) == BUILT_IN.keys() | plugged_in().keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_every_error_has_an_exit_code_of_the_contract() -> None:
    import domicile.errors as module

    families = [
        value for value in vars(module).values() if isinstance(value, type) and issubclass(value, module.DomicileError)
    ]
    assert {family.exit_code for family in families} <= {1, 2, 3, 4, 5, 6, 75}


def test_the_readme_begins_with_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert re.findall(r"^make ([a-z]+)", readme, re.MULTILINE)[:2] == ["demo", "test"]
    assert {"demo", "test", "serve", "image-check"} <= targets


def test_the_workflow_is_one() -> None:
    workflow = ROOT / ".github" / "workflows" / "evaluation.yml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
