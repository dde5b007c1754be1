"""Steps of a build, each in a child process that knows no network.

A child, because torch and transformers read their environment at import, take gigabytes that only the end of a
process gives back, and write warnings that concern nobody: its output is shown only where it failed.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence

from domicile.errors import DomicileError, MissingExtra, StorageError
from domicile.models.runtime import MUTE

_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore",
    "PYTHONIOENCODING": "utf-8",
}


def require_modules(extra: str, modules: Sequence[str]) -> None:
    """Look, without importing, whether an optional dependency is there.

    Raises:
        MissingExtra: names the extra and the first module that is not.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingExtra(extra, module)


def run_offline(what: str, module: str, *arguments: str) -> str:
    """Run ``python -P -m module arguments`` (-P: import nothing from the working directory) and return its stdout.

    Args:
        what: the step, for the error: "cannot <what>: …".
        module: importable by the child as it is here.
        arguments: as they are, no shell.

    Raises:
        StorageError: the child met a full disk.
        DomicileError: it failed; its last line, and the tail of its output as notes of the exception.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", module, *arguments],
        env=os.environ | _OFFLINE | MUTE, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return done.stdout
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if any("No space left on device" in line or "Disk quota exceeded" in line for line in lines):
        raise StorageError(f"cannot {what}: the disk is full: free some space and run again")
    last = lines[-1].strip() if lines else "no output"
    if done.returncode < 0:
        last = f"killed by signal {-done.returncode} (out of memory?)"
    failure = DomicileError(f"cannot {what}: {last}")
    for line in lines[-20:]:
        failure.add_note(line)
    raise failure
