"""What runs at the start of every interpreter: a malicious release once left itself there, and outlived its removal."""

from __future__ import annotations

import site
from pathlib import Path

KNOWN = {
    "_editable_impl_domicile.pth": "this checkout, installed as editable",
    "distutils-precedence.pth": "setuptools",
    "_virtualenv.pth": "virtualenv",
}


def startup_files(folder: Path) -> list[str]:
    """The files of a ``site-packages`` folder that an interpreter runs when it starts, unknown ones only."""
    return sorted(file.name for file in folder.glob("*.pth") if file.name not in KNOWN)


def test_nothing_unknown_runs_at_the_start_of_an_interpreter() -> None:
    folders = [Path(folder) for folder in site.getsitepackages()]
    assert any((folder / "_editable_impl_domicile.pth").exists() for folder in folders)
    assert [name for folder in folders for name in startup_files(folder)] == []


def test_a_file_that_nobody_knows_is_seen(tmp_path: Path) -> None:
    (tmp_path / "litellm_init.pth").write_text("import os\n")
    (tmp_path / "_virtualenv.pth").write_text("import os\n")
    assert startup_files(tmp_path) == ["litellm_init.pth"]
