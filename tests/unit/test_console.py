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
    [(UsageError("--top-k 0: at least 1"), 2, "UsageError"), (KeyboardInterrupt(), 130, "Interrupted")],
)
def test_what_is_foreseen_is_one_object_and_an_exit_code(
    error: BaseException, code: int, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(parsed(error, tmp_path)) == code
    assert json.loads(capsys.readouterr().out)["error"]["type"] == kind


def test_a_defect_is_an_object_too_and_goes_on_to_the_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ZeroDivisionError):
        run(parsed(ZeroDivisionError("/secret/path"), tmp_path))
    told = capsys.readouterr().out
    assert json.loads(told)["error"]["type"] == "InternalError"
    assert "secret" not in told


def parsed(error: BaseException, home: Path) -> argparse.Namespace:
    def handler(parsed: argparse.Namespace, console: Console) -> int:
        raise error

    return argparse.Namespace(home=str(home), json=True, handler=handler)
