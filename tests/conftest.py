"""Fixtures for every test."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpora import Shelf


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The built models of this checkout."""
    path = Path(__file__).parents[1] / ".domicile" / "models"
    if not path.is_dir():
        pytest.fail(f"{path} is not there: run `domicile models build`")
    return path


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """An empty home for one collection."""
    return Shelf.at(tmp_path / "home")
