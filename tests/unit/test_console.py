"""What a command says when it ends otherwise than it should."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from domicile.console import Console, run
from domicile.errors import UsageError


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (UsageError("--top-k 0: at least 1"), 2, "UsageError"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (ZeroDivisionError("a defect"), 1, "InternalError"),
    ],
)
def test_whatever_happens_one_object_is_printed(
    error: BaseException, code: int, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def handler(parsed: argparse.Namespace, console: Console) -> int:
        raise error

    assert run(argparse.Namespace(home=str(tmp_path), json=True, handler=handler)) == code
    assert json.loads(capsys.readouterr().out)["error"]["type"] == kind


def test_a_defect_leaves_its_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def handler(parsed: argparse.Namespace, console: Console) -> int:
        return 1 // 0

    run(argparse.Namespace(home=str(tmp_path), json=True, handler=handler))
    assert "ZeroDivisionError" in caplog.text
